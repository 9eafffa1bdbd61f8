//! Type-checks the workspace for Windows, on Linux, without a Windows machine and without a linker.
//!
//! The toolchain that builds the project has no standard library for Windows. Debian packages a compiler
//! together with the source of its own library; from those two, one is built once for the Windows target
//! into a folder laid out as a sysroot, kept under `target/`. After that it is an ordinary `cargo check`.
//! Running what was built (under Wine, or on Windows) is not this file's business.

use anyhow::{Context as _, Result, bail, ensure};
use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::root;

const TARGET: &str = "x86_64-pc-windows-gnu";
/// Makes the import libraries of the standard library; a part of Debian's mingw binutils.
const DLLTOOL: &str = "x86_64-w64-mingw32-dlltool";
const PACKAGES: &str = "rustc-web rust-web-src binutils-mingw-w64-x86-64";
/// A change of how the sysroot is made makes a new one.
const RECIPE: u32 = 1;

/// The crate whose only purpose is to have the standard library built for it.
const MANIFEST: &str = r#"[package]
name = "sysroot"
version = "0.0.0"
edition = "2024"

[lib]
path = "lib.rs"

[workspace]

[profile.dev]
debug = false
incremental = false
"#;

/// Checks every crate of the workspace for Windows, and then its tests and examples.
pub(crate) fn check() -> Result<()> {
    let compiler = Compiler::find()?;
    let sysroot = sysroot(&compiler)?;
    // Only unused things are denied: this compiler is newer than the project's, and may warn of more. A test
    // may have helpers that only another system's cases use.
    for (targets, denied) in [(&[][..], "-Dunused"), (&["--all-targets"][..], "")] {
        let flags = format!("--sysroot={} {denied}", sysroot.display());
        let mut cargo = compiler.cargo();
        cargo.current_dir(root::workspace());
        cargo.args(["check", "--workspace", "--exclude", "xtask", "--target", TARGET]).args(targets);
        cargo.arg("--target-dir").arg(root::target().join("windows"));
        cargo.env("CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUSTFLAGS", flags);
        run(&mut cargo)?;
    }
    println!("windows-check: the workspace compiles for {TARGET}");
    Ok(())
}

/// A compiler with the source of its own standard library beside it.
struct Compiler {
    rustc: PathBuf,
    /// Where its host library and its library's source lie.
    rustlib: PathBuf,
    /// `rustc -vV`: names the compiler to the last commit.
    version: String,
}

impl Compiler {
    /// Debian's, or the one that `NAKSI_WINDOWS_RUSTC` names.
    fn find() -> Result<Self> {
        let rustc = std::env::var_os("NAKSI_WINDOWS_RUSTC").unwrap_or_else(|| "/usr/bin/rustc".into());
        let rustc = PathBuf::from(rustc);
        let missing = || format!("the Windows check needs the Debian packages {PACKAGES}");
        let printed = output(Command::new(&rustc).args(["--print", "sysroot"])).with_context(missing)?;
        let rustlib = Path::new(printed.trim()).join("lib/rustlib");
        if !rustlib.join("src/rust/library/std").is_dir() {
            bail!("{} has no library source beside it: {}", rustc.display(), missing());
        }
        output(Command::new(DLLTOOL).arg("--version")).with_context(missing)?;
        let version = output(Command::new(&rustc).arg("-vV"))?;
        Ok(Self { rustc, rustlib, version })
    }

    /// Cargo, using this compiler and nothing that the caller's environment says about compilers.
    fn cargo(&self) -> Command {
        let mut cargo = root::cargo();
        for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WRAPPER", "CARGO_BUILD_TARGET"] {
            cargo.env_remove(name);
        }
        cargo.env("RUSTC", &self.rustc);
        cargo
    }
}

/// The folder with a Windows library in it. Cargo does not notice when a library under an unchanged path
/// changes, so the path carries the compiler's version.
fn sysroot(compiler: &Compiler) -> Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    (RECIPE, &compiler.version).hash(&mut hasher);
    let home = root::target().join("windows");
    let finished = home.join(format!("sysroot-{:016x}", hasher.finish()));
    if finished.is_dir() {
        return Ok(finished);
    }
    println!("windows-check: building the standard library for {TARGET} (once, about 40 s)");
    // Made beside its place and then renamed: a run that is stopped half-way leaves nothing that looks done.
    let work = home.join(format!("sysroot-{}", std::process::id()));
    build_library(compiler, &work)?;
    lay_out(compiler, &work)?;
    fs::rename(work.join("sysroot"), &finished)?;
    fs::remove_dir_all(&work)?;
    Ok(finished)
}

fn build_library(compiler: &Compiler, work: &Path) -> Result<()> {
    fs::create_dir_all(work)?;
    fs::write(work.join("Cargo.toml"), MANIFEST)?;
    fs::write(work.join("lib.rs"), "#![no_std]\n")?;
    let mut cargo = compiler.cargo();
    cargo.current_dir(work);
    cargo.args(["check", "--quiet", "--target", TARGET, "-Zbuild-std=std,panic_unwind,test"]);
    cargo.arg("--target-dir").arg(work.join("built"));
    // Only here: with it, build scripts of other crates take the compiler for a nightly one.
    cargo.env("RUSTC_BOOTSTRAP", "1");
    run(&mut cargo)
}

/// Links the host's part and copies the built part to where a compiler looks for them.
fn lay_out(compiler: &Compiler, work: &Path) -> Result<()> {
    let rustlib = work.join("sysroot/lib/rustlib");
    let library = rustlib.join(TARGET).join("lib");
    fs::create_dir_all(&library)?;
    let built = work.join("built").join(TARGET).join("debug/deps");
    for entry in fs::read_dir(&built)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default();
        if path.extension().is_some_and(|extension| extension == "rlib") {
            fs::copy(&path, library.join(name))?;
        }
    }
    for entry in fs::read_dir(&compiler.rustlib)? {
        let entry = entry?;
        let link = rustlib.join(entry.file_name());
        if !link.exists() {
            symlink(&entry.path(), &link)?;
        }
    }
    Ok(())
}

#[cfg(unix)]
fn symlink(original: &Path, link: &Path) -> Result<()> {
    Ok(std::os::unix::fs::symlink(original, link)?)
}

#[cfg(not(unix))]
fn symlink(_: &Path, _: &Path) -> Result<()> {
    bail!("on Windows, `cargo check` is the Windows check")
}

fn output(command: &mut Command) -> Result<String> {
    let output =
        command.output().with_context(|| format!("cannot run {}", command.get_program().display()))?;
    ensure!(output.status.success(), "{} ended with {}", command.get_program().display(), output.status);
    Ok(String::from_utf8(output.stdout)?)
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status()?;
    ensure!(status.success(), "cargo check for {TARGET} ended with {status}");
    Ok(())
}
