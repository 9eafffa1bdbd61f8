//! What a session costs those beside it: the bytes that it keeps, and for how long they have not moved.
//!
//! Nothing here knows what is too much.

use super::{Session, State};
use crate::tick::Tick;

impl Session {
    /// Bytes queued for the peer, those with the kernel included.
    pub fn pending_bytes(&self) -> usize {
        self.egress.queue.bytes()
    }

    /// Bytes of memory that it keeps: buffers of what is queued, those with the kernel included, of data beside them,
    /// and of what no callback has consumed; their capacity, and not only what is in them; and what it has brought to
    /// rooms. A session on the way out counts for nothing: it gives back all of it as soon as the kernel lets go.
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

    /// Since when nothing of what it holds has moved, if it holds something: what is with the kernel has not gone out,
    /// or nothing more was added to the unconsumed bytes.
    pub fn unmoved_since(&self) -> Option<Tick> {
        if self.egress.queue.is_flying() {
            return Some(self.sent_at);
        }
        (!self.buffer.is_empty()).then_some(self.received_at)
    }
}
