//! Load shedding: what a worker does with its own sessions when all sessions together are close to the memory limit,
//! in the steps of [`Pressure`].
//!
//! Each session's memory is counted when it is asked for its next operations; without a limit nothing else happens.
//! Every worker sheds its own part, and wakes sleeping workers so that they do too.

use std::time::Duration;

use naksi_core::callbacks::CloseMode;
use naksi_core::pressure::{Pressure, STUCK_AFTER, share_of_relief};
use naksi_core::reason::DisconnectReason;
use naksi_core::tick::Tick;
use naksi_os::port::{Port, Trimmed};

use super::Worker;
use crate::log_limiter::Subject;
use crate::session::Factory;
use crate::shared::mailbox::Message;

/// Interval between two searches for stuck sessions, because a search visits every session.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How long a worker that has shed its part waits for the others.
const GIVE_AGAIN: Duration = Duration::from_millis(10);

/// Interval after which unused pooled buffers are freed.
const TRIM_EVERY: Duration = Duration::from_secs(5);
/// Capacity that lists of sessions keep.
const LIST_ENTRIES_KEPT: usize = 1024;

/// One worker's part in relieving the service.
#[derive(Debug, Default)]
pub(crate) struct LoadShedding {
    /// Memory of its sessions as counted last, in bytes.
    held_bytes: u64,
    /// When it may act again.
    act_at: Tick,
    /// When pooled buffers are checked next, if there are enough of them.
    trim_at: Option<Tick>,
}

impl LoadShedding {
    /// Updates the total by one session's memory: as counted before, and now.
    pub(crate) fn count(&mut self, counted: &mut u32, now: usize) {
        let now = u32::try_from(now).unwrap_or(u32::MAX);
        self.held_bytes = self.held_bytes + u64::from(now) - u64::from(*counted);
        *counted = now;
    }

    /// A session is gone, whatever it held.
    pub(crate) fn forget(&mut self, counted: u32) {
        self.held_bytes -= u64::from(counted);
    }

    /// What all sessions of the worker hold.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.held_bytes
    }
}

impl<P: Port + 'static, F: Factory> Worker<P, F> {
    /// Ends as many sessions as the pressure requires of this worker; usually none. A worker that stops lets its
    /// sessions flush instead.
    pub(crate) fn relieve(&mut self) {
        if self.service_core.limits.memory_bytes_max == 0 || self.stopping.is_some() {
            return;
        }
        if self.service_core.pressure() >= Pressure::EndStuck {
            // Data sent in this turn is no longer held; received data has not been offered yet.
            self.recount();
        }
        let (step, risen) = self.service_core.press();
        if step < Pressure::EndStuck {
            return;
        }
        if risen {
            self.ring_the_others();
        }
        let (now, own, held) =
            (self.context.now, self.load_shedding.held_bytes, self.service_core.held_bytes());
        if own == 0 || now < self.load_shedding.act_at {
            return;
        }
        self.load_shedding.act_at = now + if step == Pressure::EndLargest { GIVE_AGAIN } else { LOOK_AGAIN };
        self.give_back(
            step,
            share_of_relief(own, held, self.service_core.limits.memory_bytes_max as u64),
            held,
        );
    }

    /// Frees pooled buffers that were unused for a while, and returns memory to the system if that is much.
    #[inline]
    pub(crate) fn trim_spares(&mut self) {
        match self.load_shedding.trim_at {
            None if self.buffer_pool.is_plump() => {
                self.load_shedding.trim_at = Some(self.context.now + TRIM_EVERY)
            }
            Some(at) if at <= self.context.now => self.trim_now(),
            _ => {}
        }
    }

    #[cold]
    fn trim_now(&mut self) {
        let port = self.port.trim();
        self.load_shedding.trim_at = (port == Trimmed::Later).then_some(self.context.now + TRIM_EVERY);
        self.dirty.shrink_to(LIST_ENTRIES_KEPT);
        self.members.shrink_to(LIST_ENTRIES_KEPT);
        if self.buffer_pool.trim() || port == Trimmed::Freed {
            naksi_os::give_back_memory();
        }
    }

    /// When the worker has to check its sessions' memory or its pooled buffers, even if nothing else happens.
    pub(crate) fn relief_at(&self) -> Option<Tick> {
        let pressed = self.service_core.limits.memory_bytes_max > 0
            && self.load_shedding.held_bytes > 0
            && self.stopping.is_none()
            && self.service_core.pressure() >= Pressure::EndStuck;
        match (pressed, self.load_shedding.trim_at) {
            (true, Some(trim_at)) => Some(self.load_shedding.act_at.min(trim_at)),
            (true, None) => Some(self.load_shedding.act_at),
            (false, trim_at) => trim_at,
        }
    }

    fn give_back(&mut self, step: Pressure, share: u64, held: u64) {
        let (mut freed, mut ended) = (0, 0_u64);
        for holder in self.holders(step) {
            if freed >= share {
                break;
            }
            freed += u64::from(holder.bytes);
            ended += 1;
            self.with_session(holder.slot, holder.generation, |session, cx, callbacks| {
                session.end(DisconnectReason::MemoryPressure, CloseMode::Abort, cx, callbacks);
            });
        }
        self.context.counters.relieved_total.add(ended);
        if ended > 0 {
            let most = self.service_core.limits.memory_bytes_max;
            self.context.say(Subject::MemoryPressure, |suppressed| {
                tracing::warn!(
                    held,
                    most,
                    ended,
                    freed,
                    suppressed,
                    "sessions hold too much together; some have ended"
                );
            });
        }
    }

    /// Recounts the sessions with activity in this turn.
    fn recount(&mut self) {
        for (slot, generation) in &self.dirty {
            if let Some(entry) = self.sessions.get_mut(*slot, *generation) {
                let now = entry.session.held_bytes().min(entry.held_bytes as usize);
                self.load_shedding.count(&mut entry.held_bytes, now);
            }
        }
        self.context.counters.held_bytes.set(self.load_shedding.held_bytes());
    }

    /// A worker that sleeps cannot see what the others hold.
    fn ring_the_others(&self) {
        let others =
            self.service_core.mailboxes.iter().enumerate().filter(|(worker, _)| *worker != self.index);
        others.for_each(|(_, mailbox)| mailbox.push(Message::Relieve));
    }

    /// Sessions whose end frees memory, in the order in which they are ended: at the second step stuck sessions,
    /// longest first; at the third step the same and then all others, largest first.
    fn holders(&self, step: Pressure) -> Vec<Holder> {
        let now = self.context.now;
        let mut holders = Vec::new();
        for (slot, generation) in self.sessions.names() {
            let Some(entry) = self.sessions.get(slot, generation).filter(|entry| entry.held_bytes > 0) else {
                continue;
            };
            let still = entry.session.unmoved_since().map_or(Duration::ZERO, |since| now.since(since));
            let stuck = still >= STUCK_AFTER;
            // A topic's batch is freed by its last reference, so each session that has not sent it counts.
            let pending = u32::try_from(entry.session.pending_bytes()).unwrap_or(u32::MAX);
            let bytes = entry.held_bytes.max(pending);
            match step {
                Pressure::EndLargest => {
                    holders.push(Holder { stuck, weight: u128::from(bytes), bytes, slot, generation });
                }
                _ if stuck => {
                    holders.push(Holder { stuck, weight: still.as_nanos(), bytes, slot, generation });
                }
                _ => {}
            }
        }
        in_order(holders)
    }
}

/// The order in which sessions go.
fn in_order(mut holders: Vec<Holder>) -> Vec<Holder> {
    holders.sort_unstable_by(|one, other| other.cmp(one));
    holders
}

/// A session that may be ended; the greatest is ended first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Holder {
    stuck: bool,
    weight: u128,
    bytes: u32,
    slot: u32,
    generation: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stuck_go_first_and_then_those_that_hold_most() {
        let holder =
            |stuck, bytes: u32, slot| Holder { stuck, weight: u128::from(bytes), bytes, slot, generation: 0 };
        let holders =
            [(false, 5, 0), (false, 900, 1), (true, 3, 2), (false, 70, 3), (true, 40, 4), (false, 901, 5)];
        let order = in_order(holders.map(|(stuck, bytes, slot)| holder(stuck, bytes, slot)).into());
        assert_eq!(order.iter().map(|holder| holder.slot).collect::<Vec<_>>(), [4, 2, 5, 1, 3, 0]);
    }

    #[test]
    fn what_everybody_holds_is_the_sum_of_what_each_was_last_counted_to() {
        let mut load_shedding = LoadShedding::default();
        let mut sessions = [0; 3];
        for (session, bytes) in [(0, 10), (1, 5_000_000_000_usize), (0, 7), (2, 1), (1, 9), (0, 0)] {
            load_shedding.count(&mut sessions[session], bytes);
            assert_eq!(
                load_shedding.held_bytes(),
                sessions.iter().map(|counted| u64::from(*counted)).sum::<u64>()
            );
        }
        load_shedding.forget(sessions[1]);
        assert_eq!(load_shedding.held_bytes(), 1);
    }
}
