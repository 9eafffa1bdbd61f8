//! The completion queue of a group: a completion port that several threads wait for, and work posted to it.
//!
//! The system itself provides what a group needs: of the waiting threads, the one that came last is woken first, at
//! most `concurrency` of them run at a time, and another one is released when one of them blocks. (Wine ignores the
//! number and wakes in turn.) The queue ends with one quit packet for each thread, after all work that was posted
//! before, because closing a port does not wake its threads on every system.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use windows_sys::Win32::Foundation::ERROR_INVALID_HANDLE;
use windows_sys::Win32::System::IO::OVERLAPPED_ENTRY;

use super::error;
use super::kernel::{Dequeued, Kernel};
use crate::port::PortError;
pub use crate::taken::Taken;

/// The completion keys of a queue.
const QUIT: usize = 0;
const WORK: usize = 1;
/// `INFINITE`.
const WAIT_FOREVER: u32 = u32::MAX;

/// Work for the threads of a group.
#[derive(Debug)]
pub struct Queue {
    kernel: Kernel,
    open: AtomicBool,
}

impl Queue {
    /// A queue of which at most `concurrency` threads run at a time; 0 is as many as there are processors.
    ///
    /// # Errors
    /// No handle or no memory left.
    pub fn open(concurrency: u32) -> Result<Self, PortError> {
        let kernel = Kernel::open(concurrency).map_err(|error: io::Error| PortError {
            text: format!("no completion queue can be opened: {error}"),
            code: error.raw_os_error().unwrap_or(0),
        })?;
        Ok(Self { kernel, open: AtomicBool::new(true) })
    }

    /// Posts a piece of work. Returns `false` if the queue has ended, or the kernel has no memory for it.
    pub fn post(&self, work: u64) -> bool {
        self.open.load(Ordering::Acquire) && self.kernel.post_number(WORK, work).is_ok()
    }

    /// Waits for the next piece of work, at most this long; `None` waits without a limit.
    ///
    /// # Errors
    /// The queue failed and no thread will get anything from it.
    pub fn take(&self, at_most: Option<Duration>) -> Result<Taken, PortError> {
        // Rounded up, and never without end.
        let milliseconds = at_most.map_or(WAIT_FOREVER, |span| {
            let rounded_up = span.saturating_add(Duration::from_nanos(999_999)).as_millis();
            u32::try_from(rounded_up).unwrap_or(WAIT_FOREVER).min(WAIT_FOREVER - 1)
        });
        // One at a time: a thread that took several would withhold them from the others while it works.
        let mut entry = [OVERLAPPED_ENTRY::default()];
        let broken = |code| {
            let text = format!("a completion queue cannot be waited for: {}", error::os_error(code));
            PortError { text, code }
        };
        match self.kernel.dequeue(&mut entry, milliseconds) {
            Ok(Dequeued::Packets(_)) if entry[0].lpCompletionKey == QUIT => Ok(Taken::Quit),
            Ok(Dequeued::Packets(_)) => Ok(Taken::Work(Kernel::number(&entry[0]))),
            Ok(Dequeued::TimedOut) => Ok(Taken::Nothing),
            Ok(Dequeued::Closed) => Err(broken(ERROR_INVALID_HANDLE as i32)),
            Err(code) => Err(broken(code)),
        }
    }

    /// Runs a blocking call. The system detects that it blocks, and releases another thread.
    pub fn blocking<T>(&self, work: impl FnOnce() -> T) -> T {
        work()
    }

    /// Closes the queue: what was posted is still taken, and then each of `threads` threads is told to quit.
    ///
    /// # Errors
    /// The kernel has no memory for a packet: the number of threads that were not told; call it again for them.
    pub fn close(&self, threads: usize) -> Result<(), usize> {
        self.open.store(false, Ordering::Release);
        for told in 0..threads {
            self.kernel.post_number(QUIT, 0).map_err(|_| threads - told)?;
        }
        Ok(())
    }
}
