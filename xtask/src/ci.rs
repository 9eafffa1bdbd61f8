//! CI (`ci`), and the steps that take too long for it (`nightly`): steps in order, until the first one fails.
//!
//! `.ci/run` prepares the machine and calls `ci`. CONTRIBUTING.md tells when to run which.

use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Instant;

use crate::{fuzz, instructions, loom, miri, mutants, root, tidy, windows};

/// One step: its name, and what it does.
type Step = (&'static str, fn() -> Result<()>);

/// Cheap steps first, then the README's two commands, so that their times on a clean clone are those of a new user.
const GATE: &[Step] = &[
    ("tidy", tidy::run),
    ("format", format),
    ("release build", || cargo(&["build", "--release"], &[])),
    ("demo", || cargo(&["run", "--release", "--", "demo"], &[])),
    ("test", tests_of_the_workspace),
    ("clippy", || {
        cargo(&["clippy", "--workspace", "--all-targets", "--features", POSTGRES, "--", "-Dwarnings"], &[])
    }),
    ("postgres", postgres),
    ("doc", || cargo(&["doc", "--workspace", "--no-deps"], &[("RUSTDOCFLAGS", "-Dwarnings")])),
    ("instructions", instructions::check),
    ("fuzz corpora", fuzz::replay),
    ("bench", bench),
    ("windows", windows::gate),
];

/// What the gate has no time for.
const NIGHTLY: &[Step] = &[
    ("loom", loom::run),
    ("miri", miri::run),
    ("mutants", mutants::run),
    ("long simulation", long_simulation),
    ("postgres storms", postgres_storms),
    ("fuzz", || fuzz::run("60")),
    ("windows", windows::nightly),
    ("dist build", || cargo(&["build", "--profile", "dist"], &[])),
];

/// The one feature that is off by default and has its own code and tests.
const POSTGRES: &str = "naksi-db/postgres";
/// Simulated sessions of a night: about an hour on two cores.
const NIGHTLY_SESSIONS: &str = "20m";
/// How often the tests on a real server of PostgreSQL run.
const NIGHTLY_POSTGRES_RUNS: usize = 10;

/// Runs the gate.
pub(crate) fn run() -> Result<()> {
    run_steps("ci", GATE)
}

/// Runs what the gate has no time for.
pub(crate) fn nightly() -> Result<()> {
    run_steps("nightly", NIGHTLY)
}

/// Runs every step and prints how long each took, and the processor time of its processes.
fn run_steps(name: &str, steps: &[Step]) -> Result<()> {
    let (start, start_processor) = (Instant::now(), processor_seconds());
    let mut report = Vec::new();
    let mut tell = |name: &str, begun: Instant, processor: f64| {
        let line = format!(
            "{:>7.1} s {:>7.1} s of processor  {name}",
            begun.elapsed().as_secs_f64(),
            processor_seconds() - processor
        );
        println!("{line}");
        report.push(line);
    };
    for (step, work) in steps {
        println!("\n== {step}");
        let (begun, processor) = (Instant::now(), processor_seconds());
        work().with_context(|| format!("{name}: step `{step}` failed"))?;
        tell(step, begun, processor);
    }
    tell("in all", start, start_processor);
    println!("\n== {name} passed\n{}", report.join("\n"));
    for what in SKIPPED.lock().expect("no holder of this lock panics").iter() {
        println!("skipped: {what}");
    }
    Ok(())
}

/// Processor time of all processes that this one has started and waited for, from `/proc`; 0 on other systems.
fn processor_seconds() -> f64 {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Fields 16 and 17 (proc(5)); the second, in parentheses, is the name and may contain spaces.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(13).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_SECOND
}

/// The workspace, and the two workspaces beside it.
fn format() -> Result<()> {
    for manifest in ["Cargo.toml", "bench/Cargo.toml", "fuzz/Cargo.toml"] {
        cargo(&["fmt", "--manifest-path", manifest, "--all", "--check"], &[])?;
    }
    Ok(())
}

/// The README's test command. Tests wait for sockets and timers half of the time; meanwhile the Windows lane
/// compiles.
fn tests_of_the_workspace() -> Result<()> {
    let begun = Instant::now();
    cargo(&["test", "--workspace", "--no-run"], &[])?;
    println!("{:>7.1} s  of them to compile", begun.elapsed().as_secs_f64());
    let windows = Background::start(&["windows", "--build"])?;
    let begun = Instant::now();
    tests(root::cargo().args(["test", "--workspace"]))?;
    println!("{:>7.1} s  of them to run the tests", begun.elapsed().as_secs_f64());
    let begun = Instant::now();
    windows.finish()?;
    println!("{:>7.1} s  of them until the Windows lane was compiled too", begun.elapsed().as_secs_f64());
    Ok(())
}

/// A task in a process of its own at the lowest priority. It is stopped when this is dropped.
struct Background {
    process: Child,
    output: PathBuf,
}

impl Background {
    fn start(chore: &[&str]) -> Result<Self> {
        let output = root::target().join("background.log");
        let file = File::create(&output)?;
        let mut command = Command::new("nice");
        command.args(["-n", "10"]).arg(std::env::current_exe()?).args(chore);
        let process = command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).spawn()?;
        println!("xtask {} runs beside the tests", chore.join(" "));
        Ok(Self { process, output })
    }

    /// Waits for its end and prints what it said.
    fn finish(mut self) -> Result<()> {
        let status = self.process.wait()?;
        std::io::copy(&mut File::open(&self.output)?, &mut std::io::stdout())?;
        ensure!(status.success(), "what ran beside the tests ended with {status}");
        Ok(())
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // Both fail only when the process has ended and was waited for.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Tests that need a build with PostgreSQL, on a server that they start and stop.
fn postgres() -> Result<()> {
    let of_database = ["--package", "naksi-db", "--features", "postgres"];
    tests(root::cargo().arg("test").args(of_database).args(["--lib", "--test", "postgres"]))
}

/// Simulated sessions from another seed every day.
fn long_simulation() -> Result<()> {
    let day = std::time::SystemTime::UNIX_EPOCH.elapsed()?.as_secs() / 86_400;
    let seed = (day * 10_000_000).to_string();
    cargo(&["run", "--release", "--", "sim", "--seed", &seed, "--sessions", NIGHTLY_SESSIONS], &[])
}

/// A PostgreSQL server is killed and stopped under load, repeatedly.
fn postgres_storms() -> Result<()> {
    for _ in 0..NIGHTLY_POSTGRES_RUNS {
        let arguments = ["test", "--package", "naksi-db", "--features", "postgres", "--test", "postgres"];
        tests(root::cargo().args(arguments))?;
    }
    Ok(())
}

/// Builds Naksi's peers and their runner without running the benchmark, and tests the evaluation.
fn bench() -> Result<()> {
    let of_bench = ["--manifest-path", "bench/Cargo.toml", "--workspace", "--all-targets"];
    cargo(&[&["clippy"], &of_bench[..], &["--", "-Dwarnings"]].concat(), &[])?;
    tests(root::cargo().args(["test", "--manifest-path", "bench/Cargo.toml", "--package", "naksi-bench"]))
}

/// Messages of tests that skip something because this machine lacks a requirement.
static SKIPPED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Runs tests, and collects their messages about skipped cases, which are repeated at the end.
pub(crate) fn tests(cargo: &mut Command) -> Result<()> {
    let arguments: Vec<_> = cargo.get_args().map(|argument| argument.to_string_lossy()).collect();
    let arguments = arguments.join(" ");
    println!("cargo {arguments}");
    let mut running = cargo.stderr(Stdio::piped()).spawn()?;
    let said = running.stderr.take().expect("it is piped");
    let skipped = pass_on(BufReader::new(said), &mut std::io::stderr())?;
    SKIPPED.lock().expect("no holder of this lock panics").extend(skipped);
    let status = running.wait()?;
    ensure!(status.success(), "cargo {arguments} ended with {status}");
    Ok(())
}

/// Forwards the output as it comes. Returns the messages about skipped cases, without that word.
fn pass_on(mut from: impl BufRead, to: &mut impl Write) -> std::io::Result<BTreeSet<String>> {
    let (mut line, mut skipped) = (Vec::new(), BTreeSet::new());
    while from.read_until(b'\n', &mut line)? > 0 {
        to.write_all(&line)?;
        if let Some(what) = String::from_utf8_lossy(&line).trim_end().strip_prefix("skipped: ") {
            skipped.insert(what.to_owned());
        }
        line.clear();
    }
    Ok(skipped)
}

fn cargo(arguments: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    println!("cargo {}", arguments.join(" "));
    let status = root::cargo().args(arguments).envs(environment.iter().copied()).status()?;
    ensure!(status.success(), "cargo {} ended with {status}", arguments.join(" "));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_passed_on_and_what_is_skipped_is_kept_once() {
        let said = b"   Compiling\nskipped: \"tsc\" is not installed\r\nnothing is skipped: here\nskipped: \"tsc\" is not installed\n\xFF";
        let mut passed = Vec::new();
        let skipped = pass_on(&said[..], &mut passed).expect("memory takes all");
        assert_eq!(passed, said);
        assert_eq!(skipped.into_iter().collect::<Vec<_>>(), ["\"tsc\" is not installed"]);
    }
}
