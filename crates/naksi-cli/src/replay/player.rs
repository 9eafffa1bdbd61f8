//! One recorded session, played again: it sends the recorded data at its times or as fast as possible, counts the
//! answers, and ends as the recording did.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use naksi::frame;
use naksi::prelude::*;

use super::script::Script;

/// With more than this queued, it waits until the server has taken some of it.
const QUEUED_BYTES_MAX: usize = 64 << 10;
/// The high mark of the queue, which is never reached: a client that stops reading would deadlock with a server that
/// does the same.
pub(super) const QUEUE_HIGH_BYTES: usize = QUEUED_BYTES_MAX + (96 << 10);
/// Maximum length of a frame in bytes.
const FRAME_BYTES_MAX: usize = 65_535;

/// Ends that say nothing against the session: its client left, or the whole server stopped.
const ENDS: [DisconnectReason; 3] =
    [DisconnectReason::PeerClosed, DisconnectReason::PeerReset, DisconnectReason::Shutdown];

/// The next piece is due.
const SEND: u32 = 1;
/// The recorded end has come.
const END: u32 = 2;
/// The timer for a quiet span, or for the end of the wait.
const QUIET: u32 = 3;

/// How to play.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// Send without regard to times.
    pub(super) fast: bool,
    /// Whether answers are frames.
    pub(super) framed: bool,
    /// How long to wait for answers after the last piece was sent, and again after each answer.
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
    /// Sessions that sent something, got no answer and were not ended by the server either.
    pub(super) unanswered: u64,
    /// Sessions that were ended before all was sent, because of a request to stop.
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
    /// Whether the answers are no longer whole frames; then only their bytes count.
    garbled: bool,
    /// Whether there was an answer since the last check, and whether there ever was one.
    answered: bool,
    heard: bool,
    /// The recorded end has passed, and the session only waits for its first answer.
    overdue: bool,
    /// Whether this side ends the session.
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
                // Continues when the server has taken data.
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
            // This server did not cause that end, so the session stays until its time.
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
        // With times, a timer continues; only a session held up by its queue has something due.
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
            // A client that left at once may have left before its answer; the answer is awaited here.
            END if !self.heard && self.next > 0 => {
                self.overdue = true;
                self.wake(c, self.manner.wait, QUIET);
            }
            _ => self.leave(c),
        }
    }

    fn on_disconnected(&mut self, reason: DisconnectReason) {
        // A request to stop ends all sessions.
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
