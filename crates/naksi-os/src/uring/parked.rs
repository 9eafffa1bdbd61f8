//! Receives that wait inside the port: until the next wait, or until a lease has returned.
//!
//! Receives that returned much data wait in a queue of their own, so that few of them are retried at a time and short
//! ones do not wait behind them. The two queues take turns in going first, so that neither starves the other when
//! there are very few buffers. The number of long ones per turn adapts to the turn's length.

use std::collections::VecDeque;
use std::time::Duration;

use naksi_core::tick::Tick;

use super::buffers::RECV_LEASES_MAX;
use crate::in_flight::Key;

/// Leases that long receives may fill between two waits: few enough that their data is still in the processor's cache
/// when it is processed, and that many flooding peers leave room for others.
const LEASES_ASKED_MAX: usize = 16;
/// So few are always asked, however long what they bring takes.
const LEASES_ASKED_MIN: usize = RECV_LEASES_MAX as usize;
/// A turn that processes long receives should not take longer, because all others wait for its end.
const TURN_SPAN_MAX: Duration = Duration::from_micros(500);

/// Where a receive waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queue {
    /// It found no buffer, or brought little.
    Usual,
    /// It brought much.
    Long,
}

/// The two queues, each in the order of coming.
#[derive(Debug)]
pub(super) struct Parked {
    usual: VecDeque<Key>,
    long: VecDeque<Key>,
    long_first: bool,
    /// Leases for which long ones are asked in this turn.
    portion: usize,
    /// When the previous turn began, if it left long receives behind: then the port has not slept since.
    turned_at: Option<Tick>,
}

impl Default for Parked {
    fn default() -> Self {
        Self {
            usual: VecDeque::new(),
            long: VecDeque::new(),
            long_first: false,
            portion: LEASES_ASKED_MAX,
            turned_at: None,
        }
    }
}

impl Parked {
    pub(super) fn is_empty(&self) -> bool {
        self.usual.is_empty() && self.long.is_empty()
    }

    /// Receives that found no buffer or returned little; some of them may have ended meanwhile.
    pub(super) fn usual(&self) -> usize {
        self.usual.len()
    }

    pub(super) fn push(&mut self, queue: Queue, key: Key) {
        self.queue(queue).push_back(key);
    }

    /// The one that has waited longest there.
    pub(super) fn pop(&mut self, queue: Queue) -> Option<Key> {
        self.queue(queue).pop_front()
    }

    /// Begins a turn: the other queue goes first, if both have entries. Returns for how many leases long receives may
    /// be submitted: half as many after a turn that took too long, one more after any other.
    pub(super) fn turn(&mut self, clock: impl FnOnce() -> Tick) -> usize {
        if !self.usual.is_empty() && !self.long.is_empty() {
            self.long_first = !self.long_first;
        }
        if self.long.is_empty() {
            self.turned_at = None;
            return self.portion;
        }
        let now = clock();
        if let Some(before) = self.turned_at.replace(now) {
            self.portion = match now.since(before) > TURN_SPAN_MAX {
                true => (self.portion / 2).max(LEASES_ASKED_MIN),
                false => (self.portion + 1).min(LEASES_ASKED_MAX),
            };
        }
        self.portion
    }

    /// All that the turn allows has been submitted: if long receives are left, the next turn's length is meaningful.
    pub(super) fn turned(&mut self) {
        if self.long.is_empty() {
            self.turned_at = None;
        }
    }

    /// The queues, the one that goes first in this turn before the other.
    pub(super) fn order(&self) -> [Queue; 2] {
        if self.long_first { [Queue::Long, Queue::Usual] } else { [Queue::Usual, Queue::Long] }
    }

    fn queue(&mut self, queue: Queue) -> &mut VecDeque<Key> {
        match queue {
            Queue::Usual => &mut self.usual,
            Queue::Long => &mut self.long,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_queue_keeps_the_other_waiting_where_a_turn_serves_one() {
        let mut parked = Parked::default();
        let key = |number| Key::from_u64(1_u64 << 32 | number);
        let mut served = [0, 0];
        for number in 0..4 {
            parked.push(Queue::Usual, key(number));
            parked.push(Queue::Long, key(number));
        }
        for _ in 0..6 {
            parked.turn(|| Tick::ZERO);
            let first = parked.order()[0];
            let key = parked.pop(first).expect("both have something");
            served[usize::from(first == Queue::Long)] += 1;
            // It finds nothing to bring home, and comes again.
            parked.push(first, key);
        }
        assert_eq!(served, [3, 3]);
        let keys: Vec<_> = std::iter::from_fn(|| parked.pop(Queue::Long)).collect();
        assert_eq!(keys, [3, 0, 1, 2].map(key), "in the order of coming");
    }

    #[test]
    fn long_turns_ask_for_less_and_short_ones_for_more_again() {
        let mut parked = Parked::default();
        for number in 0..64 {
            parked.push(Queue::Long, Key::from_u64(1_u64 << 32 | number));
        }
        let mut at = Tick::ZERO;
        let mut turns = |parked: &mut Parked, count: u32, micros: u64| {
            (0..count)
                .map(|_| {
                    at = at + Duration::from_micros(micros);
                    let portion = parked.turn(|| at);
                    parked.turned();
                    portion
                })
                .last()
        };
        assert_eq!(turns(&mut parked, 1, 0), Some(LEASES_ASKED_MAX), "nothing is known yet");
        assert_eq!(turns(&mut parked, 1, 501), Some(LEASES_ASKED_MAX / 2));
        assert_eq!(turns(&mut parked, 9, 90_000), Some(LEASES_ASKED_MIN), "some are always asked");
        assert_eq!(turns(&mut parked, 3, 100), Some(LEASES_ASKED_MIN + 3));
        assert_eq!(turns(&mut parked, 99, 500), Some(LEASES_ASKED_MAX));
        while parked.pop(Queue::Long).is_some() {}
        parked.turned();
        parked.push(Queue::Long, Key::from_u64(1));
        assert_eq!(turns(&mut parked, 1, 9_000_000), Some(LEASES_ASKED_MAX), "it slept in between");
    }
}
