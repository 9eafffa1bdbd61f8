//! Tests of rooms in a service: real sessions on several workers, and groups behind them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use naksi::prelude::*;

pub(super) const PATIENCE: Duration = Duration::from_secs(20);
const SAY: u16 = 10;
const PANIC: u16 = 13;
const WAIT: u16 = 17;
const HELLO: u16 = 20;
const SAY_TWICE: u16 = 21;
const SAY_TO_OTHERS: u16 = 22;

pub(super) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub(super) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the server accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a time limit");
    stream.set_nodelay(true).expect("a socket takes TCP_NODELAY");
    stream
}

pub(super) fn frame(id: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = naksi_core::frame::header(id, body.len()).expect("a short body").to_vec();
    bytes.extend_from_slice(body);
    bytes
}

pub(super) fn read(stream: &mut TcpStream) -> (u16, Vec<u8>) {
    let mut header = [0; 4];
    stream.read_exact(&mut header).expect("the server sends");
    let mut body = vec![0; usize::from(u16::from_le_bytes([header[0], header[1]])) - 4];
    stream.read_exact(&mut body).expect("the server sends");
    (u16::from_le_bytes([header[2], header[3]]), body)
}

/// What a room reports to a test.
#[derive(Default)]
struct Books {
    joins: AtomicU64,
    leaves: AtomicU64,
    closes: AtomicU64,
    ticks: AtomicU64,
}

/// Numbers what it receives, broadcasts it, and detects two threads inside it.
struct Hall {
    counters: Arc<Books>,
    /// One per room, because rooms with shared counters run concurrently.
    inside: Arc<AtomicBool>,
    said: u32,
    hold: Option<mpsc::Receiver<()>>,
}

impl Hall {
    fn new(counters: &Arc<Books>) -> Self {
        Self { counters: Arc::clone(counters), inside: Arc::default(), said: 0, hold: None }
    }

    fn alone(&mut self, run: impl FnOnce(&mut Self)) {
        let inside = Arc::clone(&self.inside);
        assert!(!inside.swap(true, Ordering::SeqCst), "two threads are in one room");
        run(self);
        inside.store(false, Ordering::SeqCst);
    }
}

impl Room for Hall {
    type Member = ();

    fn on_join(&mut self, cx: &mut Cx<'_, Self>, member: SessionId) {
        self.alone(|hall| {
            hall.counters.joins.fetch_add(1, Ordering::SeqCst);
            cx.send_packet(member, HELLO, &[]);
        });
    }

    fn on_leave(&mut self, _cx: &mut Cx<'_, Self>, _member: SessionId, _data: (), _why: LeaveReason) {
        self.alone(|hall| {
            hall.counters.leaves.fetch_add(1, Ordering::SeqCst);
        });
    }

    fn on_packet(&mut self, cx: &mut Cx<'_, Self>, from: SessionId, packet: Packet<'_>) {
        match packet.id {
            SAY => self.alone(|hall| {
                let mut body = hall.said.to_le_bytes().to_vec();
                hall.said += 1;
                body.extend_from_slice(packet.body);
                cx.broadcast_packet(SAY, &body);
            }),
            SAY_TWICE => {
                cx.broadcast_packet(SAY, b"one");
                cx.broadcast_packet(SAY, b"two");
            }
            SAY_TO_OTHERS => {
                cx.broadcast_packet_others(from, SAY, packet.body);
            }
            PANIC => panic!("on purpose"),
            WAIT => drop(self.hold.as_ref().map(mpsc::Receiver::recv)),
            _ => {
                cx.kick(from);
            }
        }
    }

    fn on_tick(&mut self, _cx: &mut Cx<'_, Self>, _tick: u64) {
        self.alone(|hall| {
            hall.counters.ticks.fetch_add(1, Ordering::SeqCst);
        });
    }

    fn on_close(&mut self, _cx: &mut Cx<'_, Self>) {
        self.alone(|hall| {
            hall.counters.closes.fetch_add(1, Ordering::SeqCst);
        });
    }
}

fn server() -> Server {
    Server::new().listen("127.0.0.1:0").workers(3)
}

fn hall(server: Server, options: RoomOptions, counters: &Arc<Books>) -> Service {
    let counters = Arc::clone(counters);
    server.room(options, move || Hall::new(&counters)).start().expect("a server")
}

fn join(address: SocketAddr) -> TcpStream {
    let mut stream = connect(address);
    assert_eq!(read(&mut stream), (HELLO, Vec::new()));
    stream
}

/// All members send at once; each receives everything, in the room's order, which keeps each sender's.
fn everybody_hears_one_order(server: Server, options: RoomOptions) -> Stats {
    let counters = Arc::new(Books::default());
    let service = hall(server, options, &counters);
    let (members, words) = (12_u8, 40_u8);
    let mut streams: Vec<_> = (0..members).map(|_| join(service.addresses()[0])).collect();
    for word in 0..words {
        for (member, stream) in streams.iter_mut().enumerate() {
            stream.write_all(&frame(SAY, &[member as u8, word])).expect("the server reads");
        }
    }
    let heard: Vec<Vec<_>> = streams
        .iter_mut()
        .map(|stream| (0..u32::from(members) * u32::from(words)).map(|_| read(stream).1).collect())
        .collect();
    for (number, said) in heard[0].iter().enumerate() {
        assert_eq!(said[..4], (number as u32).to_le_bytes());
    }
    for member in 0..members {
        let of_one: Vec<_> = heard[0].iter().filter(|said| said[4] == member).map(|said| said[5]).collect();
        assert_eq!(of_one, (0..words).collect::<Vec<_>>(), "member {member} is heard in its order");
    }
    assert!(heard.iter().all(|heard_by_one| *heard_by_one == heard[0]), "one order for everybody");
    drop(streams);
    until("everybody has left", || counters.leaves.load(Ordering::SeqCst) == u64::from(members));
    service.stop(Duration::from_secs(5))
}

#[test]
fn everybody_hears_one_order_when_workers_run_the_room() {
    let stats = everybody_hears_one_order(server(), RoomOptions::new());
    assert_eq!(stats.rooms.handed_over_total, 0);
}

#[test]
fn everybody_hears_one_order_when_workers_take_turns_with_a_group() {
    let server = server().group(GroupOptions::new("logic").threads(2).concurrency(2));
    let stats = everybody_hears_one_order(server, RoomOptions::new().budget(PATIENCE, 1));
    assert!(stats.rooms.handed_over_total > 0, "a budget of one event is always spent");
}

#[test]
fn everybody_hears_one_order_when_the_rest_waits_for_the_next_turn() {
    let stats = everybody_hears_one_order(server(), RoomOptions::new().budget(PATIENCE, 1));
    assert_eq!(stats.rooms.dropped_total, 0);
}

#[test]
fn each_message_counts_as_delivered_once_for_each_member_who_hears_it() {
    let service = hall(server(), RoomOptions::new(), &Arc::default());
    let mut streams: Vec<_> = (0..4).map(|_| join(service.addresses()[0])).collect();
    for id in [SAY_TWICE, SAY_TO_OTHERS, SAY_TWICE] {
        streams[0].write_all(&frame(id, b"others")).expect("the server reads");
    }
    for (member, stream) in streams.iter_mut().enumerate() {
        let heard = [&b"one"[..], b"two", b"others", b"one", b"two"];
        for said in heard.into_iter().filter(|said| member > 0 || *said != b"others") {
            assert_eq!(read(stream), (SAY, said.to_vec()));
        }
    }
    let stats = service.stop(Duration::from_secs(5));
    assert_eq!(stats.deliveries, 4 * 2 + 3 + 4 * 2);
}

#[test]
fn sessions_that_die_leave_once_and_the_service_closes_the_room_behind_the_last() {
    let counters = Arc::new(Books::default());
    let service = hall(server(), RoomOptions::new(), &counters);
    let mut streams: Vec<_> = (0..30).map(|_| join(service.addresses()[0])).collect();
    for (number, stream) in streams.drain(..20).enumerate() {
        if number % 2 == 0 {
            // A reset instead of an orderly end.
            socket_that_resets(&stream);
        }
    }
    until("twenty are gone", || counters.leaves.load(Ordering::SeqCst) == 20);
    assert_eq!(counters.joins.load(Ordering::SeqCst), 30);
    let stats = service.stop(Duration::from_secs(5));
    assert_eq!(counters.leaves.load(Ordering::SeqCst), 30);
    assert_eq!((counters.closes.load(Ordering::SeqCst), stats.rooms.live), (1, 0));
}

fn socket_that_resets(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    socket.set_linger(Some(Duration::ZERO)).expect("a socket takes a linger time");
}

#[test]
fn a_panic_ends_the_room_with_its_members_and_the_next_one_finds_a_new_room() {
    let counters = Arc::new(Books::default());
    let service = hall(server(), RoomOptions::new(), &counters);
    let mut streams: Vec<_> = (0..6).map(|_| join(service.addresses()[0])).collect();
    streams[3].write_all(&frame(PANIC, &[])).expect("the server reads");
    for stream in &mut streams {
        assert_eq!(stream.read(&mut [0; 8]).expect("an end, not a reset"), 0);
    }
    drop(streams);
    until("all are told", || service.stats().ended.get("room_closed") == Some(&6));
    let mut again = join(service.addresses()[0]);
    again.write_all(&frame(SAY, b"hi")).expect("the server reads");
    assert_eq!(read(&mut again), (SAY, b"\0\0\0\0hi".to_vec()), "a new room counts from the start");
    drop(again);
    let stats = service.stop(Duration::from_secs(5));
    assert_eq!(stats.rooms.panics_total, 1);
}

#[test]
fn a_full_mailbox_drops_what_is_new_and_counts_it() {
    let counters = Arc::new(Books::default());
    let (hold, held) = mpsc::channel();
    let slot = Arc::new(std::sync::Mutex::new(Some(held)));
    let server = server().group(GroupOptions::new("logic").threads(1));
    // A budget of zero: everything after the first event of a run goes to the group, and so does the wait.
    let options = RoomOptions::new().mailbox(4, 1 << 20).budget(Duration::ZERO, 1);
    let of_room = Arc::clone(&counters);
    let make = move || {
        let hold = slot.lock().expect("not poisoned").take();
        Hall { hold, ..Hall::new(&of_room) }
    };
    let service = server.room(options, make).start().expect("a server");
    let mut talks = join(service.addresses()[0]);
    talks.write_all(&[frame(SAY, b"a"), frame(WAIT, &[])].concat()).expect("the server reads");
    assert_eq!(read(&mut talks).0, SAY);
    until("the room waits in the group", || service.stats().rooms.handed_over_total > 0);
    for _ in 0..100 {
        talks.write_all(&frame(SAY, b"b")).expect("the server reads");
    }
    until("some are dropped", || {
        let stats = service.stats();
        stats.packets == 102 && stats.rooms.dropped_total > 0
    });
    drop(hold);
    let mut heard = 0;
    // What was not dropped is heard: else this waits in vain.
    while heard + service.stats().rooms.dropped_total < 100 {
        assert_eq!(read(&mut talks).0, SAY);
        heard += 1;
    }
    service.stop(Duration::from_secs(5));
    assert_eq!(talks.read(&mut [0; 8]).expect("an orderly end"), 0, "and nothing else");
}

#[test]
fn a_full_mailbox_ends_who_fills_it_if_it_shall() {
    let counters = Arc::new(Books::default());
    let options = RoomOptions::new().mailbox(1, 8).when_full(RoomFull::EndSession);
    let service = hall(server(), options, &counters);
    let mut talks = join(service.addresses()[0]);
    talks.write_all(&frame(SAY, b"too long for it")).expect("the server reads");
    until("it ends", || service.stats().ended.get("room_full") == Some(&1));
    service.stop(Duration::from_secs(5));
}

#[test]
fn a_server_does_not_start_with_a_room_that_makes_no_sense() {
    let refused = |options: RoomOptions| {
        let started = server().room(options, || Hall::new(&Arc::default())).start();
        started.expect_err("no session could ever join").to_string()
    };
    assert!(refused(RoomOptions::new().tick_hz(0)).contains("ticks 1 to 1,000 times a second"));
    assert!(refused(RoomOptions::new().mailbox(0, 1 << 20)).contains("mailbox must hold something"));
    assert!(refused(RoomOptions::new().members_max(0)).contains("members_max must not be 0"));
}

#[test]
fn calls_from_other_threads_come_in_their_order_with_and_without_a_group() {
    for server in [server(), server().group(GroupOptions::new("logic").threads(2))] {
        let service = server.session(|| Idle).start().expect("a server");
        let counters = Arc::new(Books::default());
        let room = service.handle().open_room(Hall::new(&counters), RoomOptions::new()).expect("a room");
        let (told, tells) = mpsc::channel();
        for number in 0..1000_u32 {
            let told = told.clone();
            let call = move |hall: &mut Hall, _: &mut Cx<'_, Hall>| {
                hall.alone(|hall| {
                    hall.said += 1;
                    told.send((number, hall.said)).expect("the test listens");
                });
            };
            room.call(call).expect("the room is open");
        }
        for number in 0..1000 {
            assert_eq!(tells.recv_timeout(PATIENCE), Ok((number, number + 1)));
        }
        room.close();
        until("the room is closed", || room.is_closed());
        assert!(room.call(|_, _| ()).is_err());
        assert_eq!(counters.closes.load(Ordering::SeqCst), 1);
        service.stop(Duration::from_secs(5));
    }
}

#[test]
fn calls_that_find_no_room_are_refused() {
    let service =
        server().group(GroupOptions::new("logic").threads(1)).session(|| Idle).start().expect("a server");
    let counters = Arc::new(Books::default());
    let room = service.handle().open_room(Hall::new(&counters), RoomOptions::new()).expect("a room");
    let (hold, held) = mpsc::channel::<()>();
    let (begin, begun) = mpsc::channel();
    let wait = move |_: &mut Hall, _: &mut Cx<'_, Hall>| {
        begin.send(()).expect("the test listens");
        held.recv().expect_err("nothing is ever sent");
    };
    room.call(wait).expect("there is room");
    begun.recv_timeout(PATIENCE).expect("the first call begins");
    let taken = (0..70_000).filter(|_| room.call(|hall, _| hall.said += 1).is_ok()).count();
    assert_eq!(taken, 65_536);
    drop(hold);
    let (told, tells) = mpsc::channel();
    until("there is room again", || {
        let told = told.clone();
        room.call(move |hall, _| told.send(hall.said).expect("the test listens")).is_ok()
    });
    assert_eq!(tells.recv_timeout(PATIENCE), Ok(65_536), "what was taken was carried out");
    service.stop(Duration::from_secs(5));
}

struct Idle;

impl Session for Idle {}

#[test]
fn a_room_without_members_ticks_and_stops_with_the_service() {
    let service = server().session(|| Idle).start().expect("a server");
    let counters = Arc::new(Books::default());
    let options = RoomOptions::new().tick_hz(200);
    let rooms: Vec<_> = (0..3)
        .map(|_| service.handle().open_room(Hall::new(&counters), options.clone()).expect("a room"))
        .collect();
    until("they tick", || counters.ticks.load(Ordering::SeqCst) >= 30);
    let stats = service.stop(Duration::from_secs(5));
    assert_eq!(counters.ticks.load(Ordering::SeqCst), stats.rooms.ticks_total);
    assert_eq!(stats.rooms.jitter.count, stats.rooms.ticks_total);
    assert_eq!((counters.closes.load(Ordering::SeqCst), stats.rooms.live), (3, 0));
    assert!(rooms.iter().all(RoomRef::is_closed));
}

/// Takes longer for a tick than its period.
struct Sluggish(Arc<Books>);

impl Room for Sluggish {
    type Member = ();

    fn on_join(&mut self, _cx: &mut Cx<'_, Self>, _member: SessionId) {
        self.0.joins.fetch_add(1, Ordering::SeqCst);
    }

    fn on_leave(&mut self, _cx: &mut Cx<'_, Self>, _member: SessionId, _data: (), _why: LeaveReason) {
        self.0.leaves.fetch_add(1, Ordering::SeqCst);
    }

    fn on_tick(&mut self, _cx: &mut Cx<'_, Self>, _tick: u64) {
        self.0.ticks.fetch_add(1, Ordering::SeqCst);
        let millis = if self.0.leaves.load(Ordering::SeqCst) < 20 { 12 } else { 200 };
        std::thread::sleep(Duration::from_millis(millis));
    }

    fn on_close(&mut self, _cx: &mut Cx<'_, Self>) {
        self.0.closes.fetch_add(1, Ordering::SeqCst);
    }
}

/// Ticks that overrun are skipped: joins and leaves are processed, and the room ends with its service.
fn a_room_that_always_ticks_hears_its_members(server: Server, options: RoomOptions) {
    let counters = Arc::<Books>::default();
    let make = {
        let counters = Arc::clone(&counters);
        move || Sluggish(Arc::clone(&counters))
    };
    let options = options.tick_every(Duration::from_millis(10));
    let service = server.room(options, make).start().expect("it starts");
    let address = service.addresses()[0];
    let said = |which: &AtomicU64| which.load(Ordering::SeqCst);
    let members: Vec<TcpStream> = (0..20).map(|_| connect(address)).collect();
    until("all are in", || said(&counters.joins) == 20);
    let ticked = said(&counters.ticks);
    until("it ticks on", || said(&counters.ticks) > ticked + 3);
    drop(members);
    until("all have left", || said(&counters.leaves) == 20);
    let ticked = said(&counters.ticks);
    until("it ticks on without them", || said(&counters.ticks) > ticked + 3);
    let (ended, end) = mpsc::channel();
    std::thread::spawn(move || ended.send(service.stop(Duration::from_secs(5))).expect("it is waited for"));
    let stats = end.recv_timeout(PATIENCE).expect("it stops");
    assert_eq!((said(&counters.closes), stats.rooms.live), (1, 0));
}

#[test]
fn a_room_that_always_ticks_hears_its_members_on_a_worker() {
    a_room_that_always_ticks_hears_its_members(server(), RoomOptions::new());
}

#[test]
fn a_room_that_always_ticks_hears_its_members_on_a_group() {
    let server = server().group(GroupOptions::new("logic").threads(1));
    a_room_that_always_ticks_hears_its_members(server, RoomOptions::new().group("logic"));
}
