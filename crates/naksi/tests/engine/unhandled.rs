//! Tests of session types without the needed callback: the session ends at once, with a reason, and no data is
//! dropped silently.

use super::*;

/// Answers packets, but lacks the `FRAMING` that requests them.
struct NoFraming;

impl Session for NoFraming {
    fn on_packet(&mut self, c: &mut Conn<'_>, packet: Packet<'_>) {
        c.send(packet.frame);
    }
}

/// Has no callback at all.
struct Bare;

impl Session for Bare {}

/// Wants packets, and takes bytes.
struct NoPacket;

impl Session for NoPacket {
    const FRAMING: Framing = Framing::Packets;

    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        c.send(data);
        data.len()
    }
}

/// Only sends, and says that what comes does not matter.
struct Sender;

impl Session for Sender {
    fn on_recv(&mut self, _: &mut Conn<'_>, data: &[u8]) -> usize {
        data.len()
    }

    fn on_timer(&mut self, c: &mut Conn<'_>, _: u32) {
        c.send(b"news");
    }

    fn on_connected(&mut self, c: &mut Conn<'_>) {
        c.after(Duration::from_millis(20), 1);
    }
}

fn ends_at_its_first_bytes<S: Session>(bytes: &[u8], make: fn() -> S, reason: &str) {
    // The backlog limit is so small that a session that continued would end for it instead.
    let limits = Limits { frame_bytes_max: 64, recv_backlog_bytes_max: 64, ..Limits::default() };
    let service = server().workers(1).limits(limits).session(make).start().expect("a server");
    let mut stream = connect(service.addresses()[0]);
    write(&mut stream, bytes);
    assert_eq!(read_to_end(&mut stream), b"");
    until("its end is counted", || service.stats().disconnected_total == 1);
    assert_eq!(service.stats().ended.get(reason), Some(&1), "{:?}", service.stats().ended);
}

#[test]
fn a_session_type_with_on_packet_and_without_framing_ends_at_the_first_byte() {
    ends_at_its_first_bytes(&frame(1, b"hello"), || NoFraming, "unhandled_bytes");
    ends_at_its_first_bytes(&[0], || NoFraming, "unhandled_bytes");
}

#[test]
fn a_session_type_without_any_callback_ends_at_the_first_byte_however_many_come() {
    ends_at_its_first_bytes(b"x", || Bare, "unhandled_bytes");
    ends_at_its_first_bytes(&[7; 60_000], || Bare, "unhandled_bytes");
}

#[test]
fn a_framed_session_type_without_on_packet_ends_at_the_first_packet() {
    ends_at_its_first_bytes(&frame(1, b"hello"), || NoPacket, "unknown_packet");
}

#[test]
fn a_session_that_receives_nothing_lives_without_callbacks() {
    let service = server().workers(1).session(|| Bare).start().expect("a server");
    let stream = connect(service.addresses()[0]);
    until("it is in", || service.stats().live == 1);
    drop(stream);
    until("it is over", || service.stats().live == 0);
    assert_eq!(service.stats().ended.get("peer_closed"), Some(&1));
}

#[test]
fn a_session_that_overrides_on_recv_may_ignore_what_comes() {
    let service = server().workers(1).session(|| Sender).start().expect("a server");
    let mut stream = connect(service.addresses()[0]);
    write(&mut stream, b"whatever");
    assert_eq!(read(&mut stream, 4), b"news");
}
