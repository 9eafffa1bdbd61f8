//! What came back from a kernel.
//!
//! A completion says its kind, carries its buffer home, and tells an ending from a number: a receive of
//! zero bytes is [`Ended::Closed`], never `Ok(0)`. Nothing here knows which kernel answered.

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
    /// Whether the operation goes on and will complete again. Exactly one completion of every accepted
    /// operation says `false`, and nothing comes after it (law 1).
    pub more: bool,
}

/// What happened, and what returns with it.
#[derive(Debug)]
pub enum Done {
    /// A connection was taken, or accepting ended.
    Accept(Result<Accepted, Ended>),
    /// The new socket is connected, or could not be; a failed socket is closed already.
    Connect(Result<Connected, Ended>),
    /// Bytes arrived (never none), or the stream ended.
    Recv(Result<Lease, Ended>),
    /// So many bytes of the batch were taken by the kernel (at least one), or sending ended.
    Send(SendBatch, Result<u32, Ended>),
    /// The directions are ended, or were already.
    Shutdown(Result<(), Ended>),
    /// The handle is closed; closing cannot fail in a way that anybody could mend.
    Close,
    /// So many bytes were read (at least one); [`Ended::Closed`] is the end of the file.
    ReadAt(Vec<u8>, Result<u32, Ended>),
    /// So many bytes were written; fewer than offered if the disk is full.
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
    /// Who sent it.
    pub from: SocketAddr,
    /// Whether the buffer was too short for it and the rest is gone.
    pub cut: bool,
}
