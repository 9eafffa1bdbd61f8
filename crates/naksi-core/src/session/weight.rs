//! What a session costs the service: the bytes of memory that it holds, and for how long they have not moved.

use super::{Session, State};
use crate::tick::Tick;

impl Session {
    /// Bytes queued for the peer, those with the kernel included.
    pub fn pending_bytes(&self) -> usize {
        self.egress.queue.bytes()
    }

    /// Bytes of memory that it holds, by capacity: queued data, also while it is with the kernel, droppable data,
    /// unconsumed data, and data sent to rooms. A session that is ending counts as 0, because it frees all of it as
    /// soon as its operations return.
    pub fn held_bytes(&self) -> usize {
        match self.state {
            State::Opening | State::Connected | State::Draining | State::Lingering => {
                let plain = self.egress.queue.held_bytes()
                    + self.buffer.held_bytes()
                    + self.egress.throttle.brought_bytes();
                match &self.egress.wired {
                    None => plain,
                    Some(wired) => plain + wired.held_bytes(),
                }
            }
            State::Ending | State::Closing | State::Over => 0,
        }
    }

    /// Since when nothing of what it holds has moved, if it holds something: the batch in flight made no progress, or
    /// nothing more was added to the unconsumed bytes.
    pub fn unmoved_since(&self) -> Option<Tick> {
        if self.egress.queue.is_flying() {
            return Some(self.sent_at);
        }
        (!self.buffer.is_empty()).then_some(self.received_at)
    }
}
