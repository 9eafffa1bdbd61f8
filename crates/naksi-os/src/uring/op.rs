//! One operation as one submission entry, and its result.
//!
//! An [`InFlightOp`] is what the in-flight table keeps for an operation: everything that the kernel may touch until
//! its last completion. Memory that the kernel gets pointers to is on the heap and does not move with the operation:
//! batches, vectors, and [`OpBlock`]s for the structures of messages. Nothing here submits, waits or re-arms.

// UNSAFETY: an entry has a field that no opcode of the ring's crate sets.
#![expect(unsafe_code, reason = "one field of an entry is written where it lies")]

use std::mem;
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::ptr;

use io_uring::opcode;
use io_uring::squeue::{Entry, Flags};
use io_uring::types::{DestinationSlot, Fd, Fixed, FsyncFlags};
use naksi_core::batch::SendBatch;
use naksi_core::completion::{Connected, Done};
use naksi_core::ended::Ended;
use naksi_core::id::Handle;
use naksi_core::op::ShutdownHow;

use super::buffers;
use super::direct::AcceptMany;
use super::op_block::{self, OpBlock, OpBlocks};
use crate::handles::{Direction, HandleKind, HandleTable};
use crate::in_flight::Key;
use crate::linux::error;
use crate::linux::socket::{self, Descriptor, FdKind, OpenFd, PackedFd};

/// `io_uring_enter(2)`: bits of `ioprio` for receives.
const RECV_POLL_FIRST: u16 = 1 << 0;
const RECV_MULTISHOT: u16 = 1 << 1;

/// The offset of `optlen` in a submission entry, a field that the io_uring crate does not set (`io_uring_enter(2)`).
const OPTLEN_OFFSET: usize = 44;

/// How an operation is submitted. Only accepts and receives are submitted more than once.
#[derive(Clone, Copy, Debug)]
pub(super) enum SubmitMode {
    /// For the first time.
    First,
    /// Again, because the kernel ended it early.
    Again,
    /// Again, for one buffer only, because others wait for buffers too.
    Once,
}

/// One operation in flight.
#[derive(Debug)]
pub(super) struct InFlightOp {
    /// The open file that it uses; its handle stays open while the operation is in flight (law 2).
    pub(super) packed_fd: PackedFd,
    /// Its cancellation was requested.
    pub(super) cancelled: bool,
    pub(super) kind: OpKind,
}

/// The request, with everything it owns.
///
/// Large parts are in the block: most operations in flight are idle receives, which should not be as large as the
/// largest operation.
#[derive(Debug)]
pub(super) enum OpKind {
    Accept {
        listener: Handle,
    },
    /// An accept into the ring's table: submitted as several of the next kind.
    AcceptMany(Box<AcceptMany>),
    /// One socket for the accept with this key; its slot in the table is reserved.
    AcceptOne {
        many: Key,
        block: OpBlock,
    },
    Connect {
        socket: Option<OwnedFd>,
        block: OpBlock,
    },
    Recv {
        socket: Handle,
    },
    /// A batch of several pieces, which the kernel gathers.
    Send {
        socket: Handle,
        block: OpBlock,
    },
    /// A batch of one piece, as most are: its bytes do not move, and no block is needed.
    SendOne {
        socket: Handle,
        batch: SendBatch,
    },
    Shutdown {
        socket: Handle,
        how: ShutdownHow,
    },
    Close {
        place: OpenFd,
    },
    ReadAt {
        file: Handle,
        block: OpBlock,
    },
    WriteAt {
        file: Handle,
        block: OpBlock,
    },
    Sync {
        file: Handle,
    },
    RecvFrom {
        socket: Handle,
        block: OpBlock,
    },
    SendTo {
        socket: Handle,
        block: OpBlock,
    },
    Timeout {
        block: OpBlock,
    },
}

impl InFlightOp {
    /// The submission entry. Called once the operation has its final address. A receive ends after at most
    /// `recv_bytes_max` bytes and has to be submitted again; 0 is no limit.
    pub(super) fn entry(&mut self, mode: SubmitMode, recv_bytes_max: u32) -> Entry {
        // The crate's two kinds of number differ in a flag alone.
        let (fd, fixed) = match self.packed_fd.fd_kind() {
            FdKind::Process(raw) => (Fd(raw), Flags::empty()),
            FdKind::Ring(index) => (Fd(index as i32), Flags::FIXED_FILE),
        };
        // Progress of a long batch is reported at once: a peer behind a slow line must not look stalled.
        let send_flags = libc::MSG_NOSIGNAL;
        let entry = match &mut self.kind {
            OpKind::Accept { .. } => opcode::AcceptMulti::new(fd).flags(libc::SOCK_CLOEXEC).build(),
            OpKind::AcceptMany(_) => unreachable!("the kernel sees an accept of many as its single ones"),
            OpKind::AcceptOne { block, .. } => {
                let (address, length) = block.guest();
                let slot = Some(DestinationSlot::auto_target());
                opcode::Accept::new(fd, address, length).file_index(slot).build()
            }
            OpKind::Connect { block, .. } => {
                let (address, length) = block.address();
                opcode::Connect::new(fd, address, length).build()
            }
            OpKind::Recv { .. } => recv_entry(fd, mode, recv_bytes_max),
            OpKind::Send { block, .. } => {
                opcode::SendMsg::new(fd, block.gather()).flags(send_flags as u32).build()
            }
            OpKind::SendOne { batch, .. } => {
                let piece = batch.slices().next().unwrap_or_default();
                opcode::Send::new(fd, piece.as_ptr(), op_block::clamp(piece.len())).flags(send_flags).build()
            }
            OpKind::Shutdown { how, .. } => {
                let how = match how {
                    ShutdownHow::Write => libc::SHUT_WR,
                    ShutdownHow::Both => libc::SHUT_RDWR,
                };
                opcode::Shutdown::new(fd, how).build()
            }
            // A close names a slot of the table in a field of its own, and not with the flag.
            OpKind::Close { place: OpenFd::Ring(index) } => return opcode::Close::new(Fixed(*index)).build(),
            OpKind::Close { .. } => opcode::Close::new(fd).build(),
            OpKind::ReadAt { block, .. } => {
                let (bytes, length, offset) = block.stretch();
                opcode::Read::new(fd, bytes, length).offset(offset).build()
            }
            OpKind::WriteAt { block, .. } => {
                let (bytes, length, offset) = block.stretch();
                opcode::Write::new(fd, bytes, length).offset(offset).build()
            }
            OpKind::Sync { .. } => opcode::Fsync::new(fd).flags(FsyncFlags::empty()).build(),
            OpKind::RecvFrom { block, .. } => opcode::RecvMsg::new(fd, block.letter_in()).build(),
            OpKind::SendTo { block, .. } => {
                opcode::SendMsg::new(fd, block.letter_out()).flags(libc::MSG_NOSIGNAL as u32).build()
            }
            OpKind::Timeout { block } => opcode::Timeout::new(block.span()).build(),
        };
        entry.flags(fixed)
    }

    /// Requests its cancellation. Memory that the kernel was given stays until the last completion (law 2).
    pub(super) fn call_off(&mut self) {
        self.cancelled = true;
    }

    /// The direction of the handle that this operation occupies; it is freed with the last completion.
    pub(super) fn direction(&self) -> Option<(Handle, Direction)> {
        match self.kind {
            OpKind::Accept { listener } => Some((listener, Direction::In)),
            OpKind::AcceptMany(ref many) => Some((many.listener, Direction::In)),
            OpKind::Recv { socket } | OpKind::RecvFrom { socket, .. } => Some((socket, Direction::In)),
            OpKind::Send { socket, .. } | OpKind::SendOne { socket, .. } | OpKind::SendTo { socket, .. } => {
                Some((socket, Direction::Out))
            }
            OpKind::Shutdown { socket, .. } => Some((socket, Direction::Control)),
            OpKind::ReadAt { file, .. } | OpKind::WriteAt { file, .. } | OpKind::Sync { file } => {
                Some((file, Direction::Shared))
            }
            OpKind::AcceptOne { .. }
            | OpKind::Connect { .. }
            | OpKind::Close { .. }
            | OpKind::Timeout { .. } => None,
        }
    }

    /// The last result, from the kernel's. Blocks that are empty now go to `spent`, for reuse.
    pub(super) fn conclude(
        self,
        result: i32,
        handles: &mut HandleTable<Descriptor>,
        spent: &mut OpBlocks,
    ) -> Done {
        let ours = self.cancelled;
        let count = u32::try_from(result).ok();
        match self.kind {
            OpKind::AcceptOne { .. } => unreachable!("one socket of many is no answer"),
            OpKind::Accept { .. } | OpKind::AcceptMany(_) => {
                Done::Accept(Err(match error::accept(-result, ours) {
                    error::AcceptEnded::Over(ended) => ended,
                    error::AcceptEnded::NextPeer => Ended::Aborted,
                }))
            }
            OpKind::Connect { socket, block } => {
                spent.give_back(block);
                Done::Connect(connected(socket, result, ours, handles))
            }
            OpKind::Recv { socket } => Done::Recv(Err(recv_ended(handles.any_mut(socket), result, ours))),
            OpKind::Send { socket, mut block } => {
                let batch = block.take_batch();
                spent.give_back(block);
                sent(batch, handles.any_mut(socket), result, ours)
            }
            OpKind::SendOne { socket, batch } => sent(batch, handles.any_mut(socket), result, ours),
            OpKind::Shutdown { .. } => {
                Done::Shutdown(if result == 0 { Ok(()) } else { error::shutdown(-result, ours) })
            }
            OpKind::Close { place } => {
                closed(place, result);
                Done::Close
            }
            OpKind::ReadAt { block, .. } => Done::ReadAt(
                block.emptied(spent),
                match count {
                    Some(0) => Err(Ended::Closed),
                    Some(count) => Ok(count),
                    None => Err(error::other(-result, ours)),
                },
            ),
            OpKind::WriteAt { block, .. } => {
                Done::WriteAt(block.emptied(spent), count.ok_or_else(|| error::other(-result, ours)))
            }
            OpKind::Sync { .. } => {
                Done::Sync(if result == 0 { Ok(()) } else { Err(error::other(-result, ours)) })
            }
            OpKind::RecvFrom { mut block, .. } => {
                let letter = match count {
                    Some(bytes) => block.sender(bytes),
                    None => Err(error::other(-result, ours)),
                };
                Done::RecvFrom(block.emptied(spent), letter)
            }
            OpKind::SendTo { mut block, .. } => {
                let bytes = block.take_shared();
                spent.give_back(block);
                Done::SendTo(bytes, count.ok_or_else(|| error::other(-result, ours)))
            }
            OpKind::Timeout { block } => {
                spent.give_back(block);
                Done::Timeout(error::timeout(-result, ours))
            }
        }
    }
}

fn sent(batch: SendBatch, descriptor: Option<&mut Descriptor>, result: i32, ours: bool) -> Done {
    let count = u32::try_from(result).ok();
    let sent = count.and_then(NonZeroU32::new).map(NonZeroU32::get);
    Done::Send(batch, sent.ok_or_else(|| send_ended(descriptor, result, ours)))
}

fn recv_entry(fd: Fd, mode: SubmitMode, bytes_max: u32) -> Entry {
    let ioprio = match mode {
        // A fresh receive polls first: it would otherwise need a buffer to find out that there is nothing, and an
        // idle session would starve while the pool is empty.
        SubmitMode::First => RECV_MULTISHOT | RECV_POLL_FIRST,
        SubmitMode::Again => RECV_MULTISHOT,
        SubmitMode::Once => 0,
    };
    let recv = opcode::Recv::new(fd, ptr::null_mut(), 0).ioprio(ioprio).buf_group(buffers::GROUP);
    let mut entry = recv.build().flags(Flags::BUFFER_SELECT);
    if !matches!(mode, SubmitMode::Once) {
        set_optlen(&mut entry, bytes_max);
    }
    entry
}

/// The number of bytes after which the kernel ends a multishot receive, since Linux 6.17; 0 is never.
fn set_optlen(entry: &mut Entry, bytes: u32) {
    const { assert!(size_of::<Entry>() == 64 && align_of::<Entry>() >= align_of::<u32>()) };
    // SAFETY: io_uring_enter(2): a submission entry is 64 bytes of plain numbers, of which `optlen` is the
    // four at 44; the crate's type is `repr(C)` around exactly that, and is borrowed for us alone.
    let optlen = unsafe { ptr::from_mut(entry).byte_add(OPTLEN_OFFSET) };
    // SAFETY: as above: the four bytes lie inside the entry and are aligned.
    unsafe { optlen.cast::<u32>().write(bytes) };
}

fn connected(
    socket: Option<OwnedFd>,
    result: i32,
    ours: bool,
    handles: &mut HandleTable<Descriptor>,
) -> Result<Connected, Ended> {
    let Some(owned) = socket.filter(|_| result == 0) else {
        return Err(error::connect(-result, ours));
    };
    match socket::local(&owned) {
        Ok(local) => {
            let socket = handles.insert(HandleKind::Stream, Descriptor::new(owned));
            Ok(Connected { socket, local })
        }
        Err(error) => Err(Ended::Failed(error::from_io(&error))),
    }
}

/// Zero bytes are the peer's end, unless we ended the stream ourselves or a send had met a reset. A cancelled receive
/// that found the end first reports the end.
pub(crate) fn recv_ended(descriptor: Option<&mut Descriptor>, result: i32, cancelled: bool) -> Ended {
    let ended_both = descriptor.as_ref().is_some_and(|descriptor| descriptor.ended_both);
    let reset = descriptor.as_ref().is_some_and(|descriptor| descriptor.reset);
    if let Some(descriptor) = descriptor
        && cancelled
        && error::recv(-result, false) == Ended::Reset
    {
        // The kernel reports a reset only once, and this receive was cancelled: stored for the next one.
        descriptor.reset = true;
    }
    match result {
        0 if ended_both => Ended::Aborted,
        0 if reset => Ended::Reset,
        0 => Ended::Closed,
        _ => error::recv(-result, cancelled || ended_both),
    }
}

/// A send that took nothing although there was something to send: the direction has ended.
pub(crate) fn send_ended(descriptor: Option<&mut Descriptor>, result: i32, cancelled: bool) -> Ended {
    let ours = cancelled || descriptor.as_ref().is_some_and(|descriptor| descriptor.ended_write);
    let errno = if result == 0 { libc::EPIPE } else { -result };
    let ended = error::send(errno, ours);
    if let Some(descriptor) = descriptor.filter(|_| ended == Ended::Reset) {
        descriptor.reset = true;
    }
    ended
}

fn closed(place: OpenFd, result: i32) {
    let OpenFd::Process(descriptor) = place else { return };
    if result == -libc::ECANCELED {
        // The ring never processed it: dropping the descriptor closes it.
        return;
    }
    // `close(2)`: "Linux always releases the file descriptor early in the close operation", also on error.
    mem::forget(descriptor);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_that_meets_a_receive_called_off_is_heard_by_the_next() {
        let file = std::fs::File::open("/dev/null").expect("every system has it");
        let mut descriptor = Descriptor::new(OwnedFd::from(file));
        assert_eq!(recv_ended(Some(&mut descriptor), 0, false), Ended::Closed);
        assert_eq!(recv_ended(Some(&mut descriptor), -libc::ECANCELED, true), Ended::Aborted);
        assert_eq!(recv_ended(Some(&mut descriptor), 0, false), Ended::Closed);
        assert_eq!(recv_ended(Some(&mut descriptor), -libc::ECONNRESET, true), Ended::Aborted);
        assert_eq!(recv_ended(Some(&mut descriptor), 0, false), Ended::Reset, "the kernel says it only once");
    }
}
