//! Tests that a job is committed completely or not at all, whatever ends its transaction.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use naksi_db::{Conn, Database, Error, Migration, Result, Settings};

use crate::support::{Folder, answer, asked, settings, wait};

const SCHEMA: &[Migration] = &[Migration {
    version: 1,
    statements: "CREATE TABLE gold (owner TEXT, amount BIGINT NOT NULL);
                 CREATE TABLE heap (x BLOB);
                 CREATE TABLE taken (name BIGINT PRIMARY KEY);
                 INSERT INTO taken VALUES (1);
                 CREATE TABLE forbidden (x BIGINT);
                 CREATE TRIGGER forbids BEFORE INSERT ON forbidden BEGIN SELECT RAISE(ROLLBACK, 'forbidden'); END",
}];

/// Longer than any limit: SQLite interrupts it, and rolls the whole transaction back.
const ENDLESS: &str = "INSERT INTO heap SELECT x FROM
    (WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n)";

/// What may end a transaction between two statements of a job.
const ENDS: &[&str] = &[
    ENDLESS,
    "PRAGMA max_page_count = 1; INSERT INTO heap VALUES (randomblob(1000000))",
    "INSERT OR ROLLBACK INTO taken VALUES (1)",
    "INSERT INTO forbidden VALUES (1)",
    "ROLLBACK",
    "COMMIT",
    "commit;",
    "/* all is well */ END TRANSACTION",
    "ROLLBACK; BEGIN",
    "COMMIT; BEGIN IMMEDIATE",
    "BEGIN",
    "ROLLBACK; SAVEPOINT one",
];

fn database(folder: &Folder) -> Database {
    let limits = Settings {
        statement_within: Duration::from_millis(300),
        attempts_max: 1,
        threads: Some(1),
        ..settings()
    };
    Database::open(&folder.address(), SCHEMA, limits).expect("a database")
}

fn owners(database: &Database) -> Vec<String> {
    let rows = answer(database.load(0, |conn| conn.query("SELECT owner FROM gold ORDER BY owner", &[])));
    rows.expect("rows").iter().map(|row| row.get::<String>(0).expect("a name")).collect()
}

/// A trade whose two halves belong together, by a job that ignores errors.
fn trade(
    database: &Database,
    between: impl Fn(&mut Conn<'_>) + Send + 'static,
    directly: bool,
) -> Result<()> {
    let write = move |conn: &mut Conn<'_>, owner: &str, amount: i64| {
        if directly {
            let sqlite = conn.sqlite().expect("it is SQLite");
            sqlite.execute("INSERT INTO gold VALUES (?1, ?2)", (owner, amount)).ok();
        } else {
            conn.execute("INSERT INTO gold VALUES ($1, $2)", &[owner.into(), amount.into()]).ok();
        }
    };
    answer(database.save("trade", move |conn| {
        write(conn, "minsu", -5);
        between(conn);
        write(conn, "yuna", 5);
        Ok(())
    }))
}

#[test]
fn a_job_whose_transaction_ends_under_it_keeps_nothing() {
    for (number, end) in ENDS.iter().enumerate() {
        for directly in [false, true] {
            let folder = Folder::new();
            let database = database(&folder);
            let half = trade(
                &database,
                move |conn| match directly {
                    true => drop(conn.sqlite().expect("it is SQLite").execute_batch(end)),
                    false => drop(conn.batch(end)),
                },
                directly,
            );
            let what = format!("{end}, directly: {directly}");
            match number {
                0 | 1 if !directly => assert!(matches!(half, Err(Error::Down(_))), "{what}: {half:?}"),
                0 => assert!(matches!(half, Err(Error::Down(_))), "{what}: {half:?}"),
                _ => assert!(matches!(half, Err(Error::Rejected(_))), "{what}: {half:?}"),
            }
            assert!(owners(&database).is_empty(), "{what}");
            assert_eq!(trade(&database, |_| (), directly), Ok(()), "the next job: {what}");
            assert_eq!(owners(&database), ["minsu", "yuna"], "{what}");
        }
    }
}

#[test]
fn the_statements_after_the_end_of_a_transaction_fail_with_its_reason() {
    let folder = Folder::new();
    let database = database(&folder);
    let (tell, told) = channel();
    let half = answer(database.save(1, move |conn| {
        tell.send(conn.execute(ENDLESS, &[]).map(|_| ())).expect("the test waits");
        tell.send(conn.execute("INSERT INTO gold VALUES ('yuna', 5)", &[]).map(|_| ()))
            .expect("the test waits");
        tell.send(conn.query("SELECT * FROM gold", &[]).map(|_| ())).expect("the test waits");
        Ok(())
    }));
    let errors: Vec<_> = told.iter().collect();
    assert_eq!(errors.len(), 3);
    assert!(
        errors.iter().all(|error| matches!(error, Err(Error::Down(text)) if text.contains("interrupted")))
    );
    assert!(matches!(&half, Err(Error::Down(text)) if text.contains("300ms")), "{half:?}");
}

#[test]
fn a_job_whose_transaction_ended_for_a_passing_reason_is_tried_again() {
    let folder = Folder::new();
    drop(database(&folder));
    let limits = Settings { statement_within: Duration::from_millis(300), attempts_max: 2, ..settings() };
    let database = Database::open(&folder.address(), SCHEMA, limits).expect("a database");
    let mut first = true;
    let whole = answer(database.save(1, move |conn| {
        conn.execute("INSERT INTO gold VALUES ('minsu', -5)", &[])?;
        if std::mem::take(&mut first) {
            conn.execute(ENDLESS, &[]).ok(); // As a careless game would.
        }
        conn.execute("INSERT INTO gold VALUES ('yuna', 5)", &[]).ok();
        Ok(())
    }));
    assert_eq!((whole, owners(&database)), (Ok(()), vec!["minsu".to_owned(), "yuna".to_owned()]));
}

#[test]
fn a_job_that_found_the_database_locked_for_one_statement_keeps_nothing_of_the_others() {
    let folder = Folder::new();
    let (one, other) = (database(&folder), database(&folder));
    let (hold, held) = channel::<()>();
    let (begins, begun) = channel();
    let writer = asked(other.save(1, move |conn| {
        conn.execute("INSERT INTO heap VALUES (1)", &[])?;
        begins.send(()).expect("the test waits");
        held.recv().ok(); // Until the other end is dropped.
        Ok(())
    }))
    .expect("taken");
    begun.recv().expect("it writes");
    let (busy, is_busy) = channel();
    let (go_on, goes_on) = channel::<()>();
    // A load begins without the lock of a writer.
    let half = asked(one.load(1, move |conn| {
        let first = conn.execute("INSERT INTO gold VALUES ('minsu', -5)", &[]);
        busy.send(first.map(|_| ())).expect("the test waits");
        goes_on.recv().ok(); // Until the other end is dropped.
        conn.execute("INSERT INTO gold VALUES ('yuna', 5)", &[]).ok();
        Ok(())
    }))
    .expect("taken");
    assert!(matches!(is_busy.recv().expect("it tried"), Err(Error::Busy(_))));
    drop(hold);
    assert_eq!(wait(&writer), Ok(()));
    drop(go_on);
    assert!(matches!(wait(&half), Err(Error::Busy(_))));
    assert!(owners(&one).is_empty());
}

#[test]
fn savepoints_are_the_jobs_own() {
    let folder = Folder::new();
    let database = database(&folder);
    let whole = trade(
        &database,
        |conn| {
            conn.batch("SAVEPOINT one; INSERT INTO gold VALUES ('undone', 1); ROLLBACK TO one; RELEASE one")
                .expect("a savepoint");
        },
        false,
    );
    assert_eq!((whole, owners(&database)), (Ok(()), vec!["minsu".to_owned(), "yuna".to_owned()]));
}

#[test]
fn a_step_of_the_schema_may_take_longer_than_a_statement() {
    const LONG: &[Migration] = &[Migration {
        version: 1,
        statements: "CREATE TABLE long (x BIGINT); INSERT INTO long SELECT x FROM
            (WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 300000) SELECT x FROM n)",
    }];
    let folder = Folder::new();
    let impatient = Settings { statement_within: Duration::from_millis(5), ..settings() };
    let database = Database::open(&folder.address(), LONG, impatient).expect("the step is applied");
    drop(database);
    let folder = Folder::new();
    let bounded = Settings { migration_within: Duration::from_millis(5), ..settings() };
    let error = Database::open(&folder.address(), LONG, bounded).expect_err("it has its own limit");
    assert!(error.to_string().contains("`migration_within` is 5ms"), "{error}");
    drop(Database::open(&folder.address(), LONG, settings()).expect("nothing of it was kept"));
}

#[test]
fn a_program_that_starts_waits_for_another_ones_step_longer_than_for_a_statement() {
    let folder = Folder::new();
    let first = folder.database(settings());
    let (hold, held) = channel::<()>();
    let (begins, begun) = channel();
    // Holds the lock of a writer, as a step of the schema does.
    let step = asked(first.save(1, move |_| {
        begins.send(()).expect("the test waits");
        held.recv().ok(); // Until the other end is dropped.
        Ok(())
    }))
    .expect("taken");
    begun.recv().expect("it has begun");
    let (opens, opened) = channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let impatient = Settings { statement_within: Duration::from_millis(5), ..settings() };
            let second = Database::open(&folder.address(), crate::support::SCHEMA, impatient);
            opens.send(second.map(drop)).expect("the test waits");
        });
        // Far beyond what a statement may take.
        let early = opened.recv_timeout(Duration::from_millis(500));
        assert_eq!(early, Err(RecvTimeoutError::Timeout));
        drop(hold);
        assert_eq!(wait(&step), Ok(()));
        assert_eq!(opened.recv().expect("it has an answer"), Ok(()));
    });
}
