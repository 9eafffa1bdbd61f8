//! Thread groups: threads on a completion queue, for blocking or long work that must not hold a worker.
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
//! The queue behaves as a Windows completion port does: waiting threads are woken in last-in, first-out order, at
//! most `concurrency` of them run, and another one is released when a running one blocks: at once inside
//! [`blocking`], after some milliseconds elsewhere.

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
pub use stats::{GroupStats, SPREAD_BOUNDS, Spread};
pub use stepper::{Begun, Stepper};
use threads::Core;
pub(crate) use threads::Runnable;
pub use threads::{blocking, thread_index};

/// Threads on a completion queue (the lectures' thread group, lecture 002). Cheap to clone, usable from any thread.
/// When the last handle is dropped, the threads still run the jobs that were posted, then end.
#[derive(Clone)]
pub struct Group(Arc<Handle>);

/// Shared by all clones, and not held by the group's threads.
struct Handle(Arc<Core>);

impl Group {
    /// Opens a group and starts its threads.
    ///
    /// # Errors
    /// The options are invalid, or the system refuses a queue or a thread.
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

    /// Posts a job. Jobs posted by one thread are started in order. A panic ends the job only.
    ///
    /// # Errors
    /// The group is closed, or its queue is full and the group refuses jobs then.
    pub fn post(&self, job: impl FnOnce() + Send + 'static) -> Result<(), SubmitError> {
        self.0.0.post(Box::new(job))
    }

    /// Posts a runnable that is never refused for lack of room, because it is queued at most once.
    pub(crate) fn post_run(&self, runnable: Arc<dyn Runnable>) -> Result<(), SubmitError> {
        self.0.0.post_run(runnable)
    }

    /// The group's counters, and how long its jobs waited and took.
    pub fn stats(&self) -> GroupStats {
        self.0.0.stats()
    }

    /// Accepts no more jobs, runs those that were posted, and waits at most `within` for the threads to end. Threads
    /// that do not return in time are named in the log and left running.
    pub fn close(&self, within: Duration) -> GroupStats {
        self.0.0.close();
        self.0.0.join(within);
        self.stats()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Does not wait: the last handle may be dropped by one of the group's own jobs.
        self.0.close();
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Group({}, {} threads)", self.name(), self.threads())
    }
}
