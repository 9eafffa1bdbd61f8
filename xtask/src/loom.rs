//! Runs the loom models of what threads share: the mailbox, the poster, the completion queue of a group, a room's
//! claim, the service core and the signals.

use anyhow::{Result, ensure};

use crate::root;

/// The minimum number of models, so that a renamed filter does not silently skip them.
const MODELS_MIN: usize = 8;

/// Builds with loom's types instead of the standard library's, beside the usual build, and runs the models.
pub(crate) fn run() -> Result<()> {
    let output = models(&["--list"]).output()?;
    let listed =
        String::from_utf8_lossy(&output.stdout).lines().filter(|line| line.ends_with(": test")).count();
    ensure!(output.status.success(), "the models did not build: {}", String::from_utf8_lossy(&output.stderr));
    ensure!(listed >= MODELS_MIN, "only {listed} models were found, and there are {MODELS_MIN} at least");
    let status = models(&[]).status()?;
    ensure!(status.success(), "loom found an order in which a law breaks");
    Ok(())
}

fn models(arguments: &[&str]) -> std::process::Command {
    let mut cargo = root::cargo();
    cargo
        .args(["test", "--package", "naksi-os", "--package", "naksi", "--lib", "--target-dir"])
        .arg(root::target().join("loom"))
        .args(["models", "--"])
        .args(arguments)
        .env("RUSTFLAGS", "--cfg loom");
    cargo
}
