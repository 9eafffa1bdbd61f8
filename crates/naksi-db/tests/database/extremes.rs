//! Tests of jobs whose panic payload panics when it is dropped, and of settings with the longest possible spans.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use naksi_db::{BreakerSettings, Error, Result, Settings};

use crate::support::{Folder, PATIENCE, answer, settings};

/// Panics when it is dropped, and may be thrown.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("on purpose, in the payload's destructor")
    }
}

#[test]
fn a_payload_that_panics_when_it_is_dropped_ends_its_job_and_not_its_key() {
    let folder = Folder::new();
    let database = folder.database(Settings { threads: Some(1), ..settings() });
    let broken = answer(database.save(1, |_| -> Result<()> { std::panic::panic_any(Bomb) }));
    assert!(matches!(broken, Err(Error::Panicked(_))), "{broken:?}");
    assert_eq!(answer(database.load(1, |_| Ok(7))), Ok(7), "the same key goes on");
    // And in the callback of an answer.
    database.save(1, |_| Ok(())).then(|_| std::panic::panic_any(Bomb)).expect("the job is taken");
    assert_eq!(answer(database.load(1, |_| Ok(7))), Ok(7));
    assert_eq!(database.close(PATIENCE).saves_lost, 0);
}

#[test]
fn settings_whose_every_span_is_the_longest_open_load_save_and_close() {
    let folder = Folder::new();
    let forever = BreakerSettings { failures: 1, first_pause: Duration::MAX, pause_max: Duration::MAX };
    let settings = Settings {
        load_within: Duration::MAX,
        save_within: Duration::MAX,
        first_pause: Duration::MAX,
        pause_max: Duration::MAX,
        breaker: forever,
        statement_within: Duration::MAX,
        connect_within: Duration::MAX,
        close_within: Duration::MAX,
        ..settings()
    };
    let database = folder.database(settings);
    assert_eq!(answer(database.save(1, |_| Ok(()))), Ok(()));
    assert_eq!(answer(database.load(1, |_| Ok(7))), Ok(7));
    assert_eq!(database.close(Duration::MAX).saves_lost, 0);
}

#[test]
fn a_breaker_whose_pause_has_no_end_lets_nobody_through_again() {
    let folder = Folder::new();
    let forever = BreakerSettings { failures: 1, first_pause: Duration::MAX, pause_max: Duration::MAX };
    let settings = Settings {
        threads: Some(1),
        breaker: forever,
        save_within: Duration::from_millis(500),
        attempts_max: 1000,
        first_pause: Duration::from_millis(1),
        pause_max: Duration::from_millis(1),
        ..settings()
    };
    let database = folder.database(settings);
    let tried = Arc::new(AtomicU32::new(0));
    let counts = Arc::clone(&tried);
    let saved = answer(database.save(1, move |_| -> Result<()> {
        counts.fetch_add(1, Ordering::SeqCst);
        Err(Error::Down("on purpose".to_owned()))
    }));
    assert!(matches!(saved, Err(Error::Down(_))), "{saved:?}");
    assert_eq!(tried.load(Ordering::SeqCst), 1, "the breaker stays open");
}
