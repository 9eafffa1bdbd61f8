//! The one clock of all ports of a process (law 11).

use std::sync::OnceLock;
use std::time::Instant;

use naksi_core::tick::Tick;

/// Nanoseconds since the first use of the clock in this process.
pub fn now() -> Tick {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    Tick::ZERO + EPOCH.get_or_init(Instant::now).elapsed()
}
