//! What happens at an event.
//!
//! The kernel owns everything of its world: time, sockets, files, the state of its ports and the scripted
//! peers. An event changes sockets and then wakes what waits for that: an operation of a port, or a
//! peer. Nothing here knows what an operation does once it is roused (`ops.rs`).

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use naksi_core::ended::{Ended, Failure, OsError};
use naksi_core::tick::Tick;

use super::calendar::{Calendar, Caller, Event, OpId};
use super::fault::FaultKind;
use super::iocp;
use super::net::{Net, Owner, Side, SocketId};
use super::peer::{PeerEvent, PeerId, Peers};
use super::port_state::{Answer, End, PortState, Raw, Stage, Target};
use super::world::WorldOptions;

/// How long a client waits before it asks a full backlog again, in nanoseconds.
const SYN_AGAIN_NANOS: u64 = 1_000_000_000;
/// How often it asks.
const SYN_TRIES_MAX: u8 = 4;

/// Everything of one world.
pub(super) struct Kernel {
    pub(super) calendar: Calendar,
    pub(super) net: Net,
    pub(super) ports: Vec<Option<PortState>>,
    pub(super) peers: Peers,
    pub(super) options: WorldOptions,
    /// Descriptors of the simulated process: sockets, listeners and files of all ports.
    pub(super) descriptors: usize,
    pub(super) files: Vec<Vec<u8>>,
    pub(super) file_names: BTreeMap<PathBuf, u32>,
    pub(super) dropped: Arc<Dropped>,
    /// Answers of operations that a cancel had not found.
    pub(super) unfound_answers: u64,
    /// How far the clock has jumped, all jumps together.
    pub(super) jumped: Duration,
    next_port: u16,
}

/// Sockets that were dropped between two ports, by whatever thread had them.
#[derive(Debug, Default)]
pub(super) struct Dropped {
    sockets: Mutex<Vec<SocketId>>,
    /// Whether there are any: every step of a world asks, and hardly one finds some.
    any: AtomicBool,
}

impl Dropped {
    pub(super) fn push(&self, id: SocketId) {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner).push(id);
        self.any.store(true, Ordering::Release);
    }

    fn take(&self) -> Vec<SocketId> {
        if !self.any.load(Ordering::Acquire) {
            return Vec::new();
        }
        let mut sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        self.any.store(false, Ordering::Release);
        std::mem::take(&mut *sockets)
    }
}

impl Kernel {
    pub(super) fn new(options: WorldOptions) -> Self {
        let latency = (options.latency_min, options.latency_max);
        Self {
            calendar: Calendar::new(options.seed, options.faults.clone(), options.dialect, latency),
            net: Net::default(),
            ports: Vec::new(),
            peers: Peers::default(),
            options,
            descriptors: 0,
            files: Vec::new(),
            file_names: BTreeMap::new(),
            dropped: Arc::default(),
            unfound_answers: 0,
            jumped: Duration::ZERO,
            next_port: 32_768,
        }
    }

    pub(super) fn port_state(&mut self, port: u32) -> &mut PortState {
        self.ports[port as usize].as_mut().expect("the port is open")
    }

    /// An unused address of this machine.
    pub(super) fn fresh_address(&mut self, ip: IpAddr) -> SocketAddr {
        // Ports come round again like a system's ephemeral ones; only listeners must be alone on theirs.
        self.next_port = self.next_port.checked_add(1).unwrap_or(32_768);
        SocketAddr::new(ip, self.next_port)
    }

    pub(super) fn loopback(&mut self) -> SocketAddr {
        self.fresh_address(IpAddr::V4(Ipv4Addr::LOCALHOST))
    }

    /// Runs the next event, or moves time to the next port that wants to be woken. `false` if nothing is
    /// left to happen.
    pub(super) fn advance(&mut self) -> bool {
        self.close_dropped();
        let now = self.calendar.now();
        let waking =
            self.ports.iter().flatten().filter_map(|state| state.wake_at).filter(|at| *at > now).min();
        let next = self.calendar.next_at();
        let Some(soonest) = waking.into_iter().chain(next).min() else { return false };
        if self.calendar.strike(FaultKind::ClockJump) {
            let jump = Duration::from_nanos(self.calendar.prng.between(1_000_000_000, 20_000_000_000));
            self.jumped += jump;
            self.calendar.move_to(soonest + jump);
        }
        if next == Some(soonest) {
            if let Some(event) = self.calendar.take() {
                self.happen(event);
            }
        } else {
            self.calendar.move_to(soonest);
        }
        true
    }

    /// Whether a wait of any port would do something now.
    pub(super) fn runnable(&self) -> bool {
        let now = self.calendar.now();
        self.ports.iter().flatten().any(|state| state.runnable(now))
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Segment { to, bytes } => {
                if self.net.segment(&mut self.calendar, to, bytes) {
                    self.incoming(to, PeerEvent::Readable);
                }
            }
            Event::Fin { to } => {
                if self.net.fin(to) {
                    self.incoming(to, PeerEvent::Closed);
                }
            }
            Event::Outside => {}
            Event::Reset { to } => self.reset_arrived(to),
            Event::Space { to } => self.space(to),
            Event::Syn { caller, tries } => self.syn(caller, tries),
            Event::Established { socket } => self.established(socket),
            Event::ConnectFailed { caller, failure } => self.connect_failed(caller, failure),
            Event::Datagram { slot } => self.datagram(slot),
            Event::Poke(op) => self.stir(op),
            Event::CancelAgain(op) => self.cancel_again(op),
            Event::CancelAtLast(op) => self.abort(op),
            Event::PeerStart(peer) => {
                let nanos = self.calendar.latency();
                self.calendar.after(nanos, Event::Syn { caller: Caller::Peer(peer), tries: 0 });
            }
            Event::PeerTimer(peer, number) => self.notify(peer, PeerEvent::Timer(number)),
            Event::PostsReleased { port } => {
                if let Some(state) = self.ports[port as usize].as_mut() {
                    state.posts_held = false;
                }
            }
        }
    }

    /// Something can be received on a socket: its bytes, or its end.
    fn incoming(&mut self, id: SocketId, event: PeerEvent) {
        let Some(socket) = self.net.get(id) else { return };
        match socket.owner {
            Owner::Port(port) => {
                if let Some(key) = socket.recv_op {
                    self.rouse(OpId { port, key });
                }
            }
            Owner::Peer(peer) if socket.established => self.notify(peer, event),
            Owner::Peer(_) | Owner::Backlog | Owner::Connecting(_) | Owner::Transit => {}
        }
    }

    fn space(&mut self, id: SocketId) {
        let Some(socket) = self.net.get(id) else { return };
        match socket.owner {
            Owner::Port(port) => {
                if let Some(key) = socket.send_op {
                    self.rouse(OpId { port, key });
                }
            }
            Owner::Peer(peer) => self.notify(peer, PeerEvent::Writable),
            Owner::Backlog | Owner::Connecting(_) | Owner::Transit => {}
        }
    }

    fn reset_arrived(&mut self, id: SocketId) {
        if !self.net.reset_arrived(id) {
            return;
        }
        let socket = self.net.live(id);
        match socket.owner {
            Owner::Port(port) => {
                for key in [socket.recv_op, socket.send_op].into_iter().flatten() {
                    self.rouse(OpId { port, key });
                }
            }
            Owner::Peer(peer) if socket.established => self.peer_reset(peer, id),
            Owner::Peer(_) | Owner::Backlog | Owner::Connecting(_) | Owner::Transit => {}
        }
    }

    fn peer_reset(&mut self, peer: PeerId, id: SocketId) {
        self.notify(peer, PeerEvent::Reset);
        if self.net.get(id).is_some() {
            self.net.close_with_reset(&mut self.calendar, id);
        }
        self.peers.remove(peer);
    }

    /// A connection request.
    fn syn(&mut self, caller: Caller, tries: u8) {
        let Some((from, to)) = self.caller_addresses(caller) else { return };
        let default_bytes = (self.options.socket_send_bytes, self.options.socket_recv_bytes);
        let (server, buffers) = if let Some(index) = self.net.listener_at(to) {
            let listener = self.net.listeners[index as usize].as_ref().expect("the listener was just found");
            if listener.backlog.len() >= listener.backlog_max {
                return self.backlog_full(caller, tries);
            }
            (Some(index), listener.buffers)
        } else if self.peers.serves(to) {
            (None, default_bytes)
        } else {
            let nanos = self.calendar.latency();
            return self.calendar.after(nanos, Event::ConnectFailed { caller, failure: Failure::Refused });
        };
        let server_owner = match server {
            Some(_) => Owner::Backlog,
            None => Owner::Peer(self.peers.answer(to, from)),
        };
        let client_owner = match caller {
            Caller::Op(op) => Owner::Connecting(op),
            Caller::Peer(peer) => Owner::Peer(peer),
        };
        let client = Side { owner: client_owner, address: from, inbox_bytes: buffers.0 + default_bytes.1 };
        let far = Side { owner: server_owner, address: to, inbox_bytes: default_bytes.0 + buffers.1 };
        let (near, far) = self.net.pair(client, far);
        match caller {
            Caller::Op(op) => self.set_target(op, Target::Stream(near)),
            Caller::Peer(peer) => self.peers.connected(peer, near),
        }
        let nanos = self.calendar.latency();
        self.calendar.after(nanos, Event::Established { socket: near });
        match server {
            Some(listener) => self.queue_connection(listener, far),
            None => {
                if let Owner::Peer(peer) = server_owner {
                    self.peers.connected(peer, far);
                }
                self.established(far);
            }
        }
    }

    fn backlog_full(&mut self, caller: Caller, tries: u8) {
        if tries + 1 < SYN_TRIES_MAX {
            self.calendar.after(SYN_AGAIN_NANOS, Event::Syn { caller, tries: tries + 1 });
        } else {
            self.calendar.after(0, Event::ConnectFailed { caller, failure: Failure::TimedOut });
        }
    }

    fn queue_connection(&mut self, index: u32, socket: SocketId) {
        let listener = self.net.listeners[index as usize].as_mut().expect("the listener is open");
        listener.backlog.push_back(socket);
        if let Some(key) = listener.accept_op {
            let port = listener.port;
            self.rouse(OpId { port, key });
        }
    }

    /// Who asks, from which address, for which; nothing if the caller has given up.
    fn caller_addresses(&mut self, caller: Caller) -> Option<(SocketAddr, SocketAddr)> {
        match caller {
            Caller::Peer(peer) => self.peers.addresses(peer),
            Caller::Op(op) => {
                let to = self.connect_remote(op)?;
                Some((self.loopback(), to))
            }
        }
    }

    /// The caller learns that it is connected, and what has come since.
    fn established(&mut self, id: SocketId) {
        let Some(socket) = self.net.get_mut(id) else { return };
        socket.established = true;
        let local = socket.local;
        match socket.owner {
            Owner::Connecting(op) => {
                socket.owner = Owner::Port(op.port);
                self.answer(op, Raw::Connected(id, local), End::Last);
            }
            Owner::Peer(peer) => {
                self.notify(peer, PeerEvent::Connected);
                self.catch_up(peer, id);
            }
            Owner::Backlog | Owner::Port(_) | Owner::Transit => {}
        }
    }

    /// Tells a peer what had arrived before it knew that it was connected.
    fn catch_up(&mut self, peer: PeerId, id: SocketId) {
        let state = |net: &Net| {
            net.get(id)
                .map(|socket| (socket.reset, !socket.inbox.readable().is_empty(), socket.inbox.ended()))
        };
        match state(&self.net) {
            Some((true, ..)) => return self.peer_reset(peer, id),
            Some((_, true, _)) => self.notify(peer, PeerEvent::Readable),
            _ => {}
        }
        if let Some((_, _, true)) = state(&self.net) {
            self.notify(peer, PeerEvent::Closed);
        }
    }

    fn connect_failed(&mut self, caller: Caller, failure: Failure) {
        match caller {
            Caller::Peer(peer) => {
                self.notify(peer, PeerEvent::Refused);
                self.peers.remove(peer);
            }
            Caller::Op(op) => {
                if self.connect_remote(op).is_some() {
                    self.descriptors -= 1;
                    let code = if failure == Failure::Refused { 111 } else { 110 };
                    let ended = Ended::Failed(OsError::new(failure, code));
                    self.answer(op, Raw::Ended(ended), End::Last);
                }
            }
        }
    }

    fn datagram(&mut self, slot: u32) {
        let transit = self.net.unpack(slot);
        let Some(index) = self.net.datagram_at(transit.to) else { return };
        let queue_max = self.options.datagram_queue_max;
        let socket = self.net.datagrams[index as usize].as_mut().expect("the socket was just found");
        if socket.queue.len() < queue_max {
            socket.queue.push_back((transit.from, transit.bytes));
            if let Some(key) = socket.recv_op {
                let port = socket.port;
                self.rouse(OpId { port, key });
            }
        }
    }

    /// The kernel's answer to an operation goes into its port's completion queue.
    pub(super) fn answer(&mut self, op: OpId, raw: Raw, end: End) {
        let state = self.ports[op.port as usize].as_mut().expect("the port is open");
        let (_, held) =
            state.in_flight.running(op.key).expect("law 1: an answer to an operation that is over");
        assert!(held.stage == Stage::Armed, "law 1: an answer to an operation that the kernel had ended");
        let target = held.target;
        self.unfound_answers += u64::from(std::mem::take(&mut held.unfound));
        if end != End::More {
            held.stage = Stage::Answered;
        }
        let immediate = state.starting.take_if(|starting| *starting == op.key).is_some();
        let raw = iocp::number_of(&mut self.calendar, self.options.dialect, raw);
        let answer = Answer::Op { key: op.key, raw, end };
        if immediate && self.calendar.strike(FaultKind::PacketSkipped) {
            state.local.push_back(answer);
        } else {
            let overtake =
                state.may_overtake(Some(op.key)) && self.calendar.strike(FaultKind::CompletionReordered);
            state.push(answer, overtake);
        }
        if end == End::Last {
            self.detach(op, target);
        }
    }

    /// Closes what a port held: a handle that it closes or leaves behind.
    pub(super) fn close_target(&mut self, target: Target) {
        self.descriptors -= 1;
        match target {
            Target::Stream(id) => self.net.close(&mut self.calendar, id),
            Target::Listener(index) => {
                let listener = self.net.listeners[index as usize].take().expect("a listener closes once");
                assert!(listener.accept_op.is_none(), "law 4: a listener is closed under an accept");
                for id in listener.backlog {
                    self.net.close_with_reset(&mut self.calendar, id);
                }
            }
            Target::Datagram(index) => {
                let socket = self.net.datagrams[index as usize].take().expect("a socket closes once");
                assert!(socket.recv_op.is_none(), "law 4: a socket is closed under a receive");
            }
            Target::File(..) => {}
            Target::Nothing => unreachable!("only open things are closed"),
        }
    }

    /// Closes the sockets that were dropped on their way from one port to another.
    pub(super) fn close_dropped(&mut self) {
        for id in self.dropped.take() {
            self.close_target(Target::Stream(id));
        }
    }

    /// The end of a port (law 10): everything in flight is cancelled, drained and closed.
    pub(super) fn close_port(&mut self, port: u32) {
        let mut state = self.ports[port as usize].take().expect("a port closes once");
        // What the kernel holds goes first, so that nothing is closed under an operation in flight.
        for key in state.in_flight.abandon_all() {
            if let naksi_os::backend::Finished::Abandoned(held) = state.in_flight.finish(key) {
                self.detach(OpId { port, key }, held.target);
                self.forget(&held);
            }
        }
        let orphans = state.abandon();
        for target in orphans {
            self.close_target(target);
        }
        assert!(state.in_flight.abandoned() == 0, "law 10: a dropped port left operations with the kernel");
        state.assert_leases_balance();
    }

    /// Makes a file, or replaces what is in it.
    pub(super) fn make_file(&mut self, path: &std::path::Path, content: Vec<u8>) -> u32 {
        if let Some(index) = self.file_names.get(path) {
            self.files[*index as usize] = content;
            return *index;
        }
        let index = self.files.len() as u32;
        self.files.push(content);
        self.file_names.insert(path.to_path_buf(), index);
        index
    }

    /// When a file operation that starts now is through.
    pub(super) fn disk_ready_at(&mut self) -> Tick {
        let nanos = self.calendar.prng.between(10_000, 200_000);
        self.calendar.now() + Duration::from_nanos(nanos)
    }
}
