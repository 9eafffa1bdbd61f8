//! Coverage-guided fuzzing with the stable compiler: libFuzzer, and LLVM's coverage pass enabled by its flag.
//!
//! It needs neither cargo-fuzz nor nightly: the pass is part of the compiler, and sanitizers are of no use without
//! unsafe code. Each target starts from its committed corpus; new inputs go to the build folder, and a failing input
//! is printed with the command that reproduces it.

use anyhow::{Context as _, Result, bail, ensure};
use std::fs;

use crate::root;

/// The targets, each a file of `fuzz/targets`.
const TARGETS: &[&str] = &["frames", "packets", "session", "engine"];

/// What makes the compiler count edges and compared values.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions --cfg fuzzing";

/// Runs every target for so many seconds.
pub(crate) fn run(seconds: &str) -> Result<()> {
    let seconds: u32 = seconds.parse().context("--secs wants a number of seconds")?;
    let host = host()?;
    for target in TARGETS {
        let found = root::target().join("fuzz-corpus").join(target);
        let failed = root::target().join("fuzz-failed").join(target);
        fs::create_dir_all(&found)?;
        fs::create_dir_all(&failed)?;
        println!("== fuzz {target}, {seconds} s");
        let manifest = root::workspace().join("fuzz").join("Cargo.toml");
        let status = root::cargo()
            .args(["run", "--release", "--quiet", "--target", &host, "--bin", target, "--manifest-path"])
            .arg(manifest)
            .arg("--target-dir")
            .arg(root::target().join("fuzz"))
            .arg("--")
            .arg(&found)
            .arg(root::workspace().join("fuzz").join("corpus").join(target))
            .args([
                &format!("-max_total_time={seconds}"),
                "-max_len=4096",
                "-timeout=20",
                "-print_final_stats=1",
            ])
            .arg(format!("-artifact_prefix={}/", failed.display()))
            .env("RUSTFLAGS", COVERAGE)
            .status()?;
        if !status.success() {
            bail!("fuzz: {target} failed; the input is in {}", failed.display());
        }
    }
    Ok(())
}

/// Checks that the targets, a workspace of their own, still build against the crates, and runs every committed input.
pub(crate) fn replay() -> Result<()> {
    let manifest = root::workspace().join("fuzz").join("Cargo.toml");
    for target in TARGETS {
        let corpus = root::workspace().join("fuzz").join("corpus").join(target);
        let inputs = fs::read_dir(&corpus)?.collect::<std::io::Result<Vec<_>>>()?;
        ensure!(!inputs.is_empty(), "fuzz: {} is empty", corpus.display());
        let status = root::cargo()
            .args(["run", "--quiet", "--bin", target, "--manifest-path"])
            .arg(&manifest)
            .arg("--target-dir")
            .arg(root::target().join("fuzz"))
            .arg("--")
            // The files and not their folder: each one is run, even if it brings no new coverage.
            .args(inputs.iter().map(|input| input.path()))
            .status()?;
        ensure!(status.success(), "fuzz: {target} fails on an input of {}", corpus.display());
    }
    Ok(())
}

/// The host target of this compiler; naming it keeps build scripts from being instrumented.
fn host() -> Result<String> {
    let output = root::cargo().args(["--version", "--verbose"]).output()?;
    let text = String::from_utf8(output.stdout)?;
    let line = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(line.context("cargo does not name its host")?.to_owned())
}
