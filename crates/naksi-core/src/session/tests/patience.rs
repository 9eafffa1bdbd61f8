//! How long a session waits, and for whom: a peer that takes nothing, and one that is kept waiting by us.

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
    assert_eq!(
        hand.session.pending_bytes(),
        queued,
        "a heartbeat behind a stalled batch tells nobody anything"
    );
    hand.shuts_down();
    hand.recv_ends(Ended::Aborted);
    let batch = hand.send.take().expect("the stalled send");
    hand.done(Done::Send(batch, Err(Ended::Aborted)), false);
    assert_eq!(hand.closes(), Reason::SendStalled);
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
        assert_eq!(hand.closes(), Reason::FirstFrameLate);
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
        // What others queue for it takes long to leave, and until then nothing is received.
        let much = Bytes::from(vec![7; limits.send_queue_high_bytes + 1]);
        hand.with(|session, cx, notes| {
            session.with_outlet(cx, notes, |_, mut outlet| outlet.send_shared(&much));
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
        assert_eq!(hand.closes(), if greeted { Reason::FrameLate } else { Reason::FirstFrameLate });
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
