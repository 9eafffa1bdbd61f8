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

/// Pieces in order, the first of them perhaps begun. Invariant: `begun < pieces[0].len()` if there is one.
#[derive(Debug, Default)]
pub struct SendBatch {
    pieces: VecDeque<Piece>,
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
        self.bytes
    }

    /// Pieces not yet wholly taken by the kernel.
    pub fn pieces(&self) -> usize {
        self.pieces.len()
    }

    /// Whether everything was taken.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Appends a piece; an empty one is dropped.
    pub fn push(&mut self, piece: Piece) {
        let length = piece.as_slice().len();
        if length > 0 {
            self.bytes += length;
            self.pieces.push_back(piece);
        }
    }

    /// Appends an empty owned piece, to be filled by [`SendBatch::append`] right away.
    pub(crate) fn push_empty(&mut self, buffer: Vec<u8>) {
        debug_assert!(buffer.is_empty());
        self.pieces.push_back(Piece::Owned(buffer));
    }

    /// Bytes that [`SendBatch::append`] would take now.
    pub fn room(&self) -> usize {
        match self.pieces.back() {
            Some(Piece::Owned(last)) => last.capacity() - last.len(),
            _ => 0,
        }
    }

    /// Moves all pieces of `newer` behind these. Returns `newer` emptied, for its memory.
    pub fn join(&mut self, mut newer: SendBatch) -> SendBatch {
        assert_eq!(newer.begun, 0, "a batch that was begun goes first, not behind another");
        self.bytes += newer.bytes;
        self.pieces.append(&mut newer.pieces);
        newer.bytes = 0;
        newer
    }

    /// Pieces that fit before it allocates.
    pub fn capacity(&self) -> usize {
        self.pieces.capacity()
    }

    /// Copies bytes behind the last piece, if that is an owned one with room for all of them.
    ///
    /// Never grows an allocation: `false` asks the caller for a fresh piece.
    pub fn append(&mut self, bytes: &[u8]) -> bool {
        match self.pieces.back_mut() {
            Some(Piece::Owned(last)) if last.capacity() - last.len() >= bytes.len() => {
                last.extend_from_slice(bytes);
                self.bytes += bytes.len();
                true
            }
            _ => false,
        }
    }

    /// What is left to send, piece by piece.
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let begun = self.begun;
        self.pieces.iter().enumerate().map(move |(index, piece)| {
            let bytes = piece.as_slice();
            if index == 0 { &bytes[begun..] } else { bytes }
        })
    }

    /// The kernel took `sent` bytes more. Pieces that it has wholly go to `finished`, to be used again.
    pub fn advance(&mut self, sent: usize, mut finished: impl FnMut(Piece)) {
        assert!(sent <= self.bytes, "the kernel took {sent} of {} bytes", self.bytes);
        self.bytes -= sent;
        self.begun += sent;
        while let Some(first) = self.pieces.front() {
            let length = first.as_slice().len();
            if self.begun < length {
                return;
            }
            self.begun -= length;
            finished(self.pieces.pop_front().expect("the first piece was just seen"));
        }
    }

    /// Gives every piece that is left to `finished`: nobody will send them any more.
    pub fn abandon(&mut self, finished: impl FnMut(Piece)) {
        self.advance(self.bytes, finished);
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
