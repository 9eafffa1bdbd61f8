//! The processor time of one thread, readable from another.

// UNSAFETY: the standard library has no wrapper for the times of a thread.
#![expect(unsafe_code, reason = "DuplicateHandle and GetThreadTimes are raw calls")]

use std::os::windows::io::{AsRawHandle as _, FromRawHandle as _, OwnedHandle};
use std::ptr;
use std::time::Duration;

use windows_sys::Win32::Foundation::{DUPLICATE_SAME_ACCESS, DuplicateHandle, FILETIME};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, GetCurrentThread, GetThreadTimes};

/// The times of one thread.
#[derive(Debug)]
pub struct ThreadClock(Option<OwnedHandle>);

impl ThreadClock {
    /// The clock of the thread that asks.
    pub fn of_this_thread() -> Self {
        // SAFETY: GetCurrentProcess takes nothing and returns a constant.
        let process = unsafe { GetCurrentProcess() };
        // SAFETY: GetCurrentThread takes nothing and returns a constant that means the caller.
        let thread = unsafe { GetCurrentThread() };
        let mut handle = ptr::null_mut();
        // SAFETY: both handles are the caller's own, and the new one is written to a place that lives meanwhile.
        let done = unsafe {
            DuplicateHandle(process, thread, process, &raw mut handle, 0, 0, DUPLICATE_SAME_ACCESS)
        };
        // SAFETY: the handle is new, and has no other owner.
        Self((done != 0).then(|| unsafe { OwnedHandle::from_raw_handle(handle) }))
    }

    /// How long the thread has run on a processor.
    pub fn elapsed(&self) -> Duration {
        let Some(handle) = &self.0 else { return Duration::ZERO };
        let mut times = [FILETIME { dwLowDateTime: 0, dwHighDateTime: 0 }; 4];
        let [created, ended, kernel, user] = &mut times;
        // SAFETY: the handle is open, and each of the four places lives until the call returns.
        let done = unsafe { GetThreadTimes(handle.as_raw_handle(), created, ended, kernel, user) };
        if done == 0 {
            return Duration::ZERO;
        }
        let steps = |time: &FILETIME| u64::from(time.dwHighDateTime) << 32 | u64::from(time.dwLowDateTime);
        // A step of a FILETIME is 100 nanoseconds.
        Duration::from_nanos((steps(kernel) + steps(user)) * 100)
    }

    /// Whether the thread sleeps in the kernel. The system does not tell, so it counts as asleep.
    pub fn is_asleep(&self) -> bool {
        true
    }
}
