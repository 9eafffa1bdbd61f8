//! One recorded session, played again: it sends what was sent, when it was sent or as fast as it can be, counts what is
//! answered, and ends as it ended. Nothing here knows where the script came from.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use naksi::frame;
use naksi::prelude::*;

use super::script::Script;

/// More than this in a queue waits until the server has taken some of it.
const QUEUED_BYTES_MAX: usize = 64 << 10;
/// With so many bytes queued a client would no longer read: more than there ever are, because two that wait for each
/// other to read wait for ever.
pub(super) const QUEUE_HIGH_BYTES: usize = QUEUED_BYTES_MAX + (96 << 10);
/// A frame can have so many bytes.
const FRAME_BYTES_MAX: usize = 65_535;

/// What ends a session though its server has nothing against it: its client went, or the whole server did.
const ENDS: [DisconnectReason; 3] =
    [DisconnectReason::PeerClosed, DisconnectReason::PeerReset, DisconnectReason::Shutdown];

/// The next piece is due.
const SEND: u32 = 1;
/// The recorded end has come.
const END: u32 = 2;
/// Nothing was received for a while, or the time to wait is over.
const QUIET: u32 = 3;

/// How to play.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// Send without regard to times.
    pub(super) fast: bool,
    /// Whether answers are frames.
    pub(super) framed: bool,
    /// How long to wait for answers after the last piece was sent, each time one comes.
    pub(super) wait: Duration,
}

/// What all players together have seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) connected: u64,
    pub(super) sent: u64,
    pub(super) sent_bytes: u64,
    /// Latest beginning of a send, against its time.
    pub(super) late_max: Duration,
    pub(super) answer_bytes: u64,
    /// Answers by the id of their packets: how many.
    pub(super) answers: BTreeMap<u16, u64>,
    /// Sessions that the server ended before all was sent.
    pub(super) cut_short: u64,
    /// Sessions that the server ended behind that.
    pub(super) ended_by_server: u64,
    /// Sessions that sent something, were never answered and not ended by the server either.
    pub(super) unanswered: u64,
    /// Sessions that we ended before all was sent, because we were asked to stop.
    pub(super) stopped: u64,
    pub(super) over: u64,
}

/// One session.
pub(super) struct Player {
    script: Arc<Script>,
    manner: Manner,
    tally: Arc<Mutex<Tally>>,
    began: Tick,
    next: usize,
    /// Whether answers make no whole frames any more: then only their bytes count.
    garbled: bool,
    /// Whether something was answered since this was asked last, and whether anything ever was.
    answered: bool,
    heard: bool,
    /// The recorded end has come, and it stays for its first answer alone.
    overdue: bool,
    /// Whether it is we who end.
    leaving: bool,
    /// What it waits for: one thing at a time.
    timer: Option<TimerKey>,
}

impl Player {
    pub(super) fn new(script: Arc<Script>, manner: Manner, tally: Arc<Mutex<Tally>>) -> Self {
        Self {
            script,
            manner,
            tally,
            began: Tick::ZERO,
            next: 0,
            garbled: false,
            answered: false,
            heard: false,
            overdue: false,
            leaving: false,
            timer: None,
        }
    }

    fn count(&self, count: impl FnOnce(&mut Tally)) {
        count(&mut self.tally.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits for this and for nothing else.
    fn wake(&mut self, c: &mut Conn<'_>, span: Duration, tag: u32) {
        if let Some(before) = self.timer.replace(c.after(span, tag)) {
            c.cancel_timer(before);
        }
    }

    /// Sends what is due and fits, and sets a timer for what comes next.
    fn send_due(&mut self, c: &mut Conn<'_>) {
        let script = Arc::clone(&self.script);
        let since = c.now().since(self.began);
        while let Some((at, bytes)) = script.sends.get(self.next) {
            if !self.manner.fast && *at > since {
                self.wake(c, *at - since, SEND);
                return;
            }
            if c.pending_bytes() > QUEUED_BYTES_MAX {
                // What the server takes brings us back.
                return;
            }
            c.send(bytes);
            self.next += 1;
            let late = if self.manner.fast { Duration::ZERO } else { since.saturating_sub(*at) };
            self.count(|tally| {
                tally.sent += 1;
                tally.sent_bytes += bytes.len() as u64;
                tally.late_max = tally.late_max.max(late);
            });
        }
        match &script.ended {
            // It was not this server that ended it, and so it stays until then.
            Some((at, reason)) if !self.manner.fast && ENDS.iter().any(|end| end.name() == reason) => {
                self.wake(c, at.saturating_sub(since), END);
            }
            _ => self.wake(c, self.manner.wait, QUIET),
        }
    }

    fn leave(&mut self, c: &mut Conn<'_>) {
        self.leaving = true;
        c.close(DisconnectReason::Handler);
    }

    fn is_through(&self) -> bool {
        self.next == self.script.sends.len()
    }

    /// Counts the whole frames; returns how many bytes they have.
    fn count_frames(&mut self, data: &[u8]) -> usize {
        let mut taken = 0;
        while !self.garbled {
            match frame::first(&data[taken..], FRAME_BYTES_MAX) {
                Ok(Some(packet)) => {
                    taken += packet.frame.len();
                    self.count(|tally| *tally.answers.entry(packet.id).or_default() += 1);
                }
                Ok(None) => return taken,
                Err(_) => self.garbled = true,
            }
        }
        data.len()
    }
}

impl Session for Player {
    fn on_connected(&mut self, c: &mut Conn<'_>) {
        self.began = c.now();
        self.count(|tally| tally.connected += 1);
        self.send_due(c);
    }

    fn on_sent(&mut self, c: &mut Conn<'_>, _bytes: usize) {
        // With times, a timer brings us back; only who was held up by its queue has something due.
        let since = c.now().since(self.began);
        let is_due = |(at, _): &(Duration, Vec<u8>)| self.manner.fast || *at <= since;
        if self.script.sends.get(self.next).is_some_and(is_due) {
            self.send_due(c);
        }
    }

    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        (self.answered, self.heard) = (true, true);
        let taken = if self.manner.framed { self.count_frames(data) } else { data.len() };
        self.count(|tally| tally.answer_bytes += taken as u64);
        if self.overdue {
            self.leave(c);
        }
        taken
    }

    fn on_timer(&mut self, c: &mut Conn<'_>, tag: u32) {
        match tag {
            SEND => self.send_due(c),
            QUIET if std::mem::take(&mut self.answered) => self.wake(c, self.manner.wait, QUIET),
            // A client that left at once may have left before its answer; that there is one must be seen.
            END if !self.heard && self.next > 0 => {
                self.overdue = true;
                self.wake(c, self.manner.wait, QUIET);
            }
            _ => self.leave(c),
        }
    }

    fn on_disconnected(&mut self, reason: DisconnectReason) {
        // A player that was asked to stop ends all of its sessions.
        let (is_through, is_ours) = (self.is_through(), self.leaving || reason == DisconnectReason::Shutdown);
        let (is_left, heard) = (self.leaving && self.next > 0, self.heard);
        self.count(|tally| {
            tally.over += 1;
            tally.unanswered += u64::from(is_through && is_left && !heard);
            tally.stopped += u64::from(!is_through && is_ours);
            tally.cut_short += u64::from(!is_through && !is_ours);
            tally.ended_by_server += u64::from(is_through && !is_ours);
        });
    }
}
