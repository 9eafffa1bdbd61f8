//! A group whose threads are stepped: a job begins at one moment of the world's time and happens at a later one.
//!
//! Nothing here knows what a job does.

use std::time::Duration;

use naksi::group::{Begun, Group, GroupStats, Stepper};
use naksi_core::prng::Prng;
use naksi_core::tick::Tick;

/// One group, and the jobs that its threads have begun.
#[derive(Debug)]
pub(crate) struct SteppedGroup {
    pub(crate) group: Group,
    stepper: Stepper,
    /// What each thread has begun, and until when it takes.
    threads: Vec<Option<(Begun, Tick)>>,
    idle: usize,
}

impl SteppedGroup {
    pub(crate) fn new((group, stepper): (Group, Stepper), threads: usize) -> Self {
        Self { group, stepper, threads: (0..threads).map(|_| None).collect(), idle: threads }
    }

    /// One thread does one thing, if any can: the random number says which. `duration` says how long a job takes
    /// that begins now. Returns when that job happens, or now if one has happened.
    pub(crate) fn step(
        &mut self,
        now: Tick,
        random: &mut Prng,
        duration: impl FnOnce(&mut Prng) -> Duration,
    ) -> Option<Tick> {
        self.stepper.set_now(now);
        // Most steps find nothing to do, and there are many of them.
        if self.idle == self.threads.len() && !self.stepper.has_waiting() {
            return None;
        }
        let count = self.threads.len();
        let first = if count > 1 { random.below(count as u64) as usize } else { 0 };
        let order = (first..count).chain(0..first);
        if self.idle < count {
            let mut due = order
                .clone()
                .filter(|thread| self.threads[*thread].as_ref().is_some_and(|(_, until)| *until <= now));
            if let Some((begun, _)) = due.next().and_then(|thread| self.threads[thread].take()) {
                self.idle += 1;
                self.stepper.finish(begun);
                return Some(now);
            }
        }
        if self.idle == 0 {
            return None;
        }
        let free = order.into_iter().find(|thread| self.threads[*thread].is_none())?;
        let begun = self.stepper.begin(free)?;
        let until = now + duration(random);
        self.threads[free] = Some((begun, until));
        self.idle -= 1;
        Some(until)
    }

    /// Everything that was posted happens, and nothing is taken any more.
    pub(crate) fn close(&mut self) -> GroupStats {
        let group = self.group.clone();
        // A closed group takes nothing new, but a job that is handed over before that is carried out as well.
        for closed in [false, true] {
            if closed {
                group.close(Duration::ZERO);
            }
            for (begun, _) in self.threads.iter_mut().filter_map(Option::take) {
                self.stepper.finish(begun);
            }
            while let Some(begun) = self.stepper.begin(0) {
                self.stepper.finish(begun);
            }
        }
        group.stats()
    }
}
