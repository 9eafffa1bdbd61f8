//! Options of a thread group.

use crate::config::{Error, Result};

/// What happens to a job when the group's queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// The job is refused and `post` returns an error.
    #[default]
    Refuse,
    /// The posting thread runs the job itself, which slows down the producer. Jobs that such a job posts in turn run
    /// after it, before the outermost `post` returns; more than `jobs_max` of these are refused. Not for groups that
    /// workers post to, because it would hold the worker.
    RunHere,
}

/// The options of a thread group.
///
/// ```
/// use naksi::group::{GroupOptions, WhenFull};
/// let database = GroupOptions::new("db").threads(8).concurrency(4).jobs_max(1_000).when_full(WhenFull::Refuse);
/// assert_eq!(database.name(), "db");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct GroupOptions {
    pub(super) name: String,
    pub(super) threads: usize,
    pub(super) concurrency: u32,
    pub(super) jobs_max: usize,
    pub(super) when_full: WhenFull,
}

impl GroupOptions {
    /// A group of this name with one thread per processor, all of which may run, and room for 65,536 jobs.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            threads: std::thread::available_parallelism().map_or(1, |count| count.get().min(256)),
            concurrency: 0,
            jobs_max: 65_536,
            when_full: WhenFull::Refuse,
        }
    }

    /// Number of threads, 1 to 256. Threads beyond the concurrency run while others block.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Threads that may run at a time; 0 means as many as there are processors.
    pub fn concurrency(mut self, concurrency: u32) -> Self {
        self.concurrency = concurrency;
        self
    }

    /// Most jobs that may wait; at least 1.
    pub fn jobs_max(mut self, jobs_max: usize) -> Self {
        self.jobs_max = jobs_max;
        self
    }

    /// What happens to a job when the queue is full.
    pub fn when_full(mut self, when_full: WhenFull) -> Self {
        self.when_full = when_full;
        self
    }

    /// The name under which the group is looked up.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn check(&self) -> Result<()> {
        let rules = [
            (!self.name.is_empty(), "a group must have a name"),
            (
                !self.name.contains('\0'),
                "a group's name must not contain a null character: its threads are named after it",
            ),
            ((1..=256).contains(&self.threads), "a group's threads must be 1 to 256"),
            ((1..=1 << 23).contains(&self.jobs_max), "a group's jobs_max must be 1 to 8,388,608"),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(Error::Config(format!("{rule} (group `{}`)", self.name))),
            None => Ok(()),
        }
    }
}
