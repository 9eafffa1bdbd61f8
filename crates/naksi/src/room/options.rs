//! Options of a room: tick rate, mailbox, members, and time budget.

use std::time::Duration;

use crate::config::{Error, Result};

/// What happens when a tick is so late that the next one is due as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overrun {
    /// Missed ticks are skipped: one tick runs, numbered as the latest that is due.
    Skip,
    /// Up to this many missed ticks run one after the other; the rest is skipped.
    CatchUp(u32),
}

/// What happens to a packet for a room whose mailbox is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoomFull {
    /// The packet is dropped and counted, and the sending session gets
    /// [`SendStatus::Dropped`](naksi_core::send_queue::SendStatus::Dropped).
    DropNew,
    /// As above, and the session that sent it ends with
    /// [`DisconnectReason::RoomFull`](naksi_core::reason::DisconnectReason::RoomFull).
    EndSession,
}

/// A tick rate as nanoseconds per number of ticks: a third of a second is exact and does not drift.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    pub(super) nanos: u64,
    pub(super) ticks: u32,
}

/// The options of a room.
///
/// ```
/// use naksi::prelude::*;
/// let game = RoomOptions::new().tick_hz(20).members_max(64).when_full(RoomFull::EndSession);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct RoomOptions {
    pub(super) rate: Option<Rate>,
    pub(super) overrun: Overrun,
    pub(super) entries_max: usize,
    pub(super) bytes_max: usize,
    pub(super) full: RoomFull,
    pub(super) members_max: usize,
    pub(super) budget: Duration,
    pub(super) budget_events: usize,
    pub(super) group: String,
}

impl Default for RoomOptions {
    /// No tick; a mailbox of 4,096 packets and 1 MiB; 65,536 members; a budget of 500 microseconds or 256 events on a
    /// worker, and after that the group `logic`, if the service has one.
    fn default() -> Self {
        Self {
            rate: None,
            overrun: Overrun::Skip,
            entries_max: 4096,
            bytes_max: 1 << 20,
            full: RoomFull::DropNew,
            members_max: 65_536,
            budget: Duration::from_micros(500),
            budget_events: 256,
            group: "logic".into(),
        }
    }
}

impl RoomOptions {
    /// The defaults; see [`RoomOptions::default`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Ticks per second, 1 to 1,000, without drift.
    pub fn tick_hz(mut self, hz: u32) -> Self {
        self.rate = Some(Rate { nanos: 1_000_000_000, ticks: hz });
        self
    }

    /// Time between two ticks, at least a millisecond.
    pub fn tick_every(mut self, span: Duration) -> Self {
        self.rate = Some(Rate { nanos: u64::try_from(span.as_nanos()).unwrap_or(u64::MAX), ticks: 1 });
        self
    }

    /// What happens to ticks that were missed.
    pub fn overrun(mut self, overrun: Overrun) -> Self {
        self.overrun = overrun;
        self
    }

    /// Most packets, and most bytes of packets, that wait for the room; both at least 1.
    pub fn mailbox(mut self, entries_max: usize, bytes_max: usize) -> Self {
        (self.entries_max, self.bytes_max) = (entries_max, bytes_max);
        self
    }

    /// What happens to a packet when the mailbox is full.
    pub fn when_full(mut self, full: RoomFull) -> Self {
        self.full = full;
        self
    }

    /// Most members. A session that joins beyond that gets [`RoomCloseReason::Full`](crate::room::RoomCloseReason::Full).
    pub fn members_max(mut self, members_max: usize) -> Self {
        self.members_max = members_max;
        self
    }

    /// How long, and for how many events, the room may run on a worker that delivers to it.
    pub fn budget(mut self, span: Duration, events: usize) -> Self {
        (self.budget, self.budget_events) = (span, events);
        self
    }

    /// The group that continues when the budget is spent; a worker does if the service has no group of this name.
    pub fn group(mut self, name: impl Into<String>) -> Self {
        self.group = name.into();
        self
    }

    pub(super) fn group_name(&self) -> &str {
        &self.group
    }

    pub(crate) fn check(&self) -> Result<()> {
        let spans =
            self.rate.map_or(1_000_000, |rate| rate.nanos.checked_div(rate.ticks.into()).unwrap_or(0));
        let rules = [
            (spans >= 1_000_000, "a room ticks 1 to 1,000 times a second"),
            (self.entries_max > 0 && self.bytes_max > 0, "a room's mailbox must hold something"),
            (self.members_max > 0, "a room's members_max must not be 0"),
            (self.budget_events > 0, "a room's budget must be at least one event"),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(Error::Config((*rule).to_owned())),
            None => Ok(()),
        }
    }
}
