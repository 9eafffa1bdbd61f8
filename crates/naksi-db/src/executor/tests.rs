//! Connections that panic instead of returning an error. SQLite is the only real database here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use super::Executor;
use crate::breaker::{BreakerSettings, BreakerState};
use crate::error::{Error, Result};
use crate::keyed_queue::Kind;
use crate::link::{Address, Broken, Connection};
use crate::settings::{Durability, Settings};
use crate::task::JobRequest;

const PATIENCE: Duration = Duration::from_secs(30);

fn settings() -> Settings {
    let breaker = BreakerSettings {
        failures: 3,
        first_pause: Duration::from_millis(1),
        pause_max: Duration::from_millis(5),
    };
    Settings {
        threads: Some(2),
        first_pause: Duration::from_millis(1),
        pause_max: Duration::from_millis(5),
        attempts_max: 1_000,
        durability: Durability::ProcessEnd,
        breaker,
        ..Settings::default()
    }
}

/// An executor whose first connection is broken, and whose later connections come from `connect`.
fn executor(
    settings: Settings,
    dropped: fn(),
    connect: impl Fn(&Settings) -> Result<Connection> + Send + Sync + 'static,
) -> Arc<Executor> {
    let place = Address::Custom(Arc::new(connect));
    Executor::start(place, Connection::Broken(Broken(dropped)), settings).expect("a executor")
}

/// Asserts that every save is written and that its key accepts another one.
fn all_saves_are_written(executor: &Arc<Executor>) {
    let (answers, answer) = channel();
    for round in 0..2 {
        for key in 0..4_u32 {
            let job = |_: &mut crate::conn::Conn<'_>| Ok(());
            let answers = answers.clone();
            JobRequest { executor, keys: vec![key.into()], kind: Kind::Save, job }
                .then(move |outcome| answers.send((round, outcome)).expect("the test waits"))
                .expect("a save is taken");
        }
        for _ in 0..4 {
            let told = answer.recv_timeout(PATIENCE).expect("every save that was taken has an answer");
            assert_eq!(told, (round, Ok(())));
        }
    }
    let closed = executor.close(PATIENCE);
    let stats = executor.stats();
    assert_eq!((stats.waiting, stats.running, stats.breaker), (0, 0, BreakerState::Closed), "{stats:?}");
    assert_eq!((closed.saves_lost, closed.still_running), (0, 0));
}

/// SQLite in a folder that is gone when its test is over.
fn sqlite() -> (tempfile::TempDir, Address) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("test.db");
    let place = Address::read(&format!("sqlite:{}", path.display())).expect("an address");
    (folder, place)
}

#[test]
fn a_connect_that_panics_is_an_outage_and_its_job_is_tried_again() {
    let (_folder, sqlite) = sqlite();
    // More panics than there are threads, and enough that probes panic too.
    let connects = AtomicU32::new(0);
    let executor = executor(
        settings(),
        || (),
        move |settings| {
            assert!(connects.fetch_add(1, Ordering::SeqCst) >= 8, "no descriptor is left");
            sqlite.connect(settings)
        },
    );
    all_saves_are_written(&executor);
    assert_eq!(executor.stats().breaker_opened_total, 1, "panics in a row open the breaker");
}

#[test]
fn a_broken_connection_that_panics_when_it_is_dropped_costs_no_job() {
    let (_folder, sqlite) = sqlite();
    let one = Settings { threads: Some(1), ..settings() };
    let executor = executor(one, || panic!("it cannot be closed"), move |settings| sqlite.connect(settings));
    all_saves_are_written(&executor);
}

#[test]
fn a_connect_that_panics_says_what_it_panicked_of() {
    let place = Address::Custom(Arc::new(|_| panic!("no descriptor is left")));
    let error = place.connect(&settings()).err().expect("there is no connection");
    assert_eq!(error, Error::Down("connecting panicked: no descriptor is left".to_owned()));
}
