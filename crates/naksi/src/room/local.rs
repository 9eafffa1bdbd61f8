//! A worker's side of the rooms: what its sessions send to them, which of its sessions are members, and wake-up
//! timers. Rooms are run in `serve.rs`.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use naksi_core::id::{SessionId, TokenMap};
use naksi_core::tick::Tick;

use super::event::{EVENT_BYTES, RoomSink};
use super::{Batch, DynRoom, Event, LeaveReason, Space};

/// How often a worker that shuts down runs a room at most.
const LAST_RUNS: usize = 64;
/// How long a worker that shuts down runs rooms altogether: a room whose ticks take longer than their period never
/// finishes.
const LAST_SPAN: Duration = Duration::from_secs(1);

/// A room that a session has joined.
pub(crate) struct RoomMembership {
    pub(crate) room: Arc<dyn DynRoom>,
    pub(crate) ticket: u32,
    pub(crate) drain_state: DrainState,
    /// Memory of packets that the session has sent and that no mark covers yet.
    pub(crate) unmarked_bytes: u32,
}

/// How far a room has answered a session whose peer has closed its sending side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DrainState {
    /// The room does not know of it.
    Untold,
    /// The room has been told, after everything that the session sent, and has not reached that position.
    Told,
    /// The room has answered everything.
    Answered,
}

/// A worker's sessions in one room.
#[derive(Default)]
struct Here {
    ids: Vec<SessionId>,
    /// The index in `ids` of a slot's session.
    places: TokenMap<u32, u32>,
}

/// A room's wake-up time. The order is reversed because the heap is a max-heap.
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

/// With this many timers or fewer, stale ones are not looked for.
const ALARMS_KEPT: usize = 64;

/// The rooms, as one worker sees them.
#[derive(Default)]
pub(crate) struct LocalRooms {
    outgoing: Vec<(Arc<dyn DynRoom>, Batch)>,
    /// The index in `outgoing` of a room.
    places: TokenMap<u64, u32>,
    here: TokenMap<u64, Here>,
    wake_timers: BinaryHeap<WakeTimer>,
    /// With more timers than this, stale ones are removed.
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
            // A room that set an earlier timer leaves the later one behind, and a closed room leaves all of its own.
            let mut awaited = std::mem::take(&mut self.wake_timers).into_sorted_vec();
            awaited.retain(|alarm| alarm.room.awaits(alarm.at.0));
            awaited.dedup();
            self.alarms_max = 2 * awaited.len();
            self.wake_timers = awaited.into();
        }
    }

    /// Takes a room that the worker has claimed or was told to run.
    pub(crate) fn claim(&mut self, room: Arc<dyn DynRoom>) {
        self.ready.push_back(room);
    }

    /// Queues a session's event for a room; it is delivered at the end of the turn.
    pub(crate) fn bring(&mut self, room: &Arc<dyn DynRoom>, event: Event) {
        self.batch(room).events.push(event);
    }

    /// Queues a session's join with its data for the room. Returns the memory of both in bytes.
    pub(crate) fn bring_join(&mut self, room: &Arc<dyn DynRoom>, event: Event, data_bytes: usize) -> u32 {
        let batch = self.batch(room);
        batch.events.push(event);
        batch.data_bytes += data_bytes;
        u32::try_from(EVENT_BYTES + data_bytes).unwrap_or(u32::MAX)
    }

    /// Queues a mark: when the room reaches it, the session is charged for this much less.
    pub(crate) fn mark(&mut self, room: &Arc<dyn DynRoom>, id: SessionId, bytes: u32) {
        let events = &mut self.batch(room).events;
        match events.last_mut() {
            Some(Event::Mark { id: before, bytes: sum }) if *before == id => *sum = sum.saturating_add(bytes),
            _ => events.push(Event::Mark { id, bytes }),
        }
    }

    /// Queues a session's packet. Returns the space that there was for it. `waits`: the session waits for rooms
    /// already, so it may not use the last half of a mailbox.
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

    /// Handles a peer that has closed its sending side. Returns whether a room still has to answer what the session
    /// sent before.
    pub(crate) fn finish(&mut self, room_memberships: &mut [RoomMembership], id: SessionId) -> bool {
        for membership in
            room_memberships.iter_mut().filter(|membership| membership.drain_state == DrainState::Untold)
        {
            membership.drain_state = DrainState::Told;
            self.bring(&membership.room, Event::Finish { id, ticket: membership.ticket });
        }
        room_memberships.iter().any(|membership| membership.drain_state == DrainState::Told)
    }

    /// Ends a membership; the session gets nothing more from the room.
    pub(crate) fn leave(&mut self, membership: RoomMembership, id: SessionId, why: LeaveReason) {
        self.expel(membership.room.number(), id);
        self.bring(&membership.room, Event::Leave { id, ticket: membership.ticket, why });
    }

    /// Adds a session of this worker to the room's members here.
    pub(crate) fn admit(&mut self, room: u64, id: SessionId) {
        let here = self.here.entry(room).or_default();
        here.places.insert(id.slot(), here.ids.len() as u32);
        here.ids.push(id);
    }

    /// Removes a session from the room's members here, if it is one.
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

    /// Collects the members of a room on this worker into a vector that the caller reuses.
    pub(crate) fn members_into(&self, room: u64, members: &mut Vec<SessionId>) {
        members.clear();
        if let Some(here) = self.here.get(&room) {
            members.extend_from_slice(&here.ids);
        }
    }

    /// Delivers the queued events, fires due wake-up timers, and claims rooms that are idle.
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

    /// Called when the worker shuts down: delivers what its sessions sent and gives up every claim. A room that is
    /// not done soon is left to the caller that closes it.
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
