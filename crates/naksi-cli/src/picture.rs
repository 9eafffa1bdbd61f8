//! Shows the place of an error in a text, with a caret below it.

#[cfg(feature = "pictures")]
use std::io::IsTerminal;
use std::ops::Range;

#[cfg(feature = "pictures")]
use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource, Report,
};

#[cfg(feature = "pictures")]
use crate::escape;
use crate::outcome::Problem;

/// A longer line was written by a program, and is not shown.
const SHOWN_LINE_BYTES_MAX: usize = 1000;

/// What is wrong with a text, and where.
pub(crate) struct Place<'a> {
    /// The file's name.
    pub(crate) name: &'a str,
    /// All of it.
    pub(crate) text: &'a str,
    /// The bytes that are meant.
    pub(crate) span: Range<usize>,
    /// The text below the caret.
    pub(crate) label: &'a str,
    /// What to do about it.
    pub(crate) help: &'a str,
}

/// An error at a byte of a text, preceded by its place: file, line and column, both from 1.
pub(crate) fn line(name: &str, text: &str, offset: usize, message: &str) -> String {
    let before = &text.as_bytes()[..offset.min(text.len())];
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    let column = 1 + String::from_utf8_lossy(&before[start..]).chars().count();
    format!("{name}:{}:{column}: {message}", line_of(text, offset))
}

/// One line with the place, and below it the text with a caret under the error.
pub(crate) fn of(message: &str, line: &str, place: Place<'_>) -> Problem {
    let is_long = line_bytes(place.text, place.span.start) > SHOWN_LINE_BYTES_MAX;
    let line = self::line(place.name, place.text, place.span.start, line);
    if is_long { Problem::usage(format!("{line}: {}", place.help)) } else { pictured(message, line, place) }
}

/// The line, for a program that draws nothing.
#[cfg(not(feature = "pictures"))]
fn pictured(_message: &str, line: String, place: Place<'_>) -> Problem {
    Problem::usage(format!("{line}: {}", place.help))
}

/// The line, and the text below it.
#[cfg(feature = "pictures")]
fn pictured(message: &str, line: String, place: Place<'_>) -> Problem {
    let Place { name, text, span, label, help } = place;
    let diagnostic = MietteDiagnostic::new(message)
        .with_label(LabeledSpan::at(span, label.to_owned()))
        .with_help(help.to_owned());
    match draw(Report::new(diagnostic).with_source_code(NamedSource::new(name, text.to_owned())).as_ref()) {
        Some(picture) => Problem::Pictured { line, picture },
        // If the place cannot be shown, the line alone is.
        None => Problem::usage(line),
    }
}

/// A library's error at a place in a text.
#[cfg(feature = "pictures")]
pub(crate) fn draw(diagnostic: &dyn Diagnostic) -> Option<String> {
    let (theme, escape): (_, fn(&str) -> String) = if std::io::stderr().is_terminal() {
        (GraphicalTheme::unicode(), escape::coloured_lines)
    } else {
        // A log or a pipe: plain characters, as a compiler's.
        (GraphicalTheme::none(), escape::lines)
    };
    let mut drawn = String::new();
    let handler = GraphicalReportHandler::new_themed(theme).with_links(false).with_width(110);
    handler.render_report(&mut drawn, diagnostic).ok().map(|()| escape(&drawn))
}

/// Bytes of the line that this byte is in.
fn line_bytes(text: &str, offset: usize) -> usize {
    let (before, behind) = text.as_bytes().split_at(offset.min(text.len()));
    let is_end = |byte: &u8| *byte == b'\n';
    let start = before.iter().rposition(is_end).map_or(0, |newline| newline + 1);
    before.len() - start + behind.iter().position(is_end).unwrap_or(behind.len())
}

/// The line of a byte of a text, from 1.
pub(crate) fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}
