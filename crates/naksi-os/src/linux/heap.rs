//! Memory that was freed, and that the allocator has kept. Knows no buffer.

// UNSAFETY: the allocator's own door is a call into the C library.
#![expect(unsafe_code, reason = "malloc_trim(3) is a call into the C library")]

/// Has the allocator give back to the system what was freed and lies in whole pages. It looks through all of the heap, so
/// this is for the moment after a peak. A program with an allocator of its own gives back what that does by itself.
pub fn give_back_memory() {
    // SAFETY: malloc_trim(3): "attempts to release free memory from the heap"; it is MT-Safe and takes a number.
    unsafe { libc::malloc_trim(0) };
}
