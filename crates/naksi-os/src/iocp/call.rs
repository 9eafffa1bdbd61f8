//! The call that hands one operation to the kernel.
//!
//! Three outcomes, kept apart: the call succeeded at once (a packet comes all the same), it is pending (a packet
//! comes later), or it failed (no packet comes, so the port makes the result itself). Skipping the packet of an
//! immediate success (`SetFileCompletionNotificationModes`) would save little and let one busy connection keep its
//! worker from the port, so it is not used. Nothing here blocks.

// UNSAFETY: the kernel is handed addresses, and what they point to is owned by the in-flight table.
#![expect(unsafe_code, reason = "the kernel is handed addresses")]

use std::os::windows::io::AsRawSocket;
use std::ptr;
use std::sync::atomic::AtomicU8;

use windows_sys::Win32::Foundation::{ERROR_IO_PENDING, HANDLE};
use windows_sys::Win32::Networking::WinSock::{SOCKET, WSAEINVAL, WSARecv, WSARecvFrom, WSASend, WSASendTo};
use windows_sys::Win32::Storage::FileSystem::{ReadFile, WriteFile};

use super::extra;
use super::op::{InFlightOp, OpKind};
use crate::in_flight::Key;
use crate::windows::error;
use crate::windows::ext::Extensions;
use crate::windows::kernel::last_error;

/// Longest transfer of one file operation, because the system counts its bytes in 32 bits.
const FILE_BYTES_MAX: usize = 1 << 30;
/// The longest datagram fits behind any buffer with this.
const DATAGRAM_BYTES_MAX: usize = 1 << 16;

/// Receives the part of a datagram that exceeds its buffer; never read. So no datagram is ever too long for a call:
/// systems differ in whether a packet follows the failure reported then.
static OVERFLOW: [AtomicU8; DATAGRAM_BYTES_MAX] = [const { AtomicU8::new(0) }; DATAGRAM_BYTES_MAX];

/// Passes an operation to the kernel. `Ok`: a packet will come. An error is the system's number, and no packet comes.
pub(super) fn start(operation: &mut InFlightOp, key: Key, extensions: &Extensions) -> Result<(), i32> {
    let raw = operation.raw;
    let block = operation.block().expect("only operations that the kernel carries out are started");
    block.address(key, 0);
    let started = match &operation.kind {
        OpKind::Connect { .. } => connect(&mut operation.kind, extensions),
        OpKind::Recv { .. } | OpKind::Send { .. } => stream(&mut operation.kind, raw),
        OpKind::RecvFrom { .. } | OpKind::SendTo { .. } => datagram(&mut operation.kind, raw),
        OpKind::ReadAt { .. } | OpKind::WriteAt { .. } => file(&mut operation.kind, raw),
        _ => extra::start(&mut operation.kind, raw, extensions),
    };
    match started {
        // A truncated datagram is a warning to the kernel and a failure to Winsock: it is reported here and again in
        // a packet. The packet counts.
        Err(code)
            if error::is_cut(code)
                && operation.block().is_some_and(|block| block.is_done_with_a_warning()) =>
        {
            Ok(())
        }
        started => started,
    }
}

fn connect(kind: &mut OpKind, extensions: &Extensions) -> Result<(), i32> {
    let OpKind::Connect { socket: Some(socket), block } = kind else { return Err(WSAEINVAL) };
    let connect = extensions.connect.ok_or(WSAEINVAL)?;
    let (name, name_bytes) = block.remote();
    let raw = socket.as_raw_socket() as SOCKET;
    let overlapped = block.overlapped();
    // SAFETY: law 2: the operation owns the address and the OVERLAPPED until the packet comes.
    let started = unsafe { connect(raw, name, name_bytes, ptr::null(), 0, ptr::null_mut(), overlapped) };
    outcome(started != 0)
}

fn stream(kind: &mut OpKind, raw: HANDLE) -> Result<(), i32> {
    let raw = raw.expose_provenance() as SOCKET;
    match kind {
        OpKind::Recv { block, .. } => {
            // A zero-byte receive: it completes when there is something to read, and holds no buffer until then.
            let (pieces, count) = block.point_at([(ptr::null_mut(), 0)]);
            let flags = block.flags();
            let overlapped = block.overlapped();
            // SAFETY: law 2: the operation owns the block, and with it the list, the flags and the OVERLAPPED.
            let result = unsafe { WSARecv(raw, pieces, count, ptr::null_mut(), flags, overlapped, None) };
            outcome(result == 0)
        }
        OpKind::Send { batch, block, .. } => {
            let (pieces, count) = block.gather(batch);
            let overlapped = block.overlapped();
            // SAFETY: law 2: the operation owns the batch and the block, and changes neither until the packet.
            let result = unsafe { WSASend(raw, pieces, count, ptr::null_mut(), 0, overlapped, None) };
            outcome(result == 0)
        }
        _ => Err(WSAEINVAL),
    }
}

fn datagram(kind: &mut OpKind, raw: HANDLE) -> Result<(), i32> {
    let raw = raw.expose_provenance() as SOCKET;
    match kind {
        OpKind::RecvFrom { buffer, block, .. } => {
            let (pieces, count) = block.point_at([(buffer.as_mut_ptr(), buffer.len()), overflow()]);
            let (name, name_bytes) = block.sender_room();
            let (flags, overlapped) = (block.flags(), block.overlapped());
            // SAFETY: law 2: the operation owns the buffer and the block; the overflow is there for ever, is made
            // of cells that may be written concurrently, and is never read.
            let result = unsafe {
                WSARecvFrom(raw, pieces, count, ptr::null_mut(), flags, name, name_bytes, overlapped, None)
            };
            outcome(result == 0)
        }
        OpKind::SendTo { bytes, block, .. } => {
            let (pieces, count) = block.point_at([(bytes.as_ptr().cast_mut(), bytes.len())]);
            let (name, name_bytes) = block.remote();
            let overlapped = block.overlapped();
            // SAFETY: law 2: the operation owns the bytes and the block until the packet comes.
            let result = unsafe {
                WSASendTo(raw, pieces, count, ptr::null_mut(), 0, name, name_bytes, overlapped, None)
            };
            outcome(result == 0)
        }
        _ => Err(WSAEINVAL),
    }
}

fn file(kind: &mut OpKind, raw: HANDLE) -> Result<(), i32> {
    match kind {
        OpKind::ReadAt { offset, buffer, block, .. } => {
            block.set_offset(*offset);
            let length = buffer.len().min(FILE_BYTES_MAX) as u32;
            let overlapped = block.overlapped();
            // SAFETY: law 2: the operation owns the buffer and the block until the packet comes.
            let started = unsafe { ReadFile(raw, buffer.as_mut_ptr(), length, ptr::null_mut(), overlapped) };
            outcome(started != 0)
        }
        OpKind::WriteAt { offset, bytes, block, .. } => {
            block.set_offset(*offset);
            let length = bytes.len().min(FILE_BYTES_MAX) as u32;
            let overlapped = block.overlapped();
            // SAFETY: law 2: as for the read.
            let started = unsafe { WriteFile(raw, bytes.as_ptr(), length, ptr::null_mut(), overlapped) };
            outcome(started != 0)
        }
        _ => Err(WSAEINVAL),
    }
}

/// Where the rest of a long datagram goes.
pub(super) fn overflow() -> (*mut u8, usize) {
    (OVERFLOW.as_ptr().cast_mut().cast::<u8>(), DATAGRAM_BYTES_MAX)
}

/// At once and later are one outcome here: a packet comes.
pub(super) fn outcome(at_once: bool) -> Result<(), i32> {
    if at_once {
        return Ok(());
    }
    // Winsock uses the same number: `WSA_IO_PENDING` is defined as `ERROR_IO_PENDING`.
    match last_error() {
        code if code == ERROR_IO_PENDING as i32 => Ok(()),
        code => Err(code),
    }
}
