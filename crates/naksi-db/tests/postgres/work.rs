//! What every day brings: values, steps of the schema, order, conflicts.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use naksi_db::{Database, Error, Migration, OpenError, Settings, Value};

use crate::server::{Server, answer};

const SCHEMA: &[Migration] = &[
    Migration {
        version: 1,
        statements: "CREATE TABLE everything (key BIGINT PRIMARY KEY, small SMALLINT, middle INTEGER, large BIGINT, \
                     single REAL, double DOUBLE PRECISION, words TEXT, short VARCHAR(20), bytes BYTEA, truth BOOLEAN)",
    },
    Migration {
        version: 2,
        statements: "CREATE TABLE players (name BIGINT PRIMARY KEY, gold BIGINT NOT NULL CHECK (gold >= 0));\
                     INSERT INTO players VALUES (1, 100), (2, 100)",
    },
];

fn gold(database: &Database, name: i64) -> i64 {
    answer(database.load(name, move |conn| {
        let row = conn.query_one("SELECT gold FROM players WHERE name = $1", &[name.into()])?;
        row.expect("the player exists").get(0)
    }))
    .expect("a player")
}

/// All of these share one server, because starting it takes longer than they do.
#[test]
fn a_real_server_keeps_what_it_is_told() {
    let server = Server::start();
    println!("steps");
    steps_of_four_programs_at_once_are_applied_once(&server);
    println!("values");
    every_kind_of_value_comes_back_as_it_went(&server);
    println!("a failed statement");
    a_job_that_goes_on_after_a_failed_statement_is_told_that_nothing_is_kept(&server);
    println!("ends of a transaction");
    a_job_that_begins_or_ends_a_transaction_keeps_nothing(&server);
    println!("savepoints");
    a_job_goes_on_behind_a_savepoint(&server);
    println!("a failure that passes");
    a_job_that_overlooks_a_failure_that_passes_is_tried_again(&server);
    println!("a long step");
    a_step_may_take_longer_than_a_statement_and_so_may_the_wait_for_it(&server);
    println!("a deadlock");
    two_that_lock_each_other_out_both_have_their_turn(&server);
    println!("a slow statement");
    a_statement_that_takes_too_long_is_ended(&server);
    println!("a table that changes");
    a_statement_that_was_prepared_before_its_table_changed_is_prepared_anew(&server);
    println!("relogs");
    a_login_waits_for_the_save_before_it(&server);
}

/// As in a rolling update: a newer program's step adds a column while this one runs.
fn a_statement_that_was_prepared_before_its_table_changed_is_prepared_anew(server: &Server) {
    let database = server.database(SCHEMA, Settings { threads: Some(1), ..Settings::default() });
    let change = |statement: &'static str| answer(database.load(1, move |conn| conn.execute(statement, &[])));
    let read = || {
        answer(
            database
                .load(1, |conn| conn.query_one("SELECT * FROM changing", &[])?.expect("a row").get::<i64>(0)),
        )
    };
    change("CREATE TABLE changing (name BIGINT)").expect("a table");
    change("INSERT INTO changing VALUES (1)").expect("a row");
    assert_eq!(read(), Ok(1));
    change("ALTER TABLE changing ADD COLUMN gold BIGINT").expect("another column");
    assert_eq!(read(), Ok(1));
}

fn steps_of_four_programs_at_once_are_applied_once(server: &Server) {
    std::thread::scope(|scope| {
        let open = || Database::open(&server.address(), SCHEMA, Settings::default());
        let programs: Vec<_> = (0..4).map(|_| scope.spawn(open)).collect();
        for program in programs {
            let database = program.join().expect("no panic").expect("its schema is there");
            assert_eq!((gold(&database, 1), gold(&database, 2)), (100, 100));
        }
    });
    let older = Database::open(&server.address(), &SCHEMA[..1], Settings::default());
    assert_eq!(older.expect_err("a newer schema"), OpenError::NewerSchema { found: 2, known: 1 });
}

fn every_kind_of_value_comes_back_as_it_went(server: &Server) {
    let database = server.database(SCHEMA, Settings::default());
    let row: Vec<Value> = vec![
        1_i64.into(),
        (-7_i32).into(),
        i32::MAX.into(),
        i64::MIN.into(),
        0.5_f32.into(),
        (1.0 / 3.0).into(),
        "낚시".into(),
        "short".into(),
        vec![0_u8, 255].into(),
        true.into(),
    ];
    let (all, none) = (row.clone(), [vec![2_i64.into()], vec![Value::Null; 9]].concat());
    let rows = answer(database.save("values", move |conn| {
        let insert = "INSERT INTO everything VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
        assert_eq!((conn.execute(insert, &all)?, conn.execute(insert, &none)?), (1, 1));
        conn.query("SELECT * FROM everything ORDER BY key", &[])
    }));
    let rows = rows.expect("two rows");
    assert_eq!(rows[0].values(), row);
    assert_eq!(rows[1].values()[1..], vec![Value::Null; 9]);
    for wrong in ["SELECT now()", "SELECT $1::bigint", "SELECT 1 +"] {
        let refused = answer(database.load("values", move |conn| conn.query(wrong, &[])));
        assert!(matches!(&refused, Err(Error::Rejected(_))), "{wrong}: {refused:?}");
    }
    let large = answer(database.load("values", |conn| conn.query("SELECT $1::int2", &[70_000.into()])));
    assert!(matches!(&large, Err(Error::Rejected(_))), "{large:?}");
    let own = answer(database.load("values", |conn| {
        Ok(conn.postgres().expect("it is").query_one("SELECT now()::text", &[])?.get::<_, String>(0))
    }));
    assert!(own.expect("a time").starts_with("20"));
}

fn a_job_that_goes_on_after_a_failed_statement_is_told_that_nothing_is_kept(server: &Server) {
    let database = server.database(SCHEMA, Settings::default());
    let ignores = answer(database.save(1, |conn| {
        conn.execute("UPDATE players SET gold = 7 WHERE name = 1", &[])?;
        conn.execute("UPDATE players SET gold = -1 WHERE name = 1", &[]).ok(); // As a careless game would.
        Ok(())
    }));
    assert!(
        matches!(&ignores, Err(Error::Rejected(text)) if text.contains("nothing is kept")),
        "{ignores:?}"
    );
    let directly = answer(database.save(1, |conn| {
        let mut transaction = conn.postgres().expect("it is");
        transaction.batch_execute("UPDATE players SET gold = 7 WHERE name = 1")?;
        transaction.batch_execute("UPDATE missing SET gold = 7").ok(); // The same through the raw transaction.
        Ok(())
    }));
    assert!(matches!(&directly, Err(Error::Rejected(_))), "{directly:?}");
    assert_eq!(gold(&database, 1), 100);
}

fn a_job_that_begins_or_ends_a_transaction_keeps_nothing(server: &Server) {
    let database = server.database(SCHEMA, Settings { threads: Some(1), ..Settings::default() });
    let ends = [
        "COMMIT",
        "rollback",
        "/* all is well */ END",
        "COMMIT AND CHAIN",
        "ROLLBACK; BEGIN",
        "SELECT 1; COMMIT; BEGIN",
        "COMMIT; UPDATE players SET gold = 7 WHERE name = 2",
        "PREPARE TRANSACTION 'half'",
        "DO $$ BEGIN COMMIT; END $$",
    ];
    for end in ends {
        for way in 0..3 {
            let half = answer(database.save(1, move |conn| {
                conn.execute("UPDATE players SET gold = 7 WHERE name = 1", &[])?;
                match way {
                    0 => drop(conn.batch(end)),
                    1 => drop(conn.execute(end, &[])),
                    _ => drop(conn.postgres().expect("it is").batch_execute(end)),
                }
                conn.execute("UPDATE players SET gold = 7 WHERE name = 2", &[]).ok();
                Ok(())
            }));
            assert!(matches!(half, Err(Error::Rejected(_))), "{end} {way}: {half:?}");
            assert_eq!((gold(&database, 1), gold(&database, 2)), (100, 100), "{end} {way}");
        }
    }
}

fn a_job_goes_on_behind_a_savepoint(server: &Server) {
    let database = server.database(SCHEMA, Settings::default());
    let whole = answer(database.save(1, |conn| {
        let mut directly = conn.postgres().expect("it is");
        directly.batch_execute("UPDATE players SET gold = 99 WHERE name = 1; SAVEPOINT one")?;
        assert!(directly.execute("UPDATE players SET gold = -1 WHERE name = 1", &[]).is_err());
        directly.batch_execute("ROLLBACK TO one; UPDATE players SET gold = 101 WHERE name = 2")
    }));
    assert_eq!((whole, gold(&database, 1), gold(&database, 2)), (Ok(()), 99, 101));
    let back = answer(database.save(1, |conn| conn.execute("UPDATE players SET gold = 100", &[])));
    assert_eq!(back, Ok(2));
}

fn a_job_that_overlooks_a_failure_that_passes_is_tried_again(server: &Server) {
    let impatient = Settings { statement_within: Duration::from_millis(500), ..Settings::default() };
    let database = server.database(SCHEMA, impatient);
    let (attempts, mut first) = (Arc::new(AtomicU32::new(0)), true);
    let counted = Arc::clone(&attempts);
    let whole = answer(database.save(1, move |conn| {
        counted.fetch_add(1, Ordering::SeqCst);
        if std::mem::take(&mut first) {
            conn.query("SELECT pg_sleep(1000)::text", &[]).ok(); // As a careless game would.
        }
        conn.execute("UPDATE players SET gold = 100 WHERE name = 1", &[]).ok();
        Ok(())
    }));
    assert_eq!((whole, attempts.load(Ordering::SeqCst)), (Ok(()), 2));
}

fn a_step_may_take_longer_than_a_statement_and_so_may_the_wait_for_it(server: &Server) {
    const LONG: &[Migration] = &[
        SCHEMA[0],
        SCHEMA[1],
        Migration { version: 3, statements: "CREATE TABLE long (x BIGINT); SELECT pg_sleep(1.5)" },
    ];
    const LONGER: &[Migration] =
        &[SCHEMA[0], SCHEMA[1], Migration { version: 3, statements: "SELECT pg_sleep(1000)" }];
    let impatient = Settings { statement_within: Duration::from_millis(250), ..Settings::default() };
    let bounded = Settings { migration_within: Duration::from_millis(250), ..Settings::default() };
    let error = Database::open(&server.address(), LONGER, bounded).expect_err("it has its own limit");
    assert!(error.to_string().contains("`migration_within` is 250ms"), "{error}");
    std::thread::scope(|scope| {
        let open = || Database::open(&server.address(), LONG, impatient.clone());
        let both: Vec<_> = (0..2).map(|_| scope.spawn(open)).collect();
        for one in both {
            drop(one.join().expect("no panic").expect("its schema is there"));
        }
    });
    // As the others of these tests know it.
    let database = Database::open(&server.address(), LONG, Settings::default()).expect("the newest schema");
    let undone = answer(
        database
            .save(1, |conn| conn.batch("DROP TABLE long; DELETE FROM naksi_migrations WHERE version = 3")),
    );
    assert_eq!(undone, Ok(()));
}

fn two_that_lock_each_other_out_both_have_their_turn(server: &Server) {
    let database = server.database(SCHEMA, Settings::default());
    let (meet, attempts) = (Arc::new(Barrier::new(2)), Arc::new(AtomicU32::new(0)));
    let give = |from: i64, to: i64| {
        let (meet, attempts, mut first) = (Arc::clone(&meet), Arc::clone(&attempts), true);
        // Different keys, so that only the database detects the conflict.
        let job = database.save(("give", from), move |conn| {
            attempts.fetch_add(1, Ordering::SeqCst);
            conn.execute("UPDATE players SET gold = gold - 1 WHERE name = $1", &[from.into()])?;
            if std::mem::take(&mut first) {
                meet.wait();
            }
            conn.execute("UPDATE players SET gold = gold + 1 WHERE name = $1", &[to.into()])
        });
        let (answers, answer) = std::sync::mpsc::channel();
        job.then(move |given| answers.send(given).ok().unwrap_or_default()).expect("taken");
        answer
    };
    let both = [give(1, 2), give(2, 1)];
    assert!(both.iter().all(|given| given.recv_timeout(crate::server::PATIENCE) == Ok(Ok(1))));
    assert_eq!(attempts.load(Ordering::SeqCst), 3, "one of them was ended by the server, and tried again");
    assert_eq!((gold(&database, 1), gold(&database, 2)), (100, 100));
}

fn a_statement_that_takes_too_long_is_ended(server: &Server) {
    let impatient =
        Settings { statement_within: Duration::from_millis(200), attempts_max: 2, ..Settings::default() };
    let database = server.database(SCHEMA, impatient);
    let slow = answer(database.load(1, |conn| conn.query("SELECT pg_sleep(1000)::text", &[])));
    assert!(matches!(&slow, Err(Error::Down(text)) if text.contains("timeout")), "{slow:?}");
    assert_eq!(gold(&database, 1), 100);
}

fn a_login_waits_for_the_save_before_it(server: &Server) {
    let database = server.database(SCHEMA, Settings::default());
    for version in 1..=300_i64 {
        let save = database.save(1, move |conn| {
            conn.execute("UPDATE players SET gold = $1 WHERE name = 1", &[version.into()])
        });
        save.forget().expect("taken");
        assert_eq!(gold(&database, 1), version);
    }
    let closed = database.close(crate::server::PATIENCE);
    assert_eq!((closed.saves_lost, closed.still_running), (0, 0));
}
