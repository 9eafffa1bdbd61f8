//! The buffer pool of one worker: an idle session holds no buffer and a busy one allocates none. Also the lease that
//! is being read, parts of which can be sent without a copy.
//!
//! A buffer is of the smallest size class that fits. The pool is bounded: what exceeds it is freed, and
//! [`BufferPool::trim`] frees what was unused for a while.

use std::rc::Rc;

use crate::batch::{Segment, SendBatch};
use crate::lease::{Lease, LeasePart};

/// Buffer capacities in bytes, and how many of each are kept at most: 25 MiB in total.
const CLASSES: [(usize, usize); 7] = [
    (64, 4096),
    (512, 2048),
    (BufferPool::PAGE_BYTES, 1024),
    (0x4000, 256),
    (0x8000, 128),
    (BufferPool::CLASS_BYTES_MAX, 64),
    (BufferPool::HUGE_BYTES, 32),
];

/// The empty buffers of one class.
#[derive(Debug, Default)]
struct Class {
    buffers: Vec<Vec<u8>>,
    /// The lowest number of pooled buffers since the last trim; that many were not needed.
    unused: usize,
}

/// Spare buffers of one worker.
#[derive(Debug, Default)]
pub struct BufferPool {
    classes: [Class; CLASSES.len()],
    batches: Vec<SendBatch>,
    /// As [`Class::unused`].
    batches_unused: usize,
    /// Bytes freed since memory was last returned to the system.
    freed_bytes: usize,
    /// Bytes that were allocated since the last trim.
    made_bytes: usize,
    /// A trim may be worth it.
    plump: bool,
    /// Received bytes that the worker's sessions keep because no callback has consumed them.
    kept_bytes: usize,
    /// The lease that is being read, if it is long.
    read: Option<Rc<Lease>>,
}

impl BufferPool {
    /// Up to this size a full buffer is replaced by one of a larger class; above it another buffer is added.
    pub const PAGE_BYTES: usize = 4 * 1024;
    /// What is longer has a buffer as long as it is.
    pub const CLASS_BYTES_MAX: usize = 64 * 1024;
    /// What one receive and its successors return before a pause; such buffers are kept as well.
    pub const HUGE_BYTES: usize = 256 * 1024;
    /// Batches kept at most.
    const BATCHES_MAX: usize = 2048;
    /// A batch with a capacity for more pieces is freed: its session did not keep up.
    const BATCH_PIECES_MAX: usize = 16;
    /// Pooled bytes that are worth a trim.
    const TRIM_BYTES_MIN: usize = 128 * 1024;

    /// An empty buffer with room for at least `bytes`.
    pub fn buffer(&mut self, bytes: usize) -> Vec<u8> {
        let number = match bytes {
            0..=64 => 0,
            65..=512 => 1,
            513..=Self::PAGE_BYTES => 2,
            0x1001..=0x4000 => 3,
            0x4001..=0x8000 => 4,
            0x8001..=Self::CLASS_BYTES_MAX => 5,
            Self::HUGE_BYTES => 6,
            _ => {
                self.made_bytes += bytes;
                return Vec::with_capacity(bytes);
            }
        };
        let class = &mut self.classes[number];
        if let Some(buffer) = class.buffers.pop() {
            class.unused = class.unused.min(class.buffers.len());
            return buffer;
        }
        self.made_bytes += CLASSES[number].0;
        Vec::with_capacity(CLASSES[number].0)
    }

    /// Takes a buffer back, or frees it.
    pub fn put_buffer(&mut self, mut buffer: Vec<u8>) {
        let number = match buffer.capacity() {
            64 => 0,
            512 => 1,
            Self::PAGE_BYTES => 2,
            0x4000 => 3,
            0x8000 => 4,
            Self::CLASS_BYTES_MAX => 5,
            Self::HUGE_BYTES => 6,
            bytes => return self.freed(bytes),
        };
        let ((capacity, most), buffers) = (CLASSES[number], &mut self.classes[number].buffers);
        if buffers.len() >= most {
            return self.freed(capacity);
        }
        buffer.clear();
        buffers.push(buffer);
        self.plump |= buffers.len() >= Self::TRIM_BYTES_MIN / capacity;
    }

    /// Counts bytes that the caller frees.
    fn freed(&mut self, bytes: usize) {
        self.freed_bytes += bytes;
        self.plump |= self.freed_bytes >= Self::TRIM_BYTES_MIN;
    }

    /// Whether the pool is large enough that [`BufferPool::trim`] should be called after a while.
    pub fn is_plump(&self) -> bool {
        self.plump
    }

    /// Bytes of all spare buffers.
    pub fn bytes(&self) -> usize {
        self.classes.iter().zip(CLASSES).map(|(class, (capacity, _))| class.buffers.len() * capacity).sum()
    }

    /// Frees what was unused since the last trim. Returns whether so much was freed, and so little of it is needed
    /// again, that memory should be returned to the system.
    pub fn trim(&mut self) -> bool {
        for (class, (capacity, _)) in self.classes.iter_mut().zip(CLASSES) {
            let unused = class.unused.min(class.buffers.len());
            class.buffers.truncate(class.buffers.len() - unused);
            class.buffers.shrink_to(2 * class.buffers.len());
            class.unused = class.buffers.len();
            self.freed_bytes += unused * capacity;
        }
        let unused = self.batches_unused.min(self.batches.len());
        self.batches.truncate(self.batches.len() - unused);
        self.batches.shrink_to(2 * self.batches.len());
        self.batches_unused = self.batches.len();
        let made_bytes = std::mem::take(&mut self.made_bytes);
        let shrinks = self.freed_bytes >= Self::TRIM_BYTES_MIN && made_bytes <= self.freed_bytes / 4;
        if shrinks {
            self.freed_bytes = 0;
        }
        self.plump = self.freed_bytes >= Self::TRIM_BYTES_MIN || self.bytes() >= Self::TRIM_BYTES_MIN;
        shrinks
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

    /// Sets the lease that a session reads; `None` when it has been read.
    pub(crate) fn reads(&mut self, lease: Option<&Rc<Lease>>) {
        self.read = lease.cloned();
    }

    /// The part of the current lease that these bytes lie in, if it may be kept.
    pub(crate) fn part(&self, bytes: &[u8]) -> Option<LeasePart> {
        LeasePart::of(self.read.as_ref()?, bytes)
    }

    /// Takes a sent piece back.
    pub fn put_piece(&mut self, piece: Segment) {
        if let Segment::Owned(buffer) = piece {
            self.put_buffer(buffer);
        }
    }

    /// An empty batch.
    pub fn batch(&mut self) -> SendBatch {
        let Some(batch) = self.batches.pop() else {
            self.made_bytes += SendBatch::HELD_BYTES_MIN;
            return SendBatch::new();
        };
        self.batches_unused = self.batches_unused.min(self.batches.len());
        batch
    }

    /// Takes a batch back, whatever is left in it.
    pub fn put_batch(&mut self, mut batch: SendBatch) {
        batch.abandon(|piece| self.put_piece(piece));
        let usable = (1..=Self::BATCH_PIECES_MAX).contains(&batch.capacity());
        if usable && self.batches.len() < Self::BATCHES_MAX {
            self.batches.push(batch);
        } else {
            self.freed(batch.held_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_of_every_size_comes_back_and_is_used_again() {
        let short = CLASSES.iter().map(|(capacity, _)| capacity - 1).filter(|bytes| *bytes < 65_536);
        for bytes in short.chain(CLASSES.map(|(capacity, _)| capacity)) {
            let mut buffer_pool = BufferPool::default();
            let mut buffer = buffer_pool.buffer(bytes);
            assert!(buffer.capacity() >= bytes);
            buffer.extend_from_slice(b"bait");
            let place = buffer.as_ptr();
            buffer_pool.put_buffer(buffer);
            let again = buffer_pool.buffer(bytes);
            assert_eq!((again.as_ptr(), again.len()), (place, 0), "{bytes} bytes");
        }
    }

    #[test]
    fn a_short_message_holds_no_page() {
        let mut buffer_pool = BufferPool::default();
        let mut huge = buffer_pool.buffer(262_144);
        huge.push(1);
        let place = huge.as_ptr();
        buffer_pool.put_buffer(huge);
        let again = buffer_pool.buffer(262_144);
        assert_eq!(again.as_ptr(), place, "what one receive brings before a pause is kept");
        for (bytes, capacity) in
            [(1, 64), (12, 64), (65, 512), (600, 4096), (5_000, 16 * 1024), (100_000, 100_000)]
        {
            assert_eq!(buffer_pool.buffer(bytes).capacity(), capacity, "{bytes} bytes");
        }
    }

    #[test]
    fn what_does_not_fit_is_freed() {
        let mut buffer_pool = BufferPool::default();
        for (capacity, most) in CLASSES {
            (0..most + 10).for_each(|_| buffer_pool.put_buffer(Vec::with_capacity(capacity)));
        }
        for (class, (_, most)) in buffer_pool.classes.iter().zip(CLASSES) {
            assert_eq!(class.buffers.len(), most);
        }
        assert_eq!(
            buffer_pool.bytes(),
            CLASSES.iter().map(|(capacity, most)| capacity * most).sum::<usize>()
        );
    }

    #[test]
    fn a_batch_that_had_many_pieces_is_freed() {
        let mut buffer_pool = BufferPool::default();
        let mut batch = SendBatch::new();
        (0..1_000).for_each(|_| batch.push(Segment::Owned(vec![1])));
        buffer_pool.put_batch(batch);
        assert_eq!(buffer_pool.batch().capacity(), 0);
    }

    #[test]
    fn what_nobody_has_used_between_two_trims_is_freed_and_what_is_in_use_stays() {
        let mut buffer_pool = BufferPool::default();
        let many: Vec<_> = (0..1_000).map(|_| buffer_pool.buffer(4096)).collect();
        many.into_iter().for_each(|buffer| buffer_pool.put_buffer(buffer));
        assert!(buffer_pool.is_plump());
        assert!(!buffer_pool.trim(), "it was all used a moment ago");
        let some: Vec<_> = (0..10).map(|_| buffer_pool.buffer(4096)).collect();
        some.into_iter().for_each(|buffer| buffer_pool.put_buffer(buffer));
        assert!(buffer_pool.trim(), "the system gets 990 pages back");
        assert!((20..1_000).contains(&buffer_pool.classes[2].buffers.capacity()), "room for as many again");
        assert_eq!(buffer_pool.bytes(), 10 * 4096);
        assert!(!buffer_pool.is_plump());
        assert!(!buffer_pool.trim());
        assert_eq!(buffer_pool.bytes(), 0, "the last ten were unused");
    }

    #[test]
    fn a_trim_is_worth_it_from_128_kib_on_that_are_spare_or_were_freed() {
        for (capacity, _) in CLASSES {
            let mut buffer_pool = BufferPool::default();
            let enough = (128 * 1024_usize).div_ceil(capacity);
            for number in 1..=enough {
                assert!(!buffer_pool.is_plump(), "{number} of {capacity} bytes");
                buffer_pool.put_buffer(Vec::with_capacity(capacity));
            }
            assert!(buffer_pool.is_plump(), "{capacity}");
        }
        // Of sizes that are not kept.
        let mut buffer_pool = BufferPool::default();
        buffer_pool.put_buffer(Vec::with_capacity(100_000));
        assert!(!buffer_pool.is_plump());
        buffer_pool.put_buffer(Vec::with_capacity(31_072));
        assert!(buffer_pool.is_plump() && buffer_pool.bytes() == 0);
    }

    #[test]
    fn the_system_has_its_memory_back_when_four_times_what_is_needed_was_freed() {
        let trims = |freed: usize, made: usize| {
            let mut buffer_pool = BufferPool::default();
            drop(buffer_pool.buffer(made));
            buffer_pool.put_buffer(Vec::with_capacity(freed));
            let first = buffer_pool.trim();
            assert_eq!(buffer_pool.is_plump(), !first && freed >= 128 * 1024, "it is still to be given back");
            (first, buffer_pool.trim())
        };
        assert_eq!(trims(128 * 1024, 4096), (true, false), "and is given back once");
        assert_eq!(trims(128 * 1024 - 1, 4096), (false, false), "too little to be worth it");
        assert_eq!(trims(400_000, 100_000), (true, false));
        assert_eq!(trims(400_000, 100_001), (false, true), "needed now, and no more a while later");
        assert_eq!(trims(128 * 1024, 32 * 1024), (true, false));
        assert_eq!(trims(128 * 1024, 32 * 1024 + 1), (false, true), "a buffer of 64 KiB was made");
    }

    #[test]
    fn batches_that_nobody_has_used_between_two_trims_are_freed_and_few_are_kept() {
        let used = || {
            let mut batch = SendBatch::new();
            batch.push(Segment::Owned(vec![1]));
            batch
        };
        let mut buffer_pool = BufferPool::default();
        (0..10).for_each(|_| buffer_pool.put_batch(used()));
        buffer_pool.trim();
        assert_eq!(buffer_pool.batches.len(), 10, "they came a moment ago");
        let again: Vec<_> = (0..3).map(|_| buffer_pool.batch()).collect();
        assert!(again.iter().all(|batch| batch.capacity() == 1 && batch.is_empty()), "used again");
        again.into_iter().for_each(|batch| buffer_pool.put_batch(batch));
        buffer_pool.trim();
        assert_eq!(buffer_pool.batches.len(), 3, "three were used");
        assert!((6..10).contains(&buffer_pool.batches.capacity()), "room for as many again");
        buffer_pool.trim();
        assert_eq!(buffer_pool.batches.len(), 0);
        (0..BufferPool::BATCHES_MAX + 10).for_each(|_| buffer_pool.put_batch(used()));
        assert_eq!(buffer_pool.batches.len(), BufferPool::BATCHES_MAX);
    }

    #[test]
    fn the_buffers_of_a_batch_that_was_sent_are_used_again() {
        let mut buffer_pool = BufferPool::default();
        let mut batch = SendBatch::new();
        batch.push_empty(Vec::with_capacity(64));
        assert!(batch.append(b"sent"));
        batch.push(Segment::Shared(bytes::Bytes::from_static(b"of others")));
        buffer_pool.put_batch(batch);
        assert_eq!(buffer_pool.bytes(), 64);
        buffer_pool.put_piece(Segment::Owned(Vec::with_capacity(512)));
        assert_eq!(buffer_pool.bytes(), 64 + 512);
    }

    #[test]
    fn batches_that_were_made_count_as_needed() {
        let mut buffer_pool = BufferPool::default();
        let made = 32 * 1024 / SendBatch::HELD_BYTES_MIN + 1;
        (0..made).for_each(|_| drop(buffer_pool.batch()));
        buffer_pool.put_buffer(Vec::with_capacity(128 * 1024));
        assert!(!buffer_pool.trim(), "more than a quarter of what was freed");
        assert!(buffer_pool.trim(), "no more are made");
    }
}
