//! Clocks of threads: the processor time of one thread, readable from another, whether it sleeps, and its timer
//! slack.

// UNSAFETY: the standard library has no clock of a thread.
#![expect(unsafe_code, reason = "pthread_getcpuclockid(3), clock_gettime(2) and prctl(2) are raw calls")]

use std::fs;
use std::time::Duration;

/// Has the calling thread woken at the requested time. By default a kernel may let it sleep 50 us longer, to wake it
/// together with others, which is a twentieth of the shortest tick. If the kernel refuses, wake-ups are only less
/// precise.
pub(crate) fn be_punctual() {
    // SAFETY: prctl(2), PR_SET_TIMERSLACK takes numbers and touches no memory of ours; 1 ns is the least.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1, 0, 0, 0) };
}

/// The processor clock of one thread. After the end of the thread it reads zero.
#[derive(Debug)]
pub struct ThreadClock {
    clock: Option<libc::clockid_t>,
    /// The system's number for the thread.
    task: i32,
}

impl ThreadClock {
    /// The clock of the thread that asks.
    pub fn of_this_thread() -> Self {
        // SAFETY: pthread_self(3): "This function always succeeds, returning the calling thread's ID."
        let thread = unsafe { libc::pthread_self() };
        let mut clock = 0;
        // SAFETY: the calling thread is alive, and `clock` is one clockid_t that lives until the call returns.
        let error = unsafe { libc::pthread_getcpuclockid(thread, &raw mut clock) };
        // SAFETY: gettid(2): "always successful".
        let task = unsafe { libc::gettid() };
        Self { clock: (error == 0).then_some(clock), task }
    }

    /// How long the thread has run on a processor.
    pub fn elapsed(&self) -> Duration {
        let Some(clock) = self.clock else { return Duration::ZERO };
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: clock_gettime(2) writes one timespec; the clock of a thread that is gone is refused (EINVAL).
        if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
            return Duration::ZERO;
        }
        Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
    }

    /// Whether the thread sleeps in the kernel (proc_pid_stat(5), the state `S` or `D`); one that waits for a
    /// processor does not. If that cannot be read, it counts as asleep.
    pub fn is_asleep(&self) -> bool {
        let path = format!("/proc/self/task/{}/stat", self.task);
        let Ok(stat) = fs::read_to_string(path) else { return true };
        // The name before it stands in parentheses and may hold anything.
        let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
        matches!(state, Some('S' | 'D'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_punctual_thread_has_no_slack_and_the_others_keep_theirs() {
        // SAFETY: prctl(2), PR_GET_TIMERSLACK takes numbers and touches no memory of ours.
        let slack_nanos = || unsafe { libc::prctl(libc::PR_GET_TIMERSLACK, 0, 0, 0, 0) };
        let before = slack_nanos();
        let punctual = std::thread::spawn(move || {
            be_punctual();
            slack_nanos()
        });
        assert_eq!(punctual.join().expect("the kernel allows it"), 1);
        assert_eq!(slack_nanos(), before);
    }
}
