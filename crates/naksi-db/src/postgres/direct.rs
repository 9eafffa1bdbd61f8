//! PostgreSQL's own types and methods for a job that needs more than [`Conn`](crate::Conn) has, inside its
//! transaction.

use postgres::types::ToSql;
use postgres::{CopyInWriter, CopyOutReader, Row, SimpleQueryMessage, Transaction};

use crate::conn::{Conn, Inner};
use crate::error::{Error, Result};

/// PostgreSQL's own interface to the transaction of a job, from [`Conn::postgres`].
///
/// A statement that would begin or end a transaction is refused, and the job fails then. After a failed statement the
/// server rolls back the transaction, unless the job goes back to a savepoint (`ROLLBACK TO`).
#[derive(Debug)]
pub struct PostgresTransaction<'c, 't> {
    conn: &'c mut Conn<'t>,
}

impl<'c, 't> PostgresTransaction<'c, 't> {
    pub(crate) fn new(conn: &'c mut Conn<'t>) -> Self {
        Self { conn }
    }

    /// Executes one statement and returns how many rows it changed.
    ///
    /// # Errors
    /// The server's error, or [`Error::Rejected`] for a statement that would begin or end a transaction.
    pub fn execute(&mut self, statement: &str, values: &[&(dyn ToSql + Sync)]) -> Result<u64> {
        let done = self.transaction(statement)?.execute(statement, values);
        self.conn.note(done.map_err(Error::from))
    }

    /// Asks for rows.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub fn query(&mut self, statement: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>> {
        let rows = self.transaction(statement)?.query(statement, values);
        self.conn.note(rows.map_err(Error::from))
    }

    /// Queries exactly one row.
    ///
    /// # Errors
    /// As [`execute`](Self::execute), and [`Error::Rejected`] if there is none or several.
    pub fn query_one(&mut self, statement: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Row> {
        let row = self.transaction(statement)?.query_one(statement, values);
        self.conn.note(row.map_err(Error::from))
    }

    /// Queries one row; `None` if there is none.
    ///
    /// # Errors
    /// As [`execute`](Self::execute), and [`Error::Rejected`] if there are several.
    pub fn query_opt(&mut self, statement: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Option<Row>> {
        let row = self.transaction(statement)?.query_opt(statement, values);
        self.conn.note(row.map_err(Error::from))
    }

    /// Executes several statements without values, separated by semicolons.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub fn batch_execute(&mut self, statements: &str) -> Result<()> {
        let done = self.transaction(statements)?.batch_execute(statements);
        self.conn.note(done.map_err(Error::from))
    }

    /// Executes several statements without values and returns their results as text.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub fn simple_query(&mut self, statements: &str) -> Result<Vec<SimpleQueryMessage>> {
        let said = self.transaction(statements)?.simple_query(statements);
        self.conn.note(said.map_err(Error::from))
    }

    /// Begins `COPY … FROM STDIN`. Nothing is copied before `finish`.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub fn copy_in(&mut self, statement: &str) -> Result<CopyInWriter<'_>> {
        self.transaction(statement)?.copy_in(statement).map_err(Error::from)
    }

    /// Begins `COPY … TO STDOUT`.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub fn copy_out(&mut self, statement: &str) -> Result<CopyOutReader<'_>> {
        self.transaction(statement)?.copy_out(statement).map_err(Error::from)
    }

    /// The transaction, for a statement that it may carry out.
    fn transaction(&mut self, statement: &str) -> Result<&mut Transaction<'t>> {
        self.conn.admit(statement)?;
        match &mut self.conn.inner {
            Inner::Postgres { transaction, used_directly, .. } => {
                *used_directly = true;
                Ok(transaction)
            }
            Inner::Sqlite { .. } => Err(Error::Rejected("this database is not PostgreSQL".to_owned())),
        }
    }
}
