//! The server's power goes, and comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use naksi_db::{BreakerState, Migration, Settings, SubmitError};

use crate::server::{Server, answer, until};

const SCHEMA: &[Migration] = &[Migration {
    version: 1,
    statements: "CREATE TABLE players (name BIGINT PRIMARY KEY, gold BIGINT NOT NULL)",
}];

#[test]
fn a_server_that_breaks_down_in_the_middle_loses_no_save_that_was_taken() {
    let server = Server::start();
    let database = server.database(SCHEMA, Settings::default());
    let (written, failed) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let save = |name: u32| {
        let (written, failed) = (Arc::clone(&written), Arc::clone(&failed));
        let job = database.save(name, move |conn| {
            std::thread::sleep(Duration::from_millis(2));
            // What shall be, not what is added: it may run twice.
            let statement = "INSERT INTO players VALUES ($1, 7) ON CONFLICT (name) DO UPDATE SET gold = 7";
            conn.execute(statement, &[name.into()])
        });
        job.then(move |answer| {
            let count = if answer.is_ok() { written } else { failed };
            count.fetch_add(1, Ordering::SeqCst);
        })
        .expect("a save is taken");
    };
    (0..500).for_each(save);
    until("some are written", || written.load(Ordering::SeqCst) > 20);
    server.stop();
    (500..600).for_each(save);
    until("the breaker is open", || database.stats().breaker == BreakerState::Open);
    until("a load fails at once", || database.load(0, |_| Ok(())).forget() == Err(SubmitError::Down));
    let waiting = database.stats().waiting;
    assert!(waiting > 100, "the saves wait: {waiting}");
    server.start_again();
    until("all are written", || written.load(Ordering::SeqCst) == 600);
    assert_eq!(failed.load(Ordering::SeqCst), 0);
    let count = answer(database.load("count", |conn| {
        conn.query_one("SELECT COUNT(*) FROM players WHERE gold = 7", &[])?.expect("a count").get::<i64>(0)
    }));
    assert_eq!(count, Ok(600));
    assert_eq!(database.stats().breaker, BreakerState::Closed);
}
