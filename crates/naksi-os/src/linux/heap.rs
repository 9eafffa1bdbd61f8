//! Memory that was freed and that the allocator still holds.

// UNSAFETY: malloc_trim(3) is a call into the C library.
#![expect(unsafe_code, reason = "malloc_trim(3) is a call into the C library")]

/// Has the allocator return freed whole pages to the system. It scans the whole heap, so call it after a peak. Has no
/// effect on memory of another allocator.
pub fn give_back_memory() {
    // SAFETY: malloc_trim(3): "attempts to release free memory from the heap"; it is MT-Safe and takes a number.
    unsafe { libc::malloc_trim(0) };
}
