//! Tests of the sample world under load, in one place and spread out; players come back to where they were.

#![cfg(unix)] // The tests stop their servers with signals.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

use support::{Process, Server, frame, naksi, scratch, until};

/// A small crowd for a world.
const WORLD: [&str; 5] = ["dummy", "--scenario", "world", "--sessions", "20"];

/// Runs dummies that must find no error, and returns their summary.
fn crowd(server: &Server, spread: &str) -> serde_json::Value {
    let mut command = naksi();
    command.args(["dummy", &server.address.to_string(), "--scenario", "world", "--json", "-"]);
    command.args(["--sessions", "60", "--rate", "10", "--secs", "3", "--spread", spread]);
    let mut crowd = Process::spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let said = crowd.stdout();
    assert_eq!(crowd.wait().code(), Some(0), "{said}\n{}", crowd.stderr());
    serde_json::from_str(&said).expect("a summary in JSON")
}

#[test]
fn a_crowd_on_one_spot_and_one_spread_out_see_exactly_whom_they_should() {
    let server = Server::start(&["--app", "world"]);
    for spread in ["one", "wide"] {
        let summary = crowd(&server, spread);
        let world = &summary["world"];
        assert_eq!((&summary["connected"], &world["judged"]), (&60.into(), &60.into()), "{summary}");
        assert_eq!(world["restored"], 3, "one in twenty logs out and comes back: {summary}");
        // On one spot everybody meets everybody.
        let least = if spread == "one" { 60 * 59 } else { 1 };
        assert!(world["enters"].as_u64() >= Some(least), "{summary}");
        assert!(summary["received"].as_u64() > Some(0), "places are told: {summary}");
    }
    let said = server.stop();
    assert!(said.contains("late p50") && said.contains(" 0 lost"), "{said}");
}

#[test]
fn what_is_no_world_is_named_and_not_waited_for() {
    let server = Server::start(&["--app", "echo"]);
    let output = support::output(naksi().args(WORLD).arg(server.address.to_string()));
    let said = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("{} let no dummy into a world", server.address)), "{said}");
    assert!(output.stdout.is_empty(), "there is nothing to sum up");
    server.stop();
}

#[test]
fn a_crowd_that_is_cut_short_does_not_settle_and_that_is_no_error() {
    let server = Server::start(&["--app", "world"]);
    let alone = server.connected();
    let mut command = naksi();
    command.args(WORLD).args([&server.address.to_string(), "--secs", "600"]);
    let mut crowd = Process::spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    server.until_more(alone, 20);
    crowd.signal("INT");
    let (status, said) = (crowd.wait(), crowd.stdout());
    assert_eq!(status.code(), Some(0), "{said}\n{}", crowd.stderr());
    assert!(said.contains("cut short by Ctrl-C") && said.contains("Errors    none"), "{said}");
    server.stop();
}

/// Logs in and returns the connection and the place in the answer.
fn log_in(server: &Server, name: &str) -> (TcpStream, (i64, i64)) {
    let mut stream = server.connect();
    let body = [&[name.len() as u8], name.as_bytes()].concat();
    stream.write_all(&frame(1, &body)).expect("it takes the bytes");
    let mut header = [0; 4];
    stream.read_exact(&mut header).expect("an answer");
    assert_eq!(header[2..], 2_u16.to_le_bytes(), "a welcome");
    let mut body = vec![0; usize::from(u16::from_le_bytes([header[0], header[1]])) - 4];
    stream.read_exact(&mut body).expect("the rest of the answer");
    let mut numbers = body.as_slice();
    let (_you, _version) = (varint(&mut numbers), varint(&mut numbers));
    let mut coordinate = || {
        let number = varint(&mut numbers);
        (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
    };
    let at = (coordinate(), coordinate());
    (stream, at)
}

/// The next number of a packet's body.
fn varint(bytes: &mut &[u8]) -> u64 {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().expect("a number");
        *bytes = rest;
        number |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    number
}

#[test]
fn a_signal_saves_everybody_and_the_next_server_has_them_where_they_were() {
    let file = scratch("world.db");
    let database = format!("sqlite:{}", file.display());
    let arguments = ["--app", "world", "--database", database.as_str()];
    let server = Server::start(&arguments);
    let mut players: Vec<_> = (0..20).map(|index| log_in(&server, &format!("player {index}")).0).collect();
    for (index, player) in players.iter_mut().enumerate() {
        // 64 and less is one byte of a body, with the sign in the last bit.
        player.write_all(&frame(3, &[2 * index as u8, 2 * index as u8 + 1])).expect("it takes the bytes");
    }
    // An answer of the world after the steps shows that they have arrived.
    for player in &mut players {
        player.write_all(&frame(10, b"\x02hi")).expect("it takes the bytes");
        wait_for(player, 11);
    }
    let said = server.stop();
    assert!(said.contains("saved 20 places, 0 lost"), "{said}");

    let server = Server::start(&arguments);
    for index in 0..20 {
        let (_, at) = log_in(&server, &format!("player {index}"));
        assert_eq!(at, (index, -index - 1), "player {index}");
    }
    server.stop();
}

#[test]
fn a_world_that_does_not_start_or_is_stopped_leaves_no_folder() {
    let folder = scratch("temporary");
    std::fs::create_dir_all(&folder).expect("a scratch folder");
    let mut command = naksi();
    command.args(["serve", "--addr", "127.0.0.1:0", "--workers", "2", "--app", "world"]);
    command.env("TMPDIR", &folder);
    let left = || std::fs::read_dir(&folder).expect("the scratch folder").count();
    let server = Server::from(command);
    assert_eq!(left(), 1);
    let address = server.address.to_string();
    let mut second = naksi();
    second.args(["serve", "--addr", &address, "--app", "world"]).env("TMPDIR", &folder);
    assert_eq!(second.output().expect("it runs").status.code(), Some(1), "the address is taken");
    assert_eq!(left(), 1, "only that of the first");
    server.stop();
    assert_eq!(left(), 0);
}

/// Reads packets up to one of this id.
fn wait_for(stream: &mut TcpStream, id: u16) {
    let mut seen = None;
    while seen != Some(id) {
        let mut header = [0; 4];
        stream.read_exact(&mut header).expect("a packet");
        let mut body = vec![0; usize::from(u16::from_le_bytes([header[0], header[1]])) - 4];
        stream.read_exact(&mut body).expect("its body");
        seen = Some(u16::from_le_bytes([header[2], header[3]]));
    }
}

#[test]
fn a_database_is_for_the_world_and_must_be_one() {
    for (arguments, code, says) in [
        (["--app", "echo", "--database", "sqlite:players.db"], 2, "only `--app world`"),
        (["--app", "world", "--database", "players.db"], 2, "sqlite:PATH"),
    ] {
        let output = naksi().args(["serve", "--addr", "127.0.0.1:0"]).args(arguments).output();
        let output = output.expect("it runs");
        let said = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(says), "{said}");
    }
}

#[test]
fn a_world_that_falls_silent_is_an_error_even_for_one_who_is_alone_in_it() {
    let server = Server::start(&["--app", "world"]);
    let alone = server.descriptors();
    let mut command = naksi();
    command.args([
        "dummy",
        &server.address.to_string(),
        "--scenario",
        "world",
        "--sessions",
        "1",
        "--secs",
        "2",
    ]);
    let mut crowd = Process::spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    until("it has come", || alone.is_none_or(|alone| server.descriptors() > Some(alone)));
    // Before the welcome or behind it: neither is a good run.
    server.process.signal("STOP");
    let (said, code) = (crowd.stdout(), crowd.wait().code());
    server.process.signal("CONT");
    assert_eq!(code, Some(1), "{said}{}", crowd.stderr());
    server.stop();
}
