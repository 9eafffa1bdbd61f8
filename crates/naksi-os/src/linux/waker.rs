//! Wakes a port that waits in its kernel: an eventfd(2) that the ring or epoll watches.

// UNSAFETY: the standard library has no wrapper for eventfd(2) and writes to it.
#![expect(unsafe_code, reason = "eventfd(2) and its write are raw system calls")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use crate::inbox::Wake;

/// The kernel's event. Its count is never read: every write is an edge for those that watch it.
#[derive(Debug)]
pub struct Waker(OwnedFd);

impl Waker {
    /// A new event that is not set. Fails if no descriptor is left.
    pub(crate) fn open() -> io::Result<Self> {
        // SAFETY: eventfd(2) takes two numbers and touches no memory of ours.
        let raw = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: eventfd(2): "On success, eventfd() returns a new eventfd file descriptor"; no other code
        // has it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(raw) }))
    }

    /// The descriptor to be watched.
    pub(crate) fn descriptor(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Wake for Waker {
    fn wake(&self) -> bool {
        let one = 1_u64;
        // SAFETY: write(2) reads eight bytes of `one`, which lives until it returns.
        let written = unsafe { libc::write(self.descriptor(), (&raw const one).cast(), size_of::<u64>()) };
        // Only EAGAIN is possible, after 2^64 - 2 writes: the event is set then, which is sufficient.
        debug_assert!(written == 8 || io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_up_sets_the_event() {
        let waker = Waker::open().expect("a descriptor is left");
        let is_set = || {
            let mut poll = libc::pollfd { fd: waker.descriptor(), events: libc::POLLIN, revents: 0 };
            // SAFETY: poll(2) reads and writes one pollfd, which lives until it returns.
            unsafe { libc::poll(&raw mut poll, 1, 0) == 1 }
        };
        assert!(!is_set());
        waker.wake();
        assert!(is_set());
    }
}
