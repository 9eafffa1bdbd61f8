//! Tests of settings at the ends of their ranges: the longest span means never, and an impossible count is refused by
//! name.

use naksi::config::{Error, Heartbeat};

use super::*;

/// Sets a timer that never fires, and one that fires at once.
struct Timed;

impl Session for Timed {
    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        let never = c.after(Duration::MAX, 1);
        c.after(Duration::MAX, 2);
        c.after(Duration::from_secs(u64::MAX / 2), 3);
        c.after(Duration::ZERO, 4);
        assert!(c.cancel_timer(never));
        data.len()
    }

    fn on_timer(&mut self, c: &mut Conn<'_>, tag: u32) {
        c.send(tag.to_string().as_bytes());
    }
}

fn endless() -> Limits {
    Limits {
        first_frame_within: Duration::MAX,
        frame_within: Duration::MAX,
        idle_within: Duration::MAX,
        send_stall_within: Duration::MAX,
        drain_within: Duration::MAX,
        linger_within: Duration::MAX,
        heartbeat: Some(Heartbeat { packet_id: 9, every: Duration::MAX }),
        ..Limits::default()
    }
}

/// Sends a frame and waits for it.
struct Asker(std::sync::mpsc::Sender<()>);

impl Session for Asker {
    const FRAMING: Framing = Framing::Packets;

    fn on_connected(&mut self, c: &mut Conn<'_>) {
        c.send_packet(1, b"ask");
    }

    fn on_packet(&mut self, c: &mut Conn<'_>, _: Packet<'_>) {
        self.0.send(()).expect("the test listens");
        c.close(DisconnectReason::Handler);
    }
}

#[test]
fn the_longest_span_is_never_in_every_limit_and_timer() {
    let service = server().workers(1).limits(endless()).session(|| Timed).start().expect("a server");
    let mut stream = connect(service.addresses()[0]);
    write(&mut stream, b"x");
    assert_eq!(read(&mut stream, 1), b"4");
    drop(stream);
    until("it is over", || service.stats().live == 0);
    assert_eq!(service.stats().handler_panics, 0);
    // No session could delay an end without a time limit.
    assert_eq!(service.stop(Duration::MAX).live, 0);
}

#[test]
fn a_client_whose_every_span_is_the_longest_connects_and_is_answered() {
    let service = server().limits(endless()).session(|| Echo).start().expect("a server");
    let (told, tells) = std::sync::mpsc::channel();
    let retry = Retry { attempts_max: 3, pause_min: Duration::MAX, pause_max: Duration::MAX };
    let client = Client::new(service.addresses()[0])
        .backend(backend())
        .limits(endless())
        .connect_within(Duration::MAX)
        .retry(retry)
        .session(move || Asker(told.clone()))
        .start()
        .expect("a client");
    tells.recv_timeout(PATIENCE).expect("it is answered");
    assert_eq!(client.stop(Duration::from_secs(5)).ended.get("handler"), Some(&1));
}

#[test]
fn a_connection_that_is_tried_again_after_the_longest_pause_waits_and_its_client_ends() {
    // Bound, but not listening.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address");
    drop(taken);
    let retry = Retry { attempts_max: 3, pause_min: Duration::MAX, pause_max: Duration::MAX };
    let client =
        Client::new(address).backend(backend()).retry(retry).session(|| Echo).start().expect("a client");
    until("it has failed once", || client.stats().connect_failures_total == 1);
    assert_eq!(client.stats().waiting, 1);
    assert_eq!(client.stop(Duration::from_secs(5)).connect_failures_total, 1);
}

/// Has the longest possible tick, and a timer that never fires.
struct Patient;

impl Room for Patient {
    type Member = ();

    fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
        cx.after(Duration::MAX, 1);
    }

    fn on_packet(&mut self, cx: &mut Cx<'_, Self>, from: SessionId, packet: Packet<'_>) {
        cx.send_packet(from, packet.id, packet.body);
    }
}

#[test]
fn a_room_whose_every_span_is_the_longest_serves_its_members() {
    let options = RoomOptions::new().tick_every(Duration::MAX).budget(Duration::MAX, 10);
    let service = server().room(options, || Patient).start().expect("a server");
    let mut stream = connect(service.addresses()[0]);
    write(&mut stream, &frame(1, b"x"));
    assert_eq!(read(&mut stream, 5), frame(1, b"x"));
    drop(stream);
    assert_eq!(service.stop(Duration::from_secs(5)).rooms.panics_total, 0);
}

/// Refused with these words, and without a panic.
fn refused(started: naksi::Result<Service>, words: &str) {
    match started {
        Err(Error::Config(text)) => assert!(text.contains(words), "{text}"),
        Err(other) => panic!("{words}: {other}"),
        Ok(_) => panic!("{words}: it started"),
    }
}

#[test]
fn counts_that_cannot_be_served_are_refused_by_name_at_the_start() {
    let client = || Client::new(("127.0.0.1", 9)).backend(backend());
    for connections in [0, (1 << 24) + 1, u32::MAX] {
        refused(client().connections(connections).session(|| Echo).start(), &format!("not {connections}"));
    }
    refused(client().connect_at(Vec::new()).session(|| Echo).start(), "connections");
    refused(client().connect_rate(0).session(|| Echo).start(), "connect_rate");
    for workers in [0, 257, usize::MAX] {
        refused(client().workers(workers).session(|| Echo).start(), "workers");
        refused(server().workers(workers).session(|| Echo).start(), "workers");
    }
    for entries in [0, u32::MAX] {
        refused(server().direct_descriptors(entries).session(|| Echo).start(), "direct_descriptors");
    }
    let limits = Limits::default;
    for (limits, name) in [
        (Limits { sessions_max: (1 << 24) + 1, ..limits() }, "sessions_max"),
        (Limits { sessions_max: 0, ..limits() }, "sessions_max"),
        (Limits { send_queue_bytes_max: 1 << 32, ..limits() }, "send_queue_bytes_max"),
        (Limits { files_max: 0, ..limits() }, "files_max"),
        (Limits { file_operations_max: 0, ..limits() }, "file_operations_max"),
        (Limits { file_bytes_max: 0, ..limits() }, "file_bytes_max"),
    ] {
        refused(server().limits(limits).session(|| Echo).start(), name);
    }
    let port = PortOptions::default;
    for (options, name) in [
        (PortOptions { submission_entries: 1 << 31, ..port() }, "submission_entries"),
        (PortOptions { submission_entries: 3, ..port() }, "submission_entries"),
        (PortOptions { completion_entries: 1 << 31, ..port() }, "completion_entries"),
        (PortOptions { lease_count: 3, ..port() }, "lease_count"),
        (PortOptions { lease_bytes: 0, ..port() }, "lease_bytes"),
        (PortOptions { lease_bytes: usize::MAX, ..port() }, "lease_bytes"),
        (PortOptions { lease_bytes: usize::MAX / 256, ..port() }, "lease_bytes"),
        (PortOptions { catch_max: 0, ..port() }, "catch_max"),
        (PortOptions { catch_max: usize::MAX, ..port() }, "catch_max"),
    ] {
        refused(server().port_options(options).session(|| Echo).start(), name);
    }
    refused(server().group(GroupOptions::new("a\0b")).session(|| Echo).start(), "null character");
}

#[test]
fn the_largest_counts_that_can_be_served_are() {
    let limits = Limits {
        send_queue_bytes_max: u32::MAX as usize,
        send_queue_entries_max: usize::MAX,
        send_queue_high_bytes: u32::MAX as usize,
        send_queue_low_bytes: u32::MAX as usize,
        data_bytes_max: usize::MAX,
        data_entries_max: usize::MAX,
        recv_backlog_bytes_max: usize::MAX,
        recv_backlog_total_bytes_max: usize::MAX,
        messages_per_second_max: u32::MAX,
        recv_bytes_per_second_max: usize::MAX,
        sessions_max: 1 << 24,
        files_max: usize::MAX,
        file_operations_max: usize::MAX,
        file_bytes_max: usize::MAX,
        connections_per_address_max: u32::MAX,
        accepts_per_second_max: u32::MAX,
        loopback_exempt: false,
        log_lines_per_second_max: u32::MAX,
        ..Limits::default()
    };
    let service = server().limits(limits).session(|| Echo).start().expect("a server");
    let mut stream = connect(service.addresses()[0]);
    write(&mut stream, b"x");
    assert_eq!(read(&mut stream, 1), b"x");
}
