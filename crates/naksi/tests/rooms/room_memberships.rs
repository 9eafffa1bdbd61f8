//! Tests of which output reaches which members while they join, leave and end: in rooms on workers and in a group.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use naksi::engine::ServiceCore;
use naksi::engine::Worker;
use naksi::prelude::*;
use naksi_os::OsPort;
use naksi_os::port::{ListenOptions, Port, PortOptions};

use super::served::{PATIENCE, connect, frame, read, until};

const SAY: u16 = 10;
const ASK_DATA: u16 = 11;
const AGAIN: u16 = 12;
const MARK: u16 = 13;
const WAIT: u16 = 14;
const HELLO: u16 = 20;
const NEWS: PacketClass = PacketClass { number: 1, lag_policy: LagPolicy::DropNew };

packets! { TABLE { 30 => Note { text: String } } }

/// Says back to everybody what they say.
#[derive(Default)]
struct Parrot {
    hold: Option<mpsc::Receiver<()>>,
}

impl Room for Parrot {
    type Member = ();

    fn on_join(&mut self, cx: &mut Cx<'_, Self>, member: SessionId) {
        cx.send_packet(member, HELLO, &[]);
    }

    fn on_packet(&mut self, cx: &mut Cx<'_, Self>, from: SessionId, packet: Packet<'_>) {
        match packet.id {
            ASK_DATA => {
                cx.send_droppable(from, NEWS, 0, &Note { text: "news".into() });
            }
            WAIT => drop(self.hold.as_ref().map(mpsc::Receiver::recv)),
            _ => {
                cx.send_packet(from, packet.id, packet.body);
            }
        }
    }
}

/// The room of a test; the first session opens it, unless the test has.
type Place = Arc<OnceLock<RoomRef<Parrot>>>;

/// Joins the room at once; leaves it and joins again on request.
struct Regular(Place);

impl Regular {
    fn room(&self) -> RoomRef<Parrot> {
        self.0.get().expect("a member has opened it").clone()
    }
}

impl Session for Regular {
    const FRAMING: Framing = Framing::Packets;

    fn on_connected(&mut self, c: &mut Conn<'_>) {
        let open = || c.open_room(Parrot::default(), RoomOptions::new()).expect("the defaults make sense");
        let room = self.0.get_or_init(open).clone();
        assert!(c.join_room(&room, ()));
    }

    fn on_packet(&mut self, c: &mut Conn<'_>, packet: Packet<'_>) {
        match packet.id {
            AGAIN => assert!(c.leave_room(&self.room()) && c.join_room(&self.room(), ())),
            MARK => {
                c.send(packet.frame);
            }
            _ => assert_eq!(c.room_send_packet(&self.room(), packet), SendStatus::Queued),
        }
    }
}

/// A service of one worker whose sessions are all in one room.
fn serve(server: Server, options: RoomOptions, room: Parrot) -> (Service, RoomRef<Parrot>) {
    let place = Place::default();
    let of_sessions = Arc::clone(&place);
    let server = server.listen("127.0.0.1:0").workers(1);
    let service = server.session(move || Regular(Arc::clone(&of_sessions))).start().expect("a server");
    let room = service.handle().open_room(room, options).expect("options that make sense");
    assert!(place.set(room.clone()).is_ok());
    (service, room)
}

fn join(service: &Service) -> TcpStream {
    let mut stream = connect(service.addresses()[0]);
    assert_eq!(read(&mut stream), (HELLO, Vec::new()));
    stream
}

fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("an orderly end");
    bytes
}

#[test]
fn a_peer_that_says_its_end_at_once_still_hears_what_the_room_answers() {
    let mut port = OsPort::open(&PortOptions::default()).expect("a port");
    let any = "127.0.0.1:0".parse().expect("an address");
    let (listener, address) = port.listen(any, &ListenOptions::default()).expect("a listener");
    let service_core = Arc::new(ServiceCore::new(1, Limits::default()));
    let factory = Arc::new(|_: &ConnectionInfo| Regular(Place::default()));
    let mut worker = Worker::new(0, port, Arc::clone(&service_core), factory);
    worker.add_listener(listener);
    service_core.begin();
    // Everything is sent before the worker's first read, so the data and its end arrive together.
    let mut client = connect(address);
    client.write_all(&[frame(SAY, b"my"), frame(SAY, b"last words")].concat()).expect("there is room");
    client.shutdown(Shutdown::Write).expect("a live socket");
    while service_core.stats().disconnected_total == 0 || worker.sessions() > 0 {
        worker.turn().expect("the port works");
    }
    let heard = [frame(HELLO, b""), frame(SAY, b"my"), frame(SAY, b"last words")].concat();
    assert_eq!(read_to_end(&mut client), heard);
}

/// A service whose room waits in a group for as long as the test holds the other end, and so does the session that
/// made it wait.
fn held_in_a_group(limits: Limits) -> (Service, mpsc::Sender<()>, TcpStream) {
    let (hold, held) = mpsc::channel();
    let server = Server::new().limits(limits).group(GroupOptions::new("logic").threads(1));
    // A budget of zero: everything after the first event of a run goes to the group, and so does the wait.
    let options = RoomOptions::new().budget(Duration::ZERO, 1);
    let (service, _) = serve(server, options, Parrot { hold: Some(held) });
    let mut holder = join(&service);
    holder.write_all(&[frame(SAY, b"a"), frame(WAIT, b"")].concat()).expect("the server reads");
    assert_eq!(read(&mut holder), (SAY, b"a".to_vec()));
    until("the room waits in the group", || service.stats().rooms.handed_over_total > 0);
    (service, hold, holder)
}

/// Waits until everything sent before has been processed: the worker answers after it.
fn fence(stream: &mut TcpStream) {
    stream.write_all(&frame(MARK, b"fence")).expect("the server reads");
    assert_eq!(read(stream), (MARK, b"fence".to_vec()));
}

#[test]
fn a_peer_that_says_its_end_still_hears_what_a_room_in_a_group_answers() {
    let (service, hold, mut holder) = held_in_a_group(Limits { drain_within: PATIENCE, ..Limits::default() });
    let mut talks = connect(service.addresses()[0]);
    talks.write_all(&frame(SAY, b"last words")).expect("the server reads");
    talks.shutdown(Shutdown::Write).expect("a live socket");
    until("its words are with the room", || service.stats().packets == 3);
    fence(&mut holder);
    fence(&mut holder);
    drop(hold);
    assert_eq!(read_to_end(&mut talks), [frame(HELLO, b""), frame(SAY, b"last words")].concat());
    until("it has ended", || service.stats().ended.get("peer_closed") == Some(&1));
    service.stop(Duration::from_secs(5));
}

#[test]
fn a_room_that_does_not_answer_keeps_no_session_for_longer_than_it_may_drain() {
    let limits = Limits { drain_within: Duration::from_millis(20), ..Limits::default() };
    let (service, hold, _holder) = held_in_a_group(limits);
    let mut talks = connect(service.addresses()[0]);
    talks.write_all(&frame(SAY, b"last words")).expect("the server reads");
    talks.shutdown(Shutdown::Write).expect("a live socket");
    assert_eq!(read_to_end(&mut talks), b"");
    until("it has ended", || service.stats().ended.get("peer_closed") == Some(&1));
    drop(hold);
    service.stop(Duration::from_secs(5));
}

#[test]
fn what_a_room_says_to_who_was_in_it_is_not_for_who_comes_back() {
    let (service, _) = serve(Server::new(), RoomOptions::new(), Parrot::default());
    let mut stream = join(&service);
    // One write, so that the session has joined the room again when the answers arrive.
    let asked = [frame(SAY, b"before"), frame(ASK_DATA, b""), frame(AGAIN, b"")].concat();
    stream.write_all(&asked).expect("the server reads");
    assert_eq!(read(&mut stream), (HELLO, Vec::new()), "it was not in it any more when it was answered");
    let deliveries = service.stats().deliveries;
    assert_eq!(deliveries, 0, "and nothing counts as delivered");
    stream.write_all(&[frame(SAY, b"after"), frame(ASK_DATA, b"")].concat()).expect("the server reads");
    assert_eq!(read(&mut stream), (SAY, b"after".to_vec()));
    assert_eq!(read(&mut stream).0, 30);
    service.stop(Duration::from_secs(5));
}

#[test]
fn what_a_member_has_no_room_for_is_no_delivery_and_each_message_of_it_is_dropped() {
    const CALLS: u64 = 60;
    const MESSAGES: u64 = 30;
    let limits = Limits {
        send_queue_bytes_max: 64 * 1024,
        send_queue_high_bytes: 4096,
        send_queue_low_bytes: 1024,
        kernel_send_bytes_max: 4096,
        overflow: Overflow::DropNew,
        ..Limits::default()
    };
    let (service, room) = serve(Server::new().limits(limits), RoomOptions::new(), Parrot::default());
    let mut slow = join(&service);
    for _ in 0..CALLS {
        let speak = |_: &mut Parrot, cx: &mut Cx<'_, Parrot>| {
            // One behind the other they are one piece.
            for _ in 0..MESSAGES {
                cx.broadcast_packet(SAY, &[7; 1000]);
            }
        };
        room.call(speak).expect("the room is open");
    }
    until("all of it is said", || service.stats().rooms.events_total == 1 + 1 + CALLS);
    // Its answer comes behind whatever was queued before.
    slow.write_all(&frame(MARK, b"")).expect("there is room");
    let heard = std::iter::from_fn(|| Some(read(&mut slow).0).filter(|id| *id == SAY)).count() as u64;
    assert!((1..CALLS * MESSAGES).contains(&heard), "it was slow, and heard {heard}");
    assert_eq!(service.stats().deliveries, heard);
    drop(slow);
    let stats = service.stop(Duration::from_secs(5));
    assert_eq!(stats.dropped, CALLS * MESSAGES - heard);
}
