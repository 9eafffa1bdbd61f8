//! The readiness of descriptors: `epoll(7)`, edge-triggered, and how long a wait may take.
//!
//! A descriptor is registered once, with a word that comes back in its events. Changes of its readiness are reported
//! once and stored by the caller.

// UNSAFETY: the standard library has no wrapper for epoll(7).
#![expect(unsafe_code, reason = "the calls of epoll(7) are raw")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// What a descriptor became ready for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Readiness {
    /// Receiving or accepting finds something: bytes, an end, an error.
    pub(super) readable: bool,
    /// Sending finds room, or an error.
    pub(super) writable: bool,
    /// An end, an error or an urgent byte is among the received data: a short read does not mean that everything was
    /// read.
    pub(super) hung: bool,
}

/// What a descriptor is watched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watch {
    /// Something to take.
    In,
    /// Something to take, or room to send.
    InOut,
}

/// An epoll instance, and the events of its last wait.
pub(super) struct Epoll {
    owned: OwnedFd,
    events: Box<[libc::epoll_event]>,
    filled: usize,
    /// The kernel takes nanoseconds (`epoll_pwait2(2)`, Linux 5.11); milliseconds, rounded up, otherwise.
    precise: bool,
}

/// `struct __kernel_timespec`: the same on every architecture, unlike `libc::timespec`.
#[repr(C)]
struct KernelTimespec {
    seconds: i64,
    nanoseconds: i64,
}

impl Epoll {
    /// An instance whose waits return at most so many events.
    pub(super) fn open(events_max: usize) -> io::Result<Self> {
        // SAFETY: epoll_create1(2) takes a number and touches no memory of ours.
        let raw = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: epoll_create1(2): "On success, these system calls return a file descriptor"; it has no other
        // owner.
        let owned = unsafe { OwnedFd::from_raw_fd(raw) };
        let events = vec![libc::epoll_event { events: 0, u64: 0 }; events_max].into_boxed_slice();
        Ok(Self { owned, events, filled: 0, precise: true })
    }

    /// Watches a descriptor until it is closed or removed. The first wait reports its current readiness.
    pub(super) fn watch(&self, descriptor: RawFd, word: u64, watch: Watch) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, descriptor, word, watch)
    }

    /// Watches a descriptor for something else than before.
    pub(super) fn rewatch(&self, descriptor: RawFd, word: u64, watch: Watch) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, descriptor, word, watch)
    }

    /// Watches a descriptor no more.
    pub(super) fn forget(&self, descriptor: RawFd) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, descriptor, 0, Watch::In)
    }

    fn control(&self, verb: i32, descriptor: RawFd, word: u64, watch: Watch) -> io::Result<()> {
        let ways = match watch {
            Watch::In => 0,
            Watch::InOut => libc::EPOLLOUT,
        };
        let wanted = libc::EPOLLIN | libc::EPOLLPRI | libc::EPOLLRDHUP | libc::EPOLLET | ways;
        let mut event = libc::epoll_event { events: wanted as u32, u64: word };
        // SAFETY: epoll_ctl(2) reads one event, which lives until it returns.
        let result = unsafe { libc::epoll_ctl(self.owned.as_raw_fd(), verb, descriptor, &raw mut event) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Waits for events at most for `span` (`None`: without a limit). A signal ends the wait with none.
    pub(super) fn wait(&mut self, span: Option<Duration>) -> io::Result<()> {
        self.filled = 0;
        let filled = match span {
            Some(span) if self.precise && !span.is_zero() => match self.wait_precisely(span) {
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
                    // An old kernel, or a seccomp profile that does not know the call.
                    self.precise = false;
                    self.wait_roughly(Some(span))
                }
                outcome => outcome,
            },
            _ => self.wait_roughly(span),
        };
        match filled {
            Ok(filled) => self.filled = filled,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Events of the last wait.
    pub(super) fn filled(&self) -> usize {
        self.filled
    }

    /// Whether the last wait returned as many events as it could, so that there may be more.
    pub(super) fn is_brimming(&self) -> bool {
        self.filled == self.events.len()
    }

    /// One event of the last wait: its word and its readiness.
    pub(super) fn event(&self, index: usize) -> (u64, Readiness) {
        let event = self.events[..self.filled][index];
        let has = |bits: i32| event.events & bits as u32 != 0;
        let hung = has(libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR | libc::EPOLLPRI);
        let readable = hung || has(libc::EPOLLIN);
        let writable = has(libc::EPOLLOUT | libc::EPOLLHUP | libc::EPOLLERR);
        (event.u64, Readiness { readable, writable, hung })
    }

    fn wait_precisely(&mut self, span: Duration) -> io::Result<usize> {
        let seconds = i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
        let span = KernelTimespec { seconds, nanoseconds: i64::from(span.subsec_nanos()) };
        let room = i32::try_from(self.events.len()).unwrap_or(i32::MAX);
        // SAFETY: epoll_pwait2(2) writes at most `room` events into memory that holds as many, and reads one
        // timespec; a null mask "is equivalent to epoll_wait()".
        let result = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.owned.as_raw_fd(),
                self.events.as_mut_ptr(),
                room,
                &raw const span,
                std::ptr::null::<libc::sigset_t>(),
                0_usize,
            )
        };
        usize::try_from(result).map_err(|_| io::Error::last_os_error())
    }

    fn wait_roughly(&mut self, span: Option<Duration>) -> io::Result<usize> {
        let room = i32::try_from(self.events.len()).unwrap_or(i32::MAX);
        // SAFETY: epoll_wait(2) writes at most `room` events into memory that holds as many.
        let result = unsafe {
            libc::epoll_wait(self.owned.as_raw_fd(), self.events.as_mut_ptr(), room, milliseconds(span))
        };
        usize::try_from(result).map_err(|_| io::Error::last_os_error())
    }
}

/// Rounded up: rounded down, the last fraction before a timer would be a wait of zero, and the loop would spin.
fn milliseconds(span: Option<Duration>) -> i32 {
    let Some(span) = span else { return -1 };
    let rounded_up = span.saturating_add(Duration::from_nanos(999_999)).as_millis();
    i32::try_from(rounded_up).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    use naksi_core::completion::{Completion, Done};
    use naksi_core::ended::Ended;
    use naksi_core::id::Token;
    use naksi_core::op::Op;

    use crate::epoll::port::Port;
    use crate::port::{Port as _, PortOptions};

    #[test]
    fn a_wait_is_rounded_up_and_never_becomes_endless() {
        let wait = |nanos| milliseconds(Some(Duration::from_nanos(nanos)));
        assert_eq!([wait(0), wait(1), wait(1_000_000), wait(1_000_001)], [0, 1, 1, 2]);
        assert_eq!((milliseconds(Some(Duration::MAX)), milliseconds(None)), (i32::MAX, -1));
    }

    #[test]
    fn a_connect_that_epoll_does_not_watch_ends_and_says_why() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let remote = listener.local_addr().expect("it is bound");
        let mut port = Port::open(&PortOptions::default()).expect("epoll works");
        let token = Token::new(1, 1, 1);
        port.submit(token, Op::Connect { remote }).expect("anybody may connect");
        // What is no epoll watches nothing, as a full one does.
        port.epoll.owned = std::fs::File::open("/dev/null").expect("every system has it").into();
        let mut completions = Vec::new();
        port.wait(&mut completions, Some(port.now())).expect_err("it cannot be waited on either");
        let [Completion { done: Done::Connect(Err(Ended::Failed(_))), .. }] = completions[..] else {
            panic!("{completions:?}");
        };
    }

    #[test]
    fn a_kernel_without_fine_waits_is_asked_for_coarse_ones() {
        let mut epoll = Epoll::open(4).expect("a descriptor is left");
        for precise in [true, false] {
            epoll.precise = precise;
            epoll.wait(Some(Duration::from_micros(10))).expect("epoll works");
            assert_eq!((epoll.filled(), epoll.is_brimming()), (0, false));
        }
    }
}
