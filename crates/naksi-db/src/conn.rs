//! What a job has in hand: one connection, inside one transaction.
//!
//! The few verbs here are the same for every database; what only one has is behind its own door. Nothing here
//! begins or ends a transaction.

use crate::error::{Error, Result};
use crate::value::{Row, Value};

/// A connection inside the transaction of one job. What the job did is kept if it returns `Ok`, and undone if not.
pub struct Conn<'t> {
    pub(crate) inner: Inner<'t>,
    /// A statement failed: PostgreSQL keeps nothing of the transaction after that, and says so to nobody.
    pub(crate) failed: Option<Error>,
}

pub(crate) enum Inner<'t> {
    Sqlite(&'t rusqlite::Connection),
    #[cfg(feature = "postgres")]
    Postgres {
        transaction: postgres::Transaction<'t>,
        /// Statements that this connection has prepared.
        prepared: &'t mut crate::postgres::Prepared,
        /// The job has had the transaction itself in hand.
        used_directly: bool,
    },
}

impl<'t> Conn<'t> {
    pub(crate) fn new(inner: Inner<'t>) -> Self {
        Self { inner, failed: None }
    }

    /// Carries out one statement, with `$1`, `$2` and so on for the values, and returns how many rows it changed.
    ///
    /// # Errors
    /// What the database says.
    pub fn execute(&mut self, statement: &str, values: &[Value]) -> Result<u64> {
        let done = match &mut self.inner {
            Inner::Sqlite(connection) => crate::sqlite::execute(connection, statement, values),
            #[cfg(feature = "postgres")]
            Inner::Postgres { transaction, prepared, .. } => {
                crate::postgres::execute(transaction, prepared, statement, values)
            }
        };
        self.note(done)
    }

    /// Asks for rows, with `$1`, `$2` and so on for the values.
    ///
    /// # Errors
    /// What the database says, or a column of a type that only one database has.
    pub fn query(&mut self, statement: &str, values: &[Value]) -> Result<Vec<Row>> {
        let rows = match &mut self.inner {
            Inner::Sqlite(connection) => crate::sqlite::query(connection, statement, values),
            #[cfg(feature = "postgres")]
            Inner::Postgres { transaction, prepared, .. } => {
                crate::postgres::query(transaction, prepared, statement, values)
            }
        };
        self.note(rows)
    }

    /// Asks for one row; `None` if there is none.
    ///
    /// # Errors
    /// As [`Conn::query`], and [`Error::Rejected`] if there are several.
    pub fn query_one(&mut self, statement: &str, values: &[Value]) -> Result<Option<Row>> {
        let mut rows = self.query(statement, values)?;
        match rows.len() {
            0 | 1 => Ok(rows.pop()),
            several => Err(Error::Rejected(format!("one row was expected, and there are {several}"))),
        }
    }

    /// Carries out several statements without values, with semicolons between them.
    ///
    /// # Errors
    /// What the database says.
    pub fn batch(&mut self, statements: &str) -> Result<()> {
        let done = match &mut self.inner {
            Inner::Sqlite(connection) => connection.execute_batch(statements).map_err(Error::from),
            #[cfg(feature = "postgres")]
            Inner::Postgres { transaction, .. } => transaction.batch_execute(statements).map_err(Error::from),
        };
        self.note(done)
    }

    /// SQLite itself; `None` on another database. Its errors become ours with `?`.
    pub fn sqlite(&self) -> Option<&rusqlite::Connection> {
        match &self.inner {
            Inner::Sqlite(connection) => Some(connection),
            #[cfg(feature = "postgres")]
            Inner::Postgres { .. } => None,
        }
    }

    /// PostgreSQL itself, in the job's transaction; `None` on another database. Its errors become ours with `?`.
    #[cfg(feature = "postgres")]
    pub fn postgres(&mut self) -> Option<&mut postgres::Transaction<'t>> {
        match &mut self.inner {
            Inner::Sqlite(_) => None,
            Inner::Postgres { transaction, used_directly, .. } => {
                *used_directly = true;
                Some(transaction)
            }
        }
    }

    fn note<T>(&mut self, done: Result<T>) -> Result<T> {
        if let Err(error) = &done {
            self.failed = Some(error.clone());
        }
        done
    }
}

impl std::fmt::Debug for Conn<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Conn")
    }
}
