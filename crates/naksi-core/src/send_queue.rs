//! Bytes on their way out: bounded in bytes and in pieces, one batch with the kernel at a time.
//!
//! While a batch is with the kernel, what is queued gathers into the next one; what a short send left goes
//! out first. Small messages are copied together, large shared ones travel by reference (gathering many
//! small references costs more than the copy). Nothing here knows a socket, a frame or the time.

use bytes::Bytes;

use crate::batch::{Piece, SendBatch};
use crate::limits::Limits;
use crate::planted;
use crate::spares::Spares;

/// Shared bytes up to this length are copied instead of referenced.
const COPY_BYTES_MAX: usize = 1024;

/// What became of bytes that somebody wanted to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// They are queued and leave with the next batch.
    Queued,
    /// They did not fit and are gone, as the overflow policy says; the session goes on.
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
    /// Bytes of the batch that is with the kernel.
    flying_bytes: usize,
    /// Pieces of the batch that is with the kernel.
    flying_pieces: u32,
    /// Over the high mark, and not yet back at the low one.
    congested: bool,
    /// Half of the pieces that may be queued were, when the last one was.
    crowded: bool,
}

impl SendQueue {
    /// Bytes queued, those with the kernel included.
    pub fn bytes(&self) -> usize {
        self.waiting.bytes() + self.flying_bytes
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
        self.flying_bytes > 0
    }

    /// Whether the session should receive nothing until the queue has drained to the low mark.
    pub fn is_congested(&self) -> bool {
        self.congested
    }

    /// Whether there is something that is not with the kernel.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether half of the pieces that the queue may hold are in use.
    pub fn is_crowded(&self) -> bool {
        self.crowded
    }

    /// Queues a copy of `parts`, one behind the other, whole or not at all.
    ///
    /// Returns whether they fit.
    pub fn push(&mut self, parts: [&[u8]; 2], limits: &Limits, spares: &mut Spares) -> bool {
        let length = parts[0].len() + parts[1].len();
        if length == 0 {
            return true;
        }
        if self.bytes() + length > limits.send_queue_bytes_max && !planted!("26") {
            return false;
        }
        if self.waiting.pieces() == 0 {
            self.open_batch(spares);
        }
        // A message is appended whole or begins a piece of its own, so that a full queue never cuts one.
        let joined = self.waiting.room() >= length;
        if !joined {
            if self.entries() >= limits.send_queue_entries_max {
                return false;
            }
            self.waiting.push_empty(spares.buffer(length));
        }
        for part in parts {
            assert!(self.waiting.append(part), "a piece with room for the whole message takes its parts");
        }
        self.mark(limits);
        true
    }

    /// Queues bytes that several sessions share, whole or not at all.
    ///
    /// Returns whether they fit.
    pub fn push_shared(&mut self, bytes: &Bytes, limits: &Limits, spares: &mut Spares) -> bool {
        if bytes.len() <= COPY_BYTES_MAX {
            return self.push([bytes, &[]], limits, spares);
        }
        if self.bytes() + bytes.len() > limits.send_queue_bytes_max
            || self.entries() >= limits.send_queue_entries_max
        {
            return false;
        }
        if self.waiting.pieces() == 0 {
            self.open_batch(spares);
        }
        self.waiting.push(Piece::Shared(bytes.clone()));
        self.mark(limits);
        true
    }

    /// The next batch for the kernel, unless one is with it or nothing waits.
    pub fn take(&mut self) -> Option<SendBatch> {
        if self.is_flying() || self.waiting.is_empty() {
            return None;
        }
        self.crowded = false;
        let batch = std::mem::take(&mut self.waiting);
        self.flying_bytes = batch.bytes();
        self.flying_pieces = u32::try_from(batch.pieces()).expect("pieces are bounded by the limits");
        Some(batch)
    }

    /// The batch came home; the kernel took `sent` bytes of it. What is left goes out before all else.
    ///
    /// Returns whether something is left.
    pub fn returned(
        &mut self,
        mut batch: SendBatch,
        sent: usize,
        limits: &Limits,
        spares: &mut Spares,
    ) -> bool {
        assert!(self.is_flying(), "a batch came home that was never sent");
        self.flying_bytes = 0;
        self.flying_pieces = 0;
        let sent = if planted!("31") { batch.bytes() } else { sent };
        batch.advance(sent, |piece| spares.put_piece(piece));
        let left = !batch.is_empty();
        if left {
            let newer = std::mem::replace(&mut self.waiting, batch);
            let emptied = self.waiting.join(newer);
            spares.put_batch(emptied);
        } else {
            spares.put_batch(batch);
        }
        if self.bytes() <= limits.send_queue_low_bytes && !planted!("38") {
            self.congested = false;
        }
        left
    }

    /// Drops what waits: nobody will read it. A batch with the kernel is not touched; returns bytes dropped.
    pub fn abandon(&mut self, spares: &mut Spares) -> usize {
        let waiting = std::mem::take(&mut self.waiting);
        let dropped = waiting.bytes();
        spares.put_batch(waiting);
        dropped
    }

    /// The batch with the kernel came home and will not be sent; returns bytes dropped.
    pub fn abandon_flying(&mut self, batch: SendBatch, spares: &mut Spares) -> usize {
        assert!(self.is_flying(), "a batch came home that was never sent");
        self.flying_bytes = 0;
        self.flying_pieces = 0;
        let dropped = batch.bytes();
        spares.put_batch(batch);
        dropped
    }

    fn open_batch(&mut self, spares: &mut Spares) {
        self.waiting = spares.batch();
    }

    fn mark(&mut self, limits: &Limits) {
        if self.bytes() >= limits.send_queue_high_bytes {
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
        let (mut queue, limits, mut spares) = (SendQueue::default(), limits(), Spares::default());
        assert!(queue.push([b"abc", b"def"], &limits, &mut spares));
        let batch = queue.take().expect("something waits");
        assert!(queue.take().is_none(), "one batch at a time");
        assert!(queue.push([b"ghi", b""], &limits, &mut spares));
        queue.returned(batch, 2, &limits, &mut spares);
        assert_eq!(bytes_of(&queue.take().expect("the rest waits")), b"cdefghi");
        assert_eq!(queue.bytes(), 7);
    }

    #[test]
    fn the_cap_in_bytes_refuses_a_message_whole() {
        let (mut queue, limits, mut spares) = (SendQueue::default(), limits(), Spares::default());
        assert!(queue.push([&[1; 50], &[2; 40]], &limits, &mut spares));
        assert!(!queue.push([&[3; 11], &[]], &limits, &mut spares));
        assert_eq!(queue.bytes(), 90);
        assert!(queue.push([&[4; 10], &[]], &limits, &mut spares));
        assert_eq!(queue.bytes(), 100);
    }

    #[test]
    fn the_cap_in_pieces_refuses_too() {
        let limits = Limits { send_queue_entries_max: 2, ..Limits::default() };
        let (mut queue, mut spares) = (SendQueue::default(), Spares::default());
        let shared = Bytes::from(vec![7; COPY_BYTES_MAX + 1]);
        assert!(queue.push_shared(&shared, &limits, &mut spares));
        assert!(queue.push_shared(&shared, &limits, &mut spares));
        assert!(!queue.push_shared(&shared, &limits, &mut spares));
        assert_eq!(queue.entries(), 2);
    }

    #[test]
    fn congestion_begins_at_the_high_mark_and_ends_at_the_low_one() {
        let (mut queue, limits, mut spares) = (SendQueue::default(), limits(), Spares::default());
        queue.push([&[0; 59], &[]], &limits, &mut spares);
        assert!(!queue.is_congested());
        queue.push([&[0; 1], &[]], &limits, &mut spares);
        assert!(queue.is_congested());
        let batch = queue.take().expect("something waits");
        queue.returned(batch, 39, &limits, &mut spares);
        assert!(queue.is_congested(), "21 bytes are above the low mark");
        let batch = queue.take().expect("the rest waits");
        queue.returned(batch, 1, &limits, &mut spares);
        assert!(!queue.is_congested());
    }

    #[test]
    fn an_emptied_queue_holds_no_memory() {
        let (mut queue, limits, mut spares) = (SendQueue::default(), limits(), Spares::default());
        queue.push([b"abc", b""], &limits, &mut spares);
        let batch = queue.take().expect("something waits");
        queue.returned(batch, 3, &limits, &mut spares);
        assert!(queue.is_empty());
        assert_eq!(queue.waiting.capacity(), 0);
    }
}
