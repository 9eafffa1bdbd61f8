//! Runs programs of the copy, with one mutant each, and evaluates their output.

use anyhow::{Context as _, Result, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::copy::{CHOICE, Copy};
use super::rows::Seeker;
use crate::root;

/// The most simulated worlds that a mutant may survive, and how many are run without one; the test suite runs
/// thousands.
const WORLDS_MAX: &str = "1000";
const WORLDS_WITHOUT: &str = "200";
/// How long one program looks for one mutant.
const PATIENCE: Duration = Duration::from_secs(120);
/// Messages of Rust's own checks: a crash, and not an assertion of the tests.
const ACCIDENTS: &[&str] =
    &["with overflow", "out of bounds", "out of range", "called `Option::unwrap", "called `Result::unwrap"];

/// What became of a mutant.
#[derive(Debug)]
pub(super) enum Verdict {
    /// An assertion said so: which one.
    Caught(String),
    /// The program died, by a signal or by an accident.
    Died(String),
    /// The program never came to an end.
    Hung,
    /// Everything passed.
    Survived(String),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Caught(said) => write!(f, "caught: {said}"),
            Self::Died(said) => write!(f, "NOT CAUGHT, died: {said}"),
            Self::Hung => write!(f, "NOT CAUGHT, no end"),
            Self::Survived(said) => write!(f, "NOT CAUGHT {said}"),
        }
    }
}

/// The program of the copy that runs: the simulation, a crate's tests, or its models.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Program {
    Simulation,
    Tests { package: String, target: String },
    Loom { package: String },
}

/// The programs of the copy.
pub(super) struct Programs(BTreeMap<Program, PathBuf>);

impl Programs {
    /// Builds what these seekers need.
    pub(super) fn build(copy: &Copy, seekers: &BTreeSet<&Seeker>) -> Result<Self> {
        let wanted: BTreeSet<Program> = seekers.iter().map(|seeker| program_of(seeker)).collect();
        let mut programs = BTreeMap::new();
        for program in wanted {
            let path = build(copy, &program)?;
            programs.insert(program, path);
        }
        Ok(Self(programs))
    }

    /// Runs the tests that should catch a mutant; or, without one, that should pass.
    pub(super) fn seek(&self, seeker: &Seeker, id: Option<&str>) -> Result<Verdict> {
        let path = &self.0[&program_of(seeker)];
        match seeker {
            Seeker::Simulation => {
                let worlds = if id.is_some() { WORLDS_MAX } else { WORLDS_WITHOUT };
                Ok(judge_world(run(path, &[worlds], id)?))
            }
            Seeker::Tests { word, .. } if word.is_empty() => Ok(judge_tests(run(path, &[], id)?)),
            Seeker::Tests { word, .. } => Ok(judge_tests(run(path, &[word], id)?)),
            Seeker::Loom { word, .. } => Ok(judge_tests(run(path, &[word], id)?)),
        }
    }
}

fn program_of(seeker: &Seeker) -> Program {
    match seeker {
        Seeker::Simulation => Program::Simulation,
        Seeker::Tests { package, target, .. } => {
            Program::Tests { package: package.clone(), target: target.clone() }
        }
        Seeker::Loom { package, .. } => Program::Loom { package: package.clone() },
    }
}

fn build(copy: &Copy, program: &Program) -> Result<PathBuf> {
    let mut cargo = root::cargo();
    cargo.current_dir(copy.root()).env("CARGO_TARGET_DIR", copy.target());
    // What a mutant leaves unused is no finding.
    cargo.env("RUSTFLAGS", "--cap-lints allow");
    match program {
        Program::Simulation => {
            cargo.args(["build", "-p", "naksi-sim", "--example", "until_broken", "--profile", "test"]);
        }
        Program::Tests { package, target } if target == "lib" => {
            cargo.args(["test", "--no-run", "-p", package, "--lib"]);
        }
        Program::Tests { package, target } => {
            cargo.args(["test", "--no-run", "-p", package, "--test", target]);
        }
        Program::Loom { package } => {
            cargo.args(["test", "--no-run", "-p", package, "--lib"]);
            cargo.env("CARGO_TARGET_DIR", copy.target().join("loom"));
            cargo.env("RUSTFLAGS", "--cap-lints allow --cfg loom");
        }
    }
    let output = cargo.arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "the build of {program:?} with mutants ended with {}", output.status);
    let said = String::from_utf8(output.stdout)?;
    said.lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .next_back()
        .with_context(|| format!("cargo names no program for {program:?}"))
}

/// A program's output, and how it ended: by the time limit, with a code, or by a signal.
struct Run {
    said: String,
    code: Option<Option<i32>>,
}

/// Runs a program with one mutant, or with none.
fn run(program: &Path, arguments: &[&str], id: Option<&str>) -> Result<Run> {
    let mut command = Command::new(program);
    command.args(arguments).env_remove(CHOICE).envs(id.map(|id| (CHOICE, id)));
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let mut output = child.stdout.take().expect("it is piped");
    let reader = std::thread::spawn(move || {
        let mut said = Vec::new();
        // A program that is killed while it writes has written the rest before.
        output.read_to_end(&mut said).ok();
        String::from_utf8_lossy(&said).into_owned()
    });
    let begun = Instant::now();
    let code = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status.code());
        }
        if begun.elapsed() > PATIENCE {
            child.kill()?;
            child.wait()?;
            break None;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let said = reader.join().expect("a reader does not panic");
    Ok(Run { said, code })
}

/// The simulation exits with 1 if a law was violated, and names it.
fn judge_world(run: Run) -> Verdict {
    let said = run.said.trim().to_owned();
    match run.code {
        None => Verdict::Hung,
        Some(Some(0)) => Verdict::Survived(said),
        Some(Some(1)) if !is_accident(&said) => Verdict::Caught(said),
        Some(_) => Verdict::Died(said),
    }
}

/// Tests exit with 101 if one of them failed, and repeat its message.
fn judge_tests(run: Run) -> Verdict {
    let failed = run.said.lines().find_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"));
    let mut lines = run.said.lines().skip_while(|line| !line.contains("panicked at "));
    let said = lines.nth(1).unwrap_or("no panic").trim();
    match (run.code, failed) {
        (None, _) => Verdict::Hung,
        (Some(Some(0)), _) => Verdict::Survived(String::new()),
        (Some(Some(101)), Some(test)) if !is_accident(said) => Verdict::Caught(format!("{test}: {said}")),
        (Some(code), test) => Verdict::Died(format!("{code:?} {test:?} {said}")),
    }
}

fn is_accident(said: &str) -> bool {
    ACCIDENTS.iter().any(|accident| said.contains(accident))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tests_said(said: &str, code: Option<Option<i32>>) -> Verdict {
        judge_tests(Run { said: said.to_owned(), code })
    }

    #[test]
    fn only_what_an_assertion_says_counts_as_caught() {
        let failed = "test one ... FAILED\n\nthread 'one' panicked at a.rs:1:1:\nlaw 1: no end\n";
        assert!(
            matches!(tests_said(failed, Some(Some(101))), Verdict::Caught(said) if said == "one: law 1: no end")
        );
        assert!(matches!(tests_said(failed, Some(None)), Verdict::Died(_)));
        assert!(matches!(tests_said(failed, None), Verdict::Hung));
        let overflow = failed.replace("law 1: no end", "attempt to subtract with overflow");
        assert!(matches!(tests_said(&overflow, Some(Some(101))), Verdict::Died(_)));
        assert!(matches!(tests_said("test one ... ok\n", Some(Some(0))), Verdict::Survived(_)));
        let world = |said: &str, code| judge_world(Run { said: said.to_owned(), code });
        assert!(matches!(world("7 law 5: a lease is lost", Some(Some(1))), Verdict::Caught(_)));
        assert!(matches!(world("7 index out of bounds", Some(Some(1))), Verdict::Died(_)));
        assert!(matches!(world("3000 survived", Some(Some(0))), Verdict::Survived(_)));
    }
}
