//! SQLite: one file, one connection a thread, a write-ahead log, so that readers never wait for a writer.
//!
//! Nothing here knows a queue or a key.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, Statement, TransactionBehavior};

use crate::conn::{Conn, Inner};
use crate::error::{Error, Result};
use crate::lanes::Kind;
use crate::link::Attempt;
use crate::settings::{Durability, Settings};
use crate::value::{Row, Value};

/// Steps of SQLite's machine between two looks at the clock.
const STEPS_BETWEEN_LOOKS: i32 = 10_000;

/// One connection, and the time that an attempt on it may take.
pub(crate) struct Sqlite {
    connection: Connection,
    /// Held by the one of this program's connections that writes.
    writer: Arc<Mutex<()>>,
    born: Instant,
    /// When the attempt that runs is to be interrupted, in milliseconds since the birth.
    until: Arc<AtomicU64>,
    within: Duration,
}

impl Sqlite {
    pub(crate) fn open(path: &Path, writer: Arc<Mutex<()>>, settings: &Settings) -> Result<Self> {
        let mut connection = Connection::open(path)?;
        // A writer of another program is waited for so long; a reader never.
        connection.busy_timeout(settings.statement_within.min(Duration::from_secs(1)))?;
        write_ahead(&connection)?;
        let synchronous = match settings.durability {
            Durability::ProcessEnd => "NORMAL",
            Durability::PowerCut => "FULL",
        };
        connection.pragma_update(None, "synchronous", synchronous)?;
        connection.pragma_update(None, "foreign_keys", true)?;
        let (born, until) = (Instant::now(), Arc::new(AtomicU64::new(u64::MAX)));
        let of_handler = Arc::clone(&until);
        connection.progress_handler(
            STEPS_BETWEEN_LOOKS,
            Some(move || millis(born.elapsed()) > of_handler.load(Ordering::Relaxed)),
        )?;
        Ok(Self { connection, writer, born, until, within: settings.statement_within })
    }

    /// One attempt of a job in a transaction of its own.
    pub(crate) fn attempt(&mut self, kind: Kind, job: &mut Attempt<'_>) -> Result<()> {
        // A panic of whoever wrote before has rolled its transaction back, and left nothing in here.
        let _turn = (kind == Kind::Save).then(|| self.writer.lock().unwrap_or_else(PoisonError::into_inner));
        self.until.store(millis(self.born.elapsed() + self.within), Ordering::Relaxed);
        // A writer that began as a reader may find that it cannot become one any more.
        let behavior = match kind {
            Kind::Load => TransactionBehavior::Deferred,
            Kind::Save => TransactionBehavior::Immediate,
        };
        let transaction = self.connection.transaction_with_behavior(behavior)?;
        job(&mut Conn::new(Inner::Sqlite(&transaction)))?;
        Ok(transaction.commit()?)
    }
}

/// Has a write-ahead log. While another connection sees to that, SQLite says that it is busy without waiting.
fn write_ahead(connection: &Connection) -> Result<()> {
    let begun = Instant::now();
    loop {
        match connection.pragma_update(None, "journal_mode", "WAL").map_err(Error::from) {
            Err(Error::Busy(_)) if begun.elapsed() < Duration::from_secs(1) => {
                std::thread::sleep(Duration::from_millis(5));
            }
            done => return done,
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

/// Puts `$1` where the first value belongs and so on, whatever order the statement names them in.
fn bind(statement: &mut Statement<'_>, values: &[Value]) -> Result<()> {
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
        statement.raw_bind_parameter(index, value)?;
    }
    Ok(())
}

pub(crate) fn execute(connection: &Connection, statement: &str, values: &[Value]) -> Result<u64> {
    let mut statement = connection.prepare_cached(statement)?;
    bind(&mut statement, values)?;
    Ok(statement.raw_execute()? as u64)
}

pub(crate) fn query(connection: &Connection, statement: &str, values: &[Value]) -> Result<Vec<Row>> {
    let mut statement = connection.prepare_cached(statement)?;
    bind(&mut statement, values)?;
    let columns = statement.column_count();
    let (mut rows, mut found) = (statement.raw_query(), Vec::new());
    while let Some(row) = rows.next()? {
        let values = (0..columns).map(|column| row.get_ref(column).map(value)).collect::<Result<_, _>>()?;
        found.push(Row(values));
    }
    Ok(found)
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

impl From<rusqlite::Error> for Error {
    /// Whether it passes: SQLite has a number for each kind of failure.
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
            _ => Error::Rejected(text),
        }
    }
}
