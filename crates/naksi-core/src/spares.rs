//! Buffers that sessions of one worker lend each other, so that an idle session holds none and a busy one
//! allocates none; and the lease that one of them is reading, of which parts can be sent without a copy.
//!
//! A buffer is of the smallest class that holds what it is for: a short message does not hold a page. Bounded: what does
//! not fit is freed, and what nobody has used for a while is freed by [`Spares::trim`]. Nothing here knows what the bytes
//! were.

use std::rc::Rc;

use crate::batch::{Piece, SendBatch};
use crate::lease::{Lease, LeasePart};

/// Capacities of the buffers in bytes, and how many of each are kept at most: 25 MiB of all of them.
const CLASSES: [(usize, usize); 7] = [
    (64, 4096),
    (512, 2048),
    (Spares::PAGE_BYTES, 1024),
    (0x4000, 256),
    (0x8000, 128),
    (Spares::CLASS_BYTES_MAX, 64),
    (Spares::HUGE_BYTES, 32),
];

/// The empty buffers of one class.
#[derive(Debug, Default)]
struct Class {
    buffers: Vec<Vec<u8>>,
    /// The fewest that were here since the last trim: nobody needed these.
    unused: usize,
}

/// Spare buffers of one worker.
#[derive(Debug, Default)]
pub struct Spares {
    classes: [Class; CLASSES.len()],
    batches: Vec<SendBatch>,
    /// As [`Class::unused`].
    batches_unused: usize,
    /// Bytes that were freed since memory was last given back to the system.
    freed_bytes: usize,
    /// Bytes that were allocated since the last trim.
    made_bytes: usize,
    /// A trim may be worth it.
    plump: bool,
    /// Received bytes that the worker's sessions keep because nobody has taken them.
    kept_bytes: usize,
    /// The lease that is being read, if it is long.
    read: Option<Rc<Lease>>,
}

impl Spares {
    /// Up to this many bytes a buffer is exchanged for one of a larger class as it fills; longer ones have successors.
    pub const PAGE_BYTES: usize = 4 * 1024;
    /// What is longer has a buffer as long as it is.
    pub const CLASS_BYTES_MAX: usize = 64 * 1024;
    /// What one receive and its successors bring before a pause; such buffers are kept as well.
    pub const HUGE_BYTES: usize = 256 * 1024;
    /// Batches kept at most.
    const BATCHES_MAX: usize = 2048;
    /// A batch with room for more pieces is freed: it was of a session that did not keep up.
    const BATCH_PIECES_MAX: usize = 16;
    /// So much is worth a trim.
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

    /// So many bytes are freed by the caller.
    fn freed(&mut self, bytes: usize) {
        self.freed_bytes += bytes;
        self.plump |= self.freed_bytes >= Self::TRIM_BYTES_MIN;
    }

    /// Whether there is so much to give back that [`Spares::trim`] should be called after a while.
    pub fn is_plump(&self) -> bool {
        self.plump
    }

    /// Bytes of all spare buffers.
    pub fn bytes(&self) -> usize {
        self.classes.iter().zip(CLASSES).map(|(class, (capacity, _))| class.buffers.len() * capacity).sum()
    }

    /// Frees what nobody has used since the last trim. Returns whether so much was freed, and so little of it is needed
    /// again, that the system should have its memory back.
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
    fn a_short_message_holds_no_page() {
        let mut spares = Spares::default();
        let mut huge = spares.buffer(262_144);
        huge.push(1);
        let place = huge.as_ptr();
        spares.put_buffer(huge);
        let again = spares.buffer(262_144);
        assert_eq!(again.as_ptr(), place, "what one receive brings before a pause is kept");
        for (bytes, capacity) in
            [(1, 64), (12, 64), (65, 512), (600, 4096), (5_000, 16 * 1024), (100_000, 100_000)]
        {
            assert_eq!(spares.buffer(bytes).capacity(), capacity, "{bytes} bytes");
        }
    }

    #[test]
    fn what_does_not_fit_is_freed() {
        let mut spares = Spares::default();
        for (capacity, most) in CLASSES {
            (0..most + 10).for_each(|_| spares.put_buffer(Vec::with_capacity(capacity)));
        }
        for (class, (_, most)) in spares.classes.iter().zip(CLASSES) {
            assert_eq!(class.buffers.len(), most);
        }
        assert_eq!(spares.bytes(), CLASSES.iter().map(|(capacity, most)| capacity * most).sum::<usize>());
    }

    #[test]
    fn a_batch_that_had_many_pieces_is_freed() {
        let mut spares = Spares::default();
        let mut batch = SendBatch::new();
        (0..1_000).for_each(|_| batch.push(Piece::Owned(vec![1])));
        spares.put_batch(batch);
        assert_eq!(spares.batch().capacity(), 0);
    }

    #[test]
    fn what_nobody_has_used_between_two_trims_is_freed_and_what_is_in_use_stays() {
        let mut spares = Spares::default();
        let many: Vec<_> = (0..1_000).map(|_| spares.buffer(4096)).collect();
        many.into_iter().for_each(|buffer| spares.put_buffer(buffer));
        assert!(spares.is_plump());
        assert!(!spares.trim(), "it was all used a moment ago");
        let some: Vec<_> = (0..10).map(|_| spares.buffer(4096)).collect();
        some.into_iter().for_each(|buffer| spares.put_buffer(buffer));
        assert!(spares.trim(), "the system gets 990 pages back");
        assert!((20..1_000).contains(&spares.classes[2].buffers.capacity()), "room for as many again");
        assert_eq!(spares.bytes(), 10 * 4096);
        assert!(!spares.is_plump());
        assert!(!spares.trim());
        assert_eq!(spares.bytes(), 0, "nobody has used the last ten");
    }

    #[test]
    fn a_trim_is_worth_it_from_128_kib_on_that_are_spare_or_were_freed() {
        for (capacity, _) in CLASSES {
            let mut spares = Spares::default();
            let enough = (128 * 1024_usize).div_ceil(capacity);
            for number in 1..=enough {
                assert!(!spares.is_plump(), "{number} of {capacity} bytes");
                spares.put_buffer(Vec::with_capacity(capacity));
            }
            assert!(spares.is_plump(), "{capacity}");
        }
        // Of sizes that are not kept.
        let mut spares = Spares::default();
        spares.put_buffer(Vec::with_capacity(100_000));
        assert!(!spares.is_plump());
        spares.put_buffer(Vec::with_capacity(31_072));
        assert!(spares.is_plump() && spares.bytes() == 0);
    }

    #[test]
    fn the_system_has_its_memory_back_when_four_times_what_is_needed_was_freed() {
        let trims = |freed: usize, made: usize| {
            let mut spares = Spares::default();
            drop(spares.buffer(made));
            spares.put_buffer(Vec::with_capacity(freed));
            let first = spares.trim();
            assert_eq!(spares.is_plump(), !first && freed >= 128 * 1024, "it is still to be given back");
            (first, spares.trim())
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
            batch.push(Piece::Owned(vec![1]));
            batch
        };
        let mut spares = Spares::default();
        (0..10).for_each(|_| spares.put_batch(used()));
        spares.trim();
        assert_eq!(spares.batches.len(), 10, "they came a moment ago");
        let again: Vec<_> = (0..3).map(|_| spares.batch()).collect();
        assert!(again.iter().all(|batch| batch.capacity() == 1 && batch.is_empty()), "used again");
        again.into_iter().for_each(|batch| spares.put_batch(batch));
        spares.trim();
        assert_eq!(spares.batches.len(), 3, "three were used");
        assert!((6..10).contains(&spares.batches.capacity()), "room for as many again");
        spares.trim();
        assert_eq!(spares.batches.len(), 0);
        (0..Spares::BATCHES_MAX + 10).for_each(|_| spares.put_batch(used()));
        assert_eq!(spares.batches.len(), Spares::BATCHES_MAX);
    }

    #[test]
    fn the_buffers_of_a_batch_that_was_sent_are_used_again() {
        let mut spares = Spares::default();
        let mut batch = SendBatch::new();
        batch.push_empty(Vec::with_capacity(64));
        assert!(batch.append(b"sent"));
        batch.push(Piece::Shared(bytes::Bytes::from_static(b"of others")));
        spares.put_batch(batch);
        assert_eq!(spares.bytes(), 64);
        spares.put_piece(Piece::Owned(Vec::with_capacity(512)));
        assert_eq!(spares.bytes(), 64 + 512);
    }

    #[test]
    fn batches_that_were_made_count_as_needed() {
        let mut spares = Spares::default();
        let made = 32 * 1024 / SendBatch::HELD_BYTES_MIN + 1;
        (0..made).for_each(|_| drop(spares.batch()));
        spares.put_buffer(Vec::with_capacity(128 * 1024));
        assert!(!spares.trim(), "more than a quarter of what was freed");
        assert!(spares.trim(), "no more are made");
    }
}
