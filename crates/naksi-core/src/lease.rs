//! Receive buffers of a pool, and leases on them.
//!
//! A port owns a fixed pool. A buffer is in the pool, with the kernel, or leased as a [`Lease`]; the three always add
//! up to the pool's size (law 5). Dropping a lease returns the buffer. Parts of a bounded share of the pool may be
//! kept for a while, to send them without a copy.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::num::NonZeroU32;
use std::ops::Deref;
use std::rc::Rc;

/// Received bytes in a buffer of the port's pool; the buffer is returned when the lease is dropped. Never empty.
pub struct Lease {
    /// `None` only while `drop` runs.
    buffer: Option<Buffer>,
    length: NonZeroU32,
    /// Counted among those of which parts are kept.
    kept: Cell<bool>,
    home: Rc<Home>,
}

/// A range of a lease's bytes; the lease lives as long as one of its parts.
#[derive(Clone)]
pub struct LeasePart {
    lease: Rc<Lease>,
    start: u32,
    length: u32,
}

impl LeasePart {
    /// One in this many leases of a pool may be kept by parts; otherwise a few peers that do not read could keep all
    /// others from receiving.
    pub const KEPT_ONE_IN: usize = 4;

    /// The part of a lease that `bytes` lie in. `None` if they lie elsewhere, or if too many leases are kept already.
    pub fn of(lease: &Rc<Lease>, bytes: &[u8]) -> Option<Self> {
        let start = bytes.as_ptr().addr().checked_sub(lease.as_ptr().addr())?;
        if start + bytes.len() > lease.len() || !lease.keep() {
            return None;
        }
        // Both fit: the length of a lease is 32 bits wide.
        Some(Self { lease: Rc::clone(lease), start: start as u32, length: bytes.len() as u32 })
    }
}

impl Deref for LeasePart {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.lease[self.start as usize..][..self.length as usize]
    }
}

impl fmt::Debug for LeasePart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LeasePart({} B of {:?})", self.length, self.lease)
    }
}

/// A pool buffer with its number, by which the kernel refers to it.
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
    /// Number of leases kept by parts, and its maximum.
    kept: Cell<usize>,
    kept_max: usize,
}

impl Lease {
    /// Whether parts of it could be kept now.
    pub fn may_be_kept(&self) -> bool {
        self.kept.get() || self.home.kept.get() < self.home.kept_max
    }

    /// The bytes, to be opened in place.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let buffer = self.buffer.as_mut().expect("a lease holds its buffer until it is dropped");
        &mut buffer.bytes[..self.length.get() as usize]
    }

    /// Counts the lease, once, among those kept by parts. Returns whether that is allowed.
    fn keep(&self) -> bool {
        if !self.kept.get() && self.home.kept.get() < self.home.kept_max {
            self.kept.set(true);
            self.home.kept.set(self.home.kept.get() + 1);
        }
        self.kept.get()
    }
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
            self.home.kept.set(self.home.kept.get() - usize::from(self.kept.get()));
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
    /// A pool of `size` buffers (1 to 32,768) of `buffer_bytes` each, all available.
    pub fn new(size: u16, buffer_bytes: usize) -> Self {
        assert!(size > 0 && buffer_bytes > 0, "an empty pool could never receive");
        let returned = (0..size)
            .map(|number| Buffer { number, bytes: vec![0; buffer_bytes].into_boxed_slice() })
            .collect();
        let kept_max = usize::from(size) / LeasePart::KEPT_ONE_IN;
        let home = Home { returned: RefCell::new(returned), out: Cell::new(0), kept: Cell::new(0), kept_max };
        let home = Rc::new(home);
        Self { home, size: usize::from(size), buffer_bytes }
    }

    /// Takes an available buffer, to pass it to a kernel.
    pub fn take(&mut self) -> Option<Buffer> {
        self.home.returned.borrow_mut().pop()
    }

    /// Returns a buffer that a kernel did not use.
    pub fn put(&mut self, buffer: Buffer) {
        self.home.returned.borrow_mut().push(buffer);
    }

    /// Makes a lease of a filled buffer. `length` is the number of bytes that the kernel wrote at its start.
    pub fn lend(&mut self, buffer: Buffer, length: NonZeroU32) -> Lease {
        assert!(length.get() as usize <= buffer.bytes.len(), "the kernel wrote past the buffer");
        self.home.out.set(self.home.out.get() + 1);
        Lease { buffer: Some(buffer), length, kept: Cell::new(false), home: Rc::clone(&self.home) }
    }

    /// Free buffers now.
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
        assert_eq!((pool.at_home(), pool.out(), pool.size(), pool.buffer_bytes()), (2, 0, 2, 16));
        let unused = pool.take().expect("a buffer is home");
        assert_eq!((pool.at_home(), pool.out()), (1, 0));
        pool.put(unused);
        assert_eq!(pool.at_home(), 2, "what a kernel did not use is home again");
    }

    #[test]
    fn a_lease_stays_out_for_as_long_as_there_is_a_part_of_it_and_few_may() {
        let mut pool = LeasePool::new(8, 16);
        let mut leases: Vec<_> = (0..3)
            .map(|_| {
                let mut buffer = pool.take().expect("a buffer is home");
                buffer.bytes[..4].copy_from_slice(b"tuna");
                Rc::new(pool.lend(buffer, NonZeroU32::new(4).expect("not zero")))
            })
            .collect();
        assert!(LeasePart::of(&leases[0], b"tuna").is_none(), "the same bytes, elsewhere");
        let parts = [&leases[0][1..3], &leases[0][3..], &leases[1][..]].map(|bytes| {
            [0, 1].iter().find_map(|lease| LeasePart::of(&leases[*lease], bytes)).expect("a part")
        });
        assert_eq!((&parts[0][..], &parts[1][..], &parts[2][..]), (&b"un"[..], &b"a"[..], &b"tuna"[..]));
        assert!(LeasePart::of(&leases[2], &leases[2]).is_none(), "two of eight are kept already");
        assert!(leases[1].may_be_kept() && !leases[2].may_be_kept(), "one of those two already is");
        let third = leases.pop();
        leases.clear();
        assert_eq!(pool.out(), 3);
        drop(parts);
        assert_eq!(pool.out(), 1, "the third");
        assert!(
            third.is_some_and(|third| LeasePart::of(&third, &third[..1]).is_some()),
            "there is room again"
        );
        assert_eq!((pool.out(), pool.at_home()), (0, 8));
    }

    #[test]
    #[should_panic(expected = "past the buffer")]
    fn a_length_past_the_buffer_is_refused() {
        let mut pool = LeasePool::new(1, 4);
        let buffer = pool.take().expect("a buffer is home");
        pool.lend(buffer, NonZeroU32::new(5).expect("not zero"));
    }
}
