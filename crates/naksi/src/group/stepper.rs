//! A group without threads: the holder of the stepper decides when a job is started and when it is finished.
//!
//! Jobs, table, bounds and counters are those of every group; only the order of events and the time come from the
//! caller. A simulation derives both from a seed.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use naksi_core::tick::Tick;

use super::threads::{Core, Posted};
use super::{Group, GroupOptions, Handle};
use crate::config::Result;

/// The queue of a stepped group, and the time that was set last.
#[derive(Debug, Default)]
pub(super) struct Steps {
    waiting: Mutex<VecDeque<u64>>,
    /// Number of waiting jobs, so that a look at an empty queue takes no lock.
    waiting_count: AtomicUsize,
    now_nanos: AtomicU64,
}

impl Steps {
    pub(super) fn now(&self) -> Tick {
        Tick::from_nanos(self.now_nanos.load(Ordering::Relaxed))
    }

    pub(super) fn post(&self, number: u64) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push_back(number);
        self.waiting_count.store(waiting.len(), Ordering::Release);
    }

    fn take(&self) -> Option<u64> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let first = waiting.pop_front();
        self.waiting_count.store(waiting.len(), Ordering::Release);
        first
    }
}

/// Takes the place of a group's threads. Jobs can be started as long as it lives; the group is closed as any other,
/// by its last handle or by [`Group::close`].
pub struct Stepper(Arc<Core>);

/// A job that one of the group's threads has started. If dropped, it has not run and does not count as done.
#[must_use]
pub struct Begun {
    posted: Posted,
    began: Tick,
    thread: usize,
}

impl Group {
    /// A group whose jobs are run by the stepper.
    ///
    /// # Errors
    /// The options are invalid.
    pub fn stepped(options: GroupOptions) -> Result<(Self, Stepper)> {
        options.check()?;
        let core = Core::stepped(options);
        Ok((Self(Arc::new(Handle(Arc::clone(&core)))), Stepper(core)))
    }
}

impl Stepper {
    /// Sets the group's current time.
    pub fn set_now(&self, now: Tick) {
        self.0.steps().now_nanos.store(now.nanos(), Ordering::Relaxed);
    }

    /// Whether a job waits for a thread. Takes no lock.
    pub fn has_waiting(&self) -> bool {
        self.0.steps().waiting_count.load(Ordering::Acquire) > 0
    }

    /// Starts the job that has waited longest on a thread (from 0, below the group's number of threads), if there is
    /// one.
    pub fn begin(&self, thread: usize) -> Option<Begun> {
        let number = self.0.steps().take()?;
        let posted = self.0.claim(number);
        Some(Begun { posted, began: self.0.now(), thread })
    }

    /// Runs a started job to its end and frees its thread.
    pub fn finish(&self, begun: Begun) {
        let Begun { posted, began, thread } = begun;
        self.0.run(posted, began, thread);
    }
}

impl std::fmt::Debug for Begun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Begun(by {} at {:?})", self.thread, self.began)
    }
}

impl std::fmt::Debug for Stepper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stepper({:?})", self.0.stats())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::group::SubmitError;

    #[test]
    fn jobs_begin_in_their_order_end_in_any_and_all_of_them_are_counted() {
        let (group, stepper) =
            Group::stepped(GroupOptions::new("db").threads(2).jobs_max(3)).expect("a group");
        let said = Arc::new(Mutex::new(Vec::new()));
        let post = |number: u32| {
            let said = Arc::clone(&said);
            group.post(move || {
                assert!(number != 2, "a job that fails, on purpose");
                said.lock().expect("no panic with it").push(number);
            })
        };
        assert!(!stepper.has_waiting());
        assert!((1..=3).all(|number| post(number).is_ok()));
        assert!(stepper.has_waiting());
        assert_eq!(post(4), Err(SubmitError::Full));
        let (one, two) = (stepper.begin(0).expect("a job"), stepper.begin(1).expect("a job"));
        assert_eq!(post(5), Ok(()), "there is room again");
        stepper.set_now(Tick::from_nanos(5_000_000));
        stepper.finish(two);
        stepper.finish(one);
        while let Some(begun) = stepper.begin(0) {
            stepper.finish(begun);
        }
        assert!(!stepper.has_waiting());
        assert_eq!(*said.lock().expect("no panic with it"), [1, 3, 5]);
        let stats = group.close(Duration::ZERO);
        assert_eq!((stats.posted_total, stats.done_total, stats.depth), (4, 4, 0));
        assert_eq!((stats.refused_total, stats.panics_total), (1, 1));
        assert!(stats.service.max >= Duration::from_millis(5), "time is what was said: {stats:?}");
        assert_eq!(post(6), Err(SubmitError::Closed));
    }
}
