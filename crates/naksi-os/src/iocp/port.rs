//! The completion port: operations go to the kernel at once, packets come out of one port, on one thread.
//!
//! `submit` makes the call; `wait` takes packets out of the port by the hundred (`GetQueuedCompletionStatusEx`),
//! keeps those that do not fit the caller's list, and turns each into at most one completion. A receive holds no
//! buffer while nothing arrives; timers and operations that need no kernel complete inside the port.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use naksi_core::completion::Completion;
use naksi_core::ended::OsError;
use naksi_core::id::{Handle, Token};
use naksi_core::op::Op;
use naksi_core::tick::Tick;
use windows_sys::Win32::Foundation::{ERROR_INVALID_HANDLE, ERROR_INVALID_PARAMETER};
use windows_sys::Win32::System::IO::OVERLAPPED_ENTRY;

use super::op::{self, CANCELLED, InFlightOp, OpKind};
use super::op_block::OpBlock;
use crate::clock::now;
use crate::handles::HandleKind;
use crate::in_flight::Key;
use crate::inbox::Poster;
use crate::port::{
    FileAccess, Ledger, ListenOptions, PollStatus, PortError, PortOptions, SubmitError, SubmitErrorKind,
    Trimmed,
};
use crate::port_core::{self, PortCore, SLEEP_SPAN_MAX};
use crate::windows::ext::Extensions;
use crate::windows::kernel::{self, Answer, Dequeued, FineClock, Kernel};
use crate::windows::socket::{self, Descriptor, Socket};
use crate::windows::waker::Waker;
use crate::windows::{error, file};

/// Packets that one call takes out of the port.
const PACKETS_MAX: usize = 256;

/// A completion port of Windows. Open it on the thread that owns it.
pub struct Port {
    pub(super) kernel: Arc<Kernel>,
    pub(super) extensions: Extensions,
    pub(super) core: PortCore<InFlightOp, Descriptor, Answer>,
    /// Receives that found the pool empty, the first to return first.
    pub(super) parked: VecDeque<Key>,
    /// Receives that have more to read than one buffer took.
    pub(super) ready: VecDeque<Key>,
    /// Timeouts, the next one first.
    pub(super) timers: BTreeSet<(Tick, u64)>,
    pub(super) spent: Vec<OpBlock>,
    /// Packets as they came out of the port; those from `entries_read` to `entries_filled` are unread.
    pub(super) entries: Vec<OVERLAPPED_ENTRY>,
    pub(super) entries_read: usize,
    pub(super) entries_filled: usize,
    /// The last dequeue returned as many packets as there was room for.
    pub(super) kernel_owes: bool,
    _clock: FineClock,
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port")
            .field("backend", &"iocp")
            .field("counters", &self.core.counters)
            .finish_non_exhaustive()
    }
}

impl Port {
    /// Opens a port on the calling thread, which owns it.
    ///
    /// # Errors
    /// One line that names the cause: a pool without buffers, no handle left, or a system without the extension
    /// functions.
    pub fn open(options: &PortOptions) -> Result<Self, PortError> {
        port_core::check(options, ERROR_INVALID_PARAMETER as i32)?;
        now();
        let refusal = |cause: &str, code: i32| {
            let text = format!("{cause}: {}", error::os_error(code));
            PortError { text, code }
        };
        let asked = socket::stream(socket2::Domain::IPV4).or_else(|_| socket::stream(socket2::Domain::IPV6));
        let asked = asked.map_err(|code| refusal("no socket can be opened", code))?;
        let extensions = Extensions::of(&asked);
        if let Some(name) = extensions.missing() {
            return Err(refusal(&format!("this system has no {name}"), error::NOT_SUPPORTED));
        }
        // One thread waits for this port, and it never releases another one.
        let kernel = Kernel::open(1).map_err(|error| {
            refusal("no completion port can be opened", error.raw_os_error().unwrap_or(0))
        })?;
        let kernel = Arc::new(kernel);
        let core = PortCore::new(options, Waker::new(&kernel));
        let packets = core.catch_max.min(PACKETS_MAX);
        Ok(Self {
            kernel,
            extensions,
            core,
            parked: VecDeque::new(),
            ready: VecDeque::new(),
            timers: BTreeSet::new(),
            spent: Vec::new(),
            entries: vec![OVERLAPPED_ENTRY::default(); packets],
            entries_read: 0,
            entries_filled: 0,
            kernel_owes: false,
            _clock: FineClock::keep(),
        })
    }
}

/// The way from the kernel to here.
impl Port {
    /// Takes packets out of the port. `sleep`: waits for the first one, at most until then.
    fn dequeue(&mut self, sleep: Option<Option<Tick>>) -> Result<(), PortError> {
        let asleep = sleep.is_some() && self.core.inbox.fall_asleep();
        let milliseconds = match sleep {
            Some(until) if asleep => wait_milliseconds(now(), self.alarm(until)),
            _ => 0,
        };
        self.core.counters.enters_total += 1;
        (self.entries_read, self.entries_filled, self.kernel_owes) = (0, 0, false);
        let outcome = self.kernel.dequeue(&mut self.entries, milliseconds);
        self.core.inbox.wake_up();
        match outcome {
            Ok(Dequeued::Packets(filled)) => {
                self.entries_filled = filled;
                self.kernel_owes = filled == self.entries.len();
                Ok(())
            }
            Ok(Dequeued::TimedOut) => Ok(()),
            Ok(Dequeued::Closed) => {
                let text = "the completion port was closed under its worker".to_owned();
                Err(PortError { text, code: ERROR_INVALID_HANDLE as i32 })
            }
            Err(code) => {
                let text = format!("the completion port cannot be waited for: {}", error::os_error(code));
                Err(PortError { text, code })
            }
        }
    }

    /// The earliest of the caller's time, the next timer and the longest sleep.
    fn alarm(&self, until: Option<Tick>) -> Option<Tick> {
        let timer = self.timers.first().map(|(at, _)| *at);
        [until, timer, Some(now() + SLEEP_SPAN_MAX)].into_iter().flatten().min()
    }

    fn entries_left(&self) -> bool {
        self.entries_read < self.entries_filled
    }

    /// Something can be completed without the kernel.
    fn has_own(&self) -> bool {
        let servable = !self.parked.is_empty() && self.core.pool.at_home() > 0;
        self.core.has_posts()
            || servable
            || self.entries_left()
            || !self.core.local.is_empty()
            || !self.ready.is_empty()
    }
}

impl crate::port::Port for Port {
    type Poster = Poster<Waker>;
    type Socket = Socket;

    fn backend(&self) -> &'static str {
        "iocp"
    }

    fn listen(
        &mut self,
        address: SocketAddr,
        options: &ListenOptions,
    ) -> Result<(Handle, SocketAddr), OsError> {
        let (owned, local) = socket::listen(address, options)?;
        let descriptor = Descriptor::listener(owned, local, options);
        Ok((self.core.handles.insert(HandleKind::Listener, descriptor), local))
    }

    fn bind_datagram(&mut self, address: SocketAddr) -> Result<(Handle, SocketAddr), OsError> {
        let (owned, local) = socket::datagram(address)?;
        Ok((self.core.handles.insert(HandleKind::Datagram, Descriptor::datagram(owned)), local))
    }

    fn open_file(&mut self, path: &Path, access: FileAccess) -> Result<Handle, OsError> {
        let opened = file::open(path, access)?;
        Ok(self.core.handles.insert(HandleKind::File, Descriptor::file(opened)))
    }

    fn file_bytes(&self, file: Handle) -> Result<u64, OsError> {
        let invalid = || error::os_error(ERROR_INVALID_HANDLE as i32);
        op::file_of(&self.core.handles, file).ok_or_else(invalid).and_then(file::size_bytes)
    }

    fn release(&mut self, socket: Handle) -> Result<Socket, SubmitErrorKind> {
        self.core.handles.resource(socket, HandleKind::Stream)?;
        self.core.handles.remove(socket).map(|descriptor| Socket(descriptor.moved()))
    }

    fn adopt(&mut self, socket: Socket) -> Handle {
        self.core.handles.insert(HandleKind::Stream, socket.0)
    }

    fn submit(&mut self, token: Token, op: Op) -> Result<(), SubmitError> {
        if let Op::Close { handle } = op {
            // Nothing is in flight on it (law 4), so closing it leaves nothing behind.
            match self.core.take_to_close(token, handle) {
                Ok(descriptor) => drop(descriptor),
                Err(why) => return Err(SubmitError { op, why }),
            }
            self.track(token, InFlightOp::new(std::ptr::null_mut(), OpKind::Close), Some(Answer::done(0)));
            return Ok(());
        }
        let raw = match self.reserve(token, &op) {
            Ok(raw) => raw,
            Err(why) => return Err(SubmitError { op, why }),
        };
        let (operation, early) = self.prepare(op, raw);
        self.track(token, operation, early);
        Ok(())
    }

    fn cancel(&mut self, token: Token) {
        let Some((key, operation)) = self.core.named(token) else { return };
        // A close is never called off: the handle is gone already.
        if operation.cancelled || matches!(operation.kind, OpKind::Close) {
            return;
        }
        operation.cancelled = true;
        let (raw, pending) = (operation.raw, operation.pending);
        if pending && let Some(block) = operation.block() {
            kernel::cancel(raw, block.overlapped());
            return;
        }
        match operation.kind {
            OpKind::Accept(_) => self.end_accepts(key, naksi_core::ended::Ended::Aborted),
            OpKind::Timeout { at } if self.timers.remove(&(at, key.to_u64())) => {
                self.core.local.push_back((key, Answer::failed(CANCELLED)));
            }
            OpKind::Recv { socket, .. } => self.end_resting(key, socket),
            // Its answer is on its way already.
            _ => {}
        }
    }

    fn wait(
        &mut self,
        completions: &mut Vec<Completion>,
        until: Option<Tick>,
    ) -> Result<PollStatus, PortError> {
        let start = completions.len();
        let full = start + self.core.catch_max;
        loop {
            self.serve_parked();
            self.poll_completions(completions, full);
            let passed = completions.len() == start && until.is_some_and(|until| now() >= until);
            if completions.len() < full && !self.entries_left() {
                let may_sleep = completions.len() == start && !passed && !self.has_own();
                self.dequeue(may_sleep.then_some(until))?;
                self.poll_completions(completions, full);
            }
            if completions.len() > start || passed {
                return Ok(if self.kernel_owes || self.has_own() {
                    PollStatus::More
                } else {
                    PollStatus::Drained
                });
            }
        }
    }

    fn now(&self) -> Tick {
        now()
    }

    fn poster(&self) -> Poster<Waker> {
        self.core.poster()
    }

    fn ledger(&self) -> Ledger {
        self.core.ledger()
    }

    fn trim(&mut self) -> Trimmed {
        self.core.trim()
    }
}

/// What `GetQueuedCompletionStatusEx` takes for "without end" (`INFINITE`).
const WAIT_FOREVER: u32 = u32::MAX;

/// The choice of a port, which other systems have.
impl Port {
    /// The names of the ports that there are on this system.
    pub const BACKENDS: &'static [&'static str] = &["iocp"];

    /// Opens the port of this name, which must be `iocp`.
    ///
    /// # Errors
    /// There is no port of this name here, or it cannot be opened.
    pub fn open_backend(options: &PortOptions, backend: &str) -> Result<Self, PortError> {
        if backend == "iocp" {
            return Self::open(options);
        }
        let text = format!("backend {backend} is not available on Windows: iocp is");
        Err(PortError { text, code: error::NOT_SUPPORTED })
    }

    /// Why the preferred port is not in use: always `None` here.
    pub fn fallback_reason(&self) -> Option<&str> {
        None
    }
}

/// The milliseconds of a wait until `until`, rounded up.
///
/// Rounded down, the last fraction of a millisecond before a timer would be a wait of zero, and the worker would spin
/// until the timer is due.
fn wait_milliseconds(now: Tick, until: Option<Tick>) -> u32 {
    let Some(until) = until else { return WAIT_FOREVER };
    let span = until.since(now);
    let rounded_up = span.saturating_add(Duration::from_nanos(999_999)).as_millis();
    // The longest finite wait; the worker checks its timers again after 49 days.
    u32::try_from(rounded_up).unwrap_or(WAIT_FOREVER).min(WAIT_FOREVER - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_rounded_up_and_never_becomes_endless() {
        let wait = |nanos| wait_milliseconds(Tick::ZERO, Some(Tick::from_nanos(nanos)));
        assert_eq!([wait(0), wait(1), wait(1_000_000), wait(1_000_001)], [0, 1, 1, 2]);
        assert_eq!(wait(u64::MAX), WAIT_FOREVER - 1);
        assert_eq!(wait_milliseconds(Tick::MAX, Some(Tick::ZERO)), 0);
        assert_eq!(wait_milliseconds(Tick::ZERO, None), WAIT_FOREVER);
    }
}
