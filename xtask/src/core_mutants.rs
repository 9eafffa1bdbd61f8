//! Mutation tests of `naksi-core` with cargo-mutants: a mutant that no test catches must be listed with a reason.
//!
//! The files are tested one after the other, so that a run that is stopped early has results, and so that one file
//! can be tested alone. Only the crate's own tests count, and without a mutant they must pass. It installs nothing.

use anyhow::{Context as _, Result, bail, ensure};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::root;

/// Where what is not caught is listed, with its reason.
const LIST: &str = "crates/naksi-core/mutants.txt";
/// The percentage of compiling mutants that must be caught.
const CAUGHT_PERCENT_MIN: usize = 95;
/// Time limit of the tests with a mutant, in seconds; without one they take a tenth of it.
const TESTS_WITHIN: &str = "30";
/// The tests of the grid take most of the time, and cover only its folder.
const GRID: &str = "crates/naksi-core/src/grid";

/// Tests the files whose names end with one of these; all of them if there are none.
pub(crate) fn run(wanted: &[&str]) -> Result<()> {
    let mut version = root::cargo();
    version.args(["mutants", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    ensure!(
        version.status()?.success(),
        "cargo-mutants is not installed: cargo install cargo-mutants --locked"
    );
    let listed = parse(&fs::read_to_string(root::workspace().join(LIST)).context(LIST)?)?;
    let files = files(wanted)?;
    let (mut sum, mut unlisted, mut stale) = (Tally::default(), Vec::new(), Vec::new());
    for file in &files {
        let begun = Instant::now();
        let tally = try_file(file)?;
        println!("  {:<45} {tally}  {:>6.0} s", file.as_str(), begun.elapsed().as_secs_f64());
        let (new, gone) = compare(file, &tally.missed, &listed);
        unlisted.extend(new);
        stale.extend(gone);
        sum.add(tally);
    }
    println!("mutants of naksi-core: {sum}");
    unlisted.iter().for_each(|name| println!("  not caught and not listed: {name}"));
    stale.iter().for_each(|name| println!("  listed in {LIST} and not missed: {name}"));
    ensure!(unlisted.is_empty() && stale.is_empty(), "{LIST} and the crate's tests do not agree");
    ensure!(
        sum.percent() >= CAUGHT_PERCENT_MIN as f64,
        "{:.1} % are caught, {CAUGHT_PERCENT_MIN} % must be",
        sum.percent()
    );
    Ok(())
}

/// What became of the mutants of a file.
#[derive(Debug, Default)]
struct Tally {
    caught: usize,
    /// Those that do not compile.
    unviable: usize,
    missed: Vec<String>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.caught += other.caught;
        self.unviable += other.unviable;
        self.missed.extend(other.missed);
    }

    /// So many of those that compile are caught.
    fn percent(&self) -> f64 {
        let viable = self.caught + self.missed.len();
        if viable == 0 { 100.0 } else { self.caught as f64 * 100.0 / viable as f64 }
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let viable = self.caught + self.missed.len();
        let Self { caught, unviable, .. } = self;
        write!(f, "{caught:>4} of {viable:>4} caught ({:.1} %), {unviable:>3} do not compile", self.percent())
    }
}

/// The crate's files that have mutants.
fn files(wanted: &[&str]) -> Result<Vec<String>> {
    let output = root::cargo()
        .args(["mutants", "-p", "naksi-core", "--list", "--json"])
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "cargo mutants --list ended with {}", output.status);
    let mutants: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout)?;
    let mut files: Vec<String> =
        mutants.iter().filter_map(|mutant| mutant["file"].as_str().map(str::to_owned)).collect();
    files.sort_unstable();
    files.dedup();
    let is_wanted = |file: &String| wanted.is_empty() || wanted.iter().any(|end| file.ends_with(end));
    files.retain(is_wanted);
    ensure!(!files.is_empty(), "no file of naksi-core that has mutants ends with one of {wanted:?}");
    Ok(files)
}

/// A build whose tests are quick and that is built quickly.
fn quick(cargo: &mut Command) -> &mut Command {
    cargo
        .envs([
            ("CARGO_PROFILE_TEST_OPT_LEVEL", "1"),
            ("CARGO_PROFILE_TEST_DEBUG", "0"),
            ("CARGO_INCREMENTAL", "1"),
        ])
        .stdout(Stdio::null())
}

fn try_file(file: &str) -> Result<Tally> {
    let folder = root::target().join("core-mutants");
    fs::create_dir_all(&folder)?;
    let mut cargo = root::cargo();
    // The copy that is changed has products of its own.
    cargo.env_remove("CARGO_TARGET_DIR");
    cargo.args(["mutants", "-p", "naksi-core", "-f", file, "-j", "1", "--timeout", TESTS_WITHIN]);
    cargo.args(["--cap-lints", "true", "--cargo-test-arg=--lib", "--output"]).arg(&folder);
    if !file.starts_with(GRID) {
        cargo.args(["--", "--", "--skip", "grid::"]);
    }
    let status = quick(&mut cargo).status()?;
    // 2 means that some were missed and 3 that some ran into the time limit: both are evaluated below.
    match status.code() {
        Some(0 | 2 | 3) => read_outcomes(&folder.join("mutants.out/outcomes.json")),
        _ => bail!("cargo mutants -f {file} ended with {status}"),
    }
}

fn read_outcomes(path: &Path) -> Result<Tally> {
    let outcomes: serde_json::Value =
        serde_json::from_slice(&fs::read(path).with_context(|| path.display().to_string())?)?;
    tally(&outcomes)
}

fn tally(outcomes: &serde_json::Value) -> Result<Tally> {
    let mut tally = Tally::default();
    for outcome in outcomes["outcomes"].as_array().context("a list of outcomes")? {
        let Some(name) = outcome["scenario"]["Mutant"]["name"].as_str() else { continue };
        match outcome["summary"].as_str() {
            Some("CaughtMutant" | "Timeout") => tally.caught += 1,
            Some("Unviable") => tally.unviable += 1,
            Some("MissedMutant") => tally.missed.push(without_place(name)),
            other => bail!("{name} came to {other:?}"),
        }
    }
    Ok(tally)
}

/// A mutant's name without line and column, so that edits above it do not change the list.
fn without_place(name: &str) -> String {
    let Some((file, rest)) = name.split_once(".rs:") else { return name.to_owned() };
    let what = rest.split_once(": ").map_or(rest, |(_, what)| what);
    format!("{file}.rs: {what}")
}

/// How often each mutant is listed. A mutant is a line; the reason follows one or more of them, indented.
fn parse(text: &str) -> Result<BTreeMap<String, usize>> {
    let (mut listed, mut waiting) = (BTreeMap::new(), None);
    for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        if line.starts_with(' ') {
            waiting = None;
        } else {
            *listed.entry(line.trim_end().to_owned()).or_default() += 1;
            waiting = Some(line);
        }
    }
    match waiting {
        Some(line) => bail!("{LIST}: no reason for `{line}`"),
        None => Ok(listed),
    }
}

/// Missed mutants of a file that are not listed, and listed ones that were not missed.
fn compare(file: &str, missed: &[String], listed: &BTreeMap<String, usize>) -> (Vec<String>, Vec<String>) {
    let mut left: BTreeMap<_, _> = listed
        .iter()
        .filter(|(name, _)| name.split(": ").next() == Some(file))
        .map(|(name, count)| (name, *count))
        .collect();
    let mut unlisted = Vec::new();
    for name in missed {
        match left.get_mut(name) {
            Some(count) if *count > 0 => *count -= 1,
            _ => unlisted.push(name.clone()),
        }
    }
    let stale = left.into_iter().filter(|(_, count)| *count > 0).map(|(name, _)| name.clone()).collect();
    (unlisted, stale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_list_can_be_read() {
        let text = fs::read_to_string(root::workspace().join(LIST)).expect("the list is committed");
        let listed = parse(&text).expect("every mutant has a reason");
        for name in listed.keys() {
            let file = name.split(": ").next().expect("a file");
            assert!(root::workspace().join(file).is_file(), "{name}: there is no such file");
        }
    }

    #[test]
    fn what_is_missed_must_be_listed_as_often_and_what_is_listed_must_be_missed() {
        let listed = parse("# head\na.rs: x\na.rs: x\n  why\nb.rs: y\n  why\n").expect("a list");
        let missed = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let none: (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
        assert_eq!(compare("a.rs", &missed(&["a.rs: x", "a.rs: x"]), &listed), none);
        assert_eq!(compare("a.rs", &missed(&["a.rs: x"]), &listed).1, ["a.rs: x"]);
        assert_eq!(compare("a.rs", &missed(&["a.rs: x", "a.rs: x", "a.rs: x"]), &listed).0, ["a.rs: x"]);
        assert_eq!(compare("b.rs", &missed(&["b.rs: z", "b.rs: y"]), &listed).0, ["b.rs: z"]);
        assert!(parse("a.rs: x\n").is_err(), "no reason");
    }

    #[test]
    fn outcomes_are_counted_by_what_they_came_to() {
        let outcome = |summary: &str| {
            let name = "crates/a.rs:18:34: replace << with >> in f";
            serde_json::json!({"scenario": {"Mutant": {"name": name}}, "summary": summary})
        };
        let baseline = serde_json::json!({"scenario": "Baseline", "summary": "Success"});
        let outcomes = [
            baseline,
            outcome("CaughtMutant"),
            outcome("Timeout"),
            outcome("Unviable"),
            outcome("MissedMutant"),
        ];
        let tally = tally(&serde_json::json!({"outcomes": outcomes})).expect("known outcomes");
        assert_eq!((tally.caught, tally.unviable), (2, 1));
        assert_eq!(tally.missed, ["crates/a.rs: replace << with >> in f"]);
        assert_eq!(format!("{:.1}", tally.percent()), "66.7");
    }
}
