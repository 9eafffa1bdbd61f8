//! A database behind an engine that never waits.
//!
//! ```
//! use naksi_db::{Database, Migration, Settings};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let address = format!("sqlite:{}", folder.path().join("game.db").display());
//! const SCHEMA: &[Migration] = &[Migration {
//!     version: 1,
//!     statements: "CREATE TABLE players (name TEXT PRIMARY KEY, gold BIGINT NOT NULL)",
//! }];
//! let database = Database::open(&address, SCHEMA, Settings::default())?;
//! database
//!     .save("minsu", |conn| conn.execute("INSERT INTO players VALUES ($1, $2)", &["minsu".into(), 7.into()]))
//!     .forget()?;
//! // The load waits for the save: they share a key.
//! let (answers, answer) = std::sync::mpsc::channel();
//! database
//!     .load("minsu", |conn| {
//!         let row = conn.query_one("SELECT gold FROM players WHERE name = $1", &["minsu".into()])?;
//!         row.map(|row| row.get::<i64>(0)).transpose()
//!     })
//!     .then(move |gold| answers.send(gold).expect("the test waits"))?;
//! assert_eq!(answer.recv()?, Ok(Some(7)));
//! let closed = database.close(std::time::Duration::from_secs(5));
//! assert_eq!(closed.saves_lost, 0);
//! # Ok(())
//! # }
//! ```
//!
//! A job is a closure that runs inside a transaction on a thread of the database. Submitting it does not block; its
//! answer is passed to a callback, a session or a room. Jobs that share a [`Key`] keep their order over all threads, so
//! a login waits for the save of the logout before it. A job may run more than once: when a connection breaks during a
//! commit, it is unknown whether the commit succeeded. Write absolute values, not increments.

#![forbid(unsafe_code)]

mod keyed_queue;
mod settings;
mod error;

mod task;
mod executor;
mod breaker;
mod stats;

mod conn;
mod value;
mod link;
mod sqlite;
#[cfg(feature = "postgres")]
mod postgres;
mod mark;
mod migrate;

#[cfg(doctest)]
mod guide;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use breaker::{BreakerSettings, BreakerState};
pub use conn::Conn;
pub use error::{Error, OpenError, Result, SubmitError};
pub use keyed_queue::Key;
pub use migrate::Migration;
#[cfg(feature = "postgres")]
pub use postgres::PostgresTransaction;
pub use settings::{Durability, Settings, WhenFull};
pub use stats::{Closed, Counts, Stats};
pub use task::JobRequest;
pub use value::{FromValue, Row, Value};

use executor::Executor;
use keyed_queue::Kind;
use link::Address;

/// A database: threads with a connection each, and jobs in order. Cheap to clone, usable from any thread.
///
/// When the last handle is dropped, accepted saves are still written, within [`Settings::close_within`]. A server
/// should call [`Database::close`] after its sessions have ended, and check what it returns.
#[derive(Clone)]
pub struct Database(Arc<Handle>);

/// Shared by the clones, but not by the database's threads: dropped with the last handle.
struct Handle(Arc<Executor>);

impl Database {
    /// Opens `sqlite:PATH` or (feature `postgres`) `postgres://USER:PASSWORD@HOST:PORT/NAME`, and applies the steps of
    /// the schema that are missing. Blocks until that is done.
    ///
    /// # Errors
    /// The database does not answer, or its schema is not the program's.
    pub fn open(address: &str, schema: &[Migration], settings: Settings) -> Result<Self, OpenError> {
        settings.check()?;
        let place = Address::read(address)?;
        let mut link = place.connect_first(address, &settings)?;
        migrate::run(&mut link, schema, settings.migration_within)?;
        Ok(Self(Arc::new(Handle(Executor::start(place, link, settings)?))))
    }

    /// A job that reads. It runs after the earlier jobs of its key.
    pub fn load<T, J>(&self, key: impl Into<Key>, job: J) -> JobRequest<'_, J>
    where
        J: FnMut(&mut Conn<'_>) -> Result<T> + Send + 'static,
    {
        self.ask(vec![key.into()], Kind::Load, job)
    }

    /// A job that writes. It runs after the earlier jobs of its key and before the later ones.
    pub fn save<T, J>(&self, key: impl Into<Key>, job: J) -> JobRequest<'_, J>
    where
        J: FnMut(&mut Conn<'_>) -> Result<T> + Send + 'static,
    {
        self.ask(vec![key.into()], Kind::Save, job)
    }

    /// A job that writes for several keys in one transaction, such as a trade between two players. It runs after the
    /// earlier jobs of each key and before the later ones. Without a key it waits for no other job.
    pub fn save_all<T, J>(&self, keys: impl IntoIterator<Item = impl Into<Key>>, job: J) -> JobRequest<'_, J>
    where
        J: FnMut(&mut Conn<'_>) -> Result<T> + Send + 'static,
    {
        self.ask(keys.into_iter().map(Into::into).collect(), Kind::Save, job)
    }

    /// The current gauges, counters and answer times.
    pub fn stats(&self) -> Stats {
        self.0.0.stats()
    }

    /// Accepts no more jobs, writes every accepted save, and returns what was left after `within`.
    pub fn close(&self, within: Duration) -> Closed {
        self.0.0.close(within)
    }

    fn ask<J>(&self, keys: Vec<Key>, kind: Kind, job: J) -> JobRequest<'_, J> {
        JobRequest { executor: &self.0.0, keys, kind, job }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.close_at_drop();
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stats = self.stats();
        write!(f, "Database({} waiting, {} running)", stats.waiting, stats.running)
    }
}
