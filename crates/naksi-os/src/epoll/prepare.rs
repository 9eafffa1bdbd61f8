//! The way in: an operation is checked, kept in the in-flight table, and put where it will be found.
//!
//! What is ready already goes to the queue of what is ready, the rest waits for an event, a deadline or the
//! desk. Nothing here makes a system call but to have a new socket watched.

use std::mem;
use std::os::fd::{AsRawFd, OwnedFd};

use naksi_core::ended::OsError;
use naksi_core::id::{Handle, Token};
use naksi_core::op::{Op, ShutdownHow};

use super::desk::Work;
use super::op::{InFlightOp, OpKind};
use super::pier::{Pier, Resource, word};
use super::poll::Watch;
use super::port::Port;
use super::serve::{errno, pier};
use crate::handles::HandleKind;
use crate::in_flight::Key;
use crate::linux::error;
use crate::linux::socket::Descriptor;

impl Port {
    /// Takes a socket into the table and watches it. A socket that the system will not watch is open all
    /// the same; the operations on it fail and say why.
    pub(super) fn admit(&mut self, kind: HandleKind, pier: Pier) -> Handle {
        let raw = pier.descriptor.owned().as_raw_fd();
        let socket = self.core.handles.insert(kind, Resource::Socket(pier));
        self.core.counters.enters_total += 1;
        let watch = if kind == HandleKind::Stream { Watch::InOut } else { Watch::In };
        let outcome = self.epoll.watch(raw, word(socket), watch);
        let pier = super::serve::pier(&mut self.core.handles, socket);
        pier.watches_room = watch == Watch::InOut;
        if let Err(error) = outcome {
            tracing::warn!(%error, "epoll refuses a socket");
            pier.unwatched = Some(errno(&error));
            (pier.readable, pier.writable) = (true, true);
        }
        socket
    }

    /// As `admit`, for sockets whose opening can fail.
    pub(super) fn admit_watched(&mut self, kind: HandleKind, owned: OwnedFd) -> Result<Handle, OsError> {
        let socket = self.admit(kind, Pier::new(Descriptor::new(owned)));
        match pier(&mut self.core.handles, socket).unwatched {
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

    /// Keeps an accepted operation, and puts it where it will be found.
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
                let descriptor = &mut pier(&mut self.core.handles, socket).descriptor;
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
        let pier = pier(&mut self.core.handles, socket);
        pier.incoming = Some(key);
        if pier.readable {
            self.enqueue(key);
        }
    }

    fn board_outgoing(&mut self, token: Token, socket: Handle, kind: OpKind) {
        let key = self.track(token, kind);
        let pier = pier(&mut self.core.handles, socket);
        pier.outgoing = Some(key);
        if pier.writable {
            self.enqueue(key);
        }
    }

    fn board_work(&mut self, token: Token, file: Handle, work: Work) {
        let key = self.track(token, OpKind::File { file, work: None });
        let Some(Resource::File(opened)) = self.core.handles.any(file) else {
            unreachable!("its direction was just taken");
        };
        self.desk.hand_over(key, opened, work);
    }

    /// Puts an operation at the end of what is ready, once.
    pub(super) fn enqueue(&mut self, key: Key) {
        let Some((_, operation)) = self.core.in_flight.running(key) else { return };
        if !mem::replace(&mut operation.queued, true) {
            self.ready.push_back(key);
        }
    }

    /// An operation ends before it was carried out. Its result is handed out with the next wait.
    pub(super) fn end_early(&mut self, key: Key) {
        let (_, operation) = self.core.in_flight.running(key).expect("only what flies can end early");
        operation.over = true;
        let result = operation.early_result(libc::ECANCELED);
        self.core.local.push_back((key, result));
    }
}
