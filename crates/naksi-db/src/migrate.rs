//! The schema in numbered steps: each is applied once, in order, in its own transaction.
//!
//! A schema with steps of a newer program is refused, and so is one whose applied steps have changed.

use std::time::{Duration, Instant};

use crate::conn::Conn;
use crate::error::{Error, OpenError, Result};
use crate::keyed_queue::Kind;
use crate::link::Connection;
use crate::mark::mark_v1;

/// One step of the schema. Once it has been applied anywhere, it must not change.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// Its number; each is larger than the one before.
    pub version: u32,
    /// Its statements, with semicolons between them.
    pub statements: &'static str,
}

/// Both databases support this statement; the mark detects a step that was changed.
const TABLE: &str =
    "CREATE TABLE IF NOT EXISTS naksi_migrations (version BIGINT PRIMARY KEY, mark BIGINT NOT NULL)";

/// The advisory lock's number, held until the end of the transaction; arbitrary, so collisions are unlikely.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7204829104471)";

/// Applies what is missing.
pub(crate) fn run(link: &mut Connection, steps: &[Migration], within: Duration) -> Result<(), OpenError> {
    if let Some(pair) = steps.windows(2).find(|pair| pair[0].version >= pair[1].version) {
        let text = format!("migration {} stands behind {}", pair[1].version, pair[0].version);
        return Err(OpenError::Setting(text));
    }
    link.migrate(&mut |conn| {
        // PostgreSQL's "if not exists" is not a lock: two that check at once both find nothing.
        wait_for_others(conn)?;
        conn.batch(TABLE)
    })?;
    let applied = applied(link)?;
    let known = steps.last().map_or(0, |step| step.version);
    if let Some((found, _)) = applied.last().filter(|(version, _)| *version > known) {
        return Err(OpenError::NewerSchema { found: *found, known });
    }
    for step in steps {
        apply(link, step, within)?;
    }
    Ok(())
}

/// The steps that were applied, in order.
fn applied(link: &mut Connection) -> Result<Vec<(u32, i64)>, OpenError> {
    let mut applied = Vec::new();
    link.attempt(Kind::Load, &mut |conn| {
        applied.clear();
        for row in conn.query("SELECT version, mark FROM naksi_migrations ORDER BY version", &[])? {
            applied.push((row.get(0)?, row.get(1)?));
        }
        Ok(())
    })?;
    Ok(applied)
}

/// Applies one step, unless it has been applied.
fn apply(link: &mut Connection, step: &Migration, within: Duration) -> Result<(), OpenError> {
    let (mut changed, mark, begun) = (false, mark_v1(step.statements), Instant::now());
    let done = link.migrate(&mut |conn| {
        wait_for_others(conn)?;
        let version = step.version.into();
        let found = conn.query_one("SELECT mark FROM naksi_migrations WHERE version = $1", &[version])?;
        if let Some(row) = found {
            changed = row.get::<i64>(0)? != mark;
            return Ok(());
        }
        conn.batch(step.statements)?;
        let row = [step.version.into(), mark.into()];
        conn.execute("INSERT INTO naksi_migrations (version, mark) VALUES ($1, $2)", &row)?;
        tracing::info!(version = step.version, "the database's schema goes on");
        Ok(())
    });
    match done {
        // No database reports which limit it was.
        Err(Error::Down(text) | Error::Busy(text)) if begun.elapsed() >= within => {
            let error = Error::Down(format!("{text} (`migration_within` is {within:?})"));
            Err(OpenError::Migration { version: step.version, error })
        }
        Err(error) => Err(OpenError::Migration { version: step.version, error }),
        Ok(()) if changed => Err(OpenError::Changed { version: step.version }),
        Ok(()) => Ok(()),
    }
}

/// Makes two programs that start at once apply each step once. A writer of SQLite is exclusive already.
fn wait_for_others(conn: &mut Conn<'_>) -> Result<(), Error> {
    match conn.sqlite() {
        Some(_) => Ok(()),
        None => conn.batch(LOCK),
    }
}
