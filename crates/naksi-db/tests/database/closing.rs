//! Tests of closing: accepted jobs are written, by `close` and by dropping the last handle.

use std::sync::mpsc::channel;
use std::time::Duration;

use naksi_db::{Database, Settings, SubmitError};

use crate::support::{Folder, PATIENCE, Player, settings, until, write};

fn slow_saves(database: &Database, count: u32) {
    for name in 0..count {
        let player = Player { version: 1, items: Vec::new() };
        let save = database.save(name, move |conn| {
            std::thread::sleep(Duration::from_millis(2));
            write(conn, name, &player)
        });
        save.forget().expect("room");
    }
}

fn saved(folder: &Folder) -> usize {
    let database = folder.database(settings());
    let count = crate::support::answer(
        database.load(0, |conn| conn.query("SELECT name FROM players", &[]).map(|rows| rows.len())),
    );
    count.expect("a count")
}

#[test]
fn closing_writes_every_save_that_was_taken_and_takes_no_more() {
    let folder = Folder::new();
    let database = folder.database(settings());
    slow_saves(&database, 300);
    let other = database.clone();
    let closed = database.close(PATIENCE);
    assert_eq!((closed.saves_lost, closed.loads_dropped, closed.still_running), (0, 0, 0));
    assert_eq!(other.save(1, |_| Ok(())).forget(), Err(SubmitError::Closed));
    assert_eq!(saved(&folder), 300);
}

#[test]
fn the_last_handle_writes_what_was_taken() {
    let folder = Folder::new();
    let database = folder.database(settings());
    slow_saves(&database, 300);
    drop(database.clone());
    drop(database);
    assert_eq!(saved(&folder), 300);
}

#[test]
fn the_last_handle_may_be_dropped_by_a_callback_and_the_rest_is_written_all_the_same() {
    let folder = Folder::new();
    let database = folder.database(Settings { threads: Some(1), ..settings() });
    let (release, released) = channel::<()>();
    let own = database.clone();
    database
        .save(99, |conn| write(conn, 99, &Player { version: 1, items: Vec::new() }))
        .then(move |_| {
            released.recv().expect("released");
            drop(own);
        })
        .expect("room");
    slow_saves(&database, 50);
    drop(database.clone());
    let stats = database.stats();
    assert_eq!(stats.waiting + stats.running, 51);
    // Does not wait: a blocked callback would block this thread.
    std::thread::scope(|scope| {
        scope.spawn(move || drop(database));
        release.send(()).expect("it waits");
    });
    until("the rest is written", || saved(&folder) == 51);
}
