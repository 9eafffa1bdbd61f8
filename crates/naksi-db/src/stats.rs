//! Counters and gauges of a database.

use std::time::Duration;

use naksi::group::GroupStats;

use crate::breaker::BreakerState;
use crate::keyed_queue::Kind;

/// Counters of jobs since the database was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Loads accepted.
    pub loads_total: u64,
    /// Saves accepted.
    pub saves_total: u64,
    /// Loads answered without an error.
    pub loads_done_total: u64,
    /// Saves written.
    pub saves_done_total: u64,
    /// Retries.
    pub retried_total: u64,
    /// Jobs whose last attempt failed.
    pub failed_total: u64,
    /// Jobs whose deadline passed before they could run.
    pub late_total: u64,
    /// Loads dropped from a full queue in favour of a save.
    pub shed_total: u64,
    /// Jobs not accepted.
    pub refused_total: u64,
    /// Callbacks that panicked.
    pub panics_total: u64,
    /// Answers dropped because the room member that asked had left.
    pub gone_total: u64,
}

impl Counts {
    pub(crate) fn taken(&mut self, kind: Kind) {
        match kind {
            Kind::Load => self.loads_total += 1,
            Kind::Save => self.saves_total += 1,
        }
    }

    pub(crate) fn done(&mut self, kind: Kind) {
        match kind {
            Kind::Load => self.loads_done_total += 1,
            Kind::Save => self.saves_done_total += 1,
        }
    }
}

/// A snapshot of a database's gauges and counters.
#[derive(Clone, Debug)]
pub struct Stats {
    /// Jobs that wait for their first or next attempt.
    pub waiting: usize,
    /// Running jobs.
    pub running: usize,
    /// The state of the circuit breaker.
    pub breaker: BreakerState,
    /// How often the breaker opened.
    pub breaker_opened_total: u64,
    /// Counters of jobs.
    pub counts: Counts,
    /// The median time from submission to answer.
    pub answer_p50: Duration,
    /// The 99th percentile of the time from submission to answer.
    pub answer_p99: Duration,
    /// The slowest answer.
    pub answer_max: Duration,
    /// The thread group that runs the jobs: depth, wait and service times.
    pub group: GroupStats,
}

/// What was left when a database was closed; all zero if everything was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "saves may have been lost"]
pub struct Closed {
    /// Accepted saves that could not be written in time. Their callbacks got an error.
    pub saves_lost: usize,
    /// Accepted loads that did not run.
    pub loads_dropped: usize,
    /// Jobs that the database had not answered when the time was over; their outcome is unknown.
    pub still_running: usize,
}
