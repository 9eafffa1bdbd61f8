//! Receive buffers that go out and come home.
//!
//! A port owns a fixed pool. A buffer is home, with the kernel, or out as a [`Lease`] in somebody's hands;
//! the three always add up to the pool's size (law 5). Dropping a lease sends it home. Nothing here knows
//! how a kernel is given a buffer, or what the bytes mean.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::num::NonZeroU32;
use std::ops::Deref;
use std::rc::Rc;

/// Received bytes in a buffer of the port's pool; goes home when dropped. Never empty.
pub struct Lease {
    /// `None` only while `drop` runs.
    buffer: Option<Buffer>,
    length: NonZeroU32,
    home: Rc<Home>,
}

/// A pool buffer with its number; the number is what a kernel knows it by.
pub struct Buffer {
    /// The buffer's number, below the pool's size.
    pub number: u16,
    /// The memory, of the pool's buffer size.
    pub bytes: Box<[u8]>,
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({}, {} B)", self.number, self.bytes.len())
    }
}

/// Where leases of one pool go when they are dropped.
struct Home {
    returned: RefCell<Vec<Buffer>>,
    out: Cell<usize>,
}

impl Deref for Lease {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let buffer = self.buffer.as_ref().expect("a lease holds its buffer until it is dropped");
        &buffer.bytes[..self.length.get() as usize]
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({} B)", self.length)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            self.home.out.set(self.home.out.get() - 1);
            self.home.returned.borrow_mut().push(buffer);
        }
    }
}

/// The port's side of the leases: the pool that must balance.
pub struct LeasePool {
    home: Rc<Home>,
    size: usize,
    buffer_bytes: usize,
}

impl LeasePool {
    /// A pool of `size` buffers (1 to 32,768) of `buffer_bytes` each, all at home.
    pub fn new(size: u16, buffer_bytes: usize) -> Self {
        assert!(size > 0 && buffer_bytes > 0, "an empty pool could never receive");
        let returned = (0..size)
            .map(|number| Buffer { number, bytes: vec![0; buffer_bytes].into_boxed_slice() })
            .collect();
        let home = Rc::new(Home { returned: RefCell::new(returned), out: Cell::new(0) });
        Self { home, size: usize::from(size), buffer_bytes }
    }

    /// Takes a buffer that is at home, to give it to a kernel.
    pub fn take(&mut self) -> Option<Buffer> {
        self.home.returned.borrow_mut().pop()
    }

    /// Puts a buffer home that a kernel did not use.
    pub fn put(&mut self, buffer: Buffer) {
        self.home.returned.borrow_mut().push(buffer);
    }

    /// Lends a filled buffer. `length` counts the bytes that the kernel wrote at its start.
    pub fn lend(&mut self, buffer: Buffer, length: NonZeroU32) -> Lease {
        assert!(length.get() as usize <= buffer.bytes.len(), "the kernel wrote past the buffer");
        self.home.out.set(self.home.out.get() + 1);
        Lease { buffer: Some(buffer), length, home: Rc::clone(&self.home) }
    }

    /// Buffers at home now.
    pub fn at_home(&self) -> usize {
        self.home.returned.borrow().len()
    }

    /// Leases out now.
    pub fn out(&self) -> usize {
        self.home.out.get()
    }

    /// Buffers of the pool, wherever they are.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Size of each buffer.
    pub fn buffer_bytes(&self) -> usize {
        self.buffer_bytes
    }
}

impl fmt::Debug for LeasePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LeasePool({} of {} home, {} out)", self.at_home(), self.size, self.out())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_lease_is_home_again_and_the_pool_balances() {
        let mut pool = LeasePool::new(2, 16);
        let mut first = pool.take().expect("a buffer is home");
        first.bytes[..3].copy_from_slice(b"cod");
        let lease = pool.lend(first, NonZeroU32::new(3).expect("not zero"));
        assert_eq!((&lease[..], pool.at_home(), pool.out()), (&b"cod"[..], 1, 1));
        drop(lease);
        assert_eq!((pool.at_home(), pool.out(), pool.size()), (2, 0, 2));
    }

    #[test]
    #[should_panic(expected = "past the buffer")]
    fn a_length_past_the_buffer_is_refused() {
        let mut pool = LeasePool::new(1, 4);
        let buffer = pool.take().expect("a buffer is home");
        pool.lend(buffer, NonZeroU32::new(5).expect("not zero"));
    }
}
