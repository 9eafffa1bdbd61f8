//! Tests of packet tables: a message is read back as written, malformed bodies are refused, and unknown packets are
//! named.

use naksi::packets::{Kind, Table, decode, encode};
use naksi::prelude::*;

packets! {
    /// A table with something of everything, and of what contains itself.
    WORLD {
        10 => Say { text: String }
        11 => Walk { x: f32, y: f32, steps: Vec<(i16, i16)>, hurry: Option<bool> }
        20 => Count { small: u8, large: u64, signed: i64, name: [u8; 3] }
        300 => Nothing {}
        400 => Tree { name: u8, kids: Vec<Tree> }
        401 => Crowd { empty: Vec<()>, named: Vec<(u8, ())> }
    }
}

/// Chance from a seed.
struct Chance(u64);

impl Chance {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }

    fn text(&mut self) -> String {
        (0..self.next(40)).map(|_| char::from_u32(self.next(0xD000) as u32).unwrap_or('?')).collect()
    }

    fn walk(&mut self) -> Walk {
        let steps = (0..self.next(20)).map(|_| (self.next(65_536) as u16 as i16, -1)).collect();
        let hurry = [None, Some(false), Some(true)][self.next(3) as usize];
        Walk { x: self.next(1000) as f32 / 7.0, y: -0.0, steps, hurry }
    }

    fn count(&mut self) -> Count {
        let bits = self.next(64);
        let large = self.next(u64::MAX >> 33) << bits;
        Count { small: self.next(256) as u8, large, signed: (large as i64).wrapping_neg(), name: [1, 0, 255] }
    }
}

/// What every message must hold, whatever is in it.
fn holds<M: Message + PartialEq + std::fmt::Debug>(message: &M, chance: &mut Chance) {
    let frame = encode(message).expect("it fits a frame");
    assert_eq!(usize::from(u16::from_le_bytes([frame[0], frame[1]])), frame.len());
    assert_eq!(u16::from_le_bytes([frame[2], frame[3]]), M::ID);
    let body = &frame[4..];
    assert_eq!(decode::<M>(body).as_ref(), Ok(message));
    for cut in 0..body.len() {
        assert!(decode::<M>(&body[..cut]).is_err(), "cut at {cut} of {}", body.len());
    }
    let longer = [body, &[0]].concat();
    assert_eq!(decode::<M>(&longer).map_err(|error| error.bytes), Err(longer.len()));
    if !body.is_empty() {
        let mut wrong = body.to_vec();
        let place = chance.next(body.len() as u64) as usize;
        wrong[place] ^= 1 << chance.next(8);
        // It may be another valid message, but is never longer than what was sent.
        if let Ok(other) = decode::<M>(&wrong) {
            assert!(encode(&other).expect("it came in a frame").len() <= frame.len());
        }
    }
}

#[test]
fn what_is_written_is_read_back_and_what_is_cut_or_too_long_is_refused() {
    let mut chance = Chance(1);
    for _ in 0..500 {
        let text = chance.text();
        holds(&Say { text }, &mut chance);
        let (walk, count) = (chance.walk(), chance.count());
        holds(&walk, &mut chance);
        holds(&count, &mut chance);
        holds(&Nothing {}, &mut chance);
    }
}

#[test]
fn noise_is_refused_or_sound_and_never_more_than_noise() {
    let mut chance = Chance(2);
    for _ in 0..20_000 {
        let noise: Vec<u8> = (0..chance.next(64)).map(|_| chance.next(256) as u8).collect();
        if let Ok(walk) = decode::<Walk>(&noise) {
            assert!(walk.steps.len() <= noise.len());
        }
        if let Ok(say) = decode::<Say>(&noise) {
            assert!(say.text.len() <= noise.len());
        }
        decode::<Count>(&noise).ok();
    }
}

/// As a chain of trees, each with one kid.
fn chain(levels: usize) -> Tree {
    (0..levels).fold(Tree { name: 7, kids: Vec::new() }, |kid, _| Tree { name: 8, kids: vec![kid] })
}

#[test]
fn a_body_of_any_depth_is_refused_before_the_stack_ends() {
    let deep = chain(60);
    let frame = encode(&deep).expect("it fits a frame");
    assert_eq!(decode::<Tree>(&frame[4..]), Ok(deep), "sixty trees in one another are no attack");
    // Every byte is the name of a tree, or the number 1 of its children: this used to overflow the stack.
    assert!(decode::<Tree>(&[1; 16_000]).is_err());
}

#[test]
fn a_sequence_of_nothing_is_not_counted_for_ever() {
    let small = Crowd { empty: vec![(); 1000], named: vec![(1, ()); 300] };
    let frame = encode(&small).expect("it fits a frame");
    assert_eq!(decode::<Crowd>(&frame[4..]), Ok(small));
    let forever = [[0xFF; 9].as_slice(), &[1, 0]].concat();
    assert!(decode::<Crowd>(&forever).is_err(), "2^64 - 1 elements in ten bytes");
}

#[test]
fn a_message_that_fits_no_frame_is_not_written() {
    assert_eq!(encode(&Say { text: "a".repeat(65_528) }).map(|frame| frame.len()), Some(65_535));
    assert_eq!(encode(&Say { text: "a".repeat(65_529) }), None);
}

#[test]
fn a_table_knows_its_lines_and_its_version_changes_with_every_one_of_them() {
    assert_eq!((WORLD.name_of(20), WORLD.name_of(21)), (Some("Count"), None));
    assert_eq!(WORLD.kinds()[1].fields[2].0, "steps");
    let kind = Kind { id: 1, name: "A", fields: &[("x", "u8")] };
    let tables: [&'static [Kind]; 5] = [
        &[Kind { id: 1, name: "A", fields: &[("x", "u8")] }],
        &[Kind { id: 2, name: "A", fields: &[("x", "u8")] }],
        &[Kind { id: 1, name: "B", fields: &[("x", "u8")] }],
        &[Kind { id: 1, name: "A", fields: &[("y", "u8")] }],
        &[Kind { id: 1, name: "A", fields: &[("x", "u16")] }],
    ];
    let mut versions: Vec<_> = tables.iter().map(|kinds| Table::new(kinds).version()).collect();
    assert_eq!(tables[0][0], kind);
    versions.sort_unstable();
    versions.dedup();
    assert_eq!(versions.len(), 5);
    let spaced = Table::new(&[Kind { id: 1, name: "A", fields: &[("x", "Vec < u8 >")] }]);
    let close = Table::new(&[Kind { id: 1, name: "A", fields: &[("x", "Vec<u8>")] }]);
    assert_eq!(spaced.version(), close.version(), "how a compiler spells a type is no matter");
}

#[test]
fn a_stranger_is_named_with_its_size_its_session_and_the_nearest_known_ids() {
    let (session, frame) = (SessionId::new(0, 3, 1), [6, 0, 13, 0, 9, 9]);
    let packet = Packet { id: 13, body: &frame[4..], frame: &frame };
    let error = WORLD.unknown(session, packet);
    assert_eq!((error.id, error.bytes, error.session), (13, 6, session));
    let text = error.to_string();
    let wanted = format!(
        "unknown packet id 13 (6 bytes) from session {session}; the nearest known are 11 Walk, 10 Say, 20 Count"
    );
    assert_eq!(text, wanted);
}

/// A room with routes.
#[derive(Default)]
struct Field {
    walked: usize,
}

impl Room for Field {
    type Member = ();

    fn routes(routes: &mut Routes<Self>) {
        routes.on(Self::say).on(Self::walk);
    }
}

impl Field {
    fn say(&mut self, cx: &mut Cx<'_, Self>, from: SessionId, say: Say) {
        cx.broadcast_others(from, &say);
        cx.send(from, &Nothing {});
    }

    fn walk(&mut self, _cx: &mut Cx<'_, Self>, _from: SessionId, walk: Walk) {
        self.walked += walk.steps.len();
    }
}

#[test]
fn packets_go_to_the_method_for_their_type() {
    let mut room = TestRoom::new(Field::default(), RoomOptions::new());
    let (anna, berta) = (room.join(()), room.join(()));
    room.send(anna, &Say { text: "hello".into() });
    assert_eq!(room.heard::<Say>(berta), [Say { text: "hello".into() }]);
    assert_eq!(room.heard::<Nothing>(anna), [Nothing {}]);
    room.send(berta, &Walk { x: 0.0, y: 0.0, steps: vec![(1, 1); 3], hurry: None });
    assert_eq!(room.look(|field| field.walked), 3);
    room.packet(anna, Say::ID, b"\xFF");
    assert_eq!(room.ended(anna), Some(DisconnectReason::Protocol), "a body that is none");
    room.send(berta, &Nothing {});
    assert_eq!(room.ended(berta), Some(DisconnectReason::UnknownPacket), "a type without a handler");
}

#[test]
#[should_panic(expected = "two methods take packet 10 Say")]
fn two_methods_for_one_type_are_refused_when_the_room_is_made() {
    struct Torn;
    impl Room for Torn {
        type Member = ();
        fn routes(routes: &mut Routes<Self>) {
            routes.on(Self::take).on(Self::take);
        }
    }
    impl Torn {
        fn take(&mut self, _cx: &mut Cx<'_, Self>, _from: SessionId, _say: Say) {}
    }
    drop(TestRoom::new(Torn, RoomOptions::new()));
}
