//! Tests of the grid against its plain definition, and of the budget against its guarantees.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::prng::Prng;

fn player(at: Point, sight: Sight) -> Entity {
    Entity { at, sight: Some(sight), visible: true }
}

/// The same by comparing everybody with everybody, from the definition.
#[derive(Default)]
struct BruteForce {
    entities: BTreeMap<EntityId, Entity>,
    seen: BTreeSet<(EntityId, EntityId)>,
}

impl BruteForce {
    fn settle(&mut self) -> BTreeSet<Change> {
        let mut changes = BTreeSet::new();
        let entities = self.entities.clone();
        self.seen.retain(|(watcher, entity)| {
            let stays = entities.contains_key(watcher) && entities.contains_key(entity);
            if !stays {
                changes.insert(Change::Leave { watcher: *watcher, entity: *entity });
            }
            stays
        });
        for (watcher, one) in &entities {
            for (entity, other) in entities.iter().filter(|(entity, _)| *entity != watcher) {
                let distance =
                    f64::from(one.at.x() - other.at.x()).hypot(f64::from(one.at.y() - other.at.y()));
                let within = |radius: u32| distance <= f64::from(radius);
                let before = self.seen.contains(&(*watcher, *entity));
                let radius = one.sight.map(|sight| if before { sight.leave } else { sight.enter });
                let after = other.visible && radius.is_some_and(within);
                if after && !before {
                    self.seen.insert((*watcher, *entity));
                    changes.insert(Change::Enter { watcher: *watcher, entity: *entity });
                } else if before && !after {
                    self.seen.remove(&(*watcher, *entity));
                    changes.insert(Change::Leave { watcher: *watcher, entity: *entity });
                }
            }
        }
        changes
    }
}

fn random_sight(chance: &mut Prng) -> Option<Sight> {
    chance.chance(49_152).then(|| Sight::new(chance.below(60) as u32, chance.below(101) as u32))
}

/// A point in a small plane with its corners at the edges of cells, so that every border is hit.
fn random_point(chance: &mut Prng) -> Point {
    let coordinate = |chance: &mut Prng| 10 * (chance.below(60) as i32 - 30);
    let (x, y) = (coordinate(chance), coordinate(chance));
    Point::new(x, y)
}

/// A random step: an entity is added or removed, changes its sight, or moves near or far.
fn random_step(
    chance: &mut Prng,
    grid: &mut Grid,
    truth: &mut BruteForce,
    changes: &mut Vec<Change>,
    stale: &mut Vec<EntityId>,
) {
    let live: Vec<EntityId> = truth.entities.keys().copied().collect();
    let one = (!live.is_empty()).then(|| live[chance.below(live.len() as u64) as usize]);
    match (chance.below(10), one) {
        (0..=1, _) | (_, None) if live.len() < 60 => {
            let (at, sight) = (random_point(chance), random_sight(chance));
            let entity = Entity { at, sight, visible: chance.chance(58_000) };
            let id = grid.insert(entity, changes);
            assert!(truth.entities.insert(id, entity).is_none(), "{id:?} was given twice");
        }
        (2, Some(id)) => {
            assert!(grid.remove(id, changes));
            truth.entities.remove(&id);
            stale.push(id);
        }
        (3, Some(id)) => {
            let sight = random_sight(chance);
            assert!(grid.set_sight(id, sight, changes));
            truth.entities.get_mut(&id).expect("live").sight = sight;
        }
        (4, Some(id)) => {
            let to = random_point(chance);
            assert!(grid.move_to(id, to, changes));
            truth.entities.get_mut(&id).expect("live").at = to;
        }
        (_, Some(id)) => {
            let at = grid.at(id).expect("live");
            let by = |chance: &mut Prng| chance.below(41) as i32 - 20;
            let to = Point::new(at.x() + by(chance), at.y() + by(chance));
            assert!(grid.move_to(id, to, changes));
            truth.entities.get_mut(&id).expect("live").at = to;
        }
        (_, None) => {}
    }
}

#[test]
fn every_enter_and_leave_is_the_one_that_comparing_everybody_gives() {
    for seed in 0..40 {
        let mut chance = Prng::new(seed);
        let (mut grid, mut truth) = (Grid::new(100), BruteForce::default());
        let (mut changes, mut stale) = (Vec::new(), Vec::new());
        for step in 0..600 {
            changes.clear();
            random_step(&mut chance, &mut grid, &mut truth, &mut changes, &mut stale);
            let told: BTreeSet<Change> = changes.iter().copied().collect();
            assert_eq!(told.len(), changes.len(), "seed {seed} step {step}: a change was told twice");
            assert_eq!(told, truth.settle(), "seed {seed} step {step}");
            assert_eq!(grid.len(), truth.entities.len());
        }
        for id in stale {
            changes.clear();
            assert!(!grid.move_to(id, Point::new(0, 0), &mut changes) && !grid.remove(id, &mut changes));
            assert!(!grid.set_sight(id, None, &mut changes) && !grid.touch(id) && changes.is_empty());
        }
        for watcher in truth.entities.keys() {
            let wanted: Vec<EntityId> =
                truth.seen.iter().filter(|pair| pair.0 == *watcher).map(|pair| pair.1).collect();
            let mut found: Vec<EntityId> = grid.seen(*watcher).collect();
            found.sort_unstable();
            assert_eq!(found, wanted, "seed {seed}");
        }
    }
}

/// Introduces a watcher within a budget, and expects the nearest entities that it sees and does not know.
fn introduce(
    grid: &mut Grid,
    watcher: EntityId,
    budget_bytes: u32,
    truth: &BruteForce,
    known: &mut BTreeSet<(EntityId, EntityId)>,
) {
    let mut changes = Vec::new();
    let told = grid.introduce(watcher, budget_bytes, |entity| 5 + entity.slot() % 10, &mut changes);
    let last = changes.last().map_or(0, |change| match change {
        Change::Enter { entity, .. } => 5 + u64::from(entity.slot() % 10),
        Change::Leave { .. } => panic!("no entity is introduced by a leave"),
    });
    assert!(told.bytes < u64::from(budget_bytes) + last.max(1), "{told:?} for {budget_bytes}");
    let here = truth.entities[&watcher].at;
    let far = |entity: &EntityId| here.distance_squared(truth.entities[entity].at);
    let mut distances = Vec::new();
    for change in &changes {
        let Change::Enter { watcher: who, entity } = change else { panic!("{change:?}") };
        assert!(*who == watcher && truth.seen.contains(&(watcher, *entity)));
        assert!(known.insert((watcher, *entity)), "{entity:?} is told of twice");
        distances.push(far(entity));
    }
    assert!(distances.is_sorted() && told.entities == distances.len());
    let waits = truth.seen.difference(known).filter(|pair| pair.0 == watcher).map(|pair| far(&pair.1));
    let waits: Vec<i64> = waits.collect();
    assert_eq!(told.waiting, waits.len());
    // Either all were reported, or all bytes were used and no nearer entity waits.
    assert!(waits.is_empty() || told.bytes >= u64::from(budget_bytes));
    assert!(distances.last().is_none_or(|last| waits.iter().all(|far| far >= last)));
}

#[test]
fn introductions_within_a_budget_pair_with_leaves_and_come_to_what_comparing_everybody_gives() {
    for seed in 0..40 {
        let mut chance = Prng::new(seed);
        let (mut grid, mut truth) = (Grid::introducing(100), BruteForce::default());
        let (mut changes, mut stale, mut known) = (Vec::new(), Vec::new(), BTreeSet::new());
        for step in 0..400 {
            changes.clear();
            if chance.below(5) == 0 {
                grid.begin_round();
            }
            random_step(&mut chance, &mut grid, &mut truth, &mut changes, &mut stale);
            truth.settle();
            for change in &changes {
                let Change::Leave { watcher, entity } = change else {
                    panic!("{change:?} was not asked for")
                };
                assert!(
                    known.remove(&(*watcher, *entity)),
                    "seed {seed} step {step}: {change:?} of an unknown entity"
                );
            }
            assert!(known.is_subset(&truth.seen), "seed {seed} step {step}: a leave was not told");
            let live: Vec<EntityId> = truth.entities.keys().copied().collect();
            let Some(one) = live.get(chance.below(live.len().max(1) as u64) as usize).copied() else {
                continue;
            };
            if chance.below(2) == 0 {
                introduce(&mut grid, one, chance.below(60) as u32, &truth, &mut known);
            }
            for other in &live {
                assert_eq!(
                    grid.knows(one, *other),
                    known.contains(&(one, *other)),
                    "seed {seed} step {step}"
                );
            }
            let mut chosen = Vec::new();
            grid.choose(one, 1_000, |_| 1, &mut chosen);
            assert!(
                chosen.iter().all(|entity| known.contains(&(one, *entity))),
                "only known entities are chosen"
            );
        }
        for watcher in truth.entities.keys().copied().collect::<Vec<_>>() {
            introduce(&mut grid, watcher, u32::MAX, &truth, &mut known);
        }
        assert_eq!(known, truth.seen, "seed {seed}");
        assert!(stale.iter().all(|id| grid.introduce(*id, 9, |_| 1, &mut changes) == Chosen::default()));
    }
}

#[test]
fn both_radii_belong_to_the_sight_and_between_them_what_was_stays() {
    let mut grid = Grid::new(20);
    let mut changes = Vec::new();
    let watcher = grid.insert(player(Point::new(0, 0), Sight::new(10, 20)), &mut changes);
    let entity = Entity { at: Point::new(100, 0), sight: None, visible: true };
    let entity = grid.insert(entity, &mut changes);
    let (enter, leave) = (Change::Enter { watcher, entity }, Change::Leave { watcher, entity });
    for (x, told) in [
        (21, None),
        (11, None),
        (10, Some(enter)),
        (11, None),
        (20, None),
        (10, None),
        (20, None),
        (21, Some(leave)),
        (20, None),
        (-10, Some(enter)),
        (1_000_000, Some(leave)),
    ] {
        changes.clear();
        grid.move_to(entity, Point::new(x, 0), &mut changes);
        assert_eq!(changes, Vec::from_iter(told), "at {x}");
    }
}

#[test]
fn the_edges_of_the_plane_hold_what_is_sent_beyond_them() {
    let mut grid = Grid::new(1 << 29);
    let mut changes = Vec::new();
    let sight = Sight::new(1 << 29, 1 << 29);
    let corners = [(i32::MIN, i32::MIN), (i32::MIN, i32::MAX), (i32::MAX, i32::MIN), (i32::MAX, i32::MAX)];
    for (x, y) in corners {
        grid.insert(player(Point::new(x, y), sight), &mut changes);
    }
    assert!(changes.is_empty(), "{changes:?}");
    grid.insert(player(Point::new(i32::MAX, i32::MAX), sight), &mut changes);
    assert_eq!(changes.len(), 2);
}

#[test]
fn the_longest_distance_of_the_plane_is_exact() {
    let (first, last) = (Point::new(i32::MIN, i32::MIN), Point::new(i32::MAX, i32::MAX));
    assert_eq!((first.x(), last.y()), (-1_073_741_823, 1_073_741_823));
    let side = 2 * 1_073_741_823_i64;
    assert_eq!(first.distance_squared(last), 2 * side * side);
}

/// Everything that a grid has allocated, in entries.
fn capacity(grid: &Grid) -> usize {
    let seen: usize = grid.bodies.iter().map(|body| body.seen.capacity()).sum();
    grid.bodies.capacity() + grid.free.capacity() + grid.cells.capacity() + grid.ranking.capacity() + seen
}

#[test]
fn a_crowd_that_goes_where_it_has_been_allocates_nothing() {
    let mut grid = Grid::new(100);
    let (mut changes, mut chosen) = (Vec::new(), Vec::new());
    let mut chance = Prng::new(7);
    let crowd: Vec<EntityId> = (0..300)
        .map(|_| grid.insert(player(random_point(&mut chance), Sight::new(80, 100)), &mut changes))
        .collect();
    let mut allocated = Vec::new();
    for lap in 0..6 {
        for step in 0..40 {
            grid.begin_round();
            for (index, id) in crowd.iter().enumerate() {
                let (x, y) = ((index as i32 * 37 + step * 50) % 600, (index as i32 * 91 + step * 30) % 600);
                changes.clear();
                grid.move_to(*id, Point::new(x, y), &mut changes);
                chosen.clear();
                grid.choose(*id, 500, |_| 20, &mut chosen);
            }
        }
        allocated.push((lap, capacity(&grid)));
    }
    let last = allocated.len() - 1;
    assert_eq!(allocated[last].1, allocated[last - 2].1, "{allocated:?}");
}

/// A thousand players in one place that all move in every round, one of them a watcher.
fn crowd(grid: &mut Grid) -> Vec<EntityId> {
    let mut changes = Vec::new();
    (0..1000).map(|_| grid.insert(player(Point::new(5, 5), Sight::new(80, 100)), &mut changes)).collect()
}

#[test]
fn in_a_thousand_on_one_spot_everybody_is_told_of_in_turn_and_within_the_budget() {
    let mut grid = Grid::new(100);
    let crowd = crowd(&mut grid);
    let mut last_told: BTreeMap<EntityId, u32> = BTreeMap::new();
    let (mut changes, mut chosen, mut bytes) = (Vec::new(), Vec::new(), 0);
    for round in 1..=200 {
        grid.begin_round();
        for (index, id) in crowd.iter().enumerate() {
            grid.move_to(*id, Point::new((index as i32 + round) % 3, round % 2), &mut changes);
            grid.touch(*id);
        }
        chosen.clear();
        let found = grid.choose(crowd[0], 1000, |_| 20, &mut chosen);
        bytes += found.bytes;
        assert_eq!((found.entities, found.waiting), (50, 949));
        assert!(bytes <= 1000 * round as u64);
        for id in &chosen {
            let before = last_told.insert(*id, round as u32).unwrap_or(0);
            // 999 others at 50 a round take 20 rounds; the few units of distance make almost no difference.
            assert!(round as u32 - before <= 21, "{id:?} waited from {before} to {round}");
        }
    }
    assert!(changes.is_empty(), "no entity comes or goes on one spot");
    assert_eq!(last_told.len(), 999);
    assert!(last_told.values().all(|last| 200 - last <= 21));
}

#[test]
fn the_nearest_are_told_first_and_the_farthest_are_not_forgotten() {
    let mut grid = Grid::new(1000);
    let mut changes = Vec::new();
    let watcher = grid.insert(player(Point::new(0, 0), Sight::new(1000, 1000)), &mut changes);
    let others: Vec<EntityId> = (1..=100)
        .map(|step| {
            let at = Point::new(10 * step, 0);
            grid.insert(Entity { at, sight: None, visible: true }, &mut changes)
        })
        .collect();
    let mut told = vec![Vec::new(); others.len()];
    for round in 1..=400_u32 {
        grid.begin_round();
        others.iter().for_each(|id| assert!(grid.touch(*id)));
        let mut chosen = Vec::new();
        grid.choose(watcher, 100, |_| 10, &mut chosen);
        if round == 1 {
            assert_eq!(chosen, others[..10], "the ten nearest, in order");
        }
        for id in chosen {
            told[others.iter().position(|other| *other == id).expect("an other")].push(round);
        }
    }
    let longest_wait =
        |rounds: &Vec<u32>| rounds.windows(2).map(|pair| pair[1] - pair[0]).max().expect("told often");
    let (nearest, farthest) = (longest_wait(&told[0]), longest_wait(&told[99]));
    assert!(nearest <= 3 && farthest <= 16 * nearest, "nearest {nearest} rounds, farthest {farthest}");
    let (often, seldom) = (told[0].len(), told[99].len());
    assert!(often >= 8 * seldom, "the nearest {often} times, the farthest {seldom}");
    assert!(told.windows(2).all(|pair| pair[0].len() + 3 >= pair[1].len()), "who is nearer is told as often");
}

#[test]
fn no_change_is_lost_and_what_has_not_changed_is_not_told() {
    let mut grid = Grid::new(100);
    let mut changes = Vec::new();
    let sight = Sight::new(100, 100);
    let (one, other) = (
        grid.insert(player(Point::new(0, 0), sight), &mut changes),
        grid.insert(player(Point::new(1, 0), sight), &mut changes),
    );
    let told = |grid: &mut Grid| {
        let mut chosen = Vec::new();
        grid.choose(one, 1000, |_| 10, &mut chosen);
        chosen
    };
    told(&mut grid);
    for _ in 0..3 {
        grid.begin_round();
        assert_eq!(told(&mut grid), [], "nothing has changed");
        assert!(grid.touch(other));
        grid.begin_round();
        assert_eq!(told(&mut grid), [other]);
        // A second change in the same round, after the first was sent, belongs to the next round.
        assert!(grid.touch(other));
        grid.begin_round();
        assert_eq!(told(&mut grid), [other]);
    }
}

#[test]
fn an_update_larger_than_the_budget_is_told_and_paid_back() {
    let mut grid = Grid::new(100);
    let mut changes = Vec::new();
    let watcher = grid.insert(player(Point::new(0, 0), Sight::new(100, 100)), &mut changes);
    let large = grid.insert(Entity { at: Point::new(1, 0), sight: None, visible: true }, &mut changes);
    let mut rounds = Vec::new();
    for round in 0..12 {
        grid.begin_round();
        grid.touch(large);
        let mut chosen = Vec::new();
        if grid.choose(watcher, 100, |_| 350, &mut chosen).entities == 1 {
            rounds.push(round);
        }
    }
    assert_eq!(rounds, [0, 3, 7, 10]);
}

#[test]
fn an_entity_is_where_it_was_put_until_it_is_gone_and_its_slot_is_its_own() {
    let (mut grid, mut changes) = (Grid::new(10), Vec::new());
    assert!(grid.is_empty());
    let ids: Vec<EntityId> = (0..3)
        .map(|x| grid.insert(Entity { at: Point::new(x, 7), sight: None, visible: true }, &mut changes))
        .collect();
    assert_eq!(ids.iter().map(|id| id.slot()).collect::<Vec<_>>(), [0, 1, 2], "in order, from nothing");
    assert_eq!((grid.is_empty(), grid.len()), (false, 3));
    assert_eq!(grid.at(ids[2]).map(|at| (at.x(), at.y())), Some((2, 7)));
    assert!(grid.remove(ids[2], &mut changes) && grid.at(ids[2]).is_none());
    let next = grid.insert(player(Point::new(-3, -4), Sight::new(1, 1)), &mut changes);
    assert_eq!((next.slot(), next == ids[2], grid.at(next)), (2, false, Some(Point::new(-3, -4))));
    assert!(grid.at(ids[2]).is_none(), "the old name is not the new entity's");
}

#[test]
fn what_only_is_seen_sees_nobody_not_even_on_its_own_spot() {
    let (mut grid, mut changes) = (Grid::new(10), Vec::new());
    let here = Point::new(1, 1);
    let blind = grid.insert(Entity { at: here, sight: None, visible: true }, &mut changes);
    let other = grid.insert(Entity { at: here, sight: None, visible: true }, &mut changes);
    assert!(changes.is_empty());
    assert!(grid.set_sight(blind, Some(Sight::new(0, 0)), &mut changes));
    assert_eq!(changes.pop(), Some(Change::Enter { watcher: blind, entity: other }));
    assert!(grid.set_sight(blind, None, &mut changes));
    assert_eq!(changes, [Change::Leave { watcher: blind, entity: other }]);
}

#[test]
#[should_panic(expected = "this grid was made for sights of 10 units, not 11")]
fn a_sight_that_is_wider_than_the_grid_was_made_for_is_refused() {
    Grid::new(10).insert(player(Point::default(), Sight::new(1, 11)), &mut Vec::new());
}

#[test]
fn a_sight_as_wide_as_the_grid_was_made_for_is_taken_and_one_of_none_is_no_grid() {
    let mut grid = Grid::new(10);
    grid.insert(player(Point::default(), Sight::new(1, 10)), &mut Vec::new());
    assert!(crate::unwind::catch_panic(|| Grid::new(0)).is_err());
    assert!(crate::unwind::catch_panic(|| Grid::new((1 << 29) + 1)).is_err());
}

#[test]
fn with_a_short_sight_all_on_one_spot_and_beside_it_are_told_of_in_turn() {
    let (mut grid, mut changes) = (Grid::new(2), Vec::new());
    let watcher = grid.insert(player(Point::new(0, 0), Sight::new(2, 2)), &mut changes);
    let others: Vec<EntityId> = [0, 0, 1, 1]
        .into_iter()
        .map(|x| grid.insert(Entity { at: Point::new(x, 0), sight: None, visible: true }, &mut changes))
        .collect();
    let mut told = BTreeMap::new();
    for _ in 0..40 {
        grid.begin_round();
        others.iter().for_each(|id| assert!(grid.touch(*id)));
        let mut chosen = Vec::new();
        assert_eq!(grid.choose(watcher, 1, |_| 1, &mut chosen).entities, 1);
        *told.entry(chosen[0]).or_insert(0) += 1;
    }
    assert!(told.len() == 4 && told.values().all(|times| *times >= 7), "{told:?}");
}

#[test]
fn of_updates_of_all_lengths_as_many_are_told_as_the_bytes_reach() {
    for bytes in [1, 7, 99, 100, 101, 5_000] {
        let (mut grid, mut changes) = (Grid::introducing(1_000), Vec::new());
        let watcher = grid.insert(player(Point::new(0, 0), Sight::new(1_000, 1_000)), &mut changes);
        for x in 1..=200 {
            grid.insert(Entity { at: Point::new(x, 0), sight: None, visible: true }, &mut changes);
        }
        let wanted = 200.min(1_000_u32.div_ceil(bytes)) as usize;
        let told = grid.introduce(watcher, 1_000, |_| bytes, &mut changes);
        assert_eq!((told.entities, told.waiting), (wanted, 200 - wanted), "{bytes} bytes each");
        let seen: Vec<u32> = changes
            .iter()
            .map(|change| match change {
                Change::Enter { entity, .. } | Change::Leave { entity, .. } => entity.slot(),
            })
            .collect();
        assert_eq!(seen, (1..=wanted as u32).collect::<Vec<_>>(), "the nearest first");
        grid.introduce(watcher, u32::MAX, |_| 1, &mut changes);
        for _ in 0..3 {
            grid.begin_round();
            (1..=200).for_each(|slot| assert!(grid.touch(name(&grid.bodies, slot))));
            let mut chosen = Vec::new();
            let told = grid.choose(watcher, 1_000, |_| bytes, &mut chosen);
            assert_eq!((told.entities, told.waiting), (chosen.len(), 200 - chosen.len()));
            if bytes <= 100 {
                assert!((wanted - 1..=wanted).contains(&chosen.len()), "{bytes} bytes each: {told:?}");
            }
        }
    }
}
