//! The orderly end: queues flushed, goodbyes said once, nobody new, and an end to patience.

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

    fn on_disconnected(&mut self, reason: Reason) {
        assert_eq!(reason, Reason::Shutdown);
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
