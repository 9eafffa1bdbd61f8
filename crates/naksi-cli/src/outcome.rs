//! The outcomes of a subcommand, and the exit code of each.
//!
//! A problem is one line for a person: what is wrong, and what to do about it.

use std::fmt;
use std::io;
use std::process::ExitCode;

/// A run that came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Everything went as it should.
    Fine,
    /// It ran, and found errors that it has already listed.
    Errors,
    /// It ran without errors, but a threshold of the user was exceeded.
    Threshold,
}

impl Outcome {
    pub(crate) fn exit_code(self) -> ExitCode {
        ExitCode::from(match self {
            Outcome::Fine => 0,
            Outcome::Errors => 1,
            Outcome::Threshold => 99,
        })
    }
}

/// Why a command could not be run, in one line; an error in a file is followed by its place.
#[derive(Debug)]
pub(crate) enum Problem {
    /// What was asked makes no sense, or is not built.
    Usage(String),
    /// What was asked makes sense and failed.
    Failed(String),
    /// An error in a file: a line, and below it the place.
    Pictured {
        /// What is wrong, with the file and the line.
        line: String,
        /// The text around it.
        picture: String,
    },
    /// Several errors, each printed as it would be alone.
    Several(Vec<Problem>),
    /// The reader has closed standard output, as `head` does: the program ends without a message.
    NotRead,
}

impl Problem {
    pub(crate) fn usage(line: impl Into<String>) -> Self {
        Problem::Usage(line.into())
    }

    pub(crate) fn failed(line: impl Into<String>) -> Self {
        Problem::Failed(line.into())
    }

    /// All of these; nothing if there are none.
    pub(crate) fn all(mut problems: Vec<Problem>) -> Result<(), Self> {
        match problems.len() {
            0 => Ok(()),
            1 => Err(problems.remove(0)),
            _ => Err(Problem::Several(problems)),
        }
    }

    /// Standard output was refused.
    pub(crate) fn output(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Problem::NotRead,
            _ => Problem::Failed(format!("cannot write to standard output: {error}")),
        }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Problem::Usage(_) | Problem::Pictured { .. } | Problem::Several(_) => 2,
            Problem::Failed(_) | Problem::NotRead => 1,
        })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = match self {
            Problem::Usage(line) | Problem::Failed(line) | Problem::Pictured { line, .. } => line,
            Problem::Several(problems) => {
                let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
                // The caller prints the prefix of the first line.
                return f.write_str(&said.join("\nnaksi: "));
            }
            Problem::NotRead => "nothing reads standard output",
        };
        // Messages of libraries may have several lines; a problem has one.
        let mut parts = line.lines().map(str::trim).filter(|part| !part.is_empty());
        f.write_str(parts.next().unwrap_or("unknown problem"))?;
        parts.try_for_each(|part| write!(f, " {part}"))?;
        match self {
            Problem::Pictured { picture, .. } => write!(f, "\n{}", picture.trim_end()),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_always_one_line() {
        assert_eq!(Problem::usage("one\n\n  two\n").to_string(), "one two");
    }
}
