//! Wakes a port from other threads: a locked list of numbers and an event that the ring watches.
//!
//! Posting to a port that is awake makes no system call. The two flags are Dekker's handshake: the port
//! first says that it sleeps and then looks for posts, a poster first leaves its post and then looks for a
//! sleeper. With sequentially consistent order at least one of them sees the other, so no post is slept
//! through. Nothing here knows a ring: it gives out a descriptor to be watched.

// UNSAFETY: eventfd(2) and write(2) on it have no safe door in the standard library.
#![expect(unsafe_code, reason = "eventfd(2) and its write are raw system calls")]

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use naksi_core::id::Token;

/// What the port and its posters share.
#[derive(Debug)]
pub(crate) struct Inbox {
    posts: Mutex<Posts>,
    /// There may be posts in the list.
    filled: AtomicBool,
    /// The port waits in the kernel, or is about to.
    sleeping: AtomicBool,
    event: OwnedFd,
}

#[derive(Debug)]
struct Posts {
    waiting: Vec<(Token, u64)>,
    open: bool,
}

impl Inbox {
    /// An empty inbox of a port that is awake. Fails if no descriptor is left for its event.
    pub(crate) fn open() -> io::Result<Arc<Self>> {
        // SAFETY: eventfd(2) takes two numbers and touches no memory of ours.
        let raw = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: eventfd(2): "On success, eventfd() returns a new eventfd file descriptor"; nobody else has it.
        let event = unsafe { OwnedFd::from_raw_fd(raw) };
        let posts = Mutex::new(Posts { waiting: Vec::new(), open: true });
        Ok(Arc::new(Self { posts, filled: AtomicBool::new(false), sleeping: AtomicBool::new(false), event }))
    }

    /// The event's descriptor, to be watched by the ring.
    pub(crate) fn event(&self) -> RawFd {
        self.event.as_raw_fd()
    }

    /// Says that the port is about to wait. `false` says that it must not: there are posts.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.sleeping.store(true, Ordering::SeqCst);
        if self.filled.load(Ordering::SeqCst) {
            self.sleeping.store(false, Ordering::SeqCst);
            return false;
        }
        true
    }

    /// Says that the port is back.
    pub(crate) fn wake_up(&self) {
        self.sleeping.store(false, Ordering::SeqCst);
    }

    /// Whether there may be posts. A post that another thread is just leaving may be missed; it wakes.
    pub(crate) fn is_filled(&self) -> bool {
        self.filled.load(Ordering::Relaxed)
    }

    /// Swaps the posts for an empty list, so that both lists keep their memory.
    pub(crate) fn take(&self, empty: &mut Vec<(Token, u64)>) {
        assert!(empty.is_empty(), "posts that were not handed out yet would be overtaken");
        self.filled.store(false, Ordering::SeqCst);
        mem::swap(&mut self.lock().waiting, empty);
    }

    /// Takes no more posts.
    pub(crate) fn close(&self) {
        self.lock().open = false;
    }

    /// Wakes the port as a post does, without one: another list has something for it.
    pub(crate) fn nudge(&self) {
        self.filled.store(true, Ordering::SeqCst);
        if self.sleeping.swap(false, Ordering::SeqCst) {
            self.ring();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Posts> {
        // A poster that panicked between two statements has left a whole list behind.
        self.posts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self) {
        let one = 1_u64;
        // SAFETY: write(2) reads eight bytes of `one`, which lives until it returns.
        let written = unsafe { libc::write(self.event(), (&raw const one).cast(), size_of::<u64>()) };
        // EAGAIN alone is possible, after 2^64 - 2 writes: the event is set then, which is all that is wanted.
        debug_assert!(written == 8 || io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock);
    }
}

/// A door to the port for other threads.
#[derive(Clone, Debug)]
pub struct Poster {
    inbox: Arc<Inbox>,
}

impl Poster {
    pub(crate) fn new(inbox: &Arc<Inbox>) -> Self {
        Self { inbox: Arc::clone(inbox) }
    }
}

impl crate::port::Poster for Poster {
    fn post(&self, token: Token, value: u64) -> bool {
        let mut posts = self.inbox.lock();
        if !posts.open {
            return false;
        }
        posts.waiting.push((token, value));
        self.inbox.filled.store(true, Ordering::SeqCst);
        drop(posts);
        if self.inbox.sleeping.swap(false, Ordering::SeqCst) {
            self.inbox.ring();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::Poster as _;

    fn is_rung(inbox: &Inbox) -> bool {
        let mut poll = libc::pollfd { fd: inbox.event(), events: libc::POLLIN, revents: 0 };
        // SAFETY: poll(2) reads and writes one pollfd, which lives until it returns.
        unsafe { libc::poll(&raw mut poll, 1, 0) == 1 }
    }

    #[test]
    fn a_post_before_the_sleep_forbids_it_and_one_during_it_rings() {
        let inbox = Inbox::open().expect("a descriptor is left");
        let poster = Poster::new(&inbox);
        let token = Token::new(1, 1, 1);
        assert!(poster.post(token, 1) && !is_rung(&inbox), "a port that is awake costs no system call");
        assert!(!inbox.fall_asleep(), "a post would be slept through");
        let mut taken = Vec::new();
        inbox.take(&mut taken);
        assert_eq!(taken, [(token, 1)]);
        assert!(inbox.fall_asleep());
        assert!(poster.post(token, 2) && is_rung(&inbox));
        inbox.close();
        assert!(!poster.post(token, 3));
    }
}
