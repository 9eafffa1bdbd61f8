//! The program on both systems: `naksi.exe` under Wine, in exchange with the `naksi` of this machine.
//!
//! Each case is a server and dummy clients, in either direction. The dummies check every byte, the order and the
//! number of answers, and their exit code is the result. Then the server is asked to stop and has to return by
//! itself. Times under Wine mean nothing.

use anyhow::{Context as _, Result, bail, ensure};
use std::io::{self, BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use std::{fmt, fs};
use std::{sync::mpsc, thread};

use super::compiler::{Compiler, GNU, home, run};
use super::wine::Wine;
use crate::{ci, root};

/// Longer than any of these programs takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// On which system a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Linux,
    Windows,
}

/// Server, crowd, and what the crowd does.
const CASES: &[(Side, Side, &[&str])] = &[
    (Side::Windows, Side::Linux, &["--scenario", "echo", "--sessions", "100", "--secs", "2"]),
    (Side::Linux, Side::Windows, &["--scenario", "echo", "--sessions", "100", "--secs", "2"]),
    (
        Side::Windows,
        Side::Windows,
        &["--scenario", "relay", "--sessions", "1000", "--rate", "1", "--secs", "5"],
    ),
    (
        Side::Windows,
        Side::Linux,
        &["--scenario", "relay", "--sessions", "1000", "--rate", "1", "--secs", "5"],
    ),
    (Side::Linux, Side::Windows, &["--scenario", "relay", "--sessions", "200", "--rate", "2", "--secs", "3"]),
];

/// Connections that exchange one message and close, as fast as possible; and their minimum number.
const STORM: &[&str] = &["--scenario", "storm", "--sessions", "50", "--secs", "3"];
const VISITS_MIN: u64 = 10_000;
/// Sockets that a server without connections may have: a listener, and those prepared for its accepts.
const SOCKETS_IDLE_MAX: usize = 64;

/// Tests of the command line that show nothing about a program under Wine, and why.
const SKIPPED: &[(&str, &str)] = &[
    (
        "a_crowd_too_large_for_the_descriptors_is_told_the_command",
        "a process of Windows has no such limit of descriptors",
    ),
    ("a_hang_up_reloads_what_can_be", "Windows has no hang-up: settings are read when the program starts"),
    ("a_hang_up_ends_the_server_in_order", "as above"),
    (
        "a_world_that_does_not_start_or_is_stopped_leaves_no_folder",
        "Wine's own server moves to where this system shall put temporary files, and Windows' programs do not",
    ),
];

/// Tests specific to io_uring, and those that are Windows programs themselves.
const NOT_HERE: &[&str] = &["many", "liars"];

/// Commands of `naksi.exe`, and the lines that they must print, which are shown.
const ALONE: &[(&[&str], &str)] = &[
    (&["conform", "--backend", "iocp"], " 0 differ"),
    (&["conform", "--list"], "permitted: iocp"),
    (&["demo", "--sessions", "100", "--secs", "3"], "0 live: empty again"),
    (&["ladder", "--conns", "1,64", "--secs", "1"], "Figures under Wine"),
];

/// Builds the program for both systems, and runs the tests of the command line and every case.
pub(super) fn check(compiler: &Compiler, wine: &Wine) -> Result<()> {
    let programs = Programs::build(compiler, wine)?;
    programs.test_command_line()?;
    for (server, crowd, arguments) in CASES {
        let begun = Instant::now();
        let case = format!("{crowd:?} crowd, {server:?} server, {}", arguments.join(" "));
        let figures = programs.case(*server, *crowd, arguments).with_context(|| case.clone())?;
        println!("windows: {case}: {figures}, {:.0} s", begun.elapsed().as_secs_f64());
    }
    programs.storm().context("a storm of connections upon naksi.exe")?;
    for (arguments, expected) in ALONE {
        programs.alone(arguments, expected)?;
    }
    Ok(())
}

struct Programs<'a> {
    wine: &'a Wine,
    linux: PathBuf,
    windows: PathBuf,
}

impl<'a> Programs<'a> {
    fn build(compiler: &Compiler, wine: &'a Wine) -> Result<Self> {
        // The same arguments as for the tests, whose build is reused: a crate's tests build its program.
        let arguments = ["test", "--quiet", "--no-run", "--workspace", "--test", "liars"];
        run(root::cargo().args(arguments))?;
        let mut cargo = compiler.cargo(GNU, "")?;
        super::link_with_mingw(&mut cargo);
        run(cargo.args(arguments).args(["--exclude", "xtask", "--exclude", "naksi-db"]))?;
        let linux = root::target().join("debug/naksi");
        let windows = home().join(GNU).join("debug/naksi.exe");
        Ok(Self { wine, linux, windows })
    }

    /// The tests of the command line, on this system, with `naksi.exe` under Wine in place of `naksi`: every client
    /// is a program of this system that connects to the Windows one.
    fn test_command_line(&self) -> Result<()> {
        let mut cargo = root::cargo();
        cargo.args(["test", "--workspace", "--no-fail-fast"]);
        for file in fs::read_dir(root::workspace().join("crates/naksi-cli/tests"))? {
            let path = file?.path();
            let name = path.file_stem().and_then(|name| name.to_str());
            if let (Some(name), true) = (name, path.extension().is_some_and(|end| end == "rs"))
                && !NOT_HERE.contains(&name)
            {
                cargo.args(["--test", name]);
            }
        }
        // The first program starts Wine's server; the tests then start programs without its services.
        self.wine.enter(&mut cargo)?;
        cargo.env("NAKSI_TEST_UNDER_WINE", &self.windows);
        // All programs under Wine wait for the same server: more of them at once only wait longer.
        cargo.args(["--", "--test-threads", "2"]);
        for (name, reason) in SKIPPED {
            println!("windows: skipped under Wine: {name}: {reason}");
            cargo.args(["--skip", name]);
        }
        ci::tests(&mut cargo)
    }

    fn command(&self, side: Side) -> Result<Command> {
        match side {
            Side::Linux => Ok(Command::new(&self.linux)),
            Side::Windows => self.wine.command(&self.windows),
        }
    }

    /// Runs `naksi.exe` to its end and shows the expected line of its output.
    fn alone(&self, arguments: &[&str], expected: &str) -> Result<()> {
        let name = format!("naksi.exe {}", arguments.join(" "));
        let mut program = self.command(Side::Windows)?;
        program.args(arguments).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = program.spawn()?;
        let reader = read(child.stdout.take());
        let status = bounded(child).with_context(|| name.clone())?;
        let text = reader.join().expect("a reader does not panic")?;
        ensure!(status.success(), "{name} ended with {status}:\n{text}");
        ensure!(text.contains(expected), "{name} says no `{expected}`:\n{text}");
        for line in text.lines().filter(|line| line.contains(expected)) {
            println!("windows: {name}: {line}");
        }
        Ok(())
    }

    fn case(&self, server: Side, crowd: Side, arguments: &[&str]) -> Result<Figures> {
        let app = if arguments.contains(&"relay") { "relay" } else { "echo" };
        let server = self.serve(server, app)?;
        let figures = self.crowd(crowd, &server.address, arguments)?;
        server.end()?;
        Ok(figures)
    }

    /// Connections are made, exchange a message and close, until there were enough; none may be left in the server.
    fn storm(&self) -> Result<()> {
        let server = self.serve(Side::Windows, "echo")?;
        let before = self.wine.sockets()?;
        let mut visits = 0;
        while visits < VISITS_MIN {
            visits += self.crowd(Side::Linux, &server.address, STORM)?.visits;
        }
        let until = Instant::now() + PATIENCE;
        let mut after = self.wine.sockets()?;
        while after > SOCKETS_IDLE_MAX {
            ensure!(Instant::now() < until, "{before} sockets of Wine's server before, {after} after");
            thread::sleep(Duration::from_millis(10));
            after = self.wine.sockets()?;
        }
        println!(
            "windows: {visits} connections came to naksi.exe, said something and went: \
             {before} sockets of Wine's server before, {after} after; {}",
            server.end()?
        );
        Ok(())
    }

    fn serve(&self, side: Side, app: &str) -> Result<Server> {
        let mut serve = self.command(side)?;
        serve.args(["serve", "--addr", "127.0.0.1:0", "--workers", "2", "--app", app]);
        serve.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Server::new(serve.spawn().context("the server does not start")?)
    }

    fn crowd(&self, side: Side, address: &str, arguments: &[&str]) -> Result<Figures> {
        let mut dummy = self.command(side)?;
        dummy.args(["dummy", address, "--json", "-"]).args(arguments).stdin(Stdio::null());
        let mut dummy = dummy.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let output = read(dummy.stdout.take());
        let status = bounded(dummy)?;
        ensure!(status.success(), "the crowd ended with {status}: something was lost or changed");
        Figures::of(&serde_json::from_str(&output.join().expect("a reader does not panic")?)?)
    }
}

/// What a crowd has counted.
struct Figures {
    connected: u64,
    sent: u64,
    owed: u64,
    received: u64,
    visits: u64,
}

impl Figures {
    fn of(summary: &serde_json::Value) -> Result<Self> {
        let count =
            |name: &str| summary[name].as_u64().with_context(|| format!("no `{name}` in the summary"));
        for wrong in ["lost", "duplicated", "out_of_order", "corrupt"] {
            ensure!(count(wrong)? == 0, "{} {wrong}", count(wrong)?);
        }
        Ok(Self {
            connected: count("connected")?,
            sent: count("sent")?,
            owed: count("owed")?,
            received: count("received")?,
            visits: summary["visits"].as_u64().unwrap_or(0),
        })
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connected, sent, owed, received, .. } = self;
        write!(f, "{connected} connected, {sent} sent, {received} of {owed} received, 0 lost")
    }
}

/// Reads a program's output in a thread of its own, up to its end.
fn read(output: Option<impl io::Read + Send + 'static>) -> thread::JoinHandle<io::Result<String>> {
    let mut output = output.expect("its output is piped");
    thread::spawn(move || {
        let mut text = String::new();
        output.read_to_string(&mut text).map(|_| text)
    })
}

/// A server that never outlives its case.
struct Server {
    child: Child,
    address: String,
    farewell: Option<thread::JoinHandle<io::Result<String>>>,
}

impl Server {
    /// Waits for the line that says where it listens.
    fn new(mut child: Child) -> Result<Self> {
        let (stdout, farewell) = (child.stdout.take(), Some(read(child.stderr.take())));
        let mut server = Self { child, address: String::new(), farewell };
        let (tell, told) = mpsc::channel();
        // The reader ends with the program's output; it is not joined.
        thread::spawn(move || {
            let mut lines = BufReader::new(stdout.expect("its output is piped")).lines();
            if let Some(Ok(line)) = lines.next() {
                tell.send(line).ok(); // The receiver may have timed out.
            }
            lines.for_each(drop);
        });
        let line = told.recv_timeout(PATIENCE).context("the server says nothing")?;
        let address =
            line.trim().strip_prefix("naksi: listening on ").and_then(|rest| rest.split(' ').next());
        server.address = address.with_context(|| format!("the server says `{line}`"))?.to_owned();
        Ok(server)
    }

    /// Asks it to stop, as Ctrl-C would, waits for it, and returns its last line, which must report no sessions left.
    fn end(mut self) -> Result<String> {
        run(Command::new("kill").args(["-INT", &self.child.id().to_string()]))?;
        let status = wait(&mut self.child)?;
        ensure!(status.success(), "the server ended with {status}");
        let said = self.farewell.take().context("it ends once")?.join().expect("a reader does not panic")?;
        let line = said.lines().find(|line| line.contains(" 0 left ("));
        Ok(line.with_context(|| format!("the server was not empty at its end:\n{said}"))?.trim().to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A server that has ended cannot be killed, and need not be.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn bounded(mut child: Child) -> Result<ExitStatus> {
    let ended = wait(&mut child);
    if ended.is_err() {
        child.kill()?;
        child.wait()?;
    }
    ended
}

fn wait(child: &mut Child) -> Result<ExitStatus> {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() >= until {
            bail!("it did not end within {} s", PATIENCE.as_secs());
        }
        thread::sleep(Duration::from_millis(10));
    }
}
