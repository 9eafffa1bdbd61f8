//! A server of the ladder in a process of its own, and the talk with it over its standard input and output.
//!
//! The server prints its address. Every line that it is sent it answers with one line of JSON, its counters or what its
//! threads did; at the end of its input it stops. Nothing here measures.

use std::io::{self, BufRead, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use naksi::service::Signals;
use naksi_models::site::{EVENTS_MAX, SOCKETS_MAX};
use naksi_models::thread_record::{ThreadRecord, ThreadWork};
use naksi_models::{Model, Site};
use serde::{Deserialize, Serialize};

use crate::config::plain;
use crate::outcome::{Outcome, Problem};
use crate::units::{grouped, parse_count_within, parse_duration};

/// How long a handler may block.
const BLOCKS_MAX: Duration = Duration::from_secs(10);

/// What a server of the ladder is told.
#[derive(Clone, Copy, Default, clap::Args)]
pub(super) struct Setup {
    /// Workers of the completion port; as many as there are processors if not given.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: Option<u16>,
    /// How many events one wait takes, for the models that wait for events: 64 is the limit of Windows. As many as the
    /// system allows if not given.
    #[arg(long, value_name = "COUNT", value_parser = parse_count_within::<2, 1_000_000>)]
    events_max: Option<u32>,
    /// How many sockets a set takes, for the select model: 64 is the limit of Windows. As many as the system allows if
    /// not given.
    #[arg(long, value_name = "COUNT", value_parser = parse_count_within::<2, 1_000_000>)]
    set_size: Option<u32>,
    /// How long the handler of each message blocks, like 1ms, as one does that asks a database; at most 10s.
    #[arg(long, value_name = "SPAN", value_parser = parse_blocks, default_value = "0s")]
    block: Duration,
    /// Show which thread accepted, which one handled the messages, and how many of them another thread had asked for. Each
    /// message takes a lock more, so the figures of such a run are not for comparing.
    #[arg(long)]
    show_threads: bool,
}

fn parse_blocks(text: &str) -> Result<Duration, String> {
    let span = parse_duration(text)?;
    if span <= BLOCKS_MAX { Ok(span) } else { Err("at most 10s".to_owned()) }
}

impl Setup {
    /// Refuses what this system cannot do.
    pub(super) fn check(&self) -> Result<(), Problem> {
        let limits = [
            ("--events-max", self.events_max, EVENTS_MAX, "events in one wait"),
            ("--set-size", self.set_size, SOCKETS_MAX, "sockets in one set"),
        ];
        for (option, asked, limit, what) in limits {
            if let Some(asked) = asked.filter(|asked| *asked as usize > limit) {
                let (asked, limit) = (grouped(asked.into()), grouped(limit as u64));
                return Err(Problem::usage(format!(
                    "{option} {asked}: this system has at most {limit} {what}"
                )));
            }
        }
        Ok(())
    }

    /// How many events one wait takes, if anything limits them.
    pub(super) fn events_max(&self) -> Option<u64> {
        let of_the_system = (EVENTS_MAX != usize::MAX).then_some(EVENTS_MAX as u64);
        self.events_max.map(u64::from).or(of_the_system)
    }

    /// How many sockets a set takes.
    pub(super) fn sockets_max(&self) -> u64 {
        self.set_size.map_or(SOCKETS_MAX as u64, u64::from)
    }

    /// How long the handler of each message blocks.
    pub(super) fn blocks(&self) -> Duration {
        self.block
    }

    fn site(&self) -> Site {
        let mut site = Site::default();
        site.workers = self.workers.map_or(site.workers, usize::from);
        site.events_max = self.events_max.map_or(site.events_max, |count| count as usize);
        site.sockets_max = self.set_size.map_or(site.sockets_max, |count| count as usize);
        site.blocks = self.block;
        site.threads = self.show_threads.then(ThreadRecord::default);
        site
    }

    /// The same for a process of its own.
    fn arguments(&self) -> Vec<String> {
        let counts = [
            ("--workers", self.workers.map(u32::from)),
            ("--events-max", self.events_max),
            ("--set-size", self.set_size),
        ];
        let mut all = vec![format!("--block={}us", self.block.as_micros())];
        all.extend(self.show_threads.then(|| "--show-threads".to_owned()));
        all.extend(counts.iter().filter_map(|(option, count)| Some(format!("{option}={}", (*count)?))));
        all
    }
}

/// What a server is asked for: its counters, or what each of its threads did.
const COUNTERS: &str = "counters";
const THREADS: &str = "threads";

/// What one thread of a server did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ThreadRow {
    pub(super) accepted: u64,
    pub(super) handled: u64,
    pub(super) asked_by_another: u64,
}

impl From<ThreadWork> for ThreadRow {
    fn from(ThreadWork { accepted, handled, asked_by_another }: ThreadWork) -> Self {
        Self { accepted, handled, asked_by_another }
    }
}

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
pub(super) fn serve(model: &'static Model, setup: Setup) -> Result<Outcome, Problem> {
    let failed = |error: io::Error| Problem::failed(format!("{}: {}", model.name, plain(&error)));
    // A Ctrl-C is for the measuring process, which still needs this one; the end of the input is the sign to stop.
    Signals::watch().map_err(crate::serve::failed)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let site = Arc::new(setup.site());
    let inner = Arc::clone(&site);
    let server = thread::spawn(move || (model.serve)(listener, &inner));
    let mut out = io::stdout().lock();
    writeln!(out, "{address}").and_then(|()| out.flush()).map_err(Problem::output)?;
    for line in io::stdin().lock().lines() {
        let answer = if line.map_err(failed)? == THREADS {
            let work = site.threads.as_ref().map(ThreadRecord::work).unwrap_or_default();
            serde_json::to_string(&work.into_iter().map(ThreadRow::from).collect::<Vec<_>>())
        } else {
            serde_json::to_string(&Sample::of(&site))
        };
        writeln!(out, "{}", answer.expect("plain figures can be written"))
            .and_then(|()| out.flush())
            .map_err(Problem::output)?;
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
    pub(super) fn open(model: &Model, setup: Setup) -> Result<Self, Problem> {
        let failed = |error: io::Error| {
            Problem::failed(format!("cannot start the server of {}: {}", model.name, plain(&error)))
        };
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command.args(["ladder", "--serve", model.name]).args(setup.arguments());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
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
        self.ask(COUNTERS)
    }

    /// What each of its threads did so far; nothing if the server was not told to record it.
    pub(super) fn threads(&mut self) -> Result<Vec<ThreadRow>, Problem> {
        self.ask(THREADS)
    }

    fn ask<T: serde::de::DeserializeOwned>(&mut self, question: &str) -> Result<T, Problem> {
        let mut line = String::new();
        let questions = self.questions.as_mut().expect("the stage is open");
        let asked = writeln!(questions, "{question}").and_then(|()| questions.flush());
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
