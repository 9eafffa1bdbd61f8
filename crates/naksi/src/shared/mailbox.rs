//! A worker's mailbox: sockets, bytes for a session, batches of topics, and control messages from other threads.
//!
//! A lock-free queue and a wake-up flag: the first message of a batch posts once to the worker's port, and later ones
//! find the flag set. Messages that can be refused are bounded; sockets and control messages are never refused.

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
use crate::shared::core::Handshake;
use crate::sync::{AtomicBool, AtomicUsize, Ordering, SegQueue};

/// The kind of the token with which a mailbox wakes its worker.
pub(crate) const KIND_MAILBOX: u8 = 18;
/// Most messages in a mailbox; further ones are refused.
const ENTRIES_MAX: usize = 65_536;
/// Most bytes in a mailbox; further messages are refused.
const BYTES_MAX: usize = 64 * 1024 * 1024;
/// A mailbox has room for at least this many bytes, however low the service's memory limit is.
const BYTES_MIN: usize = 64 * 1024;

/// Makes the wires of a listener's or a client's connections; `None` for plain TCP.
pub(crate) type Wires = Option<Arc<dyn MakeWire>>;

/// One message to a worker.
pub(crate) enum Message<S> {
    /// A connection for this worker.
    Adopt { socket: S, peer: SocketAddr, wires: Wires, handshake: Option<Handshake> },
    /// Bytes for one session.
    Send { to: SessionId, bytes: Bytes },
    /// An end for one session.
    End { id: SessionId, reason: DisconnectReason, ending: CloseMode },
    /// A batch for the members of a topic.
    Batch { topic: u64, bytes: Bytes, messages: u64 },
    /// The members of a topic have missed a batch for which this mailbox had no room.
    Lagged { topic: u64 },
    /// A room's output for sessions.
    RoomOutput(Arc<RoomOutput>),
    /// A room is to be woken at this time.
    WakeTimer { room: Arc<dyn DynRoom>, at: Tick },
    /// A room is to be run.
    Run(Claim),
    /// Sessions are close to the memory limit: check this worker's sessions.
    Relieve,
    /// All workers have opened: begin to accept and to connect.
    Begin,
    /// Accept no more connections, drain all sessions within this time.
    Drain { within: Duration },
}

/// The claim of a room. Its holder must run the room; dropping it releases the claim.
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
    /// Bytes of topics' batches among them, which the service counts once for all references.
    batch_bytes: AtomicUsize,
    bytes_max: usize,
    rung: AtomicBool,
    /// The worker has ended: senders drop what they push.
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
    /// A mailbox that takes at most a quarter of the service's memory limit; 0 means no limit.
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

    /// Sets the poster that wakes the worker. Messages pushed before are found by the worker's first read.
    pub(crate) fn hang(&self, bell: P::Poster) {
        assert!(self.bell.set(bell).is_ok(), "a mailbox has one worker");
    }

    /// Whether it has room for messages that can be refused.
    pub(crate) fn has_room(&self) -> bool {
        self.entries.load(Ordering::Relaxed) < ENTRIES_MAX && self.bytes() < self.bytes_max
    }

    /// Whether it has room for a control message; some is reserved beyond the room for data.
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

    /// Whether the worker has ended; messages are dropped then.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Pushes a message and wakes the worker, unless a wake-up is pending.
    pub(crate) fn push(&self, message: Message<P::Socket>) {
        self.entries.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(message.bytes(), Ordering::Relaxed);
        if let Message::Batch { bytes, .. } = &message {
            self.batch_bytes.fetch_add(bytes.len(), Ordering::Relaxed);
        }
        self.queue.push(message);
        // The swap and the read of `closed` are one side of a handshake with `close`: either it sees what was just
        // pushed, or we see that it is closed.
        let rung = self.rung.swap(true, Ordering::SeqCst);
        if self.closed.load(Ordering::SeqCst) {
            self.clear();
        } else if let Some(bell) = self.bell.get()
            && !rung
        {
            // If the port has ended, so has the worker.
            bell.post(Self::token(), 0);
        }
    }

    /// Wakes the worker without a message, unless a wake-up is pending: it turns once.
    pub(crate) fn wake(&self) {
        if let Some(bell) = self.bell.get()
            && !self.rung.swap(true, Ordering::SeqCst)
            && !self.is_closed()
        {
            bell.post(Self::token(), 0);
        }
    }

    /// Called when the worker stops reading. Drops what is inside and what comes later: a connection on its way to an
    /// ended worker must be closed, not kept.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.rung.swap(true, Ordering::SeqCst);
        self.clear();
    }

    fn clear(&self) {
        while self.pop().is_some() {}
    }

    /// Suppresses wake-ups until the next read, which is about to happen anyway.
    pub(crate) fn hush(&self) {
        self.rung.swap(true, Ordering::SeqCst);
    }

    /// Called when the worker got the wake-up, before it reads: later messages wake it again.
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
        let mailbox: Mailbox<naksi_os::OsPort> = Mailbox::default();
        mailbox.push(Message::Begin);
        mailbox.close();
        assert!(mailbox.pop().is_none(), "what was inside is dropped");
        mailbox.push(Message::Send { to: SessionId::new(0, 0, 0), bytes: Bytes::from_static(b"late") });
        assert!(mailbox.pop().is_none() && mailbox.has_room(), "what comes later is dropped");
        assert_eq!((mailbox.entries.into_inner(), mailbox.bytes.into_inner()), (0, 0));
    }
}
