//! What a test holds: one simulated world.
//!
//! A test opens ports, dials scripted peers, steps its workers while something is ready, and lets time go on
//! when nothing is. All of it happens on one thread, in an order that the seed decides. Nothing here knows
//! what the workers do.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::cell::RefCell;
use std::fmt;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use naksi_core::tick::Tick;

use super::calendar::Event;
use super::fault::{Dialect, FaultKind, FaultPlan};
use super::peer::{Peer, PeerId, PeerMaker};
use super::port::SimPort;
use super::state::Kernel;
use naksi_os::port::PortOptions;

/// Hears of every event, fault and completion, with its time, for a person.
pub type Tracer = Box<dyn FnMut(Tick, fmt::Arguments<'_>)>;

/// What a world is made of.
#[derive(Clone, Debug)]
pub struct WorldOptions {
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// Which kernel is imitated.
    pub dialect: Dialect,
    /// What goes wrong, and how often.
    pub faults: FaultPlan,
    /// Shortest time of one way through the network.
    pub latency_min: Duration,
    /// Longest time of one way through the network.
    pub latency_max: Duration,
    /// Bytes that a socket's kernel can hold before its peer has them.
    pub socket_send_bytes: usize,
    /// Bytes that a socket's kernel can hold before its owner reads them.
    pub socket_recv_bytes: usize,
    /// Datagrams that wait on one socket; more are lost.
    pub datagram_queue_max: usize,
    /// Most sockets, listeners and files that all ports together have open.
    pub descriptors_max: usize,
}

impl Default for WorldOptions {
    fn default() -> Self {
        Self {
            seed: 0,
            dialect: Dialect::Uring,
            faults: FaultPlan::none(),
            latency_min: Duration::from_micros(50),
            latency_max: Duration::from_millis(2),
            socket_send_bytes: 16 * 1024,
            socket_recv_bytes: 16 * 1024,
            datagram_queue_max: 64,
            descriptors_max: 1 << 20,
        }
    }
}

/// A simulated world. Clones are the same world.
///
/// ```
/// use naksi_os::port::{Port, PortOptions};
/// use naksi_sim::kernel::world::{World, WorldOptions};
/// use std::time::Duration;
///
/// let world = World::new(WorldOptions::default());
/// let mut port = world.open_port(&PortOptions::default());
/// let until = port.now() + Duration::from_secs(3600);
/// port.wait(&mut Vec::new(), Some(until)).expect("a simulated port does not break");
/// assert!(world.advance()); // An hour passes at once.
/// assert_eq!(port.now(), until);
/// ```
#[derive(Clone)]
pub struct World(Rc<RefCell<Kernel>>);

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.try_borrow() {
            Ok(kernel) => write!(f, "World(seed {}, {:?})", kernel.options.seed, kernel.calendar.now()),
            Err(_) => f.write_str("World(busy)"),
        }
    }
}

impl World {
    /// A world at the first moment of its time.
    pub fn new(options: WorldOptions) -> Self {
        Self(Rc::new(RefCell::new(Kernel::new(options))))
    }

    /// The world's time, the same for all its ports.
    pub fn now(&self) -> Tick {
        self.0.borrow().calendar.now()
    }

    /// Runs the next event, or moves time to the next port that wants to be woken, whichever is earlier.
    /// `false` if nothing is left to happen.
    pub fn advance(&self) -> bool {
        self.0.borrow_mut().advance()
    }

    /// Time stops at `at` on its way: something that is no port and no peer is due then.
    pub fn wake_at(&self, at: Tick) {
        self.0.borrow_mut().calendar.at(at, Event::Outside);
    }

    /// Advances until [`World::runnable`]. `false` if nothing is left to happen.
    pub fn advance_until_runnable(&self) -> bool {
        let mut kernel = self.0.borrow_mut();
        loop {
            if kernel.runnable() {
                return true;
            }
            if !kernel.advance() {
                return false;
            }
        }
    }

    /// Whether the worker of any port is awake or would be woken now. A worker is awake until a wait of it
    /// has come back with nothing; it is woken by submissions to flush, answers, posts, a parked receive with a
    /// buffer at home, or the time it asked for. A test steps its workers then, and advances otherwise.
    pub fn runnable(&self) -> bool {
        self.0.borrow().runnable()
    }

    /// Opens a port into this world. Dropping it cancels and closes everything it holds.
    pub fn open_port(&self, options: &PortOptions) -> SimPort {
        SimPort::open(&self.0, options)
    }

    /// A scripted client starts to connect to `remote` at `at`.
    pub fn dial(&self, remote: SocketAddr, peer: Box<dyn Peer>, at: Tick) -> PeerId {
        self.dial_from(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), remote, peer, at)
    }

    /// The same from an address of its own.
    pub fn dial_from(&self, from: IpAddr, remote: SocketAddr, peer: Box<dyn Peer>, at: Tick) -> PeerId {
        let mut kernel = self.0.borrow_mut();
        let local = kernel.fresh_address(from);
        let id = kernel.peers.add(peer, local, remote);
        kernel.calendar.at(at, Event::PeerStart(id));
        id
    }

    /// A scripted server answers connections to `address` from now on, with a new peer for each.
    pub fn serve(&self, address: SocketAddr, make: PeerMaker) {
        self.0.borrow_mut().peers.serve(address, make);
    }

    /// Nothing goes wrong from now on. What was already delayed still comes late.
    pub fn heal(&self) {
        self.0.borrow_mut().calendar.faults.heal();
    }

    /// A peer that is still there hears [`PeerEvent::Timer`](super::peer::PeerEvent::Timer) with this number
    /// as the next thing.
    pub fn nudge(&self, peer: PeerId, number: u32) {
        self.0.borrow_mut().calendar.after(0, Event::PeerTimer(peer, number));
    }

    /// Follows the run: every event, every fault and every completion, in the order in which they happen.
    pub fn follow(&self, tracer: Tracer) {
        self.0.borrow_mut().calendar.tracer = Some(tracer);
    }

    /// Accepts that the listeners of all ports are ready for, and how many there should be.
    pub fn accept_credits(&self) -> (u32, u32) {
        self.0.borrow().accept_credits()
    }

    /// How often a kind of fault has happened.
    pub fn fired(&self, kind: FaultKind) -> u64 {
        self.0.borrow().calendar.faults.fired(kind)
    }

    /// Answers of operations that a cancel had not found, and that came before it was tried again.
    pub fn unfound_answers(&self) -> u64 {
        self.0.borrow().unfound_answers
    }

    /// How often any fault has happened.
    pub fn fired_total(&self) -> u64 {
        FaultKind::ALL.iter().map(|kind| self.fired(*kind)).sum()
    }

    /// A running hash of every event and completion with its time: the same seed gives the same hash.
    pub fn trace_hash(&self) -> u64 {
        self.0.borrow().calendar.trace()
    }

    /// Events that have happened.
    pub fn events_total(&self) -> u64 {
        self.0.borrow().calendar.events_total()
    }

    /// Stream sockets open now, of ports and of peers, in backlogs and on their way between ports.
    pub fn open_sockets(&self) -> usize {
        self.0.borrow().net.open()
    }

    /// Sockets, listeners and files that the ports have open now; connects under way count.
    pub fn descriptors(&self) -> usize {
        self.0.borrow().descriptors
    }

    /// Changes how many descriptors the ports may have open.
    pub fn set_descriptors_max(&self, descriptors_max: usize) {
        self.0.borrow_mut().options.descriptors_max = descriptors_max;
    }

    /// Scripted peers that are not through yet.
    pub fn peers_alive(&self) -> usize {
        self.0.borrow().peers.alive()
    }

    /// Puts a file where the ports can open it.
    pub fn put_file(&self, path: &Path, content: Vec<u8>) {
        self.0.borrow_mut().make_file(path, content);
    }

    /// What a file holds now.
    pub fn file(&self, path: &Path) -> Option<Vec<u8>> {
        let kernel = self.0.borrow();
        kernel.file_names.get(path).map(|index| kernel.files[*index as usize].clone())
    }

    /// 64 bits of the world's one random sequence, for a test's own choices.
    pub fn random(&self) -> u64 {
        self.0.borrow_mut().calendar.prng.next_u64()
    }
}
