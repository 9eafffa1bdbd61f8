//! Completion routines: the APC queue of a thread, and the alertable waits that empty it.
//!
//! The kernel itself calls the routine, inside the wait. AcceptEx takes no routine, so there is no such function
//! here; the examples that show it do not compile, and are in the Linux file of the same name.

// UNSAFETY: the kernel calls a routine with the address of its operation.
#![expect(unsafe_code, reason = "the kernel calls back with an address")]

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use windows_sys::Win32::Foundation::WAIT_IO_COMPLETION;
use windows_sys::Win32::Networking::WinSock::{
    SOCKET, WSA_WAIT_EVENT_0, WSA_WAIT_FAILED, WSAWaitForMultipleEvents,
};
use windows_sys::Win32::System::IO::{CancelIoEx, OVERLAPPED};
use windows_sys::Win32::System::Threading::SleepEx;

use super::event::Event;
use super::in_flight_op::{self, InFlightOp, last_error, milliseconds, raw_socket};
use crate::connection::{Completed, Connection, Started, Verb};
use crate::syscall_counter::SyscallCounter;

/// How long the end of a queue waits for one more routine before it leaks what is left.
const END_SPAN_MAX: Duration = Duration::from_secs(5);

/// A completion routine: it gets what was moved into the operation, and the queue to start the next one on.
pub type Routine<S> = fn(&Routines<S>, Completed<S>);

/// Whether a wait may be used to run routines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alertable {
    /// Run what is queued, and come back (SleepEx with TRUE).
    Yes,
    /// Sleep, and run nothing (SleepEx with FALSE).
    No,
}

/// What ended a wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Woken {
    /// How many routines ran inside it (WAIT_IO_COMPLETION).
    pub routines: usize,
    /// Whether the watched event is set.
    pub event: bool,
}

struct Held<S> {
    connection: Connection<S>,
    verb: Verb,
    routine: Routine<S>,
    shared: Rc<Shared>,
    /// Open for as long as its handle stands in the OVERLAPPED.
    _event: Option<Event>,
}

struct Shared {
    /// What the kernel has, and the socket of each.
    operations: RefCell<HashMap<*mut OVERLAPPED, SOCKET>>,
    watched: RefCell<Option<Event>>,
    ran: Cell<usize>,
    /// The results are not needed any more.
    ending: Cell<bool>,
    counter: SyscallCounter,
}

/// The operations and the queue of one thread, which it cannot leave.
pub struct Routines<S> {
    shared: Rc<Shared>,
    /// A routine is lent the queue; only its owner ends it.
    owner: bool,
    holds: std::marker::PhantomData<S>,
}

impl<S: 'static> Routines<S> {
    /// The queue of this thread.
    ///
    /// # Errors
    /// None on Windows, where every thread has one.
    pub fn open(counter: &SyscallCounter) -> io::Result<Self> {
        let shared = Shared {
            operations: RefCell::default(),
            watched: RefCell::default(),
            ran: Cell::new(0),
            ending: Cell::new(false),
            counter: counter.clone(),
        };
        Ok(Self { shared: Rc::new(shared), owner: true, holds: std::marker::PhantomData })
    }

    /// Lets waits also end when this event is set.
    pub fn watch(&self, event: &Event) {
        *self.shared.watched.borrow_mut() = Some(event.clone());
    }

    /// Starts a receive or a send; its routine runs in a later alertable wait (the last argument of WSARecv).
    ///
    /// # Errors
    /// The system refuses the operation; the connection is closed then.
    pub fn start(&self, connection: Connection<S>, verb: Verb, routine: Routine<S>) -> io::Result<()> {
        self.call(connection, verb, None, routine).map(drop)
    }

    /// The complete call: as [`Routines::start`], and returns whether the operation was done at once. Its routine
    /// runs in a later alertable wait in both cases. An event passed beside a routine is ignored.
    ///
    /// # Errors
    /// The system refuses the operation; the connection is closed then.
    //= lecture 003: lpCompletionRoutine 인자의 우선순위가 높으므로 이 값이 NULL 이 아니면 hEvent 변수는 사용되지 않음
    pub fn call(
        &self,
        connection: Connection<S>,
        verb: Verb,
        event: Option<&Event>,
        routine: Routine<S>,
    ) -> io::Result<Started> {
        let socket = raw_socket(connection.socket());
        let held =
            Held { connection, verb, routine, shared: Rc::clone(&self.shared), _event: event.cloned() };
        let overlapped =
            InFlightOp::into_raw(InFlightOp::new(held, event.map_or(std::ptr::null_mut(), Event::raw)));
        self.shared.operations.borrow_mut().insert(overlapped, socket);
        self.shared.counter.call();
        // SAFETY: the operation has just been launched and holds a `Held<S>`.
        let started = unsafe {
            in_flight_op::start(
                overlapped,
                |held: &mut Held<S>| &mut held.connection,
                verb,
                Some(landed::<S>),
            )
        };
        if started.is_err() {
            self.shared.operations.borrow_mut().remove(&overlapped);
            // SAFETY: launched above, and the kernel has refused it.
            drop(unsafe { InFlightOp::<Held<S>>::from_raw(overlapped) });
        }
        started
    }

    /// How many operations wait for their routine.
    pub fn in_flight(&self) -> usize {
        self.shared.operations.borrow().len()
    }

    /// Waits: alertably, and runs the routine of everything that is done, or non-alertably, and runs none.
    ///
    /// # Errors
    /// The system fails, or the wait could never end because routines run only in an alertable wait.
    pub fn wait(&self, timeout: Option<Duration>, alertable: Alertable) -> io::Result<Woken> {
        let watched = self.shared.watched.borrow().clone();
        if alertable == Alertable::No && timeout.is_none() && watched.is_none() {
            let text = "this wait never ends: it is not alertable, so no completion routine can run in it";
            return Err(io::Error::new(io::ErrorKind::Deadlock, text));
        }
        self.shared.ran.set(0);
        let (span, alert) = (milliseconds(timeout), i32::from(alertable == Alertable::Yes));
        self.shared.counter.call();
        let result = match &watched {
            //= lecture 001: 마지막 인자를 TRUE로 주면 이 스레드를 Alertable Wait 상태로 변경해줄 수 있습니다
            Some(event) => {
                let events = [event.raw()];
                // SAFETY: one open event, in a list that lives until the call returns.
                unsafe { WSAWaitForMultipleEvents(1, events.as_ptr(), 0, span, alert) }
            }
            // SAFETY: SleepEx takes two numbers. Routines that run inside own what they touch.
            None => unsafe { SleepEx(span, alert) },
        };
        self.shared.counter.wakeup();
        if watched.is_some() && result == WSA_WAIT_FAILED {
            return Err(last_error());
        }
        let event = watched.is_some() && result == WSA_WAIT_EVENT_0.cast_unsigned();
        debug_assert!(self.shared.ran.get() == 0 || result == WAIT_IO_COMPLETION || event);
        Ok(Woken { routines: self.shared.ran.get(), event })
    }
}

/// Called by the kernel inside an alertable wait of the thread that started the operation.
//= lecture 001: void CALLBACK RecvCallback, Session* session = (Session*)overlapped
unsafe extern "system" fn landed<S: 'static>(
    error: u32,
    count: u32,
    overlapped: *mut OVERLAPPED,
    _flags: u32,
) {
    // SAFETY: the kernel hands back, once, the address that `start` launched with this very routine.
    let held = unsafe { InFlightOp::<Held<S>>::from_raw(overlapped) }.held;
    let Held { connection, verb, routine, shared, _event } = held;
    shared.operations.borrow_mut().remove(&overlapped);
    shared.ran.set(shared.ran.get() + 1);
    if shared.ending.get() {
        return;
    }
    let result = match error {
        0 => Ok(count as usize),
        error => Err(io::Error::from_raw_os_error(error.cast_signed())),
    };
    let lent = Routines { shared, owner: false, holds: std::marker::PhantomData };
    routine(&lent, in_flight_op::completed(connection, verb, result));
}

impl<S> Drop for Routines<S> {
    fn drop(&mut self) {
        if !self.owner {
            return;
        }
        self.shared.ending.set(true);
        for (overlapped, socket) in self.shared.operations.borrow().iter() {
            // SAFETY: the socket is open, because its operation has not landed; the address is only compared.
            unsafe { CancelIoEx(std::ptr::with_exposed_provenance_mut(*socket), *overlapped) };
        }
        let span = milliseconds(Some(END_SPAN_MAX));
        while !self.shared.operations.borrow().is_empty() {
            // SAFETY: SleepEx takes two numbers. What it runs frees what has landed.
            if unsafe { SleepEx(span, 1) } != WAIT_IO_COMPLETION {
                // The kernel does not answer any more: memory that it may still touch is leaked rather than freed.
                return;
            }
        }
    }
}

impl<S> std::fmt::Debug for Routines<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Routines").finish_non_exhaustive()
    }
}
