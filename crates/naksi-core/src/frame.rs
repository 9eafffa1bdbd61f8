//! Frames: `[u16 LE size, header included][u16 LE id][body]`.
//!
//! The size is checked before anything is allocated or awaited. A size below the header's would make a naive decoder
//! loop for ever (as a 4-byte packet does to the lecture's `PacketSession`); a size above the limit is refused as
//! soon as the header is complete.

use crate::reason::DisconnectReason;

/// Bytes of a frame's header.
pub const HEADER_BYTES: usize = 4;

/// One whole frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// What kind of packet it is; the application's numbers.
    pub id: u16,
    /// What it carries, without the header.
    pub body: &'a [u8],
    /// The whole frame as received, header included, for relaying it unchanged.
    pub frame: &'a [u8],
}

/// How many more bytes the first frame in `bytes` needs; 0 if it is complete.
///
/// # Errors
/// [`DisconnectReason::FrameTooShort`] or [`DisconnectReason::FrameTooLong`] as soon as the size can be read.
pub fn missing(bytes: &[u8], frame_bytes_max: usize) -> Result<usize, DisconnectReason> {
    let Some(size) = bytes.first_chunk::<2>() else {
        return Ok(HEADER_BYTES - bytes.len());
    };
    let size = checked_size(*size, frame_bytes_max)?;
    // Until the header is complete, ask only for the header: the frame may turn out to be invalid.
    let wanted = if bytes.len() < HEADER_BYTES { HEADER_BYTES } else { size };
    Ok(wanted.saturating_sub(bytes.len()))
}

/// The first frame in `bytes`; `None` if it is incomplete.
///
/// # Errors
/// As for [`missing`].
#[inline]
pub fn first(bytes: &[u8], frame_bytes_max: usize) -> Result<Option<Packet<'_>>, DisconnectReason> {
    let Some(&[size_low, size_high, id_low, id_high]) = bytes.first_chunk::<HEADER_BYTES>() else {
        // Of half a header the size may already be wrong.
        return missing(bytes, frame_bytes_max).map(|_| None);
    };
    let size = checked_size([size_low, size_high], frame_bytes_max)?;
    let Some(frame) = bytes.get(..size) else { return Ok(None) };
    Ok(Some(Packet { id: u16::from_le_bytes([id_low, id_high]), body: &frame[HEADER_BYTES..], frame }))
}

#[inline]
fn checked_size(size: [u8; 2], frame_bytes_max: usize) -> Result<usize, DisconnectReason> {
    let size = usize::from(u16::from_le_bytes(size));
    if size < HEADER_BYTES {
        return Err(DisconnectReason::FrameTooShort);
    }
    if size > frame_bytes_max {
        return Err(DisconnectReason::FrameTooLong);
    }
    Ok(size)
}

/// The header of a frame with a body of `body_bytes`; `None` if that exceeds a frame.
pub fn header(id: u16, body_bytes: usize) -> Option<[u8; HEADER_BYTES]> {
    let size = u16::try_from(body_bytes.checked_add(HEADER_BYTES)?).ok()?;
    let (size, id) = (size.to_le_bytes(), id.to_le_bytes());
    Some([size[0], size[1], id[0], id[1]])
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 64;

    fn frame(id: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = header(id, body.len()).expect("a short body").to_vec();
        bytes.extend_from_slice(body);
        bytes
    }

    #[test]
    fn a_frame_cut_at_every_byte_is_whole_only_at_its_end() {
        let whole = frame(7, b"herring");
        for cut in 0..whole.len() {
            assert_eq!(first(&whole[..cut], MAX), Ok(None));
            let more = missing(&whole[..cut], MAX).expect("a sound size");
            assert!(more > 0 && cut + more <= whole.len(), "asks for {more} more after {cut}");
        }
        let packet = first(&whole, MAX).expect("a sound size").expect("whole");
        assert_eq!((packet.id, packet.body, packet.frame), (7, &b"herring"[..], &whole[..]));
    }

    #[test]
    fn what_is_missing_is_first_the_rest_of_the_header_and_then_the_rest_of_the_frame() {
        for body in [0, 1, MAX - HEADER_BYTES] {
            let whole = frame(7, &vec![9; body]);
            for cut in 0..=whole.len() {
                let end = if cut < HEADER_BYTES { HEADER_BYTES } else { whole.len() };
                assert_eq!(missing(&whole[..cut], MAX), Ok(end - cut), "{cut} bytes of {}", whole.len());
            }
            assert_eq!(missing(&[&whole[..], b"more"].concat(), MAX), Ok(0));
            assert!(first(&whole, MAX).expect("a sound size").is_some(), "as long as a frame may be");
        }
    }

    #[test]
    fn every_size_is_judged_at_the_header() {
        for size in 0..=u16::MAX {
            let head = size.to_le_bytes();
            let verdict = first(&head, MAX);
            match usize::from(size) {
                0..HEADER_BYTES => assert_eq!(verdict, Err(DisconnectReason::FrameTooShort)),
                HEADER_BYTES..=MAX => assert_eq!(verdict, Ok(None)),
                _ => assert_eq!(verdict, Err(DisconnectReason::FrameTooLong)),
            }
        }
    }

    #[test]
    fn what_follows_a_frame_is_not_part_of_it() {
        let mut two = frame(1, b"");
        two.extend(frame(2, b"x"));
        let packet = first(&two, MAX).expect("a sound size").expect("whole");
        assert_eq!((packet.id, packet.frame.len()), (1, 4));
    }

    #[test]
    fn a_body_that_no_frame_can_hold_has_no_header() {
        assert!(header(1, 65_531).is_some());
        assert!(header(1, 65_532).is_none());
    }
}
