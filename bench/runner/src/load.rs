//! The load: one thread, one epoll instance, and a check of every byte. A load drives connections for a while and
//! reports what it measured.

mod crowd;
mod echo;
mod pattern;
mod quiet;
mod relay;
mod storm;

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

pub(crate) use echo::{Echo, Share};
pub(crate) use quiet::Quiet;
pub(crate) use relay::{Pace, Relay};
pub(crate) use storm::Storm;

/// How long the last messages may take before they count as lost.
const AFTERMATH: Duration = Duration::from_secs(2);

/// What a load saw while it was measured.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Messages that came back intact; for a relay, deliveries; for a storm, connections.
    pub(crate) messages: u64,
    /// Latencies in nanoseconds.
    pub(crate) latency: Histogram<u64>,
    /// Messages or deliveries that did not arrive, after a grace period.
    pub(crate) lost: u64,
    /// How the messages were distributed over connections with the same load.
    pub(crate) shares: Option<Shares>,
}

/// Whole messages of one connection each, while it was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Shares {
    pub(crate) least: u64,
    pub(crate) middle: u64,
    pub(crate) most: u64,
    /// The minimum is below a tenth of the median, with enough rounds of the median connection's window that this is
    /// not chance.
    pub(crate) starved: bool,
}

/// Rounds of the median connection's window before the minimum is judged.
const TURNS_MIN: u64 = 20;

impl Shares {
    /// The distribution of each connection's messages, with `window` of them in flight; `None` if there is too little
    /// to judge.
    fn of(mut messages: Vec<u64>, window: usize) -> Option<Self> {
        messages.sort_unstable();
        let (least, most) = (*messages.first()?, *messages.last()?);
        let middle = messages[messages.len() / 2];
        let starved = middle >= TURNS_MIN * window as u64 && least * 10 < middle;
        Some(Self { least, middle, most, starved })
    }
}

impl Seen {
    fn new() -> Self {
        // Three digits, up to a minute; longer latencies count as a minute.
        let latency = Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("bounds that are in order");
        Self { messages: 0, latency, lost: 0, shares: None }
    }

    fn record(&mut self, nanoseconds: u64) {
        self.latency.saturating_record(nanoseconds.max(1));
    }
}

/// How long a load runs before it is measured, and while it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_got_less_than_a_tenth_of_the_middle_one_starved_if_there_was_time_enough() {
        let starved =
            |messages: &[u64], window| Shares::of(messages.to_vec(), window).expect("connections").starved;
        assert!(starved(&[500, 490, 49, 510, 520], 1));
        assert!(!starved(&[500, 490, 50, 510, 520], 1), "a tenth is enough");
        assert!(!starved(&[19, 19, 0, 19, 19], 1), "too few to say");
        assert!(starved(&[20, 20, 0, 20, 20], 1));
        assert!(!starved(&[310, 310, 0, 310, 310], 16), "too few windows to say");
        let shares = Shares::of(vec![3, 1, 2], 1).expect("connections");
        assert_eq!((shares.least, shares.middle, shares.most), (1, 2, 3));
        assert_eq!(Shares::of(Vec::new(), 1), None);
    }
}
