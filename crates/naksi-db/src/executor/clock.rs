//! The timer thread: pauses before retries, deadlines, the breaker's pause. It makes no database call.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::closing::is_idle;
use super::{Executor, State, unpoisoned};
use crate::error::Error;
use crate::keyed_queue::{Kind, Late};

/// The clock thread wakes at least this often, because posting a wake-up to the group may have failed.
const CLOCK_PERIOD_MAX: Duration = Duration::from_secs(1);

pub(super) fn run(executor: &Arc<Executor>) {
    while executor.look() {}
}

impl Executor {
    /// Handles what is due and waits for the next time; `false` when the thread should end.
    fn look(self: &Arc<Self>) -> bool {
        let mut state = unpoisoned(&self.state);
        if state.closed || (state.closing && is_idle(&state)) {
            return false;
        }
        let now = Instant::now();
        let late = state.queue.advance(now);
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
        self.post_wakeups(&mut state);
        self.notify_if_idle(&state);
        if answers.is_empty() {
            let next = [state.queue.next_advance(), state.breaker.opens_at().filter(|at| *at > now)];
            let most = now + CLOCK_PERIOD_MAX;
            let until = next.into_iter().flatten().min().unwrap_or(most).min(most);
            state.clock_wakes_at = Some(until);
            let (mut state, _) = self
                .clock
                .wait_timeout(state, until.saturating_duration_since(now))
                .unwrap_or_else(PoisonError::into_inner);
            state.clock_wakes_at = None;
            return true;
        }
        drop(state);
        for (job, error) in answers {
            self.answer(job, Err(error));
        }
        true
    }

    /// Makes sure that the clock thread does not sleep past this time.
    pub(super) fn wake_clock(&self, state: &State, at: Instant) {
        if state.clock_wakes_at.is_some_and(|wakes_at| at < wakes_at) {
            self.clock.notify_all();
        }
    }
}
