//! A door to a running service for any thread: send to a session, end it, broadcast to a topic.
//!
//! A stale id is harmless: the message is counted and dropped by the worker (law 3). Nothing here knows
//! which kind of port stands behind the service.

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

/// Why a message could not be handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The worker's mailbox is full: it is not keeping up.
    #[error("the worker's mailbox is full")]
    Full,
    /// The service has no such worker.
    #[error("no worker of this service owns that session")]
    UnknownSession,
    /// The bytes are more than a send queue may hold: no session could be sent them.
    #[error("more bytes than a send queue may hold")]
    TooLong,
    /// The worker has ended, as the service has or is about to.
    #[error("the worker has ended")]
    Closed,
}

/// What a running service can do for other threads.
pub(crate) trait ServiceInner: RoomHost {
    fn send(&self, to: SessionId, bytes: Bytes) -> Result<(), SendError>;
    fn end(&self, id: SessionId, reason: DisconnectReason, ending: CloseMode) -> Result<(), SendError>;
    fn broadcast(&self, topic: &Topic, bytes: Bytes, messages: u64) -> Result<(), SendError>;
    fn topic(&self, number: u64) -> Topic;
    /// Every worker is home: what rooms are left end.
    fn close_rooms(self: Arc<Self>);
    fn stats(&self) -> Stats;
    fn admit_by(&self, limits: &Limits);
    fn drain(&self, within: Duration);
}

/// A door to a running service; cheap to clone.
#[derive(Clone)]
pub struct ServiceHandle(Arc<dyn ServiceInner>);

impl ServiceHandle {
    pub(crate) fn new(service: Arc<dyn ServiceInner>) -> Self {
        Self(service)
    }

    /// Hands bytes to the session's worker. That they were handed over does not mean that the session still
    /// lives; bytes of one thread for one session keep their order.
    ///
    /// # Errors
    /// The worker's mailbox is full, the bytes fit no send queue, the service has ended, or the id is of another.
    pub fn send(&self, to: SessionId, bytes: impl Into<Bytes>) -> Result<(), SendError> {
        self.0.send(to, bytes.into())
    }

    /// Ends a session in order with [`DisconnectReason::Kicked`].
    ///
    /// # Errors
    /// The service has ended, the id is of another, or 131,072 messages wait for the session's worker.
    pub fn kick(&self, id: SessionId) -> Result<(), SendError> {
        self.end(id, DisconnectReason::Kicked)
    }

    /// Ends a session in order. There is room for such an order where there is none for bytes any more.
    ///
    /// # Errors
    /// The service has ended, the id is of another, or 131,072 messages wait for the session's worker.
    pub fn end(&self, id: SessionId, reason: DisconnectReason) -> Result<(), SendError> {
        self.0.end(id, reason, CloseMode::Graceful)
    }

    /// Sends bytes to every member of a topic: one post for each worker that has members.
    ///
    /// # Errors
    /// A worker's mailbox is full, or the bytes fit no send queue; then no session gets them.
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
    /// Options that make no sense.
    pub fn open_room<R: Room>(&self, room: R, options: RoomOptions) -> Result<RoomRef<R>> {
        let room = crate::room::open(&(Arc::clone(&self.0) as Arc<dyn RoomHost>), room, options)?;
        room.begin();
        Ok(room)
    }

    /// From now on lets connections in by these limits: `sessions_max`, `connections_per_address_max`,
    /// `accepts_per_second_max` and `loopback_exempt`. Admitted sessions stay; the other limits stay as they are.
    pub fn admit_by(&self, limits: &Limits) {
        self.0.admit_by(limits);
    }

    /// The service's counters now.
    pub fn stats(&self) -> Stats {
        self.0.stats()
    }
}

impl fmt::Debug for ServiceHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServiceHandle")
    }
}
