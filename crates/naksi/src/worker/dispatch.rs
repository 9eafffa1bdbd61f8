//! Dispatches a completion by its token to its owner: session, listener, connector, file, mailbox.
//!
//! A completion for an ended session cannot arrive (law 4: the slot is freed after the last one); for everything else
//! the token's generation is checked.

use core::net::SocketAddr;
use core::num::NonZeroU32;

use naksi_core::completion::{Completion, Done};
use naksi_core::id::{Handle, SessionId, Token};
use naksi_core::send_queue::Pending;
use naksi_core::session::{Framing, Session, Verb};
use naksi_core::unwind::catch_panic;
use naksi_os::port::{Port, Poster};
use thin_vec::ThinVec;

use super::{Entry, Worker};
use crate::log_limiter::Subject;
use crate::session::callbacks::Callbacks;
use crate::session::{ConnectionInfo, Factory};
use crate::shared::core::Handshake;
use crate::shared::mailbox::{KIND_MAILBOX, Message, Wires};
use crate::watchdog::{What, Who, seen_at};

/// Token kinds above those of a session's operations.
pub(crate) const KIND_ACCEPT: u8 = 16;
pub(crate) const KIND_CONNECT: u8 = 17;
pub(crate) const KIND_FILE: u8 = 19;
pub(crate) const KIND_CLOSE: u8 = 20;
pub(crate) const KIND_TURN_AWAY: u8 = 21;
pub(crate) const KIND_RECORD: u8 = 22;

/// Most messages taken from the mailbox in one turn; for the rest the worker is woken again.
const MESSAGES_A_TURN: usize = 1024;

impl<P: Port + 'static, F: Factory> Worker<P, F> {
    pub(crate) fn dispatch(&mut self, completion: Completion) {
        let Completion { token, done, more } = completion;
        match token.kind() {
            KIND_ACCEPT => self.process_accept(token.slot() as usize, done, more),
            KIND_CONNECT => self.process_connect(token, done),
            KIND_MAILBOX => self.read_mailbox(),
            KIND_FILE => self.process_file(token, done),
            KIND_CLOSE => self.process_closed(token),
            KIND_TURN_AWAY => self.turning_away -= 1,
            KIND_RECORD => self.process_record(done),
            _ => self.process_session(token, done, more),
        }
    }

    fn process_session(&mut self, token: Token, done: Done, more: bool) {
        if tracing::enabled!(tracing::Level::TRACE) {
            self.trace_lengths(token, &done);
        }
        debug_assert!(Verb::from_kind(token.kind()).is_some(), "no component submits {token:?}");
        let known = self.with_session(token.slot(), token.generation(), |session, cx, callbacks| {
            session.process(done, more, cx, callbacks);
        });
        assert!(known.is_some(), "law 4 is broken: {token:?} outlived its session");
    }

    /// Logs one line for each successful receive and send.
    fn trace_lengths(&self, token: Token, done: &Done) {
        let session = self.name(token.slot(), token.generation());
        match done {
            Done::Recv(Ok(lease)) => tracing::trace!(%session, bytes = lease.len(), "received"),
            Done::Send(_, Ok(bytes)) => tracing::trace!(%session, bytes, "sent"),
            _ => {}
        }
    }

    pub(crate) fn read_mailbox(&mut self) {
        self.mailbox().heard();
        for _ in 0..MESSAGES_A_TURN {
            let Some(message) = self.mailbox().pop() else { return };
            self.process_message(message);
        }
        // There may be more, and senders found the wake-up flag set: continue in the next turn.
        self.port.poster().post(crate::shared::mailbox::Mailbox::<P>::token(), 0);
    }

    pub(crate) fn process_message(&mut self, message: Message<P::Socket>) {
        match message {
            Message::Adopt { socket, peer, wires, handshake } => {
                let socket = self.port.adopt(socket);
                self.open_session(socket, peer, None, wires, handshake);
            }
            Message::Send { to, bytes } => self.send_to(to, |callbacks, output| {
                callbacks.play(output, (), |_, conn| {
                    conn.send_shared(&bytes);
                });
            }),
            Message::End { id, reason, ending } => self.send_to(id, |callbacks, output| {
                callbacks.play(output, (), |_, conn| conn.end_with(reason, ending));
            }),
            Message::Batch { topic, bytes, messages } => {
                // What this worker's own sessions broadcast before is sent first.
                self.flush_topics();
                self.deliver(topic, &bytes, messages, None);
            }
            Message::Lagged { topic } => self.end_lagging_members(topic),
            Message::RoomOutput(room_output) => self.deliver_parcel(&room_output),
            Message::WakeTimer { room, at } => self.context.rooms.set_wake_timer(room, at),
            Message::Run(claim) => {
                if let Some(room) = claim.take() {
                    self.context.rooms.claim(room);
                }
            }
            // The end of this turn looks.
            Message::Relieve => {}
            Message::Begin => self.begin(),
            Message::Drain { within } => self.begin_drain(within),
        }
    }

    fn send_to(
        &mut self,
        id: SessionId,
        run: impl FnOnce(&mut Callbacks<'_, F::Session>, naksi_core::callbacks::SessionOutput<'_>),
    ) {
        let known = self.with_session(id.slot(), id.generation(), |session, cx, callbacks| {
            if session.is_live() {
                session.with_output(cx, callbacks, run);
            }
        });
        if known.is_none() {
            self.context.counters.stale_total.add(1);
        }
    }

    fn begin(&mut self) {
        self.begun = true;
        for listener in 0..self.listeners.len() {
            self.register_accept(listener);
        }
        self.register_connects();
    }

    /// Makes a session for a connected socket of this port.
    pub(crate) fn open_session(
        &mut self,
        socket: Handle,
        peer: SocketAddr,
        dialled: Option<u32>,
        wires: Wires,
        handshake: Option<Handshake>,
    ) {
        let index = dialled.map_or(self.arrivals, u64::from);
        self.arrivals += 1;
        let arrival = ConnectionInfo { worker: self.index, index, peer };
        // A factory that panics ends no other session.
        let make = || seen_at(What::Factory, Who::Connecting(index), || self.factory.make(&arrival));
        let user = match catch_panic(make) {
            Ok(user) => user,
            Err(panic) => {
                self.context.counters.handler_panics.add(1);
                self.context.say(Subject::FactoryPanicked, |suppressed| {
                    let panic = panic.text();
                    tracing::error!(%peer, ?panic, suppressed, "making a session panicked; the connection is closed");
                });
                self.turn_away(socket);
                return self.forget(peer, dialled);
            }
        };
        let framing = <F::Session as crate::session::Session>::FRAMING;
        let mut session = Session::new(socket, framing, self.context.now);
        session.set_flush(self.service_core.flush);
        let mut transport = "tcp";
        if let Some(wires) = wires {
            transport = wires.scheme().trim_end_matches("://");
            let wire = wires.make(framing == Framing::Messages, &self.service_core.limits);
            session = session.with_wire(wire, transport);
            if let Some(handshake) = handshake {
                session = session.with_handshake(Box::new(handshake));
            }
        }
        if dialled.is_some() {
            session.trust();
        }
        let entry = Entry {
            session,
            user,
            peer: peer.into(),
            memberships: ThinVec::new(),
            room_memberships: ThinVec::new(),
            timers: ThinVec::new(),
            broken: false,
            timer: None,
            dialled: dialled.and_then(|connection| NonZeroU32::MIN.checked_add(connection)),
            dirty: false,
            held: false,
            held_bytes: 0,
        };
        let Ok((slot, generation)) = self.sessions.insert(entry) else {
            unreachable!("the service's maximum is below a worker's 16 million slots");
        };
        self.context.counters.live.add(1);
        self.context.counters.connected_total.add(1);
        let id = self.name(slot, generation);
        tracing::debug!(session = %id, %peer, transport, connection = dialled, "a session is connected");
        self.with_session(slot, generation, |session, cx, callbacks| session.connected(cx, callbacks));
        if self.stopping.is_some() {
            self.say_goodbye(slot, generation);
        }
    }

    /// The session's socket is closed: frees its slot and its place in admission.
    pub(crate) fn retire(&mut self, slot: u32, generation: u32) {
        let Some(mut entry) = self.sessions.remove(slot, generation) else { return };
        self.load_shedding.forget(entry.held_bytes);
        let (id, peer) = (self.name(slot, generation), entry.peer.get());
        if let Some((key, _)) = entry.timer {
            self.context.wheel.cancel(key);
        }
        self.context.counters.live.sub(1);
        self.context.counters.dropped.add(entry.session.take_dropped());
        if let Some(slow) = entry.session.slow().copied() {
            self.context.say(Subject::SlowConsumer, |suppressed| {
                let Pending { bytes, entries, data_bytes, data_entries, age } = slow.pending;
                tracing::warn!(
                    session = %id, %peer, bytes, entries, data_bytes, data_entries, ?age,
                    class = slow.class, suppressed, "a session did not take what was queued for it, and has ended"
                );
            });
        }
        self.abandon_files_of(id);
        self.forget(peer, entry.dialled.map(|number| number.get() - 1));
        // The user's destructor is the last of its callbacks and may panic as they may.
        let destroy = || seen_at(What::Destructor, Who::Session(id), || drop(entry.user));
        if let Err(panic) = catch_panic(destroy) {
            self.context.counters.handler_panics.add(1);
            self.context.say(Subject::GoodbyePanicked, |suppressed| {
                tracing::error!(session = %id, panic = ?panic.text(), suppressed, "dropping a session panicked");
            });
        }
    }

    /// A connection has ended: frees its place in the counts.
    fn forget(&mut self, peer: SocketAddr, dialled: Option<u32>) {
        self.service_core.unsettle(self.index);
        match dialled {
            Some(connection) => self.connection_ended(connection),
            None => self.service_core.left(peer.ip()),
        }
    }
}
