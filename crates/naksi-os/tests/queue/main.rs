//! Tests that the completion queue of a group keeps the laws of a completion port, on every system.
//!
//! Wine ignores the concurrency limit and wakes in turn: there the cases of those two laws are skipped with a
//! message.

#[path = "../support/asleep.rs"]
mod asleep;

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use naksi_os::ThreadClock;
use naksi_os::queue::{Queue, Taken};

/// How long anything may take before a test is lost.
const PATIENCE: Duration = Duration::from_secs(20);

fn skipped_under_wine(name: &str) -> bool {
    let wine = naksi_os::completion_port::is_wine();
    if wine {
        eprintln!("skipped under Wine, which does not keep this law: {name}");
    }
    wine
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "waited in vain for: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn work_comes_out_once_and_in_order_and_then_everybody_quits() {
    let queue = Queue::open(2).expect("a queue");
    assert_eq!(queue.take(Some(Duration::ZERO)), Ok(Taken::Nothing));
    for work in [7, u64::MAX, 1 << 40] {
        assert!(queue.post(work));
    }
    for work in [7, u64::MAX, 1 << 40] {
        assert_eq!(queue.take(None), Ok(Taken::Work(work)));
    }
    let (taken, sum) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    while let Ok(Taken::Work(work)) = queue.take(None) {
                        taken.fetch_add(1, Ordering::Relaxed);
                        sum.fetch_add(work, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        (1..=1000).for_each(|work| assert!(queue.post(work)));
        assert_eq!(queue.close(workers.len()), Ok(()));
        assert!(!queue.post(1), "an ended queue takes nothing");
    });
    assert_eq!((taken.into_inner(), sum.into_inner()), (1000, 500_500));
    assert_eq!(queue.take(Some(Duration::ZERO)), Ok(Taken::Nothing), "one quit packet a thread");
}

#[test]
fn at_most_as_many_threads_run_as_the_queue_allows() {
    if skipped_under_wine("at_most_as_many_threads_run_as_the_queue_allows") {
        return;
    }
    let queue = Queue::open(1).expect("a queue");
    let (running, most) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Ok(Taken::Work(rounds)) = queue.take(None) {
                    most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    (0..rounds).for_each(|round| {
                        black_box(round);
                    });
                    running.fetch_sub(1, Ordering::SeqCst);
                }
            });
        }
        (0..64).for_each(|_| assert!(queue.post(2_000_000)));
        assert_eq!(queue.close(4), Ok(()));
    });
    assert_eq!(most.into_inner(), 1);
}

/// Threads that wait in the order of their numbers and report which of them has taken what.
fn crew(queue: &Arc<Queue>, threads: usize) -> (Vec<ThreadClock>, mpsc::Receiver<(usize, u64)>) {
    let (told, tells) = mpsc::channel();
    let mut clocks = Vec::new();
    for name in 0..threads {
        let (queue, told) = (Arc::clone(queue), told.clone());
        let (begins, begun) = mpsc::channel();
        thread::spawn(move || {
            begins.send(ThreadClock::of_this_thread()).expect("the test listens");
            while let Ok(Taken::Work(work)) = queue.take(None) {
                told.send((name, work)).expect("the test listens");
            }
        });
        let clock = begun.recv().expect("the thread runs");
        asleep::until_asleep(&clock);
        clocks.push(clock);
    }
    (clocks, tells)
}

#[test]
fn the_thread_that_came_last_is_woken_first() {
    if skipped_under_wine("the_thread_that_came_last_is_woken_first") {
        return;
    }
    let queue = Arc::new(Queue::open(4).expect("a queue"));
    let (clocks, tells) = crew(&queue, 3);
    for work in 1..=5 {
        assert!(queue.post(work));
        assert_eq!(tells.recv_timeout(PATIENCE), Ok((2, work)));
        asleep::until_asleep(&clocks[2]);
    }
    assert_eq!(queue.close(3), Ok(()));
}

/// One thread takes the first piece of work and holds it as `hold` does; the second must be taken meanwhile.
fn second_is_taken_while(hold: impl Fn(&Queue, &AtomicBool) + Sync) {
    let queue = Queue::open(1).expect("a queue");
    let second = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Ok(Taken::Work(work)) = queue.take(None) {
                    match work {
                        1 => hold(&queue, &second),
                        _ => second.store(true, Ordering::SeqCst),
                    }
                }
            });
        }
        assert!(queue.post(1) && queue.post(2));
        until("the second piece of work", || second.load(Ordering::SeqCst));
        assert_eq!(queue.close(2), Ok(()));
    });
}

#[test]
fn another_thread_is_released_when_one_says_that_it_blocks() {
    second_is_taken_while(|queue, second| {
        queue.blocking(|| until("the second, while this one blocks", || second.load(Ordering::SeqCst)));
    });
}

#[test]
fn another_thread_is_released_when_one_blocks_and_does_not_say_so() {
    second_is_taken_while(|_, second| {
        let (_keeps, never) = mpsc::channel::<()>();
        let began = Instant::now();
        while !second.load(Ordering::SeqCst) && began.elapsed() < PATIENCE {
            // Asleep in the kernel, but for a moment now and then.
            never.recv_timeout(Duration::from_millis(200)).ok();
        }
    });
}

#[test]
fn a_thread_that_dies_with_its_work_leaves_its_place_to_another() {
    let queue = Arc::new(Queue::open(1).expect("a queue"));
    let mortal = {
        let queue = Arc::clone(&queue);
        thread::spawn(move || {
            assert_eq!(queue.take(None), Ok(Taken::Work(1)));
        })
    };
    assert!(queue.post(1));
    mortal.join().expect("it took its work and ended");
    assert!(queue.post(2));
    assert_eq!(queue.take(Some(PATIENCE)), Ok(Taken::Work(2)));
}

#[test]
fn a_thread_that_takes_from_another_queue_leaves_its_place_at_the_first() {
    let (first, second) = (Queue::open(1).expect("a queue"), Queue::open(1).expect("a queue"));
    assert!(first.post(1) && first.post(2) && second.post(3));
    assert_eq!(first.take(None), Ok(Taken::Work(1)));
    assert_eq!(second.take(None), Ok(Taken::Work(3)));
    thread::scope(|scope| {
        let other = scope.spawn(|| first.take(Some(PATIENCE)));
        assert_eq!(other.join().expect("it takes once"), Ok(Taken::Work(2)));
    });
}
