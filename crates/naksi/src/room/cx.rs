//! What a room's callback can do: send to members, set timers, remove members, close the room.
//!
//! A `Cx` lives for one callback. Output is posted when the room's run ends; no method makes a system call.

use std::fmt;
use std::time::Duration;

use bytes::BytesMut;
use naksi_core::droppable_queue::PacketClass;
use naksi_core::frame::{self, Packet};
use naksi_core::id::SessionId;
use naksi_core::reason::DisconnectReason;
use naksi_core::send_queue::SendStatus;
use naksi_core::tick::Tick;
use naksi_core::timer::TimerKey;

use super::state::RoomState;
use super::{LeaveReason, Room, RoomCloseReason, RoomRef};
use crate::packets::{Message, UnknownPacket, append};

/// A longer message fits no batch and is dropped.
const BYTES_MAX: usize = 65_535;
/// At most this many unknown packets of a room are logged, because a peer controls how many arrive.
const UNKNOWN_LINES_MAX: u64 = 100;

/// A timer of a room; see [`Cx::after`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomTimer(TimerKey);

/// What a room's callback can do.
pub struct Cx<'a, R: Room> {
    scene: &'a mut RoomState<R>,
}

impl<'a, R: Room> Cx<'a, R> {
    pub(super) fn new(scene: &'a mut RoomState<R>) -> Self {
        Self { scene }
    }

    /// The room's number in its service.
    pub fn number(&self) -> u64 {
        self.scene.number
    }

    /// The time at which the current event's handling began.
    pub fn now(&self) -> Tick {
        self.scene.now
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.scene.members.len()
    }

    /// Whether the room has no members.
    pub fn is_empty(&self) -> bool {
        self.scene.members.is_empty()
    }

    /// Whether a session is a member.
    pub fn contains(&self, id: SessionId) -> bool {
        self.scene.members.contains_key(&id.to_u64())
    }

    /// What is known of a member.
    pub fn member(&self, id: SessionId) -> Option<&R::Member> {
        self.scene.members.get(&id.to_u64()).map(|place| &place.data)
    }

    /// The data of a member.
    pub fn member_mut(&mut self, id: SessionId) -> Option<&mut R::Member> {
        self.scene.members.get_mut(&id.to_u64()).map(|place| &mut place.data)
    }

    /// All members, in no particular order.
    pub fn members(&self) -> impl Iterator<Item = (SessionId, &R::Member)> {
        self.scene.members.iter().map(|(id, place)| (SessionId::from_u64(*id), &place.data))
    }

    /// All members, to be changed.
    pub fn members_mut(&mut self) -> impl Iterator<Item = (SessionId, &mut R::Member)> {
        self.scene.members.iter_mut().map(|(id, place)| (SessionId::from_u64(*id), &mut place.data))
    }

    /// Sends a message to one member.
    pub fn send<M: Message>(&mut self, to: SessionId, message: &M) -> SendStatus {
        self.say(Hearer::One(to), |buffer| append(message, buffer))
    }

    /// Sends a message to every member. It is encoded once and shared by all of them.
    pub fn broadcast<M: Message>(&mut self, message: &M) -> SendStatus {
        self.say(Hearer::All, |buffer| append(message, buffer))
    }

    /// Sends a message to every member but one.
    pub fn broadcast_others<M: Message>(&mut self, but: SessionId, message: &M) -> SendStatus {
        self.say(Hearer::Others(but), |buffer| append(message, buffer))
    }

    /// Sends a message to every member, and applies its class to members that do not keep up. `key` identifies the
    /// object that it describes, for classes that keep only the latest message of each.
    pub fn broadcast_droppable<M: Message>(
        &mut self,
        class: PacketClass,
        key: u64,
        message: &M,
    ) -> SendStatus {
        self.say(Hearer::Data(None, class, key), |buffer| append(message, buffer))
    }

    /// Sends a droppable message to one member; see [`Cx::broadcast_droppable`].
    pub fn send_droppable<M: Message>(
        &mut self,
        to: SessionId,
        class: PacketClass,
        key: u64,
        message: &M,
    ) -> SendStatus {
        self.say(Hearer::Data(Some(to), class, key), |buffer| append(message, buffer))
    }

    /// Sends bytes to one member; at most 65,535.
    pub fn send_bytes(&mut self, to: SessionId, bytes: &[u8]) -> SendStatus {
        self.say_bytes(Hearer::One(to), bytes)
    }

    /// Sends a frame to one member. A body of more than 65,531 bytes fits no frame and is dropped.
    pub fn send_packet(&mut self, to: SessionId, id: u16, body: &[u8]) -> SendStatus {
        self.say_packet(Hearer::One(to), id, body)
    }

    /// Sends bytes to every member; at most 65,535.
    pub fn broadcast_bytes(&mut self, bytes: &[u8]) -> SendStatus {
        self.say_bytes(Hearer::All, bytes)
    }

    /// Sends a frame to every member.
    pub fn broadcast_packet(&mut self, id: u16, body: &[u8]) -> SendStatus {
        self.say_packet(Hearer::All, id, body)
    }

    /// Sends a frame to every member but one.
    pub fn broadcast_packet_others(&mut self, but: SessionId, id: u16, body: &[u8]) -> SendStatus {
        self.say_packet(Hearer::Others(but), id, body)
    }

    /// Calls [`Room::on_timer`] with `tag` after `span`: never earlier, and about a millisecond later at most unless
    /// the room is busy. The timer is dropped if the room ends before.
    pub fn after(&mut self, span: Duration, tag: u32) -> RoomTimer {
        RoomTimer(self.scene.timers.set(self.scene.now + span, tag))
    }

    /// Cancels a timer. Returns whether it had not fired yet.
    pub fn cancel(&mut self, timer: RoomTimer) -> bool {
        self.scene.timers.cancel(timer.0)
    }

    /// Removes a member. Its session continues and gets `on_room_closed`. Returns whether it was a member.
    pub fn remove(&mut self, member: SessionId) -> bool {
        let ticket = self.scene.take_out(member, LeaveReason::Removed);
        if let Some(ticket) = ticket {
            self.scene.outbox.put_out(member, ticket, RoomCloseReason::Removed);
        }
        ticket.is_some()
    }

    /// Ends a member's session gracefully with [`DisconnectReason::Kicked`]: data sent before is still delivered.
    pub fn kick(&mut self, member: SessionId) -> bool {
        self.end(member, DisconnectReason::Kicked)
    }

    /// Ends a member's session gracefully. Returns whether it was a member.
    pub fn end(&mut self, member: SessionId, reason: DisconnectReason) -> bool {
        let ticket = self.scene.take_out(member, LeaveReason::Ended(reason.clone()));
        if let Some(ticket) = ticket {
            self.scene.outbox.end(member, ticket, reason);
        }
        ticket.is_some()
    }

    /// Closes the room after this callback: [`Room::on_close`] is called, and the members are told.
    pub fn close(&mut self) {
        self.scene.end.get_or_insert(RoomCloseReason::Closed);
    }

    /// A handle of this room, for code that calls into it later. `None` if the room is ending.
    pub fn room(&self) -> Option<RoomRef<R>> {
        self.scene.cell.upgrade().map(RoomRef)
    }

    /// Ends a member's session because no handler accepts its packet, and logs it.
    pub(super) fn end_for_unknown(&mut self, from: SessionId, packet: Packet<'_>) {
        self.scene.unknown += 1;
        if self.scene.unknown <= UNKNOWN_LINES_MAX {
            let error = UnknownPacket::new(self.scene.known.iter().copied(), from, packet);
            tracing::warn!(room = self.number(), %error, "its session ends");
        }
        self.end(from, DisconnectReason::UnknownPacket);
    }

    fn say_bytes(&mut self, to: Hearer, bytes: &[u8]) -> SendStatus {
        if bytes.len() > BYTES_MAX {
            return SendStatus::Dropped;
        }
        self.say(to, |buffer| {
            buffer.extend_from_slice(bytes);
            true
        })
    }

    fn say_packet(&mut self, to: Hearer, id: u16, body: &[u8]) -> SendStatus {
        match frame::header(id, body.len()) {
            Some(header) => self.say(to, |buffer| {
                buffer.extend_from_slice(&header);
                buffer.extend_from_slice(body);
                true
            }),
            None => SendStatus::Dropped,
        }
    }

    fn say(&mut self, to: Hearer, write: impl FnOnce(&mut BytesMut) -> bool) -> SendStatus {
        let ticket = match to {
            Hearer::One(to) | Hearer::Data(Some(to), ..) => match self.scene.members.get(&to.to_u64()) {
                Some(place) => place.ticket,
                None => return SendStatus::Closed,
            },
            Hearer::All | Hearer::Others(_) | Hearer::Data(None, ..) if self.is_empty() => {
                return SendStatus::Queued;
            }
            // No member is named.
            Hearer::All | Hearer::Others(_) | Hearer::Data(None, ..) => 0,
        };
        let outbox = &mut self.scene.outbox;
        let start = outbox.buffer().len();
        if !write(outbox.buffer()) {
            return SendStatus::Dropped;
        }
        match to {
            Hearer::All => outbox.tell_all(start, None),
            Hearer::Others(but) => outbox.tell_all(start, Some(but)),
            Hearer::One(to) => outbox.tell_one(start, to, ticket),
            Hearer::Data(to, class, key) => {
                outbox.tell_data(start, to.map(|to| (to, ticket)), class, key);
            }
        }
        SendStatus::Queued
    }
}

/// The recipients of a message.
#[derive(Clone, Copy, Debug)]
enum Hearer {
    All,
    Others(SessionId),
    One(SessionId),
    /// Droppable data for all members, or for one.
    Data(Option<SessionId>, PacketClass, u64),
}

impl<R: Room> fmt::Debug for Cx<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cx(room {}, {} members)", self.number(), self.len())
    }
}
