//! `select`: lists of sockets that are rebuilt for every call.
//!
//! The limit is the array in the list: 64 sockets, as `winsock2.h` declares it. A set can be given fewer places.

// UNSAFETY: the standard library has no wrapper for `select`.
#![expect(unsafe_code, reason = "select is a raw call")]

use std::fmt;
use std::io;
use std::os::windows::io::AsSocket;
use std::ptr;
use std::time::Duration;

use windows_sys::Win32::Networking::WinSock::{
    FD_SET, FD_SETSIZE, SOCKET, TIMEVAL, select as winsock_select,
};

use super::in_flight_op::{last_error, raw_socket};
use crate::syscall_counter::SyscallCounter;

/// How many sockets a set can hold on this system (`FD_SETSIZE`).
pub const SOCKETS_MAX: usize = FD_SETSIZE as usize;

/// The set has no place for this socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetFull {
    /// How many sockets the set takes.
    pub sockets_max: usize,
}

impl fmt::Display for SetFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the set takes {} sockets, and has as many", self.sockets_max)
    }
}

impl std::error::Error for SetFull {}

/// A set of sockets (`fd_set`): before the call those of interest, after it those that are ready.
#[derive(Clone, Copy)]
pub struct SocketSet {
    raw: FD_SET,
    sockets_max: usize,
}

impl fmt::Debug for SocketSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketSet").field("count", &self.raw.fd_count).finish_non_exhaustive()
    }
}

impl Default for SocketSet {
    fn default() -> Self {
        Self::with_places(SOCKETS_MAX)
    }
}

impl SocketSet {
    /// An empty set of at most `sockets_max` sockets, or of as many as the system allows.
    pub fn with_places(sockets_max: usize) -> Self {
        let raw = FD_SET { fd_count: 0, fd_array: [0; SOCKETS_MAX] };
        Self { raw, sockets_max: sockets_max.min(SOCKETS_MAX) }
    }

    fn sockets(&self) -> &[SOCKET] {
        &self.raw.fd_array[..SOCKETS_MAX.min(self.raw.fd_count as usize)]
    }

    /// Whether this socket would find a place.
    pub fn has_place(&self, socket: &impl AsSocket) -> bool {
        self.contains(socket) || self.sockets().len() < self.sockets_max
    }

    /// Adds a socket to the set (`FD_SET`).
    ///
    /// # Errors
    /// The set has no place for it. Winsock's macro silently ignores such a socket.
    pub fn insert(&mut self, socket: &impl AsSocket) -> Result<(), SetFull> {
        if !self.has_place(socket) {
            return Err(SetFull { sockets_max: self.sockets_max });
        }
        if !self.contains(socket) {
            self.raw.fd_array[self.raw.fd_count as usize] = raw_socket(socket);
            self.raw.fd_count += 1;
        }
        Ok(())
    }

    /// Whether a socket is in the set (`FD_ISSET`).
    pub fn contains(&self, socket: &impl AsSocket) -> bool {
        self.sockets().contains(&raw_socket(socket))
    }
}

/// Waits until a socket of either set is ready, and leaves only the ready ones in the sets.
///
/// # Errors
/// Both sets are empty (WSAEINVAL), or a socket was closed while it was in a set.
pub fn select(
    read: &mut SocketSet,
    write: &mut SocketSet,
    timeout: Option<Duration>,
    counter: &SyscallCounter,
) -> io::Result<usize> {
    let span = timeout.map(|timeout| TIMEVAL {
        tv_sec: timeout.as_secs().try_into().unwrap_or(i32::MAX),
        tv_usec: timeout.subsec_micros().cast_signed(),
    });
    let span = span.as_ref().map_or(ptr::null(), ptr::from_ref);
    counter.call();
    // SAFETY: `select` reads and writes two whole sets and reads one TIMEVAL; all live until it returns.
    let ready = unsafe { winsock_select(0, &raw mut read.raw, &raw mut write.raw, ptr::null_mut(), span) };
    counter.wakeup();
    usize::try_from(ready).map_err(|_| last_error())
}
