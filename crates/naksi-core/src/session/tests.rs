//! Tests of the session machine against a kernel driven by hand, and against one that completes in any order.

use std::num::NonZeroU32;
use std::time::Duration;

use super::*;
use crate::frame::{self, Packet};
use crate::lease::LeasePool;
use crate::limits::Heartbeat;
use crate::send_queue::SendStatus;

mod asked;
mod engine;
mod lent;
mod output;
mod patience;
mod rates;
mod ticks;
mod traffic;
mod wired;

/// Echoes, and records its callbacks.
#[derive(Default)]
struct Notes {
    events: Vec<String>,
    received: Vec<u8>,
    /// What to do at the next packet or bytes.
    end: Option<CloseMode>,
    disconnected: u32,
    mute: bool,
    /// Consumes bytes in units of this size; all of them if it is 0.
    unit: usize,
    /// How often it was shown bytes.
    shown: usize,
    /// What it sends when the kernel has taken data, and the statuses it got.
    more: Vec<u8>,
    more_sent: Option<SendStatus>,
    /// Data that is held back for this session until the end of the turn.
    held_back: Vec<u8>,
    /// Something is on its way to this session.
    owed: bool,
    /// There is time for only one message a turn.
    hurried: bool,
    /// What went through it, when it was over.
    traffic: Traffic,
    /// The version of its packet table.
    packets: u64,
}

impl SessionCallbacks for Notes {
    fn on_connected(&mut self, _: SessionOutput<'_>) {
        self.events.push("connected".into());
    }

    fn on_hello(&mut self, packets: u64) -> Result<u64, u64> {
        if packets == self.packets { Ok(packets) } else { Err(self.packets) }
    }

    fn on_recv(&mut self, mut output: SessionOutput<'_>, data: &[u8]) -> usize {
        assert_eq!(self.disconnected, 0, "nothing after on_disconnected");
        assert!(!data.is_empty(), "it is shown bytes, never none");
        self.shown += 1;
        let data = &data[..data.len() - data.len().checked_rem(self.unit).unwrap_or(0)];
        self.received.extend_from_slice(data);
        if !self.mute {
            output.send(data);
        }
        if let Some(ending) = self.end {
            output.end(DisconnectReason::Handler, ending);
        }
        data.len()
    }

    fn on_packet(&mut self, mut output: SessionOutput<'_>, packet: Packet<'_>) {
        assert_eq!(self.disconnected, 0, "nothing after on_disconnected");
        self.events.push(format!("packet {} {}", packet.id, packet.body.len()));
        if !self.mute {
            output.send(packet.frame);
        }
    }

    fn on_message(&mut self, mut output: SessionOutput<'_>, message: crate::wire::Message<'_>) {
        self.events.push(format!("message {}", String::from_utf8_lossy(message.as_bytes())));
        if !self.mute {
            output.send(message.as_bytes());
        }
    }

    fn on_sent(&mut self, mut output: SessionOutput<'_>, _: usize) {
        assert_eq!(self.disconnected, 0, "nothing after on_disconnected");
        if !self.more.is_empty() {
            self.more_sent = Some(output.send(&std::mem::take(&mut self.more)));
        }
    }

    fn is_owed(&mut self) -> bool {
        self.owed
    }

    fn may_be_shown_more(&mut self) -> bool {
        !self.hurried
    }

    fn may_open(&mut self) -> bool {
        !self.hurried
    }

    fn on_draining(&mut self, mut output: SessionOutput<'_>) {
        output.send(&std::mem::take(&mut self.held_back));
    }

    fn on_disconnected(&mut self, reason: DisconnectReason, traffic: &Traffic) {
        self.disconnected += 1;
        self.events.push(format!("disconnected {reason}"));
        self.traffic = *traffic;
    }
}

/// A kernel in the hands of the test.
struct Hand {
    session: Session,
    notes: Notes,
    limits: Limits,
    buffer_pool: BufferPool,
    pool: LeasePool,
    now: Tick,
    recv: bool,
    send: Option<SendBatch>,
    shutdown: Option<ShutdownHow>,
    closing: bool,
    cancelled: Vec<Verb>,
    sent: Vec<u8>,
}

impl Hand {
    fn new(framing: Framing, limits: Limits) -> Self {
        let now = Tick::from_nanos(1);
        let mut hand = Self {
            session: Session::new(Handle::new(0, 0), framing, now),
            notes: Notes::default(),
            limits,
            buffer_pool: BufferPool::default(),
            pool: LeasePool::new(4, 64 * 1024),
            now,
            recv: false,
            send: None,
            shutdown: None,
            closing: false,
            cancelled: Vec::new(),
            sent: Vec::new(),
        };
        hand.with(|session, cx, notes| session.connected(cx, notes));
        hand
    }

    fn with(&mut self, run: impl FnOnce(&mut Session, &mut Context<'_>, &mut Notes)) {
        let mut cx = Context { now: self.now, limits: &self.limits, buffer_pool: &mut self.buffer_pool };
        run(&mut self.session, &mut cx, &mut self.notes);
        while let Some(request) = self.session.register(self.now, &mut self.buffer_pool) {
            match request {
                Request::Submit(_, Op::Recv { .. }) => {
                    assert!(!std::mem::replace(&mut self.recv, true), "two receives in flight");
                }
                Request::Submit(_, Op::Send { batch, .. }) => {
                    assert!(self.send.replace(batch).is_none(), "two sends in flight");
                }
                Request::Submit(_, Op::Shutdown { how, .. }) => {
                    assert!(self.shutdown.replace(how).is_none(), "two shutdowns in flight");
                }
                Request::Submit(_, Op::Close { .. }) => {
                    assert!(!self.recv && self.send.is_none() && self.shutdown.is_none(), "law 4");
                    self.closing = true;
                }
                Request::Submit(_, op) => panic!("unexpected {op:?}"),
                Request::Cancel(verb) => self.cancelled.push(verb),
            }
        }
    }

    fn done(&mut self, done: Done, more: bool) {
        self.with(|session, cx, notes| session.process(done, more, cx, notes));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        assert!(self.recv, "bytes come only to a receive in flight");
        let mut buffer = self.pool.take().expect("a lease is home");
        buffer.bytes[..bytes.len()].copy_from_slice(bytes);
        let lease = self.pool.lend(buffer, NonZeroU32::new(bytes.len() as u32).expect("some bytes"));
        self.done(Done::Recv(Ok(lease)), true);
    }

    fn recv_ends(&mut self, ended: Ended) {
        assert!(std::mem::replace(&mut self.recv, false), "no receive to end");
        self.done(Done::Recv(Err(ended)), false);
    }

    fn sends(&mut self, bytes: usize) {
        let batch = self.send.take().expect("a send in flight");
        let taken: Vec<u8> = batch.slices().flatten().copied().take(bytes).collect();
        self.sent.extend_from_slice(&taken);
        self.done(Done::Send(batch, Ok(taken.len() as u32)), false);
    }

    fn shuts_down(&mut self) -> ShutdownHow {
        let how = self.shutdown.take().expect("a shutdown in flight");
        self.done(Done::Shutdown(Ok(())), false);
        how
    }

    fn closes(&mut self) -> DisconnectReason {
        assert!(std::mem::replace(&mut self.closing, false), "no close in flight");
        self.done(Done::Close, false);
        assert_eq!(self.notes.disconnected, 1);
        self.session.over().expect("the socket is closed")
    }

    fn late_by(&mut self, span: Duration) {
        self.now = self.now + span;
        self.with(|session, cx, notes| session.check_deadline(cx.now, cx, notes));
    }
}

fn with_output<T>(hand: &mut Hand, run: impl FnOnce(&mut SessionOutput<'_>) -> T) -> T {
    let mut result = None;
    hand.with(|session, cx, notes| {
        result = Some(session.with_output(cx, notes, |_, mut output| run(&mut output)));
    });
    result.expect("it has run")
}

fn frame_of(id: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = frame::header(id, body.len()).expect("a short body").to_vec();
    bytes.extend_from_slice(body);
    bytes
}

#[test]
fn what_a_room_held_back_is_sent_before_the_goodbye_that_the_peers_end_brings() {
    let mut hand = Hand::new(Framing::Raw, Limits::default());
    hand.notes.held_back = b"from the room".to_vec();
    hand.recv_ends(Ended::Closed);
    hand.sends(usize::MAX);
    assert_eq!(hand.sent, b"from the room");
    assert!(hand.closing && hand.notes.disconnected == 1);
}

#[test]
fn a_session_is_open_for_what_it_is_owed_and_no_longer_than_it_may_drain() {
    for comes in [true, false] {
        let mut hand = Hand::new(Framing::Raw, Limits::default());
        hand.notes.owed = true;
        hand.recv_ends(Ended::Closed);
        assert!(hand.session.is_open() && hand.shutdown.is_none() && !hand.closing);
        assert_eq!(hand.session.deadline(&hand.limits), Some(hand.now + hand.limits.drain_within));
        if comes {
            hand.with(|session, cx, notes| {
                notes.owed = false;
                session.with_output(cx, notes, |_, mut output| output.send(b"the answer"));
            });
            hand.sends(usize::MAX);
            assert_eq!(hand.sent, b"the answer");
        } else {
            hand.late_by(hand.limits.drain_within);
        }
        assert_eq!(hand.closes(), DisconnectReason::PeerClosed);
    }
}

#[test]
fn what_was_sent_before_the_fin_comes_back_before_the_socket_closes() {
    let mut hand = Hand::new(Framing::Raw, Limits::default());
    hand.bytes(b"hello");
    hand.recv_ends(Ended::Closed);
    assert!(!hand.closing, "the echo is still with the kernel");
    hand.sends(2);
    hand.sends(3);
    assert_eq!(hand.sent, b"hello");
    assert_eq!(hand.closes(), DisconnectReason::PeerClosed);
}

#[test]
fn a_frame_cut_at_every_byte_is_delivered_whole() {
    let whole = [frame_of(1, b"cod"), frame_of(2, b""), frame_of(3, &[9; 300])].concat();
    for cut in 1..whole.len() {
        let mut hand = Hand::new(Framing::Packets, Limits::default());
        hand.bytes(&whole[..cut]);
        hand.bytes(&whole[cut..]);
        assert_eq!(hand.notes.events[1..], ["packet 1 3", "packet 2 0", "packet 3 300"]);
        assert_eq!(hand.pool.out(), 0);
    }
    let mut hand = Hand::new(Framing::Packets, Limits::default());
    whole.iter().for_each(|byte| hand.bytes(&[*byte]));
    assert_eq!(hand.notes.events[1..], ["packet 1 3", "packet 2 0", "packet 3 300"]);
}

#[test]
fn a_bad_size_ends_the_session_at_the_header() {
    for (size, reason) in [
        (0_u16, DisconnectReason::FrameTooShort),
        (1, DisconnectReason::FrameTooShort),
        (3, DisconnectReason::FrameTooShort),
        (4097, DisconnectReason::FrameTooLong),
        (65_535, DisconnectReason::FrameTooLong),
    ] {
        let mut hand = Hand::new(Framing::Packets, Limits::default());
        hand.bytes(&size.to_le_bytes());
        assert_eq!(hand.shuts_down(), ShutdownHow::Both);
        hand.recv_ends(Ended::Aborted);
        assert_eq!(hand.closes(), reason, "size {size}");
    }
}

#[test]
fn the_larger_limit_holds_after_the_first_whole_frame() {
    let mut hand = Hand::new(Framing::Packets, Limits::default());
    hand.bytes(&frame_of(1, b""));
    hand.bytes(&frame_of(2, &[0; 8000]));
    assert_eq!(hand.notes.events.last().map(String::as_str), Some("packet 2 8000"));
}

#[test]
fn a_fin_inside_a_frame_is_not_an_orderly_end() {
    let mut hand = Hand::new(Framing::Packets, Limits::default());
    hand.bytes(&frame_of(1, b"whole")[..6]);
    hand.recv_ends(Ended::Closed);
    assert_eq!(hand.closes(), DisconnectReason::TruncatedFrame);
}

#[test]
fn deadlines_end_silence_and_dribble_each_with_its_reason() {
    let limits = Limits::default();
    let mut silent = Hand::new(Framing::Packets, limits.clone());
    silent.late_by(limits.first_frame_within);
    silent.shuts_down();
    silent.recv_ends(Ended::Aborted);
    assert_eq!(silent.closes(), DisconnectReason::FirstFrameLate);

    let mut dribbler = Hand::new(Framing::Packets, limits.clone());
    dribbler.notes.mute = true;
    dribbler.bytes(&frame_of(1, b""));
    for _ in 0..2 {
        dribbler.bytes(&[50]);
        dribbler.late_by(limits.frame_within / 2);
        dribbler.bytes(&[0]);
    }
    dribbler.late_by(Duration::from_secs(1));
    dribbler.shuts_down();
    dribbler.recv_ends(Ended::Aborted);
    assert_eq!(dribbler.closes(), DisconnectReason::FrameLate);

    let mut idle = Hand::new(Framing::Raw, limits.clone());
    idle.late_by(limits.idle_within - Duration::from_secs(1));
    assert!(idle.shutdown.is_none());
    idle.late_by(Duration::from_secs(1));
    idle.shuts_down();
    idle.recv_ends(Ended::Aborted);
    assert_eq!(idle.closes(), DisconnectReason::Idle);

    let mut stalled = Hand::new(Framing::Raw, limits.clone());
    stalled.bytes(b"x");
    stalled.late_by(limits.send_stall_within);
    stalled.shuts_down();
    stalled.recv_ends(Ended::Aborted);
    let batch = stalled.send.take().expect("the stalled send");
    stalled.done(Done::Send(batch, Err(Ended::Aborted)), false);
    assert_eq!(stalled.closes(), DisconnectReason::SendStalled);
}

#[test]
fn over_the_high_mark_receiving_stops_and_nothing_is_lost() {
    let mut hand = Hand::new(Framing::Raw, Limits::default());
    let data: Vec<u8> = (0..200_000_u32).map(|n| n as u8).collect();
    for chunk in data.chunks(40_000) {
        hand.bytes(chunk);
    }
    assert_eq!(hand.cancelled, [Verb::Recv]);
    assert!(hand.session.pending_bytes() <= 64 * 1024 + 32 * 1024, "echoed only up to the mark");
    hand.recv_ends(Ended::Aborted);
    assert!(!hand.recv, "paused");
    while hand.send.is_some() {
        hand.sends(30_000);
    }
    assert!(hand.recv, "receiving again");
    assert_eq!(hand.sent, data);
    assert_eq!(hand.notes.received, data);
}

#[test]
fn when_all_keep_too_much_the_one_who_keeps_more_than_a_frame_ends_and_a_cut_frame_has_room() {
    let limits = Limits {
        recv_backlog_bytes_max: 100_000,
        recv_backlog_total_bytes_max: 150_000,
        ..Limits::default()
    };
    let hoards = |buffer_pool: BufferPool| {
        let mut hand = Hand::new(Framing::Raw, limits.clone());
        hand.buffer_pool = buffer_pool;
        for _ in 0..4 {
            hand.bytes(&[1; 40_000]);
        }
        hand
    };
    let mut first = hoards(BufferPool::default());
    let kept = first.buffer_pool.kept_bytes();
    assert!(first.recv && first.shutdown.is_none() && kept > 80_000, "{kept}: within both limits");
    // The second session shares the worker's count: there is no room for as much again.
    let mut second = hoards(std::mem::take(&mut first.buffer_pool));
    second.shuts_down();
    second.recv_ends(Ended::Aborted);
    let batch = second.send.take().expect("its echo");
    second.done(Done::Send(batch, Err(Ended::Aborted)), false);
    assert_eq!(second.closes(), DisconnectReason::RecvBacklogFull);
    assert_eq!(second.buffer_pool.kept_bytes(), kept, "what it kept is let go");
    // A session with only an incomplete frame is not the one to end.
    let mut third = Hand::new(Framing::Packets, limits.clone());
    third.buffer_pool = std::mem::take(&mut second.buffer_pool);
    third.limits.recv_backlog_total_bytes_max = kept;
    third.bytes(&frame_of(1, &[7; 900])[..500]);
    third.bytes(&frame_of(1, &[7; 900])[500..]);
    assert_eq!(third.notes.events.last().map(String::as_str), Some("packet 1 900"));
}

#[test]
fn a_fin_that_comes_while_paused_waits_for_what_was_kept_back() {
    let mut hand = Hand::new(Framing::Raw, Limits::default());
    let data: Vec<u8> = (0..150_000_u32).map(|n| n as u8).collect();
    for chunk in data.chunks(50_000) {
        hand.bytes(chunk);
    }
    hand.recv_ends(Ended::Closed);
    while hand.send.is_some() {
        hand.sends(9_999);
    }
    assert_eq!(hand.sent, data);
    assert_eq!(hand.closes(), DisconnectReason::PeerClosed);
}

#[test]
fn an_orderly_end_says_goodbye_and_waits_for_the_peer() {
    let mut hand = Hand::new(Framing::Raw, Limits::default());
    hand.notes.end = Some(CloseMode::Graceful);
    hand.bytes(b"bye");
    assert!(hand.shutdown.is_none(), "the queue goes first");
    hand.sends(3);
    assert_eq!(hand.shuts_down(), ShutdownHow::Write);
    assert!(hand.recv, "still watching for the peer's end");
    hand.bytes(b"ignored");
    hand.recv_ends(Ended::Closed);
    assert_eq!((hand.closes(), hand.notes.received.len()), (DisconnectReason::Handler, 3));
}

#[test]
fn a_peer_that_never_says_goodbye_is_lingered_for_only_so_long() {
    let mut hand = Hand::new(Framing::Raw, Limits::default());
    hand.with(|session, cx, notes| session.end(DisconnectReason::Shutdown, CloseMode::Graceful, cx, notes));
    assert_eq!(hand.shuts_down(), ShutdownHow::Write);
    hand.late_by(Limits::default().linger_within);
    assert_eq!(hand.shuts_down(), ShutdownHow::Both);
    hand.recv_ends(Ended::Aborted);
    assert_eq!(hand.closes(), DisconnectReason::Shutdown);
}

#[test]
fn the_first_reason_stays() {
    let mut hand = Hand::new(Framing::Raw, Limits::default());
    hand.bytes(b"x");
    hand.with(|session, cx, notes| session.end(DisconnectReason::Kicked, CloseMode::Abort, cx, notes));
    hand.with(|session, cx, notes| session.end(DisconnectReason::Shutdown, CloseMode::Abort, cx, notes));
    hand.recv_ends(Ended::Reset);
    let batch = hand.send.take().expect("the send that was in flight");
    hand.done(Done::Send(batch, Err(Ended::Reset)), false);
    hand.shuts_down();
    assert_eq!(hand.closes(), DisconnectReason::Kicked);
}

#[test]
fn a_full_queue_ends_the_session_or_drops_as_the_policy_says() {
    let small = Limits {
        send_queue_bytes_max: 8,
        send_queue_high_bytes: 8,
        send_queue_low_bytes: 1,
        ..Limits::default()
    };
    let mut strict = Hand::new(Framing::Raw, small.clone());
    let mut outcome = Vec::new();
    strict.with(|session, cx, notes| {
        session.with_output(cx, notes, |_, mut output| {
            outcome.extend([output.send(b"12345678"), output.send(b"9"), output.send(b"0")]);
        });
    });
    assert_eq!(outcome, [SendStatus::Queued, SendStatus::Overflowed, SendStatus::Closed]);
    assert!(strict.notes.events.is_empty() || strict.session.is_live());

    let mut lenient = Hand::new(Framing::Raw, Limits { overflow: crate::limits::Overflow::DropNew, ..small });
    let mut outcome = Vec::new();
    lenient.with(|session, cx, notes| {
        session.with_output(cx, notes, |_, mut output| {
            outcome.extend([output.send(b"12345678"), output.send(b"9")]);
        });
    });
    assert_eq!(outcome, [SendStatus::Queued, SendStatus::Dropped]);
    assert_eq!((lenient.session.take_dropped(), lenient.session.take_dropped()), (1, 0));
    lenient.sends(8);
    assert_eq!(lenient.sent, b"12345678");
}

#[test]
fn heartbeats_are_sent_when_silent_and_never_shown() {
    let heartbeat = Heartbeat { packet_id: 9, every: Duration::from_secs(2) };
    let limits = Limits { heartbeat: Some(heartbeat), ..Limits::default() };
    let mut hand = Hand::new(Framing::Packets, limits);
    hand.late_by(Duration::from_secs(2));
    hand.sends(4);
    assert_eq!(hand.sent, frame_of(9, b""));
    hand.bytes(&frame_of(9, b""));
    hand.bytes(&frame_of(9, b"not empty: the application's"));
    assert_eq!(hand.notes.events[1..], ["packet 9 28"]);
}

#[test]
fn whatever_the_kernel_does_in_whatever_order_the_user_is_told_once() {
    let mut seed = 1_u64;
    let mut roll = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let mut reasons = std::collections::BTreeSet::new();
    for _ in 0..20_000 {
        let framing = if roll(2) == 0 { Framing::Raw } else { Framing::Packets };
        let mut hand = Hand::new(framing, Limits::default());
        hand.notes.mute = roll(3) == 0;
        for _ in 0..200 {
            if hand.session.over().is_some() {
                break;
            }
            match roll(12) {
                0..3 if hand.recv => hand.bytes(&frame_of(1, &vec![3; roll(900) as usize])),
                3 if hand.recv => hand.bytes(&[roll(256) as u8]),
                4 if hand.recv => hand.recv_ends(Ended::Closed),
                5 if hand.recv && roll(4) == 0 => hand.recv_ends(Ended::Reset),
                6 if hand.recv && (!hand.cancelled.is_empty() || hand.session.cut) => {
                    hand.recv_ends(Ended::Aborted);
                }
                7..9 if hand.send.is_some() => hand.sends(1 + roll(2000) as usize),
                9 if hand.shutdown.is_some() => {
                    hand.shuts_down();
                }
                10 if hand.closing => {
                    reasons.insert(hand.closes());
                }
                11 => hand.late_by(Duration::from_millis(roll(6_000))),
                _ => {}
            }
            if roll(60) == 0 {
                let ending = if roll(2) == 0 { CloseMode::Graceful } else { CloseMode::Abort };
                hand.with(|session, cx, notes| session.end(DisconnectReason::Kicked, ending, cx, notes));
            }
        }
        assert!(hand.notes.disconnected <= 1);
        assert_eq!(hand.pool.out(), 0);
    }
    assert!(reasons.len() >= 6, "the havoc reached only {reasons:?}");
}

#[test]
fn an_idle_session_is_small() {
    assert!(
        size_of::<Session>() <= 160,
        "{} bytes: every idle connection pays for them",
        size_of::<Session>()
    );
}
