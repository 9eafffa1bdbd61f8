//! Tests of deadlines: a peer that reads nothing, and one that we keep waiting.

use bytes::Bytes;

use super::*;

#[test]
fn heartbeats_do_not_hide_that_nothing_gets_out() {
    let heartbeat = Heartbeat { packet_id: 9, every: Duration::from_secs(2) };
    let limits = Limits { heartbeat: Some(heartbeat), ..Limits::default() };
    let mut hand = Hand::new(Framing::Packets, limits.clone());
    hand.bytes(&frame_of(1, b"never read by its sender again"));
    let queued = hand.session.pending_bytes();
    for _ in 0..limits.send_stall_within.as_secs() {
        hand.bytes(&frame_of(9, b""));
        hand.late_by(Duration::from_secs(1));
    }
    assert_eq!(hand.session.pending_bytes(), queued, "a heartbeat behind a stalled batch does not arrive");
    hand.shuts_down();
    hand.recv_ends(Ended::Aborted);
    let batch = hand.send.take().expect("the stalled send");
    hand.done(Done::Send(batch, Err(Ended::Aborted)), false);
    assert_eq!(hand.closes(), DisconnectReason::SendStalled);
}

#[test]
fn a_player_on_the_login_screen_has_ten_seconds_for_the_first_frame() {
    for start in [&[][..], &frame_of(2, b"cut")[..5]] {
        let mut hand = Hand::new(Framing::Packets, Limits::default());
        if !start.is_empty() {
            hand.bytes(start);
        }
        hand.late_by(Duration::from_millis(9_999));
        assert!(hand.session.is_open());
        hand.late_by(Duration::from_millis(1));
        hand.shuts_down();
        hand.recv_ends(Ended::Aborted);
        assert_eq!(hand.closes(), DisconnectReason::FirstFrameLate);
    }
}

#[test]
fn the_time_in_which_we_do_not_listen_is_not_held_against_the_peer() {
    let limits = Limits::default();
    for greeted in [false, true] {
        let mut hand = Hand::new(Framing::Packets, limits.clone());
        if greeted {
            hand.notes.mute = true;
            hand.bytes(&frame_of(1, b""));
        }
        hand.bytes(&frame_of(2, b"cut")[..5]);
        // A long queue from elsewhere takes time to send, and until then nothing is received.
        let much = Bytes::from(vec![7; limits.send_queue_high_bytes + 1]);
        hand.with(|session, cx, notes| {
            session.with_output(cx, notes, |_, mut output| output.send_shared(&much));
        });
        hand.recv_ends(Ended::Aborted);
        for _ in 0..20 {
            hand.late_by(Duration::from_secs(1));
            hand.sends(1);
        }
        assert!(hand.session.is_open(), "greeted: {greeted}");
        hand.sends(much.len());
        hand.late_by(Duration::from_secs(1));
        assert!(hand.session.is_open() && hand.recv, "it has time again");
        hand.late_by(limits.frame_within);
        hand.shuts_down();
        hand.recv_ends(Ended::Aborted);
        assert_eq!(
            hand.closes(),
            if greeted { DisconnectReason::FrameLate } else { DisconnectReason::FirstFrameLate }
        );
    }
}

#[test]
fn an_echo_never_overfills_the_queue_even_where_the_high_mark_is_the_cap() {
    for cap in [1, 2, 7, 100] {
        let limits = Limits {
            send_queue_bytes_max: cap,
            send_queue_high_bytes: cap,
            send_queue_low_bytes: cap - 1,
            ..Limits::default()
        };
        let mut hand = Hand::new(Framing::Raw, limits);
        let data: Vec<u8> = (0..250).collect();
        hand.bytes(&data);
        for taken in (1..4).cycle() {
            if hand.sent.len() == data.len() {
                break;
            }
            hand.sends(taken);
        }
        assert_eq!(hand.sent, data, "a cap of {cap}");
    }
}

/// How a session is kept from listening to its peer.
#[derive(Clone, Copy, Debug)]
enum Pause {
    /// Its queue is over the high mark.
    Queue,
    /// Rooms have to take what it brought.
    Rooms,
}

impl Pause {
    fn begin(self, hand: &mut Hand) {
        match self {
            Pause::Queue => {
                let much = Bytes::from(vec![7; hand.limits.send_queue_high_bytes + 1]);
                with_output(hand, |output| output.send_shared(&much));
            }
            Pause::Rooms => assert!(with_output(hand, |output| output.bring(1, true))),
        }
        if hand.cancelled.pop().is_some() {
            hand.recv_ends(Ended::Aborted);
        }
    }

    fn end(self, hand: &mut Hand) {
        match self {
            Pause::Queue => hand.sends(usize::MAX),
            Pause::Rooms => hand.with(|session, cx, notes| session.taken(1, cx, notes)),
        }
    }
}

/// A session whose peer has sent `said`, after a whole frame if it is `greeted`.
fn silent_after(framing: Framing, greeted: bool, said: &[u8]) -> Hand {
    let mut hand = Hand::new(framing, Limits::default());
    hand.notes.mute = true;
    if greeted {
        hand.bytes(&frame_of(1, b""));
    }
    if !said.is_empty() {
        hand.bytes(said);
    }
    hand
}

#[test]
fn a_silent_peer_is_granted_our_pauses_and_nothing_more_however_many_there_are() {
    let limits = Limits::default();
    let cut = &frame_of(2, b"cut")[..5];
    let cases = [
        (Framing::Packets, false, &b""[..], limits.first_frame_within, DisconnectReason::FirstFrameLate),
        (Framing::Packets, false, cut, limits.first_frame_within, DisconnectReason::FirstFrameLate),
        (Framing::Packets, true, cut, limits.frame_within, DisconnectReason::FrameLate),
        (Framing::Packets, true, b"", limits.idle_within, DisconnectReason::Idle),
        (Framing::Raw, false, b"hello", limits.idle_within, DisconnectReason::Idle),
    ];
    for (framing, greeted, said, within, reason) in cases {
        for pause in [Pause::Queue, Pause::Rooms] {
            let mut hand = silent_after(framing, greeted, said);
            let case = format!("{reason} of {said:?}, {pause:?}");
            let mut heard = Duration::ZERO;
            while heard < within {
                assert!(hand.session.is_open(), "{case}: it has listened for {heard:?} only");
                pause.begin(&mut hand);
                hand.late_by(Duration::from_secs(3));
                pause.end(&mut hand);
                assert_eq!(hand.session.deadline(&limits), Some(hand.now + (within - heard)), "{case}");
                hand.late_by(Duration::from_secs(1));
                heard += Duration::from_secs(1);
            }
            hand.shuts_down();
            hand.recv_ends(Ended::Aborted);
            assert_eq!(hand.closes(), reason, "{case}");
        }
    }
}

#[test]
fn what_comes_in_a_pause_counts_from_its_end() {
    let limits = Limits::default();
    let mut hand = silent_after(Framing::Packets, true, b"");
    let much = Bytes::from(vec![7; limits.send_queue_high_bytes + 1]);
    hand.late_by(Duration::from_secs(2));
    with_output(&mut hand, |output| output.send_shared(&much));
    hand.late_by(Duration::from_secs(1));
    // Received before the receive was cancelled: a whole frame, and the beginning of another.
    hand.bytes(&[&frame_of(2, b"whole")[..], &frame_of(3, b"cut")[..5]].concat());
    hand.recv_ends(Ended::Aborted);
    hand.late_by(Duration::from_secs(3));
    hand.sends(usize::MAX);
    assert_eq!(hand.session.deadline(&limits), Some(hand.now + limits.frame_within));
    assert_eq!(hand.notes.events.last().map(String::as_str), Some("packet 2 5"));
}

#[test]
fn a_frame_that_was_cut_before_a_pause_is_as_late_when_more_of_it_came_meanwhile() {
    let limits = Limits::default();
    let frame = frame_of(2, b"cut again and again");
    let mut hand = silent_after(Framing::Packets, true, &frame[..5]);
    let much = Bytes::from(vec![7; limits.send_queue_high_bytes + 1]);
    for heard in 1..=4 {
        hand.late_by(Duration::from_secs(1));
        with_output(&mut hand, |output| output.send_shared(&much));
        hand.bytes(&frame[4 + heard..5 + heard]);
        hand.recv_ends(Ended::Aborted);
        hand.late_by(Duration::from_secs(2));
        hand.sends(usize::MAX);
        let left = limits.frame_within - Duration::from_secs(heard as u64);
        assert_eq!(hand.session.deadline(&limits), Some(hand.now + left), "{heard} s of listening");
    }
}

#[test]
fn a_peer_that_has_said_everything_is_waited_for_once_however_often_we_pause() {
    let limits = Limits::default();
    let mut hand = silent_after(Framing::Raw, false, b"hello");
    hand.notes.owed = true;
    hand.recv_ends(Ended::Closed);
    let mut heard = Duration::ZERO;
    while heard < limits.drain_within {
        assert!(hand.session.is_open(), "it has waited for {heard:?} only");
        Pause::Queue.begin(&mut hand);
        hand.late_by(Duration::from_secs(3));
        Pause::Queue.end(&mut hand);
        hand.late_by(Duration::from_secs(1));
        heard += Duration::from_secs(1);
    }
    assert!(!hand.session.is_open());
    assert_eq!(hand.closes(), DisconnectReason::PeerClosed);
}

#[test]
fn a_pause_that_is_over_leaves_no_memory_behind() {
    for pause in [Pause::Queue, Pause::Rooms] {
        let mut hand = silent_after(Framing::Raw, false, b"hello");
        pause.begin(&mut hand);
        hand.late_by(Duration::from_secs(1));
        assert_ne!(format!("{:?}", hand.session.egress.throttle), "Throttle(None)", "{pause:?}");
        pause.end(&mut hand);
        assert_eq!(format!("{:?}", hand.session.egress.throttle), "Throttle(None)", "{pause:?}");
    }
}
