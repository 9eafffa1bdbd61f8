//! The room of the world: its players, who sees whom, and what a tick sends.
//!
//! Everything about other players is sent by the tick, so that nothing is sent about a player before its `Enter` or
//! after its `Leave`. A few counters tell how far a client is behind.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use naksi::grid::{Change, Entity, EntityId, Grid, Point, Sight};
use naksi::packets::encode;
use naksi::prelude::*;

use super::store::Store;
use super::{
    EDGE, Enter, LOST_BEYOND, Leave, Moved, SEEN_WITHIN, Said, Say, Step, TEXT_BYTES_MAX, WORLD, Welcome,
};
use crate::escape::stripped;

/// Ticks of the world in a second.
pub(super) const TICK_HZ: u32 = 20;
/// Budget of bytes for places per player and tick: 10 KiB a second.
const BYTES_PER_TICK: u32 = 512;
/// Approximate bytes of one place: three small numbers.
const BYTES_PER_PLACE: u32 = 6;
/// Budget of bytes for enters per player and tick, nearest first; the rest follows in later ticks. So a crowd that
/// jumps to one place takes each of its players a few ticks, and no connection is lost.
const ENTER_BYTES_PER_TICK: u32 = 4096;
/// What an enter takes about, beside the name.
const ENTER_BYTES: u32 = 14;
/// A player with more than this many bytes in flight gets no enters, places or talk.
const BEHIND_BYTES: u64 = 8 * 1024;
/// A session whose socket takes nothing does not report its progress, and ends by the server's own limit
/// (`send_stall_within`). Data that has not reached a player's session this long after that was lost by its worker.
const LOST_AFTER: Duration = Duration::from_secs(10);
/// Packets that wait for the world, and their bytes: ten a second of a few thousand players, for some seconds.
const MAILBOX: (usize, usize) = (65_536, 4 << 20);

/// How much of the world's output has reached a player, in bytes since it connected; updated by its session.
#[derive(Debug, Default)]
pub(crate) struct Way {
    /// What has come to its session, to be sent.
    pub(super) reached: AtomicU64,
    /// What its socket has taken of that.
    pub(super) taken: AtomicU64,
}

impl Way {
    /// The socket has taken some bytes, and others are still pending.
    pub(super) fn went_on(&self, bytes: usize, pending_bytes: usize) {
        let taken = self.taken.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        self.reached.store(taken + pending_bytes as u64, Ordering::Relaxed);
    }
}

/// What the room knows of a member.
pub(crate) struct Person {
    name: Arc<str>,
    way: Arc<Way>,
    /// `None` before its place is known, and after it has left.
    entity: Option<EntityId>,
}

impl Person {
    pub(crate) fn new(name: &str, way: Arc<Way>) -> Self {
        Self { name: name.into(), way, entity: None }
    }
}

/// A player in the world.
struct Body {
    session: SessionId,
    name: Arc<str>,
    /// Bytes sent to it, and how many have reached it.
    told: u64,
    way: Arc<Way>,
    /// The bytes sent when everything had last reached its session, as far as is known, and how many ticks ago.
    due: u64,
    due_ticks: u32,
    /// What it wants to do in the next tick.
    step: Option<Point>,
    line: Option<String>,
}

impl Body {
    fn is_behind(&self) -> bool {
        self.told.saturating_sub(self.way.taken.load(Ordering::Relaxed)) > BEHIND_BYTES
    }

    /// Whether output was lost, because nothing has arrived for this many ticks. Called once a tick.
    fn has_missed(&mut self, lost_ticks: u32) -> bool {
        if self.way.reached.load(Ordering::Relaxed) >= self.due {
            (self.due, self.due_ticks) = (self.told, 0);
        }
        self.due_ticks += 1;
        self.due_ticks > lost_ticks
    }

    fn tell<M: Message>(&mut self, cx: &mut Cx<'_, World>, message: &M) {
        let frame = encode(message).expect("what the world says fits a frame");
        self.tell_frame(cx, &frame);
    }

    fn tell_frame(&mut self, cx: &mut Cx<'_, World>, frame: &[u8]) {
        if cx.send_bytes(self.session, frame) == SendStatus::Queued {
            self.told += frame.len() as u64;
        }
    }
}

/// The room in which everybody is.
pub(crate) struct World {
    store: Store,
    /// After this many ticks, output that has not reached a player's session counts as lost.
    lost_ticks: u32,
    grid: Grid,
    /// By the grid's slots.
    bodies: Vec<Option<Body>>,
    /// The session that is logged in under a name.
    names: HashMap<Arc<str>, SessionId>,
    walkers: Vec<EntityId>,
    speakers: Vec<EntityId>,
    /// Players that have left; they stay in the grid until the next tick has sent their leaves.
    gone: Vec<EntityId>,
    changes: Vec<Change>,
    chosen: Vec<EntityId>,
}

impl World {
    /// A world with this store of players, on a server that ends sessions that read nothing for this long.
    pub(crate) fn new(store: Store, send_stall_within: Duration) -> Self {
        let lost_ticks =
            u128::from(TICK_HZ) * send_stall_within.saturating_add(LOST_AFTER).as_millis() / 1000;
        Self {
            store,
            lost_ticks: u32::try_from(lost_ticks).unwrap_or(u32::MAX - 1),
            grid: Grid::introducing(LOST_BEYOND),
            bodies: Vec::new(),
            names: HashMap::new(),
            walkers: Vec::new(),
            speakers: Vec::new(),
            gone: Vec::new(),
            changes: Vec::new(),
            chosen: Vec::new(),
        }
    }

    pub(crate) fn options() -> RoomOptions {
        RoomOptions::new().tick_hz(TICK_HZ).mailbox(MAILBOX.0, MAILBOX.1)
    }

    fn step(&mut self, cx: &mut Cx<'_, Self>, from: SessionId, Step { x, y }: Step) {
        let Some(entity) = cx.member(from).and_then(|person| person.entity) else { return };
        let body = body(&mut self.bodies, entity);
        if body.step.replace(Point::new(x.clamp(-EDGE, EDGE), y.clamp(-EDGE, EDGE))).is_none() {
            self.walkers.push(entity);
        }
    }

    fn say(&mut self, cx: &mut Cx<'_, Self>, from: SessionId, Say { text }: Say) {
        let Some(entity) = cx.member(from).and_then(|person| person.entity) else { return };
        if text.len() > TEXT_BYTES_MAX {
            cx.end(from, DisconnectReason::Protocol);
        } else if body(&mut self.bodies, entity).line.replace(stripped(&text)).is_none() {
            self.speakers.push(entity);
        }
    }

    /// The database has answered with a player's last place.
    fn arrive(
        &mut self,
        cx: &mut Cx<'_, Self>,
        member: SessionId,
        answer: naksi_db::Result<Option<(i32, i32)>>,
    ) {
        let Some(person) = cx.member(member) else { return };
        let (name, way) = (Arc::clone(&person.name), Arc::clone(&person.way));
        let at = match answer {
            Ok(Some((x, y))) => Point::new(x, y),
            Ok(None) => birthplace(&name),
            Err(error) => {
                tracing::warn!(session = %member, %error, "a player cannot be loaded; its session ends");
                cx.end(member, DisconnectReason::Handler);
                return;
            }
        };
        let sight = Some(Sight::new(SEEN_WITHIN, LOST_BEYOND));
        let entity = self.grid.insert(Entity { at, sight, visible: true }, &mut self.changes);
        let slot = entity.slot() as usize;
        if self.bodies.len() <= slot {
            self.bodies.resize_with(slot + 1, || None);
        }
        let mut body =
            Body { session: member, name, told: 0, way, due: 0, due_ticks: 0, step: None, line: None };
        body.tell(cx, &Welcome { you: entity.slot(), version: WORLD.version(), x: at.x(), y: at.y() });
        self.bodies[slot] = Some(body);
        if let Some(person) = cx.member_mut(member) {
            person.entity = Some(entity);
        }
    }

    /// A player leaves the world: its place is saved before it can be loaded again.
    fn depart(&mut self, entity: EntityId) {
        let body = body(&mut self.bodies, entity);
        let at = body.step.or_else(|| self.grid.at(entity)).expect("who stands in the world is in the grid");
        if let Err(error) = self.store.save(&body.name, (at.x(), at.y())) {
            tracing::error!(name = %body.name, %error, "a player's place is lost");
        }
        self.gone.push(entity);
    }

    /// Sends every player those who came into view, within its budget.
    fn introduce(&mut self, cx: &mut Cx<'_, Self>) {
        for slot in 0..self.bodies.len() {
            let Some(watcher) = self.listener(cx, slot) else { continue };
            let bodies = &self.bodies;
            let bytes = |entity: EntityId| {
                let name = bodies[entity.slot() as usize].as_ref().map_or(0, |body| body.name.len());
                ENTER_BYTES + name as u32
            };
            self.grid.introduce(watcher, ENTER_BYTES_PER_TICK, bytes, &mut self.changes);
            self.tell_changes(cx);
        }
    }

    /// The player in a slot, if it is present and not behind.
    fn listener(&self, cx: &Cx<'_, Self>, slot: usize) -> Option<EntityId> {
        let body = self.bodies[slot].as_ref().filter(|body| !body.is_behind())?;
        cx.member(body.session)?.entity
    }

    /// Sends every player its leaves and its enters.
    fn tell_changes(&mut self, cx: &mut Cx<'_, Self>) {
        let watcher = |change: &Change| match change {
            Change::Enter { watcher, .. } | Change::Leave { watcher, .. } => watcher.slot(),
        };
        // Sorted by watcher; each keeps its order.
        self.changes.sort_by_key(watcher);
        for change in self.changes.drain(..) {
            match change {
                Change::Enter { watcher, entity } => {
                    let name = body(&mut self.bodies, entity).name.to_string();
                    let at = self.grid.at(entity).expect("who is gone leaves the grid behind this");
                    let enter = Enter { who: entity.slot(), name, x: at.x(), y: at.y() };
                    body(&mut self.bodies, watcher).tell(cx, &enter);
                }
                Change::Leave { watcher, entity } => {
                    body(&mut self.bodies, watcher).tell(cx, &Leave { who: entity.slot() });
                }
            }
        }
    }

    /// Sends a line to the players that see its speaker and know it. All have the same sight, so they are in the
    /// speaker's own view.
    fn tell_talk(&mut self, cx: &mut Cx<'_, Self>) {
        for speaker in self.speakers.drain(..) {
            let Some(text) = body(&mut self.bodies, speaker).line.take() else { continue };
            let said = encode(&Said { from: speaker.slot(), text }).expect("a line fits a frame");
            body(&mut self.bodies, speaker).tell_frame(cx, &said);
            for hearer in self.grid.seen(speaker).filter(|hearer| self.grid.knows(*hearer, speaker)) {
                let hearer = body(&mut self.bodies, hearer);
                if !hearer.is_behind() {
                    hearer.tell_frame(cx, &said);
                }
            }
        }
    }

    /// A client that missed an `Enter` or a `Leave` has a wrong view: it must reconnect.
    fn end_those_who_missed(&mut self, cx: &mut Cx<'_, Self>) {
        for body in self.bodies.iter_mut().flatten() {
            if body.has_missed(self.lost_ticks) && cx.end(body.session, DisconnectReason::SendStalled) {
                let name = &body.name;
                tracing::warn!(%name, "what a player was told has not come to its session and is lost: it ends");
            }
        }
    }

    /// Sends every player the new places of those in view, within its budget.
    fn tell_places(&mut self, cx: &mut Cx<'_, Self>, tick: u64) {
        for slot in 0..self.bodies.len() {
            let Some(watcher) = self.listener(cx, slot) else { continue };
            self.chosen.clear();
            self.grid.choose(watcher, BYTES_PER_TICK, |_| BYTES_PER_PLACE, &mut self.chosen);
            let place = |entity: &EntityId| self.grid.at(*entity).map(|at| (entity.slot(), at.x(), at.y()));
            let places: Vec<_> = self.chosen.iter().filter_map(place).collect();
            if !places.is_empty() {
                body(&mut self.bodies, watcher).tell(cx, &Moved { tick, places });
            }
        }
    }
}

impl Room for World {
    type Member = Person;

    fn routes(routes: &mut Routes<Self>) {
        routes.on(Self::step).on(Self::say);
    }

    fn on_join(&mut self, cx: &mut Cx<'_, Self>, member: SessionId) {
        let Some(name) = cx.member(member).map(|person| Arc::clone(&person.name)) else { return };
        if let Some(old) = self.names.insert(Arc::clone(&name), member) {
            // Its save is submitted before the load below, which waits for it.
            if let Some(entity) = cx.member_mut(old).and_then(|person| person.entity.take()) {
                self.depart(entity);
            }
            cx.end(old, DisconnectReason::Kicked);
        }
        if let Err(error) = self.store.load(cx, member, &name, Self::arrive) {
            tracing::warn!(session = %member, %error, "a player cannot be loaded; its session ends");
            cx.end(member, DisconnectReason::Handler);
        }
    }

    fn on_leave(&mut self, _cx: &mut Cx<'_, Self>, member: SessionId, person: Person, _why: LeaveReason) {
        if self.names.get(&person.name) == Some(&member) {
            self.names.remove(&person.name);
        }
        if let Some(entity) = person.entity {
            self.depart(entity);
        }
    }

    fn on_tick(&mut self, cx: &mut Cx<'_, Self>, tick: u64) {
        self.grid.begin_round();
        for walker in self.walkers.drain(..) {
            if let Some(to) = body(&mut self.bodies, walker).step.take() {
                self.grid.move_to(walker, to, &mut self.changes);
            }
        }
        self.tell_changes(cx);
        self.introduce(cx);
        self.tell_talk(cx);
        self.tell_places(cx, tick);
        self.end_those_who_missed(cx);
        // Their leaves are sent before their numbers can be reused.
        let gone = std::mem::take(&mut self.gone);
        for entity in &gone {
            self.grid.remove(*entity, &mut self.changes);
        }
        self.tell_changes(cx);
        for entity in gone {
            self.bodies[entity.slot() as usize] = None;
        }
    }

    fn on_close(&mut self, cx: &mut Cx<'_, Self>) {
        let here: Vec<_> = cx.members_mut().filter_map(|(_, person)| person.entity.take()).collect();
        for entity in here {
            self.depart(entity);
        }
    }
}

/// A player in the grid has a body until the tick that sends its leave is over.
fn body(bodies: &mut [Option<Body>], entity: EntityId) -> &mut Body {
    bodies[entity.slot() as usize].as_mut().expect("who stands in the world has a body")
}

/// The place at which a player of this name starts: the same for each name, and different for most names.
fn birthplace(name: &str) -> Point {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    let hash = hasher.finish();
    let along = |part: u64| (part % (2 * EDGE as u64 + 1)) as i32 - EDGE;
    Point::new(along(hash & 0xFFFF_FFFF), along(hash >> 32))
}
