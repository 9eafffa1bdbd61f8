//! Completion routines: the kernel queues completions to the thread that started the operations, and the thread runs
//! their routines only while it waits alertably.
//!
//! The ring is opened for one thread with deferred work (`IORING_SETUP_SINGLE_ISSUER`, `…_DEFER_TASKRUN`): even
//! inside the kernel a receive continues only while this thread waits in the ring. That corresponds to the APC queue
//! of Windows. As there, an accept takes no routine. The first example compiles, so that the other two are known to
//! fail for the right reasons:
//!
//! ```
//! # use naksi_os::routine::Routines;
//! fn the_issuing_thread(routines: &Routines<()>) -> usize {
//!     routines.in_flight()
//! }
//! ```
//! ```compile_fail,E0599
//! # use naksi_os::routine::Routines;
//! fn accept_with_a_routine(routines: &Routines<()>, listener: std::net::TcpListener) {
//!     routines.accept(listener, |_, _| {}); // AcceptEx takes no completion routine.
//! }
//! ```
//! ```compile_fail,E0277
//! # use naksi_os::routine::Routines;
//! fn only_the_issuing_thread(routines: Routines<()>) {
//!     std::thread::spawn(move || routines.in_flight()); // The queue cannot leave its thread.
//! }
//! ```

// UNSAFETY: the standard library has no wrapper for poll(2).
#![expect(unsafe_code, reason = "poll(2) is a raw system call")]

use std::cell::{Cell, RefCell};
use std::io;
use std::marker::PhantomData;
use std::thread;
use std::time::Duration;

use io_uring::opcode;
use io_uring::types::Fd;

use super::event::{Event, milliseconds};
use super::in_flight_op::{self, EVENT, InFlightOps, Reaped, Users};
use crate::connection::{Completed, Connection, Started, Verb};
use crate::syscall_counter::SyscallCounter;

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
}

/// The operations and the queue of one thread, which it cannot leave.
pub struct Routines<S> {
    operations: InFlightOps<Held<S>>,
    watched: RefCell<Option<Watched>>,
    /// What a call found done before the next wait: operations whose routines have not run yet, and the watched
    /// event.
    queued: RefCell<Vec<(Held<S>, i32)>>,
    seen: Cell<bool>,
    of_this_thread: PhantomData<*const ()>,
}

struct Watched {
    event: Event,
    armed: bool,
}

impl<S: 'static> Routines<S> {
    /// The queue of this thread.
    ///
    /// # Errors
    /// The system refuses a ring.
    pub fn open(counter: &SyscallCounter) -> io::Result<Self> {
        let operations = InFlightOps::open(Users::OneThreadThatWaits, counter)?;
        Ok(Self {
            operations,
            watched: RefCell::default(),
            queued: RefCell::default(),
            seen: Cell::default(),
            of_this_thread: PhantomData,
        })
    }

    /// Lets waits also end when this event is set.
    pub fn watch(&self, event: &Event) {
        *self.watched.borrow_mut() = Some(Watched { event: event.clone(), armed: false });
    }

    /// Starts a receive or a send; its routine runs in a later alertable wait (the last argument of WSARecv).
    ///
    /// # Errors
    /// The system refuses the operation; the connection is closed then.
    pub fn start(&self, connection: Connection<S>, verb: Verb, routine: Routine<S>) -> io::Result<()> {
        let held = Held { connection, verb, routine };
        self.operations.submit(held, |held| in_flight_op::entry(&mut held.connection, verb), None).map(drop)
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
        _event: Option<&Event>,
        routine: Routine<S>,
    ) -> io::Result<Started> {
        let held = Held { connection, verb, routine };
        let key =
            self.operations.submit(held, |held| in_flight_op::entry(&mut held.connection, verb), None)?;
        // An operation that needs no waiting is done when it has been submitted.
        self.operations.enter(0, None)?;
        let mut started = Started::Pending;
        self.operations.reap(|completed| match completed {
            Reaped::Operation(of, held, result) => {
                if let (true, Ok(count)) = (of == key, usize::try_from(result)) {
                    started = Started::AtOnce(count);
                }
                self.queued.borrow_mut().push((held, result));
            }
            Reaped::Event => self.seen.set(true),
        });
        Ok(started)
    }

    /// How many operations wait for their routine.
    pub fn in_flight(&self) -> usize {
        self.operations.in_flight() + self.queued.borrow().len()
    }

    /// Waits: alertably, and runs the routine of everything that is done, or non-alertably, and runs none.
    ///
    /// # Errors
    /// The system fails, or the wait could never end because routines run only in an alertable wait.
    pub fn wait(&self, timeout: Option<Duration>, alertable: Alertable) -> io::Result<Woken> {
        match alertable {
            Alertable::Yes => self.wait_alertably(timeout),
            Alertable::No => self.sleep(timeout),
        }
    }

    fn wait_alertably(&self, timeout: Option<Duration>) -> io::Result<Woken> {
        self.arm()?;
        let mut woken = Woken::default();
        while woken == Woken::default() {
            let mut done = self.queued.take();
            woken.event = self.seen.take();
            self.operations.enter(usize::from(done.is_empty() && !woken.event), timeout)?;
            // One wait empties the whole queue. Operations that the routines start complete in a later wait.
            self.operations.reap(|completed| match completed {
                Reaped::Operation(_, held, result) => done.push((held, result)),
                Reaped::Event => woken.event = true,
            });
            woken.routines = done.len();
            for (held, result) in done {
                (held.routine)(self, in_flight_op::completed(held.connection, held.verb, result));
            }
            if timeout.is_some() {
                break;
            }
        }
        if woken.event
            && let Some(watched) = self.watched.borrow_mut().as_mut()
        {
            watched.armed = false;
        }
        Ok(woken)
    }

    fn arm(&self) -> io::Result<()> {
        if let Some(watched) = self.watched.borrow_mut().as_mut().filter(|watched| !watched.armed) {
            let poll = opcode::PollAdd::new(Fd(watched.event.raw()?), libc::POLLIN as u32).build();
            self.operations.note(&poll.user_data(EVENT))?;
            watched.armed = true;
        }
        Ok(())
    }

    fn sleep(&self, timeout: Option<Duration>) -> io::Result<Woken> {
        let watched = self.watched.borrow();
        if timeout.is_none() && watched.is_none() {
            let text = "this wait never ends: it is not alertable, so no completion routine can run in it";
            return Err(io::Error::new(io::ErrorKind::Deadlock, text));
        }
        // Submits the entries, so that the operations proceed meanwhile, as on Windows.
        self.operations.enter(0, None)?;
        let Some(watched) = watched.as_ref() else {
            thread::sleep(timeout.unwrap_or_default());
            return Ok(Woken::default());
        };
        let mut poll = libc::pollfd { fd: watched.event.raw()?, events: libc::POLLIN, revents: 0 };
        self.operations.counter.call();
        // SAFETY: poll(2) reads and writes one pollfd, which lives until it returns.
        let ready = unsafe { libc::poll(&raw mut poll, 1, milliseconds(timeout)) };
        self.operations.counter.wakeup();
        match io::Error::last_os_error() {
            error if ready < 0 && error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(Woken { routines: 0, event: ready > 0 }),
        }
    }
}

impl<S> std::fmt::Debug for Routines<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Routines").field("in_flight", &self.operations.in_flight()).finish_non_exhaustive()
    }
}
