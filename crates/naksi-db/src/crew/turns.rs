//! A turn: a thread of the group takes one job, tries it once on its own connection, and tells the answer.
//! Nothing here decides the order.

use std::sync::Arc;
use std::time::Instant;

use naksi::group::{blocking, thread_index};
use naksi_core::unwind::caught;

use super::{Crew, State, unpoisoned};
use crate::breaker::BreakerState;
use crate::error::{Error, Result};
use crate::lanes::{Kind, Ticket};
use crate::settings::after;
use crate::task::Job;

/// What became of an attempt.
struct Judged {
    /// The job and its answer, if it is not to be tried again.
    over: Option<(Job, Result<()>)>,
    /// Others that have their answer now.
    answers: Vec<(Job, Error)>,
}

impl Crew {
    /// Gives the group as many turns as there is work for, and no more than it has threads.
    pub(super) fn summon(self: &Arc<Self>, state: &mut State) {
        // While the database is down one of them tries, when its time has come.
        let most = match state.breaker.state() {
            BreakerState::Closed => self.threads,
            BreakerState::Open if state.breaker.opens_at().is_none_or(|at| at <= Instant::now()) => 1,
            BreakerState::Open | BreakerState::HalfOpen => 0,
        };
        while state.turns < state.lanes.ready() && state.turns + state.lanes.running() < most {
            let crew = Arc::clone(self);
            if self.group.post(move || crew.turn()).is_err() {
                // Closed, or without memory for one more: the clock comes by and tries again.
                break;
            }
            state.turns += 1;
        }
    }

    fn turn(self: &Arc<Self>) {
        let taken = {
            let mut state = unpoisoned(&self.state);
            let passes = state.lanes.is_ready() && state.breaker.pass(Instant::now());
            state.turns -= 1;
            passes.then(|| state.lanes.take()).flatten()
        };
        let Some((ticket, kind, mut job)) = taken else { return };
        let outcome = blocking(|| self.attempt(kind, &mut job));
        let Judged { over, answers } = self.judge(ticket, kind, job, outcome);
        if let Some((job, outcome)) = over {
            // Before the lanes go on, so that the answers of one key come in order.
            self.answer(job, outcome);
            for (job, error) in answers {
                self.answer(job, Err(error));
            }
            let mut state = unpoisoned(&self.state);
            state.lanes.done(ticket);
            self.end_turn(&mut state);
        } else {
            for (job, error) in answers {
                self.answer(job, Err(error));
            }
        }
    }

    fn end_turn(self: &Arc<Self>, state: &mut State) {
        self.summon(state);
        self.tell_if_idle(state);
    }

    /// One attempt on this thread's own connection, which is made if there is none.
    fn attempt(&self, kind: Kind, job: &mut Job) -> Result<()> {
        let index = thread_index().expect("a turn is taken by a thread of the group");
        let mut link = unpoisoned(&self.links[index]);
        if link.is_none() {
            *link = Some(self.place.connect(&self.settings)?);
        }
        let open = link.as_mut().expect("it was just made");
        let attempt = || open.attempt(kind, &mut |conn| job.task.attempt(conn));
        let outcome = caught(attempt).unwrap_or_else(|panic| Err(Error::Panicked(panic.to_string())));
        if matches!(outcome, Err(Error::Down(_) | Error::Panicked(_)))
            // Nobody knows what is still on its way in it.
            && let Err(panic) = caught(|| *link = None)
        {
            tracing::error!(
                panic = panic.text(),
                "a broken connection of the database panicked when it was dropped"
            );
        }
        outcome
    }

    /// What an attempt means for everybody else; and the job itself is over, or waits for another one.
    fn judge(self: &Arc<Self>, ticket: Ticket, kind: Kind, mut job: Job, outcome: Result<()>) -> Judged {
        let mut state = unpoisoned(&self.state);
        let mut answers = Vec::new();
        match &outcome {
            Err(error @ Error::Down(_)) => {
                if state.breaker.failed(Instant::now()) {
                    tracing::error!(%error, "the database is down: loads fail at once, saves wait");
                }
                if state.breaker.state() == BreakerState::Open {
                    answers
                        .extend(state.lanes.take_out_loads().into_iter().map(|load| (load, error.clone())));
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
            return Judged { over: Some((job, outcome)), answers };
        };
        job.attempts += 1;
        let down = kind == Kind::Load && state.breaker.state() != BreakerState::Closed;
        // After the end nobody comes by to try again.
        let may = job.attempts < self.settings.attempts_max && !down && !state.closed;
        let again = error.is_passing() && may;
        if again {
            state.counts.retried_total += 1;
            // Under the same lock, so that an end that comes meanwhile finds the job either waiting or over.
            self.try_later(&mut state, ticket, job, outcome);
            self.end_turn(&mut state);
            return Judged { over: None, answers };
        }
        state.counts.failed_total += 1;
        if kind == Kind::Save {
            let behind = state.lanes.take_out_loads_behind(ticket);
            answers.extend(behind.into_iter().map(|load| (load, Error::Unsaved)));
        }
        Judged { over: Some((job, outcome)), answers }
    }

    fn try_later(self: &Arc<Self>, state: &mut State, ticket: Ticket, mut job: Job, outcome: Result<()>) {
        let pause = self.settings.pause(job.attempts);
        let micros = u64::try_from(pause.as_micros()).unwrap_or(u64::MAX).max(2);
        let pause = std::time::Duration::from_micros(state.chance.between(micros / 2, micros));
        job.error = outcome.err();
        let at = after(Instant::now(), pause);
        state.lanes.again(ticket, at, job);
        self.wake_clock(state, at);
    }

    /// Tells an answer. Whatever the callback does, it does it to itself alone.
    pub(super) fn answer(&self, job: Job, outcome: Result<()>) {
        let micros = u64::try_from(job.asked.elapsed().as_micros()).unwrap_or(u64::MAX);
        unpoisoned(&self.state).answers.saturating_record(micros.max(1));
        if let Err(panic) = caught(|| job.task.answer(outcome)) {
            unpoisoned(&self.state).counts.panics_total += 1;
            tracing::error!(panic = panic.text(), "the callback of a database's answer panicked");
        }
    }

    /// Tells an answer on a thread of the group. If the group takes no more, nobody is told but the log.
    pub(super) fn answer_elsewhere(self: &Arc<Self>, job: Job, error: Error) {
        let crew = Arc::clone(self);
        if self.group.post(move || crew.answer(job, Err(error))).is_err() {
            tracing::error!("an answer of the database was dropped: its group takes no more");
        }
    }
}
