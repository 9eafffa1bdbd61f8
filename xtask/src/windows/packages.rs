//! The Debian packages that the Windows lane needs, and how they are installed.

use anyhow::{Context as _, Result, ensure};
use std::path::Path;
use std::process::Command;

/// What shows that a package is there, and the package.
type Need = (&'static str, &'static str);

/// To check the workspace for Windows.
pub(super) const TO_CHECK: &[Need] = &[
    ("/usr/bin/rustc", "rustc-web"),
    ("/usr/lib/rustlib/src/rust/library/std", "rust-web-src"),
    ("/usr/bin/x86_64-w64-mingw32-dlltool", "binutils-mingw-w64-x86-64"),
];

/// To build for Windows, to lint, and to run under Wine.
pub(super) const TO_RUN: &[Need] = &[
    ("/usr/bin/cargo-clippy", "rust-web-clippy"),
    ("/usr/bin/x86_64-w64-mingw32-gcc", "gcc-mingw-w64-x86-64-win32"),
    ("/usr/bin/wine", "wine"),
    ("/usr/lib/wine/wine64", "wine64"),
    ("/usr/sbin/debootstrap", "debootstrap"),
];

/// Installs what is missing of these, with one `apt-get`.
pub(super) fn provide(needs: &[&[Need]]) -> Result<()> {
    let missing: Vec<&str> = needs
        .iter()
        .flat_map(|needs| needs.iter())
        .filter(|(shows, _)| !Path::new(shows).exists())
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("windows: installing {}", missing.join(" "));
    let told = || format!("the Windows lane needs the Debian packages {}", missing.join(" "));
    as_root(&["update"]).with_context(told)?;
    let mut arguments = vec!["-o", "Dpkg::Use-Pty=0", "install", "-y", "--no-install-recommends"];
    arguments.extend(&missing);
    as_root(&arguments).with_context(told)
}

fn as_root(arguments: &[&str]) -> Result<()> {
    let is_root =
        Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    let mut command = if is_root {
        Command::new("apt-get")
    } else {
        let mut sudo = Command::new("sudo");
        sudo.args(["-n", "apt-get"]);
        sudo
    };
    command.arg("-qq").args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    command.stdout(std::process::Stdio::null());
    let status = command.status().context("cannot run apt-get")?;
    ensure!(status.success(), "apt-get ended with {status}");
    Ok(())
}
