//! A queue of deadlines, identified by the keys of their operations.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use naksi_core::tick::Tick;

use crate::in_flight::Key;

/// Fewer entries than these are never swept.
const SWEPT_MIN: usize = 64;

/// Deadlines; those of equal time in the order in which they were set.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Tick, u64, u64)>>,
    set_total: u64,
    /// Entries in the heap whose operation has ended early.
    dead: usize,
}

impl Timers {
    /// Sets a deadline.
    pub(super) fn set(&mut self, at: Tick, key: Key) {
        self.set_total += 1;
        self.heap.push(Reverse((at, self.set_total, key.to_u64())));
    }

    /// One deadline is no longer needed. Dead entries are removed once they are the majority, so that cancelling is
    /// cheap and holds no memory for long.
    pub(super) fn forget_one(&mut self, is_live: impl FnMut(Key) -> bool) {
        self.dead += 1;
        if self.heap.len() >= SWEPT_MIN && self.dead * 2 > self.heap.len() {
            let mut is_live = is_live;
            self.heap.retain(|Reverse((_, _, key))| is_live(Key::from_u64(*key)));
            self.dead = 0;
        }
    }

    /// The nearest deadline; it may be a dead one.
    pub(super) fn next(&self) -> Option<Tick> {
        self.heap.peek().map(|Reverse((at, _, _))| *at)
    }

    /// Takes a deadline that has passed.
    pub(super) fn take_passed(&mut self, now: Tick) -> Option<Key> {
        let Reverse((at, _, key)) = *self.heap.peek()?;
        if at > now {
            return None;
        }
        self.heap.pop();
        Some(Key::from_u64(key))
    }

    /// A dead deadline was taken.
    pub(super) fn took_dead(&mut self) {
        self.dead = self.dead.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The smallest word that is a key.
    const FIRST: u64 = 1 << 32;

    #[test]
    fn deadlines_come_in_order_and_equal_ones_as_they_were_set() {
        let mut timers = Timers::default();
        for (at, key) in [(30, 1), (10, 2), (20, 3), (10, 4)] {
            timers.set(Tick::from_nanos(at), Key::from_u64(FIRST + key));
        }
        let mut taken = |now| timers.take_passed(Tick::from_nanos(now)).map(|key| key.to_u64() - FIRST);
        assert_eq!([taken(9), taken(10), taken(10), taken(10)], [None, Some(2), Some(4), None]);
        assert_eq!([taken(99), taken(99), taken(99)], [Some(3), Some(1), None]);
    }

    #[test]
    fn forgotten_deadlines_hold_no_memory_for_long() {
        let mut timers = Timers::default();
        for number in 0..100_000 {
            timers.set(Tick::MAX, Key::from_u64(FIRST + number));
            timers.forget_one(|key| key.to_u64() > FIRST + number);
        }
        assert!(timers.heap.len() <= SWEPT_MIN, "{} are left", timers.heap.len());
    }
}
