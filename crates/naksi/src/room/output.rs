//! A room's output of one run: one buffer and a list of parts, in the room's order.
//!
//! It is built once and shared by all workers with members concerned; each worker carries out the parts for its own
//! sessions.

use bytes::{Bytes, BytesMut};
use std::ops::Range;
use std::sync::Arc;

use naksi_core::droppable_queue::PacketClass;
use naksi_core::id::SessionId;
use naksi_core::reason::DisconnectReason;

use super::RoomCloseReason;

/// Output is posted at this many bytes, so that it always fits a send queue.
const PARCEL_FULL_BYTES: usize = 32 * 1024;

/// One action of a room on sessions. A ticket identifies one membership; output for an ended membership is dropped,
/// even if the session has joined again since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Bytes for every member, and their number of messages.
    All(Range<u32>, u32),
    /// Bytes for every member but one.
    Others(SessionId, Range<u32>),
    /// Bytes for one member, and their number of messages.
    One(SessionId, u32, Range<u32>, u32),
    /// Releases the charge of a session for bytes of memory that the room has processed.
    Taken(SessionId, u32),
    /// Droppable bytes for every member, or for one.
    Data(Option<(SessionId, u32)>, PacketClass, u64, Range<u32>),
    /// The session is a member from here on.
    Admit(SessionId, u32),
    /// The room has answered everything that a session sent before its peer closed its sending side.
    Answered(SessionId, u32),
    /// A session is no longer a member.
    PutOut(SessionId, u32, RoomCloseReason),
    /// A session ends.
    End(SessionId, u32, DisconnectReason),
    /// All memberships have ended.
    Close(RoomCloseReason),
    /// All memberships end, and the members' sessions with them.
    CloseAndEnd(DisconnectReason),
}

/// Output that did not reach the members on some workers.
#[derive(Debug)]
pub(crate) struct Undelivered {
    pub(crate) room_output: Arc<RoomOutput>,
    workers: [u64; 4],
}

impl Undelivered {
    /// Output that no worker has taken, until workers are added.
    pub(crate) fn new(room_output: Arc<RoomOutput>) -> Self {
        Self { room_output, workers: [0; 4] }
    }

    /// Adds a worker whose members the output did not reach.
    pub(crate) fn add(&mut self, worker: usize) {
        self.workers[worker / 64] |= 1 << (worker % 64);
    }

    /// Whether a session is on a worker whose members the output did not reach.
    pub(crate) fn is_of(&self, id: SessionId) -> bool {
        let worker = usize::from(id.worker());
        self.workers[worker / 64] >> (worker % 64) & 1 == 1
    }
}

/// What a room hands to workers.
#[derive(Debug)]
pub(crate) struct RoomOutput {
    pub(crate) room: u64,
    pub(crate) bytes: Bytes,
    pub(crate) parts: Box<[Part]>,
    workers: [u64; 4],
}

impl RoomOutput {
    /// The workers that have sessions concerned.
    pub(crate) fn workers(&self) -> impl Iterator<Item = usize> + '_ {
        (0..256).filter(|worker| self.workers[worker / 64] >> (worker % 64) & 1 == 1)
    }

    /// Whether it contains output that is not droppable.
    pub(crate) fn must_be_heard(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::All(..) | Part::Others(..) | Part::One(..)))
    }

    /// A copy without the bytes, for a worker whose mailbox is full: what it must still know. `None` if nothing is
    /// left. Every member there has missed output, so a session does not leave the room silently: it ends.
    pub(crate) fn without_bytes(&self) -> Option<Self> {
        let ends = self.must_be_heard();
        let known = |part: &Part| match part {
            Part::All(..) | Part::Others(..) | Part::One(..) | Part::Data(..) => None,
            // It is answered by its end.
            Part::Answered(..) if ends => None,
            Part::PutOut(id, ticket, _) if ends => Some(Part::End(*id, *ticket, DisconnectReason::Lagged)),
            Part::Close(_) if ends => Some(Part::CloseAndEnd(DisconnectReason::Lagged)),
            part => Some(part.clone()),
        };
        let parts: Box<[Part]> = self.parts.iter().filter_map(known).collect();
        (!parts.is_empty()).then(|| Self {
            room: self.room,
            bytes: Bytes::new(),
            parts,
            workers: self.workers,
        })
    }

    /// Bytes of memory that it holds.
    pub(crate) fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.parts.len() * size_of::<Part>() + self.bytes.len()
    }
}

/// The output of a run, while it is built.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    bytes: BytesMut,
    parts: Vec<Part>,
    workers: [u64; 4],
    /// Members by worker.
    members_on: Vec<u32>,
}

impl Outbox {
    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= PARCEL_FULL_BYTES
    }

    /// Where the next message is written to.
    pub(super) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.bytes
    }

    /// Addresses what was written since `start` to every member, or to all but one.
    pub(super) fn tell_all(&mut self, start: usize, but: Option<SessionId>) {
        let range = start as u32..self.bytes.len() as u32;
        self.mark_all();
        match (but, self.parts.last_mut()) {
            // Consecutive messages for all members are one part.
            (None, Some(Part::All(before, messages))) if before.end == range.start => {
                before.end = range.end;
                *messages += 1;
            }
            (None, _) => self.parts.push(Part::All(range, 1)),
            (Some(but), _) => self.parts.push(Part::Others(but, range)),
        }
    }

    /// Addresses what was written since `start` to one member.
    pub(super) fn tell_one(&mut self, start: usize, to: SessionId, ticket: u32) {
        let range = start as u32..self.bytes.len() as u32;
        self.mark(to);
        match self.parts.last_mut() {
            Some(Part::One(before, its, part, messages))
                if (*before, *its) == (to, ticket) && part.end == range.start =>
            {
                part.end = range.end;
                *messages += 1;
            }
            _ => self.parts.push(Part::One(to, ticket, range, 1)),
        }
    }

    /// Addresses what was written since `start`, as droppable, to one member or to all.
    pub(super) fn tell_data(
        &mut self,
        start: usize,
        to: Option<(SessionId, u32)>,
        class: PacketClass,
        key: u64,
    ) {
        let range = start as u32..self.bytes.len() as u32;
        match to {
            Some((to, _)) => self.mark(to),
            None => self.mark_all(),
        }
        self.parts.push(Part::Data(to, class, key, range));
    }

    pub(super) fn admit(&mut self, id: SessionId, ticket: u32) {
        let worker = usize::from(id.worker());
        if self.members_on.len() <= worker {
            self.members_on.resize(worker + 1, 0);
        }
        self.members_on[worker] += 1;
        self.mark(id);
        self.parts.push(Part::Admit(id, ticket));
    }

    /// A member is gone, by whatever way.
    pub(super) fn uncount(&mut self, id: SessionId) {
        self.members_on[usize::from(id.worker())] -= 1;
    }

    pub(super) fn answered(&mut self, id: SessionId, ticket: u32) {
        self.mark(id);
        self.parts.push(Part::Answered(id, ticket));
    }

    /// Releases a part of a session's charge.
    pub(super) fn taken(&mut self, id: SessionId, bytes: u32) {
        self.mark(id);
        match self.parts.last_mut() {
            Some(Part::Taken(before, sum)) if *before == id => *sum = sum.saturating_add(bytes),
            _ => self.parts.push(Part::Taken(id, bytes)),
        }
    }

    pub(super) fn put_out(&mut self, id: SessionId, ticket: u32, why: RoomCloseReason) {
        self.mark(id);
        self.parts.push(Part::PutOut(id, ticket, why));
    }

    pub(super) fn end(&mut self, id: SessionId, ticket: u32, reason: DisconnectReason) {
        self.mark(id);
        self.parts.push(Part::End(id, ticket, reason));
    }

    pub(super) fn close(&mut self, why: RoomCloseReason) {
        self.mark_all();
        self.members_on.clear();
        self.parts.push(Part::Close(why));
    }

    /// Takes what has gathered.
    pub(super) fn take(&mut self, room: u64) -> RoomOutput {
        RoomOutput {
            room,
            bytes: self.bytes.split().freeze(),
            parts: std::mem::take(&mut self.parts).into_boxed_slice(),
            workers: std::mem::take(&mut self.workers),
        }
    }

    fn mark_all(&mut self) {
        for (worker, members) in self.members_on.iter().enumerate() {
            self.workers[worker / 64] |= u64::from(*members > 0) << (worker % 64);
        }
    }

    fn mark(&mut self, id: SessionId) {
        let worker = usize::from(id.worker());
        self.workers[worker / 64] |= 1 << (worker % 64);
    }
}
