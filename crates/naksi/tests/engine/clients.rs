//! Tests of the client: many connections, retries with pauses, several addresses.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

/// Sends its number and counts the answer.
struct Caller {
    index: u64,
    answered: Arc<AtomicU64>,
}

impl Session for Caller {
    fn on_connected(&mut self, c: &mut Conn<'_>) {
        c.send(&self.index.to_le_bytes());
    }

    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        if data.len() < 8 {
            return 0;
        }
        assert_eq!(data, self.index.to_le_bytes());
        self.answered.fetch_add(1, Ordering::SeqCst);
        c.close(DisconnectReason::Handler);
        8
    }
}

fn calls(address: SocketAddr, connections: u32, workers: usize) -> (Service, Arc<AtomicU64>) {
    let answered = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&answered);
    let client = Client::new(address)
        .backend(backend())
        .connections(connections)
        .workers(workers)
        .session_with(move |arrival| Caller { index: arrival.index, answered: Arc::clone(&counted) })
        .start()
        .expect("a client");
    (client, answered)
}

#[test]
fn a_crowd_connects_is_answered_and_goes() {
    let service = server().workers(2).session(|| Echo).start().expect("a server");
    let (client, answered) = calls(service.addresses()[0], 500, 2);
    until("everybody is answered", || answered.load(Ordering::SeqCst) == 500);
    until("everybody is gone", || client.stats().live == 0 && service.stats().live == 0);
    let stats = client.stop(Duration::from_secs(5));
    assert_eq!((stats.connected_total, stats.disconnected_total, stats.given_up_total), (500, 500, 0));
    assert_eq!(service.stats().ended.get("peer_closed"), Some(&500));
}

#[test]
fn a_client_that_comes_before_its_server_tries_again() {
    let reserved = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = reserved.local_addr().expect("an address");
    drop(reserved);
    let (client, answered) = calls(address, 3, 1);
    until("it has tried", || client.stats().connect_failures_total >= 3);
    let service =
        Server::new().backend(backend()).listen(address).session(|| Echo).start().expect("a server");
    until("everybody is answered", || answered.load(Ordering::SeqCst) == 3);
    drop(service);
}

#[test]
fn a_client_that_may_not_try_again_gives_up() {
    let client = Client::new("127.0.0.1:1")
        .backend(backend())
        .connections(4)
        .retry(Retry::NEVER)
        .session(|| Echo)
        .start()
        .expect("a client");
    until("it has given up", || client.stats().given_up_total == 4);
    assert_eq!(client.stop(Duration::from_secs(5)).connected_total, 0);
}

#[test]
fn attempts_that_fail_at_once_leave_no_timers_behind() {
    let (pause_min, pause_max) = (Duration::from_millis(1), Duration::from_millis(2));
    let client = Client::new("127.0.0.1:1")
        .backend(backend())
        .workers(1)
        .retry(Retry { pause_min, pause_max, ..Retry::ALWAYS })
        .session(|| Echo)
        .start()
        .expect("a client");
    // Windows takes two seconds to be refused.
    until("it has tried often", || client.stats().connect_failures_total >= 6);
    let timers = client.stats().timers;
    assert!(timers <= 1, "one connection waits for one thing at a time, and not for {timers}");
}

/// A listener that does not accept, and enough connections to fill its backlog.
fn full_listener() -> (std::net::TcpListener, Vec<TcpStream>) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
    socket.listen(1).expect("it listens");
    let listener = std::net::TcpListener::from(socket);
    let address = listener.local_addr().expect("an address");
    let short = Duration::from_millis(200);
    let filling = std::iter::from_fn(|| TcpStream::connect_timeout(&address, short).ok());
    let filling = filling.take(100).collect();
    (listener, filling)
}

#[test]
fn an_attempt_that_is_never_answered_fails_in_its_time() {
    let (listener, _filling) = full_listener();
    let client = Client::new(listener.local_addr().expect("an address"))
        .backend(backend())
        .connections(3)
        .retry(Retry { attempts_max: 2, ..Retry::START })
        .connect_within(Duration::from_millis(50))
        .session(|| Echo)
        .start()
        .expect("a client");
    // The system itself would try for two minutes.
    until("it has given up", || client.stats().given_up_total == 3);
    let stats = client.stop(Duration::from_secs(5));
    assert_eq!((stats.connected_total, stats.connect_failures_total, stats.in_flight), (0, 6, 0));
}

#[test]
fn several_addresses_are_listened_on_at_once() {
    let service = Server::new()
        .backend(backend())
        .listen("127.0.0.1:0")
        .listen("[::1]:0")
        .listen("127.0.0.2:0")
        .workers(2)
        .session(|| Echo)
        .start()
        .expect("a server");
    assert_eq!(service.addresses().len(), 3);
    for address in service.addresses() {
        let mut client = connect(*address);
        write(&mut client, b"hello");
        assert_eq!(read(&mut client, 5), b"hello", "on {address}");
    }
}

/// Sends a first frame that exceeds the limit of untrusted peers, after a while.
struct Greeter;

impl Session for Greeter {
    fn on_connected(&mut self, c: &mut Conn<'_>) {
        c.after(Duration::from_millis(300), 1);
    }

    fn on_timer(&mut self, c: &mut Conn<'_>, _: u32) {
        c.send_packet(1, &[7; 8000]);
        c.close(DisconnectReason::Handler);
    }
}

/// Counts the bytes of the packets that it is greeted with.
struct Greeted(Arc<AtomicU64>);

impl Session for Greeted {
    const FRAMING: Framing = Framing::Packets;

    fn on_packet(&mut self, _: &mut Conn<'_>, packet: Packet<'_>) {
        self.0.fetch_add(packet.body.len() as u64, Ordering::SeqCst);
    }
}

#[test]
fn what_a_stranger_must_do_first_is_not_asked_of_a_server() {
    let service = server().session(|| Greeter).start().expect("a server");
    let greeted = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&greeted);
    let client = Client::new(service.addresses()[0])
        .backend(backend())
        .limits(Limits { first_frame_within: Duration::from_millis(50), ..Limits::default() })
        .session(move || Greeted(Arc::clone(&counted)))
        .start()
        .expect("a client");
    until("the greeting is over", || client.stats().disconnected_total == 1);
    assert_eq!(greeted.load(Ordering::SeqCst), 8000);
}

#[test]
fn each_address_of_a_server_is_tried_until_one_answers() {
    let service = server().session(|| Echo).start().expect("a server");
    let reserved = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let closed = reserved.local_addr().expect("an address");
    drop(reserved);
    let answered = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&answered);
    let client = Client::new([closed, service.addresses()[0]])
        .backend(backend())
        .connections(5)
        .retry(Retry::NEVER)
        .session_with(move |arrival| Caller { index: arrival.index, answered: Arc::clone(&counted) })
        .start()
        .expect("a client");
    until("everybody is answered", || answered.load(Ordering::SeqCst) == 5);
    let stats = client.stop(Duration::from_secs(5));
    assert_eq!((stats.connected_total, stats.connect_failures_total, stats.given_up_total), (5, 5, 0));
}

#[test]
fn a_connection_is_given_up_only_when_every_address_has_failed() {
    let addresses =
        ["127.0.0.1:1", "127.0.0.2:1"].map(|text| text.parse::<SocketAddr>().expect("an address"));
    let client = Client::new(addresses)
        .backend(backend())
        .connections(2)
        .retry(Retry::NEVER)
        .session(|| Echo)
        .start()
        .expect("a client");
    until("it has given up", || client.stats().given_up_total == 2);
    let stats = client.stop(Duration::from_secs(5));
    assert_eq!((stats.connected_total, stats.connect_failures_total), (0, 4));
}

#[test]
fn a_server_that_listens_everywhere_is_reached_by_the_same_words() {
    let service =
        Server::new().backend(backend()).listen("0.0.0.0:0").session(|| Echo).start().expect("a server");
    let (client, answered) = calls(service.addresses()[0], 3, 1);
    until("everybody is answered", || answered.load(Ordering::SeqCst) == 3);
    drop(client);
}

/// Sends the peer's address as it sees it.
struct Mirror;

impl Session for Mirror {
    fn on_connected(&mut self, c: &mut Conn<'_>) {
        let peer = c.peer().ip().to_string();
        c.send(peer.as_bytes());
        c.close(DisconnectReason::Handler);
    }

    fn on_recv(&mut self, _: &mut Conn<'_>, data: &[u8]) -> usize {
        data.len()
    }
}

#[test]
fn a_listener_of_both_families_shows_ipv4_peers_as_such_and_is_an_option() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return; // This machine has no IPv6.
    }
    let seen = |address: SocketAddr| {
        let mut text = String::new();
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(30));
        stream.and_then(|mut stream| stream.read_to_string(&mut text)).map(|_| text)
    };
    let start = |dual_stack: bool| {
        let server = Server::new().backend(backend()).listen("[::]:0").dual_stack(dual_stack);
        server.session(|| Mirror).start().expect("a server")
    };
    let at = |ip: &str, service: &Service| {
        SocketAddr::new(ip.parse().expect("an address"), service.addresses()[0].port())
    };
    let both = start(true);
    assert_eq!(seen(at("127.0.0.1", &both)).expect("IPv4 is taken"), "127.0.0.1");
    assert_eq!(seen(at("::1", &both)).expect("IPv6 is taken"), "::1");
    let one = start(false);
    assert!(seen(at("127.0.0.1", &one)).is_err(), "IPv4 is not taken");
    assert_eq!(seen(at("::1", &one)).expect("IPv6 is taken"), "::1");
}
