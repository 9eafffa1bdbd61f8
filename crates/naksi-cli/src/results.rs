//! A file that a result will be written to: opened before the run, so that nobody waits for a result that cannot be kept.
//!
//! A file that was there keeps what it has until there is something new; one that was not is removed again if the run
//! comes to nothing. What a result says is not known here.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::config::plain;
use crate::outcome::Problem;

/// A file for a result.
#[derive(Debug)]
pub(crate) struct ResultFile {
    path: PathBuf,
    /// Nothing as soon as it is written.
    file: Option<File>,
    is_new: bool,
}

impl ResultFile {
    /// Opens the file, or says why it cannot be written.
    pub(crate) fn open(path: &Path) -> Result<Self, Problem> {
        let mut options = OpenOptions::new();
        options.write(true);
        let (opened, is_new) = match options.clone().create_new(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => (options.open(path), false),
            opened => (opened, true),
        };
        let file = opened.map_err(|error| cannot_write(path, &error))?;
        Ok(Self { path: path.to_owned(), file: Some(file), is_new })
    }

    /// Writes the result, in the place of what the file had before.
    pub(crate) fn write(mut self, text: &str) -> Result<(), Problem> {
        let Some(mut file) = self.file.take() else { return Ok(()) };
        let written = file.metadata().and_then(|kept| {
            // A pipe or a device has no length.
            if kept.is_file() {
                file.set_len(0)?;
            }
            file.write_all(text.as_bytes())
        });
        written.map_err(|error| cannot_write(&self.path, &error))
    }
}

impl Drop for ResultFile {
    fn drop(&mut self) {
        // Open files cannot be removed everywhere.
        if self.file.take().is_some() && self.is_new {
            fs::remove_file(&self.path).ok(); // Nothing but its name is lost.
        }
    }
}

/// Where a result goes as JSON.
#[derive(Debug)]
pub(crate) enum Json {
    /// Nobody asked for it.
    Nowhere,
    /// Standard output, in the place of the text.
    Printed,
    /// A file, beside the text on standard output.
    Kept(ResultFile),
}

impl Json {
    /// Where `--json` wants it; `-` is standard output.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, Problem> {
        match path {
            None => Ok(Json::Nowhere),
            Some(path) if path == Path::new("-") => Ok(Json::Printed),
            Some(path) => ResultFile::open(path).map(Json::Kept),
        }
    }

    /// Prints the result and writes its file; if one of the two fails, the other one is done all the same.
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

fn print(text: &str) -> Result<(), Problem> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Problem::output)
}

fn cannot_write(path: &Path, error: &io::Error) -> Problem {
    Problem::failed(format!("cannot write {}: {}", path.display(), plain(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_without_a_result_leaves_files_as_they_were() {
        let folder = std::env::temp_dir().join(format!("naksi-results-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a scratch folder");
        let (old, new) = (folder.join("old"), folder.join("new"));
        fs::write(&old, "a long result of yesterday").expect("a scratch file");
        for path in [&old, &new] {
            drop(ResultFile::open(path).expect("it can be written"));
        }
        assert_eq!(fs::read_to_string(&old).expect("it is still there"), "a long result of yesterday");
        assert!(!new.exists(), "an empty file looks like a result");
        for path in [&old, &new] {
            ResultFile::open(path).and_then(|file| file.write("today's")).expect("it can be written");
            assert_eq!(fs::read_to_string(path).expect("it was written"), "today's");
        }
        let refused = ResultFile::open(&folder.join("nowhere").join("x")).expect_err("no such folder");
        assert!(refused.to_string().starts_with("cannot write "), "{refused}");
        fs::remove_dir_all(folder).expect("it can be removed");
    }
}
