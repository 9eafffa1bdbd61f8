//! Tests of log lines about slow callbacks and peers: who, with what, how long, how much.

use std::fmt::{self, Write as _};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

use naksi::packets::{decode, encode};
use naksi::prelude::*;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};

const PATIENCE: Duration = Duration::from_secs(20);

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "waited in vain for: {what}\n{}", lines().join("\n"));
        std::thread::sleep(Duration::from_millis(2));
    }
}

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Keeps every line of the log.
struct Keeper;

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        write!(self.0, " {}={value:?}", field.name()).expect("a string takes all");
    }
}

impl tracing::Subscriber for Keeper {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::WARN
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        LINES.lock().unwrap_or_else(PoisonError::into_inner).push(line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

fn keep_lines() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(Keeper).expect("no other subscriber is set"));
}

fn lines() -> Vec<String> {
    LINES.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn logged(words: &[&str]) -> bool {
    lines().iter().any(|line| words.iter().all(|word| line.contains(word)))
}

packets! {
    SLOW {
        71 => Dawdle { millis: u64 }
        72 => Value { key: u64, value: u32, filling: Vec<u8> }
        73 => Nap { millis: u64 }
    }
}

fn connect(service: &Service) -> TcpStream {
    let stream = TcpStream::connect(service.addresses()[0]).expect("the server accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a time limit");
    stream
}

struct Pupil;

impl Session for Pupil {
    const FRAMING: Framing = Framing::Packets;

    fn on_packet(&mut self, c: &mut Conn<'_>, packet: Packet<'_>) {
        c.send(packet.frame);
    }
}

#[test]
fn recordings_without_space_are_named_once_for_all_workers() {
    keep_lines();
    let folder =
        std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("space-{}", std::process::id()));
    // Less than a header takes, so that every worker has too little.
    let record = RecordOptions::new(&folder).run_bytes_max(17);
    let service = Server::new().listen("127.0.0.1:0").workers(3).record(record).session(|| Pupil).start();
    let service = service.expect("it starts");
    let frame = [5, 0, 71, 0, 0];
    for _ in 0..6 {
        let mut stream = connect(&service);
        stream.write_all(&frame).expect("the server reads");
        stream.read_exact(&mut [0; 5]).expect("the server answers");
    }
    let stats = service.stop(Duration::from_secs(5));
    // Each session began, said something and ended.
    assert_eq!(stats.record_lost_total, 18);
    let told: Vec<_> =
        lines().into_iter().filter(|line| line.contains("as many bytes as they may")).collect();
    assert!(told.len() == 1 && told[0].contains("bytes_max=17"), "{told:?}");
}

/// Has `on_packet` but lacks the `FRAMING` that makes the engine call it.
struct NoFraming;

impl Session for NoFraming {
    fn on_packet(&mut self, c: &mut Conn<'_>, packet: Packet<'_>) {
        c.send(packet.frame);
    }
}

/// Lacks `on_packet`.
struct NoPacket;

impl Session for NoPacket {
    const FRAMING: Framing = Framing::Packets;
}

fn end_at_first_bytes<S: Session>(make: fn() -> S) {
    let service = Server::new().listen("127.0.0.1:0").workers(1).session(make).start().expect("a server");
    let mut stream = connect(&service);
    stream.write_all(&[5, 0, 71, 0, 0]).expect("the server reads");
    until("it is over", || service.stats().disconnected_total == 1);
}

#[test]
fn the_line_that_a_session_type_lacks_is_named() {
    keep_lines();
    end_at_first_bytes(|| NoFraming);
    assert!(logged(&["NoFraming", "const FRAMING: Framing = Framing::Packets;", "on_recv", "bytes=5"]));
    end_at_first_bytes(|| NoPacket);
    assert!(logged(&["NoPacket", "on_packet", "id=71"]));
}

struct Dawdler;

impl Session for Dawdler {
    const FRAMING: Framing = Framing::Packets;

    fn on_packet(&mut self, _c: &mut Conn<'_>, packet: Packet<'_>) {
        if let Ok(Dawdle { millis }) = decode(packet.body) {
            std::thread::sleep(Duration::from_millis(millis));
        }
    }
}

impl Room for Dawdler {
    type Member = ();

    fn routes(routes: &mut Routes<Self>) {
        routes.on(Self::dawdle);
    }
}

impl Dawdler {
    fn dawdle(&mut self, _cx: &mut Cx<'_, Self>, _from: SessionId, dawdle: Dawdle) {
        std::thread::sleep(Duration::from_millis(dawdle.millis));
    }
}

#[test]
fn a_callback_after_a_long_quiet_is_named_as_well() {
    keep_lines();
    let service = Server::new().listen("127.0.0.1:0").workers(1).session(|| Dawdler).start();
    let service = service.expect("a server");
    let mut stream = connect(&service);
    for nap in 1..=3 {
        // By now the watchdog dozes.
        std::thread::sleep(Duration::from_millis(1_700));
        stream.write_all(&encode(&Nap { millis: 600 }).expect("it fits")).expect("the server reads");
        let is_it = |line: &&String| line.contains("packet=73") && line.contains("holds its thread");
        until("it is named", || lines().iter().filter(is_it).count() >= nap);
    }
    service.stop(Duration::from_secs(5));
}

#[test]
fn a_callback_that_holds_its_thread_is_named_with_its_packet_and_its_time() {
    keep_lines();
    let server = || Server::new().listen("127.0.0.1:0").workers(1);
    let of_sessions = server().session(|| Dawdler).start().expect("a server");
    let of_rooms = server().room(RoomOptions::new(), || Dawdler).start().expect("a server");
    for (service, who) in [(of_sessions, "who=Session("), (of_rooms, "who=Room(1)")] {
        let mut stream = connect(&service);
        stream.write_all(&encode(&Dawdle { millis: 800 }).expect("it fits")).expect("the server reads");
        until("it is named while it runs", || logged(&[who, "packet=71", "holds its thread", "naksi-io-0"]));
        until("and when it is over", || logged(&[who, "packet=71", "held=", "is over"]));
        service.stop(Duration::from_secs(5));
    }
}

/// Takes long to be made, to be disconnected, and to be dropped.
struct Heavy;

const HEAVY: Duration = Duration::from_millis(600);

impl Heavy {
    fn new() -> Self {
        std::thread::sleep(HEAVY);
        Self
    }
}

impl Drop for Heavy {
    fn drop(&mut self) {
        std::thread::sleep(HEAVY);
    }
}

impl Session for Heavy {
    fn on_connected(&mut self, c: &mut Conn<'_>) {
        c.close(DisconnectReason::Handler);
    }

    fn on_disconnected(&mut self, _: DisconnectReason) {
        std::thread::sleep(HEAVY);
    }
}

impl Room for Heavy {
    type Member = ();
}

#[test]
fn a_slow_factory_goodbye_or_destructor_is_named_as_what_it_is() {
    keep_lines();
    let server = || Server::new().listen("127.0.0.1:0").workers(1);
    let service = server().session(Heavy::new).start().expect("a server");
    let _stream = connect(&service);
    for words in [
        ["who=Connecting(", "what=\"factory\""],
        ["who=Session(", "what=\"on_disconnected\""],
        ["who=Session(", "what=\"destructor\""],
    ] {
        until("it is named while it runs", || logged(&[words[0], words[1], "holds its thread"]));
        until("and when it is over", || logged(&[words[0], words[1], "held=", "is over"]));
    }
    let room = service.handle().open_room(Heavy, RoomOptions::new()).expect("a room");
    room.call(|_, cx| cx.close()).expect("the room is open");
    until("a room's is named", || logged(&["who=Room(", "what=\"destructor\"", "holds its thread"]));
    service.stop(Duration::from_secs(5));
}

const LATEST: PacketClass = PacketClass { number: 7, lag_policy: LagPolicy::Latest };
const OR_ELSE: PacketClass = PacketClass { number: 9, lag_policy: LagPolicy::End };

struct Board;

impl Room for Board {
    type Member = ();
}

fn board(limits: Limits) -> (Service, RoomRef<Board>) {
    let server = Server::new().listen("127.0.0.1:0").workers(2).limits(limits);
    struct Viewer(Option<RoomRef<Board>>);
    impl Session for Viewer {
        fn on_connected(&mut self, c: &mut Conn<'_>) {
            if let Some(room) = &self.0 {
                c.join_room(room, ());
            }
        }
    }
    let slot: std::sync::Arc<Mutex<Option<RoomRef<Board>>>> = std::sync::Arc::default();
    let of_sessions = std::sync::Arc::clone(&slot);
    let make = move || Viewer(of_sessions.lock().expect("not poisoned").clone());
    let service = server.session(make).start().expect("a server");
    let room = service.handle().open_room(Board, RoomOptions::new()).expect("a room");
    *slot.lock().expect("not poisoned") = Some(room.clone());
    (service, room)
}

fn read_value(stream: &mut TcpStream) -> Value {
    let mut header = [0; 4];
    stream.read_exact(&mut header).expect("the server sends");
    let mut body = vec![0; usize::from(u16::from_le_bytes([header[0], header[1]])) - 4];
    stream.read_exact(&mut body).expect("the server sends");
    decode(&body).expect("whole messages")
}

fn publish(room: &RoomRef<Board>, class: PacketClass, rounds: u32) {
    for value in 0..rounds {
        let say = move |_: &mut Board, cx: &mut Cx<'_, Board>| {
            for key in 0..KEYS {
                cx.broadcast_droppable(class, key, &Value { key, value, filling: vec![1; 1_000] });
            }
        };
        room.call(say).expect("the room is open");
    }
}

const KEYS: u64 = 40;

#[test]
fn who_stalls_and_resumes_holds_the_latest_of_every_key_and_has_missed_the_rest() {
    let rounds = 450;
    let (service, room) = board(Limits::default());
    let mut stalled = connect(&service);
    until("it is in", || room.members() == 1);
    publish(&room, LATEST, rounds);
    let (all_is_said, said) = std::sync::mpsc::channel();
    room.call(move |_, _| all_is_said.send(()).expect("the test waits")).expect("the room is open");
    said.recv_timeout(PATIENCE).expect("the room does not wait");
    let (mut held, mut came) = (vec![None; KEYS as usize], 0_u64);
    while held.iter().any(|value| *value != Some(rounds - 1)) {
        let Value { key, value, .. } = read_value(&mut stalled);
        assert!(held[key as usize] < Some(value), "values of a key go up");
        held[key as usize] = Some(value);
        came += 1;
    }
    assert!(came < KEYS * u64::from(rounds), "18 MB fit no pair of socket buffers: something was left out");
    let stats = service.stop(Duration::from_secs(5));
    assert_eq!(stats.ended.get("send_queue_full"), None);
}

#[test]
fn who_may_miss_nothing_and_stalls_is_ended_and_named_with_what_waited() {
    keep_lines();
    let (service, room) = board(Limits::default());
    let _stalled = connect(&service);
    until("it is in", || room.members() == 1);
    publish(&room, OR_ELSE, 450);
    until("it has ended", || service.stats().ended.get("send_queue_full") == Some(&1));
    until("it is named", || {
        logged(&["did not take what was queued", "class=9", "data_bytes=6", "data_entries=", "age="])
    });
    service.stop(Duration::from_secs(5));
}

/// Other systems bound nothing here.
#[cfg(target_os = "linux")]
#[test]
fn a_system_that_gives_far_less_than_was_asked_for_is_named_once() {
    keep_lines();
    let limits = Limits { kernel_recv_bytes_max: 1 << 30, ..Limits::default() };
    let service = Server::new().listen("127.0.0.1:0").workers(3).limits(limits).session(|| Pupil).start();
    service.expect("it starts").stop(Duration::from_secs(5));
    let told: Vec<_> = lines().into_iter().filter(|line| line.contains("net.core.rmem_max")).collect();
    assert!(told.len() == 1 && told[0].contains("wanted_bytes=1073741824"), "{told:?}");
}
