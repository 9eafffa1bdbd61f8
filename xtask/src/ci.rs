//! The whole gate, in order, up to the first step that fails. `.ci/run` prepares the machine and calls this.

use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Instant;

use crate::{fuzz, mutants, root, tidy, windows};

/// One step: its name, and what it does.
type Step = (&'static str, fn() -> Result<()>);

/// Cheap steps first: what is wrong is told as early as it can be known.
const STEPS: &[Step] = &[
    ("tidy", tidy::run),
    ("format", format),
    ("clippy", || cargo(&["clippy", "--workspace", "--all-targets", "--", "-Dwarnings"], &[])),
    ("test", || tests(root::cargo().args(["test", "--workspace"]))),
    ("postgres", postgres),
    ("doc", || cargo(&["doc", "--workspace", "--no-deps"], &[("RUSTDOCFLAGS", "-Dwarnings")])),
    ("fuzz corpora", fuzz::replay),
    ("mutants", mutants::smoke),
    ("bench", bench),
    ("windows", windows::lane),
    ("release build", || cargo(&["build", "--release"], &[])),
    ("demo", || cargo(&["run", "--release", "--", "demo"], &[])),
];

/// Runs every step and prints how long each took.
pub(crate) fn run() -> Result<()> {
    let start = Instant::now();
    let mut report = Vec::new();
    for (name, step) in STEPS {
        println!("\n== {name}");
        let begun = Instant::now();
        step().with_context(|| format!("ci: step `{name}` failed"))?;
        let line = format!("{:>7.1} s  {name}", begun.elapsed().as_secs_f64());
        println!("{line}");
        report.push(line);
    }
    println!("\n== ci passed\n{}\n{:>7.1} s  in all", report.join("\n"), start.elapsed().as_secs_f64());
    for what in SKIPPED.lock().expect("nobody panics with it").iter() {
        println!("skipped: {what}");
    }
    Ok(())
}

/// The workspace, and the two that stand beside it.
fn format() -> Result<()> {
    for manifest in ["Cargo.toml", "bench/Cargo.toml", "fuzz/Cargo.toml"] {
        cargo(&["fmt", "--manifest-path", manifest, "--all", "--check"], &[])?;
    }
    Ok(())
}

/// What only a build with PostgreSQL shows, on a server that the tests make and stop.
fn postgres() -> Result<()> {
    let of_database = ["--package", "naksi-db", "--features", "postgres"];
    let clippy = [&["clippy"], &of_database[..], &["--all-targets", "--", "-Dwarnings"]].concat();
    cargo(&clippy, &[])?;
    tests(root::cargo().arg("test").args(of_database).args(["--lib", "--test", "postgres"]))
}

/// Naksi's peers and whoever runs them: compiled, and timed only on request. What judges the times is tested.
fn bench() -> Result<()> {
    let of_bench = ["--manifest-path", "bench/Cargo.toml", "--workspace", "--all-targets"];
    cargo(&[&["clippy"], &of_bench[..], &["--", "-Dwarnings"]].concat(), &[])?;
    tests(root::cargo().args(["test", "--manifest-path", "bench/Cargo.toml", "--package", "naksi-bench"]))
}

/// What tests said that they did not try, for want of something that this machine has not got.
static SKIPPED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Runs tests, and keeps what they say on standard error that they skip: the end of the gate says it again.
pub(crate) fn tests(cargo: &mut Command) -> Result<()> {
    let arguments: Vec<_> = cargo.get_args().map(|argument| argument.to_string_lossy()).collect();
    let arguments = arguments.join(" ");
    println!("cargo {arguments}");
    let mut running = cargo.stderr(Stdio::piped()).spawn()?;
    let said = running.stderr.take().expect("it is piped");
    let skipped = pass_on(BufReader::new(said), &mut std::io::stderr())?;
    SKIPPED.lock().expect("nobody panics with it").extend(skipped);
    let status = running.wait()?;
    ensure!(status.success(), "cargo {arguments} ended with {status}");
    Ok(())
}

/// Passes on what is said as it comes. Returns what of it says that something is skipped, without that word.
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
