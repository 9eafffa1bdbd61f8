//! The end of a database: no job is taken any more, and every save that was is written. Nothing here is in a hurry
//! before its time is over.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use naksi::group::thread_index;

use super::{Crew, State, unpoisoned};
use crate::error::Error;
use crate::lanes::Kind;
use crate::stats::Closed;

/// How long threads that have no job may take to end.
const IDLE_THREADS_WITHIN: Duration = Duration::from_millis(100);

impl Crew {
    /// Takes no more jobs, and waits at most so long for those that were taken.
    pub(crate) fn close(self: &Arc<Self>, within: Duration) -> Closed {
        let begun = Instant::now();
        let mut state = unpoisoned(&self.state);
        state.closing = true;
        let (mut state, _) = self
            .idle
            .wait_timeout_while(state, within, |state| !is_idle(state))
            .unwrap_or_else(PoisonError::into_inner);
        let left = state.lanes.take_out_all();
        state.closed = true;
        let mut closed = Closed { still_running: state.lanes.running(), ..Closed::default() };
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
        // Threads without a job end at once, also if the jobs took all of the time.
        self.group.close(within.saturating_sub(begun.elapsed()).max(IDLE_THREADS_WITHIN));
        closed
    }

    /// The last handle is gone. A thread of a group does not wait: it may be one of the database's own. What was taken
    /// is written all the same, as long as the process lives.
    pub(crate) fn close_at_drop(self: &Arc<Self>) {
        let mut state = unpoisoned(&self.state);
        let closed = std::mem::replace(&mut state.closing, true);
        self.clock.notify_all();
        drop(state);
        if !closed && thread_index().is_none() {
            // What was lost is in the log.
            let _closed = self.close(self.settings.close_within);
        }
    }

    pub(super) fn tell_if_idle(&self, state: &State) {
        if state.closing && is_idle(state) {
            self.idle.notify_all();
        }
    }
}

pub(super) fn is_idle(state: &State) -> bool {
    state.lanes.waiting() + state.lanes.running() == 0
}
