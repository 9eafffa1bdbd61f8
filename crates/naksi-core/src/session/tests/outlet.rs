//! What a callback can do to its own session, and what it is told.

use bytes::Bytes;

use super::*;
use crate::content::Slow;
use crate::data_plane::{Behind, DataClass};
use crate::limits::{OverRate, Overflow};

/// A way to send `abc`.
type Way = fn(&mut Outlet<'_>) -> Sent;

static ABC: Bytes = Bytes::from_static(b"abc");
const LATEST: DataClass = DataClass { number: 3, behind: Behind::Latest };
const WAYS: [(&str, Way); 5] = [
    ("send", |outlet| outlet.send(&ABC)),
    ("send_packet", |outlet| outlet.send_packet(7, b"abc")),
    ("send_shared", |outlet| outlet.send_shared(&ABC)),
    ("send_counted", |outlet| outlet.send_counted(&ABC)),
    ("send_data", |outlet| outlet.send_data(LATEST, 0, &ABC)),
];

#[test]
fn what_is_sent_in_any_way_leaves_and_after_the_wish_for_an_end_nothing_is_taken() {
    for (name, way) in WAYS {
        let wanted = if name == "send_packet" { frame_of(7, b"abc") } else { b"abc".to_vec() };
        let mut hand = Hand::new(Framing::Raw, Limits::default());
        let (in_time, late, pending_bytes) = with_outlet(&mut hand, |outlet| {
            let in_time = way(outlet);
            outlet.end(Reason::Handler, Ending::Flush);
            (in_time, way(outlet), outlet.pending_bytes())
        });
        assert_eq!((in_time, late, pending_bytes), (Sent::Queued, Sent::Closed, wanted.len()), "{name}");
        assert_eq!(with_outlet(&mut hand, way), Sent::Closed, "{name}: it drains");
        hand.sends(usize::MAX);
        assert_eq!(hand.sent, wanted, "{name}");
    }
}

#[test]
fn what_is_queued_is_told_with_its_age() {
    for (name, way) in WAYS {
        let mut hand = Hand::new(Framing::Raw, Limits::default());
        hand.late_by(Duration::from_secs(7));
        let pending = with_outlet(&mut hand, |outlet| outlet.pending());
        assert_eq!((pending.bytes, pending.entries, pending.age), (0, 0, Duration::ZERO), "{name}");
        with_outlet(&mut hand, way);
        hand.late_by(Duration::from_secs(2));
        with_outlet(&mut hand, way);
        hand.late_by(Duration::from_secs(3));
        let pending = with_outlet(&mut hand, |outlet| outlet.pending());
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
        let sent = with_outlet(&mut lenient, |outlet| [way(outlet), way(outlet)]);
        assert_eq!(sent, [Sent::Dropped; 2], "{name}");
        assert_eq!((lenient.session.take_dropped(), lenient.session.take_dropped()), (2, 0), "{name}");
        assert!(lenient.session.is_open() && lenient.session.slow().is_none(), "{name}");

        let strict = Limits { overflow: Overflow::EndSession, ..limits.clone() };
        let mut strict = Hand::new(Framing::Raw, strict);
        if name == "send_data" {
            continue;
        }
        assert_eq!(with_outlet(&mut strict, way), Sent::Overflowed, "{name}");
        let slow = strict.session.slow().copied();
        assert!(slow.is_some_and(|slow| slow.class.is_none() && slow.pending.bytes == 0), "{name}: {slow:?}");
        strict.shuts_down();
        strict.recv_ends(Ended::Aborted);
        assert_eq!(strict.closes(), Reason::SendQueueFull, "{name}");
    }
    let mut hand = Hand::new(Framing::Raw, Limits { overflow: Overflow::DropNew, ..Limits::default() });
    let sent = with_outlet(&mut hand, |outlet| outlet.send_packet(1, &[0; 65_532]));
    assert_eq!((sent, hand.session.take_dropped()), (Sent::Dropped, 1), "no frame can be so long");
}

#[test]
fn data_that_was_dropped_for_newer_data_is_counted_and_a_class_can_end_the_session() {
    let limits =
        Limits { send_queue_low_bytes: 3, data_bytes_max: 6, data_entries_max: 2, ..Limits::default() };
    let mut hand = Hand::new(Framing::Raw, limits);
    let class = |number, behind| DataClass { number, behind };
    let sent = with_outlet(&mut hand, |outlet| {
        let mut say = |class, bytes: &'static [u8]| outlet.send_data(class, 0, &Bytes::from_static(bytes));
        let old = class(1, Behind::DropOld);
        // The first one is under the low mark; the others wait beside the queue.
        [
            say(old, b"now"),
            say(old, b"one"),
            say(old, b"two"),
            say(old, b"longer"),
            say(class(2, Behind::DropNew), b"new"),
        ]
    });
    assert_eq!(sent, [Sent::Queued, Sent::Queued, Sent::Queued, Sent::Queued, Sent::Dropped]);
    assert_eq!(hand.session.take_dropped(), 3, "two for the longer one, and the new one");
    let strict = class(9, Behind::End);
    assert_eq!(with_outlet(&mut hand, |outlet| outlet.send_data(strict, 0, &ABC)), Sent::Overflowed);
    let Some(Slow { pending, class }) = hand.session.slow().copied() else { panic!("it was slow") };
    assert_eq!((pending.bytes, pending.data_bytes, pending.data_entries, class), (3, 6, 1, Some(9)));
}

#[test]
fn a_session_is_held_back_by_its_queue_by_a_rest_by_rooms_and_by_its_end() {
    let held_back = |run: fn(&mut Outlet<'_>)| {
        let limits = Limits { send_queue_high_bytes: 100, send_queue_low_bytes: 10, ..Limits::default() };
        let mut hand = Hand::new(Framing::Raw, limits);
        with_outlet(&mut hand, |outlet| {
            assert!(!outlet.is_held_back() && !outlet.is_congested() && !outlet.waits_for_rooms());
            run(outlet);
            (outlet.is_held_back(), outlet.is_congested(), outlet.waits_for_rooms())
        })
    };
    assert_eq!(held_back(|outlet| assert_eq!(outlet.send(&[0; 100]), Sent::Queued)), (false, false, false));
    assert_eq!(held_back(|outlet| assert_eq!(outlet.send(&[0; 101]), Sent::Queued)), (true, true, false));
    assert_eq!(held_back(|outlet| outlet.rest()), (true, false, false));
    assert_eq!(held_back(|outlet| assert!(outlet.bring(1, true))), (true, false, true));
    assert_eq!(held_back(|outlet| outlet.end(Reason::Handler, Ending::Flush)), (true, false, false));
}

#[test]
fn a_rest_ends_with_the_turn() {
    let mut hand = Hand::new(Framing::Raw, Limits::default());
    with_outlet(&mut hand, |outlet| outlet.rest());
    assert_eq!(hand.cancelled, [Verb::Recv], "nothing more is shown in this turn");
    assert_eq!(hand.session.deadline(&hand.limits), Some(hand.now));
    hand.recv_ends(Ended::Aborted);
    hand.late_by(Duration::ZERO);
    assert!(hand.recv && !with_outlet(&mut hand, |outlet| outlet.is_held_back()));
}

/// Notes how many packets came, and leaves everything else as it is.
#[derive(Default)]
struct Plain {
    packets: usize,
    ends: Vec<Reason>,
}

impl Content for Plain {
    fn on_connected(&mut self, _: Outlet<'_>) {}

    fn on_recv(&mut self, _: Outlet<'_>, data: &[u8]) -> usize {
        data.len()
    }

    fn on_packet(&mut self, _: Outlet<'_>, _: Packet<'_>) {
        self.packets += 1;
    }

    fn on_sent(&mut self, _: Outlet<'_>, _: usize) {}

    fn on_disconnected(&mut self, reason: Reason, _: &Traffic) {
        self.ends.push(reason);
    }
}

#[test]
fn a_content_without_wishes_is_shown_all_at_once_and_nothing_is_waited_for_after_the_peers_end() {
    let (mut session, mut plain) =
        (Session::new(Handle::new(0, 0), Framing::Packets, Tick::ZERO), Plain::default());
    let (limits, mut spares) =
        (Limits { over_rate: OverRate::Pause, ..Limits::default() }, Spares::default());
    let mut cx = Context { now: Tick::ZERO, limits: &limits, spares: &mut spares };
    session.connected(&mut cx, &mut plain);
    assert!(matches!(session.register(Tick::ZERO), Some(Request::Submit(Verb::Recv, _))));
    let mut pool = LeasePool::new(1, 64);
    let mut buffer = pool.take().expect("it is home");
    let frames = [frame_of(1, b"one"), frame_of(2, b"two")].concat();
    buffer.bytes[..frames.len()].copy_from_slice(&frames);
    let lease = pool.lend(buffer, NonZeroU32::new(frames.len() as u32).expect("some bytes"));
    session.process(Done::Recv(Ok(lease)), true, &mut cx, &mut plain);
    assert_eq!(plain.packets, 2);
    session.process(Done::Recv(Err(Ended::Closed)), false, &mut cx, &mut plain);
    assert_eq!(plain.ends, [Reason::PeerClosed]);
}
