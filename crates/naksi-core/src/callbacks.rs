//! The callbacks of a session: the boundary between the engine and application code.
//!
//! The engine passes an implementation of [`SessionCallbacks`] to every `process_*` call. A callback gets a
//! [`SessionOutput`] and cannot reach anything else of the session. Threads, rooms and panics are handled by the
//! engine.

use bytes::Bytes;
use std::time::Duration;

use crate::buffer_pool::BufferPool;
use crate::droppable_queue::{PacketClass, Placed};
use crate::ended::OsError;
use crate::flush::{Flush, FlushTimer};
use crate::frame::{self, Packet};
use crate::limits::{Limits, Overflow};
use crate::reason::DisconnectReason;
use crate::send_queue::{Pending, SendQueue, SendStatus};
use crate::session::{Spent, Throttle};
use crate::tick::Tick;
use crate::wire::{Header, Message, MessageHeader, MessageKind};

/// The callbacks of one session.
pub trait SessionCallbacks {
    /// The connection is established. Called at most once, before anything else (law 8).
    fn on_connected(&mut self, output: SessionOutput<'_>);
    /// The peer began with HELLO ([`engine_message`](crate::engine_message)) and has a packet table of this version, or
    /// none (0). Returns the version of this side's table, or 0.
    ///
    /// # Errors
    /// This side's table has another version, which is returned: the session ends with
    /// [`DisconnectReason::VersionRefused`].
    fn on_hello(&mut self, _packets: u64) -> Result<u64, u64> {
        Ok(0)
    }
    /// Raw bytes were received; returns how many were consumed. The rest is offered again with what follows.
    /// The peer began with HELLO, and has a packet table of this version, or none (0). Returns the version of this side's
    /// table, or 0.
    ///
    /// # Errors
    /// This side's table has another version, this one: the session ends with [`DisconnectReason::VersionRefused`].
    fn on_recv(&mut self, output: SessionOutput<'_>, data: &[u8]) -> usize;
    /// A whole frame came.
    fn on_packet(&mut self, output: SessionOutput<'_>, packet: Packet<'_>);
    /// A whole message came, of a transport that keeps messages apart.
    fn on_message(&mut self, _output: SessionOutput<'_>, _message: Message<'_>) {}
    /// The kernel took this many of the queued bytes, including those that a wire adds.
    fn on_sent(&mut self, output: SessionOutput<'_>, bytes: usize);
    /// The peer has closed its sending side. Returns whether answers to it are still pending: the session then stays
    /// open for them, for at most [`Limits::drain_within`], and asks again after every event.
    fn is_owed(&mut self) -> bool {
        false
    }
    /// The session accepts no more output after this: pending output from elsewhere is queued now.
    fn on_draining(&mut self, _output: SessionOutput<'_>) {}
    /// Whether the session may be given another message now. If not, it is read again in a later turn, so that a slow
    /// callback and a busy peer do not delay all other sessions.
    fn may_be_shown_more(&mut self) -> bool {
        true
    }
    /// Whether the session's wire may process a part of its handshake now. If not, it does so in a later turn, so that many
    /// handshakes at once do not delay all other sessions.
    fn may_open(&mut self) -> bool {
        true
    }
    /// The session exceeded its rate: it is paused or ended, as the limits say.
    fn on_rate_limited(&mut self) {}
    /// The session has ended; called exactly once if `on_connected` was, and nothing after it (law 8).
    fn on_disconnected(&mut self, reason: DisconnectReason, traffic: &Traffic);
    /// The session has ended before its wire opened; called instead of `on_disconnected`.
    fn on_unopened(&mut self, _reason: DisconnectReason, _traffic: &Traffic) {}
}

/// How a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseMode {
    /// Send what is queued, then shut down the sending side (FIN) and wait for the peer's FIN.
    Graceful,
    /// At once: what is queued is dropped.
    Abort,
}

/// A requested end of the session; the first reason is kept.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) reason: DisconnectReason,
    pub(crate) ending: CloseMode,
    /// The session has begun to end.
    pub(crate) begun: bool,
    /// A graceful end was requested, and then an abort.
    pub(crate) hurries: bool,
    /// The system's error, whatever the reason makes of it.
    pub(crate) os_error: Option<OsError>,
    /// The queue's contents, if the session ends because it did not keep up.
    pub(crate) slow: Option<Slow>,
}

impl End {
    pub(crate) fn new(reason: DisconnectReason, ending: CloseMode) -> Box<Self> {
        let os_error = reason.os_error();
        Box::new(Self { reason, ending, begun: false, hurries: false, os_error, slow: None })
    }
}

/// What went through a session, for the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// What the session travelled over, like `tcp` or `ws`.
    pub transport: &'static str,
    /// Bytes received from the kernel.
    pub recv_bytes: u64,
    /// Bytes that the kernel took.
    pub sent_bytes: u64,
    /// How long it was connected, to some milliseconds.
    pub age: Duration,
    /// The system's error that ended it, if one did.
    pub os_error: Option<OsError>,
}

/// What was queued for a session when it ended because it did not keep up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slow {
    /// What was queued.
    pub pending: Pending,
    /// The class of the data that did not fit; `None` if it was not droppable data.
    pub class: Option<u8>,
}

/// What a callback can do to its own session.
#[derive(Debug)]
pub struct SessionOutput<'a> {
    pub(crate) queue: &'a mut SendQueue,
    pub(crate) flush_timer: &'a mut FlushTimer,
    pub(crate) end: &'a mut Option<Box<End>>,
    pub(crate) dropped: &'a mut u32,
    pub(crate) throttle: &'a mut Throttle,
    pub(crate) open: bool,
    /// No rate holds for it.
    pub(crate) exempt: bool,
    /// The header of each send, if every send is a message of its own.
    pub(crate) message_header: Option<MessageHeader>,
    /// The bounds of the service.
    pub limits: &'a Limits,
    /// Spare buffers of the worker.
    pub buffer_pool: &'a mut BufferPool,
    /// The port's time at the start of this turn.
    pub now: Tick,
}

impl SessionOutput<'_> {
    /// Queues a copy of the bytes: a binary message, where message boundaries are kept.
    pub fn send(&mut self, bytes: &[u8]) -> SendStatus {
        self.send_parts([bytes, &[]])
    }

    /// Queues a copy of a text: a text message, where message boundaries are kept.
    pub fn send_text(&mut self, text: &str) -> SendStatus {
        match self.message_header {
            Some(header) => self.send_headed(header(MessageKind::Text, text.len()), [text.as_bytes(), &[]]),
            None => self.send(text.as_bytes()),
        }
    }

    /// Queues a frame with this id and body. A body that exceeds a frame is refused as an overflow.
    pub fn send_packet(&mut self, id: u16, body: &[u8]) -> SendStatus {
        match frame::header(id, body.len()) {
            Some(header) => self.send_parts([&header, body]),
            None => self.overflowed(),
        }
    }

    /// Queues bytes that several sessions share.
    pub fn send_shared(&mut self, bytes: &Bytes) -> SendStatus {
        if !self.is_open() {
            return SendStatus::Closed;
        }
        self.queue.look(self.now);
        let fits = match self.message_header {
            None => self.queue.push_shared(bytes, self.limits, self.buffer_pool),
            Some(header) => {
                let header = header(MessageKind::Binary, bytes.len());
                self.queue.push_message(header.as_slice(), bytes, self.limits, self.buffer_pool)
            }
        };
        if fits { SendStatus::Queued } else { self.overflowed() }
    }

    /// The same for bytes whose owner counts their memory; see [`SendQueue::push_counted`].
    pub fn send_counted(&mut self, bytes: &Bytes) -> SendStatus {
        if self.message_header.is_some() {
            return self.send_shared(bytes);
        }
        if !self.is_open() {
            return SendStatus::Closed;
        }
        self.queue.look(self.now);
        if self.queue.push_counted(bytes, self.limits, self.buffer_pool) {
            SendStatus::Queued
        } else {
            self.overflowed()
        }
    }

    /// Queues data that may be dropped if the session does not keep up; `key` is used by classes that keep the
    /// latest.
    pub fn send_droppable(&mut self, class: PacketClass, key: u64, bytes: &Bytes) -> SendStatus {
        if !self.is_open() {
            return SendStatus::Closed;
        }
        self.queue.look(self.now);
        let message = self.message_header.map(|header| {
            let header = header(MessageKind::Binary, bytes.len());
            Bytes::from([header.as_slice(), bytes].concat())
        });
        let bytes = message.as_ref().unwrap_or(bytes);
        match self.queue.push_data((class, key), bytes, self.now, self.limits, self.buffer_pool) {
            Placed::Waits => SendStatus::Queued,
            Placed::Instead(others) => {
                *self.dropped = self.dropped.saturating_add(others.try_into().unwrap_or(u32::MAX));
                SendStatus::Queued
            }
            Placed::Dropped => {
                *self.dropped = self.dropped.saturating_add(1);
                SendStatus::Dropped
            }
            Placed::End => self.give_up_on_it(Some(class.number)),
        }
    }

    /// What is queued.
    pub fn pending(&self) -> Pending {
        self.queue.pending(self.now)
    }

    /// Sets when queued data is sent; data that waits under the old policy is sent at once.
    pub fn set_flush(&mut self, flush: Flush) {
        self.flush_timer.set(flush);
    }

    /// What is queued leaves with this turn, whatever the policy is.
    pub fn flush(&mut self) {
        if self.queue.is_waiting() {
            self.flush_timer.hurry();
        }
    }

    /// Stops delivering data to the session for this turn, so that what it has produced is sent first.
    pub fn rest(&mut self) {
        self.throttle.rest(self.now);
    }

    /// Charges the session for memory that it made a room hold. Over [`Limits::room_backlog_bytes_max`], or if the
    /// room is crowded, the session is paused until rooms have processed half of that
    /// ([`Session::taken`](crate::session::Session::taken)). Returns whether the pause begins now.
    pub fn bring(&mut self, bytes: u32, is_crowded: bool) -> bool {
        self.throttle.bring(bytes, is_crowded, self.limits)
    }

    /// Whether the session waits for rooms to process what it sent.
    pub fn waits_for_rooms(&self) -> bool {
        self.throttle.waits()
    }

    /// Counts a join against the session's rate. With [`Spent::Ended`] the join must not happen: the session ends
    /// with [`DisconnectReason::RateExceeded`].
    pub fn spend_join(&mut self) -> Spent {
        if self.exempt {
            return Spent::Within;
        }
        let spent = self.throttle.spend_join(self.now, self.limits);
        if spent == Spent::Ended {
            self.end(DisconnectReason::RateExceeded, CloseMode::Abort);
        }
        spent
    }

    /// Whether the session gets no more data for now: its queue is over the high mark, it is over a rate, rooms have
    /// not processed what it sent, or it is ending.
    pub fn is_held_back(&self) -> bool {
        !self.is_open() || self.queue.is_congested() || self.throttle.is_paused()
    }

    /// Requests an end after this callback; the first request is kept, except that an abort replaces a graceful one.
    pub fn end(&mut self, reason: DisconnectReason, ending: CloseMode) {
        match self.end {
            Some(end) if end.begun => end.hurries |= ending == CloseMode::Abort,
            Some(end) if end.ending == CloseMode::Abort || ending == CloseMode::Graceful => {}
            _ => *self.end = Some(End::new(reason, ending)),
        }
    }

    /// The same output for a shorter time.
    pub fn reborrow(&mut self) -> SessionOutput<'_> {
        SessionOutput {
            queue: self.queue,
            flush_timer: self.flush_timer,
            end: self.end,
            dropped: self.dropped,
            throttle: self.throttle,
            open: self.open,
            exempt: self.exempt,
            message_header: self.message_header,
            limits: self.limits,
            buffer_pool: self.buffer_pool,
            now: self.now,
        }
    }

    /// Whether bytes queued now would still be sent.
    pub fn is_open(&self) -> bool {
        self.open && self.end.is_none()
    }

    /// Bytes queued and not yet taken by the kernel.
    pub fn pending_bytes(&self) -> usize {
        self.queue.bytes()
    }

    /// Whether the queue is over its high mark; the session should send less.
    pub fn is_congested(&self) -> bool {
        self.queue.is_congested()
    }

    fn send_parts(&mut self, parts: [&[u8]; 2]) -> SendStatus {
        if let Some(header) = self.message_header {
            return self.send_headed(header(MessageKind::Binary, parts[0].len() + parts[1].len()), parts);
        }
        if !self.is_open() {
            return SendStatus::Closed;
        }
        self.queue.look(self.now);
        if self.queue.push(parts, self.limits, self.buffer_pool) {
            SendStatus::Queued
        } else {
            self.overflowed()
        }
    }

    /// As [`SessionOutput::send_parts`], behind a message's header.
    #[cold]
    fn send_headed(&mut self, header: Header, parts: [&[u8]; 2]) -> SendStatus {
        if !self.is_open() {
            return SendStatus::Closed;
        }
        self.queue.look(self.now);
        if self.queue.push_headed(header.as_slice(), parts, self.limits, self.buffer_pool) {
            SendStatus::Queued
        } else {
            self.overflowed()
        }
    }

    fn overflowed(&mut self) -> SendStatus {
        match self.limits.overflow {
            Overflow::DropNew => {
                *self.dropped = self.dropped.saturating_add(1);
                SendStatus::Dropped
            }
            Overflow::EndSession => self.give_up_on_it(None),
        }
    }

    fn give_up_on_it(&mut self, class: Option<u8>) -> SendStatus {
        let pending = self.queue.pending(self.now);
        self.end(DisconnectReason::SendQueueFull, CloseMode::Abort);
        if let Some(end) = self.end {
            end.slow.get_or_insert(Slow { pending, class });
        }
        SendStatus::Overflowed
    }
}
