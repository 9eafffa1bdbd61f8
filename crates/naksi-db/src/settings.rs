//! Settings of a database: threads, bounds, timeouts.

use std::time::{Duration, Instant};

use crate::breaker::BreakerSettings;
use crate::error::OpenError;

/// Used instead of spans that overflow the clock: 34 years.
const FAR: Duration = Duration::from_secs(1 << 30);

/// The time `span` after `now`, also for spans that stand for "never", like [`Duration::MAX`].
pub(crate) fn after(now: Instant, span: Duration) -> Instant {
    now.checked_add(span).unwrap_or_else(|| now + FAR)
}

/// What happens to a job when the queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// It is refused.
    Refuse,
    /// A save takes the place of the load that has waited longest, which is answered [`Shed`](crate::Error::Shed);
    /// a load is refused, and so is a save when no load waits.
    #[default]
    ShedLoads,
}

/// What a write has survived once its answer is delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// A crash of the process; a power failure may lose the last moments. SQLite does not sync to disk with every
    /// save.
    ProcessEnd,
    /// A power cut, provided that the disk honours syncs.
    #[default]
    PowerCut,
}

/// Settings of a database. Each field names its default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Threads, with one connection each, 1 to 256. Default `None`: 2 for SQLite (one writer at a time), else 4.
    pub threads: Option<usize>,
    /// Most jobs that may wait; at least 1. Default 65,536.
    pub queue_max: usize,
    /// What happens to a job beyond that. Default [`WhenFull::ShedLoads`].
    pub when_full: WhenFull,
    /// How long a load may wait for its answer. Default 5 s.
    pub load_within: Duration,
    /// How long a save is retried; a shorter outage loses nothing. Default 60 s. A database that only answers "busy" is
    /// tried [`attempts_max`](Self::attempts_max) times within that.
    pub save_within: Duration,
    /// Most attempts of one job; at least 1. Default 20.
    pub attempts_max: u32,
    /// The pause before the second attempt. It doubles with each attempt, and is shortened at random by up to a half to
    /// spread retries. Default 20 ms.
    pub first_pause: Duration,
    /// The longest pause between two attempts. Default 2 s.
    pub pause_max: Duration,
    /// When the circuit breaker stops all attempts. Default: see [`BreakerSettings`].
    pub breaker: BreakerSettings,
    /// How long one attempt may take before the database counts as down. Default 10 s.
    pub statement_within: Duration,
    /// Time limit of one step of the schema, including the wait for another program's step; one hour by default.
    /// [`statement_within`](Self::statement_within) does not apply to it.
    pub migration_within: Duration,
    /// How long connecting may take. Default 5 s.
    pub connect_within: Duration,
    /// How long dropping the last handle waits for accepted saves; [`close`](crate::Database::close) takes its own
    /// limit. Default 10 s.
    pub close_within: Duration,
    /// What an answered write has survived (SQLite; a PostgreSQL server has its own setting). Default
    /// [`Durability::PowerCut`].
    pub durability: Durability,
    /// Lets loads overtake the saves of their key, for the test that shows what the fence prevents.
    #[doc(hidden)]
    pub unfenced: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            threads: None,
            queue_max: 65_536,
            when_full: WhenFull::default(),
            load_within: Duration::from_secs(5),
            save_within: Duration::from_secs(60),
            attempts_max: 20,
            first_pause: Duration::from_millis(20),
            pause_max: Duration::from_secs(2),
            breaker: BreakerSettings::default(),
            statement_within: Duration::from_secs(10),
            migration_within: Duration::from_secs(3600),
            connect_within: Duration::from_secs(5),
            close_within: Duration::from_secs(10),
            durability: Durability::default(),
            unfenced: false,
        }
    }
}

impl Settings {
    pub(crate) fn check(&self) -> Result<(), OpenError> {
        let rules = [
            (self.threads.is_none_or(|threads| (1..=256).contains(&threads)), "`threads` must be 1 to 256"),
            (self.queue_max > 0, "`queue_max` must be at least 1"),
            (self.attempts_max > 0, "`attempts_max` must be at least 1"),
            (self.breaker.failures > 0, "`breaker.failures` must be at least 1"),
            (!self.statement_within.is_zero(), "`statement_within` must not be zero"),
            (!self.migration_within.is_zero(), "`migration_within` must not be zero"),
            (!self.connect_within.is_zero(), "`connect_within` must not be zero"),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(OpenError::Setting(format!("database: {rule}"))),
            None => Ok(()),
        }
    }

    /// The pause after this many attempts (at least 1), before the random part is subtracted.
    pub(crate) fn pause(&self, attempts: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(attempts.saturating_sub(1));
        self.first_pause.saturating_mul(doubled).min(self.pause_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let settings = Settings::default();
        let millis: Vec<u128> = (1..=9).map(|attempts| settings.pause(attempts).as_millis()).collect();
        assert_eq!(millis, [20, 40, 80, 160, 320, 640, 1280, 2000, 2000]);
        assert_eq!(settings.pause(u32::MAX), settings.pause_max);
    }

    #[test]
    fn a_span_that_no_clock_can_reach_is_far_away_and_not_now() {
        let now = Instant::now();
        assert_eq!(after(now, Duration::from_secs(7)), now + Duration::from_secs(7));
        assert_eq!(after(now, Duration::MAX), now + FAR);
    }

    #[test]
    fn settings_that_make_no_sense_are_refused_by_name() {
        let wrong = Settings { queue_max: 0, ..Settings::default() };
        assert_eq!(
            wrong.check().map_err(|error| error.to_string()),
            Err("database: `queue_max` must be at least 1".to_owned())
        );
        assert_eq!(Settings::default().check(), Ok(()));
    }
}
