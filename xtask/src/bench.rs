//! Benchmarks Naksi beside its peers: builds everything for release, then calls the runner (`bench/runner`), which
//! measures.
//!
//! A peer that cannot be built here is named with the reason and left out.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};

use crate::root;

/// Peers that are crates of the bench's own workspace.
const CRATES: &[&str] =
    &["peer-tokio", "peer-mio", "peer-monoio", "peer-compio", "peer-glommio", "peer-epoll", "peer-uring"];

/// Builds Naksi, the peers and the runner, and hands the runner its arguments.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    ensure!(cfg!(target_os = "linux"), "the runner reads /proc and waits with epoll");
    let (workspace, target) = (root::workspace(), root::target().join("bench"));
    let programs = target.join("release");
    build("naksi as it is shipped", release().args(["build", "--profile", "dist", "-p", "naksi-cli"]))?;
    build(
        "naksi as a crate that depends on it gets it",
        release().args(["build", "--release", "-p", "naksi-cli"]),
    )?;
    let in_bench = |name: &str| {
        let mut command = release();
        command.current_dir(workspace.join("bench")).env("CARGO_TARGET_DIR", &target);
        command.args(["build", "--release", "--locked", "-p", name]);
        command
    };
    build("the runner", &mut in_bench("naksi-bench"))?;
    let mut not_built = Vec::new();
    let mut tried = |name: &str, command: &mut Command| {
        if let Err(error) = build(name, command) {
            std::fs::remove_file(programs.join(name)).ok(); // An older build is not this one.
            not_built.push(format!("{error:#}"));
        }
    };
    for name in CRATES {
        tried(name, &mut in_bench(name));
    }
    tried("peer-asio", &mut asio(&workspace, &programs));
    tried("peer-go", &mut go(&workspace, &programs));

    let mut runner = Command::new(programs.join("naksi-bench"));
    runner.current_dir(&workspace).arg("--peers-in").arg(&programs);
    runner
        .arg("--naksi")
        .arg(root::target().join("dist/naksi"))
        .arg("--results")
        .arg(root::target().join("bench-results"));
    let by_default = root::target().join("release/naksi");
    runner.arg("--beside").arg(format!("release={}", by_default.display()));
    for reason in &not_built {
        runner.args(["--not-built", reason]);
    }
    ensure!(runner.args(arguments).status()?.success(), "the runner did not end well");
    Ok(())
}

/// Cargo with the manifests' own profiles, whatever the environment says.
fn release() -> Command {
    let mut command = root::cargo();
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CARGO_PROFILE_RELEASE_")) {
        command.env_remove(name);
    }
    command
}

fn asio(workspace: &Path, programs: &Path) -> Command {
    let mut command = Command::new("g++");
    command.args(["-std=c++17", "-O2", "-DNDEBUG", "-DASIO_STANDALONE", "-pthread", "-o"]);
    command.arg(programs.join("peer-asio")).arg(workspace.join("bench/peers/asio/main.cpp"));
    command
}

fn go(workspace: &Path, programs: &Path) -> Command {
    let mut command = Command::new("go");
    command.current_dir(workspace.join("bench/peers/go"));
    command.args(["build", "-o"]).arg(programs.join("peer-go")).arg(".");
    command
}

/// Builds something; what went wrong becomes one line.
fn build(name: &str, command: &mut Command) -> Result<()> {
    eprintln!("building {name}");
    let output =
        command.output().with_context(|| format!("{name}: {:?} is not here", command.get_program()))?;
    ensure!(output.status.success(), "{name}: {}", first_error(&output));
    Ok(())
}

fn first_error(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let told = text.lines().find(|line| line.contains("error")).or_else(|| text.lines().last());
    told.unwrap_or("it does not build and does not say why").to_owned()
}
