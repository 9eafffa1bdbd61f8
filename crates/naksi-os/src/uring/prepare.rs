//! Prepares a submitted operation: refuses it, completes it without the kernel, or writes its ring entry.
//!
//! An operation is checked against the handle table first, so that a refusal changes nothing. The only system call
//! here opens the socket of a connect.

use std::os::fd::AsRawFd;

use io_uring::opcode;
use naksi_core::id::Token;
use naksi_core::op::{Op, ShutdownHow};

use super::direct::AcceptMany;
use super::op::{InFlightOp, OpKind, SubmitMode};
use super::port::{CANCEL, Port};
use crate::clock::now;
use crate::in_flight::Key;
use crate::linux::socket::{self, Descriptor, FdKind};
use crate::port::SubmitErrorKind;

/// What an operation without a file is aimed at.
const NO_FD: FdKind = FdKind::Process(-1);

impl Port {
    /// Checks an operation and occupies its direction. A refusal changes nothing.
    pub(super) fn reserve(&mut self, token: Token, op: &Op) -> Result<FdKind, SubmitErrorKind> {
        let features = self.features;
        let known = match op {
            Op::Timeout { .. } => features.timeouts,
            Op::ReadAt { .. } | Op::WriteAt { .. } | Op::Sync { .. } => features.files,
            Op::RecvFrom { .. } | Op::SendTo { .. } => features.datagrams,
            _ => true,
        };
        if !known {
            self.core.may_start(token)?;
            return Err(SubmitErrorKind::Unsupported);
        }
        self.core.reserve(token, op).map(|descriptor| descriptor.map_or(NO_FD, Descriptor::fd_kind))
    }

    /// Turns an accepted operation into its in-flight state. The error is a result that needs no kernel.
    pub(super) fn prepare(&mut self, op: Op, fd_kind: FdKind) -> (InFlightOp, Option<i32>) {
        let mut early = None;
        let mut fd_kind = fd_kind;
        let kind = match op {
            Op::Accept { listener } if self.direct.is_some() => {
                OpKind::AcceptMany(Box::new(AcceptMany::new(listener)))
            }
            Op::Accept { listener } => OpKind::Accept { listener },
            Op::Connect { remote } => {
                let mut block = self.spent.take();
                block.set_remote(remote);
                let socket = socket::stream(remote).map_err(|errno| early = Some(-errno)).ok();
                fd_kind = socket.as_ref().map_or(NO_FD, |socket| FdKind::Process(socket.as_raw_fd()));
                OpKind::Connect { socket, block }
            }
            Op::Recv { socket } => OpKind::Recv { socket },
            Op::Send { socket, batch } if batch.pieces() == 1 => OpKind::SendOne { socket, batch },
            Op::Send { socket, batch } => {
                let mut block = self.spent.take();
                block.set_batch(batch);
                OpKind::Send { socket, block }
            }
            Op::Shutdown { socket, how } => {
                let entry = self.core.handles.any_mut(socket).expect("its direction was just taken");
                entry.ended_write = true;
                entry.ended_both |= how == ShutdownHow::Both;
                if how == ShutdownHow::Both {
                    // A parked receive would notice it only when a lease is free.
                    self.end_parked(socket);
                }
                OpKind::Shutdown { socket, how }
            }
            Op::Close { .. } => unreachable!("a close is boarded by `close`"),
            Op::ReadAt { file, offset, buffer } => {
                OpKind::ReadAt { file, block: self.spent.with_buffer(buffer, offset) }
            }
            Op::WriteAt { file, offset, bytes } => {
                OpKind::WriteAt { file, block: self.spent.with_buffer(bytes, offset) }
            }
            Op::Sync { file } => OpKind::Sync { file },
            Op::RecvFrom { socket, buffer } => {
                OpKind::RecvFrom { socket, block: self.spent.with_buffer(buffer, 0) }
            }
            Op::SendTo { socket, remote, bytes } => {
                let mut block = self.spent.take();
                block.set_remote(remote);
                block.set_shared(bytes);
                OpKind::SendTo { socket, block }
            }
            Op::Timeout { at } => {
                let span = at.since(now());
                let mut block = self.spent.take();
                block.set_span(span);
                // A point that has passed needs no timer.
                early = span.is_zero().then_some(-libc::ETIME);
                OpKind::Timeout { block }
            }
        };
        (InFlightOp { packed_fd: fd_kind.into(), cancelled: false, kind }, early)
    }

    pub(super) fn track(&mut self, token: Token, operation: InFlightOp, early: Option<i32>) {
        let key = self.core.track(token, operation);
        match early {
            Some(result) => self.core.local.push_back((key, result)),
            None if self.is_accept_of_many(key) => self.begin_accepts(key),
            None => self.submit_op(key, SubmitMode::First),
        }
    }

    /// Submits an operation to the kernel, for the first time or again.
    pub(super) fn submit_op(&mut self, key: Key, mode: SubmitMode) {
        let (_, operation) = self.core.in_flight.running(key).expect("only running operations are armed");
        let entry = operation.entry(mode, self.recv_bytes_max).user_data(key.to_u64());
        self.push(entry);
    }

    /// Requests that the kernel ends an operation early.
    pub(super) fn request_cancel(&mut self, key: Key) {
        self.push(opcode::AsyncCancel::new(key.to_u64()).build().user_data(CANCEL));
    }
}
