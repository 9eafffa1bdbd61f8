//! How a session reads its stream: raw windows or whole frames, directly from the lease where possible.
//!
//! Only what cannot be delivered yet (an incomplete frame, data received while the session was paused) is copied.

use super::{Egress, Framing, Session, engine};
use std::rc::Rc;

use crate::callbacks::SessionCallbacks;
use crate::engine_message;
use crate::frame::{self, Packet};
use crate::lease::Lease;
use crate::limits::Limits;
use crate::reason::DisconnectReason;
use crate::send_queue::LENT_BYTES_MIN;
use crate::session::Context;
use crate::tick::Tick;

impl Session {
    /// The queue has drained to the low mark, or a pause has ended: delivers stored data, unless something else still
    /// holds the session back.
    pub(super) fn resume(&mut self, cx: &mut Context<'_>, callbacks: &mut impl SessionCallbacks) {
        if !self.egress.holds_back() {
            self.grant_pause(cx.now);
            self.take_in(&[], cx, callbacks);
        }
    }

    /// Adds the pause that has ended to the peer's time limit, and no more: a session that is paused often still ends
    /// when its peer is silent for too long in between.
    fn grant_pause(&mut self, now: Tick) {
        let Some(paused_at) = self.egress.throttle.pauses_no_more() else { return };
        let later = |from: Tick| from + now.since(from.max(paused_at));
        (self.since, self.received_at) = (later(self.since), later(self.received_at));
        self.buffer.set_cut_since(self.buffer.cut_since().map(later));
        if let Some(wired) = &mut self.egress.wired {
            wired.within_since = wired.within_since.map(later);
        }
    }

    /// Reads a received lease. Long parts that are sent on unchanged are not copied.
    pub(super) fn take_lease(
        &mut self,
        lease: Lease,
        cx: &mut Context<'_>,
        callbacks: &mut impl SessionCallbacks,
    ) {
        if self.egress.wired.is_some() {
            return self.open_lease(lease, cx, callbacks);
        }
        if lease.len() < LENT_BYTES_MIN || !lease.may_be_kept() {
            return self.take_in(&lease, cx, callbacks);
        }
        let lease = Rc::new(lease);
        cx.buffer_pool.reads(Some(&lease));
        self.take_in(&lease, cx, callbacks);
        cx.buffer_pool.reads(None);
    }

    pub(super) fn take_in(
        &mut self,
        bytes: &[u8],
        cx: &mut Context<'_>,
        callbacks: &mut impl SessionCallbacks,
    ) {
        match self.framing {
            Framing::Messages if self.egress.wired.is_some() => self.show_kept_messages(cx, callbacks),
            Framing::Raw | Framing::Messages => self.take_raw(bytes, cx, callbacks),
            Framing::Packets => self.take_frames(bytes, cx, callbacks),
        }
    }

    pub(super) fn take_raw(
        &mut self,
        mut fresh: &[u8],
        cx: &mut Context<'_>,
        callbacks: &mut impl SessionCallbacks,
    ) {
        if self.buffer.is_empty() {
            let taken = feed_raw(&mut self.egress, fresh, cx, callbacks);
            fresh = &fresh[taken..];
            self.keep(fresh, cx);
        } else {
            self.keep(fresh, cx);
            let taken = feed_raw(&mut self.egress, self.buffer.view(), cx, callbacks);
            self.buffer.took(taken, cx.buffer_pool);
        }
    }

    pub(super) fn take_frames(
        &mut self,
        mut fresh: &[u8],
        cx: &mut Context<'_>,
        callbacks: &mut impl SessionCallbacks,
    ) {
        let mut delivered = false;
        while !self.egress.holds_back() {
            let max = self.frame_bytes_max(cx.limits);
            let kept = !self.buffer.is_empty();
            if kept {
                // Only what the incomplete frame lacks is copied; the rest is read in place.
                match frame::missing(self.buffer.view(), max) {
                    Err(reason) => return self.part(reason, cx),
                    Ok(0) => {}
                    Ok(_) if fresh.is_empty() => break,
                    Ok(lacking) => {
                        let (first, rest) = fresh.split_at(lacking.min(fresh.len()));
                        self.keep(first, cx);
                        fresh = rest;
                        continue;
                    }
                }
            }
            let bytes = if kept { self.buffer.view() } else { fresh };
            let packet = match frame::first(bytes, max) {
                Err(reason) => return self.part(reason, cx),
                Ok(None) => break,
                Ok(Some(packet)) => packet,
            };
            let length = packet.frame.len();
            if delivered && !callbacks.may_be_shown_more() {
                self.egress.throttle.rest(cx.now);
                break;
            }
            if !self.egress.admits(cx, callbacks) {
                break;
            }
            let is_first = !self.greeted;
            if packet.id < engine_message::FIRST_ID
                || !engine::took(&mut self.egress, packet, is_first, cx, callbacks)
            {
                deliver(&mut self.egress, packet, cx, callbacks);
            }
            (self.greeted, delivered) = (true, true);
            if kept {
                self.buffer.took(length, cx.buffer_pool);
            } else {
                fresh = &fresh[length..];
            }
        }
        self.keep(fresh, cx);
        self.mark_cut(delivered, cx.now);
    }

    /// Records since when the frame at the head of the buffer is incomplete. During a pause this is unknown for a
    /// frame that was not examined yet, and unchanged for one that was incomplete already.
    pub(super) fn mark_cut(&mut self, delivered: bool, now: Tick) {
        if delivered || self.buffer.cut_since().is_none() {
            self.buffer.set_cut_since((!self.egress.holds_back()).then_some(now));
        }
    }

    pub(super) fn keep(&mut self, bytes: &[u8], cx: &mut Context<'_>) {
        // A session that ends after this callback stores nothing, and keeps its reason.
        if bytes.is_empty() || self.egress.end.is_some() {
            return;
        }
        let own_bytes = self.buffer.len() + bytes.len();
        let all_bytes = cx.buffer_pool.kept_bytes() + bytes.len();
        let too_many = own_bytes > cx.limits.recv_backlog_bytes_max;
        // When all sessions together store too much, those that store more than an incomplete frame end first.
        let crowded = all_bytes > cx.limits.recv_backlog_total_bytes_max;
        if too_many || crowded && own_bytes > cx.limits.frame_bytes_max {
            self.begin_ending(DisconnectReason::RecvBacklogFull, cx);
        } else {
            self.buffer.push(bytes, cx.buffer_pool);
        }
    }

    pub(super) fn frame_bytes_max(&self, limits: &Limits) -> usize {
        if self.greeted {
            limits.frame_bytes_max
        } else {
            limits.first_frame_bytes_max.min(limits.frame_bytes_max)
        }
    }
}

/// Delivers raw bytes in windows small enough that echoing one never overfills the send queue. Returns how many were
/// consumed.
fn feed_raw(
    egress: &mut Egress,
    data: &[u8],
    cx: &mut Context<'_>,
    callbacks: &mut impl SessionCallbacks,
) -> usize {
    let mut taken = 0;
    let mut window = window_bytes(egress, cx.limits);
    while taken < data.len() && !egress.holds_back() && egress.admits(cx, callbacks) {
        if taken > 0 && !callbacks.may_be_shown_more() {
            egress.throttle.rest(cx.now);
            break;
        }
        let offered = &data[taken..data.len().min(taken + window)];
        let consumed = callbacks.on_recv(egress.output(true, cx), offered);
        assert!(consumed <= offered.len(), "on_recv consumed {consumed} of {} bytes", offered.len());
        taken += consumed;
        egress.spend_bytes(consumed, cx);
        if consumed > 0 {
            window = window_bytes(egress, cx.limits);
        } else if offered.len() == data.len() - taken {
            break;
        } else {
            window *= 2;
        }
    }
    taken
}

/// How many bytes may be echoed now: half of the high mark, and at most the queue's room and a second's rate, which
/// bounds the debt of bytes.
fn window_bytes(egress: &Egress, limits: &Limits) -> usize {
    let room = limits.send_queue_bytes_max.saturating_sub(egress.queue.bytes());
    let rate = match limits.recv_bytes_per_second_max {
        0 => usize::MAX,
        most => most,
    };
    (limits.send_queue_high_bytes / 2).min(room).min(rate).max(1)
}

fn deliver(
    egress: &mut Egress,
    packet: Packet<'_>,
    cx: &mut Context<'_>,
    callbacks: &mut impl SessionCallbacks,
) {
    egress.spend_message(packet.frame.len(), cx);
    let heartbeat = cx.limits.heartbeat.is_some_and(|beat| beat.packet_id == packet.id);
    if !(heartbeat && packet.body.is_empty()) {
        callbacks.on_packet(egress.output(true, cx), packet);
    }
}
