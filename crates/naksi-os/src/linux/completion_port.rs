//! One completion port that several workers share: io_uring underneath, with a completion port's laws on top.
//!
//! Any worker may take any packet. At most `concurrency` workers run at once, the one that came last is woken first,
//! and another one is released when one announces that it blocks (Windows detects that by itself). One of the waiting
//! workers polls the ring for all and shares the packets.

// UNSAFETY: an accepted descriptor comes out of the ring as a number and is owned here for the first time.
#![expect(unsafe_code, reason = "a descriptor is a bare number in a completion")]

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use io_uring::opcode;
use io_uring::types::Fd;

use super::in_flight_op::{self, InFlightOps, NO_OPERATION, Reaped, Users};
use super::limiter::{ConcurrencyLimiter, Source, Turn};
use crate::connection::{Completed, Connection, Verb};
use crate::syscall_counter::SyscallCounter;

/// Whether this system is Wine, which does not keep all of a completion port's laws.
pub fn is_wine() -> bool {
    false
}

/// Entries that one worker accumulates before it submits them, so that the first answer of a long queue does not wait
/// for the last.
const UNSUBMITTED_MAX: usize = 64;

/// What a worker takes from the port: a completion packet.
#[derive(Debug)]
pub enum Packet<S> {
    /// A receive or a send is done.
    Done {
        /// The returned connection, with its CompletionKey, ready for its next operation.
        associated: Associated<S>,
        /// What was asked for.
        verb: Verb,
        /// How many bytes it moved; a receive of zero bytes is the peer's orderly end.
        result: io::Result<usize>,
    },
    /// A client connected (AcceptEx), or one accept failed.
    Accepted(io::Result<(TcpStream, SocketAddr)>),
    /// Another thread sent this (PostQueuedCompletionStatus).
    Posted {
        /// Whatever the sender meant by it.
        key: usize,
    },
}

enum Held<S> {
    Connection { key: usize, connection: Connection<S>, verb: Verb },
    Accept { _listener: Arc<TcpListener> },
}

/// A completion port for several workers. Clones are the same port.
pub struct CompletionPort<S: Send + 'static> {
    limiter: Arc<ConcurrencyLimiter<Packet<S>>>,
    operations: Arc<InFlightOps<Held<S>>>,
}

impl<S: Send + 'static> Clone for CompletionPort<S> {
    fn clone(&self) -> Self {
        Self { limiter: Arc::clone(&self.limiter), operations: Arc::clone(&self.operations) }
    }
}

/// A connection bound to a port: only such a one can start an operation.
#[derive(Debug)]
pub struct Associated<S> {
    key: usize,
    connection: Connection<S>,
}

impl<S> Associated<S> {
    /// The name that it was associated under.
    pub fn key(&self) -> usize {
        self.key
    }

    /// The connection, to be filled before an operation has it.
    pub fn connection_mut(&mut self) -> &mut Connection<S> {
        &mut self.connection
    }

    /// The connection, while no operation has it.
    pub fn connection(&self) -> &Connection<S> {
        &self.connection
    }
}

impl<S: Send + 'static> CompletionPort<S> {
    /// A port on which at most `concurrency` workers run at once (CreateIoCompletionPort); 0 is as many as there are
    /// processors.
    ///
    /// # Errors
    /// The system refuses a ring.
    pub fn create(concurrency: usize, counter: &SyscallCounter) -> io::Result<Self> {
        let operations = Arc::new(InFlightOps::open(Users::Anybody, counter)?);
        let ring: Weak<InFlightOps<Held<S>>> = Arc::downgrade(&operations);
        let nudge = move || {
            if let Some(ring) = ring.upgrade() {
                // A ring that refuses an entry also refuses the polling worker's wait, which reports it.
                ring.note(&opcode::Nop::new().build().user_data(NO_OPERATION))
                    .and_then(|()| ring.enter(0, None))
                    .ok();
            }
        };
        let source = Source::Polled(Box::new(nudge));
        Ok(Self { limiter: Arc::new(ConcurrencyLimiter::new(concurrency, source)), operations })
    }

    /// Binds a connection to this port with a key (CreateIoCompletionPort with a socket).
    ///
    /// # Errors
    /// None on Linux, where a ring takes any socket.
    pub fn associate(&self, connection: Connection<S>, key: usize) -> io::Result<Associated<S>> {
        Ok(Associated { key, connection })
    }

    /// Starts a receive or a send; its packet goes to any worker (WSARecv, WSASend).
    ///
    /// # Errors
    /// The system refuses the operation; the connection is closed then.
    pub fn start(&self, associated: Associated<S>, verb: Verb) -> io::Result<()> {
        let Associated { key, connection } = associated;
        let entry = |held: &mut Held<S>| match held {
            Held::Connection { connection, .. } => in_flight_op::entry(connection, verb),
            Held::Accept { .. } => unreachable!("this operation has a connection"),
        };
        self.operations.submit(Held::Connection { key, connection, verb }, entry, None)?;
        self.hand_over()
    }

    /// Submits an accept before a client connects (AcceptEx).
    ///
    /// # Errors
    /// The system refuses the operation.
    pub fn accept(&self, listener: &Arc<TcpListener>) -> io::Result<()> {
        let raw = Fd(listener.as_raw_fd());
        let entry = |_: &mut Held<S>| {
            opcode::Accept::new(raw, std::ptr::null_mut(), std::ptr::null_mut())
                .flags(libc::SOCK_CLOEXEC)
                .build()
        };
        self.operations.submit(Held::Accept { _listener: Arc::clone(listener) }, entry, None)?;
        self.hand_over()
    }

    /// Sends a packet to whichever worker comes next (PostQueuedCompletionStatus).
    pub fn post(&self, key: usize) {
        assert!(self.limiter.post(Packet::Posted { key }), "a completion port is never closed");
    }

    /// Waits for the next packet (GetQueuedCompletionStatus). A thread that got one counts as running until it asks
    /// again, ends, or blocks in [`CompletionPort::blocking`].
    ///
    /// # Errors
    /// The system fails.
    pub fn next(&self, timeout: Option<Duration>) -> io::Result<Option<Packet<S>>> {
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let mut failed = Ok(());
            let turn = self.limiter.turn(until, || {
                if self.operations.unsubmitted() > 0 {
                    failed = self.operations.enter(0, None);
                }
                // The sleep itself is a system call, and the return from it a wake-up.
                self.operations.counter.call();
                self.operations.counter.wakeup();
            });
            failed?;
            match turn {
                Turn::Take(packet) => return Ok(Some(packet)),
                Turn::TimedOut => return Ok(None),
                Turn::Poll => {}
                Turn::Quit => unreachable!("a completion port is never closed under its workers"),
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let entered = self.operations.enter(1, left);
            let mut packets = Vec::new();
            self.operations.reap(|completed| {
                if let Reaped::Operation(_, held, result) = completed {
                    packets.push(self.packet(held, result));
                }
            });
            let anything = self.limiter.brought(packets);
            if entered.is_err() || (!anything && left.is_some_and(|left| left.is_zero())) {
                self.limiter.pass_on();
                return entered.map(|()| None);
            }
        }
    }

    /// Runs something that blocks; another worker may run meanwhile.
    pub fn blocking<T>(&self, work: impl FnOnce() -> T) -> T {
        if self.operations.unsubmitted() > 0 {
            // An error here occurs again in the next wait, which reports it.
            self.operations.enter(0, None).ok();
        }
        self.limiter.blocking(work)
    }

    /// How many threads wait for a packet; a snapshot.
    pub fn waiting(&self) -> usize {
        self.limiter.waiting()
    }

    /// A worker submits accumulated entries when it asks for its next packet; other threads submit at once.
    fn hand_over(&self) -> io::Result<()> {
        if self.limiter.is_seated() && self.operations.unsubmitted() < UNSUBMITTED_MAX {
            return Ok(());
        }
        self.operations.enter(0, None)
    }

    fn packet(&self, held: Held<S>, result: i32) -> Packet<S> {
        match held {
            Held::Connection { key, connection, verb } => {
                let Completed { connection, verb, result } =
                    in_flight_op::completed(connection, verb, result);
                Packet::Done { associated: Associated { key, connection }, verb, result }
            }
            Held::Accept { .. } if result < 0 => Packet::Accepted(Err(io::Error::from_raw_os_error(-result))),
            Held::Accept { .. } => {
                // SAFETY: accept(2): "On success, these system calls return a file descriptor"; it is new.
                let socket = TcpStream::from(unsafe { OwnedFd::from_raw_fd(result) });
                self.operations.counter.calls(2);
                socket.set_nodelay(true).ok(); // A peer that is gone already refuses it; the next call tells.
                Packet::Accepted(socket.peer_addr().map(|peer| (socket, peer)))
            }
        }
    }
}

impl<S: Send + 'static> fmt::Debug for CompletionPort<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompletionPort")
            .field("in_flight", &self.operations.in_flight())
            .finish_non_exhaustive()
    }
}
