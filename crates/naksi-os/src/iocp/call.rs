//! The call that hands one wish to the kernel.
//!
//! Three outcomes, kept apart: the call succeeded at once (a packet comes all the same), it is pending (a
//! packet comes later), or it failed (no packet comes, so the failure is an answer of our own). To skip the
//! packet of an immediate success (`SetFileCompletionNotificationModes`) would save a little and let one
//! busy connection keep its worker from the port, so it is not asked for. Nothing here waits.

// UNSAFETY: the kernel is handed addresses, and what they point to is owned by the in-flight table.
#![expect(unsafe_code, reason = "the kernel is handed addresses")]

use std::os::windows::io::AsRawSocket;
use std::ptr;
use std::sync::atomic::AtomicU8;

use windows_sys::Win32::Foundation::{ERROR_IO_PENDING, HANDLE};
use windows_sys::Win32::Networking::WinSock::{SOCKET, WSAEINVAL, WSARecv, WSARecvFrom, WSASend, WSASendTo};
use windows_sys::Win32::Storage::FileSystem::{ReadFile, WriteFile};

use super::extra;
use super::op::{Flight, Wish};
use crate::in_flight::Key;
use crate::windows::error;
use crate::windows::ext::Extensions;
use crate::windows::kernel::last_error;

/// Longest transfer of one file operation: the system counts its bytes in 32 bits.
const FILE_BYTES_MAX: usize = 1 << 30;
/// The longest datagram fits behind any buffer with this.
const DATAGRAM_BYTES_MAX: usize = 1 << 16;

/// The part of a datagram that does not fit its buffer goes here, and is not read. So no datagram is ever too
/// long for a call: whether a packet follows the failure that would be told then is not the same everywhere.
static OVERFLOW: [AtomicU8; DATAGRAM_BYTES_MAX] = [const { AtomicU8::new(0) }; DATAGRAM_BYTES_MAX];

/// Hands a wish to the kernel. `Ok` says that a packet comes, an error is the system's number and all there is.
pub(super) fn start(flight: &mut Flight, key: Key, extensions: &Extensions) -> Result<(), i32> {
    let raw = flight.raw;
    let parcel = flight.parcel().expect("only wishes that the kernel carries out are started");
    parcel.address(key, 0);
    let started = match &flight.wish {
        Wish::Connect { .. } => connect(&mut flight.wish, extensions),
        Wish::Recv { .. } | Wish::Send { .. } => stream(&mut flight.wish, raw),
        Wish::RecvFrom { .. } | Wish::SendTo { .. } => datagram(&mut flight.wish, raw),
        Wish::ReadAt { .. } | Wish::WriteAt { .. } => file(&mut flight.wish, raw),
        _ => extra::start(&mut flight.wish, raw, extensions),
    };
    match started {
        // More than fits is a warning to the kernel, and a failure to Winsock: it is told here, and once more
        // in a packet. The packet is what counts.
        Err(code)
            if error::is_cut(code)
                && flight.parcel().is_some_and(|parcel| parcel.is_done_with_a_warning()) =>
        {
            Ok(())
        }
        started => started,
    }
}

fn connect(wish: &mut Wish, extensions: &Extensions) -> Result<(), i32> {
    let Wish::Connect { socket: Some(socket), parcel } = wish else { return Err(WSAEINVAL) };
    let connect = extensions.connect.ok_or(WSAEINVAL)?;
    let (name, name_bytes) = parcel.remote();
    let raw = socket.as_raw_socket() as SOCKET;
    let overlapped = parcel.overlapped();
    // SAFETY: law 2: the flight owns the address and the OVERLAPPED until the packet comes.
    let started = unsafe { connect(raw, name, name_bytes, ptr::null(), 0, ptr::null_mut(), overlapped) };
    outcome(started != 0)
}

fn stream(wish: &mut Wish, raw: HANDLE) -> Result<(), i32> {
    let raw = raw.expose_provenance() as SOCKET;
    match wish {
        Wish::Recv { parcel, .. } => {
            // Of no bytes: it is done when there is something to read, and holds no buffer until then.
            let (pieces, count) = parcel.point_at([(ptr::null_mut(), 0)]);
            let flags = parcel.flags();
            let overlapped = parcel.overlapped();
            // SAFETY: law 2: the flight owns the parcel, and with it the list, the flags and the OVERLAPPED.
            let result = unsafe { WSARecv(raw, pieces, count, ptr::null_mut(), flags, overlapped, None) };
            outcome(result == 0)
        }
        Wish::Send { batch, parcel, .. } => {
            let (pieces, count) = parcel.gather(batch);
            let overlapped = parcel.overlapped();
            // SAFETY: law 2: the flight owns the batch and the parcel, and changes neither until the packet.
            let result = unsafe { WSASend(raw, pieces, count, ptr::null_mut(), 0, overlapped, None) };
            outcome(result == 0)
        }
        _ => Err(WSAEINVAL),
    }
}

fn datagram(wish: &mut Wish, raw: HANDLE) -> Result<(), i32> {
    let raw = raw.expose_provenance() as SOCKET;
    match wish {
        Wish::RecvFrom { buffer, parcel, .. } => {
            let (pieces, count) = parcel.point_at([(buffer.as_mut_ptr(), buffer.len()), overflow()]);
            let (name, name_bytes) = parcel.sender_room();
            let (flags, overlapped) = (parcel.flags(), parcel.overlapped());
            // SAFETY: law 2: the flight owns the buffer and the parcel; the overflow is there for ever, is made
            // of cells that may be written concurrently, and is never read.
            let result = unsafe {
                WSARecvFrom(raw, pieces, count, ptr::null_mut(), flags, name, name_bytes, overlapped, None)
            };
            outcome(result == 0)
        }
        Wish::SendTo { bytes, parcel, .. } => {
            let (pieces, count) = parcel.point_at([(bytes.as_ptr().cast_mut(), bytes.len())]);
            let (name, name_bytes) = parcel.remote();
            let overlapped = parcel.overlapped();
            // SAFETY: law 2: the flight owns the bytes and the parcel until the packet comes.
            let result = unsafe {
                WSASendTo(raw, pieces, count, ptr::null_mut(), 0, name, name_bytes, overlapped, None)
            };
            outcome(result == 0)
        }
        _ => Err(WSAEINVAL),
    }
}

fn file(wish: &mut Wish, raw: HANDLE) -> Result<(), i32> {
    match wish {
        Wish::ReadAt { offset, buffer, parcel, .. } => {
            parcel.set_offset(*offset);
            let length = buffer.len().min(FILE_BYTES_MAX) as u32;
            let overlapped = parcel.overlapped();
            // SAFETY: law 2: the flight owns the buffer and the parcel until the packet comes.
            let started = unsafe { ReadFile(raw, buffer.as_mut_ptr(), length, ptr::null_mut(), overlapped) };
            outcome(started != 0)
        }
        Wish::WriteAt { offset, bytes, parcel, .. } => {
            parcel.set_offset(*offset);
            let length = bytes.len().min(FILE_BYTES_MAX) as u32;
            let overlapped = parcel.overlapped();
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
    // Winsock's number for it is the same: `WSA_IO_PENDING` is defined as `ERROR_IO_PENDING`.
    match last_error() {
        code if code == ERROR_IO_PENDING as i32 => Ok(()),
        code => Err(code),
    }
}
