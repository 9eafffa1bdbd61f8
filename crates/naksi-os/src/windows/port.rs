//! The completion port of Windows: not built yet, and impossible to have until it is.
//!
//! [`Port`] holds a value that cannot exist, so the compiler knows that no method of it ever runs: nothing
//! here pretends. What is here for good is how long a wait may take, in the unit that Windows counts in.

use core::net::SocketAddr;
use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

use naksi_core::completion::Completion;
use naksi_core::ended::OsError;
use naksi_core::id::{Handle, Token};
use naksi_core::op::Op;
use naksi_core::tick::Tick;

use super::error;
use super::socket::Socket;
use crate::port as contract;
use crate::port::{FileAccess, Ledger, ListenOptions, PortError, PortOptions, Refusal, Refused, Tide};

/// What `GetQueuedCompletionStatusEx` takes for "without end" (`INFINITE`).
pub const WAIT_FOREVER: u32 = u32::MAX;

/// A completion port. There is none yet.
#[derive(Debug)]
pub struct Port {
    never: Infallible,
}

/// Wakes a completion port from any thread. There is none yet.
#[derive(Clone, Debug)]
pub struct Poster {
    never: Infallible,
}

impl Port {
    /// Opens a completion port.
    ///
    /// # Errors
    /// Always, until the port is built: one line that says so.
    pub fn open(_options: &PortOptions) -> Result<Self, PortError> {
        let text = "I/O completion ports are not built yet: on Windows, only the simulated port runs";
        Err(PortError { text: text.to_owned(), code: error::NOT_SUPPORTED })
    }
}

impl contract::Port for Port {
    type Poster = Poster;
    type Socket = Socket;

    fn backend(&self) -> &'static str {
        match self.never {}
    }

    fn listen(&mut self, _: SocketAddr, _: &ListenOptions) -> Result<(Handle, SocketAddr), OsError> {
        match self.never {}
    }

    fn bind_datagram(&mut self, _: SocketAddr) -> Result<(Handle, SocketAddr), OsError> {
        match self.never {}
    }

    fn open_file(&mut self, _: &Path, _: FileAccess) -> Result<Handle, OsError> {
        match self.never {}
    }

    fn file_bytes(&self, _: Handle) -> Result<u64, OsError> {
        match self.never {}
    }

    fn release(&mut self, _: Handle) -> Result<Socket, Refusal> {
        match self.never {}
    }

    fn adopt(&mut self, _: Socket) -> Handle {
        match self.never {}
    }

    fn submit(&mut self, _: Token, _: Op) -> Result<(), Refused> {
        match self.never {}
    }

    fn cancel(&mut self, _: Token) {
        match self.never {}
    }

    fn wait(&mut self, _: &mut Vec<Completion>, _: Option<Tick>) -> Result<Tide, PortError> {
        match self.never {}
    }

    fn now(&self) -> Tick {
        match self.never {}
    }

    fn poster(&self) -> Poster {
        match self.never {}
    }

    fn ledger(&self) -> Ledger {
        match self.never {}
    }
}

impl contract::Poster for Poster {
    fn post(&self, _: Token, _: u64) -> bool {
        match self.never {}
    }
}

/// The choice of a port, which other systems have.
impl Port {
    /// Opens the port of this name: `iocp`, and no other.
    ///
    /// # Errors
    /// There is no port of this name here, or it cannot be opened.
    pub fn open_backend(options: &PortOptions, backend: &str) -> Result<Self, PortError> {
        if backend == "iocp" {
            return Self::open(options);
        }
        let text = format!("backend {backend} is not available on Windows: iocp is");
        Err(PortError { text, code: error::NOT_SUPPORTED })
    }

    /// Why it is not the port that was wanted: it always is.
    pub fn fallback_reason(&self) -> Option<&str> {
        None
    }
}

/// How many milliseconds a wait may take to be back at `until`, rounded up.
///
/// Rounded down, the last fraction of a millisecond before a timer would be a wait of zero, again and again:
/// the worker would spin until the timer is due.
pub fn wait_milliseconds(now: Tick, until: Option<Tick>) -> u32 {
    let Some(until) = until else { return WAIT_FOREVER };
    let span = until.since(now);
    let rounded_up = span.saturating_add(Duration::from_nanos(999_999)).as_millis();
    // The longest wait that has an end; the worker looks at its timers again after 49 days.
    u32::try_from(rounded_up).unwrap_or(WAIT_FOREVER).min(WAIT_FOREVER - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_not_built_says_so_in_one_line() {
        let error = Port::open(&PortOptions::default()).expect_err("there is no port to open");
        assert!(error.text.contains("not built yet") && !error.text.contains('\n'), "{error}");
    }

    #[test]
    fn a_wait_is_rounded_up_and_never_becomes_endless() {
        let wait = |nanos| wait_milliseconds(Tick::ZERO, Some(Tick::from_nanos(nanos)));
        assert_eq!([wait(0), wait(1), wait(1_000_000), wait(1_000_001)], [0, 1, 1, 2]);
        assert_eq!(wait(u64::MAX), WAIT_FOREVER - 1);
        assert_eq!(wait_milliseconds(Tick::MAX, Some(Tick::ZERO)), 0);
        assert_eq!(wait_milliseconds(Tick::ZERO, None), WAIT_FOREVER);
    }
}
