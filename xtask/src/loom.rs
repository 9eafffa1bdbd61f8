//! Everything that threads share, in every order: the models of the mailbox, the poster, the hub and the
//! signals, run by loom. Knows only how to call cargo.

use anyhow::{Result, ensure};

use crate::root;

/// Builds with loom's types in the place of the standard library's, beside the usual build, and runs the models.
pub(crate) fn run() -> Result<()> {
    let status = root::cargo()
        .args(["test", "--package", "naksi-os", "--package", "naksi", "--lib", "--target-dir"])
        .arg(root::target().join("loom"))
        .arg("models")
        .env("RUSTFLAGS", "--cfg loom")
        .status()?;
    ensure!(status.success(), "loom found an order in which a law breaks, or the models did not build");
    Ok(())
}
