//! The schema's steps: once each, all or nothing, never backwards.

use naksi_db::{Database, Migration, OpenError, Settings};

use crate::support::{Folder, answer};

const ONE: Migration =
    Migration { version: 1, statements: "CREATE TABLE a (x BIGINT); INSERT INTO a VALUES (1);" };
const TWO: Migration =
    Migration { version: 2, statements: "INSERT INTO a VALUES (2); CREATE TABLE b (y BIGINT)" };
const BROKEN: Migration =
    Migration { version: 3, statements: "INSERT INTO a VALUES (3); INSERT INTO nowhere VALUES (3)" };

fn open(folder: &Folder, steps: &[Migration]) -> Result<Database, OpenError> {
    Database::open(&folder.address(), steps, Settings::default())
}

fn rows(database: &Database) -> i64 {
    answer(database.load(0, |conn| {
        let row = conn.query_one("SELECT COUNT(*) FROM a", &[])?.expect("a count is one row");
        row.get(0)
    }))
    .expect("a count")
}

#[test]
fn each_step_is_applied_once_and_in_order() {
    let folder = Folder::new();
    assert_eq!(rows(&open(&folder, &[ONE]).expect("the first step")), 1);
    assert_eq!(rows(&open(&folder, &[ONE, TWO]).expect("the second")), 2);
    assert_eq!(rows(&open(&folder, &[ONE, TWO]).expect("nothing to do")), 2);
}

#[test]
fn a_step_that_fails_leaves_nothing_of_itself_and_all_before_it() {
    let folder = Folder::new();
    let error = open(&folder, &[ONE, TWO, BROKEN]).expect_err("the third is broken");
    assert!(
        error.to_string().starts_with("migration 3 failed: ") && error.to_string().contains("nowhere"),
        "{error}"
    );
    assert_eq!(rows(&open(&folder, &[ONE, TWO]).expect("as before the third")), 2);
}

#[test]
fn a_schema_that_has_seen_a_newer_program_is_left_alone() {
    let folder = Folder::new();
    drop(open(&folder, &[ONE, TWO]).expect("both"));
    let error = open(&folder, &[ONE]).expect_err("an older program");
    assert_eq!(error, OpenError::NewerSchema { found: 2, known: 1 });
    let line = "the schema is of version 2, and this program knows 1: run a program that is as new";
    assert_eq!(error.to_string(), line);
}

#[test]
fn a_step_that_was_changed_after_it_was_applied_is_named() {
    let folder = Folder::new();
    drop(open(&folder, &[ONE]).expect("the first step"));
    let other = Migration { version: 1, statements: "CREATE TABLE a (x TEXT)" };
    assert_eq!(open(&folder, &[other]).expect_err("another text"), OpenError::Changed { version: 1 });
}

#[test]
fn steps_out_of_order_are_refused_before_anything_is_applied() {
    let folder = Folder::new();
    let error = open(&folder, &[TWO, ONE]).expect_err("backwards");
    assert_eq!(error.to_string(), "migration 1 stands behind 2");
    drop(open(&folder, &[ONE]).expect("nothing was applied"));
}

#[test]
fn two_programs_that_start_at_once_apply_each_step_once() {
    let folder = Folder::new();
    std::thread::scope(|scope| {
        let both: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| open(&folder, &[ONE, TWO]).map(|database| rows(&database))))
            .collect();
        for one in both {
            assert_eq!(one.join().expect("no panic"), Ok(2));
        }
    });
}
