//! A server of the ladder in a process of its own, and the talk with it over its standard input and output.
//!
//! The server prints its address. Every line that it is sent it answers with its counters, as JSON; at the end
//! of its input it stops. Nothing here measures.

use std::io::{self, BufRead, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::thread;

use naksi::service::Signals;
use naksi_models::{Model, Site};
use serde::{Deserialize, Serialize};

use crate::config::plain;
use crate::outcome::{Outcome, Problem};

/// The counters of a server at one moment.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Sample {
    pub(super) calls: u64,
    pub(super) wakeups: u64,
    pub(super) processor_ns: u64,
    pub(super) threads: u64,
    pub(super) accepted: u64,
    pub(super) turned_away: u64,
    pub(super) groups: u64,
}

impl Sample {
    fn of(site: &Site) -> Self {
        let spent = site.tally.spent();
        Self {
            calls: spent.calls,
            wakeups: spent.wakeups,
            processor_ns: spent.processor.as_nanos() as u64,
            threads: spent.threads,
            accepted: site.accepted(),
            turned_away: site.turned_away(),
            groups: site.groups(),
        }
    }
}

/// Is the server: until the standard input ends.
pub(super) fn serve(model: &'static Model, workers: Option<usize>) -> Result<Outcome, Problem> {
    let failed = |error: io::Error| Problem::failed(format!("{}: {}", model.name, plain(&error)));
    // A Ctrl-C is for the measuring process, which still needs this one; the end of the input is the sign to stop.
    Signals::watch().map_err(crate::serve::failed)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let mut site = Site::default();
    site.workers = workers.unwrap_or(site.workers).max(1);
    let site = Arc::new(site);
    let inner = Arc::clone(&site);
    let server = thread::spawn(move || (model.serve)(listener, &inner));
    let mut out = io::stdout().lock();
    writeln!(out, "{address}").and_then(|()| out.flush()).map_err(Problem::output)?;
    for line in io::stdin().lock().lines() {
        line.map_err(failed)?;
        let sample = serde_json::to_string(&Sample::of(&site)).expect("plain figures can be written");
        writeln!(out, "{sample}").and_then(|()| out.flush()).map_err(Problem::output)?;
    }
    site.stop(address);
    server.join().expect("a server does not panic").map_err(failed)?;
    Ok(Outcome::Fine)
}

/// The measuring side: dropping it ends the server.
pub(super) struct Stage {
    child: Child,
    /// `None` only while the stage is dropped.
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    address: SocketAddr,
    model: &'static str,
}

impl Stage {
    /// Starts the server of a model.
    pub(super) fn open(model: &Model, workers: Option<usize>) -> Result<Self, Problem> {
        let failed = |error: io::Error| {
            Problem::failed(format!("cannot start the server of {}: {}", model.name, plain(&error)))
        };
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command.args(["ladder", "--serve", model.name]).stdin(Stdio::piped()).stdout(Stdio::piped());
        if let Some(workers) = workers {
            command.args(["--workers", &workers.to_string()]);
        }
        let mut child = command.spawn().map_err(failed)?;
        let questions = child.stdin.take();
        let mut answers = BufReader::new(child.stdout.take().expect("it was asked for"));
        let mut line = String::new();
        answers.read_line(&mut line).map_err(failed)?;
        let Ok(address) = line.trim().parse() else {
            child.wait().map_err(failed)?;
            return Err(Problem::failed(format!("the server of {} did not start", model.name)));
        };
        Ok(Self { child, questions, answers, address, model: model.name })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its counters now.
    pub(super) fn sample(&mut self) -> Result<Sample, Problem> {
        let mut line = String::new();
        let questions = self.questions.as_mut().expect("the stage is open");
        let asked = writeln!(questions).and_then(|()| questions.flush());
        let answered = asked.and_then(|()| self.answers.read_line(&mut line));
        match answered.map(|_| serde_json::from_str(&line)) {
            Ok(Ok(sample)) => Ok(sample),
            Ok(Err(_)) | Err(_) => Err(Problem::failed(format!("the server of {} has ended", self.model))),
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // The end of its input is the server's sign to stop.
        drop(self.questions.take());
        self.child.wait().ok(); // A server that cannot be waited for is gone.
    }
}
