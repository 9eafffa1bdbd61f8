//! The send queue: bounded in bytes and in pieces, with one batch in flight at a time.
//!
//! While a batch is in flight, new data gathers in the next one; the rest of a partial send is sent first. Small
//! messages are copied together into a buffer that grows as needed, because gathering many small references costs
//! more than the copy. Large shared messages, large parts of a received lease, and the first message of a batch (if
//! it keeps nothing else alive) are sent by reference. Droppable data joins a batch only up to the low mark, and
//! otherwise waits beside the queue.

mod sealed;

use bytes::Bytes;
use std::time::Duration;

use crate::batch::{Segment, SendBatch};
use crate::buffer_pool::BufferPool;
use crate::droppable_queue::{DroppableQueue, PacketClass, Placed};
use crate::limits::Limits;
use crate::tick::Tick;

/// Shared bytes up to this length are copied instead of referenced.
const COPY_BYTES_MAX: usize = 1024;

/// Parts of the lease that is being read are sent from it without a copy if they have at least this many bytes.
pub(crate) const LENT_BYTES_MIN: usize = 4 * 1024;

/// The outcome of queueing bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendStatus {
    /// They are queued and leave with the next batch.
    Queued,
    /// They did not fit and were dropped, as the overflow policy says; the session continues.
    Dropped,
    /// They did not fit, and the session ends for it.
    Overflowed,
    /// The session is ending; nothing is sent any more.
    Closed,
}

/// The send queue of one session. Invariant: `bytes() <= send_queue_bytes_max`.
#[derive(Debug, Default)]
pub struct SendQueue {
    waiting: SendBatch,
    /// Bytes of the batch in flight; below 4 GiB because of the limits.
    flying_bytes: u32,
    /// Pieces of the batch that is with the kernel.
    flying_pieces: u32,
    /// Bytes of memory of the batch that is with the kernel.
    flying_held: u32,
    /// The queue has been over the high mark and is not yet down to the low one.
    congested: bool,
    /// At the last push, half of the allowed pieces were queued.
    crowded: bool,
    /// The batch in flight is a sealed one that returned in part: it still counts here while the session holds it.
    is_home: bool,
    /// Droppable data that waits because the receiver does not keep up; absent when nothing waits or is in flight.
    data: Option<Box<DroppableQueue>>,
    /// Since when the queue has not been empty.
    since: Tick,
}

/// What is queued for one session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// Bytes queued, those with the kernel included.
    pub bytes: usize,
    /// Pieces queued, those with the kernel included.
    pub entries: usize,
    /// Bytes of data that wait beside the queue.
    pub data_bytes: usize,
    /// Messages of data that wait beside the queue.
    pub data_entries: usize,
    /// How long the queue has not been empty.
    pub age: Duration,
}

impl SendQueue {
    /// Bytes queued, those with the kernel included.
    pub fn bytes(&self) -> usize {
        self.waiting.bytes() + self.flying_bytes as usize
    }

    /// Bytes of memory that the queue keeps, by capacity, including the droppable data beside it.
    pub fn held_bytes(&self) -> usize {
        let queue = self.waiting.held_bytes() + self.flying_held as usize;
        queue + self.data.as_deref().map_or(0, DroppableQueue::held_bytes)
    }

    /// Pieces queued, those with the kernel included.
    pub fn entries(&self) -> usize {
        self.waiting.pieces() + self.flying_pieces as usize
    }

    /// Whether nothing is queued and nothing is with the kernel.
    pub fn is_empty(&self) -> bool {
        self.bytes() == 0
    }

    /// Whether a batch is with the kernel.
    pub fn is_flying(&self) -> bool {
        self.flying_bytes > 0 && !self.is_home
    }

    /// Whether the session should stop receiving until the queue has drained to the low mark.
    pub fn is_congested(&self) -> bool {
        self.congested
    }

    /// Whether there is something that is not with the kernel.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether half of the allowed pieces are in use.
    pub fn is_crowded(&self) -> bool {
        self.crowded
    }

    /// Queues a copy of `parts`, one after the other, completely or not at all. A long part of the lease that is
    /// being read is not copied.
    ///
    /// Returns whether they fit.
    pub fn push(&mut self, parts: [&[u8]; 2], limits: &Limits, buffer_pool: &mut BufferPool) -> bool {
        self.push_parts(parts, limits, buffer_pool)
    }

    #[inline(always)]
    fn push_parts<const N: usize>(
        &mut self,
        parts: [&[u8]; N],
        limits: &Limits,
        buffer_pool: &mut BufferPool,
    ) -> bool {
        let length = parts.iter().map(|part| part.len()).sum::<usize>();
        if length == 0 {
            return true;
        }
        if self.bytes() + length > limits.send_queue_bytes_max {
            return false;
        }
        if self.waiting.pieces() == 0 {
            self.open_batch(buffer_pool);
        }
        if length >= LENT_BYTES_MIN
            && parts[1..].iter().all(|part| part.is_empty())
            && !self.crowded
            && let Some(part) = buffer_pool.part(parts[0])
        {
            self.waiting.push(Segment::Lent(part));
            self.mark(limits);
            return true;
        }
        // A message is appended as a whole or starts a new piece, so that a full queue never cuts one.
        if self.waiting.room() < length && !self.make_room(length, limits, buffer_pool) {
            return false;
        }
        for part in parts {
            assert!(self.waiting.append(part), "a piece with room for the whole message takes its parts");
        }
        self.mark(limits);
        true
    }

    /// Makes room for a short message after the last one: in a larger buffer up to a page, or in an additional one.
    /// Returns `false` if there are too many pieces.
    #[inline(always)]
    fn make_room(&mut self, length: usize, limits: &Limits, buffer_pool: &mut BufferPool) -> bool {
        let joined = self.waiting.last_owned().map(|last| last + length);
        if let Some(bytes) = joined.filter(|bytes| *bytes <= BufferPool::PAGE_BYTES) {
            let narrow = self.waiting.widen(buffer_pool.buffer(bytes));
            buffer_pool.put_buffer(narrow);
            return true;
        }
        if self.entries() >= limits.send_queue_entries_max {
            return false;
        }
        self.waiting.push_empty(buffer_pool.buffer(length));
        true
    }

    /// Queues shared bytes whose owner counts their memory, completely or not at all. The first message of a batch is
    /// not copied, however short: a reference is cheaper.
    ///
    /// Returns whether they fit.
    pub fn push_counted(&mut self, bytes: &Bytes, limits: &Limits, buffer_pool: &mut BufferPool) -> bool {
        if bytes.len() <= COPY_BYTES_MAX && (self.waiting.pieces() > 0 || bytes.is_empty()) {
            return self.push([bytes, &[]], limits, buffer_pool);
        }
        self.push_reference(bytes, Segment::Counted, limits, buffer_pool)
    }

    /// Queues shared bytes, completely or not at all.
    ///
    /// Returns whether they fit.
    pub fn push_shared(&mut self, bytes: &Bytes, limits: &Limits, buffer_pool: &mut BufferPool) -> bool {
        if bytes.len() <= COPY_BYTES_MAX {
            return self.push([bytes, &[]], limits, buffer_pool);
        }
        self.push_reference(bytes, Segment::Shared, limits, buffer_pool)
    }

    #[inline]
    fn push_reference(
        &mut self,
        bytes: &Bytes,
        piece: fn(Bytes) -> Segment,
        limits: &Limits,
        buffer_pool: &mut BufferPool,
    ) -> bool {
        if self.bytes() + bytes.len() > limits.send_queue_bytes_max
            || self.entries() >= limits.send_queue_entries_max
        {
            return false;
        }
        if self.waiting.pieces() == 0 {
            self.open_batch(buffer_pool);
        }
        self.waiting.push(piece(bytes.clone()));
        self.mark(limits);
        true
    }

    /// Queues droppable data.
    pub fn push_data(
        &mut self,
        (class, key): (PacketClass, u64),
        bytes: &Bytes,
        now: Tick,
        limits: &Limits,
        buffer_pool: &mut BufferPool,
    ) -> Placed {
        if bytes.len() > limits.send_queue_bytes_max {
            // It could never join a batch, and all data behind it would wait for ever.
            return Placed::Dropped;
        }
        let keeps_up = self.data.is_none() && self.bytes() + bytes.len() <= limits.send_queue_low_bytes;
        if keeps_up && self.push_shared(bytes, limits, buffer_pool) {
            return Placed::Waits;
        }
        // It is longer than the low mark and has to be sent alone; otherwise it would wait for ever.
        if self.is_empty() && self.push_shared(bytes, limits, buffer_pool) {
            return Placed::Waits;
        }
        let plane = self.data.get_or_insert_default();
        // Copied, because a slice would keep the whole buffer alive.
        let placed = plane.push(class, key, Bytes::copy_from_slice(bytes), now, limits);
        if plane.is_empty() {
            self.data = None;
        }
        placed
    }

    /// If the queue is empty, data queued from now on counts as waiting since `now`.
    pub fn look(&mut self, now: Tick) {
        if self.is_empty() {
            self.since = now;
        }
    }

    /// What is queued.
    pub fn pending(&self, now: Tick) -> Pending {
        let data = self.data.as_deref();
        Pending {
            bytes: self.bytes(),
            entries: self.entries(),
            data_bytes: data.map_or(0, DroppableQueue::bytes),
            data_entries: data.map_or(0, DroppableQueue::len),
            age: if self.is_empty() { Duration::ZERO } else { now.since(self.since) },
        }
    }

    /// Lets data join what waits, as far as the low mark.
    #[inline(never)]
    fn load_data(&mut self, limits: &Limits, buffer_pool: &mut BufferPool) {
        while let Some(data) = &mut self.data {
            let Some(bytes) = data.first().cloned() else {
                self.data = None;
                return;
            };
            let fits = self.is_empty() || self.bytes() + bytes.len() <= limits.send_queue_low_bytes;
            if !fits || !self.push_shared(&bytes, limits, buffer_pool) {
                return;
            }
            self.data.as_mut().and_then(|data| data.pop());
        }
    }

    /// The next batch to send, unless one is in flight or nothing waits.
    pub fn take(&mut self) -> Option<SendBatch> {
        if self.is_flying() {
            return None;
        }
        let batch = self.take_waiting()?;
        self.fly(&batch);
        Some(batch)
    }

    /// What waits, to be sealed before [`SendQueue::fly`].
    #[inline]
    pub fn take_waiting(&mut self) -> Option<SendBatch> {
        if self.waiting.is_empty() {
            return None;
        }
        self.crowded = false;
        Some(std::mem::take(&mut self.waiting))
    }

    /// Marks this batch as in flight. The headers of a sealed batch may exceed the limit.
    #[inline]
    pub fn fly(&mut self, batch: &SendBatch) {
        self.is_home = false;
        self.flying_bytes = u32::try_from(batch.bytes()).unwrap_or(u32::MAX);
        self.flying_held = u32::try_from(batch.held_bytes()).unwrap_or(u32::MAX);
        self.flying_pieces = u32::try_from(batch.pieces()).expect("pieces are bounded by the limits");
    }

    /// The batch returned; the kernel took `sent` bytes of it. What is left is sent before everything else.
    ///
    /// Returns whether something is left.
    pub fn returned(
        &mut self,
        batch: SendBatch,
        sent: usize,
        limits: &Limits,
        buffer_pool: &mut BufferPool,
    ) -> bool {
        let rest = self.land(batch, sent, buffer_pool);
        let left = rest.is_some();
        if let Some(rest) = rest {
            let newer = std::mem::replace(&mut self.waiting, rest);
            let emptied = self.waiting.join(newer);
            buffer_pool.put_batch(emptied);
        }
        self.make_up(limits, buffer_pool);
        left
    }

    /// The batch returned; the kernel took `sent` bytes of it. Returns what is left.
    #[inline(always)]
    fn land(&mut self, mut batch: SendBatch, sent: usize, buffer_pool: &mut BufferPool) -> Option<SendBatch> {
        assert!(self.is_flying(), "a batch came home that was never sent");
        (self.flying_bytes, self.flying_pieces, self.flying_held) = (0, 0, 0);
        batch.advance(sent, |piece| buffer_pool.put_piece(piece));
        if !batch.is_empty() {
            return Some(batch);
        }
        buffer_pool.put_batch(batch);
        None
    }

    /// The queue has shrunk: reading may resume, and droppable data may join it.
    #[inline(always)]
    fn make_up(&mut self, limits: &Limits, buffer_pool: &mut BufferPool) {
        if self.bytes() <= limits.send_queue_low_bytes {
            self.congested = false;
        }
        if self.data.is_some() {
            self.load_data(limits, buffer_pool);
        }
    }

    /// Drops waiting data, because the peer will not read it. A batch in flight is not touched.
    pub fn abandon(&mut self, buffer_pool: &mut BufferPool) {
        self.data = None;
        if self.is_home {
            (self.flying_bytes, self.flying_pieces, self.flying_held) = (0, 0, 0);
        }
        buffer_pool.put_batch(std::mem::take(&mut self.waiting));
    }

    /// The batch with the kernel returned and will not be sent.
    pub fn abandon_flying(&mut self, batch: SendBatch, buffer_pool: &mut BufferPool) {
        assert!(self.is_flying(), "a batch came home that was never sent");
        (self.flying_bytes, self.flying_pieces, self.flying_held) = (0, 0, 0);
        buffer_pool.put_batch(batch);
    }

    fn open_batch(&mut self, buffer_pool: &mut BufferPool) {
        self.waiting = buffer_pool.batch();
    }

    fn mark(&mut self, limits: &Limits) {
        // Reaching the mark is not exceeding it: echoing one receive must not pause a session. A full queue exceeds
        // any mark.
        let over_bytes = limits.send_queue_high_bytes.saturating_add(1).min(limits.send_queue_bytes_max);
        if self.bytes() >= over_bytes {
            self.congested = true;
        }
        self.crowded = 2 * self.entries() >= limits.send_queue_entries_max;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits {
            send_queue_bytes_max: 100,
            send_queue_high_bytes: 60,
            send_queue_low_bytes: 20,
            send_queue_entries_max: 2,
            ..Limits::default()
        }
    }

    fn bytes_of(batch: &SendBatch) -> Vec<u8> {
        batch.slices().flatten().copied().collect()
    }

    #[test]
    fn what_a_short_send_left_goes_out_before_what_came_later() {
        let (mut queue, limits, mut buffer_pool) = (SendQueue::default(), limits(), BufferPool::default());
        assert!(queue.push([b"abc", b"def"], &limits, &mut buffer_pool));
        let batch = queue.take().expect("something waits");
        assert!(queue.take().is_none(), "one batch at a time");
        assert!(queue.push([b"ghi", b""], &limits, &mut buffer_pool));
        queue.returned(batch, 2, &limits, &mut buffer_pool);
        assert_eq!(bytes_of(&queue.take().expect("the rest waits")), b"cdefghi");
        assert_eq!(queue.bytes(), 7);
    }

    #[test]
    fn the_cap_in_bytes_refuses_a_message_whole() {
        let (mut queue, limits, mut buffer_pool) = (SendQueue::default(), limits(), BufferPool::default());
        assert!(queue.push([&[1; 50], &[2; 40]], &limits, &mut buffer_pool));
        assert!(!queue.push([&[3; 11], &[]], &limits, &mut buffer_pool));
        assert_eq!(queue.bytes(), 90);
        assert!(queue.push([&[4; 10], &[]], &limits, &mut buffer_pool));
        assert_eq!(queue.bytes(), 100);

        let boundless =
            Limits { send_queue_bytes_max: usize::MAX, send_queue_high_bytes: usize::MAX, ..limits };
        assert!(queue.push([b"more", &[]], &boundless, &mut buffer_pool));
    }

    #[test]
    fn the_cap_in_pieces_refuses_too() {
        let limits = Limits { send_queue_entries_max: 2, ..Limits::default() };
        let (mut queue, mut buffer_pool) = (SendQueue::default(), BufferPool::default());
        let shared = Bytes::from(vec![7; COPY_BYTES_MAX + 1]);
        assert!(queue.push_shared(&shared, &limits, &mut buffer_pool));
        assert!(queue.push_shared(&shared, &limits, &mut buffer_pool));
        assert!(!queue.push_shared(&shared, &limits, &mut buffer_pool));
        assert_eq!(queue.entries(), 2);
    }

    #[test]
    fn congestion_begins_at_the_high_mark_and_ends_at_the_low_one() {
        let (mut queue, limits, mut buffer_pool) = (SendQueue::default(), limits(), BufferPool::default());
        queue.push([&[0; 60], &[]], &limits, &mut buffer_pool);
        assert!(!queue.is_congested());
        queue.push([&[0; 1], &[]], &limits, &mut buffer_pool);
        assert!(queue.is_congested());
        let batch = queue.take().expect("something waits");
        queue.returned(batch, 40, &limits, &mut buffer_pool);
        assert!(queue.is_congested(), "21 bytes are above the low mark");
        let batch = queue.take().expect("the rest waits");
        queue.returned(batch, 1, &limits, &mut buffer_pool);
        assert!(!queue.is_congested());
    }

    #[test]
    fn short_messages_hold_little_and_are_one_piece_as_they_become_many() {
        let (mut queue, limits, mut buffer_pool) =
            (SendQueue::default(), Limits::default(), BufferPool::default());
        let list = SendBatch::HELD_BYTES_MIN;
        let mut said = Vec::new();
        for number in 0..300_u16 {
            let message = [number as u8; 12];
            assert!(queue.push([&message, &[]], &limits, &mut buffer_pool));
            said.extend(message);
            assert_eq!(queue.entries(), 1, "after {number}");
            let capacity = queue.held_bytes() - list;
            assert!(capacity <= said.len().max(8) * 8, "{capacity} bytes for {}", said.len());
        }
        let held = queue.held_bytes();
        let batch = queue.take().expect("something waits");
        assert_eq!(queue.held_bytes(), held, "with the kernel it is held as well");
        assert_eq!(bytes_of(&batch), said);
        queue.returned(batch, 1, &limits, &mut buffer_pool);
        assert_eq!(queue.held_bytes(), held, "a piece is held until all of it is sent");
        assert!(queue.push([b"after", &[]], &limits, &mut buffer_pool));
        assert_eq!(bytes_of(&queue.take().expect("the rest")), [&said[1..], b"after"].concat());
    }

    #[test]
    fn the_first_of_a_batch_is_referenced_and_what_follows_is_copied_together() {
        let (mut queue, limits, mut buffer_pool) =
            (SendQueue::default(), Limits::default(), BufferPool::default());
        let shared = Bytes::copy_from_slice(b"what everybody hears");
        assert!(queue.push_counted(&shared, &limits, &mut buffer_pool));
        assert_eq!(queue.held_bytes(), SendBatch::HELD_BYTES_MIN, "the owner counts the bytes");
        (0..5).for_each(|_| assert!(queue.push_counted(&shared, &limits, &mut buffer_pool)));
        assert_eq!(queue.entries(), 2);
        let batch = queue.take().expect("something waits");
        assert_eq!(batch.slices().next().map(<[u8]>::as_ptr), Some(shared.as_ptr()));
        assert_eq!(bytes_of(&batch), shared.repeat(6));
        let tight = Limits { send_queue_bytes_max: shared.len() - 1, ..limits };
        assert!(!SendQueue::default().push_counted(&shared, &tight, &mut buffer_pool), "a cap is a cap");
    }

    #[test]
    fn shared_bytes_fit_up_to_the_cap_and_not_a_byte_beyond() {
        let limits =
            Limits { send_queue_bytes_max: 3_000, send_queue_high_bytes: 3_000, ..Limits::default() };
        let shared = |bytes: usize| Bytes::from(vec![7; bytes]);
        for last in [1_500, 1_501] {
            let (mut queue, mut buffer_pool) = (SendQueue::default(), BufferPool::default());
            assert!(queue.push_shared(&shared(1_500), &limits, &mut buffer_pool));
            assert_eq!(queue.push_shared(&shared(last), &limits, &mut buffer_pool), last == 1_500);
            assert_eq!(queue.bytes(), if last == 1_500 { 3_000 } else { 1_500 });
        }
        let class = PacketClass { number: 1, lag_policy: crate::droppable_queue::LagPolicy::DropNew };
        for (bytes, placed) in [(3_000, Placed::Waits), (3_001, Placed::Dropped)] {
            let (mut queue, mut buffer_pool) = (SendQueue::default(), BufferPool::default());
            let low = Limits { send_queue_low_bytes: 10, ..limits.clone() };
            let found = queue.push_data((class, 0), &shared(bytes), Tick::ZERO, &low, &mut buffer_pool);
            assert_eq!((found, queue.is_waiting()), (placed, placed == Placed::Waits), "{bytes} bytes");
        }
    }

    #[test]
    fn a_queue_is_crowded_from_half_of_its_pieces_on() {
        for most in 1..12 {
            let limits = Limits { send_queue_entries_max: most, ..Limits::default() };
            let (mut queue, mut buffer_pool) = (SendQueue::default(), BufferPool::default());
            let shared = Bytes::from(vec![7; COPY_BYTES_MAX + 1]);
            for pieces in 1..=most {
                assert!(queue.push_shared(&shared, &limits, &mut buffer_pool));
                assert_eq!(queue.is_crowded(), pieces * 2 >= most, "{pieces} of {most}");
            }
            let batch = queue.take().expect("it waits");
            assert!(!queue.is_crowded(), "all of them are on their way");
            queue.returned(batch, most * shared.len(), &limits, &mut buffer_pool);
            assert!(queue.is_empty() && queue.entries() == 0);
        }
    }

    #[test]
    fn a_message_that_just_fits_the_buffer_is_put_into_it() {
        let (mut queue, limits, mut buffer_pool) =
            (SendQueue::default(), Limits::default(), BufferPool::default());
        assert!(queue.push([&[1; 60], &[]], &limits, &mut buffer_pool));
        let place = |queue: &SendQueue| queue.waiting.slices().next().map(<[u8]>::as_ptr);
        let (held, before) = (queue.held_bytes(), place(&queue));
        assert!(queue.push([&[2; 3], &[3]], &limits, &mut buffer_pool));
        assert_eq!(place(&queue), before, "what was there is not copied once more");
        assert_eq!((queue.held_bytes(), queue.entries()), (held, 1), "filled to the last of 64 bytes");
        assert!(queue.push([b"4", &[]], &limits, &mut buffer_pool));
        assert!(queue.held_bytes() > held && queue.entries() == 1);
    }

    #[test]
    fn the_rest_of_a_long_buffer_is_used_before_another_piece_begins() {
        let (mut queue, limits, mut buffer_pool) =
            (SendQueue::default(), Limits::default(), BufferPool::default());
        assert!(queue.push([&[1; 5_000], &[]], &limits, &mut buffer_pool));
        (0..11).for_each(|_| assert!(queue.push([&[2; 1_000], &[]], &limits, &mut buffer_pool)));
        assert_eq!(queue.entries(), 1, "16,000 of 16 KiB");
        assert!(queue.push([&[3; 1_000], &[]], &limits, &mut buffer_pool));
        assert_eq!(queue.entries(), 2);
    }

    #[test]
    fn the_batch_of_a_session_that_has_sent_is_the_next_ones() {
        let (limits, mut buffer_pool) = (Limits::default(), BufferPool::default());
        let shared = Bytes::from(vec![7; COPY_BYTES_MAX + 1]);
        type Push = fn(&mut SendQueue, &Bytes, &Limits, &mut BufferPool) -> bool;
        let ways: [Push; 2] = [
            |queue, bytes, limits, buffer_pool| queue.push([&bytes[..5], &[]], limits, buffer_pool),
            |queue, bytes, limits, buffer_pool| queue.push_shared(bytes, limits, buffer_pool),
        ];
        for push in ways {
            let mut first = SendQueue::default();
            assert!(push(&mut first, &shared, &limits, &mut buffer_pool));
            let batch = first.take().expect("it waits");
            let bytes = batch.bytes();
            assert!(!first.returned(batch, bytes, &limits, &mut buffer_pool));
            let mut second = SendQueue::default();
            assert!(push(&mut second, &shared, &limits, &mut buffer_pool));
            assert_eq!(
                buffer_pool.batch().capacity(),
                0,
                "no batch is left: the second has the one of the first"
            );
        }
    }

    #[test]
    fn data_joins_what_waits_as_far_as_the_low_mark() {
        let (mut queue, limits, mut buffer_pool) = (SendQueue::default(), limits(), BufferPool::default());
        let limits = Limits { send_queue_entries_max: 100, ..limits };
        let class = PacketClass { number: 1, lag_policy: crate::droppable_queue::LagPolicy::DropNew };
        assert!(queue.push([&[1; 20], &[]], &limits, &mut buffer_pool));
        let batch = queue.take().expect("something waits");
        assert!(queue.push([&[2; 8], &[]], &limits, &mut buffer_pool));
        for bytes in [&[3; 8][..], &[4; 5]] {
            let bytes = Bytes::copy_from_slice(bytes);
            assert_eq!(
                queue.push_data((class, 0), &bytes, Tick::ZERO, &limits, &mut buffer_pool),
                Placed::Waits
            );
        }
        queue.returned(batch, 20, &limits, &mut buffer_pool);
        let pending = queue.pending(Tick::ZERO);
        assert_eq!((pending.bytes, pending.data_bytes), (16, 5), "eight more are within 20 bytes, five not");
    }

    #[test]
    fn data_that_waits_beside_the_queue_is_held_as_well() {
        let (mut queue, mut buffer_pool) = (SendQueue::default(), BufferPool::default());
        let limits = Limits { send_queue_low_bytes: 10, ..Limits::default() };
        let class = PacketClass { number: 1, lag_policy: crate::droppable_queue::LagPolicy::DropNew };
        assert!(queue.push([&[1; 20], &[]], &limits, &mut buffer_pool));
        let held = queue.held_bytes();
        let data = Bytes::from(vec![7; 500]);
        assert_eq!(queue.push_data((class, 0), &data, Tick::ZERO, &limits, &mut buffer_pool), Placed::Waits);
        assert!((500..1_500).contains(&(queue.held_bytes() - held)), "{} bytes", queue.held_bytes());
        queue.abandon(&mut buffer_pool);
        assert_eq!((queue.held_bytes(), queue.pending(Tick::ZERO)), (0, Pending::default()));
    }

    #[test]
    fn an_emptied_queue_holds_no_memory() {
        let (mut queue, limits, mut buffer_pool) = (SendQueue::default(), limits(), BufferPool::default());
        queue.push([b"abc", b""], &limits, &mut buffer_pool);
        let batch = queue.take().expect("something waits");
        queue.returned(batch, 3, &limits, &mut buffer_pool);
        assert!(queue.is_empty());
        assert_eq!((queue.waiting.capacity(), queue.held_bytes()), (0, 0));
    }

    #[test]
    fn data_waits_beside_the_queue_and_joins_it_behind_what_may_not_be_missed() {
        let (mut queue, mut buffer_pool) = (SendQueue::default(), BufferPool::default());
        let limits = Limits { send_queue_entries_max: 100, ..limits() };
        let latest = PacketClass { number: 1, lag_policy: crate::droppable_queue::LagPolicy::Latest };
        let push = |queue: &mut SendQueue, key: u64, bytes: &'static [u8]| {
            queue.push_data(
                (latest, key),
                &Bytes::from_static(bytes),
                Tick::ZERO,
                &limits,
                &mut BufferPool::default(),
            )
        };
        assert_eq!(push(&mut queue, 1, b"a1"), Placed::Waits);
        let batch = queue.take().expect("it keeps up so far");
        // The peer reads nothing: data up to the low mark joins the queue, the rest waits beside it.
        for (key, bytes) in
            [(1, b"a2________________".as_slice()), (1, b"a3"), (2, b"b1"), (1, b"a4"), (2, b"b2")]
        {
            assert_eq!(push(&mut queue, key, bytes), Placed::Waits);
        }
        assert!(queue.push([b"never missed", b""], &limits, &mut buffer_pool));
        let pending = queue.pending(Tick::ZERO);
        assert_eq!((pending.bytes, pending.data_bytes, pending.data_entries), (2 + 18 + 12, 4, 2));
        queue.returned(batch, 2, &limits, &mut buffer_pool);
        let batch = queue.take().expect("much waits");
        assert_eq!(bytes_of(&batch), b"a2________________never missed");
        queue.returned(batch, 30, &limits, &mut buffer_pool);
        assert_eq!(bytes_of(&queue.take().expect("the data")), b"a4b2", "the latest of each, and no other");
        assert_eq!(queue.pending(Tick::ZERO).data_entries, 0);
    }

    #[test]
    fn whatever_comes_data_that_waits_has_something_before_it_that_will_return() {
        let mut seed = 3_u64;
        let mut chance = move |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        let limits =
            Limits { data_bytes_max: 300, data_entries_max: 10, send_queue_entries_max: 6, ..limits() };
        let (mut queue, mut buffer_pool, mut flying) = (SendQueue::default(), BufferPool::default(), None);
        let class = PacketClass { number: 0, lag_policy: crate::droppable_queue::LagPolicy::DropOld };
        for _ in 0..20_000 {
            match chance(5) {
                0 | 1 => {
                    let bytes = Bytes::from(vec![1; 1 + chance(120) as usize]);
                    queue.push_data((class, 0), &bytes, Tick::ZERO, &limits, &mut buffer_pool);
                }
                2 => drop(queue.push([&vec![2; chance(30) as usize], &[]], &limits, &mut buffer_pool)),
                3 => flying = flying.or_else(|| queue.take()),
                _ => {
                    if let Some(batch) = flying.take() {
                        let sent = 1 + chance(SendBatch::bytes(&batch) as u64) as usize;
                        queue.returned(batch, sent, &limits, &mut buffer_pool);
                    }
                }
            }
            let pending = queue.pending(Tick::ZERO);
            assert!(pending.data_entries == 0 || pending.bytes > 0, "{pending:?}");
            assert!(
                pending.bytes <= limits.send_queue_bytes_max && pending.data_bytes <= limits.data_bytes_max
            );
        }
    }
}
