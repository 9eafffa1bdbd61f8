//! When a worker may call somebody late: only after it has heard what was there to be heard.
//!
//! A callback that blocks, a debugger or a paused machine holds a worker, and its clock goes on. Then the deadlines of
//! thousands have passed whose bytes are there, and a wait brings a few hundred of them, or what it had caught before.
//! So deadlines are judged after a wait that brought all there was, and not in the first turn after a long one; or after
//! a second of waits that did not, so that a flood cannot switch them off. Nothing here knows a session.

use std::time::Duration;

/// For so long a worker that always has more to hear judges nobody.
const UNHEARD_SPAN_MAX: Duration = Duration::from_secs(1);

/// After a turn that took so long the next wait may have been served from what was caught before it.
const LONG_TURN: Duration = Duration::from_millis(10);

/// How long a worker has not heard everything.
#[derive(Debug, Default)]
pub(crate) struct Lateness {
    unheard: Duration,
    /// This turn brings all there was, and not from before a long one.
    all_heard: bool,
}

impl Lateness {
    /// A turn begins so long after the one before it, and brings all there was or not.
    pub(crate) fn turn(&mut self, span: Duration, brings_all: bool) {
        self.all_heard = brings_all && span < LONG_TURN;
        if brings_all || span >= UNHEARD_SPAN_MAX {
            // A turn that took so long is what is meant: whatever was heard before it says nothing of now.
            self.unheard = Duration::ZERO;
        } else {
            self.unheard += span;
        }
    }

    /// Whether deadlines that have passed may be judged in this turn.
    pub(crate) fn may_be_judged(&self) -> bool {
        self.all_heard || self.unheard >= UNHEARD_SPAN_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_late_before_all_is_heard_and_a_flood_puts_it_off_for_a_second() {
        let mut lateness = Lateness::default();
        lateness.turn(Duration::from_millis(1), true);
        assert!(lateness.may_be_judged());
        // Held for five seconds: a port may bring what it had caught before that, and call it all.
        lateness.turn(Duration::from_secs(5), true);
        assert!(!lateness.may_be_judged());
        lateness.turn(Duration::from_millis(1), true);
        assert!(lateness.may_be_judged());
        // Held again, and then there is more than one wait brings.
        lateness.turn(Duration::from_secs(5), false);
        assert!(!lateness.may_be_judged());
        for _ in 0..10 {
            lateness.turn(Duration::from_millis(100), false);
        }
        assert!(lateness.may_be_judged(), "whoever floods for a second does not protect squatters");
        lateness.turn(Duration::from_secs(2), false);
        assert!(!lateness.may_be_judged(), "held again, in the middle of a flood");
        lateness.turn(Duration::from_millis(1), true);
        lateness.turn(Duration::from_millis(999), false);
        assert!(!lateness.may_be_judged(), "it is counted anew once all was heard");
    }
}
