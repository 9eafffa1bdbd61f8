//! A compiler with a standard library for Windows: built once, kept under `target/windows`.
//!
//! The toolchain that builds the project has no standard library for Windows. Debian packages a compiler together
//! with the source of its own library; from those two, one is built for each Windows target into a folder laid out as
//! a sysroot. After that, cargo and clippy work as usual.

use anyhow::{Context as _, Result, ensure};
use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{BuildHasher as _, Hash as _, Hasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::root;

/// What is built and run.
pub(super) const GNU: &str = "x86_64-pc-windows-gnu";
/// What most users build; checked, never linked.
pub(super) const MSVC: &str = "x86_64-pc-windows-msvc";
/// The version of the sysroot's recipe; a new version builds a new sysroot.
const RECIPE: u32 = 3;

/// A crate that exists only to have the standard library built.
const MANIFEST: &str = r#"[package]
name = "sysroot"
version = "0.0.0"
edition = "2024"

[lib]
path = "lib.rs"

[workspace]

[profile.release]
debug = "line-tables-only"
"#;

/// `lib -out:PATH …` without a library inside.
const EMPTY_LIB: &str =
    "#!/bin/sh\nfor argument; do case $argument in -out:*) : > \"${argument#-out:}\" ;; esac; done\n";

/// A compiler with the source of its own standard library beside it.
pub(super) struct Compiler {
    rustc: PathBuf,
    /// Where its host library and its library's source lie.
    rustlib: PathBuf,
    /// The folder laid out as a sysroot. Cargo does not notice when a library under an unchanged path
    /// changes, so the path carries the compiler's version.
    sysroot: PathBuf,
}

impl Compiler {
    /// Debian's, or the one that `NAKSI_WINDOWS_RUSTC` names.
    pub(super) fn find() -> Result<Self> {
        let rustc = std::env::var_os("NAKSI_WINDOWS_RUSTC").unwrap_or_else(|| "/usr/bin/rustc".into());
        let rustc = PathBuf::from(rustc);
        let printed = output(Command::new(&rustc).args(["--print", "sysroot"]))?;
        let rustlib = Path::new(printed.trim()).join("lib/rustlib");
        let source = rustlib.join("src/rust/library/std");
        ensure!(source.is_dir(), "{} has no library source beside it (rust-web-src)", rustc.display());
        let mut hasher = DefaultHasher::new();
        (RECIPE, output(Command::new(&rustc).arg("-vV"))?).hash(&mut hasher);
        let sysroot = home().join(format!("sysroot-{:016x}", hasher.finish()));
        Ok(Self { rustc, rustlib, sysroot })
    }

    /// A cargo that builds for this target with its standard library.
    pub(super) fn cargo(&self, target: &str, flags: &str) -> Result<Command> {
        self.prepare(target)?;
        let mut cargo = self.plain_cargo();
        cargo.current_dir(root::workspace());
        self.aim(&mut cargo, target, flags);
        Ok(cargo)
    }

    /// The clippy of the same compiler: no other one could read its standard library.
    pub(super) fn clippy(&self, target: &str) -> Result<Command> {
        self.prepare(target)?;
        let mut clippy = Command::new(self.rustc.with_file_name("cargo-clippy"));
        clippy.arg("clippy").current_dir(root::workspace());
        self.forget_the_caller(&mut clippy);
        self.aim(&mut clippy, target, "");
        Ok(clippy)
    }

    /// A program that makes an empty library wherever Microsoft's `lib` would make a full one.
    pub(super) fn empty_archiver(&self) -> Result<PathBuf> {
        let path = home().join("empty-lib");
        fs::create_dir_all(home())?;
        fs::write(&path, EMPTY_LIB)?;
        make_executable(&path)?;
        Ok(path)
    }

    fn aim(&self, command: &mut Command, target: &str, flags: &str) {
        let flags = format!("--sysroot={} {flags}", self.sysroot.display());
        let upper = target.to_uppercase().replace('-', "_");
        command.env(format!("CARGO_TARGET_{upper}_RUSTFLAGS"), flags);
        command.env("CARGO_BUILD_TARGET", target).env("CARGO_TARGET_DIR", home());
        // Programs under Wine mostly wait for Wine, and compile in a third of the time this way.
        command.env("CARGO_PROFILE_TEST_OPT_LEVEL", "0");
    }

    fn plain_cargo(&self) -> Command {
        let mut cargo = root::cargo();
        self.forget_the_caller(&mut cargo);
        cargo
    }

    /// This compiler, and nothing that the caller's environment says about compilers.
    fn forget_the_caller(&self, command: &mut Command) {
        for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WRAPPER", "CARGO_BUILD_TARGET", "RUSTDOC"]
        {
            command.env_remove(name);
        }
        command.env("RUSTC", &self.rustc);
    }

    /// The standard library of one target, unless it is there already.
    fn prepare(&self, target: &str) -> Result<()> {
        let library = self.sysroot.join("lib/rustlib").join(target).join("lib");
        if library.is_dir() {
            return Ok(());
        }
        println!("windows: building the standard library for {target} (once, about 40 s)");
        // Built beside its place and then renamed, so that an interrupted run leaves nothing that looks complete.
        let work = unique("library-");
        self.build_library(target, &work)?;
        let made = work.join("made");
        fs::create_dir_all(&made)?;
        for entry in fs::read_dir(work.join("built").join(target).join("release/deps"))? {
            let path = entry?.path();
            let is_library = path.extension().is_some_and(|end| end == "rlib" || end == "rmeta");
            let name = path.file_name().unwrap_or_default();
            if is_library && !name.to_string_lossy().starts_with("libsysroot-") {
                fs::copy(&path, made.join(name))?;
            }
        }
        fs::create_dir_all(library.parent().expect("it lies in the sysroot"))?;
        self.link_host()?;
        fs::rename(made, &library)?;
        fs::remove_dir_all(&work)?;
        Ok(())
    }

    fn build_library(&self, target: &str, work: &Path) -> Result<()> {
        fs::create_dir_all(work)?;
        fs::write(work.join("Cargo.toml"), MANIFEST)?;
        fs::write(work.join("lib.rs"), "#![no_std]\n")?;
        let mut cargo = self.plain_cargo();
        cargo.current_dir(work);
        // What is only checked needs no machine code.
        let verb = if target == GNU { "build" } else { "check" };
        cargo.args([
            verb,
            "--quiet",
            "--release",
            "--target",
            target,
            "-Zbuild-std=std,panic_unwind,test,proc_macro",
        ]);
        cargo.arg("--target-dir").arg(work.join("built"));
        // Only here: with it, build scripts of other crates take the compiler for a nightly one.
        cargo.env("RUSTC_BOOTSTRAP", "1");
        run(&mut cargo)
    }

    /// The host's part of the sysroot: links to the compiler's own files.
    fn link_host(&self) -> Result<()> {
        for entry in fs::read_dir(&self.rustlib)? {
            let entry = entry?;
            let link = self.sysroot.join("lib/rustlib").join(entry.file_name());
            if !link.exists() {
                symlink(&entry.path(), &link)?;
            }
        }
        Ok(())
    }
}

/// Everything of the Windows lane that is kept.
pub(super) fn home() -> PathBuf {
    root::target().join("windows")
}

/// A unique folder, also across containers that share it and have equal process ids.
pub(super) fn unique(prefix: &str) -> PathBuf {
    home().join(format!("{prefix}{:016x}", RandomState::new().hash_one(prefix)))
}

/// Runs a command to its end.
pub(super) fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_owned();
    let status = command.status().with_context(|| format!("cannot run {}", name.display()))?;
    ensure!(status.success(), "{} ended with {status}", name.display());
    Ok(())
}

fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_owned();
    let output = command.output().with_context(|| format!("cannot run {}", name.display()))?;
    ensure!(output.status.success(), "{} ended with {}", name.display(), output.status);
    Ok(String::from_utf8(output.stdout)?)
}

/// Lets everybody run a script.
#[cfg(unix)]
pub(super) fn make_executable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755))?)
}

#[cfg(not(unix))]
pub(super) fn make_executable(_: &Path) -> Result<()> {
    anyhow::bail!("on Windows, `cargo test` is the Windows lane")
}

#[cfg(unix)]
fn symlink(original: &Path, link: &Path) -> Result<()> {
    Ok(std::os::unix::fs::symlink(original, link)?)
}

#[cfg(not(unix))]
fn symlink(_: &Path, _: &Path) -> Result<()> {
    anyhow::bail!("on Windows, `cargo test` is the Windows lane")
}
