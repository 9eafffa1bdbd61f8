//! One room by itself.

use std::time::Duration;

use naksi::prelude::*;

const SAY: u16 = 10;
const KICK: u16 = 11;
const REMOVE_ALL: u16 = 12;
const PANIC: u16 = 13;
const CLOSE: u16 = 14;
const TELL: u16 = 15;
const OTHERS: u16 = 16;

/// Writes down what happens to it.
#[derive(Default)]
struct Diary {
    lines: Vec<String>,
    names: Vec<(SessionId, u8)>,
}

impl Diary {
    fn find(&self, name: u8) -> SessionId {
        self.names.iter().find(|(_, mine)| *mine == name).expect("a known name").0
    }
}

impl Room for Diary {
    type Member = u8;

    fn on_open(&mut self, _cx: &mut Cx<'_, Self>) {
        self.lines.push("open".into());
    }

    fn on_join(&mut self, cx: &mut Cx<'_, Self>, member: SessionId) {
        let name = *cx.member(member).expect("who joins is a member");
        self.names.push((member, name));
        self.lines.push(format!("join {name} of {}", cx.len()));
        cx.broadcast_packet(SAY, &[name]);
    }

    fn on_leave(&mut self, cx: &mut Cx<'_, Self>, _member: SessionId, name: u8, why: LeaveReason) {
        self.lines.push(format!("leave {name} {why:?}, {} left", cx.len()));
    }

    fn on_packet(&mut self, cx: &mut Cx<'_, Self>, from: SessionId, packet: Packet<'_>) {
        match packet.id {
            SAY => {
                cx.broadcast_packet(SAY, packet.body);
            }
            OTHERS => {
                cx.broadcast_packet_others(from, SAY, packet.body);
            }
            TELL => {
                cx.broadcast_packet(SAY, b"before");
                cx.send_packet(self.find(packet.body[0]), TELL, b"only you");
                cx.broadcast_packet(SAY, b"after");
            }
            KICK => {
                cx.kick(self.find(packet.body[0]));
            }
            REMOVE_ALL => {
                let all: Vec<_> = self.names.drain(..).map(|(id, _)| id).collect();
                for id in all {
                    cx.remove(id);
                }
            }
            PANIC => panic!("on purpose"),
            CLOSE => cx.close(),
            _ => {
                cx.end(from, DisconnectReason::UnknownPacket);
            }
        }
    }

    fn on_timer(&mut self, cx: &mut Cx<'_, Self>, tag: u32) {
        self.lines.push(format!("timer {tag} at {:?}", cx.now().since(Tick::ZERO)));
    }

    fn on_tick(&mut self, cx: &mut Cx<'_, Self>, tick: u64) {
        self.lines.push(format!("tick {tick} at {:?}", cx.now().since(Tick::ZERO)));
    }

    fn on_close(&mut self, cx: &mut Cx<'_, Self>) {
        cx.broadcast_packet(SAY, b"goodbye");
    }
}

fn diary() -> TestRoom<Diary> {
    TestRoom::new(Diary::default(), RoomOptions::new())
}

fn lines(room: &TestRoom<Diary>) -> Vec<String> {
    room.look(|diary| diary.lines.clone())
}

#[test]
fn who_joins_hears_what_comes_after_and_everybody_hears_one_order() {
    let mut room = diary();
    let anna = room.join(1);
    let berta = room.join(2);
    room.packet(anna, TELL, &[2]);
    assert_eq!(
        room.received(berta),
        [(SAY, vec![2]), (SAY, b"before".to_vec()), (TELL, b"only you".to_vec()), (SAY, b"after".to_vec())]
    );
    assert_eq!(
        room.received(anna),
        [(SAY, vec![1]), (SAY, vec![2]), (SAY, b"before".to_vec()), (SAY, b"after".to_vec())]
    );
    room.packet(berta, OTHERS, b"psst");
    assert_eq!((room.received(anna), room.received(berta)), (vec![(SAY, b"psst".to_vec())], vec![]));
}

#[test]
fn every_join_has_one_leave_whatever_ends_it() {
    let mut room = diary();
    let members: Vec<_> = (1..=4).map(|name| room.join(name)).collect();
    room.leave(members[0]);
    room.leave(members[0]);
    room.die(members[1], DisconnectReason::PeerReset);
    room.packet(members[2], KICK, &[3]);
    // The session that was kicked ends, which is not a second leave.
    room.die(members[2], DisconnectReason::Kicked);
    room.packet(members[3], REMOVE_ALL, &[]);
    room.leave(members[3]);
    room.packet(members[3], SAY, b"I am not here");
    let leaves: Vec<_> = lines(&room).into_iter().filter(|line| line.starts_with("leave")).collect();
    assert_eq!(
        leaves,
        [
            "leave 1 Asked, 3 left",
            "leave 2 Disconnected(PeerReset), 2 left",
            "leave 3 Ended(Kicked), 1 left",
            "leave 4 Removed, 0 left"
        ]
    );
    assert_eq!(room.ended(members[2]), Some(DisconnectReason::Kicked));
    assert_eq!(room.put_out(members[3]), Some(RoomCloseReason::Removed));
}

#[test]
fn a_packet_that_nobody_handles_ends_its_session() {
    struct Silent;
    impl Room for Silent {
        type Member = ();
    }
    let mut room = TestRoom::new(Silent, RoomOptions::new());
    let (anna, berta) = (room.join(()), room.join(()));
    room.packet(anna, 999, &[]);
    assert_eq!((room.ended(anna), room.ended(berta)), (Some(DisconnectReason::UnknownPacket), None));
}

#[test]
fn a_panic_ends_the_room_and_its_members_are_told_once() {
    let mut room = diary();
    let (anna, berta) = (room.join(1), room.join(2));
    room.packet(anna, PANIC, &[]);
    assert!(room.is_closed());
    for id in [anna, berta] {
        assert_eq!((room.put_out(id), room.ended(id)), (Some(RoomCloseReason::Panicked), None));
    }
    room.received(anna);
    room.packet(anna, SAY, b"is anybody there");
    room.advance(Duration::from_secs(1));
    room.die(berta, DisconnectReason::PeerClosed);
    let clara = room.join(3);
    assert_eq!(room.put_out(clara), Some(RoomCloseReason::Panicked));
    assert_eq!(room.received(anna), []);
    assert_eq!((room.stats().panics_total, room.stats().live), (1, 0));
}

#[test]
fn a_room_that_closes_says_goodbye_first() {
    let mut room = diary();
    let (anna, berta) = (room.join(1), room.join(2));
    room.packet(berta, CLOSE, &[]);
    assert_eq!(room.received(anna).last(), Some(&(SAY, b"goodbye".to_vec())));
    assert_eq!((room.put_out(anna), room.is_closed()), (Some(RoomCloseReason::Closed), true));
}

#[test]
fn who_finds_the_room_full_is_told() {
    let mut room = TestRoom::new(Diary::default(), RoomOptions::new().members_max(1));
    let (anna, berta) = (room.join(1), room.join(2));
    assert_eq!((room.put_out(anna), room.put_out(berta)), (None, Some(RoomCloseReason::Full)));
    room.leave(anna);
    let clara = room.join(3);
    assert_eq!(room.put_out(clara), None);
}

#[test]
fn timers_fire_once_and_in_order_and_not_when_taken_back() {
    let mut room = diary();
    room.call(|_, cx| {
        cx.after(Duration::from_millis(20), 2);
        cx.after(Duration::from_millis(10), 1);
        let never = cx.after(Duration::from_millis(15), 9);
        assert!(cx.cancel(never) && !cx.cancel(never));
    });
    room.advance(Duration::from_millis(100));
    let lines = lines(&room);
    let fired: Vec<_> =
        lines.iter().filter_map(|line| line.split_once(" at")).map(|(fired, _)| fired).collect();
    assert_eq!(fired, ["timer 1", "timer 2"]);
}

/// Has timers of which each takes back the one behind it.
#[derive(Default)]
struct Chain {
    timers: Vec<RoomTimer>,
    fired: Vec<u32>,
}

impl Room for Chain {
    type Member = ();

    fn on_timer(&mut self, cx: &mut Cx<'_, Self>, tag: u32) {
        self.fired.push(tag);
        if let Some(next) = self.timers.get(tag as usize + 1) {
            assert!(cx.cancel(*next) && !cx.cancel(*next), "what is due and has not fired can be taken back");
        }
    }
}

#[test]
fn of_timers_that_are_due_together_one_may_take_back_another() {
    let mut room = TestRoom::new(Chain::default(), RoomOptions::new());
    // Three at the same time, and three at different times that fire late, all at once.
    let spans = [10, 10, 10, 20, 30, 40].map(Duration::from_millis);
    room.call(move |chain, cx| {
        chain.timers = (0..).zip(spans).map(|(tag, span)| cx.after(span, tag)).collect();
    });
    room.stall(Duration::from_millis(100));
    assert_eq!(room.look(|chain| chain.fired.clone()), [0, 2, 4]);
}

#[test]
fn a_million_timers_set_and_cancelled_leave_nothing_behind() {
    let mut room = diary();
    room.call(|_, cx| {
        let timers: Vec<_> = (0..1_000_000_u32)
            .map(|number| cx.after(Duration::from_micros(u64::from(number) * 7), number))
            .collect();
        assert!(timers.into_iter().all(|timer| cx.cancel(timer)));
    });
    room.advance(Duration::from_secs(10));
    assert_eq!(lines(&room), ["open"]);
}

#[test]
fn ticks_keep_their_schedule_and_do_not_drift() {
    let mut room = TestRoom::new(Diary::default(), RoomOptions::new().tick_hz(3));
    room.advance(Duration::from_secs(1));
    assert_eq!(lines(&room)[1..], ["tick 1 at 333.333333ms", "tick 2 at 666.666666ms", "tick 3 at 1s"]);
    room.advance(Duration::from_secs(999));
    assert_eq!(lines(&room).last().expect("it ticks"), "tick 3000 at 1000s");
    let stats = room.stats();
    assert_eq!((stats.ticks_total, stats.ticks_skipped_total), (3000, 0));
    assert!(stats.jitter.max < Duration::from_micros(2), "{}", stats.jitter);
}

#[test]
fn ticks_that_were_missed_are_left_out_or_caught_up() {
    let options = RoomOptions::new().tick_every(Duration::from_millis(10));
    let mut skips = TestRoom::new(Diary::default(), options.clone());
    skips.stall(Duration::from_millis(75));
    assert_eq!(lines(&skips)[1..], ["tick 7 at 75ms"]);
    assert_eq!(skips.stats().ticks_skipped_total, 6);
    let mut catches = TestRoom::new(Diary::default(), options.overrun(Overrun::CatchUp(2)));
    catches.stall(Duration::from_millis(75));
    assert_eq!(lines(&catches)[1..], ["tick 5 at 75ms", "tick 6 at 75ms", "tick 7 at 75ms"]);
    assert_eq!(catches.stats().ticks_skipped_total, 4);
    catches.advance(Duration::from_millis(5));
    assert_eq!(lines(&catches).last().expect("it ticks"), "tick 8 at 80ms");
}

#[test]
#[should_panic(expected = "a room ticks 1 to 1,000 times a second")]
fn a_room_that_ticks_too_often_is_refused() {
    drop(TestRoom::new(Diary::default(), RoomOptions::new().tick_hz(1001)));
}

/// Rings for everybody when its timers fire.
struct Bell;

impl Room for Bell {
    type Member = Spiteful;

    fn on_timer(&mut self, cx: &mut Cx<'_, Self>, tag: u32) {
        cx.broadcast_packet(SAY, &tag.to_le_bytes());
    }
}

/// Panics when it is dropped, if it is in the mood.
struct Spiteful(bool);

impl Drop for Spiteful {
    fn drop(&mut self) {
        assert!(!self.0, "on purpose");
    }
}

#[test]
fn a_budget_ends_between_timers_that_are_due_together() {
    let mut room = TestRoom::new(Bell, RoomOptions::new().budget(Duration::from_secs(1), 10));
    let member = room.join(Spiteful(false));
    room.call(|_, cx| {
        for tag in 0..100 {
            cx.after(Duration::from_millis(5), tag);
        }
    });
    let before = room.stats().parcels_total;
    room.advance(Duration::from_millis(20));
    let heard: Vec<_> = room.received(member).into_iter().map(|(_, body)| body[0]).collect();
    assert_eq!(heard, (0..100).collect::<Vec<_>>(), "all of them, once, in order");
    let runs = room.stats().parcels_total - before;
    assert!(runs >= 10, "{runs} runs for a hundred timers, ten to a run");
}

#[test]
fn what_a_refused_member_does_when_it_is_dropped_harms_nobody() {
    let mut room = TestRoom::new(Bell, RoomOptions::new().members_max(1));
    let first = room.join(Spiteful(false));
    let second = room.join(Spiteful(true));
    assert_eq!((room.put_out(first), room.put_out(second)), (None, Some(RoomCloseReason::Full)));
    assert_eq!((room.stats().panics_total, room.is_closed()), (1, false));
    room.leave(first);
    let third = room.join(Spiteful(false));
    assert_eq!(room.put_out(third), None, "the room goes on");
}
