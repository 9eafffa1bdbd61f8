//! Wakes a port from other threads: a locked list of numbers, and one posted packet when the port sleeps.
//!
//! Posting to a port that is awake makes no system call, and the kernel never holds more than one packet
//! for all posts. The two flags are Dekker's handshake: the port first says that it sleeps and then looks
//! for posts, a poster first leaves its post and then looks for a sleeper. With sequentially consistent
//! order at least one of them sees the other, so no post is slept through. Nothing here waits.

use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use naksi_core::id::Token;

use super::kernel::Kernel;

/// The completion key of the packet that wakes a port.
pub(crate) const WAKE: usize = 1;

/// What the port and its posters share. The completion port is closed when the last of them is gone.
#[derive(Debug)]
pub(crate) struct Inbox {
    posts: Mutex<Posts>,
    /// There may be posts in the list.
    filled: AtomicBool,
    /// The port waits in the kernel, or is about to.
    sleeping: AtomicBool,
    kernel: Arc<Kernel>,
}

#[derive(Debug)]
struct Posts {
    waiting: Vec<(Token, u64)>,
    open: bool,
}

impl Inbox {
    /// An empty inbox of a port that is awake.
    pub(crate) fn open(kernel: &Arc<Kernel>) -> Arc<Self> {
        let posts = Mutex::new(Posts { waiting: Vec::new(), open: true });
        let kernel = Arc::clone(kernel);
        Arc::new(Self { posts, filled: AtomicBool::new(false), sleeping: AtomicBool::new(false), kernel })
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
        self.inbox.filled.store(true, Ordering::SeqCst);
        drop(posts);
        if self.inbox.sleeping.swap(false, Ordering::SeqCst)
            && let Err(code) = self.inbox.kernel.post(WAKE, 0)
        {
            // The kernel has no memory for a packet: the port hears of the post when anything else wakes it.
            tracing::error!(code, "a sleeping port could not be woken");
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::Poster as _;
    use windows_sys::Win32::System::IO::OVERLAPPED_ENTRY;

    #[test]
    fn a_post_before_the_sleep_forbids_it_and_one_during_it_wakes() {
        let kernel = Arc::new(Kernel::open(1).expect("a handle is left"));
        let inbox = Inbox::open(&kernel);
        let poster = Poster::new(&inbox);
        let token = Token::new(1, 1, 1);
        let woken = || {
            let mut entries = [OVERLAPPED_ENTRY::default(); 2];
            kernel.dequeue(&mut entries, 0) == Ok(super::super::kernel::Dequeued::Packets(1))
        };
        assert!(poster.post(token, 1) && !woken(), "a port that is awake costs no system call");
        assert!(!inbox.fall_asleep(), "a post would be slept through");
        let mut taken = Vec::new();
        inbox.take(&mut taken);
        assert_eq!(taken, [(token, 1)]);
        assert!(inbox.fall_asleep());
        assert!(poster.post(token, 2) && woken());
        inbox.close();
        assert!(!poster.post(token, 3));
    }
}
