//! Which thread of a server did what: accepted, handled messages, and handled what another thread had asked for.
//!
//! Only a server that is asked to show its threads keeps a record. It takes a lock for every message, so its figures
//! are for looking and not for comparing.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

/// What one thread did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThreadWork {
    /// Clients that it accepted.
    pub accepted: u64,
    /// Messages that it handled.
    pub handled: u64,
    /// Those of them whose receive another thread had asked for.
    pub asked_by_another: u64,
}

/// The threads of one server, in the order in which they first did something.
#[derive(Debug, Default)]
pub struct ThreadRecord(Mutex<HashMap<ThreadId, (usize, ThreadWork)>>);

impl ThreadRecord {
    /// This thread has accepted a client.
    pub(crate) fn accepted(&self) {
        self.note(|work| work.accepted += 1);
    }

    /// This thread handles a message whose receive this thread or another one asked for.
    pub(crate) fn handled(&self, asked_by: Option<ThreadId>) {
        let by_another = asked_by.is_some_and(|asked_by| asked_by != thread::current().id());
        self.note(|work| {
            work.handled += 1;
            work.asked_by_another += u64::from(by_another);
        });
    }

    /// What each thread did so far.
    pub fn work(&self) -> Vec<ThreadWork> {
        let mut all: Vec<(usize, ThreadWork)> = self.lock().values().copied().collect();
        all.sort_unstable_by_key(|(number, _)| *number);
        all.into_iter().map(|(_, work)| work).collect()
    }

    fn note(&self, note: impl FnOnce(&mut ThreadWork)) {
        let mut threads = self.lock();
        let number = threads.len();
        let (_, work) = threads.entry(thread::current().id()).or_insert((number, ThreadWork::default()));
        note(work);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ThreadId, (usize, ThreadWork)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
