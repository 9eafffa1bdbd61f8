//! The whole gate, in order, up to the first step that fails. `.ci/run` prepares the machine and calls this.

use anyhow::{Context as _, Result, ensure};
use std::time::Instant;

use crate::{fuzz, root, tidy, windows};

/// One step: its name, and what it does.
type Step = (&'static str, fn() -> Result<()>);

/// Cheap steps first: what is wrong is told as early as it can be known.
const STEPS: &[Step] = &[
    ("tidy", tidy::run),
    ("format", || cargo(&["fmt", "--all", "--check"], &[])),
    ("clippy", || cargo(&["clippy", "--workspace", "--all-targets", "--", "-Dwarnings"], &[])),
    ("test", || cargo(&["test", "--workspace"], &[])),
    ("postgres", postgres),
    ("doc", || cargo(&["doc", "--workspace", "--no-deps"], &[("RUSTDOCFLAGS", "-Dwarnings")])),
    ("fuzz targets", fuzz::check),
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
    Ok(())
}

/// What only a build with PostgreSQL shows, on a server that the tests make and stop.
fn postgres() -> Result<()> {
    let of_database = ["--package", "naksi-db", "--features", "postgres"];
    let clippy = [&["clippy"], &of_database[..], &["--all-targets", "--", "-Dwarnings"]].concat();
    cargo(&clippy, &[])?;
    cargo(&[&["test"], &of_database[..], &["--lib", "--test", "postgres"]].concat(), &[])
}

fn cargo(arguments: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    println!("cargo {}", arguments.join(" "));
    let status = root::cargo().args(arguments).envs(environment.iter().copied()).status()?;
    ensure!(status.success(), "cargo {} ended with {status}", arguments.join(" "));
    Ok(())
}
