//! What a send queue has for sessions behind a wire: messages with their headers, and batches that come back sealed.
//!
//! Nothing here knows a wire.

use bytes::Bytes;

use super::{COPY_BYTES_MAX, SendQueue};
use crate::batch::SendBatch;
use crate::buffer_pool::BufferPool;
use crate::limits::Limits;

impl SendQueue {
    /// Queues a copy of a message's header and parts, whole or not at all.
    ///
    /// Returns whether they fit.
    pub fn push_headed(
        &mut self,
        header: &[u8],
        parts: [&[u8]; 2],
        limits: &Limits,
        buffer_pool: &mut BufferPool,
    ) -> bool {
        self.push_parts([header, parts[0], parts[1]], limits, buffer_pool)
    }

    /// Queues a message of bytes that several sessions share, behind its header, whole or not at all.
    ///
    /// Returns whether they fit.
    pub fn push_message(
        &mut self,
        header: &[u8],
        bytes: &Bytes,
        limits: &Limits,
        buffer_pool: &mut BufferPool,
    ) -> bool {
        if bytes.len() <= COPY_BYTES_MAX {
            return self.push([header, bytes], limits, buffer_pool);
        }
        let fits = self.bytes() + header.len() + bytes.len() <= limits.send_queue_bytes_max
            && self.entries() + 2 <= limits.send_queue_entries_max;
        fits && self.push([header, &[]], limits, buffer_pool) && self.push_shared(bytes, limits, buffer_pool)
    }

    /// Whether something is queued that is not with the kernel, or will be as soon as the kernel has taken what it has.
    pub fn has_more(&self) -> bool {
        self.is_waiting() || self.data.is_some()
    }

    /// As [`SendQueue::returned`] for a batch that was sealed: what is left of it is given back, to go out as it is.
    pub fn returned_sealed(
        &mut self,
        batch: SendBatch,
        sent: usize,
        limits: &Limits,
        buffer_pool: &mut BufferPool,
    ) -> Option<SendBatch> {
        let rest = self.land(batch, sent, buffer_pool);
        if let Some(rest) = &rest {
            self.fly(rest);
            self.is_home = true;
        }
        self.make_up(limits, buffer_pool);
        rest
    }
}
