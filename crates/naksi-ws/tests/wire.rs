//! Tests of both sides of a WebSocket against each other and against handwritten frames, split everywhere.

use std::sync::Arc;

use bytes::Bytes;
use naksi_core::batch::{Segment, SendBatch};
use naksi_core::buffer_pool::BufferPool;
use naksi_core::limits::Limits;
use naksi_core::reason::DisconnectReason;
use naksi_core::wire::{MakeWire as _, Message, Plain, Wire};
use naksi_ws::{ClientOptions, Origins, ServerOptions};

/// What a wire passes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Shown {
    opened: bool,
    bytes: Vec<u8>,
    messages: Vec<String>,
    controls: usize,
    closed: bool,
}

impl Plain for Shown {
    fn opened(&mut self) {
        assert!(!std::mem::replace(&mut self.opened, true), "once");
    }

    fn bytes(&mut self, plain: &mut [u8]) {
        assert!(self.opened && !self.closed);
        self.bytes.extend_from_slice(plain);
    }

    fn message(&mut self, message: Message<'_>) {
        assert!(self.opened && !self.closed);
        self.messages.push(match message {
            Message::Text(text) => format!("text {text}"),
            Message::Binary(bytes) => format!("binary {bytes:?}"),
        });
    }

    fn control(&mut self, _: usize) {
        self.controls += 1;
    }

    fn closed(&mut self) {
        assert!(!std::mem::replace(&mut self.closed, true), "once");
    }
}

/// One side, and what has become of what it was shown.
struct One {
    wire: Box<dyn Wire>,
    shown: Shown,
    answer: Vec<u8>,
    buffer_pool: BufferPool,
}

impl One {
    fn new(wire: Box<dyn Wire>) -> Self {
        Self { wire, shown: Shown::default(), answer: Vec::new(), buffer_pool: BufferPool::default() }
    }

    fn server(options: ServerOptions, messages: bool) -> Self {
        Self::new(Arc::new(options).make(messages, &limits()))
    }

    fn opened(messages: bool) -> Self {
        let mut one = Self::server(ServerOptions::new(), messages);
        one.open(REQUEST.as_bytes()).expect("a sound request");
        assert!(one.shown.opened);
        one.answer.clear();
        one
    }

    fn open(&mut self, bytes: &[u8]) -> Result<(), DisconnectReason> {
        self.wire.open(&mut bytes.to_vec(), &mut self.shown, &mut self.answer)
    }

    fn seal(&mut self, pieces: Vec<Segment>) -> SendBatch {
        let mut batch = SendBatch::new();
        pieces.into_iter().for_each(|piece| batch.push(piece));
        self.wire.seal(batch, &mut self.buffer_pool)
    }

    fn answered(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.answer)
    }
}

fn limits() -> Limits {
    Limits { message_bytes_max: 1000, message_fragments_max: 20, head_bytes_max: 1024, ..Limits::default() }
}

const REQUEST: &str = "GET /play?x=1 HTTP/1.1\r\nHost: play.example:8080\r\nUpgrade: WebSocket\r\n\
    Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

/// A masked frame; `first` is its first byte.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x11, 0x22, 0x33, 0x44];
    let mut bytes = vec![first];
    match payload.len() {
        length @ ..=125 => bytes.push(0x80 | length as u8),
        length @ ..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&mask);
    bytes.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
    bytes
}

const CONTINUED: u8 = 0x00;
const TEXT: u8 = 0x01;
const BINARY: u8 = 0x02;
const FINAL: u8 = 0x80;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

fn all(batch: &SendBatch) -> Vec<u8> {
    batch.slices().flatten().copied().collect()
}

#[test]
fn a_handshake_cut_at_every_byte_is_answered_with_the_key_of_the_standard() {
    let stream = [REQUEST.as_bytes(), &frame(BINARY | FINAL, b"first")].concat();
    for cut in 0..stream.len() {
        let mut server = One::server(ServerOptions::new(), false);
        server.open(&stream[..cut]).expect("sound so far");
        assert_eq!(server.shown.opened, cut >= REQUEST.len());
        server.open(&stream[cut..]).expect("sound");
        let answer = String::from_utf8(server.answered()).expect("text");
        assert!(answer.starts_with("HTTP/1.1 101 ") && answer.ends_with("\r\n\r\n"), "{answer}");
        assert!(answer.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{answer}");
        assert_eq!(server.shown.bytes, b"first");
    }
}

#[test]
fn every_request_that_is_none_is_refused_with_its_status_and_reason() {
    let without = |line: &str| REQUEST.replace(line, "");
    let with = |line: &str| REQUEST.replace("\r\n\r\n", &format!("\r\n{line}\r\n\r\n"));
    let many: String = (0..60).map(|number| format!("X-{number}: y\r\n")).collect();
    let bad = DisconnectReason::BadHandshake;
    let cases = [
        (REQUEST.replace("GET", "POST"), 405, bad.clone()),
        (REQUEST.replace("HTTP/1.1", "HTTP/1.0"), 400, bad.clone()),
        (without("Host: play.example:8080\r\n"), 400, bad.clone()),
        (without("Upgrade: WebSocket\r\n"), 426, bad.clone()),
        (REQUEST.replace("keep-alive, Upgrade", "close"), 400, bad.clone()),
        (REQUEST.replace("Version: 13", "Version: 12"), 426, bad.clone()),
        (without("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"), 400, bad.clone()),
        (REQUEST.replace("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZQ=="), 400, bad.clone()),
        (with("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), 400, bad.clone()),
        (with("Content-Length: 5"), 400, bad.clone()),
        (with("Transfer-Encoding: chunked"), 400, bad.clone()),
        (with("Origin: https://evil.example"), 403, DisconnectReason::OriginRefused),
        (with("Origin: null"), 403, DisconnectReason::OriginRefused),
        (with(&many), 431, DisconnectReason::HeadTooLong),
        (with(&format!("X: {}", "y".repeat(2000))), 431, DisconnectReason::HeadTooLong),
        ("\x16\x03\x01".into(), 400, bad.clone()),
        ("GET / HTTP/1.1\r\nno header\r\n\r\n".into(), 400, bad),
    ];
    for (request, status, reason) in cases {
        for step in [1, 7, request.len()] {
            let mut server = One::server(ServerOptions::new(), false);
            let refused = request.as_bytes().chunks(step).find_map(|part| server.open(part).err());
            assert_eq!(refused.as_ref(), Some(&reason), "{request}");
            server.open(&frame(BINARY | FINAL, b"more")).expect("it is ignored");
            server.wire.goodbye(&reason, &mut server.answer);
            let answer = String::from_utf8(server.answered()).expect("text");
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}\n{answer}");
            let (head, body) = answer.split_once("\r\n\r\n").expect("a whole head");
            assert!(head.contains(&format!("Content-Length: {}", body.len())), "{answer}");
            assert!(!server.shown.opened && server.shown.bytes.is_empty());
        }
    }
}

#[test]
fn pages_of_the_same_host_or_of_the_list_may_connect_and_no_others() {
    let may = |origins: &Origins, origin: &str| {
        let mut server = One::server(ServerOptions::new().origins(origins.clone()), false);
        let request = REQUEST.replace("\r\n\r\n", &format!("\r\nOrigin: {origin}\r\n\r\n"));
        server.open(request.as_bytes()).is_ok()
    };
    let listed = Origins::Listed(vec!["https://play.example".into()]);
    for (origin, same_host, is_listed) in [
        ("https://play.example", true, true),
        ("http://PLAY.example:3000", true, false),
        ("https://play.example.evil", false, false),
        ("https://evil-play.example", false, false),
        ("play.example", false, false),
        ("https://[::1]:8080", false, false),
    ] {
        assert_eq!(may(&Origins::SameHost, origin), same_host, "{origin}");
        assert_eq!(may(&listed, origin), is_listed, "{origin}");
        assert!(may(&Origins::Any, origin));
    }
}

#[test]
fn a_listener_of_one_path_serves_it_with_any_query_and_no_other() {
    for (served, target, is_served) in [
        ("/play", "/play", true),
        ("/play", "/play?x=1", true),
        ("/play", "http://play.example/play?x=1", true),
        ("/play", "/", false),
        ("/play", "/play/", false),
        ("/play", "/player", false),
        ("/play", "/x?/play", false),
        ("/play", "http://play.example", false),
        ("/", "http://play.example", true),
        ("/", "/?x", true),
    ] {
        let mut server = One::server(ServerOptions::new().path(served), false);
        let opened = server.open(REQUEST.replace("/play?x=1", target).as_bytes());
        let answer = String::from_utf8(server.answered()).expect("text");
        if is_served {
            opened.expect(target);
            assert!(answer.starts_with("HTTP/1.1 101 "), "{target}: {answer}");
        } else {
            assert_eq!(opened, Err(DisconnectReason::BadHandshake), "{target}");
            assert!(answer.starts_with("HTTP/1.1 404 ") && answer.contains(served), "{target}: {answer}");
        }
    }
}

#[test]
fn a_client_of_another_version_is_refused_with_both_named() {
    let asked = |offer: &str| {
        let options = ServerOptions::new().subprotocol("naksi.2").subprotocol("chat");
        let mut server = One::server(options, false);
        let offer = format!("\r\nSec-WebSocket-Protocol: {offer}\r\n\r\n");
        let opened = server.open(REQUEST.replace("\r\n\r\n", &offer).as_bytes());
        (opened, String::from_utf8(server.answered()).expect("text"))
    };
    for (offer, chosen) in [("x, naksi.2", "naksi.2"), ("CHAT", "chat"), ("chat, naksi.2", "naksi.2")] {
        let (opened, answer) = asked(offer);
        assert_eq!(opened, Ok(()));
        assert!(answer.contains(&format!("Sec-WebSocket-Protocol: {chosen}\r\n")), "{answer}");
    }
    let (opened, answer) = asked("naksi.1");
    assert_eq!(opened, Err(DisconnectReason::VersionRefused));
    assert!(answer.contains("naksi.1") && answer.contains("naksi.2"), "{answer}");
    let (opened, answer) = asked("soap");
    assert!(
        opened.is_ok() && !answer.contains("Sec-WebSocket-Protocol"),
        "a stranger's own affair: {answer}"
    );
}

#[test]
fn a_stream_in_fragments_with_controls_between_them_is_the_same_stream_however_it_is_cut() {
    let stream = [
        frame(BINARY, b"he"),
        frame(PING, b"are you there"),
        frame(CONTINUED, b""),
        frame(CONTINUED, b"rr"),
        frame(PONG, b""),
        frame(CONTINUED | FINAL, b"ing"),
        frame(BINARY | FINAL, &[7; 300]),
    ]
    .concat();
    let wanted: Vec<u8> = [&b"herring"[..], &[7; 300]].concat();
    for step in 1..=stream.len() {
        let mut server = One::opened(false);
        stream.chunks(step).for_each(|part| server.open(part).expect("sound"));
        assert_eq!(server.shown.bytes, wanted);
        assert_eq!(server.shown.controls, 2);
        assert_eq!(server.answered(), [&[0x8a, 13][..], b"are you there"].concat());
        assert!(server.wire.cut().is_none() && !server.wire.is_within_message());
    }
}

#[test]
fn messages_are_shown_whole_with_their_kind_however_they_are_cut() {
    let stream = [
        frame(TEXT | FINAL, "낚시".as_bytes()),
        frame(TEXT, &"낚시".as_bytes()[..4]),
        frame(PING, b""),
        frame(CONTINUED | FINAL, &"낚시".as_bytes()[4..]),
        frame(BINARY | FINAL, b""),
        frame(BINARY, &[1]),
        frame(CONTINUED | FINAL, &[2, 255]),
        frame(TEXT | FINAL, b""),
    ]
    .concat();
    for step in 1..=stream.len() {
        let mut server = One::opened(true);
        stream.chunks(step).for_each(|part| server.open(part).expect("sound"));
        let wanted = ["text 낚시", "text 낚시", "binary []", "binary [1, 2, 255]", "text "];
        assert_eq!(server.shown.messages, wanted, "in steps of {step}");
        assert!(server.wire.cut().is_none() && !server.wire.is_within_message());
    }
}

#[test]
fn every_violation_has_its_reason_and_its_code_and_nothing_is_shown_after_it() {
    let unmasked = vec![BINARY | FINAL, 1, 7];
    let fragments: Vec<u8> =
        (0..21).flat_map(|at| frame(if at == 0 { BINARY } else { CONTINUED }, b"")).collect();
    let huge = [&[BINARY | FINAL, 0x80 | 127][..], &(1_u64 << 40).to_be_bytes(), &[0; 4]].concat();
    let broken = DisconnectReason::WebSocketViolation;
    let cases = [
        (true, unmasked, DisconnectReason::WrongMask, 1002),
        (true, frame(0x40 | BINARY | FINAL, b"compressed"), broken.clone(), 1002),
        (true, frame(0x03 | FINAL, b"reserved"), broken.clone(), 1002),
        (true, frame(0x0b | FINAL, b"reserved"), broken.clone(), 1002),
        (true, frame(0x09, b"a ping in fragments"), broken.clone(), 1002),
        (true, frame(PING, &[0; 126]), broken.clone(), 1002),
        (true, frame(CONTINUED | FINAL, b"of nothing"), broken.clone(), 1002),
        (true, [frame(TEXT, b"a"), frame(TEXT | FINAL, b"b")].concat(), broken.clone(), 1002),
        (true, frame(CLOSE, &[3]), broken.clone(), 1002),
        (true, frame(CLOSE, &1006_u16.to_be_bytes()), broken, 1002),
        (true, frame(CLOSE, &[3, 232, 0xff]), DisconnectReason::TextNotUtf8, 1007),
        (true, frame(TEXT | FINAL, &[0xff]), DisconnectReason::TextNotUtf8, 1007),
        (true, frame(TEXT, &[0xed, 0xa0]), DisconnectReason::TextNotUtf8, 1007),
        (true, frame(TEXT | FINAL, &"낚".as_bytes()[..2]), DisconnectReason::TextNotUtf8, 1007),
        (true, frame(BINARY | FINAL, &[0; 1001]), DisconnectReason::MessageTooLong, 1009),
        (
            true,
            [frame(BINARY, &[0; 600]), frame(CONTINUED, &[0; 401])].concat(),
            DisconnectReason::MessageTooLong,
            1009,
        ),
        (true, huge, DisconnectReason::MessageTooLong, 1009),
        (true, fragments.clone(), DisconnectReason::TooManyFragments, 1008),
        (false, fragments, DisconnectReason::TooManyFragments, 1008),
        (false, frame(TEXT | FINAL, b"hello"), DisconnectReason::TextRefused, 1003),
    ];
    for (messages, bytes, reason, code) in cases {
        for step in [1, bytes.len()] {
            let mut server = One::opened(messages);
            let stream = [&bytes[..], &frame(BINARY | FINAL, b"after")].concat();
            let ended = stream.chunks(step).find_map(|part| server.open(part).err());
            assert_eq!(ended.as_ref(), Some(&reason));
            server.open(&frame(BINARY | FINAL, b"after")).expect("it is ignored");
            assert!(server.shown.bytes.is_empty() && server.shown.messages.is_empty(), "{:?}", server.shown);
            server.answer.clear();
            server.wire.goodbye(&reason, &mut server.answer);
            assert_eq!(server.answer[..1], [0x88]);
            assert_eq!(server.answer[2..4], u16::to_be_bytes(code), "{reason}");
            assert_eq!(&server.answer[4..], reason.name().as_bytes());
        }
    }
}

#[test]
fn the_peers_close_is_answered_with_its_code_and_what_follows_is_ignored() {
    for (payload, wanted) in
        [(&[][..], &[0x88, 0][..]), (&[15, 160, b'x'], &[0x88, 2, 15, 160]), (&[3, 232], &[0x88, 2, 3, 232])]
    {
        let mut server = One::opened(true);
        server.open(&[frame(CLOSE, payload), frame(TEXT | FINAL, b"after")].concat()).expect("sound");
        assert!(server.shown.closed && server.shown.messages.is_empty());
        server.wire.goodbye(&DisconnectReason::PeerClosed, &mut server.answer);
        assert_eq!(server.answered(), wanted);
    }
}

#[test]
fn a_flood_of_pings_is_answered_within_a_bound_and_the_last_one_always() {
    let mut server = One::opened(true);
    for number in 0..5_000_u32 {
        server.open(&frame(PING, &number.to_be_bytes())).expect("sound");
    }
    assert!(server.answer.len() <= 2 * 1024 + 127, "{} bytes wait", server.answer.len());
    assert!(server.answer.ends_with(&[&[0x8a, 4][..], &4_999_u32.to_be_bytes()].concat()));
    assert_eq!(server.shown.controls, 5_000, "each counts against the rate");
}

#[test]
fn a_batch_is_one_binary_message_and_what_sessions_share_is_not_copied() {
    for length in [1, 125, 126, 65_535, 65_536, 200_000] {
        let shared = Bytes::from(vec![7; length]);
        let headers = [2, 4, 10][usize::from(length > 125) + usize::from(length > 65_535)];
        for _ in 0..3 {
            let mut server = One::opened(false);
            let batch = server.seal(vec![Segment::Counted(shared.clone())]);
            assert_eq!(batch.bytes(), headers + length);
            let shares = batch.slices().any(|slice| std::ptr::eq(slice.as_ptr(), shared.as_ptr()));
            assert!(shares, "encoded once for all");
            assert_eq!(all(&batch)[headers..], shared[..]);
        }
    }
}

#[test]
fn a_client_and_a_server_understand_each_other_in_both_modes() {
    for messages in [false, true] {
        for step in [1, 3, 10_000] {
            let mut server = One::server(ServerOptions::new().subprotocol("naksi.7"), messages);
            let options = ClientOptions::new("play.example", "/play", 1).subprotocol("naksi.7");
            let mut client = One::new(Arc::new(options).make(messages, &limits()));
            client.wire.begin(&mut client.answer);
            let request = client.answered();
            request.chunks(step).for_each(|part| server.open(part).expect("sound"));
            server.answered().chunks(step).for_each(|part| client.open(part).expect("sound"));
            assert!(server.shown.opened && client.shown.opened);
            let header = |one: &One, bytes: &[u8]| {
                let header = one.wire.message_header();
                header
                    .map(|header| header(naksi_core::wire::MessageKind::Text, bytes.len()))
                    .unwrap_or_default()
            };
            for text in ["ab", &"long ".repeat(100)] {
                let queued = [header(&client, text.as_bytes()).as_slice(), text.as_bytes()].concat();
                let sealed = all(&client.seal(vec![Segment::Owned(queued)]));
                assert!(!sealed.windows(2).any(|pair| pair == b"ab"), "a client's bytes are masked");
                sealed.chunks(step).for_each(|part| server.open(part).expect("sound"));
                let queued = [header(&server, text.as_bytes()).as_slice(), text.as_bytes()].concat();
                let sealed = all(&server.seal(vec![Segment::Owned(queued)]));
                sealed.chunks(step).for_each(|part| client.open(part).expect("sound"));
            }
            assert_eq!(server.shown, client.shown);
            client.wire.ping(&mut client.answer);
            server.open(&client.answered()).expect("sound");
            client.open(&server.answered()).expect("sound");
            assert_eq!(client.shown.controls, 1, "the pong");
            client.wire.goodbye(&DisconnectReason::Handler, &mut client.answer);
            server.open(&client.answered()).expect("sound");
            assert!(server.shown.closed);
        }
    }
}

#[test]
fn a_client_takes_no_answer_that_is_not_to_its_question() {
    let open = |change: &dyn Fn(String) -> String| {
        let mut server = One::server(ServerOptions::new(), false);
        let mut client =
            One::new(Arc::new(ClientOptions::new("play.example", "/", 1)).make(false, &limits()));
        client.wire.begin(&mut client.answer);
        server.open(&client.answered()).expect("sound");
        let answer = change(String::from_utf8(server.answered()).expect("text"));
        client.open(answer.as_bytes())
    };
    assert_eq!(open(&|answer| answer), Ok(()));
    let refuses = |change: &dyn Fn(String) -> String| open(change).expect_err("it is refused");
    for (from, to) in [
        ("101 Switching Protocols", "200 OK"),
        ("Upgrade: websocket\r\n", ""),
        ("Connection: Upgrade\r\n", ""),
        ("Sec-WebSocket-Accept: ", "Sec-WebSocket-Accept: x"),
        ("\r\n\r\n", "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"),
        ("\r\n\r\n", "\r\nSec-WebSocket-Protocol: chat\r\n\r\n"),
        ("HTTP", "SMTP"),
    ] {
        assert_eq!(refuses(&|answer| answer.replacen(from, to, 1)), DisconnectReason::BadHandshake, "{to}");
    }
    let long = format!("\r\nX: {}\r\n\r\n", "y".repeat(2000));
    assert_eq!(refuses(&|answer| answer.replace("\r\n\r\n", &long)), DisconnectReason::HeadTooLong);
}
