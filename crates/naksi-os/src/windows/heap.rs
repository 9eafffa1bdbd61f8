//! Memory that was freed, and that the allocator has kept. Knows no buffer.

/// Nothing: the heap of Windows gives back long free ranges by itself.
pub fn give_back_memory() {}
