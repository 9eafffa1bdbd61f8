//! Keeps a job inside its transaction: if the transaction ends before the job does, nothing after that is committed.
//!
//! SQLite itself rolls a transaction back after some failures (a full disk, an I/O error, no memory, an interrupt,
//! `ON CONFLICT ROLLBACK`, `RAISE(ROLLBACK)`) and would then commit each following statement on its own. Three hooks
//! prevent that, also for statements on the connection that `Conn::sqlite` returns.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::Connection;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

use crate::error::Result;

/// State shared by the hooks of one connection and its attempts. One thread at a time uses it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guard(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    /// A job runs: it may neither begin nor end a transaction.
    in_job: AtomicBool,
    /// The transaction of the job has ended, or the job has tried to begin or end one.
    ended: AtomicBool,
    /// The time of the attempt is over: a statement was interrupted.
    interrupted: AtomicBool,
}

impl Flags {
    fn is_in_job(&self) -> bool {
        self.in_job.load(Ordering::Relaxed)
    }

    fn end(&self) {
        if self.is_in_job() {
            self.ended.store(true, Ordering::Relaxed);
        }
    }
}

impl Guard {
    /// Installs the hooks.
    pub(super) fn install(connection: &mut Connection) -> Result<Self> {
        let guard = Self::default();
        let (of_statements, of_commits, of_rollbacks) = (guard.clone(), guard.clone(), guard.clone());
        connection.authorizer(Some(move |context: AuthContext<'_>| {
            let of_transactions = matches!(context.action, AuthAction::Transaction { .. });
            if of_transactions && of_statements.0.is_in_job() {
                of_statements.0.end();
                return Authorization::Deny;
            }
            Authorization::Allow
        }))?;
        // `true` turns the commit into a rollback.
        connection.commit_hook(Some(move || of_commits.0.is_in_job()))?;
        connection.rollback_hook(Some(move || of_rollbacks.0.end()))?;
        Ok(guard)
    }

    /// Runs a job. Its transaction must be open before and after it.
    pub(super) fn run<T>(&self, job: impl FnOnce() -> T) -> T {
        self.0.ended.store(false, Ordering::Relaxed);
        self.0.in_job.store(true, Ordering::Relaxed);
        // A job may panic; the transaction that is rolled back then is no longer the job's.
        let _over = Over(&self.0);
        job()
    }

    /// Whether the transaction of the job has ended, so that nothing of it may be committed.
    pub(crate) fn has_ended(&self, connection: &Connection) -> bool {
        self.0.ended.load(Ordering::Relaxed) || connection.is_autocommit()
    }

    pub(super) fn set_interrupted(&self, interrupted: bool) {
        self.0.interrupted.store(interrupted, Ordering::Relaxed);
    }

    pub(crate) fn is_interrupted(&self) -> bool {
        self.0.interrupted.load(Ordering::Relaxed)
    }
}

/// Says that the job is over.
struct Over<'f>(&'f Flags);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.in_job.store(false, Ordering::Relaxed);
    }
}
