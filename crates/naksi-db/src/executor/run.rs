//! One wake-up: a thread of the group takes one job, tries it once on its own connection, and delivers the answer.
//! The keyed queue decides the order.

use std::sync::Arc;
use std::time::Instant;

use naksi::group::{blocking, thread_index};
use naksi_core::unwind::catch_panic;

use super::{Executor, State, unpoisoned};
use crate::breaker::BreakerState;
use crate::error::{Error, Result};
use crate::keyed_queue::{Kind, Ticket};
use crate::settings::after;
use crate::task::Job;

/// The outcome of an attempt.
struct Outcome {
    /// The job and its answer, unless it is retried.
    over: Option<(Job, Result<()>)>,
    /// Other jobs that this attempt decided.
    answers: Vec<(Job, Error)>,
}

impl Executor {
    /// Posts a wake-up for each ready job, up to the number of threads.
    pub(super) fn post_wakeups(self: &Arc<Self>, state: &mut State) {
        // While the database is down, one probe at a time, after the breaker's pause.
        let most = match state.breaker.state() {
            BreakerState::Closed => self.threads,
            BreakerState::Open if state.breaker.opens_at().is_none_or(|at| at <= Instant::now()) => 1,
            BreakerState::Open | BreakerState::HalfOpen => 0,
        };
        while state.wakeups < state.queue.ready() && state.wakeups + state.queue.running() < most {
            let executor = Arc::clone(self);
            if self.group.post(move || executor.run_one()).is_err() {
                // The group is closed or full; the clock thread tries again.
                break;
            }
            state.wakeups += 1;
        }
    }

    fn run_one(self: &Arc<Self>) {
        let taken = {
            let mut state = unpoisoned(&self.state);
            let passes = state.queue.is_ready() && state.breaker.pass(Instant::now());
            state.wakeups -= 1;
            passes.then(|| state.queue.take()).flatten()
        };
        let Some((ticket, kind, mut job)) = taken else { return };
        let outcome = blocking(|| self.attempt(kind, &mut job));
        let Outcome { over, answers } = self.settle(ticket, kind, job, outcome);
        if let Some((job, outcome)) = over {
            // Answered before the job leaves the queue, so that answers of one key keep their order.
            self.answer(job, outcome);
            for (job, error) in answers {
                self.answer(job, Err(error));
            }
            let mut state = unpoisoned(&self.state);
            state.queue.done(ticket);
            self.finish_run(&mut state);
        } else {
            for (job, error) in answers {
                self.answer(job, Err(error));
            }
        }
    }

    fn finish_run(self: &Arc<Self>, state: &mut State) {
        self.post_wakeups(state);
        self.notify_if_idle(state);
    }

    /// One attempt on this thread's own connection, which is opened if there is none.
    fn attempt(&self, kind: Kind, job: &mut Job) -> Result<()> {
        let index = thread_index().expect("a turn is taken by a thread of the group");
        let mut link = unpoisoned(&self.links[index]);
        if link.is_none() {
            *link = Some(self.place.connect(&self.settings)?);
        }
        let open = link.as_mut().expect("it was just made");
        let attempt = || open.attempt(kind, &mut |conn| job.task.attempt(conn));
        let outcome = catch_panic(attempt).unwrap_or_else(|panic| Err(Error::Panicked(panic.to_string())));
        if matches!(outcome, Err(Error::Down(_) | Error::Panicked(_)))
            // The connection's state is unknown: replies may still be in transit.
            && let Err(panic) = catch_panic(|| *link = None)
        {
            tracing::error!(
                panic = panic.text(),
                "a broken connection of the database panicked when it was dropped"
            );
        }
        outcome
    }

    /// Applies the outcome to the breaker and the queue; the job is either finished or scheduled for a retry.
    fn settle(self: &Arc<Self>, ticket: Ticket, kind: Kind, mut job: Job, outcome: Result<()>) -> Outcome {
        let mut state = unpoisoned(&self.state);
        let mut answers = Vec::new();
        match &outcome {
            Err(error @ Error::Down(_)) => {
                if state.breaker.failed(Instant::now()) {
                    tracing::error!(%error, "the database is down: loads fail at once, saves wait");
                }
                if state.breaker.state() == BreakerState::Open {
                    answers.extend(state.queue.remove_loads().into_iter().map(|load| (load, error.clone())));
                }
                self.clock.notify_all();
            }
            _ => {
                if state.breaker.state() != BreakerState::Closed {
                    tracing::warn!("the database answers again");
                }
                state.breaker.succeeded();
            }
        }
        let Err(error) = &outcome else {
            state.counts.done(kind);
            return Outcome { over: Some((job, outcome)), answers };
        };
        job.attempts += 1;
        let down = kind == Kind::Load && state.breaker.state() != BreakerState::Closed;
        // After the close no thread is left to retry.
        let may = job.attempts < self.settings.attempts_max && !down && !state.closed;
        let again = error.is_passing() && may;
        if again {
            state.counts.retried_total += 1;
            // Under the same lock, so that a concurrent close finds the job either waiting or finished.
            self.retry_later(&mut state, ticket, job, outcome);
            self.finish_run(&mut state);
            return Outcome { over: None, answers };
        }
        state.counts.failed_total += 1;
        if kind == Kind::Save {
            let behind = state.queue.remove_loads_behind(ticket);
            answers.extend(behind.into_iter().map(|load| (load, Error::Unsaved)));
        }
        Outcome { over: Some((job, outcome)), answers }
    }

    fn retry_later(self: &Arc<Self>, state: &mut State, ticket: Ticket, mut job: Job, outcome: Result<()>) {
        let pause = self.settings.pause(job.attempts);
        let micros = u64::try_from(pause.as_micros()).unwrap_or(u64::MAX).max(2);
        let pause = std::time::Duration::from_micros(state.chance.between(micros / 2, micros));
        job.error = outcome.err();
        let at = after(Instant::now(), pause);
        state.queue.retry(ticket, at, job);
        self.wake_clock(state, at);
    }

    /// Calls the job's callback with the answer; a panic in it is caught and counted.
    pub(super) fn answer(&self, job: Job, outcome: Result<()>) {
        let micros = u64::try_from(job.asked.elapsed().as_micros()).unwrap_or(u64::MAX);
        unpoisoned(&self.state).answers.saturating_record(micros.max(1));
        if let Err(panic) = catch_panic(|| job.task.answer(outcome)) {
            unpoisoned(&self.state).counts.panics_total += 1;
            tracing::error!(panic = panic.text(), "the callback of a database's answer panicked");
        }
    }

    /// Delivers an answer on a thread of the group. If the group is closed, the answer is dropped and logged.
    pub(super) fn post_answer(self: &Arc<Self>, job: Job, error: Error) {
        let executor = Arc::clone(self);
        if self.group.post(move || executor.answer(job, Err(error))).is_err() {
            tracing::error!("a database answer was dropped: its thread group is closed");
        }
    }
}
