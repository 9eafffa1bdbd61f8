//! Tests of players that return before they are saved, the oldest way to duplicate an item.

use std::time::Duration;

use naksi_core::prng::Prng;
use naksi_db::{Database, Settings};

use crate::support::{Folder, Player, answer, asked, read, settings, wait, write};

const PLAYERS: u32 = 100;
/// Ten times as many would show nothing else.
const RELOGS: u32 = 10_000;

/// What was seen while players came and went.
#[derive(Debug, Default)]
struct Seen {
    /// Logins that loaded a player as it was before its last logout.
    stale_loads: u32,
    /// Items that are in two rows at the end, and items that are in none.
    doubled: usize,
    lost: usize,
}

/// Two players meet, one gives the other an item, both log out and come back at once; repeatedly. A save takes longer
/// than a player needs for that.
fn play(database: &Database) -> Seen {
    let mut chance = Prng::new(42);
    let mut truth: Vec<Player> =
        (0..PLAYERS).map(|name| Player { version: 1, items: vec![2 * name, 2 * name + 1] }).collect();
    let mut seen = Seen::default();
    let save = |name: u32, player: Player| {
        let job = database.save(name, move |conn| {
            std::thread::sleep(Duration::from_micros(200));
            write(conn, name, &player)
        });
        job.forget().expect("the queue has room");
    };
    for (name, player) in truth.iter().enumerate() {
        save(name as u32, player.clone());
    }
    for _ in 0..RELOGS / 2 {
        let one = chance.below(PLAYERS.into()) as u32;
        let other = (one + 1 + chance.below(u64::from(PLAYERS) - 1) as u32) % PLAYERS;
        let logins =
            [one, other].map(|name| asked(database.load(name, move |conn| read(conn, name))).expect("taken"));
        let [mut giver, mut taker] = logins.map(|login| wait(&login).expect("a player"));
        for (name, player) in [(one, &giver), (other, &taker)] {
            seen.stale_loads += u32::from(player.version != truth[name as usize].version);
        }
        // The game believes what it has loaded.
        taker.items.extend(giver.items.pop());
        for (name, mut player) in [(one, giver), (other, taker)] {
            player.version = truth[name as usize].version + 1;
            truth[name as usize].version = player.version;
            save(name, player);
        }
    }
    let mut items: Vec<u32> = (0..PLAYERS)
        .flat_map(|name| {
            // Both runs wait for the last saves: a save waits for those before it.
            answer(database.save(name, move |conn| read(conn, name))).expect("a player").items
        })
        .collect();
    items.sort_unstable();
    let all = items.len();
    items.dedup();
    seen.doubled = all - items.len();
    seen.lost = 2 * PLAYERS as usize - items.len();
    seen
}

#[test]
fn ten_thousand_relogs_faster_than_their_saves_see_nothing_stale_and_copy_nothing() {
    let folder = Folder::new();
    let database = folder.database(settings());
    let seen = play(&database);
    println!("with the fence: {seen:?}");
    assert_eq!((seen.stale_loads, seen.doubled, seen.lost), (0, 0, 0));
    assert_eq!(database.stats().counts.failed_total, 0);
}

#[test]
fn without_the_fence_the_same_players_load_what_is_stale_and_copy_items() {
    let folder = Folder::new();
    let database = folder.database(Settings { unfenced: true, ..settings() });
    let seen = play(&database);
    println!("without the fence: {seen:?}");
    assert!(seen.stale_loads > 0 && seen.doubled > 0, "{seen:?}");
}
