//! Bytes on their way out, in pieces that a kernel can gather.
//!
//! A batch is what one send operation owns: whole pieces in order, and a mark for how far the kernel has
//! got. A short send moves the mark; nothing is copied. Nothing here knows about caps or sockets.

use bytes::Bytes;
use std::collections::VecDeque;

use crate::lease::LeasePart;

/// One run of bytes.
#[derive(Clone, Debug)]
pub enum Piece {
    /// Bytes of one session, copied together.
    Owned(Vec<u8>),
    /// Bytes that several sessions share: encoded once, counted by reference.
    Shared(Bytes),
    /// Bytes that go out from where they came in.
    Lent(LeasePart),
}

impl Piece {
    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Piece::Owned(bytes) => bytes,
            Piece::Shared(bytes) => bytes,
            Piece::Lent(part) => part,
        }
    }
}

/// Pieces in order, the first of them perhaps begun. One word: every idle session has one, and it is empty.
#[derive(Debug, Default)]
pub struct SendBatch(Option<Box<Pieces>>);

/// Invariant: `begun < queue[0].len()` if there is one.
#[derive(Debug, Default)]
struct Pieces {
    queue: VecDeque<Piece>,
    /// Bytes of the first piece that the kernel already has.
    begun: usize,
    /// Bytes that it does not have yet.
    bytes: usize,
}

impl SendBatch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes not yet taken by the kernel.
    pub fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |pieces| pieces.bytes)
    }

    /// Pieces not yet wholly taken by the kernel.
    pub fn pieces(&self) -> usize {
        self.0.as_ref().map_or(0, |pieces| pieces.queue.len())
    }

    /// Whether everything was taken.
    pub fn is_empty(&self) -> bool {
        self.bytes() == 0
    }

    /// Appends a piece; an empty one is dropped.
    pub fn push(&mut self, piece: Piece) {
        let length = piece.as_slice().len();
        if length > 0 {
            let pieces = self.pieces_mut();
            pieces.bytes += length;
            pieces.queue.push_back(piece);
        }
    }

    /// Appends an empty owned piece, to be filled by [`SendBatch::append`] right away.
    pub(crate) fn push_empty(&mut self, buffer: Vec<u8>) {
        debug_assert!(buffer.is_empty());
        self.pieces_mut().queue.push_back(Piece::Owned(buffer));
    }

    /// Bytes that [`SendBatch::append`] would take now.
    pub fn room(&self) -> usize {
        match self.0.as_ref().and_then(|pieces| pieces.queue.back()) {
            Some(Piece::Owned(last)) => last.capacity() - last.len(),
            _ => 0,
        }
    }

    /// Moves all pieces of `newer` behind these. Returns `newer` emptied, for its memory.
    pub fn join(&mut self, mut newer: SendBatch) -> SendBatch {
        if let Some(others) = &mut newer.0 {
            assert_eq!(others.begun, 0, "a batch that was begun goes first, not behind another");
            let pieces = self.pieces_mut();
            pieces.bytes += std::mem::take(&mut others.bytes);
            pieces.queue.append(&mut others.queue);
        }
        newer
    }

    /// Pieces that fit before it allocates.
    pub fn capacity(&self) -> usize {
        self.0.as_ref().map_or(0, |pieces| pieces.queue.capacity())
    }

    /// Copies bytes behind the last piece, if that is an owned one with room for all of them.
    ///
    /// Never grows an allocation: `false` asks the caller for a fresh piece.
    pub fn append(&mut self, bytes: &[u8]) -> bool {
        let Some(pieces) = &mut self.0 else { return false };
        match pieces.queue.back_mut() {
            Some(Piece::Owned(last)) if last.capacity() - last.len() >= bytes.len() => {
                last.extend_from_slice(bytes);
                pieces.bytes += bytes.len();
                true
            }
            _ => false,
        }
    }

    /// What is left to send, piece by piece.
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let begun = self.0.as_ref().map_or(0, |pieces| pieces.begun);
        let queue = self.0.iter().flat_map(|pieces| &pieces.queue);
        queue.enumerate().map(move |(index, piece)| {
            let bytes = piece.as_slice();
            if index == 0 { &bytes[begun..] } else { bytes }
        })
    }

    /// The kernel took `sent` bytes more. Pieces that it has wholly go to `finished`, to be used again.
    pub fn advance(&mut self, sent: usize, mut finished: impl FnMut(Piece)) {
        assert!(sent <= self.bytes(), "the kernel took {sent} of {} bytes", self.bytes());
        let Some(pieces) = &mut self.0 else { return };
        pieces.bytes -= sent;
        pieces.begun += sent;
        while let Some(first) = pieces.queue.front() {
            let length = first.as_slice().len();
            if pieces.begun < length {
                return;
            }
            pieces.begun -= length;
            finished(pieces.queue.pop_front().expect("the first piece was just seen"));
        }
    }

    /// Gives every piece that is left to `finished`: nobody will send them any more.
    pub fn abandon(&mut self, finished: impl FnMut(Piece)) {
        self.advance(self.bytes(), finished);
    }

    fn pieces_mut(&mut self) -> &mut Pieces {
        self.0.get_or_insert_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(batch: &SendBatch) -> Vec<u8> {
        batch.slices().flatten().copied().collect()
    }

    #[test]
    fn every_way_to_cut_three_pieces_keeps_the_rest_in_order() {
        let whole = b"abcdefghij";
        for first in 0..=whole.len() {
            for second in 0..=whole.len() - first {
                let mut batch = SendBatch::new();
                batch.push(Piece::Owned(b"abc".to_vec()));
                batch.push(Piece::Shared(Bytes::from_static(b"d")));
                batch.push(Piece::Owned(Vec::new()));
                batch.push(Piece::Owned(b"efghij".to_vec()));
                let mut finished = 0;
                batch.advance(first, |_| finished += 1);
                batch.advance(second, |_| finished += 1);
                assert_eq!(left(&batch), whole[first + second..]);
                assert_eq!(batch.bytes(), whole.len() - first - second);
                assert_eq!(finished + batch.pieces(), 3);
            }
        }
    }

    #[test]
    #[should_panic(expected = "the kernel took")]
    fn a_kernel_that_takes_more_than_there_is_is_caught() {
        let mut batch = SendBatch::new();
        batch.push(Piece::Owned(b"abc".to_vec()));
        batch.advance(4, drop);
    }
}
