//! A worker's side of the rooms: what its sessions bring them, which of its sessions are members, and alarms.
//!
//! Nothing here runs a room or sends a byte; `serve.rs` does.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use naksi_core::id::{SessionId, TokenMap};
use naksi_core::tick::Tick;

use super::event::{EVENT_BYTES, RoomSink};
use super::{Batch, Event, Left, RoomDoor, Space};

/// How often a worker that ends runs a room at most.
const LAST_RUNS: usize = 64;
/// How long it runs them, all together: one whose ticks take longer than their period is never done by itself.
const LAST_SPAN: Duration = Duration::from_secs(1);

/// A room that a session has joined.
pub(crate) struct Seat {
    pub(crate) room: Arc<dyn RoomDoor>,
    pub(crate) ticket: u32,
    pub(crate) farewell: Farewell,
    /// Bytes of memory of the packets that the session has brought and is not charged for yet.
    pub(crate) unmarked_bytes: u32,
}

/// How far a session whose peer has said its end has come with a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Farewell {
    /// The room does not know of it.
    Untold,
    /// The room has been told behind what the session brought, and has not come so far.
    Told,
    /// The room has said everything that answers it.
    Answered,
}

/// A worker's sessions in one room.
#[derive(Default)]
struct Here {
    ids: Vec<SessionId>,
    /// Where in `ids` a slot's session stands.
    places: TokenMap<u32, u32>,
}

/// An alarm of a room. The earliest is the greatest, because a heap gives the greatest.
struct Alarm {
    at: Reverse<Tick>,
    room: Arc<dyn RoomDoor>,
}

impl PartialEq for Alarm {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Alarm {}

impl PartialOrd for Alarm {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Alarm {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, Reverse(self.room.number())).cmp(&(other.at, Reverse(other.room.number())))
    }
}

/// So few alarms are not worth a look at who still awaits them.
const ALARMS_KEPT: usize = 64;

/// The rooms, as one worker sees them.
#[derive(Default)]
pub(crate) struct LocalRooms {
    outgoing: Vec<(Arc<dyn RoomDoor>, Batch)>,
    /// Where in `outgoing` a room stands.
    places: TokenMap<u64, u32>,
    here: TokenMap<u64, Here>,
    alarms: BinaryHeap<Alarm>,
    /// With more alarms than this, those that nobody awaits are thrown out.
    alarms_max: usize,
    /// Rooms that this worker has claimed.
    pub(crate) ready: VecDeque<Arc<dyn RoomDoor>>,
    tickets: u32,
}

impl LocalRooms {
    /// A number for one more join.
    pub(crate) fn ticket(&mut self) -> u32 {
        self.tickets = self.tickets.wrapping_add(1);
        self.tickets
    }

    /// Whether there is something to do now.
    pub(crate) fn has_work(&self) -> bool {
        !self.outgoing.is_empty() || !self.ready.is_empty()
    }

    /// When the next alarm rings.
    pub(crate) fn next(&self) -> Option<Tick> {
        self.alarms.peek().map(|alarm| alarm.at.0)
    }

    pub(crate) fn set_alarm(&mut self, room: Arc<dyn RoomDoor>, at: Tick) {
        self.alarms.push(Alarm { at: Reverse(at), room });
        if self.alarms.len() > self.alarms_max.max(ALARMS_KEPT) {
            // A room that set an earlier one leaves the later one behind, and one that closed leaves all of them.
            let mut awaited = std::mem::take(&mut self.alarms).into_sorted_vec();
            awaited.retain(|alarm| alarm.room.awaits(alarm.at.0));
            awaited.dedup();
            self.alarms_max = 2 * awaited.len();
            self.alarms = awaited.into();
        }
    }

    /// The worker has claimed a room, or was told to run one.
    pub(crate) fn claim(&mut self, room: Arc<dyn RoomDoor>) {
        self.ready.push_back(room);
    }

    /// A session brings a room something; it goes there at the end of the turn.
    pub(crate) fn bring(&mut self, room: &Arc<dyn RoomDoor>, event: Event) {
        self.batch(room).events.push(event);
    }

    /// A session joins, with so many bytes of data for the room. Returns the bytes of memory of both.
    pub(crate) fn bring_join(&mut self, room: &Arc<dyn RoomDoor>, event: Event, data_bytes: usize) -> u32 {
        let batch = self.batch(room);
        batch.events.push(event);
        batch.data_bytes += data_bytes;
        u32::try_from(EVENT_BYTES + data_bytes).unwrap_or(u32::MAX)
    }

    /// When the room has come so far, the session is charged for so much less.
    pub(crate) fn mark(&mut self, room: &Arc<dyn RoomDoor>, id: SessionId, bytes: u32) {
        let events = &mut self.batch(room).events;
        match events.last_mut() {
            Some(Event::Mark { id: before, bytes: sum }) if *before == id => *sum = sum.saturating_add(bytes),
            _ => events.push(Event::Mark { id, bytes }),
        }
    }

    /// A session hands a packet on. Returns what room there was for it. `waits`: the session waits already for rooms to take
    /// what it has brought, so the last half of a mailbox is not for it.
    pub(crate) fn bring_packet(
        &mut self,
        seat: &mut Seat,
        from: SessionId,
        frame: &[u8],
        waits: bool,
    ) -> Space {
        let batch = self.batch(&seat.room);
        let space = seat.room.space(batch.events.len() + 1, batch.frames.len() + frame.len());
        if space == Space::Full || space == Space::Crowded && waits {
            return Space::Full;
        }
        batch.frames.extend_from_slice(frame);
        let bytes = u32::try_from(frame.len()).expect("a frame has at most 65,535 bytes");
        batch.events.push(Event::Packet { from, ticket: seat.ticket, bytes });
        seat.unmarked_bytes += EVENT_BYTES as u32 + bytes;
        space
    }

    /// A session's peer has said its end. Returns whether one of its rooms has still to answer what it brought before.
    pub(crate) fn finish(&mut self, seats: &mut [Seat], id: SessionId) -> bool {
        for seat in seats.iter_mut().filter(|seat| seat.farewell == Farewell::Untold) {
            seat.farewell = Farewell::Told;
            self.bring(&seat.room, Event::Finish { id, ticket: seat.ticket });
        }
        seats.iter().any(|seat| seat.farewell == Farewell::Told)
    }

    /// A session leaves a room, and hears nothing more of it.
    pub(crate) fn leave(&mut self, seat: Seat, id: SessionId, why: Left) {
        self.expel(seat.room.number(), id);
        self.bring(&seat.room, Event::Leave { id, ticket: seat.ticket, why });
    }

    /// The room has taken a session of this worker in.
    pub(crate) fn admit(&mut self, room: u64, id: SessionId) {
        let here = self.here.entry(room).or_default();
        here.places.insert(id.slot(), here.ids.len() as u32);
        here.ids.push(id);
    }

    /// A session is no member any more, if it was one.
    pub(crate) fn expel(&mut self, room: u64, id: SessionId) {
        let Some(here) = self.here.get_mut(&room) else { return };
        let Some(place) = here.places.remove(&id.slot()) else { return };
        here.ids.swap_remove(place as usize);
        if let Some(moved) = here.ids.get(place as usize) {
            here.places.insert(moved.slot(), place);
        }
        if here.ids.is_empty() {
            self.here.remove(&room);
        }
    }

    /// The members of a room on this worker, into a vector that the caller keeps.
    pub(crate) fn members_into(&self, room: u64, members: &mut Vec<SessionId>) {
        members.clear();
        if let Some(here) = self.here.get(&room) {
            members.extend_from_slice(&here.ids);
        }
    }

    /// Delivers what was brought, and wakes whose alarm rings: rooms that nobody runs are claimed.
    pub(crate) fn set_out(&mut self, now: Tick) {
        self.places.clear();
        for (room, batch) in self.outgoing.drain(..) {
            if room.push(batch) {
                self.ready.push_back(room);
            }
        }
        while self.next().is_some_and(|at| at <= now) {
            let Some(Alarm { at, room }) = self.alarms.pop() else { return };
            if room.hears(at.0) && room.wake() {
                self.ready.push_back(room);
            }
        }
    }

    /// The worker ends: what its sessions brought is not lost, and no claim is kept. A room that is not done soon is left
    /// to whoever closes it.
    pub(crate) fn wind_up(&mut self, clock: &dyn Fn() -> Tick, sink: &dyn RoomSink) {
        self.alarms.clear();
        let until = clock() + LAST_SPAN;
        while self.has_work() {
            self.set_out(Tick::ZERO);
            for room in std::mem::take(&mut self.ready) {
                let mut runs = 0;
                while Arc::clone(&room).run(clock, sink) {
                    runs += 1;
                    if runs == LAST_RUNS || clock() >= until {
                        room.release();
                        break;
                    }
                }
            }
        }
    }

    fn batch(&mut self, room: &Arc<dyn RoomDoor>) -> &mut Batch {
        let place = *self.places.entry(room.number()).or_insert_with(|| {
            self.outgoing.push((Arc::clone(room), Batch::default()));
            (self.outgoing.len() - 1) as u32
        });
        &mut self.outgoing[place as usize].1
    }
}
