//! A server with TLS on the system's own port, against the engine's own client and plain sockets.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use naksi::config::Limits;
use naksi::prelude::*;
use naksi::tls::{self, Certificates, ClientOptions, Identity, Roots, ServerOptions};
use naksi::{Client, Retry, ws};

/// How long anything may take before a test is lost.
const PATIENCE: Duration = Duration::from_secs(60);

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A certificate that signs itself, and its key, as PEM.
fn pair() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(vec!["play.example".to_owned()]).expect("a certificate");
    (made.cert.pem(), made.signing_key.serialize_pem())
}

fn identity((certificate, key): &(String, String)) -> Identity {
    Identity::from_pem(certificate.as_bytes(), key.as_bytes()).expect("a pair")
}

fn certificates(pair: &(String, String)) -> Certificates {
    Certificates::new(vec![identity(pair)]).expect("one")
}

fn trusting((certificate, _): &(String, String)) -> ClientOptions {
    ClientOptions::new("play.example", Roots::from_pem(certificate.as_bytes()).expect("a root"))
}

struct Echo;

impl Session for Echo {
    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        c.send(data);
        data.len()
    }
}

/// Sends numbered blocks and counts those that come back as they were, in order.
struct Caller {
    done: Arc<AtomicUsize>,
    sent: u8,
    heard: Vec<u8>,
}

const BLOCK_BYTES: usize = 5000;
const BLOCKS: u8 = 20;

impl Caller {
    fn new(done: &Arc<AtomicUsize>) -> Self {
        Self { done: Arc::clone(done), sent: 0, heard: Vec::new() }
    }

    fn next(&mut self, c: &mut Conn<'_>) {
        self.sent += 1;
        c.send(&[self.sent; BLOCK_BYTES]);
    }
}

impl Session for Caller {
    fn on_connected(&mut self, c: &mut Conn<'_>) {
        self.next(c);
    }

    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        self.heard.extend_from_slice(data);
        if self.heard.len() == BLOCK_BYTES {
            assert!(self.heard.iter().all(|byte| *byte == self.sent));
            self.heard.clear();
            if self.sent < BLOCKS {
                self.next(c);
            } else {
                self.done.fetch_add(1, Ordering::SeqCst);
                c.close(DisconnectReason::Handler);
            }
        }
        data.len()
    }
}

fn loopback() -> &'static str {
    "127.0.0.1:0"
}

#[test]
fn plain_tls_and_websocket_clients_are_served_by_one_server_and_end_in_order() {
    let pair = pair();
    let certificates = certificates(&pair);
    let server = Server::new().workers(2).listen(loopback());
    let server = server.listen_tls(loopback(), ServerOptions::new(certificates.clone()));
    let server =
        server.listen_wss(loopback(), ws::ServerOptions::new(), ServerOptions::new(certificates.clone()));
    let server = server.session(|| Echo).start().expect("it starts");
    assert_eq!(server.addresses().len(), 3);
    let not_after = certificates.not_after().expect("it has a date").as_secs();
    assert_eq!(server.stats().tls_not_after_seconds, not_after);
    let done = Arc::new(AtomicUsize::new(0));
    let mut clients = Vec::new();
    for (place, address) in server.addresses().iter().enumerate() {
        let client = Client::new(*address).connections(10).retry(Retry::NEVER);
        let client = match place {
            0 => client,
            1 => client.over_tls(trusting(&pair)),
            _ => client.over_wss(ws::ClientOptions::new("play.example", "/", 7), trusting(&pair)),
        };
        let done = Arc::clone(&done);
        clients.push(client.session(move || Caller::new(&done)).start().expect("it starts"));
    }
    until("all callers are done", || done.load(Ordering::SeqCst) == 30);
    until("all sessions are over", || server.stats().live == 0);
    let stats = server.stop(PATIENCE);
    assert_eq!(stats.ended.get("peer_closed"), Some(&30), "{stats}");
    assert_eq!(stats.handshakes, 0);
    for client in clients {
        let stats = client.stop(PATIENCE);
        assert_eq!(stats.ended.get("handler"), Some(&10), "{stats}");
    }
}

#[test]
fn a_new_certificate_is_for_new_connections_and_disturbs_none_that_stands() {
    let (old, new) = (pair(), pair());
    let certificates = certificates(&old);
    let server = Server::new().workers(1).listen_tls(loopback(), ServerOptions::new(certificates.clone()));
    let server = server.session(|| Echo).start().expect("it starts");
    let address = server.addresses()[0];
    let stay = |pair: &(String, String)| {
        struct Stay;
        impl Session for Stay {}
        let client = Client::new(address).connections(50).retry(Retry::NEVER).over_tls(trusting(pair));
        client.session(|| Stay).start().expect("it starts")
    };
    let of_old = stay(&old);
    until("fifty stand", || server.stats().live == 50 && server.stats().handshakes == 0);
    certificates.replace(vec![identity(&new)]).expect("a new one");
    let of_new = stay(&new);
    until("fifty more stand", || server.stats().live == 100 && server.stats().handshakes == 0);
    let refused = stay(&old);
    until("the old one is not shown any more", || {
        refused.stats().ended.get("certificate_refused").is_some_and(|count| *count == 50)
    });
    until("and the server has heard so", || server.stats().live == 100);
    assert_eq!(server.stats().ended.get("tls_alert"), Some(&50), "{}", server.stats());
    assert_eq!((of_old.stats().live, of_new.stats().live), (50, 50));
    for client in [of_old, of_new, refused] {
        client.stop(PATIENCE);
    }
    server.stop(PATIENCE);
}

#[test]
fn connections_in_their_handshake_have_a_limit_and_a_deadline() {
    let limits =
        Limits { handshakes_max: 5, first_frame_within: Duration::from_secs(2), ..Limits::default() };
    let server = Server::new().workers(2).limits(limits).listen(loopback());
    let server = server.listen_tls(loopback(), ServerOptions::new(certificates(&pair())));
    let server = server.session(|| Echo).start().expect("it starts");
    let (plain, address) = (server.addresses()[0], server.addresses()[1]);
    let silent: Vec<TcpStream> =
        (0..8).map(|_| TcpStream::connect(address).expect("the system accepts")).collect();
    until("three are refused", || server.stats().refused_handshakes_total == 3);
    assert_eq!(server.stats().handshakes, 5);
    let mut other = TcpStream::connect(plain).expect("plain TCP has no handshake");
    other.write_all(b"here").expect("it is served");
    let mut echoed = [0; 4];
    other.read_exact(&mut echoed).expect("it is served");
    until("the silent ones are ended", || server.stats().handshakes == 0);
    until("and counted", || server.stats().ended.get("handshake_late") == Some(&5));
    drop((silent, other));
    server.stop(PATIENCE);
}

#[test]
fn what_is_no_tls_and_an_end_without_close_notify_have_their_reasons() {
    let server = Server::new().workers(1).listen_tls(loopback(), ServerOptions::new(certificates(&pair())));
    let server = server.session(|| Echo).start().expect("it starts");
    let mut stranger = TcpStream::connect(server.addresses()[0]).expect("the system accepts");
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("it is read");
    let mut heard = Vec::new();
    stranger.read_to_end(&mut heard).expect("an end in order");
    assert_eq!(heard.first(), Some(&21), "a TLS alert: {heard:?}");
    until("it is counted", || server.stats().ended.get("not_tls") == Some(&1));
    server.stop(PATIENCE);
}

#[test]
fn files_that_cannot_be_used_are_named_with_what_is_wrong() {
    let folder = tempfile::tempdir().expect("a folder");
    let (certificate, key) = pair();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path
    };
    let (good, its_key, empty) = (file("good.pem", &certificate), file("good.key", &key), file("empty", ""));
    let both = file("both.pem", &format!("{certificate}{key}"));
    assert!(
        tls::identity_from_files(&good, &its_key).is_ok() && tls::identity_from_files(&both, &both).is_ok()
    );
    for (chain, key, named) in [
        (&empty, &its_key, "empty: the certificate is no PEM"),
        (&good, &empty, "empty: the private key is no"),
        (&good, &good, "good.pem: the private key is no"),
    ] {
        let error = tls::identity_from_files(chain, key).expect_err("it cannot be used").to_string();
        assert!(error.contains(named), "{error}");
    }
    let error =
        tls::identity_from_files(folder.path().join("none.pem"), &its_key).expect_err("no file").to_string();
    assert!(error.contains("cannot read") && error.contains("none.pem"), "{error}");
    assert!(tls::roots_from_file(&good).is_ok() && tls::roots_from_file(&its_key).is_err());
}
