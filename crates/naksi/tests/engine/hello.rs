//! A client that begins with HELLO: its packet table is compared, and it learns why its session ends.

use naksi_core::engine_message::{
    ANSWER, ASK, CLOSE, HEARTBEAT, HELLO, Hello, WELCOME, Welcome, version_mismatch,
};

use super::*;

packets! {
    /// What is said.
    SPEECH {
        /// A line.
        1 => Line { text: String }
    }
}

/// Frames come back as they came; one of id 2 ends the session.
struct Speaker;

impl Session for Speaker {
    const FRAMING: Framing = Framing::Packets;
    const PACKETS: Option<packets::Table> = Some(SPEECH);

    fn on_packet(&mut self, c: &mut Conn<'_>, packet: Packet<'_>) {
        c.send(packet.frame);
        if packet.id == 2 {
            c.close(DisconnectReason::custom(4001, "banned"));
        }
    }
}

fn hello(packets: u64) -> Vec<u8> {
    frame(HELLO, &Hello { protocol: 1, packets }.body())
}

fn welcome() -> Vec<u8> {
    let idle_ms = Limits::default().idle_within.as_millis() as u32;
    frame(WELCOME, &Welcome { protocol: 1, packets: SPEECH.version(), idle_ms }.body())
}

fn close(name: &str, code: u32, text: &str) -> Vec<u8> {
    let length = [name.len() as u8];
    frame(CLOSE, &[&code.to_le_bytes()[..], &length, name.as_bytes(), text.as_bytes()].concat())
}

#[test]
fn a_client_that_begins_with_hello_learns_why_it_was_ended_and_another_hears_nothing() {
    let service = server().workers(1).session(|| Speaker).start().expect("a server");
    let address = service.addresses()[0];
    let said = Line { text: "hello".into() };
    let line = packets::encode(&said).expect("it fits").to_vec();
    let mut plain = connect(address);
    write(&mut plain, &[&line[..], &frame(2, b"")].concat());
    assert_eq!(read_to_end(&mut plain), [&line[..], &frame(2, b"")].concat());
    // A version of 0 is none: a client without a table is not refused.
    for version in [SPEECH.version(), 0] {
        let mut client = connect(address);
        let asks = [hello(version), frame(HEARTBEAT, &[ASK]), line.clone(), frame(2, b"")].concat();
        write(&mut client, &asks);
        let answers = [
            welcome(),
            frame(HEARTBEAT, &[ANSWER]),
            line.clone(),
            frame(2, b""),
            close("custom", 4001, "banned"),
        ];
        assert_eq!(read_to_end(&mut client), answers.concat());
    }
}

#[test]
fn a_client_with_another_table_is_refused_with_both_versions_and_counted() {
    let service = server().workers(1).session(|| Speaker).start().expect("a server");
    let mut old = connect(service.addresses()[0]);
    write(&mut old, &hello(SPEECH.version() ^ 1));
    let text = version_mismatch(SPEECH.version() ^ 1, SPEECH.version());
    assert_eq!(read_to_end(&mut old), close("version_refused", 0, &text));
    drop(old);
    until("it is counted", || service.stats().ended.get("version_refused") == Some(&1));
}

#[test]
fn a_client_that_is_silent_or_turned_away_by_the_shutdown_is_told_so() {
    let limits = Limits { idle_within: Duration::from_millis(150), ..Limits::default() };
    let service = server().workers(1).limits(limits).session(|| Speaker).start().expect("a server");
    let mut silent = connect(service.addresses()[0]);
    write(&mut silent, &hello(0));
    assert!(read_to_end(&mut silent).ends_with(&close("idle", 0, "")));
    let service = server().workers(1).session(|| Speaker).start().expect("a server");
    let mut last = connect(service.addresses()[0]);
    write(&mut last, &hello(0));
    assert_eq!(read(&mut last, welcome().len()), welcome());
    let reader = std::thread::spawn(move || read_to_end(&mut last));
    service.stop(Duration::from_secs(5));
    assert_eq!(reader.join().expect("it reads"), close("shutdown", 0, ""));
}
