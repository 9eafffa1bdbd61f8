//! Waits until a thread of a test sleeps.

use std::thread;
use std::time::{Duration, Instant};

use naksi_os::ThreadClock;

/// This many consecutive checks must find the thread asleep, without having run in between.
const STILL_LOOKS: u32 = 5;
/// A thread that never sleeps is awaited no longer than this; the test's next assertion fails then.
const WITHIN: Duration = Duration::from_secs(5);

/// Waits until the thread of this clock sleeps in the kernel.
pub(crate) fn until_asleep(clock: &ThreadClock) {
    let (began, mut still, mut ran) = (Instant::now(), 0, clock.elapsed());
    while still < STILL_LOOKS && began.elapsed() < WITHIN {
        thread::sleep(Duration::from_millis(1));
        let now = clock.elapsed();
        still = if clock.is_asleep() && now == ran { still + 1 } else { 0 };
        ran = now;
    }
}
