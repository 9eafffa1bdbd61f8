//! Tests of the echo server over real sockets: however the bytes are split, and however a client leaves.

#![cfg(unix)] // The tests stop their servers with signals.

mod support;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use socket2::SockRef;
use support::{Server, echo, expect, until};

fn pattern(count: usize) -> Vec<u8> {
    (0..count).map(|index| (index * 31 + index / 251) as u8).collect()
}

#[test]
fn bytes_come_back_however_they_are_split() {
    let server = Server::start(&["--app", "echo"]);
    let bytes = pattern(64);
    let mut stream = server.connect();
    for cut in 0..=bytes.len() {
        // The second part is sent when the first is back: the server has read them separately.
        echo(&mut stream, &bytes[..cut]);
        echo(&mut stream, &bytes[cut..]);
    }
    drop(stream);
    server.stop();
}

#[test]
fn a_mebibyte_in_one_go_comes_back() {
    let server = Server::start(&["--app", "echo"]);
    let bytes = pattern(1 << 20);
    let mut stream = server.connect();
    let mut writer = stream.try_clone().expect("a second handle");
    thread::scope(|scope| {
        scope.spawn(|| writer.write_all(&bytes).expect("all of it"));
        expect(&mut stream, &bytes);
    });
    server.stop();
}

#[test]
fn a_half_close_gives_back_everything_sent_before_it() {
    let server = Server::start(&["--app", "echo"]);
    let bytes = pattern(200_000);
    let mut stream = server.connect();
    let mut writer = stream.try_clone().expect("a second handle");
    let mut back = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            writer.write_all(&bytes).expect("all of it");
            writer.shutdown(Shutdown::Write).expect("a FIN");
        });
        stream.read_to_end(&mut back).expect("until the server's FIN");
    });
    assert!(back == bytes, "{} of {} bytes", back.len(), bytes.len());
    server.stop();
}

#[test]
fn a_reset_harms_nobody_else() {
    let server = Server::start(&["--app", "echo"]);
    let mut witness = server.connect();
    for round in 0..200 {
        let mut stream = server.connect();
        if round % 2 == 0 {
            stream.write_all(&pattern(1_000)).expect("some bytes");
        }
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("a socket option");
        drop(stream);
        echo(&mut witness, &pattern(100));
    }
    drop(witness);
    server.stop();
}

#[test]
fn ten_thousand_connects_and_closes_leave_nothing_behind() {
    let server = Server::start(&["--app", "echo"]);
    drop(server.connect());
    let before = server.descriptors();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..1_250 {
                    echo(&mut server.connect(), b"fish");
                }
            });
        }
    });
    until("descriptors are back", || server.descriptors() <= before);
    let said = server.stop();
    assert!(said.contains("drained 0 sessions, 0 left (10,001 connected in all"), "{said}");
}
