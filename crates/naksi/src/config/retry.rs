//! How a client connects again.

use std::time::Duration;

/// How long one attempt to connect may take by default.
pub const CONNECT_WITHIN_DEFAULT: Duration = Duration::from_secs(30);

/// How often, and after which pauses, a connection is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Attempts in a row before a connection is given up.
    pub attempts_max: u32,
    /// The pause after the first failed attempt; it doubles, and each is jittered by up to a half.
    pub pause_min: Duration,
    /// The longest pause.
    pub pause_max: Duration,
}

impl Retry {
    /// One attempt, and none after a session has ended.
    pub const NEVER: Retry = Retry { attempts_max: 1, pause_min: Duration::ZERO, pause_max: Duration::ZERO };

    /// A few attempts for a server that is about to come up; none after a session has ended.
    pub const START: Retry =
        Retry { attempts_max: 10, pause_min: Duration::from_millis(50), pause_max: Duration::from_secs(2) };

    /// For ever, also after a session has ended. A session that stood for less than the longest pause counts as a
    /// failed attempt: a server that lets everybody in and sends them away again is asked less and less often, too.
    pub const ALWAYS: Retry = Retry { attempts_max: u32::MAX, ..Retry::START };

    /// Whether a session that ended is connected again.
    pub fn reconnects(&self) -> bool {
        self.attempts_max == u32::MAX
    }
}
