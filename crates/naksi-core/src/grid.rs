//! Area of interest: which entities each watcher sees, with every change reported exactly once.
//!
//! Positions are integers, so distances are exact on every machine. A watcher begins to see an entity at its `enter`
//! radius and stops beyond its `leave` radius; between the two, the state does not change. The plane is divided into
//! cells as wide as the largest sight, so a move touches only neighbouring cells, and it allocates nothing once the
//! lists have grown.

mod budget;
mod cells;
mod introduce;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;

pub use budget::Chosen;
use cells::{Cell, Cells, Occupant};

/// A point in the plane, in units of the game's choice; one unit is the smallest distance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Point {
    x: i32,
    y: i32,
}

impl Point {
    /// The farthest that a coordinate may be from zero.
    pub const COORDINATE_MAX: i32 = (1 << 30) - 1;

    /// The point with these coordinates, clamped to the plane because they may come from a peer.
    pub fn new(x: i32, y: i32) -> Self {
        let edge = Self::COORDINATE_MAX;
        Self { x: x.clamp(-edge, edge), y: y.clamp(-edge, edge) }
    }

    /// How far to the east.
    pub fn x(self) -> i32 {
        self.x
    }

    /// How far to the north.
    pub fn y(self) -> i32 {
        self.y
    }

    /// The square of the distance: exact, at most 2^63 - 1 within the plane.
    pub fn distance_squared(self, other: Point) -> i64 {
        let (x, y) = (i64::from(self.x) - i64::from(other.x), i64::from(self.y) - i64::from(other.y));
        x * x + y * y
    }
}

/// How far a watcher sees, in units of the plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    enter: u32,
    leave: u32,
}

impl Sight {
    /// Sees entities within `enter` until they are farther than `leave`; both inclusive. A `leave` below `enter`
    /// counts as `enter`: then there is no hysteresis.
    pub fn new(enter: u32, leave: u32) -> Self {
        Self { enter, leave: leave.max(enter) }
    }
}

/// The squared radii of a sight, for comparison with squared distances; negative for an entity that watches nothing.
#[derive(Clone, Copy, Debug)]
struct Squares {
    enter: i64,
    leave: i64,
}

impl From<Option<Sight>> for Squares {
    fn from(sight: Option<Sight>) -> Self {
        let square = |radius: u32| i64::from(radius) * i64::from(radius);
        match sight {
            Some(sight) => Self { enter: square(sight.enter), leave: square(sight.leave) },
            None => Self { enter: -1, leave: -1 },
        }
    }
}

/// Identifies one entity of one grid; stale once it has been removed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntityId {
    slot: u32,
    generation: u32,
}

impl EntityId {
    /// The entity's slot in the grid's table: small, and reused, so that a `Vec` beside the grid can hold data per
    /// entity.
    pub fn slot(self) -> u32 {
        self.slot
    }
}

impl fmt::Debug for EntityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "e{}.{}", self.slot, self.generation)
    }
}

/// A change to report to a watcher. For each pair, enters and leaves alternate, starting with an enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// The watcher sees the entity from now on.
    Enter {
        /// The entity that sees.
        watcher: EntityId,
        /// The entity that is seen.
        entity: EntityId,
    },
    /// The watcher does not see the entity any more.
    Leave {
        /// The entity that saw.
        watcher: EntityId,
        /// The entity that was seen.
        entity: EntityId,
    },
}

/// What is to be put into a grid.
#[derive(Clone, Copy, Debug)]
pub struct Entity {
    /// Where it is.
    pub at: Point,
    /// How far it sees; `None` for what only is seen.
    pub sight: Option<Sight>,
    /// Whether others see it: a camera is not seen.
    pub visible: bool,
}

/// One entity that a watcher sees.
#[derive(Clone, Copy, Debug)]
struct Seen {
    slot: u32,
    /// The round in which the watcher was last sent it.
    told: u32,
}

/// An entity in its slot.
#[derive(Debug)]
struct Body {
    at: Point,
    squares: Squares,
    /// The round in which it last changed.
    changed: u32,
    generation: u32,
    /// Its index in the list of its cell; `None` in a free slot.
    place: Option<u32>,
    visible: bool,
    /// The entities that it sees, in order of slots.
    seen: Vec<Seen>,
    /// Slots of the entities that it sees and was not introduced to, in order; always empty without introductions.
    waiting: Vec<u32>,
    /// Bytes left in this round's budget; negative if the last entity exceeded it.
    credit_bytes: i64,
    /// The round for which it was last given its bytes.
    credited: u32,
}

/// Entities in a plane, and which of them see each other.
pub struct Grid {
    bodies: Vec<Body>,
    free: VecDeque<u32>,
    cells: Cells,
    sight_max: u32,
    /// The number of this round; the first is 1.
    round: u32,
    /// Whether any watcher was sent a change in this round.
    told: bool,
    /// Whether an enter waits until its watcher is introduced.
    introduces: bool,
    /// Kept between calls so that they allocate nothing.
    ranking: Vec<u64>,
    nearest: Vec<(i64, u32)>,
}

impl Grid {
    /// An empty plane in which no watcher sees farther than `sight_max` units (1 to 2^29).
    pub fn new(sight_max: u32) -> Self {
        assert!((1..=1 << 29).contains(&sight_max), "a sight of {sight_max} units is outside 1 to 2^29");
        Self {
            bodies: Vec::new(),
            free: VecDeque::new(),
            cells: Cells::default(),
            sight_max,
            round: 1,
            told: false,
            introduces: false,
            ranking: Vec::new(),
            nearest: Vec::new(),
        }
    }

    /// Entities in the plane.
    pub fn len(&self) -> usize {
        self.bodies.len() - self.free.len()
    }

    /// Whether the plane is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where an entity is; `None` for a stale name.
    pub fn at(&self, id: EntityId) -> Option<Point> {
        self.slot(id).map(|slot| self.bodies[slot as usize].at)
    }

    /// The entities that a watcher sees, introduced or not, in order of their slots; empty for a stale id.
    pub fn seen(&self, watcher: EntityId) -> impl Iterator<Item = EntityId> {
        let seen = self.slot(watcher).map(|slot| self.bodies[slot as usize].seen.as_slice());
        seen.unwrap_or_default().iter().map(|seen| name(&self.bodies, seen.slot))
    }

    /// Adds an entity; the resulting enters are appended to `changes`.
    pub fn insert(&mut self, entity: Entity, changes: &mut Vec<Change>) -> EntityId {
        self.assert_sight(entity.sight);
        let changed = self.stamp();
        let slot = self.free.pop_front().unwrap_or_else(|| self.add_slot());
        let cell = self.cell(entity.at);
        let squares = Squares::from(entity.sight);
        let occupant = Occupant { at: entity.at, slot, visible: entity.visible, squares };
        let body = &mut self.bodies[slot as usize];
        body.place = Some(self.cells.enter(cell, occupant));
        (body.at, body.squares, body.visible, body.changed) = (entity.at, squares, entity.visible, changed);
        (body.credit_bytes, body.credited) = (0, self.round.wrapping_sub(1));
        for cell in self.around(entity.at).cells() {
            let step = Step { occupant, from: None, to: Some(entity.at), telling: self.telling() };
            judge(&mut self.bodies, &self.cells, cell, &step, changes);
        }
        name(&self.bodies, slot)
    }

    /// Moves an entity; the resulting changes, for it and for its watchers, are appended to `changes`. Returns
    /// `false` for a stale id.
    pub fn move_to(&mut self, id: EntityId, to: Point, changes: &mut Vec<Change>) -> bool {
        let Some(slot) = self.slot(id) else { return false };
        let changed = self.stamp();
        let body = &mut self.bodies[slot as usize];
        let (from, squares, visible) = (body.at, body.squares, body.visible);
        if from == to {
            return true;
        }
        (body.at, body.changed) = (to, changed);
        let occupant = Occupant { at: to, slot, visible, squares };
        let step = Step { occupant, from: Some(from), to: Some(to), telling: self.telling() };
        let (here, there) = (self.around(from), self.around(to));
        for cell in here.cells().chain(there.cells().filter(|cell| !here.has(*cell))) {
            judge(&mut self.bodies, &self.cells, cell, &step, changes);
        }
        let place = self.bodies[slot as usize].place.expect("a live entity stands in a cell");
        let (old, new) = (self.cell(from), self.cell(to));
        if old == new {
            self.cells.update(old, place, occupant);
        } else {
            self.leave_cell(old, place);
            self.bodies[slot as usize].place = Some(self.cells.enter(new, occupant));
        }
        true
    }

    /// Marks an entity as changed without a move, for example in its looks. Returns `false` for a stale id.
    pub fn touch(&mut self, id: EntityId) -> bool {
        let changed = self.stamp();
        let slot = self.slot(id);
        if let Some(slot) = slot {
            self.bodies[slot as usize].changed = changed;
        }
        slot.is_some()
    }

    /// Changes a watcher's sight; the resulting enters and leaves are appended to `changes`. Returns `false` for a
    /// stale id.
    pub fn set_sight(&mut self, id: EntityId, sight: Option<Sight>, changes: &mut Vec<Change>) -> bool {
        self.assert_sight(sight);
        let Some(slot) = self.slot(id) else { return false };
        let body = &mut self.bodies[slot as usize];
        let (at, visible, squares) = (body.at, body.visible, Squares::from(sight));
        body.squares = squares;
        let place = body.place.expect("a live entity stands in a cell");
        self.cells.update(self.cell(at), place, Occupant { at, slot, visible, squares });
        let mut seen = std::mem::take(&mut self.bodies[slot as usize].seen);
        seen.retain(|seen| {
            let keeps = self.bodies[seen.slot as usize].at.distance_squared(at) <= squares.leave;
            if !keeps {
                forget(&mut self.bodies, slot, seen.slot, changes);
            }
            keeps
        });
        self.bodies[slot as usize].seen = seen;
        let telling = self.telling();
        for cell in self.around(at).cells() {
            for other in self.cells.list(cell).iter().filter(|other| other.visible && other.slot != slot) {
                if other.at.distance_squared(at) <= squares.enter {
                    see(&mut self.bodies, slot, other.slot, telling, changes);
                }
            }
        }
        true
    }

    /// Removes an entity; the leaves for its watchers and for itself are appended to `changes`. Its id is stale from
    /// now on. Returns `false` if it was stale before.
    pub fn remove(&mut self, id: EntityId, changes: &mut Vec<Change>) -> bool {
        let Some(slot) = self.slot(id) else { return false };
        let body = &self.bodies[slot as usize];
        let at = body.at;
        let occupant = Occupant { at, slot, visible: body.visible, squares: body.squares };
        let step = Step { occupant, from: Some(at), to: None, telling: self.telling() };
        for cell in self.around(at).cells() {
            judge(&mut self.bodies, &self.cells, cell, &step, changes);
        }
        let body = &mut self.bodies[slot as usize];
        assert!(body.seen.is_empty(), "whom a watcher sees is never farther than its sight");
        body.generation = body.generation.wrapping_add(1);
        let place = body.place.take().expect("a live entity stands in a cell");
        self.leave_cell(self.cell(at), place);
        self.free.push_back(slot);
        true
    }

    /// The slot of a name that is not stale.
    fn slot(&self, id: EntityId) -> Option<u32> {
        let body = self.bodies.get(id.slot as usize)?;
        (body.generation == id.generation && body.place.is_some()).then_some(id.slot)
    }

    fn add_slot(&mut self) -> u32 {
        let slot = u32::try_from(self.bodies.len()).expect("fewer than 2^32 entities");
        self.bodies.push(Body {
            at: Point::default(),
            squares: Squares::from(None),
            changed: 0,
            generation: 0,
            place: None,
            visible: false,
            seen: Vec::new(),
            waiting: Vec::new(),
            credit_bytes: 0,
            credited: 0,
        });
        slot
    }

    fn telling(&self) -> Telling {
        Telling { round: self.round, introduces: self.introduces }
    }

    fn leave_cell(&mut self, cell: Cell, place: u32) {
        if let Some(moved) = self.cells.leave(cell, place) {
            self.bodies[moved as usize].place = Some(place);
        }
    }

    fn assert_sight(&self, sight: Option<Sight>) {
        let leave = sight.map_or(0, |sight| sight.leave);
        assert!(
            leave <= self.sight_max,
            "this grid was made for sights of {} units, not {leave}",
            self.sight_max
        );
    }

    fn cell(&self, at: Point) -> Cell {
        Cell::of(at, self.sight_max)
    }

    fn around(&self, at: Point) -> cells::Span {
        cells::Span::around(at, self.sight_max)
    }
}

impl fmt::Debug for Grid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Grid({} entities, round {})", self.len(), self.round)
    }
}

/// An entity's move; without a `from` it is added, without a `to` it is removed.
struct Step {
    occupant: Occupant,
    from: Option<Point>,
    to: Option<Point>,
    telling: Telling,
}

/// How an enter is reported: in which round, and whether only once its watcher is introduced.
#[derive(Clone, Copy)]
struct Telling {
    round: u32,
    introduces: bool,
}

/// Computes what a step changes between an entity and the entities in one cell, in both directions.
fn judge(bodies: &mut [Body], cells: &Cells, cell: Cell, step: &Step, changes: &mut Vec<Change>) {
    let one = &step.occupant;
    // Nowhere is farther than any sight.
    let far = |other: &Occupant, at: Option<Point>| at.map_or(i64::MAX, |at| at.distance_squared(other.at));
    for other in cells.list(cell).iter().filter(|other| other.slot != one.slot) {
        let (before, after) = (far(other, step.from), far(other, step.to));
        for (watcher, entity) in [(other, one), (one, other)] {
            let Squares { enter, leave } = watcher.squares;
            // Between the two radii the state does not change, so only a crossing needs a lookup.
            if after <= enter && before > enter && entity.visible {
                see(bodies, watcher.slot, entity.slot, step.telling, changes);
            } else if after > leave && before <= leave {
                lose(bodies, watcher.slot, entity.slot, changes);
            }
        }
    }
}

fn see(bodies: &mut [Body], watcher: u32, entity: u32, telling: Telling, changes: &mut Vec<Change>) {
    let body = &mut bodies[watcher as usize];
    if let Err(place) = body.seen.binary_search_by_key(&entity, |seen| seen.slot) {
        // The previous round, because a change in this round may follow the enter.
        body.seen.insert(place, Seen { slot: entity, told: telling.round.wrapping_sub(1) });
        if telling.introduces {
            let place = body.waiting.partition_point(|other| *other < entity);
            body.waiting.insert(place, entity);
        } else {
            changes.push(Change::Enter { watcher: name(bodies, watcher), entity: name(bodies, entity) });
        }
    }
}

fn lose(bodies: &mut [Body], watcher: u32, entity: u32, changes: &mut Vec<Change>) {
    let seen = &mut bodies[watcher as usize].seen;
    if let Ok(place) = seen.binary_search_by_key(&entity, |seen| seen.slot) {
        seen.remove(place);
        forget(bodies, watcher, entity, changes);
    }
}

/// An entity leaves a watcher's sight: a leave is reported if its enter was.
fn forget(bodies: &mut [Body], watcher: u32, entity: u32, changes: &mut Vec<Change>) {
    let waiting = &mut bodies[watcher as usize].waiting;
    match waiting.binary_search(&entity) {
        Ok(place) => drop(waiting.remove(place)),
        Err(_) => {
            changes.push(Change::Leave { watcher: name(bodies, watcher), entity: name(bodies, entity) })
        }
    }
}

fn name(bodies: &[Body], slot: u32) -> EntityId {
    EntityId { slot, generation: bodies[slot as usize].generation }
}
