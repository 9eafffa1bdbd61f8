//! Wakes a port from other threads: a locked list of numbers and an event that the ring watches.
//!
//! Posting to a port that is awake makes no system call. The two flags are a handshake: the port first says
//! that it sleeps and then looks for posts, a poster first leaves its post and then looks for a sleeper. Both
//! *swap* the flag `sleeping`, and swaps of one flag stand in one order, each seeing what came before the
//! last: whoever is second sees what the first had done, so no post is slept through (`cargo xtask loom`
//! tries every order). Nothing here knows a ring: it gives out a descriptor to be watched.

// UNSAFETY: eventfd(2) and write(2) on it have no safe door in the standard library.
#![cfg_attr(not(loom), expect(unsafe_code, reason = "eventfd(2) and its write are raw system calls"))]

use std::mem;
use std::os::fd::RawFd;
use std::sync::{Arc, PoisonError};

use naksi_core::id::Token;

#[cfg(not(loom))]
use event::Event;
#[cfg(loom)]
use event_under_loom::Event;
#[cfg(loom)]
use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, Ordering},
};
#[cfg(not(loom))]
use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, Ordering},
};

/// What the port and its posters share.
#[derive(Debug)]
pub(crate) struct Inbox {
    posts: Mutex<Posts>,
    /// There may be posts in the list.
    filled: AtomicBool,
    /// The port waits in the kernel, or is about to.
    sleeping: AtomicBool,
    event: Event,
}

#[derive(Debug)]
struct Posts {
    waiting: Vec<(Token, u64)>,
    open: bool,
}

impl Inbox {
    /// An empty inbox of a port that is awake. Fails if no descriptor is left for its event.
    pub(crate) fn open() -> std::io::Result<Arc<Self>> {
        let event = Event::open()?;
        let posts = Mutex::new(Posts { waiting: Vec::new(), open: true });
        Ok(Arc::new(Self { posts, filled: AtomicBool::new(false), sleeping: AtomicBool::new(false), event }))
    }

    /// The event's descriptor, to be watched by the ring.
    pub(crate) fn event(&self) -> RawFd {
        self.event.descriptor()
    }

    /// Says that the port is about to wait. `false` says that it must not: there are posts.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.sleeping.swap(true, Ordering::AcqRel);
        // Relaxed is enough: a poster that swapped before us is seen by the swap, with all that it did.
        if self.filled.load(Ordering::Relaxed) {
            self.wake_up();
            return false;
        }
        true
    }

    /// Says that the port is back.
    pub(crate) fn wake_up(&self) {
        // A swap and no store: a store would hide a poster's swap from our own next one.
        self.sleeping.swap(false, Ordering::AcqRel);
    }

    /// Whether there may be posts. A post that another thread is just leaving may be missed; it wakes.
    pub(crate) fn is_filled(&self) -> bool {
        self.filled.load(Ordering::Relaxed)
    }

    /// Swaps the posts for an empty list, so that both lists keep their memory.
    pub(crate) fn take(&self, empty: &mut Vec<(Token, u64)>) {
        assert!(empty.is_empty(), "posts that were not handed out yet would be overtaken");
        // Before the lock: a poster that fills the list behind it says so after it.
        self.filled.store(false, Ordering::Relaxed);
        mem::swap(&mut self.lock().waiting, empty);
    }

    /// Takes no more posts.
    pub(crate) fn close(&self) {
        self.lock().open = false;
    }

    /// Wakes the port as a post does, without one: another list has something for it.
    pub(crate) fn nudge(&self) {
        self.filled.store(true, Ordering::Relaxed);
        if self.sleeping.swap(false, Ordering::AcqRel) {
            self.event.ring();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Posts> {
        // A poster that panicked between two statements has left a whole list behind.
        self.posts.lock().unwrap_or_else(PoisonError::into_inner)
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
        self.inbox.filled.store(true, Ordering::Relaxed);
        drop(posts);
        if self.inbox.sleeping.swap(false, Ordering::AcqRel) {
            self.inbox.event.ring();
        }
        true
    }
}

/// The kernel's event: an eventfd(2).
#[cfg(not(loom))]
mod event {
    use std::io;
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

    #[derive(Debug)]
    pub(super) struct Event(OwnedFd);

    impl Event {
        pub(super) fn open() -> io::Result<Self> {
            // SAFETY: eventfd(2) takes two numbers and touches no memory of ours.
            let raw = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
            if raw < 0 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: eventfd(2): "On success, eventfd() returns a new eventfd file descriptor"; nobody else
            // has it.
            Ok(Self(unsafe { OwnedFd::from_raw_fd(raw) }))
        }

        pub(super) fn descriptor(&self) -> RawFd {
            self.0.as_raw_fd()
        }

        pub(super) fn ring(&self) {
            let one = 1_u64;
            // SAFETY: write(2) reads eight bytes of `one`, which lives until it returns.
            let written =
                unsafe { libc::write(self.descriptor(), (&raw const one).cast(), size_of::<u64>()) };
            // EAGAIN alone is possible, after 2^64 - 2 writes: the event is set then, which is all that is
            // wanted.
            debug_assert!(written == 8 || io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock);
        }
    }
}

/// The kernel's event, as loom can play it: a condition, so that a wake-up that is lost is a deadlock.
#[cfg(loom)]
mod event_under_loom {
    use loom::sync::{Condvar, Mutex};
    use std::io;
    use std::os::fd::RawFd;
    use std::sync::PoisonError;

    #[derive(Debug)]
    pub(super) struct Event {
        rung: Mutex<bool>,
        came: Condvar,
    }

    impl Event {
        pub(super) fn open() -> io::Result<Self> {
            Ok(Self { rung: Mutex::new(false), came: Condvar::new() })
        }

        pub(super) fn descriptor(&self) -> RawFd {
            unreachable!("no ring watches a model's event")
        }

        pub(super) fn ring(&self) {
            *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
            self.came.notify_one();
        }

        /// Sleeps as the kernel would: until it has been rung, however long ago.
        #[cfg(test)]
        pub(super) fn wait(&self) {
            let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
            while !*rung {
                rung = self.came.wait(rung).unwrap_or_else(PoisonError::into_inner);
            }
            *rung = false;
        }
    }
}

#[cfg(all(loom, test))]
mod models {
    use super::*;
    use crate::port::Poster as _;
    use loom::thread;

    #[test]
    fn no_post_is_slept_through_however_the_posters_and_the_port_meet() {
        // Three preemptions of one run show every known kind of lost wake-up; without a bound it takes hours.
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let inbox = Inbox::open().expect("a model's event needs no descriptor");
            let posters: Vec<_> = (0..2)
                .map(|value| {
                    let poster = Poster::new(&inbox);
                    thread::spawn(move || assert!(poster.post(Token::new(1, 1, 1), value)))
                })
                .collect();
            let (mut seen, mut taken) = (0, Vec::new());
            // As the port does it: take what is there, sleep when there is nothing, look again.
            while seen < 2 {
                if inbox.is_filled() {
                    inbox.take(&mut taken);
                    seen += taken.drain(..).count();
                    continue;
                }
                if inbox.fall_asleep() {
                    inbox.event.wait();
                }
                inbox.wake_up();
            }
            posters.into_iter().for_each(|poster| poster.join().expect("a poster ends"));
        });
    }
}

#[cfg(all(not(loom), test))]
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
