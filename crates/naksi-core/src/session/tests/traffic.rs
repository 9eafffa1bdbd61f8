//! Tests of what is reported of an ended session: its reason, the system's error, and its traffic.

use super::*;
use crate::ended::{Failure, OsError};

#[test]
fn what_went_through_a_session_and_how_long_it_was_connected_is_told_at_its_end() {
    let mut hand = Hand::new(Framing::Raw, Limits::default());
    hand.bytes(b"hello");
    hand.sends(2);
    hand.sends(3);
    hand.now = hand.now + Duration::from_secs(40);
    hand.bytes(b"more");
    hand.recv_ends(Ended::Closed);
    hand.sends(4);
    assert_eq!(hand.closes(), DisconnectReason::PeerClosed);
    let Traffic { transport, recv_bytes, sent_bytes, age, os_error } = hand.notes.traffic;
    assert_eq!((transport, recv_bytes, sent_bytes, os_error), ("tcp", 9, 9, None));
    let (least, most) = (Duration::from_millis(39_990), Duration::from_millis(40_010));
    assert!((least..most).contains(&age), "{age:?}");
}

#[test]
fn the_error_of_a_failed_receive_or_send_is_told_with_its_number() {
    for kind in
        [Failure::Other, Failure::TimedOut, Failure::Unreachable, Failure::MemoryExhausted, Failure::PeerGone]
    {
        let error = OsError::new(kind, 113);
        let mut receives = Hand::new(Framing::Raw, Limits::default());
        receives.recv_ends(Ended::Failed(error));
        assert_eq!(receives.closes(), DisconnectReason::from_system(error));
        assert_eq!(receives.notes.traffic.os_error, Some(error));

        let mut sends = Hand::new(Framing::Raw, Limits::default());
        sends.bytes(b"hello");
        let batch = sends.send.take().expect("the echo");
        sends.done(Done::Send(batch, Err(Ended::Failed(error))), false);
        sends.shuts_down();
        sends.recv_ends(Ended::Aborted);
        assert_eq!(sends.closes(), DisconnectReason::from_system(error));
        assert_eq!(sends.notes.traffic.os_error, Some(error));
    }
}

#[test]
fn a_failure_while_a_session_drains_leaves_its_reason_and_tells_its_number() {
    let mut hand = Hand::new(Framing::Raw, Limits::default());
    hand.bytes(b"hello");
    let banned = DisconnectReason::custom(4001, "banned");
    hand.with(|session, cx, notes| session.end(banned.clone(), CloseMode::Graceful, cx, notes));
    let error = OsError::new(Failure::TimedOut, 110);
    hand.recv_ends(Ended::Failed(error));
    let batch = hand.send.take().expect("the echo");
    hand.shuts_down();
    hand.done(Done::Send(batch, Err(Ended::Aborted)), false);
    assert_eq!(hand.closes(), banned);
    assert_eq!(hand.notes.traffic.os_error, Some(error));
}

#[test]
fn the_first_wish_stays_and_a_sudden_one_overtakes_it_also_while_it_drains() {
    let (first, second) = (DisconnectReason::custom(1, "first"), DisconnectReason::custom(2, "second"));
    for (endings, wanted) in [
        ([CloseMode::Graceful, CloseMode::Graceful], &first),
        ([CloseMode::Abort, CloseMode::Graceful], &first),
        ([CloseMode::Abort, CloseMode::Abort], &first),
        ([CloseMode::Graceful, CloseMode::Abort], &second),
    ] {
        // Both in one callback.
        let mut hand = Hand::new(Framing::Raw, Limits::default());
        hand.bytes(b"hello");
        hand.with(|session, cx, notes| {
            session.with_output(cx, notes, |_, mut output| {
                output.end(first.clone(), endings[0]);
                output.end(second.clone(), endings[1]);
            });
        });
        let is_sudden = endings.contains(&CloseMode::Abort);
        assert_eq!(hand.shutdown.is_some(), is_sudden, "{endings:?}");
        finish(&mut hand);
        assert_eq!(hand.closes(), *wanted, "{endings:?}");
    }
    // One after the other: the first reason is kept, and nothing more is sent.
    let mut hand = Hand::new(Framing::Raw, Limits::default());
    hand.bytes(b"hello");
    hand.with(|session, cx, notes| session.end(first.clone(), CloseMode::Graceful, cx, notes));
    assert!(hand.shutdown.is_none(), "it drains");
    hand.with(|session, cx, notes| session.end(second.clone(), CloseMode::Abort, cx, notes));
    assert!(hand.shutdown.is_some(), "and is cut short");
    finish(&mut hand);
    assert_eq!(hand.closes(), first);
}

/// Everything comes back, whatever way the session ends.
fn finish(hand: &mut Hand) {
    if hand.shutdown.is_none() {
        hand.sends(usize::MAX);
    }
    if hand.shutdown.is_some() {
        hand.shuts_down();
    }
    if let Some(batch) = hand.send.take() {
        hand.done(Done::Send(batch, Err(Ended::Aborted)), false);
    }
    if hand.recv {
        hand.recv_ends(Ended::Closed);
    }
}
