//! Errors of jobs, of submitting one, and of opening a database.

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
    /// Contention: a lock, a deadlock, a conflict of transactions. Retried.
    #[error("the database is busy: {0}")]
    Busy(String),
    /// The database rejected it: a constraint, an invalid statement, a value of another type. Not retried.
    #[error("the database refused: {0}")]
    Rejected(String),
    /// The job's deadline passed before it ran.
    #[error("the job waited too long")]
    Late,
    /// A save that this load waited for has failed, so the load would read outdated data.
    #[error("a save before this load has failed")]
    Unsaved,
    /// The queue was full, and the load was dropped in favour of a save.
    #[error("the load gave its place to a save")]
    Shed,
    /// The job panicked. Its transaction was rolled back.
    #[error("the job panicked: {0}")]
    Panicked(String),
    /// The database was closed before the job could run.
    #[error("the database was closed")]
    Closed,
}

impl Error {
    /// Adds the path of the file to the error, unless it is named already.
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

/// Why a job was not accepted. It has not run, and its callback is not called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The queue is full ([`Settings::queue_max`](crate::Settings::queue_max)).
    #[error("the database's queue is full")]
    Full,
    /// The breaker is open, so a load would wait in vain. Saves are still accepted, and wait.
    #[error("the database is down")]
    Down,
    /// The database has been closed.
    #[error("the database is closed")]
    Closed,
    /// The room that should receive the answer is ending.
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
        /// The database's error.
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
