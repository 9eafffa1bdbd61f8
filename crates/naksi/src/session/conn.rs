//! What a callback can do: use its own connection, topics, rooms, timers and files.
//!
//! A `Conn` lives for one callback. Sends are queued and submitted together at the end of the turn; no method makes a
//! system call.

use bytes::Bytes;
use core::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use naksi_core::callbacks::{CloseMode, SessionOutput};
use naksi_core::droppable_queue::PacketClass;
use naksi_core::flush::Flush;
use naksi_core::frame::{self, Packet};
use naksi_core::id::SessionId;
use naksi_core::reason::DisconnectReason;
use naksi_core::send_queue::{Pending, SendStatus};
use naksi_core::session::Spent;
use naksi_core::tick::Tick;
use naksi_core::timer::TimerKey;
use naksi_core::wire::Message as WsMessage;
use naksi_os::port::FileAccess;
use thin_vec::ThinVec;

use crate::config::{Error, Result};
use crate::group::{Group, SubmitError};
use crate::log_limiter::Subject;
use crate::packets::{Message, append, encode};
use crate::room::local::{DrainState, RoomMembership};
use crate::room::{DynRoom, EVENT_BYTES, Event, LeaveReason, Room, RoomHost, RoomOptions, RoomRef, Space};
use crate::session::context::{Due, WorkerContext};
use crate::session::files::{FileId, FileOp};
use crate::shared::handle::ServiceHandle;
use crate::topic::{Membership, Topic};

/// For a room whose mailbox is half full, a session's backlog limit is divided by this.
const CROWDED_SHARE: usize = 16;

/// One connection, during one callback.
pub struct Conn<'a> {
    pub(crate) output: SessionOutput<'a>,
    pub(crate) context: &'a mut WorkerContext,
    pub(crate) memberships: &'a mut ThinVec<Membership>,
    pub(crate) room_memberships: &'a mut ThinVec<RoomMembership>,
    pub(crate) timers: &'a mut ThinVec<TimerKey>,
    pub(crate) id: SessionId,
    pub(crate) peer: SocketAddr,
}

impl Conn<'_> {
    /// The session's id. It is safe to use after the session has ended: ids are not reused.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// The other side's address.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The worker that owns the session.
    pub fn worker(&self) -> usize {
        usize::from(self.id.worker())
    }

    /// The port's time at the start of this turn.
    pub fn now(&self) -> Tick {
        self.context.now
    }

    /// Queues a copy of the bytes. If they do not fit, the overflow policy is applied and the status tells so.
    pub fn send(&mut self, bytes: &[u8]) -> SendStatus {
        self.catch_up();
        self.output.send(bytes)
    }

    /// Queues a text: one text message in a session with
    /// [`Framing::Messages`](naksi_core::session::Framing::Messages) over WebSocket, the text's bytes in every other
    /// session.
    pub fn send_text(&mut self, text: &str) -> SendStatus {
        self.catch_up();
        self.output.send_text(text)
    }

    /// Queues a frame. A body of more than 65,531 bytes fits no frame and counts as an overflow.
    pub fn send_packet(&mut self, id: u16, body: &[u8]) -> SendStatus {
        self.catch_up();
        self.output.send_packet(id, body)
    }

    /// Queues a message of a packet table.
    pub fn send_message<M: Message>(&mut self, message: &M) -> SendStatus {
        self.catch_up();
        self.context.scratch.clear();
        match append(message, &mut self.context.scratch) {
            true => self.output.send(&self.context.scratch),
            false => SendStatus::Dropped,
        }
    }

    /// Queues shared bytes, without copying them if they are long.
    pub fn send_shared(&mut self, bytes: &Bytes) -> SendStatus {
        self.catch_up();
        self.output.send_shared(bytes)
    }

    /// Sets when this session's queued data is sent; the server's policy by default. Batches of topics follow the
    /// server's policy, and are sent with the next direct send at the latest.
    ///
    /// # Panics
    /// A tick shorter than 1 ms or longer than 100 ms.
    pub fn set_flush(&mut self, flush: Flush) {
        assert_eq!(flush.check(), Ok(()), "a policy that makes sense");
        self.output.set_flush(flush);
    }

    /// Sends this session's queued data at the end of this turn, whatever the policy is.
    pub fn flush(&mut self) {
        self.catch_up();
        self.output.flush();
    }

    /// Queues data that may be dropped, as its class defines, if the session does not keep up. `key` identifies the
    /// object that it describes, for classes that keep only the latest data of each.
    pub fn send_droppable(&mut self, class: PacketClass, key: u64, bytes: &Bytes) -> SendStatus {
        self.catch_up();
        self.output.send_droppable(class, key, bytes)
    }

    /// Ends the session gracefully: queued data is sent first. Pass [`DisconnectReason::Handler`] for an ordinary
    /// end, or [`DisconnectReason::custom`] for a cause of the application's own.
    ///
    /// ```
    /// # use naksi::prelude::*;
    /// # fn ban(c: &mut Conn) {
    /// c.close(DisconnectReason::custom(4001, "banned for 3 days"));
    /// # }
    /// ```
    pub fn close(&mut self, reason: DisconnectReason) {
        self.end_with(reason, CloseMode::Graceful);
    }

    /// Ends the session at once: queued data is dropped.
    pub fn abort(&mut self, reason: DisconnectReason) {
        self.end_with(reason, CloseMode::Abort);
    }

    /// Ends the session in the given mode.
    pub(crate) fn end_with(&mut self, reason: DisconnectReason, mode: CloseMode) {
        if mode == CloseMode::Graceful {
            self.catch_up();
        }
        self.output.end(reason, mode);
    }

    /// Whether bytes queued now would still be sent.
    pub fn is_open(&self) -> bool {
        self.output.is_open()
    }

    /// Whether the session gets no more data after this callback, because its send queue is over the high mark, it is
    /// over a rate limit, rooms have not processed what it sent, or it is ending. A handler that takes several
    /// messages out of one [`on_recv`](crate::session::Session::on_recv) should stop before the next one and return
    /// the bytes it has consumed; the rest is offered later.
    pub fn is_held_back(&self) -> bool {
        self.output.is_held_back()
    }

    /// Bytes queued and not yet taken by the kernel.
    pub fn pending_bytes(&self) -> usize {
        self.output.pending_bytes()
    }

    /// The queued data, and for how long data has been queued.
    pub fn pending(&self) -> Pending {
        self.output.pending()
    }

    /// Whether more is queued than the high mark; the session should send less.
    pub fn is_congested(&self) -> bool {
        self.output.is_congested()
    }

    /// Calls [`Session::on_timer`](crate::session::Session::on_timer) with `tag` after `span`, unless the session has
    /// ended by then. The span counts from the start of the worker's turn; the call comes at most about a millisecond
    /// late, unless callbacks hold the worker.
    pub fn after(&mut self, span: Duration, tag: u32) -> TimerKey {
        let due = Due::User { slot: self.id.slot(), generation: self.id.generation(), tag };
        let key = self.context.wheel.set(self.context.now + span, due);
        if self.timers.len() == self.timers.capacity() {
            // Keys of timers that have fired are removed before the list doubles.
            self.timers.retain(|key| self.context.wheel.is_set(*key));
            self.timers.reserve(self.timers.len() + 1);
        }
        self.timers.push(key);
        key
    }

    /// Cancels a timer. Returns whether it had not fired yet.
    pub fn cancel_timer(&mut self, key: TimerKey) -> bool {
        self.context.wheel.cancel(key).is_some()
    }

    /// The service's topic with this number; every caller with the same number gets the same topic.
    pub fn topic(&self, number: u64) -> Topic {
        self.context.service.topic(number)
    }

    /// Subscribes this session: it gets what is broadcast from now on. A session that is in
    /// [`Limits::memberships_max`](naksi_core::limits::Limits) topics already ends with
    /// [`DisconnectReason::MembershipsFull`] instead.
    pub fn join(&mut self, topic: &Topic) {
        let is_member = |membership: &Membership| membership.number() == topic.number();
        if self.memberships.len() >= self.output.limits.memberships_max
            && !self.memberships.iter().any(is_member)
        {
            return self.abort(DisconnectReason::MembershipsFull);
        }
        self.context.topics.join(topic, self.id, self.memberships);
    }

    /// Unsubscribes this session; it still gets what was broadcast before.
    pub fn leave(&mut self, topic: &Topic) {
        self.catch_up();
        self.context.topics.leave(topic, self.id, self.memberships);
    }

    /// Queues bytes for every member of the topic, this session included if it is one. They are encoded once, shared
    /// by all members of a worker, and posted once to every other worker.
    ///
    /// Members get whole messages, and those of one sender to one topic in the order of the calls. A worker whose
    /// mailbox is full gets its batches later, without delaying other workers; when its backlog exceeds a send queue,
    /// its members of the topic end with [`DisconnectReason::Lagged`].
    pub fn broadcast(&mut self, topic: &Topic, bytes: &[u8]) -> SendStatus {
        self.append_for_all(topic, &[bytes])
    }

    /// Queues a frame for every member of the topic.
    pub fn broadcast_packet(&mut self, topic: &Topic, id: u16, body: &[u8]) -> SendStatus {
        match frame::header(id, body.len()) {
            Some(header) => self.append_for_all(topic, &[&header, body]),
            None => SendStatus::Dropped,
        }
    }

    /// Queues bytes for every member of the topic but this session.
    pub fn broadcast_others(&mut self, topic: &Topic, bytes: &[u8]) -> SendStatus {
        self.catch_up();
        let sent = self.append(topic, &[bytes]);
        self.context.topics.skip(topic, self.memberships);
        sent
    }

    /// The service's thread group of this name, to post jobs to. A job sends its result through [`Conn::handle`].
    pub fn group(&self, name: &str) -> Option<Group> {
        self.context.service.group(name)
    }

    /// Opens a room, which begins in this turn. It counts against the session's join rate.
    ///
    /// # Errors
    /// Invalid options, or the session ends because of its rate ([`Conn::join_room`]).
    pub fn open_room<R: Room>(&mut self, room: R, options: RoomOptions) -> Result<RoomRef<R>> {
        if !self.spend_join() {
            return Err(Error::Job(SubmitError::Full));
        }
        let room = crate::room::open(
            &(std::sync::Arc::clone(&self.context.service) as std::sync::Arc<dyn RoomHost>),
            room,
            options,
        )?;
        if room.0.wake() {
            self.context.rooms.claim(std::sync::Arc::clone(&room.0) as std::sync::Arc<dyn DynRoom>);
        }
        Ok(room)
    }

    /// Makes this session a member of a room, with the room's data for it. Returns `false`, and does nothing, if the
    /// room has ended or the session is a member already. A session leaves its rooms when it ends.
    ///
    /// Reading from an accepted session pauses when it exceeds
    /// [`Limits::room_joins_per_second_max`](naksi_core::limits::Limits). A session that is four seconds ahead of its
    /// rate, or over it for ten seconds, joins nothing and ends with [`DisconnectReason::RateExceeded`];
    /// [`Conn::is_held_back`] tells a handler in time. A session that is in
    /// [`Limits::memberships_max`](naksi_core::limits::Limits) rooms already joins nothing and ends with
    /// [`DisconnectReason::MembershipsFull`].
    pub fn join_room<R: Room>(&mut self, room: &RoomRef<R>, data: R::Member) -> bool {
        let is_member =
            self.room_memberships.iter().any(|membership| membership.room.number() == room.number());
        if room.is_closed() || is_member || !self.spend_join() {
            return false;
        }
        if self.room_memberships.len() >= self.output.limits.memberships_max {
            self.abort(DisconnectReason::MembershipsFull);
            return false;
        }
        let ticket = self.context.rooms.ticket();
        let service = std::sync::Arc::clone(&room.0) as std::sync::Arc<dyn DynRoom>;
        let join = Event::Join { id: self.id, ticket, data: Box::new(data) };
        let bytes = self.context.rooms.bring_join(&service, join, size_of::<R::Member>());
        self.charge(&service, bytes, false);
        self.room_memberships.push(RoomMembership {
            room: service,
            ticket,
            drain_state: DrainState::Untold,
            unmarked_bytes: 0,
        });
        true
    }

    /// Leaves a room; the session gets nothing more from it. Returns whether it was a member.
    pub fn leave_room<R: Room>(&mut self, room: &RoomRef<R>) -> bool {
        let place =
            self.room_memberships.iter().position(|membership| membership.room.number() == room.number());
        if let Some(place) = place {
            let membership = self.room_memberships.swap_remove(place);
            let (room, bytes) = (std::sync::Arc::clone(&membership.room), membership.unmarked_bytes);
            self.context.rooms.leave(membership, self.id, LeaveReason::Asked);
            self.charge(&room, bytes + EVENT_BYTES as u32, false);
        }
        place.is_some()
    }

    /// Sends a packet to a room that this session is in. [`SendStatus::Closed`]: the session is not a member, or the
    /// room has ended. [`SendStatus::Dropped`]: the room's mailbox is full, or it is half full and the session waits
    /// for rooms already.
    ///
    /// Reading from the session pauses when rooms have not processed
    /// [`Limits::room_backlog_bytes_max`](naksi_core::limits::Limits) of what it sent, or a sixteenth of that in a
    /// room whose mailbox is half full; [`Conn::is_held_back`] tells a handler in time.
    pub fn room_send_packet<R: Room>(&mut self, room: &RoomRef<R>, packet: Packet<'_>) -> SendStatus {
        let membership =
            self.room_memberships.iter_mut().find(|membership| membership.room.number() == room.number());
        let Some(membership) = membership.filter(|_| !room.is_closed()) else { return SendStatus::Closed };
        let waits = self.output.waits_for_rooms();
        let space = self.context.rooms.bring_packet(membership, self.id, packet.frame, waits);
        if space != Space::Full {
            let is_crowded = space == Space::Crowded;
            let most = self.output.limits.room_backlog_bytes_max;
            let most = if is_crowded { most / CROWDED_SHARE } else { most };
            if membership.unmarked_bytes as usize >= most {
                let bytes = std::mem::take(&mut membership.unmarked_bytes);
                let room = std::sync::Arc::clone(&membership.room);
                self.charge(&room, bytes, is_crowded);
            }
            return SendStatus::Queued;
        }
        if !membership.room.refuse() {
            return SendStatus::Dropped;
        }
        self.abort(DisconnectReason::RoomFull);
        SendStatus::Overflowed
    }

    /// Sends a message to a room that this session is in; see [`Conn::room_send_packet`].
    pub fn room_send<R: Room, M: Message>(&mut self, room: &RoomRef<R>, message: &M) -> SendStatus {
        match encode(message) {
            Some(frame) => {
                let packet = Packet { id: M::ID, body: &frame[frame::HEADER_BYTES..], frame: &frame };
                self.room_send_packet(room, packet)
            }
            None => SendStatus::Dropped,
        }
    }

    /// A handle to the service for other threads.
    pub fn handle(&self) -> ServiceHandle {
        ServiceHandle::new(std::sync::Arc::clone(&self.context.service))
    }

    /// Opens a file; [`Session::on_file`](crate::session::Session::on_file) gets it with `tag`. A session's files are
    /// closed with it. [`files_max`](naksi_core::limits::Limits::files_max),
    /// [`file_operations_max`](naksi_core::limits::Limits::file_operations_max) and
    /// [`file_bytes_max`](naksi_core::limits::Limits::file_bytes_max) limit a session's open files, its operations in
    /// flight and their bytes. Beyond a limit this and the following methods complete with
    /// [`FileDone::Failed`](crate::session::files::FileDone::Failed).
    pub fn open_file(&mut self, path: &Path, access: FileAccess, tag: u32) {
        self.submit_file_op(FileOp::Open { owner: self.id, tag, path: path.to_owned(), access });
    }

    /// Reads up to `bytes` bytes at `offset`. A read of more than
    /// [`READ_BYTES_MAX`](crate::session::files::READ_BYTES_MAX), or one without enough memory, completes with
    /// [`FileDone::Failed`](crate::session::files::FileDone::Failed). The buffer is limited to the file's current
    /// size; where the system does not know the size (a device), to 64 KiB.
    pub fn read_at(&mut self, file: FileId, offset: u64, bytes: usize, tag: u32) {
        self.submit_file_op(FileOp::Read { owner: self.id, tag, file, offset, bytes });
    }

    /// Writes bytes at `offset`. Reads and writes of one file run concurrently, in no order; a sync waits for earlier
    /// writes.
    pub fn write_at(&mut self, file: FileId, offset: u64, bytes: Vec<u8>, tag: u32) {
        self.submit_file_op(FileOp::Write { owner: self.id, tag, file, offset, bytes });
    }

    /// Syncs the file: all writes submitted before are on stable storage when it completes.
    pub fn sync_file(&mut self, file: FileId, tag: u32) {
        self.submit_file_op(FileOp::Sync { owner: self.id, tag, file });
    }

    /// Closes a file before the session ends.
    pub fn close_file(&mut self, file: FileId) {
        self.submit_file_op(FileOp::Close { file });
    }

    /// The same connection for a shorter lifetime, to pass to a helper function.
    pub fn reborrow(&mut self) -> Conn<'_> {
        Conn {
            output: self.output.reborrow(),
            context: self.context,
            memberships: self.memberships,
            room_memberships: self.room_memberships,
            timers: self.timers,
            id: self.id,
            peer: self.peer,
        }
    }

    /// Ends a session whose type has no `on_recv`, and logs what is missing.
    pub(crate) fn end_unhandled_bytes<S>(&mut self, bytes: usize) {
        let (session, peer, kind) = (self.id, self.peer, std::any::type_name::<S>());
        self.context.say(Subject::Unhandled, |suppressed| {
            tracing::error!(
                %session, %peer, bytes, suppressed,
                "bytes came and {kind} has no `on_recv`: its session ends; if it has `on_packet`, it lacks the line \
                 `const FRAMING: Framing = Framing::Packets;`, otherwise it lacks `fn on_recv`"
            );
        });
        self.abort(DisconnectReason::UnhandledBytes);
    }

    /// Ends a session whose type has no `on_packet`, and logs it.
    pub(crate) fn end_unhandled_packet<S>(&mut self, packet: Packet<'_>) {
        let (session, peer, kind) = (self.id, self.peer, std::any::type_name::<S>());
        let (id, bytes) = (packet.id, packet.body.len());
        self.context.say(Subject::Unhandled, |suppressed| {
            tracing::error!(
                %session, %peer, id, bytes, suppressed,
                "a packet came and {kind} has no `on_packet`: its session ends; with `FRAMING = Framing::Packets` it \
                 needs `fn on_packet`"
            );
        });
        self.abort(DisconnectReason::UnknownPacket);
    }

    /// Ends a session whose type has no `on_message`, and logs it.
    pub(crate) fn end_unhandled_message<S>(&mut self, message: WsMessage<'_>) {
        let (session, peer, kind) = (self.id, self.peer, std::any::type_name::<S>());
        let bytes = message.as_bytes().len();
        self.context.say(Subject::Unhandled, |suppressed| {
            tracing::error!(
                %session, %peer, bytes, suppressed,
                "a message came and {kind} has no `on_message`: its session ends; with `FRAMING = Framing::Messages` it \
                 needs `fn on_message`"
            );
        });
        self.close(DisconnectReason::UnhandledBytes);
    }

    /// Counts a join against the session's rate. Returns whether it is allowed.
    fn spend_join(&mut self) -> bool {
        let spent = self.output.spend_join();
        if spent != Spent::Within {
            self.context.counters.rate_limited_total.add(1);
        }
        spent != Spent::Ended
    }

    /// Charges the session for memory that a room holds until it has processed what was sent so far.
    fn charge(&mut self, room: &std::sync::Arc<dyn DynRoom>, bytes: u32, is_crowded: bool) {
        self.context.rooms.mark(room, self.id, bytes);
        if self.output.bring(bytes, is_crowded) {
            self.context.counters.room_pauses_total.add(1);
        }
    }

    /// Submits a file operation. A session at its limit is not called again in this turn, so that its refusals do not
    /// pile up.
    fn submit_file_op(&mut self, file_op: FileOp) {
        if !self.context.files.submit(file_op, self.output.limits) {
            self.output.rest();
        }
    }

    /// Adds a message to a topic's batch; a message that does not fit is counted.
    fn append(&mut self, topic: &Topic, parts: &[&[u8]]) -> SendStatus {
        let sent = self.context.topics.append(topic, parts);
        if sent == SendStatus::Dropped {
            self.context.counters.dropped.add(1);
        }
        // A resumed session may replay megabytes before any flush, so apply back-pressure here: its own queue does
        // not grow by what it broadcasts to others. A session should also not broadcast much while another worker has
        // a large backlog, because members that miss a batch are disconnected.
        let full = sent == SendStatus::Dropped || self.context.topics.is_full();
        if full && self.context.topics.is_crowded(topic) || self.context.topics.is_behind(topic) {
            self.output.rest();
        }
        sent
    }

    /// Adds a message that the sender gets too, if it is in the topic.
    ///
    /// A batch that is long enough to be sent is queued for the sender at once and counts against its own queue.
    /// Otherwise a session that was paused with megabytes unread could broadcast all of them before any flush, and
    /// messages that no longer fit the batch would be dropped.
    fn append_for_all(&mut self, topic: &Topic, parts: &[&[u8]]) -> SendStatus {
        let sent = self.append(topic, parts);
        if self.context.topics.is_full() {
            self.catch_up();
        }
        sent
    }

    /// Queues this turn's broadcasts of the session's topics before a direct send.
    fn catch_up(&mut self) {
        if !self.memberships.is_empty() {
            self.context.catch_up(self.memberships, &mut self.output);
        }
    }
}

impl std::fmt::Debug for Conn<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Conn({} to {})", self.id, self.peer)
    }
}
