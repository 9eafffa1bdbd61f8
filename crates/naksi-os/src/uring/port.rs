//! The io_uring port: operations go into one ring, completions come out of it, on one thread.
//!
//! `submit` writes an entry and makes no system call unless the ring is full; `wait` submits all of them and waits,
//! in one `io_uring_enter(2)`, and continues reaping while the kernel reports more. Operations that the kernel ends
//! early are submitted again; a receive without a buffer is parked.

// UNSAFETY: submission entries hold addresses; what they point to is owned by the in-flight table.
#![expect(unsafe_code, reason = "submission entries hold addresses")]

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::thread;

use io_uring::IoUring;
use io_uring::squeue::Entry;
use io_uring::types::{SubmitArgs, Timespec};
use naksi_core::completion::Completion;
use naksi_core::ended::OsError;
use naksi_core::id::{Handle, Token};
use naksi_core::op::Op;
use naksi_core::tick::Tick;

use super::buffers::{self, Buffers};
use super::direct::Direct;
use super::ext;
use super::op::{InFlightOp, OpKind};
use super::op_block::OpBlocks;
use super::parked::Parked;
use crate::clock::now;
use crate::handles::HandleKind;
use crate::inbox::Poster;
use crate::linux::socket::{self, Descriptor, OpenFd, Socket};
use crate::linux::waker::Waker;
use crate::linux::{error, file};
use crate::port::{
    FileAccess, Ledger, ListenOptions, PollStatus, PortError, PortOptions, SubmitError, SubmitErrorKind,
    Trimmed,
};
use crate::port_core::{self, PortCore, SLEEP_SPAN_MAX};

/// The ring's own operations; an in-flight key is never below 2^32.
pub(super) const WAKE: u64 = 1;
pub(super) const CANCEL: u64 = 2;

/// A completion port on io_uring. Open it on the thread that owns it.
pub struct Port {
    pub(super) ring: IoUring,
    pub(super) features: ext::Features,
    pub(super) core: PortCore<InFlightOp, Descriptor, i32>,
    /// `None` only while the port is dropped.
    pub(super) buffers: Option<Buffers>,
    /// Receives to be submitted again by the next wait that has a buffer, those that waited longest first.
    pub(super) parked: Parked,
    /// See [`buffers::recv_bytes_max`]; 0 on a kernel without such a limit (before Linux 6.17).
    pub(super) recv_bytes_max: u32,
    /// Streams whose receive may have missed an end, each of them once (see `settle_doubts`).
    pub(super) hangup_checks: Vec<Handle>,
    /// Number of waits since the first of them was added.
    pub(super) waits_before_recheck: u32,
    /// Entries for which the ring had no room even after a submission.
    pub(super) backlog: VecDeque<Entry>,
    pub(super) spent: OpBlocks,
    /// The ring's own table of sockets, if it has one.
    pub(super) direct: Option<Direct>,
    /// Why the ring cannot be used any more; returned by the next wait.
    pub(super) broken: Option<PortError>,
    /// The kernel's flag announced work, and an enter found none (see [`Port::ask`]).
    taskrun_is_stale: bool,
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port")
            .field("backend", &"uring")
            .field("counters", &self.core.counters)
            .finish_non_exhaustive()
    }
}

impl Port {
    /// Opens a port on the calling thread; only this thread may use the ring.
    ///
    /// # Errors
    /// One line that names the cause: io_uring refused (`io_uring_setup(2)`), a kernel older than Linux 6.0, no
    /// memory or no descriptor left.
    pub fn open(options: &PortOptions) -> Result<Self, PortError> {
        port_core::check(options, libc::EINVAL)?;
        now();
        let (ring, features) = ext::open(options)?;
        let waker =
            Waker::open().map_err(|error| ext::refusal("no descriptor left for a port's event", &error))?;
        let mut core = PortCore::new(options, waker);
        let buffers = Buffers::open(&ring, &mut core.pool).map_err(|error| ext::no_buffer_ring(&error))?;
        ext::enable(&ring)?;
        let mut port = Self {
            ring,
            features,
            core,
            buffers: Some(buffers),
            parked: Parked::default(),
            recv_bytes_max: buffers::recv_bytes_max(options.lease_bytes),
            hangup_checks: Vec::new(),
            waits_before_recheck: 0,
            backlog: VecDeque::new(),
            spent: OpBlocks::default(),
            direct: options.direct_descriptors.map(Direct::new),
            broken: None,
            taskrun_is_stale: false,
        };
        port.watch_inbox();
        Ok(port)
    }
}

/// The way from here into the kernel.
impl Port {
    /// Writes an entry into the ring. A full ring is submitted first; no entry is ever dropped.
    pub(super) fn push(&mut self, entry: Entry) {
        if self.backlog.is_empty() && self.try_push(&entry) {
            return;
        }
        self.backlog.push_back(entry);
        if self.broken.is_none() {
            self.broken = self.enter(0, None).err();
        }
        self.pump();
    }

    fn pump(&mut self) {
        while let Some(entry) = self.backlog.pop_front() {
            if !self.try_push(&entry) {
                self.backlog.push_front(entry);
                return;
            }
        }
    }

    fn try_push(&mut self, entry: &Entry) -> bool {
        // SAFETY: law 2: what the entry points to is owned by the in-flight table until its last completion.
        unsafe { self.ring.submission().push(entry) }.is_ok()
    }

    /// One system call: submits all entries, and waits for `want` completions at most until `until`.
    pub(super) fn enter(&mut self, want: usize, until: Option<Tick>) -> Result<(), PortError> {
        self.core.counters.enters_total += 1;
        let submitter = self.ring.submitter();
        let outcome = match until {
            Some(until) if want > 0 => {
                let span = Timespec::from(until.since(now()).min(SLEEP_SPAN_MAX));
                submitter.submit_with_args(want, &SubmitArgs::new().timespec(&span))
            }
            _ => submitter.submit_and_wait(want),
        };
        let Err(error) = outcome else { return Ok(()) };
        match error.raw_os_error() {
            // A signal, or the deadline: the caller's loop goes on.
            Some(libc::EINTR | libc::ETIME) => Ok(()),
            // The kernel requires reaping first, or has no memory now.
            Some(libc::EAGAIN | libc::EBUSY) => {
                thread::yield_now();
                Ok(())
            }
            Some(libc::EBADR) => Err(ext::refusal("the kernel lost completions for want of memory", &error)),
            _ => Err(ext::refusal("the ring cannot be entered", &error)),
        }
    }

    /// Waits for a completion, or only submits entries if a post has arrived meanwhile.
    fn sleep(&mut self, until: Option<Tick>) -> Result<(), PortError> {
        let want = usize::from(self.core.inbox.fall_asleep());
        let outcome = self.enter(want, until);
        self.core.inbox.wake_up();
        outcome
    }

    /// Whether the kernel has completions that an enter would deliver.
    fn kernel_owes(&mut self) -> bool {
        let submission = self.ring.submission();
        (submission.taskrun() && !self.taskrun_is_stale) || submission.cq_overflow()
    }

    /// Enters to collect completions that the kernel has announced.
    ///
    /// The kernel sets its flag after it has queued the work. If we ran that work in between, the flag stays set
    /// although there is none, and only later work clears it: so it is trusted only once a turn.
    fn ask(&mut self) -> Result<(), PortError> {
        self.enter(0, None)?;
        self.taskrun_is_stale = self.ring.completion().is_empty();
        Ok(())
    }

    fn must_enter(&mut self) -> bool {
        !self.backlog.is_empty() || !self.ring.submission().is_empty() || self.kernel_owes()
    }

    fn status(&mut self) -> PollStatus {
        let here = !self.core.local.is_empty() || self.core.has_posts();
        if here || self.has_servable() || self.kernel_owes() || !self.ring.completion().is_empty() {
            PollStatus::More
        } else {
            PollStatus::Drained
        }
    }
}

impl crate::port::Port for Port {
    type Poster = Poster<Waker>;
    type Socket = Socket;

    fn backend(&self) -> &'static str {
        "uring"
    }

    fn listen(
        &mut self,
        address: SocketAddr,
        options: &ListenOptions,
    ) -> Result<(Handle, SocketAddr), OsError> {
        let (owned, local) = socket::listen(address, options)?;
        Ok((self.core.handles.insert(HandleKind::Listener, Descriptor::new(owned)), local))
    }

    fn bind_datagram(&mut self, address: SocketAddr) -> Result<(Handle, SocketAddr), OsError> {
        let (owned, local) = socket::datagram(address)?;
        Ok((self.core.handles.insert(HandleKind::Datagram, Descriptor::new(owned)), local))
    }

    fn open_file(&mut self, path: &Path, access: FileAccess) -> Result<Handle, OsError> {
        let owned = file::open(path, access)?;
        Ok(self.core.handles.insert(HandleKind::File, Descriptor::new(owned)))
    }

    fn file_bytes(&self, file: Handle) -> Result<u64, OsError> {
        match self.core.handles.resource(file, HandleKind::File) {
            Ok(descriptor) => file::size_bytes(descriptor.owned()),
            Err(_) => Err(error::os_error(libc::EBADF)),
        }
    }

    fn release(&mut self, socket: Handle) -> Result<Socket, SubmitErrorKind> {
        let descriptor = self.core.handles.resource(socket, HandleKind::Stream)?;
        if matches!(descriptor.place(), OpenFd::Ring(_)) {
            return Err(SubmitErrorKind::Unsupported);
        }
        self.core.handles.remove(socket).map(Socket)
    }

    fn adopt(&mut self, mut socket: Socket) -> Handle {
        // The other port may have queued a hangup check for its own receive.
        socket.0.doubted = None;
        socket.0.recalled = false;
        self.core.handles.insert(HandleKind::Stream, socket.0)
    }

    fn submit(&mut self, token: Token, op: Op) -> Result<(), SubmitError> {
        if let Op::Close { handle } = op {
            let place = match self.core.take_to_close(token, handle) {
                Ok(descriptor) => descriptor.into_place(),
                Err(why) => return Err(SubmitError { op, why }),
            };
            let operation = InFlightOp {
                packed_fd: place.fd_kind().into(),
                cancelled: false,
                kind: OpKind::Close { place },
            };
            self.track(token, operation, None);
            return Ok(());
        }
        let fd_kind = match self.reserve(token, &op) {
            Ok(fd_kind) => fd_kind,
            Err(why) => return Err(SubmitError { op, why }),
        };
        let (operation, early) = self.prepare(op, fd_kind);
        self.track(token, operation, early);
        Ok(())
    }

    fn cancel(&mut self, token: Token) {
        let Some((key, operation)) = self.core.named(token) else { return };
        // A close cannot be cancelled: the handle is stale already, and closing takes no time.
        if operation.cancelled || matches!(operation.kind, OpKind::Close { .. }) {
            return;
        }
        operation.call_off();
        if let OpKind::Recv { socket } = operation.kind
            && self.end_parked(socket)
        {
            return;
        }
        if self.is_accept_of_many(key) {
            return self.recall_accepts(key);
        }
        self.request_cancel(key);
    }

    fn wait(
        &mut self,
        completions: &mut Vec<Completion>,
        until: Option<Tick>,
    ) -> Result<PollStatus, PortError> {
        let start = completions.len();
        let full = start + self.core.catch_max;
        self.taskrun_is_stale = false;
        loop {
            self.refill();
            self.pump();
            self.poll_completions(completions, full);
            let passed = completions.len() == start && until.is_some_and(|until| now() >= until);
            if completions.len() == start && !passed && self.must_enter() && !self.hangup_checks.is_empty() {
                // Operations that the kernel completes at once need no sleep, so the hangup checks can wait.
                self.enter(0, None)?;
                self.poll_completions(completions, full);
            }
            if self.must_settle(completions.len() == start && !passed) {
                self.settle_doubts();
            }
            if completions.len() == start && !passed && !self.has_servable() && self.backlog.is_empty() {
                self.sleep(until)?;
            } else if self.must_enter() {
                self.enter(0, None)?;
            }
            self.poll_completions(completions, full);
            while completions.len() < full && self.kernel_owes() {
                self.ask()?;
                self.poll_completions(completions, full);
            }
            if let Some(error) = self.broken.clone() {
                return Err(error);
            }
            if completions.len() > start || passed {
                return Ok(self.status());
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
        let ledger = self.core.ledger();
        Ledger { in_flight: ledger.in_flight - self.direct.as_ref().map_or(0, Direct::accepts), ..ledger }
    }

    fn trim(&mut self) -> Trimmed {
        self.core.trim()
    }
}
