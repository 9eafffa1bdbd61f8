//! Received bytes that are not consumed yet: an incomplete frame, or data received while a session was paused.
//!
//! Usually empty and without memory: whole frames are read directly from the lease. Invariant: `read <= bytes.len()`.

use crate::buffer_pool::BufferPool;
use crate::tick::Tick;

/// Unconsumed bytes, in order. One pointer in size and `None` when empty, because every idle session has one.
#[derive(Debug, Default)]
pub struct RecvBuffer(Option<Box<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    bytes: Vec<u8>,
    /// First byte that no callback has consumed.
    read: usize,
    /// When the incomplete frame at the end of these bytes began, if there is one.
    cut_since: Option<Tick>,
}

impl Kept {
    fn view(&self) -> &[u8] {
        &self.bytes[self.read..]
    }
}

impl RecvBuffer {
    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.view().len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory that it keeps.
    pub fn held_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |kept| size_of::<Kept>() + kept.bytes.capacity())
    }

    /// All bytes that wait, in one run.
    pub fn view(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |kept| kept.view())
    }

    /// Since when the frame at the head of the buffer is incomplete, if it is.
    pub fn cut_since(&self) -> Option<Tick> {
        self.0.as_ref()?.cut_since
    }

    /// Sets since when the frame at the head of the buffer is incomplete. No effect on an empty buffer.
    pub fn set_cut_since(&mut self, since: Option<Tick>) {
        if let Some(kept) = &mut self.0 {
            kept.cut_since = since;
        }
    }

    /// Copies bytes behind those that wait.
    pub fn push(&mut self, bytes: &[u8], buffer_pool: &mut BufferPool) {
        let kept = self.0.get_or_insert_default();
        let needed = kept.view().len() + bytes.len();
        if needed > kept.bytes.capacity() {
            // A pooled buffer has its memory already; growing in place would ask the system for new pages. A long
            // buffer doubles, so that the amortised cost per byte stays low.
            let mut wider = buffer_pool.buffer(match needed {
                ..=BufferPool::CLASS_BYTES_MAX => needed,
                _ => needed.next_power_of_two().max(BufferPool::HUGE_BYTES),
            });
            wider.extend_from_slice(kept.view());
            buffer_pool.put_buffer(std::mem::replace(&mut kept.bytes, wider));
            kept.read = 0;
        } else if kept.bytes.len() + bytes.len() > kept.bytes.capacity() {
            kept.bytes.drain(..kept.read);
            kept.read = 0;
        }
        kept.bytes.extend_from_slice(bytes);
        buffer_pool.keep(bytes.len());
    }

    /// The first `bytes` bytes were consumed. Memory is returned as soon as nothing is left.
    pub fn took(&mut self, bytes: usize, buffer_pool: &mut BufferPool) {
        assert!(bytes <= self.len(), "took {bytes} of {} bytes", self.len());
        if let Some(kept) = &mut self.0 {
            kept.read += bytes;
            buffer_pool.let_go(bytes);
        }
        if self.is_empty() {
            self.clear(buffer_pool);
        }
    }

    /// Forgets what waits and gives the memory back.
    pub fn clear(&mut self, buffer_pool: &mut BufferPool) {
        if let Some(kept) = self.0.take() {
            buffer_pool.let_go(kept.view().len());
            buffer_pool.put_buffer(kept.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_push_and_take_keeps_the_order() {
        let mut buffer_pool = BufferPool::default();
        for push in 1..7_u8 {
            for take in 1..7_u8 {
                let mut buffer = RecvBuffer::default();
                let (mut pushed, mut taken) = (0_u8, 0_u8);
                for _ in 0..40 {
                    let bytes: Vec<u8> = (pushed..pushed + push).collect();
                    buffer.push(&bytes, &mut buffer_pool);
                    pushed += push;
                    let count = usize::from(take).min(buffer.len());
                    assert_eq!(buffer.view()[..count], (taken..taken + count as u8).collect::<Vec<_>>());
                    buffer.took(count, &mut buffer_pool);
                    taken += count as u8;
                    if pushed > 200 {
                        break;
                    }
                }
                assert_eq!(buffer.len(), usize::from(pushed - taken));
                assert_eq!(
                    buffer_pool.kept_bytes(),
                    buffer.len(),
                    "what waits is counted, no more and no less"
                );
                buffer.clear(&mut buffer_pool);
                assert_eq!(buffer_pool.kept_bytes(), 0);
            }
        }
    }

    #[test]
    fn a_buffer_that_is_outgrown_goes_back_and_its_bytes_go_on() {
        let (mut buffer, mut buffer_pool) = (RecvBuffer::default(), BufferPool::default());
        let bytes: Vec<u8> = (0..=255).cycle().take(90_000).collect();
        buffer.push(&bytes[..60_000], &mut buffer_pool);
        let place = buffer.view().as_ptr();
        buffer.took(1001, &mut buffer_pool);
        buffer.push(&bytes[60_000..], &mut buffer_pool);
        assert_eq!(buffer.view(), &bytes[1001..]);
        assert_eq!(buffer_pool.kept_bytes(), bytes.len() - 1001);
        let outgrown = buffer_pool.buffer(60_000);
        assert_eq!(outgrown.as_ptr(), place, "it is free for another session");
    }

    #[test]
    fn a_byte_of_a_cut_frame_holds_no_page() {
        let (mut buffer, mut buffer_pool) = (RecvBuffer::default(), BufferPool::default());
        for bytes in 1..2_000 {
            buffer.push(&[7], &mut buffer_pool);
            let held = buffer.held_bytes() - size_of::<Kept>();
            assert!(held >= bytes && held <= bytes.max(8) * 8, "{held} bytes for {bytes}");
        }
    }

    #[test]
    fn what_fits_the_memory_that_is_there_moves_to_no_other() {
        let (mut buffer, mut buffer_pool) = (RecvBuffer::default(), BufferPool::default());
        buffer.push(b"first", &mut buffer_pool);
        let (place, capacity) =
            (buffer.view().as_ptr(), buffer.0.as_ref().expect("it waits").bytes.capacity());
        let rest = vec![7; capacity - 5];
        buffer.push(&rest, &mut buffer_pool);
        assert_eq!((buffer.view().as_ptr(), buffer.len()), (place, capacity), "filled to the last byte");
        buffer.took(5, &mut buffer_pool);
        assert_eq!(
            buffer.view().as_ptr(),
            place.wrapping_add(5),
            "what waits is not moved before it must be"
        );
        buffer.push(b"again", &mut buffer_pool);
        assert_eq!(buffer.view().as_ptr(), place, "moved to the front");
        assert_eq!(buffer.view(), [&rest[..], b"again"].concat());
        buffer.push(b"!", &mut buffer_pool);
        assert_ne!(buffer.view().as_ptr(), place, "one byte too many");
    }

    #[test]
    fn what_waits_is_not_moved_to_the_front_while_more_fits_behind_it() {
        let (mut buffer, mut buffer_pool) = (RecvBuffer::default(), BufferPool::default());
        buffer.push(&[1; 50], &mut buffer_pool);
        let (place, capacity) =
            (buffer.view().as_ptr(), buffer.0.as_ref().expect("it waits").bytes.capacity());
        buffer.took(5, &mut buffer_pool);
        buffer.push(&vec![2; capacity - 50], &mut buffer_pool);
        assert_eq!((buffer.view().as_ptr(), buffer.len()), (place.wrapping_add(5), capacity - 5));
    }

    #[test]
    fn a_buffer_is_empty_until_bytes_wait_and_when_all_are_taken() {
        let (mut buffer, mut buffer_pool) = (RecvBuffer::default(), BufferPool::default());
        assert!(buffer.is_empty());
        buffer.push(b"ab", &mut buffer_pool);
        buffer.took(1, &mut buffer_pool);
        assert!(!buffer.is_empty());
        buffer.took(1, &mut buffer_pool);
        assert!(buffer.is_empty());
    }

    #[test]
    #[should_panic(expected = "took 3 of 2 bytes")]
    fn more_than_waits_cannot_be_taken() {
        let (mut buffer, mut buffer_pool) = (RecvBuffer::default(), BufferPool::default());
        buffer.push(b"ab", &mut buffer_pool);
        buffer.took(3, &mut buffer_pool);
    }

    #[test]
    fn an_emptied_buffer_holds_no_memory() {
        let (mut buffer, mut buffer_pool) = (RecvBuffer::default(), BufferPool::default());
        buffer.push(b"abc", &mut buffer_pool);
        buffer.took(3, &mut buffer_pool);
        assert!(buffer.0.is_none() && buffer.held_bytes() == 0);
        assert_eq!(buffer_pool.kept_bytes(), 0);
    }
}
