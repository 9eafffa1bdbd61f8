//! What sessions send to a room: joins, leaves and packets, one batch per worker and turn.

use bytes::{Bytes, BytesMut};
use std::any::Any;
use std::sync::Arc;

use naksi_core::id::SessionId;
use naksi_core::tick::Tick;

use super::output::{RoomOutput, Undelivered};
use super::{LeaveReason, RoomCloseReason, RoomCounters};
use crate::group::Group;

/// An event from a session.
pub(crate) enum Event {
    /// The session joins under a ticket that no other join of its worker has had.
    Join { id: SessionId, ticket: u32, data: Box<dyn Any + Send> },
    /// The session ends the membership with this ticket.
    Leave { id: SessionId, ticket: u32, why: LeaveReason },
    /// The session's peer has closed its sending side: the session waits for the room's answers to what it sent
    /// before.
    Finish { id: SessionId, ticket: u32 },
    /// Marks a position: when the room reaches it, the session is charged for this much memory less.
    Mark { id: SessionId, bytes: u32 },
    /// A frame of this length, the next in the batch.
    Packet { from: SessionId, ticket: u32, bytes: u32 },
}

/// How much space a mailbox has for one more packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Space {
    /// Enough.
    Free,
    /// More than half is used: the rest is for sessions that do not wait for the room already.
    Crowded,
    /// None.
    Full,
}

/// Memory of one event, beside what it carries.
pub(crate) const EVENT_BYTES: usize = size_of::<Event>();

/// What the sessions of one worker send to a room in one turn.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) events: Vec<Event>,
    pub(crate) frames: BytesMut,
    /// Bytes of the data that joins carry.
    pub(crate) data_bytes: usize,
}

impl Batch {
    /// Packets among the events.
    pub(crate) fn packets(&self) -> usize {
        self.events.iter().filter(|event| matches!(event, Event::Packet { .. })).count()
    }

    /// Bytes of memory that it holds.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.events.len() * EVENT_BYTES + self.frames.len() + self.data_bytes
    }

    pub(crate) fn seal(self) -> (Vec<Event>, Bytes) {
        (self.events, self.frames.freeze())
    }
}

/// Receives a room's output and its wake-up times.
pub(crate) trait RoomSink {
    /// Posts the output to every worker with members concerned. Returns it with the workers that could not take it,
    /// if there are any.
    #[must_use]
    fn post(&self, room_output: RoomOutput) -> Option<Undelivered>;
    /// Has the room woken at this time.
    fn set_wake_timer(&self, room: Arc<dyn DynRoom>, at: Tick);
    /// The room has ended.
    fn closed(&self, room: u64);
}

/// What rooms and their creators need of the service.
pub(crate) trait RoomHost: RoomSink + Send + Sync {
    fn group(&self, name: &str) -> Option<Group>;
    /// A number, a home worker and the counters for a new room.
    fn new_room(&self) -> (u64, usize, Arc<RoomCounters>);
    fn add_room(&self, room: Arc<dyn DynRoom>);
    /// Schedules a claimed room on its home worker.
    fn schedule(&self, room: Arc<dyn DynRoom>);
}

/// A room of any type.
///
/// If `push`, `wake` or `close` returns `true`, the caller has claimed the room and must have it run.
pub(crate) trait DynRoom: Send + Sync {
    fn number(&self) -> u64;
    /// The worker that wakes it.
    fn home(&self) -> usize;
    /// The space that the mailbox has for these packets and bytes.
    fn space(&self, packets: usize, bytes: usize) -> Space;
    /// A packet found the mailbox full. Returns whether its session ends for that.
    fn refuse(&self) -> bool;
    fn is_closed(&self) -> bool;
    /// Whether a single callback recently held its thread for too long.
    fn is_heavy(&self) -> bool;
    fn push(&self, batch: Batch) -> bool;
    fn wake(&self) -> bool;
    fn close(&self, why: RoomCloseReason) -> bool;
    /// Gives up a claim without running the room, which then waits for the next event.
    fn release(&self);
    /// Whether this wake-up is the one that is set and would still have an effect.
    fn awaits(&self, at: Tick) -> bool;
    /// Whether this wake-up is the one that is set; clears it.
    fn hears(&self, at: Tick) -> bool;
    /// Runs the room for its budget. Returns whether there is more to do; the caller then keeps the claim.
    fn run(self: Arc<Self>, clock: &dyn Fn() -> Tick, sink: &dyn RoomSink) -> bool;
    /// Hands the remaining work to the room's group. Returns whether a group took it.
    fn hand_over(self: Arc<Self>) -> bool;
}
