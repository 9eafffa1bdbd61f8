//! The Windows lane, on Linux: the workspace is checked, built and linted for Windows, and its tests run under Wine.
//!
//! Tests of known differences between Wine and Windows are skipped by name, with their reasons. The results are
//! "tested on Wine", never "on Windows", and times measured here mean nothing.

mod compiler;
mod imports;
mod packages;
mod programs;
mod wine;
mod wine_root;

use anyhow::Result;
use std::process::Command;

use compiler::{Compiler, GNU, MSVC, run};
use wine::Wine;
pub(crate) use wine::run_program;

use crate::{ci, root};

/// Tests that Wine cannot pass honestly: their names in full, why, and the major version of the Wine that can.
const SKIPPED: &[(&str, &str, u32)] = &[
    (
        "a_break_of_the_console_is_told_as_an_interrupt",
        "Wine sends no Ctrl-Break to a process group of a console without a window",
        NO_WINE,
    ),
    (
        "a_server_that_is_told_to_stop_drains_and_ends_with_0",
        "the same; `windows-programs` stops naksi.exe with the Ctrl-C that Wine makes of SIGINT",
        NO_WINE,
    ),
    (
        "iocp::a_reset_right_behind_bytes_is_heard",
        "Wine's server takes note of a reset behind bytes, and then calls it an orderly end (Windows says 10054)",
        NO_WINE,
    ),
    (
        "iocp::a_send_that_is_cancelled_half_way_tells_what_was_taken",
        "permitted difference 5: a cancelled send need not say how much of it was taken",
        10,
    ),
    (
        "every_byte_is_right_on_bad_networks",
        "the proxy wakes its own reads by shutting receiving down, which Windows does not hear",
        NO_WINE,
    ),
];

/// No Wine so far passes the test.
const NO_WINE: u32 = u32::MAX;

/// How much smaller load-like tests are under Wine, whose every call is a message to a server process.
const SCALE_DOWN: &str = "10";

/// What the gate runs under Wine: the calls that set sockets up, the port's contract, every conformance scenario and the
/// engine. They found most of the faults that only a Windows program shows.
const IN_THE_GATE: &[&[&str]] = &[
    &["--package", "naksi-os", "--lib"],
    &["--package", "naksi-sim", "--test", "port_contract"],
    &["--package", "naksi-sim", "--test", "conform"],
    &["--package", "naksi", "--test", "engine"],
];

/// Tests that need a Windows program; the tests of the command line come with the programs.
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

/// Tests that are the same on every system and need not run here again.
const THE_SAME_EVERYWHERE: &[&str] = &["auto::", "simulated::", "the_simulated_kernel_conforms"];

/// Everything there is to run.
const ALL: &[&str] = &["--workspace", "--exclude", "xtask", "--lib", "--bins", "--tests"];

/// Checks every crate of the workspace, its tests and its examples, for both Windows targets.
pub(crate) fn check() -> Result<()> {
    packages::provide(&[packages::TO_CHECK])?;
    let compiler = Compiler::find()?;
    for target in [GNU, MSVC] {
        check_for(&compiler, target)?;
        println!("windows: the workspace compiles for {target}");
    }
    Ok(())
}

/// The part that runs in CI: types for MSVC, and under Wine the tests with the most findings per time.
pub(crate) fn gate() -> Result<()> {
    let (compiler, wine) = gate_build()?;
    let skipped = skip_the_same_everywhere();
    for package in IN_THE_GATE {
        test(&compiler, &wine, SCALE_DOWN, &[&["--no-fail-fast"], *package, &["--"], &skipped].concat())?;
    }
    println!("windows: the gate's tests pass under Wine; `cargo xtask nightly` runs the others");
    Ok(())
}

/// The part of CI's steps that needs processors and no precise timing: types for MSVC, a Wine prefix, and the test
/// programs.
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

/// The nightly part: types, lints, every test, and the program against itself and against the program of this system.
pub(crate) fn nightly() -> Result<()> {
    let compiler = lint()?;
    let wine = Wine::provide()?;
    let skipped = skip_the_same_everywhere();
    test(&compiler, &wine, SCALE_DOWN, &[&["--no-fail-fast"], ONLY_ON_WINDOWS, &["--"], &skipped].concat())?;
    programs::check(&compiler, &wine)?;
    println!("windows: the tests pass under Wine; what they say of Windows itself, only Windows can show");
    Ok(())
}

/// Every test, and those that need a Windows program at their full size.
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
    // For this target clippy does not recognise that an initialiser is `const` already.
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

/// Runs selected tests under Wine, with the arguments of `cargo test`.
pub(crate) fn test_some(arguments: &[&str]) -> Result<()> {
    packages::provide(&[packages::TO_CHECK, packages::TO_RUN])?;
    test(&Compiler::find()?, &Wine::provide()?, SCALE_DOWN, arguments)
}

fn check_for(compiler: &Compiler, target: &str) -> Result<()> {
    // Only unused items are denied: this compiler is newer than the project's, and may have more warnings. A test may
    // have helpers that only another system's cases use.
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
        // SQLite and ring come in C, and that system's compiler is not here. Types need no library: one crate is told that
        // there is one somewhere, the other is given an empty one, and nothing is linked.
        cargo.env("LIBSQLITE3_SYS_USE_PKG_CONFIG", "1").env("SQLITE3_LIB_DIR", root::target());
        cargo
            .env("CC_x86_64_pc_windows_msvc", "true")
            .env("AR_x86_64_pc_windows_msvc", compiler.empty_archiver()?);
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
    // Cargo starts each program with this one, which starts it under Wine.
    let (runner, prefix) = (std::env::current_exe()?, wine.prefix());
    cargo.args(["--config", &format!("target.{GNU}.runner = [{runner:?}, \"wine\", {prefix:?}]")]);
    // The output of tests is shown: their figures, and what they skip under Wine and why.
    cargo.args(["--", "--show-output"]).args(theirs);
    for (name, reason, _) in SKIPPED.iter().filter(|(_, _, since)| wine.major() < *since) {
        println!("windows: skipped under Wine: {name}: {reason}");
        cargo.args(["--skip", name]);
    }
    ci::tests(&mut cargo)
}

fn link_with_mingw(cargo: &mut Command) {
    cargo.env("CARGO_TARGET_X86_64_PC_WINDOWS_GNU_LINKER", "x86_64-w64-mingw32-gcc");
}
