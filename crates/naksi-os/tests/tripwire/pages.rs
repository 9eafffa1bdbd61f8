//! An allocator that gives each allocation its own pages and unmaps them on release.
//!
//! A kernel that writes into released memory finds no page there, and reports EFAULT: silent corruption becomes an
//! error number in a completion. Sanitizers do not detect such writes, because no instruction of this program makes
//! them.

// UNSAFETY: an allocator hands out raw memory.
#![expect(unsafe_code, reason = "an allocator hands out raw memory")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;
use std::sync::{Mutex, PoisonError};

/// Allocations of at least this size have their own pages; message headers and addresses are included.
pub(crate) const OWN_PAGES_BYTES_MIN: usize = 192;
const PAGE_BYTES: usize = 4096;
/// Released regions that stay reserved, so that nothing reuses their addresses for a while.
const QUARANTINE_REGIONS: usize = 8192;

/// An allocator with separate pages for large allocations, and the system's allocator for the rest.
pub(crate) struct OwnPages {
    quarantine: Mutex<Quarantine>,
}

struct Quarantine {
    regions: [(usize, usize); QUARANTINE_REGIONS],
    next: usize,
}

impl OwnPages {
    /// An allocator with nothing in quarantine.
    pub(crate) const fn new() -> Self {
        Self { quarantine: Mutex::new(Quarantine { regions: [(0, 0); QUARANTINE_REGIONS], next: 0 }) }
    }

    /// Reserves a released region and returns the one that was reserved longest.
    fn exchange(&self, region: (usize, usize)) -> (usize, usize) {
        let mut quarantine = self.quarantine.lock().unwrap_or_else(PoisonError::into_inner);
        let place = quarantine.next;
        quarantine.next = (place + 1) % QUARANTINE_REGIONS;
        std::mem::replace(&mut quarantine.regions[place], region)
    }
}

fn has_own_pages(layout: Layout) -> bool {
    layout.size() >= OWN_PAGES_BYTES_MIN && layout.align() <= PAGE_BYTES
}

fn pages(layout: Layout) -> usize {
    layout.size().next_multiple_of(PAGE_BYTES)
}

// SAFETY: memory of its own pages overlaps nothing, is aligned to a page and lives until it is released; all
// other memory is the system allocator's.
unsafe impl GlobalAlloc for OwnPages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !has_own_pages(layout) {
            // SAFETY: the caller's promises are passed on.
            return unsafe { System.alloc(layout) };
        }
        let flags = libc::MAP_ANONYMOUS | libc::MAP_PRIVATE;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: mmap(2): "If addr is NULL, then the kernel chooses the (page-aligned) address".
        let mapped = unsafe { libc::mmap(ptr::null_mut(), pages(layout), access, flags, -1, 0) };
        if mapped == libc::MAP_FAILED { ptr::null_mut() } else { mapped.cast() }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        if !has_own_pages(layout) {
            // SAFETY: the caller's promises are passed on.
            return unsafe { System.dealloc(memory, layout) };
        }
        let flags = libc::MAP_ANONYMOUS | libc::MAP_PRIVATE | libc::MAP_FIXED | libc::MAP_NORESERVE;
        // SAFETY: mmap(2), MAP_FIXED: "the overlapped part of the existing mapping(s) will be discarded": it
        // is the mapping made in `alloc`, which its owner has just released.
        unsafe { libc::mmap(memory.cast(), pages(layout), libc::PROT_NONE, flags, -1, 0) };
        let (oldest, bytes) = self.exchange((memory as usize, pages(layout)));
        if bytes > 0 {
            // SAFETY: munmap(2) of a region that was reserved here and has no owner.
            unsafe { libc::munmap(oldest as *mut libc::c_void, bytes) };
        }
    }
}
