//! The processor time of one thread, readable from another, and whether it sleeps. Knows no counter.

// UNSAFETY: the clock of a thread has no safe door in the standard library.
#![expect(unsafe_code, reason = "pthread_getcpuclockid(3) and clock_gettime(2) are raw calls")]

use std::fs;
use std::time::Duration;

/// The processor clock of one thread. After the end of the thread it reads zero.
#[derive(Debug)]
pub struct ThreadClock(Option<libc::clockid_t>);

impl ThreadClock {
    /// The clock of the thread that asks.
    pub fn of_this_thread() -> Self {
        // SAFETY: pthread_self(3): "This function always succeeds, returning the calling thread's ID."
        let thread = unsafe { libc::pthread_self() };
        let mut clock = 0;
        // SAFETY: the calling thread is alive, and `clock` is one clockid_t that lives until the call returns.
        let error = unsafe { libc::pthread_getcpuclockid(thread, &raw mut clock) };
        Self((error == 0).then_some(clock))
    }

    /// How long the thread has run on a processor.
    pub fn elapsed(&self) -> Duration {
        let Some(clock) = self.0 else { return Duration::ZERO };
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: clock_gettime(2) writes one timespec; the clock of a thread that is gone is refused (EINVAL).
        if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
            return Duration::ZERO;
        }
        Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
    }
}

/// The system's number for the thread that asks.
pub(super) fn task() -> i32 {
    // SAFETY: gettid(2): "always successful".
    unsafe { libc::gettid() }
}

/// Whether a thread of this process sleeps in the kernel (proc_pid_stat(5), the state `S` or `D`); a thread that only waits
/// for a processor does not. Where that cannot be read, it is taken for asleep.
pub(super) fn is_asleep(task: i32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/self/task/{task}/stat")) else { return true };
    // The name before it stands in parentheses and may hold anything.
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
    matches!(state, Some('S' | 'D'))
}
