//! Tests of what a worker asks of a session and does to it from outside.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Expects a deadline after exactly this span, and not a nanosecond earlier.
fn assert_late_in(hand: &Hand, span: Duration) {
    let at = hand.now + span;
    assert_eq!(hand.session.deadline(&hand.limits), Some(at));
    assert!(!hand.session.is_late(Tick::from_nanos(at.nanos() - 1), &hand.limits));
    assert!(hand.session.is_late(at, &hand.limits));
}

/// Everything comes back, and the socket closes.
fn finish(hand: &mut Hand) -> DisconnectReason {
    if hand.shutdown.is_some() {
        hand.shuts_down();
    }
    if let Some(batch) = hand.send.take() {
        hand.done(Done::Send(batch, Err(Ended::Aborted)), false);
    }
    if hand.recv {
        hand.recv_ends(Ended::Aborted);
    }
    hand.closes()
}

#[test]
fn a_verb_is_its_kind_and_no_other_kind_is_one() {
    for verb in [Verb::Recv, Verb::Send, Verb::Shutdown, Verb::Close] {
        assert_eq!(Verb::from_kind(verb as u8), Some(verb));
    }
    assert!([0, 5, u8::MAX].iter().all(|kind| Verb::from_kind(*kind).is_none()));
}

#[test]
fn each_thing_that_a_peer_may_be_late_with_has_its_own_deadline() {
    let limits = Limits::default();
    let mut raw = Hand::new(Framing::Raw, limits.clone());
    assert_late_in(&raw, limits.idle_within);
    raw.now = raw.now + SECOND;
    raw.notes.mute = true;
    raw.bytes(b"x");
    assert_late_in(&raw, limits.idle_within);
    raw.notes.mute = false;
    raw.bytes(b"y");
    raw.now = raw.now + SECOND;
    assert_late_in(&raw, limits.send_stall_within - SECOND);

    let mut packets = Hand::new(Framing::Packets, limits.clone());
    packets.notes.mute = true;
    packets.now = packets.now + SECOND;
    assert_late_in(&packets, limits.first_frame_within - SECOND);
    packets.bytes(&frame_of(1, b""));
    packets.now = packets.now + SECOND;
    assert_late_in(&packets, limits.idle_within - SECOND);
    packets.bytes(&frame_of(1, b"")[..1]);
    packets.now = packets.now + SECOND;
    packets.bytes(&frame_of(1, b"")[1..2]);
    assert_late_in(&packets, limits.frame_within - SECOND);
}

#[test]
fn a_session_that_ends_has_so_long_for_its_queue_and_so_long_for_the_peer() {
    let limits = Limits::default();
    let mut hand = Hand::new(Framing::Raw, limits.clone());
    hand.bytes(b"x");
    hand.now = hand.now + SECOND;
    hand.with(|session, cx, notes| session.end(DisconnectReason::Shutdown, CloseMode::Graceful, cx, notes));
    assert_late_in(&hand, limits.drain_within);
    hand.now = hand.now + SECOND;
    hand.sends(1);
    hand.shuts_down();
    assert_late_in(&hand, limits.linger_within);
    hand.late_by(limits.linger_within);
    assert_eq!(hand.session.deadline(&limits), None, "only the kernel is waited for");
    assert!(!hand.session.is_late(Tick::MAX, &limits));
    assert_eq!(finish(&mut hand), DisconnectReason::Shutdown);
    assert_eq!(hand.session.deadline(&limits), None);
}

#[test]
fn a_heartbeat_is_due_after_silence_of_our_own_and_nobody_is_late_with_it() {
    let heartbeat = Some(Heartbeat { packet_id: 9, every: 2 * SECOND });
    let limits = Limits { heartbeat, ..Limits::default() };
    let mut hand = Hand::new(Framing::Packets, limits.clone());
    hand.now = hand.now + SECOND;
    hand.bytes(&frame_of(1, b""));
    assert_eq!(hand.session.deadline(&limits), Some(hand.now + limits.send_stall_within), "it is sending");
    hand.sends(usize::MAX);
    assert_eq!(hand.session.deadline(&limits), Some(hand.now + 2 * SECOND));
    assert!(!hand.session.is_late(hand.now + 2 * SECOND, &limits));
    hand.late_by(2 * SECOND - Duration::from_nanos(1));
    assert!(hand.send.is_none());
    hand.late_by(Duration::from_nanos(1));
    hand.sends(usize::MAX);
    assert_eq!(hand.sent, [frame_of(1, b""), frame_of(9, b"")].concat());
    // Bytes without frames have none, nor has a session that ends.
    let raw = Hand::new(Framing::Raw, limits.clone());
    assert_late_in(&raw, limits.idle_within);
    hand.with(|session, cx, notes| session.end(DisconnectReason::Shutdown, CloseMode::Graceful, cx, notes));
    assert_late_in(&hand, limits.linger_within);
}

#[test]
fn a_session_that_is_given_up_is_told_at_once_and_closes_when_all_is_back() {
    let mut hand = Hand::new(Framing::Raw, Limits::default());
    hand.bytes(b"x");
    hand.with(|session, cx, notes| session.give_up(DisconnectReason::Shutdown, cx, notes));
    assert_eq!(hand.notes.disconnected, 1);
    assert!(!hand.session.is_live() && hand.send.is_some() && hand.recv && !hand.closing);
    assert_eq!(finish(&mut hand), DisconnectReason::Shutdown);
    hand.with(|session, cx, notes| session.give_up(DisconnectReason::Kicked, cx, notes));
    assert_eq!((hand.notes.disconnected, hand.session.over()), (1, Some(DisconnectReason::Shutdown)));
}

#[test]
fn what_a_shutdown_does_not_bring_back_is_cancelled_once() {
    let mut hand = Hand::new(Framing::Raw, Limits::default());
    hand.bytes(b"x");
    hand.with(|session, cx, notes| session.end(DisconnectReason::Kicked, CloseMode::Abort, cx, notes));
    assert!(hand.cancelled.is_empty() && hand.session.is_live());
    assert_eq!(hand.shuts_down(), ShutdownHow::Both);
    assert_eq!(hand.cancelled, [Verb::Recv, Verb::Send]);
    hand.recv_ends(Ended::Aborted);
    hand.late_by(SECOND);
    assert_eq!((hand.cancelled.len(), hand.shutdown), (2, None));
    assert!(hand.session.is_live() && hand.session.over().is_none(), "the send is still out");
    assert_eq!(finish(&mut hand), DisconnectReason::Kicked);
}

#[test]
fn what_others_hold_back_is_sent_at_an_orderly_end_and_at_the_first_wish_only() {
    for (ending, wanted) in [(CloseMode::Graceful, &b"from the room"[..]), (CloseMode::Abort, b"")] {
        let mut hand = Hand::new(Framing::Raw, Limits::default());
        hand.notes.held_back = b"from the room".to_vec();
        hand.with(|session, cx, notes| session.end(DisconnectReason::Kicked, ending, cx, notes));
        assert!(!hand.session.is_open());
        if ending == CloseMode::Graceful {
            hand.notes.held_back = b"too late".to_vec();
            hand.with(|session, cx, notes| session.end(DisconnectReason::Kicked, ending, cx, notes));
            hand.sends(usize::MAX);
            assert_eq!(hand.notes.held_back, b"too late", "it was not asked again");
        }
        assert_eq!(hand.sent, wanted);
    }
}

#[test]
fn what_a_session_holds_and_since_when_it_has_not_moved() {
    let limits = Limits { send_queue_high_bytes: 10, send_queue_low_bytes: 5, ..Limits::default() };
    let mut hand = Hand::new(Framing::Raw, limits);
    assert_eq!((hand.session.held_bytes(), hand.session.unmoved_since()), (0, None));
    hand.now = hand.now + SECOND;
    hand.bytes(&[1; 40]);
    let (sent_at, of_both) = (hand.now, hand.session.held_bytes());
    assert!((40..4096).contains(&of_both) && hand.session.pending_bytes() < 40, "{of_both} bytes");
    hand.now = hand.now + SECOND;
    hand.bytes(&[2; 5]);
    assert_eq!(hand.session.unmoved_since(), Some(sent_at), "the batch is with the kernel");
    hand.recv_ends(Ended::Aborted);
    while hand.send.is_some() {
        hand.sends(usize::MAX);
    }
    assert_eq!((hand.session.held_bytes(), hand.session.unmoved_since()), (0, None));

    // A cut frame that nothing more comes to.
    let mut hand = Hand::new(Framing::Packets, Limits::default());
    hand.now = hand.now + SECOND;
    hand.bytes(&frame_of(1, b"cut")[..5]);
    let at = hand.now;
    hand.now = hand.now + SECOND;
    assert_eq!(hand.session.unmoved_since(), Some(at));
    assert!((5..512).contains(&hand.session.held_bytes()));
    hand.with(|session, cx, notes| session.end(DisconnectReason::Kicked, CloseMode::Abort, cx, notes));
    assert_eq!((hand.session.held_bytes(), hand.session.unmoved_since()), (0, None));
}

#[test]
fn only_a_session_that_did_not_keep_up_says_what_was_queued() {
    let mut stalled = Hand::new(Framing::Raw, Limits::default());
    stalled.bytes(b"hello");
    assert_eq!(stalled.session.pending_bytes(), 5);
    stalled.late_by(Limits::default().send_stall_within);
    let slow = stalled.session.slow().copied();
    assert!(slow.is_some_and(|slow| slow.pending.bytes == 5 && slow.class.is_none()), "{slow:?}");
    assert_eq!(slow.map(|slow| slow.pending.age), Some(Limits::default().send_stall_within));
    let mut idle = Hand::new(Framing::Raw, Limits::default());
    idle.late_by(Limits::default().idle_within);
    assert!(idle.session.slow().is_none() && !idle.session.is_open());
}

#[test]
fn one_who_was_connected_to_on_purpose_need_not_speak_first_nor_shortly() {
    let limits = Limits::default();
    let mut hand = Hand::new(Framing::Packets, limits.clone());
    hand.notes.mute = true;
    hand.session.trust();
    assert_late_in(&hand, limits.idle_within);
    hand.bytes(&frame_of(1, &[0; 8000]));
    assert_eq!(hand.notes.events.last().map(String::as_str), Some("packet 1 8000"));
}

#[test]
fn a_handler_that_takes_whole_units_is_shown_enough_for_one_however_they_are_cut() {
    let data: Vec<u8> = (0..200_003_u32).map(|number| (number % 251) as u8).collect();
    for unit in [1, 3, 1_000, 40_000, 100_001] {
        for cut in [1_000, 7_777, 60_000] {
            let mut hand = Hand::new(Framing::Raw, Limits::default());
            (hand.notes.mute, hand.notes.unit) = (true, unit);
            for part in data.chunks(cut) {
                hand.bytes(part);
            }
            let whole = data.len() / unit * unit;
            assert_eq!(hand.notes.received.len(), whole, "units of {unit} in parts of {cut}");
            assert_eq!(hand.notes.received, data[..whole]);
            assert!(unit < 40_000 || hand.notes.shown < 1_000, "{} windows", hand.notes.shown);
            assert_eq!(hand.buffer_pool.kept_bytes(), data.len() - whole, "the rest waits for more");
        }
    }
}

#[test]
fn a_backlog_may_be_as_long_as_the_limits_say_and_not_a_byte_longer() {
    let limits = Limits {
        frame_bytes_max: 1_000,
        recv_backlog_bytes_max: 5_000,
        recv_backlog_total_bytes_max: 8_000,
        ..Limits::default()
    };
    let hoards = |others: usize, own: usize| {
        let mut hand = Hand::new(Framing::Raw, limits.clone());
        (hand.notes.mute, hand.notes.unit) = (true, usize::MAX);
        hand.buffer_pool.keep(others);
        hand.bytes(&vec![1; own]);
        hand.session.is_open()
    };
    assert!(hoards(0, 5_000) && !hoards(0, 5_001), "its own");
    assert!(hoards(4_000, 4_000) && !hoards(4_000, 4_001), "of all together");
    assert!(hoards(9_000, 1_000) && !hoards(9_000, 1_001), "a frame is never too much");
}

#[test]
fn a_batch_that_comes_back_to_a_session_that_ends_is_let_go() {
    let mut hand = Hand::new(Framing::Raw, Limits::default());
    hand.bytes(b"hello");
    hand.notes.more = b"more".to_vec();
    hand.with(|session, cx, notes| session.end(DisconnectReason::Kicked, CloseMode::Abort, cx, notes));
    hand.sends(2);
    assert_eq!((hand.session.pending_bytes(), hand.notes.more_sent), (0, None), "nothing is told of it");
    assert_eq!(finish(&mut hand), DisconnectReason::Kicked);
}

#[test]
fn when_something_was_sent_a_session_can_send_more_unless_it_drains() {
    for (drains, sent) in [(false, SendStatus::Queued), (true, SendStatus::Closed)] {
        let mut hand = Hand::new(Framing::Raw, Limits::default());
        hand.bytes(b"hello");
        hand.notes.more = b"more".to_vec();
        if drains {
            hand.with(|session, cx, notes| {
                session.end(DisconnectReason::Shutdown, CloseMode::Graceful, cx, notes)
            });
        }
        hand.sends(5);
        assert_eq!(hand.notes.more_sent, Some(sent), "drains: {drains}");
    }
}

#[test]
fn what_is_sent_to_a_silent_peer_does_not_pass_for_its_own_words() {
    let limits = Limits::default();
    let mut hand = Hand::new(Framing::Raw, limits.clone());
    hand.now = hand.now + 30 * SECOND;
    hand.with(|session, cx, notes| {
        session.with_output(cx, notes, |_, mut output| assert_eq!(output.send(b"news"), SendStatus::Queued));
    });
    hand.sends(4);
    assert_late_in(&hand, limits.idle_within - 30 * SECOND);
}
