//! The schedule of one client: it waits for the common start, sends at its times, and stops.
//!
//! The scenario calls `due` until it returns `None`; the latency of a message counts from the scheduled time that
//! `due` returned, not from the moment of sending.

use std::sync::Arc;

use naksi::prelude::{Conn, ConnectionInfo, DisconnectReason};

use super::meter::Ledger;
use super::plan::{Pace, Plan};

/// The tag of the only timer that members use.
const WAKE: u32 = 0;
/// A timer may fire this much before our own clock agrees, because the two clocks are read one after the other.
const SLACK_NANOS: u64 = 200_000;
/// With this much unsent, a client waits for its socket; its messages stay due, and the wait counts as latency.
const BACKLOG_BYTES: usize = 64 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Not all clients are ready yet.
    Waiting,
    Sending,
    Done,
}

/// One member's place in the plan.
pub(crate) struct Member {
    pub(crate) plan: Arc<Plan>,
    pub(crate) index: u32,
    pub(crate) worker: usize,
    phase: Phase,
    armed: bool,
    ready: bool,
    /// Messages sent so far; the number of the next one.
    pub(crate) sent: u32,
    /// The next message of the open loop, and when it is due.
    owed: u64,
    due_at: u64,
}

impl Member {
    pub(crate) fn new(plan: &Arc<Plan>, arrival: &ConnectionInfo) -> Self {
        Self {
            plan: Arc::clone(plan),
            index: u32::try_from(arrival.index).unwrap_or(u32::MAX),
            worker: arrival.worker,
            phase: Phase::Waiting,
            armed: false,
            ready: false,
            sent: 0,
            owed: 0,
            due_at: 0,
        }
    }

    /// The connection is established.
    pub(crate) fn connected(&self) {
        let waited = self.plan.clock.now().saturating_sub(self.plan.connect_due(u64::from(self.index)));
        let mut meter = self.plan.meter(self.worker);
        meter.connected += 1;
        meter.connect.saturating_record(waited);
    }

    /// The client is ready: reports it, and waits for the start.
    pub(crate) fn ready(&mut self, c: &mut Conn<'_>) {
        if !self.ready {
            self.ready = true;
            self.plan.start(self.index);
            self.plan.meter(self.worker).ready += 1;
            self.look_out(c);
        }
    }

    /// For a client that comes after the start: messages that would have been due before are skipped.
    pub(crate) fn catch_up(&mut self) {
        if let (Pace::Every(period), Some(start)) = (self.plan.pace, self.plan.signals.started()) {
            let first = start + self.plan.phase(self.index, period);
            self.owed = self.plan.clock.now().saturating_sub(first).div_ceil(period);
        }
    }

    /// The timer fired; a message may be due.
    pub(crate) fn woken(&mut self) {
        self.armed = false;
    }

    /// The scheduled time of a message to send now; `None` if a timer or an answer will call again.
    pub(crate) fn due(&mut self, c: &mut Conn<'_>, on_their_way: usize) -> Option<u64> {
        if self.phase == Phase::Waiting {
            self.leave_waiting(c);
        }
        if self.phase != Phase::Sending {
            return None;
        }
        let now = self.plan.clock.now();
        let due_at = match self.plan.pace {
            Pace::Every(_) => self.due_at,
            Pace::Window(_) => self.due_at.max(now),
        };
        if due_at >= self.plan.signals.stop_at() || !c.is_open() {
            self.phase = Phase::Done;
            return None;
        }
        if due_at > now + SLACK_NANOS {
            self.wake_at(due_at, c);
            return None;
        }
        let full = matches!(self.plan.pace, Pace::Window(window) if on_their_way >= window as usize);
        if full || c.pending_bytes() > BACKLOG_BYTES {
            return None;
        }
        self.owed += 1;
        self.due_at = self.schedule(c);
        self.sent += 1;
        Some(due_at)
    }

    /// The connection ended; a surprise, unless the run is over.
    pub(crate) fn disconnected(&self, reason: DisconnectReason) -> bool {
        let expected = self.plan.signals.is_finished();
        let mut meter = self.plan.meter(self.worker);
        meter.gone += 1;
        if self.ready {
            meter.ready -= 1;
        }
        if !expected {
            *meter.surprises.entry(reason.name()).or_default() += 1;
        }
        expected
    }

    /// The connection ended: reports it, with the messages received per sender. Returns whether the end was expected.
    pub(crate) fn hand_in(&self, reason: DisconnectReason, came: Vec<u32>) -> bool {
        let stayed = self.disconnected(reason);
        let ledger = Ledger { member: self.index, sent: self.sent, came, stayed };
        self.plan.meter(self.worker).ledgers.push(ledger);
        stayed
    }

    /// Something unexpected was received: reports it, and ends the connection.
    pub(crate) fn protest(&self, c: &mut Conn<'_>) {
        self.plan.meter(self.worker).corrupt += 1;
        c.abort(DisconnectReason::Protocol);
    }

    fn leave_waiting(&mut self, c: &mut Conn<'_>) {
        match self.plan.signals.started() {
            None if self.ready => self.look_out(c),
            None => {}
            Some(start) => {
                self.phase = Phase::Sending;
                self.due_at = match self.plan.pace {
                    Pace::Every(_) => self.schedule(c),
                    Pace::Window(_) => start,
                };
            }
        }
    }

    /// When the message that is owed next is due.
    fn schedule(&self, c: &Conn<'_>) -> u64 {
        match self.plan.pace {
            Pace::Window(_) => 0,
            Pace::Every(period) => {
                let start = self.plan.signals.started().unwrap_or(0);
                let raw = start + self.plan.phase(self.index, period) + self.owed * period;
                self.plan.clock.on_grid(raw, self.worker, c)
            }
        }
    }

    /// Comes back a little later to see whether it has started.
    pub(super) fn look_out(&mut self, c: &mut Conn<'_>) {
        if !self.armed {
            self.armed = true;
            c.after(self.plan.look_every(), WAKE);
        }
    }

    /// Comes back at that time.
    pub(super) fn wake_at(&mut self, time: u64, c: &mut Conn<'_>) {
        if !self.armed {
            self.armed = true;
            c.after(self.plan.clock.until(time, self.worker, c), WAKE);
        }
    }
}
