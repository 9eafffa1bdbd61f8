//! Event objects, and waiting for many of them: what WSAEventSelect and overlapped events are on Linux.
//!
//! The event object of a socket is an edge-triggered epoll instance that watches this one socket: it is set while an
//! event has not been fetched, and fetching resets it, as WSAEnumNetworkEvents does. The event object of an operation
//! is an eventfd(2). Both can be waited for, and a wait is one more epoll instance over all of them. Linux has no
//! limit of 64 events; a [`WaitSet`] can be given one.

// UNSAFETY: the standard library has no wrapper for epoll(7) and eventfd(2).
#![expect(unsafe_code, reason = "epoll(7) and eventfd(2) are raw system calls")]

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::network_events::NetworkEvents;
use crate::syscall_counter::SyscallCounter;

/// How many events one wait can be given on this system.
pub const EVENTS_MAX: usize = usize::MAX;

/// How many set events one call brings back.
const SET_EVENTS_MAX: usize = 256;

/// An event object. Its first use decides what sets it: a socket, or calls of [`Event::set`].
#[derive(Clone, Debug)]
pub struct Event {
    object: Arc<OnceLock<Object>>,
    counter: SyscallCounter,
}

#[derive(Debug)]
enum Object {
    /// An epoll instance with one socket in it.
    OfSocket(OwnedFd),
    /// An eventfd.
    OfAnybody(OwnedFd),
}

impl Object {
    fn raw(&self) -> RawFd {
        match self {
            Object::OfSocket(descriptor) | Object::OfAnybody(descriptor) => descriptor.as_raw_fd(),
        }
    }
}

impl Event {
    /// A new event object that is not set (WSACreateEvent).
    ///
    /// # Errors
    /// None on Linux, where the descriptor is allocated at the first use.
    pub fn create(counter: &SyscallCounter) -> io::Result<Self> {
        Ok(Self { object: Arc::new(OnceLock::new()), counter: counter.clone() })
    }

    /// Sets it (WSASetEvent). The event of a socket is set only by its socket.
    ///
    /// # Errors
    /// No descriptor is left, or the event belongs to a socket.
    pub fn set(&self) -> io::Result<()> {
        let raw = self.settable()?;
        let one = 1_u64;
        self.counter.call();
        // SAFETY: write(2) reads eight bytes of `one`, which lives until it returns.
        let written = unsafe { libc::write(raw, (&raw const one).cast(), size_of::<u64>()) };
        if written < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Resets it (WSAResetEvent).
    ///
    /// # Errors
    /// No descriptor is left, or the event belongs to a socket.
    pub fn reset(&self) -> io::Result<()> {
        let raw = self.settable()?;
        let mut count = 0_u64;
        self.counter.call();
        // SAFETY: read(2) writes eight bytes of `count`, which lives until it returns.
        let read = unsafe { libc::read(raw, (&raw mut count).cast(), size_of::<u64>()) };
        match io::Error::last_os_error() {
            // An event that was not set is reset already.
            error if read < 0 && error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }

    /// The eventfd of an event that no socket owns.
    pub(super) fn settable(&self) -> io::Result<RawFd> {
        let object = self.object(|| {
            // SAFETY: eventfd(2) takes two numbers and touches no memory of ours.
            descriptor(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })
                .map(Object::OfAnybody)
        })?;
        match object {
            Object::OfAnybody(descriptor) => Ok(descriptor.as_raw_fd()),
            Object::OfSocket(_) => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "this event object belongs to a socket: only its network events set it",
            )),
        }
    }

    /// What a wait looks at.
    pub(super) fn raw(&self) -> io::Result<RawFd> {
        match self.object.get() {
            Some(object) => Ok(object.raw()),
            None => self.settable(),
        }
    }

    fn object(&self, make: impl FnOnce() -> io::Result<Object>) -> io::Result<&Object> {
        if self.object.get().is_none() {
            self.counter.call();
            let made = make()?;
            // If another thread was first, its object is kept and this one is closed.
            self.object.set(made).ok();
        }
        Ok(self.object.get().expect("it was just made"))
    }
}

/// Binds the network events of a socket to an event object (WSAEventSelect). The socket becomes non-blocking.
///
/// # Errors
/// No descriptor is left, or the event object is in use for something else.
pub fn event_select(socket: &impl AsFd, event: &Event, interest: NetworkEvents) -> io::Result<()> {
    // SAFETY: epoll_create1(2) takes one number and touches no memory of ours.
    let object = event
        .object(|| descriptor(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }).map(Object::OfSocket))?;
    let Object::OfSocket(epoll) = object else {
        let text = "this event object is set by hand or by an operation: a socket needs one of its own";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    };
    // A listener is level-triggered, so that connections are still reported after a failed accept.
    let mut events = if interest.accept { libc::EPOLLIN } else { libc::EPOLLET };
    for (wanted, bit) in
        [(interest.read, libc::EPOLLIN), (interest.write, libc::EPOLLOUT), (interest.close, libc::EPOLLRDHUP)]
    {
        events |= if wanted { bit } else { 0 };
    }
    event.counter.calls(2);
    nonblocking(socket)?;
    control(
        epoll.as_raw_fd(),
        libc::EPOLL_CTL_ADD,
        socket.as_fd().as_raw_fd(),
        events.cast_unsigned(),
        interest.accept.into(),
    )
}

/// The events of the event's socket since the last call, and resets the event (WSAEnumNetworkEvents).
///
/// # Errors
/// The event object belongs to no socket.
pub fn enumerate_network_events(_socket: &impl AsFd, event: &Event) -> io::Result<NetworkEvents> {
    let Some(Object::OfSocket(epoll)) = event.object.get() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "this event object belongs to no socket"));
    };
    let mut found = [libc::epoll_event { events: 0, u64: 0 }];
    event.counter.call();
    let count = waited(epoll.as_raw_fd(), &mut found, 0)?;
    if count == 0 {
        return Ok(NetworkEvents::default());
    }
    let (bits, listener) = (found[0].events.cast_signed(), found[0].u64 == 1);
    let has = |wanted: libc::c_int| bits & wanted != 0;
    Ok(NetworkEvents {
        accept: listener,
        read: !listener && has(libc::EPOLLIN),
        write: !listener && has(libc::EPOLLOUT),
        close: !listener && has(libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR),
    })
}

/// The set has the maximum number of events of one wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitSetFull {
    /// How many that are.
    pub events_max: usize,
}

impl fmt::Display for WaitSetFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "one wait takes {} events, and the set has as many", self.events_max)
    }
}

impl std::error::Error for WaitSetFull {}

/// The events that one thread waits for together (WSAWaitForMultipleEvents).
#[derive(Debug)]
pub struct WaitSet {
    epoll: OwnedFd,
    members: Vec<(usize, Event)>,
    events_max: usize,
    counter: SyscallCounter,
}

impl WaitSet {
    /// An empty set of at most `events_max` events, or of as many as the system allows.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn open(events_max: usize, counter: &SyscallCounter) -> io::Result<Self> {
        counter.call();
        // SAFETY: epoll_create1(2) takes one number and touches no memory of ours.
        let epoll = descriptor(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        Ok(Self { epoll, members: Vec::new(), events_max, counter: counter.clone() })
    }

    /// How many events are in it.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Whether one more event would be refused.
    pub fn is_full(&self) -> bool {
        self.members.len() >= self.events_max
    }

    /// Adds an event with a token. The set keeps it open.
    ///
    /// # Errors
    /// The set is full ([`WaitSetFull`]), or the system refuses the event.
    pub fn add(&mut self, event: &Event, token: usize) -> io::Result<()> {
        if self.is_full() {
            return Err(io::Error::other(WaitSetFull { events_max: self.events_max }));
        }
        self.counter.call();
        let events = libc::EPOLLIN.cast_unsigned();
        control(self.epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, event.raw()?, events, token as u64)?;
        self.members.push((token, event.clone()));
        Ok(())
    }

    /// Takes an event out again.
    pub fn remove(&mut self, token: usize) {
        let Some(place) = self.members.iter().position(|(member, _)| *member == token) else { return };
        let (_, event) = self.members.swap_remove(place);
        self.counter.call();
        if let Ok(raw) = event.raw() {
            // If the event is not in the set any more, there is nothing to do.
            control(self.epoll.as_raw_fd(), libc::EPOLL_CTL_DEL, raw, 0, 0).ok();
        }
    }

    /// Waits until an event is set, and puts the tokens of all that are set into `set`.
    ///
    /// # Errors
    /// The system fails.
    pub fn wait(&mut self, timeout: Option<Duration>, set: &mut Vec<usize>) -> io::Result<()> {
        let mut found = [libc::epoll_event { events: 0, u64: 0 }; SET_EVENTS_MAX];
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            self.counter.call();
            let waited = waited(self.epoll.as_raw_fd(), &mut found, milliseconds(left));
            self.counter.wakeup();
            match waited {
                // The kernel interrupts the wait to work for a ring on this thread; nothing has been lost.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(count) => {
                    set.extend(found[..count].iter().map(|event| event.u64 as usize));
                    return Ok(());
                }
            }
        }
    }
}

/// The milliseconds of a wait; rounded up, because rounded down a remainder would be a wait of zero, and the loop
/// would spin.
pub(super) fn milliseconds(span: Option<Duration>) -> libc::c_int {
    span.map_or(-1, |span| span.as_micros().div_ceil(1000).try_into().unwrap_or(libc::c_int::MAX))
}

fn descriptor(raw: RawFd) -> io::Result<OwnedFd> {
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made by the kernel, and has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

fn nonblocking(socket: &impl AsFd) -> io::Result<()> {
    // SAFETY: fcntl(2) with a number; no memory of ours is touched.
    let result = unsafe { libc::fcntl(socket.as_fd().as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn control(epoll: RawFd, verb: libc::c_int, target: RawFd, events: u32, name: u64) -> io::Result<()> {
    let mut event = libc::epoll_event { events, u64: name };
    // SAFETY: epoll_ctl(2) reads one epoll_event, which lives until it returns.
    let result = unsafe { libc::epoll_ctl(epoll, verb, target, &raw mut event) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn waited(epoll: RawFd, found: &mut [libc::epoll_event], milliseconds: libc::c_int) -> io::Result<usize> {
    let room = found.len().try_into().unwrap_or(libc::c_int::MAX);
    // SAFETY: epoll_wait(2) writes at most `room` events to `found`, which lives until it returns.
    let count = unsafe { libc::epoll_wait(epoll, found.as_mut_ptr(), room, milliseconds) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}
