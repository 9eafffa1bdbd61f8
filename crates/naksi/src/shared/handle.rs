//! A handle to a running service for any thread: send to a session, end it, broadcast to a topic.
//!
//! A stale id is harmless: the worker counts and drops the message (law 3).

use bytes::Bytes;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use naksi_core::callbacks::CloseMode;
use naksi_core::id::SessionId;
use naksi_core::limits::Limits;
use naksi_core::reason::DisconnectReason;

use crate::config::Result;
use crate::group::Group;
use crate::room::{Room, RoomHost, RoomOptions, RoomRef};
use crate::shared::stats::Stats;
use crate::topic::Topic;

/// Why a message could not be queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The worker's mailbox is full.
    #[error("the worker's mailbox is full")]
    Full,
    /// The service has no such worker.
    #[error("no worker of this service owns that session")]
    UnknownSession,
    /// The bytes exceed the capacity of a send queue.
    #[error("more bytes than a send queue may hold")]
    TooLong,
    /// The worker has ended: the service has stopped or is about to.
    #[error("the worker has ended")]
    Closed,
}

/// What a running service offers to other threads.
pub(crate) trait ServiceInner: RoomHost {
    fn send(&self, to: SessionId, bytes: Bytes) -> Result<(), SendError>;
    fn end(&self, id: SessionId, reason: DisconnectReason, ending: CloseMode) -> Result<(), SendError>;
    fn broadcast(&self, topic: &Topic, bytes: Bytes, messages: u64) -> Result<(), SendError>;
    fn topic(&self, number: u64) -> Topic;
    /// Closes the rooms that are left, after every worker has returned.
    fn close_rooms(self: Arc<Self>);
    fn stats(&self) -> Stats;
    fn worker_stats(&self) -> Vec<Stats>;
    fn wake_workers(&self);
    fn backend(&self) -> &'static str;
    fn is_stopping(&self) -> bool;
    fn admit_by(&self, limits: &Limits);
    fn drain(&self, within: Duration);
}

/// A handle to a running service. Cheap to clone, usable from any thread.
///
/// ```
/// use naksi::prelude::*;
/// struct Greeter(std::sync::mpsc::Sender<(ServiceHandle, SessionId)>);
/// impl Session for Greeter {
///     fn on_connected(&mut self, c: &mut Conn) {
///         self.0.send((c.handle(), c.id())).ok(); // another thread can now send to this session
///     }
/// }
/// # fn elsewhere(handle: &ServiceHandle, id: SessionId) -> Result<(), naksi::SendError> {
/// handle.send(id, &b"hello"[..])?;
/// handle.kick(id)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ServiceHandle(Arc<dyn ServiceInner>);

impl ServiceHandle {
    pub(crate) fn new(service: Arc<dyn ServiceInner>) -> Self {
        Self(service)
    }

    /// Queues bytes with the session's worker. Success does not mean that the session still lives. Bytes sent by one
    /// thread to one session keep their order.
    ///
    /// # Errors
    /// The worker's mailbox is full, the bytes exceed a send queue, the service has ended, or the id is of another
    /// service.
    pub fn send(&self, to: SessionId, bytes: impl Into<Bytes>) -> Result<(), SendError> {
        self.0.send(to, bytes.into())
    }

    /// Ends a session gracefully with [`DisconnectReason::Kicked`].
    ///
    /// # Errors
    /// The service has ended, the id is of another service, or 131,072 messages wait for the session's worker.
    pub fn kick(&self, id: SessionId) -> Result<(), SendError> {
        self.end(id, DisconnectReason::Kicked)
    }

    /// Ends a session gracefully. The mailbox has room for this even when it is full for data.
    ///
    /// # Errors
    /// The service has ended, the id is of another service, or 131,072 messages wait for the session's worker.
    pub fn end(&self, id: SessionId, reason: DisconnectReason) -> Result<(), SendError> {
        self.0.end(id, reason, CloseMode::Graceful)
    }

    /// Sends bytes to every member of a topic, with one post for each worker that has members.
    ///
    /// # Errors
    /// A worker's mailbox is full, or the bytes exceed a send queue; then no session gets them.
    pub fn broadcast(&self, topic: &Topic, bytes: impl Into<Bytes>) -> Result<(), SendError> {
        self.0.broadcast(topic, bytes.into(), 1)
    }

    /// The service's topic with this number.
    pub fn topic(&self, number: u64) -> Topic {
        self.0.topic(number)
    }

    /// The service's group of this name.
    pub fn group(&self, name: &str) -> Option<Group> {
        self.0.group(name)
    }

    /// Opens a room.
    ///
    /// # Errors
    /// Invalid options.
    pub fn open_room<R: Room>(&self, room: R, options: RoomOptions) -> Result<RoomRef<R>> {
        let room = crate::room::open(&(Arc::clone(&self.0) as Arc<dyn RoomHost>), room, options)?;
        room.begin();
        Ok(room)
    }

    /// Replaces the admission limits: `sessions_max`, `connections_per_address_max`, `accepts_per_second_max`,
    /// `handshakes_max` and `loopback_exempt`. Existing sessions stay; other limits do not change.
    pub fn admit_by(&self, limits: &Limits) {
        self.0.admit_by(limits);
    }

    /// The service's counters now.
    pub fn stats(&self) -> Stats {
        self.0.stats()
    }

    /// The counters of each worker now, in the order of the workers (1 to 256). What the service counts as a whole is
    /// empty there: rooms, groups, and what is on its way in mailboxes.
    pub fn worker_stats(&self) -> Vec<Stats> {
        self.0.worker_stats()
    }

    /// Has every worker that sleeps turn once: its [`Stats::turns`] grows, unless a callback blocks it. It posts at most
    /// once to each worker, however often it is called before the worker turns.
    pub fn wake_workers(&self) {
        self.0.wake_workers();
    }

    /// The backend of the service: `uring`, `epoll` or `iocp`.
    pub fn backend(&self) -> &'static str {
        self.0.backend()
    }

    /// Whether the service has begun to stop: it accepts no connection any more. It never becomes false again.
    pub fn is_stopping(&self) -> bool {
        self.0.is_stopping()
    }
}

impl fmt::Debug for ServiceHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServiceHandle")
    }
}
