//! What a worker does when all sessions together hold nearly as much as they may: the ladder of
//! [`Pressure`], carried out on its own sessions.
//!
//! It costs nothing while there is no limit, and a few loads a turn while there is room. Nothing here knows why
//! somebody holds much.

use std::time::Duration;

use naksi_core::content::Ending;
use naksi_core::pressure::{Pressure, STUCK_AFTER, share_of_relief};
use naksi_core::reason::Reason;
use naksi_core::tick::Tick;
use naksi_os::port::Port;

use crate::murmur::Subject;
use crate::session::Factory;
use crate::worker::Worker;

/// Looking for those who are stuck means to look at everybody: no more often than this.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// One worker's part in relieving the service.
#[derive(Debug, Default)]
pub(crate) struct Relief {
    /// What its sessions hold, as far as they were counted.
    held_bytes: u64,
    /// When it may look for the stuck again.
    look_at: Option<Tick>,
}

impl Relief {
    /// What one session was counted to hold, and holds now.
    pub(crate) fn count(&mut self, counted: &mut u32, now: usize) {
        let now = u32::try_from(now).unwrap_or(u32::MAX);
        self.held_bytes = self.held_bytes + u64::from(now) - u64::from(*counted);
        *counted = now;
    }

    /// What all sessions of the worker hold.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.held_bytes
    }
}

impl<P: Port + 'static, F: Factory> Worker<P, F> {
    /// Ends as many sessions as the ladder asks of this worker; none, most of the time.
    pub(crate) fn relieve(&mut self) {
        let most = self.hub.limits.memory_bytes_max as u64;
        let own = self.relief.held_bytes;
        if most == 0 || own == 0 {
            return;
        }
        let held = self.hub.held_bytes();
        let now = self.desk.now;
        let largest = match Pressure::of(held, most) {
            Pressure::None | Pressure::NoNewcomers => return,
            Pressure::EndStuck if self.relief.look_at.is_some_and(|at| now < at) => return,
            Pressure::EndStuck => false,
            Pressure::EndLargest => true,
        };
        self.relief.look_at = Some(now + LOOK_AGAIN);
        let share = share_of_relief(own, held, most);
        let mut freed = 0;
        let mut ended = 0_u64;
        for (_, bytes, slot, generation) in self.holders(largest) {
            if freed >= share {
                break;
            }
            freed += u64::from(bytes);
            ended += 1;
            self.with_session(slot, generation, |session, cx, stage| {
                session.end(Reason::MemoryPressure, Ending::Now, cx, stage);
            });
        }
        if ended > 0 {
            self.desk.say(Subject::MemoryPressure, |suppressed| {
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

    /// Those of whom something is to be had, and in which order: whoever holds most first, or whoever is stuck longest.
    fn holders(&self, largest: bool) -> Vec<(u128, u32, u32, u32)> {
        let now = self.desk.now;
        let mut holders = Vec::new();
        for (slot, generation) in self.sessions.names() {
            let Some(entry) = self.sessions.get(slot, generation).filter(|entry| entry.held_bytes > 0) else {
                continue;
            };
            let stuck = entry.session.unmoved_since().map(|since| now.since(since));
            let weight = match stuck {
                _ if largest => u128::from(entry.held_bytes),
                Some(stuck) if stuck >= STUCK_AFTER => stuck.as_nanos(),
                _ => continue,
            };
            holders.push((weight, entry.held_bytes, slot, generation));
        }
        holders.sort_unstable_by(|one, other| other.cmp(one));
        holders
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_everybody_holds_is_the_sum_of_what_each_was_last_counted_to() {
        let mut relief = Relief::default();
        let mut sessions = [0; 3];
        for (session, bytes) in [(0, 10), (1, 5_000_000_000_usize), (0, 7), (2, 1), (1, 0), (0, 0)] {
            relief.count(&mut sessions[session], bytes);
            assert_eq!(relief.held_bytes(), sessions.iter().map(|counted| u64::from(*counted)).sum::<u64>());
        }
        assert_eq!(relief.held_bytes(), 1);
    }
}
