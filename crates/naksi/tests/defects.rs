//! What goes wrong in the server library that the course builds by hand, and does not here.
//!
//! | there | here |
//! |---|---|
//! | a frame of size 0 loops a worker for ever | `frames_of_size_zero_hold_up_nobody` |
//! | 640 KiB of receive buffer a session, zeroed, also for accepts that wait | `sessions_that_are_silent_hold_no_receive_buffer` |
//! | a send queue without bound | `engine/limits.rs`, `naksi-cli/tests/slow_reader.rs` |
//! | a broadcast holds a lock while it writes to everybody | `a_member_that_stalls_holds_up_nobody_in_its_room` |
//! | a failed accept calls itself; nothing ever stops | `naksi-sim/tests/pressure.rs`, `engine/shutdown.rs` |
//! | an error that is neither reset nor abort leaves a zombie | the simulated worlds (`naksi-sim`), law 8 |
//! | timers in steps of 15.6 ms, without cancel; idle servers wake up all the time | `an_idle_server_sleeps`, `engine/remote.rs`, `rooms/alone.rs` |
//! | one slow query stalls its share of all sockets | `a_database_that_stands_still_holds_up_no_session` |
//! | job queues without bound, fairness or a net under them | `a_room_that_is_never_done_leaves_others_their_turn`, `groups.rs`, `rooms/served.rs` |
//! | no limits of rate, no half-open detection, no counters, no tests, one system | `engine/limits.rs`, `naksi attack`, the gate |

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use naksi::prelude::*;

const PATIENCE: Duration = Duration::from_secs(20);

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn server() -> Server {
    Server::new().listen("127.0.0.1:0").workers(1)
}

fn connect(service: &Service) -> TcpStream {
    let stream = TcpStream::connect(service.addresses()[0]).expect("the server accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a time limit");
    stream.set_nodelay(true).expect("a socket takes TCP_NODELAY");
    stream
}

/// A packet goes there and comes back.
fn echo(stream: &mut TcpStream) {
    let frame = [6, 0, 9, 0, b'h', b'i'];
    let mut back = [0; 6];
    stream.write_all(&frame).expect("the server reads");
    stream.read_exact(&mut back).expect("the server answers");
    assert_eq!(back, frame);
}

struct Echo;

impl Session for Echo {
    const FRAMING: Framing = Framing::Packets;

    fn on_packet(&mut self, c: &mut Conn<'_>, packet: Packet<'_>) {
        c.send(packet.frame);
    }
}

#[test]
fn frames_of_size_zero_hold_up_nobody() {
    let service = server().session(|| Echo).start().expect("a server");
    let mut good = connect(&service);
    let mut bad: Vec<_> = (0..6).map(|_| connect(&service)).collect();
    for stream in &mut bad {
        stream.write_all(&[0; 4]).expect("the server reads");
    }
    echo(&mut good);
    until("they are ended", || service.stats().ended.get("frame_too_short") == Some(&6));
    echo(&mut good);
    service.stop(Duration::from_secs(5));
}

#[test]
fn sessions_that_are_silent_hold_no_receive_buffer() {
    let service = server().session(|| Echo).start().expect("a server");
    let mut streams: Vec<_> = (0..200).map(|_| connect(&service)).collect();
    streams.iter_mut().for_each(echo);
    let held = || (service.stats().leases_out, service.stats().recv_backlog_bytes);
    until("everything is home", || held() == (0, 0));
    assert_eq!(service.stats().live, 200);
    service.stop(Duration::from_secs(5));
}

/// Tells everybody what anybody says.
struct Loud;

impl Room for Loud {
    type Member = ();

    fn on_packet(&mut self, cx: &mut Cx<'_, Self>, _from: SessionId, packet: Packet<'_>) {
        cx.broadcast_packet(packet.id, packet.body);
    }
}

#[test]
fn a_member_that_stalls_holds_up_nobody_in_its_room() {
    let service = server().room(RoomOptions::new(), || Loud).start().expect("a server");
    let stalled = connect(&service);
    let mut good = connect(&service);
    echo(&mut good);
    // Until the session that never reads is ended for it, and after that.
    let body = [7; 16_000];
    let frame = [&naksi::frame::header(9, body.len()).expect("a short body")[..], &body].concat();
    let mut back = vec![0; frame.len()];
    let mut rounds = 0;
    while !service.stats().ended.contains_key("send_queue_full") {
        good.write_all(&frame).expect("the server reads");
        good.read_exact(&mut back).expect("the room answers");
        rounds += 1;
        assert!(rounds < 20_000, "320 MB fit no pair of socket buffers");
    }
    echo(&mut good);
    drop(stalled);
    service.stop(Duration::from_secs(5));
}

#[test]
fn an_idle_server_sleeps() {
    let service = server().workers(4).session(|| Echo).start().expect("a server");
    let mut streams: Vec<_> = (0..50).map(|_| connect(&service)).collect();
    streams.iter_mut().for_each(echo);
    // The engine's turns are counted, not time, so a busy machine changes nothing.
    until("all is quiet", || {
        let before = service.stats().turns;
        std::thread::sleep(Duration::from_millis(300));
        service.stats().turns - before <= 4
    });
    service.stop(Duration::from_secs(5));
}

/// Asks a database that does not answer, and goes on.
struct Asker(mpsc::SyncSender<mpsc::Sender<()>>);

impl Session for Asker {
    const FRAMING: Framing = Framing::Packets;

    fn on_connected(&mut self, c: &mut Conn<'_>) {
        let (answer, asked) = (mpsc::channel(), self.0.clone());
        let query = move || {
            asked.send(answer.0).ok();
            answer.1.recv().expect_err("the test lets go");
        };
        c.group("db").expect("it is declared").post(query).expect("there is room");
    }

    fn on_packet(&mut self, c: &mut Conn<'_>, packet: Packet<'_>) {
        c.send(packet.frame);
    }
}

#[test]
fn a_database_that_stands_still_holds_up_no_session() {
    let (asked, queries) = mpsc::sync_channel(100);
    let server = server().group(GroupOptions::new("db").threads(1));
    let service = server.session(move || Asker(asked.clone())).start().expect("a server");
    let mut streams: Vec<_> = (0..50).map(|_| connect(&service)).collect();
    let first = queries.recv_timeout(PATIENCE).expect("a query has begun");
    for _ in 0..20 {
        streams.iter_mut().for_each(echo);
    }
    let waiting = service.stats().groups[0].depth;
    assert_eq!((waiting, service.stats().groups[0].done_total), (49, 0), "and none has been answered");
    drop(first);
    std::thread::scope(|scope| {
        scope.spawn(move || queries.iter().take(49).for_each(drop));
        let stats = service.stop(Duration::from_secs(10));
        assert_eq!(stats.groups[0].done_total, 50, "all are, in the end");
    });
}

/// Has always something to do.
struct Restless;

impl Restless {
    fn again(cx: &mut Cx<'_, Self>) {
        if let Some(room) = cx.room() {
            room.call(|_, cx| Self::again(cx)).ok(); // It is ending, and so is this.
        }
    }
}

impl Room for Restless {
    type Member = ();

    fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
        Self::again(cx);
    }
}

#[test]
fn a_room_that_is_never_done_leaves_others_their_turn() {
    for server in [server(), server().group(GroupOptions::new("logic").threads(1))] {
        let service = server.room(RoomOptions::new(), || Loud).start().expect("a server");
        let restless = service.handle().open_room(Restless, RoomOptions::new()).expect("a room");
        let mut stream = connect(&service);
        for _ in 0..100 {
            echo(&mut stream);
        }
        service.stop(Duration::from_secs(5));
        assert!(restless.is_closed());
    }
}
