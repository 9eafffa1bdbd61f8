//! Stopping a server that is busy: once in order, twice at once.

#![cfg(unix)] // The tests stop their servers with signals.

mod support;

use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use support::{Process, Server, member, naksi, until};

#[test]
fn a_busy_server_with_a_thousand_sessions_drains_and_ends_well() {
    let mut server = Server::start(&["--app", "relay"]);
    let idle = server.descriptors();
    let mut command = naksi();
    command.args(["dummy", &server.address.to_string(), "--scenario", "relay", "--sessions", "1000"]);
    command.args(["--rate", "10", "--secs", "120"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut crowd = Process::spawn(&mut command);
    match idle {
        Some(idle) => until("all have come", || server.descriptors() >= Some(idle + 1_000)),
        None => std::thread::sleep(Duration::from_secs(3)),
    }
    // They begin to talk when all are there.
    std::thread::sleep(Duration::from_millis(700));
    let told = Instant::now();
    server.process.signal("TERM");
    let status = server.process.wait();
    let took = told.elapsed();
    let said = server.process.stderr();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(took < Duration::from_secs(5), "the promise of the command line: {took:?}\n{said}");
    assert!(said.contains("drained 1,000 sessions, 0 left"), "{said}");
    // To the crowd it is a surprise.
    assert_eq!(crowd.wait().code(), Some(1));
    assert!(crowd.stdout().contains("disconnected"), "the summary lists it");
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut server = Server::start(&["--app", "relay"]);
    // A member that reads nothing and never says goodbye keeps the drain waiting.
    let mut sleeper = member(&server, 1);
    let message = support::frame(10, &[7; 8_000]);
    sleeper.set_write_timeout(Some(Duration::from_millis(200))).expect("a socket option");
    while sleeper.write_all(&message).is_ok() {}
    server.process.signal("TERM");
    std::thread::sleep(Duration::from_millis(200));
    server.process.signal("TERM");
    assert_eq!(server.process.wait().code(), Some(1));
}

#[test]
fn an_interrupted_crowd_says_what_it_saw() {
    let server = Server::start(&["--app", "echo"]);
    let mut command = naksi();
    command.args(["dummy", &server.address.to_string(), "--sessions", "50", "--secs", "120"]);
    let mut crowd = Process::spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    std::thread::sleep(Duration::from_secs(2));
    crowd.signal("INT");
    let (status, said) = (crowd.wait(), crowd.stdout());
    assert_eq!(status.code(), Some(0), "{said}\n{}", crowd.stderr());
    assert!(said.contains("lost 0") && said.contains("cut short by Ctrl-C"), "{said}");
    server.stop();
}
