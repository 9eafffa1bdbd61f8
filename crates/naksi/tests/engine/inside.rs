//! Tests of sessions that are ended inside their own callbacks, with a receive, a send and the listener's accepts in
//! flight, repeatedly: every operation completes once, and nothing is left.
//!
//! A second completion of an operation would fail an assertion of the engine and end the service with an error; a
//! missing one would keep its session alive, and the test would time out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use naksi_os::port::ListenOptions;

use super::*;

/// More than a small kernel buffer holds, so that a part is in flight when the session ends.
static FLOOD: [u8; 48 * 1024] = [7; 48 * 1024];

/// The callbacks that a session is ended from.
const CALLBACKS: [&str; 6] =
    ["on_connected", "on_recv or on_packet", "on_sent", "on_timer", "on_file", "none"];

/// What all sessions report to the test.
#[derive(Default)]
struct Told {
    ended_in: [AtomicU64; CALLBACKS.len()],
    disconnected: AtomicU64,
    dropped: AtomicU64,
}

impl Told {
    /// How many have ended inside of a callback.
    fn inside(&self) -> u64 {
        self.ended_in.iter().map(|count| count.load(Ordering::SeqCst)).sum()
    }
}

/// Ends itself in one of its callbacks.
struct Inside<const FRAMED: bool> {
    number: usize,
    is_over: bool,
    myself: Option<(ServiceHandle, SessionId)>,
    told: Arc<Told>,
}

impl<const FRAMED: bool> Inside<FRAMED> {
    fn reaches(&mut self, c: &mut Conn<'_>, callback: usize) {
        assert!(!self.is_over, "a callback behind the last one");
        if self.number % CALLBACKS.len() != callback {
            return;
        }
        self.told.ended_in[callback].fetch_add(1, Ordering::SeqCst);
        // Both ways of ending, in every callback.
        if (self.number / CALLBACKS.len()).is_multiple_of(2) {
            c.abort(DisconnectReason::Handler);
        } else {
            c.close(DisconnectReason::Handler);
        }
    }
}

impl<const FRAMED: bool> Session for Inside<FRAMED> {
    const FRAMING: Framing = if FRAMED { Framing::Packets } else { Framing::Raw };

    fn on_connected(&mut self, c: &mut Conn<'_>) {
        self.myself = Some((c.handle(), c.id()));
        c.send(&FLOOD);
        c.after(Duration::ZERO, 1);
        c.open_file(&std::env::current_exe().expect("this program has a path"), FileAccess::Read, 1);
        self.reaches(c, 0);
    }

    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        self.reaches(c, 1);
        data.len()
    }

    fn on_packet(&mut self, c: &mut Conn<'_>, _: Packet<'_>) {
        self.reaches(c, 1);
    }

    fn on_sent(&mut self, c: &mut Conn<'_>, _: usize) {
        self.reaches(c, 2);
    }

    fn on_timer(&mut self, c: &mut Conn<'_>, _: u32) {
        self.reaches(c, 3);
    }

    fn on_file(&mut self, c: &mut Conn<'_>, done: FileDone<'_>) {
        if let FileDone::Opened { file, .. } = done {
            // So that a file has something in flight as well.
            c.read_at(file, 0, 4096, 2);
        }
        self.reaches(c, 4);
    }

    fn on_disconnected(&mut self, _: DisconnectReason) {
        assert!(!std::mem::replace(&mut self.is_over, true), "told twice");
        self.told.disconnected.fetch_add(1, Ordering::SeqCst);
        // The last callback has no connection to end; an attempt reaches no other session.
        let (remote, id) = self.myself.take().expect("it was connected");
        remote.end(id, DisconnectReason::Handler).expect("the service runs");
    }
}

impl<const FRAMED: bool> Drop for Inside<FRAMED> {
    fn drop(&mut self) {
        self.told.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

/// Makes connections until enough have ended inside: some read to the end, some leave at once, some in the middle.
/// Returns how many there were.
fn come_and_go(address: SocketAddr, told: &Told, wanted: u64) -> u64 {
    let mut rounds = 0;
    while told.inside() < wanted {
        let round = rounds;
        rounds += 1;
        assert!(rounds < 10 * wanted, "hardly anybody ends inside");
        let mut client = connect(address);
        // A session ended in `on_connected` may be gone by now.
        let wrote = client.write_all(&frame(1, b"hello"));
        match round % 4 {
            0 => drop(client),
            1 => drop((client.read(&mut [0; 100]), wrote)),
            2 => drop((client.shutdown(std::net::Shutdown::Write), read_to_end(&mut client))),
            // Only its client ends the last kind of session.
            _ => drop((client.read(&mut [0; 60_000]), client.shutdown(std::net::Shutdown::Both))),
        }
    }
    rounds
}

fn ends_leave_nothing_behind<const FRAMED: bool>() {
    const CLIENTS: u64 = 10;
    // There are two kinds of framing.
    let wanted = scaled(10_000) / 2;
    let told = Arc::new(Told::default());
    let (tell, numbers) = (Arc::clone(&told), AtomicU64::new(0));
    let service = server()
        .workers(2)
        .listen_options(ListenOptions { kernel_send_bytes: Some(4096), ..ListenOptions::default() })
        .session_with(move |_| {
            let number = numbers.fetch_add(1, Ordering::SeqCst) as usize;
            Inside::<FRAMED> { number, is_over: false, myself: None, told: Arc::clone(&tell) }
        })
        .start()
        .expect("a server");
    let address = service.addresses()[0];
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| (Arc::clone(&told), address))
        .map(|(told, address)| std::thread::spawn(move || come_and_go(address, &told, wanted)))
        .collect();
    let all = clients.into_iter().map(|client| client.join().expect("a client comes to its end")).sum();
    until("everybody came and is gone", || told.dropped.load(Ordering::SeqCst) == all);
    let stats = service.stop(Duration::from_secs(5));
    assert_eq!((stats.connected_total, stats.disconnected_total, stats.live), (all, all, 0));
    assert_eq!(told.disconnected.load(Ordering::SeqCst), all);
    assert_eq!((stats.handler_panics, stats.given_up_total), (0, 0));
    assert_eq!((stats.handles, stats.in_flight, stats.leases_out), (0, 0, 0));
    let counts = told.ended_in.each_ref().map(|count| count.load(Ordering::SeqCst));
    let counts: Vec<_> = CALLBACKS.into_iter().zip(counts).take(CALLBACKS.len() - 1).collect();
    let inside = told.inside();
    println!(
        "{all} came and went, {inside} of them ended from inside: {counts:?}; 0 handles, 0 in flight, 0 leases out"
    );
    assert!(counts.iter().all(|(_, count)| *count > 0), "{counts:?}");
}

#[test]
fn ends_from_inside_every_callback_leave_nothing_behind() {
    ends_leave_nothing_behind::<false>();
}

#[test]
fn ends_from_inside_every_callback_of_framed_sessions_leave_nothing_behind() {
    ends_leave_nothing_behind::<true>();
}
