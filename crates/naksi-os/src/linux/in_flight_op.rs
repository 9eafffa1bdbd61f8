//! A ring and the operations in flight in it: the common base of overlapped events, completion routines and the
//! shared port.
//!
//! An operation moves in with its connection, its buffer and its routine or event, and returns with its completion;
//! memory that a kernel may touch cannot be freed or seen in between. Dropping the ring cancels everything and waits
//! for it.

// UNSAFETY: submission entries hold addresses; what they point to is owned by the in-flight table.
#![expect(unsafe_code, reason = "submission entries hold addresses")]

use std::io;
use std::os::fd::AsRawFd as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use io_uring::squeue::{Entry, Flags};
use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, opcode};
use naksi_core::id::Token;

use crate::connection::{Completed, Connection, Verb};
use crate::in_flight::{Finished, InFlight, Key};
use crate::syscall_counter::SyscallCounter;

/// The user data of entries that belong to no operation; an operation's key is never below 2^32.
pub(super) const NO_OPERATION: u64 = 0;
/// A poll of an event object came back.
pub(super) const EVENT: u64 = 1;

const SUBMISSION_ENTRIES: u32 = 512;
const COMPLETION_ENTRIES: u32 = 16_384;
/// The eight bytes that an operation writes into its event object.
static ONE: u64 = 1;

/// Who may use a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Users {
    /// The thread that opened it. Completions are made only while it waits: io_uring_setup(2),
    /// IORING_SETUP_DEFER_TASKRUN: "work … will only be processed … when the application calls
    /// io_uring_enter with IORING_ENTER_GETEVENTS", which is an alertable wait in all but name.
    OneThreadThatWaits,
    /// Any thread, at any time.
    Anybody,
}

/// A ring and the operations in it. `H` is what an operation holds.
pub(super) struct InFlightOps<H> {
    ring: IoUring,
    /// Its lock is also the right to write submission entries.
    table: Mutex<InFlight<H>>,
    /// The right to read completions.
    reading: Mutex<()>,
    pub(super) counter: SyscallCounter,
}

/// One thing that came out of the ring.
pub(super) enum Reaped<H> {
    /// An operation, with what it held and the kernel's result.
    Operation(Key, H, i32),
    /// The poll of an event object.
    Event,
}

impl<H> InFlightOps<H> {
    pub(super) fn open(users: Users, counter: &SyscallCounter) -> io::Result<Self> {
        let mut builder = IoUring::builder();
        builder.setup_clamp().setup_cqsize(COMPLETION_ENTRIES).setup_submit_all();
        if users == Users::OneThreadThatWaits {
            builder.setup_single_issuer().setup_defer_taskrun();
        }
        let ring = builder.build(SUBMISSION_ENTRIES).map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("io_uring is needed for this model and was refused: {error}"),
            )
        })?;
        Ok(Self { ring, table: Mutex::default(), reading: Mutex::default(), counter: counter.clone() })
    }

    /// Takes what an operation holds, and writes its entry, which the next `enter` submits.
    pub(super) fn submit(
        &self,
        held: H,
        entry: impl FnOnce(&mut H) -> Entry,
        event: Option<i32>,
    ) -> io::Result<Key> {
        let mut table = self.table();
        self.make_room(1 + usize::from(event.is_some()))?;
        let key = table.start(Token::new(0, 0, 0), held);
        let (_, held) = table.running(key).expect("it was just started");
        let entry = entry(held).user_data(key.to_u64());
        match event {
            None => self.push(&entry),
            Some(event) => {
                let write = opcode::Write::new(Fd(event), (&raw const ONE).cast(), size_of::<u64>() as u32);
                let quiet = Flags::SKIP_SUCCESS;
                self.push(&entry.flags(Flags::IO_HARDLINK));
                self.push(&write.build().user_data(NO_OPERATION).flags(quiet));
            }
        }
        Ok(key)
    }

    /// Submits an entry that holds nothing: it wakes the ring, or watches an event object.
    pub(super) fn note(&self, entry: &Entry) -> io::Result<()> {
        let _table = self.table();
        self.make_room(1)?;
        self.push(entry);
        Ok(())
    }

    /// How many entries wait to be handed over.
    pub(super) fn unsubmitted(&self) -> usize {
        let _table = self.table();
        // SAFETY: the table's lock is the right to use the submission queue, and it is held.
        unsafe { self.ring.submission_shared() }.len()
    }

    /// How many operations are in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.table().len()
    }

    /// Submits entries, and waits until `want` completions are there or the time is up.
    pub(super) fn enter(&self, want: usize, timeout: Option<Duration>) -> io::Result<()> {
        let submitter = self.ring.submitter();
        self.counter.call();
        let result = match timeout {
            Some(span) if want > 0 => {
                let span = Timespec::from(span);
                submitter.submit_with_args(want, &SubmitArgs::new().timespec(&span))
            }
            _ => submitter.submit_and_wait(want),
        };
        if want > 0 {
            self.counter.wakeup();
        }
        match result {
            Ok(_) => Ok(()),
            // io_uring_enter(2): the time is up; a signal; completions that have to be read first.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR | libc::EBUSY)) => {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Takes every completion.
    pub(super) fn reap(&self, mut take: impl FnMut(Reaped<H>)) {
        let reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the lock above is the right to use the completion queue, and it is held.
        let mut queue = unsafe { self.ring.completion_shared() };
        let completed: Vec<(u64, i32)> =
            queue.by_ref().map(|entry| (entry.user_data(), entry.result())).collect();
        drop(queue);
        drop(reading);
        for (word, result) in completed {
            match word {
                NO_OPERATION => {}
                EVENT => take(Reaped::Event),
                _ => {
                    let key = Key::from_u64(word);
                    // The lock is released before `take` runs, because its callback may submit again.
                    let finished = self.table().finish(key);
                    match finished {
                        Finished::Wanted(_, held) => take(Reaped::Operation(key, held, result)),
                        Finished::Abandoned(_) | Finished::Unknown => {}
                    }
                }
            }
        }
    }

    /// Requests the cancellation of one operation; its completion still comes.
    pub(super) fn cancel(&self, key: Key) {
        // A ring that refuses entries is drained when it is dropped.
        self.note(&opcode::AsyncCancel::new(key.to_u64()).build().user_data(NO_OPERATION)).ok();
    }

    fn make_room(&self, wanted: usize) -> io::Result<()> {
        // SAFETY: the table's lock is the right to use the submission queue; all callers hold it.
        let queue = unsafe { self.ring.submission_shared() };
        let full = queue.capacity() - queue.len() < wanted;
        drop(queue);
        if full { self.enter(0, None) } else { Ok(()) }
    }

    fn push(&self, entry: &Entry) {
        // SAFETY: the table's lock is the right to use the submission queue; all callers hold it.
        let mut queue = unsafe { self.ring.submission_shared() };
        // SAFETY: what the entry points to is owned by the table until its completion, or is static.
        unsafe { queue.push(entry) }.expect("room was made before");
    }

    fn table(&self) -> MutexGuard<'_, InFlight<H>> {
        // The table is valid between any two statements, so a poisoned lock is safe to use.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<H> Drop for InFlightOps<H> {
    fn drop(&mut self) {
        let keys = self.table().abandon_all();
        keys.into_iter().for_each(|key| self.cancel(key));
        while self.table().abandoned() > 0 {
            if self.enter(1, None).is_err() {
                // The kernel does not answer any more: memory that it may still touch is leaked rather than freed.
                std::mem::take(&mut *self.table()).leak();
                return;
            }
            self.reap(|_| {});
        }
    }
}

/// The entry of a receive or a send of a connection.
pub(super) fn entry<S>(connection: &mut Connection<S>, verb: Verb) -> Entry {
    let socket = Fd(connection.socket().as_raw_fd());
    match verb {
        Verb::Recv => {
            connection.clear();
            let (room, bytes) = connection.room();
            opcode::Recv::new(socket, room, bytes.try_into().unwrap_or(u32::MAX)).build()
        }
        Verb::Send => {
            let unsent = connection.unsent();
            let bytes = unsent.len().try_into().unwrap_or(u32::MAX);
            opcode::Send::new(socket, unsent.as_ptr(), bytes).flags(libc::MSG_NOSIGNAL).build()
        }
    }
}

/// What a kernel's result means for a connection.
pub(super) fn completed<S>(mut connection: Connection<S>, verb: Verb, result: i32) -> Completed<S> {
    let result = usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result));
    if let Ok(count) = result {
        connection.moved(verb, count);
    }
    Completed { connection, verb, result }
}
