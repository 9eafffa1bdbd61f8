//! The time budget of a turn: when callbacks are slow, each session gets a part of its data now and the rest in the
//! next turn.
//!
//! The clock is read after every few steps, and after every step while they are slow.

use std::time::Duration;

use naksi_core::id::SessionId;
use naksi_core::tick::Tick;

/// After this long, a turn delivers at most one more message to each session.
const SLICE: Duration = Duration::from_millis(20);

/// A session that got this many messages in one turn gets the rest in the next one. A few receives full of tiny
/// messages would otherwise use the whole turn while all other sessions wait.
const MESSAGES_OF_ONE: u32 = 1024;

/// This many steps normally take very little time.
const STEPS_A_LOOK: u8 = 16;

/// After this long, timers are checked before the turn ends; callbacks that took as long between two reads of the
/// clock are slow.
const SLOW: Duration = Duration::from_millis(10);

/// Parts of handshakes that are processed in one turn: with TLS each takes up to 0.2 ms.
const OPENINGS: u8 = 16;

/// The time that a turn has.
#[derive(Debug)]
pub(crate) struct TurnBudget {
    end: Tick,
    looked_at: Tick,
    steps_left: u8,
    /// When the timers were checked last, and whether they should be checked again.
    timers_at: Tick,
    slow: bool,
    over: bool,
    /// The session that got messages last, and how many in a row.
    shown_to: Option<SessionId>,
    shown: u32,
    openings_left: u8,
}

impl Default for TurnBudget {
    fn default() -> Self {
        Self {
            end: Tick::MAX,
            looked_at: Tick::ZERO,
            steps_left: STEPS_A_LOOK,
            timers_at: Tick::ZERO,
            slow: false,
            over: false,
            shown_to: None,
            shown: 0,
            openings_left: OPENINGS,
        }
    }
}

impl TurnBudget {
    /// A turn begins.
    #[inline]
    pub(crate) fn begin(&mut self, now: Tick) {
        (self.end, self.looked_at, self.timers_at) = (now + SLICE, now, now);
        (self.slow, self.over, self.shown_to) = (false, false, None);
        self.openings_left = OPENINGS;
    }

    /// A session got a message and has more waiting. Returns whether this turn delivers another one.
    #[inline]
    pub(crate) fn shows_more(&mut self, session: SessionId, now: impl FnOnce() -> Tick) -> bool {
        self.step(now);
        if self.shown_to != Some(session) {
            (self.shown_to, self.shown) = (Some(session), 0);
        }
        self.shown += 1;
        !self.over && self.shown < MESSAGES_OF_ONE
    }

    /// A session has received a part of its handshake. Returns whether this turn processes it.
    pub(crate) fn opens(&mut self) -> bool {
        let left = self.openings_left.checked_sub(1);
        self.openings_left = left.unwrap_or(0);
        left.is_some()
    }

    /// One step was made.
    #[inline]
    pub(crate) fn step(&mut self, now: impl FnOnce() -> Tick) {
        match self.steps_left.checked_sub(1) {
            Some(left) => self.steps_left = left,
            None => self.look(now()),
        }
    }

    #[cold]
    fn look(&mut self, now: Tick) {
        let slow = now.since(self.looked_at) >= SLOW;
        self.steps_left = if slow { 0 } else { STEPS_A_LOOK };
        self.slow |= now.since(self.timers_at) >= SLOW;
        self.over = now >= self.end;
        self.looked_at = now;
    }

    /// The current time, if the timers should be checked before the turn ends.
    #[inline]
    pub(crate) fn is_slow(&mut self) -> Option<Tick> {
        self.slow.then(|| {
            (self.slow, self.timers_at) = (false, self.looked_at);
            self.looked_at
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_session_is_shown_so_many_messages_a_turn_and_others_have_theirs() {
        let [flooder, other] = [SessionId::new(0, 1, 1), SessionId::new(0, 2, 1)];
        let mut slice = TurnBudget::default();
        let shown = |slice: &mut TurnBudget, session| {
            // The first message is delivered without a check.
            1 + (0..10_000).take_while(|_| slice.shows_more(session, || Tick::ZERO)).count()
        };
        for _ in 0..2 {
            slice.begin(Tick::ZERO);
            assert_eq!(shown(&mut slice, flooder), MESSAGES_OF_ONE as usize);
            assert_eq!(shown(&mut slice, other), MESSAGES_OF_ONE as usize);
        }
        let mut late = TurnBudget::default();
        late.begin(Tick::ZERO);
        let looks = u32::from(STEPS_A_LOOK) + 1;
        let more = (0..looks).filter(|_| late.shows_more(other, || Tick::ZERO + SLICE)).count();
        assert_eq!(more, looks as usize - 1, "one message more at most once the turn has taken its time");
    }

    #[test]
    fn slow_steps_are_all_timed_and_fast_ones_are_not() {
        let mut slice = TurnBudget::default();
        slice.begin(Tick::ZERO);
        let (mut now, mut looks) = (Tick::ZERO, 0);
        let mut run = |slice: &mut TurnBudget, steps, each: Duration| {
            looks = 0;
            for _ in 0..steps {
                now = now + each;
                slice.step(|| {
                    looks += 1;
                    now
                });
            }
            looks
        };
        assert!(run(&mut slice, 1_700, Duration::from_micros(1)) <= 100);
        assert!(!slice.over && slice.is_slow().is_none());
        assert!(run(&mut slice, 100, Duration::from_millis(12)) >= 100 - usize::from(STEPS_A_LOOK));
        assert!(slice.over && slice.is_slow().is_some() && slice.is_slow().is_none());
    }
}
