//! Operations: requests to a kernel.
//!
//! An operation owns everything it needs: buffers move in with it and return in its completion, so no code can look
//! at a buffer while a kernel writes it. Sockets and files are referred to by [`Handle`]; the port owns them.

use bytes::Bytes;
use core::net::SocketAddr;

use crate::batch::SendBatch;
use crate::id::Handle;
use crate::tick::Tick;

/// One operation, moved into [`Port::submit`](../../naksi_os/port/trait.Port.html#tymethod.submit).
#[derive(Debug)]
pub enum Op {
    /// Accept connections from a listener until cancelled or failed; completes once for each.
    Accept {
        /// The listener.
        listener: Handle,
    },
    /// Make a socket and connect it.
    Connect {
        /// Where to.
        remote: SocketAddr,
    },
    /// Receive into leases of the port's pool until the stream ends; completes once for each lease.
    Recv {
        /// The connected socket.
        socket: Handle,
    },
    /// Send the whole batch, in order. A port may send only a part of it; it never reorders.
    Send {
        /// The connected socket.
        socket: Handle,
        /// The bytes; return in the completion.
        batch: SendBatch,
    },
    /// Shut down one or both directions. Receives in flight end with it, so that they can be awaited (law 4).
    Shutdown {
        /// The connected socket.
        socket: Handle,
        /// Which direction.
        how: ShutdownHow,
    },
    /// Close a handle with no other operation in flight; a port refuses it while there is one (law 4).
    Close {
        /// What to close; stale as soon as the op is accepted.
        handle: Handle,
    },
    /// Read from a file at an offset into `buffer[..]`; its length is the number of bytes requested.
    ReadAt {
        /// The open file.
        file: Handle,
        /// Bytes from the start of the file, less than 2^63.
        offset: u64,
        /// Where to; returns in the completion.
        buffer: Vec<u8>,
    },
    /// Write a buffer to a file at an offset.
    WriteAt {
        /// The open file.
        file: Handle,
        /// Bytes from the start of the file, less than 2^63.
        offset: u64,
        /// What; returns in the completion.
        bytes: Vec<u8>,
    },
    /// Have everything written to a file on stable storage.
    Sync {
        /// The open file.
        file: Handle,
    },
    /// Receive one datagram into `buffer[..]`; a longer datagram is truncated and flagged.
    RecvFrom {
        /// The datagram socket.
        socket: Handle,
        /// Where to; returns in the completion.
        buffer: Vec<u8>,
    },
    /// Send one datagram.
    SendTo {
        /// The datagram socket.
        socket: Handle,
        /// Where to.
        remote: SocketAddr,
        /// What; returns in the completion.
        bytes: Bytes,
    },
    /// Complete at a point of the port's time.
    Timeout {
        /// When; a point in the past completes at once.
        at: Tick,
    },
}

/// Which directions of a connection a [`Op::Shutdown`] ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShutdownHow {
    /// We send no more; the peer reads an end.
    Write,
    /// Nothing more either way; receives and sends in flight come back.
    Both,
}
