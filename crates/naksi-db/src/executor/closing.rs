//! Closing a database: no new job is accepted, and every accepted save is written, within the caller's time limit.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use naksi::group::thread_index;

use super::{Executor, State, unpoisoned};
use crate::error::Error;
use crate::keyed_queue::Kind;
use crate::stats::Closed;

/// Time that idle threads get to end.
const IDLE_THREADS_WITHIN: Duration = Duration::from_millis(100);

impl Executor {
    /// Accepts no more jobs, and waits up to `within` for the accepted ones.
    pub(crate) fn close(self: &Arc<Self>, within: Duration) -> Closed {
        let begun = Instant::now();
        let mut state = unpoisoned(&self.state);
        state.closing = true;
        let (mut state, _) = self
            .idle
            .wait_timeout_while(state, within, |state| !is_idle(state))
            .unwrap_or_else(PoisonError::into_inner);
        let left = state.queue.remove_all();
        state.closed = true;
        let mut closed = Closed { still_running: state.queue.running(), ..Closed::default() };
        self.clock.notify_all();
        drop(state);
        for (kind, mut job) in left {
            match kind {
                Kind::Load => closed.loads_dropped += 1,
                Kind::Save => closed.saves_lost += 1,
            }
            let error = job.error.take().unwrap_or(Error::Closed);
            self.answer(job, Err(error));
        }
        if closed.saves_lost + closed.still_running > 0 {
            let (lost, running) = (closed.saves_lost, closed.still_running);
            tracing::error!(lost, running, "the database was closed before every save was written");
        }
        // Idle threads end at once; they get a moment even if the jobs used up all of the time.
        self.group.close(within.saturating_sub(begun.elapsed()).max(IDLE_THREADS_WITHIN));
        closed
    }

    /// The last handle was dropped. A group's thread does not wait, because it may be one of the database's own;
    /// accepted saves are still written while the process lives.
    pub(crate) fn close_at_drop(self: &Arc<Self>) {
        let mut state = unpoisoned(&self.state);
        let closed = std::mem::replace(&mut state.closing, true);
        self.clock.notify_all();
        drop(state);
        if !closed && thread_index().is_none() {
            // `close` has logged what was lost.
            let _closed = self.close(self.settings.close_within);
        }
    }

    pub(super) fn notify_if_idle(&self, state: &State) {
        if state.closing && is_idle(state) {
            self.idle.notify_all();
        }
    }
}

pub(super) fn is_idle(state: &State) -> bool {
    state.queue.waiting() + state.queue.running() == 0
}
