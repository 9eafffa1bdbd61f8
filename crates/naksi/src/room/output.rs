//! What a room says and does to its members in one run: one buffer and a list of parts, in the room's order.
//!
//! It is made once and shared by all workers that have members concerned; each carries out what is meant for sessions
//! of its own. Nothing here knows a worker.

use bytes::{Bytes, BytesMut};
use std::ops::Range;
use std::sync::Arc;

use naksi_core::droppable_queue::PacketClass;
use naksi_core::id::SessionId;
use naksi_core::reason::DisconnectReason;

use super::RoomCloseReason;

/// What has gathered leaves at so many bytes, so that it always fits a send queue.
const PARCEL_FULL_BYTES: usize = 32 * 1024;

/// One thing that a room does to sessions. Who is named with a ticket is meant as who joined under it, and no more once
/// that membership is over: not even if it has begun another one since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Bytes for every member, and how many messages they are.
    All(Range<u32>, u32),
    /// Bytes for every member but one.
    Others(SessionId, Range<u32>),
    /// Bytes for one member, and how many messages they are.
    One(SessionId, u32, Range<u32>, u32),
    /// A session is not charged any more for so many bytes of memory that it had brought.
    Taken(SessionId, u32),
    /// Bytes for every member, or for one, which they may miss if they do not keep up.
    Data(Option<(SessionId, u32)>, PacketClass, u64, Range<u32>),
    /// A session is a member from here on.
    Admit(SessionId, u32),
    /// A session has been told everything that answers what it brought before its peer's end.
    Answered(SessionId, u32),
    /// A session is no member any more.
    PutOut(SessionId, u32, RoomCloseReason),
    /// A session ends.
    End(SessionId, u32, DisconnectReason),
    /// All memberships have ended.
    Close(RoomCloseReason),
    /// All memberships have ended, and so do the sessions.
    CloseAndEnd(DisconnectReason),
}

/// A parcel that did not reach the members on some workers.
#[derive(Debug)]
pub(crate) struct Undelivered {
    pub(crate) room_output: Arc<RoomOutput>,
    workers: [u64; 4],
}

impl Undelivered {
    /// A parcel that was delivered to no worker yet, for as long as no worker is named.
    pub(crate) fn new(room_output: Arc<RoomOutput>) -> Self {
        Self { room_output, workers: [0; 4] }
    }

    /// It did not reach the members on this worker.
    pub(crate) fn add(&mut self, worker: usize) {
        self.workers[worker / 64] |= 1 << (worker % 64);
    }

    /// Whether a session is on a worker whose members it did not reach.
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

    /// Whether something is said in it that no member may miss.
    pub(crate) fn must_be_heard(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::All(..) | Part::Others(..) | Part::One(..)))
    }

    /// The same without what was said: what a worker that does not keep up must still know. Nothing, if that is
    /// nothing. Of what was said each member has missed some, so a session does not leave the room unnoticed: it ends.
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

/// The parcel of a run, while it grows.
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

    /// What was written since `start` is for every member, or for all but one.
    pub(super) fn tell_all(&mut self, start: usize, but: Option<SessionId>) {
        let range = start as u32..self.bytes.len() as u32;
        self.mark_all();
        match (but, self.parts.last_mut()) {
            // Messages for everybody, one behind the other, are one piece for each member.
            (None, Some(Part::All(before, messages))) if before.end == range.start => {
                before.end = range.end;
                *messages += 1;
            }
            (None, _) => self.parts.push(Part::All(range, 1)),
            (Some(but), _) => self.parts.push(Part::Others(but, range)),
        }
    }

    /// What was written since `start` is for one member.
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

    /// What was written since `start` is for one member, or for all, who may miss it.
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

    /// A session is charged for so much less.
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
