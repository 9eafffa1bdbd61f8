//! Tests of the program with WebSocket peers: tungstenite, an independent implementation, as the client.

#![cfg(unix)] // The tests stop their servers with signals.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Output;

use support::{PATIENCE, Server, echo, expect, frame, member, naksi, output, scratch};
use tungstenite::client::IntoClientRequest;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Message, WebSocket};

/// A server with one listener for each of these addresses, and the line that it prints for each.
fn serve(app: &str, addresses: &[&str]) -> (Server, Vec<String>) {
    let mut command = naksi();
    command.args(["serve", "--app", app, "--workers", "2"]);
    command.args(addresses.iter().flat_map(|address| ["--addr", address]));
    Server::listening(&mut command, 2, addresses.len())
}

fn connect(url: &str) -> WebSocket<TcpStream> {
    asking(url, |_| ()).expect("it is accepted")
}

/// Connects with a changed request.
fn asking(
    url: &str,
    change: impl FnOnce(&mut tungstenite::http::HeaderMap),
) -> Result<WebSocket<TcpStream>, String> {
    let place = url.trim_start_matches("ws://").split('/').next().unwrap_or_default();
    let stream = TcpStream::connect(place).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
    stream.set_nodelay(true).expect("a socket option");
    let mut request = url.into_client_request().expect("an address");
    change(request.headers_mut());
    let accepted = tungstenite::client::client_with_config(request, stream, None);
    accepted.map(|(socket, _)| socket).map_err(|error| error.to_string())
}

#[test]
fn each_listener_has_a_line_with_its_scheme_and_serves_the_same_app() {
    let (server, urls) = serve("echo", &["ws://127.0.0.1:0", "tcp://127.0.0.1:0", "127.0.0.1:0"]);
    assert!(urls[0].starts_with("ws://127.0.0.1:") && !urls[0].ends_with(":0"), "{urls:?}");
    assert!(urls[1..].iter().all(|url| url.starts_with("127.0.0.1:")), "{urls:?}");
    for plain in &urls[1..] {
        let mut stream = TcpStream::connect(plain).expect("it listens");
        echo(&mut stream, b"over plain TCP");
    }
    let mut socket = connect(&urls[0]);
    socket.send("over WebSocket".into()).expect("it is sent");
    assert_eq!(socket.read().expect("the echo"), Message::from("over WebSocket"));
    socket.close(None).expect("it is sent");
    while socket.read().is_ok() {}
    server.stop();
}

#[test]
fn a_message_comes_back_as_it_came_whatever_its_kind_and_length() {
    let (server, urls) = serve("echo", &["ws://127.0.0.1:0"]);
    let mut socket = connect(&urls[0]);
    for length in [0, 1, 125, 126, 65_535, 65_536, 1 << 20, 5 << 20] {
        for message in [Message::from("낚".repeat(length / 3)), Message::from(vec![7_u8; length])] {
            socket.send(message.clone()).expect("it is sent");
            assert!(socket.read().expect("the echo") == message, "{length} bytes");
        }
    }
    socket.send(Message::Ping(b"there?".as_slice().into())).expect("it is sent");
    assert_eq!(socket.read().expect("the pong"), Message::Pong(b"there?".as_slice().into()));
    server.stop();
}

#[test]
fn a_room_has_members_over_tcp_and_over_websocket_and_all_get_every_message_in_order() {
    let (server, urls) = serve("relay", &["127.0.0.1:0", "ws://127.0.0.1:0"]);
    let mut plain = member(&server, 7);
    let mut socket = connect(&urls[1]);
    // Frames are a stream: a message may end anywhere.
    let join = frame(1, &7_u32.to_le_bytes());
    socket.send(Message::from(join[..3].to_vec())).expect("it is sent");
    socket.send(Message::from(join[3..].to_vec())).expect("it is sent");
    let mut stream = Vec::new();
    let mut next = |socket: &mut WebSocket<TcpStream>, length: usize| {
        while stream.len() < length {
            let Message::Binary(bytes) = socket.read().expect("a message") else { panic!("binary ones") };
            stream.extend_from_slice(&bytes);
        }
        stream.drain(..length).collect::<Vec<u8>>()
    };
    assert_eq!(next(&mut socket, 8), frame(2, &7_u32.to_le_bytes()));
    for number in 0..200_u32 {
        let message = frame(10, &[&number.to_le_bytes()[..], &vec![7; number as usize * 7]].concat());
        match number % 2 {
            0 => socket.send(Message::from(message.clone())).expect("it is sent"),
            _ => plain.write_all(&message).expect("it is sent"),
        }
        expect(&mut plain, &message);
        assert_eq!(next(&mut socket, message.len()), message);
    }
    server.stop();
}

#[test]
fn a_session_is_told_by_its_close_code_why_it_ended() {
    let (server, urls) = serve("relay", &["ws://127.0.0.1:0"]);
    for (message, code, reason) in [
        (Message::from("text"), CloseCode::Unsupported, "text_refused"),
        (Message::from(frame(99, b"")), CloseCode::Policy, "unknown_packet"),
        (Message::from(vec![0, 0, 0, 0]), CloseCode::Policy, "frame_too_short"),
        (Message::from(vec![0xff, 0xff, 0, 0]), CloseCode::Size, "frame_too_long"),
    ] {
        let mut socket = connect(&urls[0]);
        socket.send(message).expect("it is sent");
        let Message::Close(Some(frame)) = socket.read().expect("a close") else { panic!("a close frame") };
        assert_eq!((frame.code, frame.reason.as_str()), (code, reason));
    }
    let mut last = connect(&urls[0]);
    let said = server.stop();
    let Message::Close(Some(frame)) = last.read().expect("a close") else { panic!("a close frame") };
    assert_eq!((frame.code, frame.reason.as_str()), (CloseCode::Away, "shutdown"));
    for reason in ["text_refused 1", "unknown_packet 1", "frame_too_short 1", "frame_too_long 1"] {
        assert!(said.contains(reason), "counted: {said}");
    }
}

#[test]
fn a_page_of_another_origin_and_what_is_no_handshake_are_refused_and_counted() {
    let (server, urls) = serve("echo", &["ws://127.0.0.1:0"]);
    let from = |origin: &str| {
        let origin = origin.parse().expect("a header's value");
        asking(&urls[0], |headers| drop(headers.insert("origin", origin)))
    };
    let refused = from("https://evil.example").expect_err("another origin");
    assert!(refused.contains("403"), "{refused}");
    from("http://127.0.0.1:3000").expect("a page of the same host");
    let mut browser = TcpStream::connect(urls[0].trim_start_matches("ws://")).expect("it listens");
    browser.write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").expect("it is sent");
    let mut answer = String::new();
    browser.read_to_string(&mut answer).expect("text, and its end");
    assert!(answer.starts_with("HTTP/1.1 426 ") && answer.contains("speaks WebSocket"), "{answer}");
    let said = server.stop();
    assert!(said.contains("origin_refused 1") && said.contains("bad_handshake 1"), "{said}");
}

#[test]
fn each_listener_of_a_file_has_its_own_path_origins_and_subprotocols() {
    let file = scratch("listeners.toml");
    let text = "[[listen]]\naddress = \"127.0.0.1:0\"\n\n[[listen]]\naddress = \"ws://127.0.0.1:0\"\npath = \"/play\"\n\
                origins = [\"https://play.example\"]\nsubprotocols = [\"chat.v2\"]\n\n\
                [[listen]]\naddress = \"ws://127.0.0.1:0\"\norigins = \"any\"\n";
    std::fs::write(&file, text).expect("written");
    let mut command = naksi();
    command.args(["serve", "--app", "echo", "--workers", "2", "--config"]).arg(&file);
    let (server, urls) = Server::listening(&mut command, 2, 3);
    let mut stream = TcpStream::connect(&urls[0]).expect("it listens");
    echo(&mut stream, b"over plain TCP");
    let from = |url: &str, origin: &'static str, protocol: &'static str| {
        asking(url, |headers| {
            headers.insert("origin", origin.parse().expect("a header's value"));
            headers.insert("sec-websocket-protocol", protocol.parse().expect("a header's value"));
        })
    };
    let play = format!("{}/play?seat=3", urls[1]);
    from(&play, "https://play.example", "chat.v2").expect("a listed page at the path that is served");
    let elsewhere = from(&format!("{}/", urls[1]), "https://play.example", "chat.v2");
    assert!(elsewhere.expect_err("another path").contains("404"));
    let evil = from(&play, "https://evil.example", "chat.v2");
    assert!(evil.expect_err("another origin").contains("403"));
    let old = from(&play, "https://play.example", "chat.v1");
    assert!(old.expect_err("another version").contains("400"));
    let mut any = asking(&format!("{}/anywhere", urls[2]), |headers| {
        headers.insert("origin", "https://evil.example".parse().expect("a header's value"));
    });
    any.as_mut().expect("any page, at any path").send("there".into()).expect("it is sent");
    server.stop();
}

#[test]
fn an_address_of_a_scheme_that_is_not_spoken_is_refused_with_those_that_are() {
    for (address, says) in [
        ("wss://127.0.0.1:0", "does not speak TLS"),
        ("tls://127.0.0.1:0", "does not speak TLS"),
        ("http://127.0.0.1:0", "tcp:// or ws://"),
        ("ws://127.0.0.1:0/play", "has no path"),
        ("ws://127.0.0.1", "has no port"),
    ] {
        let Output { status, stderr, .. } = output(naksi().args(["serve", "--addr", address]));
        let said = String::from_utf8_lossy(&stderr);
        assert_eq!(status.code(), Some(2), "{address}: {said}");
        assert!(
            said.contains(says) && said.contains(address.trim_start_matches("ws://")),
            "{address}: {said}"
        );
    }
}
