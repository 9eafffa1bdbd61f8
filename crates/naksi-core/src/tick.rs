//! Time as a number that somebody else reads.
//!
//! A port is the only clock (law 11): it counts nanoseconds from its own start, and a simulated port
//! counts whatever it likes. Nothing here asks what time it is.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A point in a port's time: nanoseconds since that port's epoch. 584 years fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(u64);

impl Tick {
    /// The port's epoch.
    pub const ZERO: Tick = Tick(0);
    /// Later than any other tick.
    pub const MAX: Tick = Tick(u64::MAX);

    /// The point `nanos` nanoseconds after the epoch.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the epoch.
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// How long from `earlier` until here; zero if `earlier` is later.
    pub fn since(self, earlier: Tick) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Tick {
    type Output = Tick;

    /// Saturates: "in five hundred years" and "never" are the same wish.
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
