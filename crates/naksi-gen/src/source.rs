//! A source file, and errors that point at a place in it.

use std::ops::Range;
use std::path::Path;

use miette::Diagnostic as _;

use crate::error::{Error, Place, Refused};

/// What editors of Windows put before a text.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// A file that was read.
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) text: String,
}

impl Source {
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
        let text = text.strip_prefix(BYTE_ORDER_MARK).map_or_else(|| text.clone(), str::to_owned);
        Ok(Self { name: path.display().to_string(), text })
    }

    /// A refusal that points at a place.
    pub(crate) fn wrong(&self, message: &str, span: Range<usize>, help: &str) -> Error {
        Error::Place(Box::new(Place {
            name: self.name.clone(),
            text: self.text.clone(),
            span,
            message: message.to_owned(),
            help: help.to_owned(),
        }))
    }

    /// What the Protobuf compiler says of this file.
    pub(crate) fn refused(&self, error: protox::Error) -> Error {
        let offset = error.labels().and_then(|mut labels| labels.next()).map(|label| label.offset());
        Error::Refused(Box::new(Refused {
            name: self.name.clone(),
            text: self.text.clone(),
            offset,
            diagnostic: Box::new(error),
        }))
    }

    /// The bytes from this line and column (in bytes), both from 0, to the end of the line or of the declaration.
    pub(crate) fn token_at(&self, line: usize, column: usize) -> Range<usize> {
        let before: usize = self.text.split_inclusive('\n').take(line).map(str::len).sum();
        let rest = self.text[before..].lines().next().unwrap_or("");
        let start = (column..=rest.len()).find(|at| rest.is_char_boundary(*at)).unwrap_or(rest.len());
        let length = rest[start..].find([';', '{']).unwrap_or(rest.len() - start);
        before + start..before + start + rest[start..start + length].trim_end().len()
    }
}

/// The error for a file that cannot be read. The system's number is left out, because its text says the same.
pub(crate) fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    let text = error.to_string();
    let why = text.split(" (os error").next().unwrap_or_default();
    Error::usage(format!("cannot read {}: {why}", path.display()))
}
