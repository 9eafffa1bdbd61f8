//! Log lines to stderr, written by the thread of `stderr.rs` so that no worker ever waits for a terminal. Fields may
//! come from a peer, so their control characters are escaped.
//!
//! The filter comes from `NAKSI_LOG`, or else `RUST_LOG`, then from the settings; by default warnings and errors are
//! logged.

use std::env::{self, VarError};
use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal};
use std::sync::OnceLock;

use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::filter::{Builder, LevelFilter};
use tracing_subscriber::fmt::format::{Writer, debug_fn};

use crate::escape::Escaping;
use crate::outcome::Problem;
use crate::stderr::Log;

/// Names the lines of this program.
const OURS: &str = "NAKSI_LOG";
/// Names those of every program that asks it.
const EVERYBODYS: &str = "RUST_LOG";

type Set = dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync;

/// Changes the filter of the log that runs.
static SET: OnceLock<Box<Set>> = OnceLock::new();

/// Starts the log.
pub(crate) fn start() -> Result<(), Problem> {
    let filter = match env::var(OURS) {
        Ok(filter) => parse(&filter).map_err(|error| Problem::usage(format!("{OURS}: {error}")))?,
        Err(VarError::NotUnicode(_)) => {
            return Err(Problem::usage(format!("{OURS}: it is no text (no UTF-8)")));
        }
        // The variable is shared with other programs, so directives for them are not errors.
        Err(_) => builder().parse_lossy(env::var(EVERYBODYS).unwrap_or_default()),
    };
    let log = tracing_subscriber::fmt()
        .fmt_fields(debug_fn(write_field).delimited(" "))
        .with_env_filter(filter)
        .with_writer(|| Log)
        .log_internal_errors(false)
        .with_ansi(io::stderr().is_terminal())
        .with_filter_reloading();
    let handle = log.reload_handle();
    let set = move |filter| handle.reload(filter).map_err(|error| error.to_string());
    SET.set(Box::new(set)).ok(); // A program has one log; a second one would not be asked.
    log.init();
    Ok(())
}

/// One field of a line, escaped so that it cannot start another line or control a terminal.
fn write_field(line: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    match field.name() {
        "message" => {}
        // What the `log` crate says of a line beside its text.
        name if name.starts_with("log.") => return Ok(()),
        name => write!(line, "{name}=")?,
    }
    write!(Escaping(line), "{value:?}")
}

/// Sets the filter of the settings; empty for warnings and errors. The environment overrides it.
pub(crate) fn set(filter: &str) -> Result<(), String> {
    let parsed = parse(filter)?;
    let is_overruled = [OURS, EVERYBODYS].iter().any(|name| env::var(name).is_ok());
    match SET.get().filter(|_| !is_overruled) {
        Some(set) => set(parsed),
        None => Ok(()),
    }
}

/// Reads a filter, or says what is wrong with it.
pub(crate) fn parse(filter: &str) -> Result<EnvFilter, String> {
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
