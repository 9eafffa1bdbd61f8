//! PostgreSQL by its address: one connection per thread, statements prepared once, without encryption. Meant for a
//! server beside the game's, in a private network.

mod direct;
mod words;

use std::collections::HashMap;
use std::error::Error as _;
use std::time::Duration;

use postgres::error::SqlState;
use postgres::types::private::BytesMut;
use postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use postgres::{Client, Config, NoTls, Statement, Transaction};

use crate::conn::{Conn, Inner};
use crate::error::{Error, Result};
use crate::link::Attempt;
use crate::settings::Settings;
use crate::value::{Row, Value};

pub use direct::PostgresTransaction;

/// Statements that one connection keeps prepared; usually more than a program has.
const PREPARED_MAX: usize = 512;

/// The longest `statement_timeout` and TCP_USER_TIMEOUT: both count milliseconds in 31 bits, which is 24 days.
const WITHIN_MAX: Duration = Duration::from_millis(i32::MAX as u64);

/// Statements that one connection has prepared, by their text.
pub(crate) type Prepared = HashMap<String, Statement>;

/// Parses an address, or returns what is wrong with it.
pub(crate) fn read(address: &str) -> Result<Box<Config>, String> {
    address.parse().map(Box::new).map_err(|error: postgres::Error| whole_text(&error))
}

/// The text of whatever comes after a statement that failed.
const AFTERMATH: &str = "an earlier statement of the transaction has failed";

/// One connection.
pub(crate) struct Postgres {
    client: Client,
    prepared: Prepared,
    migration_within: Duration,
}

impl Postgres {
    pub(crate) fn open(config: &Config, settings: &Settings) -> Result<Self> {
        let mut config = config.clone();
        config.connect_timeout(settings.connect_within);
        // Detects a server that has disappeared, and has the server end a statement that hangs.
        config.tcp_user_timeout(settings.statement_within.min(WITHIN_MAX));
        // The kernel counts these in whole seconds, from 1.
        config.keepalives_idle(
            settings.statement_within.clamp(Duration::from_secs(1), Duration::from_secs(3600)),
        );
        config.keepalives_interval(Duration::from_secs(1));
        config.keepalives_retries(3);
        let limit = format!("-c statement_timeout={}", timeout(settings.statement_within));
        let options = match config.get_options() {
            Some(own) => format!("{limit} {own}"),
            None => limit,
        };
        config.options(&options);
        // The cause of a failed connect may be fixed while we run.
        let client = config.connect(NoTls).map_err(|error| Error::Down(whole_text(&error)))?;
        Ok(Self { client, prepared: Prepared::new(), migration_within: settings.migration_within })
    }

    /// One attempt of a job in a transaction of its own.
    pub(crate) fn attempt(&mut self, job: &mut Attempt<'_>) -> Result<()> {
        self.transact(None, job)
    }

    /// One attempt of a step of the schema, which has a longer time limit, including the wait for another program's
    /// step.
    pub(crate) fn migrate(&mut self, job: &mut Attempt<'_>) -> Result<()> {
        self.transact(Some(self.migration_within), job)
    }

    fn transact(&mut self, within: Option<Duration>, job: &mut Attempt<'_>) -> Result<()> {
        if self.prepared.len() > PREPARED_MAX {
            self.prepared.clear();
        }
        let mut transaction = self.client.transaction()?;
        if let Some(within) = within {
            transaction.batch_execute(&format!("SET LOCAL statement_timeout = {}", timeout(within)))?;
        }
        let prepared = &mut self.prepared;
        let mut conn = Conn::new(Inner::Postgres { transaction, prepared, used_directly: false });
        job(&mut conn)?;
        conn.verdict()?;
        match conn.inner {
            Inner::Postgres { transaction, .. } => Ok(transaction.commit()?),
            Inner::Sqlite { .. } => Ok(()),
        }
    }
}

/// A time for `statement_timeout`, where 0 would be none.
fn timeout(within: Duration) -> u128 {
    within.min(WITHIN_MAX).as_millis().max(1)
}

/// Refuses statements that would begin or end the job's transaction, which would commit a part of the job.
pub(crate) fn admit(statements: &str) -> Result<()> {
    match words::of_transaction(statements) {
        Some(words) => Err(Error::Rejected(format!(
            "a job is one transaction, and may neither begin nor end one: {words}"
        ))),
        None => Ok(()),
    }
}

/// Whether an error says only that there was another one before.
pub(crate) fn is_aftermath(error: &Error) -> bool {
    matches!(error, Error::Rejected(text) if text == AFTERMATH)
}

fn prepare(transaction: &mut Transaction<'_>, prepared: &mut Prepared, text: &str) -> Result<Statement> {
    if let Some(statement) = prepared.get(text) {
        return Ok(statement.clone());
    }
    let statement = transaction.prepare(text)?;
    prepared.insert(text.to_owned(), statement.clone());
    Ok(statement)
}

pub(crate) fn execute(
    transaction: &mut Transaction<'_>,
    prepared: &mut Prepared,
    statement: &str,
    values: &[Value],
) -> Result<u64> {
    let known = prepared.contains_key(statement);
    let statement = prepare(transaction, prepared, statement)?;
    let done = transaction.execute(&statement, &parameters(&statement, values)?);
    done.map_err(|error| stale(error, known, prepared))
}

pub(crate) fn query(
    transaction: &mut Transaction<'_>,
    prepared: &mut Prepared,
    statement: &str,
    values: &[Value],
) -> Result<Vec<Row>> {
    let known = prepared.contains_key(statement);
    let statement = prepare(transaction, prepared, statement)?;
    let rows = transaction.query(&statement, &parameters(&statement, values)?);
    let rows = rows.map_err(|error| stale(error, known, prepared))?;
    rows.iter().map(row).collect()
}

/// Handles a statement's failure: if it was prepared before the tables changed, or a proxy has forgotten it, it is
/// prepared again, and the job is retried.
fn stale(error: postgres::Error, known: bool, prepared: &mut Prepared) -> Error {
    let gone = [SqlState::FEATURE_NOT_SUPPORTED, SqlState::INVALID_SQL_STATEMENT_NAME];
    if known && error.code().is_some_and(|state| gone.contains(state)) {
        prepared.clear();
        return Error::Busy(whole_text(&error));
    }
    error.into()
}

/// Checks the number of values, because a wrong one would be a panic.
fn parameters<'v>(statement: &Statement, values: &'v [Value]) -> Result<Vec<&'v (dyn ToSql + Sync)>> {
    let wanted = statement.params().len();
    match values.get(..wanted) {
        Some(values) => Ok(values.iter().map(|value| value as &(dyn ToSql + Sync)).collect()),
        None => {
            Err(Error::Rejected(format!("a statement wants {wanted} values, and there are {}", values.len())))
        }
    }
}

fn row(row: &postgres::Row) -> Result<Row> {
    let columns = row.columns().iter().enumerate();
    let values = columns.map(|(index, column)| value(row, index, column.type_()));
    values.collect::<Result<_>>().map(Row)
}

fn value(row: &postgres::Row, index: usize, of: &Type) -> Result<Value> {
    Ok(match *of {
        Type::BOOL => row.try_get::<_, Option<bool>>(index)?.into(),
        Type::INT2 => row.try_get::<_, Option<i16>>(index)?.map(i32::from).into(),
        Type::INT4 => row.try_get::<_, Option<i32>>(index)?.into(),
        Type::INT8 => row.try_get::<_, Option<i64>>(index)?.into(),
        Type::FLOAT4 => row.try_get::<_, Option<f32>>(index)?.into(),
        Type::FLOAT8 => row.try_get::<_, Option<f64>>(index)?.into(),
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME => {
            row.try_get::<_, Option<String>>(index)?.into()
        }
        Type::BYTEA => row.try_get::<_, Option<Vec<u8>>>(index)?.into(),
        _ => {
            let text =
                format!("column {index} is of type {of}: cast it in the statement, or use Conn::postgres");
            return Err(Error::Rejected(text));
        }
    })
}

impl ToSql for Value {
    fn to_sql(
        &self,
        of: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match (self, of) {
            (Value::Null, _) => Ok(IsNull::Yes),
            (Value::Integer(number), &Type::BOOL) => (*number != 0).to_sql(of, out),
            (Value::Integer(number), &Type::INT2) => i16::try_from(*number)?.to_sql(of, out),
            (Value::Integer(number), &Type::INT4) => i32::try_from(*number)?.to_sql(of, out),
            (Value::Integer(number), &Type::INT8) => number.to_sql(of, out),
            (Value::Real(number), &Type::FLOAT4) => (*number as f32).to_sql(of, out),
            (Value::Real(number), &Type::FLOAT8) => number.to_sql(of, out),
            (Value::Text(text), _) if <&str as ToSql>::accepts(of) => text.as_str().to_sql(of, out),
            (Value::Blob(bytes), &Type::BYTEA) => bytes.as_slice().to_sql(of, out),
            _ => Err(format!("the parameter is of type {of}, which {self:?} is not").into()),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// An error and its causes in one line, because the outermost says only that there was one.
fn whole_text(error: &postgres::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(one) = cause {
        text.push_str(": ");
        text.push_str(&one.to_string());
        cause = one.source();
    }
    text
}

impl From<postgres::Error> for Error {
    /// Whether it is transient: PostgreSQL has a code for each kind of failure, and a broken connection has none.
    fn from(error: postgres::Error) -> Self {
        let text = whole_text(&error);
        let Some(state) = error.code() else {
            let io = error.source().is_some_and(|cause| cause.is::<std::io::Error>());
            return if error.is_closed() || io { Error::Down(text) } else { Error::Rejected(text) };
        };
        if *state == SqlState::IN_FAILED_SQL_TRANSACTION {
            return Error::Rejected(AFTERMATH.to_owned());
        }
        let conflicts = [
            SqlState::T_R_SERIALIZATION_FAILURE,
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::LOCK_NOT_AVAILABLE,
        ];
        // Connections (08), resources (53), an operator or a time limit (57), the system (58), a crash (XX).
        let down = ["08", "53", "57", "58", "XX"].iter().any(|class| state.code().starts_with(class));
        match (conflicts.contains(state), down) {
            (true, _) => Error::Busy(text),
            (_, true) => Error::Down(text),
            _ => Error::Rejected(text),
        }
    }
}
