//! Tests of the rates: a burst, then no more than the rate, and no data lost by a pause.

use super::*;
use crate::limits::RateLimitAction;

fn limits(messages: u32, bytes: usize, rate_limit_action: RateLimitAction) -> Limits {
    Limits {
        frame_bytes_max: 1024,
        messages_per_second_max: messages,
        recv_bytes_per_second_max: bytes,
        rate_limit_action,
        ..Limits::default()
    }
}

fn packets(hand: &Hand) -> usize {
    hand.notes.events.iter().filter(|event| event.starts_with("packet")).count()
}

/// Completes a cancelled receive, as the kernel does.
fn come_home(hand: &mut Hand) {
    if hand.cancelled.pop().is_some() {
        hand.recv_ends(Ended::Aborted);
    }
}

#[test]
fn a_flood_is_read_at_its_rate_and_nothing_of_it_is_lost() {
    let mut hand = Hand::new(Framing::Packets, limits(10, 0, RateLimitAction::Pause));
    hand.notes.mute = true;
    let flood: Vec<u8> = (0..55).flat_map(|number| frame_of(number, b"now")).collect();
    hand.bytes(&flood);
    assert_eq!(packets(&hand), 10, "a burst of one second");
    assert_eq!(hand.cancelled, [Verb::Recv], "it is not read on");
    come_home(&mut hand);
    let mut seen = Vec::new();
    for _ in 0..18 {
        hand.late_by(Duration::from_millis(250));
        assert!(!hand.recv || packets(&hand) == 55, "nothing new is read before the rest was shown");
        seen.push(packets(&hand));
    }
    // Ten a second on average, a quarter of a second at a time.
    assert_eq!(seen[..8], [13, 15, 18, 20, 23, 25, 28, 30]);
    assert_eq!(*seen.last().expect("some"), 55);
    assert!(hand.recv, "it is read again");
    for (index, event) in hand.notes.events[1..].iter().enumerate() {
        assert_eq!(*event, format!("packet {index} 3"), "in order, once");
    }
    hand.late_by(Duration::from_secs(5));
    hand.bytes(&flood);
    assert_eq!(packets(&hand), 65, "a silent session has a burst again, and no more than one");
}

#[test]
fn without_time_for_more_one_message_is_shown_a_turn_and_nothing_is_lost() {
    for framing in [Framing::Packets, Framing::Raw] {
        // Raw bytes are delivered in windows of half the high mark.
        let limits = Limits { send_queue_high_bytes: 16, send_queue_low_bytes: 0, ..Limits::default() };
        let mut hand = Hand::new(framing, limits);
        (hand.notes.mute, hand.notes.hurried) = (true, true);
        let said: Vec<u8> = (0..20).flat_map(|number| frame_of(number, b"now!")).collect();
        hand.bytes(&said);
        for turn in 1..=20 {
            let shown =
                if framing == Framing::Packets { packets(&hand) } else { hand.notes.received.len() / 8 };
            assert_eq!(shown, turn, "{framing:?}");
            come_home(&mut hand);
            hand.late_by(Duration::from_millis(1));
        }
        assert!(hand.recv, "it is read again");
        assert!(framing == Framing::Packets || hand.notes.received == said);
        hand.notes.hurried = false;
        hand.bytes(&said);
        let shown = if framing == Framing::Packets { packets(&hand) } else { hand.notes.received.len() / 8 };
        assert_eq!(shown, 40, "with time all of it is shown at once");
    }
}

#[test]
fn bytes_have_a_rate_of_their_own_with_frames_and_without() {
    for framing in [Framing::Packets, Framing::Raw] {
        let mut hand = Hand::new(framing, limits(0, 2048, RateLimitAction::Pause));
        hand.notes.mute = true;
        let piece = frame_of(1, &[7; 508]);
        for _ in 0..4 {
            hand.bytes(&piece);
        }
        assert!(hand.cancelled.is_empty(), "{framing:?}: a burst is no flood");
        hand.bytes(&piece);
        assert_eq!(hand.cancelled, [Verb::Recv], "{framing:?}");
        let shown = |hand: &Hand| packets(hand) * 512 + hand.notes.received.len();
        assert_eq!(shown(&hand), 2048, "{framing:?}");
        come_home(&mut hand);
        hand.late_by(Duration::from_millis(249));
        assert!(!hand.recv && shown(&hand) == 2048, "{framing:?}");
        hand.late_by(Duration::from_millis(1));
        assert!(hand.recv && shown(&hand) == 2560, "{framing:?}");
    }
}

#[test]
fn whoever_keeps_to_the_rate_is_never_held_back() {
    for rate_limit_action in [RateLimitAction::Pause, RateLimitAction::EndSession] {
        let mut hand = Hand::new(Framing::Packets, limits(10, 2048, rate_limit_action));
        hand.notes.mute = true;
        for number in 0..100 {
            hand.bytes(&frame_of(number, &[0; 100]));
            hand.late_by(Duration::from_millis(100));
        }
        assert!(hand.cancelled.is_empty() && hand.session.is_open(), "{rate_limit_action:?}");
        assert_eq!(packets(&hand), 100);
    }
}

#[test]
fn a_flood_ends_with_its_reason_where_the_limits_say_so() {
    let mut hand = Hand::new(Framing::Packets, limits(10, 0, RateLimitAction::EndSession));
    hand.notes.mute = true;
    (0..10).for_each(|number| hand.bytes(&frame_of(number, b"")));
    assert!(hand.session.is_open());
    hand.bytes(&frame_of(10, b""));
    hand.shuts_down();
    hand.recv_ends(Ended::Aborted);
    assert_eq!((hand.closes(), packets(&hand)), (DisconnectReason::RateExceeded, 10));
}

#[test]
fn nobody_is_late_or_gone_while_it_is_not_read() {
    let limits = Limits { idle_within: Duration::from_millis(100), ..limits(10, 0, RateLimitAction::Pause) };
    let mut hand = Hand::new(Framing::Packets, limits);
    hand.notes.mute = true;
    hand.bytes(&(0..14).flat_map(|number| frame_of(number, b"")).collect::<Vec<_>>());
    hand.cancelled.clear();
    // The peer's end was on its way when the receive was cancelled.
    hand.recv_ends(Ended::Closed);
    hand.late_by(Duration::from_millis(200));
    assert!(hand.session.is_open() && hand.shutdown.is_none(), "not idle: we did not listen");
    hand.late_by(Duration::from_millis(50));
    assert_eq!(packets(&hand), 13);
    hand.late_by(Duration::from_millis(250));
    assert_eq!(packets(&hand), 14, "all of it is shown before its end counts");
    assert_eq!(hand.closes(), DisconnectReason::PeerClosed);
}

#[test]
fn whoever_was_connected_to_on_purpose_has_no_rate() {
    let mut hand = Hand::new(Framing::Packets, limits(10, 0, RateLimitAction::EndSession));
    hand.notes.mute = true;
    hand.session.trust();
    (0..100).for_each(|number| hand.bytes(&frame_of(number, b"")));
    assert_eq!(packets(&hand), 100);
}

#[test]
fn joins_have_a_rate_of_their_own_and_a_flood_of_them_ends_the_session() {
    let limits = Limits { room_joins_per_second_max: 10, ..limits(0, 0, RateLimitAction::Pause) };
    let mut hand = Hand::new(Framing::Packets, limits.clone());
    let spent: Vec<_> = (0..10).map(|_| with_output(&mut hand, |output| output.spend_join())).collect();
    assert_eq!((&spent[..9], spent[9]), (&[Spent::Within; 9][..], Spent::Paused));
    assert!(with_output(&mut hand, |output| output.is_held_back()), "a handler can see it");
    assert_eq!(hand.cancelled, [Verb::Recv], "it is not read on");
    come_home(&mut hand);
    hand.late_by(Duration::from_millis(250));
    assert!(hand.recv && !with_output(&mut hand, |output| output.is_held_back()), "it is read again");
    let more = std::iter::from_fn(|| {
        Some(with_output(&mut hand, |output| output.spend_join())).filter(|spent| *spent != Spent::Ended)
    });
    assert!((30..=40).contains(&more.count()), "one callback can go on for so long");
    assert!(!hand.session.is_open());
    hand.recv_ends(Ended::Aborted);
    hand.shuts_down();
    assert_eq!(hand.closes(), DisconnectReason::RateExceeded);

    let mut hand =
        Hand::new(Framing::Packets, Limits { rate_limit_action: RateLimitAction::EndSession, ..limits });
    let spent: Vec<_> = (0..10).map(|_| with_output(&mut hand, |output| output.spend_join())).collect();
    assert_eq!(spent[9], Spent::Ended);

    // A session that exceeds its rate again after every pause is tolerated for ten seconds.
    let mut hand = Hand::new(Framing::Packets, limits.clone());
    let mut pauses = 0;
    'flood: loop {
        loop {
            match with_output(&mut hand, |output| output.spend_join()) {
                Spent::Within => {}
                Spent::Paused => break,
                Spent::Ended => break 'flood,
            }
        }
        come_home(&mut hand);
        hand.late_by(Duration::from_millis(250));
        pauses += 1;
    }
    assert!((40..=42).contains(&pauses), "{pauses} pauses of a quarter of a second");

    for (limits, trusts) in
        [(Limits { room_joins_per_second_max: 0, ..limits.clone() }, false), (limits, true)]
    {
        let mut hand = Hand::new(Framing::Packets, limits);
        if trusts {
            hand.with(|session, _, _| session.trust());
        }
        let all_within =
            (0..10_000).all(|_| with_output(&mut hand, |output| output.spend_join()) == Spent::Within);
        assert!(all_within, "without a limit, and where it was connected to on purpose");
    }
}

#[test]
fn a_callback_may_owe_four_seconds_of_joins_and_not_one_join_more() {
    let limits = Limits { room_joins_per_second_max: 10, ..limits(0, 0, RateLimitAction::Pause) };
    let mut hand = Hand::new(Framing::Packets, limits);
    let spent = with_output(&mut hand, |output| (0..41).map(|_| output.spend_join()).collect::<Vec<_>>());
    assert_eq!((&spent[..9], spent[39], spent[40]), (&[Spent::Within; 9][..], Spent::Paused, Spent::Ended));
}

#[test]
fn a_session_may_be_over_its_rate_of_joins_for_ten_seconds_and_anew_after_half_a_second_of_fewer() {
    let limits = Limits { room_joins_per_second_max: 10, ..limits(0, 0, RateLimitAction::Pause) };
    let joins = |hand: &mut Hand, count: usize| {
        with_output(hand, |output| (0..count).map(|_| output.spend_join()).last().expect("some"))
    };
    for (pause, forgives) in [(500, false), (501, true)] {
        let mut hand = Hand::new(Framing::Packets, limits.clone());
        assert_eq!(joins(&mut hand, 10), Spent::Paused);
        // About half of a burst is left to pay; with a little less it counts as having kept to its rate.
        hand.now = hand.now + Duration::from_millis(pause);
        assert_eq!(joins(&mut hand, 6), Spent::Paused);
        for tenth in 1..=95 {
            hand.now = hand.now + Duration::from_millis(100);
            assert_eq!(joins(&mut hand, 1), Spent::Paused, "{pause} ms, and {tenth} tenths");
        }
        hand.now = hand.now + Duration::from_millis(100);
        let spent = joins(&mut hand, 1);
        assert_eq!(spent, if forgives { Spent::Paused } else { Spent::Ended }, "{pause} ms");
    }
}

#[test]
fn a_session_is_not_read_while_rooms_have_too_much_of_what_it_brought() {
    let limits = Limits { room_backlog_bytes_max: 1000, ..limits(0, 0, RateLimitAction::Pause) };
    let mut hand = Hand::new(Framing::Packets, limits);
    assert!(!with_output(&mut hand, |output| output.bring(600, false)));
    assert!(hand.cancelled.is_empty() && hand.session.held_bytes() == 600);
    assert!(with_output(&mut hand, |output| output.bring(600, false)), "it waits from now on");
    assert!(!with_output(&mut hand, |output| output.bring(1, false)), "which is told once");
    come_home(&mut hand);
    hand.with(|session, cx, notes| session.taken(701, cx, notes));
    assert!(!hand.recv, "half of it is still there");
    hand.with(|session, cx, notes| session.taken(1, cx, notes));
    assert!(hand.recv && hand.session.held_bytes() == 499, "less than half: it is read again");
    assert!(with_output(&mut hand, |output| output.bring(1, true)), "a crowded room is waited for at once");
    come_home(&mut hand);
    hand.with(|session, cx, notes| session.taken(500, cx, notes));
    assert!(hand.recv && hand.session.held_bytes() == 0);
}
