//! What can go wrong with a job, and why one is not taken. Nothing here knows a database.

/// The result of a job.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a job has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The database could not be reached, went away, or took too long. Tried again within the job's bounds, and
    /// counted by the breaker.
    #[error("the database is down: {0}")]
    Down(String),
    /// Somebody else was in the way: a lock, a deadlock, a conflict of transactions. Tried again.
    #[error("the database is busy: {0}")]
    Busy(String),
    /// The database said no: a constraint, a statement that is wrong, a value of another type. Not tried again.
    #[error("the database refused: {0}")]
    Rejected(String),
    /// The job's time was over before its turn came.
    #[error("the job waited too long")]
    Late,
    /// A save that this load waited for has failed: what it would read is older than what was to be written.
    #[error("a save before this load has failed")]
    Unsaved,
    /// A save needed the load's place in a full queue.
    #[error("the load gave its place to a save")]
    Shed,
    /// The job panicked. Its transaction was rolled back.
    #[error("the job panicked: {0}")]
    Panicked(String),
    /// The database was closed before the job's turn came, because it did not get through in time.
    #[error("the database was closed")]
    Closed,
}

impl Error {
    /// Names the file that the error is about, unless it is named already.
    pub(crate) fn about(self, path: &std::path::Path) -> Self {
        let path = path.display().to_string();
        let with_path = |text: String| if text.contains(&path) { text } else { format!("{path}: {text}") };
        match self {
            Self::Down(text) => Self::Down(with_path(text)),
            Self::Busy(text) => Self::Busy(with_path(text)),
            Self::Rejected(text) => Self::Rejected(with_path(text)),
            other => other,
        }
    }

    /// Whether another attempt may go better.
    pub fn is_passing(&self) -> bool {
        matches!(self, Error::Down(_) | Error::Busy(_))
    }
}

/// Why a job was not taken. It has not run, and nobody is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// As many jobs wait as may.
    #[error("the database's queue is full")]
    Full,
    /// The breaker is open: a load would only wait for nothing. Saves are taken, and wait.
    #[error("the database is down")]
    Down,
    /// The database has been closed.
    #[error("the database is closed")]
    Closed,
    /// The room that the answer should come home to is ending.
    #[error("the room is ending")]
    RoomEnded,
}

/// Why a database could not be opened, in one readable line.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The address is none that this build can open.
    #[error("cannot open {address}: {reason}")]
    Address {
        /// The address, without its password.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A setting makes no sense.
    #[error("{0}")]
    Setting(String),
    /// The schema has seen a newer program than this one.
    #[error("the schema is of version {found}, and this program knows {known}: run a program that is as new")]
    NewerSchema {
        /// The version of the schema.
        found: u32,
        /// The last version that the program knows.
        known: u32,
    },
    /// A migration is not what was applied under its number.
    #[error("migration {version} was changed after it had been applied: write a new one instead")]
    Changed {
        /// The number of the migration.
        version: u32,
    },
    /// A migration failed, and was rolled back; those before it stay.
    #[error("migration {version} failed: {error}")]
    Migration {
        /// The number of the migration.
        version: u32,
        /// What the database says.
        error: Error,
    },
    /// The database does not answer.
    #[error("{0}")]
    Database(#[from] Error),
    /// The system refused a thread.
    #[error("no thread for the database: {0}")]
    Thread(String),
}

impl std::fmt::Debug for OpenError {
    /// The same line as `Display`, because `main` shows errors this way.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}
