//! How an event becomes a line, and which events become none: too many of one place in a second. Nothing here knows where
//! lines go.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use naksi_core::tick::Tick;
use tracing::callsite::Identifier;
use tracing::field::Field;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::fmt::format::{Format, Full, Json, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::escape::{Escaping, is_control};
use crate::log_limiter::Talk;

/// Lines of one place in a second.
const LINES_PER_SECOND_MAX: u32 = 100;

/// Whether lines are JSON from now on.
pub(super) static IS_JSON: AtomicBool = AtomicBool::new(false);

/// Writes events as lines.
#[derive(Debug)]
pub(super) struct Lines {
    text: Format<Full>,
    json: Format<Json>,
    /// What each place has said; there are as many as there are places in the code.
    talks: Mutex<HashMap<Identifier, Talk>>,
}

impl Default for Lines {
    fn default() -> Self {
        let json =
            Format::default().json().flatten_event(true).with_current_span(false).with_span_list(false);
        Self { text: Format::default(), json, talks: Mutex::default() }
    }
}

impl Lines {
    /// Whether the line is written, and how many of the same place were not since the last one. Who asks for debug and
    /// trace lines wants all of them.
    fn admit(&self, place: &Metadata<'_>, now: Tick) -> Option<u64> {
        if *place.level() > Level::INFO {
            return Some(0);
        }
        let mut talks = self.talks.lock().unwrap_or_else(PoisonError::into_inner);
        talks.entry(place.callsite()).or_default().admit(now, LINES_PER_SECOND_MAX)
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(suppressed) = self.admit(event.metadata(), naksi_os::now()) else { return Ok(()) };
        let is_json = IS_JSON.load(Ordering::Relaxed);
        if suppressed > 0 {
            write_suppressed(&mut writer, is_json, event.metadata(), suppressed)?;
        }
        if !is_json {
            return self.text.format_event(context, writer, event);
        }
        let mut line = String::new();
        self.json.format_event(context, Writer::new(&mut line), event)?;
        write_escaped_json(&mut writer, &line)
    }
}

/// One line about those that were not written before it.
fn write_suppressed(writer: &mut Writer<'_>, is_json: bool, place: &Metadata<'_>, lines: u64) -> fmt::Result {
    let (target, line) = (place.target(), place.line().unwrap_or(0));
    let mut time = String::new();
    SystemTime.format_time(&mut Writer::new(&mut time))?;
    if is_json {
        return writeln!(
            writer,
            "{{\"timestamp\":\"{time}\",\"level\":\"WARN\",\"target\":\"naksi::log\",\"message\":\"lines were suppressed\",\
             \"lines\":{lines},\"place\":\"{target}:{line}\"}}"
        );
    }
    writeln!(writer, "{time}  WARN naksi::log: lines were suppressed lines={lines} place={target}:{line}")
}

/// What steers a terminal stands in a JSON line in strings only, where it may be written as a number. JSON itself demands
/// that of the first 32 characters alone.
fn write_escaped_json(out: &mut impl fmt::Write, line: &str) -> fmt::Result {
    for letter in line.chars() {
        match letter {
            '\n' => out.write_char('\n')?,
            _ if is_control(letter) => write!(out, "\\u{:04x}", u32::from(letter))?,
            _ => out.write_char(letter)?,
        }
    }
    Ok(())
}

/// One field of a text line, escaped so that it cannot start another line or control a terminal.
pub(super) fn write_field(line: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    match field.name() {
        "message" => {}
        // What the `log` crate says of a line beside its text.
        name if name.starts_with("log.") => return Ok(()),
        name => write!(line, "{name}=")?,
    }
    write!(Escaping(line), "{value:?}")
}
