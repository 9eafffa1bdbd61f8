//! Wakes a port that waits in its kernel: one packet without an operation, put into the completion port.
//!
//! The posts themselves are not packets: the kernel holds at most one packet for all posts that come while the
//! port sleeps, and none while it is awake.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::kernel::Kernel;
use crate::inbox::Wake;

/// The completion key of the packet that wakes a port.
pub(crate) const WAKE: usize = 1;

/// How often a packet is tried to be posted before the wake-up is given up, and the pause between two tries.
const POSTS_MAX: usize = 50;
const POST_PAUSE: Duration = Duration::from_millis(2);

/// The completion port, which is closed when the port and the last of its posters are gone.
#[derive(Debug)]
pub struct Waker(Arc<Kernel>);

impl Waker {
    /// Wakes the thread that waits for this completion port.
    pub(crate) fn new(kernel: &Arc<Kernel>) -> Self {
        Self(Arc::clone(kernel))
    }
}

impl Wake for Waker {
    fn wake(&self) -> bool {
        for _ in 0..POSTS_MAX {
            let Err(code) = self.0.post(WAKE, 0) else { return true };
            // The kernel has no memory for one packet now.
            tracing::warn!(code, "a sleeping port could not be woken yet");
            thread::sleep(POST_PAUSE);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::super::kernel::Dequeued;
    use super::*;
    use windows_sys::Win32::System::IO::OVERLAPPED_ENTRY;

    #[test]
    fn a_wake_up_is_one_packet() {
        let kernel = Arc::new(Kernel::open(1).expect("a handle is left"));
        let waker = Waker::new(&kernel);
        let mut entries = [OVERLAPPED_ENTRY::default(); 2];
        assert_eq!(kernel.dequeue(&mut entries, 0), Ok(Dequeued::TimedOut));
        assert!(waker.wake());
        assert_eq!(kernel.dequeue(&mut entries, 0), Ok(Dequeued::Packets(1)));
        assert_eq!(entries[0].lpCompletionKey, WAKE);
    }
}
