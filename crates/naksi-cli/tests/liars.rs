//! Tests of the dummies against faulty servers: every fault must be counted under its name.
//!
//! A load tool that finds no errors proves nothing until it has found some.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::thread;

use support::{frame, naksi, threaded};

/// Liars are honest for ten messages of 64 bytes.
const LIE_AT: usize = 640;

/// Runs dummies against a faulty server and returns their summary, which must contain errors.
fn run_dummies(address: SocketAddr, arguments: &[&str]) -> serde_json::Value {
    let mut command = naksi();
    command
        .args(["dummy", &address.to_string(), "--secs", "1", "--rate", "50", "--json", "-"])
        .args(arguments);
    let output = command.output().expect("it runs");
    let said = String::from_utf8(output.stdout).expect("text");
    assert_eq!(output.status.code(), Some(1), "{said}");
    serde_json::from_str(&said).expect("a summary in JSON")
}

/// Echoes what `change` makes of each piece, until it makes nothing.
fn echo_with(change: impl Fn(usize, &mut Vec<u8>) -> bool) -> impl Fn(TcpStream) {
    move |mut stream| {
        let (mut buffer, mut seen) = (vec![0; 4096], 0);
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            let mut piece = buffer[..count].to_vec();
            let goes_on = change(seen, &mut piece);
            seen += count;
            if stream.write_all(&piece).is_err() || !goes_on {
                return;
            }
        }
    }
}

#[test]
fn a_changed_byte_is_corrupt() {
    let address = threaded(echo_with(|seen, piece| {
        if let Some(byte) = LIE_AT.checked_sub(seen).and_then(|index| piece.get_mut(index)) {
            *byte ^= 1;
        }
        true
    }));
    let summary = run_dummies(address, &["--sessions", "3"]);
    assert_eq!(summary["corrupt"], 3, "{summary}");
    assert_eq!(summary["lost"], 0, "{summary}");
}

#[test]
fn bytes_that_nobody_sent_are_corrupt() {
    let address = threaded(echo_with(|seen, piece| {
        if seen >= LIE_AT {
            piece.push(0);
        }
        true
    }));
    assert_eq!(run_dummies(address, &["--sessions", "1"])["corrupt"], 1);
}

#[test]
fn an_echo_that_falls_silent_is_lost() {
    let address = threaded(echo_with(|seen, piece| {
        piece.truncate(LIE_AT.saturating_sub(seen));
        true
    }));
    let summary = run_dummies(address, &["--sessions", "2"]);
    let (sent, received) = (summary["sent"].as_u64(), summary["received"].as_u64());
    assert_eq!(
        summary["lost"].as_u64(),
        sent.zip(received).map(|(sent, received)| sent - received),
        "{summary}"
    );
    assert_eq!(received, Some(20), "{summary}");
}

#[test]
fn a_connection_that_ends_is_listed_by_reason() {
    let address = threaded(echo_with(|seen, _| seen < LIE_AT));
    let summary = run_dummies(address, &["--sessions", "4"]);
    // Whether the end is orderly depends on the data still in flight to the server.
    let count = |reason: &str| summary["errors"][format!("disconnected {reason}")].as_u64().unwrap_or(0);
    assert_eq!(count("peer_closed") + count("peer_reset"), 4, "{summary}");
}

/// A relay for rooms of one, which handles each message as `deliver` does.
fn relay_with(deliver: impl Fn(u32, &[u8]) -> Vec<Vec<u8>>) -> impl Fn(TcpStream) {
    move |mut stream| {
        let mut number = 0;
        loop {
            let mut header = [0; 4];
            if stream.read_exact(&mut header).is_err() {
                return;
            }
            let size = usize::from(u16::from_le_bytes([header[0], header[1]]));
            let mut body = vec![0; size - 4];
            stream.read_exact(&mut body).expect("a whole frame");
            let answers = match header[2] {
                1 => vec![frame(2, &body)],
                _ => {
                    number += 1;
                    deliver(number - 1, &frame(10, &body))
                }
            };
            for answer in answers {
                stream.write_all(&answer).expect("the dummy reads");
            }
        }
    }
}

#[test]
fn twice_never_and_too_late_have_names_of_their_own() {
    let held = Mutex::new(Vec::new());
    let address = threaded(relay_with(move |number, message| match number {
        5 => vec![message.to_vec(), message.to_vec()],
        10 => Vec::new(),
        15 => {
            held.lock().expect("one thread at a time").push(message.to_vec());
            Vec::new()
        }
        16 => {
            let late = held.lock().expect("one thread at a time").pop().expect("15 was held");
            vec![message.to_vec(), late]
        }
        _ => vec![message.to_vec()],
    }));
    let summary = run_dummies(address, &["--scenario", "relay", "--sessions", "1"]);
    for (name, count) in [("duplicated", 1), ("lost", 1), ("out_of_order", 1), ("corrupt", 0)] {
        assert_eq!(summary[name], count, "{name}: {summary}");
    }
}

#[test]
fn a_changed_message_is_corrupt() {
    let address = threaded(relay_with(|number, message| {
        let mut message = message.to_vec();
        if number == 9 {
            let last = message.len() - 1;
            message[last] ^= 0x80;
        }
        vec![message]
    }));
    assert_eq!(run_dummies(address, &["--scenario", "relay", "--sessions", "1"])["corrupt"], 1);
}

/// Runs three dummies against a server, and returns their exit code and summary.
fn crowd_of_three(address: SocketAddr, scenario: &str, more: &[&str]) -> (Option<i32>, serde_json::Value) {
    let mut command = naksi();
    command.args(["dummy", &address.to_string(), "--scenario", scenario, "--sessions", "3"]);
    let output = command.args(["--secs", "0.5", "--json", "-"]).args(more).output().expect("it runs");
    let said = String::from_utf8(output.stdout).expect("text");
    (output.status.code(), serde_json::from_str(&said).expect("a summary in JSON"))
}

/// Reads everything and sends nothing.
fn mute(mut stream: TcpStream) {
    let mut buffer = [0; 4096];
    while let Ok(1..) = stream.read(&mut buffer) {}
}

#[test]
fn silence_is_an_error_of_every_scenario() {
    let address = threaded(mute);
    let run =
        |scenario: &'static str| thread::spawn(move || (scenario, crowd_of_three(address, scenario, &[])));
    let runs = ["echo", "relay", "chat", "idle", "storm"].map(run);
    for (scenario, (code, summary)) in runs.map(|run| run.join().expect("it runs")) {
        assert_eq!(code, Some(1), "{scenario}: {summary}");
        // An echo begins without asking; what it sends is lost.
        let never_started = if scenario == "echo" { 0 } else { 3 };
        assert_eq!(summary["never_started"], never_started, "{scenario}: {summary}");
        let named = if scenario == "echo" { "lost" } else { "never started" };
        assert!(summary["errors"][named].as_u64() >= Some(3), "{scenario}: {summary}");
    }
}

#[test]
fn those_who_were_not_let_in_have_never_started() {
    let joins = Mutex::new(0);
    let address = threaded(move |mut stream| {
        let mut header = [0; 4];
        while stream.read_exact(&mut header).is_ok() {
            let size = usize::from(u16::from_le_bytes([header[0], header[1]]));
            let mut body = vec![0; size - 4];
            stream.read_exact(&mut body).expect("a whole frame");
            let answer = match header[2] {
                1 => {
                    let mut joins = joins.lock().expect("one thread at a time");
                    *joins += 1;
                    if *joins == 1 { frame(2, &body) } else { Vec::new() }
                }
                _ => frame(10, &body),
            };
            stream.write_all(&answer).expect("the dummy reads");
        }
    });
    let page = support::scratch("never-started.html");
    let html = page.to_str().expect("a plain path");
    let more = ["--rooms", "3", "--rate", "50", "--html", html, "--fail-if", "never-started>1"];
    let (code, summary) = crowd_of_three(address, "relay", &more);
    assert_eq!((code, &summary["never_started"]), (Some(99), &2.into()), "{summary}");
    assert_eq!((&summary["errors"]["never started"], &summary["lost"]), (&2.into(), &0.into()), "{summary}");
    assert!(summary["received"].as_u64() > Some(0), "{summary}");
    let page = std::fs::read_to_string(&page).expect("it was written");
    assert!(page.contains("never started: 2 of 3") && page.contains("Errors    never started 2"), "{page}");
}

#[test]
fn a_run_that_sends_nothing_has_measured_nothing() {
    let address = threaded(echo_with(|_, _| true));
    let (code, summary) = crowd_of_three(address, "echo", &["--rate", "0.001", "--seed", "1"]);
    assert_eq!((code, &summary["sent"]), (Some(1), &0.into()), "{summary}");
    assert_eq!(summary["errors"]["nothing sent"], 1, "{summary}");
}

#[test]
fn a_crowd_that_is_sent_away_has_no_rate() {
    let address = threaded(drop);
    let mut command = naksi();
    command.args(["dummy", &address.to_string(), "--scenario", "idle", "--sessions", "20", "--secs", "1"]);
    let output = command.output().expect("it runs");
    let said = String::from_utf8(output.stdout).expect("text");
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("never started 20") && !said.contains("msg/s"), "{said}");
}
