//! The one thread that waits for times: pauses before another attempt, deadlines, the breaker's pause.
//! Nothing here meets a database.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::closing::is_idle;
use super::{Crew, State, unpoisoned};
use crate::error::Error;
use crate::lanes::{Kind, Late};

/// How long the clock looks away at most: the group may have had no memory for a turn.
const LOOKS_AT_LEAST_EVERY: Duration = Duration::from_secs(1);

pub(super) fn run(crew: &Arc<Crew>) {
    while crew.look() {}
}

impl Crew {
    /// Does what is due and waits for what comes next; `false` when the clock has nothing to do any more.
    fn look(self: &Arc<Self>) -> bool {
        let mut state = unpoisoned(&self.state);
        if state.closed || (state.closing && is_idle(&state)) {
            return false;
        }
        let now = Instant::now();
        let late = state.lanes.turn(now);
        let mut answers = Vec::new();
        for Late { kind, mut job, behind } in late {
            state.counts.late_total += 1;
            let error = job.error.take().unwrap_or(Error::Late);
            if kind == Kind::Save {
                tracing::error!(%error, "a save could not be written in time");
            }
            answers.push((job, error));
            answers.extend(behind.into_iter().map(|load| (load, Error::Unsaved)));
        }
        self.summon(&mut state);
        self.tell_if_idle(&state);
        if answers.is_empty() {
            let next = [state.lanes.next_turn(), state.breaker.opens_at().filter(|at| *at > now)];
            let most = now + LOOKS_AT_LEAST_EVERY;
            let until = next.into_iter().flatten().min().unwrap_or(most).min(most);
            state.clock_looks_at = Some(until);
            let (mut state, _) = self
                .clock
                .wait_timeout(state, until.saturating_duration_since(now))
                .unwrap_or_else(PoisonError::into_inner);
            state.clock_looks_at = None;
            return true;
        }
        drop(state);
        for (job, error) in answers {
            self.answer(job, Err(error));
        }
        true
    }

    /// Something is due at this time: the clock must not sleep past it.
    pub(super) fn wake_clock(&self, state: &State, at: Instant) {
        if state.clock_looks_at.is_some_and(|looks_at| at < looks_at) {
            self.clock.notify_all();
        }
    }
}
