//! The state machine of one connection, without I/O.
//!
//! `register` returns the operations that the session needs, `process` handles their completions, and the `on_*`
//! calls of [`SessionCallbacks`] reach the application: the lectures' three kinds of method. The caller drains
//! `register` after every `process`, so the next receive is never forgotten.
//!
//! ```text
//!            peer's FIN, end(Flush)          queue flushed          peer's FIN, deadline
//! Connected ───────────────────────► Draining ──────────► Lingering ────────────────► Ending ─► Closing ─► Over
//!     └────────────── reset, violation, panic, end(Now), deadline ───────────────────────▲
//! ```
//!
//! A session behind a [`Wire`](crate::wire::Wire) begins in *Opening*, before `on_connected`. *Ending* waits for
//! every operation in flight, then calls `on_disconnected` once, then closes the socket (law 4).

use crate::batch::SendBatch;
use crate::buffer_pool::BufferPool;
use crate::callbacks::{CloseMode, End, SessionCallbacks, SessionOutput, Slow, Traffic};
use crate::completion::Done;
use crate::ended::{Ended, Failure, OsError};
use crate::flush::FlushTimer;
use crate::id::Handle;
use crate::lease::Lease;
use crate::limits::Limits;
use crate::op::{Op, ShutdownHow};
use crate::reason::DisconnectReason;
use crate::recv_buffer::RecvBuffer;
use crate::send_queue::SendQueue;
use crate::tick::Tick;
use std::time::Duration;

mod deadlines;
mod engine;
mod flushing;
mod messages;
mod reading;
#[cfg(test)]
mod tests;
mod throttle;
mod weight;
mod wired;

use engine::EngineMessages;
pub use throttle::Spent;
pub(crate) use throttle::Throttle;

/// How a session reads its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Bytes as they come, to `on_recv`.
    Raw,
    /// Whole frames, to `on_packet`.
    Packets,
    /// Whole messages of a transport that keeps message boundaries (WebSocket), through `on_message`; over plain TCP,
    /// which does not, raw bytes through `on_recv`.
    Messages,
}

/// Which of a session's operations; the kind of its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Verb {
    /// Receive, for as long as the stream lasts.
    Recv = 1,
    /// Send one batch.
    Send = 2,
    /// Shutdown.
    Shutdown = 3,
    /// Close.
    Close = 4,
}

impl Verb {
    /// The verb back from a token's kind.
    pub fn from_kind(kind: u8) -> Option<Self> {
        [Verb::Recv, Verb::Send, Verb::Shutdown, Verb::Close].into_iter().find(|verb| *verb as u8 == kind)
    }
}

/// What a session wants.
#[derive(Debug)]
pub enum Request {
    /// Submit this operation.
    Submit(Verb, Op),
    /// Cancel the operation of this verb.
    Cancel(Verb),
}

/// What a session borrows for the length of one call.
#[derive(Debug)]
pub struct Context<'a> {
    /// The port's time at the start of this turn.
    pub now: Tick,
    /// The bounds of the service.
    pub limits: &'a Limits,
    /// Spare buffers of the worker.
    pub buffer_pool: &'a mut BufferPool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Its wire is not open yet, and `on_connected` has not been called.
    Opening,
    Connected,
    Draining,
    Lingering,
    Ending,
    Closing,
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Receiving {
    Idle,
    Running,
    Cancelling,
}

/// What callbacks can touch, apart from what they are shown.
#[derive(Debug, Default)]
struct Egress {
    queue: SendQueue,
    flush_timer: FlushTimer,
    /// Why and how it ends, once an end was requested.
    end: Option<Box<End>>,
    dropped: u32,
    throttle: Throttle,
    /// No rate holds for it.
    exempt: bool,
    engine_messages: EngineMessages,
    /// The wire between it and the socket; `None` for plain TCP.
    wired: Option<Box<wired::Wired>>,
}

impl Egress {
    fn output<'a>(&'a mut self, open: bool, cx: &'a mut Context<'_>) -> SessionOutput<'a> {
        SessionOutput {
            queue: &mut self.queue,
            flush_timer: &mut self.flush_timer,
            end: &mut self.end,
            dropped: &mut self.dropped,
            throttle: &mut self.throttle,
            open,
            exempt: self.exempt,
            message_header: self.wired.as_ref().and_then(|wired| wired.message_header),
            limits: cx.limits,
            buffer_pool: cx.buffer_pool,
            now: cx.now,
        }
    }

    /// Whether the user should be shown nothing more for now.
    fn holds_back(&self) -> bool {
        self.is_paused() || self.end.is_some()
    }

    /// Whether reading is paused, because its queue is full or because of what the session has sent.
    fn is_paused(&self) -> bool {
        self.queue.is_congested() || self.throttle.is_paused()
    }
}

/// One connection.
#[derive(Debug)]
pub struct Session {
    socket: Handle,
    framing: Framing,
    state: State,
    receiving: Receiving,
    /// A shutdown is with the kernel.
    control: bool,
    /// Both directions were shut down by us.
    cut: bool,
    /// Operations in flight were cancelled because the shutdown did not complete them.
    recalled: bool,
    /// The peer sent its FIN.
    peer_finished: bool,
    /// The first whole frame has come.
    greeted: bool,
    told: bool,
    /// When it was connected, in [`AGE_UNIT_BITS`].
    opened_at: u32,
    /// Bytes received, and bytes sent.
    recv_bytes: u64,
    sent_bytes: u64,
    buffer: RecvBuffer,
    egress: Egress,
    /// When the present state began.
    since: Tick,
    received_at: Tick,
    /// When a batch last left or made progress.
    sent_at: Tick,
}

impl Session {
    /// A session on a newly connected socket. Call [`Session::connected`] next.
    pub fn new(socket: Handle, framing: Framing, now: Tick) -> Self {
        Self {
            socket,
            framing,
            state: State::Connected,
            receiving: Receiving::Idle,
            control: false,
            cut: false,
            recalled: false,
            peer_finished: false,
            greeted: false,
            told: false,
            opened_at: age_units(now),
            recv_bytes: 0,
            sent_bytes: 0,
            buffer: RecvBuffer::default(),
            egress: Egress::default(),
            since: now,
            received_at: now,
            sent_at: now,
        }
    }

    /// The connection is established. Calls `on_connected` now, or later when the wire has opened.
    pub fn connected(&mut self, cx: &mut Context<'_>, callbacks: &mut impl SessionCallbacks) {
        if self.state == State::Connected {
            callbacks.on_connected(self.egress.output(true, cx));
        }
        self.settle(cx, callbacks);
    }

    /// The next thing the session wants, until there is nothing more.
    pub fn register(&mut self, now: Tick, buffer_pool: &mut BufferPool) -> Option<Request> {
        match self.state {
            State::Opening | State::Connected | State::Draining | State::Lingering => self
                .register_recv()
                .or_else(|| self.register_send(now, buffer_pool))
                .or_else(|| self.register_goodbye(now)),
            State::Ending => self.register_end(),
            State::Closing | State::Over => None,
        }
    }

    /// Takes what came back for one of the session's own operations.
    pub fn process(
        &mut self,
        done: Done,
        more: bool,
        cx: &mut Context<'_>,
        callbacks: &mut impl SessionCallbacks,
    ) {
        match done {
            Done::Recv(result) => self.process_recv(result, more, cx, callbacks),
            Done::Send(batch, result) => self.process_send(batch, result, cx, callbacks),
            Done::Shutdown(_) => self.control = false,
            Done::Close => self.process_close(),
            other => unreachable!("a session never asked for {other:?}"),
        }
        self.settle(cx, callbacks);
    }

    /// Runs code on the session outside its callbacks: a send from elsewhere, a timer.
    pub fn with_output<C: SessionCallbacks, R>(
        &mut self,
        cx: &mut Context<'_>,
        callbacks: &mut C,
        run: impl FnOnce(&mut C, SessionOutput<'_>) -> R,
    ) -> R {
        let open = self.state == State::Connected;
        let result = run(callbacks, self.egress.output(open, cx));
        self.settle(cx, callbacks);
        result
    }

    /// Ends the session from outside its callbacks.
    pub fn end(
        &mut self,
        reason: DisconnectReason,
        ending: CloseMode,
        cx: &mut Context<'_>,
        callbacks: &mut impl SessionCallbacks,
    ) {
        if ending == CloseMode::Graceful && self.is_open() {
            callbacks.on_draining(self.egress.output(true, cx));
        }
        self.egress.output(true, cx).end(reason, ending);
        self.settle(cx, callbacks);
    }

    /// Reports the disconnect now, without waiting for operations in flight.
    pub fn give_up(
        &mut self,
        reason: DisconnectReason,
        cx: &mut Context<'_>,
        callbacks: &mut impl SessionCallbacks,
    ) {
        self.begin_ending(reason, cx);
        if self.state == State::Ending {
            self.tell(cx.now, callbacks);
        }
    }

    /// Marks the peer as trusted: the limits before the first whole frame and the rates do not apply.
    pub fn trust(&mut self) {
        self.greeted = true;
        self.egress.exempt = true;
    }

    /// Checks the deadlines and ends the session if one had passed at `until`, which is now, or the time up to which
    /// everything that had arrived has been read.
    pub fn check_deadline(
        &mut self,
        until: Tick,
        cx: &mut Context<'_>,
        callbacks: &mut impl SessionCallbacks,
    ) {
        self.read_again(cx, callbacks);
        match self.late(until, cx.limits) {
            Some(None) => self.cut_short(cx),
            Some(Some(reason)) if reason != DisconnectReason::SendStalled => self.part(reason, cx),
            Some(Some(reason)) => {
                let pending = self.egress.queue.pending(cx.now);
                self.begin_ending(reason, cx);
                if let Some(end) = &mut self.egress.end {
                    end.slow = Some(Slow { pending, class: None });
                }
            }
            None => self.beat(cx),
        }
        self.settle(cx, callbacks);
    }

    /// Whether user callbacks may still come.
    pub fn is_live(&self) -> bool {
        !self.told
    }

    /// Whether bytes queued now would be sent.
    pub fn is_open(&self) -> bool {
        self.state == State::Connected
    }

    /// The reason, once the socket is closed and the slot may be freed.
    pub fn over(&self) -> Option<DisconnectReason> {
        let end = self.egress.end.as_ref().filter(|_| self.state == State::Over)?;
        Some(end.reason.clone())
    }

    /// What was queued when the session ended because it did not keep up, if that is why.
    pub fn slow(&self) -> Option<&Slow> {
        self.egress.end.as_ref()?.slow.as_ref()
    }

    /// Messages that the overflow policy has dropped since the last call.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.egress.dropped).into()
    }

    fn register_recv(&mut self) -> Option<Request> {
        // A draining or lingering session still receives, to see the peer's end; the bytes are dropped.
        let paused = match self.state {
            State::Connected => self.egress.holds_back(),
            State::Opening => self.has_unopened(),
            _ => false,
        };
        match self.receiving {
            Receiving::Idle if !paused && !self.peer_finished => {
                self.receiving = Receiving::Running;
                Some(Request::Submit(Verb::Recv, Op::Recv { socket: self.socket }))
            }
            Receiving::Running if paused => {
                self.receiving = Receiving::Cancelling;
                Some(Request::Cancel(Verb::Recv))
            }
            _ => None,
        }
    }

    fn register_goodbye(&mut self, now: Tick) -> Option<Request> {
        if self.state != State::Draining {
            return None;
        }
        // A peer that has finished needs no shutdown: `settle` began the end when the queue became empty.
        if !self.is_flushed() || self.peer_finished {
            return None;
        }
        self.state = State::Lingering;
        self.since = now;
        self.control = true;
        let op = Op::Shutdown { socket: self.socket, how: ShutdownHow::Write };
        Some(Request::Submit(Verb::Shutdown, op))
    }

    fn register_end(&mut self) -> Option<Request> {
        if self.control {
            return None;
        }
        if self.in_flight() {
            if !self.cut {
                self.cut = true;
                self.control = true;
                let op = Op::Shutdown { socket: self.socket, how: ShutdownHow::Both };
                return Some(Request::Submit(Verb::Shutdown, op));
            }
            return self.recall();
        }
        // `settle` calls `on_disconnected` before the close: from here on only the close is in flight.
        if !self.told {
            return None;
        }
        self.state = State::Closing;
        Some(Request::Submit(Verb::Close, Op::Close { handle: self.socket }))
    }

    /// The shutdown has completed and operations are still in flight: cancels them, once.
    fn recall(&mut self) -> Option<Request> {
        if self.receiving == Receiving::Running {
            self.receiving = Receiving::Cancelling;
            return Some(Request::Cancel(Verb::Recv));
        }
        if self.egress.queue.is_flying() && !self.recalled {
            self.recalled = true;
            return Some(Request::Cancel(Verb::Send));
        }
        None
    }

    fn in_flight(&self) -> bool {
        self.receiving != Receiving::Idle || self.egress.queue.is_flying() || self.control
    }

    fn process_recv(
        &mut self,
        result: Result<Lease, Ended>,
        more: bool,
        cx: &mut Context<'_>,
        callbacks: &mut impl SessionCallbacks,
    ) {
        if !more {
            self.receiving = Receiving::Idle;
        }
        match result {
            Ok(lease) => {
                self.received_at = cx.now;
                self.recv_bytes += lease.len() as u64;
                if self.state == State::Connected {
                    self.take_lease(lease, cx, callbacks);
                } else if self.egress.wired.is_some() {
                    self.open_lease(lease, cx, callbacks);
                }
            }
            Err(Ended::Closed) => (self.peer_finished, self.received_at) = (true, cx.now),
            Err(Ended::Reset) => self.begin_ending(DisconnectReason::PeerReset, cx),
            // Our own pause or shutdown; handled where it was started.
            Err(Ended::Aborted) => {}
            Err(Ended::Failed(error)) => self.fail(error, cx),
        }
    }

    fn process_send(
        &mut self,
        batch: SendBatch,
        result: Result<u32, Ended>,
        cx: &mut Context<'_>,
        callbacks: &mut impl SessionCallbacks,
    ) {
        let was_congested = self.egress.queue.is_congested();
        self.sent_bytes += u64::from(*result.as_ref().unwrap_or(&0));
        match result {
            Ok(sent) if self.state != State::Ending => {
                let left = if self.egress.wired.is_some() {
                    self.sealed_returned(batch, sent as usize, cx.limits, cx.buffer_pool)
                } else {
                    self.egress.queue.returned(batch, sent as usize, cx.limits, cx.buffer_pool)
                };
                if left {
                    // Its tick has come already.
                    self.egress.flush_timer.hurry();
                }
                self.sent_at = cx.now;
                let open = self.state == State::Connected;
                if self.is_opened() {
                    callbacks.on_sent(self.egress.output(open, cx), sent as usize);
                }
                if was_congested && !self.egress.queue.is_congested() {
                    self.resume(cx, callbacks);
                }
            }
            result => {
                self.egress.queue.abandon_flying(batch, cx.buffer_pool);
                match result {
                    Err(Ended::Failed(error)) => self.fail(error, cx),
                    Err(Ended::Reset | Ended::Closed) => self.begin_ending(DisconnectReason::PeerReset, cx),
                    Err(Ended::Aborted) | Ok(_) => self.fail(OsError::new(Failure::Other, 0), cx),
                }
            }
        }
    }

    fn process_close(&mut self) {
        assert_eq!(self.state, State::Closing, "closed without having asked for it");
        self.state = State::Over;
    }

    /// Applies the consequences of an event. Every entry point ends with this call.
    fn settle(&mut self, cx: &mut Context<'_>, callbacks: &mut impl SessionCallbacks) {
        if self.state == State::Connected && self.egress.is_paused() {
            self.egress.throttle.pauses_from(cx.now);
        }
        if let Some(end) = &self.egress.end {
            match (end.begun, end.ending) {
                (false, CloseMode::Graceful) => self.begin_draining(cx),
                (false, _) => self.cut_short(cx),
                (true, _) if end.hurries => self.cut_short(cx),
                (true, _) => {}
            }
        }
        let is_left = self.state == State::Opening && self.peer_finished && self.egress.end.is_none();
        // What the peer said of its end may be in the part of the handshake that waits for a turn.
        if is_left && !self.has_unopened() {
            self.begin_ending(DisconnectReason::PeerClosed, cx);
        }
        if self.hears_out(cx.limits).is_some_and(|until| until <= cx.now || !callbacks.is_owed()) {
            let wired = self.egress.wired.as_ref().and_then(|wired| wired.cut());
            let cut = self.framing == Framing::Packets && !self.buffer.is_empty();
            let cut = if cut { Some(DisconnectReason::TruncatedFrame) } else { wired };
            let reason = cut.unwrap_or(DisconnectReason::PeerClosed);
            callbacks.on_draining(self.egress.output(true, cx));
            if self.egress.end.is_some() {
                self.cut_short(cx);
            } else {
                self.egress.end = Some(End::new(reason, CloseMode::Graceful));
                self.begin_draining(cx);
            }
        }
        if self.egress.wired.is_some() {
            self.say_goodbye();
        }
        if matches!(self.state, State::Draining | State::Lingering) && self.peer_finished && self.is_flushed()
        {
            self.state = State::Ending;
        }
        if self.state == State::Ending && !self.in_flight() && !self.told {
            self.tell(cx.now, callbacks);
        }
    }

    fn tell(&mut self, now: Tick, callbacks: &mut impl SessionCallbacks) {
        if std::mem::replace(&mut self.told, true) {
            return;
        }
        let Some(end) = &self.egress.end else { unreachable!("what ends has a reason") };
        let age = u64::from(age_units(now).wrapping_sub(self.opened_at)) << AGE_UNIT_BITS;
        let traffic = Traffic {
            transport: self.egress.wired.as_ref().map_or("tcp", |wired| wired.transport),
            recv_bytes: self.recv_bytes,
            sent_bytes: self.sent_bytes,
            age: Duration::from_nanos(age),
            os_error: end.os_error,
        };
        if let Some(wired) = &mut self.egress.wired {
            wired.ends_handshake();
        }
        if self.is_opened() {
            callbacks.on_disconnected(end.reason.clone(), &traffic);
        } else {
            callbacks.on_unopened(end.reason.clone(), &traffic);
        }
    }

    /// Starts a requested graceful end: no more data is delivered, and queued data is sent.
    fn begin_draining(&mut self, cx: &mut Context<'_>) {
        if let Some(end) = &mut self.egress.end {
            end.begun = true;
        }
        if matches!(self.state, State::Opening | State::Connected) {
            self.state = State::Draining;
            self.since = cx.now;
            self.buffer.clear(cx.buffer_pool);
            if self.egress.engine_messages != EngineMessages::Off {
                self.say_close(cx);
            }
        }
    }

    /// The system failed an operation under the session.
    fn fail(&mut self, error: OsError, cx: &mut Context<'_>) {
        self.begin_ending(DisconnectReason::from_system(error), cx);
        if let Some(end) = &mut self.egress.end {
            end.os_error.get_or_insert(error);
        }
    }

    /// The first reason is kept: later events of a session that is ending are its consequences.
    fn begin_ending(&mut self, reason: DisconnectReason, cx: &mut Context<'_>) {
        // A request of the running callback has not begun, so it does not count as the first reason.
        if self.egress.end.as_ref().is_none_or(|end| !end.begun) {
            self.egress.end = Some(End::new(reason, CloseMode::Abort));
        }
        self.cut_short(cx);
    }

    /// Ends at once, for the reason that there is.
    fn cut_short(&mut self, cx: &mut Context<'_>) {
        if let Some(end) = &mut self.egress.end {
            (end.begun, end.hurries) = (true, false);
        }
        if matches!(self.state, State::Ending | State::Closing | State::Over) {
            return;
        }
        self.state = State::Ending;
        self.since = cx.now;
        self.buffer.clear(cx.buffer_pool);
        self.egress.queue.abandon(cx.buffer_pool);
        if let Some(wired) = &mut self.egress.wired {
            wired.abandon(cx.buffer_pool);
        }
    }
}

/// Ages are stored in units of 2^22 nanoseconds: 4.2 ms, wrapping around after 208 days.
const AGE_UNIT_BITS: u32 = 22;

fn age_units(at: Tick) -> u32 {
    (at.nanos() >> AGE_UNIT_BITS) as u32
}
