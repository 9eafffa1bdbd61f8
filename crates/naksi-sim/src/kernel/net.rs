//! Sockets and the pipes between them.
//!
//! A connection is two sockets; each owns the pipe of bytes that come towards it. A segment is a number of
//! bytes of that pipe which an event declares arrived. Nothing here knows ports, operations or peers beyond
//! the name of a socket's owner, and nothing here calls anybody: what follows is written into the calendar.

use bytes::Bytes;
use core::net::SocketAddr;
use std::collections::VecDeque;

use naksi_core::tick::Tick;

use super::calendar::{Calendar, Event, OpId};
use super::fault::FaultKind;
use super::peer::PeerId;
use naksi_os::backend::Key;

/// The name of a socket in its whole world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SocketId {
    slot: u32,
    generation: u32,
}

/// Who answers for a socket and will close it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Owner {
    Backlog,
    Connecting(OpId),
    Port(u32),
    Peer(PeerId),
    Transit,
}

/// Bytes on their way to one socket: `bytes[head..]`, of which the first `arrived` can be read.
#[derive(Default)]
pub(super) struct Pipe {
    bytes: Vec<u8>,
    head: usize,
    arrived: usize,
    capacity: usize,
    last_arrival: Tick,
    fin_sent: bool,
    fin_arrived: bool,
    sender_waits: bool,
    /// What the sender's operations put in and what the receiver's leases took out, for law 7.
    sent: Tally,
    taken: Tally,
}

/// How many bytes went by, and a hash of them in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    bytes: u64,
    hash: u64,
}

impl Tally {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        for byte in bytes {
            self.hash = self.hash.wrapping_mul(0x0100_0000_01B3).wrapping_add(u64::from(*byte) + 1);
        }
    }
}

impl Pipe {
    /// Bytes that can be read now.
    pub(super) fn readable(&self) -> &[u8] {
        &self.bytes[self.head..self.head + self.arrived]
    }

    /// The `length` bytes that were read last, told by law 7; they stay until the next write.
    pub(super) fn take_again(&mut self, length: usize) -> &[u8] {
        let bytes = &self.bytes[self.head - length..self.head];
        self.taken.add(bytes);
        assert_prefix(self.taken, self.sent);
        bytes
    }

    /// Whether the stream is over once everything readable is read.
    pub(super) fn ended(&self) -> bool {
        self.fin_arrived
    }

    fn used(&self) -> usize {
        self.bytes.len() - self.head
    }

    fn room(&self) -> usize {
        self.capacity.saturating_sub(self.used())
    }

    /// Forgets what was read when that is cheap.
    fn compact(&mut self) {
        if self.head == self.bytes.len() {
            self.bytes.clear();
            self.head = 0;
        } else if self.head > 4096 && self.head > self.bytes.len() / 2 {
            self.bytes.drain(..self.head);
            self.head = 0;
        }
    }

    /// Law 7: what the receiver's leases took is what the sender's operations put, so far.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        self.taken.add(bytes);
        assert_prefix(self.taken, self.sent);
    }

    /// Law 7 at the end of the stream: nothing is missing.
    pub(super) fn assert_complete(&self) {
        assert!(self.taken == self.sent, "law 7: the stream ended but its bytes are not all there");
    }

    /// A fresh pipe in the memory of an old one.
    fn renew(&mut self, capacity: usize) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        *self = Pipe { bytes, capacity, ..Pipe::default() };
    }
}

pub(super) struct Socket {
    pub(super) owner: Owner,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) inbox: Pipe,
    pub(super) recv_op: Option<Key>,
    pub(super) send_op: Option<Key>,
    /// We ended it ourselves: receives are aborted.
    pub(super) shut_read: bool,
    /// We said our end: sends are aborted.
    pub(super) shut_write: bool,
    pub(super) reset: bool,
    /// The owner knows that it is connected.
    pub(super) established: bool,
    other: SocketId,
}

struct Slot {
    generation: u32,
    open: bool,
    socket: Socket,
}

/// One end of a connection to be.
pub(super) struct Side {
    pub(super) owner: Owner,
    pub(super) address: SocketAddr,
    /// Bytes that the other side can send and this one has not read.
    pub(super) inbox_bytes: usize,
}

/// A listener of some port.
pub(super) struct Listener {
    pub(super) port: u32,
    pub(super) address: SocketAddr,
    pub(super) backlog: VecDeque<SocketId>,
    pub(super) backlog_max: usize,
    pub(super) accept_op: Option<Key>,
    /// Sockets made beforehand for connections to come (iocp); each has a descriptor.
    pub(super) credits: u32,
    /// The two kernel buffers of an accepted socket, in bytes: send, receive.
    pub(super) buffers: (usize, usize),
}

/// A datagram socket of some port.
pub(super) struct DatagramSocket {
    pub(super) port: u32,
    pub(super) address: SocketAddr,
    pub(super) queue: VecDeque<(SocketAddr, Bytes)>,
    pub(super) recv_op: Option<Key>,
}

/// A datagram on its way.
pub(super) struct Transit {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) bytes: Bytes,
}

#[derive(Default)]
pub(super) struct Net {
    slots: Vec<Slot>,
    free: Vec<u32>,
    pub(super) listeners: Vec<Option<Listener>>,
    pub(super) datagrams: Vec<Option<DatagramSocket>>,
    transits: Vec<Option<Transit>>,
    transits_free: Vec<u32>,
}

impl Net {
    pub(super) fn open(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn get(&self, id: SocketId) -> Option<&Socket> {
        let slot = self.slots.get(id.slot as usize)?;
        (slot.open && slot.generation == id.generation).then_some(&slot.socket)
    }

    pub(super) fn get_mut(&mut self, id: SocketId) -> Option<&mut Socket> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        (slot.open && slot.generation == id.generation).then_some(&mut slot.socket)
    }

    /// The socket of an owner that has not closed it.
    pub(super) fn live(&mut self, id: SocketId) -> &mut Socket {
        self.get_mut(id).expect("law 2: a socket outlives the operations on it")
    }

    /// Makes the two ends of a connection.
    pub(super) fn pair(&mut self, client: Side, server: Side) -> (SocketId, SocketId) {
        let addresses = (client.address, server.address);
        let first = self.place(client, addresses);
        let second = self.place(server, (addresses.1, addresses.0));
        self.live(first).other = second;
        self.live(second).other = first;
        (first, second)
    }

    fn place(&mut self, side: Side, (local, remote): (SocketAddr, SocketAddr)) -> SocketId {
        let index = self.free.pop().unwrap_or(self.slots.len() as u32);
        let id = |generation| SocketId { slot: index, generation };
        let fresh = |inbox, other| Socket {
            owner: side.owner,
            local,
            remote,
            inbox,
            recv_op: None,
            send_op: None,
            shut_read: false,
            shut_write: false,
            reset: false,
            established: false,
            other,
        };
        if let Some(slot) = self.slots.get_mut(index as usize) {
            slot.generation = slot.generation.wrapping_add(1);
            slot.open = true;
            let mut inbox = std::mem::take(&mut slot.socket.inbox);
            inbox.renew(side.inbox_bytes);
            slot.socket = fresh(inbox, id(slot.generation));
            return id(slot.generation);
        }
        let inbox = Pipe { capacity: side.inbox_bytes, ..Pipe::default() };
        self.slots.push(Slot { generation: 0, open: true, socket: fresh(inbox, id(0)) });
        id(0)
    }

    /// Takes up to `most` bytes for the other end and returns how many; a `Space` event follows if
    /// there was no room for all of them.
    pub(super) fn write<'a>(
        &mut self,
        calendar: &mut Calendar,
        from: SocketId,
        slices: impl Iterator<Item = &'a [u8]>,
        most: usize,
    ) -> usize {
        let to = self.live(from).other;
        let Some(receiver) = self.get_mut(to) else {
            // The peer is gone: the bytes leave, and a reset comes back for them.
            let nanos = calendar.latency();
            calendar.after(nanos, Event::Reset { to: from });
            return most;
        };
        let pipe = &mut receiver.inbox;
        assert!(!pipe.fin_sent, "law 7: bytes after the end of the stream");
        let taken = most.min(pipe.room());
        pipe.sender_waits |= taken < most;
        if taken == 0 {
            return 0;
        }
        pipe.compact();
        let mut left = taken;
        for slice in slices {
            let part = &slice[..left.min(slice.len())];
            pipe.bytes.extend_from_slice(part);
            pipe.sent.add(part);
            left -= part.len();
            if left == 0 {
                break;
            }
        }
        assert!(left == 0, "a batch held fewer bytes than it said");
        let mut first = taken;
        if taken > 1 && calendar.strike(FaultKind::SplitDelivery) {
            first = calendar.prng.between(1, taken as u64 - 1) as usize;
        }
        for bytes in [first, taken - first] {
            if bytes > 0 {
                pipe.last_arrival = arrival(calendar, pipe.last_arrival);
                calendar.at(pipe.last_arrival, Event::Segment { to, bytes: bytes as u32 });
            }
        }
        taken
    }

    /// Bytes have arrived. Returns whether anybody is there to read them.
    pub(super) fn segment(&mut self, calendar: &mut Calendar, to: SocketId, bytes: u32) -> bool {
        let Some(socket) = self.get_mut(to).filter(|socket| !socket.reset) else { return false };
        socket.inbox.arrived += bytes as usize;
        assert!(socket.inbox.arrived <= socket.inbox.used(), "law 7: more bytes arrived than were sent");
        if calendar.strike(FaultKind::PeerReset) {
            let other = socket.other;
            calendar.after(0, Event::Reset { to });
            calendar.after(0, Event::Reset { to: other });
        }
        true
    }

    /// The reader has taken `bytes` of what was readable.
    pub(super) fn consume(&mut self, calendar: &mut Calendar, id: SocketId, bytes: usize) {
        let socket = self.live(id);
        let pipe = &mut socket.inbox;
        assert!(bytes <= pipe.arrived, "law 7: more bytes were read than had arrived");
        pipe.head += bytes;
        pipe.arrived -= bytes;
        if pipe.sender_waits {
            pipe.sender_waits = false;
            let other = socket.other;
            let nanos = calendar.latency();
            calendar.after(nanos, Event::Space { to: other });
        }
    }

    /// Says the end of what this socket sends. Saying it twice says nothing.
    pub(super) fn send_fin(&mut self, calendar: &mut Calendar, from: SocketId) {
        let to = self.live(from).other;
        if let Some(receiver) = self.get_mut(to).filter(|receiver| !receiver.inbox.fin_sent) {
            let pipe = &mut receiver.inbox;
            pipe.fin_sent = true;
            pipe.last_arrival = arrival(calendar, pipe.last_arrival);
            calendar.at(pipe.last_arrival, Event::Fin { to });
        }
    }

    /// The end has arrived. Returns whether anybody is there to read it.
    pub(super) fn fin(&mut self, to: SocketId) -> bool {
        let Some(socket) = self.get_mut(to).filter(|socket| !socket.reset) else { return false };
        socket.inbox.fin_arrived = true;
        true
    }

    /// A reset has arrived: what was not read is gone. Returns whether anybody is there to notice.
    pub(super) fn reset_arrived(&mut self, to: SocketId) -> bool {
        let Some(socket) = self.get_mut(to).filter(|socket| !socket.reset) else { return false };
        socket.reset = true;
        socket.inbox.arrived = 0;
        socket.inbox.head = socket.inbox.bytes.len();
        true
    }

    /// Closes a socket in order: an end for the other side, or a reset if we leave bytes unread.
    pub(super) fn close(&mut self, calendar: &mut Calendar, id: SocketId) {
        if self.live(id).inbox.used() > 0 {
            return self.close_with_reset(calendar, id);
        }
        self.send_fin(calendar, id);
        self.release(id);
    }

    /// Closes a socket and tears the connection down.
    pub(super) fn close_with_reset(&mut self, calendar: &mut Calendar, id: SocketId) {
        let socket = self.live(id);
        if !socket.reset {
            let other = socket.other;
            let nanos = calendar.latency();
            calendar.after(nanos, Event::Reset { to: other });
        }
        self.release(id);
    }

    fn release(&mut self, id: SocketId) {
        let socket = self.live(id);
        assert!(
            socket.recv_op.is_none() && socket.send_op.is_none(),
            "law 4: a socket is closed under an operation in flight"
        );
        self.slots[id.slot as usize].open = false;
        self.free.push(id.slot);
    }

    /// The listener that hears connections to an address: its own, or one on all addresses.
    pub(super) fn listener_at(&self, address: SocketAddr) -> Option<u32> {
        let hears = |listener: &Listener| {
            listener.address == address
                || (listener.address.ip().is_unspecified() && listener.address.port() == address.port())
        };
        let found = self.listeners.iter().position(|listener| listener.as_ref().is_some_and(hears));
        found.map(|index| index as u32)
    }

    /// The datagram socket at an address.
    pub(super) fn datagram_at(&self, address: SocketAddr) -> Option<u32> {
        let hears = |socket: &DatagramSocket| {
            socket.address == address
                || (socket.address.ip().is_unspecified() && socket.address.port() == address.port())
        };
        self.datagrams.iter().position(|socket| socket.as_ref().is_some_and(hears)).map(|index| index as u32)
    }

    /// Sends a datagram on its way.
    pub(super) fn dispatch(&mut self, calendar: &mut Calendar, transit: Transit) {
        if calendar.strike(FaultKind::DatagramLost) {
            return;
        }
        let mut nanos = calendar.latency();
        if calendar.strike(FaultKind::DatagramReordered) {
            nanos += calendar.delay();
        }
        let slot = self.transits_free.pop().unwrap_or(self.transits.len() as u32);
        if slot as usize == self.transits.len() {
            self.transits.push(None);
        }
        self.transits[slot as usize] = Some(transit);
        calendar.after(nanos, Event::Datagram { slot });
    }

    /// A datagram has arrived.
    pub(super) fn unpack(&mut self, slot: u32) -> Transit {
        self.transits_free.push(slot);
        self.transits[slot as usize].take().expect("a datagram arrives once")
    }
}

/// Law 7 for what was received so far: its bytes are compared whenever the receiver has caught up.
fn assert_prefix(taken: Tally, sent: Tally) {
    assert!(taken.bytes <= sent.bytes, "law 7: more bytes were received than sent");
    assert!(taken.bytes < sent.bytes || taken == sent, "law 7: the bytes received are not the bytes sent");
}

/// When something sent now arrives: never before what was sent earlier.
fn arrival(calendar: &mut Calendar, last: Tick) -> Tick {
    let nanos = calendar.latency();
    last.max(calendar.now() + std::time::Duration::from_nanos(nanos))
}

/// Puts something into the first free place of a table.
pub(super) fn place<T>(table: &mut Vec<Option<T>>, value: T) -> u32 {
    let index = table.iter().position(Option::is_none).unwrap_or(table.len());
    if index == table.len() {
        table.push(None);
    }
    table[index] = Some(value);
    index as u32
}
