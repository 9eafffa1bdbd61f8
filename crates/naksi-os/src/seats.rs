//! Who of several workers may run: the laws of a completion port, for systems whose kernel does not keep them.
//!
//! A worker that takes a packet sits on one of `concurrency` seats until it asks for the next one, ends, or says
//! that it blocks. A packet calls the worker that came last: its stack is still warm. If nobody sits on a seat
//! that is free and nobody watches where packets come from, a sleeping worker is called for that, so that a
//! worker that is busy for long holds up nobody. Nothing here knows a kernel: a watcher is told to watch, and a
//! *nudge* makes it look up.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, Thread};
use std::time::Instant;

/// What a worker shall do.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn<P> {
    /// Carry out this packet.
    Take(P),
    /// Watch for packets, bring what comes, and ask again.
    Watch,
    /// Nothing came until the time was up.
    TimedOut,
}

/// The seats and the queue in front of them.
pub struct Seats<P> {
    state: Mutex<State<P>>,
    concurrency: usize,
    nudge: Box<dyn Fn() + Send + Sync>,
}

struct State<P> {
    packets: VecDeque<P>,
    /// Sleeping workers; the last one that came is the first to be called.
    idle: Vec<Arc<Bed>>,
    running: usize,
    watched: bool,
}

struct Bed {
    thread: Thread,
    called: AtomicBool,
}

impl Bed {
    fn call(&self) {
        self.called.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// Somebody whose seat can be given up by a thread that ends or goes elsewhere.
trait Host: Send + Sync {
    fn leave(&self);
}

/// The seat that a thread sits on; a thread belongs to the port that it took its last packet from.
struct Seat(Option<Weak<dyn Host>>);

thread_local! {
    static SEAT: RefCell<Option<Seat>> = const { RefCell::new(None) };
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(host) = self.0.as_ref().and_then(Weak::upgrade) {
            host.leave();
        }
    }
}

impl<P: Send + 'static> Seats<P> {
    /// At most `concurrency` workers run at once. `nudge` makes a watcher come back.
    pub fn new(concurrency: usize, nudge: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        assert!(concurrency > 0, "a port on which nobody may run answers nobody");
        let state = State { packets: VecDeque::new(), idle: Vec::new(), running: 0, watched: false };
        Arc::new(Self { state: Mutex::new(state), concurrency, nudge: Box::new(nudge) })
    }

    /// The worker has no packet any more and asks what to do. It may sleep in here; `before_sleep` runs first.
    pub fn turn(self: &Arc<Self>, until: Option<Instant>, mut before_sleep: impl FnMut()) -> Turn<P> {
        self.stand_up();
        let mut slept_on = false;
        let mut state = self.lock();
        loop {
            let free = state.running < self.concurrency;
            if free && let Some(packet) = state.packets.pop_front() {
                state.running += 1;
                let next = self.successor(&mut state);
                drop(state);
                if let Some(bed) = next {
                    bed.call();
                }
                self.sit_down();
                return Turn::Take(packet);
            }
            if free && !state.watched {
                state.watched = true;
                return Turn::Watch;
            }
            if !mem::replace(&mut slept_on, true) {
                drop(state);
                before_sleep();
                state = self.lock();
                continue;
            }
            let bed = Arc::new(Bed { thread: thread::current(), called: AtomicBool::new(false) });
            state.idle.push(Arc::clone(&bed));
            drop(state);
            sleep(&bed, until);
            state = self.lock();
            if let Some(place) = state.idle.iter().position(|other| Arc::ptr_eq(other, &bed)) {
                state.idle.remove(place);
                return Turn::TimedOut;
            }
        }
    }

    /// The watcher is back. Whether there is anything to take.
    pub fn brought(&self, packets: impl IntoIterator<Item = P>) -> bool {
        let mut state = self.lock();
        state.packets.extend(packets);
        state.watched = false;
        !state.packets.is_empty()
    }

    /// The watcher goes away without a packet: somebody else shall watch.
    pub fn pass_on(&self) {
        let bed = self.successor(&mut self.lock());
        if let Some(bed) = bed {
            bed.call();
        }
    }

    /// A packet from any thread.
    pub fn post(&self, packet: P) {
        let mut state = self.lock();
        state.packets.push_back(packet);
        self.call_somebody(state);
    }

    /// How many workers sleep or watch.
    pub fn waiting(&self) -> usize {
        let state = self.lock();
        state.idle.len() + usize::from(state.watched)
    }

    /// Runs something that blocks. The seat is free meanwhile; afterwards one more than allowed may run for a
    /// moment, as on Windows.
    pub fn blocking<T>(self: &Arc<Self>, work: impl FnOnce() -> T) -> T {
        let seated = self.stand_up();
        if seated {
            self.call_somebody(self.lock());
        }
        let result = work();
        if seated {
            self.lock().running += 1;
            self.sit_down();
        }
        result
    }

    /// Whether this thread carries out a packet of this port.
    pub fn is_seated(self: &Arc<Self>) -> bool {
        SEAT.with_borrow(|seat| seat.as_ref().is_some_and(|seat| self.is_host_of(seat)))
    }

    fn is_host_of(self: &Arc<Self>, seat: &Seat) -> bool {
        seat.0.as_ref().is_some_and(|host| std::ptr::addr_eq(host.as_ptr(), Arc::as_ptr(self)))
    }

    fn sit_down(self: &Arc<Self>) {
        let host: Weak<dyn Host> = Arc::<Self>::downgrade(self);
        SEAT.set(Some(Seat(Some(host))));
    }

    /// Gives up the seat of this thread, wherever it was; says whether it was one of ours, without calling anybody.
    fn stand_up(self: &Arc<Self>) -> bool {
        let Some(mut seat) = SEAT.take() else { return false };
        let ours = self.is_host_of(&seat);
        if ours {
            seat.0 = None;
            self.lock().running -= 1;
        }
        ours
    }

    /// Whom to call so that a free seat is used: a packet waits, or nobody watches for one.
    fn successor(&self, state: &mut State<P>) -> Option<Arc<Bed>> {
        let wanted = !state.packets.is_empty() || !state.watched;
        if state.running < self.concurrency && wanted { state.idle.pop() } else { None }
    }

    fn call_somebody(&self, mut state: MutexGuard<'_, State<P>>) {
        let next = self.successor(&mut state);
        let nudge =
            next.is_none() && state.watched && !state.packets.is_empty() && state.running < self.concurrency;
        drop(state);
        if let Some(bed) = next {
            bed.call();
        } else if nudge {
            (self.nudge)();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<P>> {
        // A worker that panicked did so in its own code, never between two statements of ours.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P: Send + 'static> Host for Seats<P> {
    fn leave(&self) {
        let mut state = self.lock();
        state.running -= 1;
        self.call_somebody(state);
    }
}

impl<P> fmt::Debug for Seats<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seats").field("concurrency", &self.concurrency).finish_non_exhaustive()
    }
}

fn sleep(bed: &Bed, until: Option<Instant>) {
    while !bed.called.load(Ordering::Acquire) {
        match until.map(|until| until.saturating_duration_since(Instant::now())) {
            None => thread::park(),
            Some(left) if left.is_zero() => return,
            Some(left) => thread::park_timeout(left),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn taken(turn: Turn<u32>) -> u32 {
        match turn {
            Turn::Take(packet) => packet,
            other => panic!("{other:?}"),
        }
    }

    fn quiet(concurrency: usize) -> Arc<Seats<u32>> {
        Seats::new(concurrency, || {})
    }

    #[test]
    fn a_port_of_one_seat_lets_one_run_and_another_one_while_it_blocks() {
        let seats = quiet(1);
        (1..=3).for_each(|packet| seats.post(packet));
        assert_eq!(taken(seats.turn(None, || {})), 1);
        let second = |seats: &Arc<Seats<u32>>| {
            let seats = Arc::clone(seats);
            let until = Some(Instant::now());
            thread::spawn(move || seats.turn(until, || {})).join().expect("the worker asks once")
        };
        assert_eq!(second(&seats), Turn::TimedOut, "the only seat is taken");
        assert_eq!(taken(seats.blocking(|| second(&seats))), 2, "the seat is free while its worker blocks");
        assert_eq!(second(&seats), Turn::TimedOut, "the first worker is back on its seat");
        assert_eq!(taken(seats.turn(None, || {})), 3);
    }

    #[test]
    fn the_last_one_that_came_is_called_first() {
        let seats = quiet(4);
        assert_eq!(seats.turn(None, || {}), Turn::Watch);
        let (told, tells) = mpsc::channel();
        let worker = |name: char| {
            let (seats, told) = (Arc::clone(&seats), told.clone());
            let before = seats.lock().idle.len();
            let here = Arc::clone(&seats);
            thread::spawn(move || {
                while let Turn::Take(packet) = seats.turn(None, || {}) {
                    if packet == 0 {
                        return;
                    }
                    told.send((name, packet)).expect("the test listens");
                }
            });
            while here.lock().idle.len() == before {
                thread::yield_now();
            }
        };
        ['a', 'b', 'c'].into_iter().for_each(worker);
        for packet in 1..=5 {
            seats.post(packet);
            assert_eq!(tells.recv().expect("a worker answers"), ('c', packet));
            while seats.lock().idle.len() < 3 {
                thread::yield_now();
            }
        }
        (0..3).for_each(|_| seats.post(0));
    }

    #[test]
    fn the_watcher_is_nudged_only_when_nobody_else_can_be_called() {
        let nudges = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let counted = Arc::clone(&nudges);
        let seats = Seats::new(2, move || {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        seats.post(1);
        assert_eq!(nudges.load(Ordering::SeqCst), 0, "nobody watches yet");
        assert_eq!(taken(seats.turn(None, || {})), 1);
        assert_eq!(seats.turn(None, || {}), Turn::Watch);
        seats.post(2);
        assert_eq!(nudges.load(Ordering::SeqCst), 1);
        assert!(seats.brought([]));
        assert_eq!(taken(seats.turn(None, || {})), 2);
    }
}
