//! Memory that was freed and that the allocator still holds.

/// Does nothing: the heap of Windows returns long free ranges by itself.
pub fn give_back_memory() {}
