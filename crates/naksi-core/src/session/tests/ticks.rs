//! Tests of a session that flushes at ticks, with a kernel driven by the test.

use super::*;
use crate::flush::Flush;

const SPAN: Duration = Duration::from_millis(5);

/// An echo whose queue leaves every 5 ms.
fn ticking(limits: Limits) -> Hand {
    let mut hand = Hand::new(Framing::Raw, limits);
    assert_eq!(hand.session.flush(), Flush::AtOnce);
    hand.session.set_flush(Flush::Every(SPAN));
    assert_eq!(hand.session.flush(), Flush::Every(SPAN));
    hand
}

fn at(hand: &mut Hand, nanos: u64) {
    hand.now = Tick::from_nanos(nanos);
    hand.with(|_, _, _| {});
}

#[test]
fn one_send_carries_what_came_since_the_last_tick_in_its_order() {
    let mut hand = ticking(Limits::default());
    for tick in 1..=3_u64 {
        for word in [b"one ", b"two ", b"six "] {
            at(&mut hand, tick * 5_000_000 - 9_000);
            hand.bytes(word);
            assert!(hand.send.is_none(), "before its tick");
            assert_eq!(hand.session.held_until(), Some(Tick::from_nanos(tick * 5_000_000)));
        }
        at(&mut hand, tick * 5_000_000 - 1);
        assert!(hand.send.is_none(), "one nanosecond before its tick");
        at(&mut hand, tick * 5_000_000);
        assert_eq!(hand.session.held_until(), None);
        hand.sends(usize::MAX);
        assert!(hand.send.is_none() && hand.session.held_until().is_none(), "nothing is left");
    }
    assert_eq!(hand.sent, b"one two six ".repeat(3));
}

#[test]
fn what_came_while_a_batch_was_out_waits_for_the_tick_after() {
    let mut hand = ticking(Limits::default());
    hand.bytes(b"first");
    at(&mut hand, 5_000_000);
    hand.bytes(b"second");
    hand.sends(usize::MAX);
    assert!(hand.send.is_none());
    assert_eq!(hand.session.held_until(), Some(Tick::from_nanos(10_000_000)));
    at(&mut hand, 10_000_000);
    hand.sends(usize::MAX);
    assert_eq!(hand.sent, b"firstsecond");
}

#[test]
fn what_a_short_send_left_does_not_wait_for_another_tick() {
    let mut hand = ticking(Limits::default());
    hand.bytes(b"abcdef");
    at(&mut hand, 5_000_000);
    hand.sends(2);
    hand.sends(usize::MAX);
    assert_eq!(hand.sent, b"abcdef");
}

#[test]
fn who_ends_or_whose_peer_ends_does_not_wait() {
    let mut hand = ticking(Limits::default());
    hand.notes.end = Some(CloseMode::Graceful);
    hand.bytes(b"last words");
    hand.sends(usize::MAX);
    assert_eq!(hand.sent, b"last words");
    assert_eq!(hand.shuts_down(), ShutdownHow::Write);

    let mut hand = ticking(Limits::default());
    hand.bytes(b"hello");
    hand.recv_ends(Ended::Closed);
    hand.sends(usize::MAX);
    assert_eq!(hand.sent, b"hello");
    assert_eq!(hand.closes(), DisconnectReason::PeerClosed);
}

#[test]
fn a_queue_over_its_high_mark_does_not_wait() {
    let limits = Limits { send_queue_high_bytes: 9, send_queue_low_bytes: 5, ..Limits::default() };
    let mut hand = ticking(limits);
    hand.bytes(b"12345");
    assert!(hand.send.is_none());
    hand.bytes(b"67890");
    assert!(hand.send.is_some(), "it would stop receiving until the tick");
    assert_eq!(hand.cancelled, [Verb::Recv]);
}

#[test]
fn a_queue_with_half_of_its_pieces_in_use_does_not_wait() {
    let mut hand = ticking(Limits { send_queue_entries_max: 4, ..Limits::default() });
    let shared = bytes::Bytes::from(vec![7; 2000]);
    let push = |session: &mut Session, cx: &mut Context<'_>, notes: &mut Notes| {
        session.with_output(cx, notes, |_, mut output| {
            assert_eq!(output.send_shared(&shared), SendStatus::Queued)
        });
    };
    hand.with(push);
    assert!(hand.send.is_none());
    hand.with(push);
    assert!(hand.send.is_some());
}

#[test]
fn who_is_told_to_flush_sends_once_and_waits_again_afterwards() {
    let mut hand = ticking(Limits::default());
    hand.bytes(b"held");
    hand.with(|session, cx, notes| session.with_output(cx, notes, |_, mut output| output.flush()));
    hand.sends(usize::MAX);
    hand.bytes(b"held too");
    assert!(hand.send.is_none());
    // There is nothing to hurry here, and nothing to remember.
    let mut hand = ticking(Limits::default());
    hand.with(|session, cx, notes| session.with_output(cx, notes, |_, mut output| output.flush()));
    hand.bytes(b"held");
    assert!(hand.send.is_none());
}

#[test]
fn a_new_policy_lets_go_of_what_the_old_one_held_back() {
    for policy in [Flush::AtOnce, Flush::Every(20 * SPAN)] {
        let mut hand = ticking(Limits::default());
        hand.bytes(b"held");
        assert!(hand.send.is_none());
        hand.with(|session, cx, notes| {
            session.with_output(cx, notes, |_, mut output| output.set_flush(policy))
        });
        assert!(hand.send.is_some(), "{policy:?}");
    }
}
