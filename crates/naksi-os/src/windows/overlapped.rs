//! Overlapped requests with an event object: WSARecv and WSASend with hEvent, and WSAGetOverlappedResult.
//!
//! A request keeps its connection until [`Requests::result`] reports that it is done.

// UNSAFETY: a request is known to the kernel by its address.
#![expect(unsafe_code, reason = "requests are handed over and found again by address")]

use std::cell::RefCell;
use std::collections::HashSet;
use std::io;
use std::marker::PhantomData;

use windows_sys::Win32::Foundation::STATUS_PENDING;
use windows_sys::Win32::Networking::WinSock::{WSA_IO_INCOMPLETE, WSAGetOverlappedResult};
use windows_sys::Win32::System::IO::OVERLAPPED;

use super::event::Event;
use super::in_flight_op::{self, InFlightOp, last_error, raw_socket};
use crate::connection::{Completed, Connection, Verb};
use crate::syscall_counter::SyscallCounter;

struct Held<S> {
    connection: Connection<S>,
    verb: Verb,
    /// Open for as long as the kernel may set it.
    event: Event,
}

/// The overlapped requests of one thread.
pub struct Requests<S> {
    operations: RefCell<HashSet<*mut OVERLAPPED>>,
    counter: SyscallCounter,
    holds: PhantomData<S>,
}

/// A request in flight (the OVERLAPPED). It can be queried but not freed.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the connection can only be fetched with this"]
pub struct Pending(*mut OVERLAPPED);

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
    /// None on Windows.
    pub fn open(counter: &SyscallCounter) -> io::Result<Self> {
        Ok(Self { operations: RefCell::default(), counter: counter.clone(), holds: PhantomData })
    }

    /// Starts a receive or a send that sets `event` when it is done (WSARecv and WSASend with hEvent).
    ///
    /// # Errors
    /// The system refuses the request; the connection is closed then.
    pub fn start(&self, connection: Connection<S>, verb: Verb, event: &Event) -> io::Result<Pending> {
        let held = Held { connection, verb, event: event.clone() };
        let overlapped = InFlightOp::into_raw(InFlightOp::new(held, event.raw()));
        self.counter.call();
        // SAFETY: the operation has just been launched and holds a `Held<S>`.
        let started =
            unsafe { in_flight_op::start(overlapped, |held: &mut Held<S>| &mut held.connection, verb, None) };
        if let Err(error) = started {
            // SAFETY: launched above, and the kernel has refused it.
            drop(unsafe { InFlightOp::<Held<S>>::from_raw(overlapped) });
            return Err(error);
        }
        self.operations.borrow_mut().insert(overlapped);
        Ok(Pending(overlapped))
    }

    /// Asks how a request ended, without waiting for it (WSAGetOverlappedResult).
    pub fn result(&self, pending: Pending) -> Overlapped<S> {
        assert!(self.operations.borrow().contains(&pending.0), "this request was started elsewhere");
        self.ask(pending, false)
    }

    fn ask(&self, pending: Pending, wait: bool) -> Overlapped<S> {
        // SAFETY: the address is in the list, so the operation is launched; its socket is not the kernel's to change.
        let socket =
            raw_socket(unsafe { &(*pending.0.cast::<InFlightOp<Held<S>>>()).held }.connection.socket());
        let (mut count, mut flags) = (0, 0);
        self.counter.call();
        // SAFETY: the operation is launched and the two numbers live until the call returns.
        let done =
            unsafe { WSAGetOverlappedResult(socket, pending.0, &raw mut count, wait.into(), &raw mut flags) };
        let result = match last_error() {
            error if done == 0 && error.raw_os_error() == Some(WSA_IO_INCOMPLETE) => {
                return Overlapped::Incomplete(pending);
            }
            error if done == 0 => Err(error),
            _ => Ok(count as usize),
        };
        self.operations.borrow_mut().remove(&pending.0);
        // SAFETY: it was in the list until now, and the kernel says that it is done.
        let held = unsafe { InFlightOp::<Held<S>>::from_raw(pending.0) }.held;
        Overlapped::Complete(in_flight_op::completed(held.connection, held.verb, result))
    }
}

impl<S> Drop for Requests<S> {
    fn drop(&mut self) {
        for overlapped in self.operations.take() {
            // SAFETY: the address was in the list, so the operation is launched.
            let held = unsafe { &(*overlapped.cast::<InFlightOp<Held<S>>>()).held };
            in_flight_op::cancel(held.connection.socket(), overlapped);
            let socket = raw_socket(held.connection.socket());
            let is_pending = || {
                // SAFETY: the operation is launched, and OVERLAPPED: "Internal: the status code for the I/O request. […] you can
                // use the HasOverlappedIoCompleted macro", which compares it with STATUS_PENDING.
                let status = unsafe { (&raw const (*overlapped).Internal).read_volatile() };
                status == STATUS_PENDING as usize
            };
            wait_for_the_end(is_pending, &held.event, || {
                let (mut count, mut flags) = (0, 0);
                // SAFETY: as above; the call waits for the event that it finds in the OVERLAPPED.
                unsafe { WSAGetOverlappedResult(socket, overlapped, &raw mut count, 1, &raw mut flags) };
            });
            // SAFETY: it is done, and out of the list.
            drop(unsafe { InFlightOp::<Held<S>>::from_raw(overlapped) });
        }
    }
}

/// Waits until an operation is done. The wait is one for its event, which another may have set: the status alone says that the
/// kernel is done with the memory.
fn wait_for_the_end(is_pending: impl Fn() -> bool, event: &Event, wait: impl Fn()) {
    while is_pending() {
        // Only now: an operation that has ended meanwhile has set its status before its event, and the wait sees the status.
        event.reset().ok();
        wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn an_event_that_another_has_set_is_not_taken_for_the_end_of_an_operation() {
        let event = Event::create(&SyscallCounter::default()).expect("an event");
        event.set().expect("it is open");
        let waits = Cell::new(0);
        wait_for_the_end(|| waits.get() < 3, &event, || waits.set(waits.get() + 1));
        assert_eq!(waits.get(), 3, "the operation was done only then");
        wait_for_the_end(|| false, &event, || panic!("what is done is not waited for"));
    }
}

impl<S> std::fmt::Debug for Requests<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Requests").field("in_flight", &self.operations.borrow().len()).finish_non_exhaustive()
    }
}
