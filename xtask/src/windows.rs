//! The Windows lane, on Linux: the workspace is checked, built and linted for Windows, and its tests run
//! under Wine.
//!
//! What Wine is known to do differently from Windows is skipped by name, and said with its reason. What is
//! seen here is "tested on Wine", never "on Windows", and no speed measured here means anything.

mod compiler;
mod packages;
mod programs;
mod wine;

use anyhow::Result;
use std::process::Command;

use compiler::{Compiler, GNU, MSVC, run};
use wine::Wine;
pub(crate) use wine::run_program;

use crate::{ci, root};

/// Tests that Wine cannot pass honestly: their names in full, and why.
const SKIPPED: &[(&str, &str)] = &[
    (
        "iocp::a_reset_right_behind_bytes_is_heard",
        "Wine's server takes note of a reset behind bytes, and then calls it an orderly end (Windows says 10054)",
    ),
    (
        "iocp::a_send_that_is_cancelled_half_way_tells_what_was_taken",
        "permitted difference 5: a cancelled send need not say how much of it was taken",
    ),
    (
        "every_byte_is_right_on_bad_networks",
        "the proxy wakes its own reads by shutting receiving down, which Windows does not hear",
    ),
];

/// How much smaller load-like tests are under Wine, whose every call is a message to a server process.
const SCALE_DOWN: &str = "10";

/// What the gate runs under Wine: the port's contract, every conformance scenario and the engine, which found most of the faults
/// that only a Windows program shows.
const IN_THE_GATE: &[&[&str]] = &[
    &["--package", "naksi-sim", "--test", "port_contract"],
    &["--package", "naksi-sim", "--test", "conform"],
    &["--package", "naksi", "--test", "engine"],
];

/// What only a Windows program can show; the tests of the command line come with the programs.
const ONLY_ON_WINDOWS: &[&str] = &[
    "--workspace",
    "--exclude",
    "xtask",
    "--exclude",
    "naksi-db",
    "--lib",
    "--test",
    "port_contract",
    "--test",
    "conform",
    "--test",
    "engine",
    "--test",
    "groups",
    "--test",
    "rooms",
    "--test",
    "record",
    "--test",
    "contract",
    "--test",
    "facts",
    "--test",
    "liars",
];

/// What is the same program on every system, and therefore no news.
const THE_SAME_EVERYWHERE: &[&str] = &["auto::", "simulated::", "the_simulated_kernel_conforms"];

/// Everything there is to run.
const ALL: &[&str] = &["--workspace", "--exclude", "xtask", "--lib", "--bins", "--tests"];

/// Checks every crate of the workspace, its tests and its examples, for both kinds of Windows.
pub(crate) fn check() -> Result<()> {
    packages::provide(&[packages::TO_CHECK])?;
    let compiler = Compiler::find()?;
    for target in [GNU, MSVC] {
        check_for(&compiler, target)?;
        println!("windows: the workspace compiles for {target}");
    }
    Ok(())
}

/// The gate's part: types for MSVC, and under Wine the tests that find most for their time.
pub(crate) fn gate() -> Result<()> {
    let (compiler, wine) = gate_build()?;
    let skipped = skip_the_same_everywhere();
    for package in IN_THE_GATE {
        test(&compiler, &wine, SCALE_DOWN, &[&["--no-fail-fast"], *package, &["--"], &skipped].concat())?;
    }
    println!("windows: the gate's tests pass under Wine; `cargo xtask nightly` runs the others");
    Ok(())
}

/// All of the gate's part that takes processors and no clock: types for MSVC, a place for Wine, and the tests' programs.
pub(crate) fn build() -> Result<()> {
    gate_build().map(drop)
}

fn gate_build() -> Result<(Compiler, Wine)> {
    packages::provide(&[packages::TO_CHECK, packages::TO_RUN])?;
    let compiler = Compiler::find()?;
    check_all_targets(&compiler, MSVC)?;
    println!("windows: the workspace compiles for {MSVC}");
    let wine = Wine::provide()?;
    for package in IN_THE_GATE {
        let mut cargo = compiler.cargo(GNU, "")?;
        cargo.args(["test", "--quiet", "--no-run"]).args(*package);
        link_with_mingw(&mut cargo);
        run(&mut cargo)?;
    }
    Ok((compiler, wine))
}

/// The lane of a night: the types, the lints, every test, and the program against itself and against the one of this system.
pub(crate) fn nightly() -> Result<()> {
    let compiler = lint()?;
    let wine = Wine::provide()?;
    let skipped = skip_the_same_everywhere();
    test(&compiler, &wine, SCALE_DOWN, &[&["--no-fail-fast"], ONLY_ON_WINDOWS, &["--"], &skipped].concat())?;
    programs::check(&compiler, &wine)?;
    println!("windows: the tests pass under Wine; what they say of Windows itself, only Windows can show");
    Ok(())
}

/// Every test there is, and those that only a Windows program can show at their full size.
pub(crate) fn everything() -> Result<()> {
    let compiler = lint()?;
    let wine = Wine::provide()?;
    test(&compiler, &wine, "1", &[&["--no-fail-fast"], ONLY_ON_WINDOWS].concat())?;
    test(&compiler, &wine, SCALE_DOWN, &[&["--no-fail-fast"], ALL].concat())?;
    programs::check(&compiler, &wine)
}

fn skip_the_same_everywhere() -> Vec<&'static str> {
    THE_SAME_EVERYWHERE.iter().flat_map(|name| ["--skip", *name]).collect()
}

/// What needs no Wine.
fn lint() -> Result<Compiler> {
    packages::provide(&[packages::TO_CHECK, packages::TO_RUN])?;
    let compiler = Compiler::find()?;
    check_for(&compiler, MSVC)?;
    println!("windows: the workspace compiles for {MSVC}");
    let mut clippy = compiler.clippy(GNU)?;
    clippy.args(["--quiet", "--workspace", "--exclude", "xtask", "--all-targets", "--", "-Dwarnings"]);
    // For this target it does not see that an initialiser is `const` already.
    clippy.arg("-Aclippy::missing_const_for_thread_local");
    run(&mut clippy)?;
    println!("windows: clippy is content with the workspace for {GNU}");
    Ok(compiler)
}

/// Runs `naksi.exe` under Wine, against itself and against the program of this system.
pub(crate) fn programs() -> Result<()> {
    packages::provide(&[packages::TO_CHECK, packages::TO_RUN])?;
    programs::check(&Compiler::find()?, &Wine::provide()?)
}

/// Runs some tests under Wine: the arguments are those of `cargo test`.
pub(crate) fn test_some(arguments: &[&str]) -> Result<()> {
    packages::provide(&[packages::TO_CHECK, packages::TO_RUN])?;
    test(&Compiler::find()?, &Wine::provide()?, SCALE_DOWN, arguments)
}

fn check_for(compiler: &Compiler, target: &str) -> Result<()> {
    // Only unused things are denied: this compiler is newer than the project's, and may warn of more. A test
    // may have helpers that only another system's cases use.
    check_targets(compiler, target, &[], "-Dunused")?;
    check_all_targets(compiler, target)
}

fn check_all_targets(compiler: &Compiler, target: &str) -> Result<()> {
    check_targets(compiler, target, &["--all-targets"], "")
}

fn check_targets(compiler: &Compiler, target: &str, targets: &[&str], denied: &str) -> Result<()> {
    let mut cargo = compiler.cargo(target, denied)?;
    cargo.args(["check", "--quiet", "--workspace", "--exclude", "xtask"]).args(targets);
    if target == MSVC {
        // SQLite comes in C, and that system's compiler is not here. Types need no library:
        // its crate is told that there is one somewhere, and nothing is linked.
        cargo.env("LIBSQLITE3_SYS_USE_PKG_CONFIG", "1").env("SQLITE3_LIB_DIR", root::target());
    }
    run(&mut cargo)
}

fn test(compiler: &Compiler, wine: &Wine, scale_down: &str, arguments: &[&str]) -> Result<()> {
    let mut cargo = compiler.cargo(GNU, "")?;
    cargo.arg("test");
    let (ours, theirs) = match arguments.iter().position(|argument| *argument == "--") {
        Some(place) => (&arguments[..place], &arguments[place + 1..]),
        None => (arguments, &[][..]),
    };
    cargo.args(ours);
    link_with_mingw(&mut cargo);
    cargo.env("NAKSI_TEST_SCALE_DOWN", scale_down);
    // Cargo starts each program with us, and we start it under Wine.
    let (runner, prefix) = (std::env::current_exe()?, wine.prefix());
    cargo.args(["--config", &format!("target.{GNU}.runner = [{runner:?}, \"wine\", {prefix:?}]")]);
    // What a test says is shown: its figures, and what it skips under Wine and why.
    cargo.args(["--", "--show-output"]).args(theirs);
    for (name, reason) in SKIPPED {
        println!("windows: skipped under Wine: {name}: {reason}");
        cargo.args(["--skip", name]);
    }
    ci::tests(&mut cargo)
}

fn link_with_mingw(cargo: &mut Command) {
    cargo.env("CARGO_TARGET_X86_64_PC_WINDOWS_GNU_LINKER", "x86_64-w64-mingw32-gcc");
}
