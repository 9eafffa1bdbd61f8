//! Requests to stop a process, in the same terms on every system.

/// A request to stop, as the system delivers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopSignal {
    /// Ctrl-C: SIGINT, or the console events of Ctrl-C and Ctrl-Break.
    Interrupt,
    /// SIGTERM, which a service manager or `kill` sends.
    Terminate,
    /// The terminal is gone: SIGHUP, or the console events of a closed window, a logoff and a shutdown.
    HangUp,
}
