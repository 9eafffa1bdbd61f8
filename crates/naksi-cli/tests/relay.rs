//! Tests of the relay under load: every message once, in order and intact, whatever happens to other clients.

#![cfg(unix)] // The tests stop their servers with signals.

mod support;

use std::collections::HashSet;
use std::process::{Command, Stdio};

use support::{Process, Server, expect, frame, member, naksi};

fn crowd(server: &Server, arguments: &[&str]) -> Command {
    let mut command = naksi();
    command
        .args(["dummy", &server.address.to_string(), "--scenario", "relay", "--json", "-"])
        .args(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn finish(mut crowd: Process) -> serde_json::Value {
    let said = crowd.stdout();
    let status = crowd.wait();
    assert_eq!(status.code(), Some(0), "{said}\n{}", crowd.stderr());
    serde_json::from_str(&said).expect("a summary in JSON")
}

#[test]
fn a_message_reaches_its_room_and_no_other() {
    let server = Server::start(&["--app", "relay"]);
    let (mut one, mut two, mut other) = (member(&server, 1), member(&server, 1), member(&server, 2));
    let hello = frame(10, b"hello");
    std::io::Write::write_all(&mut one, &hello).expect("it takes the bytes");
    expect(&mut one, &hello);
    expect(&mut two, &hello);
    // A second join moves the member; the next message is its answer, so nothing came before it.
    std::io::Write::write_all(&mut other, &frame(1, &1_u32.to_le_bytes())).expect("it takes the bytes");
    expect(&mut other, &frame(2, &1_u32.to_le_bytes()));
    std::io::Write::write_all(&mut two, &hello).expect("it takes the bytes");
    for stream in [&mut one, &mut two, &mut other] {
        expect(stream, &hello);
    }
    server.stop();
}

#[test]
fn a_thousand_sessions_lose_nothing() {
    let server = Server::start(&["--app", "relay"]);
    let arguments = ["--sessions", "1000", "--rate", "10", "--secs", "3", "--fail-if", "lost>0"];
    let summary = finish(Process::spawn(&mut crowd(&server, &arguments)));
    assert_eq!(summary["connected"], 1_000);
    assert_eq!(summary["lost"], 0);
    assert!(summary["sent"].as_u64() > Some(20_000), "{summary}");
    assert_eq!(summary["received"].as_u64(), summary["sent"].as_u64().map(|sent| sent * 10), "rooms of ten");
    server.stop();
}

#[test]
fn a_crowd_that_is_killed_harms_no_other() {
    let server = Server::start(&["--app", "relay"]);
    // A member that says nothing and hears who talks.
    let mut witness = member(&server, support::room_of_seed(7));
    let alone = server.connected();
    // The same seed means the same rooms.
    let same = ["--seed", "7", "--sessions", "200", "--rooms", "20"];
    let doomed = Process::spawn(&mut crowd(&server, &[&same[..], &["--secs", "120"]].concat()));
    server.until_more(alone, 200);
    let lucky = Process::spawn(&mut crowd(&server, &[&same[..], &["--secs", "4"]].concat()));
    server.until_more(alone, 400);
    let mut crowds = HashSet::new();
    while crowds.len() < 2 {
        let (_msg, body) = support::read_frame(&mut witness);
        // A message begins with the number of its crowd.
        crowds.insert(body[..4].to_vec());
    }
    doomed.signal("KILL");
    let summary = finish(lucky);
    assert_eq!(summary["lost"], 0);
    assert!(summary["foreign"].as_u64() > Some(0), "the two crowds shared their rooms: {summary}");
    server.stop();
}
