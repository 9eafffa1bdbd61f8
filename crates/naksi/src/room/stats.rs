//! Counters of all rooms of a service together.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::group::{Durations, Spread};

/// The rooms' counters; written by the thread that runs a room, a few times in each run.
#[derive(Debug, Default)]
pub(crate) struct RoomCounters {
    pub(super) live: AtomicU64,
    pub(super) events: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) panics: AtomicU64,
    pub(super) parcels: AtomicU64,
    pub(super) parcels_cut: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) held_bytes: AtomicU64,
    pub(super) handed_over: AtomicU64,
    pub(super) ticks: AtomicU64,
    pub(super) ticks_skipped: AtomicU64,
    jitter: Mutex<Durations>,
}

/// The counters of a service's rooms at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoomStats {
    /// Rooms that are open now.
    pub live: u64,
    /// Joins, leaves, packets, calls, timers and ticks that were processed.
    pub events_total: u64,
    /// Packets that found a room's mailbox full.
    pub dropped_total: u64,
    /// Callbacks that panicked; each ended its room.
    pub panics_total: u64,
    /// Outputs of runs that were posted, each counted once for all workers concerned.
    pub parcels_total: u64,
    /// Outputs that at least one worker got without the messages, because its mailbox was full.
    pub parcels_cut_total: u64,
    /// Messages in such outputs, counted for each member that missed one; the sessions of these members have ended
    /// with [`DisconnectReason::Lagged`](naksi_core::reason::DisconnectReason::Lagged).
    pub lost_total: u64,
    /// Bytes of memory in the mailboxes of rooms now: packets, joins, leaves and calls that wait.
    pub held_bytes: u64,
    /// How often a group continued a room whose budget on a worker was spent.
    pub handed_over_total: u64,
    /// Ticks that were run.
    pub ticks_total: u64,
    /// Ticks that were left out.
    pub ticks_skipped_total: u64,
    /// How long after their deadlines ticks began.
    pub jitter: Spread,
}

impl RoomCounters {
    pub(super) fn add(count: &AtomicU64, more: u64) {
        if more > 0 {
            count.fetch_add(more, Ordering::Relaxed);
        }
    }

    /// Bytes of memory in the mailboxes of all rooms.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.held_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn ticked(&self, late: Duration, skipped: u64) {
        Self::add(&self.ticks, 1);
        Self::add(&self.ticks_skipped, skipped);
        self.jitter.lock().unwrap_or_else(PoisonError::into_inner).record(late);
    }

    pub(crate) fn stats(&self) -> RoomStats {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        RoomStats {
            live: read(&self.live),
            events_total: read(&self.events),
            dropped_total: read(&self.dropped),
            panics_total: read(&self.panics),
            parcels_total: read(&self.parcels),
            parcels_cut_total: read(&self.parcels_cut),
            lost_total: read(&self.lost),
            held_bytes: self.held_bytes(),
            handed_over_total: read(&self.handed_over),
            ticks_total: read(&self.ticks),
            ticks_skipped_total: read(&self.ticks_skipped),
            jitter: self.jitter.lock().unwrap_or_else(PoisonError::into_inner).spread(),
        }
    }
}

impl fmt::Display for RoomStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { live, events_total, dropped_total, panics_total, parcels_total, .. } = self;
        let Self { parcels_cut_total, lost_total, held_bytes, handed_over_total, .. } = self;
        let Self { ticks_total, ticks_skipped_total, jitter, .. } = self;
        writeln!(
            f,
            "rooms                    live {live} events {events_total} dropped {dropped_total} panics {panics_total} \
             parcels {parcels_total} cut {parcels_cut_total} lost {lost_total} held_bytes {held_bytes} \
             handed_over {handed_over_total}"
        )?;
        writeln!(f, "rooms.ticks              {ticks_total} skipped {ticks_skipped_total} jitter {jitter}")
    }
}
