//! Tests of packet tables with types from a `.proto` file: a message is read back as written, malformed bodies are
//! refused or valid messages, and unknown packets are named as with postcard.

mod chance;
mod table;

use naksi::packets::{Postcard, Version, decode, encode};
use naksi::prelude::*;

use chance::Chance;
use table::KINDS;
use table::kinds::{Holds, Mood, Numbers, Order, Ping, Say, Tree};

/// What every message must hold, whatever is in it.
fn holds<M: Message + PartialEq + std::fmt::Debug>(message: &M, chance: &mut Chance) {
    let frame = encode(message).expect("it fits a frame");
    assert_eq!(usize::from(u16::from_le_bytes([frame[0], frame[1]])), frame.len());
    assert_eq!(u16::from_le_bytes([frame[2], frame[3]]), M::ID);
    let body = &frame[4..];
    assert_eq!(decode::<M>(body).as_ref(), Ok(message));
    // An unknown field is skipped: this one is text, and its number is 1,000.
    let longer = [body, &[0xC2, 0x3E, 3, b'n', b'e', b'w']].concat();
    assert_eq!(decode::<M>(&longer).as_ref(), Ok(message));
    // Half of a field is none.
    let broken = [body, &[0xC2, 0x3E, 3, b'n']].concat();
    let error = decode::<M>(&broken).expect_err("a field that is cut");
    assert_eq!((error.id, error.name, error.bytes), (M::ID, M::NAME, broken.len()));
    for cut in 0..body.len() {
        sound::<M>(&body[..cut]);
    }
    if !body.is_empty() {
        let mut wrong = body.to_vec();
        let place = chance.next(body.len() as u64) as usize;
        wrong[place] ^= 1 << chance.next(8);
        sound::<M>(&wrong);
    }
}

/// Bytes are refused, or they are a message that is encoded and decoded as the same.
fn sound<M: Message>(body: &[u8]) {
    let Ok(message) = decode::<M>(body) else { return };
    let frame = encode(&message).expect("it came in a frame");
    let again = encode(&decode::<M>(&frame[4..]).expect("it was written just now"));
    assert_eq!(again, Some(frame));
}

#[test]
fn what_is_written_is_read_back_and_what_is_cut_or_changed_is_refused_or_sound() {
    let mut chance = Chance(1);
    for _ in 0..500 {
        let say = chance.say();
        holds(&say, &mut chance);
        let (numbers, many) = (chance.numbers(), chance.holds());
        holds(&numbers, &mut chance);
        holds(&many, &mut chance);
        holds(&Ping {}, &mut chance);
        let order = chance.order();
        holds(&order, &mut chance);
        let (tree, login) = (chance.tree(1), chance.login());
        holds(&tree, &mut chance);
        holds(&login, &mut chance);
        // What is equal to nothing is the same by its bytes.
        let (numbers, weights) = chance.odd_numbers();
        sound::<Numbers>(&encode(&numbers).expect("it fits a frame")[4..]);
        sound::<Holds>(&encode(&weights).expect("it fits a frame")[4..]);
    }
}

#[test]
fn noise_is_refused_or_sound() {
    let mut chance = Chance(2);
    for _ in 0..20_000 {
        let noise: Vec<u8> = (0..chance.next(64)).map(|_| chance.next(256) as u8).collect();
        sound::<Say>(&noise);
        sound::<Numbers>(&noise);
        sound::<Holds>(&noise);
        sound::<Ping>(&noise);
        sound::<Order>(&noise);
        sound::<Tree>(&noise);
    }
}

#[test]
fn a_message_that_fits_no_frame_is_not_written() {
    let say = |bytes| Say { text: "a".repeat(bytes), to: None };
    assert_eq!(encode(&say(65_527)).map(|frame| frame.len()), Some(65_535));
    assert_eq!(encode(&say(65_528)), None);
    assert_eq!(encode(&say(10_000_000)), None);
}

#[test]
fn a_table_of_protobuf_has_its_lines_and_a_version_over_them_and_the_file() {
    assert_eq!((KINDS.name_of(300), KINDS.name_of(2)), (Some("Ping"), None));
    assert_eq!(KINDS.kinds()[1].fields, []);
    let lines = || {
        let small = Version::NONE.id(1, "Say").id(10, "Numbers").id(11, "Holds").id(300, "Ping");
        small.id(301, "Order").id(302, "Tree").id(303, "Buffer").id(304, "C2sLogin")
    };
    let text = include_str!("kinds.proto");
    assert_eq!(KINDS.version(), lines().proto(text).number());
    let changed = text.replace("sint32 y = 2;", "sint32 y = 3;");
    assert_ne!(KINDS.version(), lines().proto(&changed).number());
    let explained = text.replace("sint32 y = 2;", "sint32 y = 2; // to the north");
    assert_eq!(KINDS.version(), lines().proto(&explained).number());
}

#[test]
fn a_stranger_is_named_as_with_postcard() {
    let (session, frame) = (SessionId::new(0, 3, 1), [6, 0, 13, 0, 9, 9]);
    let error = KINDS.unknown(session, Packet { id: 13, body: &frame[4..], frame: &frame });
    let wanted = format!(
        "unknown packet id 13 (6 bytes) from session {session}; the nearest known are 11 Holds, 10 Numbers, 1 Say"
    );
    assert_eq!(error.to_string(), wanted);
}

/// A room that speaks Protobuf.
struct Hall;

impl Room for Hall {
    type Member = ();

    fn routes(routes: &mut Routes<Self>) {
        routes.on(Self::say);
    }
}

impl Hall {
    fn say(&mut self, cx: &mut Cx<'_, Self>, from: SessionId, say: Say) {
        cx.broadcast_others(from, &say);
        cx.send(from, &Holds { mood: Mood::Merry.into(), ..Holds::default() });
    }
}

#[test]
fn a_room_takes_and_sends_protobuf_as_it_does_postcard() {
    let mut room = TestRoom::new(Hall, RoomOptions::new());
    let (anna, berta) = (room.join(()), room.join(()));
    let say = Say { text: "안녕하세요".into(), to: Some(7) };
    room.send(anna, &say);
    assert_eq!(room.heard::<Say>(berta), [say]);
    assert_eq!(room.heard::<Holds>(anna)[0].mood(), Mood::Merry);
    room.packet(anna, Say::ID, b"\x0A\x05ab");
    assert_eq!(room.ended(anna), Some(DisconnectReason::Protocol), "a text that is cut");
    room.packet(berta, 12, b"");
    assert_eq!(room.ended(berta), Some(DisconnectReason::UnknownPacket));
}

#[test]
fn tables_of_both_kinds_may_stand_side_by_side() {
    packets! { PEERS { 1 => Hello { version: u64 } } }
    fn is_postcard<M: Message<Encoding = Postcard>>() {}
    is_postcard::<Hello>();
    let hello = Hello { version: KINDS.version() };
    let frame = encode(&hello).expect("it fits a frame");
    assert_eq!(decode::<Hello>(&frame[4..]), Ok(hello));
    assert_ne!(PEERS.version(), KINDS.version());
}
