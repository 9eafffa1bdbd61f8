//! The contract of a completion port.
//!
//! A port belongs to one worker thread. Operations go in by value, completions come out by value; memory that a
//! kernel may touch in between is owned by the port.
//!
//! The laws that every backend keeps (numbers as in ARCHITECTURE.md):
//!
//! 1. Every accepted operation has exactly one completion with `more == false`. A refused one is handed back.
//! 2. The port owns the operation's buffer and its handle until then, and nothing arrives after it.
//! 4. `Close` is refused while another operation is in flight on the handle; once accepted, the handle is stale.
//! 5. Leases out + leases home + buffers with the kernel = pool size. A receive that finds the pool empty
//!    waits inside the port until a lease returns; it never fails for that.
//! 7. A port sends bytes in the order in which they stand in the batch, and never reorders received bytes.
//! 10. Dropping a port cancels and drains. What it cannot drain in time it leaks on purpose, and counts.
//! 11. Time comes from [`Port::now`] alone.

use core::net::SocketAddr;
use std::fmt;
use std::path::Path;

use naksi_core::completion::Completion;
use naksi_core::ended::OsError;
use naksi_core::id::{Handle, Token};
use naksi_core::op::Op;
use naksi_core::tick::Tick;

/// A completion port, owned by one worker thread (it is not `Send`: it is opened on the thread that uses it).
pub trait Port {
    /// Wakes this port from any thread.
    type Poster: Poster;
    /// A connected socket in transfer from one port to another; dropping it closes it.
    type Socket: Send + 'static;

    /// The name of the backend: `uring`, `iocp` or `epoll`; a port of another crate has its own name, such as `sim`.
    fn backend(&self) -> &'static str;

    /// Opens a listener and returns its address, with the port number that the system chose for port 0.
    ///
    /// # Errors
    /// Address in use, not local, not permitted, or no descriptor left.
    fn listen(
        &mut self,
        address: SocketAddr,
        options: &ListenOptions,
    ) -> Result<(Handle, SocketAddr), OsError>;

    /// Opens a datagram socket.
    ///
    /// # Errors
    /// As for [`Port::listen`].
    fn bind_datagram(&mut self, address: SocketAddr) -> Result<(Handle, SocketAddr), OsError>;

    /// Opens a file for overlapped reading or writing.
    ///
    /// # Errors
    /// Not found, not permitted, or no descriptor left.
    fn open_file(&mut self, path: &Path, access: FileAccess) -> Result<Handle, OsError>;

    /// The size of an open file in bytes.
    ///
    /// # Errors
    /// A stale handle, or the system's error.
    fn file_bytes(&self, file: Handle) -> Result<u64, OsError>;

    /// Takes an idle socket out of this port, so that another port can adopt it.
    ///
    /// # Errors
    /// The handle is stale, an operation is in flight on it, or the socket is in the port's own table
    /// ([`PortOptions::direct_descriptors`]) and can only be closed.
    fn release(&mut self, socket: Handle) -> Result<Self::Socket, SubmitErrorKind>;

    /// Takes a socket over from another port of the same backend.
    fn adopt(&mut self, socket: Self::Socket) -> Handle;

    /// Accepts one operation, or returns it. The token identifies it until its last completion.
    ///
    /// The kernel may not see it before the next [`Port::wait`], because operations are submitted in batches.
    ///
    /// # Errors
    /// [`SubmitError`] returns the operation with everything it owns.
    fn submit(&mut self, token: Token, op: Op) -> Result<(), SubmitError>;

    /// Requests that an operation ends early. Its result is in its last completion, and may be a success. A token
    /// that is not in flight is ignored.
    fn cancel(&mut self, token: Token);

    /// Submits accepted operations to the kernel, waits for completions and appends them to `completions`.
    ///
    /// Returns as soon as there is at least one completion, with at most [`PortOptions::catch_max`] of them, or at
    /// `until` with none. `None` waits without a limit; a tick in the past does not block.
    ///
    /// # Errors
    /// The port failed and cannot be used again; everything in flight is drained when it is dropped.
    fn wait(
        &mut self,
        completions: &mut Vec<Completion>,
        until: Option<Tick>,
    ) -> Result<PollStatus, PortError>;

    /// Nanoseconds since the port's epoch: the only clock of the worker that owns it. All ports of a process share
    /// the epoch, so that ticks of two workers can be compared.
    fn now(&self) -> Tick;

    /// A door to this port for other threads.
    fn poster(&self) -> Self::Poster;

    /// What the port holds at this moment, for the laws, the counters and the tests.
    fn ledger(&self) -> Ledger;

    /// Frees memory for operations in flight that was unused since the last call.
    fn trim(&mut self) -> Trimmed {
        Trimmed::Nothing
    }
}

/// A decorator of a port: methods that it does not override call the port behind it.
///
/// Every implementation is a [`Port`].
pub trait InFront {
    /// The port behind it.
    type Behind: Port + ?Sized;

    /// The port behind it.
    fn behind(&self) -> &Self::Behind;

    /// The port behind it, to be asked for something.
    fn behind_mut(&mut self) -> &mut Self::Behind;

    /// As [`Port::wait`].
    ///
    /// # Errors
    /// As [`Port::wait`].
    fn wait(
        &mut self,
        completions: &mut Vec<Completion>,
        until: Option<Tick>,
    ) -> Result<PollStatus, PortError> {
        self.behind_mut().wait(completions, until)
    }
}

impl<T: InFront> Port for T {
    type Poster = <T::Behind as Port>::Poster;
    type Socket = <T::Behind as Port>::Socket;

    fn backend(&self) -> &'static str {
        self.behind().backend()
    }

    fn listen(
        &mut self,
        address: SocketAddr,
        options: &ListenOptions,
    ) -> Result<(Handle, SocketAddr), OsError> {
        self.behind_mut().listen(address, options)
    }

    fn bind_datagram(&mut self, address: SocketAddr) -> Result<(Handle, SocketAddr), OsError> {
        self.behind_mut().bind_datagram(address)
    }

    fn open_file(&mut self, path: &Path, access: FileAccess) -> Result<Handle, OsError> {
        self.behind_mut().open_file(path, access)
    }

    fn file_bytes(&self, file: Handle) -> Result<u64, OsError> {
        self.behind().file_bytes(file)
    }

    fn release(&mut self, socket: Handle) -> Result<Self::Socket, SubmitErrorKind> {
        self.behind_mut().release(socket)
    }

    fn adopt(&mut self, socket: Self::Socket) -> Handle {
        self.behind_mut().adopt(socket)
    }

    fn submit(&mut self, token: Token, op: Op) -> Result<(), SubmitError> {
        self.behind_mut().submit(token, op)
    }

    fn cancel(&mut self, token: Token) {
        self.behind_mut().cancel(token);
    }

    fn wait(
        &mut self,
        completions: &mut Vec<Completion>,
        until: Option<Tick>,
    ) -> Result<PollStatus, PortError> {
        InFront::wait(self, completions, until)
    }

    fn now(&self) -> Tick {
        self.behind().now()
    }

    fn poster(&self) -> Self::Poster {
        self.behind().poster()
    }

    fn ledger(&self) -> Ledger {
        self.behind().ledger()
    }

    fn trim(&mut self) -> Trimmed {
        self.behind_mut().trim()
    }
}

/// Wakes a port from any thread and passes it a number, as `PostQueuedCompletionStatus` does.
pub trait Poster: Clone + Send + Sync + 'static {
    /// Makes the port complete `Done::Posted(value)` under `token`. Posts of one thread keep their order. Returns
    /// `false` if the port has ended.
    fn post(&self, token: Token, value: u64) -> bool;
}

/// Whether a wait has emptied the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PollStatus {
    /// Nothing more was ready: batches may leave now.
    Drained,
    /// More completions are ready and were not taken in this call.
    More,
}

/// What a trim did with memory for operations in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trimmed {
    /// There is little to free.
    Nothing,
    /// It was in use since the last call; the next call may free it.
    Later,
    /// Some was freed.
    Freed,
}

/// Sizes of a port. Every one is a bound.
#[derive(Clone, Debug)]
pub struct PortOptions {
    /// Submission entries; a power of two.
    pub submission_entries: u32,
    /// Completion entries; a power of two, at least twice the submission entries.
    pub completion_entries: u32,
    /// Buffers of the receive pool; a power of two up to 32,768.
    pub lease_count: u16,
    /// Bytes of each receive buffer.
    pub lease_bytes: usize,
    /// Most completions that one wait returns.
    pub catch_max: usize,
    /// Keeps accepted sockets in a table of the port with this many entries, where they do not count against the
    /// descriptor limit of the process (io_uring's direct descriptors; other backends ignore it). Every port has its
    /// own table, which may be as large as that limit.
    ///
    /// A socket in it cannot be released. When all entries are in use, accepting fails with `DescriptorsExhausted`,
    /// as it does when the process has no descriptor left, and no connection is lost.
    pub direct_descriptors: Option<u32>,
}

impl Default for PortOptions {
    fn default() -> Self {
        Self {
            submission_entries: 4096,
            completion_entries: 65_536,
            lease_count: 256,
            lease_bytes: 32 * 1024,
            catch_max: 256,
            direct_descriptors: None,
        }
    }
}

/// Whether several listeners of this process share one address (`SO_REUSEPORT`); the system then distributes
/// connections among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Share {
    /// The address is for this listener alone.
    #[default]
    Alone,
    /// The first of several: an address that is in use is refused, and others may join.
    Open,
    /// One of the others: joins listeners that were opened for it.
    Join,
}

/// How to open a listener.
#[derive(Clone, Debug)]
pub struct ListenOptions {
    /// Connections that the system queues before they are accepted.
    pub backlog: u32,
    /// Send small messages at once (`TCP_NODELAY`) on every accepted socket.
    pub no_delay: bool,
    /// The kernel's send buffer of every accepted socket, in bytes; `None` leaves it to the system.
    pub kernel_send_bytes: Option<u32>,
    /// The kernel's receive buffer of every accepted socket, in bytes; `None` leaves it to the system.
    pub kernel_recv_bytes: Option<u32>,
    /// Whether others listen on the same address.
    pub share: Share,
    /// Whether a listener on `[::]` accepts IPv4 too; other addresses are not affected.
    pub dual_stack: bool,
}

impl ListenOptions {
    /// Whether a listener on this address takes nothing but IPv6.
    pub(crate) fn only_v6(&self, address: SocketAddr) -> bool {
        !(self.dual_stack && address.ip().is_unspecified())
    }
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            backlog: 4096,
            no_delay: true,
            kernel_send_bytes: None,
            kernel_recv_bytes: None,
            share: Share::Alone,
            dual_stack: false,
        }
    }
}

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileAccess {
    /// Read an existing file.
    Read,
    /// Read and write; created if missing, kept if present.
    ReadWrite,
    /// Read and write; emptied if it is there.
    Create,
}

/// Why an operation was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubmitErrorKind {
    /// The handle is closed, or was never open.
    StaleHandle,
    /// The handle is of another kind: a send on a listener, a read at an offset on a socket.
    WrongKind,
    /// Another operation is in flight on the handle, so it cannot be closed or released (law 4), or one of the same
    /// direction is in flight, so a second one would reorder bytes (law 7).
    Busy,
    /// An operation with this token is in flight.
    TokenInUse,
    /// The batch or the buffer is empty: there would be nothing to complete.
    Empty,
    /// The offset is 2^63 or more, a range to which systems give other meanings.
    Offset,
    /// The port cannot do this on this system.
    Unsupported,
}

impl fmt::Display for SubmitErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SubmitErrorKind::StaleHandle => "the handle is not open",
            SubmitErrorKind::WrongKind => "the handle is of another kind",
            SubmitErrorKind::Busy => "another operation is in flight on the handle",
            SubmitErrorKind::TokenInUse => "an operation with this token is in flight",
            SubmitErrorKind::Empty => "there is nothing to send or no room to receive",
            SubmitErrorKind::Offset => "no file has such an offset",
            SubmitErrorKind::Unsupported => "not supported by this system",
        })
    }
}

impl SubmitErrorKind {
    /// Errors that every port reports, whatever its system.
    ///
    /// The highest offset means the file position to io_uring ("If offset is set to -1, the offset will use (and
    /// advance) the file position") and the end of the file to Windows: a write there would go somewhere else.
    pub fn of_any_system(op: &Op) -> Option<Self> {
        let anything = match op {
            Op::Send { batch, .. } => !batch.is_empty(),
            Op::ReadAt { buffer, .. } | Op::RecvFrom { buffer, .. } => !buffer.is_empty(),
            Op::WriteAt { bytes, .. } => !bytes.is_empty(),
            _ => true,
        };
        let known = match op {
            Op::ReadAt { offset, .. } | Op::WriteAt { offset, .. } => i64::try_from(*offset).is_ok(),
            _ => true,
        };
        if !anything {
            return Some(SubmitErrorKind::Empty);
        }
        (!known).then_some(SubmitErrorKind::Offset)
    }
}

/// An operation handed back, with everything it owns.
#[derive(Debug)]
pub struct SubmitError {
    /// The operation as it was offered.
    pub op: Op,
    /// Why.
    pub why: SubmitErrorKind,
}

/// A port that could not be opened, or that broke.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct PortError {
    /// One line that names the cause and, where there is one, the remedy.
    pub text: String,
    /// The system's number, 0 if there is none.
    pub code: i32,
}

/// What a port holds at one moment. After an orderly end everything but `lease_size` is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Handles open: sockets, listeners, files.
    pub handles: usize,
    /// Operations accepted and not yet terminally completed.
    pub in_flight: usize,
    /// Leases held by the application.
    pub leases_out: usize,
    /// Buffers of the pool: home, with the kernel, and out.
    pub lease_size: usize,
    /// Receives that wait inside the port because the pool was empty.
    pub starved: usize,
    /// How often a receive found the pool empty, since the start.
    pub starved_total: u64,
    /// Receives and accepts that the kernel ended early and that were submitted again, since the start.
    pub rearmed_total: u64,
    /// Operations whose buffers were leaked on purpose because they could not be drained, since the start.
    pub leaked_total: u64,
    /// Completions handed out since the start.
    pub completions_total: u64,
    /// System calls made to submit and to wait, since the start.
    pub enters_total: u64,
}
