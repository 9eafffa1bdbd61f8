//! Stopping a server that is busy: once in order, twice at once.

#![cfg(unix)] // The tests stop their servers with signals.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use support::{Process, Server, member, naksi, until};

#[test]
fn a_busy_server_with_a_thousand_sessions_drains_and_ends_well() {
    let mut server = Server::start(&["--app", "relay"]);
    // A member that says nothing and hears the crowd talk.
    let mut witness = member(&server, support::room_of_seed(7));
    let alone = server.connected();
    let mut command = naksi();
    command.args(["dummy", &server.address.to_string(), "--scenario", "relay", "--sessions", "1000"]);
    command
        .args(["--seed", "7", "--rate", "10", "--secs", "120"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut crowd = Process::spawn(&mut command);
    server.until_more(alone, 1_000);
    support::read_frame(&mut witness);
    let told = Instant::now();
    server.process.signal("TERM");
    let status = server.process.wait();
    let took = told.elapsed();
    let said = server.process.stderr();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(took < Duration::from_secs(5), "the promise of the command line: {took:?}\n{said}");
    assert!(said.contains("drained 1,001 sessions, 0 left"), "{said}");
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
    until("it drains: nothing is accepted any more", || TcpStream::connect(server.address).is_err());
    server.process.signal("TERM");
    assert_eq!(server.process.wait().code(), Some(1));
}

#[test]
fn an_interrupted_crowd_says_what_it_saw() {
    let echoed = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&echoed);
    let address = support::threaded(move |mut stream| {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut buffer)
            && stream.write_all(&buffer[..count]).is_ok()
        {
            counts.fetch_add(count, Ordering::Relaxed);
        }
    });
    let mut command = naksi();
    command.args(["dummy", &address.to_string(), "--sessions", "50", "--secs", "120"]);
    let mut crowd = Process::spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    // A hundred messages of the usual size.
    until("the crowd talks", || echoed.load(Ordering::Relaxed) > 6_400);
    crowd.signal("INT");
    let (status, said) = (crowd.wait(), crowd.stdout());
    assert_eq!(status.code(), Some(0), "{said}\n{}", crowd.stderr());
    assert!(said.contains("lost 0") && said.contains("cut short by Ctrl-C"), "{said}");
}
