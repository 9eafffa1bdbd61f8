//! One running Wine prefix for all tests, and the runner with which cargo starts each test program.
//!
//! The prefix is under `target/windows` and has everything that the programs need. Wine's own services are started
//! before the first test and without its pipes, which they would inherit and keep open. The Wine server exits a
//! minute after the last program.

use anyhow::{Context as _, Result, bail, ensure};
use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::compiler::{home, run, unique};
use super::{imports, wine_root};

/// A test program that runs longer than this is stopped, and has failed.
const PROGRAM_SPAN_MAX: Duration = Duration::from_secs(300);
/// How long the server waits for another program before it leaves.
const LINGER_SECONDS: &str = "-p60";
/// The version of the prefix's recipe; a new version makes a new prefix.
const RECIPE: u32 = 1;

/// Rust's library takes random bytes from `bcryptprimitives.dll`, which Wine lacks before version 9.
const RANDOM_SOURCE: &str = "\
#include <windows.h>
BOOLEAN NTAPI SystemFunction036(PVOID, ULONG);
__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE bytes, SIZE_T count) {
  return SystemFunction036(bytes, (ULONG)count);
}
";

/// Windows 10, not 7.
const AS_WINDOWS_10: &str = "\n[Software\\\\Wine] 1\n\"Version\"=\"win10\"\n";
/// A test that crashes shall end, not wait for a debugger.
const NO_DEBUGGER: &str = "\n[Software\\\\Microsoft\\\\Windows NT\\\\CurrentVersion\\\\AeDebug] 1\n\
    \"Auto\"=\"0\"\n\"Debugger\"=\"false\"\n";

/// A prefix that is ready for programs.
pub(super) struct Wine {
    prefix: PathBuf,
    major: u32,
}

impl Wine {
    /// The lane's prefix, made if it is not there.
    pub(super) fn provide() -> Result<Self> {
        let (name, major) = wine_root::provide()?;
        let prefix = home().join(format!("wine-{name}-{RECIPE}"));
        if !prefix.is_dir() {
            make(&prefix)?;
        }
        Ok(Self { prefix, major })
    }

    /// The major version, 0 if it is not known.
    pub(super) fn major(&self) -> u32 {
        self.major
    }

    /// What `run_program` is told.
    pub(super) fn prefix(&self) -> &Path {
        &self.prefix
    }

    /// A command that starts a program with a running server and services, which would otherwise keep its pipes open.
    pub(super) fn command(&self, program: &Path) -> Result<Command> {
        imports::check(program)?;
        let mut wine = Command::new(wine_root::shims().map_or("wine".into(), |bin| bin.join("wine")));
        self.enter(&mut wine)?;
        wine.arg(program).stdin(Stdio::null());
        Ok(wine)
    }

    /// The same for a command that starts programs under Wine itself.
    pub(super) fn enter(&self, command: &mut Command) -> Result<()> {
        // Exits with 0 if it was started, with 2 if it was running: then its services run too.
        let mut server = quiet("wineserver", &self.prefix);
        if server.arg(LINGER_SECONDS).status().context("cannot run wineserver")?.success() {
            boot(&self.prefix, &[])?;
        }
        environment(command, &self.prefix);
        Ok(())
    }

    /// Sockets of the server, which has each of each program.
    pub(super) fn sockets(&self) -> Result<usize> {
        let place = [b"WINEPREFIX=", self.prefix.as_os_str().as_encoded_bytes()].concat();
        for entry in fs::read_dir("/proc")? {
            let process = entry?.path();
            // Processes start and end meanwhile, and some may not be read.
            let Ok(name) = fs::read_to_string(process.join("comm")) else { continue };
            let Ok(environment) = fs::read(process.join("environ")) else { continue };
            if name.starts_with("wineserver") && environment.split(|byte| *byte == 0).any(|one| one == place)
            {
                let targets = fs::read_dir(process.join("fd"))?.map(|entry| fs::read_link(entry?.path()));
                // One that is closed between the two looks is none.
                let is_socket = |target: &PathBuf| target.to_string_lossy().starts_with("socket:");
                return Ok(targets.flatten().filter(is_socket).count());
            }
        }
        bail!("Wine's server does not run")
    }
}

/// Cargo's runner: one program under Wine, with a time limit and its own exit code.
pub(crate) fn run_program(prefix: &str, program: &str, arguments: &[&str]) -> Result<ExitCode> {
    let wine = Wine { prefix: PathBuf::from(prefix), major: 0 };
    let mut child = wine.command(Path::new(program))?.args(arguments).spawn().context("cannot run wine")?;
    let until = Instant::now() + PROGRAM_SPAN_MAX;
    loop {
        if let Some(status) = child.try_wait()? {
            let code = status.code().and_then(|code| u8::try_from(code).ok());
            return Ok(code.map_or(ExitCode::FAILURE, ExitCode::from));
        }
        if Instant::now() >= until {
            child.kill()?;
            child.wait()?;
            bail!("{program} did not end within {} s and was stopped", PROGRAM_SPAN_MAX.as_secs());
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Makes a prefix beside its place and renames it when it is complete.
fn make(prefix: &Path) -> Result<()> {
    println!("windows: making a Wine prefix (once, about 10 s)");
    let work = unique("wine-making-");
    fs::create_dir_all(&work)?;
    boot(&work, &["--init"])?;
    let mut leave = quiet("wineserver", &work);
    run(leave.arg("-w"))?;
    ensure!(work.join("system.reg").is_file(), "wine made no prefix");
    let library = work.join("drive_c/windows/system32/bcryptprimitives.dll");
    if !library.exists() {
        make_library(&work, &library)?;
    }
    // The server is down, so the registry is in its files.
    append(&work.join("user.reg"), AS_WINDOWS_10)?;
    append(&work.join("system.reg"), NO_DEBUGGER)?;
    Ok(fs::rename(work, prefix)?)
}

fn make_library(work: &Path, library: &Path) -> Result<()> {
    let source = work.join("bcryptprimitives.c");
    fs::write(&source, RANDOM_SOURCE)?;
    let mut compiler = Command::new("x86_64-w64-mingw32-gcc");
    compiler.args(["-shared", "-O2", "-s", "-o"]).arg(library).arg(&source).arg("-ladvapi32");
    run(&mut compiler)?;
    Ok(fs::remove_file(source)?)
}

/// Starts Wine's services. A session of their own protects them from this terminal's signals.
fn boot(prefix: &Path, arguments: &[&str]) -> Result<()> {
    let mut boot = quiet("setsid", prefix);
    run(boot.args(["-w", "wine", "wineboot"]).args(arguments))
}

fn quiet(program: &str, prefix: &Path) -> Command {
    // A name is looked for in our own PATH, not in the one that the command is given.
    let shim = wine_root::shims().map(|bin| bin.join(program)).filter(|shim| shim.is_file());
    let mut command = Command::new(shim.unwrap_or_else(|| program.into()));
    environment(&mut command, prefix);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn environment(command: &mut Command, prefix: &Path) {
    if let Some(bin) = wine_root::shims() {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = [bin.as_os_str().to_owned(), path].join(OsStr::new(":"));
        command.env("PATH", path);
    }
    command.env("WINEPREFIX", prefix).env("WINEDEBUG", "-all");
    // No menu entries, no offers to install optional components.
    command.env("WINEDLLOVERRIDES", "winemenubuilder.exe=d;mscoree=;mshtml=");
}

fn append(path: &Path, text: &str) -> Result<()> {
    OpenOptions::new().append(true).open(path)?.write_all(text.as_bytes())?;
    Ok(())
}
