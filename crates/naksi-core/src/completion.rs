//! Completions: the results of operations.
//!
//! A completion names its kind, returns its buffer, and distinguishes an end from a number: a receive of zero bytes
//! is [`Ended::Closed`], never `Ok(0)`.

use bytes::Bytes;
use core::net::SocketAddr;

use crate::batch::SendBatch;
use crate::ended::Ended;
use crate::id::{Handle, Token};
use crate::lease::Lease;

/// One answer to one operation.
#[derive(Debug)]
pub struct Completion {
    /// The name under which the operation was submitted.
    pub token: Token,
    /// What happened.
    pub done: Done,
    /// Whether the operation continues and completes again. Exactly one completion of every accepted operation has
    /// `false`, and it is the last one (law 1).
    pub more: bool,
}

/// What happened, and what returns with it.
#[derive(Debug)]
pub enum Done {
    /// A connection was taken, or accepting ended.
    Accept(Result<Accepted, Ended>),
    /// The new socket is connected, or connecting failed; a failed socket is closed already.
    Connect(Result<Connected, Ended>),
    /// Bytes arrived (never none), or the stream ended.
    Recv(Result<Lease, Ended>),
    /// The kernel took this many bytes of the batch (at least one), or sending ended.
    Send(SendBatch, Result<u32, Ended>),
    /// The directions are ended, or were already.
    Shutdown(Result<(), Ended>),
    /// The handle is closed; no error of a close can be handled.
    Close,
    /// This many bytes were read (at least one); [`Ended::Closed`] is the end of the file.
    ReadAt(Vec<u8>, Result<u32, Ended>),
    /// This many bytes were written; fewer than requested if the disk is full.
    WriteAt(Vec<u8>, Result<u32, Ended>),
    /// Everything written before is on stable storage.
    Sync(Result<(), Ended>),
    /// One datagram arrived; an empty one is a datagram too.
    RecvFrom(Vec<u8>, Result<Datagram, Ended>),
    /// The datagram left.
    SendTo(Bytes, Result<u32, Ended>),
    /// The time has come, or the wait was cancelled ([`Ended::Aborted`]).
    Timeout(Result<(), Ended>),
    /// A number that was posted with a `Poster`.
    Posted(u64),
}

/// A connection taken from a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The new socket, owned by the port that accepted it.
    pub socket: Handle,
    /// The peer's address.
    pub peer: SocketAddr,
}

/// A connection made to a remote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connected {
    /// The new socket, owned by the port that connected it.
    pub socket: Handle,
    /// Our own address on it.
    pub local: SocketAddr,
}

/// One datagram in the buffer that returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Bytes of the buffer that it fills.
    pub bytes: u32,
    /// The sender's address.
    pub from: SocketAddr,
    /// Whether the buffer was too short and the rest of the datagram is lost.
    pub cut: bool,
}
