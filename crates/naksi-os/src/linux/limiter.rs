//! The concurrency limiter: which of several threads may run, as a Windows completion port decides it. Linux's kernel
//! has no such mechanism.
//!
//! Of the waiting threads, the one that came last is woken first, because its stack is still in the cache. At most
//! `concurrency` of them run at a time, and another one is released when one of them blocks: at once if it announces
//! that, and soon if it does not, because a monitor watches the processor clocks of the running threads while work
//! waits. Work may also come from a source that one of the waiting threads has to poll for all of them (a ring).

#[cfg(not(loom))]
mod watch;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::sync::{Arc, PoisonError, Weak};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

#[cfg(loom)]
use loom::{
    sync::{
        Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, Thread},
};
#[cfg(not(loom))]
use std::{
    sync::{
        Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, Thread},
};

use super::clock::ThreadClock;

/// What a thread shall do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turn<T> {
    /// Carry out this piece of work.
    Take(T),
    /// Poll the source, bring what comes, and ask again.
    Poll,
    /// Nothing came until the time was up.
    TimedOut,
    /// There will be no more work for this thread.
    Quit,
}

/// Where work comes from, and how threads that block are found.
pub(crate) enum Source {
    /// Work is posted. A monitor finds the threads that block without announcing it.
    Posts,
    /// Work is posted, and one thread at a time polls for more; this interrupts its poll. Threads announce that they
    /// block.
    Polled(Box<dyn Fn() + Send + Sync>),
}

/// A queue of work, and the threads that wait for it and carry it out.
pub(crate) struct ConcurrencyLimiter<T: Send + 'static>(Arc<Shared<T>>);

struct Shared<T> {
    state: Mutex<State<T>>,
    /// Tells the monitor that there is something to watch, or that it should end.
    called: Condvar,
    concurrency: usize,
    source: Source,
}

struct State<T> {
    work: VecDeque<T>,
    quits: usize,
    ended: bool,
    /// A thread polls the source.
    polled: bool,
    /// Sleeping threads; the last one that came is woken first.
    idle: Vec<Arc<Waiter>>,
    seats: Vec<Seat>,
    /// Seats whose threads are not known to block.
    running: usize,
    watch: Watch,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Watch {
    /// The monitor thread has not been started; it is the first time that work is held up.
    #[default]
    Unborn,
    Asleep,
    Looking,
    /// The limiter is gone.
    Over,
}

/// What a thread is known by.
struct Waiter {
    thread: Thread,
    clock: ThreadClock,
    called: AtomicBool,
}

/// A thread that carries out work.
struct Seat {
    who: Arc<Waiter>,
    /// Set while the thread blocks, as announced or as detected: another thread may run.
    free: Option<Freed>,
    seen: Duration,
    still: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Freed {
    Said,
    Seen,
}

/// A limiter in which a thread holds a seat, so that the thread can release it when it ends or goes elsewhere.
trait Host: Send + Sync {
    fn leave(self: Arc<Self>, who: &Arc<Waiter>);
}

/// A thread's waiter for all limiters, and the limiter that it took its last work from.
struct Me {
    waiter: Arc<Waiter>,
    seated: Option<Weak<dyn Host>>,
}

#[cfg(not(loom))]
thread_local! {
    static ME: RefCell<Option<Me>> = const { RefCell::new(None) };
}
#[cfg(loom)]
loom::thread_local! {
    static ME: RefCell<Option<Me>> = RefCell::new(None);
}

impl Drop for Me {
    fn drop(&mut self) {
        // A thread that ends during its work (by a panic) passes its seat on.
        if let Some(host) = self.seated.take().and_then(|host| host.upgrade()) {
            host.leave(&self.waiter);
        }
    }
}

impl<T: Send + 'static> ConcurrencyLimiter<T> {
    /// At most `concurrency` threads run at a time; 0 is as many as there are processors.
    pub(crate) fn new(concurrency: usize, source: Source) -> Self {
        let concurrency = match concurrency {
            0 => available_parallelism().map_or(1, usize::from),
            some => some,
        };
        let state = State {
            work: VecDeque::new(),
            quits: 0,
            ended: false,
            polled: false,
            idle: Vec::new(),
            seats: Vec::new(),
            running: 0,
            watch: Watch::default(),
        };
        Self(Arc::new(Shared { state: Mutex::new(state), called: Condvar::new(), concurrency, source }))
    }

    /// Posts work, from any thread. Returns `false` if the limiter was closed.
    pub(crate) fn post(&self, work: T) -> bool {
        let mut state = self.0.lock();
        if state.ended {
            return false;
        }
        state.work.push_back(work);
        self.0.call_one(state);
        true
    }

    /// Called by a thread that has finished its work. It may sleep in here; if there is a source to poll,
    /// `before_sleep` runs first.
    pub(crate) fn turn(&self, until: Option<Instant>, mut before_sleep: impl FnMut()) -> Turn<T> {
        let me = self.arrive();
        let mut slept_on = false;
        let mut state = self.0.lock();
        state.stand_up(&me);
        loop {
            let free = state.running < self.0.concurrency;
            if free && let Some(work) = state.work.pop_front() {
                state.sit_down(&me, self.0.is_watched());
                let next = self.0.successor(&mut state);
                drop(state);
                call(next);
                sit_at(Some(self.0.as_host()));
                return Turn::Take(work);
            }
            if state.work.is_empty() && state.quits > 0 {
                state.quits -= 1;
                self.0.call_one(state);
                return Turn::Quit;
            }
            if free && self.0.has_unpolled_source(&state) {
                state.polled = true;
                return Turn::Poll;
            }
            if !self.0.is_watched() && !mem::replace(&mut slept_on, true) {
                drop(state);
                before_sleep();
                state = self.0.lock();
                continue;
            }
            me.called.store(false, Ordering::Relaxed);
            state.idle.push(Arc::clone(&me));
            // A thread that releases its seat for good may leave work that other seats still hold up.
            self.0.watch_if_held_up(&mut state);
            drop(state);
            sleep(&me, until);
            state = self.0.lock();
            if let Some(place) = state.idle.iter().position(|other| Arc::ptr_eq(other, &me)) {
                state.idle.remove(place);
                return Turn::TimedOut;
            }
        }
    }

    /// The polling thread returned. Returns whether there is work to take.
    pub(crate) fn brought(&self, work: impl IntoIterator<Item = T>) -> bool {
        let mut state = self.0.lock();
        state.work.extend(work);
        state.polled = false;
        !state.work.is_empty()
    }

    /// The polling thread leaves without work: another one has to poll.
    pub(crate) fn pass_on(&self) {
        let next = self.0.successor(&mut self.0.lock());
        call(next);
    }

    /// Runs a blocking call: another thread may run meanwhile. Afterwards one more than allowed may run for a moment,
    /// as on Windows. On a thread that has no work from here it only makes the call.
    pub(crate) fn blocking<R>(&self, work: impl FnOnce() -> R) -> R {
        let me = ME.with(|me| me.borrow().as_ref().map(|me| Arc::clone(&me.waiter)));
        let Some(me) = me.filter(|me| self.0.lock().set_free(me, Freed::Said)) else { return work() };
        self.0.call_one(self.0.lock());
        /// Takes the seat back, also when the work panics.
        struct Back<'a, T: Send + 'static>(&'a Shared<T>, Arc<Waiter>);
        impl<T: Send + 'static> Drop for Back<'_, T> {
            fn drop(&mut self) {
                self.0.lock().take_back(&self.1, Freed::Said);
            }
        }
        let _back = Back(&*self.0, me);
        work()
    }

    /// Accepts no more work: what was posted is still taken, and then each of `threads` threads is told to quit.
    pub(crate) fn close(&self, threads: usize) {
        let mut state = self.0.lock();
        state.ended = true;
        state.quits += threads;
        self.0.call_one(state);
    }

    /// How many threads sleep or poll.
    pub(crate) fn waiting(&self) -> usize {
        let state = self.0.lock();
        state.idle.len() + usize::from(state.polled)
    }

    /// Whether this thread carries out work from here.
    pub(crate) fn is_seated(&self) -> bool {
        ME.with(|me| {
            let me = me.borrow();
            let host = me.as_ref().and_then(|me| me.seated.as_ref());
            host.is_some_and(|host| std::ptr::addr_eq(host.as_ptr(), Arc::as_ptr(&self.0)))
        })
    }

    /// Registers this thread here, and releases the seat that it may have had elsewhere.
    fn arrive(&self) -> Arc<Waiter> {
        let (me, before) = ME.with(|me| {
            let mut me = me.borrow_mut();
            let me = me.get_or_insert_with(|| Me { waiter: Arc::new(Waiter::new()), seated: None });
            (Arc::clone(&me.waiter), me.seated.take())
        });
        let is_here = |host: &Arc<dyn Host>| std::ptr::addr_eq(Arc::as_ptr(host), Arc::as_ptr(&self.0));
        if let Some(other) = before.and_then(|before| before.upgrade()).filter(|other| !is_here(other)) {
            other.leave(&me);
        }
        me
    }
}

impl<T: Send + 'static> Drop for ConcurrencyLimiter<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.watch = Watch::Over;
        drop(state);
        self.0.called.notify_all();
    }
}

impl<T: Send + 'static> fmt::Debug for ConcurrencyLimiter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConcurrencyLimiter").field("concurrency", &self.0.concurrency).finish_non_exhaustive()
    }
}

fn sit_at(host: Option<Weak<dyn Host>>) {
    ME.with(|me| me.borrow_mut().as_mut().expect("the thread has arrived").seated = host);
}

fn call(next: Option<Arc<Waiter>>) {
    if let Some(next) = next {
        next.called.store(true, Ordering::Release);
        next.thread.unpark();
    }
}

impl Waiter {
    fn new() -> Self {
        Self {
            thread: thread::current(),
            clock: ThreadClock::of_this_thread(),
            called: AtomicBool::new(false),
        }
    }
}

fn sleep(me: &Waiter, until: Option<Instant>) {
    while !me.called.load(Ordering::Acquire) {
        match until.map(|until| until.saturating_duration_since(Instant::now())) {
            None => thread::park(),
            Some(left) if left.is_zero() => return,
            #[cfg(not(loom))]
            Some(left) => thread::park_timeout(left),
            #[cfg(loom)]
            Some(_) => unreachable!("a model knows no time"),
        }
    }
}

impl<T> State<T> {
    fn seat(&mut self, who: &Arc<Waiter>) -> Option<usize> {
        self.seats.iter().position(|seat| Arc::ptr_eq(&seat.who, who))
    }

    fn sit_down(&mut self, who: &Arc<Waiter>, is_watched: bool) {
        // To read the clock is a system call.
        let seen = if is_watched { who.clock.elapsed() } else { Duration::ZERO };
        self.seats.push(Seat { who: Arc::clone(who), free: None, seen, still: 0 });
        self.running += 1;
    }

    fn stand_up(&mut self, who: &Arc<Waiter>) {
        if let Some(place) = self.seat(who) {
            let seat = self.seats.swap_remove(place);
            self.running -= usize::from(seat.free.is_none());
        }
    }

    /// Whether the seat was taken and is free now.
    fn set_free(&mut self, who: &Arc<Waiter>, how: Freed) -> bool {
        let Some(place) = self.seat(who) else { return false };
        match self.seats[place].free {
            None => self.running -= 1,
            // What the watch saw, its thread confirms.
            Some(Freed::Seen) => {}
            Some(Freed::Said) => return false,
        }
        self.seats[place].free = Some(how);
        true
    }

    fn take_back(&mut self, who: &Arc<Waiter>, how: Freed) {
        if let Some(place) = self.seat(who)
            && self.seats[place].free == Some(how)
        {
            let seat = &mut self.seats[place];
            (seat.free, seat.still) = (None, 0);
            self.running += 1;
        }
    }
}

impl<T: Send + 'static> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // A panic happens only in a thread's own work, so a poisoned lock is safe to use.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn as_host(self: &Arc<Self>) -> Weak<dyn Host> {
        Arc::<Self>::downgrade(self)
    }

    /// Whether a watch finds the threads that block without saying so.
    fn is_watched(&self) -> bool {
        matches!(self.source, Source::Posts)
    }

    fn has_unpolled_source(&self, state: &State<T>) -> bool {
        !self.is_watched() && !state.polled
    }

    /// The sleeping thread to wake, if there is something that it may do.
    fn successor(self: &Arc<Self>, state: &mut State<T>) -> Option<Arc<Waiter>> {
        let free = state.running < self.concurrency;
        let wanted = free && (!state.work.is_empty() || self.has_unpolled_source(state));
        let quit = state.work.is_empty() && state.quits > 0;
        let next = if wanted || quit { state.idle.pop() } else { None };
        self.watch_if_held_up(state);
        next
    }

    /// Wakes one sleeping thread, or the one that polls, if there is something that it may do.
    fn call_one(self: &Arc<Self>, mut state: MutexGuard<'_, State<T>>) {
        let next = self.successor(&mut state);
        let free = state.running < self.concurrency;
        let nudge = next.is_none() && state.polled && !state.work.is_empty() && free;
        drop(state);
        call(next);
        if let Source::Polled(come_back) = &self.source
            && nudge
        {
            come_back();
        }
    }

    /// Detection of unannounced blocking depends on time and is not part of the loom model.
    #[cfg(loom)]
    fn watch_if_held_up(self: &Arc<Self>, _: &mut State<T>) {}
}

impl<T: Send + 'static> Host for Shared<T> {
    fn leave(self: Arc<Self>, who: &Arc<Waiter>) {
        let mut state = self.lock();
        state.stand_up(who);
        self.call_one(state);
    }
}

#[cfg(all(not(loom), test))]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;
    use std::sync::mpsc;

    fn taken(turn: Turn<u32>) -> u32 {
        match turn {
            Turn::Take(work) => work,
            other => panic!("{other:?}"),
        }
    }

    fn polled(concurrency: usize, come_back: impl Fn() + Send + Sync + 'static) -> ConcurrencyLimiter<u32> {
        ConcurrencyLimiter::new(concurrency, Source::Polled(Box::new(come_back)))
    }

    #[test]
    fn one_thread_runs_at_a_time_and_another_one_while_it_blocks() {
        let limiter = polled(1, || {});
        (1..=3).for_each(|work| assert!(limiter.post(work)));
        assert_eq!(taken(limiter.turn(None, || {})), 1);
        let second = || {
            let until = Some(Instant::now());
            thread::scope(|scope| {
                scope.spawn(|| limiter.turn(until, || {})).join().expect("the thread asks once")
            })
        };
        assert_eq!(second(), Turn::TimedOut, "the only seat is taken");
        assert_eq!(taken(limiter.blocking(second)), 2, "the seat is free while its thread blocks");
        assert_eq!(second(), Turn::TimedOut, "the first thread is back on its seat");
        assert_eq!(taken(limiter.turn(None, || {})), 3);
    }

    #[test]
    fn the_last_one_that_came_is_called_first() {
        let limiter = Arc::new(polled(4, || {}));
        assert_eq!(limiter.turn(None, || {}), Turn::Poll);
        let idle = |limiter: &ConcurrencyLimiter<u32>| limiter.0.lock().idle.len();
        let (told, tells) = mpsc::channel();
        for name in ['a', 'b', 'c'] {
            let (here, told) = (Arc::clone(&limiter), told.clone());
            let before = idle(&limiter);
            thread::spawn(move || {
                while let Turn::Take(work) = here.turn(None, || {}) {
                    told.send((name, work)).expect("the test listens");
                }
            });
            while idle(&limiter) == before {
                thread::yield_now();
            }
        }
        for work in 1..=5 {
            assert!(limiter.post(work));
            assert_eq!(tells.recv().expect("a thread answers"), ('c', work));
            while idle(&limiter) < 3 {
                thread::yield_now();
            }
        }
        limiter.close(3);
    }

    #[test]
    fn the_thread_that_polls_is_called_back_only_when_no_other_can_be_called() {
        let calls = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&calls);
        let limiter = polled(2, move || {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        assert!(limiter.post(1));
        assert_eq!(calls.load(Ordering::SeqCst), 0, "no thread polls yet");
        assert_eq!(taken(limiter.turn(None, || {})), 1);
        assert_eq!(limiter.turn(None, || {}), Turn::Poll);
        assert!(limiter.post(2));
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        assert!(limiter.brought([]));
        assert_eq!(taken(limiter.turn(None, || {})), 2);
    }
}
