//! Tries the trials: every planted bug must be caught, and nothing may be caught where none is planted.
//!
//! One build holds all bugs (`--cfg mutant="any"`), in a target folder of its own; each is then chosen by
//! `NAKSI_MUTANT` in a process of its own. What is planted in a port on a real kernel is tried by that port's own
//! tests; all others by the simulation, within a bounded number of worlds. A process that hangs or dies has shown
//! the bug as well. Nothing here knows what a bug is: the list is whatever stands as `planted!` in the sources.

use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::root;

/// Worlds that a bug may survive.
const WORLDS_MAX: &str = "3000";
/// How long one program looks for one bug.
const PATIENCE: Duration = Duration::from_secs(120);
/// Bugs that the gate tries: one of each port, one of the session, one of the listener. None that is a hang, which takes
/// [`PATIENCE`] to tell.
const SMOKE: &[&str] = &["15", "29", "35", "65", "78"];
/// Where the ports on real kernels of this system live: no simulation ever runs what stands there.
const REAL_PORTS: &[&str] = &["naksi-os/src/uring", "naksi-os/src/epoll", "naksi-os/src/linux"];
/// The tests that run those ports.
const TESTS_OF_REAL_PORTS: &[&str] = &["port_contract", "tripwire"];

/// Tries all planted bugs.
pub(crate) fn run() -> Result<()> {
    trial(&all()?)
}

/// Tries a few of them.
pub(crate) fn smoke() -> Result<()> {
    let mut bugs = all()?;
    bugs.retain(|number, _| SMOKE.contains(&number.as_str()));
    ensure!(bugs.len() == SMOKE.len(), "of {SMOKE:?} only {:?} are planted", bugs.keys());
    trial(&bugs)
}

/// Who looks for a bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seeker {
    Simulation,
    TestsOfRealPorts,
}

fn all() -> Result<BTreeMap<String, Seeker>> {
    let mut bugs = BTreeMap::new();
    collect(&root::workspace().join("crates"), &mut bugs)?;
    Ok(bugs)
}

/// All planted bugs below a folder, by number.
fn collect(folder: &Path, bugs: &mut BTreeMap<String, Seeker>) -> Result<()> {
    let real = REAL_PORTS.iter().any(|port| folder.ends_with(port));
    let seeker = if real { Seeker::TestsOfRealPorts } else { Seeker::Simulation };
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, bugs)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path)?;
            let found = text.split("planted!(\"").skip(1).filter_map(|rest| rest.split('"').next());
            let numbered =
                found.filter(|found| found.len() == 2 && found.bytes().all(|byte| byte.is_ascii_digit()));
            // The macro's own page shows one in its text; that it is planted too makes the mention harmless.
            bugs.extend(numbered.map(|number| (number.to_owned(), seeker)));
        }
    }
    Ok(())
}

fn trial(bugs: &BTreeMap<String, Seeker>) -> Result<()> {
    let world = build_world()?;
    let tests = build_tests()?;
    let (outcome, clean) = play(&world, None)?;
    ensure!(outcome == Caught::Not, "the trial fails without any planted bug: {clean}");
    let (outcome, clean) = test(&tests, None)?;
    ensure!(outcome == Caught::Not, "the ports' tests fail without any planted bug: {clean}");
    let mut survived = Vec::new();
    let mut worlds = Vec::new();
    for (number, seeker) in bugs {
        let begun = Instant::now();
        let (outcome, said) = match seeker {
            Seeker::Simulation => play(&world, Some(number))?,
            Seeker::TestsOfRealPorts => test(&tests, Some(number))?,
        };
        println!("  {number}  {outcome:?}  {:>5.1} s  {said}", begun.elapsed().as_secs_f64());
        match (outcome, seeker) {
            (Caught::Not, _) => survived.push(number.clone()),
            (_, Seeker::TestsOfRealPorts) => {}
            (_, Seeker::Simulation) => {
                worlds.extend(said.split(' ').next().and_then(|count| count.parse::<u32>().ok()));
            }
        }
    }
    worlds.sort_unstable();
    let median = worlds.get(worlds.len() / 2).copied().unwrap_or(0);
    let most = worlds.last().copied().unwrap_or(0);
    println!(
        "mutants: {} of {} caught, {} of them in ports on a real kernel; worlds to catch one of the others: \
         median {median}, most {most}",
        bugs.len() - survived.len(),
        bugs.len(),
        bugs.iter()
            .filter(|(number, seeker)| **seeker == Seeker::TestsOfRealPorts && !survived.contains(number))
            .count(),
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

/// Cargo, in the build that has all bugs.
fn cargo() -> Command {
    let mut cargo = root::cargo();
    cargo.env("RUSTFLAGS", "--cfg mutant=\"any\"").env("CARGO_TARGET_DIR", folder());
    cargo
}

fn folder() -> PathBuf {
    root::target().join("mutants")
}

fn build_world() -> Result<PathBuf> {
    let status =
        cargo().args(["build", "-p", "naksi-trial", "--example", "mutant", "--profile", "test"]).status()?;
    ensure!(status.success(), "the build with planted bugs ended with {status}");
    Ok(folder().join("debug/examples/mutant"))
}

/// The ports' tests, as programs.
fn build_tests() -> Result<Vec<PathBuf>> {
    let mut command = cargo();
    command.args(["test", "-p", "naksi-os", "--no-run", "--message-format=json"]);
    for test in TESTS_OF_REAL_PORTS {
        command.args(["--test", test]);
    }
    let output = command.stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "the build of the ports' tests ended with {}", output.status);
    let said = String::from_utf8(output.stdout)?;
    let messages = said.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let programs: Vec<_> =
        messages.filter_map(|message| message["executable"].as_str().map(PathBuf::from)).collect();
    ensure!(programs.len() == TESTS_OF_REAL_PORTS.len(), "cargo names {programs:?}");
    Ok(programs)
}

fn play(program: &Path, number: Option<&str>) -> Result<(Caught, String)> {
    // Without a bug a few worlds are enough: the test suite plays thousands.
    let worlds = if number.is_some() { WORLDS_MAX } else { "200" };
    let (caught, said) = seek(program, &[worlds], number)?;
    Ok((caught, if caught == Caught::Hung { "no end".to_owned() } else { said.trim().to_owned() }))
}

/// Runs the ports' tests one program after the other, until one of them fails.
fn test(programs: &[PathBuf], number: Option<&str>) -> Result<(Caught, String)> {
    for program in programs {
        let (caught, said) = seek(program, &[], number)?;
        if caught != Caught::Not {
            let failed =
                said.lines().find_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"));
            return Ok((caught, failed.unwrap_or("no end, or no word").to_owned()));
        }
    }
    Ok((Caught::Not, "survived".to_owned()))
}

/// Runs a program with one bug, and says what it wrote.
fn seek(program: &Path, arguments: &[&str], number: Option<&str>) -> Result<(Caught, String)> {
    let mut command = Command::new(program);
    command.args(arguments).envs(number.map(|number| ("NAKSI_MUTANT", number)));
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let mut output = child.stdout.take().expect("it is piped");
    let reader = std::thread::spawn(move || {
        let mut said = Vec::new();
        // Whoever is killed in the middle of a word has said the rest before.
        output.read_to_end(&mut said).ok();
        String::from_utf8_lossy(&said).into_owned()
    });
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if begun.elapsed() > PATIENCE {
            child.kill()?;
            child.wait()?;
            break None;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let said = reader.join().expect("a reader does not panic");
    Ok(match status {
        None => (Caught::Hung, said),
        Some(status) if status.success() => (Caught::Not, said),
        Some(_) => (Caught::Broke, said),
    })
}
