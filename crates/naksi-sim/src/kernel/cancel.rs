//! How an operation ends before it is done: by a cancel, by an abort, by the end of its port.
//!
//! A cancel is a request; only the operation's own last answer means anything. Nothing here knows how an
//! answer reaches the engine.

use naksi_core::ended::Ended;
use naksi_core::op::Op;

use super::calendar::{Event, OpId};
use super::fault::FaultKind;
use super::port_state::{End, Held, Raw, Stage, Target};
use super::state::Kernel;

impl Kernel {
    /// The engine's request to end an operation early reaches the kernel.
    pub(super) fn cancel(&mut self, op: OpId) {
        match self.held(op) {
            Some(held) if held.stage == Stage::Armed && !held.dying => {}
            _ => return,
        }
        if self.calendar.strike(FaultKind::CancelNotFound) {
            let nanos = self.calendar.delay();
            if let Some(held) = self.held(op) {
                held.unfound = true;
            }
            return self.calendar.after(nanos, Event::CancelAgain(op));
        }
        if self.calendar.strike(FaultKind::CancelLate) {
            if let Some(held) = self.held(op) {
                held.dying = true;
            }
            let nanos = self.calendar.delay();
            return self.calendar.after(nanos, Event::CancelAtLast(op));
        }
        self.abort(op);
    }

    /// A cancel that did not find its operation is tried once more.
    pub(super) fn cancel_again(&mut self, op: OpId) {
        if let Some(held) = self.held(op) {
            held.unfound = false;
        }
        self.cancel(op);
    }

    /// Ends an operation that the kernel still has, without success.
    pub(super) fn abort(&mut self, op: OpId) {
        let Some(held) = self.held(op) else { return };
        if held.stage == Stage::Parked {
            return self.stir_to_abort(op);
        }
        if held.stage != Stage::Armed {
            return;
        }
        let connecting = matches!(held.op, Op::Connect { .. }).then_some(held.target);
        if let Some(target) = connecting {
            self.abandon_connect(target);
            self.set_target(op, Target::Nothing);
        }
        self.answer(op, Raw::Ended(Ended::Aborted), End::Last);
    }

    /// A receive that waits inside the port for a buffer ends at once.
    fn stir_to_abort(&mut self, op: OpId) {
        let state = self.ports[op.port as usize].as_mut().expect("the port is open");
        state.starved.retain(|key| *key != op.key);
        if let Some((_, held)) = state.in_flight.running(op.key) {
            held.stage = Stage::Armed;
        }
        self.answer(op, Raw::Ended(Ended::Aborted), End::Last);
    }

    /// A connection that was being made is not awaited any more.
    pub(super) fn abandon_connect(&mut self, target: Target) {
        self.descriptors -= 1;
        if let Target::Stream(id) = target {
            self.net.close_with_reset(&mut self.calendar, id);
        }
    }

    /// The kernel knows the operation no more.
    pub(super) fn detach(&mut self, op: OpId, target: Target) {
        let forget = |place: &mut Option<naksi_os::backend::Key>| {
            if *place == Some(op.key) {
                *place = None;
            }
        };
        match target {
            Target::Stream(id) => {
                if let Some(socket) = self.net.get_mut(id) {
                    forget(&mut socket.recv_op);
                    forget(&mut socket.send_op);
                }
            }
            Target::Listener(index) => {
                if let Some(listener) = self.net.listeners[index as usize].as_mut()
                    && listener.accept_op == Some(op.key)
                {
                    // The sockets made for connections to come go with the accept that made them.
                    self.descriptors -= std::mem::take(&mut listener.credits) as usize;
                    listener.accept_op = None;
                }
            }
            Target::Datagram(index) => {
                if let Some(socket) = self.net.datagrams[index as usize].as_mut() {
                    forget(&mut socket.recv_op);
                }
            }
            Target::Nothing | Target::File(..) => {}
        }
    }

    /// The port is gone: what only this operation knew of is closed.
    pub(super) fn forget(&mut self, held: &Held) {
        match (&held.op, held.stage) {
            (Op::Connect { .. }, Stage::Armed) => self.abandon_connect(held.target),
            (Op::Close { .. }, Stage::Queued) => self.close_target(held.target),
            _ => {}
        }
    }
}
