//! The inbox of a port: a locked list of numbers from other threads, and a wake-up when the port sleeps.
//!
//! Posting to a port that is awake makes no system call. The two flags are a handshake: the port first sets
//! `sleeping` and then looks for posts; a poster first adds its post and then looks at `sleeping`. Both *swap* the
//! flag, and swaps of one flag have a total order in which each sees what came before the last: the second one sees
//! what the first had done, so no wake-up is lost (`cargo xtask loom` explores every order). A [`Wake`] wakes the
//! sleeping port.

use std::mem;
use std::sync::{Arc, PoisonError};

use naksi_core::id::Token;

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

/// Wakes one port that waits in its kernel, from any thread.
pub trait Wake: Send + Sync + 'static {
    /// Ends the wait that the port is in, or the next one. `false`: the system had no means to.
    fn wake(&self) -> bool;
}

/// What the port and its posters share.
#[derive(Debug)]
pub(crate) struct Inbox<W> {
    posts: Mutex<Posts>,
    /// There may be posts in the list.
    filled: AtomicBool,
    /// The port waits in the kernel, or is about to.
    sleeping: AtomicBool,
    /// What ends the port's wait.
    pub(crate) waker: W,
}

#[derive(Debug)]
struct Posts {
    waiting: Vec<(Token, u64)>,
    open: bool,
}

impl<W: Wake> Inbox<W> {
    /// An empty inbox of a port that is awake.
    pub(crate) fn new(waker: W) -> Arc<Self> {
        let posts = Mutex::new(Posts { waiting: Vec::new(), open: true });
        Arc::new(Self { posts, filled: AtomicBool::new(false), sleeping: AtomicBool::new(false), waker })
    }

    /// Marks the port as about to wait. Returns `false` if it must not wait because there are posts.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.sleeping.swap(true, Ordering::AcqRel);
        // Relaxed is enough: if a poster swapped before us, our swap sees that and everything the poster did.
        if self.filled.load(Ordering::Relaxed) {
            self.wake_up();
            return false;
        }
        true
    }

    /// Says that the port is back.
    pub(crate) fn wake_up(&self) {
        // A swap and not a store: a store would hide a poster's swap from our next one.
        self.sleeping.swap(false, Ordering::AcqRel);
    }

    /// Whether there may be posts. One that is being added may be missed; it wakes the port.
    pub(crate) fn is_filled(&self) -> bool {
        self.filled.load(Ordering::Relaxed)
    }

    /// Swaps the posts for an empty list, so that both lists keep their memory.
    pub(crate) fn take(&self, empty: &mut Vec<(Token, u64)>) {
        assert!(empty.is_empty(), "posts that were not handed out yet would be overtaken");
        // Before the lock: a poster that fills the list afterwards sets the flag afterwards.
        self.filled.store(false, Ordering::Relaxed);
        mem::swap(&mut self.lock().waiting, empty);
    }

    /// Takes no more posts.
    pub(crate) fn close(&self) {
        self.lock().open = false;
    }

    /// Makes the port read its inbox, and any other list that was filled before this call.
    pub(crate) fn nudge(&self) {
        self.filled.store(true, Ordering::Relaxed);
        if self.sleeping.swap(false, Ordering::AcqRel) && !self.waker.wake() {
            // The next post tries again. If the port is back meanwhile, that is one wake-up too many.
            self.sleeping.swap(true, Ordering::AcqRel);
        }
    }

    fn post(&self, token: Token, value: u64) -> bool {
        let mut posts = self.lock();
        if !posts.open {
            return false;
        }
        posts.waiting.push((token, value));
        drop(posts);
        self.nudge();
        true
    }

    fn lock(&self) -> MutexGuard<'_, Posts> {
        // The list is valid between any two statements, so a poisoned lock is safe to use.
        self.posts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Posts to the port from other threads.
#[derive(Debug)]
pub struct Poster<W> {
    inbox: Arc<Inbox<W>>,
}

impl<W: Wake> Poster<W> {
    pub(crate) fn new(inbox: &Arc<Inbox<W>>) -> Self {
        Self { inbox: Arc::clone(inbox) }
    }
}

impl<W> Clone for Poster<W> {
    fn clone(&self) -> Self {
        Self { inbox: Arc::clone(&self.inbox) }
    }
}

impl<W: Wake> crate::port::Poster for Poster<W> {
    fn post(&self, token: Token, value: u64) -> bool {
        self.inbox.post(token, value)
    }
}

#[cfg(all(loom, test))]
mod models {
    use super::*;
    use crate::port::Poster as _;
    use loom::sync::Condvar;
    use loom::thread;

    /// A kernel's event as a loom model: a condition variable, so that a lost wake-up is a deadlock.
    struct Event {
        set: Mutex<bool>,
        came: Condvar,
    }

    impl Event {
        fn new() -> Self {
            Self { set: Mutex::new(false), came: Condvar::new() }
        }

        /// Blocks until it has been set, no matter when.
        fn wait(&self) {
            let mut set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
            while !*set {
                set = self.came.wait(set).unwrap_or_else(PoisonError::into_inner);
            }
            *set = false;
        }
    }

    impl Wake for Event {
        fn wake(&self) -> bool {
            *self.set.lock().unwrap_or_else(PoisonError::into_inner) = true;
            self.came.notify_one();
            true
        }
    }

    /// Three preemptions find every known kind of lost wake-up; without a bound a run takes hours.
    fn model(run: impl Fn() + Send + Sync + 'static) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(run);
    }

    #[test]
    fn no_post_is_slept_through_however_the_posters_and_the_port_meet() {
        model(|| {
            let inbox = Inbox::new(Event::new());
            let posters: Vec<_> = (0..2)
                .map(|value| {
                    let poster = Poster::new(&inbox);
                    thread::spawn(move || assert!(poster.post(Token::new(1, 1, 1), value)))
                })
                .collect();
            let (mut seen, mut taken) = (0, Vec::new());
            // As the port does: take what is there, sleep when there is nothing, and check again.
            while seen < 2 {
                if inbox.is_filled() {
                    inbox.take(&mut taken);
                    seen += taken.drain(..).count();
                    continue;
                }
                if inbox.fall_asleep() {
                    inbox.waker.wait();
                }
                inbox.wake_up();
            }
            posters.into_iter().for_each(|poster| poster.join().expect("a poster ends"));
        });
    }

    #[test]
    fn work_of_another_list_is_not_slept_through_however_its_thread_and_the_port_meet() {
        model(|| {
            let inbox = Inbox::new(Event::new());
            let done = Arc::new(Mutex::new(false));
            let thread = {
                let (inbox, done) = (Arc::clone(&inbox), Arc::clone(&done));
                thread::spawn(move || {
                    *done.lock().unwrap_or_else(PoisonError::into_inner) = true;
                    inbox.nudge();
                })
            };
            let (mut over, mut taken) = (false, Vec::new());
            while !over {
                if inbox.is_filled() {
                    inbox.take(&mut taken);
                    over = *done.lock().unwrap_or_else(PoisonError::into_inner);
                    continue;
                }
                if inbox.fall_asleep() {
                    inbox.waker.wait();
                }
                inbox.wake_up();
            }
            thread.join().expect("the thread ends");
        });
    }
}

#[cfg(all(not(loom), test))]
mod tests {
    use super::*;
    use crate::port::Poster as _;
    use std::sync::atomic::AtomicU32;

    impl Wake for AtomicU32 {
        fn wake(&self) -> bool {
            self.fetch_add(1, Ordering::Relaxed);
            true
        }
    }

    /// A system that has no means for so many wake-ups.
    struct Refusing {
        refusals: AtomicU32,
        woken: AtomicU32,
    }

    impl Wake for Refusing {
        fn wake(&self) -> bool {
            let refused = self.refusals.load(Ordering::Relaxed) > 0;
            let counted = if refused { &self.refusals } else { &self.woken };
            if refused {
                counted.fetch_sub(1, Ordering::Relaxed);
            } else {
                counted.fetch_add(1, Ordering::Relaxed);
            }
            !refused
        }
    }

    #[test]
    fn a_wake_up_that_failed_is_tried_again_by_the_next_post() {
        let inbox = Inbox::new(Refusing { refusals: AtomicU32::new(1), woken: AtomicU32::new(0) });
        let poster = Poster::new(&inbox);
        assert!(inbox.fall_asleep());
        assert!(poster.post(Token::new(1, 1, 1), 1));
        assert_eq!(inbox.waker.woken.load(Ordering::Relaxed), 0, "the system has refused this one");
        assert!(poster.post(Token::new(1, 1, 1), 2));
        assert_eq!(inbox.waker.woken.load(Ordering::Relaxed), 1, "the sleeping port is woken for both");
    }

    #[test]
    fn a_post_before_the_sleep_forbids_it_and_one_during_it_wakes() {
        let inbox = Inbox::new(AtomicU32::new(0));
        let woken = || inbox.waker.load(Ordering::Relaxed);
        let poster = Poster::new(&inbox);
        let token = Token::new(1, 1, 1);
        assert!(poster.post(token, 1));
        assert_eq!(woken(), 0, "a port that is awake is not woken");
        assert!(!inbox.fall_asleep(), "a post would be slept through");
        let mut taken = Vec::new();
        inbox.take(&mut taken);
        assert_eq!(taken, [(token, 1)]);
        assert!(inbox.fall_asleep());
        assert!(poster.post(token, 2));
        assert_eq!(woken(), 1);
        assert!(poster.post(token, 3));
        assert_eq!(woken(), 1, "one wake-up is enough for all posts");
        inbox.close();
        assert!(!poster.post(token, 4));
    }
}
