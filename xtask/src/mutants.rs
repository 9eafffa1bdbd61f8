//! Tries the trials: every planted bug must be caught by the simulation within a bounded number of worlds.
//!
//! One build holds all bugs (`--cfg mutant="any"`), in a target folder of its own; each is then chosen by
//! `NAKSI_MUTANT` in a process of its own. A process that hangs or dies has shown the bug as well. Nothing
//! here knows what a bug is: the list is whatever stands as `planted!` in the sources.

use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::root;

/// Worlds that a bug may survive.
const WORLDS_MAX: &str = "3000";
/// How long one bug is looked for.
const PATIENCE: Duration = Duration::from_secs(120);
/// Bugs that the gate tries: one of the port, one of the session, one of the listener.
const SMOKE: &[&str] = &["15", "29", "35"];

/// Tries all planted bugs.
pub(crate) fn run() -> Result<()> {
    let mut numbers = BTreeSet::new();
    collect(&root::workspace().join("crates"), &mut numbers)?;
    trial(&numbers.into_iter().collect::<Vec<_>>())
}

/// Tries three of them.
pub(crate) fn smoke() -> Result<()> {
    trial(&SMOKE.iter().map(|number| (*number).to_owned()).collect::<Vec<_>>())
}

/// The numbers of all planted bugs below a folder.
fn collect(folder: &Path, numbers: &mut BTreeSet<String>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, numbers)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path)?;
            let found = text.split("planted!(\"").skip(1).filter_map(|rest| rest.split('"').next());
            let numbered =
                found.filter(|found| found.len() == 2 && found.bytes().all(|byte| byte.is_ascii_digit()));
            // The macro's own page shows one in its text; that it is planted too makes the mention harmless.
            numbers.extend(numbered.map(str::to_owned));
        }
    }
    Ok(())
}

fn trial(numbers: &[String]) -> Result<()> {
    let program = build()?;
    let (outcome, clean) = play(&program, None)?;
    ensure!(outcome == Caught::Not, "the trial fails without any planted bug: {clean}");
    let mut survived = Vec::new();
    let mut worlds = Vec::new();
    for number in numbers {
        let begun = Instant::now();
        let (outcome, said) = play(&program, Some(number))?;
        println!("  {number}  {outcome:?}  {:>5.1} s  {said}", begun.elapsed().as_secs_f64());
        match outcome {
            Caught::Not => survived.push(number.clone()),
            Caught::Broke | Caught::Hung => {
                worlds.extend(said.split(' ').next().and_then(|count| count.parse::<u32>().ok()));
            }
        }
    }
    worlds.sort_unstable();
    let median = worlds.get(worlds.len() / 2).copied().unwrap_or(0);
    let most = worlds.last().copied().unwrap_or(0);
    println!(
        "mutants: {} of {} caught; worlds to catch one: median {median}, most {most}",
        numbers.len() - survived.len(),
        numbers.len()
    );
    ensure!(survived.is_empty(), "planted bugs that nothing caught: {survived:?}");
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caught {
    /// A law broke, or the process died.
    Broke,
    /// It never came to an end.
    Hung,
    /// Every world was played to its end.
    Not,
}

fn build() -> Result<PathBuf> {
    let folder = target().join("mutants");
    let status = root::cargo()
        .args(["build", "-p", "naksi-trial", "--example", "mutant", "--profile", "test"])
        .env("RUSTFLAGS", "--cfg mutant=\"any\"")
        .env("CARGO_TARGET_DIR", &folder)
        .status()?;
    ensure!(status.success(), "the build with planted bugs ended with {status}");
    Ok(folder.join("debug/examples/mutant"))
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root::workspace().join("target"), PathBuf::from)
}

fn play(program: &Path, number: Option<&str>) -> Result<(Caught, String)> {
    let mut command = Command::new(program);
    // Without a bug a few worlds are enough: the test suite plays thousands.
    command.arg(if number.is_some() { WORLDS_MAX } else { "200" });
    command.envs(number.map(|number| ("NAKSI_MUTANT", number)));
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let begun = Instant::now();
    while child.try_wait()?.is_none() {
        if begun.elapsed() > PATIENCE {
            child.kill()?;
            child.wait()?;
            return Ok((Caught::Hung, "no end".to_owned()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok((if output.status.success() { Caught::Not } else { Caught::Broke }, said))
}
