//! The lecture's own test, both ways: the client leaves and the destructor runs; one release is left out and it does
//! not run (lecture 004). And a panic, which ends one session only.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use naksi::engine::ServiceCore;
use naksi::engine::Worker;
use naksi_core::completion::{Completion, Done};
use naksi_os::port::{InFront, ListenOptions, PollStatus, Port, PortError};

use super::*;

/// Counts how many of it live, and how many callbacks came.
struct Counted {
    live: Arc<AtomicUsize>,
    connected: Arc<AtomicUsize>,
    disconnected: Arc<AtomicUsize>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.live.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Session for Counted {
    fn on_connected(&mut self, _: &mut Conn<'_>) {
        self.connected.fetch_add(1, Ordering::SeqCst);
    }

    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        c.send(data);
        data.len()
    }

    fn on_disconnected(&mut self, _: DisconnectReason) {
        self.disconnected.fetch_add(1, Ordering::SeqCst);
    }
}

#[derive(Clone, Default)]
struct Counts {
    live: Arc<AtomicUsize>,
    connected: Arc<AtomicUsize>,
    disconnected: Arc<AtomicUsize>,
}

impl Counts {
    fn make(&self) -> Counted {
        self.live.fetch_add(1, Ordering::SeqCst);
        let Counts { live, connected, disconnected } = self.clone();
        Counted { live, connected, disconnected }
    }

    fn now(&self) -> (usize, usize, usize) {
        let count = |counter: &AtomicUsize| counter.load(Ordering::SeqCst);
        (count(&self.live), count(&self.connected), count(&self.disconnected))
    }
}

#[test]
fn the_client_goes_and_the_destructor_runs() {
    let counts = Counts::default();
    let made = counts.clone();
    let service = server().session(move || made.make()).start().expect("a server");
    let mut client = connect(service.addresses()[0]);
    write(&mut client, b"hello");
    assert_eq!(read(&mut client, 5), b"hello");
    assert_eq!(counts.now(), (1, 1, 0));
    drop(client);
    until("the destructor runs", || counts.now() == (0, 1, 1));
    let stats = service.stop(Duration::from_secs(5));
    assert_eq!((stats.live, stats.handles, stats.in_flight, stats.leases_out), (0, 0, 0, 0));
}

/// A port that keeps one completion back: a forgotten release.
struct Forgetful {
    inner: OsPort,
    forgets: Rc<Cell<bool>>,
    kept: Rc<RefCell<Vec<Completion>>>,
}

impl InFront for Forgetful {
    type Behind = OsPort;

    fn behind(&self) -> &OsPort {
        &self.inner
    }

    fn behind_mut(&mut self) -> &mut OsPort {
        &mut self.inner
    }

    fn wait(&mut self, completions: &mut Vec<Completion>, _: Option<Tick>) -> Result<PollStatus, PortError> {
        if !self.forgets.get() && !self.kept.borrow().is_empty() {
            completions.append(&mut self.kept.borrow_mut());
            return Ok(PollStatus::More);
        }
        // Never sleeps, so that the test can step it.
        let status = Port::wait(&mut self.inner, completions, Some(Tick::ZERO))?;
        if self.forgets.get() {
            let ends = |completion: &mut Completion| matches!(completion.done, Done::Recv(Err(_)));
            self.kept.borrow_mut().extend(completions.extract_if(.., ends));
        }
        Ok(status)
    }
}

#[test]
fn one_release_is_left_out_and_the_destructor_does_not_run() {
    let counts = Counts::default();
    let made = counts.clone();
    let (forgets, kept) = (Rc::new(Cell::new(true)), Rc::default());
    let inner = open_port();
    let mut port = Forgetful { inner, forgets: Rc::clone(&forgets), kept: Rc::clone(&kept) };
    let any = "127.0.0.1:0".parse().expect("an address");
    let (listener, address) = port.listen(any, &ListenOptions::default()).expect("a listener");
    let service_core = Arc::new(ServiceCore::new(1, Limits::default()));
    let mut worker =
        Worker::new(0, port, Arc::clone(&service_core), Arc::new(move |_: &ConnectionInfo| made.make()));
    worker.add_listener(listener);
    service_core.begin();
    let turn = |worker: &mut Worker<_, _>| worker.turn().expect("the port works");
    let client = connect(address);
    while counts.now().0 == 0 {
        turn(&mut worker);
    }
    drop(client);
    while kept.borrow().is_empty() {
        turn(&mut worker);
    }
    for _ in 0..100 {
        turn(&mut worker);
    }
    assert_eq!((counts.now(), worker.sessions()), ((1, 1, 0), 1), "the reference that is out keeps it alive");
    forgets.set(false);
    while worker.sessions() > 0 {
        turn(&mut worker);
    }
    assert_eq!(counts.now(), (0, 1, 1));
}

/// Panics in the requested callback.
struct Panics(u8);

impl Session for Panics {
    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        self.0 = data[0];
        assert!(self.0 != b'r', "on purpose, in on_recv");
        c.send(data);
        data.len()
    }

    fn on_sent(&mut self, _: &mut Conn<'_>, _: usize) {
        assert!(self.0 != b's', "on purpose, in on_sent");
    }

    fn on_disconnected(&mut self, _: DisconnectReason) {
        assert!(self.0 != b'd', "on purpose, in on_disconnected");
    }
}

#[test]
fn a_panic_ends_one_session_and_nobody_else_s() {
    let service = server().workers(1).session(|| Panics(0)).start().expect("a server");
    let address = service.addresses()[0];
    let mut bystander = connect(address);
    for (round, how) in [b"r", b"s", b"d"].into_iter().enumerate() {
        let mut victim = connect(address);
        write(&mut victim, how);
        if how == b"d" {
            read(&mut victim, 1);
            victim.shutdown(std::net::Shutdown::Write).expect("a live socket");
        }
        read_to_end(&mut victim);
        until("the panic is counted", || service.stats().handler_panics == round as u64 + 1);
        write(&mut bystander, b"x");
        assert_eq!(read(&mut bystander, 1), b"x");
    }
    drop(bystander);
    let stats = service.stop(Duration::from_secs(5));
    assert_eq!(stats.ended.get("handler_panic"), Some(&2));
    assert_eq!((stats.connected_total, stats.disconnected_total, stats.live), (4, 4, 0));
}

/// Panics in a timer, and counts how often it is called; or panics as it is dropped.
struct Broken {
    drops: bool,
    ticks: Arc<AtomicUsize>,
}

impl Session for Broken {
    fn on_connected(&mut self, c: &mut Conn<'_>) {
        c.after(Duration::from_millis(1), 1);
        c.after(Duration::from_millis(1), 2);
    }

    fn on_timer(&mut self, _: &mut Conn<'_>, _: u32) {
        self.ticks.fetch_add(1, Ordering::SeqCst);
        assert!(self.drops, "on purpose, in on_timer");
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        assert!(!self.drops, "on purpose, in drop");
    }
}

#[test]
fn a_session_that_panicked_is_called_no_more_and_one_that_panics_at_its_end_harms_nobody() {
    for drops in [false, true] {
        let ticks = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&ticks);
        let service = server()
            .workers(1)
            .session(move || Broken { drops, ticks: Arc::clone(&counted) })
            .start()
            .expect("a server");
        for round in 1..=3 {
            let client = connect(service.addresses()[0]);
            until("the timers fire", || ticks.load(Ordering::SeqCst) == round * if drops { 2 } else { 1 });
            drop(client);
            until("it is gone", || service.stats().live == 0);
        }
        let stats = service.stop(Duration::from_secs(5));
        assert_eq!((stats.connected_total, stats.disconnected_total, stats.handler_panics), (3, 3, 3));
        assert_eq!(ticks.load(Ordering::SeqCst), if drops { 6 } else { 3 });
    }
}

/// The user's bytes, whose destructor panics as the engine drops them: the effect is that of a bug in the engine.
struct Splinter([u8; 8192]);

impl AsRef<[u8]> for Splinter {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Splinter {
    fn drop(&mut self) {
        panic!("on purpose, in the destructor of bytes that were sent");
    }
}

struct Fatal;

impl Session for Fatal {
    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        // So long that they are sent from where they are.
        c.send_shared(&Bytes::from_owner(Splinter([7; 8192])));
        data.len()
    }
}

#[test]
fn a_worker_that_dies_ends_the_service_aloud_though_the_others_live() {
    let service = server().workers(3).session(|| Fatal).start().expect("a server");
    write(&mut connect(service.addresses()[0]), b"x");
    let (said, says) = std::sync::mpsc::channel();
    std::thread::spawn(move || said.send(service.serve_until_signal(Duration::ZERO)).ok());
    match says.recv_timeout(PATIENCE).expect("the service ends") {
        Err(Error::Worker(_, cause)) => assert!(cause.contains("panicked"), "{cause}"),
        other => panic!("a worker died and no error says so: {other:?}"),
    }
}

#[test]
fn a_service_ends_when_it_is_told_to_or_cannot_be_told_any_more() {
    for is_told in [true, false] {
        let service = server().session(|| Echo).start().expect("a server");
        let mut client = connect(service.addresses()[0]);
        write(&mut client, b"x");
        assert_eq!(read(&mut client, 1), b"x", "it serves while nothing is said");
        let (stop, stopped) = std::sync::mpsc::channel();
        let ended = std::thread::spawn(move || service.serve_until(&stopped, PATIENCE));
        if is_told {
            stop.send(()).expect("it listens");
        }
        drop(stop);
        assert_eq!(read_to_end(&mut client), b"", "its session was closed in order");
        let stats = ended.join().expect("no panic").expect("no worker broke");
        assert_eq!((stats.live, stats.connected_total), (0, 1), "{is_told}");
    }
}

#[test]
fn no_connection_is_placed_with_a_worker_that_is_gone() {
    let any = "127.0.0.1:0".parse().expect("an address");
    let service_core = Arc::new(ServiceCore::new(2, Limits::default()));
    let factory = Arc::new(|_: &ConnectionInfo| Echo);
    let mut port = open_port();
    let (listener, address) = port.listen(any, &ListenOptions::default()).expect("a listener");
    let mut worker = Worker::new(0, port, Arc::clone(&service_core), Arc::clone(&factory));
    worker.add_listener(listener);
    drop(Worker::new(1, open_port(), Arc::clone(&service_core), factory));
    service_core.begin();
    let mut clients = [connect(address), connect(address), connect(address)];
    for client in &mut clients {
        write(client, b"x");
    }
    // The worker that has ended has the fewest sessions of all, and gets none.
    let deadline = Instant::now() + PATIENCE;
    while service_core.stats().sent_bytes < 3 {
        assert!(Instant::now() < deadline, "{:?}", service_core.stats());
        worker.turn().expect("the port works");
    }
    service_core.drain(Duration::from_secs(5));
    while worker.turn().expect("the port works") == naksi::engine::Turn::Going {}
    for client in &mut clients {
        assert_eq!(read_to_end(client), b"x");
    }
}
