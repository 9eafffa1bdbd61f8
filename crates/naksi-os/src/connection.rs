//! The connection of the ladder's six models: a socket, one buffer, and the session that belongs to it.
//!
//! A reactor calls [`Connection::recv_now`] and [`Connection::send_now`] when the socket was reported as ready. A
//! proactor moves the whole connection into an operation and gets it back with the completion: no other code can see
//! memory that a kernel may touch, and the session needs no look-up. Nothing here blocks.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

use crate::syscall_counter::SyscallCounter;

/// What an operation was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Bytes in.
    Recv,
    /// Bytes out.
    Send,
}

/// How a call that starts an operation returned. If it failed there is no operation, and nothing is notified.
//= lecture 001: 만약 작업이 바로 완료되지 않으면, WSA_IO_PENDING 오류코드가 뜬다면 처리가 지연되고 있는것
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Started {
    /// The operation was done when the call returned, and moved this many bytes. It is notified all the same.
    AtOnce(usize),
    /// The operation is pending (WSA_IO_PENDING), and is notified when it is done.
    Pending,
}

/// A socket, its buffer and its session. Invariant: `sent <= filled <= bytes.len()`.
#[derive(Debug)]
pub struct Connection<S> {
    socket: TcpStream,
    bytes: Box<[u8]>,
    filled: usize,
    sent: usize,
    /// The owner's state, which moves with the connection, so a routine never has to look it up.
    pub session: S,
}

/// A finished operation, with everything that was moved into it.
#[derive(Debug)]
pub struct Completed<S> {
    /// The connection, at home again.
    pub connection: Connection<S>,
    /// What was asked for.
    pub verb: Verb,
    /// How many bytes it moved; a receive of zero bytes is the peer's orderly end.
    pub result: io::Result<usize>,
}

impl<S> Connection<S> {
    /// A connection with a buffer of `bytes_max` bytes.
    pub fn new(socket: TcpStream, bytes_max: usize, session: S) -> Self {
        assert!(bytes_max > 0, "a receive of zero bytes would look like a closed peer");
        Self { socket, bytes: vec![0; bytes_max].into_boxed_slice(), filled: 0, sent: 0, session }
    }

    /// The socket, to be registered somewhere.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// What the last receive brought.
    pub fn received(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }

    /// What was received and not sent back yet.
    pub fn unsent(&self) -> &[u8] {
        &self.bytes[self.sent..self.filled]
    }

    /// Whether the last receive filled the whole buffer, so that the socket may have more.
    pub fn is_full(&self) -> bool {
        self.filled == self.bytes.len()
    }

    /// Empties the buffer: the received bytes were used.
    pub fn forget_received(&mut self) {
        self.sent = self.filled;
        self.clear();
    }

    /// Fills the buffer with bytes to send, for a connection that sends first.
    pub fn put(&mut self, bytes: &[u8]) {
        self.forget_received();
        self.bytes[..bytes.len()].copy_from_slice(bytes);
        self.filled = bytes.len();
    }

    /// Receives what is available, for a non-blocking socket. Only after everything was sent back.
    ///
    /// # Errors
    /// `WouldBlock` if nothing is available, and whatever ended the connection.
    pub fn recv_now(&mut self, counter: &SyscallCounter) -> io::Result<usize> {
        counter.call();
        self.clear();
        let count = (&self.socket).read(&mut self.bytes)?;
        self.filled = count;
        Ok(count)
    }

    /// Sends the rest of the buffer, as far as the socket takes it.
    ///
    /// # Errors
    /// `WouldBlock` if the socket takes nothing, and whatever ended the connection.
    pub fn send_now(&mut self, counter: &SyscallCounter) -> io::Result<usize> {
        counter.call();
        let count = (&self.socket).write(&self.bytes[self.sent..self.filled])?;
        self.sent += count;
        Ok(count)
    }

    /// Before a receive: empties the buffer, so that the kernel may fill all of it.
    pub(crate) fn clear(&mut self) {
        assert_eq!(self.sent, self.filled, "a receive would overwrite what was not sent back yet");
        self.filled = 0;
        self.sent = 0;
    }

    /// The address and length of the whole buffer for the kernel; it does not move when the connection does.
    pub(crate) fn room(&mut self) -> (*mut u8, usize) {
        (self.bytes.as_mut_ptr(), self.bytes.len())
    }

    /// The kernel wrote or took this many bytes.
    pub(crate) fn moved(&mut self, verb: Verb, count: usize) {
        match verb {
            Verb::Recv => self.filled = count,
            Verb::Send => self.sent += count,
        }
        assert!(self.sent <= self.filled && self.filled <= self.bytes.len(), "the kernel left the buffer");
    }
}

/// Takes the next connection of a non-blocking listener. The connection itself is blocking until a model changes it,
/// as overlapped operations require.
///
/// # Errors
/// `WouldBlock` if no connection waits; other errors are a failure of this connection, or a shortage.
pub fn accept_now(listener: &TcpListener, counter: &SyscallCounter) -> io::Result<(TcpStream, SocketAddr)> {
    counter.call();
    let (socket, peer) = listener.accept()?;
    counter.call();
    socket.set_nodelay(true).ok(); // A peer that is gone already refuses the option; the next call tells.
    Ok((socket, peer))
}
