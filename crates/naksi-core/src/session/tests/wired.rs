//! Tests of a session behind a toy wire that has a handshake, numbers what it seals, and sends a goodbye.

use super::*;
use crate::wire::{Header, Message, MessageHeader, MessageKind, Plain, Stacked, Wire};

/// The peer sends `HI` and is answered `OK`; then follow runs of one length byte and that many masked bytes. 0xff is
/// the peer's end, 0xfe a violation, 0xfd asks for a `!`. A sealed batch is `<`, its number, its bytes and `>`.
#[derive(Debug, Default)]
struct Toy {
    greeting: Vec<u8>,
    opened: bool,
    left: u8,
    sealed: u8,
    deaf: bool,
    messages: bool,
}

const MASK: u8 = 0x55;

impl Wire for Toy {
    fn begin(&mut self, _: &mut Vec<u8>) {}

    fn open(
        &mut self,
        sealed: &mut [u8],
        plain: &mut dyn Plain,
        answer: &mut Vec<u8>,
    ) -> Result<(), DisconnectReason> {
        let mut rest = sealed;
        while !self.deaf && !rest.is_empty() {
            if !self.opened {
                self.greeting.push(rest[0]);
                rest = &mut rest[1..];
                if !b"HI".starts_with(&self.greeting) {
                    answer.extend_from_slice(b"NO");
                    self.deaf = true;
                    return Err(DisconnectReason::BadHandshake);
                }
                if self.greeting == b"HI" {
                    answer.extend_from_slice(b"OK");
                    self.opened = true;
                    plain.opened();
                }
                continue;
            }
            if self.left == 0 {
                let first = rest[0];
                rest = &mut rest[1..];
                match first {
                    0xff => {
                        self.deaf = true;
                        plain.closed();
                    }
                    0xfe => {
                        self.deaf = true;
                        return Err(DisconnectReason::WebSocketViolation);
                    }
                    0xfd => answer.push(b'!'),
                    length => self.left = length,
                }
                continue;
            }
            let count = rest.len().min(usize::from(self.left));
            let (part, later) = rest.split_at_mut(count);
            part.iter_mut().for_each(|byte| *byte ^= MASK);
            self.left -= count as u8;
            if self.messages {
                plain.message(Message::Binary(part));
            } else {
                plain.bytes(part);
            }
            rest = later;
        }
        Ok(())
    }

    fn seal(&mut self, mut batch: SendBatch, buffer_pool: &mut BufferPool) -> SendBatch {
        batch.put_before(&[b'<', b'0' + self.sealed], || buffer_pool.buffer(Header::BYTES_MAX));
        self.sealed += 1;
        batch.push(crate::batch::Segment::Owned(vec![b'>']));
        batch
    }

    fn ping(&mut self, answer: &mut Vec<u8>) {
        answer.push(b'?');
    }

    fn goodbye(&mut self, reason: &DisconnectReason, answer: &mut Vec<u8>) {
        if self.opened {
            answer.extend_from_slice(format!("bye {reason}").as_bytes());
        }
    }

    fn is_within_message(&self) -> bool {
        self.left > 0
    }

    fn cut(&self) -> Option<DisconnectReason> {
        (self.left > 0).then_some(DisconnectReason::TruncatedFrame)
    }

    fn held_bytes(&self) -> usize {
        self.greeting.capacity()
    }

    fn message_header(&self) -> Option<MessageHeader> {
        self.messages.then_some(|kind: MessageKind, length: usize| {
            let mut header = Header::default();
            header.push(if kind == MessageKind::Text { b"t" } else { b"b" });
            header.push(&[b'0' + length as u8]);
            header
        })
    }
}

fn behind(toy: impl Wire + 'static, framing: Framing, limits: Limits) -> Hand {
    let mut hand = Hand::new(framing, limits);
    // The original session has a receive in flight; this one replaces it before anything was received.
    hand.recv = false;
    hand.notes = Notes::default();
    hand.session = Session::new(Handle::new(0, 0), framing, hand.now).with_wire(Box::new(toy), "toy");
    hand.with(|session, cx, notes| session.connected(cx, notes));
    hand
}

fn sealed(bytes: &[u8]) -> Vec<u8> {
    let masked = bytes.iter().map(|byte| byte ^ MASK);
    std::iter::once(bytes.len() as u8).chain(masked).collect()
}

/// A session that stands, its `OK` sent.
fn open(framing: Framing, limits: Limits) -> Hand {
    let mut hand = behind(Toy::default(), framing, limits);
    hand.bytes(b"HI");
    hand.sends(usize::MAX);
    assert_eq!(std::mem::take(&mut hand.sent), b"OK");
    hand
}

#[test]
fn the_user_is_told_of_a_connection_when_the_wire_has_opened() {
    let mut hand = behind(Toy::default(), Framing::Raw, Limits::default());
    assert!(hand.notes.events.is_empty() && !hand.session.is_open());
    hand.bytes(b"H");
    assert!(hand.notes.events.is_empty() && hand.send.is_none());
    hand.bytes(&[b"I", &sealed(b"cod")[..]].concat());
    assert_eq!(
        (&hand.notes.events[..], &hand.notes.received[..]),
        (&["connected".to_owned()][..], &b"cod"[..])
    );
    hand.sends(usize::MAX);
    assert_eq!(hand.sent, b"OK<0cod>", "the wire's answer goes first");
}

#[test]
fn a_wire_that_never_opens_ends_its_session_and_the_user_hears_nothing() {
    let mut ends: Vec<(&str, Hand)> = Vec::new();
    let mut refused = behind(Toy::default(), Framing::Raw, Limits::default());
    refused.bytes(b"HO");
    refused.sends(usize::MAX);
    assert_eq!(refused.sent, b"NO", "it is told why");
    refused.shuts_down();
    refused.recv_ends(Ended::Closed);
    ends.push(("bad_handshake", refused));
    let mut gone = behind(Toy::default(), Framing::Raw, Limits::default());
    gone.bytes(b"H");
    gone.recv_ends(Ended::Closed);
    ends.push(("peer_closed", gone));
    let mut silent = behind(Toy::default(), Framing::Raw, Limits::default());
    let within = silent.limits.first_frame_within;
    assert_eq!(silent.session.deadline(&silent.limits), Some(silent.now + within));
    silent.late_by(within);
    silent.shuts_down();
    silent.recv_ends(Ended::Closed);
    ends.push(("handshake_late", silent));
    // Its last words wait for a turn that has time for them, and it is gone before.
    let mut waiting = behind(Toy::default(), Framing::Raw, Limits::default());
    waiting.notes.hurried = true;
    waiting.bytes(b"HO");
    waiting.recv_ends(Ended::Closed);
    assert!(!waiting.closing && waiting.session.deadline(&waiting.limits) == Some(waiting.now));
    waiting.notes.hurried = false;
    waiting.late_by(Duration::from_millis(1));
    waiting.sends(usize::MAX);
    ends.push(("bad_handshake", waiting));
    for (name, mut hand) in ends {
        assert!(std::mem::replace(&mut hand.closing, false), "{name}");
        hand.done(Done::Close, false);
        assert_eq!(hand.session.over().map(|reason| reason.name()), Some(name));
        assert_eq!((hand.notes.events.len(), hand.notes.disconnected), (0, 0), "{name}");
    }
}

#[test]
fn a_sealed_batch_goes_out_whole_before_the_answer_and_the_next_batch_however_it_is_cut() {
    for cut in 1..=b"<0one>".len() {
        let mut hand = open(Framing::Raw, Limits::default());
        hand.bytes(&sealed(b"one"));
        hand.bytes(&[&[0xfd][..], &sealed(b"two")].concat());
        hand.sends(cut);
        assert!(hand.send.is_some());
        while hand.send.is_some() {
            hand.sends(cut);
        }
        assert_eq!(hand.sent, b"<0one>!<1two>", "cut after {cut}");
        assert_eq!(hand.session.pending_bytes(), 0);
    }
}

#[test]
fn bytes_cut_anywhere_are_opened_to_the_same_stream() {
    let stream = [&b"HI"[..], &sealed(b"herring"), &sealed(b"cod")].concat();
    for first in 0..=stream.len() {
        for second in first..=stream.len() {
            let mut hand = behind(Toy::default(), Framing::Raw, Limits::default());
            for part in [&stream[..first], &stream[first..second], &stream[second..]] {
                if !part.is_empty() {
                    hand.bytes(part);
                }
            }
            assert_eq!(hand.notes.received, b"herringcod");
        }
    }
}

#[test]
fn a_session_that_ends_in_order_says_goodbye_behind_what_is_queued() {
    let mut hand = open(Framing::Raw, Limits::default());
    hand.bytes(&sealed(b"cod"));
    hand.with(|session, cx, notes| session.end(DisconnectReason::Kicked, CloseMode::Graceful, cx, notes));
    while hand.send.is_some() {
        hand.sends(3);
    }
    assert_eq!(hand.sent, b"<0cod>bye kicked");
    assert_eq!(hand.shuts_down(), ShutdownHow::Write);
    hand.bytes(&[0xff]);
    assert_eq!(hand.shuts_down(), ShutdownHow::Both, "the peer's end comes through the wire");
    hand.recv_ends(Ended::Closed);
    assert_eq!(hand.closes(), DisconnectReason::Kicked);
}

#[test]
fn the_peers_end_in_the_wire_is_answered_and_ends_the_session() {
    let mut hand = open(Framing::Raw, Limits::default());
    hand.bytes(&[&sealed(b"cod")[..], &[0xff], &sealed(b"after")].concat());
    assert_eq!(hand.notes.received, b"cod", "nothing after its end is shown");
    while hand.send.is_some() {
        hand.sends(usize::MAX);
    }
    assert_eq!(hand.sent, b"<0cod>bye peer_closed");
    assert_eq!(hand.shuts_down(), ShutdownHow::Both);
    hand.recv_ends(Ended::Closed);
    assert_eq!(hand.closes(), DisconnectReason::PeerClosed);
}

#[test]
fn a_violation_of_the_wire_or_of_the_frames_is_told_before_the_end() {
    for (bytes, reason) in [
        (vec![0xfe], DisconnectReason::WebSocketViolation),
        (sealed(&[1, 0, 0, 0]), DisconnectReason::FrameTooShort),
    ] {
        let mut hand = open(Framing::Packets, Limits::default());
        hand.bytes(&bytes);
        hand.sends(usize::MAX);
        assert_eq!(hand.sent, format!("bye {reason}").as_bytes());
        hand.shuts_down();
        hand.bytes(&sealed(b"still talking"));
        hand.recv_ends(Ended::Closed);
        assert_eq!(hand.closes(), reason);
    }
}

#[test]
fn messages_that_come_while_a_session_is_held_back_are_shown_whole_and_in_order_afterwards() {
    let limits = Limits { send_queue_high_bytes: 4, send_queue_low_bytes: 0, ..Limits::default() };
    let mut hand = behind(Toy { messages: true, ..Toy::default() }, Framing::Messages, limits);
    let messages: [&[u8]; 4] = [b"herring", b"", b"cod", b"tuna"];
    let all: Vec<u8> = messages.iter().filter(|one| !one.is_empty()).flat_map(|one| sealed(one)).collect();
    hand.bytes(&[b"HI", &all[..]].concat());
    assert_eq!(hand.notes.events, ["connected", "message herring"]);
    while hand.send.is_some() {
        hand.sends(usize::MAX);
    }
    assert_eq!(hand.notes.events[2..], ["message cod", "message tuna"]);
    assert_eq!(hand.sent, b"OK<0b7herring><1b3cod><2b4tuna>");
    let mut text = behind(Toy { messages: true, ..Toy::default() }, Framing::Messages, Limits::default());
    text.bytes(b"HI");
    text.sends(usize::MAX);
    with_output(&mut text, |output| {
        output.send_text("eel");
        output.send_shared(&bytes::Bytes::from_static(b"shared"));
        output.send_packet(7, b"")
    });
    text.sends(usize::MAX);
    assert_eq!(text.sent, b"OK<0t3eelb6sharedb4\x04\0\x07\0>");
}

#[test]
fn a_message_that_is_never_whole_is_late_and_a_heartbeat_is_a_ping() {
    let heartbeat = Some(Heartbeat { packet_id: 1, every: Duration::from_secs(2) });
    let mut hand = open(Framing::Raw, Limits { heartbeat, ..Limits::default() });
    hand.late_by(Duration::from_secs(2));
    hand.sends(usize::MAX);
    assert_eq!(hand.sent, b"?");
    let mut hand = open(Framing::Raw, Limits::default());
    hand.notes.mute = true;
    hand.bytes(&sealed(b"herring")[..3]);
    hand.late_by(hand.limits.frame_within);
    hand.sends(usize::MAX);
    assert_eq!(hand.sent, b"bye frame_late");
}

#[test]
fn what_a_wired_session_has_not_sent_counts_against_its_cap_until_it_is_gone() {
    let limits = Limits {
        send_queue_bytes_max: 64,
        send_queue_high_bytes: 64,
        send_queue_low_bytes: 1,
        overflow: crate::limits::Overflow::DropNew,
        ..Limits::default()
    };
    let mut hand = open(Framing::Raw, limits);
    assert_eq!(with_output(&mut hand, |output| output.send(&[1; 50])), SendStatus::Queued);
    hand.notes.more = vec![2; 30];
    hand.sends(10);
    assert_eq!(hand.notes.more_sent, Some(SendStatus::Dropped), "43 sealed bytes are still to be sent");
    assert_eq!(hand.session.pending_bytes(), 43);
    hand.sends(43);
    assert_eq!(hand.session.pending_bytes(), 0);
}

/// A session behind two toys, both of them open.
fn stacked() -> Hand {
    let stacked = Stacked::new(Box::new(Toy::default()), Box::new(Toy::default()));
    let mut hand = behind(stacked, Framing::Raw, Limits::default());
    hand.bytes(b"HI");
    hand.sends(usize::MAX);
    assert_eq!((std::mem::take(&mut hand.sent), hand.notes.events.len()), (b"OK".to_vec(), 0));
    hand.bytes(&sealed(b"HI"));
    hand.sends(usize::MAX);
    assert_eq!((std::mem::take(&mut hand.sent), hand.notes.events.len()), (b"<0OK>".to_vec(), 1));
    hand
}

#[test]
fn one_wire_opens_what_another_has_opened_and_what_is_sent_is_sealed_by_both() {
    let mut hand = stacked();
    let twice = sealed(&sealed(b"cod"));
    twice.iter().for_each(|byte| hand.bytes(&[*byte]));
    assert_eq!(hand.notes.received, b"cod");
    while hand.send.is_some() {
        hand.sends(1);
    }
    let sent: Vec<u8> = hand.sent.iter().copied().filter(|byte| byte.is_ascii_lowercase()).collect();
    assert_eq!(sent, b"cod");
    assert!(hand.sent.starts_with(b"<1<0c"), "{:?}", hand.sent);
}

#[test]
fn what_the_upper_wire_says_waits_in_plain_text_until_bytes_can_leave() {
    let mut hand = stacked();
    for _ in 0..4 {
        hand.bytes(&sealed(&[0xfd]));
    }
    hand.sends(usize::MAX);
    assert_eq!(hand.sent, b"<1!>", "the first one left at once");
    hand.sends(usize::MAX);
    assert_eq!(hand.sent, b"<1!><2!!!>");
}

#[test]
fn the_upper_wire_says_its_end_before_the_lower_one() {
    let mut hand = stacked();
    hand.bytes(&sealed(&[0xff]));
    hand.sends(usize::MAX);
    assert_eq!(hand.sent, b"<1bye peer_closed>bye peer_closed");
    let mut cut = stacked();
    cut.bytes(&sealed(&[5]));
    cut.bytes(&[0xff]);
    cut.sends(usize::MAX);
    assert_eq!(cut.sent, b"<1bye truncated_frame>bye truncated_frame", "the lower one's end is too early");
    let mut refused = stacked();
    refused.bytes(&sealed(&[0xfe]));
    refused.sends(usize::MAX);
    assert_eq!(refused.sent, b"<1bye websocket_violation>bye websocket_violation");
}

#[test]
fn a_part_of_a_handshake_for_which_a_turn_has_no_time_waits_for_a_later_one() {
    #[derive(Debug)]
    struct Held(std::rc::Rc<std::cell::Cell<bool>>);
    impl Drop for Held {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }
    let released = std::rc::Rc::default();
    let mut hand = behind(Toy::default(), Framing::Raw, Limits::default());
    hand.session = Session::new(Handle::new(0, 0), Framing::Raw, hand.now)
        .with_wire(Box::new(Toy::default()), "toy")
        .with_handshake(Box::new(Held(std::rc::Rc::clone(&released))));
    hand.recv = false;
    hand.with(|session, cx, notes| session.connected(cx, notes));
    hand.notes.hurried = true;
    hand.bytes(b"H");
    assert!(hand.cancelled.contains(&Verb::Recv), "it is not read meanwhile");
    hand.notes.hurried = false;
    // What had arrived before the pause goes behind what waits.
    hand.bytes(&[b"I", &sealed(b"cod")[..]].concat());
    assert!(hand.notes.events.is_empty() && !released.get());
    assert_eq!(hand.session.deadline(&hand.limits), Some(hand.now), "it is looked at in the next turn");
    hand.notes.hurried = true;
    hand.late_by(Duration::from_millis(1));
    assert!(hand.notes.events.is_empty());
    assert_eq!(hand.session.deadline(&hand.limits), Some(hand.now));
    hand.notes.hurried = false;
    hand.late_by(Duration::from_millis(1));
    assert_eq!(
        (&hand.notes.events[..], &hand.notes.received[..]),
        (&["connected".to_owned()][..], &b"cod"[..])
    );
    assert!(released.get(), "the handshake is done");
    hand.recv_ends(Ended::Aborted);
    assert!(hand.recv, "it is read again");
}
