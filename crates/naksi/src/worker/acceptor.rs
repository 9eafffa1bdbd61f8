//! The acceptor: accepts continuously, applies admission control, and places connections with the least loaded
//! worker.
//!
//! A failed accept is always submitted again (law 6), at once or after a back-off that doubles while the system has
//! no descriptor left.

use core::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use naksi_core::admission::Denied;
use naksi_core::completion::{Accepted, Done};
use naksi_core::ended::Ended;
use naksi_core::id::{Handle, Token};
use naksi_core::op::Op;
use naksi_core::wire::MakeWire;
use naksi_os::port::Port;

use super::Worker;
use super::dispatch::{KIND_ACCEPT, KIND_CLOSE, KIND_TURN_AWAY};
use crate::config::address::unmapped;
use crate::log_limiter::Subject;
use crate::session::Factory;
use crate::session::context::Due;
use crate::shared::mailbox::{Message, Wires};

/// The first pause after a failed accept.
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// The longest pause after a failed accept.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// One open listener of a worker.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) handle: Handle,
    /// An accept is with the port.
    accepting: bool,
    /// Closed, or about to be.
    pub(crate) closing: bool,
    pub(crate) closed: bool,
    pause: Duration,
    wires: Wires,
}

impl Listener {
    pub(crate) fn new(handle: Handle, wires: Wires) -> Self {
        Self { handle, accepting: false, closing: false, closed: false, pause: PAUSE_MIN, wires }
    }
}

impl<P: Port + 'static, F: Factory> Worker<P, F> {
    /// Adds a listener of this worker's port; it accepts after
    /// [`ServiceCore::begin`](crate::shared::core::ServiceCore::begin).
    pub fn add_listener(&mut self, listener: Handle) {
        self.listeners.push(Listener::new(listener, None));
    }

    /// Adds a listener whose connections have wires.
    pub fn add_wired_listener(&mut self, listener: Handle, wires: Arc<dyn MakeWire>) {
        self.listeners.push(Listener::new(listener, Some(wires)));
    }

    /// Keeps accepted connections instead of placing them with the least loaded worker.
    pub fn keep_accepted(&mut self) {
        self.keeps = true;
    }

    pub(crate) fn register_accept(&mut self, index: usize) {
        let listener = &mut self.listeners[index];
        if listener.accepting || listener.closing {
            return;
        }
        let op = Op::Accept { listener: listener.handle };
        match self.port.submit(accept_token(index), op) {
            Ok(()) => listener.accepting = true,
            Err(refused) => unreachable!("an idle listener accepts: {}", refused.why),
        }
    }

    pub(crate) fn process_accept(&mut self, index: usize, done: Done, more: bool) {
        let Done::Accept(result) = done else { unreachable!("a listener asked for {done:?}") };
        let listener = &mut self.listeners[index];
        listener.accepting = more;
        match result {
            Ok(accepted) => {
                listener.pause = PAUSE_MIN;
                self.take_in(accepted, index);
                self.register_accept(index);
            }
            Err(Ended::Aborted) if self.listeners[index].closing => {}
            Err(ended) if !more => self.pause_accept(index, ended),
            Err(ended) => self.context.say(Subject::AcceptLost, |suppressed| {
                tracing::debug!(%ended, suppressed, "a connection was lost before it was accepted");
            }),
        }
        self.close_listener_when_idle(index);
    }

    /// Stops accepting and closes the listener as soon as its accept has returned.
    pub(crate) fn close_listener(&mut self, index: usize) {
        let listener = &mut self.listeners[index];
        listener.closing = true;
        if listener.accepting {
            self.port.cancel(accept_token(index));
        }
        self.close_listener_when_idle(index);
    }

    pub(crate) fn resume_accept(&mut self, index: usize) {
        self.register_accept(index);
    }

    pub(crate) fn process_closed(&mut self, token: Token) {
        if let Some(listener) = self.listeners.get_mut(token.slot() as usize) {
            listener.closed = true;
        }
    }

    fn close_listener_when_idle(&mut self, index: usize) {
        let listener = &mut self.listeners[index];
        if !listener.closing || listener.accepting || listener.closed {
            return;
        }
        let token = Token::new(KIND_CLOSE, index as u32, 0);
        // A second call finds the handle stale: the close is in flight.
        self.port.submit(token, Op::Close { handle: listener.handle }).ok();
    }

    fn take_in(&mut self, accepted: Accepted, listener: usize) {
        let Accepted { socket, peer } = accepted;
        // A peer that connects over IPv4 to a dual-stack listener counts as its IPv4 address.
        let peer = unmapped(peer);
        if self.stopping.is_some() {
            return self.turn_away(socket);
        }
        let wires = self.listeners[listener].wires.clone();
        let handshake = match self.service_core.admit(peer.ip(), self.context.now, wires.is_some()) {
            Ok(handshake) => handshake,
            Err(why) => {
                self.context.counters.refused(why);
                self.log_refusal(peer, why);
                return self.turn_away(socket);
            }
        };
        let worker = if self.keeps {
            self.service_core.settle(self.index)
        } else {
            self.service_core.place(self.index)
        };
        let wires = self.listeners[listener].wires.clone();
        if worker == self.index {
            self.open_session(socket, peer, None, wires, handshake);
            return;
        }
        if self.service_core.mailboxes[worker].is_closed() {
            self.service_core.unsettle(worker);
            self.service_core.left(peer.ip());
            return self.turn_away(socket);
        }
        match self.port.release(socket) {
            Ok(socket) => {
                self.service_core.mailboxes[worker].push(Message::Adopt { socket, peer, wires, handshake });
            }
            Err(why) => unreachable!("nothing is in flight on a socket just accepted: {why}"),
        }
    }

    /// Logs a refusal: the first one of an address as a warning, further ones at `debug`.
    fn log_refusal(&mut self, peer: SocketAddr, why: Denied) {
        let limit = why.limit();
        if self.service_core.is_first_refusal(peer.ip()) {
            self.context.say(Subject::FirstRefused, |suppressed| {
                tracing::warn!(
                    %peer, limit, suppressed,
                    "a connection was refused; further ones from this address are logged at debug"
                );
            });
        } else {
            self.context.say(Subject::Refused, |suppressed| {
                tracing::debug!(%peer, limit, suppressed, "a connection was refused");
            });
        }
    }

    /// Closes a socket that did not become a session.
    pub(crate) fn turn_away(&mut self, socket: Handle) {
        let token = Token::new(KIND_TURN_AWAY, socket.slot(), socket.generation());
        if let Err(refused) = self.port.submit(token, Op::Close { handle: socket }) {
            unreachable!("nothing is in flight on a socket just accepted: {}", refused.why);
        }
        self.turning_away += 1;
    }

    fn pause_accept(&mut self, index: usize, ended: Ended) {
        let listener = &mut self.listeners[index];
        if listener.closing {
            return;
        }
        let pause = listener.pause;
        listener.pause = (pause * 2).min(PAUSE_MAX);
        self.context.counters.accept_pauses_total.add(1);
        if pause == PAUSE_MIN {
            self.context.say(Subject::AcceptPaused, |suppressed| {
                tracing::warn!(%ended, suppressed, "accepting pauses; connections wait in the system's queue");
            });
        }
        self.context.wheel.set(self.context.now + pause, Due::Accept { listener: index as u32 });
    }
}

fn accept_token(index: usize) -> Token {
    Token::new(KIND_ACCEPT, index as u32, 0)
}
