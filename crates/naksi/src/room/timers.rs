//! A room's ticks and timers: what is due, and when. Time is passed in as `now`.

use std::time::Duration;

use naksi_core::tick::Tick;
use naksi_core::timer::{TimerKey, TimerWheel};

use super::options::{Overrun, Rate};

/// A tick that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DueTick {
    pub(super) number: u64,
    /// How long after its deadline it begins.
    pub(super) late: Duration,
    /// Ticks before it that are left out.
    pub(super) skipped: u64,
}

/// Deadlines at `start + n * period`, computed from the start each time, so that no error accumulates.
#[derive(Clone, Copy, Debug)]
struct Ticker {
    start: Tick,
    rate: Rate,
    overrun: Overrun,
    next: u64,
}

impl Ticker {
    fn deadline(&self, number: u64) -> Tick {
        let nanos = u128::from(number) * u128::from(self.rate.nanos) / u128::from(self.rate.ticks);
        self.start + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn due(&mut self, now: Tick) -> Option<DueTick> {
        if self.deadline(self.next) > now {
            return None;
        }
        let elapsed = now.since(self.start).as_nanos();
        let latest = elapsed * u128::from(self.rate.ticks) / u128::from(self.rate.nanos);
        // Rounding may place a deadline a nanosecond before the result of this division.
        let mut latest = u64::try_from(latest).unwrap_or(u64::MAX).max(self.next);
        while self.deadline(latest + 1) <= now {
            latest += 1;
        }
        let first = match self.overrun {
            Overrun::Skip => latest,
            Overrun::CatchUp(most) => self.next.max(latest.saturating_sub(most.into())),
        };
        let skipped = first - self.next;
        self.next = first + 1;
        Some(DueTick { number: first, late: now.since(self.deadline(first)), skipped })
    }
}

/// What a room waits for.
#[derive(Debug, Default)]
pub(super) struct RoomTimers {
    ticker: Option<Ticker>,
    /// Created with the first timer: most rooms have none, and a wheel takes some kilobytes.
    wheel: Option<Box<TimerWheel<u32>>>,
}

impl RoomTimers {
    /// Starts ticking; the first tick is due after one period.
    pub(super) fn begin(&mut self, rate: Option<Rate>, overrun: Overrun, now: Tick) {
        self.ticker = rate.map(|rate| Ticker { start: now, rate, overrun, next: 1 });
    }

    pub(super) fn set(&mut self, at: Tick, tag: u32) -> TimerKey {
        self.wheel.get_or_insert_default().set(at, tag)
    }

    pub(super) fn cancel(&mut self, key: TimerKey) -> bool {
        self.wheel.as_mut().is_some_and(|wheel| wheel.cancel(key).is_some())
    }

    /// When to look again.
    pub(super) fn next(&self) -> Option<Tick> {
        let tick = self.ticker.as_ref().map(|ticker| ticker.deadline(ticker.next));
        let timer = self.wheel.as_ref().and_then(|wheel| wheel.next());
        tick.into_iter().chain(timer).min()
    }

    /// The next tick, if it is due.
    pub(super) fn tick(&mut self, now: Tick) -> Option<DueTick> {
        self.ticker.as_mut().and_then(|ticker| ticker.due(now))
    }

    /// Collects the timers that are due. They are fired one by one, because a callback may cancel another one.
    pub(super) fn timers(&mut self, now: Tick, due: &mut Vec<TimerKey>) {
        if let Some(wheel) = &mut self.wheel {
            wheel.due(now, due);
        }
    }

    /// The tag of a due timer; `None` if it was cancelled since.
    pub(super) fn fire(&mut self, key: TimerKey) -> Option<u32> {
        self.wheel.as_mut().and_then(|wheel| wheel.fire(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timers(hz: u32, overrun: Overrun) -> RoomTimers {
        let mut timers = RoomTimers::default();
        let start = Tick::from_nanos(123_456_789);
        timers.begin(Some(Rate { nanos: 1_000_000_000, ticks: hz }), overrun, start);
        timers
    }

    fn at(nanos: u64) -> Tick {
        Tick::from_nanos(123_456_789 + nanos)
    }

    #[test]
    fn a_day_of_sixty_ticks_a_second_ends_on_the_nanosecond() {
        let mut timers = timers(60, Overrun::Skip);
        let ticks = 60 * 60 * 60 * 24;
        for number in 1..=ticks {
            let next = timers.next().expect("it ticks");
            assert!(timers.tick(Tick::from_nanos(next.nanos() - 1)).is_none(), "never early");
            let due = timers.tick(next).expect("its deadline has come");
            assert_eq!(due, DueTick { number, late: Duration::ZERO, skipped: 0 });
            if number == ticks {
                assert_eq!(next, at(86_400 * 1_000_000_000), "no drift");
            }
        }
    }

    #[test]
    fn what_was_missed_is_left_out_or_caught_up_to_its_bound() {
        let late = at(1_020_000_000);
        let mut skips = timers(10, Overrun::Skip);
        let wanted = DueTick { number: 10, late: Duration::from_millis(20), skipped: 9 };
        assert_eq!((skips.tick(late), skips.tick(late)), (Some(wanted), None));
        let mut catches = timers(10, Overrun::CatchUp(3));
        let due: Vec<_> = std::iter::from_fn(|| catches.tick(late)).collect();
        assert_eq!(due.iter().map(|due| due.number).collect::<Vec<_>>(), [7, 8, 9, 10]);
        assert_eq!(due.iter().map(|due| due.skipped).sum::<u64>(), 6);
    }

    #[test]
    fn ticks_run_and_ticks_left_out_are_all_ticks_there_were() {
        for (hz, overrun) in [(60, Overrun::Skip), (7, Overrun::CatchUp(2)), (1000, Overrun::CatchUp(0))] {
            let mut timers = timers(hz, overrun);
            let (mut now, mut seed, mut counted) = (0, 1_u64, 0);
            while now < 20_000_000_000 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                now += (seed >> 33) % 90_000_000;
                while let Some(due) = timers.tick(at(now)) {
                    counted += due.skipped + 1;
                    assert_eq!(due.number, counted, "{hz} Hz");
                }
                assert_eq!(counted, now * u64::from(hz) / 1_000_000_000, "{hz} Hz");
            }
        }
    }
}
