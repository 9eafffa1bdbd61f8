//! Tests of what a callback can do to its own session, and of the statuses it gets.

use bytes::Bytes;

use super::*;
use crate::callbacks::Slow;
use crate::droppable_queue::{LagPolicy, PacketClass};
use crate::limits::{Overflow, RateLimitAction};

/// A way to send `abc`.
type Way = fn(&mut SessionOutput<'_>) -> SendStatus;

static ABC: Bytes = Bytes::from_static(b"abc");
const LATEST: PacketClass = PacketClass { number: 3, lag_policy: LagPolicy::Latest };
const WAYS: [(&str, Way); 5] = [
    ("send", |output| output.send(&ABC)),
    ("send_packet", |output| output.send_packet(7, b"abc")),
    ("send_shared", |output| output.send_shared(&ABC)),
    ("send_counted", |output| output.send_counted(&ABC)),
    ("send_data", |output| output.send_droppable(LATEST, 0, &ABC)),
];

#[test]
fn what_is_sent_in_any_way_leaves_and_after_the_wish_for_an_end_nothing_is_taken() {
    for (name, way) in WAYS {
        let wanted = if name == "send_packet" { frame_of(7, b"abc") } else { b"abc".to_vec() };
        let mut hand = Hand::new(Framing::Raw, Limits::default());
        let (in_time, late, pending_bytes) = with_output(&mut hand, |output| {
            let in_time = way(output);
            output.end(DisconnectReason::Handler, CloseMode::Graceful);
            (in_time, way(output), output.pending_bytes())
        });
        assert_eq!(
            (in_time, late, pending_bytes),
            (SendStatus::Queued, SendStatus::Closed, wanted.len()),
            "{name}"
        );
        assert_eq!(with_output(&mut hand, way), SendStatus::Closed, "{name}: it drains");
        hand.sends(usize::MAX);
        assert_eq!(hand.sent, wanted, "{name}");
    }
}

#[test]
fn what_is_queued_is_told_with_its_age() {
    for (name, way) in WAYS {
        let mut hand = Hand::new(Framing::Raw, Limits::default());
        hand.late_by(Duration::from_secs(7));
        let pending = with_output(&mut hand, |output| output.pending());
        assert_eq!((pending.bytes, pending.entries, pending.age), (0, 0, Duration::ZERO), "{name}");
        with_output(&mut hand, way);
        hand.late_by(Duration::from_secs(2));
        with_output(&mut hand, way);
        hand.late_by(Duration::from_secs(3));
        let pending = with_output(&mut hand, |output| output.pending());
        assert!((6..=14).contains(&pending.bytes) && pending.entries == 2, "{name}: {pending:?}");
        assert_eq!(pending.age, Duration::from_secs(5), "{name}: since it was empty last");
    }
}

#[test]
fn what_finds_no_room_ends_the_session_or_is_dropped_and_counted() {
    let limits = Limits {
        send_queue_bytes_max: 2,
        send_queue_high_bytes: 2,
        send_queue_low_bytes: 1,
        overflow: Overflow::DropNew,
        ..Limits::default()
    };
    for (name, way) in WAYS {
        let mut lenient = Hand::new(Framing::Raw, limits.clone());
        let sent = with_output(&mut lenient, |output| [way(output), way(output)]);
        assert_eq!(sent, [SendStatus::Dropped; 2], "{name}");
        assert_eq!((lenient.session.take_dropped(), lenient.session.take_dropped()), (2, 0), "{name}");
        assert!(lenient.session.is_open() && lenient.session.slow().is_none(), "{name}");

        let strict = Limits { overflow: Overflow::EndSession, ..limits.clone() };
        let mut strict = Hand::new(Framing::Raw, strict);
        if name == "send_data" {
            continue;
        }
        assert_eq!(with_output(&mut strict, way), SendStatus::Overflowed, "{name}");
        let slow = strict.session.slow().copied();
        assert!(slow.is_some_and(|slow| slow.class.is_none() && slow.pending.bytes == 0), "{name}: {slow:?}");
        strict.shuts_down();
        strict.recv_ends(Ended::Aborted);
        assert_eq!(strict.closes(), DisconnectReason::SendQueueFull, "{name}");
    }
    let mut hand = Hand::new(Framing::Raw, Limits { overflow: Overflow::DropNew, ..Limits::default() });
    let sent = with_output(&mut hand, |output| output.send_packet(1, &[0; 65_532]));
    assert_eq!((sent, hand.session.take_dropped()), (SendStatus::Dropped, 1), "no frame can be so long");
}

#[test]
fn data_that_was_dropped_for_newer_data_is_counted_and_a_class_can_end_the_session() {
    let limits =
        Limits { send_queue_low_bytes: 3, data_bytes_max: 6, data_entries_max: 2, ..Limits::default() };
    let mut hand = Hand::new(Framing::Raw, limits);
    let class = |number, lag_policy| PacketClass { number, lag_policy };
    let sent = with_output(&mut hand, |output| {
        let mut say =
            |class, bytes: &'static [u8]| output.send_droppable(class, 0, &Bytes::from_static(bytes));
        let old = class(1, LagPolicy::DropOld);
        // The first one fits under the low mark; the others wait beside the queue.
        [
            say(old, b"now"),
            say(old, b"one"),
            say(old, b"two"),
            say(old, b"longer"),
            say(class(2, LagPolicy::DropNew), b"new"),
        ]
    });
    assert_eq!(
        sent,
        [SendStatus::Queued, SendStatus::Queued, SendStatus::Queued, SendStatus::Queued, SendStatus::Dropped]
    );
    assert_eq!(hand.session.take_dropped(), 3, "two for the longer one, and the new one");
    let strict = class(9, LagPolicy::End);
    assert_eq!(
        with_output(&mut hand, |output| output.send_droppable(strict, 0, &ABC)),
        SendStatus::Overflowed
    );
    let Some(Slow { pending, class }) = hand.session.slow().copied() else { panic!("it was slow") };
    assert_eq!((pending.bytes, pending.data_bytes, pending.data_entries, class), (3, 6, 1, Some(9)));
}

#[test]
fn a_session_is_held_back_by_its_queue_by_a_rest_by_rooms_and_by_its_end() {
    let held_back = |run: fn(&mut SessionOutput<'_>)| {
        let limits = Limits { send_queue_high_bytes: 100, send_queue_low_bytes: 10, ..Limits::default() };
        let mut hand = Hand::new(Framing::Raw, limits);
        with_output(&mut hand, |output| {
            assert!(!output.is_held_back() && !output.is_congested() && !output.waits_for_rooms());
            run(output);
            (output.is_held_back(), output.is_congested(), output.waits_for_rooms())
        })
    };
    assert_eq!(
        held_back(|output| assert_eq!(output.send(&[0; 100]), SendStatus::Queued)),
        (false, false, false)
    );
    assert_eq!(
        held_back(|output| assert_eq!(output.send(&[0; 101]), SendStatus::Queued)),
        (true, true, false)
    );
    assert_eq!(held_back(|output| output.rest()), (true, false, false));
    assert_eq!(held_back(|output| assert!(output.bring(1, true))), (true, false, true));
    assert_eq!(
        held_back(|output| output.end(DisconnectReason::Handler, CloseMode::Graceful)),
        (true, false, false)
    );
}

#[test]
fn a_rest_ends_with_the_turn() {
    let mut hand = Hand::new(Framing::Raw, Limits::default());
    with_output(&mut hand, |output| output.rest());
    assert_eq!(hand.cancelled, [Verb::Recv], "nothing more is shown in this turn");
    assert_eq!(hand.session.deadline(&hand.limits), Some(hand.now));
    hand.recv_ends(Ended::Aborted);
    hand.late_by(Duration::ZERO);
    assert!(hand.recv && !with_output(&mut hand, |output| output.is_held_back()));
}

/// Counts the received packets and does nothing else.
#[derive(Default)]
struct Plain {
    packets: usize,
    ends: Vec<DisconnectReason>,
}

impl SessionCallbacks for Plain {
    fn on_connected(&mut self, _: SessionOutput<'_>) {}

    fn on_recv(&mut self, _: SessionOutput<'_>, data: &[u8]) -> usize {
        data.len()
    }

    fn on_packet(&mut self, _: SessionOutput<'_>, _: Packet<'_>) {
        self.packets += 1;
    }

    fn on_sent(&mut self, _: SessionOutput<'_>, _: usize) {}

    fn on_disconnected(&mut self, reason: DisconnectReason, _: &Traffic) {
        self.ends.push(reason);
    }
}

#[test]
fn a_content_without_wishes_is_shown_all_at_once_and_nothing_is_waited_for_after_the_peers_end() {
    let (mut session, mut plain) =
        (Session::new(Handle::new(0, 0), Framing::Packets, Tick::ZERO), Plain::default());
    let (limits, mut buffer_pool) =
        (Limits { rate_limit_action: RateLimitAction::Pause, ..Limits::default() }, BufferPool::default());
    let mut cx = Context { now: Tick::ZERO, limits: &limits, buffer_pool: &mut buffer_pool };
    session.connected(&mut cx, &mut plain);
    assert!(matches!(session.register(Tick::ZERO, cx.buffer_pool), Some(Request::Submit(Verb::Recv, _))));
    let mut pool = LeasePool::new(1, 64);
    let mut buffer = pool.take().expect("it is home");
    let frames = [frame_of(1, b"one"), frame_of(2, b"two")].concat();
    buffer.bytes[..frames.len()].copy_from_slice(&frames);
    let lease = pool.lend(buffer, NonZeroU32::new(frames.len() as u32).expect("some bytes"));
    session.process(Done::Recv(Ok(lease)), true, &mut cx, &mut plain);
    assert_eq!(plain.packets, 2);
    session.process(Done::Recv(Err(Ended::Closed)), false, &mut cx, &mut plain);
    assert_eq!(plain.ends, [DisconnectReason::PeerClosed]);
}
