//! Time as a number.
//!
//! A port is the only clock (law 11): it counts nanoseconds from its own start, and a simulated port chooses its own
//! time.

use std::num::NonZeroU64;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A point in a port's time: nanoseconds since that port's epoch. The range is 584 years.
///
/// Stored plus one, so that an `Option<Tick>` takes no more space: every idle session has several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(NonZeroU64);

impl Default for Tick {
    fn default() -> Self {
        Self::ZERO
    }
}

impl Tick {
    /// The port's epoch.
    pub const ZERO: Tick = Tick::from_nanos(0);
    /// Later than any other tick.
    pub const MAX: Tick = Tick::from_nanos(u64::MAX);

    /// The point `nanos` nanoseconds after the epoch. The last two values map to the same point: never.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(NonZeroU64::MIN.saturating_add(nanos))
    }

    /// Nanoseconds since the epoch.
    pub const fn nanos(self) -> u64 {
        self.0.get() - 1
    }

    /// How long from `earlier` until here; zero if `earlier` is later.
    pub fn since(self, earlier: Tick) -> Duration {
        Duration::from_nanos(self.nanos().saturating_sub(earlier.nanos()))
    }
}

impl Add<Duration> for Tick {
    type Output = Tick;

    /// Saturates: a time beyond the range means never.
    fn add(self, span: Duration) -> Tick {
        let nanos = span.as_secs().saturating_mul(1_000_000_000).saturating_add(span.subsec_nanos().into());
        Tick(self.0.saturating_add(nanos))
    }
}

impl Sub<Tick> for Tick {
    type Output = Duration;

    fn sub(self, earlier: Tick) -> Duration {
        self.since(earlier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_added_and_taken_off_and_neither_end_is_passed() {
        let (early, late) = (Tick::from_nanos(5), Tick::from_nanos(5) + Duration::from_nanos(7));
        assert_eq!(
            (late.nanos(), late - early, late.since(early)),
            (12, Duration::from_nanos(7), Duration::from_nanos(7))
        );
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(late + Duration::MAX, Tick::MAX);
    }
}
