//! Writes a result as JSON, to standard output or to a file.

use std::path::Path;

use serde::Serialize;

use crate::outcome::Problem;
use crate::output_file::OutputFile;
use crate::results::print;

/// Where a result goes as JSON.
#[derive(Debug)]
pub(crate) enum Json {
    /// No JSON was asked for.
    Nowhere,
    /// Standard output, in the place of the text.
    Printed,
    /// A file, beside the text on standard output.
    Kept(OutputFile),
}

impl Json {
    /// Where `--json` wants it; `-` is standard output.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, Problem> {
        match path {
            None => Ok(Json::Nowhere),
            Some(path) if path == Path::new("-") => Ok(Json::Printed),
            Some(path) => OutputFile::open(path).map(Json::Kept),
        }
    }

    /// Prints the result and writes its file; if one of the two fails, the other one is still done.
    pub(crate) fn publish(
        self,
        result: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> Result<(), Problem> {
        let as_json = || {
            let text = serde_json::to_string_pretty(result);
            text.map(|text| text + "\n").map_err(|error| Problem::failed(error.to_string()))
        };
        match self {
            Json::Nowhere => print(&text()),
            Json::Printed => print(&as_json()?),
            Json::Kept(file) => {
                let printed = print(&text());
                let kept = as_json().and_then(|text| file.write(&text));
                printed.and(kept)
            }
        }
    }
}
