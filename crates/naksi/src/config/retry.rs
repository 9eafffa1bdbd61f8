//! How a client connects again.

use std::time::Duration;

/// Default time limit of one attempt to connect.
pub const CONNECT_WITHIN_DEFAULT: Duration = Duration::from_secs(30);

/// How often, and after which pauses, a connection is retried.
///
/// ```
/// use naksi::Retry;
/// let patient = Retry { attempts_max: 20, ..Retry::START };
/// assert!(Retry::ALWAYS.reconnects() && !patient.reconnects());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Consecutive attempts before a connection is given up.
    pub attempts_max: u32,
    /// The pause after the first failed attempt; it doubles with each attempt, with a jitter of up to a half.
    pub pause_min: Duration,
    /// The longest pause.
    pub pause_max: Duration,
}

impl Retry {
    /// A single attempt; a session that has ended is not reconnected.
    pub const NEVER: Retry = Retry { attempts_max: 1, pause_min: Duration::ZERO, pause_max: Duration::ZERO };

    /// A few attempts, for a server that is about to start; a session that has ended is not reconnected.
    pub const START: Retry =
        Retry { attempts_max: 10, pause_min: Duration::from_millis(50), pause_max: Duration::from_secs(2) };

    /// Retries without limit and reconnects after a session has ended. A session that lived for less than the longest
    /// pause counts as a failed attempt, so a server that accepts and at once disconnects is retried less and less
    /// often too.
    pub const ALWAYS: Retry = Retry { attempts_max: u32::MAX, ..Retry::START };

    /// Whether a connection is made again after its session has ended.
    pub fn reconnects(&self) -> bool {
        self.attempts_max == u32::MAX
    }
}
