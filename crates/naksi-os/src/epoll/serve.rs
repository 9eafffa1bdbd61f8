//! Carries out ready operations: one visit to one operation at a time, each with a bound.
//!
//! An operation with more to do goes to the end of the queue, so that no socket starves another. A receive takes a
//! buffer only here, when there is something to read. Every call uses `MSG_DONTWAIT`, because the sockets themselves
//! stay blocking for the other port of this system.

// UNSAFETY: socket2 receives into possibly uninitialised memory; ours is initialised.
#![expect(unsafe_code, reason = "initialised memory is shown to socket2 as what it takes")]

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::os::fd::{AsRawFd, OwnedFd};

use naksi_core::batch::SendBatch;
use naksi_core::completion::{Accepted, Completion, Datagram, Done};
use naksi_core::id::{Handle, Token};
use naksi_core::op::ShutdownHow;
use socket2::{MaybeUninitSlice, SockAddr, SockRef};

use super::op::{OpKind, count};
use super::poll::Watch;
use super::port::Port;
use super::socket_state::{Resource, SocketState, word};
use crate::handles::{Direction, HandleKind};
use crate::in_flight::Key;
use crate::linux::error;
use crate::linux::socket::{self, Descriptor};
use crate::uring::op_block::PIECES_MAX;

/// Connections taken from one listener at a visit.
const ACCEPTS_MAX: usize = 32;
/// Calls made for one send at a visit.
const SEND_CALLS_MAX: usize = 16;
/// A send completes, in part, once this many bytes are taken, because their count must fit a result.
const SENT_BYTES_MAX: usize = 1 << 30;

/// What a visit has come to.
enum Visit {
    /// The last result.
    Over(i32),
    /// There is more to do.
    Again,
    /// There is more to do after the caller has handled the result of this visit.
    Later,
    /// Nothing more until an event, or until a lease returns.
    Waits,
}

impl Port {
    /// Visits the ready operations in order, as long as there is room for a completion.
    pub(super) fn serve(&mut self, completions: &mut Vec<Completion>, full: usize) {
        while completions.len() < full {
            let Some(key) = self.ready.pop_front() else { return };
            let Some((token, operation)) = self.core.in_flight.running(key) else { continue };
            operation.queued = false;
            if operation.over {
                continue; // its result is on the way
            }
            let visit = match operation.kind {
                OpKind::Accept { listener } => self.accept(token, listener, completions, full),
                OpKind::Recv { socket } => self.recv(key, token, socket, completions),
                OpKind::Send { socket, .. } => self.send(key, socket),
                OpKind::Connect { remote, socket: None } => self.connect(key, remote),
                OpKind::Connect { socket: Some(socket), .. } => self.connected(socket),
                OpKind::Shutdown { socket, how } => Visit::Over(self.shut_down(socket, how)),
                OpKind::RecvFrom { socket, .. } => self.recv_from(key, socket),
                OpKind::SendTo { socket, .. } => self.send_to(key, socket),
                OpKind::Close { .. } | OpKind::File { .. } | OpKind::Timeout => {
                    unreachable!("only what waits for a socket is in the queue")
                }
            };
            match visit {
                Visit::Over(result) => self.finish(key, result, completions),
                Visit::Again => self.enqueue(key),
                Visit::Later => self.put_off(key),
                Visit::Waits => {}
            }
        }
    }

    /// Continues a receive with the next wait: until then its session can end or pause it, and what a flooding peer
    /// has sent stays in the kernel.
    fn put_off(&mut self, key: Key) {
        let (_, operation) = self.core.in_flight.running(key).expect("it was just visited");
        operation.queued = true;
        self.later.push(key);
    }

    fn accept(
        &mut self,
        token: Token,
        listener: Handle,
        completions: &mut Vec<Completion>,
        full: usize,
    ) -> Visit {
        for _ in 0..ACCEPTS_MAX {
            if completions.len() >= full {
                return Visit::Again;
            }
            let socket_state = socket_state(&mut self.core.handles, listener);
            self.core.counters.enters_total += 1;
            let (peer, address) = match SockRef::from(socket_state.descriptor.owned()).accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    socket_state.readable = false;
                    return Visit::Waits;
                }
                Err(error) => {
                    let errno = errno(&error);
                    match error::accept(errno, false) {
                        error::AcceptEnded::NextPeer => continue,
                        // Connections may still wait: the next accept looks at once.
                        error::AcceptEnded::Over(_) => return Visit::Over(-errno),
                    }
                }
            };
            let Some(peer_address) = address.as_socket() else { continue };
            let socket =
                self.admit(HandleKind::Stream, SocketState::new(Descriptor::new(OwnedFd::from(peer))));
            let accepted = Accepted { socket, peer: peer_address };
            self.core.hand_out(completions, token, Done::Accept(Ok(accepted)), true);
        }
        Visit::Again
    }

    fn recv(&mut self, key: Key, token: Token, socket: Handle, completions: &mut Vec<Completion>) -> Visit {
        let socket_state = socket_state(&mut self.core.handles, socket);
        if let Some(errno) = socket_state.unwatched {
            return Visit::Over(-errno);
        }
        let Some(mut buffer) = self.core.pool.take() else {
            if socket_state.descriptor.ended_both {
                return Visit::Over(-libc::ECANCELED);
            }
            socket_state.descriptor.parked = Some(key);
            self.park(key);
            return Visit::Waits;
        };
        self.core.counters.enters_total += 1;
        let flags = libc::MSG_DONTWAIT;
        let received = SockRef::from(socket_state.descriptor.owned())
            .recv_with_flags(as_uninit(&mut buffer.bytes), flags);
        let length = received.as_ref().ok().and_then(|length| NonZeroU32::new(*length as u32));
        if let Some(length) = length {
            if (length.get() as usize) < buffer.bytes.len() {
                socket_state.read_short();
            }
            let again = socket_state.readable;
            let lease = self.core.pool.lend(buffer, length);
            self.core.hand_out(completions, token, Done::Recv(Ok(lease)), true);
            return if again { Visit::Later } else { Visit::Waits };
        }
        self.core.pool.put(buffer);
        match received {
            Ok(_) => Visit::Over(0),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => {
                    socket_state.readable = false;
                    Visit::Waits
                }
                io::ErrorKind::Interrupted => Visit::Again,
                _ => Visit::Over(-errno(&error)),
            },
        }
    }

    /// Sends until the kernel has everything or has no more room, or the visit is over. A partial send ends the
    /// visit.
    fn send(&mut self, key: Key, socket: Handle) -> Visit {
        let socket_state = socket_state(&mut self.core.handles, socket);
        let Some((_, operation)) = self.core.in_flight.running(key) else { return Visit::Waits };
        let OpKind::Send { batch, sent, .. } = &mut operation.kind else { return Visit::Waits };
        if let Some(errno) = socket_state.unwatched {
            return Visit::Over(-errno);
        }
        let whole = batch.bytes().min(SENT_BYTES_MAX);
        for _ in 0..SEND_CALLS_MAX {
            self.core.counters.enters_total += 1;
            match send_some(socket_state, batch, *sent) {
                Ok(some) => *sent += some,
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => {
                        socket_state.writable = false;
                        // Progress is reported at once: a peer behind a slow line must not look stalled.
                        return if *sent > 0 { Visit::Over(count(*sent)) } else { Visit::Waits };
                    }
                    io::ErrorKind::Interrupted => {}
                    _ if *sent == 0 => return Visit::Over(-errno(&error)),
                    kind => {
                        // Bytes were taken, which is reported now. The kernel reports the reason for the failure only
                        // once, so it is stored for the receive.
                        socket_state.descriptor.reset |= kind == io::ErrorKind::ConnectionReset;
                        return Visit::Over(count(*sent));
                    }
                },
            }
            if *sent >= whole {
                return Visit::Over(count(*sent));
            }
        }
        Visit::Again
    }

    fn connect(&mut self, key: Key, remote: SocketAddr) -> Visit {
        let owned = match socket::stream(remote) {
            Ok(owned) => owned,
            Err(errno) => return Visit::Over(-errno),
        };
        self.core.counters.enters_total += 1;
        let begun = SockRef::from(&owned);
        let outcome = begun.set_nonblocking(true).and_then(|()| begun.connect(&SockAddr::from(remote)));
        let in_progress = |error: &io::Error| error.raw_os_error() == Some(libc::EINPROGRESS);
        if let Err(error) = &outcome
            && !in_progress(error)
        {
            return Visit::Over(-errno(error));
        }
        // Registered only now: epoll reports an unconnected socket as hung up.
        let mut new = SocketState::new(Descriptor::new(owned));
        new.outgoing = Some(key);
        new.writable = outcome.is_ok();
        let socket = self.admit(HandleKind::Stream, new);
        self.core.handles.begin(socket, HandleKind::Stream, Direction::Out).expect("the handle is new");
        let (_, operation) = self.core.in_flight.running(key).expect("it is being visited");
        operation.kind = OpKind::Connect { remote, socket: Some(socket) };
        // A socket that is not watched never gets its connect event, so the connect fails now.
        let heard = socket_state(&mut self.core.handles, socket).unwatched.is_none();
        if outcome.is_ok() || !heard { self.connected(socket) } else { Visit::Waits }
    }

    /// `connect(2)`: "After select(2) indicates writability, use getsockopt(2) to read the SO_ERROR option".
    fn connected(&mut self, socket: Handle) -> Visit {
        let socket_state = socket_state(&mut self.core.handles, socket);
        if let Some(errno) = socket_state.unwatched {
            return Visit::Over(-errno);
        }
        if !socket_state.writable {
            return Visit::Waits;
        }
        match SockRef::from(socket_state.descriptor.owned()).take_error() {
            Ok(None) => Visit::Over(0),
            Ok(Some(error)) | Err(error) => Visit::Over(-errno(&error)),
        }
    }

    fn shut_down(&mut self, socket: Handle, how: ShutdownHow) -> i32 {
        let socket_state = socket_state(&mut self.core.handles, socket);
        let how_std = match how {
            ShutdownHow::Write => std::net::Shutdown::Write,
            ShutdownHow::Both => std::net::Shutdown::Both,
        };
        self.core.counters.enters_total += 1;
        let outcome = SockRef::from(socket_state.descriptor.owned()).shutdown(how_std);
        // Operations in flight are retried now and find the end; an event would come later.
        socket_state.writable = true;
        let mut concerned = [None, socket_state.outgoing];
        if how == ShutdownHow::Both {
            (socket_state.readable, socket_state.hung) = (true, true);
            concerned[0] = socket_state.incoming.filter(|_| socket_state.descriptor.parked.is_none());
        }
        for key in concerned.into_iter().flatten() {
            self.enqueue(key);
        }
        outcome.map_or_else(|error| -errno(&error), |()| 0)
    }

    fn recv_from(&mut self, key: Key, socket: Handle) -> Visit {
        let socket_state = socket_state(&mut self.core.handles, socket);
        let Some((_, operation)) = self.core.in_flight.running(key) else { return Visit::Waits };
        let OpKind::RecvFrom { buffer, datagram, .. } = &mut operation.kind else { return Visit::Waits };
        if let Some(errno) = socket_state.unwatched {
            return Visit::Over(-errno);
        }
        self.core.counters.enters_total += 1;
        let mut pieces = [MaybeUninitSlice::new(as_uninit(buffer))];
        let received = SockRef::from(socket_state.descriptor.owned())
            .recv_from_vectored_with_flags(&mut pieces, libc::MSG_DONTWAIT);
        match received {
            Ok((length, flags, from)) => match from.as_socket() {
                Some(from) => {
                    *datagram = Some(Datagram { bytes: length as u32, from, cut: flags.is_truncated() });
                    Visit::Over(count(length))
                }
                None => Visit::Over(-libc::EAFNOSUPPORT),
            },
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => {
                    socket_state.readable = false;
                    Visit::Waits
                }
                io::ErrorKind::Interrupted => Visit::Again,
                _ => Visit::Over(-errno(&error)),
            },
        }
    }

    fn send_to(&mut self, key: Key, socket: Handle) -> Visit {
        let socket_state = socket_state(&mut self.core.handles, socket);
        let Some((_, operation)) = self.core.in_flight.running(key) else { return Visit::Waits };
        let OpKind::SendTo { remote, bytes, .. } = &operation.kind else { return Visit::Waits };
        if let Some(errno) = socket_state.unwatched {
            return Visit::Over(-errno);
        }
        self.core.counters.enters_total += 1;
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        let sent = SockRef::from(socket_state.descriptor.owned()).send_to_with_flags(
            bytes,
            &SockAddr::from(*remote),
            flags,
        );
        match sent {
            Ok(length) => Visit::Over(count(length)),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => self.watch_room(socket),
                io::ErrorKind::Interrupted => Visit::Again,
                _ => Visit::Over(-errno(&error)),
            },
        }
    }

    /// A datagram socket nearly always has room, and epoll reports it after every datagram sent: it is watched only
    /// once it has had none.
    fn watch_room(&mut self, socket: Handle) -> Visit {
        let socket_state = socket_state(&mut self.core.handles, socket);
        socket_state.writable = false;
        if !socket_state.watches_room {
            socket_state.watches_room = true;
            self.core.counters.enters_total += 1;
            let raw = socket_state.descriptor.owned().as_raw_fd();
            if let Err(error) = self.epoll.rewatch(raw, word(socket), Watch::InOut) {
                return Visit::Over(-errno(&error));
            }
        }
        Visit::Waits
    }
}

/// The socket that an operation in flight is aimed at.
pub(super) fn socket_state(
    handles: &mut crate::handles::HandleTable<Resource>,
    handle: Handle,
) -> &mut SocketState {
    let resource = handles.any_mut(handle).expect("a handle outlives the operations on it");
    resource.pier_mut().expect("operations on sockets are aimed at sockets")
}

/// One call, for as many pieces as it takes, from the `sent`-th byte on.
fn send_some(socket_state: &SocketState, batch: &SendBatch, sent: usize) -> io::Result<usize> {
    let socket = SockRef::from(socket_state.descriptor.owned());
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    let mut skipped = sent;
    let mut left = batch.slices().filter_map(|piece| {
        let begun = skipped.min(piece.len());
        skipped -= begun;
        Some(&piece[begun..]).filter(|rest| !rest.is_empty())
    });
    let first = left.next().unwrap_or_default();
    let Some(second) = left.next() else { return socket.send_with_flags(first, flags) };
    let mut gathered = [IoSlice::new(&[]); PIECES_MAX];
    gathered[0] = IoSlice::new(first);
    gathered[1] = IoSlice::new(second);
    let mut filled = 2;
    for (place, piece) in gathered[2..].iter_mut().zip(left) {
        *place = IoSlice::new(piece);
        filled += 1;
    }
    socket.send_vectored_with_flags(&gathered[..filled], flags)
}

/// Memory that is initialised, as memory that need not be.
fn as_uninit(bytes: &mut [u8]) -> &mut [MaybeUninit<u8>] {
    let length = bytes.len();
    // SAFETY: MaybeUninit: "guaranteed to have the same size, alignment, and ABI as T". socket2, about its
    // receives: "this implementation promises to not write uninitialised bytes to the buf".
    unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), length) }
}

pub(super) fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}
