//! What other threads hand to a worker: sockets, bytes for a session, a topic's batch, the order to stop.
//!
//! A queue without a lock, and a bell: the first message of a batch posts once to the worker's port, later
//! ones find the bell rung. Bounded for everybody who can be told no; a socket or an order is never
//! refused. Nothing here knows what the worker does with a message.

use bytes::Bytes;
use core::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use naksi_core::callbacks::CloseMode;
use naksi_core::id::{SessionId, Token};
use naksi_core::reason::DisconnectReason;
use naksi_core::tick::Tick;
use naksi_core::wire::MakeWire;
use naksi_os::port::{Port, Poster};

use crate::room::DynRoom;
use crate::room::output::RoomOutput;
use crate::sync::{AtomicBool, AtomicUsize, Ordering, SegQueue};

/// The kind of the token with which a mailbox wakes its worker.
pub(crate) const KIND_MAILBOX: u8 = 18;
/// Messages that a mailbox holds at most before senders are refused.
const ENTRIES_MAX: usize = 65_536;
/// Bytes that a mailbox holds at most before senders are refused.
const BYTES_MAX: usize = 64 * 1024 * 1024;
/// However little a service may hold, a mailbox has room for so many bytes.
const BYTES_MIN: usize = 64 * 1024;

/// What makes the wires of a listener's or a client's connections; nothing for plain TCP.
pub(crate) type Wires = Option<Arc<dyn MakeWire>>;

/// One message to a worker.
pub(crate) enum Message<S> {
    /// A connection that this worker shall own.
    Adopt { socket: S, peer: SocketAddr, wires: Wires },
    /// Bytes for one session.
    Send { to: SessionId, bytes: Bytes },
    /// An end for one session.
    End { id: SessionId, reason: DisconnectReason, ending: CloseMode },
    /// A batch for the members of a topic.
    Batch { topic: u64, bytes: Bytes, messages: u64 },
    /// The members of a topic have missed a batch of it, for which there was no room here.
    Lagged { topic: u64 },
    /// What a room says and does to sessions.
    RoomOutput(Arc<RoomOutput>),
    /// A room is to be woken at this time.
    WakeTimer { room: Arc<dyn DynRoom>, at: Tick },
    /// A room is to be run.
    Run(Claim),
    /// Sessions hold nearly as much as they may together: look at your own.
    Relieve,
    /// Every worker stands: begin to accept and to connect.
    Begin,
    /// Accept no connection, drain all sessions within this time.
    Drain { within: Duration },
}

/// The claim of a room: its holder must run the room; dropping it gives the claim up.
pub(crate) struct Claim(Option<Arc<dyn DynRoom>>);

impl Claim {
    pub(crate) fn new(room: Arc<dyn DynRoom>) -> Self {
        Self(Some(room))
    }

    pub(crate) fn take(mut self) -> Option<Arc<dyn DynRoom>> {
        self.0.take()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(room) = &self.0 {
            room.release();
        }
    }
}

impl<S> Message<S> {
    fn bytes(&self) -> usize {
        match self {
            Message::Send { bytes, .. } | Message::Batch { bytes, .. } => size_of::<Self>() + bytes.len(),
            Message::RoomOutput(room_output) => size_of::<Self>() + room_output.memory_bytes(),
            _ => 0,
        }
    }
}

/// The messages of one worker.
pub(crate) struct Mailbox<P: Port> {
    queue: SegQueue<Message<P::Socket>>,
    entries: AtomicUsize,
    bytes: AtomicUsize,
    /// Those of them that are topics' batches, which the service counts once for all that refer to them.
    batch_bytes: AtomicUsize,
    bytes_max: usize,
    rung: AtomicBool,
    /// Its worker is gone: what is put in is dropped by the sender.
    closed: AtomicBool,
    bell: OnceLock<P::Poster>,
}

impl<P: Port> Default for Mailbox<P> {
    fn default() -> Self {
        Self {
            queue: SegQueue::new(),
            entries: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            batch_bytes: AtomicUsize::new(0),
            bytes_max: BYTES_MAX,
            rung: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            bell: OnceLock::new(),
        }
    }
}

impl<P: Port> Mailbox<P> {
    /// A mailbox that takes a quarter of these bytes at most, of which a worker's sessions may hold all; 0 is no limit.
    pub(crate) fn within(memory_bytes: usize) -> Self {
        let bytes_max = match memory_bytes {
            0 => BYTES_MAX,
            most => (most / 4).clamp(BYTES_MIN, BYTES_MAX),
        };
        Self { bytes_max, ..Self::default() }
    }

    /// Under this token the bell's posts arrive.
    pub(crate) fn token() -> Token {
        Token::new(KIND_MAILBOX, 0, 0)
    }

    /// Hangs up the bell. What was put in before is found by the worker's first look.
    pub(crate) fn hang(&self, bell: P::Poster) {
        assert!(self.bell.set(bell).is_ok(), "a mailbox has one worker");
    }

    /// Whether it has room for something that can be refused.
    pub(crate) fn has_room(&self) -> bool {
        self.entries.load(Ordering::Relaxed) < ENTRIES_MAX && self.bytes() < self.bytes_max
    }

    /// Whether it has room for an order, of which there is some where there is none for anything else.
    pub(crate) fn has_room_for_orders(&self) -> bool {
        self.entries.load(Ordering::Relaxed) < 2 * ENTRIES_MAX
    }

    /// Bytes of memory of what is inside.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Bytes of memory that nothing else counts.
    pub(crate) fn own_bytes(&self) -> usize {
        self.bytes().saturating_sub(self.batch_bytes.load(Ordering::Relaxed))
    }

    /// How many messages are inside.
    pub(crate) fn len(&self) -> usize {
        self.entries.load(Ordering::Relaxed)
    }

    /// Whether the worker is gone: what is put in is dropped.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Puts a message in and rings, unless the bell is rung already.
    pub(crate) fn push(&self, message: Message<P::Socket>) {
        self.entries.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(message.bytes(), Ordering::Relaxed);
        if let Message::Batch { bytes, .. } = &message {
            self.batch_bytes.fetch_add(bytes.len(), Ordering::Relaxed);
        }
        self.queue.push(message);
        // The swap and the look at `closed` are one side of a handshake with `close`: either it sees what was
        // just pushed, or we see that it is closed.
        let rung = self.rung.swap(true, Ordering::SeqCst);
        if self.closed.load(Ordering::SeqCst) {
            self.clear();
        } else if let Some(bell) = self.bell.get()
            && !rung
        {
            // A port that is gone has a worker that is gone.
            bell.post(Self::token(), 0);
        }
    }

    /// Its worker will not look in any more. What is inside is dropped, and what comes later as well: a
    /// connection on its way to a worker that is through must be closed, not kept.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.rung.swap(true, Ordering::SeqCst);
        self.clear();
    }

    fn clear(&self) {
        while self.pop().is_some() {}
    }

    /// The worker is about to look in anyway: until then no wake-up is needed.
    pub(crate) fn hush(&self) {
        self.rung.swap(true, Ordering::SeqCst);
    }

    /// The worker heard the bell and looks in: what is put in from now on rings again.
    pub(crate) fn heard(&self) {
        // Reading the flag acquires what was pushed by senders that found the wake-up pending.
        self.rung.swap(false, Ordering::AcqRel);
    }

    /// The oldest message.
    pub(crate) fn pop(&self) -> Option<Message<P::Socket>> {
        let message = self.queue.pop()?;
        self.entries.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(message.bytes(), Ordering::Relaxed);
        if let Message::Batch { bytes, .. } = &message {
            self.batch_bytes.fetch_sub(bytes.len(), Ordering::Relaxed);
        }
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_mailbox_keeps_nothing() {
        let mailbox: Mailbox<naksi_os::sim::port::Port> = Mailbox::default();
        mailbox.push(Message::Begin);
        mailbox.close();
        assert!(mailbox.pop().is_none(), "what was inside is dropped");
        mailbox.push(Message::Send { to: SessionId::new(0, 0, 0), bytes: Bytes::from_static(b"late") });
        assert!(mailbox.pop().is_none() && mailbox.has_room(), "what comes later is dropped");
        assert_eq!((mailbox.entries.into_inner(), mailbox.bytes.into_inner()), (0, 0));
    }
}
