//! An operation in flight and everything it holds: the common base of overlapped events, completion routines and the
//! shared port.
//!
//! The OVERLAPPED is the first member of a box that holds everything the kernel may touch, so that the returned
//! address is the address of the box: the lecture's cast, made in one place. An unfinished operation belongs to the
//! kernel; its module keeps the list and cancels everything before it ends.

// UNSAFETY: the kernel is handed the address of a box, and the box is found again by it.
#![expect(unsafe_code, reason = "operations are handed over and found again by address")]

use std::io;
use std::mem::offset_of;
use std::os::windows::io::{AsRawSocket as _, AsSocket};
use std::ptr;
use std::time::Duration;

use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::Networking::WinSock::{
    FD_ACCEPT, FD_CLOSE, FD_READ, FD_WRITE, LPWSAOVERLAPPED_COMPLETION_ROUTINE, SOCKET, WSA_IO_PENDING,
    WSABUF, WSAGetLastError, WSARecv, WSASend,
};
use windows_sys::Win32::System::IO::{CancelIoEx, OVERLAPPED};
use windows_sys::Win32::System::Threading::INFINITE;

use crate::connection::{Completed, Connection, Started, Verb};
use crate::network_events::NetworkEvents;

/// An operation with all that the kernel may touch and all that its owner gets back.
//= lecture 001: 첫 멤버 변수로 overlapped가 온다고 해보겠습니다
#[repr(C)]
pub(super) struct InFlightOp<H> {
    overlapped: OVERLAPPED,
    pieces: WSABUF,
    flags: u32,
    pub(super) held: H,
}

impl<H> InFlightOp<H> {
    const OVERLAPPED_IS_FIRST: () = assert!(offset_of!(Self, overlapped) == 0);

    /// An operation that has not started, with the event object that its end sets, or none.
    pub(super) fn new(held: H, event: HANDLE) -> Box<Self> {
        let () = Self::OVERLAPPED_IS_FIRST;
        // SAFETY: an OVERLAPPED is plain numbers, for which zero is a value and the one that is wanted.
        let mut overlapped: OVERLAPPED = unsafe { std::mem::zeroed() };
        overlapped.hEvent = event;
        let pieces = WSABUF { len: 0, buf: ptr::null_mut() };
        Box::new(Self { overlapped, pieces, flags: 0, held })
    }

    /// Passes the operation to the kernel: from now on there is only its address.
    pub(super) fn into_raw(operation: Box<Self>) -> *mut OVERLAPPED {
        Box::into_raw(operation).cast()
    }

    /// Takes an operation back.
    ///
    /// # Safety
    /// The address came from `into_raw` of an operation that held an `H`, the kernel is done with it, and no other code has
    /// taken it back before.
    pub(super) unsafe fn from_raw(overlapped: *mut OVERLAPPED) -> Box<Self> {
        // SAFETY: the caller's promise; the OVERLAPPED is the first member, so the address is the box's own.
        unsafe { Box::from_raw(overlapped.cast()) }
    }
}

/// Starts a receive or a send. `Err`: nothing is in flight and no completion follows.
///
/// # Safety
/// `overlapped` is a launched operation that holds an `H`, and `connection` finds the connection inside it.
pub(super) unsafe fn start<H, S>(
    overlapped: *mut OVERLAPPED,
    connection: fn(&mut H) -> &mut Connection<S>,
    verb: Verb,
    routine: LPWSAOVERLAPPED_COMPLETION_ROUTINE,
) -> io::Result<Started> {
    // SAFETY: the caller's promise; nothing is under way yet, so this is the only one who looks.
    let operation = unsafe { &mut *overlapped.cast::<InFlightOp<H>>() };
    let connection = connection(&mut operation.held);
    let socket = raw_socket(connection.socket());
    let (start, bytes) = match verb {
        Verb::Recv => {
            connection.clear();
            connection.room()
        }
        Verb::Send => (connection.unsent().as_ptr().cast_mut(), connection.unsent().len()),
    };
    operation.pieces = WSABUF { len: bytes.try_into().unwrap_or(u32::MAX), buf: start };
    operation.flags = 0;
    let (pieces, flags) = (&raw mut operation.pieces, &raw mut operation.flags);
    // WSARecv: "If the overlapped operation completes immediately, WSARecv returns a value of zero and the
    // lpNumberOfBytesRecvd parameter is updated." Otherwise it is not written to after the call.
    let mut count = 0;
    let moved = &raw mut count;
    let result = match verb {
        // SAFETY: the operation owns the list, the flags, the buffer and the OVERLAPPED until it lands; the count lives
        // until the call returns.
        Verb::Recv => unsafe { WSARecv(socket, pieces, 1, moved, flags, overlapped, routine) },
        // SAFETY: as above; WSASend only reads the buffer.
        Verb::Send => unsafe { WSASend(socket, pieces, 1, moved, 0, overlapped, routine) },
    };
    if result == 0 {
        return Ok(Started::AtOnce(count as usize));
    }
    match last_error() {
        //= lecture 001: WSA_IO_PENDING 오류코드가 뜬다면 처리가 지연되고 있는것
        error if error.raw_os_error() == Some(WSA_IO_PENDING) => Ok(Started::Pending),
        error => Err(error),
    }
}

/// Requests the cancellation of one operation; its completion still comes.
pub(super) fn cancel(socket: &impl AsSocket, overlapped: *mut OVERLAPPED) {
    let handle = ptr::with_exposed_provenance_mut(raw_socket(socket));
    // SAFETY: the socket is open, and the address is only compared. An operation that is done cannot be called
    // off, and needs it not.
    unsafe { CancelIoEx(handle, overlapped) };
}

/// What a result of the kernel means for a connection.
pub(super) fn completed<S>(
    mut connection: Connection<S>,
    verb: Verb,
    result: io::Result<usize>,
) -> Completed<S> {
    if let Ok(count) = result {
        connection.moved(verb, count);
    }
    Completed { connection, verb, result }
}

pub(super) fn raw_socket(socket: &impl AsSocket) -> SOCKET {
    socket.as_socket().as_raw_socket() as SOCKET
}

/// The number that Winsock left behind.
pub(super) fn last_error() -> io::Error {
    // SAFETY: WSAGetLastError takes nothing and reads a number of this thread.
    io::Error::from_raw_os_error(unsafe { WSAGetLastError() })
}

/// The milliseconds of a wait; rounded up, because rounded down a remainder would be a wait of zero, and the loop
/// would spin.
pub(super) fn milliseconds(span: Option<Duration>) -> u32 {
    span.map_or(INFINITE, |span| span.as_micros().div_ceil(1000).try_into().unwrap_or(INFINITE - 1))
}

/// Network events as the bits of Winsock.
pub(super) fn network_bits(interest: NetworkEvents) -> i32 {
    let wanted = [
        (interest.accept, FD_ACCEPT),
        (interest.read, FD_READ),
        (interest.write, FD_WRITE),
        (interest.close, FD_CLOSE),
    ];
    wanted.iter().filter(|(wanted, _)| *wanted).map(|(_, bit)| bit.cast_signed()).sum()
}
