//! A wrong place in a file, shown as a person would point at it. Nothing here knows what is right.

use std::io::IsTerminal;

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource, Report};

use super::part::{Wrong, line_of};
use crate::outcome::Problem;

/// One line with the place, and below it the text with a caret under what is meant.
pub(super) fn of(name: &str, text: &str, wrong: &Wrong) -> Problem {
    let line = format!("{name}:{}: {}", line_of(text, wrong.span.start), wrong.line());
    let label = match &wrong.meant {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => "here".to_owned(),
    };
    let diagnostic = MietteDiagnostic::new(&wrong.message)
        .with_label(LabeledSpan::at(wrong.span.clone(), label))
        .with_help("`naksi config init` writes a file with every key; `naksi config print --effective` says who set what");
    let theme = if std::io::stderr().is_terminal() {
        GraphicalTheme::unicode()
    } else {
        // A log or a pipe: plain characters, as a compiler's.
        GraphicalTheme::none()
    };
    let report = Report::new(diagnostic).with_source_code(NamedSource::new(name, text.to_owned()));
    let mut drawn = String::new();
    let handler = GraphicalReportHandler::new_themed(theme).with_links(false).with_width(110);
    match handler.render_report(&mut drawn, report.as_ref()) {
        Ok(()) => Problem::Pictured { line, picture: drawn },
        // A picture that cannot be drawn is no reason to say nothing.
        Err(_) => Problem::usage(line),
    }
}
