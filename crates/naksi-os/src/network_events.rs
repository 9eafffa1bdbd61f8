//! The network events of the reactor models: Winsock's FD_ACCEPT, FD_READ, FD_WRITE and FD_CLOSE as named flags.

/// A set of network events: those of interest, or those that happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkEvents {
    /// A connection waits to be accepted (FD_ACCEPT).
    pub accept: bool,
    /// Bytes are there (FD_READ).
    pub read: bool,
    /// The socket takes bytes again (FD_WRITE).
    pub write: bool,
    /// The peer ended its direction, or the connection failed (FD_CLOSE).
    pub close: bool,
}

impl NetworkEvents {
    /// What a listener is asked for.
    pub const LISTENER: Self = Self { accept: true, read: false, write: false, close: false };
    /// What a connection is asked for.
    pub const CONNECTION: Self = Self { accept: false, read: true, write: true, close: true };
}
