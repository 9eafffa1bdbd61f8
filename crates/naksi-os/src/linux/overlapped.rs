//! Overlapped requests with an event object: one ring operation per request and, joined by a hard link, the write
//! that sets its event. The kernel does both; no thread polls.
//!
//! A request keeps its connection until [`Requests::result`] reports that it is done.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;

use super::event::Event;
use super::in_flight_op::{self, InFlightOps, Reaped, Users};
use crate::connection::{Completed, Connection, Verb};
use crate::in_flight::Key;
use crate::syscall_counter::SyscallCounter;

struct Held<S> {
    connection: Connection<S>,
    verb: Verb,
    /// Open for as long as the kernel may set it.
    _event: Event,
}

/// The overlapped requests of one thread.
pub struct Requests<S> {
    operations: InFlightOps<Held<S>>,
    /// What has completed and was not asked for yet.
    done: RefCell<HashMap<Key, Completed<S>>>,
}

/// A request in flight (the OVERLAPPED). It can be queried but not freed.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the connection can only be fetched with this"]
pub struct Pending(Key);

/// What asking about a request brings.
#[derive(Debug)]
pub enum Overlapped<S> {
    /// Not done yet (WSA_IO_INCOMPLETE).
    Incomplete(Pending),
    /// Done.
    Complete(Completed<S>),
}

impl<S: 'static> Requests<S> {
    /// No request yet.
    ///
    /// # Errors
    /// The system refuses a ring.
    pub fn open(counter: &SyscallCounter) -> io::Result<Self> {
        Ok(Self { operations: InFlightOps::open(Users::Anybody, counter)?, done: RefCell::default() })
    }

    /// Starts a receive or a send that sets `event` when it is done (WSARecv and WSASend with hEvent).
    ///
    /// # Errors
    /// The system refuses the request; the connection is closed then.
    pub fn start(&self, connection: Connection<S>, verb: Verb, event: &Event) -> io::Result<Pending> {
        let raw = event.settable()?;
        let held = Held { connection, verb, _event: event.clone() };
        let key = self.operations.submit(
            held,
            |held| in_flight_op::entry(&mut held.connection, verb),
            Some(raw),
        )?;
        self.operations.enter(0, None)?;
        Ok(Pending(key))
    }

    /// Asks how a request ended, without waiting for it (WSAGetOverlappedResult).
    pub fn result(&self, pending: Pending) -> Overlapped<S> {
        self.operations.reap(|completed| {
            if let Reaped::Operation(key, held, result) = completed {
                self.done
                    .borrow_mut()
                    .insert(key, in_flight_op::completed(held.connection, held.verb, result));
            }
        });
        match self.done.borrow_mut().remove(&pending.0) {
            Some(completed) => Overlapped::Complete(completed),
            None => Overlapped::Incomplete(pending),
        }
    }
}

impl<S> std::fmt::Debug for Requests<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Requests").field("in_flight", &self.operations.in_flight()).finish_non_exhaustive()
    }
}
