//! Tests of stopping: one event is one graceful stop, and a second request ends the process at once.

#![cfg(unix)] // The tests stop their servers with signals.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
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

/// A member that neither reads nor closes, so that a drain waits for it.
fn sleeper(server: &Server) -> TcpStream {
    let mut sleeper = member(server, 1);
    let message = support::frame(10, &[7; 8_000]);
    sleeper.set_write_timeout(Some(Duration::from_millis(200))).expect("a socket option");
    while sleeper.write_all(&message).is_ok() {}
    sleeper
}

#[test]
fn the_signals_of_one_event_are_one_stop() {
    if support::is_left_out_under_wine("it knows no hang-up") {
        return;
    }
    // The pair of signals of a service manager, of a closed terminal, and forwarded ones.
    for signals in [&["TERM", "HUP"][..], &["HUP", "HUP"], &["HUP", "HUP", "TERM", "HUP"], &["INT", "TERM"]] {
        let mut server = Server::start(&["--app", "relay"]);
        let sleeper = sleeper(&server);
        for signal in signals {
            server.process.signal(signal);
        }
        let status = server.process.wait();
        let said = server.process.stderr();
        assert_eq!(status.code(), Some(0), "{signals:?}: {status}: {said}");
        assert!(said.contains("drained 1 sessions"), "{signals:?}: {said}");
        drop(sleeper);
    }
}

#[test]
fn a_second_separate_request_ends_at_once() {
    for signal in ["TERM", "INT"] {
        let mut server = Server::start(&["--app", "relay"]);
        let _sleeper = sleeper(&server);
        let mut ended = None;
        // Repeatedly, as an impatient person does.
        until("it ends", || {
            server.process.signal(signal);
            ended = server.process.try_wait();
            ended.is_some()
        });
        assert_eq!(ended.and_then(|status| status.code()), Some(1), "{signal}");
    }
}

#[test]
fn signals_that_the_starter_ignores_stay_ignored() {
    if support::is_left_out_under_wine("signals are not ignored there") {
        return;
    }
    // As nohup does, and a shell without job control for background commands.
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP INT; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_naksi")]);
    command.args(["serve", "--addr", "127.0.0.1:0", "--workers", "2"]);
    let server = Server::from(command);
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.process.pid()));
    let status = status.expect("the process runs");
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("it is always there");
    let ignored = u64::from_str_radix(ignored.trim(), 16).expect("hexadecimal");
    let (hangup, interrupt) = (1 << 0, 1 << 1);
    assert_eq!(ignored & (hangup | interrupt), hangup | interrupt, "{ignored:x}");
    for signal in ["HUP", "INT", "HUP"] {
        server.process.signal(signal);
        support::echo(&mut server.connect(), b"it serves");
    }
    server.stop();
}

#[test]
fn a_ladder_that_is_interrupted_shows_what_it_has_measured() {
    if support::is_left_out_under_wine("it knows no hang-up") {
        return;
    }
    let mut command = naksi();
    command.args(["ladder", "--model", "select", "--conns", "1", "--secs", "3600"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut out = BufReader::new(child.stdout.take().expect("piped"));
    let (mut process, mut said) = (Process::from(child), String::new());
    out.read_line(&mut said).expect("the head of the table");
    process.signal("INT");
    process.signal("HUP");
    out.read_to_string(&mut said).expect("text");
    assert_eq!(process.wait().code(), Some(0), "{said}");
    assert!(said.contains("cut short by Ctrl-C after 0 loads"), "{said}");
}

#[test]
fn a_client_that_is_told_to_stop_ends_in_order() {
    let server = Server::start(&["--app", "echo"]);
    for signal in ["TERM", "INT"] {
        let mut command = naksi();
        command.args(["client", &server.address.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let mut input = child.stdin.take().expect("piped");
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        let mut process = Process::from(child);
        input.write_all(b"hello\n").expect("it reads");
        let mut line = String::new();
        while !line.contains("hello") {
            line.clear();
            assert_ne!(out.read_line(&mut line).expect("text"), 0, "the echo comes");
        }
        process.signal(signal);
        assert_eq!(process.wait().code(), Some(0), "{signal}");
    }
    server.stop();
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
    if !support::is_under_wine() {
        crowd.signal("HUP");
    }
    let (status, said) = (crowd.wait(), crowd.stdout());
    assert_eq!(status.code(), Some(0), "{said}\n{}", crowd.stderr());
    assert!(said.contains("lost 0") && said.contains("cut short by Ctrl-C"), "{said}");
}
