//! What a database is to be like: threads, bounds, patience. Nothing here opens anything.

use std::time::{Duration, Instant};

use crate::breaker::BreakerSettings;
use crate::error::OpenError;

/// A span that no clock can reach ends after so long: 34 years.
const FAR: Duration = Duration::from_secs(1 << 30);

/// The time `span` after `now`, also for spans that stand for "never", like [`Duration::MAX`].
pub(crate) fn after(now: Instant, span: Duration) -> Instant {
    now.checked_add(span).unwrap_or_else(|| now + FAR)
}

/// What happens to a job when as many wait as may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// It is refused.
    Refuse,
    /// A save takes the place of the load that has waited longest, which is answered [`Shed`](crate::Error::Shed);
    /// a load is refused, and so is a save when no load waits.
    #[default]
    ShedLoads,
}

/// What a write that was answered has survived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The end of the process, however it comes; a power cut may take the last moments. SQLite does not wait for the
    /// disk with every save then.
    ProcessEnd,
    /// A power cut, as far as the disk tells the truth.
    #[default]
    PowerCut,
}

/// What a database is to be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Threads, with a connection each, 1 to 256; `None` is 2 for SQLite, which has one writer at a time, and 4 else.
    pub threads: Option<usize>,
    /// Jobs that wait at most; at least 1.
    pub queue_max: usize,
    /// What happens to a job beyond that.
    pub when_full: WhenFull,
    /// How long a load waits for its answer at most.
    pub load_within: Duration,
    /// How long a save is tried for at most: an outage that is shorter loses nothing. (A database that answers, but
    /// only that it is busy, is tried [`attempts_max`](Self::attempts_max) times within that.)
    pub save_within: Duration,
    /// Attempts of one job at most; at least 1.
    pub attempts_max: u32,
    /// The pause before a second attempt; it doubles with each, and is shortened by up to a half at random, so that
    /// those who failed together do not come back together.
    pub first_pause: Duration,
    /// The longest pause between two attempts.
    pub pause_max: Duration,
    /// When nobody tries at all.
    pub breaker: BreakerSettings,
    /// How long one attempt may take in the database, before it counts as down.
    pub statement_within: Duration,
    /// How long one step of the schema may take, the wait for another program's step included; one hour by default.
    /// [`statement_within`](Self::statement_within) does not bound it.
    pub migration_within: Duration,
    /// How long a connection may take.
    pub connect_within: Duration,
    /// How long the last handle waits, when it is dropped, for what was accepted; [`close`](crate::Database::close)
    /// is told.
    pub close_within: Duration,
    /// What an answered write has survived (SQLite; a PostgreSQL server has its own setting).
    pub durability: Durability,
    /// Loads pass the saves of their key: for the test that shows what the fence is for.
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

    /// The pause after so many attempts (at least 1), before chance shortens it.
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
