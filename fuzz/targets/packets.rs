//! Fuzzes a packet table: a known id has a name, an unknown one has near ids, and a decoded body encodes to what
//! decodes to the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use naksi::packets::{Message, decode, encode};
use naksi::prelude::SessionId;
use naksi_core::frame::{HEADER_BYTES, Packet, first};

naksi::packets! {
    GAME {
        1 => Login { name: String, ticket: Option<Vec<u8>> }
        2 => Step { to: (i32, i32), run: bool }
        10 => Trade { offers: Vec<(u64, u16)>, words: Vec<String>, nested: Option<Box<(u8, String)>> }
        0xffef => Bye {}
    }
}

/// A message that is decoded as this type must survive encoding and decoding.
fn round<M: Message + PartialEq + std::fmt::Debug>(body: &[u8]) {
    let message = match decode::<M>(body) {
        Ok(message) => message,
        Err(malformed) => {
            assert_eq!((malformed.id, malformed.name, malformed.bytes), (M::ID, M::NAME, body.len()));
            return;
        }
    };
    let Some(frame) = encode(&message) else { return };
    assert_eq!(decode::<M>(&frame[HEADER_BYTES..]).as_ref(), Ok(&message));
    let whole = first(&frame, frame.len()).expect("a frame of ours").expect("a whole one");
    assert_eq!((whole.id, whole.frame.len()), (M::ID, frame.len()));
}

fuzz_target!(|input: (u16, &[u8])| {
    let (id, body) = input;
    match id {
        1 => round::<Login>(body),
        2 => round::<Step>(body),
        10 => round::<Trade>(body),
        0xffef => round::<Bye>(body),
        _ => {
            let unknown = GAME.unknown(SessionId::from_u64(7), Packet { id, body, frame: body });
            assert_eq!((unknown.id, unknown.bytes, unknown.nearest.len()), (id, body.len(), 3));
            let near = |near: &(u16, &str)| near.0.abs_diff(id);
            assert!(unknown.nearest.windows(2).all(|pair| near(&pair[0]) <= near(&pair[1])));
            assert!(unknown.to_string().contains(&id.to_string()));
        }
    }
    assert_eq!(GAME.name_of(id).is_some(), matches!(id, 1 | 2 | 10 | 0xffef));
});
