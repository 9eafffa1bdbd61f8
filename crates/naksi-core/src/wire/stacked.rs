//! Two wires, one above the other: what the lower one opens is what the upper one opens.
//!
//! What the upper one has to say waits in plain text until bytes can leave, so its own bound of it holds.

use std::sync::Arc;
use std::time::Duration;

use super::{MakeWire, Message, MessageHeader, Plain, Wire};
use crate::batch::{Segment, SendBatch};
use crate::buffer_pool::BufferPool;
use crate::limits::Limits;
use crate::reason::DisconnectReason;

/// One wire above another, like WebSocket above TLS.
#[derive(Debug)]
pub struct Stacked {
    lower: Box<dyn Wire>,
    upper: Box<dyn Wire>,
    /// What the upper wire has to say, and the lower one has not sealed.
    waiting: Vec<u8>,
    /// The upper wire's peer has ended its side.
    closed: bool,
    /// The lower wire failed: nothing is sealed any more.
    failed: bool,
}

impl Stacked {
    /// The lower wire is next to the socket. It must carry a stream.
    pub fn new(lower: Box<dyn Wire>, upper: Box<dyn Wire>) -> Self {
        Self { lower, upper, waiting: Vec::new(), closed: false, failed: false }
    }

    fn seal_waiting(&mut self, answer: &mut Vec<u8>) {
        if self.waiting.is_empty() || self.failed {
            return;
        }
        let mut batch = SendBatch::new();
        batch.push(Segment::Owned(std::mem::take(&mut self.waiting)));
        let sealed = self.lower.seal(batch, &mut BufferPool::default());
        sealed.slices().for_each(|slice| answer.extend_from_slice(slice));
    }
}

impl Wire for Stacked {
    fn begin(&mut self, answer: &mut Vec<u8>) {
        self.lower.begin(answer);
    }

    fn open(
        &mut self,
        sealed: &mut [u8],
        plain: &mut dyn Plain,
        answer: &mut Vec<u8>,
    ) -> Result<(), DisconnectReason> {
        let mut between = Between {
            upper: &mut *self.upper,
            plain,
            waiting: &mut self.waiting,
            closed: &mut self.closed,
            judged: Ok(()),
        };
        let opened = self.lower.open(sealed, &mut between, answer);
        let judged = between.judged;
        self.failed |= opened.is_err();
        opened.and(judged)
    }

    fn speak(&mut self, answer: &mut Vec<u8>) {
        self.upper.speak(&mut self.waiting);
        self.seal_waiting(answer);
        self.lower.speak(answer);
    }

    fn seal(&mut self, batch: SendBatch, buffer_pool: &mut BufferPool) -> SendBatch {
        let batch = self.upper.seal(batch, buffer_pool);
        self.lower.seal(batch, buffer_pool)
    }

    fn ping(&mut self, answer: &mut Vec<u8>) {
        self.upper.ping(&mut self.waiting);
        self.lower.ping(answer);
    }

    fn goodbye(&mut self, reason: &DisconnectReason, answer: &mut Vec<u8>) {
        self.upper.goodbye(reason, &mut self.waiting);
        self.seal_waiting(answer);
        self.lower.goodbye(reason, answer);
    }

    fn is_within_message(&self) -> bool {
        self.upper.is_within_message() || self.lower.is_within_message()
    }

    fn cut(&self) -> Option<DisconnectReason> {
        if self.closed { None } else { self.upper.cut().or_else(|| self.lower.cut()) }
    }

    fn held_bytes(&self) -> usize {
        let both = self.upper.held_bytes() + self.lower.held_bytes();
        size_of::<Self>() + both + self.waiting.capacity()
    }

    fn message_header(&self) -> Option<MessageHeader> {
        self.upper.message_header()
    }
}

/// Has the upper wire open what the lower one has opened.
struct Between<'a> {
    upper: &'a mut dyn Wire,
    plain: &'a mut dyn Plain,
    waiting: &'a mut Vec<u8>,
    closed: &'a mut bool,
    judged: Result<(), DisconnectReason>,
}

impl Plain for Between<'_> {
    fn opened(&mut self) {
        self.upper.begin(self.waiting);
    }

    fn bytes(&mut self, plain: &mut [u8]) {
        if self.judged.is_ok() {
            let mut above = Above { plain: self.plain, closed: self.closed };
            self.judged = self.upper.open(plain, &mut above, self.waiting);
        }
    }

    fn message(&mut self, _: Message<'_>) {
        unreachable!("a lower wire carries a stream");
    }

    fn control(&mut self, bytes: usize) {
        self.plain.control(bytes);
    }

    fn closed(&mut self) {
        if !*self.closed {
            self.plain.closed();
        }
    }
}

/// Passes on what the upper wire has opened, and notes its peer's end.
struct Above<'a> {
    plain: &'a mut dyn Plain,
    closed: &'a mut bool,
}

impl Plain for Above<'_> {
    fn opened(&mut self) {
        self.plain.opened();
    }

    fn bytes(&mut self, plain: &mut [u8]) {
        self.plain.bytes(plain);
    }

    fn message(&mut self, message: Message<'_>) {
        self.plain.message(message);
    }

    fn control(&mut self, bytes: usize) {
        self.plain.control(bytes);
    }

    fn closed(&mut self) {
        *self.closed = true;
        self.plain.closed();
    }
}

/// Makes the wires of connections that travel over two of them.
#[derive(Debug)]
pub struct StackedWires {
    scheme: &'static str,
    lower: Arc<dyn MakeWire>,
    upper: Arc<dyn MakeWire>,
}

impl StackedWires {
    /// What stands before an address, and what makes the wires; the lower one is next to the socket.
    pub fn new(scheme: &'static str, lower: Arc<dyn MakeWire>, upper: Arc<dyn MakeWire>) -> Self {
        Self { scheme, lower, upper }
    }
}

impl MakeWire for StackedWires {
    fn scheme(&self) -> &'static str {
        self.scheme
    }

    fn not_after(&self) -> Option<Duration> {
        self.lower.not_after()
    }

    fn make(self: Arc<Self>, messages: bool, limits: &Limits) -> Box<dyn Wire> {
        let lower = Arc::clone(&self.lower).make(false, limits);
        Box::new(Stacked::new(lower, Arc::clone(&self.upper).make(messages, limits)))
    }
}
