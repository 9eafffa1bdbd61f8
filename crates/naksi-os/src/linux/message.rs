//! Readiness as messages in one thread's queue: the nearest equivalent of WSAAsyncSelect on Linux.
//!
//! The kernel itself posts the messages: `F_SETOWN_EX` names the thread, `F_SETSIG` a queued signal, `O_ASYNC`
//! enables it, and each change of a socket becomes one entry in the thread's signal queue, with the descriptor and
//! the events. [`MessageQueue::take`] takes one entry with one read, as GetMessage does. As on Windows, messages
//! report changes, once, and the queue is bounded: after an overflow every socket is asked again. The signals are
//! blocked in this thread and never run a handler.

// UNSAFETY: the standard library has no wrapper for signal owners, signal masks and signalfd(2).
#![expect(unsafe_code, reason = "fcntl(2), pthread_sigmask(3), signalfd(2) and poll(2) are raw system calls")]

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, Read as _};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd as _, RawFd};
use std::ptr;

use crate::network_events::NetworkEvents;
use crate::syscall_counter::SyscallCounter;

/// `fcntl.h`: the owner of a descriptor's signals is one thread.
const F_SETOWN_EX: libc::c_int = 15;
const F_SETSIG: libc::c_int = 10;
const F_OWNER_TID: libc::c_int = 0;

/// `struct f_owner_ex` of fcntl(2).
#[repr(C)]
struct Owner {
    kind: libc::c_int,
    thread: libc::pid_t,
}

/// One message: which socket, and what happened to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// The name that the socket was registered under.
    pub token: usize,
    /// What happened. The model tries the call itself, because a message may be outdated.
    pub events: NetworkEvents,
}

#[derive(Clone, Copy)]
struct Registered {
    token: usize,
    listener: bool,
}

/// The queue of the thread that opened it. Only that thread can take from it.
#[derive(Debug)]
pub struct MessageQueue {
    signals: File,
    registered: HashMap<RawFd, Registered>,
    /// Synthetic messages: readiness before the socket was registered, and what a full queue lost.
    early: VecDeque<(RawFd, Message)>,
    /// A listener whose message was just taken. On Windows the following accept requests the next message; here the
    /// listener is asked whether another connection waits.
    told: Option<RawFd>,
    counter: SyscallCounter,
    /// Makes it `!Send`, because the kernel posts to a thread.
    of_this_thread: PhantomData<*const ()>,
}

impl std::fmt::Debug for Registered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.token)
    }
}

impl MessageQueue {
    /// The queue of this thread. It stays in use until the thread ends.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn open(counter: &SyscallCounter) -> io::Result<Self> {
        let mut mask = MaybeUninit::uninit();
        // SAFETY: sigemptyset(3) fills the whole set.
        unsafe { libc::sigemptyset(mask.as_mut_ptr()) };
        // SAFETY: sigemptyset has filled it.
        let mut mask = unsafe { mask.assume_init() };
        for signal in [message_signal(), libc::SIGIO] {
            // SAFETY: the set is whole, and both signals exist.
            unsafe { libc::sigaddset(&raw mut mask, signal) };
        }
        // SAFETY: pthread_sigmask(3) reads one whole set. The signals stay blocked for good: their default
        // action would end the process, and entries may still be on their way when the queue is dropped.
        let error = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const mask, ptr::null_mut()) };
        if error != 0 {
            return Err(io::Error::from_raw_os_error(error));
        }
        // SAFETY: signalfd(2) reads one whole set and makes a new descriptor.
        let raw = unsafe { libc::signalfd(-1, &raw const mask, libc::SFD_CLOEXEC) };
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new, and has no other owner.
        let signals = unsafe { File::from_raw_fd(raw) };
        let (registered, early) = (HashMap::new(), VecDeque::new());
        let counter = counter.clone();
        Ok(Self { signals, registered, early, told: None, counter, of_this_thread: PhantomData })
    }

    /// Requests messages about a socket, which becomes non-blocking (WSAAsyncSelect). Events that are pending already
    /// become a message at once.
    ///
    /// # Errors
    /// The system refuses the socket.
    pub fn async_select(
        &mut self,
        socket: &impl AsFd,
        token: usize,
        interest: NetworkEvents,
    ) -> io::Result<()> {
        let raw = socket.as_fd().as_raw_fd();
        // SAFETY: gettid(2) "is always successful".
        let owner = Owner { kind: F_OWNER_TID, thread: unsafe { libc::gettid() } };
        // SAFETY: fcntl(2) reads one f_owner_ex, which lives until it returns.
        self.checked(unsafe { libc::fcntl(raw, F_SETOWN_EX, &raw const owner) })?;
        // SAFETY: fcntl(2) with a number; no memory of ours is touched.
        self.checked(unsafe { libc::fcntl(raw, F_SETSIG, message_signal()) })?;
        // SAFETY: as above.
        self.checked(unsafe { libc::fcntl(raw, libc::F_SETFL, libc::O_ASYNC | libc::O_NONBLOCK) })?;
        self.registered.insert(raw, Registered { token, listener: interest.accept });
        // Signals report changes from now on; earlier readiness is checked once.
        self.ask(raw)
    }

    /// Stops messages about a socket; call it before the socket is closed.
    pub fn cancel(&mut self, socket: &impl AsFd) {
        self.registered.remove(&socket.as_fd().as_raw_fd());
    }

    /// Waits for the next message (GetMessage).
    ///
    /// # Errors
    /// The system fails.
    pub fn take(&mut self) -> io::Result<Message> {
        const BYTES: usize = size_of::<libc::signalfd_siginfo>();
        if let Some(listener) = self.told.take() {
            self.ask(listener)?;
        }
        loop {
            if let Some((raw, message)) = self.early.pop_front() {
                self.told = message.events.accept.then_some(raw);
                return Ok(message);
            }
            let mut bytes = [0_u8; BYTES];
            self.counter.call();
            let read = self.signals.read(&mut bytes);
            self.counter.wakeup();
            match read {
                Ok(BYTES) => {}
                Ok(_) => continue,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            // SAFETY: signalfd(2): "the read(2) returns … one or more signalfd_siginfo structures"; the bytes are
            // one whole of them, and every pattern of bits is one.
            let info: libc::signalfd_siginfo = unsafe { ptr::read_unaligned(bytes.as_ptr().cast()) };
            if info.ssi_signo == libc::SIGIO.unsigned_abs() {
                self.ask_everybody()?;
            } else if let Some(registered) = self.registered.get(&info.ssi_fd) {
                self.told = registered.listener.then_some(info.ssi_fd);
                return Ok(message(*registered, info.ssi_band as i16));
            }
            // Otherwise the socket was closed while its message was on the way.
        }
    }

    /// fcntl(2), F_SETSIG: "when the queue overflows … SIGIO": lost messages are unknown, so every socket is asked.
    fn ask_everybody(&mut self) -> io::Result<()> {
        let everybody: Vec<RawFd> = self.registered.keys().copied().collect();
        everybody.into_iter().try_for_each(|raw| self.ask(raw))
    }

    fn ask(&mut self, raw: RawFd) -> io::Result<()> {
        let mut poll = libc::pollfd { fd: raw, events: libc::POLLIN | libc::POLLRDHUP, revents: 0 };
        // SAFETY: poll(2) reads and writes one pollfd, which lives until it returns.
        self.checked(unsafe { libc::poll(&raw mut poll, 1, 0) })?;
        let registered = self.registered.get(&raw).filter(|_| poll.revents != 0);
        self.early.extend(registered.map(|registered| (raw, message(*registered, poll.revents))));
        Ok(())
    }

    fn checked(&self, result: libc::c_int) -> io::Result<()> {
        self.counter.call();
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// A real-time signal, which is queued instead of merged, at a number that is rarely used otherwise.
fn message_signal() -> libc::c_int {
    libc::SIGRTMIN() + 9
}

fn message(registered: Registered, bits: i16) -> Message {
    let has = |wanted: i16| bits & wanted != 0;
    let events = NetworkEvents {
        accept: registered.listener,
        read: !registered.listener && has(libc::POLLIN),
        write: !registered.listener && has(libc::POLLOUT),
        close: !registered.listener && has(libc::POLLHUP | libc::POLLERR | libc::POLLRDHUP),
    };
    Message { token: registered.token, events }
}
