//! Both sides of TLS against each other, against rustls itself, and against bytes that are no TLS.

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use naksi_core::batch::{Segment, SendBatch};
use naksi_core::buffer_pool::BufferPool;
use naksi_core::limits::Limits;
use naksi_core::reason::DisconnectReason;
use naksi_core::wire::{MakeWire, Message, Plain, Wire};
use naksi_tls::{
    Certificates, ClientCertificates, ClientOptions, Identity, Roots, ServerOptions, ServerWires, TlsError,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion};

/// What a wire passes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Shown {
    opened: bool,
    bytes: Vec<u8>,
    controls: usize,
    closed: bool,
}

impl Plain for Shown {
    fn opened(&mut self) {
        assert!(!std::mem::replace(&mut self.opened, true), "once");
    }

    fn bytes(&mut self, plain: &mut [u8]) {
        assert!(self.opened && !self.closed && !plain.is_empty());
        self.bytes.extend_from_slice(plain);
    }

    fn message(&mut self, _: Message<'_>) {
        unreachable!("TLS carries a stream");
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
    fn new(wires: Arc<impl MakeWire>) -> Self {
        let wire = wires.make(false, &Limits::default());
        let mut one =
            Self { wire, shown: Shown::default(), answer: Vec::new(), buffer_pool: BufferPool::default() };
        one.wire.begin(&mut one.answer);
        one
    }

    fn open(&mut self, bytes: &[u8]) -> Result<(), DisconnectReason> {
        self.wire.open(&mut bytes.to_vec(), &mut self.shown, &mut self.answer)
    }

    /// In pieces of so many bytes.
    fn open_in(&mut self, bytes: &[u8], piece: usize) -> Result<(), DisconnectReason> {
        bytes.chunks(piece).try_for_each(|piece| self.open(piece))
    }

    fn answered(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.answer)
    }

    fn seal(&mut self, pieces: &[&[u8]]) -> Vec<u8> {
        let mut batch = SendBatch::new();
        pieces.iter().for_each(|piece| batch.push(Segment::Owned(piece.to_vec())));
        self.wire.seal(batch, &mut self.buffer_pool).slices().flatten().copied().collect()
    }

    fn goodbye(&mut self) -> Vec<u8> {
        self.wire.goodbye(&DisconnectReason::Handler, &mut self.answer);
        self.answered()
    }
}

/// Who signs certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(vec!["authority.example".to_owned()]).expect("a name");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    fn roots(&self) -> Roots {
        Roots::from_pem(self.0.pem().as_bytes()).expect("a root")
    }

    /// A certificate and its key, as PEM.
    fn sign(&self, names: &[&str]) -> (String, String) {
        let names = names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut params = CertificateParams::new(names).expect("names");
        params.not_after = rcgen::date_time_ymd(2040, 2, 3);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }

    fn identity(&self, names: &[&str]) -> Identity {
        let (certificate, key) = self.sign(names);
        Identity::from_pem(certificate.as_bytes(), key.as_bytes()).expect("a pair")
    }

    fn server(&self) -> Arc<ServerWires> {
        Arc::new(server(self.identity(&["play.example"])).wires().expect("options"))
    }

    fn client(&self) -> One {
        One::new(Arc::new(ClientOptions::new("play.example", self.roots()).wires().expect("options")))
    }

    /// A client of rustls itself that speaks one version.
    fn foreign(&self, version: &'static SupportedProtocolVersion) -> ClientConnection {
        let mut roots = RootCertStore::empty();
        let root = rustls::pki_types::CertificateDer::from_pem_slice(self.0.pem().as_bytes());
        roots.add(root.expect("a root")).expect("a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]);
        let config = config.expect("a version").with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::try_from("play.example").expect("a name");
        ClientConnection::new(Arc::new(config), name).expect("a client")
    }
}

fn server(identity: Identity) -> ServerOptions {
    ServerOptions::new(Certificates::new(vec![identity]).expect("one"))
}

/// Passes answers to and fro until both have nothing to say. Returns what each has judged.
fn talk(
    client: &mut One,
    server: &mut One,
    piece: usize,
) -> (Result<(), DisconnectReason>, Result<(), DisconnectReason>) {
    let (mut of_client, mut of_server) = (Ok(()), Ok(()));
    while !client.answer.is_empty() || !server.answer.is_empty() {
        let said = client.answered();
        of_server = of_server.and(server.open_in(&said, piece));
        let said = server.answered();
        of_client = of_client.and(client.open_in(&said, piece));
    }
    (of_client, of_server)
}

fn opened(authority: &Authority) -> (One, One) {
    let (mut client, mut server) = (authority.client(), One::new(authority.server()));
    assert_eq!(talk(&mut client, &mut server, usize::MAX), (Ok(()), Ok(())));
    assert!(client.shown.opened && server.shown.opened);
    (client, server)
}

/// The next bytes of a client of rustls.
fn said(client: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).expect("a Vec takes everything");
    }
    bytes
}

fn hear(client: &mut ClientConnection, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        client.read_tls(&mut bytes).expect("there is room");
        client.process_new_packets().expect("a sound server");
    }
}

#[test]
fn data_travels_both_ways_over_both_versions_however_the_records_are_cut() {
    let authority = Authority::new();
    let text: Vec<u8> = (0..40_000_u32).map(|number| number as u8).collect();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for piece in [1, 2, 3, 5, 7, 1000, 4096, usize::MAX] {
            let (mut client, mut server) = (authority.foreign(version), One::new(authority.server()));
            while client.is_handshaking() || !server.shown.opened {
                server.open_in(&said(&mut client), piece).expect("a sound client");
                hear(&mut client, &server.answered());
            }
            assert_eq!(client.protocol_version(), Some(version.version));
            client.set_buffer_limit(None);
            client.writer().write_all(&text).expect("it takes everything");
            server.open_in(&said(&mut client), piece).expect("sound records");
            assert!(server.shown.bytes == text, "in pieces of {piece}");
            hear(&mut client, &server.answered());
            let sealed = server.seal(&[b"first ", b"second ", &text[..9000]]);
            for part in sealed.chunks(4096) {
                hear(&mut client, part);
            }
            let mut heard = vec![0; 13 + 9000];
            client.reader().read_exact(&mut heard).expect("it came whole");
            assert!(heard.starts_with(b"first second ") && heard[13..] == text[..9000]);
        }
    }
}

#[test]
fn a_handshake_that_is_cut_at_any_byte_is_neither_done_nor_refused_and_goes_on() {
    let authority = Authority::new();
    let wires = authority.server();
    let hello = authority.client().answered();
    for cut in 1..hello.len() {
        let (mut client, mut server) = (authority.client(), One::new(Arc::clone(&wires)));
        let hello = client.answered();
        let cut = cut.min(hello.len() - 1);
        server.open(&hello[..cut]).expect("nothing is wrong yet");
        assert!(!server.shown.opened && server.answer.is_empty());
        assert!(server.wire.is_within_message() && server.wire.cut().is_none(), "cut at {cut}");
        server.open(&hello[cut..]).expect("a sound hello");
        assert_eq!(talk(&mut client, &mut server, usize::MAX), (Ok(()), Ok(())));
        assert!(server.shown.opened && client.shown.opened, "cut at {cut}");
    }
}

#[test]
fn a_batch_of_many_pieces_arrives_whole_and_in_order() {
    let authority = Authority::new();
    let (mut client, mut server) = opened(&authority);
    let pieces: Vec<Vec<u8>> =
        (0..200_u32).map(|number| vec![number as u8; 1 + 17 * number as usize]).collect();
    let slices: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
    let whole = slices.concat();
    for piece in [1, 333, usize::MAX] {
        let sealed = server.seal(&slices);
        let added = sealed.len() - whole.len();
        assert!(added < 32 * (whole.len() / (1 << 14) + 10), "records are full: {added} bytes were added");
        client.open_in(&sealed, piece).expect("sound records");
        assert!(std::mem::take(&mut client.shown.bytes) == whole, "in pieces of {piece}");
    }
}

#[test]
fn the_end_of_the_peer_is_told_and_an_end_without_it_has_its_own_reason() {
    let authority = Authority::new();
    let (mut client, mut server) = opened(&authority);
    assert_eq!(server.wire.cut(), Some(DisconnectReason::TlsTruncated), "the stream may not end here");
    let goodbye = client.goodbye();
    server.open(&goodbye).expect("an end in order");
    assert!(server.shown.closed && server.wire.cut().is_none());
    server.open(b"what comes after the end").expect("it is ignored");
    client.open(&server.goodbye()).expect("an end in order");
    assert!(client.shown.closed && client.shown.bytes.is_empty() && server.shown.bytes.is_empty());
}

#[test]
fn a_certificate_that_is_not_trusted_ends_both_sides_with_a_reason() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    for (name, roots) in [("play.example", stranger.roots()), ("other.example", authority.roots())] {
        let options = ClientOptions::new(name, roots).wires().expect("options");
        let (mut client, mut server) = (One::new(Arc::new(options)), One::new(authority.server()));
        let judged = talk(&mut client, &mut server, usize::MAX);
        let (refused, alert) = (DisconnectReason::CertificateRefused, DisconnectReason::TlsAlert);
        assert_eq!(judged, (Err(refused), Err(alert)), "{name}");
        assert!(!client.shown.opened && !server.shown.opened);
    }
    let anything = ClientOptions::new("10.0.0.1", Roots::anything()).wires().expect("options");
    let (mut client, mut server) = (One::new(Arc::new(anything)), One::new(authority.server()));
    assert_eq!(talk(&mut client, &mut server, usize::MAX), (Ok(()), Ok(())));
    assert!(client.shown.opened && server.shown.opened);
}

#[test]
fn what_is_no_tls_is_refused_at_once_and_with_an_alert() {
    let wires = Authority::new().server();
    for garbage in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        &[8, 0, 10, 0, b'x', b'x', b'x', b'x'],
        &[0; 64],
        &[255; 64],
    ] {
        let mut server = One::new(Arc::clone(&wires));
        assert_eq!(server.open(garbage), Err(DisconnectReason::NotTls), "{garbage:?}");
        assert_eq!(server.answer.first(), Some(&21), "an alert says so");
        assert!(!server.shown.opened && server.goodbye()[7..].is_empty(), "and nothing more");
        server.open(garbage).expect("what comes after that is ignored");
    }
}

#[test]
fn records_that_are_empty_or_too_long_or_damaged_break_the_rules() {
    let authority = Authority::new();
    let wires = authority.server();
    let too_long = [&[22, 3, 1, 0x41, 0x01][..], &[0; 0x4101]].concat();
    let endless = [&[22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff][..], &[0; 0x4000 - 4]].concat();
    for bad in [&[22, 3, 1, 0, 0][..], &too_long, &endless, &[22, 3, 1, 0, 4, 99, 0, 0, 0]] {
        let mut server = One::new(Arc::clone(&wires));
        let judged = (0..5).try_for_each(|_| server.open(bad));
        assert_eq!(judged, Err(DisconnectReason::TlsViolation), "{:?}", &bad[..5]);
        assert!(server.wire.held_bytes() < 100_000 && server.answer.len() < 1000);
    }
    for damage in [0, 3, 5, 9, 20] {
        let (mut client, mut server) = opened(&authority);
        let mut sealed = client.seal(&[b"plain text"]);
        sealed[damage] ^= 0x40;
        sealed.extend_from_slice(&[0; 20_000]);
        let judged = server.open(&sealed);
        assert!(judged == Err(DisconnectReason::TlsViolation), "{damage}: {judged:?}");
        assert!(server.shown.bytes.is_empty());
    }
}

#[test]
fn a_flood_of_key_updates_is_counted_and_ends_the_session() {
    let authority = Authority::new();
    let (mut client, mut server) = (authority.foreign(&rustls::version::TLS13), One::new(authority.server()));
    while client.is_handshaking() || !server.shown.opened {
        server.open(&said(&mut client)).expect("a sound client");
        hear(&mut client, &server.answered());
    }
    let mut ended = Ok(());
    for updates in 1..1000 {
        client.refresh_traffic_keys().expect("TLS 1.3 has it");
        ended = server.open(&said(&mut client));
        assert!(server.answer.len() < 4096, "what is answered has a bound");
        if ended.is_err() {
            assert_eq!(server.shown.controls, updates - 1, "each counts as a message does");
            break;
        }
    }
    assert_eq!(ended, Err(DisconnectReason::TlsViolation));
}

#[test]
fn a_client_is_shown_the_certificate_of_the_name_that_it_asks_for() {
    let authority = Authority::new();
    let certificates = Certificates::new(vec![
        authority.identity(&["play.example"]),
        authority.identity(&["chat.example", "*.rooms.example"]),
    ]);
    let certificates = certificates.expect("two");
    let wires = Arc::new(ServerOptions::new(certificates).wires().expect("options"));
    for (name, is_served) in [
        ("play.example", true),
        ("chat.example", true),
        ("a.rooms.example", true),
        ("rooms.example", false),
        ("other.example", false),
    ] {
        let options = ClientOptions::new(name, authority.roots()).wires().expect("options");
        let (mut client, mut server) = (One::new(Arc::new(options)), One::new(Arc::clone(&wires)));
        talk(&mut client, &mut server, usize::MAX).0.ok();
        assert_eq!(client.shown.opened, is_served, "{name}");
    }
}

#[test]
fn certificates_are_exchanged_for_new_handshakes_and_stay_when_the_new_ones_are_none() {
    let (old, new) = (Authority::new(), Authority::new());
    let certificates = Certificates::new(vec![old.identity(&["play.example"])]).expect("one");
    let wires = Arc::new(ServerOptions::new(certificates.clone()).wires().expect("options"));
    let reaches = |authority: &Authority| {
        let (mut client, mut server) = (authority.client(), One::new(Arc::clone(&wires)));
        talk(&mut client, &mut server, usize::MAX).0.ok();
        client.shown.opened.then_some((client, server))
    };
    let (mut client, mut server) = reaches(&old).expect("the old one");
    assert!(reaches(&new).is_none());
    assert_eq!(certificates.replace(Vec::new()), Err(TlsError::NoCertificate));
    assert!(reaches(&old).is_some(), "the old one stays");
    certificates.replace(vec![new.identity(&["play.example"])]).expect("a new one");
    assert!(reaches(&old).is_none() && reaches(&new).is_some());
    let sealed = client.seal(&[b"still here"]);
    server.open(&sealed).expect("connections that stand are not touched");
    assert_eq!(server.shown.bytes, b"still here");
    let expires = certificates.not_after().expect("it has a date").as_secs();
    assert_eq!(expires, 2_211_840_000, "3 February 2040");
}

#[test]
fn a_key_of_another_certificate_and_what_is_no_pem_are_refused() {
    let authority = Authority::new();
    let ((certificate, _), (_, key)) = (authority.sign(&["a.example"]), authority.sign(&["a.example"]));
    let read = |certificate: &str, key: &str| Identity::from_pem(certificate.as_bytes(), key.as_bytes());
    assert!(matches!(read(&certificate, &key), Err(TlsError::KeyRefused(_))));
    assert!(matches!(read(&certificate, "no key"), Err(TlsError::Key(_))));
    assert!(matches!(read(&certificate, &certificate), Err(TlsError::Key(_))));
    assert!(matches!(read("no certificate", &key), Err(TlsError::Certificate(_))));
    assert!(matches!(Roots::from_pem(b""), Err(TlsError::Roots(_))));
    assert!(matches!(Roots::from_der([&b"none"[..]]), Err(TlsError::Roots(_))));
    let nameless = ClientOptions::new("no name", authority.roots()).wires().expect_err("a space");
    assert_eq!(nameless, TlsError::ServerName("no name".to_owned()));
}

#[test]
fn a_client_without_the_certificate_that_is_required_is_refused() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let required = |roots| ClientCertificates::Required(roots);
    let optional = |roots| ClientCertificates::Optional(roots);
    let known = authority.identity(&["player.example"]);
    let unknown = stranger.identity(&["player.example"]);
    for (clients, identity, is_accepted) in [
        (required(authority.roots()), None, false),
        (required(authority.roots()), Some(unknown.clone()), false),
        (required(authority.roots()), Some(known.clone()), true),
        (optional(authority.roots()), None, true),
        (optional(authority.roots()), Some(unknown), false),
        (optional(authority.roots()), Some(known), true),
    ] {
        let options = server(authority.identity(&["play.example"])).client_certificates(clients);
        let mut client = ClientOptions::new("play.example", authority.roots());
        if let Some(identity) = identity {
            client = client.identity(identity);
        }
        let mut server = One::new(Arc::new(options.wires().expect("options")));
        let mut client = One::new(Arc::new(client.wires().expect("options")));
        let (_, judged) = talk(&mut client, &mut server, usize::MAX);
        assert_eq!(server.shown.opened, is_accepted);
        assert_eq!(judged, if is_accepted { Ok(()) } else { Err(DisconnectReason::CertificateRefused) });
    }
}

#[test]
fn sides_without_a_common_protocol_do_not_come_together() {
    let authority = Authority::new();
    for (offered, judged) in [
        (&["naksi/1"][..], Ok(())),
        (&["other/1", "naksi/1"], Ok(())),
        (&[], Ok(())),
        (&["other/1"], Err(DisconnectReason::TlsRefused)),
    ] {
        let options = server(authority.identity(&["play.example"])).protocol("naksi/1");
        let mut server = One::new(Arc::new(options.wires().expect("options")));
        let client = ClientOptions::new("play.example", authority.roots());
        let client = offered.iter().fold(client, |client, name| client.protocol(*name));
        let mut client = One::new(Arc::new(client.wires().expect("options")));
        assert_eq!(talk(&mut client, &mut server, usize::MAX).1, judged, "{offered:?}");
    }
}

#[test]
fn a_client_that_comes_again_resumes_with_a_ticket() {
    let authority = Authority::new();
    let wires = Arc::new(ClientOptions::new("play.example", authority.roots()).wires().expect("options"));
    let of_server = authority.server();
    let mut sent = Vec::new();
    for _ in 0..2 {
        let (mut client, mut server) = (One::new(Arc::clone(&wires)), One::new(Arc::clone(&of_server)));
        server.open(&client.answered()).expect("a sound hello");
        sent.push(server.answer.len());
        assert_eq!(talk(&mut client, &mut server, usize::MAX), (Ok(()), Ok(())));
        assert!(server.shown.opened);
    }
    assert!(sent[1] < sent[0] / 2, "no certificate is sent again: {sent:?}");
}
