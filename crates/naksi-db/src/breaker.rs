//! A circuit breaker: after some failures in a row all attempts stop for a pause, then one probe decides.
//!
//! Closed: attempts pass. Open: none passes until the pause is over. Half open: one probe is in progress, and its
//! outcome closes the breaker or opens it again. Time is an argument.

use std::time::{Duration, Instant};

use crate::settings::after;

/// When the breaker opens, and for how long. Default: 5 failures; 500 ms at first, 5 s at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerSettings {
    /// Failures in a row after which it opens; at least 1.
    pub failures: u32,
    /// The first pause; it doubles with each failed probe.
    pub first_pause: Duration,
    /// The longest pause.
    pub pause_max: Duration,
}

impl Default for BreakerSettings {
    /// Five failures; open for half a second at first, for five seconds at most.
    fn default() -> Self {
        Self { failures: 5, first_pause: Duration::from_millis(500), pause_max: Duration::from_secs(5) }
    }
}

/// The state of a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// All attempts pass.
    Closed,
    /// No attempt passes until the pause is over.
    Open,
    /// One probe is in progress; no other attempt passes.
    HalfOpen,
}

#[derive(Debug)]
pub(crate) struct Breaker {
    settings: BreakerSettings,
    state: BreakerState,
    failures: u32,
    pause: Duration,
    until: Option<Instant>,
    /// How often it has opened after having been closed.
    pub(crate) opened_total: u64,
}

impl Breaker {
    pub(crate) fn new(settings: BreakerSettings) -> Self {
        let pause = settings.first_pause;
        Self { settings, state: BreakerState::Closed, failures: 0, pause, until: None, opened_total: 0 }
    }

    pub(crate) fn state(&self) -> BreakerState {
        self.state
    }

    /// Whether an attempt may start now. After `true`, the caller must report `succeeded` or `failed`.
    pub(crate) fn pass(&mut self, now: Instant) -> bool {
        match self.state {
            BreakerState::Closed => true,
            BreakerState::Open if self.until.is_none_or(|until| until <= now) => {
                self.state = BreakerState::HalfOpen;
                true
            }
            BreakerState::Open | BreakerState::HalfOpen => false,
        }
    }

    /// When the next probe may start; `None` unless the breaker is open.
    pub(crate) fn opens_at(&self) -> Option<Instant> {
        self.until.filter(|_| self.state == BreakerState::Open)
    }

    /// The database answered; a rejection counts as an answer.
    pub(crate) fn succeeded(&mut self) {
        self.state = BreakerState::Closed;
        (self.failures, self.pause, self.until) = (0, self.settings.first_pause, None);
    }

    /// The database did not answer. Returns `true` if this failure opened the breaker.
    pub(crate) fn failed(&mut self, now: Instant) -> bool {
        self.failures = self.failures.saturating_add(1);
        match self.state {
            BreakerState::Closed if self.failures < self.settings.failures => false,
            BreakerState::Closed => {
                self.open(now);
                self.opened_total += 1;
                true
            }
            BreakerState::HalfOpen => {
                self.pause = self.pause.saturating_mul(2).min(self.settings.pause_max);
                self.open(now);
                false
            }
            // An attempt that started before the breaker opened: no change.
            BreakerState::Open => false,
        }
    }

    fn open(&mut self, now: Instant) {
        self.state = BreakerState::Open;
        self.until = Some(after(now, self.pause));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: BreakerSettings = BreakerSettings {
        failures: 3,
        first_pause: Duration::from_millis(100),
        pause_max: Duration::from_millis(300),
    };

    fn opened(now: Instant) -> Breaker {
        let mut breaker = Breaker::new(SETTINGS);
        assert!((0..2).all(|_| breaker.pass(now) && !breaker.failed(now)), "two failures are not enough");
        assert!(breaker.pass(now) && breaker.failed(now), "the third opens it");
        breaker
    }

    #[test]
    fn an_open_breaker_passes_no_attempt_until_its_pause_is_over_and_then_one_probe() {
        let now = Instant::now();
        let mut breaker = opened(now);
        let end = now + Duration::from_millis(100);
        assert!(!breaker.pass(now) && !breaker.pass(end - Duration::from_nanos(1)));
        assert_eq!((breaker.state(), breaker.opens_at()), (BreakerState::Open, Some(end)));
        assert!(breaker.pass(end), "the probe");
        assert!(!breaker.pass(end), "one probe at a time");
        assert_eq!((breaker.state(), breaker.opens_at()), (BreakerState::HalfOpen, None));
        breaker.succeeded();
        assert!(breaker.pass(end) && breaker.pass(end) && breaker.state() == BreakerState::Closed);
        assert!(!breaker.failed(end) && !breaker.failed(end), "it counts from the beginning again");
    }

    #[test]
    fn a_probe_that_fails_doubles_the_pause_up_to_its_bound() {
        let mut now = Instant::now();
        let mut breaker = opened(now);
        for pause in [100, 200, 300, 300] {
            assert_eq!(breaker.opens_at(), Some(now + Duration::from_millis(pause)));
            now += Duration::from_millis(pause);
            assert!(breaker.pass(now) && !breaker.failed(now));
        }
        assert_eq!(breaker.opened_total, 1);
    }

    #[test]
    fn a_pause_without_an_end_keeps_it_open() {
        let now = Instant::now();
        let forever = BreakerSettings { failures: 1, first_pause: Duration::MAX, pause_max: Duration::MAX };
        let mut breaker = Breaker::new(forever);
        assert!(breaker.failed(now));
        for years in 0..10 {
            assert!(!breaker.pass(now + Duration::from_secs(years * 31_536_000)), "{years} years later");
        }
        // A long pause doubles to one that no clock can reach.
        let long = BreakerSettings {
            failures: 1,
            first_pause: Duration::from_secs(1 << 62),
            pause_max: Duration::MAX,
        };
        let mut breaker = Breaker::new(long);
        breaker.state = BreakerState::HalfOpen;
        for _ in 0..3 {
            assert!(!breaker.failed(now));
            assert!(!breaker.pass(now + Duration::from_secs(3600)));
            breaker.state = BreakerState::HalfOpen;
        }
    }

    #[test]
    fn an_answer_between_two_failures_begins_the_count_anew() {
        let now = Instant::now();
        let mut breaker = Breaker::new(SETTINGS);
        for _ in 0..10 {
            assert!(!breaker.failed(now) && !breaker.failed(now));
            breaker.succeeded();
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
    }
}
