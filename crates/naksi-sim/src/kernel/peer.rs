//! Scripted clients and servers at the far end of the wire.
//!
//! A peer is a small machine that a test writes: it hears what happened to its one connection and answers
//! with reads and writes. It is never faulted itself, only the network between is. Nothing here knows ports.

use core::net::SocketAddr;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use naksi_core::tick::Tick;

use super::calendar::Event;
use super::net::SocketId;
use super::state::Kernel;

/// The name of a peer in its world, for its whole life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerId {
    slot: u32,
    generation: u32,
}

/// What happened to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerEvent {
    /// The connection stands.
    Connected,
    /// No socket listens there, or no answer came. The peer's last event.
    Refused,
    /// Bytes have arrived. What is not read stays, and is not told of again until more arrives.
    Readable,
    /// There is room again, after a write that took fewer bytes than it was offered.
    Writable,
    /// A timer of this number has run out.
    Timer(u32),
    /// The other side has said its end; what arrived before can still be read.
    Closed,
    /// The connection is torn down. The peer's last event.
    Reset,
}

/// A scripted client or server of one connection. It must not touch its world except through `io`.
pub trait Peer {
    /// Something happened. A peer that has closed or reset its connection hears nothing more.
    fn on_event(&mut self, io: &mut PeerIo<'_>, event: PeerEvent);
}

/// What a peer can do while it hears an event.
pub struct PeerIo<'a> {
    kernel: &'a mut Kernel,
    peer: PeerId,
    socket: Option<SocketId>,
}

impl fmt::Debug for PeerIo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerIo({:?})", self.peer)
    }
}

impl PeerIo<'_> {
    /// Takes up to `most` bytes that have arrived; none if there are none.
    pub fn read(&mut self, most: usize) -> &[u8] {
        let Some(id) = self.socket else { return &[] };
        let length = self.kernel.net.live(id).inbox.readable().len().min(most);
        self.kernel.net.consume(&mut self.kernel.calendar, id, length);
        self.kernel.net.live(id).inbox.take_again(length)
    }

    /// Bytes that have arrived and were not read.
    pub fn readable(&self) -> usize {
        let socket = self.socket.and_then(|id| self.kernel.net.get(id));
        socket.map_or(0, |socket| socket.inbox.readable().len())
    }

    /// Sends what there is room for and returns how many bytes that was. Zero after our own end.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        let Some(id) = self.socket else { return 0 };
        let socket = self.kernel.net.live(id);
        if bytes.is_empty() || socket.shut_write || socket.reset {
            return 0;
        }
        self.kernel.net.write(&mut self.kernel.calendar, id, std::iter::once(bytes), bytes.len())
    }

    /// Says the end of what this peer sends.
    pub fn shutdown_write(&mut self) {
        if let Some(id) = self.socket {
            self.kernel.net.live(id).shut_write = true;
            self.kernel.net.send_fin(&mut self.kernel.calendar, id);
        }
    }

    /// Closes the connection in order; bytes that were not read make it a reset, as with a real socket.
    pub fn close(&mut self) {
        if let Some(id) = self.socket.take() {
            self.kernel.net.close(&mut self.kernel.calendar, id);
        }
    }

    /// Tears the connection down.
    pub fn reset(&mut self) {
        if let Some(id) = self.socket.take() {
            self.kernel.net.close_with_reset(&mut self.kernel.calendar, id);
        }
    }

    /// Asks for [`PeerEvent::Timer`] with this number after a while.
    pub fn set_timer(&mut self, span: Duration, number: u32) {
        let at = self.kernel.calendar.now() + span;
        self.kernel.calendar.at(at, Event::PeerTimer(self.peer, number));
    }

    /// Its own address, as the other side sees it.
    pub fn local(&mut self) -> Option<SocketAddr> {
        self.kernel.peers.addresses(self.peer).map(|(local, _)| local)
    }

    /// How far the world's clock has jumped since its first moment, all jumps together.
    pub fn jumped(&self) -> Duration {
        self.kernel.jumped
    }

    /// The world's time.
    pub fn now(&self) -> Tick {
        self.kernel.calendar.now()
    }

    /// 64 bits of the world's one random sequence.
    pub fn random(&mut self) -> u64 {
        self.kernel.calendar.prng.next_u64()
    }
}

struct Entry {
    generation: u32,
    taken: bool,
    /// `None` while the peer hears an event, and when the place is free.
    peer: Option<Box<dyn Peer>>,
    socket: Option<SocketId>,
    local: SocketAddr,
    remote: SocketAddr,
}

/// Makes the peer of one more connection.
pub type PeerMaker = Box<dyn FnMut() -> Box<dyn Peer>>;

/// All peers of a world.
#[derive(Default)]
pub(super) struct Peers {
    entries: Vec<Entry>,
    free: Vec<u32>,
    makers: BTreeMap<SocketAddr, PeerMaker>,
}

impl Peers {
    pub(super) fn alive(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    pub(super) fn serve(&mut self, address: SocketAddr, maker: PeerMaker) {
        self.makers.insert(address, maker);
    }

    pub(super) fn serves(&self, address: SocketAddr) -> bool {
        self.makers.contains_key(&address)
    }

    /// The server peer of a connection that `remote` makes to `local`.
    pub(super) fn answer(&mut self, local: SocketAddr, remote: SocketAddr) -> PeerId {
        let maker = self.makers.get_mut(&local).expect("the server was just found");
        let peer = maker();
        self.add(peer, local, remote)
    }

    pub(super) fn add(&mut self, peer: Box<dyn Peer>, local: SocketAddr, remote: SocketAddr) -> PeerId {
        let peer = Some(peer);
        if let Some(slot) = self.free.pop() {
            let entry = &mut self.entries[slot as usize];
            let generation = entry.generation.wrapping_add(1);
            *entry = Entry { generation, taken: true, peer, socket: None, local, remote };
            return PeerId { slot, generation };
        }
        self.entries.push(Entry { generation: 0, taken: true, peer, socket: None, local, remote });
        PeerId { slot: self.entries.len() as u32 - 1, generation: 0 }
    }

    fn entry(&mut self, id: PeerId) -> Option<&mut Entry> {
        let entry = self.entries.get_mut(id.slot as usize)?;
        (entry.taken && entry.generation == id.generation).then_some(entry)
    }

    pub(super) fn addresses(&mut self, id: PeerId) -> Option<(SocketAddr, SocketAddr)> {
        self.entry(id).map(|entry| (entry.local, entry.remote))
    }

    pub(super) fn connected(&mut self, id: PeerId, socket: SocketId) {
        if let Some(entry) = self.entry(id) {
            entry.socket = Some(socket);
        }
    }

    pub(super) fn remove(&mut self, id: PeerId) {
        if let Some(entry) = self.entry(id) {
            entry.taken = false;
            entry.peer = None;
            self.free.push(id.slot);
        }
    }
}

impl Kernel {
    /// Lets a peer hear an event. One that closes its connection meanwhile is gone afterwards.
    pub(super) fn notify(&mut self, id: PeerId, event: PeerEvent) {
        let Some(entry) = self.peers.entry(id) else { return };
        let Some(mut peer) = entry.peer.take() else { return };
        let before = entry.socket;
        let mut io = PeerIo { kernel: self, peer: id, socket: before };
        peer.on_event(&mut io, event);
        let after = io.socket;
        if before.is_some() && after.is_none() {
            self.peers.remove(id);
        } else if let Some(entry) = self.peers.entry(id) {
            entry.peer = Some(peer);
        }
    }
}
