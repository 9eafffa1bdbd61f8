//! The budget of a watcher: which changes it is sent in a round when its bytes do not suffice for all. Near entities
//! come first, but entities that have waited long overtake, so that a crowd in one place is sent less often and no
//! entity starves.
//!
//! The caller tells how many bytes an entity takes.

use crate::grid::{EntityId, Grid, Seen, name};

/// Number of entities that are sorted before the bytes of one are known.
const FIRST_SORTED: usize = 32;

/// What [`Grid::choose`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    /// Entities that were chosen.
    pub entities: usize,
    /// What they take together, in bytes.
    pub bytes: u64,
    /// Entities that have changed and wait for a later round.
    pub waiting: usize,
}

impl Grid {
    /// Begins the next round, in which every watcher gets a new budget. Call it once per tick of the game.
    pub fn begin_round(&mut self) {
        self.round = self.round.wrapping_add(1);
        self.told = false;
    }

    /// The round in which a change made now is to be sent: the next one, if a watcher was sent a change already.
    pub(super) fn stamp(&self) -> u32 {
        self.round.wrapping_add(u32::from(self.told))
    }

    /// Chooses the entities that a watcher is sent in this round: those that it sees and that have changed since it
    /// was last sent them, appended to `chosen` in order of priority, as long as there are bytes.
    ///
    /// The priority is the square of the rounds since the watcher was sent the entity, divided by the square of its
    /// distance; the last sixteenth of the sight counts as no distance. So no entity waits more than about sixteen
    /// times as long as the nearest. The last one chosen may exceed the budget; that is deducted from the next
    /// rounds, so that any n consecutive rounds take at most n budgets and one entity more. Enters and leaves are not
    /// part of the budget. A stale id has no effect.
    pub fn choose(
        &mut self,
        watcher: EntityId,
        budget_bytes: u32,
        mut bytes_of: impl FnMut(EntityId) -> u32,
        chosen: &mut Vec<EntityId>,
    ) -> Chosen {
        let Some(slot) = self.slot(watcher) else { return Chosen::default() };
        self.told = true;
        let mut seen = std::mem::take(&mut self.bodies[slot as usize].seen);
        let mut ranking = self.rank(slot, &seen);
        let round = self.round;
        let body = &mut self.bodies[slot as usize];
        if body.credited != round {
            body.credit_bytes = body.credit_bytes.min(0) + i64::from(budget_bytes);
            body.credited = round;
        }
        let mut credit = body.credit_bytes;
        let mut total = Chosen::default();
        while credit > 0 && !ranking.is_empty() {
            let sorted = sort_the_most_urgent(&mut ranking, expected(credit, total));
            for _ in 0..sorted {
                if credit <= 0 {
                    break;
                }
                let one = &mut seen[index(ranking.pop().expect("as many as were sorted"))];
                one.told = round;
                let entity = name(&self.bodies, one.slot);
                let bytes = bytes_of(entity);
                credit -= i64::from(bytes);
                total.bytes += u64::from(bytes);
                total.entities += 1;
                chosen.push(entity);
            }
        }
        total.waiting = ranking.len();
        let body = &mut self.bodies[slot as usize];
        (body.credit_bytes, body.seen) = (credit, seen);
        self.ranking = ranking;
        total
    }

    /// The entities that have changed since the watcher was sent them, in no order.
    fn rank(&mut self, watcher: u32, seen: &[Seen]) -> Vec<u64> {
        let mut keys = std::mem::take(&mut self.ranking);
        keys.clear();
        let (at, leave) = {
            let body = &self.bodies[watcher as usize];
            (body.at, body.squares.leave)
        };
        let near = (leave / (16 * 16) + 1) as f32;
        // An entity that was not introduced has no old position at the watcher. Both lists are in order of slots.
        let mut unknown = self.bodies[watcher as usize].waiting.iter().peekable();
        let is_known = move |one: &Seen| unknown.next_if(|slot| **slot == one.slot).is_none();
        let known = seen
            .iter()
            .enumerate()
            .scan(is_known, |is_known, (index, one)| Some((index, one, is_known(one))));
        keys.extend(known.filter(|(.., known)| *known).filter_map(|(index, one, _)| {
            let body = &self.bodies[one.slot as usize];
            // The counter wraps around after years: the sign of the difference tells which is later.
            let news = body.changed.wrapping_sub(one.told).cast_signed() > 0;
            let age = self.round.wrapping_sub(one.told) as f32;
            let urgency = age * age / (body.at.distance_squared(at) as f32 + near);
            news.then(|| key(urgency, index))
        }));
        keys
    }
}

/// How many more entities the bytes will suffice for, estimated from those chosen so far.
pub(super) fn expected(credit: i64, total: Chosen) -> usize {
    match total.bytes.checked_div(total.entities as u64) {
        Some(each) => (credit.cast_unsigned() / each.max(1)) as usize + 1,
        None => FIRST_SORTED,
    }
}

/// Moves this many of the largest keys to the end, sorted, and returns how many there are: sorting a whole crowd to
/// choose a few would take most of the time.
pub(super) fn sort_the_most_urgent<T: Ord>(ranking: &mut [T], count: usize) -> usize {
    let rest = ranking.len().saturating_sub(count);
    if rest > 0 {
        ranking.select_nth_unstable(rest);
    }
    ranking[rest..].sort_unstable();
    ranking.len() - rest
}

/// Urgency and index in one word, ordered by urgency and then by the smaller index. Non-negative floats are ordered
/// as their bits are.
fn key(urgency: f32, index: usize) -> u64 {
    u64::from(urgency.to_bits()) << 32 | u64::from(u32::MAX - index as u32)
}

fn index(key: u64) -> usize {
    (u32::MAX - key as u32) as usize
}
