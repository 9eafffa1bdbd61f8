//! What a server of the ladder is told, and what it tells: when to stop, whom to call, what to count.
//!
//! Nothing here waits for a socket.

use std::cell::Cell;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, ThreadId};
use std::time::Duration;

use naksi_os::connection::{Connection, accept_now};
use naksi_os::syscall_counter::SyscallCounter;

use crate::thread_record::ThreadRecord;

pub use naksi_os::event::EVENTS_MAX;
pub use naksi_os::select::SOCKETS_MAX;

/// The buffer of one connection: one page. Lecture 001 calls it `BUFSIZE` and gives no size.
pub const BUFFER_BYTES: usize = 4096;

/// Limit of the connect to ourselves by which a server is told to stop.
const STOP_CONNECT_SPAN_MAX: Duration = Duration::from_secs(2);
/// How long a server that cannot accept another connection ignores its listener.
const SHORTAGE_SPAN: Duration = Duration::from_millis(10);

/// An observer of what happens on a server.
pub trait Watch: Send + Sync {
    /// A client is there.
    fn connected(&self, _peer: SocketAddr) {}
    /// Bytes came in.
    fn received(&self, _peer: SocketAddr, _bytes: &[u8]) {}
    /// A client is gone.
    fn disconnected(&self, _peer: SocketAddr) {}
}

/// No observer.
impl Watch for () {}

/// The session of a connection: who it is, and where. It travels with every operation and comes back with it.
pub struct Guest {
    /// The client's address.
    pub peer: SocketAddr,
    /// The server that it is a guest of.
    pub site: Arc<Site>,
    /// The thread that made the call which is in flight, if the site records its threads.
    asked_by: Cell<Option<ThreadId>>,
}

/// A guest that is dropped is gone, whichever way it went; its connection closes the socket with it.
impl Drop for Guest {
    fn drop(&mut self) {
        self.site.sessions.fetch_sub(1, Ordering::Relaxed);
        self.site.tally.call();
        self.site.watch.disconnected(self.peer);
    }
}

/// A server's surroundings.
pub struct Site {
    /// What the server spends.
    pub tally: SyscallCounter,
    /// Events of one wait, for models that wait for events; at least 2 and at most [`EVENTS_MAX`].
    pub events_max: usize,
    /// Sockets in a set, for the select model; at least 2 and at most [`SOCKETS_MAX`].
    pub sockets_max: usize,
    /// Workers that share a completion port. As many of them as there are processors run at once.
    pub workers: usize,
    /// How long the handler of each message blocks, as a database query would.
    pub blocks: Duration,
    /// Which thread did what, if anybody wants to see it.
    pub threads: Option<ThreadRecord>,
    watch: Box<dyn Watch>,
    stopping: AtomicBool,
    sessions: AtomicU64,
    accepted: AtomicU64,
    turned_away: AtomicU64,
    groups: AtomicU64,
}

impl Default for Site {
    fn default() -> Self {
        Self::watched(Box::new(()))
    }
}

impl Site {
    /// A site with an observer.
    pub fn watched(watch: Box<dyn Watch>) -> Self {
        Self {
            tally: SyscallCounter::default(),
            events_max: EVENTS_MAX,
            sockets_max: SOCKETS_MAX,
            // In proportion to the processors, as on the slide.
            workers: thread::available_parallelism().map_or(2, usize::from).max(2),
            blocks: Duration::ZERO,
            threads: None,
            watch,
            stopping: AtomicBool::new(false),
            sessions: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            turned_away: AtomicU64::new(0),
            groups: AtomicU64::new(0),
        }
    }

    /// Tells the server on `address` to stop: every model waits for connections, so one of our own wakes it.
    pub fn stop(&self, address: SocketAddr) {
        self.stopping.store(true, Ordering::SeqCst);
        // A server that has stopped already refuses, which is what was wanted.
        TcpStream::connect_timeout(&address, STOP_CONNECT_SPAN_MAX).ok();
    }

    /// A thread of the server ends, so the others must end too; the caller wakes them.
    pub fn end(&self) {
        self.stopping.store(true, Ordering::SeqCst);
    }

    /// Whether the server shall stop.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Takes the next client of a non-blocking listener; `None` when no connection waits.
    ///
    /// # Errors
    /// The listener itself is of no use any more.
    pub fn accept(self: &Arc<Self>, listener: &TcpListener) -> io::Result<Option<Connection<Guest>>> {
        loop {
            match accept_now(listener, &self.tally) {
                Ok((socket, peer)) => return Ok(Some(self.welcome(socket, peer))),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => self.accept_failed(&error)?,
            }
        }
    }

    /// A client is there.
    pub fn welcome(self: &Arc<Self>, socket: TcpStream, peer: SocketAddr) -> Connection<Guest> {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        self.sessions.fetch_add(1, Ordering::Relaxed);
        self.watch.connected(peer);
        if let Some(threads) = &self.threads {
            threads.accepted();
        }
        let session = Guest { peer, site: Arc::clone(self), asked_by: Cell::new(None) };
        Connection::new(socket, BUFFER_BYTES, session)
    }

    /// One accept failed: that client went away, or the system is short of something for a moment.
    ///
    /// # Errors
    /// The listener itself is of no use any more.
    pub fn accept_failed(&self, error: &io::Error) -> io::Result<()> {
        if self.is_stopping() {
            return Ok(());
        }
        match error.kind() {
            io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted => {}
            io::ErrorKind::InvalidInput => return Err(io::Error::new(error.kind(), error.to_string())),
            // The client waits in the listener's queue; asking at once would be asking in a circle.
            _ => thread::sleep(SHORTAGE_SPAN),
        }
        Ok(())
    }

    /// An operation of this connection is over, and this thread makes the next call.
    pub fn asks(&self, connection: &Connection<Guest>) {
        if self.threads.is_some() {
            connection.session.asked_by.set(Some(thread::current().id()));
        }
    }

    /// The handler of a message: bytes came in.
    pub fn received(&self, connection: &Connection<Guest>) {
        if let Some(threads) = &self.threads {
            threads.handled(connection.session.asked_by.get());
        }
        self.watch.received(connection.session.peer, connection.received());
        if !self.blocks.is_zero() {
            thread::sleep(self.blocks);
        }
    }

    /// The model has no place for this client: its limit is met.
    pub fn turn_away(&self, connection: Connection<Guest>) {
        self.one_turned_away();
        drop(connection);
    }

    /// Counts a client that the model had no place for and that is gone already.
    pub fn one_turned_away(&self) {
        self.turned_away.fetch_add(1, Ordering::Relaxed);
    }

    /// One more thread with a wait of its own was needed.
    pub fn one_more_group(&self) {
        self.groups.fetch_add(1, Ordering::Relaxed);
    }

    /// Clients that are connected now.
    pub fn sessions(&self) -> u64 {
        self.sessions.load(Ordering::Relaxed)
    }

    /// Clients that ever came.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Clients that the model had no place for.
    pub fn turned_away(&self) -> u64 {
        self.turned_away.load(Ordering::Relaxed)
    }

    /// Threads that were needed because one wait takes only so many events.
    pub fn groups(&self) -> u64 {
        self.groups.load(Ordering::Relaxed)
    }
}
