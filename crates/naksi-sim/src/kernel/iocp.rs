//! What only a kernel of packets does: accept sockets made beforehand, receives that ask for no byte,
//! failures without a packet, and endings whose numbers say nothing by themselves.
//!
//! The port above turns all of it into the one contract. Nothing here knows a session.

use naksi_core::completion::Completion;
use naksi_core::ended::{Ended, Failure, OsError};
use naksi_core::op::Op;

use super::calendar::{Calendar, OpId};
use super::fault::{Dialect, FaultKind};
use super::net::Net;
use super::port_state::{Answer, End, Held, Raw, Stage, Target};
use super::state::Kernel;

/// Accepts that stand ready on every listener.
pub(super) const ACCEPT_CREDITS: u32 = 4;

/// What a kernel may say for one and the same ending: netname deleted, connection aborted, and others.
const STRANGE_NUMBERS: [i32; 5] = [64, 676, 1236, 10_053, 10_054];

/// An ending of ours may come with any failing number.
pub(super) fn number_of(calendar: &mut Calendar, dialect: Dialect, raw: Raw) -> Raw {
    if dialect == Dialect::Iocp
        && matches!(raw, Raw::Ended(Ended::Aborted))
        && calendar.strike(FaultKind::StrangeEnding)
    {
        return Raw::EndedWith(STRANGE_NUMBERS[calendar.prng.below(5) as usize]);
    }
    raw
}

/// What a number means is not in the number: it is ours if we cancelled or shut down, whatever it is.
pub(super) fn ending_of(code: i32, held: &Held, net: &mut Net) -> Ended {
    let shut = match (held.target, &held.op) {
        (Target::Stream(id), Op::Recv { .. }) => net.live(id).shut_read,
        (Target::Stream(id), Op::Send { .. }) => net.live(id).shut_write,
        _ => false,
    };
    if shut || held.cancelled { Ended::Aborted } else { Ended::Failed(OsError::new(Failure::Other, code)) }
}

impl Kernel {
    pub(super) fn is_iocp(&self) -> bool {
        self.options.dialect == Dialect::Iocp
    }

    /// Makes up the accepts that a listener lacks; what cannot be made now is made at the next wait.
    pub(super) fn top_up(&mut self, index: usize) {
        while let Some(listener) = self.net.listeners[index].as_mut()
            && listener.accept_op.is_some()
            && listener.credits < ACCEPT_CREDITS
        {
            if self.descriptors >= self.options.descriptors_max {
                self.calendar.faults.note(FaultKind::DescriptorsExhausted);
                return;
            }
            if self.calendar.strike(FaultKind::AcceptSocketFailed) {
                return;
            }
            listener.credits += 1;
            self.descriptors += 1;
        }
    }

    /// Makes up the accepts of all listeners of a port.
    pub(super) fn top_up_all(&mut self, port: u32) {
        for index in 0..self.net.listeners.len() {
            if self.net.listeners[index].as_ref().is_some_and(|listener| listener.port == port) {
                self.top_up(index);
            }
        }
    }

    /// Accepts that stand ready, and how many should.
    pub(super) fn accept_credits(&self) -> (u32, u32) {
        let iocp = self.is_iocp();
        self.net.listeners.iter().flatten().fold((0, 0), |(ready, wanted), listener| {
            if iocp {
                (ready + listener.credits, wanted + ACCEPT_CREDITS)
            } else {
                (ready + u32::from(listener.accept_op.is_some()), wanted + 1)
            }
        })
    }

    /// The hand-over itself fails and no packet will come: the port says the failure in its place.
    /// Returns whether that happened.
    pub(super) fn fails_at_once(&mut self, op: OpId, target: Target, receives: bool) -> bool {
        if !self.calendar.strike(FaultKind::ImmediateError) {
            return false;
        }
        let starves = receives && self.calendar.prng.chance(32_768);
        if let Some((_, held)) = self.port_state(op.port).in_flight.running(op.key) {
            held.stage = Stage::Answered;
        }
        if starves && let Target::Stream(id) = target {
            // It waits for a buffer, and then for bytes.
            self.net.live(id).recv_op = Some(op.key);
        }
        let no_memory = Ended::Failed(OsError::new(Failure::MemoryExhausted, 10_055));
        let (raw, end) = if starves { (Raw::Starved, End::Lost) } else { (Raw::Ended(no_memory), End::Last) };
        if end == End::Last {
            self.detach(op, target);
        }
        self.port_state(op.port).local.push_back(Answer::Op { key: op.key, raw, end });
        true
    }

    /// A receive that asked for no byte has woken up: now a buffer is taken and filled.
    pub(super) fn harvest(&mut self, op: OpId) -> Option<Completion> {
        let (_, held) =
            self.port_state(op.port).in_flight.running(op.key).expect("law 1: a packet after the last");
        let (target, cancelled) = (held.target, held.cancelled);
        if cancelled {
            return Some(self.end_cancelled(op, target));
        }
        self.set_stage(op, Stage::Armed);
        if self.calendar.strike(FaultKind::EmptyReceive) {
            self.start(op);
            return None;
        }
        match self.read(op) {
            None => {
                self.start(op);
                None
            }
            Some((raw, End::Last)) => {
                self.detach(op, target);
                Some(self.last(op.port, op.key, raw))
            }
            Some((Raw::Starved, _)) => {
                self.park(op);
                None
            }
            Some((raw, _)) => {
                let completion = self.brought(op, target, raw);
                self.start(op);
                completion
            }
        }
    }
}
