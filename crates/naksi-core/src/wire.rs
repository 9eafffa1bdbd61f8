//! What stands between a session's plain text and the bytes of its socket: TLS, WebSocket.
//!
//! A wire is asked and told, as a session is: [`Wire::open`] is shown what the kernel brought, works in place and passes
//! plain text on; [`Wire::seal`] is given a whole send batch, once. What the wire itself has to say (a handshake, a pong, a
//! close) goes into an `answer` buffer. Order on the socket: what is left of a sealed batch, the answer, the next batch.
//! So a wire may number what it seals. Wires stack: the plain text of one is what the next one opens. Plain TCP has none.
//!
//! Nothing here knows a protocol, a kernel or the time.

use std::fmt;
use std::sync::Arc;

use crate::batch::SendBatch;
use crate::buffer_pool::BufferPool;
use crate::limits::Limits;
use crate::reason::DisconnectReason;

/// The transport of one session, above TCP.
pub trait Wire: fmt::Debug {
    /// The connection stands. A side that speaks first, as a client does, puts what it says into `answer`.
    fn begin(&mut self, answer: &mut Vec<u8>);

    /// Opens the next bytes that came, however they are cut, and passes what is in them on to `plain`, in order. `sealed` is
    /// worked on in place; sub-slices of it are passed on where that is possible.
    ///
    /// After an error and after [`Plain::closed`] it is shown what still comes, and ignores it.
    ///
    /// # Errors
    /// The peer broke the protocol: the session ends for this reason, after what is queued and [`Wire::goodbye`].
    fn open(
        &mut self,
        sealed: &mut [u8],
        plain: &mut dyn Plain,
        answer: &mut Vec<u8>,
    ) -> Result<(), DisconnectReason>;

    /// Seals one send batch: called once for each, in the order in which they leave. Pieces that several sessions share
    /// stay shared where the protocol allows it.
    fn seal(&mut self, batch: SendBatch, buffer_pool: &mut BufferPool) -> SendBatch;

    /// Asks the peer for a sign of life.
    fn ping(&mut self, answer: &mut Vec<u8>);

    /// The session ends for this reason, and nothing is sealed after this.
    fn goodbye(&mut self, reason: &DisconnectReason, answer: &mut Vec<u8>);

    /// Whether a message has begun that is kept here until it is whole.
    fn is_within_message(&self) -> bool;

    /// Whether the peer's last bytes were cut: a frame or record that is not whole.
    fn is_cut(&self) -> bool;

    /// Bytes of memory that it keeps.
    fn held_bytes(&self) -> usize;

    /// How a message begins, if every send is a message of its own; `None` if a batch is sealed as one.
    fn message_header(&self) -> Option<MessageHeader>;
}

/// Where a wire passes on what it has opened.
pub trait Plain {
    /// The handshake is done: bytes can be sent and may come. Once, before all that follows.
    fn opened(&mut self);

    /// Bytes of the stream.
    fn bytes(&mut self, plain: &mut [u8]);

    /// A whole message, where the wire keeps messages apart.
    fn message(&mut self, message: Message<'_>);

    /// So many bytes came that mean something to the wire alone. They count against the session's rate as a message does.
    fn control(&mut self, bytes: usize);

    /// The peer has said its end, and nothing it sends after that is passed on.
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

/// What stands before a message of this kind and of so many bytes.
pub type MessageHeader = fn(MessageKind, usize) -> Header;

/// A short run of bytes in front of a message or a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    bytes: [u8; Header::BYTES_MAX],
    length: u8,
}

impl Header {
    /// The longest header.
    pub const BYTES_MAX: usize = 14;

    /// Appends a byte run; more than [`Header::BYTES_MAX`] in all is a mistake of the wire.
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
    /// What stands before an address that connections travel over, like `ws://`.
    fn scheme(&self) -> &'static str;

    /// The wire of a connection that has just been made. `messages` asks for one that keeps messages apart; others carry a
    /// stream.
    fn make(self: Arc<Self>, messages: bool, limits: &Limits) -> Box<dyn Wire>;
}
