//! Buffers that sessions of one worker lend each other, so that an idle session holds none and a busy one
//! allocates none; and the lease that one of them is reading, of which parts can be sent without a copy.
//!
//! Bounded: what does not fit is freed. Nothing here knows what the bytes were.

use std::rc::Rc;

use crate::batch::{Piece, SendBatch};
use crate::lease::{Lease, LeasePart};

/// Spare buffers of one worker.
#[derive(Debug, Default)]
pub struct Spares {
    small: Vec<Vec<u8>>,
    large: Vec<Vec<u8>>,
    huge: Vec<Vec<u8>>,
    batches: Vec<SendBatch>,
    /// Received bytes that the worker's sessions keep because nobody has taken them.
    kept_bytes: usize,
    /// The lease that is being read, if it is long.
    read: Option<Rc<Lease>>,
}

impl Spares {
    /// Capacity of a small buffer in bytes.
    pub const SMALL_BYTES: usize = 4 * 1024;
    /// Capacity of a large buffer in bytes.
    pub const LARGE_BYTES: usize = 64 * 1024;
    /// Small buffers kept at most: 4 MiB.
    const SMALL_MAX: usize = 1024;
    /// Capacity of a huge buffer in bytes: what one receive and its successors bring before a pause.
    pub const HUGE_BYTES: usize = 256 * 1024;
    /// Large buffers kept at most: 8 MiB.
    const LARGE_MAX: usize = 128;
    /// Huge buffers kept at most: 8 MiB.
    const HUGE_MAX: usize = 32;
    /// Batches kept at most.
    const BATCHES_MAX: usize = 2048;

    /// An empty buffer with room for at least `bytes`.
    pub fn buffer(&mut self, bytes: usize) -> Vec<u8> {
        if bytes <= Self::SMALL_BYTES {
            self.small.pop().unwrap_or_else(|| Vec::with_capacity(Self::SMALL_BYTES))
        } else if bytes <= Self::LARGE_BYTES {
            self.large.pop().unwrap_or_else(|| Vec::with_capacity(Self::LARGE_BYTES))
        } else if bytes <= Self::HUGE_BYTES {
            self.huge.pop().unwrap_or_else(|| Vec::with_capacity(Self::HUGE_BYTES))
        } else {
            // Whoever outgrows it takes twice as much, so that growing costs little for each byte.
            Vec::with_capacity(bytes.next_power_of_two())
        }
    }

    /// Takes a buffer back, or frees it.
    pub fn put_buffer(&mut self, mut buffer: Vec<u8>) {
        buffer.clear();
        if buffer.capacity() == Self::SMALL_BYTES && self.small.len() < Self::SMALL_MAX {
            self.small.push(buffer);
        } else if buffer.capacity() == Self::LARGE_BYTES && self.large.len() < Self::LARGE_MAX {
            self.large.push(buffer);
        } else if buffer.capacity() == Self::HUGE_BYTES && self.huge.len() < Self::HUGE_MAX {
            self.huge.push(buffer);
        }
    }

    /// Received bytes that all sessions of the worker keep unread.
    pub fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }

    pub(crate) fn keep(&mut self, bytes: usize) {
        self.kept_bytes += bytes;
    }

    pub(crate) fn let_go(&mut self, bytes: usize) {
        self.kept_bytes -= bytes;
    }

    /// The lease that a session reads from now on; `None` when it has been read.
    pub(crate) fn reads(&mut self, lease: Option<&Rc<Lease>>) {
        self.read = lease.cloned();
    }

    /// The part of the lease that is being read that these bytes are, if it may be kept.
    pub(crate) fn part(&self, bytes: &[u8]) -> Option<LeasePart> {
        LeasePart::of(self.read.as_ref()?, bytes)
    }

    /// Takes a sent piece back.
    pub fn put_piece(&mut self, piece: Piece) {
        if let Piece::Owned(buffer) = piece {
            self.put_buffer(buffer);
        }
    }

    /// An empty batch.
    pub fn batch(&mut self) -> SendBatch {
        self.batches.pop().unwrap_or_default()
    }

    /// Takes a batch back, whatever is left in it.
    pub fn put_batch(&mut self, mut batch: SendBatch) {
        batch.abandon(|piece| self.put_piece(piece));
        if batch.capacity() > 0 && self.batches.len() < Self::BATCHES_MAX {
            self.batches.push(batch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_of_every_size_comes_back_and_is_used_again() {
        for bytes in
            [1, Spares::SMALL_BYTES, Spares::SMALL_BYTES + 1, Spares::LARGE_BYTES + 1, Spares::HUGE_BYTES]
        {
            let mut spares = Spares::default();
            let mut buffer = spares.buffer(bytes);
            assert!(buffer.capacity() >= bytes);
            buffer.extend_from_slice(b"bait");
            let place = buffer.as_ptr();
            spares.put_buffer(buffer);
            let again = spares.buffer(bytes);
            assert_eq!((again.as_ptr(), again.len()), (place, 0), "{bytes} bytes");
        }
    }

    #[test]
    fn what_does_not_fit_is_freed() {
        let mut spares = Spares::default();
        for _ in 0..Spares::SMALL_MAX + 10 {
            spares.put_buffer(Vec::with_capacity(Spares::SMALL_BYTES));
        }
        assert_eq!(spares.small.len(), Spares::SMALL_MAX);
    }
}
