//! A log on standard error, for the program and for servers of your own (cargo feature `log`): lines of `tracing` events as
//! text or as JSON, with their times, written by a thread of their own, so that no worker waits for a terminal or a pipe.
//!
//! ```
//! naksi::log::init()?;
//! tracing::warn!(room = 7, "seen on standard error");
//! # Ok::<(), naksi::Error>(())
//! ```
//!
//! `NAKSI_LOG`, or else `RUST_LOG`, says which lines are written; then [`set_filter`]; without them, warnings and errors. A session's
//! beginning and end are `debug` lines. Of each place in the code at most 100 lines of the levels error, warn and info are
//! written in a second; the next line after them is preceded by the number of those that were not. What waits to be
//! written is bounded too ([`stderr`]). Control characters of all fields are written out: they may come from a peer.

pub mod escape;
mod lines;
pub mod stderr;

use std::env::{self, VarError};
use std::io::{self, IsTerminal};
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::filter::{Builder, LevelFilter};
use tracing_subscriber::fmt::format::debug_fn;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{Error, Result};
use lines::{IS_JSON, Lines};

/// Names the lines of Naksi's programs.
const OURS: &str = "NAKSI_LOG";
/// Names those of every program that reads it.
const EVERYBODYS: &str = "RUST_LOG";

type Set = dyn Fn(EnvFilter) -> std::result::Result<(), String> + Send + Sync;

/// Changes the filter of the log that runs.
static SET: OnceLock<Box<Set>> = OnceLock::new();

/// How a line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people: `2026-11-30T12:00:00.000000Z  WARN naksi::worker: words field=value`.
    #[default]
    Text,
    /// One JSON object a line, with `timestamp`, `level`, `target`, `message` and the fields of the event.
    Json,
}

impl Format {
    /// Its name in settings.
    pub fn name(self) -> &'static str {
        match self {
            Format::Text => "text",
            Format::Json => "json",
        }
    }
}

/// Starts the log of this process, as text.
///
/// # Errors
/// `NAKSI_LOG` is no filter, or the process has a log already.
pub fn init() -> Result<()> {
    let filter = match env::var(OURS) {
        Ok(filter) => parse(&filter).map_err(|error| Error::Config(format!("{OURS}: {error}")))?,
        Err(VarError::NotUnicode(_)) => {
            return Err(Error::Config(format!("{OURS}: it is no text (no UTF-8)")));
        }
        // The variable is shared with other programs, so directives for them are not errors.
        Err(_) => builder().parse_lossy(env::var(EVERYBODYS).unwrap_or_default()),
    };
    let log = tracing_subscriber::fmt()
        .fmt_fields(debug_fn(lines::write_field).delimited(" "))
        .with_env_filter(filter)
        .with_writer(|| stderr::Log)
        .log_internal_errors(false)
        .with_ansi(io::stderr().is_terminal())
        .event_format(Lines::default())
        .with_filter_reloading();
    let handle = log.reload_handle();
    log.finish().try_init().map_err(|_| Error::Config("this process has a log already".to_owned()))?;
    let set = move |filter| handle.reload(filter).map_err(|error| error.to_string());
    SET.set(Box::new(set)).ok(); // It is empty: only one log was started.
    Ok(())
}

/// How lines are written from now on.
pub fn set_format(format: Format) {
    IS_JSON.store(format == Format::Json, Ordering::Relaxed);
}

/// Which lines are written from now on; empty for warnings and errors. `NAKSI_LOG` and `RUST_LOG` override it. Without
/// [`init`] it changes nothing.
///
/// # Errors
/// The text is no filter; the message says why.
pub fn set_filter(filter: &str) -> std::result::Result<(), String> {
    let parsed = parse(filter)?;
    let is_overruled = [OURS, EVERYBODYS].iter().any(|name| env::var(name).is_ok());
    match SET.get().filter(|_| !is_overruled) {
        Some(set) => set(parsed),
        None => Ok(()),
    }
}

/// Whether a text is a filter.
///
/// # Errors
/// What is wrong with it.
pub fn check_filter(filter: &str) -> std::result::Result<(), String> {
    parse(filter).map(drop)
}

/// Parses a filter, or returns what is wrong with it.
fn parse(filter: &str) -> std::result::Result<EnvFilter, String> {
    if let Some(word) = mistyped(filter) {
        return Err(format!("`{word}` is no level: off, error, warn, info, debug or trace"));
    }
    builder().parse(filter).map_err(|error| format!("`{filter}` is no filter: {error}"))
}

fn builder() -> Builder {
    EnvFilter::builder().with_default_directive(LevelFilter::WARN.into())
}

/// A word that would be parsed as the name of another module, and so silence all warnings.
fn mistyped(filter: &str) -> Option<&str> {
    filter.split(',').map(str::trim).find(|word| {
        let is_bare = word.chars().all(|letter| letter.is_alphanumeric() || matches!(letter, '_' | '-'));
        is_bare && !word.is_empty() && !word.starts_with("naksi") && word.parse::<LevelFilter>().is_err()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_no_level_is_refused_and_whatever_else_may_be_meant_is_not() {
        for filter in ["wran", "warning", "info,debugg", "naksi_io=trace, inf", "loud"] {
            let refused = parse(filter).expect_err(filter);
            assert!(refused.ends_with("is no level: off, error, warn, info, debug or trace"), "{refused}");
        }
        let sound =
            ["", "off", "WARN", "warn,naksi_io=trace", "naksi", "naksi_core", "sqlx=info", "info,", "3"];
        for filter in sound.into_iter().chain(["hyper::client", "[step{who}]=debug"]) {
            assert!(parse(filter).is_ok(), "{filter}");
        }
        assert!(parse("naksi=loud").expect_err("no level").contains("is no filter"));
    }
}
