//! Event objects, and waiting for many of them: WSAEventSelect, WSAWaitForMultipleEvents, WSAEnumNetworkEvents.
//!
//! One wait takes 64 events and reports the first that is set; the others are then queried one after the other
//! without blocking.

// UNSAFETY: the standard library has no wrapper for Winsock's events.
#![expect(unsafe_code, reason = "events and waits are raw calls")]

use std::fmt;
use std::io;
use std::os::windows::io::AsSocket;
use std::sync::Arc;
use std::time::Duration;

use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::Networking::WinSock::{
    FD_ACCEPT, FD_CLOSE, FD_READ, FD_WRITE, WSA_MAXIMUM_WAIT_EVENTS, WSA_WAIT_EVENT_0, WSA_WAIT_FAILED,
    WSACloseEvent, WSACreateEvent, WSAEVENT, WSAEnumNetworkEvents, WSAEventSelect, WSANETWORKEVENTS,
    WSAResetEvent, WSASetEvent, WSAWaitForMultipleEvents,
};

use super::in_flight_op::{last_error, milliseconds, network_bits, raw_socket};
use crate::network_events::NetworkEvents;
use crate::syscall_counter::SyscallCounter;

/// How many events one wait can be given on this system.
pub const EVENTS_MAX: usize = WSA_MAXIMUM_WAIT_EVENTS as usize;

/// An event object, set explicitly, by a socket or by an operation.
#[derive(Clone, Debug)]
pub struct Event {
    object: Arc<Object>,
    counter: SyscallCounter,
}

/// The handle as Winsock declares it: a number, so every thread may use it.
#[derive(Debug)]
struct Object(WSAEVENT);

impl Drop for Object {
    fn drop(&mut self) {
        // SAFETY: the handle is open and this was its only owner.
        unsafe { WSACloseEvent(self.0) };
    }
}

impl Event {
    /// A new event object that is not set (WSACreateEvent).
    ///
    /// # Errors
    /// The system has no memory for it.
    pub fn create(counter: &SyscallCounter) -> io::Result<Self> {
        counter.call();
        // SAFETY: WSACreateEvent takes nothing.
        let handle = unsafe { WSACreateEvent() };
        if handle == 0 {
            return Err(last_error());
        }
        Ok(Self { object: Arc::new(Object(handle)), counter: counter.clone() })
    }

    /// Sets it (WSASetEvent).
    ///
    /// # Errors
    /// The system fails.
    pub fn set(&self) -> io::Result<()> {
        self.counter.call();
        // SAFETY: the handle is open for as long as this object lives.
        succeeded(unsafe { WSASetEvent(self.object.0) })
    }

    /// Takes it back (WSAResetEvent).
    ///
    /// # Errors
    /// The system fails.
    pub fn reset(&self) -> io::Result<()> {
        self.counter.call();
        // SAFETY: the handle is open for as long as this object lives.
        succeeded(unsafe { WSAResetEvent(self.object.0) })
    }

    /// The same handle as the waiting functions declare it.
    pub(super) fn raw(&self) -> HANDLE {
        self.object.0 as HANDLE
    }
}

/// Binds the network events of a socket to an event object (WSAEventSelect). The socket becomes non-blocking.
///
/// # Errors
/// The system refuses the socket.
pub fn event_select(socket: &impl AsSocket, event: &Event, interest: NetworkEvents) -> io::Result<()> {
    event.counter.call();
    // SAFETY: socket and event are open while the call lasts; it touches no memory of ours.
    let result = unsafe { WSAEventSelect(raw_socket(socket), event.object.0, network_bits(interest)) };
    if result == 0 { Ok(()) } else { Err(last_error()) }
}

/// The events of the event's socket since the last call, and resets the event (WSAEnumNetworkEvents).
///
/// # Errors
/// The system refuses the socket.
pub fn enumerate_network_events(socket: &impl AsSocket, event: &Event) -> io::Result<NetworkEvents> {
    let mut found = WSANETWORKEVENTS { lNetworkEvents: 0, iErrorCode: [0; 10] };
    event.counter.call();
    // SAFETY: socket and event are open, and one WSANETWORKEVENTS lives until the call returns.
    let result = unsafe { WSAEnumNetworkEvents(raw_socket(socket), event.object.0, &raw mut found) };
    if result != 0 {
        return Err(last_error());
    }
    let has = |bit: u32| found.lNetworkEvents.cast_unsigned() & bit != 0;
    Ok(NetworkEvents {
        accept: has(FD_ACCEPT),
        read: has(FD_READ),
        write: has(FD_WRITE),
        close: has(FD_CLOSE),
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
    handles: Vec<HANDLE>,
    members: Vec<(usize, Event)>,
    events_max: usize,
    counter: SyscallCounter,
}

impl WaitSet {
    /// An empty set of at most `events_max` events, or of as many as the system allows.
    ///
    /// # Errors
    /// None on Windows, where a set is only a list.
    pub fn open(events_max: usize, counter: &SyscallCounter) -> io::Result<Self> {
        let events_max = events_max.min(EVENTS_MAX);
        Ok(Self { handles: Vec::new(), members: Vec::new(), events_max, counter: counter.clone() })
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
    /// The set is full ([`WaitSetFull`]).
    pub fn add(&mut self, event: &Event, token: usize) -> io::Result<()> {
        if self.is_full() {
            return Err(io::Error::other(WaitSetFull { events_max: self.events_max }));
        }
        self.handles.push(event.raw());
        self.members.push((token, event.clone()));
        Ok(())
    }

    /// Takes an event out again.
    pub fn remove(&mut self, token: usize) {
        if let Some(place) = self.members.iter().position(|(member, _)| *member == token) {
            self.handles.swap_remove(place);
            self.members.swap_remove(place);
        }
    }

    /// Waits until an event is set, and puts the tokens of all that are set into `set`.
    ///
    /// # Errors
    /// The set is empty, or the system fails.
    pub fn wait(&mut self, timeout: Option<Duration>, set: &mut Vec<usize>) -> io::Result<()> {
        let (mut from, mut span) = (0, milliseconds(timeout));
        // The call reports the lowest one; the rest is queried with a timeout of zero.
        while from < self.handles.len() || from == 0 {
            self.counter.call();
            let rest = &self.handles[from..];
            // SAFETY: `rest` is a list of open events, at most 64, that lives until the call returns.
            let result = unsafe { WSAWaitForMultipleEvents(rest.len() as u32, rest.as_ptr(), 0, span, 0) };
            if from == 0 {
                self.counter.wakeup();
            }
            if result == WSA_WAIT_FAILED {
                return Err(last_error());
            }
            let Some(place) = result
                .checked_sub(WSA_WAIT_EVENT_0.cast_unsigned())
                .filter(|place| (*place as usize) < rest.len())
            else {
                return Ok(());
            };
            let place = from + place as usize;
            set.push(self.members[place].0);
            (from, span) = (place + 1, 0);
        }
        Ok(())
    }
}

fn succeeded(result: i32) -> io::Result<()> {
    if result != 0 { Ok(()) } else { Err(last_error()) }
}
