//! Prepares a submitted operation: refuses it, completes it without the kernel, or passes it to the kernel.
//!
//! An operation is checked against the handle table first, so that a refusal changes nothing. Directions are shut
//! down at once; when both directions of a socket end, the operations in flight on it are cancelled in the same step,
//! because a shutdown alone does not end them. Nothing here blocks or reads a packet.

use naksi_core::id::{Handle, Token};
use naksi_core::op::{Op, ShutdownHow};
use std::net::SocketAddr;
use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::Networking::WinSock::WSAEMSGSIZE;

use super::accept::Accepting;
use super::call;
use super::op::{self, CANCELLED, InFlightOp, OpKind};
use super::op_block::OpBlock;
use super::port::Port;
use crate::clock::now;
use crate::handles::Direction;
use crate::in_flight::Key;
use crate::port::SubmitErrorKind;
use crate::windows::file;
use crate::windows::kernel::{self, Answer};
use crate::windows::socket::{self, Descriptor, Resource};

impl Port {
    /// Checks an operation and occupies its direction. A refusal changes nothing.
    pub(super) fn reserve(&mut self, token: Token, op: &Op) -> Result<HANDLE, SubmitErrorKind> {
        self.core
            .reserve(token, op)
            .map(|descriptor| descriptor.map_or(std::ptr::null_mut(), Descriptor::raw))
    }

    /// Turns an accepted operation into its in-flight state. The result, if there is one, needs no kernel.
    pub(super) fn prepare(&mut self, op: Op, raw: HANDLE) -> (InFlightOp, Option<Answer>) {
        let mut raw = raw;
        let mut early = None;
        let kind = match op {
            Op::Accept { listener } => {
                early = self.associate(listener);
                OpKind::Accept(Accepting::new(listener, OpBlock::new))
            }
            Op::Connect { remote } => {
                let remote = socket::destination(remote);
                let mut block = self.block();
                block.set_remote(remote);
                let made = socket::connecting(remote).and_then(|socket| {
                    self.kernel.associate(socket::raw(&socket))?;
                    Ok(socket)
                });
                let socket = made.map_err(|code| early = Some(Answer::failed(code))).ok();
                raw = socket.as_ref().map_or(raw, socket::raw);
                OpKind::Connect { socket, block }
            }
            Op::Recv { socket } => {
                early = self.ended(socket, Direction::In).or_else(|| self.associate(socket));
                OpKind::Recv { socket, block: self.block(), reads: 0 }
            }
            Op::Send { socket, batch } => {
                early = self.ended(socket, Direction::Out).or_else(|| self.associate(socket));
                OpKind::Send { socket, batch, block: self.block() }
            }
            Op::Shutdown { socket, how } => {
                early = Some(self.shut_down(socket, how));
                OpKind::Shutdown { socket }
            }
            Op::Close { .. } => unreachable!("a close is boarded by `submit`"),
            Op::ReadAt { file, offset, buffer } => {
                early = self.associate(file);
                OpKind::ReadAt { file, offset, buffer, block: self.block() }
            }
            Op::WriteAt { file, offset, bytes } => {
                early = self.associate(file);
                OpKind::WriteAt { file, offset, bytes, block: self.block() }
            }
            Op::Sync { file } => {
                early = op::file_of(&self.core.handles, file).map(file::sync);
                OpKind::Sync { file }
            }
            Op::RecvFrom { socket, buffer } => {
                early = self.associate(socket);
                OpKind::RecvFrom { socket, buffer, block: self.block() }
            }
            Op::SendTo { socket, remote, bytes } => {
                early = too_long(&bytes, remote).or_else(|| self.associate(socket));
                let mut block = self.block();
                block.set_remote(remote);
                OpKind::SendTo { socket, bytes, block }
            }
            Op::Timeout { at } => {
                // A point that has passed needs no timer.
                early = (at <= now()).then_some(Answer::done(0));
                OpKind::Timeout { at }
            }
        };
        (InFlightOp::new(raw, kind), early)
    }

    /// A handle reports to this port from its first operation on.
    pub(super) fn associate(&mut self, handle: Handle) -> Option<Answer> {
        let descriptor = self.core.handles.any_mut(handle).expect("its direction was just taken");
        descriptor.associate(&self.kernel).err().map(Answer::failed)
    }

    /// The result of an operation on a direction that we shut down; it is not submitted, because not every system
    /// completes it at once.
    fn ended(&self, socket: Handle, direction: Direction) -> Option<Answer> {
        let descriptor = self.core.handles.any(socket)?;
        let is_over = if direction == Direction::In { descriptor.ended_both } else { descriptor.ended_write };
        is_over.then_some(Answer::failed(CANCELLED))
    }

    /// Shuts down directions of a stream at once. When both are, operations in flight on it return.
    fn shut_down(&mut self, socket: Handle, how: ShutdownHow) -> Answer {
        let descriptor = self.core.handles.any_mut(socket).expect("its direction was just taken");
        descriptor.ended_write = true;
        descriptor.ended_both |= how == ShutdownHow::Both;
        let Resource::Socket(owned) = descriptor.resource() else { return Answer::done(0) };
        let ended = socket::shutdown(owned, op::direction(how));
        if how == ShutdownHow::Both {
            // A shutdown alone does not end receives and sends that are pending already.
            kernel::cancel(socket::raw(owned), std::ptr::null());
            self.end_parked(socket);
        }
        ended.map_or_else(Answer::failed, |()| Answer::done(0))
    }

    pub(super) fn track(&mut self, token: Token, operation: InFlightOp, early: Option<Answer>) {
        let key = self.core.track(token, operation);
        let Some((_, operation)) = self.core.in_flight.running(key) else { return };
        match (early, &operation.kind) {
            (Some(answer), _) => self.core.local.push_back((key, answer)),
            (None, OpKind::Accept(_)) => self.begin_accepts(key),
            (None, OpKind::Timeout { at }) => {
                self.timers.insert((*at, key.to_u64()));
            }
            (None, _) => self.submit_op(key),
        }
    }

    /// Passes an operation to the kernel, or completes it with the error if the kernel refuses it.
    pub(super) fn submit_op(&mut self, key: Key) {
        self.core.counters.enters_total += 1;
        let (_, operation) = self.core.in_flight.running(key).expect("only running operations are armed");
        operation.pending = true;
        if let Err(code) = call::start(operation, key, &self.extensions) {
            operation.pending = false;
            self.core.local.push_back((key, Answer::failed(code)));
        }
    }

    pub(super) fn block(&mut self) -> OpBlock {
        self.spent.pop().unwrap_or_else(OpBlock::new)
    }
}

/// The result for a datagram that is too long for any network; it is not submitted, because systems treat it
/// differently.
fn too_long(bytes: &[u8], remote: SocketAddr) -> Option<Answer> {
    const UDP_HEADER: usize = 8;
    const IPV4_HEADER: usize = 20;
    let headers = if remote.is_ipv4() { UDP_HEADER + IPV4_HEADER } else { UDP_HEADER };
    (bytes.len() + headers > usize::from(u16::MAX)).then_some(Answer::failed(WSAEMSGSIZE))
}
