//! How an operation ended.
//!
//! The platform modules of `naksi-os` translate every kernel's error numbers once into these four outcomes; no code
//! above matches a number.

use std::fmt;

/// How an operation ended other than by doing what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The peer closed its side (FIN), or the file is at its end.
    Closed,
    /// The connection was reset by the peer, or a send failed after the peer had gone.
    Reset,
    /// We cancelled it, or shut it down ourselves.
    Aborted,
    /// The system could not do it.
    Failed(OsError),
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ended::Closed => f.write_str("closed by the peer"),
            Ended::Reset => f.write_str("reset by the peer"),
            Ended::Aborted => f.write_str("cancelled"),
            Ended::Failed(error) => error.fmt(f),
        }
    }
}

/// A failure of the system: its category, and the system's own number for logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OsError {
    /// What it means.
    pub kind: Failure,
    /// The system's number (errno, or a Windows error code); 0 if there is none.
    pub code: i32,
}

impl OsError {
    /// A failure of this kind with the system's number.
    pub const fn new(kind: Failure, code: i32) -> Self {
        Self { kind, code }
    }
}

impl fmt::Display for OsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.text())?;
        if self.code != 0 {
            write!(f, " (system error {})", self.code)?;
        }
        Ok(())
    }
}

impl std::error::Error for OsError {}

/// What a failure of the system means to an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Failure {
    /// The process or the system has no descriptor left.
    DescriptorsExhausted,
    /// The kernel has no memory, or may pin no more.
    MemoryExhausted,
    /// No socket listens there.
    Refused,
    /// No way to that address.
    Unreachable,
    /// The peer did not answer in time.
    TimedOut,
    /// The peer went away between the kernel's queue and our accept: not a failure; take the next one.
    PeerGone,
    /// The address is taken.
    AddressInUse,
    /// The address is not one of this machine's.
    AddressNotOurs,
    /// Not allowed.
    Denied,
    /// No such file.
    NotFound,
    /// This system cannot do it.
    Unsupported,
    /// The caller asked for something that makes no sense.
    Invalid,
    /// The disk is full.
    StorageFull,
    /// The request exceeds the limits of the service.
    OverLimit,
    /// Any other failure, identified by its number.
    Other,
}

impl Failure {
    /// The failure in a few plain words.
    pub fn text(self) -> &'static str {
        match self {
            Failure::DescriptorsExhausted => "no descriptor left",
            Failure::MemoryExhausted => "the kernel has no memory for it",
            Failure::Refused => "connection refused",
            Failure::Unreachable => "address unreachable",
            Failure::TimedOut => "timed out",
            Failure::PeerGone => "the peer went away before it was served",
            Failure::AddressInUse => "address already in use",
            Failure::AddressNotOurs => "not an address of this machine",
            Failure::Denied => "permission denied",
            Failure::NotFound => "no such file",
            Failure::Unsupported => "not supported by this system",
            Failure::Invalid => "invalid request",
            Failure::StorageFull => "no space left on the device",
            Failure::OverLimit => "more at once than the limits allow",
            Failure::Other => "system failure",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ending_is_said_in_words_with_the_systems_number_if_there_is_one() {
        let text = |ended: Ended| ended.to_string();
        assert_eq!(text(Ended::Closed), "closed by the peer");
        assert_eq!(text(Ended::Failed(OsError::new(Failure::Refused, 0))), "connection refused");
        let full = Ended::Failed(OsError::new(Failure::StorageFull, 28));
        assert_eq!(text(full), "no space left on the device (system error 28)");
    }
}
