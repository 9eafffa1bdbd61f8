//! One operation with everything it owns, and its result.
//!
//! An [`InFlightOp`] is what the in-flight table keeps for an operation: everything that the kernel may touch until
//! its packet comes. Memory that the kernel gets pointers to is on the heap and does not move with the operation:
//! batches, buffers, and [`OpBlock`]s, which begin with the OVERLAPPED. Nothing here calls the system.

use std::fs::File;
use std::os::windows::io::OwnedSocket;

use bytes::Bytes;
use naksi_core::batch::SendBatch;
use naksi_core::completion::{Connected, Done};
use naksi_core::ended::Ended;
use naksi_core::id::Handle;
use naksi_core::op::ShutdownHow;
use naksi_core::tick::Tick;
use windows_sys::Win32::Foundation::{ERROR_OPERATION_ABORTED, HANDLE};
use windows_sys::Win32::Networking::WinSock::LPFN_WSARECVMSG;

use super::accept::Accepting;
use super::extra::{Elements, FileSpan, Part};
use super::op_block::OpBlock;
use crate::handles::{Direction, HandleKind, HandleTable};
use crate::windows::error;
use crate::windows::kernel::Answer;
use crate::windows::socket::{self, Descriptor};

/// The error number of a cancelled operation that the kernel has not seen.
pub(super) const CANCELLED: i32 = ERROR_OPERATION_ABORTED as i32;

/// One operation in flight.
#[derive(Debug)]
pub(super) struct InFlightOp {
    /// The handle that it uses, which stays open while the operation is in flight (law 2).
    pub(super) raw: HANDLE,
    /// Its cancellation was requested.
    pub(super) cancelled: bool,
    /// The kernel owes a packet for it.
    pub(super) pending: bool,
    pub(super) kind: OpKind,
}

/// What was asked for, with everything it owns.
#[derive(Debug)]
pub(super) enum OpKind {
    Accept(Accepting),
    Connect {
        socket: Option<OwnedSocket>,
        block: OpBlock,
    },
    /// `reads`: how many reads were made without asking the kernel in between.
    Recv {
        socket: Handle,
        block: OpBlock,
        reads: u8,
    },
    Send {
        socket: Handle,
        batch: SendBatch,
        block: OpBlock,
    },
    Shutdown {
        socket: Handle,
    },
    Close,
    ReadAt {
        file: Handle,
        offset: u64,
        buffer: Vec<u8>,
        block: OpBlock,
    },
    WriteAt {
        file: Handle,
        offset: u64,
        bytes: Vec<u8>,
        block: OpBlock,
    },
    Sync {
        file: Handle,
    },
    RecvFrom {
        socket: Handle,
        buffer: Vec<u8>,
        block: OpBlock,
    },
    SendTo {
        socket: Handle,
        bytes: Bytes,
        block: OpBlock,
    },
    Timeout {
        at: Tick,
    },
    /// `file`: the handle of the span's file.
    TransmitFile {
        socket: Handle,
        span: FileSpan,
        file: HANDLE,
        block: OpBlock,
    },
    TransmitParts {
        socket: Handle,
        parts: Vec<Part>,
        elements: Elements,
        block: OpBlock,
    },
    Disconnect {
        socket: Handle,
        block: OpBlock,
    },
    Message {
        socket: Handle,
        buffer: Vec<u8>,
        receive: LPFN_WSARECVMSG,
        block: OpBlock,
    },
}

impl InFlightOp {
    pub(super) fn new(raw: HANDLE, kind: OpKind) -> Self {
        Self { raw, cancelled: false, pending: false, kind }
    }

    /// The block whose packet is outstanding. Accepts have one for each credit, and keep them themselves.
    pub(super) fn block(&mut self) -> Option<&mut OpBlock> {
        match &mut self.kind {
            OpKind::Connect { block, .. }
            | OpKind::Recv { block, .. }
            | OpKind::Send { block, .. }
            | OpKind::ReadAt { block, .. }
            | OpKind::WriteAt { block, .. }
            | OpKind::RecvFrom { block, .. }
            | OpKind::SendTo { block, .. }
            | OpKind::TransmitFile { block, .. }
            | OpKind::TransmitParts { block, .. }
            | OpKind::Disconnect { block, .. }
            | OpKind::Message { block, .. } => Some(block),
            OpKind::Accept(_)
            | OpKind::Shutdown { .. }
            | OpKind::Close
            | OpKind::Sync { .. }
            | OpKind::Timeout { .. } => None,
        }
    }

    /// The direction of the handle that this operation occupies; it is freed with the last completion.
    pub(super) fn direction(&self) -> Option<(Handle, Direction)> {
        match self.kind {
            OpKind::Accept(ref accepting) => Some((accepting.listener, Direction::In)),
            OpKind::Recv { socket, .. }
            | OpKind::RecvFrom { socket, .. }
            | OpKind::Message { socket, .. } => Some((socket, Direction::In)),
            OpKind::Send { socket, .. }
            | OpKind::SendTo { socket, .. }
            | OpKind::TransmitFile { socket, .. }
            | OpKind::TransmitParts { socket, .. } => Some((socket, Direction::Out)),
            OpKind::Shutdown { socket } | OpKind::Disconnect { socket, .. } => {
                Some((socket, Direction::Control))
            }
            OpKind::ReadAt { file, .. } | OpKind::WriteAt { file, .. } | OpKind::Sync { file } => {
                Some((file, Direction::Shared))
            }
            OpKind::Connect { .. } | OpKind::Close | OpKind::Timeout { .. } => None,
        }
    }

    /// The files from which it sends; their marks are freed with the direction.
    pub(super) fn files(&self) -> Vec<Handle> {
        match &self.kind {
            OpKind::TransmitFile { span, .. } => vec![span.file],
            OpKind::TransmitParts { parts, .. } => parts.iter().filter_map(Part::file).collect(),
            _ => Vec::new(),
        }
    }

    /// The last result, from the packet. Blocks go to `spent`, for reuse.
    pub(super) fn conclude(
        self,
        answer: Answer,
        handles: &mut HandleTable<Descriptor>,
        spent: &mut Vec<OpBlock>,
    ) -> Done {
        let ours = self.cancelled;
        let Answer { bytes: count, code } = answer;
        let other = || if code == 0 { Ok(count) } else { Err(error::other(code, ours)) };
        match self.kind {
            OpKind::Accept(accepting) => Done::Accept(Err(accepting.conclude())),
            OpKind::Connect { socket, block } => {
                spent.push(block);
                Done::Connect(connected(socket, code, ours, handles))
            }
            OpKind::Recv { socket, block, .. } => {
                spent.push(block);
                Done::Recv(Err(recv_ended(handles.any(socket), code, ours)))
            }
            OpKind::Send { socket, batch, block } => {
                spent.push(block);
                // A cancelled operation may report its progress; with other failures it is unknown.
                let sent = ((code == 0 || code == CANCELLED) && count > 0).then_some(count);
                Done::Send(batch, sent.ok_or_else(|| send_ended(handles.any_mut(socket), code, ours)))
            }
            OpKind::Shutdown { .. } => Done::Shutdown(shut(code, ours)),
            OpKind::Close => Done::Close,
            OpKind::ReadAt { buffer, block, .. } => {
                spent.push(block);
                Done::ReadAt(buffer, read_at(code, count, ours))
            }
            OpKind::WriteAt { bytes, block, .. } => {
                spent.push(block);
                Done::WriteAt(bytes, if code == 0 { Ok(count) } else { Err(error::write_at(code, ours)) })
            }
            OpKind::Sync { .. } => Done::Sync(other().map(drop)),
            OpKind::RecvFrom { buffer, block, .. } => {
                let letter = other().and_then(|bytes| block.sender(bytes, buffer.len()));
                spent.push(block);
                Done::RecvFrom(buffer, letter)
            }
            OpKind::SendTo { bytes, block, .. } => {
                spent.push(block);
                Done::SendTo(bytes, other())
            }
            OpKind::Timeout { .. } => Done::Timeout(other().map(drop)),
            OpKind::TransmitFile { socket, block, .. } | OpKind::TransmitParts { socket, block, .. } => {
                spent.push(block);
                // Of an empty file nothing is sent, and nothing is wrong.
                let sent =
                    if code == 0 { Ok(count) } else { Err(send_ended(handles.any_mut(socket), code, ours)) };
                Done::Send(SendBatch::new(), sent)
            }
            OpKind::Disconnect { block, .. } => {
                spent.push(block);
                Done::Shutdown(shut(code, ours))
            }
            OpKind::Message { buffer, mut block, .. } => {
                // A truncated datagram is reported as a failure, with as many bytes as fit.
                let came = if error::is_cut(code) { Ok(count) } else { other() };
                let letter = came.and_then(|bytes| block.message(bytes, buffer.len()));
                spent.push(block);
                Done::RecvFrom(buffer, letter)
            }
        }
    }
}

fn read_at(code: i32, count: u32, ours: bool) -> Result<u32, Ended> {
    match (code, count) {
        (0, 0) => Err(Ended::Closed),
        (0, count) => Ok(count),
        (code, _) => Err(error::read_at(code, ours)),
    }
}

fn connected(
    socket: Option<OwnedSocket>,
    code: i32,
    ours: bool,
    handles: &mut HandleTable<Descriptor>,
) -> Result<Connected, Ended> {
    let Some(owned) = socket.filter(|_| code == 0) else {
        return Err(error::connect(code, ours));
    };
    match socket::settle_connected(&owned) {
        Ok(local) => {
            let socket = handles.insert(HandleKind::Stream, Descriptor::connected(owned));
            Ok(Connected { socket, local })
        }
        // The peer accepted and was gone again before the connect was processed.
        Err(error) => Err(error::connect(error.raw_os_error().unwrap_or(0), ours)),
    }
}

fn shut(code: i32, ours: bool) -> Result<(), Ended> {
    if code == 0 { Ok(()) } else { error::shutdown(code, ours) }
}

/// An error is never the peer's end, unless we ended the stream ourselves or a send had met a reset. A cancelled
/// receive that found the end first reports the end.
fn recv_ended(descriptor: Option<&Descriptor>, code: i32, cancelled: bool) -> Ended {
    let ended_both = descriptor.is_some_and(|descriptor| descriptor.ended_both);
    let reset = descriptor.is_some_and(|descriptor| descriptor.reset);
    match code {
        0 if ended_both => Ended::Aborted,
        0 if reset => Ended::Reset,
        0 => Ended::Closed,
        _ => error::recv(code, cancelled || ended_both),
    }
}

/// A send that took nothing although there was something to send: the direction has ended.
fn send_ended(descriptor: Option<&mut Descriptor>, code: i32, cancelled: bool) -> Ended {
    let ours = cancelled || descriptor.as_ref().is_some_and(|descriptor| descriptor.ended_write);
    let ended = if code == 0 && !ours { Ended::Reset } else { error::send(code, ours) };
    if let Some(descriptor) = descriptor.filter(|_| ended == Ended::Reset) {
        descriptor.reset = true;
    }
    ended
}

/// Which directions end, as the library says it.
pub(super) fn direction(how: ShutdownHow) -> std::net::Shutdown {
    match how {
        ShutdownHow::Write => std::net::Shutdown::Write,
        ShutdownHow::Both => std::net::Shutdown::Both,
    }
}

/// What a file operation needs of the file.
pub(super) fn file_of(handles: &HandleTable<Descriptor>, handle: Handle) -> Option<&File> {
    match handles.any(handle)?.resource() {
        socket::Resource::File(file) => Some(file),
        socket::Resource::Socket(_) => None,
    }
}
