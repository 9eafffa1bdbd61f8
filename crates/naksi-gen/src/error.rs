//! Errors of the generator: one line, or a place in a file.

use std::fmt;
use std::ops::Range;

/// Why nothing was written.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The request is invalid, or a file cannot be read: one line.
    Usage(String),
    /// Something failed that is not the caller's doing: one line.
    Failed(String),
    /// A place in a file makes no sense.
    Place(Box<Place>),
    /// The Protobuf compiler refuses a file.
    Refused(Box<Refused>),
}

/// A place in a file, and what is wrong there.
#[derive(Debug)]
#[non_exhaustive]
pub struct Place {
    /// The file's path, as it was given.
    pub name: String,
    /// The whole text of the file.
    pub text: String,
    /// The bytes that are meant.
    pub span: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: String,
}

/// What the Protobuf compiler says of a file.
#[derive(Debug)]
#[non_exhaustive]
pub struct Refused {
    /// The file's name.
    pub name: String,
    /// The whole text of the file.
    pub text: String,
    /// The byte that is meant, if the compiler names one.
    pub offset: Option<usize>,
    /// What the compiler says; it can be drawn.
    pub diagnostic: Box<dyn miette::Diagnostic + Send + Sync>,
}

impl Error {
    pub(crate) fn usage(line: impl Into<String>) -> Self {
        Error::Usage(line.into())
    }

    pub(crate) fn failed(line: impl Into<String>) -> Self {
        Error::Failed(line.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Usage(line) | Error::Failed(line) => f.write_str(line),
            Error::Place(place) => {
                let Place { name, text, span, message, help } = &**place;
                let (line, column) = position(text, span.start);
                write!(f, "{name}:{line}:{column}: {message}: {help}")
            }
            Error::Refused(refused) => match refused.offset.map(|offset| position(&refused.text, offset)) {
                Some((line, column)) => write!(f, "{}:{line}:{column}: {}", refused.name, refused.diagnostic),
                None => write!(f, "{}: {}", refused.name, refused.diagnostic),
            },
        }
    }
}

impl std::error::Error for Error {}

/// The line and the column of a byte in a text, both from 1.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..offset.min(text.len())];
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
    (line, 1 + String::from_utf8_lossy(&before[start..]).chars().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_file_line_and_column() {
        let place = Place {
            name: "lobby.rs".to_owned(),
            text: "first\n가나 twice\n".to_owned(),
            span: 13..18,
            message: "`twice` has an id already".to_owned(),
            help: "a type is one packet".to_owned(),
        };
        let said = Error::Place(Box::new(place)).to_string();
        assert_eq!(said, "lobby.rs:2:4: `twice` has an id already: a type is one packet");
    }
}
