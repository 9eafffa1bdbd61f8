//! Which deadlines may be judged: a peer is not late while data that it sent in time is still unread.
//!
//! A callback that blocks, a debugger or a paused machine stops a worker while its clock goes on. Afterwards the
//! deadlines of thousands of sessions have passed whose data is in the kernel, and one wait returns only a few
//! hundred completions. So a deadline is judged only once everything that had arrived by then has been read, some
//! turns later. If waits never return everything, because of a flood, a deadline is judged a second late.

use naksi_core::tick::Tick;

/// A deadline older than this is judged even if not everything has been read. Nanoseconds.
const UNREAD_SPAN_MAX: u64 = 1_000_000_000;

/// A step that takes longer has held the worker: peers get the same time in addition. Nanoseconds.
const STEP_SPAN_MAX: u64 = 100_000_000;

/// Upper bound of that time, because a worker that sleeps looks the same as one that is held. Nanoseconds.
const HELD_MAX: u64 = 5_000_000_000;

/// How far a worker has read, as a time. Spans are in nanoseconds, because every turn computes with them.
#[derive(Debug, Default)]
pub(crate) struct DeadlineGuard {
    /// When the last two waits returned, the latest last.
    waits: [Tick; 2],
    /// Everything that arrived by then has been read.
    read_until: Tick,
    /// The last time that was accounted for.
    at: Tick,
    /// How long the worker was held. After a second, the time that it has worked since is subtracted.
    held: u64,
    held_at: Tick,
    /// The span of a hold or a sleep before a wait that drained the port; the next wait tells which it was.
    slept: u64,
}

impl DeadlineGuard {
    /// A wait has returned; `brings_all`: it drained the port.
    #[inline]
    pub(crate) fn turn(&mut self, now: Tick, brings_all: bool) {
        let excess = self.pass_by(now);
        if brings_all {
            // This wait or the one before it asked the kernel, but perhaps only the one before, which began after the
            // wait before it had returned.
            self.read_until = self.waits[0];
            self.slept = excess;
        } else {
            let slept = std::mem::take(&mut self.slept);
            self.hold(now, excess + slept);
        }
        self.waits = [self.waits[1], now];
    }

    /// Updates the time within a turn.
    pub(crate) fn pass(&mut self, now: Tick) {
        let excess = self.pass_by(now);
        self.hold(now, excess);
    }

    /// A step has ended. Returns its duration if it was too long.
    #[inline]
    fn pass_by(&mut self, now: Tick) -> u64 {
        let span = now.nanos().saturating_sub(std::mem::replace(&mut self.at, now).nanos());
        if span > STEP_SPAN_MAX {
            return span.min(HELD_MAX);
        }
        if self.held > 0 && now.nanos().saturating_sub(self.held_at.nanos()) >= UNREAD_SPAN_MAX {
            self.held = self.held.saturating_sub(span);
        }
        0
    }

    fn hold(&mut self, now: Tick, span: u64) {
        if span > 0 {
            (self.held, self.held_at) = ((self.held + span).min(HELD_MAX), now);
        }
    }

    /// Deadlines up to this tick may be judged.
    pub(crate) fn judged_until(&self, now: Tick) -> Tick {
        let grace = self.held + self.slept + UNREAD_SPAN_MAX;
        self.read_until.max(Tick::from_nanos(now.nanos().saturating_sub(grace)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Tick {
        Tick::from_nanos(millis * 1_000_000)
    }

    /// A worker whose turns take this many milliseconds each.
    fn turns(
        deadline_guard: &mut DeadlineGuard,
        mut now: u64,
        count: u64,
        span: u64,
        brings_all: bool,
    ) -> u64 {
        for _ in 0..count {
            now += span;
            deadline_guard.turn(at(now), brings_all);
        }
        now
    }

    #[test]
    fn a_deadline_is_judged_three_turns_later_however_long_turns_are() {
        for span in [1, 12, 100, 900, 5_000] {
            let mut deadline_guard = DeadlineGuard::default();
            let deadline = turns(&mut deadline_guard, 10_000, 10, span, true);
            assert!(
                deadline_guard.judged_until(at(deadline)) < at(deadline),
                "what has arrived is not read yet"
            );
            let now = turns(&mut deadline_guard, deadline, 2, span, true);
            assert!(deadline_guard.judged_until(at(now)) >= at(deadline), "turns of {span} ms");
        }
    }

    #[test]
    fn nobody_is_late_before_all_is_read_and_a_flood_puts_it_off_for_a_second() {
        let mut deadline_guard = DeadlineGuard::default();
        let before = turns(&mut deadline_guard, 0, 10, 1, true);
        // Held for five seconds: the next wait may return completions from before, and drain the port.
        let now = turns(&mut deadline_guard, before, 1, 5_000, true);
        assert!(deadline_guard.judged_until(at(now)) < at(before));
        // Now there is more than one wait returns.
        let now = turns(&mut deadline_guard, now, 9, 100, false);
        assert!(
            deadline_guard.judged_until(at(now)) < at(before),
            "the deadlines of these five seconds are not judged"
        );
        let flood = turns(&mut deadline_guard, now, 200, 100, false);
        let judged = deadline_guard.judged_until(at(flood));
        assert!(
            judged.nanos() + UNREAD_SPAN_MAX >= at(flood).nanos(),
            "a flood of seconds protects no squatter: {judged:?}"
        );
        let now = turns(&mut deadline_guard, flood, 3, 1, true);
        assert!(deadline_guard.judged_until(at(now)) >= at(flood), "all was read");
    }

    #[test]
    fn a_turn_that_does_not_end_is_judged_in_by_steps_and_one_step_that_holds_it_is_not() {
        let mut deadline_guard = DeadlineGuard::default();
        let deadline = turns(&mut deadline_guard, 0, 10, 1, true);
        (1..=110).for_each(|step| deadline_guard.pass(at(deadline + step * 10)));
        assert!(deadline_guard.judged_until(at(deadline + 1_100)) >= at(deadline));
        let mut deadline_guard = DeadlineGuard::default();
        let deadline = turns(&mut deadline_guard, 0, 10, 1, true);
        deadline_guard.pass(at(deadline + 5_000));
        assert!(deadline_guard.judged_until(at(deadline + 5_000)) < at(deadline));
    }
}
