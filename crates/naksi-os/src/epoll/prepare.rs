//! Checks a submitted operation, adds it to the in-flight table and schedules it.
//!
//! An operation that is ready goes to the ready queue, the rest waits for an event, a deadline or the file thread. The
//! only system call here registers a new socket with epoll.

use std::mem;
use std::os::fd::{AsRawFd, OwnedFd};

use naksi_core::ended::OsError;
use naksi_core::id::{Handle, Token};
use naksi_core::op::{Op, ShutdownHow};

use super::file_thread::Work;
use super::op::{InFlightOp, OpKind};
use super::poll::Watch;
use super::port::Port;
use super::serve::{errno, socket_state};
use super::socket_state::{Resource, SocketState, word};
use crate::handles::HandleKind;
use crate::in_flight::Key;
use crate::linux::error;
use crate::linux::socket::Descriptor;

impl Port {
    /// Adds a socket to the table and watches it. If the system refuses to watch it, it is open all the same, and
    /// operations on it fail with that error.
    pub(super) fn admit(&mut self, kind: HandleKind, socket_state: SocketState) -> Handle {
        let raw = socket_state.descriptor.owned().as_raw_fd();
        let socket = self.core.handles.insert(kind, Resource::Socket(socket_state));
        self.core.counters.enters_total += 1;
        let watch = if kind == HandleKind::Stream { Watch::InOut } else { Watch::In };
        let outcome = self.epoll.watch(raw, word(socket), watch);
        let socket_state = super::serve::socket_state(&mut self.core.handles, socket);
        socket_state.watches_room = watch == Watch::InOut;
        if let Err(error) = outcome {
            tracing::warn!(%error, "epoll refuses a socket");
            socket_state.unwatched = Some(errno(&error));
            (socket_state.readable, socket_state.writable) = (true, true);
        }
        socket
    }

    /// As `admit`, for sockets whose opening can fail.
    pub(super) fn admit_watched(&mut self, kind: HandleKind, owned: OwnedFd) -> Result<Handle, OsError> {
        let socket = self.admit(kind, SocketState::new(Descriptor::new(owned)));
        match socket_state(&mut self.core.handles, socket).unwatched {
            None => Ok(socket),
            Some(errno) => {
                self.core.handles.remove(socket).expect("nothing is in flight on a new socket");
                Err(error::os_error(errno))
            }
        }
    }

    pub(super) fn track(&mut self, token: Token, kind: OpKind) -> Key {
        self.core.track(token, InFlightOp::new(kind))
    }

    /// Stores an accepted operation and schedules it.
    pub(super) fn prepare(&mut self, token: Token, op: Op) {
        match op {
            Op::Accept { listener: socket } => {
                self.board_incoming(token, socket, OpKind::Accept { listener: socket })
            }
            Op::Recv { socket } => self.board_incoming(token, socket, OpKind::Recv { socket }),
            Op::RecvFrom { socket, buffer } => {
                self.board_incoming(token, socket, OpKind::RecvFrom { socket, buffer, datagram: None });
            }
            Op::Send { socket, batch } => {
                self.board_outgoing(token, socket, OpKind::Send { socket, batch, sent: 0 })
            }
            Op::SendTo { socket, remote, bytes } => {
                self.board_outgoing(token, socket, OpKind::SendTo { socket, remote, bytes });
            }
            Op::Connect { remote } => {
                let key = self.track(token, OpKind::Connect { remote, socket: None });
                self.enqueue(key);
            }
            Op::Shutdown { socket, how } => {
                let descriptor = &mut socket_state(&mut self.core.handles, socket).descriptor;
                descriptor.ended_write = true;
                descriptor.ended_both |= how == ShutdownHow::Both;
                if how == ShutdownHow::Both {
                    // A parked receive would notice it only when a lease is free.
                    self.end_parked(socket);
                }
                let key = self.track(token, OpKind::Shutdown { socket, how });
                self.enqueue(key);
            }
            Op::Close { .. } => unreachable!("a close is boarded by `submit`"),
            Op::ReadAt { file, offset, buffer } => {
                self.board_work(token, file, Work::Read { offset, buffer })
            }
            Op::WriteAt { file, offset, bytes } => {
                self.board_work(token, file, Work::Write { offset, bytes })
            }
            Op::Sync { file } => self.board_work(token, file, Work::Sync),
            Op::Timeout { at } => {
                let key = self.track(token, OpKind::Timeout);
                self.timers.set(at, key);
            }
        }
    }

    fn board_incoming(&mut self, token: Token, socket: Handle, kind: OpKind) {
        let key = self.track(token, kind);
        let socket_state = socket_state(&mut self.core.handles, socket);
        socket_state.incoming = Some(key);
        if socket_state.readable {
            self.enqueue(key);
        }
    }

    fn board_outgoing(&mut self, token: Token, socket: Handle, kind: OpKind) {
        let key = self.track(token, kind);
        let socket_state = socket_state(&mut self.core.handles, socket);
        socket_state.outgoing = Some(key);
        if socket_state.writable {
            self.enqueue(key);
        }
    }

    fn board_work(&mut self, token: Token, file: Handle, work: Work) {
        let key = self.track(token, OpKind::File { file, work: None });
        let Some(Resource::File(opened)) = self.core.handles.any(file) else {
            unreachable!("its direction was just taken");
        };
        self.file_thread.hand_over(key, opened, work);
    }

    /// Puts an operation at the end of what is ready, once.
    pub(super) fn enqueue(&mut self, key: Key) {
        let Some((_, operation)) = self.core.in_flight.running(key) else { return };
        if !mem::replace(&mut operation.queued, true) {
            self.ready.push_back(key);
        }
    }

    /// Ends an operation before it was carried out. Its result is delivered with the next wait.
    pub(super) fn end_early(&mut self, key: Key) {
        let (_, operation) = self.core.in_flight.running(key).expect("only what flies can end early");
        operation.over = true;
        let result = operation.early_result(libc::ECANCELED);
        self.core.local.push_back((key, result));
    }
}
