//! The address of a database, and one connection to it.

use std::sync::{Arc, Mutex};

use naksi_core::unwind::catch_panic;

use crate::conn::Conn;
use crate::error::{Error, OpenError, Result};
use crate::keyed_queue::Kind;
use crate::settings::Settings;
use crate::sqlite::{Sqlite, SqliteFile};

/// One attempt of a job, run inside a transaction.
pub(crate) type Attempt<'a> = dyn FnMut(&mut Conn<'_>) -> Result<()> + 'a;

/// The address of a database.
#[derive(Clone)]
pub(crate) enum Address {
    Sqlite {
        file: SqliteFile,
        /// Serializes writers: SQLite's own lock would make them poll.
        writer: Arc<Mutex<()>>,
    },
    #[cfg(feature = "postgres")]
    Postgres(Box<postgres::Config>),
    /// Connections made by a test.
    #[cfg(test)]
    Custom(Custom),
}

/// Makes connections for a test.
#[cfg(test)]
pub(crate) type Custom = Arc<dyn Fn(&Settings) -> Result<Connection> + Send + Sync>;

impl Address {
    /// Reads `sqlite:PATH` or `postgres://USER:PASSWORD@HOST:PORT/NAME`.
    pub(crate) fn read(address: &str) -> Result<Self, OpenError> {
        let refused = |reason: &str| OpenError::Address {
            address: without_password(address),
            reason: reason.to_owned(),
        };
        if let Some(path) = address.strip_prefix("sqlite:") {
            let file = SqliteFile::read(path).map_err(|reason| refused(&reason))?;
            return Ok(Self::Sqlite { file, writer: Arc::default() });
        }
        if !address.starts_with("postgres://") && !address.starts_with("postgresql://") {
            return Err(refused("an address is sqlite:PATH or postgres://USER@HOST/NAME"));
        }
        #[cfg(feature = "postgres")]
        return crate::postgres::read(address).map(Self::Postgres).map_err(|error| refused(&error));
        #[cfg(not(feature = "postgres"))]
        return Err(refused("this program was built without PostgreSQL (feature `postgres`)"));
    }

    /// The default number of threads.
    pub(crate) fn threads(&self) -> usize {
        match self {
            Self::Sqlite { .. } => 2,
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => 4,
            #[cfg(test)]
            Self::Custom(_) => 1,
        }
    }

    /// Opens a connection.
    pub(crate) fn connect(&self, settings: &Settings) -> Result<Connection> {
        // A client library may panic when it cannot get a descriptor; that is an outage like others.
        catch_panic(|| self.open(settings))
            .unwrap_or_else(|panic| Err(Error::Down(format!("connecting panicked: {panic}"))))
    }

    /// Opens the first connection. A file that cannot be opened is a wrong address, not an outage.
    pub(crate) fn connect_first(&self, address: &str, settings: &Settings) -> Result<Connection, OpenError> {
        self.connect(settings).map_err(|error| match (self, error) {
            (Self::Sqlite { .. }, Error::Down(reason) | Error::Rejected(reason)) => {
                OpenError::Address { address: address.to_owned(), reason }
            }
            (_, error) => OpenError::Database(error),
        })
    }

    fn open(&self, settings: &Settings) -> Result<Connection> {
        match self {
            Self::Sqlite { file, writer } => {
                Sqlite::open(file, Arc::clone(writer), settings).map(Box::new).map(Connection::Sqlite)
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(config) => {
                crate::postgres::Postgres::open(config, settings).map(Box::new).map(Connection::Postgres)
            }
            #[cfg(test)]
            Self::Custom(connect) => connect(settings),
        }
    }
}

/// One connection. It belongs to one thread at a time.
pub(crate) enum Connection {
    Sqlite(Box<Sqlite>),
    #[cfg(feature = "postgres")]
    Postgres(Box<crate::postgres::Postgres>),
    /// Fails every attempt, and calls the function when it is dropped.
    #[cfg(test)]
    Broken(Broken),
}

/// What a test's broken connection does when it is dropped.
#[cfg(test)]
pub(crate) struct Broken(pub(crate) fn());

#[cfg(test)]
impl Broken {
    fn attempt(&mut self) -> Result<()> {
        Err(Error::Down("the connection is broken".to_owned()))
    }
}

#[cfg(test)]
impl Drop for Broken {
    fn drop(&mut self) {
        (self.0)();
    }
}

impl Connection {
    /// One attempt of a job in its own transaction, which is committed only if everything succeeded.
    pub(crate) fn attempt(&mut self, kind: Kind, job: &mut Attempt<'_>) -> Result<()> {
        match self {
            Self::Sqlite(sqlite) => sqlite.attempt(kind, job),
            #[cfg(feature = "postgres")]
            Self::Postgres(postgres) => postgres.attempt(job),
            #[cfg(test)]
            Self::Broken(broken) => broken.attempt(),
        }
    }

    /// One step of the schema in its own transaction, with its own time limit.
    pub(crate) fn migrate(&mut self, step: &mut Attempt<'_>) -> Result<()> {
        match self {
            Self::Sqlite(sqlite) => sqlite.migrate(step),
            #[cfg(feature = "postgres")]
            Self::Postgres(postgres) => postgres.migrate(step),
            #[cfg(test)]
            Self::Broken(broken) => broken.attempt(),
        }
    }
}

/// The address without its password, for logs and errors.
fn without_password(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    match rest.rsplit_once('@') {
        Some((user, host)) => {
            format!("{scheme}://{}@{host}", user.split_once(':').map_or(user, |(user, _)| user))
        }
        None => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_cannot_be_opened_is_refused_with_its_reason_and_without_its_password() {
        let refused = |address| match Address::read(address) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("{address} was read"),
        };
        for no_file in ["sqlite::memory:", "sqlite: :Memory: ", "sqlite:", "sqlite:  "] {
            assert!(refused(no_file).contains("path of a file"), "{no_file}");
        }
        assert!(refused("sqlite:FILE::memory:").contains("small letters"));
        assert!(refused("mysql://root:secret@host/game").contains("mysql://root@host/game"));
        assert!(!refused("mysql://root:se@cret@host/game").contains("cret"));
        assert!(refused("game.db").contains("sqlite:PATH"));
    }
}
