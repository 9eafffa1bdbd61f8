//! The completion queue of a group: work that several threads wait for, with a completion port's laws.
//!
//! `limiter.rs` decides which thread runs when. The queue ends with one quit packet for each thread, after all work
//! that was posted before.

use std::time::{Duration, Instant};

use super::limiter::{ConcurrencyLimiter, Source, Turn};
use crate::port::PortError;
pub use crate::taken::Taken;

/// Work for the threads of a group.
#[derive(Debug)]
pub struct Queue(ConcurrencyLimiter<u64>);

impl Queue {
    /// A queue of which at most `concurrency` threads run at a time; 0 is as many as there are processors.
    ///
    /// # Errors
    /// None on Linux.
    pub fn open(concurrency: u32) -> Result<Self, PortError> {
        Ok(Self(ConcurrencyLimiter::new(concurrency as usize, Source::Posts)))
    }

    /// Puts a piece of work in. `false`: the queue has ended.
    pub fn post(&self, work: u64) -> bool {
        self.0.post(work)
    }

    /// Waits for the next piece of work, at most this long; `None` waits without a limit.
    ///
    /// # Errors
    /// None on Linux.
    pub fn take(&self, at_most: Option<Duration>) -> Result<Taken, PortError> {
        // Never, if it is later than a clock can say.
        let until = at_most.and_then(|at_most| Instant::now().checked_add(at_most));
        Ok(match self.0.turn(until, || {}) {
            Turn::Take(work) => Taken::Work(work),
            Turn::TimedOut => Taken::Nothing,
            Turn::Quit => Taken::Quit,
            Turn::Poll => unreachable!("all work of a queue is posted"),
        })
    }

    /// Runs a blocking call: another thread may run meanwhile. Afterwards one more than allowed may run for a moment,
    /// as on Windows. On a thread that has no work of this queue it only makes the call.
    pub fn blocking<T>(&self, work: impl FnOnce() -> T) -> T {
        self.0.blocking(work)
    }

    /// Closes the queue: what was posted is still taken, and then each of `threads` threads is told to quit.
    ///
    /// # Errors
    /// None on Linux.
    pub fn close(&self, threads: usize) -> Result<(), usize> {
        self.0.close(threads);
        Ok(())
    }
}

#[cfg(all(loom, test))]
mod models {
    use super::*;
    use loom::sync::{Condvar, Mutex};
    use loom::thread;
    use std::sync::Arc;

    /// Three preemptions find every known kind of lost wake-up; without a bound a run takes hours.
    fn model(run: impl Fn() + Send + Sync + 'static) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(run);
    }

    fn carry_out(queue: &Queue, mut work: impl FnMut(u64)) {
        while let Taken::Work(number) = queue.take(None).expect("Linux has no errors here") {
            work(number);
        }
    }

    #[test]
    fn all_work_is_taken_once_and_every_thread_is_told_to_quit_however_they_meet() {
        model(|| {
            let queue = Arc::new(Queue::open(1).expect("Linux has no errors here"));
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    let queue = Arc::clone(&queue);
                    thread::spawn(move || {
                        let mut taken = 0;
                        carry_out(&queue, |number| taken += number);
                        taken
                    })
                })
                .collect();
            assert!(queue.post(1) && queue.post(10));
            queue.close(2).expect("Linux has no errors here");
            assert!(!queue.post(100), "the queue has ended");
            let taken: u64 = threads.into_iter().map(|thread| thread.join().expect("a thread ends")).sum();
            assert_eq!(taken, 11);
        });
    }

    #[test]
    fn whoever_says_that_it_blocks_lets_another_one_run_however_they_meet() {
        model(|| {
            let queue = Arc::new(Queue::open(1).expect("Linux has no errors here"));
            let done = Arc::new((Mutex::new(false), Condvar::new()));
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    let (queue, done) = (Arc::clone(&queue), Arc::clone(&done));
                    thread::spawn(move || {
                        carry_out(&queue, |number| match number {
                            // The first job waits for the second, which only another thread can run.
                            1 => queue.blocking(|| {
                                let mut over = done.0.lock().expect("not poisoned");
                                while !*over {
                                    over = done.1.wait(over).expect("not poisoned");
                                }
                            }),
                            _ => {
                                *done.0.lock().expect("not poisoned") = true;
                                done.1.notify_one();
                            }
                        });
                    })
                })
                .collect();
            assert!(queue.post(1) && queue.post(2));
            queue.close(2).expect("Linux has no errors here");
            threads.into_iter().for_each(|thread| thread.join().expect("a thread ends"));
        });
    }
}
