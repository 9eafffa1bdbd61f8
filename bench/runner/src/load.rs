//! The load: one thread, one epoll, and every byte looked at.
//!
//! A load drives connections for a while and says what it saw. It knows no server and no process.

mod crowd;
mod echo;
mod pattern;
mod quiet;
mod relay;
mod storm;

use std::time::Duration;

use hdrhistogram::Histogram;

pub(crate) use echo::{Echo, Share};
pub(crate) use quiet::Quiet;
pub(crate) use relay::{Pace, Relay};
pub(crate) use storm::Storm;

/// What a load saw while it was measured.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Messages that came back whole and right; for a relay, deliveries; for a storm, connections.
    pub(crate) messages: u64,
    /// Latencies in nanoseconds.
    pub(crate) latency: Histogram<u64>,
    /// Deliveries that did not come (a relay that was given time to bring them).
    pub(crate) lost: u64,
}

impl Seen {
    fn new() -> Self {
        // Three digits, up to a minute: what is later is not looked at more closely.
        let latency = Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("bounds that are in order");
        Self { messages: 0, latency, lost: 0 }
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
