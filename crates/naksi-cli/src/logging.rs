//! Log lines to stderr, written by a thread of their own so that no worker ever waits for a terminal.
//!
//! `NAKSI_LOG`, or else `RUST_LOG`, says which lines; then the settings; without them, warnings and errors. Nothing
//! here knows what is logged.

use std::io::{self, IsTerminal};
use std::sync::OnceLock;

use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

type Set = dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync;

/// Changes the filter of the log that runs.
static SET: OnceLock<Box<Set>> = OnceLock::new();

/// Starts the log. Its lines are flushed when the guard is dropped.
pub(crate) fn start() -> WorkerGuard {
    let (writer, guard) = tracing_appender::non_blocking(io::stderr());
    let builder = EnvFilter::builder().with_default_directive(LevelFilter::WARN.into());
    let log = tracing_subscriber::fmt()
        .with_env_filter(builder.parse_lossy(of_environment().unwrap_or_default()))
        .with_writer(writer)
        .with_ansi(io::stderr().is_terminal())
        .with_filter_reloading();
    let handle = log.reload_handle();
    let set = move |filter| handle.reload(filter).map_err(|error| error.to_string());
    SET.set(Box::new(set)).ok(); // A program has one log; a second one would not be asked.
    log.init();
    guard
}

/// Which lines are written from now on; empty for warnings and errors. The environment has the last word.
pub(crate) fn set(filter: &str) -> Result<(), String> {
    let parsed = parse(filter)?;
    match SET.get().filter(|_| of_environment().is_none()) {
        Some(set) => set(parsed),
        None => Ok(()),
    }
}

/// Reads a filter, or says what is wrong with it.
pub(crate) fn parse(filter: &str) -> Result<EnvFilter, String> {
    let builder = EnvFilter::builder().with_default_directive(LevelFilter::WARN.into());
    builder.parse(filter).map_err(|error| format!("`{filter}` is no filter: {error}"))
}

fn of_environment() -> Option<String> {
    std::env::var("NAKSI_LOG").or_else(|_| std::env::var("RUST_LOG")).ok()
}
