//! What a callback can do: to its own connection, to topics, with timers and files.
//!
//! A `Conn` lives as long as one callback. Sends are queued and leave when the callback's turn is over, all
//! together; nothing here makes a system call or knows a kernel.

use bytes::Bytes;
use core::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use naksi_core::content::{Ending, Outlet};
use naksi_core::data_plane::DataClass;
use naksi_core::flush::Flush;
use naksi_core::frame::{self, Packet};
use naksi_core::id::SessionId;
use naksi_core::planted;
use naksi_core::reason::Reason;
use naksi_core::send_queue::{Pending, Sent};
use naksi_core::tick::Tick;
use naksi_core::timer::TimerKey;
use naksi_os::port::FileAccess;
use thin_vec::ThinVec;

use crate::config::Result;
use crate::desk::{Desk, Due};
use crate::file::{FileId, Wish};
use crate::group::Group;
use crate::murmur::Subject;
use crate::packets::{Message, append, encode};
use crate::remote::Remote;
use crate::room::quay::{Farewell, Seat};
use crate::room::{Event, Left, Room, RoomDoor, RoomOptions, RoomRef};
use crate::topic::{Membership, Topic};

/// One connection, for the length of one callback.
pub struct Conn<'a> {
    pub(crate) outlet: Outlet<'a>,
    pub(crate) desk: &'a mut Desk,
    pub(crate) memberships: &'a mut ThinVec<Membership>,
    pub(crate) seats: &'a mut ThinVec<Seat>,
    pub(crate) timers: &'a mut ThinVec<TimerKey>,
    pub(crate) id: SessionId,
    pub(crate) peer: SocketAddr,
}

impl Conn<'_> {
    /// The session's name, good for as long as it lives and harmless afterwards.
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
        self.desk.now
    }

    /// Queues a copy of the bytes. What could not be queued is said, and the overflow policy applied.
    pub fn send(&mut self, bytes: &[u8]) -> Sent {
        self.catch_up();
        self.outlet.send(bytes)
    }

    /// Queues a frame. A body of more than 65,531 bytes fits no frame and is an overflow.
    pub fn send_packet(&mut self, id: u16, body: &[u8]) -> Sent {
        self.catch_up();
        self.outlet.send_packet(id, body)
    }

    /// Queues a message of a packet table.
    pub fn send_message<M: Message>(&mut self, message: &M) -> Sent {
        self.catch_up();
        self.desk.scratch.clear();
        match append(message, &mut self.desk.scratch) {
            true => self.outlet.send(&self.desk.scratch),
            false => Sent::Dropped,
        }
    }

    /// Queues bytes that are shared with others, without copying them if they are long.
    pub fn send_shared(&mut self, bytes: &Bytes) -> Sent {
        self.catch_up();
        self.outlet.send_shared(bytes)
    }

    /// Says when what is queued for this session leaves, from now on; the server's policy until then.
    /// Batches of topics leave as the server's policy says, and with the next direct send at the latest.
    ///
    /// # Panics
    /// A tick shorter than 1 ms or longer than 100 ms.
    pub fn set_flush(&mut self, flush: Flush) {
        assert_eq!(flush.check(), Ok(()), "a policy that makes sense");
        self.outlet.set_flush(flush);
    }

    /// What is queued for this session leaves when this turn ends, whatever the policy is.
    pub fn flush(&mut self) {
        self.catch_up();
        self.outlet.flush();
    }

    /// Queues data that this session may miss if it does not keep up, as its class says. `key` names what it is about,
    /// for classes that keep the latest of each.
    pub fn send_data(&mut self, class: DataClass, key: u64, bytes: &Bytes) -> Sent {
        self.catch_up();
        self.outlet.send_data(class, key, bytes)
    }

    /// Ends the session in order: what is queued is sent first.
    pub fn end(&mut self, reason: Reason) {
        self.end_with(reason, Ending::Flush);
    }

    /// Ends the session at once: what is queued is dropped.
    pub fn end_now(&mut self, reason: Reason) {
        self.end_with(reason, Ending::Now);
    }

    /// Ends the session, one way or the other.
    pub fn end_with(&mut self, reason: Reason, ending: Ending) {
        if ending == Ending::Flush {
            self.catch_up();
        }
        self.outlet.end(reason, ending);
    }

    /// Ends the session in order, because its handler is done with it.
    pub fn close(&mut self) {
        self.end(Reason::Handler);
    }

    /// Whether bytes queued now would still be sent.
    pub fn is_open(&self) -> bool {
        self.outlet.is_open()
    }

    /// Bytes queued and not yet taken by the kernel.
    pub fn pending_bytes(&self) -> usize {
        self.outlet.pending_bytes()
    }

    /// What is queued, and for how long something has been.
    pub fn pending(&self) -> Pending {
        self.outlet.pending()
    }

    /// Whether more is queued than the high mark: time to send less.
    pub fn is_congested(&self) -> bool {
        self.outlet.is_congested()
    }

    /// Calls [`Session::on_timer`](crate::session::Session::on_timer) with `tag` after `span`, counted from the time
    /// at which the worker's turn began, and about a millisecond later at most, unless the session has ended by then.
    /// Behind callbacks that have kept the worker for longer than `span`, that is at once.
    pub fn after(&mut self, span: Duration, tag: u32) -> TimerKey {
        let due = Due::User { slot: self.id.slot(), generation: self.id.generation(), tag };
        let key = self.desk.wheel.set(self.desk.now + span, due);
        if self.timers.len() == self.timers.capacity() {
            // Keys of timers that have fired are thrown out before the list may double.
            self.timers.retain(|key| self.desk.wheel.is_set(*key));
            self.timers.reserve(self.timers.len() + 1);
        }
        self.timers.push(key);
        key
    }

    /// Takes a timer back. Returns whether it had not fired yet.
    pub fn cancel_timer(&mut self, key: TimerKey) -> bool {
        if planted!("42") {
            return true;
        }
        self.desk.wheel.cancel(key).is_some()
    }

    /// The service's topic with this number: the same for everybody who asks with it.
    pub fn topic(&self, number: u64) -> Topic {
        self.desk.door.topic(number)
    }

    /// Makes this session a member: it gets what is broadcast from now on.
    pub fn join(&mut self, topic: &Topic) {
        self.desk.topics.join(topic, self.id, self.memberships);
    }

    /// Ends the membership: it still gets what was broadcast before.
    pub fn leave(&mut self, topic: &Topic) {
        self.catch_up();
        self.desk.topics.leave(topic, self.id, self.memberships);
    }

    /// Queues bytes for every member of the topic, this session included if it is one. They are encoded
    /// once, shared by all members of a worker, and posted once to every other worker.
    ///
    /// Members get what one sender broadcasts to one topic in the order in which it did, and whole; batches
    /// of different topics leave one after the other. A worker whose mailbox is full gets them later, and is left out
    /// as soon as it lacks more than fits a send queue; nobody else waits for it.
    pub fn broadcast(&mut self, topic: &Topic, bytes: &[u8]) -> Sent {
        self.append_for_all(topic, &[bytes])
    }

    /// Queues a frame for every member of the topic.
    pub fn broadcast_packet(&mut self, topic: &Topic, id: u16, body: &[u8]) -> Sent {
        match frame::header(id, body.len()) {
            Some(header) => self.append_for_all(topic, &[&header, body]),
            None => Sent::Dropped,
        }
    }

    /// Queues bytes for every member of the topic but this session.
    pub fn broadcast_others(&mut self, topic: &Topic, bytes: &[u8]) -> Sent {
        self.catch_up();
        let sent = self.append(topic, &[bytes]);
        self.desk.topics.skip(topic, self.memberships);
        sent
    }

    /// The service's group of this name, to post jobs to. A job answers through [`Conn::remote`].
    pub fn group(&self, name: &str) -> Option<Group> {
        self.desk.door.group(name)
    }

    /// Opens a room; it begins in this turn.
    ///
    /// # Errors
    /// Options that make no sense.
    pub fn open_room<R: Room>(&mut self, room: R, options: RoomOptions) -> Result<RoomRef<R>> {
        let room = crate::room::open(&self.desk.door, room, options)?;
        if room.0.wake() {
            self.desk.rooms.claim(std::sync::Arc::clone(&room.0) as std::sync::Arc<dyn RoomDoor>);
        }
        Ok(room)
    }

    /// Makes this session a member of a room, with what the room shall keep of it. Returns `false`, and does nothing, if
    /// the room has ended, or if the session is a member already. However the session ends, it leaves.
    pub fn join_room<R: Room>(&mut self, room: &RoomRef<R>, data: R::Member) -> bool {
        if room.is_closed() || self.seats.iter().any(|seat| seat.room.number() == room.number()) {
            return false;
        }
        let ticket = self.desk.rooms.ticket();
        let door = std::sync::Arc::clone(&room.0) as std::sync::Arc<dyn RoomDoor>;
        self.desk.rooms.bring(&door, Event::Join { id: self.id, ticket, data: Box::new(data) });
        self.seats.push(Seat { room: door, ticket, farewell: Farewell::Untold });
        true
    }

    /// Leaves a room: the session hears nothing more of it. Returns whether it was a member.
    pub fn leave_room<R: Room>(&mut self, room: &RoomRef<R>) -> bool {
        let place = self.seats.iter().position(|seat| seat.room.number() == room.number());
        if let Some(place) = place {
            let seat = self.seats.swap_remove(place);
            self.desk.rooms.leave(seat, self.id, Left::Asked);
        }
        place.is_some()
    }

    /// Hands a packet on to a room that this session is in. [`Sent::Closed`]: it is not, or the room has ended.
    /// [`Sent::Dropped`]: the room's mailbox is full.
    pub fn to_room<R: Room>(&mut self, room: &RoomRef<R>, packet: Packet<'_>) -> Sent {
        let seat = self.seats.iter().find(|seat| seat.room.number() == room.number());
        let Some(seat) = seat.filter(|_| !room.is_closed()) else { return Sent::Closed };
        if self.desk.rooms.bring_packet(seat, self.id, packet.frame) {
            return Sent::Queued;
        }
        if !seat.room.refuse() {
            return Sent::Dropped;
        }
        self.end_now(Reason::RoomFull);
        Sent::Overflowed
    }

    /// Hands a message on to a room that this session is in; see [`Conn::to_room`].
    pub fn send_to_room<R: Room, M: Message>(&mut self, room: &RoomRef<R>, message: &M) -> Sent {
        match encode(message) {
            Some(frame) => {
                let packet = Packet { id: M::ID, body: &frame[frame::HEADER_BYTES..], frame: &frame };
                self.to_room(room, packet)
            }
            None => Sent::Dropped,
        }
    }

    /// A door to the service that other threads can use.
    pub fn remote(&self) -> Remote {
        Remote::new(std::sync::Arc::clone(&self.desk.door))
    }

    /// Opens a file; [`Session::on_file`](crate::session::Session::on_file) gets it with `tag`. Files that a
    /// session opened are closed with it.
    pub fn open_file(&mut self, path: &Path, access: FileAccess, tag: u32) {
        self.desk.files.wish(Wish::Open { owner: self.id, tag, path: path.to_owned(), access });
    }

    /// Reads up to `bytes` bytes at `offset`. More than [`READ_BYTES_MAX`](crate::file::READ_BYTES_MAX) are refused
    /// ([`FileDone::Failed`](crate::file::FileDone::Failed), invalid request), and so is what there is no memory for.
    /// Room is made for what the file holds now; where the system does not know that (a device), 64 KiB come at most.
    pub fn read_at(&mut self, file: FileId, offset: u64, bytes: usize, tag: u32) {
        self.desk.files.wish(Wish::Read { owner: self.id, tag, file, offset, bytes });
    }

    /// Writes bytes at `offset`. Reads and writes of one file run beside one another, in no order; a sync waits.
    pub fn write_at(&mut self, file: FileId, offset: u64, bytes: Vec<u8>, tag: u32) {
        self.desk.files.wish(Wish::Write { owner: self.id, tag, file, offset, bytes });
    }

    /// Has what was written, also what is still being written, on stable storage.
    pub fn sync_file(&mut self, file: FileId, tag: u32) {
        self.desk.files.wish(Wish::Sync { owner: self.id, tag, file });
    }

    /// Closes a file before the session ends.
    pub fn close_file(&mut self, file: FileId) {
        self.desk.files.wish(Wish::Close { file });
    }

    /// The same connection for a shorter time, to lend to a helper.
    pub fn reborrow(&mut self) -> Conn<'_> {
        Conn {
            outlet: self.outlet.reborrow(),
            desk: self.desk,
            memberships: self.memberships,
            seats: self.seats,
            timers: self.timers,
            id: self.id,
            peer: self.peer,
        }
    }

    /// Ends a session whose type has no `on_recv`, and names the line that it lacks.
    pub(crate) fn end_unhandled_bytes<S>(&mut self, bytes: usize) {
        let (session, peer, kind) = (self.id, self.peer, std::any::type_name::<S>());
        self.desk.say(Subject::Unhandled, |suppressed| {
            tracing::error!(
                %session, %peer, bytes, suppressed,
                "bytes came and {kind} has no `on_recv`: its session ends; if it has `on_packet`, it lacks the line \
                 `const FRAMING: Framing = Framing::Packets;`, otherwise it lacks `fn on_recv`"
            );
        });
        self.end_now(Reason::UnhandledBytes);
    }

    /// Ends a session whose type has no `on_packet`, and says so.
    pub(crate) fn end_unhandled_packet<S>(&mut self, packet: Packet<'_>) {
        let (session, peer, kind) = (self.id, self.peer, std::any::type_name::<S>());
        let (id, bytes) = (packet.id, packet.body.len());
        self.desk.say(Subject::Unhandled, |suppressed| {
            tracing::error!(
                %session, %peer, id, bytes, suppressed,
                "a packet came and {kind} has no `on_packet`: its session ends; with `FRAMING = Framing::Packets` it \
                 needs `fn on_packet`"
            );
        });
        self.end_now(Reason::UnknownPacket);
    }

    /// Adds a message to a topic's batch; what does not fit is counted.
    fn append(&mut self, topic: &Topic, parts: &[&[u8]]) -> Sent {
        let sent = self.desk.topics.append(topic, parts);
        if sent == Sent::Dropped {
            self.desk.counters.dropped.add(1);
        }
        // Whoever was paused with megabytes unread is shown all of them in one turn, in which no batch leaves. Its own
        // queue does not hold it back where it does not hear what it says. Nor should somebody say much while another
        // worker lacks much already: what is too much for it is lost to its members.
        let full = sent == Sent::Dropped || self.desk.topics.is_full();
        if full && self.desk.topics.is_crowded(topic) || self.desk.topics.is_behind(topic) {
            self.outlet.rest();
        }
        sent
    }

    /// Adds a message that the sender hears too, if it is in the topic.
    ///
    /// A batch that has become long enough to leave counts against a sender that is in the topic: it is held
    /// back by its own queue, as if it had sent to itself. Otherwise whoever was paused with megabytes unread
    /// could broadcast all of them before any flush, and what no longer fits the batch would be dropped.
    fn append_for_all(&mut self, topic: &Topic, parts: &[&[u8]]) -> Sent {
        let sent = self.append(topic, parts);
        if self.desk.topics.is_full() {
            self.catch_up();
        }
        sent
    }

    /// What was broadcast to this session's topics in this turn goes before what is sent to it now.
    fn catch_up(&mut self) {
        if !self.memberships.is_empty() && !planted!("40") {
            self.desk.catch_up(self.memberships, &mut self.outlet);
        }
    }
}

impl std::fmt::Debug for Conn<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Conn({} to {})", self.id, self.peer)
    }
}
