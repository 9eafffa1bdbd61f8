//! Tests of the graceful stop: queues flushed, one `on_disconnected` each, no new session, and a time limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

/// Pushes a lot, then counts its goodbye.
struct Pusher {
    bytes: usize,
    goodbyes: Arc<AtomicU64>,
}

impl Session for Pusher {
    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        c.send(&vec![7; self.bytes]);
        data.len()
    }

    fn on_disconnected(&mut self, reason: DisconnectReason) {
        assert_eq!(reason, DisconnectReason::Shutdown);
        self.goodbyes.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn queues_are_flushed_before_the_goodbye_and_nobody_new_gets_in() {
    let goodbyes = Arc::new(AtomicU64::new(0));
    let told = Arc::clone(&goodbyes);
    let bytes = 200_000;
    let service = server()
        .workers(2)
        .session(move || Pusher { bytes, goodbyes: Arc::clone(&told) })
        .start()
        .expect("a server");
    let address = service.addresses()[0];
    let mut clients: Vec<_> = (0..50).map(|_| connect(address)).collect();
    clients.iter_mut().for_each(|client| write(client, b"go"));
    until("everybody is served", || service.stats().recv_bytes == 100);
    let readers: Vec<_> = clients
        .into_iter()
        .map(|mut client| std::thread::spawn(move || read_to_end(&mut client).len()))
        .collect();
    let stats = service.stop(Duration::from_secs(10));
    for reader in readers {
        assert_eq!(reader.join().expect("a reader ends"), bytes);
    }
    assert_eq!(goodbyes.load(Ordering::SeqCst), 50);
    assert_eq!((stats.live, stats.connected_total, stats.disconnected_total), (0, 50, 50));
    assert_eq!((stats.handles, stats.in_flight, stats.leases_out), (0, 0, 0));
    assert!(TcpStream::connect(address).is_err(), "the listener is closed");
}

#[test]
fn whoever_never_reads_is_cut_when_the_time_is_over() {
    let goodbyes = Arc::new(AtomicU64::new(0));
    let told = Arc::clone(&goodbyes);
    let limits = Limits {
        send_queue_bytes_max: 64 * 1024 * 1024,
        send_queue_high_bytes: 32 * 1024 * 1024,
        drain_within: Duration::from_secs(3600),
        ..Limits::default()
    };
    let service = server()
        .limits(limits)
        .session(move || Pusher { bytes: 32 * 1024 * 1024, goodbyes: Arc::clone(&told) })
        .start()
        .expect("a server");
    let mut stalled = connect(service.addresses()[0]);
    write(&mut stalled, b"go");
    until("the push is queued", || service.stats().recv_bytes == 2);
    let stats = service.stop(Duration::from_millis(200));
    assert_eq!((stats.live, goodbyes.load(Ordering::SeqCst)), (0, 1));
    assert_eq!((stats.handles, stats.in_flight), (0, 0));
}

#[test]
fn a_service_that_may_take_for_ever_still_ends_when_everybody_has_gone() {
    let service = server().workers(2).session(|| Echo).start().expect("a server");
    drop(connect(service.addresses()[0]));
    let stats = service.stop(Duration::MAX);
    assert_eq!((stats.live, stats.handles), (0, 0));
}

/// Takes its time over its goodbye.
struct Slow(Arc<AtomicU64>);

impl Session for Slow {
    fn on_disconnected(&mut self, _: DisconnectReason) {
        std::thread::sleep(Duration::from_millis(25));
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn whoever_does_not_come_home_in_time_is_told_all_the_same() {
    let goodbyes = Arc::new(AtomicU64::new(0));
    let told = Arc::clone(&goodbyes);
    let options = PortOptions { catch_max: 4, ..Default::default() };
    let service = server()
        .workers(1)
        .port_options(options)
        .session(move || Slow(Arc::clone(&told)))
        .start()
        .expect("a server");
    let clients: Vec<_> = (0..40).map(|_| connect(service.addresses()[0])).collect();
    until("everybody is in", || service.stats().live == 40);
    let stats = service.stop(Duration::ZERO);
    assert_eq!((stats.connected_total, stats.disconnected_total, stats.live), (40, 40, 0));
    assert_eq!(goodbyes.load(Ordering::SeqCst), 40);
    drop(clients);
}

#[test]
fn an_attempt_to_connect_does_not_hold_up_the_end() {
    use naksi_os::port::{ListenOptions, Port};
    let any = "127.0.0.1:0".parse().expect("an address");
    let mut deaf = open_port();
    // No accept is pending here, so a connect after the first few would wait for minutes.
    let (_, address) =
        deaf.listen(any, &ListenOptions { backlog: 1, ..Default::default() }).expect("a listener");
    let client =
        Client::new(address).backend(backend()).connections(20).session(|| Echo).start().expect("a client");
    until("some are waiting", || client.stats().live > 0 && client.stats().connecting > 0);
    let (said, says) = std::sync::mpsc::channel();
    std::thread::spawn(move || said.send(client.stop(Duration::from_secs(3600))).ok());
    let stats = says.recv_timeout(PATIENCE).expect("the client comes home");
    assert_eq!((stats.live, stats.handles, stats.given_up_total), (0, 0, 0));
}
