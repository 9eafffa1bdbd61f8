//! The state of an open handle: the descriptor, its readiness, and the operations that wait for it. The caller passes
//! the events in.

use std::fs::File;
use std::sync::Arc;

use naksi_core::id::Handle;

use super::poll::Readiness;
use crate::in_flight::Key;
use crate::linux::socket::Descriptor;

/// What stands behind a handle.
#[derive(Debug)]
pub(super) enum Resource {
    /// A listener, a stream or a datagram socket.
    Socket(SocketState),
    /// A file; the file thread shares it while it reads or writes.
    File(Arc<File>),
}

impl Resource {
    pub(super) fn socket_state(&self) -> Option<&SocketState> {
        match self {
            Resource::Socket(socket_state) => Some(socket_state),
            Resource::File(_) => None,
        }
    }

    pub(super) fn pier_mut(&mut self) -> Option<&mut SocketState> {
        match self {
            Resource::Socket(socket_state) => Some(socket_state),
            Resource::File(_) => None,
        }
    }
}

/// A socket, its readiness, and the operations on it.
///
/// Readiness is reported once, at its edge, and holds until a call finds nothing: `readable` and `writable` tell
/// whether a call is worthwhile.
#[derive(Debug)]
pub(super) struct SocketState {
    pub(super) descriptor: Descriptor,
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// An end, an error or an urgent byte was reported: `readable` stays true from here on.
    pub(super) hung: bool,
    /// Room to send is watched too.
    pub(super) watches_room: bool,
    /// The system refuses to watch it: every operation on it fails with this number.
    pub(super) unwatched: Option<i32>,
    /// The accept or the receive in flight.
    pub(super) incoming: Option<Key>,
    /// The connect or the send in flight.
    pub(super) outgoing: Option<Key>,
}

impl SocketState {
    /// A new socket: nothing to read yet, and room to send.
    pub(super) fn new(descriptor: Descriptor) -> Self {
        Self {
            descriptor,
            readable: false,
            writable: true,
            hung: false,
            watches_room: true,
            unwatched: None,
            incoming: None,
            outgoing: None,
        }
    }

    /// Takes note of an event. Returns the operations that it concerns.
    pub(super) fn told(&mut self, ready: Readiness) -> [Option<Key>; 2] {
        self.readable |= ready.readable;
        self.writable |= ready.writable;
        self.hung |= ready.hung;
        [self.incoming.filter(|_| ready.readable), self.outgoing.filter(|_| ready.writable)]
    }

    /// Called after a receive of fewer bytes than it had room for: all was read (`epoll(7)`), unless an end or an
    /// urgent byte follows, where a receive stops short.
    pub(super) fn read_short(&mut self) {
        self.readable = self.hung;
    }
}

/// A handle as the word that travels through epoll.
pub(super) fn word(handle: Handle) -> u64 {
    u64::from(handle.generation()) << 32 | u64::from(handle.slot())
}

/// The handle back from an event.
pub(super) fn handle(word: u64) -> Handle {
    Handle::new((word & u64::from(u32::MAX)) as u32, (word >> 32) as u32)
}
