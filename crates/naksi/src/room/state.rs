//! A room's state: the user's value, what its callbacks can reach, and how events are applied to it, with panics
//! caught.
//!
//! The caller has exclusive access.

use std::collections::{HashMap, VecDeque};
use std::sync::Weak;

use naksi_core::frame::{self, Packet};
use naksi_core::id::{SessionId, TokenMap};
use naksi_core::reason::DisconnectReason;
use naksi_core::tick::Tick;
use naksi_core::timer::TimerKey;
use naksi_core::unwind::catch_panic;

use super::mailbox::Charge;
use super::output::{Outbox, Part, Undelivered};
use super::routes::Routes;
use super::timers::RoomTimers;
use super::{Cx, Event, LeaveReason, Room, RoomCell, RoomCloseReason, RoomCounters, RoomOptions};
use crate::watchdog::{What, Who, about, seen, seen_at};

/// One member's place.
pub(super) struct Place<M> {
    pub(super) ticket: u32,
    pub(super) data: M,
}

/// What a room's callbacks may reach.
pub(super) struct RoomState<R: Room> {
    pub(super) number: u64,
    pub(super) now: Tick,
    pub(super) members: TokenMap<u64, Place<R::Member>>,
    pub(super) outbox: Outbox,
    pub(super) timers: RoomTimers,
    /// Members that the running callback removed; `on_leave` is called for them when it returns.
    pub(super) gone: VecDeque<(SessionId, R::Member, LeaveReason)>,
    /// Set if the room closes after the running callback.
    pub(super) end: Option<RoomCloseReason>,
    /// The packets that routes take.
    pub(super) known: Box<[(u16, &'static str)]>,
    /// Packets that no handler took.
    pub(super) unknown: u64,
    pub(super) cell: Weak<RoomCell<R>>,
}

/// A room in its scene.
pub(super) struct Body<R: Room> {
    /// Gone when the room is over.
    room: Option<R>,
    /// Why it is over.
    over: Option<RoomCloseReason>,
    opened: bool,
    pub(super) scene: RoomState<R>,
    /// Timers that were due and have not been called, the next one last.
    due: Vec<TimerKey>,
    /// Present except while a route runs.
    routes: Option<Box<Routes<R>>>,
    /// Callbacks run since the last query.
    pub(super) played: u64,
    panics: u64,
}

impl<R: Room> Body<R> {
    pub(super) fn new(room: R, number: u64, cell: Weak<RoomCell<R>>) -> Self {
        let mut routes = Routes::default();
        R::routes(&mut routes);
        let scene = RoomState {
            number,
            now: Tick::ZERO,
            members: TokenMap::default(),
            outbox: Outbox::default(),
            timers: RoomTimers::default(),
            gone: VecDeque::new(),
            end: None,
            known: routes.known(),
            unknown: 0,
            cell,
        };
        Self {
            room: Some(room),
            over: None,
            opened: false,
            scene,
            due: Vec::new(),
            routes: Some(Box::new(routes)),
            played: 0,
            panics: 0,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.is_some()
    }

    pub(super) fn room(&self) -> Option<&R> {
        self.room.as_ref()
    }

    pub(super) fn take_panics(&mut self) -> u64 {
        std::mem::take(&mut self.panics)
    }

    /// Calls `on_open`, if that has not been done.
    pub(super) fn open(&mut self, options: &RoomOptions) {
        if !std::mem::replace(&mut self.opened, true) {
            self.scene.timers.begin(options.rate, options.overrun, self.scene.now);
            self.play(|room, cx| room.on_open(cx));
        }
    }

    /// Calls one timer or tick that is due, so that a budget can end between them. Returns whether there was one.
    pub(super) fn play_clockwork(&mut self, counters: &RoomCounters) -> bool {
        let now = self.scene.now;
        if self.is_over() {
            return false;
        }
        if self.due.is_empty() {
            if self.scene.timers.next().is_none_or(|next| next > now) {
                return false;
            }
            self.scene.timers.timers(now, &mut self.due);
            self.due.reverse();
        }
        let timers = &mut self.scene.timers;
        let due = std::iter::from_fn(|| self.due.pop()).find_map(|key| timers.fire(key));
        if let Some(tag) = due {
            self.play(|room, cx| room.on_timer(cx, tag));
        } else if let Some(tick) = self.scene.timers.tick(now) {
            counters.ticked(tick.late, tick.skipped);
            self.play(|room, cx| room.on_tick(cx, tick.number));
        }
        true
    }

    /// Releases the charge for the event that has just been processed.
    pub(super) fn take_off(&mut self, Charge { session, bytes }: Charge) {
        if let Some(session) = session {
            self.scene.outbox.taken(session, bytes);
        }
    }

    /// Applies a session's event. `frame` is the packet's frame.
    pub(super) fn apply(&mut self, event: Event, frame: &[u8], options: &RoomOptions) {
        match event {
            Event::Join { id, ticket, data } => {
                let data = data.downcast::<R::Member>();
                self.join(id, ticket, *data.expect("a room's handle knows its members' type"), options);
            }
            Event::Leave { id, ticket, why } => {
                if self.scene.holds(id, ticket) {
                    self.scene.take_out(id, why);
                    self.bid_farewell();
                }
            }
            Event::Mark { id, bytes } => self.scene.outbox.taken(id, bytes),
            Event::Finish { id, ticket } => {
                // A removed member is told after everything that was sent to it.
                if self.scene.holds(id, ticket) {
                    self.scene.outbox.answered(id, ticket);
                }
            }
            Event::Packet { from, ticket, .. } => {
                let packet = frame::first(frame, usize::MAX);
                if self.scene.holds(from, ticket)
                    && let Ok(Some(packet)) = packet
                {
                    self.play_packet(from, packet);
                }
            }
        }
    }

    fn play_packet(&mut self, from: SessionId, packet: Packet<'_>) {
        about(packet.id);
        let routes = self.routes.take();
        match routes.as_ref().and_then(|routes| routes.find(packet.id)) {
            Some(handler) => self.play(|room, cx| {
                if let Err(malformed) = handler(room, cx, from, packet.body) {
                    tracing::debug!(room = cx.number(), session = %from, %malformed, "its session ends");
                    cx.end(from, DisconnectReason::Protocol);
                }
            }),
            None => self.play(|room, cx| room.on_packet(cx, from, packet)),
        }
        self.routes = routes;
    }

    fn join(&mut self, id: SessionId, ticket: u32, data: R::Member, options: &RoomOptions) {
        let refused = match self.over {
            Some(over) => Some(over),
            None => (self.scene.members.len() >= options.members_max).then_some(RoomCloseReason::Full),
        };
        if let Some(why) = refused {
            self.discard(data);
            return self.scene.outbox.put_out(id, ticket, why);
        }
        self.scene.members.insert(id.to_u64(), Place { ticket, data });
        self.scene.outbox.admit(id, ticket);
        self.play(|room, cx| room.on_join(cx, id));
    }

    /// Runs one callback. A panic ends the room, and no callback runs after it.
    pub(super) fn play(&mut self, run: impl FnOnce(&mut R, &mut Cx<'_, R>)) {
        self.play_alone(run);
        self.bid_farewell();
        if let Some(end) = self.scene.end
            && !self.is_over()
        {
            self.finish(end);
        }
    }

    /// Handles output that did not reach the members on some workers: the sessions that missed a part of it end.
    /// Returns the number of messages lost, summed over these members.
    pub(super) fn lose(&mut self, undelivered: &Undelivered) -> u64 {
        let missed = Missed::of(&undelivered.room_output.parts);
        let mut lost = Vec::new();
        for (id, place) in self.scene.members.iter() {
            let id = SessionId::from_u64(*id);
            let messages = if undelivered.is_of(id) { missed.messages_to(id, place.ticket) } else { 0 };
            if messages > 0 {
                lost.push((id, messages));
            }
        }
        for (id, _) in &lost {
            if let Some(ticket) = self.scene.take_out(*id, LeaveReason::Ended(DisconnectReason::Lagged)) {
                self.scene.outbox.end(*id, ticket, DisconnectReason::Lagged);
            }
        }
        self.bid_farewell();
        lost.iter().map(|(_, messages)| messages).sum()
    }

    /// Ends the room.
    pub(super) fn finish(&mut self, end: RoomCloseReason) {
        if self.is_over() {
            return;
        }
        self.scene.end = Some(end);
        if end != RoomCloseReason::Panicked {
            self.play_alone(|room, cx| room.on_close(cx));
        }
        let end = self.scene.end.unwrap_or(end);
        self.over = Some(end);
        self.scene.outbox.close(end);
        let members = std::mem::take(&mut self.scene.members);
        let gone = std::mem::take(&mut self.scene.gone);
        let room = self.room.take();
        self.scene.timers = RoomTimers::default();
        self.due.clear();
        self.discard((room, members, gone));
    }

    /// Drops a value of the user; its destructor may panic as callbacks may.
    fn discard<T>(&mut self, what: T) {
        let destroy = || seen_at(What::Destructor, Who::Room(self.scene.number), || drop(what));
        if let Err(panic) = catch_panic(destroy) {
            self.panics += 1;
            let (room, panic) = (self.scene.number, panic.text());
            tracing::error!(room, ?panic, "dropping something of a room panicked");
        }
    }

    fn play_alone(&mut self, run: impl FnOnce(&mut R, &mut Cx<'_, R>)) {
        let Some(room) = self.room.as_mut() else { return self.discard(run) };
        self.played += 1;
        let mut cx = Cx::new(&mut self.scene);
        // The room's own state may be inconsistent after a panic: it is ended and never called again. Everything else
        // that a callback can reach keeps its invariants between its own calls.
        let number = cx.number();
        if let Err(panic) = catch_panic(|| seen(Who::Room(number), || run(room, &mut cx))) {
            self.panics += 1;
            self.scene.end = Some(RoomCloseReason::Panicked);
            tracing::error!(room = number, panic = ?panic.text(), "a callback of a room panicked; the room ends");
        }
    }

    /// Calls `on_leave` for members that were removed. The callback may remove more of them.
    fn bid_farewell(&mut self) {
        while self.scene.end != Some(RoomCloseReason::Panicked)
            && !self.is_over()
            && let Some((id, data, why)) = self.scene.gone.pop_front()
        {
            self.play_alone(|room, cx| room.on_leave(cx, id, data, why));
        }
        if let Some(end) = self.scene.end {
            self.finish(end);
        }
    }
}

/// The messages of an output, to count who missed how many of them.
#[derive(Default)]
struct Missed {
    /// Messages for all members, or for all but one.
    to_all: u64,
    /// Messages for all but one, by that one.
    but: TokenMap<u64, u64>,
    /// Messages for one member, by the member and its ticket.
    to_one: HashMap<(SessionId, u32), u64>,
}

impl Missed {
    fn of(parts: &[Part]) -> Self {
        let mut missed = Self::default();
        for part in parts {
            match part {
                Part::All(_, messages) => missed.to_all += u64::from(*messages),
                Part::Others(but, _) => {
                    missed.to_all += 1;
                    *missed.but.entry(but.to_u64()).or_default() += 1;
                }
                Part::One(id, ticket, _, messages) => {
                    *missed.to_one.entry((*id, *ticket)).or_default() += u64::from(*messages);
                }
                _ => {}
            }
        }
        missed
    }

    fn messages_to(&self, id: SessionId, ticket: u32) -> u64 {
        let but = self.but.get(&id.to_u64()).copied().unwrap_or_default();
        self.to_all - but + self.to_one.get(&(id, ticket)).copied().unwrap_or_default()
    }
}

impl<R: Room> RoomState<R> {
    /// Whether the session is a member under this ticket.
    fn holds(&self, id: SessionId, ticket: u32) -> bool {
        self.members.get(&id.to_u64()).is_some_and(|place| place.ticket == ticket)
    }

    /// Removes a member; `on_leave` follows. Returns its ticket.
    pub(super) fn take_out(&mut self, id: SessionId, why: LeaveReason) -> Option<u32> {
        let Place { ticket, data } = self.members.remove(&id.to_u64())?;
        self.outbox.uncount(id);
        self.gone.push_back((id, data, why));
        Some(ticket)
    }
}
