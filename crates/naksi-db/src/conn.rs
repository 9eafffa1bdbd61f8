//! The connection of a job, inside one transaction.
//!
//! The methods are the same for every database; what only one database has is in its own module. A job can neither
//! begin nor end a transaction.

use crate::error::{Error, Result};
use crate::value::{Row, Value};

/// A connection inside the transaction of one job. Its changes are committed if it returns `Ok`, and rolled back if
/// not.
///
/// A statement that would begin or end a transaction (`COMMIT`, `ROLLBACK`, …) is refused, and the job fails;
/// savepoints are allowed. If the database ends the transaction, every later statement of the job fails with the same
/// error.
pub struct Conn<'t> {
    pub(crate) inner: Inner<'t>,
    /// The first failure that the transaction may not survive.
    failed: Option<Error>,
    /// The job tried to begin or end a transaction: it fails, whatever the database does.
    #[cfg(feature = "postgres")]
    refused: Option<Error>,
}

pub(crate) enum Inner<'t> {
    Sqlite {
        connection: &'t rusqlite::Connection,
        guard: &'t crate::sqlite::Guard,
        /// Which file errors are about.
        path: &'t std::path::Path,
    },
    #[cfg(feature = "postgres")]
    Postgres {
        transaction: postgres::Transaction<'t>,
        /// Statements that this connection has prepared.
        prepared: &'t mut crate::postgres::Prepared,
        /// The job has used PostgreSQL's own interface.
        used_directly: bool,
    },
}

impl<'t> Conn<'t> {
    pub(crate) fn new(inner: Inner<'t>) -> Self {
        Self {
            inner,
            failed: None,
            #[cfg(feature = "postgres")]
            refused: None,
        }
    }

    /// Executes one statement, with `$1`, `$2` and so on for the values, and returns how many rows it changed.
    ///
    /// # Errors
    /// The database's error.
    pub fn execute(&mut self, statement: &str, values: &[Value]) -> Result<u64> {
        self.admit(statement)?;
        let done = match &mut self.inner {
            Inner::Sqlite { connection, path, .. } => {
                crate::sqlite::execute(connection, path, statement, values)
            }
            #[cfg(feature = "postgres")]
            Inner::Postgres { transaction, prepared, .. } => {
                crate::postgres::execute(transaction, prepared, statement, values)
            }
        };
        self.note(done)
    }

    /// Queries rows, with `$1`, `$2` and so on for the values.
    ///
    /// # Errors
    /// The database's error, or a column of a type that only one database has.
    pub fn query(&mut self, statement: &str, values: &[Value]) -> Result<Vec<Row>> {
        self.admit(statement)?;
        let rows = match &mut self.inner {
            Inner::Sqlite { connection, path, .. } => {
                crate::sqlite::query(connection, path, statement, values)
            }
            #[cfg(feature = "postgres")]
            Inner::Postgres { transaction, prepared, .. } => {
                crate::postgres::query(transaction, prepared, statement, values)
            }
        };
        self.note(rows)
    }

    /// Queries one row; `None` if there is none.
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

    /// Executes several statements without values, separated by semicolons.
    ///
    /// # Errors
    /// The database's error.
    pub fn batch(&mut self, statements: &str) -> Result<()> {
        self.admit(statements)?;
        let done = match &mut self.inner {
            Inner::Sqlite { connection, path, .. } => crate::sqlite::batch(connection, path, statements),
            #[cfg(feature = "postgres")]
            Inner::Postgres { transaction, .. } => transaction.batch_execute(statements).map_err(Error::from),
        };
        self.note(done)
    }

    /// SQLite itself; `None` on another database. Its errors convert with `?`. The job's transaction is protected
    /// here as well: a statement that would begin or end it is refused, and writes after its end are undone.
    pub fn sqlite(&self) -> Option<&rusqlite::Connection> {
        match &self.inner {
            Inner::Sqlite { connection, .. } => Some(connection),
            #[cfg(feature = "postgres")]
            Inner::Postgres { .. } => None,
        }
    }

    /// PostgreSQL's own types and methods, in the job's transaction; `None` on another database.
    #[cfg(feature = "postgres")]
    pub fn postgres(&mut self) -> Option<crate::PostgresTransaction<'_, 't>> {
        match &self.inner {
            Inner::Sqlite { .. } => None,
            Inner::Postgres { .. } => Some(crate::PostgresTransaction::new(self)),
        }
    }

    /// Whether a statement may be carried out at all.
    #[cfg_attr(
        not(feature = "postgres"),
        expect(unused_variables, reason = "SQLite reads a statement itself")
    )]
    pub(crate) fn admit(&mut self, statement: &str) -> Result<()> {
        match &self.inner {
            Inner::Sqlite { connection, guard, .. } => match guard.has_ended(connection) {
                true => Err(self.ended()),
                false => Ok(()),
            },
            #[cfg(feature = "postgres")]
            Inner::Postgres { prepared, .. } => {
                if prepared.contains_key(statement) {
                    return Ok(());
                }
                let Err(error) = crate::postgres::admit(statement) else { return Ok(()) };
                self.refused = Some(error.clone());
                Err(error)
            }
        }
    }

    /// Why nothing of the job may be committed, if it may not.
    pub(crate) fn verdict(&mut self) -> Result<()> {
        #[cfg(feature = "postgres")]
        if let Some(error) = self.refused.take() {
            return Err(error);
        }
        match &mut self.inner {
            Inner::Sqlite { connection, guard, .. } => {
                let is_over = self.failed.is_some() || guard.has_ended(connection);
                if is_over { Err(self.ended()) } else { Ok(()) }
            }
            #[cfg(feature = "postgres")]
            Inner::Postgres { transaction, used_directly, .. } => {
                if self.failed.is_none() && !*used_directly {
                    return Ok(());
                }
                // The server would answer COMMIT with a rollback and no error. A savepoint may have saved the rest.
                let Err(error) = transaction.batch_execute("SELECT 1") else { return Ok(()) };
                Err(self.failed.take().map_or_else(|| error.into(), nothing_is_kept))
            }
        }
    }

    /// The error of a job whose transaction is over.
    fn ended(&self) -> Error {
        let interrupted = match &self.inner {
            Inner::Sqlite { guard, .. } => guard.is_interrupted(),
            #[cfg(feature = "postgres")]
            Inner::Postgres { .. } => false,
        };
        match (&self.failed, interrupted) {
            (Some(error), _) => nothing_is_kept(error.clone()),
            (None, true) => Error::Down("a statement was interrupted".to_owned()),
            (None, false) => {
                let text = "the transaction ended before the job did, and nothing of it is kept";
                Error::Rejected(text.to_owned())
            }
        }
    }

    /// Remembers a failure that the transaction may not have survived.
    pub(crate) fn note<T>(&mut self, done: Result<T>) -> Result<T> {
        let Err(error) = done else { return done };
        let is_over = match &self.inner {
            // A refused statement leaves the rest as it was.
            Inner::Sqlite { connection, guard, .. } => error.is_passing() || guard.has_ended(connection),
            #[cfg(feature = "postgres")]
            Inner::Postgres { .. } => true,
        };
        #[cfg(feature = "postgres")]
        if let Some(first) = self.failed.as_ref().filter(|_| crate::postgres::is_aftermath(&error)) {
            return Err(nothing_is_kept(first.clone()));
        }
        if is_over {
            self.failed.get_or_insert(error.clone());
        }
        Err(error)
    }
}

/// The error of statements after a failed one. A transient error is retried, even if the job ignored it.
fn nothing_is_kept(error: Error) -> Error {
    const NOTHING: &str = "a statement had failed, and nothing is kept after that: ";
    match error {
        Error::Rejected(text) if !text.starts_with(NOTHING) => Error::Rejected(format!("{NOTHING}{text}")),
        error => error,
    }
}

impl std::fmt::Debug for Conn<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Conn")
    }
}
