//! Fuzzes the frame decoder: the same packets however the bytes are split, no panic, and never a request for more
//! bytes than the limit allows.

#![no_main]

use libfuzzer_sys::fuzz_target;
use naksi_core::frame::{HEADER_BYTES, first, header, missing};

const MAX: usize = 1024;

/// Every packet at the start of the bytes, and the result for the rest.
fn packets(bytes: &[u8]) -> (Vec<(u16, Vec<u8>)>, bool) {
    let (mut found, mut rest) = (Vec::new(), bytes);
    loop {
        match first(rest, MAX) {
            Ok(Some(packet)) => {
                assert!(packet.frame.len() <= MAX && packet.frame.len() == packet.body.len() + HEADER_BYTES);
                assert_eq!(header(packet.id, packet.body.len()).as_ref(), packet.frame.first_chunk());
                found.push((packet.id, packet.body.to_vec()));
                rest = &rest[packet.frame.len()..];
            }
            Ok(None) => return (found, true),
            Err(_) => return (found, false),
        }
    }
}

/// The same as a session does it with bytes in pieces: only an incomplete frame is kept.
fn packets_in_pieces(bytes: &[u8], cuts: &[u8]) -> (Vec<(u16, Vec<u8>)>, bool) {
    let (mut found, mut kept, mut rest) = (Vec::new(), Vec::new(), bytes);
    let mut cuts = cuts.iter().cycle();
    while !rest.is_empty() {
        let length = usize::from(*cuts.next().unwrap_or(&255)).clamp(1, rest.len());
        let (mut piece, later) = rest.split_at(length);
        rest = later;
        loop {
            let lacking = match missing(&kept, MAX) {
                Ok(lacking) => lacking,
                Err(_) => return (found, false),
            };
            assert!(kept.len() + lacking <= MAX, "more is asked for than a frame may have");
            if lacking == 0 {
                let Ok(Some(packet)) = first(&kept, MAX) else { panic!("nothing is missing, and no frame") };
                found.push((packet.id, packet.body.to_vec()));
                kept.clear();
                continue;
            }
            if piece.is_empty() {
                break;
            }
            let (now, left) = piece.split_at(lacking.min(piece.len()));
            kept.extend_from_slice(now);
            piece = left;
        }
    }
    (found, true)
}

fuzz_target!(|input: (&[u8], &[u8])| {
    let (bytes, cuts) = input;
    assert_eq!(packets(bytes), packets_in_pieces(bytes, cuts));
});
