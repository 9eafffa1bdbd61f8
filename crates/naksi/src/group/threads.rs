//! The threads of a group, their queue, and the jobs that wait in it.
//!
//! The completion queue carries numbers, each the slot of a job in a table. A job is in the table before its number
//! is in the queue, and both happen under one lock, which closing takes as well: no job is accepted after the quit
//! packets, so no accepted job is lost.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use naksi_core::table::Table;
use naksi_core::tick::Tick;
use naksi_core::unwind::catch_panic;
use naksi_os::queue::{Queue, Taken};

use super::stats::{Durations, Times};
use super::stepper::Steps;
use super::{GroupOptions, GroupStats, SubmitError, WhenFull};
use crate::config::{Error, Result};

/// A unit of work that runs repeatedly and is queued at most once at a time.
pub(crate) trait Runnable: Send + Sync {
    fn run(self: Arc<Self>, clock: &dyn Fn() -> Tick);
}

enum Job {
    Call(JobFn),
    Run(Arc<dyn Runnable>),
}

/// A job, and when it was posted.
pub(super) struct Posted {
    job: Job,
    at: Tick,
}

struct Waiting {
    jobs: Table<Posted>,
    closed: bool,
}

#[derive(Default)]
struct Counts {
    posted: AtomicU64,
    done: AtomicU64,
    refused: AtomicU64,
    run_here: AtomicU64,
    panics: AtomicU64,
    depth: AtomicUsize,
    depth_max: AtomicUsize,
}

/// The queue that carries the jobs' numbers to the threads.
enum Line {
    Threads(Queue),
    Steps(Steps),
}

/// What the threads of a group share.
pub(crate) struct Core {
    pub(super) options: GroupOptions,
    line: Line,
    waiting: Mutex<Waiting>,
    counts: Counts,
    times: Box<[Mutex<Times>]>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// A job that is a closure.
type JobFn = Box<dyn FnOnce() + Send>;
/// Jobs to run after the current one, each with its group.
type Behind = VecDeque<(Arc<Core>, JobFn)>;

thread_local! {
    /// The group that this thread belongs to, and its index there.
    static HERE: RefCell<Option<(Weak<Core>, usize)>> = const { RefCell::new(None) };
    /// Jobs that this thread runs after the one that it runs for lack of room, if it does.
    static BEHIND: RefCell<Option<Behind>> = const { RefCell::new(None) };
}

/// The data of these locks are valid between any two statements, so a poisoned lock is safe to use.
fn unpoisoned<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a blocking call: another thread of this thread's group may run meanwhile. On a thread that belongs to no
/// group it only makes the call.
pub fn blocking<T>(work: impl FnOnce() -> T) -> T {
    let here = HERE.with_borrow(|here| here.as_ref().and_then(|(core, _)| core.upgrade()));
    match here {
        Some(core) => match &core.line {
            Line::Threads(queue) => queue.blocking(work),
            Line::Steps(_) => work(),
        },
        None => work(),
    }
}

/// The index of this thread in its group, from 0, for jobs that keep something per thread such as a database
/// connection. `None` on a thread that belongs to no group.
pub fn thread_index() -> Option<usize> {
    HERE.with_borrow(|here| here.as_ref().map(|(_, index)| *index))
}

impl Core {
    pub(super) fn start(options: GroupOptions) -> Result<Arc<Self>> {
        let line = Line::Threads(Queue::open(options.concurrency)?);
        let core = Arc::new(Self::with_line(options, line));
        for index in 0..core.options.threads {
            let of_thread = Arc::clone(&core);
            let builder = thread::Builder::new().name(format!("naksi-{}-{index}", core.options.name));
            match builder.spawn(move || of_thread.live(index)) {
                Ok(thread) => unpoisoned(&core.threads).push(thread),
                Err(error) => {
                    core.close();
                    return Err(Error::System(format!("no thread for a group: {error}")));
                }
            }
        }
        Ok(core)
    }

    /// A group without threads; see [`Stepper`](super::Stepper).
    pub(super) fn stepped(options: GroupOptions) -> Arc<Self> {
        Arc::new(Self::with_line(options, Line::Steps(Steps::default())))
    }

    fn with_line(options: GroupOptions, line: Line) -> Self {
        Self {
            line,
            waiting: Mutex::new(Waiting { jobs: Table::new(1 << 24), closed: false }),
            counts: Counts::default(),
            times: (0..options.threads).map(|_| Mutex::default()).collect(),
            threads: Mutex::default(),
            options,
        }
    }

    pub(super) fn steps(&self) -> &Steps {
        match &self.line {
            Line::Steps(steps) => steps,
            Line::Threads(_) => unreachable!("only a group without threads has a stepper"),
        }
    }

    pub(super) fn now(&self) -> Tick {
        match &self.line {
            Line::Threads(_) => naksi_os::now(),
            Line::Steps(steps) => steps.now(),
        }
    }

    pub(super) fn post(self: &Arc<Self>, job: JobFn) -> Result<(), SubmitError> {
        let mut waiting = unpoisoned(&self.waiting);
        if waiting.closed {
            return Err(SubmitError::Closed);
        }
        if waiting.jobs.len() < self.options.jobs_max {
            return self.accept(&mut waiting, Job::Call(job));
        }
        drop(waiting);
        if self.options.when_full == WhenFull::RunHere && self.run_here(job) {
            self.counts.run_here.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        self.counts.refused.fetch_add(1, Ordering::Relaxed);
        Err(SubmitError::Full)
    }

    /// Runs a job on this thread: at once, or after the job that runs here already, so that jobs that post jobs need
    /// no deeper stack. Returns `false` if too many wait already.
    fn run_here(self: &Arc<Self>, job: JobFn) -> bool {
        let job = BEHIND.with_borrow_mut(|behind| match behind {
            Some(behind) if behind.len() >= self.options.jobs_max => Err(false),
            Some(behind) => {
                behind.push_back((Arc::clone(self), job));
                Err(true)
            }
            None => {
                *behind = Some(VecDeque::new());
                Ok(job)
            }
        });
        let job = match job {
            Ok(job) => job,
            Err(taken) => return taken,
        };
        self.play(job);
        while let Some((core, job)) = BEHIND.with_borrow_mut(|behind| behind.as_mut()?.pop_front()) {
            core.play(job);
        }
        BEHIND.set(None);
        true
    }

    pub(super) fn post_run(&self, runnable: Arc<dyn Runnable>) -> Result<(), SubmitError> {
        let mut waiting = unpoisoned(&self.waiting);
        if waiting.closed {
            return Err(SubmitError::Closed);
        }
        self.accept(&mut waiting, Job::Run(runnable))
    }

    fn accept(&self, waiting: &mut Waiting, job: Job) -> Result<(), SubmitError> {
        let posted = Posted { job, at: self.now() };
        let Ok((slot, generation)) = waiting.jobs.insert(posted) else { return Err(SubmitError::Full) };
        let depth = waiting.jobs.len();
        self.counts.depth.store(depth, Ordering::Relaxed);
        self.counts.depth_max.fetch_max(depth, Ordering::Relaxed);
        let number = u64::from(slot) << 32 | u64::from(generation);
        let queued = match &self.line {
            Line::Threads(queue) => queue.post(number),
            Line::Steps(steps) => {
                steps.post(number);
                true
            }
        };
        if !queued {
            // Reached only if the kernel has no memory, because the queue is not closed.
            waiting.jobs.remove(slot, generation);
            self.counts.refused.fetch_add(1, Ordering::Relaxed);
            return Err(SubmitError::Full);
        }
        self.counts.posted.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn live(self: &Arc<Self>, index: usize) {
        let Line::Threads(queue) = &self.line else { return };
        HERE.set(Some((Arc::downgrade(self), index)));
        crate::watchdog::enlist();
        loop {
            match queue.take(None) {
                Ok(Taken::Work(number)) => {
                    let posted = self.claim(number);
                    self.run(posted, self.now(), index);
                }
                Ok(Taken::Nothing) => {}
                Ok(Taken::Quit) => return,
                Err(error) => {
                    tracing::error!(group = self.options.name, %error, "a thread of a group ends");
                    return;
                }
            }
        }
    }

    /// Takes the job of a number that was taken out of the queue.
    pub(super) fn claim(&self, number: u64) -> Posted {
        let mut waiting = unpoisoned(&self.waiting);
        let posted = waiting.jobs.remove((number >> 32) as u32, number as u32);
        self.counts.depth.store(waiting.jobs.len(), Ordering::Relaxed);
        posted.expect("a number in the queue is the place of a job")
    }

    /// Runs a claimed job as one of the threads.
    pub(super) fn run(&self, posted: Posted, began: Tick, index: usize) {
        let Posted { job, at } = posted;
        match job {
            Job::Call(call) => self.play(call),
            Job::Run(runnable) => self.play(|| runnable.run(&|| self.now())),
        }
        let mut times = unpoisoned(&self.times[index]);
        times.wait.record(began.since(at));
        times.service.record(self.now().since(began));
        self.counts.done.fetch_add(1, Ordering::Relaxed);
    }

    fn play(&self, job: impl FnOnce()) {
        // A job owns what it captured; state left inconsistent by a panic is dropped with it.
        if let Err(panic) = catch_panic(job) {
            self.counts.panics.fetch_add(1, Ordering::Relaxed);
            let panic = panic.text();
            tracing::error!(group = self.options.name, ?panic, "a job panicked; its thread goes on");
        }
    }

    pub(super) fn close(&self) {
        let mut waiting = unpoisoned(&self.waiting);
        if std::mem::replace(&mut waiting.closed, true) {
            return;
        }
        let Line::Threads(queue) = &self.line else { return };
        let mut left = self.options.threads;
        while let Err(untold) = queue.close(left) {
            // The kernel has no memory for a packet now; retry, because the threads must be told.
            left = untold;
            thread::sleep(Duration::from_millis(1));
        }
    }

    pub(super) fn join(&self, within: Duration) {
        // No deadline if the clock cannot represent it.
        let until = Instant::now().checked_add(within);
        let threads = std::mem::take(&mut *unpoisoned(&self.threads));
        for thread in threads {
            if thread.thread().id() == thread::current().id() {
                continue;
            }
            while !thread.is_finished() && until.is_none_or(|until| Instant::now() < until) {
                thread::sleep(Duration::from_millis(1));
            }
            if !thread.is_finished() {
                let name = thread.thread().name();
                tracing::error!(name, "a thread of a group has not ended; a job may be blocking it");
            } else if thread.join().is_err() {
                tracing::error!(group = self.options.name, "a thread of a group panicked");
            }
        }
    }

    pub(super) fn stats(&self) -> GroupStats {
        let (mut wait, mut service) = (Durations::default(), Durations::default());
        for times in &self.times {
            let times = unpoisoned(times);
            wait.add(&times.wait);
            service.add(&times.service);
        }
        let counts = &self.counts;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        GroupStats {
            name: self.options.name.clone(),
            threads: self.options.threads,
            depth: counts.depth.load(Ordering::Relaxed),
            depth_max: counts.depth_max.load(Ordering::Relaxed),
            posted_total: read(&counts.posted),
            done_total: read(&counts.done),
            refused_total: read(&counts.refused),
            run_here_total: read(&counts.run_here),
            panics_total: read(&counts.panics),
            wait: wait.spread(),
            service: service.spread(),
        }
    }
}
