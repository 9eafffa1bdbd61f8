//! Groups: threads on a completion queue that carry out what must not hold a worker.
//!
//! ```
//! use naksi::group::{Group, GroupOptions};
//! # fn main() -> naksi::Result<()> {
//! let database = Group::open(GroupOptions::new("db").threads(4).concurrency(2))?;
//! database.post(|| naksi::group::blocking(|| std::thread::sleep(std::time::Duration::from_millis(5))))?;
//! let stats = database.close(std::time::Duration::from_secs(1));
//! assert_eq!((stats.done_total, stats.depth), (1, 0));
//! # Ok(())
//! # }
//! ```
//!
//! The queue keeps a completion port's laws: of those who wait, the thread that came last is woken first, at
//! most `concurrency` of them run, and another one is released when one blocks, at once inside [`blocking`]
//! and after some milliseconds where it is not announced. Nothing here knows what a job is about.

mod threads;
mod options;
mod stepper;
mod stats;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Result;
pub use crate::config::SubmitError;
pub use options::{GroupOptions, WhenFull};
pub(crate) use stats::Durations;
pub use stats::{GroupStats, Spread};
pub use stepper::{Begun, Stepper};
use threads::Core;
pub(crate) use threads::Runnable;
pub use threads::{blocking, thread_index};

/// Threads on a completion queue (the lectures' thread group, lecture 002). Cheap to clone, usable from any
/// thread. When the last handle is gone, what was posted is still carried out, and the threads end.
#[derive(Clone)]
pub struct Group(Arc<Handle>);

/// What every clone holds, and no thread of the group does.
struct Handle(Arc<Core>);

impl Group {
    /// A group and its threads, which wait for jobs.
    ///
    /// # Errors
    /// Options that make no sense, or a system that has no queue or no thread left.
    pub fn open(options: GroupOptions) -> Result<Self> {
        options.check()?;
        Core::start(options).map(|core| Self(Arc::new(Handle(core))))
    }

    /// The name that it was given.
    pub fn name(&self) -> &str {
        &self.0.0.options.name
    }

    /// How many threads it has.
    pub fn threads(&self) -> usize {
        self.0.0.options.threads
    }

    /// Puts a job in. Jobs of one thread are begun in their order; a panic ends the job alone.
    ///
    /// # Errors
    /// The queue is full and the group refuses then, or the group is closed.
    pub fn post(&self, job: impl FnOnce() + Send + 'static) -> Result<(), SubmitError> {
        self.0.0.post(Box::new(job))
    }

    /// Puts something in that is never refused for want of room, because there is only one of it.
    pub(crate) fn post_run(&self, runnable: Arc<dyn Runnable>) -> Result<(), SubmitError> {
        self.0.0.post_run(runnable)
    }

    /// What it counts and how long its jobs took.
    pub fn stats(&self) -> GroupStats {
        self.0.0.stats()
    }

    /// Takes no more jobs, carries out what was posted, and waits at most so long for the threads to end.
    /// Threads that do not return in time are named in the log and left alone.
    pub fn close(&self, within: Duration) -> GroupStats {
        self.0.0.close();
        self.0.0.join(within);
        self.stats()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Not waited for: the last handle may be dropped by one of the group's own jobs.
        self.0.close();
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Group({}, {} threads)", self.name(), self.threads())
    }
}
