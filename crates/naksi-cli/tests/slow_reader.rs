//! Tests of a client that stops reading: it is ended by policy, costs the server little, and does not affect other
//! clients.

#![cfg(unix)] // The tests stop their servers with signals.

mod support;

use std::io::Write;
use std::thread;

use support::{Server, echo, ended, expect, frame, member};

/// More than the kernel buffers for a connection, on both sides together.
const FLOOD_BYTES: usize = 96 << 20;
/// Allowed growth of a server's memory meanwhile: pages of its receive pools that were never used before, and the
/// limits' 8 MiB of backlog for the sender. The flood is several times that.
const GROWTH_KIB_MAX: u64 = 24 * 1024;

fn grew_little(server: &Server, before: Option<u64>) {
    if let (Some(before), Some(after)) = (before, server.memory_kib()) {
        assert!(after < before + GROWTH_KIB_MAX, "from {before} KiB to {after} KiB");
    }
}

#[test]
fn a_member_that_does_not_read_is_ended_and_its_room_goes_on() {
    let server = Server::start(&["--app", "relay"]);
    let mut sleeper = member(&server, 1);
    let mut talker = member(&server, 1);
    let before = server.memory_kib();
    let message = frame(10, &[7; 8_000]);
    let mut writer = talker.try_clone().expect("a second handle");
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..FLOOD_BYTES / message.len() {
                writer.write_all(&message).expect("the talker is served");
            }
        });
        for _ in 0..FLOOD_BYTES / message.len() {
            expect(&mut talker, &message);
        }
    });
    grew_little(&server, before);
    assert!(ended(&mut sleeper) < FLOOD_BYTES, "it was not sent everything");
    let said = server.stop();
    assert!(said.contains("send_queue_full 1"), "{said}");
}

#[test]
fn an_echo_that_is_not_read_stops_and_is_ended() {
    let server =
        Server::configured("stall.toml", "[limits]\nsend_stall_within = \"1s\"\n", &["--app", "echo"]);
    let mut witness = server.connect();
    let before = server.memory_kib();
    let mut stream = server.connect();
    let chunk = vec![7; 65_536];
    let mut taken = 0;
    // The server stops reading when it cannot send, and then ends sessions that make no progress.
    while taken < FLOOD_BYTES && stream.write_all(&chunk).is_ok() {
        taken += chunk.len();
        echo(&mut witness, b"others are served");
    }
    assert!(taken < FLOOD_BYTES, "everything was taken");
    grew_little(&server, before);
    echo(&mut witness, b"others are served");
    let said = server.stop();
    assert!(said.contains("send_stalled 1"), "{said}");
}
