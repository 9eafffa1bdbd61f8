//! The room of a run: it numbers what its members say and tells everybody, and writes down who comes and goes.
//!
//! The numbers show the room's order; the count of members at the end shows that each of them has
//! left once, whatever ended it. Nothing here knows a worker.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use naksi::prelude::*;

use super::hazard::Hazard;
use super::observations::Observations;
use super::users::{DISMISS, NUMBERED, OVERHEARD};

/// The room, shared by all sessions of a server.
pub struct SharedRoom {
    observations: Arc<Observations>,
    said: u32,
    /// The questions whose answers groups brought.
    answered: HashSet<u64>,
    /// Timers set and not yet due.
    timers: u32,
    /// When it was opened.
    opened_at: Tick,
    /// The last of its ticks.
    tick: u64,
    /// Members.
    members: usize,
}

/// Time between the ticks of the room.
const TICK: Duration = Duration::from_millis(250);
/// The tag of a timer that is cancelled at once.
const CANCELLED: u32 = u32::MAX;

impl SharedRoom {
    /// The room of this run; the first who asks opens it.
    pub fn find(observations: &Arc<Observations>, c: &mut Conn<'_>) -> RoomRef<SharedRoom> {
        let mut shared = observations.shared();
        let open = || {
            let shared_room = SharedRoom {
                observations: Arc::clone(observations),
                said: 0,
                answered: HashSet::new(),
                timers: 0,
                opened_at: Tick::ZERO,
                tick: 0,
                members: 0,
            };
            // A budget of two events is always spent: what is left waits for the next turn.
            let options = RoomOptions::new().budget(Duration::from_secs(1), 2).tick_every(TICK);
            c.open_room(shared_room, options).expect("options that make sense")
        };
        shared.shared_room.get_or_insert_with(open).clone()
    }

    /// The room knows as many members as have come and not gone.
    fn count(&self, cx: &Cx<'_, Self>) {
        // A callback may have taken out others of whom it has not been told.
        let count = cx.members().count();
        if cx.len() > self.members || count != cx.len() || cx.is_empty() != (count == 0) {
            self.observations.break_law(format!(
                "{} have come and not gone, and {} are members",
                self.members,
                cx.len()
            ));
        }
    }

    /// A group has an answer for the room: to the question of this number.
    pub fn hear_answer(&mut self, number: u64) {
        if !self.answered.insert(number) {
            self.observations.break_law(format!("a room heard the answer to question {number} twice"));
        }
        if self.answered.len() as u64 > self.observations.jobs.calls.load(Ordering::Relaxed) {
            self.observations.break_law("a room heard more answers than were given to it");
        }
    }
}

impl Room for SharedRoom {
    type Member = SessionId;

    fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
        self.opened_at = cx.now();
    }

    fn on_join(&mut self, cx: &mut Cx<'_, Self>, member: SessionId) {
        self.observations.joined.fetch_add(1, Ordering::Relaxed);
        self.members += 1;
        if !cx.contains(member) || cx.member(member) != Some(&member) {
            self.observations.break_law("who joins is no member, or another");
        }
        self.count(cx);
    }

    fn on_leave(&mut self, cx: &mut Cx<'_, Self>, member: SessionId, data: SessionId, _why: LeaveReason) {
        self.observations.left.fetch_add(1, Ordering::Relaxed);
        self.members -= 1;
        if cx.contains(member) || data != member {
            self.observations.break_law("who has left is a member, or was another");
        }
        self.count(cx);
    }

    fn on_packet(&mut self, cx: &mut Cx<'_, Self>, from: SessionId, packet: Packet<'_>) {
        if !cx.contains(from) {
            self.observations.break_law("a session that is no member speaks");
        }
        if packet.id == DISMISS {
            self.observations.hit(Hazard::O10);
            if !cx.remove(from) || cx.remove(from) {
                self.observations.break_law("a member is put out once");
            }
            return;
        }
        self.said += 1;
        cx.broadcast_packet(NUMBERED, &self.said.to_le_bytes());
        cx.broadcast_packet_others(from, OVERHEARD, &from.to_u64().to_le_bytes());
        self.timers += 1;
        cx.after(Duration::from_millis(u64::from(self.said % 50)), self.said);
        let timer = cx.after(Duration::from_millis(5), CANCELLED);
        if !cx.cancel(timer) || cx.cancel(timer) {
            self.observations.break_law("a room's timer is cancelled once");
        }
    }

    fn on_timer(&mut self, _cx: &mut Cx<'_, Self>, tag: u32) {
        if self.timers == 0 || tag > self.said {
            self.observations.break_law("a room's timer fired twice, or was cancelled, or was never set");
        }
        self.timers = self.timers.saturating_sub(1);
    }

    /// Late ticks are left out: what runs is the latest that is due.
    fn on_tick(&mut self, cx: &mut Cx<'_, Self>, tick: u64) {
        let latest = cx.now().since(self.opened_at).as_nanos() / TICK.as_nanos();
        if tick <= self.tick || u128::from(tick) != latest {
            self.observations
                .break_law(format!("tick {tick} came behind {}, and {latest} is the latest", self.tick));
        }
        self.tick = tick;
    }
}
