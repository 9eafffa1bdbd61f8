//! Chooses the port of Linux: io_uring, or epoll where io_uring is refused.
//!
//! The choice is made once, when a port is opened. It is reported by one warning per process and by
//! [`Port::fallback_reason`]. Both keep the same contract and use the same sockets, so a process may use both.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use super::clock;
use super::socket::Socket;
use super::waker::Waker;
use crate::epoll::port as epoll;
use crate::inbox::Poster;
use crate::port::{InFront, Ledger, PortError, PortOptions};
use crate::uring::{ext, port as uring};

/// The port of this system: io_uring, or epoll.
pub struct Port {
    served: Box<dyn Served>,
    fallback_reason: Option<String>,
}

/// Either port. The engine is compiled once for both, and calls are dispatched dynamically.
trait Served: crate::port::Port<Poster = Poster<Waker>, Socket = Socket> + fmt::Debug {
    fn end(self: Box<Self>) -> Ledger;
}

impl Served for uring::Port {
    fn end(self: Box<Self>) -> Ledger {
        uring::Port::end(*self)
    }
}

impl Served for epoll::Port {
    fn end(self: Box<Self>) -> Ledger {
        epoll::Port::end(*self)
    }
}

impl Port {
    /// Opens the best port that this system allows: io_uring, or epoll and a reason. Disables timer slack for the
    /// calling thread, which owns the port.
    ///
    /// # Errors
    /// One line that names the cause: a shortage that keeps either from being opened, such as descriptors.
    pub fn open(options: &PortOptions) -> Result<Self, PortError> {
        clock::be_punctual();
        match uring::Port::open(options) {
            Ok(port) => Ok(Self { served: Box::new(port), fallback_reason: None }),
            // A process without descriptors gets this error: epoll would fail soon as well.
            Err(error) if matches!(error.code, libc::EMFILE | libc::ENFILE) => Err(error),
            Err(error) => {
                let port = epoll::Port::open(options)?;
                let reason = reason(&error, ext::io_uring_disabled().as_deref());
                tell(&reason);
                Ok(Self { served: Box::new(port), fallback_reason: Some(reason) })
            }
        }
    }

    /// The names of the ports that there are on this system.
    pub const BACKENDS: &'static [&'static str] = &["uring", "epoll"];

    /// Opens the port of this name, `uring` or `epoll`, and no other.
    ///
    /// # Errors
    /// There is no port of this name here, or it cannot be opened: one line with the name and the cause.
    pub fn open_backend(options: &PortOptions, backend: &str) -> Result<Self, PortError> {
        clock::be_punctual();
        let served: Box<dyn Served> = match backend {
            "uring" => Box::new(uring::Port::open(options)?),
            "epoll" => Box::new(epoll::Port::open(options)?),
            _ => {
                let text = format!("backend {backend} is not available on Linux: uring and epoll are");
                return Err(PortError { text, code: libc::EINVAL });
            }
        };
        Ok(Self { served, fallback_reason: None })
    }

    /// Why it is not io_uring, if that was wanted.
    pub fn fallback_reason(&self) -> Option<&str> {
        self.fallback_reason.as_deref()
    }

    /// Cancels and drains everything, as dropping does, and returns the last ledger (law 10).
    #[must_use]
    pub fn end(self) -> Ledger {
        self.served.end()
    }
}

/// The cause, and what the administrator's switch says about it.
fn reason(error: &PortError, disabled: Option<&str>) -> String {
    if error.text.contains("io_uring_disabled=") {
        return error.text.clone();
    }
    format!("{} (kernel.io_uring_disabled={})", error.text, disabled.unwrap_or("unreadable"))
}

/// Logs the reason once per process: a service opens a port for each worker, all with the same reason.
fn tell(reason: &str) {
    static TOLD: AtomicBool = AtomicBool::new(false);
    if !TOLD.swap(true, Ordering::Relaxed) {
        tracing::warn!("serving on epoll: {reason}");
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.served.fmt(f)
    }
}

impl InFront for Port {
    type Behind = dyn crate::port::Port<Poster = Poster<Waker>, Socket = Socket>;

    fn behind(&self) -> &Self::Behind {
        &*self.served
    }

    fn behind_mut(&mut self) -> &mut Self::Behind {
        &mut *self.served
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::Port as _;

    #[test]
    fn a_port_is_chosen_by_its_name_and_no_other_comes() {
        for backend in ["uring", "epoll"] {
            let port = Port::open_backend(&PortOptions::default(), backend).expect("it works here");
            assert_eq!((port.backend(), port.fallback_reason()), (backend, None));
        }
        let error = Port::open_backend(&PortOptions::default(), "iocp").expect_err("this is Linux");
        assert!(error.text.contains("backend iocp is not available on Linux"), "{error}");
    }

    #[test]
    fn the_reason_is_one_line_with_the_cause_and_the_switch() {
        let told = |text: &str, disabled| reason(&PortError { text: text.to_owned(), code: 1 }, disabled);
        assert_eq!(told("refused", Some("0")), "refused (kernel.io_uring_disabled=0)");
        assert_eq!(told("refused", None), "refused (kernel.io_uring_disabled=unreadable)");
        assert_eq!(told("off: kernel.io_uring_disabled=2", Some("2")), "off: kernel.io_uring_disabled=2");
    }
}
