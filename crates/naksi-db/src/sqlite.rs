//! SQLite: one file, one connection per thread, and a write-ahead log, so that readers never wait for a writer.

mod file;
mod guard;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, Statement, TransactionBehavior};

use crate::conn::{Conn, Inner};
use crate::error::{Error, Result};
use crate::keyed_queue::Kind;
use crate::link::Attempt;
use crate::settings::{Durability, Settings};
use crate::value::{Row, Value};

use file::Opened;
pub(crate) use file::SqliteFile;
pub(crate) use guard::Guard;

/// Steps of SQLite's machine between two looks at the clock.
const STEPS_BETWEEN_LOOKS: i32 = 10_000;

/// Limit of the wait for another program's transaction. SQLite's own limit is `i32::MAX` milliseconds.
const BUSY_WITHIN_MAX: Duration = Duration::from_secs(20 * 24 * 3600);

/// Size to which the write-ahead log is truncated after it has been written back.
const WAL_BYTES_KEPT: u64 = 8 << 20;

/// One connection, and the time that an attempt on it may take.
pub(crate) struct Sqlite {
    connection: Connection,
    guard: Guard,
    file: Opened,
    /// Held by the one of this program's connections that writes.
    writer: Arc<Mutex<()>>,
    born: Instant,
    /// When the current attempt is to be interrupted, in milliseconds since `birth`.
    until: Arc<AtomicU64>,
    statement_within: Duration,
    migration_within: Duration,
}

impl Sqlite {
    pub(crate) fn open(file: &SqliteFile, writer: Arc<Mutex<()>>, settings: &Settings) -> Result<Self> {
        let mut connection = file.connect()?;
        let opened = Self::prepare(&connection, settings)
            .map_err(|error| error.about(file.path()))
            .and_then(|()| file.opened(&connection))?;
        let guard = Guard::install(&mut connection)?;
        let (born, until) = (Instant::now(), Arc::new(AtomicU64::new(u64::MAX)));
        let (of_handler, interrupts) = (Arc::clone(&until), guard.clone());
        connection.progress_handler(
            STEPS_BETWEEN_LOOKS,
            Some(move || {
                let is_over = millis(born.elapsed()) > of_handler.load(Ordering::Relaxed);
                if is_over {
                    interrupts.set_interrupted(true);
                }
                is_over
            }),
        )?;
        let (statement_within, migration_within) = (settings.statement_within, settings.migration_within);
        Ok(Self { connection, guard, file: opened, writer, born, until, statement_within, migration_within })
    }

    /// Sets a new connection up.
    fn prepare(connection: &Connection, settings: &Settings) -> Result<()> {
        connection.busy_timeout(busy_within(settings.statement_within))?;
        write_ahead(connection)?;
        let synchronous = match settings.durability {
            Durability::ProcessEnd => "NORMAL",
            Durability::PowerCut => "FULL",
        };
        connection.pragma_update(None, "synchronous", synchronous)?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update(None, "journal_size_limit", WAL_BYTES_KEPT.cast_signed())?;
        // The first read opens the write-ahead log.
        Ok(connection.query_row("SELECT COUNT(*) FROM sqlite_schema", [], |_| Ok(()))?)
    }

    /// One attempt of a job in a transaction of its own.
    pub(crate) fn attempt(&mut self, kind: Kind, job: &mut Attempt<'_>) -> Result<()> {
        self.file.check()?;
        self.transact(kind, self.statement_within, job)?;
        if kind == Kind::Save {
            // Writes to a deleted file would be lost with this connection.
            self.file.check()?;
            self.shrink_log();
        }
        Ok(())
    }

    /// One attempt of a step of the schema, with longer time limits for itself and for another program's step.
    pub(crate) fn migrate(&mut self, job: &mut Attempt<'_>) -> Result<()> {
        let waits = self.migration_within.min(BUSY_WITHIN_MAX);
        self.connection.busy_timeout(waits)?;
        let done = self.transact(Kind::Save, self.migration_within, job);
        self.connection.busy_timeout(busy_within(self.statement_within))?;
        self.shrink_log();
        done
    }

    fn transact(&mut self, kind: Kind, within: Duration, job: &mut Attempt<'_>) -> Result<()> {
        // A panic of another writer has rolled its transaction back, so a poisoned lock is safe to use.
        let _turn = (kind == Kind::Save).then(|| self.writer.lock().unwrap_or_else(PoisonError::into_inner));
        self.until.store(millis(self.born.elapsed().saturating_add(within)), Ordering::Relaxed);
        self.guard.set_interrupted(false);
        // A transaction that begins as a reader may be unable to become a writer later.
        let behavior = match kind {
            Kind::Load => TransactionBehavior::Deferred,
            Kind::Save => TransactionBehavior::Immediate,
        };
        if !self.connection.is_autocommit() {
            // A rollback failed. The connection is made anew after this error.
            return Err(Error::Down("a transaction before this one could not be rolled back".to_owned()));
        }
        let (guard, path) = (&self.guard, self.file.path());
        let transaction = self.connection.transaction_with_behavior(behavior).map_err(about(path))?;
        let mut conn = Conn::new(Inner::Sqlite { connection: &transaction, guard, path });
        let done = guard.run(|| job(&mut conn)).and_then(|()| conn.verdict());
        let done = done.map_err(|error| match error {
            Error::Down(text) if guard.is_interrupted() => {
                Error::Down(format!("{text}: the attempt took longer than {within:?}"))
            }
            error => error,
        });
        drop(conn);
        done?;
        transaction.commit().map_err(about(path))
    }

    /// Writes a large log back into the database, unless a reader prevents it.
    fn shrink_log(&self) {
        if self.file.log_bytes() <= WAL_BYTES_KEPT {
            return;
        }
        let truncated = self.connection.busy_timeout(Duration::ZERO).and_then(|()| {
            self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0))
        });
        tracing::debug!(path = %self.file.path().display(), ?truncated, "write-ahead log written back");
        if let Err(error) = self.connection.busy_timeout(busy_within(self.statement_within)) {
            tracing::warn!(%error, "SQLite does not take a busy timeout");
        }
    }
}

/// How long to wait for a writer of another program; readers never wait.
fn busy_within(statement_within: Duration) -> Duration {
    statement_within.min(Duration::from_secs(1))
}

/// Switches to a write-ahead log. While another connection does so, SQLite reports "busy" without waiting.
fn write_ahead(connection: &Connection) -> Result<()> {
    let begun = Instant::now();
    loop {
        let mode =
            connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0));
        match mode.map_err(Error::from) {
            Err(Error::Busy(_)) if begun.elapsed() < Duration::from_secs(1) => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Ok(mode) if mode.eq_ignore_ascii_case("wal") => return Ok(()),
            Ok(mode) if mode.eq_ignore_ascii_case("memory") => return Err(file::in_memory()),
            Ok(mode) => {
                return Err(Error::Rejected(format!(
                    "there is no write-ahead log here (journal mode {mode})"
                )));
            }
            Err(error) => return Err(error),
        }
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Null => ValueRef::Null,
            Value::Integer(number) => ValueRef::Integer(*number),
            Value::Real(number) => ValueRef::Real(*number),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// Binds the first value to `$1` and so on, whatever order the statement uses them in.
fn bind(statement: &mut Statement<'_>, path: &Path, values: &[Value]) -> Result<()> {
    for index in 1..=statement.parameter_count() {
        let number = match statement.parameter_name(index) {
            Some(name) => name.strip_prefix('$').and_then(|number| number.parse().ok()),
            None => Some(index),
        };
        let value = number.and_then(|number: usize| values.get(number.checked_sub(1)?));
        let Some(value) = value else {
            let text =
                format!("there is no value for parameter {index} of a statement with {}", values.len());
            return Err(Error::Rejected(text));
        };
        statement.raw_bind_parameter(index, value).map_err(named(path))?;
    }
    Ok(())
}

pub(crate) fn execute(
    connection: &Connection,
    path: &Path,
    statement: &str,
    values: &[Value],
) -> Result<u64> {
    let mut statement = connection.prepare_cached(statement).map_err(named(path))?;
    bind(&mut statement, path, values)?;
    statement.raw_execute().map(|rows| rows as u64).map_err(named(path))
}

pub(crate) fn query(
    connection: &Connection,
    path: &Path,
    statement: &str,
    values: &[Value],
) -> Result<Vec<Row>> {
    let mut statement = connection.prepare_cached(statement).map_err(named(path))?;
    bind(&mut statement, path, values)?;
    let columns = statement.column_count();
    let (mut rows, mut found) = (statement.raw_query(), Vec::new());
    while let Some(row) = rows.next().map_err(named(path))? {
        let values = (0..columns).map(|column| row.get_ref(column).map(value)).collect::<Result<_, _>>();
        found.push(Row(values.map_err(named(path))?));
    }
    Ok(found)
}

pub(crate) fn batch(connection: &Connection, path: &Path, statements: &str) -> Result<()> {
    connection.execute_batch(statements).map_err(named(path))
}

fn value(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Integer(number),
        ValueRef::Real(number) => Value::Real(number),
        ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
    }
}

/// Converts the error of a job's statement, with the path of the database if the file is the cause.
fn named(path: &Path) -> impl Fn(rusqlite::Error) -> Error + '_ {
    move |error| {
        let code = error.sqlite_error_code();
        let of_file = [ErrorCode::NotADatabase, ErrorCode::DatabaseCorrupt, ErrorCode::ReadOnly]
            .map(Some)
            .contains(&code);
        let error = Error::from(error);
        if of_file || error.is_passing() { error.about(path) } else { error }
    }
}

/// Converts an error of SQLite, with the path of the database.
fn about(path: &Path) -> impl Fn(rusqlite::Error) -> Error + '_ {
    move |error| Error::from(error).about(path)
}

impl From<rusqlite::Error> for Error {
    /// Whether it is transient: SQLite has a number for each kind of failure.
    fn from(error: rusqlite::Error) -> Self {
        let text = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Error::Busy(text),
            Some(
                ErrorCode::CannotOpen
                | ErrorCode::SystemIoFailure
                | ErrorCode::DiskFull
                | ErrorCode::FileLockingProtocolFailed
                | ErrorCode::OutOfMemory
                | ErrorCode::OperationInterrupted,
            ) => Error::Down(text),
            Some(ErrorCode::AuthorizationForStatementDenied) => Error::Rejected(format!(
                "a job is one transaction, and may neither begin nor end one: {text}"
            )),
            _ => Error::Rejected(text),
        }
    }
}
