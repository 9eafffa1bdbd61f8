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
use super::{Batch, DynRoom, Event, LeaveReason, Space};

/// How often a worker that ends runs a room at most.
const LAST_RUNS: usize = 64;
/// How long it runs them, all together: one whose ticks take longer than their period is never done by itself.
const LAST_SPAN: Duration = Duration::from_secs(1);

/// A room that a session has joined.
pub(crate) struct RoomMembership {
    pub(crate) room: Arc<dyn DynRoom>,
    pub(crate) ticket: u32,
    pub(crate) drain_state: DrainState,
    /// Bytes of memory of the packets that the session has brought and is not charged for yet.
    pub(crate) unmarked_bytes: u32,
}

/// How far a session whose peer has said its end has come with a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DrainState {
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
struct WakeTimer {
    at: Reverse<Tick>,
    room: Arc<dyn DynRoom>,
}

impl PartialEq for WakeTimer {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for WakeTimer {}

impl PartialOrd for WakeTimer {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for WakeTimer {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, Reverse(self.room.number())).cmp(&(other.at, Reverse(other.room.number())))
    }
}

/// So few alarms are not worth a look at who still awaits them.
const ALARMS_KEPT: usize = 64;

/// The rooms, as one worker sees them.
#[derive(Default)]
pub(crate) struct LocalRooms {
    outgoing: Vec<(Arc<dyn DynRoom>, Batch)>,
    /// Where in `outgoing` a room stands.
    places: TokenMap<u64, u32>,
    here: TokenMap<u64, Here>,
    wake_timers: BinaryHeap<WakeTimer>,
    /// With more alarms than this, stale ones are removed.
    alarms_max: usize,
    /// Rooms that this worker has claimed.
    pub(crate) ready: VecDeque<Arc<dyn DynRoom>>,
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
        self.wake_timers.peek().map(|alarm| alarm.at.0)
    }

    pub(crate) fn set_wake_timer(&mut self, room: Arc<dyn DynRoom>, at: Tick) {
        self.wake_timers.push(WakeTimer { at: Reverse(at), room });
        if self.wake_timers.len() > self.alarms_max.max(ALARMS_KEPT) {
            // A room that set an earlier one leaves the later one behind, and one that closed leaves all of them.
            let mut awaited = std::mem::take(&mut self.wake_timers).into_sorted_vec();
            awaited.retain(|alarm| alarm.room.awaits(alarm.at.0));
            awaited.dedup();
            self.alarms_max = 2 * awaited.len();
            self.wake_timers = awaited.into();
        }
    }

    /// The worker has claimed a room, or was told to run one.
    pub(crate) fn claim(&mut self, room: Arc<dyn DynRoom>) {
        self.ready.push_back(room);
    }

    /// A session brings a room something; it goes there at the end of the turn.
    pub(crate) fn bring(&mut self, room: &Arc<dyn DynRoom>, event: Event) {
        self.batch(room).events.push(event);
    }

    /// A session joins, with so many bytes of data for the room. Returns the bytes of memory of both.
    pub(crate) fn bring_join(&mut self, room: &Arc<dyn DynRoom>, event: Event, data_bytes: usize) -> u32 {
        let batch = self.batch(room);
        batch.events.push(event);
        batch.data_bytes += data_bytes;
        u32::try_from(EVENT_BYTES + data_bytes).unwrap_or(u32::MAX)
    }

    /// When the room has come so far, the session is charged for so much less.
    pub(crate) fn mark(&mut self, room: &Arc<dyn DynRoom>, id: SessionId, bytes: u32) {
        let events = &mut self.batch(room).events;
        match events.last_mut() {
            Some(Event::Mark { id: before, bytes: sum }) if *before == id => *sum = sum.saturating_add(bytes),
            _ => events.push(Event::Mark { id, bytes }),
        }
    }

    /// A session hands a packet on. Returns what room there was for it. `waits`: the session waits already for rooms
    /// to take what it has brought, so the last half of a mailbox is not for it.
    pub(crate) fn bring_packet(
        &mut self,
        membership: &mut RoomMembership,
        from: SessionId,
        frame: &[u8],
        waits: bool,
    ) -> Space {
        let batch = self.batch(&membership.room);
        let space = membership.room.space(batch.events.len() + 1, batch.frames.len() + frame.len());
        if space == Space::Full || space == Space::Crowded && waits {
            return Space::Full;
        }
        batch.frames.extend_from_slice(frame);
        let bytes = u32::try_from(frame.len()).expect("a frame has at most 65,535 bytes");
        batch.events.push(Event::Packet { from, ticket: membership.ticket, bytes });
        membership.unmarked_bytes += EVENT_BYTES as u32 + bytes;
        space
    }

    /// A session's peer has said its end. Returns whether one of its rooms has still to answer what it brought before.
    pub(crate) fn finish(&mut self, room_memberships: &mut [RoomMembership], id: SessionId) -> bool {
        for membership in
            room_memberships.iter_mut().filter(|membership| membership.drain_state == DrainState::Untold)
        {
            membership.drain_state = DrainState::Told;
            self.bring(&membership.room, Event::Finish { id, ticket: membership.ticket });
        }
        room_memberships.iter().any(|membership| membership.drain_state == DrainState::Told)
    }

    /// A session leaves a room, and hears nothing more of it.
    pub(crate) fn leave(&mut self, membership: RoomMembership, id: SessionId, why: LeaveReason) {
        self.expel(membership.room.number(), id);
        self.bring(&membership.room, Event::Leave { id, ticket: membership.ticket, why });
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

    /// Delivers what was brought, and wakes whose alarm rings: idle rooms are claimed.
    pub(crate) fn set_out(&mut self, now: Tick) {
        self.places.clear();
        for (room, batch) in self.outgoing.drain(..) {
            if room.push(batch) {
                self.ready.push_back(room);
            }
        }
        while self.next().is_some_and(|at| at <= now) {
            let Some(WakeTimer { at, room }) = self.wake_timers.pop() else { return };
            if room.hears(at.0) && room.wake() {
                self.ready.push_back(room);
            }
        }
    }

    /// The worker ends: what its sessions brought is not lost, and no claim is kept. A room that is not done soon is
    /// left to the caller that closes it.
    pub(crate) fn wind_up(&mut self, clock: &dyn Fn() -> Tick, sink: &dyn RoomSink) {
        self.wake_timers.clear();
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

    fn batch(&mut self, room: &Arc<dyn DynRoom>) -> &mut Batch {
        let place = *self.places.entry(room.number()).or_insert_with(|| {
            self.outgoing.push((Arc::clone(room), Batch::default()));
            (self.outgoing.len() - 1) as u32
        });
        &mut self.outgoing[place as usize].1
    }
}
