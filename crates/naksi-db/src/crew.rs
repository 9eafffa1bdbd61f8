//! What the threads of a database share: jobs in their lanes, the breaker, the connections; and the turns that the
//! group's threads take. Nobody waits here for a database while holding the lock.

mod closing;
mod clock;
mod turns;

#[cfg(test)]
mod tests;

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use naksi::group::{Group, GroupOptions};
use naksi_core::prng::Prng;

use crate::breaker::{Breaker, BreakerState};
use crate::error::{Error, OpenError, Refused};
use crate::lanes::{Key, Kind, Lanes};
use crate::link::{Link, Place};
use crate::settings::{Settings, WhenFull, after};
use crate::stats::{Counts, Stats};
use crate::task::Job;

/// Answers slower than this, in microseconds, are counted as this slow: an hour.
const ANSWER_MICROS_MAX: u64 = 3_600_000_000;

/// What the lock protects.
pub(crate) struct State {
    lanes: Lanes<Job>,
    breaker: Breaker,
    /// Turns that the group has been given and has not begun.
    turns: usize,
    /// No job is taken any more.
    closing: bool,
    /// The clock's thread has nothing to do any more.
    closed: bool,
    /// When the clock looks next; `None` if it waits to be told.
    clock_looks_at: Option<Instant>,
    counts: Counts,
    /// Microseconds from a job to its answer.
    answers: Histogram<u64>,
    chance: Prng,
}

/// What the threads of a database share.
pub(crate) struct Crew {
    place: Place,
    settings: Settings,
    group: Group,
    threads: usize,
    /// A connection for each thread of the group, made when it is first needed.
    links: Box<[Mutex<Option<Link>>]>,
    state: Mutex<State>,
    /// The clock is to look again.
    clock: Condvar,
    /// Nothing waits and nothing runs.
    idle: Condvar,
}

/// The data of these locks are valid between any two statements, so a panic elsewhere spoils nothing.
fn unpoisoned<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Crew {
    /// Starts the threads; the first of them gets the connection that is there already.
    pub(crate) fn start(place: Place, link: Link, settings: Settings) -> Result<Arc<Self>, OpenError> {
        let threads = settings.threads.unwrap_or_else(|| place.threads());
        // Each of them waits for its own connection: none has to be held back for another's sake.
        let options = GroupOptions::new("db").threads(threads).concurrency(threads as u32);
        let group = Group::open(options).map_err(|error| OpenError::Thread(error.to_string()))?;
        let links: Box<[_]> = (0..threads).map(|_| Mutex::new(None)).collect();
        *unpoisoned(&links[0]) = Some(link);
        let state = State {
            lanes: Lanes::default(),
            breaker: Breaker::new(settings.breaker),
            turns: 0,
            closing: false,
            closed: false,
            clock_looks_at: None,
            counts: Counts::default(),
            answers: Histogram::new_with_bounds(1, ANSWER_MICROS_MAX, 3).expect("bounds that make sense"),
            // Programs that failed together must not come back together, also in containers with equal process ids.
            chance: Prng::new(RandomState::new().hash_one(())),
        };
        let crew = Arc::new(Self {
            place,
            settings,
            group,
            threads,
            links,
            state: Mutex::new(state),
            clock: Condvar::new(),
            idle: Condvar::new(),
        });
        let of_clock = Arc::clone(&crew);
        let clock = std::thread::Builder::new().name("naksi-db-clock".to_owned());
        clock.spawn(move || clock::run(&of_clock)).map_err(|error| OpenError::Thread(error.to_string()))?;
        Ok(crew)
    }

    /// Takes a job, or says why not. Whoever asks waits for a lock at most, never for the database.
    pub(crate) fn put_in(self: &Arc<Self>, keys: Vec<Key>, kind: Kind, job: Job) -> Result<(), Refused> {
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
        state.lanes.push(keys, kind, deadline, job);
        self.summon(&mut state);
        self.wake_clock(&state, deadline);
        drop(state);
        if let Some(load) = shed {
            // Not here: the callback would run inside the save of whoever asks.
            self.answer_elsewhere(load, Error::Shed);
        }
        Ok(())
    }

    /// Room for a job: a load that gave its place to it, if one had to.
    fn room(&self, state: &mut State, kind: Kind) -> Result<Option<Job>, Refused> {
        if state.closing {
            return Err(Refused::Closed);
        }
        // When the pause is over, a load is as good a probe as a save.
        let down = match state.breaker.state() {
            BreakerState::Closed => false,
            BreakerState::Open => state.breaker.opens_at().is_none_or(|at| at > Instant::now()),
            BreakerState::HalfOpen => true,
        };
        if kind == Kind::Load && down {
            return Err(Refused::Down);
        }
        if state.lanes.waiting() < self.settings.queue_max {
            return Ok(None);
        }
        let sheds = kind == Kind::Save && self.settings.when_full == WhenFull::ShedLoads;
        let load = sheds.then(|| state.lanes.take_out_oldest_load()).flatten().ok_or(Refused::Full)?;
        state.counts.shed_total += 1;
        Ok(Some(load))
    }

    /// An answer found nobody.
    pub(crate) fn count_gone(&self) {
        unpoisoned(&self.state).counts.gone_total += 1;
    }

    /// What is counted.
    pub(crate) fn stats(&self) -> Stats {
        let state = unpoisoned(&self.state);
        let micros = |quantile| Duration::from_micros(state.answers.value_at_quantile(quantile));
        Stats {
            waiting: state.lanes.waiting(),
            running: state.lanes.running(),
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
