//! Messages of the engine: exchanged with a peer that began with HELLO, and with no other.

use super::*;
use crate::engine_message::{
    ANSWER, ASK, CLOSE, FIRST_ID, HEARTBEAT, HELLO, Hello, PROTOCOL, WELCOME, Welcome,
};

const VERSION: u64 = 0x1234;

fn hello(packets: u64) -> Vec<u8> {
    frame_of(HELLO, &Hello { protocol: PROTOCOL, packets }.body())
}

/// A session whose user has packets of a version, and whose peer began with HELLO.
fn greeted(limits: Limits) -> Hand {
    let mut hand = Hand::new(Framing::Packets, limits);
    hand.notes.packets = VERSION;
    hand.bytes(&hello(VERSION));
    hand.sends(usize::MAX);
    hand.sent.clear();
    hand
}

fn sent(hand: &mut Hand) -> Vec<(u16, Vec<u8>)> {
    while hand.send.is_some() {
        hand.sends(usize::MAX);
    }
    let (bytes, mut frames, mut at) = (std::mem::take(&mut hand.sent), Vec::new(), 0);
    while let Ok(Some(packet)) = frame::first(&bytes[at..], usize::from(u16::MAX)) {
        frames.push((packet.id, packet.body.to_vec()));
        at += packet.frame.len();
    }
    assert_eq!(at, bytes.len(), "whole frames");
    frames
}

fn close_of(name: &str, code: u32, text: &str) -> (u16, Vec<u8>) {
    let body = [&code.to_le_bytes()[..], &[name.len() as u8], name.as_bytes(), text.as_bytes()].concat();
    (CLOSE, body)
}

#[test]
fn hello_is_answered_by_welcome_and_shown_to_no_handler() {
    let mut hand = Hand::new(Framing::Packets, Limits::default());
    hand.notes.packets = VERSION;
    let stream = [hello(VERSION), frame_of(7, b"first")].concat();
    // However it is cut.
    for byte in &stream {
        hand.bytes(&[*byte]);
    }
    let welcome = Welcome { protocol: 1, packets: VERSION, idle_ms: 60_000 };
    assert_eq!(sent(&mut hand), [(WELCOME, welcome.body()), (7, b"first".to_vec())]);
    assert_eq!(hand.notes.events, ["connected", "packet 7 5"]);
}

#[test]
fn a_peer_that_does_not_begin_with_hello_gets_every_frame_as_before() {
    let limits = Limits { idle_within: Duration::from_secs(3), ..Limits::default() };
    let cut_hello = frame_of(HELLO, &Hello { protocol: 1, packets: 1 }.body()[..13]);
    for first in [frame_of(1, b""), cut_hello, frame_of(HEARTBEAT, &[ASK]), frame_of(FIRST_ID, b"own")] {
        let mut hand = Hand::new(Framing::Packets, limits.clone());
        let others = (FIRST_ID..=u16::MAX).map(|id| frame_of(id, &[ASK]));
        let frames: Vec<_> = [first].into_iter().chain(others).chain([hello(1)]).collect();
        hand.bytes(&frames.concat());
        while hand.send.is_some() {
            hand.sends(usize::MAX);
        }
        assert!(hand.sent == frames.concat(), "they come back as they came");
        hand.sent.clear();
        hand.late_by(limits.idle_within);
        assert_eq!((hand.closing || hand.recv, hand.sent.len()), (true, 0), "it ends without a word");
    }
}

#[test]
fn another_version_is_refused_and_told_both() {
    let mut hand = Hand::new(Framing::Packets, Limits::default());
    hand.notes.packets = VERSION;
    hand.bytes(&[hello(0x9876), frame_of(7, b"too soon")].concat());
    let text = "the client has packet table 0000000000009876, the server 0000000000001234";
    assert_eq!(sent(&mut hand), [close_of("version_refused", 0, text)]);
    assert_eq!(hand.notes.events, ["connected"], "nothing behind it is shown");
    hand.shuts_down();
    hand.recv_ends(Ended::Closed);
    assert_eq!(hand.closes(), DisconnectReason::VersionRefused);
}

#[test]
fn a_session_that_ends_in_order_says_why_behind_what_is_queued() {
    let mut hand = greeted(Limits::default());
    hand.notes.held_back = frame_of(5, b"from the room");
    hand.with(|session, cx, notes| {
        session.end(DisconnectReason::custom(4001, "banned"), CloseMode::Graceful, cx, notes);
    });
    assert_eq!(sent(&mut hand), [(5, b"from the room".to_vec()), close_of("custom", 4001, "banned")]);
}

#[test]
fn what_the_peer_did_wrong_is_told_too() {
    let limits = Limits { idle_within: Duration::from_secs(3), ..Limits::default() };
    for (bytes, name) in [
        (&[0_u8, 0][..], "frame_too_short"),
        (&[255, 255], "frame_too_long"),
        (&[], "idle"),
        (&frame_of(WELCOME, b""), "bad_engine_message"),
        (&frame_of(HEARTBEAT, &[2]), "bad_engine_message"),
        (&frame_of(HEARTBEAT, &[]), "bad_engine_message"),
        (&frame_of(u16::MAX, &[]), "bad_engine_message"),
        (&hello(VERSION), "bad_engine_message"),
    ] {
        let mut hand = greeted(limits.clone());
        match bytes {
            [] => hand.late_by(limits.idle_within),
            bytes => hand.bytes(bytes),
        }
        assert_eq!(sent(&mut hand), [close_of(name, 0, "")], "{name}");
    }
}

#[test]
fn a_peer_that_ends_it_itself_is_told_nothing() {
    for says_close in [true, false] {
        let mut hand = greeted(Limits::default());
        if says_close {
            hand.bytes(&frame_of(CLOSE, b""));
            assert!(!hand.session.is_open());
            hand.shuts_down();
        }
        hand.recv_ends(Ended::Closed);
        assert_eq!(hand.sent, b"");
        assert_eq!(hand.closes(), DisconnectReason::PeerClosed);
    }
}

#[test]
fn a_heartbeat_that_asks_is_answered_and_an_answer_is_not() {
    let mut hand = greeted(Limits::default());
    hand.bytes(&[frame_of(HEARTBEAT, &[ASK]), frame_of(HEARTBEAT, &[ANSWER])].concat());
    assert_eq!(sent(&mut hand), [(HEARTBEAT, vec![ANSWER])]);
    assert_eq!(hand.notes.events, ["connected"]);
}

#[test]
fn a_silent_session_asks_with_the_engines_heartbeat_instead_of_the_configured_one() {
    let heartbeat = Some(Heartbeat { packet_id: 9, every: Duration::from_secs(2) });
    let mut hand = greeted(Limits { heartbeat, ..Limits::default() });
    hand.late_by(Duration::from_secs(2));
    assert_eq!(sent(&mut hand), [(HEARTBEAT, vec![ASK])]);
}

#[test]
fn a_reason_that_does_not_fit_the_queue_ends_the_session_without_it() {
    let limits = Limits { send_queue_bytes_max: 64, ..Limits::default() };
    let mut hand = greeted(limits);
    let full = frame_of(5, &[7; 60]);
    with_output(&mut hand, |output| output.send(&full));
    hand.with(|session, cx, notes| session.end(DisconnectReason::Handler, CloseMode::Graceful, cx, notes));
    assert_eq!(sent(&mut hand), [(5, vec![7; 60])]);
    assert_eq!(hand.shuts_down(), ShutdownHow::Write);
}
