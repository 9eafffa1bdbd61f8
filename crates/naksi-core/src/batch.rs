//! Outgoing bytes, in pieces for a gathering write.
//!
//! A batch is what one send operation owns: whole pieces in order, and how far the kernel has got. A partial send
//! advances that position; nothing is copied.

use bytes::Bytes;
use std::collections::VecDeque;

use crate::lease::LeasePart;

/// For a header, a first piece up to this length is shifted within its buffer; for a longer one an additional piece
/// is cheaper.
const SHIFTED_BYTES_MAX: usize = 1024;

/// One run of bytes.
#[derive(Clone, Debug)]
pub enum Segment {
    /// Bytes of one session, copied together.
    Owned(Vec<u8>),
    /// Bytes that several sessions share: encoded once, counted by reference.
    Shared(Bytes),
    /// The same, when the owner of the bytes counts their memory once for all sessions.
    Counted(Bytes),
    /// Bytes that go out from where they came in.
    Lent(LeasePart),
}

impl Segment {
    /// The bytes.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Segment::Owned(bytes) => bytes,
            Segment::Shared(bytes) | Segment::Counted(bytes) => bytes,
            Segment::Lent(part) => part,
        }
    }

    /// Bytes of memory that it keeps. Shared memory counts for each session that shares it.
    #[inline]
    fn held_bytes(&self) -> usize {
        match self {
            Segment::Owned(bytes) => bytes.capacity(),
            Segment::Shared(bytes) => bytes.len(),
            Segment::Counted(_) => 0,
            Segment::Lent(part) => part.len(),
        }
    }
}

/// Pieces in order, the first of them perhaps sent in part. One pointer in size and `None` when empty, because every
/// idle session has one.
#[derive(Debug, Default)]
pub struct SendBatch(Option<Box<Pieces>>);

/// Invariants: `begun < first.len()` if there is one; `rest` is empty if there is no first.
#[derive(Debug, Default)]
struct Pieces {
    /// Most batches have only one.
    first: Option<Segment>,
    rest: VecDeque<Segment>,
    /// Bytes of the first piece that the kernel already has.
    begun: usize,
    /// Bytes that it does not have yet.
    bytes: usize,
    /// Bytes of memory that the pieces keep.
    held: usize,
}

impl Pieces {
    fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }

    fn back(&self) -> Option<&Segment> {
        self.rest.back().or(self.first.as_ref())
    }

    fn back_mut(&mut self) -> Option<&mut Segment> {
        self.rest.back_mut().or(self.first.as_mut())
    }

    fn push(&mut self, piece: Segment) {
        self.held += piece.held_bytes();
        match self.first {
            None => self.first = Some(piece),
            Some(_) => self.rest.push_back(piece),
        }
    }

    #[inline]
    fn pop(&mut self) -> Option<Segment> {
        let first = self.first.take()?;
        if !self.rest.is_empty() {
            self.first = self.rest.pop_front();
        }
        self.held -= first.held_bytes();
        Some(first)
    }
}

impl SendBatch {
    /// What a batch of one piece keeps beside it.
    pub(crate) const HELD_BYTES_MIN: usize = size_of::<Pieces>();

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
        self.0.as_ref().map_or(0, |pieces| pieces.len())
    }

    /// Whether everything was taken.
    pub fn is_empty(&self) -> bool {
        self.bytes() == 0
    }

    /// Appends a piece; an empty one is dropped.
    #[inline]
    pub fn push(&mut self, piece: Segment) {
        let length = piece.as_slice().len();
        if length > 0 {
            let pieces = self.pieces_mut();
            pieces.bytes += length;
            pieces.push(piece);
        }
    }

    /// Appends an empty owned piece, to be filled by [`SendBatch::append`] right away.
    pub(crate) fn push_empty(&mut self, buffer: Vec<u8>) {
        debug_assert!(buffer.is_empty());
        self.pieces_mut().push(Segment::Owned(buffer));
    }

    /// Replaces the last piece, which must be owned, by a larger buffer with the same bytes. Returns the smaller one.
    pub(crate) fn widen(&mut self, mut wider: Vec<u8>) -> Vec<u8> {
        let pieces = self.pieces_mut();
        let Some(Segment::Owned(last)) = pieces.back_mut() else { return wider };
        wider.extend_from_slice(last);
        let (wide, narrow) = (wider.capacity(), last.capacity());
        let old = std::mem::replace(last, wider);
        pieces.held = pieces.held + wide - narrow;
        old
    }

    /// Prepends a few bytes: to the first piece, if it is a short owned one with room for them, or as a piece of
    /// their own in a buffer from `spare`. Only before the batch is sent.
    pub fn put_before(&mut self, header: &[u8], spare: impl FnOnce() -> Vec<u8>) {
        let pieces = self.pieces_mut();
        assert_eq!(pieces.begun, 0, "nothing goes before a batch that was begun");
        pieces.bytes += header.len();
        if let Some(Segment::Owned(first)) = &mut pieces.first
            && first.len() <= SHIFTED_BYTES_MAX
            && first.capacity() - first.len() >= header.len()
        {
            let length = first.len();
            first.resize(length + header.len(), 0);
            first.copy_within(..length, header.len());
            first[..header.len()].copy_from_slice(header);
            return;
        }
        let mut buffer = spare();
        buffer.extend_from_slice(header);
        pieces.held += buffer.capacity();
        if let Some(first) = pieces.first.replace(Segment::Owned(buffer)) {
            pieces.rest.push_front(first);
        }
    }

    /// Bytes of the last piece, if it is an owned one.
    pub(crate) fn last_owned(&self) -> Option<usize> {
        match self.0.as_ref()?.back()? {
            Segment::Owned(last) => Some(last.len()),
            Segment::Shared(_) | Segment::Counted(_) | Segment::Lent(_) => None,
        }
    }

    /// Bytes of memory that it keeps: its pieces, and the list of them.
    pub fn held_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |pieces| {
            size_of::<Pieces>() + pieces.rest.capacity() * size_of::<Segment>() + pieces.held
        })
    }

    /// Bytes that [`SendBatch::append`] would take now.
    pub fn room(&self) -> usize {
        match self.0.as_ref().and_then(|pieces| pieces.back()) {
            Some(Segment::Owned(last)) => last.capacity() - last.len(),
            _ => 0,
        }
    }

    /// Appends all pieces of `newer`. Returns `newer` emptied, for its memory.
    pub fn join(&mut self, mut newer: SendBatch) -> SendBatch {
        if let Some(others) = &mut newer.0 {
            assert_eq!(others.begun, 0, "a batch that was begun goes first, not behind another");
            let pieces = self.pieces_mut();
            pieces.bytes += std::mem::take(&mut others.bytes);
            while let Some(piece) = others.pop() {
                pieces.push(piece);
            }
        }
        newer
    }

    /// Pieces that fit before it allocates.
    pub fn capacity(&self) -> usize {
        self.0.as_ref().map_or(0, |pieces| 1 + pieces.rest.capacity())
    }

    /// Copies bytes to the end of the last piece, if it is an owned one with room for all of them.
    ///
    /// Never reallocates: on `false` the caller adds a new piece.
    pub fn append(&mut self, bytes: &[u8]) -> bool {
        let Some(pieces) = &mut self.0 else { return false };
        match pieces.back_mut() {
            Some(Segment::Owned(last)) if last.capacity() - last.len() >= bytes.len() => {
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
        let pieces = self.0.iter().flat_map(|pieces| pieces.first.iter().chain(&pieces.rest));
        pieces.enumerate().map(move |(index, piece)| {
            let bytes = piece.as_slice();
            if index == 0 { &bytes[begun..] } else { bytes }
        })
    }

    /// The kernel took `sent` more bytes. Pieces that were sent completely go to `finished`, for reuse.
    #[inline(always)]
    pub fn advance(&mut self, sent: usize, mut finished: impl FnMut(Segment)) {
        assert!(sent <= self.bytes(), "the kernel took {sent} of {} bytes", self.bytes());
        let Some(pieces) = &mut self.0 else { return };
        pieces.bytes -= sent;
        pieces.begun += sent;
        while let Some(first) = &pieces.first {
            let length = first.as_slice().len();
            if pieces.begun < length {
                return;
            }
            pieces.begun -= length;
            finished(pieces.pop().expect("the first piece was just seen"));
        }
    }

    /// Passes every remaining piece to `finished`: they will not be sent.
    pub fn abandon(&mut self, finished: impl FnMut(Segment)) {
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
                batch.push(Segment::Owned(b"abc".to_vec()));
                batch.push(Segment::Shared(Bytes::from_static(b"d")));
                batch.push(Segment::Owned(Vec::new()));
                batch.push(Segment::Owned(b"efghij".to_vec()));
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
    fn what_a_batch_holds_is_the_capacity_of_its_pieces_whatever_is_done_to_it() {
        let room = |bytes: usize| {
            let mut buffer = Vec::with_capacity(bytes);
            buffer.push(7);
            Segment::Owned(buffer)
        };
        let pieces = |batch: &SendBatch| {
            let list = batch.0.as_ref().map_or(0, |pieces| pieces.rest.capacity() * size_of::<Segment>());
            batch.held_bytes() - size_of::<Pieces>() - list
        };
        let mut batch = SendBatch::new();
        assert_eq!(batch.held_bytes(), 0);
        batch.push(room(64));
        batch.push(Segment::Shared(Bytes::from_static(b"shared")));
        batch.push(room(512));
        assert_eq!(pieces(&batch), 64 + 6 + 512);
        let narrow = batch.widen(Vec::with_capacity(4096));
        assert_eq!((narrow.capacity(), pieces(&batch)), (512, 64 + 6 + 4096));
        let mut newer = SendBatch::new();
        newer.push(room(1000));
        newer.push(room(2000));
        let emptied = batch.join(newer);
        assert_eq!((pieces(&emptied), pieces(&batch)), (0, 64 + 6 + 4096 + 3000));
        batch.advance(3, drop);
        assert_eq!(pieces(&batch), 6 + 4096 + 3000);
        batch.abandon(drop);
        assert_eq!(pieces(&batch), 0);
    }

    #[test]
    fn bytes_are_appended_to_the_last_piece_whole_if_it_has_room_for_them_or_not_at_all() {
        let mut batch = SendBatch::new();
        assert_eq!((batch.room(), batch.append(b"a")), (0, false), "there is no piece");
        batch.push_empty(Vec::with_capacity(8));
        assert_eq!((batch.room(), batch.append(b"abcde")), (8, true));
        assert_eq!((batch.room(), batch.append(b"fghi")), (3, false));
        assert_eq!((batch.append(b"fgh"), batch.room(), batch.bytes()), (true, 0, 8));
        assert_eq!(left(&batch), b"abcdefgh");
        batch.push(Segment::Shared(Bytes::from_static(b"shared")));
        assert_eq!((batch.room(), batch.append(b"x")), (0, false), "shared bytes are never appended to");
    }

    #[test]
    #[should_panic(expected = "the kernel took")]
    fn a_kernel_that_takes_more_than_there_is_is_caught() {
        let mut batch = SendBatch::new();
        batch.push(Segment::Owned(b"abc".to_vec()));
        batch.advance(4, drop);
    }
}
