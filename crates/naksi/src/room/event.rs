//! What sessions bring to a room: joins, leaves and packets, one batch for each worker and turn.
//!
//! Nothing here knows what the room makes of it.

use bytes::{Bytes, BytesMut};
use std::any::Any;
use std::sync::Arc;

use naksi_core::id::SessionId;
use naksi_core::tick::Tick;

use super::output::{RoomOutput, Undelivered};
use super::{LeaveReason, RoomCloseReason, RoomCounters};
use crate::group::Group;

/// Something that a session brings.
pub(crate) enum Event {
    /// It joins, under a ticket that no other join of its worker has had.
    Join { id: SessionId, ticket: u32, data: Box<dyn Any + Send> },
    /// It leaves what it joined under this ticket.
    Leave { id: SessionId, ticket: u32, why: LeaveReason },
    /// Its peer has said its end: it waits for what the room says to what it has brought.
    Finish { id: SessionId, ticket: u32 },
    /// The room has come so far, and takes so many bytes of memory off what the session has brought.
    Mark { id: SessionId, bytes: u32 },
    /// A frame of so many bytes, the next in the batch.
    Packet { from: SessionId, ticket: u32, bytes: u32 },
}

/// How much room a mailbox has for one more packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Space {
    /// Enough.
    Free,
    /// More than half is taken: the rest is for sessions that do not wait for the room already.
    Crowded,
    /// None.
    Full,
}

/// What one event costs in memory, beside what it carries.
pub(crate) const EVENT_BYTES: usize = size_of::<Event>();

/// What the sessions of one worker bring in one turn.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) events: Vec<Event>,
    pub(crate) frames: BytesMut,
    /// Bytes of what joins carry for the room.
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

/// Where a room's output goes, and what wakes the room.
pub(crate) trait RoomSink {
    /// Hands the output to every worker concerned. Returns it with the workers whose members it does not reach, if
    /// there are any.
    #[must_use]
    fn post(&self, room_output: RoomOutput) -> Option<Undelivered>;
    /// The room is to be woken at this time.
    fn set_wake_timer(&self, room: Arc<dyn DynRoom>, at: Tick);
    /// The room has ended.
    fn closed(&self, room: u64);
}

/// The service, as rooms and those who open them see it.
pub(crate) trait RoomHost: RoomSink + Send + Sync {
    fn group(&self, name: &str) -> Option<Group>;
    /// A number, a home and the counters for a room that is being opened.
    fn new_room(&self) -> (u64, usize, Arc<RoomCounters>);
    fn add_room(&self, room: Arc<dyn DynRoom>);
    /// Has a claimed room run by its home.
    fn schedule(&self, room: Arc<dyn DynRoom>);
}

/// A room whose type is not known.
///
/// A caller that gets `true` from `push`, `wake` or `close` must see to it that the room is run.
pub(crate) trait DynRoom: Send + Sync {
    fn number(&self) -> u64;
    /// The worker that wakes it.
    fn home(&self) -> usize;
    /// What room it has for so much more.
    fn space(&self, packets: usize, bytes: usize) -> Space;
    /// A packet found no room. Returns whether its session ends for it.
    fn refuse(&self) -> bool;
    fn is_closed(&self) -> bool;
    /// Whether a single callback has lately held its thread for too long.
    fn is_heavy(&self) -> bool;
    fn push(&self, batch: Batch) -> bool;
    fn wake(&self) -> bool;
    fn close(&self, why: RoomCloseReason) -> bool;
    /// Gives up a claim without having run it: it waits for the next event.
    fn release(&self);
    /// Whether the alarm for this time is the one that is set, and it would still have an effect.
    fn awaits(&self, at: Tick) -> bool;
    /// Whether the alarm for this time is the one that is set; then it is not any more.
    fn hears(&self, at: Tick) -> bool;
    /// Runs it for its budget. Returns whether there is more to do: then it is still the caller's to run.
    fn run(self: Arc<Self>, clock: &dyn Fn() -> Tick, sink: &dyn RoomSink) -> bool;
    /// Gives the rest to its group. Returns whether there is one that takes it.
    fn hand_over(self: Arc<Self>) -> bool;
}
