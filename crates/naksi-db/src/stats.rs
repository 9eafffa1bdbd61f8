//! What a database counts. Nothing here decides anything.

use std::time::Duration;

use naksi::group::GroupStats;

use crate::breaker::BreakerState;
use crate::lanes::Kind;

/// What has happened to jobs since the database was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Loads that were taken.
    pub loads_total: u64,
    /// Saves that were taken.
    pub saves_total: u64,
    /// Loads that were answered well.
    pub loads_done_total: u64,
    /// Saves that were written.
    pub saves_done_total: u64,
    /// Attempts after which a job was tried again.
    pub retried_total: u64,
    /// Jobs that failed for good.
    pub failed_total: u64,
    /// Jobs whose time was over before their turn came.
    pub late_total: u64,
    /// Loads that gave their place in a full queue to a save.
    pub shed_total: u64,
    /// Jobs that were not taken.
    pub refused_total: u64,
    /// Callbacks that panicked.
    pub panics_total: u64,
    /// Answers that were dropped because the member of a room that asked had gone.
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

/// A database at one moment.
#[derive(Clone, Debug)]
pub struct Stats {
    /// Jobs that wait for a turn, or for another attempt.
    pub waiting: usize,
    /// Jobs that run.
    pub running: usize,
    /// What the breaker lets through.
    pub breaker: BreakerState,
    /// How often it has opened.
    pub breaker_opened_total: u64,
    /// What has happened to jobs.
    pub counts: Counts,
    /// Half of all answers came within this time.
    pub answer_p50: Duration,
    /// All answers but one in a hundred came within this time.
    pub answer_p99: Duration,
    /// The slowest answer.
    pub answer_max: Duration,
    /// The group that runs the jobs: depth, wait and service time of a turn.
    pub group: GroupStats,
}

/// What was left when a database was closed; nothing, if all went well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "saves may have been lost"]
pub struct Closed {
    /// Saves that had been taken and could not be written in time. Their callbacks were told.
    pub saves_lost: usize,
    /// Loads that had been taken and were not carried out.
    pub loads_dropped: usize,
    /// Jobs that the database had not answered when the time was over; nobody knows what becomes of them.
    pub still_running: usize,
}
