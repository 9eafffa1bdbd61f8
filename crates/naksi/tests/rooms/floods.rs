//! Tests of sessions that flood rooms: they are paused or ended, and other sessions lose nothing.

use std::io::Write;
use std::net::TcpStream;
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::time::Duration;

use naksi::prelude::*;

use super::served::{PATIENCE, connect, frame, read, until};

const SAY: u16 = 10;
const CALL: u16 = 11;
const AGAIN: u16 = 12;
const MARK: u16 = 13;
const OPEN: u16 = 14;
const HELLO: u16 = 20;
/// As many messages as no mailbox of these tests takes.
const FLOOD: usize = 6000;

/// Says back what it hears, and counts those who came.
#[derive(Default)]
struct Parrot {
    joins: u64,
}

impl Room for Parrot {
    type Member = ();

    fn on_join(&mut self, cx: &mut Cx<'_, Self>, member: SessionId) {
        self.joins += 1;
        cx.send_packet(member, HELLO, &[]);
    }

    fn on_packet(&mut self, cx: &mut Cx<'_, Self>, from: SessionId, packet: Packet<'_>) {
        cx.send_packet(from, packet.id, packet.body);
    }
}

type Place = Arc<OnceLock<RoomRef<Parrot>>>;

/// Does with the room what its peer says.
struct Guest(Place);

impl Session for Guest {
    const FRAMING: Framing = Framing::Packets;

    fn on_connected(&mut self, c: &mut Conn<'_>) {
        assert!(c.join_room(self.0.get().expect("the room is open"), ()));
    }

    fn on_packet(&mut self, c: &mut Conn<'_>, packet: Packet<'_>) {
        let room = self.0.get().expect("the room is open");
        match packet.id {
            AGAIN => {
                c.leave_room(room);
                c.join_room(room, ());
            }
            OPEN => {
                if let Ok(room) = c.open_room(Parrot::default(), RoomOptions::new()) {
                    room.close();
                }
            }
            CALL => {
                let (id, body) = (c.id(), packet.body.to_vec());
                let answer = move |_: &mut Parrot, cx: &mut Cx<'_, Parrot>| {
                    cx.send_packet(id, CALL, &body);
                };
                room.call(answer).expect("there is room");
            }
            MARK => {
                c.send(packet.frame);
            }
            _ => {
                c.room_send_packet(room, packet);
            }
        }
    }
}

fn serve(server: Server, options: RoomOptions) -> (Service, RoomRef<Parrot>) {
    let place = Place::default();
    let of_sessions = Arc::clone(&place);
    let server = server.listen("127.0.0.1:0").workers(1);
    let service = server.session(move || Guest(Arc::clone(&of_sessions))).start().expect("a server");
    let room = service.handle().open_room(Parrot::default(), options).expect("options that make sense");
    assert!(place.set(room.clone()).is_ok());
    (service, room)
}

fn join(service: &Service) -> TcpStream {
    let mut stream = connect(service.addresses()[0]);
    assert_eq!(read(&mut stream), (HELLO, Vec::new()));
    stream
}

/// Has a room wait until the sender is dropped.
fn hold(room: &RoomRef<Parrot>) -> mpsc::Sender<()> {
    let (hold, held) = mpsc::channel::<()>();
    let (begin, begun) = mpsc::channel();
    let wait = move |_: &mut Parrot, _: &mut Cx<'_, Parrot>| {
        begin.send(()).expect("the test listens");
        held.recv().expect_err("nothing is ever sent");
    };
    room.call(wait).expect("there is room");
    begun.recv_timeout(PATIENCE).expect("it begins");
    hold
}

/// Waits until everything sent before has been processed: the worker answers after it.
fn fence(stream: &mut TcpStream) {
    stream.write_all(&frame(MARK, b"fence")).expect("the server reads");
    assert_eq!(read(stream), (MARK, b"fence".to_vec()));
}

/// Writes on a thread of its own, because a server that does not read blocks writers.
fn write_aside(stream: &TcpStream, bytes: Vec<u8>) {
    let mut stream = stream.try_clone().expect("a socket can be shared");
    // How far it comes is what the test is about.
    std::thread::spawn(move || stream.write_all(&bytes).ok());
}

#[test]
fn whoever_joins_and_leaves_without_end_is_read_at_its_rate() {
    for id in [AGAIN, OPEN] {
        let limits = Limits { room_joins_per_second_max: 8, ..Limits::default() };
        let (service, _) = serve(Server::new().limits(limits), RoomOptions::new());
        let mut flooder = connect(service.addresses()[0]);
        write_aside(&flooder, frame(id, b"").repeat(100_000));
        until("it is over its rate", || service.stats().rate_limited_total > 0);
        let mut member = join(&service);
        // Far more than was sent would fit the time that this takes, and far less is delivered.
        for _ in 0..100 {
            fence(&mut member);
        }
        let stats = service.stats();
        assert!(stats.packets < 1000 + 100, "a burst, and eight a second: {stats}");
        assert_eq!(read(&mut flooder).0, HELLO, "what came before was done");
        service.stop(Duration::from_secs(5));
    }
}

#[test]
fn whoever_joins_too_often_ends_if_it_shall() {
    let limits = Limits {
        room_joins_per_second_max: 8,
        rate_limit_action: RateLimitAction::EndSession,
        ..Limits::default()
    };
    let (service, _) = serve(Server::new().limits(limits), RoomOptions::new());
    let flooder = connect(service.addresses()[0]);
    write_aside(&flooder, frame(AGAIN, b"").repeat(100));
    until("it ends", || service.stats().ended.get("rate_exceeded") == Some(&1));
    service.stop(Duration::from_secs(5));
}

/// Joins and leaves once per byte, whether or not it is held back.
struct Deaf(Place);

impl Session for Deaf {
    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        let room = self.0.get().expect("the room is open");
        for _ in data {
            c.leave_room(room);
            c.join_room(room, ());
        }
        data.len()
    }
}

#[test]
fn one_callback_that_joins_without_end_ends_its_session_after_a_bounded_number() {
    let place = Place::default();
    let of_sessions = Arc::clone(&place);
    let server = Server::new().listen("127.0.0.1:0").workers(1);
    let service = server.session(move || Deaf(Arc::clone(&of_sessions))).start().expect("a server");
    let room = service.handle().open_room(Parrot::default(), RoomOptions::new()).expect("a room");
    assert!(place.set(room.clone()).is_ok());
    let mut flooder = connect(service.addresses()[0]);
    flooder.write_all(&[7; 4000]).expect("there is room");
    until("it ends", || service.stats().ended.get("rate_exceeded") == Some(&1));
    let (told, tells) = mpsc::channel();
    room.call(move |room, _| told.send(room.joins).expect("the test listens")).expect("the room is open");
    let joins = tells.recv_timeout(PATIENCE).expect("the room answers");
    let rate = u64::from(Limits::default().room_joins_per_second_max);
    assert!((rate..=8 * rate).contains(&joins), "{joins} joins at {rate} a second");
    service.stop(Duration::from_secs(5));
}

#[test]
fn who_brings_more_than_a_room_takes_is_not_read_until_it_has_and_loses_nothing() {
    for id in [SAY, CALL] {
        let server = Server::new().group(GroupOptions::new("logic").threads(1));
        let (service, room) = serve(server, RoomOptions::new());
        let mut flooder = join(&service);
        let mut member = join(&service);
        let held = hold(&room);
        write_aside(&flooder, (0..FLOOD as u32).flat_map(|n| frame(id, &n.to_le_bytes())).collect());
        until("it waits", || service.stats().room_pauses_total > 0);
        (0..50).for_each(|_| fence(&mut member));
        let stats = service.stats();
        let most = Limits::default().room_backlog_bytes_max as u64;
        assert!(stats.packets < 50 + most / 32 + 100, "it is not read: {stats}");
        let in_rooms = stats.rooms.held_bytes;
        assert!((most / 2..3 * most).contains(&in_rooms), "what it brought is counted: {stats}");
        assert!(stats.held_bytes >= in_rooms + most / 2, "and counted to the session: {stats}");
        member.write_all(&frame(SAY, b"me too")).expect("the server reads");
        fence(&mut member);
        drop(held);
        for number in 0..FLOOD as u32 {
            assert_eq!(read(&mut flooder), (id, number.to_le_bytes().to_vec()), "in order, once");
        }
        assert_eq!(read(&mut member), (SAY, b"me too".to_vec()));
        let stats = service.stop(Duration::from_secs(5));
        assert_eq!((stats.rooms.dropped_total, stats.rooms.held_bytes, stats.held_bytes), (0, 0, 0));
    }
}

#[test]
fn a_crowd_of_floods_leaves_room_for_who_brings_little() {
    let server = Server::new().group(GroupOptions::new("logic").threads(1));
    // It is half full when ten of them have sent what each may.
    let options = RoomOptions::new().mailbox(1000, 1 << 20).when_full(RoomFull::EndSession);
    let (service, room) = serve(server, options);
    let flooders: Vec<_> = (0..10).map(|_| join(&service)).collect();
    let mut member = join(&service);
    let held = hold(&room);
    for flooder in &flooders {
        write_aside(flooder, frame(SAY, b"flood").repeat(FLOOD));
    }
    until("they wait", || service.stats().room_pauses_total >= 10);
    member.write_all(&frame(SAY, b"me too")).expect("the server reads");
    fence(&mut member);
    assert_eq!(service.stats().ended.values().sum::<u64>(), 0, "no session has ended");
    drop(held);
    assert_eq!(read(&mut member), (SAY, b"me too".to_vec()));
    assert_eq!(service.stop(Duration::from_secs(5)).rooms.dropped_total, 0);
}

/// Joins an ever new topic or room with each packet.
struct Joiner;

impl Session for Joiner {
    const FRAMING: Framing = Framing::Packets;

    fn on_packet(&mut self, c: &mut Conn<'_>, packet: Packet<'_>) {
        if packet.id == OPEN {
            let room = c.open_room(Parrot::default(), RoomOptions::new()).expect("there is no rate");
            c.join_room(&room, ());
        } else {
            let number = u32::from_le_bytes(packet.body.try_into().expect("four bytes"));
            let topic = c.topic(number.into());
            c.join(&topic);
        }
        c.send(packet.frame);
    }
}

#[test]
fn whoever_joins_ever_new_topics_or_rooms_ends_at_a_bound() {
    let limits = Limits { memberships_max: 20, room_joins_per_second_max: 0, ..Limits::default() };
    let server = Server::new().listen("127.0.0.1:0").workers(1).limits(limits);
    let service = server.session(|| Joiner).start().expect("a server");
    for (number, id) in [(1, SAY), (2, OPEN)] {
        let mut joiner = connect(service.addresses()[0]);
        for topic in (0..20_u32).chain([3, 7]).filter(|topic| id == SAY || *topic < 18) {
            joiner.write_all(&frame(id, &topic.to_le_bytes())).expect("the server reads");
            // Behind what the room says.
            while read(&mut joiner).0 != id {}
        }
        write_aside(&joiner, frame(id, &99_u32.to_le_bytes()).repeat(3));
        until("it ends", || service_ended(&service, "memberships_full") == number);
    }
    service.stop(Duration::from_secs(5));
}

/// Sends what the test requests, and records who leaves and why.
#[derive(Default)]
struct Loud {
    gone: Arc<Mutex<Vec<LeaveReason>>>,
}

impl Room for Loud {
    type Member = ();

    fn on_join(&mut self, cx: &mut Cx<'_, Self>, member: SessionId) {
        cx.send_packet(member, HELLO, &[]);
    }

    fn on_leave(&mut self, _cx: &mut Cx<'_, Self>, _member: SessionId, _data: (), why: LeaveReason) {
        self.gone.lock().expect("no panic with it").push(why);
    }
}

/// Is in one of two rooms, and holds its worker on request.
struct Hearer {
    rooms: Arc<[OnceLock<RoomRef<Loud>>; 2]>,
    held: Arc<Mutex<mpsc::Receiver<()>>>,
}

impl Session for Hearer {
    const FRAMING: Framing = Framing::Packets;

    fn on_packet(&mut self, c: &mut Conn<'_>, packet: Packet<'_>) {
        match packet.id {
            MARK => drop(self.held.lock().expect("one of them is held").recv()),
            room => assert!(c.join_room(self.rooms[usize::from(room)].get().expect("it is open"), ())),
        }
    }

    fn on_room_closed(&mut self, c: &mut Conn<'_>, _room: u64, _why: RoomCloseReason) {
        c.send_packet(MARK, b"closed");
    }
}

/// Two workers whose mailboxes take 512 KiB, with a room that has a member on each and one that has one on the second
/// worker, which is held until the sender is dropped. Returns the members in this order.
struct Stuck {
    service: Service,
    rooms: [RoomRef<Loud>; 2],
    gone: Arc<Mutex<Vec<LeaveReason>>>,
    members: [TcpStream; 3],
    hold: mpsc::Sender<()>,
}

impl Stuck {
    fn new() -> Self {
        let limits = Limits {
            memory_bytes_max: 4 << 20,
            send_queue_bytes_max: 1 << 20,
            kernel_send_bytes_max: 0,
            ..Limits::default()
        };
        let (hold, held) = mpsc::channel();
        let (rooms, held) = (Arc::<[OnceLock<RoomRef<Loud>>; 2]>::default(), Arc::new(Mutex::new(held)));
        let server = Server::new().listen("127.0.0.1:0").workers(2).limits(limits);
        let server = server.group(GroupOptions::new("logic").threads(1));
        let of_sessions = Arc::clone(&rooms);
        let session = move || Hearer { rooms: Arc::clone(&of_sessions), held: Arc::clone(&held) };
        let service = server.session(session).start().expect("a server");
        let gone = Arc::<Mutex<Vec<LeaveReason>>>::default();
        let open = || {
            let room = Loud { gone: Arc::clone(&gone) };
            service.handle().open_room(room, RoomOptions::new()).expect("a room")
        };
        let opened = [open(), open()];
        for (place, room) in rooms.iter().zip(&opened) {
            assert!(place.set(room.clone()).is_ok());
        }
        // Each goes to the worker with the fewest sessions: the first, the second, the first, and the second again.
        let mut all: Vec<_> = (0..4)
            .map(|number: u64| {
                let stream = connect(service.addresses()[0]);
                until("it is placed", || service.stats().connected_total == number + 1);
                stream
            })
            .collect();
        for (member, room) in [(0, 0), (1, 0), (3, 1)] {
            all[member].write_all(&frame(room, b"")).expect("the server reads");
            assert_eq!(read(&mut all[member]), (HELLO, Vec::new()));
        }
        all[1].write_all(&frame(MARK, b"")).expect("the server reads");
        let members = [all.remove(0), all.remove(0), all.remove(1)];
        Self { service, rooms: opened, gone, members, hold }
    }

    /// The first room sends numbers until the mailbox of the second worker is full. Returns how many.
    fn fill(&self) -> u64 {
        let mut said = 0_u64;
        while self.service.stats().rooms.parcels_cut_total == 0 {
            assert!(said < 1000, "it is never full");
            let (done, is_done) = mpsc::channel();
            let say = move |_: &mut Loud, cx: &mut Cx<'_, Loud>| {
                let mut body = vec![0; 4096];
                body[..8].copy_from_slice(&said.to_le_bytes());
                cx.broadcast_packet(SAY, &body);
                done.send(()).expect("the test listens");
            };
            self.rooms[0].call(say).expect("the room is open");
            is_done.recv_timeout(PATIENCE).expect("the room runs");
            said += 1;
        }
        said
    }
}

/// Reads numbers until the end. Returns how many were received; they must be in order and without a gap.
fn numbers(stream: &mut TcpStream, most: u64) -> u64 {
    use std::io::Read;
    let mut next = 0_u64;
    while next < most {
        let mut bytes = [0; 4100];
        if stream.read_exact(&mut bytes).is_err() {
            return next;
        }
        assert_eq!(bytes[4..12], next.to_le_bytes(), "without a gap");
        next += 1;
    }
    next
}

#[test]
fn members_whose_worker_is_behind_end_with_a_reason_and_no_loss_is_silent() {
    let mut stuck = Stuck::new();
    let said = stuck.fill();
    until("the room knows", || !stuck.gone.lock().expect("no panic with it").is_empty());
    assert_eq!(*stuck.gone.lock().expect("no panic with it"), [LeaveReason::Ended(DisconnectReason::Lagged)]);
    drop(stuck.hold);
    let [first, second, _] = &mut stuck.members;
    assert_eq!(numbers(first, said), said, "a member that keeps up hears all of it");
    // The room may have sent one more before the test saw that the mailbox was full.
    let heard = numbers(second, u64::MAX);
    assert!(
        heard < said,
        "a member that is behind hears all {heard} of {said} before the first that found no room"
    );
    until("it has ended", || service_ended(&stuck.service, "lagged") == 1);
    let stats = stuck.service.stop(Duration::from_secs(5));
    assert_eq!((stats.rooms.lost_total, stats.dropped), (1, 1), "what was lost is counted");
    assert_eq!(stats.rooms.parcels_cut_total, 1, "nothing more is said to who is gone");
}

fn service_ended(service: &Service, reason: &str) -> u64 {
    service.stats().ended.get(reason).copied().unwrap_or_default()
}

#[test]
fn who_is_put_out_or_whose_room_closes_learns_it_through_a_full_mailbox() {
    let mut stuck = Stuck::new();
    stuck.fill();
    stuck.rooms[1].close();
    until("the second room is closed", || stuck.rooms[1].is_closed());
    drop(stuck.hold);
    assert_eq!(read(&mut stuck.members[2]), (MARK, b"closed".to_vec()), "nothing was said there: it is told");
    stuck.service.stop(Duration::from_secs(5));
}

#[test]
fn a_room_that_closes_while_a_worker_is_behind_ends_who_missed_its_last_words() {
    let mut stuck = Stuck::new();
    stuck.fill();
    let drain_state = |_: &mut Loud, cx: &mut Cx<'_, Loud>| {
        cx.broadcast_packet(SAY, b"farewell");
        cx.close();
    };
    stuck.rooms[1].call(drain_state).expect("the room is open");
    until("the second room is closed", || stuck.rooms[1].is_closed());
    drop(stuck.hold);
    until("both have ended", || service_ended(&stuck.service, "lagged") == 2);
    assert_eq!(std::io::Read::read(&mut stuck.members[2], &mut [0; 8]).expect("an orderly end"), 0);
    stuck.service.stop(Duration::from_secs(5));
}
