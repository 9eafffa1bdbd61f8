//! Configuration and the errors of a start.
//!
//! Each error is one readable line, with a remedy where there is one.

pub mod address;
mod retry;
mod url;

use core::net::SocketAddr;
use std::fmt;
use std::str::FromStr;

use naksi_core::ended::OsError;
pub use naksi_core::nearest::nearest;
use naksi_os::OsPort;
use naksi_os::port::PortError;

pub use naksi_core::limits::{Heartbeat, Limits, Overflow, RateLimitAction};
pub use naksi_os::port::{ListenOptions, PortOptions};
pub use retry::{CONNECT_WITHIN_DEFAULT, Retry};
pub use url::{Transport, Url};

/// The result of the service's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, in one readable line.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A listener could not be opened.
    #[error("cannot listen on {address}: {error}{}", naksi_os::listen_hint(*.error))]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        error: OsError,
    },
    /// A completion port could not be opened, or failed.
    #[error("{0}")]
    Port(#[from] PortError),
    /// A setting makes no sense.
    #[error("{0}")]
    Config(String),
    /// A thread group did not accept a job.
    #[error("{0}")]
    Job(#[from] SubmitError),
    /// A worker thread panicked because of a bug in the engine.
    #[error("worker {0} died: {1}")]
    Worker(usize, String),
    /// The system refused to start a thread or to install a signal handler.
    #[error("{0}")]
    System(String),
}

/// Why a job was not accepted. The job is dropped without having run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The queue of the group or room is full.
    #[error("the queue is full")]
    Full,
    /// The group or room has been closed.
    #[error("the group or room is closed")]
    Closed,
}

impl fmt::Debug for Error {
    /// The same text as `Display`, because `main` prints errors with `Debug`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The completion port of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// The best one that this system allows.
    #[default]
    Auto,
    /// Linux io_uring.
    Uring,
    /// Linux epoll.
    Epoll,
    /// Windows I/O completion ports.
    Iocp,
}

impl Backend {
    /// Whether this operating system has such a port; its kernel may still refuse it.
    pub fn is_of_this_system(self) -> bool {
        self == Backend::Auto || OsPort::BACKENDS.contains(&self.to_string().as_str())
    }
}

impl FromStr for Backend {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "auto" => Ok(Backend::Auto),
            "uring" => Ok(Backend::Uring),
            "epoll" => Ok(Backend::Epoll),
            "iocp" => Ok(Backend::Iocp),
            _ => Err(Error::Config(format!("unknown backend `{name}`: auto, uring, epoll or iocp"))),
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Backend::Auto => "auto",
            Backend::Uring => "uring",
            Backend::Epoll => "epoll",
            Backend::Iocp => "iocp",
        })
    }
}

/// The environment variables that a service reads, each with a description.
pub const ENVIRONMENT: &[(&str, &str)] = &[
    (
        "NAKSI_LISTEN__ADDRESSES",
        "addresses to listen on, with or without tcp:// or ws://, separated by commas",
    ),
    ("NAKSI_LISTEN__DUAL_STACK", "true if a listener on [::] takes IPv4 too; false by default"),
    ("NAKSI_IO__WORKERS", "worker threads, 1 to 256"),
    ("NAKSI_IO__BACKEND", "auto, uring, epoll or iocp"),
    (
        "NAKSI_IO__FLUSH_MS",
        "milliseconds between the ticks at which sends leave, 1 to 100; at once by default",
    ),
    ("NAKSI_IO__SPIN_US", "microseconds for which a worker looks before it sleeps, at most 1000"),
    ("NAKSI_RECORD__DIRECTORY", "a folder to record what is received in; nothing is recorded by default"),
    (
        "NAKSI_RECORD__RUN_BYTES_MAX",
        "bytes that the recordings of a run may have together; 64 GiB by default",
    ),
    ("NAKSI_IO__DIRECT", "sockets that each worker keeps outside the process's descriptors (io_uring)"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_in_both_forms() {
        use naksi_core::ended::Failure;
        let address = "127.0.0.1:7777".parse().expect("an address");
        let error = Error::Listen { address, error: OsError::new(Failure::AddressInUse, 98) };
        assert_eq!(format!("{error:?}"), format!("{error}"));
        assert!(error.to_string().starts_with("cannot listen on 127.0.0.1:7777: address already in use"));
        assert!(!error.to_string().contains('\n'));
    }
}
