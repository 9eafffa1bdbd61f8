//! A server under measurement: started, asked for its address, and ended.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::machine;

/// What a server serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum App {
    Echo,
    Relay,
}

impl App {
    fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Relay => "relay",
        }
    }
}

/// A program that can be measured.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// What the tables call it.
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    /// Its build: for Naksi the profile, which is the name of the program's folder.
    pub(crate) profile: String,
    /// What comes before the options that all have in common.
    pub(crate) arguments: Vec<String>,
}

impl Peer {
    /// A build of Naksi.
    pub(crate) fn naksi(name: String, program: PathBuf) -> Self {
        let folder = program.parent().and_then(Path::file_name);
        let profile = folder.map_or_else(String::new, |folder| folder.to_string_lossy().into_owned());
        Self { name, program, profile, arguments: vec!["serve".to_owned()] }
    }
}

/// How a server is to run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting<'a> {
    pub(crate) app: App,
    pub(crate) workers: usize,
    /// Options that only this program has.
    pub(crate) extra: &'a [&'static str],
    /// The processors that it may use.
    pub(crate) cores: &'a [usize],
    /// Where this thread goes on afterwards.
    pub(crate) load_cores: &'a [usize],
}

/// A running server; killed on drop if it was not stopped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    /// Its later output is not read, but a closed pipe would disturb it.
    _said: BufReader<std::process::ChildStdout>,
}

impl Server {
    pub(crate) fn start(peer: &Peer, setting: Setting<'_>) -> Result<Self> {
        let mut command = Command::new(&peer.program);
        command.args(&peer.arguments).args(["--app", setting.app.name(), "--addr", "127.0.0.1:0"]);
        command.args(["--workers", &setting.workers.to_string()]).args(setting.extra);
        // A silent load must not end its connections.
        command.env("NAKSI_LIMITS__IDLE_WITHIN", "10m");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        machine::pin(setting.cores)?;
        let spawned = command.spawn();
        machine::pin(setting.load_cores)?;
        let mut child = spawned.with_context(|| format!("{} does not start", peer.program.display()))?;
        let mut said = BufReader::new(child.stdout.take().context("no pipe")?);
        let mut line = String::new();
        said.read_line(&mut line)?;
        let Some((_, rest)) = line.split_once("listening on ") else {
            child.kill().ok(); // It may have ended by itself.
            bail!("{} did not say where it listens: {line:?}, {}", peer.name, child.wait()?);
        };
        let address = rest.split_whitespace().next().context("no address")?.parse()?;
        Ok(Self { child, address, _said: said })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end, the way a person does.
    pub(crate) fn tell_to_end(&self) -> Result<()> {
        let pid = rustix::process::Pid::from_child(&self.child);
        Ok(rustix::process::kill_process(pid, rustix::process::Signal::TERM)?)
    }

    /// Whether it is gone.
    pub(crate) fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) && self.child.kill().is_ok() {
            self.child.wait().ok(); // A killed process ends.
        }
    }
}

/// The peers whose programs are in a folder, and the reasons why the others are not.
pub(crate) fn peers_in(folder: &Path, naksi: &Path) -> (Vec<Peer>, Vec<String>) {
    let one = |name: &str, program: PathBuf, arguments: &[&str], profile: &str| Peer {
        name: name.to_owned(),
        program,
        profile: profile.to_owned(),
        arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
    };
    let mut peers = vec![Peer::naksi("naksi".to_owned(), naksi.to_path_buf())];
    let mut missing = Vec::new();
    for (name, program, arguments, profile) in crate::matrix::PEERS {
        let path = folder.join(program);
        if path.is_file() {
            peers.push(one(name, path, arguments, profile));
        } else {
            missing.push(format!("{name}: {program} was not built"));
        }
    }
    (peers, missing)
}
