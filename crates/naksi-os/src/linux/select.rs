//! select(2): sets of sockets that are rebuilt for every call.
//!
//! The limit is the descriptor's number: a set is 1,024 bits, one for each descriptor from 0 to 1,023. A set can be
//! given fewer places, to reproduce the limit of Windows.

// UNSAFETY: the standard library has no wrapper for select(2) and its bit sets.
#![expect(unsafe_code, reason = "select(2) and fd_set are raw")]

use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::ptr;
use std::time::Duration;

use crate::syscall_counter::SyscallCounter;

/// How many sockets a set can hold on this system (`FD_SETSIZE`).
pub const SOCKETS_MAX: usize = libc::FD_SETSIZE;

/// The set has no place for this socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetFull {
    /// How many sockets the set takes.
    pub sockets_max: usize,
}

impl fmt::Display for SetFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sockets_max {
            SOCKETS_MAX => write!(f, "select(2) knows descriptors below {SOCKETS_MAX} only"),
            fewer => write!(f, "the set takes {fewer} sockets, and has as many"),
        }
    }
}

impl std::error::Error for SetFull {}

/// A set of sockets (`fd_set`): before the call those of interest, after it those that are ready.
#[derive(Clone, Copy)]
pub struct SocketSet {
    raw: libc::fd_set,
    highest: RawFd,
    sockets: usize,
    sockets_max: usize,
}

impl fmt::Debug for SocketSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketSet").field("highest", &self.highest).finish_non_exhaustive()
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
        let mut raw = MaybeUninit::uninit();
        // SAFETY: FD_ZERO fills the whole set that it is pointed at.
        unsafe { libc::FD_ZERO(raw.as_mut_ptr()) };
        // SAFETY: FD_ZERO has just filled it.
        let raw = unsafe { raw.assume_init() };
        Self { raw, highest: -1, sockets: 0, sockets_max: sockets_max.min(SOCKETS_MAX) }
    }

    /// Whether this socket would find a place.
    pub fn has_place(&self, socket: &impl AsFd) -> bool {
        is_known(socket) && (self.contains(socket) || self.sockets < self.sockets_max)
    }

    /// Adds a socket to the set (`FD_SET`).
    ///
    /// # Errors
    /// The set has no place for it. Without the check this would write outside the set.
    pub fn insert(&mut self, socket: &impl AsFd) -> Result<(), SetFull> {
        if !self.has_place(socket) {
            return Err(SetFull { sockets_max: self.sockets_max });
        }
        self.sockets += usize::from(!self.contains(socket));
        let raw = socket.as_fd().as_raw_fd();
        // SAFETY: select(2) "FD_SET() … with a value of fd that is negative or … >= FD_SETSIZE will result in
        // undefined behavior"; the number was just checked.
        unsafe { libc::FD_SET(raw, &raw mut self.raw) };
        self.highest = self.highest.max(raw);
        Ok(())
    }

    /// Whether a socket is in the set (`FD_ISSET`).
    pub fn contains(&self, socket: &impl AsFd) -> bool {
        let raw = socket.as_fd().as_raw_fd();
        // SAFETY: as above: the number is checked first.
        is_known(socket) && unsafe { libc::FD_ISSET(raw, &raw const self.raw) }
    }
}

/// Whether the descriptor's number has a bit in a set.
fn is_known(socket: &impl AsFd) -> bool {
    usize::try_from(socket.as_fd().as_raw_fd()).is_ok_and(|number| number < SOCKETS_MAX)
}

/// Waits until a socket of either set is ready, and leaves only the ready ones in the sets.
///
/// # Errors
/// `select(2)`: out of memory, or a socket that was closed while it was in a set.
pub fn select(
    read: &mut SocketSet,
    write: &mut SocketSet,
    timeout: Option<Duration>,
    counter: &SyscallCounter,
) -> io::Result<usize> {
    let count = read.highest.max(write.highest) + 1;
    loop {
        let mut span = timeout.map(|timeout| libc::timeval {
            tv_sec: timeout.as_secs().try_into().unwrap_or(libc::time_t::MAX),
            tv_usec: timeout.subsec_micros().into(),
        });
        let span = span.as_mut().map_or(ptr::null_mut(), ptr::from_mut);
        counter.call();
        // SAFETY: select(2) reads and writes two whole sets and one timeval; all live until it returns.
        let ready =
            unsafe { libc::select(count, &raw mut read.raw, &raw mut write.raw, ptr::null_mut(), span) };
        counter.wakeup();
        match usize::try_from(ready) {
            Ok(ready) => return Ok(ready),
            // select(2): "On error … the file descriptor sets are unmodified", so the call can be made again.
            Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Err(io::Error::last_os_error()),
        }
    }
}
