//! One world: workers, peers, faults, then calm, then a last guest, then the end and the ledger.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use naksi::hub::Hub;
use naksi::prelude::*;
use naksi::worker::{Turn, Worker};
use naksi_core::prng::Prng;
use naksi_os::port::{ListenOptions, Port, PortOptions};
use naksi_os::sim::fault::{FaultKind, FaultPlan};
use naksi_os::sim::port::Port as SimPort;
use naksi_os::sim::world::{World, WorldOptions};

use super::peers::{Client as Guest, Manner, Tally};

/// The packet that makes the handler panic.
pub const BOMB: u16 = 0xB0B;
/// The bytes that make the raw handler panic.
pub const BOMB_BYTES: &[u8] = b"\xB0\xB0\xB0\xB0";

/// Everything about a run that is not left to chance inside it.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// What goes wrong, and how often.
    pub faults: FaultPlan,
    /// Workers of each service.
    pub workers: usize,
    /// Scripted peers that come.
    pub peers: u64,
    /// Frames or raw bytes.
    pub framed: bool,
    /// Connections that the engine's own client makes to the engine's own server, beside the peers.
    pub own_clients: u32,
    /// Whether all peers are honest.
    pub honest_only: bool,
    /// Buffers of each port.
    pub lease_count: u16,
    /// Bytes of each buffer.
    pub lease_bytes: usize,
    /// Completions of one wait at most.
    pub catch_max: usize,
    /// Bytes that a socket holds in each direction.
    pub socket_bytes: usize,
    /// Descriptors of the whole world.
    pub descriptors_max: usize,
}

impl Setting {
    /// The setting that a seed stands for.
    pub fn random(seed: u64) -> Self {
        let mut prng = Prng::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut pick = |choices: &[usize]| choices[prng.below(choices.len() as u64) as usize];
        Self {
            seed,
            faults: FaultPlan::random(seed),
            workers: pick(&[1, 1, 2, 3, 8]),
            peers: pick(&[50, 200, 400]) as u64,
            framed: pick(&[0, 1]) == 1,
            own_clients: pick(&[0, 20, 100]) as u32,
            honest_only: false,
            lease_count: pick(&[1, 2, 8, 64]) as u16,
            lease_bytes: pick(&[1, 16, 100, 4096]),
            catch_max: pick(&[1, 3, 256]),
            socket_bytes: pick(&[32, 500, 16_384]),
            descriptors_max: pick(&[20, 100, 1 << 20]),
        }
    }
}

thread_local! {
    /// Panics of this thread that were not on purpose.
    static NEWS: Cell<u64> = const { Cell::new(0) };
}

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Peers that came.
    pub peers: u64,
    /// Peers that got everything back and the end.
    pub served: u64,
    /// Peers that were reset or refused.
    pub reset: u64,
    /// Sessions of the engine.
    pub sessions: u64,
    /// Completions of all ports.
    pub completions: u64,
    /// Receives that found a pool empty.
    pub starved: u64,
    /// Pauses of accepting.
    pub accept_pauses: u64,
    /// Callbacks that panicked, all on purpose.
    pub panics: u64,
    /// The world as one number: the same seed gives the same.
    pub trace_hash: u64,
    /// Sessions by their reason.
    pub reasons: BTreeMap<&'static str, u64>,
    /// Faults that happened.
    pub fired: BTreeMap<FaultKind, u64>,
}

impl Outcome {
    /// Adds another run.
    pub fn add(&mut self, other: &Outcome) {
        self.peers += other.peers;
        self.served += other.served;
        self.reset += other.reset;
        self.sessions += other.sessions;
        self.completions += other.completions;
        self.starved += other.starved;
        self.accept_pauses += other.accept_pauses;
        self.panics += other.panics;
        for (reason, count) in &other.reasons {
            *self.reasons.entry(reason).or_default() += count;
        }
        for (kind, count) in &other.fired {
            *self.fired.entry(*kind).or_default() += count;
        }
    }
}

/// Sessions alive, and how many were told their end.
#[derive(Default)]
struct Books {
    live: AtomicI64,
    told: AtomicU64,
}

/// The lecture's destructor test, on every session of every run: told once, then dropped once.
struct Booked {
    books: Arc<Books>,
    connected: bool,
    disconnected: bool,
}

impl Booked {
    fn new(books: &Arc<Books>) -> Self {
        books.live.fetch_add(1, Ordering::Relaxed);
        Self { books: Arc::clone(books), connected: false, disconnected: false }
    }

    fn connect(&mut self) {
        assert!(!std::mem::replace(&mut self.connected, true), "law 8: on_connected twice");
    }

    fn alive(&self) {
        assert!(self.connected && !self.disconnected, "law 8: a callback outside of the life");
    }

    fn disconnect(&mut self) {
        assert!(!std::mem::replace(&mut self.disconnected, true), "law 8: on_disconnected twice");
        self.books.told.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Booked {
    fn drop(&mut self) {
        self.books.live.fetch_sub(1, Ordering::Relaxed);
        // A panic that is already under way tells its own story.
        assert!(self.connected == self.disconnected || std::thread::panicking(), "law 8: dropped untold");
    }
}

struct RawEcho(Booked);

impl Session for RawEcho {
    fn on_connected(&mut self, _: &mut Conn<'_>) {
        self.0.connect();
    }

    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        self.0.alive();
        assert!(!data.windows(BOMB_BYTES.len()).any(|bytes| bytes == BOMB_BYTES), "a bomb, on purpose");
        c.send(data);
        data.len()
    }

    fn on_sent(&mut self, _: &mut Conn<'_>, bytes: usize) {
        self.0.alive();
        assert!(bytes > 0, "nothing sent is nothing to tell");
    }

    fn on_disconnected(&mut self, _: Reason) {
        self.0.disconnect();
    }
}

struct FrameEcho(Booked);

impl Session for FrameEcho {
    const FRAMING: Framing = Framing::Packets;

    fn on_connected(&mut self, c: &mut Conn<'_>) {
        self.0.connect();
        c.after(Duration::from_millis(10), 7);
        // A group of one: what is broadcast to it must arrive in its place, as if it were sent.
        let group = c.group(c.id().to_u64());
        c.join(&group);
    }

    fn on_packet(&mut self, c: &mut Conn<'_>, packet: Packet<'_>) {
        self.0.alive();
        assert!(packet.id != BOMB, "a bomb, on purpose");
        if packet.id.is_multiple_of(2) {
            c.send(packet.frame);
        } else {
            let group = c.group(c.id().to_u64());
            c.broadcast(&group, packet.frame);
        }
    }

    fn on_timer(&mut self, _: &mut Conn<'_>, tag: u32) {
        self.0.alive();
        assert_eq!(tag, 7);
    }

    fn on_disconnected(&mut self, _: Reason) {
        self.0.disconnect();
    }
}

/// The engine's own client: says something, checks the echo, goes.
struct Caller {
    booked: Booked,
    said: Vec<u8>,
    heard: usize,
}

impl Caller {
    fn new(arrival: &Arrival, books: &Arc<Books>) -> Self {
        let body = vec![arrival.index as u8; 40 + arrival.index as usize % 100];
        let mut said = naksi_core::frame::header(2, body.len()).expect("a short body").to_vec();
        said.extend(body);
        Self { booked: Booked::new(books), said, heard: 0 }
    }
}

impl Session for Caller {
    fn on_connected(&mut self, c: &mut Conn<'_>) {
        self.booked.connect();
        c.send(&self.said);
    }

    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        self.booked.alive();
        assert_eq!(Some(data), self.said.get(self.heard..self.heard + data.len()), "law 7");
        self.heard += data.len();
        if self.heard == self.said.len() {
            c.close();
        }
        data.len()
    }

    fn on_disconnected(&mut self, _: Reason) {
        self.booked.disconnect();
    }
}

/// Something that can be stepped, whatever its sessions are.
trait Stepped: std::fmt::Debug {
    fn step(&mut self) -> Turn;
    fn ledger(&self) -> naksi_os::port::Ledger;
}

impl<F: naksi::session::Factory> Stepped for Worker<SimPort, F> {
    fn step(&mut self) -> Turn {
        self.turn().expect("a simulated port does not break")
    }

    fn ledger(&self) -> naksi_os::port::Ledger {
        self.port().ledger()
    }
}

/// A service in the simulation.
struct Crew {
    hub: Arc<Hub<SimPort>>,
    /// Those that are not through; a port that nobody steps would keep the world awake.
    workers: Vec<Box<dyn Stepped>>,
    /// What the ports of those that are through held at their end.
    ledgers: Vec<naksi_os::port::Ledger>,
}

impl Crew {
    fn step(&mut self) {
        let ledgers = &mut self.ledgers;
        self.workers.retain_mut(|worker| {
            let going = worker.step() == Turn::Going;
            if !going {
                ledgers.push(worker.ledger());
            }
            going
        });
    }
}

fn limits() -> Limits {
    Limits {
        first_frame_bytes_max: 1024,
        first_frame_within: Duration::from_secs(2),
        frame_within: Duration::from_secs(2),
        idle_within: Duration::from_secs(8),
        send_stall_within: Duration::from_secs(6),
        loopback_exempt: true,
        connections_per_address_max: u32::MAX,
        accepts_per_second_max: u32::MAX,
        send_queue_high_bytes: 600,
        send_queue_low_bytes: 200,
        ..Limits::default()
    }
}

fn crew<F: naksi::session::Factory>(
    world: &World,
    setting: &Setting,
    address: Option<SocketAddr>,
    dial: Option<SocketAddr>,
    factory: F,
) -> Crew {
    let options = PortOptions {
        submission_entries: 8,
        completion_entries: 16,
        lease_count: setting.lease_count,
        lease_bytes: setting.lease_bytes,
        catch_max: setting.catch_max,
    };
    let hub = Arc::new(Hub::new(setting.workers, limits()));
    let factory = Arc::new(factory);
    let mut workers: Vec<Box<dyn Stepped>> = Vec::new();
    for index in 0..setting.workers {
        let mut port = world.open_port(&options);
        let listener = address
            .filter(|_| index == 0)
            .map(|address| port.listen(address, &ListenOptions::default()).expect("a free address").0);
        let mut worker = Worker::new(index, port, Arc::clone(&hub), Arc::clone(&factory));
        listener.into_iter().for_each(|listener| worker.add_listener(listener));
        if let Some(remote) = dial {
            let retry = Retry { attempts_max: 4, ..Retry::START };
            worker.dial(remote, retry, setting.own_clients, Some(500), setting.workers);
        }
        workers.push(Box::new(worker));
    }
    hub.begin();
    Crew { hub, workers, ledgers: Vec::new() }
}

/// Steps until `done`, or until nothing more can happen. Returns whether it was done.
fn step_until(world: &World, crews: &mut [Crew], seed: u64, mut done: impl FnMut(&[Crew]) -> bool) -> bool {
    // A bound on turns, so that a live-lock is a failure with a seed and not a hang.
    for _ in 0..20_000_000_u64 {
        if world.runnable() {
            crews.iter_mut().for_each(Crew::step);
        } else if done(crews) {
            return true;
        } else if !world.advance() {
            return done(crews);
        }
    }
    panic!("seed {seed}: the world does not come to rest");
}

/// Runs one world from its first moment to its ledger.
///
/// # Panics
/// A law is broken; the message names the seed.
pub fn run(setting: &Setting) -> Outcome {
    std::panic::set_hook(Box::new(|info| {
        // Bombs are part of the plan; anything else is news, and the engine's net under the callbacks must not
        // swallow it.
        let said = info.payload_as_str().unwrap_or("");
        if !said.contains("on purpose") {
            eprintln!("{info}");
            NEWS.set(NEWS.get() + 1);
        }
    }));
    let (seed, news_before) = (setting.seed, NEWS.get());
    let world = World::new(WorldOptions {
        seed,
        faults: setting.faults.clone(),
        socket_send_bytes: setting.socket_bytes,
        socket_recv_bytes: setting.socket_bytes,
        descriptors_max: setting.descriptors_max,
        ..WorldOptions::default()
    });
    let address: SocketAddr = "10.0.0.9:7777".parse().expect("an address");
    let books = Arc::new(Books::default());
    let (own, callers) = (Arc::clone(&books), Arc::clone(&books));
    let server = if setting.framed {
        crew(&world, setting, Some(address), None, move |_: &Arrival| FrameEcho(Booked::new(&own)))
    } else {
        crew(&world, setting, Some(address), None, move |_: &Arrival| RawEcho(Booked::new(&own)))
    };
    let client =
        crew(&world, setting, None, Some(address), move |arrival: &Arrival| Caller::new(arrival, &callers));
    let mut crews = [server, client];

    // Storm: everybody comes within a second of the world's time.
    let tally = Rc::new(RefCell::new(Tally::default()));
    for _ in 0..setting.peers {
        let random = world.random();
        let manner = if setting.honest_only { Manner::Honest } else { Manner::from_number(world.random()) };
        let guest = Guest::new(manner, setting.framed, random, Rc::clone(&tally));
        let at = world.now() + Duration::from_micros(world.random() % 1_000_000);
        world.dial(address, Box::new(guest), at);
    }
    let came = |crews: &[Crew]| {
        let stats = crews[1].hub.stats();
        crews[0].hub.stats().live + stats.live + stats.connecting + stats.waiting == 0
    };
    let idle =
        step_until(&world, &mut crews, seed, |crews| came(crews) && tally.borrow().through == setting.peers);
    assert!(idle, "seed {seed}: sessions that never end: {:?} {:?}", crews[0].hub.stats(), crews[0].workers);

    // Heal: nothing goes wrong any more, and whoever comes now must be served.
    world.heal();
    world.set_descriptors_max(1 << 20);
    let served_before = tally.borrow().served;
    for _ in 0..5 {
        let guest = Guest::new(Manner::Honest, setting.framed, world.random(), Rc::clone(&tally));
        world.dial(address, Box::new(guest), world.now());
    }
    let deadline = world.now() + Duration::from_secs(30);
    let alive = step_until(&world, &mut crews, seed, |_| {
        tally.borrow().served == served_before + 5 || world.now() > deadline
    });
    assert!(alive && tally.borrow().served == served_before + 5, "seed {seed}: deaf after the storm");

    // Stop, and the ledger.
    crews.iter().for_each(|crew| crew.hub.drain(Duration::from_secs(5)));
    let home = step_until(&world, &mut crews, seed, |crews| crews.iter().all(|crew| crew.workers.is_empty()));
    assert!(home, "seed {seed}: a worker does not come home: {crews:?}", crews = crews[0].hub.stats());
    assert_eq!(NEWS.get(), news_before, "seed {seed}: a callback found a law broken; it is told above");
    settle_accounts(&world, &crews, &books, &tally.borrow(), setting)
}

fn settle_accounts(
    world: &World,
    crews: &[Crew],
    books: &Books,
    tally: &Tally,
    setting: &Setting,
) -> Outcome {
    let seed = setting.seed;
    let mut outcome = Outcome {
        peers: setting.peers + 5,
        served: tally.served,
        reset: tally.reset,
        trace_hash: world.trace_hash(),
        fired: FaultKind::ALL.iter().map(|kind| (*kind, world.fired(*kind))).collect(),
        ..Outcome::default()
    };
    for crew in crews {
        assert_eq!(crew.ledgers.len(), setting.workers, "seed {seed}: workers that are not through");
        for ledger in &crew.ledgers {
            assert_eq!((ledger.handles, ledger.in_flight), (0, 0), "seed {seed}: {ledger:?}");
            assert_eq!((ledger.leases_out, ledger.starved), (0, 0), "seed {seed}: law 5, {ledger:?}");
            assert_eq!(ledger.leaked_total, 0, "seed {seed}: {ledger:?}");
            outcome.starved += ledger.starved_total;
            outcome.completions += ledger.completions_total;
        }
        let stats = crew.hub.stats();
        assert_eq!(stats.connected_total, stats.disconnected_total, "seed {seed}: law 8");
        assert_eq!(stats.live, 0, "seed {seed}");
        outcome.sessions += stats.connected_total;
        outcome.accept_pauses += stats.accept_pauses_total;
        outcome.panics += stats.handler_panics;
        for (reason, count) in &stats.ended {
            *outcome.reasons.entry(reason).or_default() += count;
        }
    }
    assert_eq!(books.live.load(Ordering::Relaxed), 0, "seed {seed}: destructors that did not run");
    assert_eq!(books.told.load(Ordering::Relaxed), outcome.sessions, "seed {seed}: law 8");
    outcome
}
