//! The deadlines of a session.
//!
//! They are computed anew whenever they are needed, so that nothing has to be updated while data flows.

use super::{Framing, Session, State};
use crate::limits::Limits;
use crate::reason::DisconnectReason;
use crate::session::Context;
use crate::tick::Tick;

impl Session {
    /// When [`Session::check_deadline`] should be called next; never if the session only waits for its end.
    ///
    /// Called after every completion, so it builds no list.
    pub fn deadline(&self, limits: &Limits) -> Option<Tick> {
        let again = match self.state {
            State::Connected => self.egress.throttle.paused_until(),
            State::Opening => self.opens_again(),
            _ => None,
        };
        let mut nearest = self.beat_at(limits).into_iter().chain(again).chain(self.hears_out(limits)).min();
        self.each_deadline(limits, |tick, _| {
            nearest = Some(nearest.map_or(tick, |nearest| nearest.min(tick)))
        });
        nearest
    }

    /// Visits the deadlines that end the session, each with its reason, unless it has one already; of those that have
    /// passed, the first one counts.
    #[inline]
    fn each_deadline(&self, limits: &Limits, mut visit: impl FnMut(Tick, Option<DisconnectReason>)) {
        match self.state {
            State::Opening => {
                visit(self.since + limits.first_frame_within, Some(DisconnectReason::HandshakeLate))
            }
            State::Connected => {
                // A peer is not late with its bytes while we do not read, or when it has finished sending.
                let listening = !self.egress.is_paused() && !self.peer_finished;
                if listening && self.framing == Framing::Packets && !self.greeted {
                    visit(self.since + limits.first_frame_within, Some(DisconnectReason::FirstFrameLate));
                }
                // A wire that assembles messages holds an incomplete one itself.
                let cut_since = match &self.egress.wired {
                    None => self.buffer.cut_since(),
                    Some(wired) => self.buffer.cut_since().or(wired.within_since),
                };
                if let Some(since) = cut_since.filter(|_| listening) {
                    visit(since + limits.frame_within, Some(DisconnectReason::FrameLate));
                }
                if self.egress.queue.is_flying() {
                    visit(self.sent_at + limits.send_stall_within, Some(DisconnectReason::SendStalled));
                }
                if listening {
                    visit(self.received_at + limits.idle_within, Some(DisconnectReason::Idle));
                }
            }
            State::Draining => visit(self.since + limits.drain_within, None),
            State::Lingering => visit(self.since + limits.linger_within, None),
            State::Ending | State::Closing | State::Over => {}
        }
    }

    /// Until when a session whose peer has finished stays open for pending answers.
    pub(super) fn hears_out(&self, limits: &Limits) -> Option<Tick> {
        let is_shown_all = self.peer_finished && self.state == State::Connected && !self.egress.holds_back();
        is_shown_all.then(|| self.received_at + limits.drain_within)
    }

    /// Whether [`Session::check_deadline`] would end it, or its draining, now.
    pub fn is_late(&self, now: Tick, limits: &Limits) -> bool {
        self.late(now, limits).is_some()
    }

    /// The deadline that has passed: a reason to end, or the end that has a reason already.
    pub(super) fn late(&self, now: Tick, limits: &Limits) -> Option<Option<DisconnectReason>> {
        let mut late = None;
        self.each_deadline(limits, |tick, reason| {
            if tick <= now {
                late.get_or_insert(reason);
            }
        });
        late
    }

    pub(super) fn beat_at(&self, limits: &Limits) -> Option<Tick> {
        let heartbeat = limits.heartbeat?;
        if self.framing != Framing::Packets && self.egress.wired.is_none() {
            return None;
        }
        // A heartbeat behind a stalled batch would not arrive, and would count as progress.
        let idle = self.state == State::Connected && !self.egress.queue.is_flying();
        idle.then(|| self.sent_at + heartbeat.every)
    }

    /// Sends a heartbeat if nothing else was sent for long enough.
    pub(super) fn beat(&mut self, cx: &mut Context<'_>) {
        if let Some(heartbeat) = cx.limits.heartbeat
            && self.beat_at(cx.limits).is_some_and(|at| at <= cx.now)
        {
            if let Some(wired) = &mut self.egress.wired {
                // A browser answers it by itself.
                wired.ping();
            }
            if self.framing == Framing::Packets && !self.egress.asks_for_heartbeat(cx) {
                self.egress.output(true, cx).send_packet(heartbeat.packet_id, &[]);
            }
            self.sent_at = cx.now;
        }
    }
}
