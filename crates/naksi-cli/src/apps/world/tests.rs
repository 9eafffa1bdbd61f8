//! Tests of the world with fake players, a clock moved by the test, and a real database.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use naksi::packets::{decode, encode};
use naksi::prelude::*;
use tempfile::TempDir;

use super::room::{Person, TICK_HZ, Way, World};
use super::store::Store;
use super::{EDGE, Enter, LOST_BEYOND, Leave, Moved, SEEN_WITHIN, Said, Say, Step, WORLD, Welcome};

/// Exactly one tick: with a longer span there would sometimes be two.
const A_TICK: Duration = Duration::from_millis(1000 / TICK_HZ as u64);

/// How long the server tolerates a socket that takes nothing.
const SEND_STALL_WITHIN: Duration = Duration::from_secs(12);

/// A connection without delay on which nothing or everything is taken.
fn way(takes: bool) -> Arc<Way> {
    Arc::new(Way { reached: u64::MAX.into(), taken: if takes { u64::MAX } else { 0 }.into() })
}

/// A world, and the folder of its players, which is removed with it.
struct Scene {
    world: TestRoom<World>,
    _folder: TempDir,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&format!("sqlite:{}", folder.path().join("world.db").display()));
        let world = World::new(store.expect("a database"), SEND_STALL_WITHIN);
        Self { world: TestRoom::new(world, World::options()), _folder: folder }
    }

    /// Lets a player in, with the name of its login line.
    fn enter(&mut self, name: &str, way: &Arc<Way>) -> (SessionId, Welcome) {
        let id = self.world.join(Person::new(name, Arc::clone(way)));
        (id, self.welcome(id))
    }

    fn welcome(&mut self, id: SessionId) -> Welcome {
        let began = Instant::now();
        loop {
            // The database answers on a thread of its own.
            self.world.advance(A_TICK);
            if let Some(welcome) = self.world.heard::<Welcome>(id).pop() {
                return welcome;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "no player is welcomed");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Lets a player in that reads everything, and places it.
    fn place(&mut self, name: &str, x: i32, y: i32) -> (SessionId, u32) {
        let (id, welcome) = self.enter(name, &way(true));
        self.world.send(id, &Step { x, y });
        self.world.advance(A_TICK);
        (id, welcome.you)
    }

    fn step(&mut self, who: SessionId, x: i32, y: i32) {
        self.world.send(who, &Step { x, y });
        self.world.advance(A_TICK);
    }

    fn places(&mut self, who: SessionId) -> Vec<(u32, i32, i32)> {
        self.world.heard::<Moved>(who).into_iter().flat_map(|moved| moved.places).collect()
    }
}

#[test]
fn who_comes_near_is_seen_until_it_is_far() {
    let mut scene = Scene::new();
    let (anna, anna_number) = scene.place("anna", 0, 0);
    let (berta, berta_number) = scene.place("berta", 500, 0);
    let far = LOST_BEYOND as i32;
    scene.world.received(anna);
    scene.world.received(berta);
    scene.step(berta, SEEN_WITHIN as i32 + 1, 0);
    assert_eq!(scene.world.received(anna), []);
    scene.step(berta, SEEN_WITHIN as i32, 0);
    let entered = Enter { who: berta_number, name: "berta".into(), x: SEEN_WITHIN as i32, y: 0 };
    assert_eq!(scene.world.heard::<Enter>(anna), [entered]);
    scene.step(berta, far, 0);
    assert_eq!(scene.places(anna), [(berta_number, far, 0)]);
    scene.step(berta, far + 1, 0);
    assert_eq!(scene.world.heard::<Leave>(anna), [Leave { who: berta_number }]);
    scene.step(berta, EDGE + 5, 0);
    assert_eq!(scene.world.received(anna), [], "and then no player is told");
    let berta_saw = scene.world.received(berta);
    assert_eq!(berta_saw.first().map(|(id, _)| *id), Some(Enter::ID));
    assert_eq!(berta_saw.last().map(|(id, _)| *id), Some(Leave::ID), "{anna_number}: {berta_saw:?}");
}

#[test]
fn what_is_said_is_heard_by_those_who_see_the_speaker_and_by_itself() {
    let mut scene = Scene::new();
    let (anna, number) = scene.place("anna", 0, 0);
    let (near, _) = scene.place("near", 50, 0);
    let (far, _) = scene.place("far", 500, 0);
    scene.world.send(anna, &Say { text: "hello".into() });
    scene.world.advance(A_TICK);
    let said = [Said { from: number, text: "hello".into() }];
    for (who, heard) in [(anna, &said[..]), (near, &said), (far, &[])] {
        assert_eq!(scene.world.heard::<Said>(who), heard);
    }
}

#[test]
fn who_comes_back_is_where_it_was_and_a_second_one_of_a_name_ends_the_first() {
    let mut scene = Scene::new();
    let (anna, _) = scene.place("anna", 7, -9);
    let (watcher, _) = scene.place("watcher", 0, 0);
    scene.world.send(anna, &Step { x: 8, y: -9 });
    scene.world.leave(anna);
    let (anna, welcome) = scene.enter("anna", &way(false));
    assert_eq!(
        (welcome.version, welcome.x, welcome.y),
        (WORLD.version(), 8, -9),
        "even what no tick has seen"
    );
    scene.step(anna, 20, 30);
    let (second, welcome) = scene.enter("anna", &way(false));
    assert_eq!((welcome.x, welcome.y), (20, 30));
    assert_eq!((scene.world.ended(anna), scene.world.ended(second)), (Some(DisconnectReason::Kicked), None));
    scene.world.advance(A_TICK);
    let order: Vec<u16> = scene.world.received(watcher).iter().map(|(id, _)| *id).collect();
    let seen = order.iter().filter(|id| [Enter::ID, Leave::ID].contains(id)).copied().collect::<Vec<_>>();
    assert_eq!(seen.iter().filter(|id| **id == Enter::ID).count(), 3, "{seen:?}");
    assert_eq!(seen.iter().filter(|id| **id == Leave::ID).count(), 2, "{seen:?}");
}

#[test]
fn who_is_behind_is_told_of_no_places_and_then_of_the_latest_of_each() {
    let mut scene = Scene::new();
    let way = way(false);
    let (slow, welcome) = scene.enter("slow", &way);
    let (mut walkers, mut numbers) = (Vec::new(), Vec::new());
    for index in 0..40 {
        let (walker, number) = scene.place(&format!("walker {index}"), welcome.x, welcome.y);
        walkers.push(walker);
        numbers.push(number);
    }
    let mut told = 0;
    for round in 0..200 {
        for walker in &walkers {
            scene.world.send(*walker, &Step { x: welcome.x + round % 50, y: welcome.y });
        }
        scene.world.advance(A_TICK);
        told += scene.world.received_bytes(slow).len();
    }
    assert!((8_000..9_000).contains(&told), "{told} bytes are on their way to a client that does not read");
    way.taken.store(told as u64, Ordering::Relaxed);
    scene.world.advance(A_TICK);
    let mut places = scene.places(slow);
    places.sort_unstable();
    numbers.sort_unstable();
    let latest: Vec<_> = numbers.iter().map(|number| (*number, welcome.x + 199 % 50, welcome.y)).collect();
    assert_eq!(places, latest, "of each the latest, once");
    assert_eq!(scene.world.ended(slow), None);
}

#[test]
fn a_crowd_that_leaps_to_one_spot_is_introduced_nearest_first_a_few_in_each_tick() {
    let mut scene = Scene::new();
    let (anna, _) = scene.place("anna", -EDGE, -EDGE);
    let crowd: Vec<_> =
        (0..300).map(|index| scene.place(&format!("one of the crowd {index}"), EDGE, EDGE)).collect();
    scene.world.received(anna);
    for (index, (one, _)) in (0..).zip(&crowd) {
        scene.world.send(*one, &Step { x: -EDGE + 60 - index / 5, y: -EDGE });
    }
    let (mut near, mut known, mut ticks) = (0, Vec::new(), 0);
    while known.len() < crowd.len() {
        scene.world.advance(A_TICK);
        let bytes = scene.world.received_bytes(anna);
        ticks += 1;
        assert!(!bytes.is_empty() && bytes.len() < 5 << 10, "{} bytes in a tick", bytes.len());
        for Enter { who, x, .. } in messages::<Enter>(&bytes) {
            assert!(x + EDGE >= near && !known.contains(&who), "{who} at {x}: nearest first, each once");
            (near, known) = (x + EDGE, [known, vec![who]].concat());
        }
        for (who, ..) in messages::<Moved>(&bytes).into_iter().flat_map(|moved| moved.places) {
            assert!(known.contains(&who), "{who} is not known yet");
        }
    }
    assert!((3..10).contains(&ticks), "300 enters of more than 30 bytes took {ticks} ticks");
    // They enter again, and most leave before they were introduced: no leave is sent for those.
    for far in [EDGE, -EDGE, EDGE] {
        crowd.iter().for_each(|(one, _)| scene.world.send(*one, &Step { x: far, y: far }));
        scene.world.advance(A_TICK);
        let bytes = scene.world.received_bytes(anna);
        let (came, gone) = (messages::<Enter>(&bytes), messages::<Leave>(&bytes));
        if far < 0 {
            assert!(came.len() < 150 && gone.is_empty());
            known = came.into_iter().map(|enter| enter.who).collect();
        } else {
            assert!(came.is_empty() && gone.len() == known.len());
            assert!(gone.iter().all(|leave| known.contains(&leave.who)));
        }
    }
    assert_eq!(scene.world.ended(anna), None);
}

/// The messages of one kind among frames.
fn messages<M: Message>(mut frames: &[u8]) -> Vec<M> {
    let mut found = Vec::new();
    while let Some((header, _)) = frames.split_first_chunk::<4>() {
        let (size, id) =
            (u16::from_le_bytes([header[0], header[1]]), u16::from_le_bytes([header[2], header[3]]));
        let (frame, rest) = frames.split_at(size.into());
        if id == M::ID {
            found.push(decode(&frame[4..]).expect("as the table says"));
        }
        frames = rest;
    }
    found
}

#[test]
fn who_was_told_what_never_came_is_ended_after_any_stall_and_who_is_only_slow_is_not() {
    let mut scene = Scene::new();
    // One loses all frames, and on the other one they arrive a second late.
    let (lost, late) = (Arc::new(Way::default()), Arc::new(Way::default()));
    let (unlucky, _) = scene.enter("unlucky", &lost);
    let (slow, welcome) = scene.enter("slow", &late);
    let (walker, _) = scene.place("walker", 0, 0);
    let mut told = encode(&welcome).expect("it fits a frame").len();
    // A client that only stalls is ended by the server ten seconds earlier.
    let patience = SEND_STALL_WITHIN.as_secs() + 10;
    for second in 0..patience + 5 {
        late.went_on(0, told);
        told += scene.world.received_bytes(slow).len();
        assert_eq!(scene.world.ended(unlucky).is_some(), second >= patience, "after {second} s");
        for step in 0..20 {
            // It enters and leaves, so that there is always something to send.
            let (x, y) = [(EDGE, EDGE), (welcome.x, welcome.y)][(step % 2) as usize];
            scene.step(walker, x, y);
        }
    }
    assert_eq!(scene.world.ended(unlucky), Some(DisconnectReason::SendStalled));
    assert_eq!(scene.world.ended(slow), None);
}
