//! Receives that wait inside the port: until the next wait, or until a lease has come home.
//!
//! Those that brought much wait in a queue of their own, so that few of them are asked again at a time and nobody who
//! brings little waits behind them. Which of the two goes first changes with every turn: where buffers are so few that
//! one takes all, neither can keep the other waiting for ever. Knows no operation.

use std::collections::VecDeque;

use crate::in_flight::Key;

/// Where a receive waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queue {
    /// It found no buffer, or brought little.
    Usual,
    /// It brought much.
    Long,
}

/// The two queues, each in the order of coming.
#[derive(Debug, Default)]
pub(super) struct Parked {
    usual: VecDeque<Key>,
    long: VecDeque<Key>,
    long_first: bool,
}

impl Parked {
    pub(super) fn is_empty(&self) -> bool {
        self.usual.is_empty() && self.long.is_empty()
    }

    pub(super) fn push(&mut self, queue: Queue, key: Key) {
        self.queue(queue).push_back(key);
    }

    /// The one that has waited longest there.
    pub(super) fn pop(&mut self, queue: Queue) -> Option<Key> {
        self.queue(queue).pop_front()
    }

    /// A new turn begins: the other queue goes first, if both have something.
    pub(super) fn turn(&mut self) {
        if !self.usual.is_empty() && !self.long.is_empty() {
            self.long_first = !self.long_first;
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
            parked.turn();
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
}
