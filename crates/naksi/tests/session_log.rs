//! Tests of the log lines about a service and its sessions, and their levels.

use std::fmt::{self, Write as _};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

use naksi::prelude::*;
use tracing::Level;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};

const PATIENCE: Duration = Duration::from_secs(20);

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

static LINES: Mutex<Vec<(Level, String)>> = Mutex::new(Vec::new());

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
        metadata.target().starts_with("naksi")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        let line = (*event.metadata().level(), line.0);
        LINES.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

fn keep_lines() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(Keeper).expect("no other subscriber is set"));
}

/// The lines of this level that have all these words.
fn lines(level: Level, words: &[&str]) -> Vec<String> {
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    let has_words =
        |line: &&(Level, String)| line.0 == level && words.iter().all(|word| line.1.contains(word));
    lines.iter().filter(has_words).map(|(_, line)| line.clone()).collect()
}

/// Echoes, and ends as requested.
struct Echo;

impl Session for Echo {
    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        c.send(data);
        if let [b'!', code] = data {
            c.close(DisconnectReason::custom((*code).into(), "banned\nfor 3 days"));
        }
        data.len()
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the server accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a time limit");
    stream
}

#[test]
fn a_session_has_a_debug_line_at_its_beginning_and_one_at_its_end_and_lengths_are_traced() {
    keep_lines();
    let service = Server::new().listen("127.0.0.1:0").workers(1).session(|| Echo).start().expect("a server");
    let mut stream = connect(service.addresses()[0]);
    let peer = format!("peer={}", stream.local_addr().expect("its address"));
    stream.write_all(b"hello").expect("the server reads");
    stream.read_exact(&mut [0; 5]).expect("the server answers");
    assert_eq!(lines(Level::DEBUG, &[&peer, "session=0.", "transport=\"tcp\"", "connected"]).len(), 1);
    stream.write_all(&[b'!', 41]).expect("the server reads");
    stream.read_to_end(&mut Vec::new()).expect("the server ends it");
    drop(stream);
    until("its end is logged", || !lines(Level::DEBUG, &[&peer, "has ended"]).is_empty());
    let ended = lines(Level::DEBUG, &[&peer, "has ended"]);
    assert_eq!(ended.len(), 1);
    let words = [
        "session=0.",
        "reason=\"custom\"",
        "code=41",
        "recv_bytes=7",
        "sent_bytes=7",
        "age_ms=",
        "transport=\"tcp\"",
        "banned\\nfor 3 days",
    ];
    for word in words {
        assert!(ended[0].contains(word), "{word}: {}", ended[0]);
    }
    assert!(!ended[0].contains('\n'), "one line: {}", ended[0]);
    assert!(!lines(Level::TRACE, &["session=0.", "bytes=5", "received"]).is_empty());
    assert!(!lines(Level::TRACE, &["session=0.", "bytes=5", "sent"]).is_empty());
}

#[test]
fn a_service_has_an_info_line_at_its_start_and_at_its_stop() {
    keep_lines();
    let service = Server::new().listen("127.0.0.1:0").workers(1).session(|| Echo).start().expect("a server");
    let address = service.addresses()[0].to_string();
    assert_eq!(lines(Level::INFO, &[&address, "has started", "workers=1", "backend="]).len(), 1);
    assert!(lines(Level::INFO, &[&address, "stop"]).is_empty());
    service.stop(Duration::from_secs(5));
    assert_eq!(lines(Level::INFO, &[&address, "the service stops"]).len(), 1);
    assert_eq!(lines(Level::INFO, &[&address, "has stopped", "live=0"]).len(), 1);
}

#[test]
fn the_first_refusal_of_an_address_is_a_warning_with_its_limit_and_the_others_are_not() {
    keep_lines();
    let limits = Limits { connections_per_address_max: 1, loopback_exempt: false, ..Limits::default() };
    let server = Server::new().listen("127.0.0.1:0").workers(1).limits(limits);
    let service = server.session(|| Echo).start().expect("a server");
    let _in = connect(service.addresses()[0]);
    until("one is in", || service.stats().live == 1);
    for refused in 1..=5 {
        let mut stream = connect(service.addresses()[0]);
        stream.read_to_end(&mut Vec::new()).ok(); // A reset is an end as well.
        until("it is counted", || service.stats().refused_address_total == refused);
    }
    let words = ["peer=127.0.0.1:", "limit=\"connections_per_address_max\"", "refused"];
    assert_eq!(lines(Level::WARN, &words).len(), 1);
    assert_eq!(lines(Level::DEBUG, &words).len(), 4);
}

#[test]
fn causes_of_an_application_have_one_counter_however_many_codes_there_are() {
    keep_lines();
    let service = Server::new().listen("127.0.0.1:0").workers(1).session(|| Echo).start().expect("a server");
    for code in 0..50 {
        let mut stream = connect(service.addresses()[0]);
        stream.write_all(&[b'!', code]).expect("the server reads");
        stream.read_to_end(&mut Vec::new()).expect("the server ends it");
    }
    until("all have ended", || service.stats().disconnected_total == 50);
    let ended: Vec<_> = service.stats().ended.into_iter().collect();
    assert_eq!(ended, [("custom", 50)]);
}

/// Reports to the test why it ended.
struct Told(std::sync::mpsc::Sender<DisconnectReason>);

impl Session for Told {
    fn on_recv(&mut self, _: &mut Conn<'_>, data: &[u8]) -> usize {
        data.len()
    }

    fn on_disconnected(&mut self, reason: DisconnectReason) {
        self.0.send(reason).expect("the test listens");
    }
}

/// A room that bans each member that sends something.
struct Strict;

impl Room for Strict {
    type Member = ();

    fn on_packet(&mut self, cx: &mut Cx<'_, Self>, from: SessionId, _: Packet<'_>) {
        cx.end(from, DisconnectReason::custom(7, "by the room"));
    }
}

#[test]
fn a_cause_from_another_thread_or_a_room_reaches_the_callback_with_its_code_and_text() {
    let (told, tells) = std::sync::mpsc::channel();
    let server = Server::new().listen("127.0.0.1:0").workers(1);
    let service = server.session(move || Told(told.clone())).start().expect("a server");
    let _stream = connect(service.addresses()[0]);
    until("it is in", || service.stats().live == 1);
    let cause = DisconnectReason::custom(4001, "by a moderator");
    service.handle().end(SessionId::new(0, 0, 0), cause.clone()).expect("a known worker");
    assert_eq!(tells.recv_timeout(PATIENCE), Ok(cause));
    let service =
        Server::new().listen("127.0.0.1:0").room(RoomOptions::new(), || Strict).start().expect("a server");
    let mut stream = connect(service.addresses()[0]);
    stream.write_all(&[4, 0, 1, 0]).expect("the server reads");
    stream.read_to_end(&mut Vec::new()).expect("the room ends it");
    until("it is counted", || service.stats().ended.get("custom") == Some(&1));
}
