//! Runs the sans-I/O core under Miri where Miri is installed, and says so where it is not.

use anyhow::{Result, ensure};

use crate::root;

/// Runs the core's tests under Miri, or reports that it is not installed and that nothing was tested.
pub(crate) fn run() -> Result<()> {
    let there =
        root::cargo().args(["miri", "--version"]).output().is_ok_and(|output| output.status.success());
    if !there {
        println!(
            "miri: skipped, cargo-miri is not installed (rustup component add miri, on a nightly toolchain)"
        );
        return Ok(());
    }
    // The long runs repeat what one run covers, and Miri is slow.
    let status = root::cargo()
        .args(["miri", "test", "--package", "naksi-core", "--", "--skip", "whatever_the_kernel"])
        .env("MIRIFLAGS", "-Zmiri-strict-provenance")
        .status()?;
    ensure!(status.success(), "miri found undefined behaviour, or a test failed");
    Ok(())
}
