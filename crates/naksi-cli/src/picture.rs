//! A wrong place in a text, shown as a person would point at it. Nothing here knows what is right.

use std::io::IsTerminal;
use std::ops::Range;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic};
use miette::{NamedSource, Report};

use crate::outcome::Problem;

/// What is wrong with a text, and where.
pub(crate) struct Place<'a> {
    /// The file's name.
    pub(crate) name: &'a str,
    /// All of it.
    pub(crate) text: &'a str,
    /// The bytes that are meant.
    pub(crate) span: Range<usize>,
    /// What stands below the caret.
    pub(crate) label: &'a str,
    /// What to do about it.
    pub(crate) help: &'a str,
}

/// One line with the place, and below it the text with a caret under what is meant.
pub(crate) fn of(message: &str, line: &str, place: Place<'_>) -> Problem {
    let Place { name, text, span, label, help } = place;
    let line = format!("{name}:{}: {line}", line_of(text, span.start));
    let diagnostic = MietteDiagnostic::new(message)
        .with_label(LabeledSpan::at(span, label.to_owned()))
        .with_help(help.to_owned());
    match draw(Report::new(diagnostic).with_source_code(NamedSource::new(name, text.to_owned())).as_ref()) {
        Some(picture) => Problem::Pictured { line, picture },
        // A picture that cannot be drawn is no reason to say nothing.
        None => Problem::usage(line),
    }
}

/// What a library says of a place in a text.
pub(crate) fn draw(diagnostic: &dyn Diagnostic) -> Option<String> {
    let theme = if std::io::stderr().is_terminal() {
        GraphicalTheme::unicode()
    } else {
        // A log or a pipe: plain characters, as a compiler's.
        GraphicalTheme::none()
    };
    let mut drawn = String::new();
    let handler = GraphicalReportHandler::new_themed(theme).with_links(false).with_width(110);
    handler.render_report(&mut drawn, diagnostic).ok().map(|()| drawn)
}

/// The line of a byte of a text, from 1.
pub(crate) fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}
