//! The flush policy: whether a session's queued data is sent at once or at the next tick.
//!
//! Ticks are multiples of their span since the port's epoch, so that all sessions with the same span send in the same
//! turn.

use std::time::Duration;

use crate::tick::Tick;

/// The shortest span between two ticks.
pub const SPAN_MIN: Duration = Duration::from_millis(1);
/// The longest span between two ticks.
pub const SPAN_MAX: Duration = Duration::from_millis(100);

/// When queued bytes leave. Their order is the same either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flush {
    /// At the end of the turn in which they were queued.
    #[default]
    AtOnce,
    /// At the next tick, so that one send carries everything queued since the last one. The span is 1 to 100 ms;
    /// bytes wait for half of it on average. A session that is ending, or that has more queued than the high mark,
    /// does not wait.
    Every(Duration),
}

impl Flush {
    /// Checks the policy.
    ///
    /// # Errors
    /// A span shorter than 1 ms or longer than 100 ms.
    pub fn check(self) -> Result<(), String> {
        match self {
            Self::Every(span) if !(SPAN_MIN..=SPAN_MAX).contains(&span) => {
                Err(format!("a tick must come every 1 to 100 ms, not every {span:?}"))
            }
            _ => Ok(()),
        }
    }

    /// The first tick after `now`; `now` itself if there are no ticks.
    pub fn next(self, now: Tick) -> Tick {
        match self {
            Self::AtOnce => now,
            Self::Every(span) => {
                let span = (span.as_nanos() as u64).max(1);
                Tick::from_nanos((now.nanos() / span).saturating_add(1).saturating_mul(span))
            }
        }
    }
}

/// A session's policy, and when data that is held back may be sent. Compact, because every idle session has one.
#[derive(Debug)]
pub(crate) struct FlushTimer {
    /// 0 is at once.
    span_nanos: u32,
    /// `Tick::MAX` while nothing that waits has been asked for.
    due: Tick,
}

impl Default for FlushTimer {
    fn default() -> Self {
        Self { span_nanos: 0, due: Tick::MAX }
    }
}

impl FlushTimer {
    pub(crate) fn flush(&self) -> Flush {
        match self.span_nanos {
            0 => Flush::AtOnce,
            nanos => Flush::Every(Duration::from_nanos(nanos.into())),
        }
    }

    /// Sets the policy; data held back under the old one is sent at once.
    pub(crate) fn set(&mut self, flush: Flush) {
        self.span_nanos = match flush {
            Flush::AtOnce => 0,
            Flush::Every(span) => u32::try_from(span.as_nanos()).unwrap_or(u32::MAX),
        };
        if self.due != Tick::MAX {
            self.due = Tick::ZERO;
        }
    }

    /// Waiting data is sent without waiting for its tick. No effect on an empty queue, whose next data would not wait
    /// either.
    pub(crate) fn hurry(&mut self) {
        self.due = Tick::ZERO;
    }

    /// Whether queued bytes must wait for the tick; the first call fixes that tick.
    pub(crate) fn holds(&mut self, now: Tick) -> bool {
        if self.span_nanos == 0 {
            return false;
        }
        if self.due == Tick::MAX {
            self.due = self.flush().next(now);
        }
        self.due > now
    }

    /// Everything has left.
    pub(crate) fn left(&mut self) {
        self.due = Tick::MAX;
    }

    /// When bytes that were held back may leave.
    pub(crate) fn due(&self) -> Option<Tick> {
        (self.due != Tick::MAX).then_some(self.due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_tick_is_a_multiple_and_never_now() {
        let flush = Flush::Every(Duration::from_millis(5));
        for (now, next) in [(0, 5), (1, 5), (4, 5), (5, 10), (9, 10), (10, 15)] {
            assert_eq!(
                flush.next(Tick::from_nanos(now * 1_000_000)).nanos(),
                next * 1_000_000,
                "after {now} ms"
            );
        }
        assert_eq!(Flush::AtOnce.next(Tick::from_nanos(7)).nanos(), 7);
    }

    #[test]
    fn a_span_that_makes_no_sense_is_named() {
        assert_eq!(Flush::AtOnce.check(), Ok(()));
        for span in [SPAN_MIN, Duration::from_millis(5), SPAN_MAX] {
            assert_eq!(Flush::Every(span).check(), Ok(()));
        }
        for span in [Duration::ZERO, Duration::from_micros(999), Duration::from_millis(101)] {
            assert!(Flush::Every(span).check().unwrap_err().contains("1 to 100 ms"));
        }
    }
}
