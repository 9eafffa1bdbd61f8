//! One wish as Windows takes it: an `OVERLAPPED` beside the operation. Of that, the offset stands already.
//!
//! A file operation carries its own offset in its `OVERLAPPED`, in two halves, so that no operation depends
//! on a file pointer that all of them share. Nothing here knows a port.

/// The offset of a file operation as the fields `Offset` and `OffsetHigh` of an `OVERLAPPED`.
//= lecture 002: an OVERLAPPED carries the offset, so nobody depends on the shared file pointer
pub const fn offset_halves(offset: u64) -> (u32, u32) {
    (offset as u32, (offset >> 32) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_halves_of_an_offset_arrive() {
        assert_eq!(offset_halves(0), (0, 0));
        assert_eq!(offset_halves(0x0000_0001_FFFF_FFFF), (u32::MAX, 1));
        assert_eq!(offset_halves(u64::MAX), (u32::MAX, u32::MAX));
    }
}
