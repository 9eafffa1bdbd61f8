//! Counters of a group, and how long its jobs waited and took.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;

/// Shorter durations count as this long.
const NANOS_MIN: u64 = 1_000;
/// Longer durations count as this long.
const NANOS_MAX: u64 = 100_000_000_000;

/// Durations, with two significant digits each.
#[derive(Clone, Debug)]
pub(crate) struct Durations(Histogram<u64>);

impl Default for Durations {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(NANOS_MIN, NANOS_MAX, 2).expect("the bounds make sense"))
    }
}

impl Durations {
    pub(crate) fn record(&mut self, span: Duration) {
        self.0.saturating_record(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all of them have the same bounds");
    }

    pub(crate) fn spread(&self) -> Spread {
        let at = |quantile| Duration::from_nanos(self.0.value_at_quantile(quantile));
        if self.0.is_empty() {
            return Spread::default();
        }
        let mut spread = Spread {
            count: self.0.len(),
            p50: at(0.5),
            p99: at(0.99),
            max: Duration::from_nanos(self.0.max()),
            ..Spread::default()
        };
        for step in self.0.iter_recorded() {
            let (nanos, count) = (step.value_iterated_to(), step.count_since_last_iteration());
            spread.sum += Duration::from_nanos(nanos.saturating_mul(count));
            // What is told apart no further than this bound counts as within it.
            let shortest = Duration::from_nanos(self.0.lowest_equivalent(nanos));
            let within =
                SPREAD_BOUNDS.iter().zip(&mut spread.within).filter(|(bound, _)| shortest <= **bound);
            within.for_each(|(_, within)| *within += count);
        }
        spread
    }
}

/// The bounds of [`Spread::within`].
pub const SPREAD_BOUNDS: [Duration; 11] = [
    Duration::from_micros(50),
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2_500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(100),
    Duration::from_secs(1),
];

/// A distribution of durations, each accurate to one percent and not finer than a microsecond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    /// How many were measured.
    pub count: u64,
    /// Half of them were no longer.
    pub p50: Duration,
    /// The 99th percentile.
    pub p99: Duration,
    /// The longest one.
    pub max: Duration,
    /// All of them together.
    pub sum: Duration,
    /// For each of [`SPREAD_BOUNDS`], how many were no longer than it.
    pub within: [u64; SPREAD_BOUNDS.len()],
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p50 {:.1?} p99 {:.1?} max {:.1?} of {}", self.p50, self.p99, self.max, self.count)
    }
}

/// One thread's measurements.
#[derive(Debug, Default)]
pub(super) struct Times {
    pub(super) wait: Durations,
    pub(super) service: Durations,
}

/// A group's counters at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupStats {
    /// Its name.
    pub name: String,
    /// Its threads.
    pub threads: usize,
    /// Jobs that wait now.
    pub depth: usize,
    /// Most jobs that waited at the same time.
    pub depth_max: usize,
    /// Jobs that were taken into the queue.
    pub posted_total: u64,
    /// Jobs that its threads ran, including those that panicked.
    pub done_total: u64,
    /// Jobs refused because the queue was full.
    pub refused_total: u64,
    /// Jobs that their poster ran because the queue was full.
    pub run_here_total: u64,
    /// Jobs that panicked.
    pub panics_total: u64,
    /// How long jobs waited in the queue.
    pub wait: Spread,
    /// How long they took.
    pub service: Spread,
}

impl fmt::Display for GroupStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, depth, depth_max, posted_total, done_total, refused_total, .. } = self;
        let Self { run_here_total, panics_total, wait, service, .. } = self;
        writeln!(
            f,
            "group.{name:<18} posted {posted_total} done {done_total} depth {depth} depth_max {depth_max} \
             refused {refused_total} run_here {run_here_total} panics {panics_total}"
        )?;
        writeln!(f, "group.{name}.wait    {wait}")?;
        writeln!(f, "group.{name}.service {service}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_counted_within_each_bound_that_they_do_not_exceed() {
        let mut durations = Durations::default();
        assert_eq!(durations.spread(), Spread::default());
        for micros in [1, 50, 51, 1_000, 30_000, 2_000_000] {
            durations.record(Duration::from_micros(micros));
        }
        let spread = durations.spread();
        assert_eq!(spread.within, [2, 3, 3, 3, 4, 4, 4, 4, 4, 5, 5]);
        let sum = Duration::from_micros(2_031_102);
        assert!(spread.sum >= sum && spread.sum < sum + sum / 50, "{:?}", spread.sum);
        assert_eq!(spread.count, 6);
    }
}
