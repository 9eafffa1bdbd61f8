//! Counters: each is written by one worker and read by any thread without a lock. A value may be a few microseconds
//! old.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use naksi_core::admission::Denied;
use naksi_core::reason::DisconnectReason;
use naksi_core::send_queue::SendStatus;
use naksi_os::port::Ledger;

use crate::group::GroupStats;
use crate::room::RoomStats;

/// A number that one thread writes and all may read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it. Only the owning worker writes, so no atomic addition is needed.
    pub(crate) fn add(&self, more: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
    }

    pub(crate) fn sub(&self, less: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(less), Ordering::Relaxed);
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The number now.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Number of places of the histogram of completions per wait: 0, 1, 2 to 3, 4 to 7, and so on; the last place is for
/// 256 and more. A server that always gets one pays a system call for each.
pub const CATCHES: usize = 10;

/// The place of a wait with this many completions.
fn catch_place(completions: usize) -> usize {
    completions.checked_ilog2().map_or(0, |power| (power as usize + 1).min(CATCHES - 1))
}

/// The label of a place of [`Stats::catches`].
fn catch_label(place: usize) -> String {
    match place {
        0 | 1 => place.to_string(),
        _ if place == CATCHES - 1 => format!("{}+", 1 << (place - 1)),
        _ => format!("{}-{}", 1 << (place - 1), (1 << place) - 1),
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The counters of one worker.
        #[derive(Debug)]
        pub struct Counters {
            $($(#[$doc])* pub $name: Counter,)*
            ended: Box<[Counter]>,
            catches: [Counter; CATCHES],
        }

        impl Default for Counters {
            fn default() -> Self {
                let ended = DisconnectReason::NAMES.iter().map(|_| Counter::default()).collect();
                Self { $($name: Counter::default(),)* ended, catches: Default::default() }
            }
        }

        /// The counters of a service at one moment, summed over all workers.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Stats {
            $($(#[$doc])* pub $name: u64,)*
            /// Ended sessions by the name of their reason; reasons that never occurred are absent. All causes of an
            /// application's own count as `custom`.
            pub ended: BTreeMap<&'static str, u64>,
            /// Waits by the number of completions they returned; see [`CATCHES`].
            pub catches: [u64; CATCHES],
            /// Accepted connections whose transport (TLS, WebSocket) has not completed its handshake.
            pub handshakes: u64,
            /// When the first certificate of the listeners expires, in seconds since 1970; 0 if there is none.
            pub tls_not_after_seconds: u64,
            /// All rooms together.
            pub rooms: RoomStats,
            /// The groups' counters, in the order of declaration.
            pub groups: Vec<GroupStats>,
        }

        impl Stats {
            pub(crate) fn add(&mut self, counters: &Counters) {
                $(self.$name += counters.$name.value();)*
                for (sum, catch) in self.catches.iter_mut().zip(&counters.catches) {
                    *sum += catch.value();
                }
                for (name, count) in DisconnectReason::NAMES.iter().zip(&counters.ended) {
                    let count = count.value();
                    if count > 0 {
                        *self.ended.entry(name).or_default() += count;
                    }
                }
            }
        }

        impl fmt::Display for Stats {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                $(writeln!(f, "{:<24} {}", stringify!($name), self.$name)?;)*
                writeln!(f, "{:<24} {}", "handshakes", self.handshakes)?;
                writeln!(f, "{:<24} {}", "tls_not_after_seconds", self.tls_not_after_seconds)?;
                for (reason, count) in &self.ended {
                    writeln!(f, "ended.{reason:<18} {count}")?;
                }
                for (place, count) in self.catches.iter().enumerate().filter(|(_, count)| **count > 0) {
                    writeln!(f, "catches.{:<16} {count}", catch_label(place))?;
                }
                if self.rooms != RoomStats::default() {
                    write!(f, "{}", self.rooms)?;
                }
                self.groups.iter().try_for_each(|group| write!(f, "{group}"))
            }
        }
    };
}

counters! {
    /// Sessions whose slot is taken now.
    live,
    /// Sessions whose `on_connected` was called, since the start.
    connected_total,
    /// Sessions whose `on_disconnected` was called, since the start.
    disconnected_total,
    /// Connections refused because the service is full.
    refused_full_total,
    /// Connections refused because their address has its maximum of connections.
    refused_address_total,
    /// Connections refused because of the limit of accepts per second.
    refused_rate_total,
    /// Connections refused because sessions are close to the memory limit.
    refused_memory_total,
    /// Connections refused because as many as may be were in the handshake of their transport.
    refused_handshakes_total,
    /// How often accepting paused because the system had no descriptor or no memory.
    accept_pauses_total,
    /// Connections being made now (client services).
    connecting,
    /// Connections still to be made (client services).
    waiting,
    /// Attempts to connect that failed.
    connect_failures_total,
    /// Connections given up after their last attempt.
    given_up_total,
    /// Bytes that were received and not yet consumed by a callback.
    recv_backlog_bytes,
    /// Bytes of memory that sessions hold, by capacity: send queues, data in the kernel's hands, attached data,
    /// received data not yet consumed, and data sent to rooms. A session that is ending counts as 0. Includes the
    /// mailboxes of rooms and workers, and each topic's batch once for all members that have not sent it yet.
    held_bytes,
    /// Sessions ended because all sessions together were close to the memory limit.
    relieved_total,
    /// How often a session exceeded its rate and was paused or ended.
    rate_limited_total,
    /// How often reading from a session paused because rooms had not processed what it sent.
    room_pauses_total,
    /// Bytes shown to handlers.
    recv_bytes,
    /// Bytes taken by the kernel.
    sent_bytes,
    /// Whole frames shown to handlers.
    packets,
    /// Messages broadcast by this worker's sessions.
    broadcasts,
    /// Messages queued for members by broadcasts.
    deliveries,
    /// Batches posted to other workers by broadcasts.
    posts,
    /// Messages dropped by the overflow policy, and messages of topics and rooms to members that ended with `lagged`
    /// because their worker had a backlog (for rooms: `rooms.lost_total`).
    dropped,
    /// File operations refused because their session had reached its limit of open files, operations in flight, or
    /// bytes.
    file_refused_total,
    /// Callbacks that panicked.
    handler_panics,
    /// Log lines suppressed because too many of their kind came in a second.
    log_lines_suppressed_total,
    /// Messages from other threads whose session had ended.
    stale_total,
    /// Entries that are whole in a recording.
    recorded_total,
    /// Entries missing in recordings: the disk did not keep up or refused, the limit of bytes was reached, or the
    /// worker ended first.
    record_lost_total,
    /// Timers set now: of sessions, deadlines, listeners and connectors.
    timers,
    /// Turns of the worker's loop.
    turns,
    /// Completions taken from the port.
    completions,
    /// System calls of the port to submit and to wait.
    enters,
    /// Handles open in the port.
    handles,
    /// Operations in flight in the port.
    in_flight,
    /// Receive leases held by sessions.
    leases_out,
    /// How often a receive found the buffer pool empty.
    starved_total,
}

impl Counters {
    pub(crate) fn ended(&self, reason: &DisconnectReason) {
        self.disconnected_total.add(1);
        self.ended[reason.number()].add(1);
    }

    /// Counts a wait that returned this many completions.
    pub(crate) fn count_wait(&self, completions: usize) {
        self.catches[catch_place(completions)].add(1);
    }

    /// The result of several messages that were queued for one session as one piece. Returns how many were queued. If
    /// they were dropped, the session has counted one of them itself.
    pub(crate) fn told(&self, sent: SendStatus, messages: u64) -> u64 {
        match sent {
            SendStatus::Queued => messages,
            SendStatus::Dropped => {
                self.dropped.add(messages.saturating_sub(1));
                0
            }
            SendStatus::Closed | SendStatus::Overflowed => 0,
        }
    }

    pub(crate) fn refused(&self, why: Denied) {
        match why {
            Denied::SessionsMax => self.refused_full_total.add(1),
            Denied::AddressMax => self.refused_address_total.add(1),
            Denied::RateMax => self.refused_rate_total.add(1),
            Denied::MemoryMax => self.refused_memory_total.add(1),
            Denied::HandshakesMax => self.refused_handshakes_total.add(1),
        }
    }

    /// Copies what the port holds.
    pub(crate) fn mirror(&self, ledger: &Ledger) {
        self.completions.set(ledger.completions_total);
        self.enters.set(ledger.enters_total);
        self.handles.set(ledger.handles as u64);
        self.in_flight.set(ledger.in_flight as u64);
        self.leases_out.set(ledger.leases_out as u64);
        self.starved_total.set(ledger.starved_total);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_counted_in_the_place_that_its_label_names() {
        let labels: Vec<String> = (0..CATCHES).map(catch_label).collect();
        assert_eq!(labels, ["0", "1", "2-3", "4-7", "8-15", "16-31", "32-63", "64-127", "128-255", "256+"]);
        for (completions, label) in [(0, "0"), (1, "1"), (2, "2-3"), (3, "2-3"), (4, "4-7"), (255, "128-255")]
        {
            assert_eq!(labels[catch_place(completions)], label, "{completions}");
        }
        assert_eq!((catch_place(256), catch_place(4096)), (CATCHES - 1, CATCHES - 1));
        let counters = Counters::default();
        [3, 2, 0, 300].into_iter().for_each(|completions| counters.count_wait(completions));
        let mut stats = Stats::default();
        stats.add(&counters);
        assert_eq!(stats.catches, [1, 0, 2, 0, 0, 0, 0, 0, 0, 1]);
        assert!(stats.to_string().contains("catches.2-3              2"), "{stats}");
    }
}
