//! The parts of a send queue for sessions behind a wire: messages with headers, and sealed batches.

use bytes::Bytes;

use super::{COPY_BYTES_MAX, SendQueue};
use crate::batch::SendBatch;
use crate::buffer_pool::BufferPool;
use crate::limits::Limits;

impl SendQueue {
    /// Queues a copy of a message's header and parts, completely or not at all.
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

    /// Queues a message of shared bytes after its header, completely or not at all.
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

    /// Whether data is queued that is not in flight, or will be as soon as the kernel has taken the current batch.
    pub fn has_more(&self) -> bool {
        self.is_waiting() || self.data.is_some()
    }

    /// As [`SendQueue::returned`] for a sealed batch: returns what is left of it, to be sent unchanged.
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
