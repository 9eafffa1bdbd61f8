//! Tests of frames that are invalid, late or never end: the server disconnects their senders, and other sessions
//! continue.

#![cfg(unix)] // The tests stop their servers with signals.

mod support;

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use support::{Server, ended, expect, frame, member};

const IMPATIENT: &str = "[limits]\nfirst_frame_within = \"700ms\"\nframe_within = \"700ms\"\n";

/// A member of the room that must not notice anything.
fn goes_on(witness: &mut TcpStream) {
    let message = frame(10, b"still here");
    witness.write_all(&message).expect("it takes the bytes");
    expect(witness, &message);
}

#[test]
fn a_wrong_size_ends_the_session_at_its_header() {
    let server = Server::start(&["--app", "relay"]);
    let mut witness = member(&server, 1);
    for size in [0_u16, 1, 3, 4_097, 65_535] {
        let mut stream = server.connect();
        stream.write_all(&size.to_le_bytes()).expect("two bytes");
        assert_eq!(ended(&mut stream), 0, "size {size}");
        goes_on(&mut witness);
    }
    // After the first whole frame the limit is larger, but there still is one.
    for size in [0_u16, 3, 16_385, 65_535] {
        let mut stream = member(&server, 2);
        stream.write_all(&[size.to_le_bytes(), 10_u16.to_le_bytes()].concat()).expect("a header");
        assert_eq!(ended(&mut stream), 0, "size {size}");
        goes_on(&mut witness);
    }
    let said = server.stop();
    assert!(said.contains("frame_too_long 4") && said.contains("frame_too_short 5"), "{said}");
}

#[test]
fn a_frame_that_never_becomes_whole_ends_the_session() {
    let server = Server::configured("impatient.toml", IMPATIENT, &["--app", "relay"]);
    let mut witness = member(&server, 1);
    let mut silent = server.connect();
    let mut cut = server.connect();
    cut.write_all(&frame(1, &[0; 500])[..100]).expect("a part of a frame");
    let mut member_that_stops = member(&server, 1);
    member_that_stops.write_all(&frame(10, &[0; 500])[..5]).expect("a part of a frame");
    for stream in [&mut silent, &mut cut] {
        assert_eq!(ended(stream), 0);
    }
    ended(&mut member_that_stops);
    goes_on(&mut witness);
    server.stop();
}

#[test]
fn one_byte_at_a_time_is_fine_if_the_frame_becomes_whole_and_ends_the_session_if_not() {
    let server = Server::configured("dribble.toml", IMPATIENT, &["--app", "relay"]);
    let join = frame(1, &9_u32.to_le_bytes());
    let mut patient = server.connect();
    for byte in &join {
        patient.write_all(&[*byte]).expect("a byte");
        thread::sleep(Duration::from_millis(5));
    }
    expect(&mut patient, &frame(2, &9_u32.to_le_bytes()));
    let mut dribbling = server.connect();
    let mut writer = dribbling.try_clone().expect("a second handle");
    thread::scope(|scope| {
        scope.spawn(move || {
            let endless = frame(1, &[0; 1_000]);
            // The server disconnects long before the frame is complete; then a write fails.
            for byte in &endless {
                if writer.write_all(&[*byte]).is_err() {
                    return;
                }
                thread::sleep(Duration::from_millis(20));
            }
            panic!("the whole frame was taken");
        });
        assert_eq!(ended(&mut dribbling), 0);
    });
    goes_on(&mut patient);
    server.stop();
}

#[test]
fn a_packet_out_of_turn_ends_the_session() {
    let server = Server::start(&["--app", "relay"]);
    let mut witness = member(&server, 1);
    for wrong in [frame(10, b"before joining"), frame(2, b"not mine"), frame(99, b""), frame(1, b"abc")] {
        let mut stream = server.connect();
        stream.write_all(&wrong).expect("a frame");
        assert_eq!(ended(&mut stream), 0);
        goes_on(&mut witness);
    }
    let said = server.stop();
    assert!(said.contains("protocol 2") && said.contains("unknown_packet 2"), "{said}");
}
