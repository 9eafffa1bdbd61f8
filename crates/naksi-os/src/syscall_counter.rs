//! What a server spent: system calls, wake-ups and processor time.
//!
//! The models of the ladder count each call into the kernel where they make it, so that all six are compared by the
//! same count.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::ThreadClock;

/// Counters that all threads of one server share.
#[derive(Clone, Debug, Default)]
pub struct SyscallCounter(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    calls: AtomicU64,
    wakeups: AtomicU64,
    clocks: Mutex<Clocks>,
}

#[derive(Debug, Default)]
struct Clocks {
    running: Vec<(u64, ThreadClock)>,
    next: u64,
    ended: Duration,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Calls into the kernel.
    pub calls: u64,
    /// Waits that a thread came back from.
    pub wakeups: u64,
    /// Processor time of the server's threads, in user mode and in the kernel.
    pub processor: Duration,
    /// Threads that count their time at this moment.
    pub threads: u64,
}

impl SyscallCounter {
    /// One more call into the kernel.
    pub fn call(&self) {
        self.calls(1);
    }

    /// Several calls into the kernel.
    pub fn calls(&self, count: u64) {
        self.0.calls.fetch_add(count, Ordering::Relaxed);
    }

    /// Counts a return from a wait; the call that waited counts as well.
    pub fn wakeup(&self) {
        self.0.wakeups.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts the processor time of this thread until the returned value is dropped.
    #[must_use = "the thread's time is counted until this is dropped"]
    pub fn clock(&self) -> Clocked {
        let mut clocks = self.clocks();
        let number = clocks.next;
        clocks.next += 1;
        clocks.running.push((number, ThreadClock::of_this_thread()));
        Clocked { counter: self.clone(), number }
    }

    /// The counters now.
    pub fn spent(&self) -> Spent {
        let clocks = self.clocks();
        let running: Duration = clocks.running.iter().map(|(_, clock)| clock.elapsed()).sum();
        Spent {
            calls: self.0.calls.load(Ordering::Relaxed),
            wakeups: self.0.wakeups.load(Ordering::Relaxed),
            processor: clocks.ended + running,
            threads: clocks.running.len() as u64,
        }
    }

    fn clocks(&self) -> std::sync::MutexGuard<'_, Clocks> {
        // The data are valid between any two statements, so a poisoned lock is safe to use.
        self.0.clocks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread whose processor time is being counted. It stays on its thread.
#[derive(Debug)]
pub struct Clocked {
    counter: SyscallCounter,
    number: u64,
}

impl Drop for Clocked {
    fn drop(&mut self) {
        let mut clocks = self.counter.clocks();
        if let Some(place) = clocks.running.iter().position(|(number, _)| *number == self.number) {
            let (_, clock) = clocks.running.swap_remove(place);
            clocks.ended += clock.elapsed();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn the_time_of_a_thread_that_ended_stays_counted() {
        let counter = SyscallCounter::default();
        let inner = counter.clone();
        thread::spawn(move || {
            let _clock = inner.clock();
            let mut sum = 0_u64;
            while inner.spent().processor < Duration::from_millis(2) {
                sum = sum.wrapping_mul(31).wrapping_add(1);
            }
            std::hint::black_box(sum);
        })
        .join()
        .expect("the thread ends");
        let spent = counter.spent();
        assert!(spent.processor >= Duration::from_millis(2) && spent.threads == 0, "{spent:?}");
    }
}
