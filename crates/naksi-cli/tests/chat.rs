//! The sample game under a crowd, and with people among it.

#![cfg(unix)] // The tests stop their servers with signals.

mod support;

use std::io::{Read, Write};
use std::process::Stdio;

use support::{Process, Server, ended, expect, frame, naksi};

#[test]
fn a_thousand_dummies_hear_everything_once_and_in_order_and_see_who_walks() {
    let server = Server::start(&["--app", "chat"]);
    let mut command = naksi();
    command.args(["dummy", &server.address.to_string(), "--scenario", "chat", "--json", "-"]);
    command.args(["--sessions", "1000", "--rate", "5", "--secs", "3", "--fail-if", "lost>0"]);
    let mut crowd = Process::spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let said = crowd.stdout();
    assert_eq!(crowd.wait().code(), Some(0), "{said}\n{}", crowd.stderr());
    let summary: serde_json::Value = serde_json::from_str(&said).expect("a summary in JSON");
    assert_eq!(
        (&summary["connected"], &summary["lost"], &summary["corrupt"]),
        (&1000.into(), &0.into(), &0.into())
    );
    assert!(summary["sent"].as_u64() > Some(10_000), "{summary}");
    assert_eq!(summary["received"].as_u64(), summary["sent"].as_u64().map(|sent| sent * 10), "rooms of ten");
    server.stop();
}

#[test]
fn no_program_says_a_line_in_the_name_of_another_or_steers_a_terminal() {
    let server = Server::start(&["--app", "chat"]);
    let mut anna = server.connect();
    anna.write_all(b"anna\n").expect("it takes the bytes");
    expect(&mut anna, b"* 1 here\n");
    let text = |text: &str| [&[u8::try_from(text.len()).expect("a short text")], text.as_bytes()].concat();
    let enter = |name: &str| frame(1, &[&[0], &text(name)[..]].concat());
    let mut nameless = server.connect();
    nameless.write_all(&enter("\u{1b}\u{202e}\n")).expect("it takes the bytes");
    assert_eq!(ended(&mut nameless), 0, "a name is something that can be seen");
    let mut bob = server.connect();
    bob.write_all(&enter("bob\n* anna left\u{1b}[2J")).expect("it takes the bytes");
    expect(&mut anna, b"* bob * anna left[2J joined\n");
    bob.write_all(&frame(10, &text("hi\nserver: your password?\u{1b}[2J\u{9b}2J\u{202e}!")))
        .expect("it takes them");
    expect(&mut anna, b"bob * anna left[2J: hi server: your password?[2J2J!\n");
    server.stop();
}

#[test]
fn people_talk_in_lines() {
    let server = Server::start(&["--app", "chat"]);
    let mut anna = server.connect();
    anna.write_all(b"anna\r\n").expect("it takes the bytes");
    expect(&mut anna, b"* 1 here\n");
    let mut berta = server.connect();
    berta.write_all("베르타\nhello\n".as_bytes()).expect("it takes the bytes");
    expect(&mut anna, "* 베르타 joined\n베르타: hello\n".as_bytes());
    expect(&mut berta, "* 2 here\n베르타: hello\n".as_bytes());
    drop(berta);
    expect(&mut anna, "* 베르타 left\n".as_bytes());
    // The room empties and closes; the next client opens it again.
    drop(anna);
    let mut clara = server.connect();
    clara.write_all(b"clara\n/go here\n").expect("it takes the bytes");
    expect(&mut clara, b"* ");
    server.stop();
}

/// Reads frames until one of this id has come.
fn read_until(stream: &mut std::net::TcpStream, id: u16) {
    let mut header = [0; 4];
    while u16::from_le_bytes([header[2], header[3]]) != id {
        stream.read_exact(&mut header).expect("the server sends");
        let mut body = vec![0; usize::from(u16::from_le_bytes([header[0], header[1]])) - 4];
        stream.read_exact(&mut body).expect("the server sends");
    }
}

#[test]
fn a_flood_of_entering_and_leaving_ends_no_other_member_of_the_room() {
    const ENTER: u16 = 1;
    let server = Server::start(&["--app", "chat"]);
    let mut members: Vec<_> = (0..10)
        .map(|_| {
            let mut member = server.connect();
            member.write_all(&frame(ENTER, b"\x07\x04anna")).expect("it takes the bytes");
            read_until(&mut member, 2);
            member
        })
        .collect();
    for flood in [frame(ENTER, b"\x07\x01x").repeat(200_000), ever_new_rooms(200_000)] {
        let mut flooder = server.connect();
        // How much is written depends on when the server stops reading.
        std::thread::spawn(move || flooder.write_all(&flood).ok());
        for _ in 0..50 {
            members[0].write_all(&frame(10, b"\x05hello")).expect("it takes the bytes");
            members.iter_mut().for_each(|member| read_until(member, 11));
        }
    }
    server.stop();
}

/// Enters new rooms, again and again.
fn ever_new_rooms(times: u32) -> Vec<u8> {
    let room =
        |number: u32| [(number & 127 | 128) as u8, (number >> 7 & 127 | 128) as u8, (number >> 14) as u8];
    (1000..1000 + times).flat_map(|number| frame(1, &[&room(number)[..], b"\x01x"].concat())).collect()
}
