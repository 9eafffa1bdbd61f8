//! Tests with a database that is down, slow or returns errors. Jobs themselves report a broken connection, so that it
//! breaks at the right moment; the PostgreSQL tests stop a real server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use naksi_db::{BreakerSettings, BreakerState, Conn, Database, Error, Result, Settings, SubmitError};

use crate::support::{Folder, Player, answer, asked, read, settings, until, wait, write};

/// A plug that can be pulled.
#[derive(Clone, Default)]
struct Plug(Arc<AtomicBool>, Arc<AtomicU32>);

impl Plug {
    fn pull(&self, pulled: bool) {
        self.0.store(pulled, Ordering::SeqCst);
    }

    /// What every job of these tests does first.
    fn check(&self) -> Result<()> {
        self.1.fetch_add(1, Ordering::SeqCst);
        match self.0.load(Ordering::SeqCst) {
            true => Err(Error::Down("the plug is pulled".to_owned())),
            false => Ok(()),
        }
    }

    fn attempts(&self) -> u32 {
        self.1.load(Ordering::SeqCst)
    }

    fn job<T>(
        &self,
        job: impl Fn(&mut Conn<'_>) -> Result<T> + Send + 'static,
    ) -> impl FnMut(&mut Conn<'_>) -> Result<T> + Send + 'static {
        let plug = self.clone();
        move |conn| {
            plug.check()?;
            job(conn)
        }
    }
}

fn quick() -> Settings {
    Settings {
        first_pause: Duration::from_millis(1),
        pause_max: Duration::from_millis(5),
        breaker: BreakerSettings {
            failures: 3,
            first_pause: Duration::from_millis(20),
            pause_max: Duration::from_millis(50),
        },
        attempts_max: 1_000,
        ..settings()
    }
}

fn save(database: &Database, plug: &Plug, name: u32, version: i64) -> std::sync::mpsc::Receiver<Result<()>> {
    let player = Player { version, items: Vec::new() };
    asked(database.save(name, plug.job(move |conn| write(conn, name, &player)))).expect("a save is taken")
}

#[test]
fn in_an_outage_loads_fail_at_once_and_every_save_is_written_after_it() {
    let folder = Folder::new();
    let (database, plug) = (folder.database(quick()), Plug::default());
    plug.pull(true);
    let saves: Vec<_> = (0..200).map(|name| save(&database, &plug, name, 7)).collect();
    until("the breaker is open", || database.stats().breaker == BreakerState::Open);
    // Whenever its pause is over, one job tries, whichever it is.
    until("a load fails at once", || database.load(1_000, |_| Ok(())).forget() == Err(SubmitError::Down));
    let opened = plug.attempts();
    until("it is tried again and again", || plug.attempts() > opened + 5);
    assert!(saves.iter().all(|save| save.try_recv().is_err()), "no save is given up");
    plug.pull(false);
    assert!(saves.iter().all(|save| wait(save) == Ok(())));
    for name in 0..200 {
        assert_eq!(
            answer(database.load(name, move |conn| read(conn, name))).map(|player| player.version),
            Ok(7)
        );
    }
    let stats = database.stats();
    assert_eq!(
        (stats.breaker, stats.breaker_opened_total, stats.waiting),
        (BreakerState::Closed, 1, 0),
        "{stats:?}"
    );
    assert!(stats.counts.retried_total > 0 && stats.counts.saves_done_total == 200);
}

#[test]
fn an_open_breaker_spares_the_database() {
    let folder = Folder::new();
    let pause = Duration::from_secs(1_000);
    let breaker = BreakerSettings { failures: 3, first_pause: pause, pause_max: pause };
    let (database, plug) =
        (folder.database(Settings { breaker, threads: Some(1), ..quick() }), Plug::default());
    plug.pull(true);
    let saves: Vec<_> = (0..100).map(|name| save(&database, &plug, name, 1)).collect();
    until("the breaker is open", || database.stats().breaker == BreakerState::Open);
    for _ in 0..1_000 {
        assert_eq!(database.load(7, plug.job(|_| Ok(()))).forget(), Err(SubmitError::Down));
    }
    assert_eq!(plug.attempts(), 3, "three attempts for a hundred saves and a thousand loads");
    let closed = database.close(Duration::ZERO);
    assert_eq!(closed.saves_lost + closed.still_running, 100, "and closing says what it could not write");
    assert!(saves.iter().all(|save| matches!(wait(save), Err(Error::Closed | Error::Down(_)))));
}

#[test]
fn loads_that_wait_when_the_breaker_opens_fail_with_its_reason() {
    let folder = Folder::new();
    let (database, plug) = (folder.database(Settings { threads: Some(1), ..quick() }), Plug::default());
    let (release, released) = channel::<()>();
    let first = asked(database.load(0, move |_| {
        released.recv().expect("released");
        Ok(())
    }))
    .expect("taken");
    plug.pull(true);
    let saves = [1, 2, 3].map(|name| save(&database, &plug, name, 1));
    let loads: Vec<_> =
        (10..20).map(|name| asked(database.load(name, plug.job(|_| Ok(())))).expect("taken")).collect();
    release.send(()).expect("it waits");
    assert_eq!(wait(&first), Ok(()));
    assert!(loads.iter().all(|load| matches!(wait(load), Err(Error::Down(_)))));
    plug.pull(false);
    assert!(saves.iter().all(|save| wait(save) == Ok(())));
}

#[test]
fn what_the_database_refuses_is_told_and_never_tried_again() {
    let folder = Folder::new();
    let (database, plug) = (folder.database(quick()), Plug::default());
    for _ in 0..20 {
        let refused =
            answer(database.save(1, plug.job(|conn| conn.execute("INSERT INTO nowhere VALUES (1)", &[]))));
        assert!(matches!(&refused, Err(Error::Rejected(text)) if text.contains("nowhere")), "{refused:?}");
    }
    assert_eq!((plug.attempts(), database.stats().breaker), (20, BreakerState::Closed), "it answered");
}

#[test]
fn a_job_is_tried_so_often_and_no_more() {
    let folder = Folder::new();
    let (database, plug) = (folder.database(Settings { attempts_max: 5, ..quick() }), Plug::default());
    let busy = {
        let plug = plug.clone();
        move |_: &mut Conn<'_>| -> Result<()> {
            plug.check()?;
            Err(Error::Busy("another writer".to_owned()))
        }
    };
    assert_eq!(answer(database.save(1, busy)), Err(Error::Busy("another writer".to_owned())));
    assert_eq!(plug.attempts(), 5);
    assert_eq!(answer(database.load(1, |_| Ok(()))), Ok(()), "its lane goes on");
}

#[test]
fn a_load_behind_a_save_that_failed_is_not_told_what_is_stale() {
    let folder = Folder::new();
    let (database, plug) =
        (folder.database(Settings { attempts_max: 3, threads: Some(1), ..quick() }), Plug::default());
    assert_eq!(wait(&save(&database, &plug, 1, 1)), Ok(()));
    let (release, released) = channel::<()>();
    let lost = asked(database.save(1, move |_| -> Result<()> {
        released.recv().ok(); // The second attempt finds the sender gone, and goes on.
        Err(Error::Busy("for ever".to_owned()))
    }))
    .expect("taken");
    let login = asked(database.load(1, |conn| read(conn, 1))).expect("taken");
    let other = asked(database.load(2, |conn| read(conn, 2))).expect("taken");
    drop(release);
    assert!(wait(&lost).is_err());
    assert_eq!(wait(&login), Err(Error::Unsaved));
    assert_eq!(wait(&other), Ok(Player::default()), "another player has nothing to do with it");
    let later = answer(database.load(1, |conn| read(conn, 1)));
    assert_eq!(later.map(|player| player.version), Ok(1), "who comes later is told what there is");
}

#[test]
fn a_job_whose_time_is_over_is_told_so_and_its_lane_goes_on() {
    let folder = Folder::new();
    let within = Duration::from_millis(50);
    let database = folder.database(Settings { load_within: within, save_within: within, ..quick() });
    let (begins, begun) = channel();
    let (slow, release) = loop {
        let (release, released) = channel::<()>();
        let begins = begins.clone();
        let slow = asked(database.save(1, move |_| {
            begins.send(()).expect("the test waits");
            released.recv().expect("released");
            Ok(())
        }));
        // On a busy machine its time limit may pass before it begins.
        if begun.recv_timeout(4 * within).is_ok() {
            break (slow.expect("taken"), release);
        }
    };
    let save = asked(database.save(1, |_| Ok(()))).expect("taken");
    let load = asked(database.load(1, |_| Ok(()))).expect("taken");
    assert_eq!(wait(&save), Err(Error::Late));
    assert!(matches!(wait(&load), Err(Error::Unsaved | Error::Late)));
    release.send(()).expect("it waits");
    assert_eq!(wait(&slow), Ok(()), "what has begun is finished");
    until("its lane goes on", || answer(database.load(1, |_| Ok(()))) == Ok(()));
}

#[test]
fn a_statement_that_takes_too_long_is_interrupted() {
    let folder = Folder::new();
    let limits = Settings { statement_within: Duration::from_millis(50), attempts_max: 2, ..quick() };
    let database = folder.database(limits);
    let forever = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT COUNT(*) FROM n";
    let slow = answer(database.load(1, move |conn| conn.query(forever, &[])));
    assert!(matches!(&slow, Err(Error::Down(text)) if text.contains("interrupted")), "{slow:?}");
    assert_eq!(answer(database.load(1, |_| Ok(()))), Ok(()));
}

#[test]
fn a_panic_ends_its_job_alone_and_keeps_nothing_of_it() {
    let folder = Folder::new();
    let database = folder.database(Settings { threads: Some(1), ..quick() });
    let broken = answer(database.save(1, |conn| -> Result<()> {
        write(conn, 1, &Player { version: 66, items: Vec::new() })?;
        panic!("a bug of the game")
    }));
    assert_eq!(broken, Err(Error::Panicked("a bug of the game".to_owned())));
    let untouched = answer(database.load(1, |conn| read(conn, 1)));
    assert_eq!(untouched, Ok(Player::default()), "its transaction was rolled back");
    database.load(1, |_| Ok(())).then(|_| panic!("a bug of a callback")).expect("taken");
    assert_eq!(answer(database.load(1, |_| Ok(()))), Ok(()), "the threads live on");
    assert_eq!(database.stats().counts.panics_total, 1);
}

#[test]
fn what_fails_only_when_it_is_committed_is_told_too() {
    let folder = Folder::new();
    let database = folder.database(quick());
    let tables = "CREATE TABLE guilds (id BIGINT PRIMARY KEY); \
                  CREATE TABLE members (guild BIGINT REFERENCES guilds (id) DEFERRABLE INITIALLY DEFERRED)";
    assert_eq!(answer(database.save(1, move |conn| conn.batch(tables))), Ok(()));
    let orphan = answer(database.save(1, |conn| conn.execute("INSERT INTO members VALUES (7)", &[])));
    assert!(matches!(&orphan, Err(Error::Rejected(text)) if text.contains("FOREIGN KEY")), "{orphan:?}");
    let members = answer(database.load(1, |conn| conn.query("SELECT guild FROM members", &[])));
    assert_eq!(members, Ok(Vec::new()));
}
