//! A session behind a wire: received data is opened before it is read, and a batch is sealed before it is sent.
//!
//! A sealed batch stays sealed until the kernel has taken all of it, and nothing else is sent before the rest of it.

use std::fmt;

use super::engine::EngineMessages;
use super::{Request, Session, State, Verb};
use crate::batch::{Segment, SendBatch};
use crate::buffer_pool::BufferPool;
use crate::callbacks::{CloseMode, End, SessionCallbacks};
use crate::lease::Lease;
use crate::limits::Limits;
use crate::op::Op;
use crate::reason::DisconnectReason;
use crate::session::Context;
use crate::tick::Tick;
use crate::wire::{Message, MessageHeader, Plain, Wire};

/// What a session has that is not plain TCP.
#[derive(Debug)]
pub(super) struct Wired {
    /// `None` only while it opens something.
    wire: Option<Box<dyn Wire>>,
    pub(super) message_header: Option<MessageHeader>,
    /// The wire's own output.
    answer: Vec<u8>,
    /// What the kernel has not taken of the last batch.
    rest: SendBatch,
    /// The handshake is done: the user knows of the connection.
    pub(super) is_opened: bool,
    said_goodbye: bool,
    /// Released when the handshake is done, or the session is over.
    handshake: Option<Box<dyn fmt::Debug>>,
    /// What came during the handshake and could not be processed in its turn.
    unopened: Vec<u8>,
    /// When it could not.
    unopened_at: Tick,
    /// Since when the wire keeps a part of a message.
    pub(super) within_since: Option<Tick>,
    /// The wire's name in the log.
    pub(super) transport: &'static str,
}

impl Wired {
    #[inline(never)]
    pub(super) fn held_bytes(&self) -> usize {
        let wire = self.wire.as_ref().map_or(0, |wire| wire.held_bytes());
        size_of::<Self>() + wire + self.answer.capacity() + self.unopened.capacity()
    }

    pub(super) fn cut(&self) -> Option<DisconnectReason> {
        self.wire.as_ref()?.cut()
    }

    /// Whether the wire has produced all its output for the end of the connection.
    pub(super) fn is_finished(&self) -> bool {
        self.said_goodbye && self.answer.is_empty()
    }

    pub(super) fn ping(&mut self) {
        if let Some(wire) = &mut self.wire {
            wire.ping(&mut self.answer);
        }
    }

    /// What was sealed and not sent is dropped.
    pub(super) fn abandon(&mut self, buffer_pool: &mut BufferPool) {
        buffer_pool.put_batch(std::mem::take(&mut self.rest));
        (self.answer, self.unopened) = (Vec::new(), Vec::new());
    }

    /// The handshake is done, or never will be.
    pub(super) fn ends_handshake(&mut self) {
        self.handshake = None;
    }
}

impl Session {
    /// The same session behind a wire, which has to open before `on_connected` is called. `transport` is its name in the
    /// log, like `ws`.
    #[must_use]
    pub fn with_wire(mut self, mut wire: Box<dyn Wire>, transport: &'static str) -> Self {
        let mut answer = Vec::new();
        wire.begin(&mut answer);
        let message_header = wire.message_header();
        self.egress.wired = Some(Box::new(Wired {
            wire: Some(wire),
            message_header,
            answer,
            rest: SendBatch::new(),
            is_opened: false,
            said_goodbye: false,
            handshake: None,
            unopened: Vec::new(),
            unopened_at: Tick::ZERO,
            within_since: None,
            transport,
        }));
        self.state = State::Opening;
        self
    }

    /// Holds this value until the handshake of the session's wire is done, or the session is over.
    #[must_use]
    pub fn with_handshake(mut self, held: Box<dyn fmt::Debug>) -> Self {
        if let Some(wired) = &mut self.egress.wired {
            wired.handshake = Some(held);
        }
        self
    }

    /// Whether `on_connected` was called.
    pub(super) fn is_opened(&self) -> bool {
        self.egress.wired.as_ref().is_none_or(|wired| wired.is_opened)
    }

    /// Whether nothing is left to send, nor to be produced by a wire.
    pub(super) fn is_flushed(&self) -> bool {
        self.egress.queue.is_empty() && self.egress.wired.as_ref().is_none_or(|wired| wired.is_finished())
    }

    /// Has the wire open received data; also while the session is ending, because it may contain the peer's end.
    #[inline(never)]
    pub(super) fn open_lease(
        &mut self,
        mut lease: Lease,
        cx: &mut Context<'_>,
        callbacks: &mut impl SessionCallbacks,
    ) {
        if self.state == State::Opening && (self.has_unopened() || !callbacks.may_open()) {
            return self.keep_unopened(&lease, cx);
        }
        self.open_bytes(lease.bytes_mut(), cx, callbacks);
    }

    /// Whether received bytes of the handshake wait for a later turn.
    pub(super) fn has_unopened(&self) -> bool {
        self.egress.wired.as_ref().is_some_and(|wired| !wired.unopened.is_empty())
    }

    /// When to process bytes of the handshake that wait, if there are any.
    pub(super) fn opens_again(&self) -> Option<Tick> {
        self.egress.wired.as_ref().filter(|wired| !wired.unopened.is_empty()).map(|wired| wired.unopened_at)
    }

    #[cold]
    fn keep_unopened(&mut self, bytes: &[u8], cx: &mut Context<'_>) {
        let Some(wired) = &mut self.egress.wired else { return };
        wired.unopened_at = cx.now;
        wired.unopened.extend_from_slice(bytes);
        // The session is not read any more; what the kernel has brought already has this bound.
        if wired.unopened.len() > cx.limits.recv_backlog_bytes_max {
            self.begin_ending(DisconnectReason::RecvBacklogFull, cx);
        }
    }

    /// Processes bytes of the handshake that waited, if this turn has time for it.
    #[cold]
    pub(super) fn open_again(&mut self, cx: &mut Context<'_>, callbacks: &mut impl SessionCallbacks) {
        if !self.has_unopened() {
            return;
        }
        let may_open = callbacks.may_open();
        let Some(wired) = &mut self.egress.wired else { return };
        if !may_open {
            wired.unopened_at = cx.now;
            return;
        }
        let mut bytes = std::mem::take(&mut wired.unopened);
        self.open_bytes(&mut bytes, cx, callbacks);
    }

    fn open_bytes(&mut self, bytes: &mut [u8], cx: &mut Context<'_>, callbacks: &mut impl SessionCallbacks) {
        let Some(wired) = &mut self.egress.wired else { return };
        let Some(mut wire) = wired.wire.take() else { return };
        let mut answer = std::mem::take(&mut wired.answer);
        let opened = wire.open(bytes, &mut Shown { session: self, cx, callbacks, shown: false }, &mut answer);
        let within = wire.is_within_message();
        if let Some(wired) = &mut self.egress.wired {
            (wired.wire, wired.answer) = (Some(wire), answer);
            wired.within_since = within.then(|| wired.within_since.unwrap_or(cx.now));
            if matches!(self.state, State::Ending | State::Closing | State::Over) {
                wired.abandon(cx.buffer_pool);
            }
        }
        if let Err(reason) = opened {
            self.part(reason, cx);
        }
    }

    /// Ends the session because of what the peer sent. A wire, and a session that exchanges messages of the
    /// engine, send the reason after the queued data.
    pub(super) fn part(&mut self, reason: DisconnectReason, cx: &mut Context<'_>) {
        let is_told = self.egress.wired.is_some() || self.egress.engine_messages == EngineMessages::On;
        if !is_told || !matches!(self.state, State::Opening | State::Connected) {
            return self.begin_ending(reason, cx);
        }
        if self.egress.end.is_none() {
            self.egress.end = Some(End::new(reason, CloseMode::Graceful));
        }
        self.begin_draining(cx);
    }

    /// As [`Session::register_send`] for a session behind a wire.
    #[inline(never)]
    pub(super) fn register_sealed(&mut self, now: Tick, buffer_pool: &mut BufferPool) -> Option<Request> {
        let holds = self.holds_bytes() && self.egress.flush_timer.holds(now);
        let queue = &mut self.egress.queue;
        let wired = self.egress.wired.as_mut()?;
        if queue.is_flying() {
            return None;
        }
        let mut batch = std::mem::take(&mut wired.rest);
        let wire = wired.wire.as_mut()?;
        if !wired.said_goodbye {
            wire.speak(&mut wired.answer);
        }
        push(&mut batch, &mut wired.answer, buffer_pool);
        if !holds && let Some(plain) = queue.take_waiting() {
            let sealed = wire.seal(plain, buffer_pool);
            match batch.is_empty() {
                true => batch = sealed,
                false => buffer_pool.put_batch(batch.join(sealed)),
            }
            self.egress.flush_timer.left();
        }
        self.say_goodbye();
        if let Some(wired) = &mut self.egress.wired {
            push(&mut batch, &mut wired.answer, buffer_pool);
        }
        if batch.is_empty() {
            return None;
        }
        self.egress.queue.fly(&batch);
        self.sent_at = now;
        Some(Request::Submit(Verb::Send, Op::Send { socket: self.socket, batch }))
    }

    /// Calls the wire's goodbye when nothing is left to seal; droppable data joins the queue first.
    pub(super) fn say_goodbye(&mut self) {
        if self.state != State::Draining || self.egress.queue.has_more() {
            return;
        }
        if let (Some(wired), Some(end)) = (&mut self.egress.wired, &self.egress.end)
            && let Some(wire) = &mut wired.wire
            && !std::mem::replace(&mut wired.said_goodbye, true)
        {
            wire.goodbye(&end.reason, &mut wired.answer);
        }
    }

    /// A sealed batch returned. What is left of it is sent first. Returns whether something is.
    #[inline(never)]
    pub(super) fn sealed_returned(
        &mut self,
        batch: SendBatch,
        sent: usize,
        limits: &Limits,
        buffer_pool: &mut BufferPool,
    ) -> bool {
        let rest = self.egress.queue.returned_sealed(batch, sent, limits, buffer_pool);
        match (rest, &mut self.egress.wired) {
            (Some(rest), Some(wired)) => {
                wired.rest = rest;
                true
            }
            _ => false,
        }
    }
}

/// Appends the wire's own output to the batch.
fn push(batch: &mut SendBatch, answer: &mut Vec<u8>, buffer_pool: &mut BufferPool) {
    if answer.is_empty() {
        return;
    }
    if batch.is_empty() {
        *batch = buffer_pool.batch();
    }
    batch.push(Segment::Owned(std::mem::take(answer)));
}

/// Shows the session what its wire has opened.
struct Shown<'a, 'b, C> {
    session: &'a mut Session,
    cx: &'a mut Context<'b>,
    callbacks: &'a mut C,
    /// A message of these bytes was shown.
    shown: bool,
}

impl<C: SessionCallbacks> Plain for Shown<'_, '_, C> {
    fn opened(&mut self) {
        let session = &mut *self.session;
        if session.state != State::Opening {
            return;
        }
        session.state = State::Connected;
        if let Some(wired) = &mut session.egress.wired {
            wired.is_opened = true;
            wired.ends_handshake();
        }
        self.callbacks.on_connected(session.egress.output(true, self.cx));
    }

    fn bytes(&mut self, plain: &mut [u8]) {
        if let Some(wired) = &mut self.session.egress.wired {
            wired.within_since = None;
        }
        if self.session.state == State::Connected {
            self.session.take_in(plain, self.cx, self.callbacks);
        }
    }

    fn message(&mut self, message: Message<'_>) {
        if let Some(wired) = &mut self.session.egress.wired {
            wired.within_since = None;
        }
        if self.session.state == State::Connected {
            self.session.take_message(message, &mut self.shown, self.cx, self.callbacks);
        }
    }

    fn control(&mut self, bytes: usize) {
        self.session.egress.spend_message(bytes, self.cx);
    }

    fn closed(&mut self) {
        self.session.peer_finished = true;
    }
}
