//! Memory pressure: how close all sessions together are to their limit, and the three steps of load shedding.
//!
//! From 90 % on no new connection is accepted; from 95 % on, sessions end that hold bytes that do not move; from 98 %
//! on, those that hold most end too, until usage is below 90 % again.

use std::time::Duration;

/// A session is stuck if its bytes have not moved for this long. It is longer than a system takes to report progress:
/// Linux asks for more when a third of its buffer is free, Windows reports every 128 KiB.
pub const STUCK_AFTER: Duration = Duration::from_secs(5);

/// The step of the ladder that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Pressure {
    /// There is room.
    None,
    /// No new connection is accepted.
    NoNewcomers,
    /// In addition, sessions end that hold bytes that have not moved for [`STUCK_AFTER`].
    EndStuck,
    /// In addition, the sessions that hold most end.
    EndLargest,
}

impl Pressure {
    /// Every step, in the order of their numbers.
    pub const ALL: [Pressure; 4] =
        [Pressure::None, Pressure::NoNewcomers, Pressure::EndStuck, Pressure::EndLargest];

    /// The step for `held` bytes with a limit of `most`; 0 is no limit.
    pub fn of(held: u64, most: u64) -> Self {
        if most == 0 {
            return Pressure::None;
        }
        let steps = [(98, Pressure::EndLargest), (95, Pressure::EndStuck), (90, Pressure::NoNewcomers)];
        let reached = steps.into_iter().find(|(percent, _)| held >= part(most, *percent));
        reached.map_or(Pressure::None, |(_, step)| step)
    }
}

/// How many bytes one worker has to free so that all workers together get below the first step: its share of the
/// excess is its share of the held bytes.
pub fn share_of_relief(own: u64, held: u64, most: u64) -> u64 {
    let excess = held.saturating_sub(part(most, 90)).min(held);
    let share = u128::from(excess) * u128::from(own.min(held));
    u64::try_from(share.div_ceil(u128::from(held.max(1)))).unwrap_or(u64::MAX)
}

/// This percentage, and at least one byte: an idle service is under no pressure, however low its limit is.
fn part(most: u64, percent: u64) -> u64 {
    u64::try_from(u128::from(most) * u128::from(percent) / 100).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_begins_where_it_is_said_to_and_without_a_limit_there_is_none() {
        let steps: Vec<_> = [0, 899, 900, 949, 950, 979, 980, 5_000]
            .into_iter()
            .map(|held| Pressure::of(held, 1_000))
            .collect();
        use Pressure::{EndLargest, EndStuck, NoNewcomers, None};
        assert_eq!(steps, [None, None, NoNewcomers, NoNewcomers, EndStuck, EndStuck, EndLargest, EndLargest]);
        assert!(Pressure::ALL.iter().enumerate().all(|(number, step)| *step as usize == number));
        assert_eq!(Pressure::of(u64::MAX, 0), None);
        assert_eq!(Pressure::of(0, 1), None);
        assert_eq!(Pressure::of(u64::MAX, u64::MAX), EndLargest);
    }

    #[test]
    fn shares_together_are_the_excess_and_nobody_gives_more_than_it_holds() {
        for own in [[100, 900], [0, 1_000], [500, 500], [1, 999]] {
            let shares: Vec<u64> = own.iter().map(|own| share_of_relief(*own, 1_000, 1_000)).collect();
            let sum: u64 = shares.iter().sum();
            assert!((100..=101).contains(&sum), "{own:?}: {shares:?}");
            assert!(shares.iter().zip(own).all(|(share, own)| *share <= own), "{own:?}: {shares:?}");
        }
        assert_eq!(share_of_relief(50, 50, 1_000), 0, "below the first step nothing is given back");
        assert_eq!(share_of_relief(0, 0, 0), 0);
        assert_eq!(share_of_relief(u64::MAX, u64::MAX, 100), u64::MAX - 90);
    }
}
