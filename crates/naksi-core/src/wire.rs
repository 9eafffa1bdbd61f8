//! Wires: protocol layers between a session's plain text and the bytes of its socket, such as TLS and WebSocket.
//!
//! A wire does no I/O: [`Wire::open`] gets the received bytes, works in place and passes plain text on;
//! [`Wire::seal`] gets each whole send batch once. The wire's own output (a handshake, a pong, a close) goes into an
//! `answer` buffer. The order on the socket is: the rest of a sealed batch, the answer, the next batch, so a wire may
//! number what it seals. Wires stack: the plain text of one is the input of the next. Plain TCP has none.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::batch::SendBatch;
use crate::buffer_pool::BufferPool;
use crate::limits::Limits;
use crate::reason::DisconnectReason;

mod stacked;

pub use stacked::{Stacked, StackedWires};

/// The transport of one session, above TCP.
pub trait Wire: fmt::Debug {
    /// The connection is established. A side that sends first, as a client does, writes to `answer`.
    fn begin(&mut self, answer: &mut Vec<u8>);

    /// Opens received bytes, however they are split, and passes their contents to `plain`, in order. `sealed` is
    /// modified in place; sub-slices of it are passed on where possible.
    ///
    /// After an error and after [`Plain::closed`] it still gets the bytes that arrive, and ignores them.
    ///
    /// # Errors
    /// The peer violated the protocol: the session ends with this reason, after its queued data and
    /// [`Wire::goodbye`].
    fn open(
        &mut self,
        sealed: &mut [u8],
        plain: &mut dyn Plain,
        answer: &mut Vec<u8>,
    ) -> Result<(), DisconnectReason>;

    /// Bytes can be sent now: what the wire has held back for that goes into `answer`. Called before each [`Wire::seal`],
    /// and whenever something may be sent.
    fn speak(&mut self, _answer: &mut Vec<u8>) {}

    /// Seals one send batch: called once for each, in the order in which they are sent. Pieces that several sessions
    /// share stay shared where the protocol allows it.
    fn seal(&mut self, batch: SendBatch, buffer_pool: &mut BufferPool) -> SendBatch;

    /// Asks the peer for a sign of life.
    fn ping(&mut self, answer: &mut Vec<u8>);

    /// The session ends with this reason, and nothing is sealed after this.
    fn goodbye(&mut self, reason: &DisconnectReason, answer: &mut Vec<u8>);

    /// Whether the wire holds a message that has begun and is incomplete.
    fn is_within_message(&self) -> bool;

    /// Why the end of the stream would come too early now, if it would: inside a frame or record, or before the end that the
    /// protocol has of its own.
    fn cut(&self) -> Option<DisconnectReason>;

    /// Bytes of memory that it keeps.
    fn held_bytes(&self) -> usize;

    /// Makes the header of each message, if every send is a message of its own; `None` if a batch is sealed as one.
    fn message_header(&self) -> Option<MessageHeader>;
}

/// Where a wire passes on what it has opened.
pub trait Plain {
    /// The handshake is done: data can be sent and received. Called once, before all others.
    fn opened(&mut self);

    /// Bytes of the stream.
    fn bytes(&mut self, plain: &mut [u8]);

    /// A whole message, where the wire keeps messages apart.
    fn message(&mut self, message: Message<'_>);

    /// Bytes of the wire's own protocol were received. They count against the session's rate as a message does.
    fn control(&mut self, bytes: usize);

    /// The peer has ended its side; nothing it sends afterwards is passed on.
    fn closed(&mut self);
}

/// A whole message of a transport that keeps messages apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// Text; it is UTF-8.
    Text(&'a str),
    /// Bytes.
    Binary(&'a [u8]),
}

impl<'a> Message<'a> {
    /// The message's bytes.
    pub fn as_bytes(&self) -> &'a [u8] {
        match self {
            Message::Text(text) => text.as_bytes(),
            Message::Binary(bytes) => bytes,
        }
    }

    /// Which kind it is.
    pub fn kind(&self) -> MessageKind {
        match self {
            Message::Text(_) => MessageKind::Text,
            Message::Binary(_) => MessageKind::Binary,
        }
    }
}

/// Kinds of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// Text in UTF-8.
    Text,
    /// Bytes.
    Binary,
}

/// Makes the header of a message of this kind and length.
pub type MessageHeader = fn(MessageKind, usize) -> Header;

/// A short run of bytes before a message or a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    bytes: [u8; Header::BYTES_MAX],
    length: u8,
}

impl Header {
    /// The longest header.
    pub const BYTES_MAX: usize = 14;

    /// Appends bytes; more than [`Header::BYTES_MAX`] in total is a bug in the wire.
    pub fn push(&mut self, bytes: &[u8]) {
        let length = usize::from(self.length);
        self.bytes[length..length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len() as u8;
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

/// Makes the wires of one listener's or one client's connections. Shared by all workers.
pub trait MakeWire: fmt::Debug + Send + Sync {
    /// The URL scheme of its addresses, like `ws://`.
    fn scheme(&self) -> &'static str;

    /// When the first of its certificates expires, since 1970, if it has any.
    fn not_after(&self) -> Option<Duration> {
        None
    }

    /// Makes the wire of a new connection. `messages` asks for one that keeps message boundaries; others carry a
    /// stream.
    fn make(self: Arc<Self>, messages: bool, limits: &Limits) -> Box<dyn Wire>;
}
