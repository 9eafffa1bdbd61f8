//! Log lines to stderr, written by a thread of their own so that no worker ever waits for a terminal.
//!
//! `NAKSI_LOG`, or else `RUST_LOG`, says which lines; without them, warnings and errors. Nothing here
//! knows what is logged.

use std::io::{self, IsTerminal};

use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::EnvFilter;

/// Starts the log. Its lines are flushed when the guard is dropped.
pub(crate) fn start() -> WorkerGuard {
    let (writer, guard) = tracing_appender::non_blocking(io::stderr());
    let wish = std::env::var("NAKSI_LOG").or_else(|_| std::env::var("RUST_LOG")).unwrap_or_default();
    let filter = EnvFilter::builder()
        .with_default_directive(tracing_subscriber::filter::LevelFilter::WARN.into())
        .parse_lossy(wish);
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(io::stderr().is_terminal())
        .init();
    guard
}
