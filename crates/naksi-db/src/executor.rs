//! The state that the threads of a database share: the keyed queue of jobs, the breaker, the connections, and the
//! wake-ups posted to the thread group. The lock is never held during a database call.

mod closing;
mod clock;
mod run;

#[cfg(test)]
mod tests;

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use naksi::group::{Group, GroupOptions};
use naksi_core::prng::Prng;

use crate::breaker::{Breaker, BreakerState};
use crate::error::{Error, OpenError, SubmitError};
use crate::keyed_queue::{Key, KeyedQueue, Kind};
use crate::link::{Address, Connection};
use crate::settings::{Settings, WhenFull, after};
use crate::stats::{Counts, Stats};
use crate::task::Job;

/// Answers slower than this, in microseconds, are counted as this slow: an hour.
const ANSWER_MICROS_MAX: u64 = 3_600_000_000;

/// What the lock protects.
pub(crate) struct State {
    queue: KeyedQueue<Job>,
    breaker: Breaker,
    /// Wake-ups posted to the group that have not begun.
    wakeups: usize,
    /// No new job is accepted.
    closing: bool,
    /// The clock thread ends.
    closed: bool,
    /// When the clock thread wakes next; `None` while it runs.
    clock_wakes_at: Option<Instant>,
    counts: Counts,
    /// Microseconds from a job to its answer.
    answers: Histogram<u64>,
    chance: Prng,
}

/// What the threads of a database share.
pub(crate) struct Executor {
    place: Address,
    settings: Settings,
    group: Group,
    threads: usize,
    /// A connection for each thread of the group, made when it is first needed.
    links: Box<[Mutex<Option<Connection>>]>,
    state: Mutex<State>,
    /// Wakes the clock thread.
    clock: Condvar,
    /// Nothing waits and nothing runs.
    idle: Condvar,
}

/// Ignores poisoning: the data behind these locks is valid between any two statements.
fn unpoisoned<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Executor {
    /// Starts the threads; the first one uses the connection that is already open.
    pub(crate) fn start(
        place: Address,
        link: Connection,
        settings: Settings,
    ) -> Result<Arc<Self>, OpenError> {
        let threads = settings.threads.unwrap_or_else(|| place.threads());
        // Each thread blocks on its own connection, so all of them may run at once.
        let options = GroupOptions::new("db").threads(threads).concurrency(threads as u32);
        let group = Group::open(options).map_err(|error| OpenError::Thread(error.to_string()))?;
        let links: Box<[_]> = (0..threads).map(|_| Mutex::new(None)).collect();
        *unpoisoned(&links[0]) = Some(link);
        let state = State {
            queue: KeyedQueue::default(),
            breaker: Breaker::new(settings.breaker),
            wakeups: 0,
            closing: false,
            closed: false,
            clock_wakes_at: None,
            counts: Counts::default(),
            answers: Histogram::new_with_bounds(1, ANSWER_MICROS_MAX, 3).expect("bounds that make sense"),
            // A random seed, so that processes that failed together do not retry together; process ids can be equal.
            chance: Prng::new(RandomState::new().hash_one(())),
        };
        let executor = Arc::new(Self {
            place,
            settings,
            group,
            threads,
            links,
            state: Mutex::new(state),
            clock: Condvar::new(),
            idle: Condvar::new(),
        });
        let of_clock = Arc::clone(&executor);
        let clock = std::thread::Builder::new().name("naksi-db-clock".to_owned());
        clock.spawn(move || clock::run(&of_clock)).map_err(|error| OpenError::Thread(error.to_string()))?;
        Ok(executor)
    }

    /// Accepts a job or returns the reason why not. The caller waits for a lock at most, never for the database.
    pub(crate) fn submit(self: &Arc<Self>, keys: Vec<Key>, kind: Kind, job: Job) -> Result<(), SubmitError> {
        let keys = if self.settings.unfenced && kind == Kind::Load { Vec::new() } else { keys };
        let mut state = unpoisoned(&self.state);
        let shed = match self.room(&mut state, kind) {
            Ok(shed) => shed,
            Err(refused) => {
                state.counts.refused_total += 1;
                return Err(refused);
            }
        };
        let within = match kind {
            Kind::Load => self.settings.load_within,
            Kind::Save => self.settings.save_within,
        };
        let deadline = after(job.asked, within);
        state.counts.taken(kind);
        state.queue.push(keys, kind, deadline, job);
        self.post_wakeups(&mut state);
        self.wake_clock(&state, deadline);
        drop(state);
        if let Some(load) = shed {
            // Posted to the group: called here, the callback would run inside the caller's save.
            self.post_answer(load, Error::Shed);
        }
        Ok(())
    }

    /// Makes room for a job. Returns the load that was shed for it, if one was.
    fn room(&self, state: &mut State, kind: Kind) -> Result<Option<Job>, SubmitError> {
        if state.closing {
            return Err(SubmitError::Closed);
        }
        // When the pause is over, a load may be the probe.
        let down = match state.breaker.state() {
            BreakerState::Closed => false,
            BreakerState::Open => state.breaker.opens_at().is_none_or(|at| at > Instant::now()),
            BreakerState::HalfOpen => true,
        };
        if kind == Kind::Load && down {
            return Err(SubmitError::Down);
        }
        if state.queue.waiting() < self.settings.queue_max {
            return Ok(None);
        }
        let sheds = kind == Kind::Save && self.settings.when_full == WhenFull::ShedLoads;
        let load = sheds.then(|| state.queue.remove_oldest_load()).flatten().ok_or(SubmitError::Full)?;
        state.counts.shed_total += 1;
        Ok(Some(load))
    }

    /// Counts an answer that was dropped because its member had left.
    pub(crate) fn count_gone(&self) {
        unpoisoned(&self.state).counts.gone_total += 1;
    }

    /// The counters and gauges.
    pub(crate) fn stats(&self) -> Stats {
        let state = unpoisoned(&self.state);
        let micros = |quantile| Duration::from_micros(state.answers.value_at_quantile(quantile));
        Stats {
            waiting: state.queue.waiting(),
            running: state.queue.running(),
            breaker: state.breaker.state(),
            breaker_opened_total: state.breaker.opened_total,
            counts: state.counts.clone(),
            answer_p50: micros(0.5),
            answer_p99: micros(0.99),
            answer_max: micros(1.0),
            group: self.group.stats(),
        }
    }
}
