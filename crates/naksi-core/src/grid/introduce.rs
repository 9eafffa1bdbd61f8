//! Delayed enters: of the entities that came into view, a watcher is told of a limited number per round, nearest
//! first, so that a crowd that appears at once is spread over several rounds.
//!
//! The caller tells how many bytes an enter takes.

use super::budget::{Chosen, expected, sort_the_most_urgent};
use super::{Change, EntityId, Grid, name};

impl Grid {
    /// As [`Grid::new`], but enters are reported only by [`Grid::introduce`]: a move appends only leaves, and only of
    /// entities whose enter was reported. An entity that comes into view and leaves again before is never reported.
    ///
    /// # Panics
    /// As [`Grid::new`].
    pub fn introducing(sight_max: u32) -> Self {
        Self { introduces: true, ..Self::new(sight_max) }
    }

    /// Reports to a watcher the entities in view that it does not know yet, nearest first, as long as there are
    /// bytes; the last one may exceed them. They are appended to `changes`. Returns the number reported, their bytes,
    /// and how many wait for a later call. No effect for a stale id, or in a grid that was made by [`Grid::new`].
    pub fn introduce(
        &mut self,
        watcher: EntityId,
        budget_bytes: u32,
        mut bytes_of: impl FnMut(EntityId) -> u32,
        changes: &mut Vec<Change>,
    ) -> Chosen {
        let mut total = Chosen::default();
        let Some(slot) = self.slot(watcher).filter(|slot| !self.bodies[*slot as usize].waiting.is_empty())
        else {
            return total;
        };
        let mut waiting = std::mem::take(&mut self.bodies[slot as usize].waiting);
        let mut nearest = std::mem::take(&mut self.nearest);
        let (at, bodies) = (self.bodies[slot as usize].at, &self.bodies);
        // The nearest have the largest keys; ties go to the smaller slot.
        let key = |other: u32| (-bodies[other as usize].at.distance_squared(at), u32::MAX - other);
        nearest.clear();
        nearest.extend(waiting.drain(..).map(key));
        let (mut credit, first) = (i64::from(budget_bytes), changes.len());
        while credit > 0 && !nearest.is_empty() {
            for _ in 0..sort_the_most_urgent(&mut nearest, expected(credit, total)) {
                if credit <= 0 {
                    break;
                }
                let (_, other) = nearest.pop().expect("as many as were sorted");
                let entity = name(bodies, u32::MAX - other);
                let bytes = bytes_of(entity);
                credit -= i64::from(bytes);
                (total.entities, total.bytes) = (total.entities + 1, total.bytes + u64::from(bytes));
                changes.push(Change::Enter { watcher, entity });
            }
        }
        waiting.extend(nearest.iter().map(|(_, other)| u32::MAX - other));
        waiting.sort_unstable();
        total.waiting = waiting.len();
        let body = &mut self.bodies[slot as usize];
        body.waiting = waiting;
        for change in &changes[first..] {
            if let Change::Enter { entity, .. } = change
                && let Ok(place) = body.seen.binary_search_by_key(&entity.slot, |seen| seen.slot)
            {
                // As when an entity comes into view: a change in this round may follow the enter.
                body.seen[place].told = self.round.wrapping_sub(1);
            }
        }
        self.nearest = nearest;
        total
    }

    /// Whether a watcher sees an entity and was told of it. `false` for stale ids.
    pub fn knows(&self, watcher: EntityId, entity: EntityId) -> bool {
        let (Some(slot), Some(other)) = (self.slot(watcher), self.slot(entity)) else { return false };
        let body = &self.bodies[slot as usize];
        let waits = !body.waiting.is_empty() && body.waiting.binary_search(&other).is_ok();
        !waits && body.seen.binary_search_by_key(&other, |seen| seen.slot).is_ok()
    }
}
