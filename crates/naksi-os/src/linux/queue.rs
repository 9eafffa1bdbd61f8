//! The completion queue of a group: work that several threads wait for, with the laws of a completion port.
//!
//! Of those who wait, the one that came last is woken first, at most `concurrency` of them run at a time, and
//! another one is released when one of them blocks: at once if it says so, and soon if it does not, because a
//! watch looks at the processor clocks of those who run while work waits behind them. The queue ends with one
//! quit packet for each thread, behind all work that was posted before. Nothing here knows what the work is.

#[cfg(not(loom))]
mod watch;

use std::cell::RefCell;
use std::collections::VecDeque;
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
use crate::port::PortError;
pub use crate::taken::Taken;

/// Work for the threads of a group.
#[derive(Debug)]
pub struct Queue(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Tells the watch that there is something to look at, or that it is over.
    called: Condvar,
    concurrency: usize,
}

#[derive(Debug, Default)]
struct State {
    work: VecDeque<u64>,
    quits: usize,
    ended: bool,
    /// Sleeping threads; the last one that came is the first to be called.
    idle: Vec<Arc<Sleeper>>,
    seats: Vec<Seat>,
    /// Seats whose threads are not known to block.
    running: usize,
    watch: Watch,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Watch {
    /// No thread watches yet: the first time that something is held up begins it.
    #[default]
    Unborn,
    Asleep,
    Looking,
    /// The queue is gone.
    Over,
}

/// What a thread is known by.
#[derive(Debug)]
struct Sleeper {
    thread: Thread,
    clock: ThreadClock,
    called: AtomicBool,
}

/// A thread that carries out work.
#[derive(Debug)]
struct Seat {
    who: Arc<Sleeper>,
    /// It blocks, by its own word or by what the watch saw: somebody else may run.
    free: Option<Freed>,
    seen: Duration,
    still: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Freed {
    Said,
    Seen,
}

/// A thread's name for all queues, and the one that it took its last work from.
struct Me {
    sleeper: Arc<Sleeper>,
    seated: Option<Weak<Shared>>,
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
        // A thread that ends with work in hand (it panicked) leaves its seat to another one.
        if let Some(shared) = self.seated.take().and_then(|shared| shared.upgrade()) {
            shared.leave(&self.sleeper);
        }
    }
}

impl Queue {
    /// A queue of which at most `concurrency` threads run at a time; 0 is as many as there are processors.
    ///
    /// # Errors
    /// None on Linux.
    pub fn open(concurrency: u32) -> Result<Self, PortError> {
        let concurrency = match concurrency {
            0 => available_parallelism().map_or(1, usize::from),
            some => some as usize,
        };
        Ok(Self(Arc::new(Shared { state: Mutex::default(), called: Condvar::new(), concurrency })))
    }

    /// Puts a piece of work in. `false`: the queue has ended.
    pub fn post(&self, work: u64) -> bool {
        let mut state = self.0.lock();
        if state.ended {
            return false;
        }
        state.work.push_back(work);
        self.0.call_somebody(state);
        true
    }

    /// Takes the next piece of work, and waits for it at most so long; `None` waits without end.
    ///
    /// # Errors
    /// None on Linux.
    pub fn take(&self, at_most: Option<Duration>) -> Result<Taken, PortError> {
        // Never, if it is later than a clock can say.
        let until = at_most.and_then(|at_most| Instant::now().checked_add(at_most));
        let me = self.arrive();
        let mut state = self.0.lock();
        state.stand_up(&me);
        loop {
            if state.running < self.0.concurrency
                && let Some(work) = state.work.pop_front()
            {
                state.sit_down(&me);
                self.0.call_somebody(state);
                sit_in(Some(Arc::downgrade(&self.0)));
                return Ok(Taken::Work(work));
            }
            if state.work.is_empty() && state.quits > 0 {
                state.quits -= 1;
                self.0.call_somebody(state);
                return Ok(Taken::Quit);
            }
            me.called.store(false, Ordering::Relaxed);
            state.idle.push(Arc::clone(&me));
            // Whoever leaves its seat for good may leave work behind that others on the queue still hold up.
            self.0.watch_if_held_up(&mut state);
            drop(state);
            sleep(&me, until);
            state = self.0.lock();
            if let Some(place) = state.idle.iter().position(|other| Arc::ptr_eq(other, &me)) {
                state.idle.remove(place);
                return Ok(Taken::Nothing);
            }
        }
    }

    /// Runs something that blocks: another thread may run meanwhile. Afterwards one more than allowed may run
    /// for a moment, as on Windows. On a thread that has no work of this queue it only runs.
    pub fn blocking<T>(&self, work: impl FnOnce() -> T) -> T {
        let me = ME.with(|me| me.borrow().as_ref().map(|me| Arc::clone(&me.sleeper)));
        let Some(me) = me.filter(|me| self.0.lock().set_free(me, Freed::Said)) else { return work() };
        self.0.call_somebody(self.0.lock());
        /// Takes the seat back, also when the work panics.
        struct Back<'a>(&'a Shared, Arc<Sleeper>);
        impl Drop for Back<'_> {
            fn drop(&mut self) {
                self.0.lock().take_back(&self.1, Freed::Said);
            }
        }
        let _back = Back(&self.0, me);
        work()
    }

    /// Ends the queue: what was posted is still taken, and then each of so many threads is told to quit.
    ///
    /// # Errors
    /// None on Linux.
    pub fn close(&self, threads: usize) -> Result<(), usize> {
        let mut state = self.0.lock();
        state.ended = true;
        state.quits += threads;
        self.0.call_somebody(state);
        Ok(())
    }

    /// This thread comes to this queue, and leaves the seat that it may have had at another one.
    fn arrive(&self) -> Arc<Sleeper> {
        let (me, before) = ME.with(|me| {
            let mut me = me.borrow_mut();
            let me = me.get_or_insert_with(|| Me { sleeper: Arc::new(Sleeper::new()), seated: None });
            (Arc::clone(&me.sleeper), me.seated.take())
        });
        let elsewhere = before.and_then(|before| before.upgrade());
        if let Some(other) = elsewhere.filter(|other| !Arc::ptr_eq(other, &self.0)) {
            other.leave(&me);
        }
        me
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.watch = Watch::Over;
        drop(state);
        self.0.called.notify_all();
    }
}

fn sit_in(queue: Option<Weak<Shared>>) {
    ME.with(|me| me.borrow_mut().as_mut().expect("the thread has arrived").seated = queue);
}

impl Sleeper {
    fn new() -> Self {
        Self {
            thread: thread::current(),
            clock: ThreadClock::of_this_thread(),
            called: AtomicBool::new(false),
        }
    }
}

fn sleep(me: &Sleeper, until: Option<Instant>) {
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

impl State {
    fn seat(&mut self, who: &Arc<Sleeper>) -> Option<usize> {
        self.seats.iter().position(|seat| Arc::ptr_eq(&seat.who, who))
    }

    fn sit_down(&mut self, who: &Arc<Sleeper>) {
        let seen = who.clock.elapsed();
        self.seats.push(Seat { who: Arc::clone(who), free: None, seen, still: 0 });
        self.running += 1;
    }

    fn stand_up(&mut self, who: &Arc<Sleeper>) {
        if let Some(place) = self.seat(who) {
            let seat = self.seats.swap_remove(place);
            self.running -= usize::from(seat.free.is_none());
        }
    }

    /// Whether the seat was taken and is free now.
    fn set_free(&mut self, who: &Arc<Sleeper>, how: Freed) -> bool {
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

    fn take_back(&mut self, who: &Arc<Sleeper>, how: Freed) {
        if let Some(place) = self.seat(who)
            && self.seats[place].free == Some(how)
        {
            let seat = &mut self.seats[place];
            (seat.free, seat.still) = (None, 0);
            self.running += 1;
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A thread that panicked did so in its own work, never between two statements of ours.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leave(self: &Arc<Self>, who: &Arc<Sleeper>) {
        let mut state = self.lock();
        state.stand_up(who);
        self.call_somebody(state);
    }

    /// Calls one sleeping thread, if there is something that it may do.
    fn call_somebody(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        let work = !state.work.is_empty() && state.running < self.concurrency;
        let quit = state.work.is_empty() && state.quits > 0;
        let next = if work || quit { state.idle.pop() } else { None };
        self.watch_if_held_up(&mut state);
        drop(state);
        if let Some(next) = next {
            next.called.store(true, Ordering::Release);
            next.thread.unpark();
        }
    }

    /// What blocks unannounced is no part of the model: that would be a matter of time.
    #[cfg(loom)]
    fn watch_if_held_up(self: &Arc<Self>, _: &mut State) {}
}

#[cfg(all(loom, test))]
mod models {
    use super::*;

    /// Three preemptions show every known kind of lost wake-up; without a bound it takes hours.
    fn model(run: impl Fn() + Send + Sync + 'static) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(run);
    }

    fn carry_out(queue: &Queue, mut work: impl FnMut(u64)) {
        while let Taken::Work(number) = queue.take(None).expect("Linux has no errors here") {
            work(number);
        }
    }

    #[test]
    fn all_work_is_taken_once_and_every_thread_is_told_to_quit_however_they_meet() {
        model(|| {
            let queue = Arc::new(Queue::open(1).expect("Linux has no errors here"));
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    let queue = Arc::clone(&queue);
                    thread::spawn(move || {
                        let mut taken = 0;
                        carry_out(&queue, |number| taken += number);
                        taken
                    })
                })
                .collect();
            assert!(queue.post(1) && queue.post(10));
            queue.close(2).expect("Linux has no errors here");
            assert!(!queue.post(100), "the queue has ended");
            let taken: u64 = threads.into_iter().map(|thread| thread.join().expect("a thread ends")).sum();
            assert_eq!(taken, 11);
        });
    }

    #[test]
    fn whoever_says_that_it_blocks_lets_another_one_run_however_they_meet() {
        model(|| {
            let queue = Arc::new(Queue::open(1).expect("Linux has no errors here"));
            let done = Arc::new((Mutex::new(false), Condvar::new()));
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    let (queue, done) = (Arc::clone(&queue), Arc::clone(&done));
                    thread::spawn(move || {
                        carry_out(&queue, |number| match number {
                            // The first job waits for the second, which only another thread can carry out.
                            1 => queue.blocking(|| {
                                let mut over = done.0.lock().expect("nobody panics with it");
                                while !*over {
                                    over = done.1.wait(over).expect("nobody panics with it");
                                }
                            }),
                            _ => {
                                *done.0.lock().expect("nobody panics with it") = true;
                                done.1.notify_one();
                            }
                        });
                    })
                })
                .collect();
            assert!(queue.post(1) && queue.post(2));
            queue.close(2).expect("Linux has no errors here");
            threads.into_iter().for_each(|thread| thread.join().expect("a thread ends"));
        });
    }
}
