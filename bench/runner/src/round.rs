//! One round of one peer in one cell: start the server, run the load, collect the figures, stop the server.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;

use crate::load::{Echo, Pace, Quiet, Relay, Seen, Shares, Storm, Window};
use crate::machine::{self, LOAD_CORE, SERVER_CORE};
use crate::matrix::{Cell, Work};
use crate::server::{App, Peer, Server, Setting};
use crate::stall::{self, Stalled};

/// How long a server may take to end after it was told to.
const END_WITHIN: Duration = Duration::from_secs(10);

/// The results of one round. Figures that a workload does not have are 0.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Sample {
    /// The main figure, lower is better: microseconds of the server's processor time per message, bytes per
    /// connection, or milliseconds until a server has ended.
    pub(crate) cost: f64,
    /// Messages, deliveries or lives.
    pub(crate) messages: u64,
    pub(crate) per_second: f64,
    /// The share of one processor that the server used.
    pub(crate) core: f64,
    /// The share of the server's time in user mode; counted in ticks, so it is coarse.
    pub(crate) user_share: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    /// Deliveries that did not come.
    pub(crate) lost: u64,
    /// How the messages were distributed over connections with the same load.
    pub(crate) shares: Option<Shares>,
    /// The share of one processor that processes outside the measurement used meanwhile.
    pub(crate) foreign: f64,
    /// What happened to the connections that were not read, if there are any.
    pub(crate) stalled: Option<Stalled>,
}

/// What stands at the beginning of a measurement.
struct Mark {
    at: Instant,
    server: machine::Used,
    own: machine::Used,
    busy: u64,
}

impl Mark {
    fn now(pid: u32) -> Result<Self> {
        let (server, own) = (machine::used(pid)?, machine::used(std::process::id())?);
        Ok(Self { at: Instant::now(), server, own, busy: machine::busy_nanoseconds()? })
    }

    /// The sample between this mark and a later one.
    fn until(&self, end: &Self, seen: &Seen) -> Result<Sample> {
        let wall = (end.at - self.at).as_nanos() as f64;
        let server = end.server.nanoseconds.saturating_sub(self.server.nanoseconds) as f64;
        let own = end.own.nanoseconds.saturating_sub(self.own.nanoseconds) as f64;
        let user = (end.server.user_ticks - self.server.user_ticks) as f64;
        let system = (end.server.system_ticks - self.server.system_ticks) as f64;
        let micros = |quantile| seen.latency.value_at_quantile(quantile) as f64 / 1e3;
        ensure!(seen.messages > 0, "nothing came back");
        Ok(Sample {
            cost: server / 1e3 / seen.messages as f64,
            messages: seen.messages,
            per_second: seen.messages as f64 / (wall / 1e9),
            core: server / wall,
            user_share: if user + system > 0.0 { user / (user + system) } else { 0.0 },
            p50_us: micros(0.50),
            p99_us: micros(0.99),
            p999_us: micros(0.999),
            lost: seen.lost,
            shares: seen.shares,
            foreign: (((end.busy - self.busy) as f64 - server - own) / wall).max(0.0),
            stalled: None,
        })
    }
}

/// Runs one peer once.
pub(crate) fn run(cell: &Cell, peer: &Peer, window: Window) -> Result<Sample> {
    let app = if matches!(cell.work, Work::Relay(_)) { App::Relay } else { App::Echo };
    let both = [SERVER_CORE, LOAD_CORE];
    let (cores, load_cores) =
        if cell.workers == 1 { (&both[..1], &both[1..]) } else { (&both[..], &both[..]) };
    let extra = if peer.name.starts_with("naksi") { cell.naksi } else { &[] };
    let setting = Setting { app, workers: cell.workers, extra, cores, load_cores };
    let start = || Server::start(peer, setting);
    match cell.work {
        Work::Idle(connections) => idle(&[start()?], connections),
        Work::IdleMany { connections, servers } => {
            idle(&(0..servers).map(|_| start()).collect::<Result<Vec<_>>>()?, connections)
        }
        Work::End(connections) => end(start()?, connections),
        Work::Echo(work) => {
            let server = start()?;
            echo(work, server.address, server.pid(), window)
        }
        Work::Storm(work) => {
            let server = start()?;
            storm(work, server.address, server.pid(), window)
        }
        Work::Relay(work) => {
            let server = start()?;
            relay(work, server.address, server.pid(), paced(work, window))
        }
    }
}

/// Runs a load on a server's process, and takes both marks.
fn measured(
    pid: u32,
    run: impl FnOnce(&mut dyn FnMut() -> Result<()>) -> Result<Seen>,
) -> Result<(Mark, Mark, Seen)> {
    let mut mark = None;
    let seen = run(&mut || {
        mark = Some(Mark::now(pid)?);
        Ok(())
    })?;
    let end = Mark::now(pid)?;
    Ok((mark.context("a mark")?, end, seen))
}

fn echo(work: Echo, address: SocketAddr, pid: u32, window: Window) -> Result<Sample> {
    let mut running = work.connect(address)?;
    let (begin, end, mut seen) = measured(pid, |begin| running.run(window, begin))?;
    running.settle(&mut seen)?;
    ensure!(seen.lost == 0, "{} messages did not come back", seen.lost);
    begin.until(&end, &seen)
}

fn storm(work: Storm, address: SocketAddr, pid: u32, window: Window) -> Result<Sample> {
    let mut running = work.begin(address)?;
    let (begin, end, seen) = measured(pid, |begin| running.run(window, begin))?;
    begin.until(&end, &seen)
}

fn relay(work: Relay, address: SocketAddr, pid: u32, window: Window) -> Result<Sample> {
    let mut running = work.connect(address)?;
    let memory_before = machine::resident_bytes(pid)?;
    let (begin, end, mut seen) = measured(pid, |begin| running.run(window, begin))?;
    seen.lost = running.settle()?;
    // By now the server has dealt with all that was said.
    let stalled = if work.stalled > 0 {
        let memory_bytes = machine::resident_bytes(pid)?.saturating_sub(memory_before);
        let looked = stall::look(address, &running.owed()?, &machine::sockets()?)?;
        Some(Stalled { memory_bytes, ..looked })
    } else {
        None
    };
    Ok(Sample { stalled, ..begin.until(&end, &seen)? })
}

/// A load with a fixed rate is measured for at least half a second, because a shorter one covers few ticks. With a
/// stalled member it is measured until much more is owed than any buffer holds.
fn paced(relay: Relay, window: Window) -> Window {
    let least = match relay.pace {
        Pace::Closed(_) => Duration::ZERO,
        Pace::PerSecond(_) if relay.stalled > 0 => Duration::from_secs(4),
        Pace::PerSecond(_) => Duration::from_millis(500),
    };
    Window { measured: window.measured.max(least), ..window }
}

/// Connections held by another process, because the number of descriptors per process is limited.
struct Holder(Child);

impl Holder {
    fn start(address: SocketAddr, connections: usize) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["hold", &address.to_string(), &connections.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        Ok(Self(command.spawn().context("a crowd does not start")?))
    }

    fn await_ready(&mut self) -> Result<()> {
        let mut line = String::new();
        BufReader::new(self.0.stdout.as_mut().context("no pipe")?).read_line(&mut line)?;
        ensure!(line.trim() == "ready", "a crowd could not connect");
        Ok(())
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.0.stdin.take()); // It ends when its stdin closes.
        self.0.wait().ok(); // Or it has ended already.
    }
}

/// Connects to an address, reports it, and holds the connections until standard input ends.
pub(crate) fn hold(address: SocketAddr, connections: usize) -> Result<()> {
    let quiet = Quiet::connect(address, connections)?;
    println!("ready");
    std::io::stdout().flush()?;
    std::io::stdin().read_line(&mut String::new())?;
    drop(quiet);
    Ok(())
}

/// Memory of silent connections.
fn idle(servers: &[Server], connections: usize) -> Result<Sample> {
    let memory = || servers.iter().map(|server| machine::resident_bytes(server.pid())).sum::<Result<u64>>();
    let before = memory()?;
    let mut holders = Vec::new();
    for (number, server) in servers.iter().enumerate() {
        let share = connections / servers.len() + usize::from(number < connections % servers.len());
        holders.push(Holder::start(server.address, share)?);
    }
    for holder in &mut holders {
        holder.await_ready()?;
    }
    thread::sleep(Duration::from_millis(300)); // What is given back at once is not counted.
    let bytes = memory()?.saturating_sub(before);
    Ok(Sample { cost: bytes as f64 / connections as f64, messages: connections as u64, ..Sample::default() })
}

/// The time from the signal to the end of the process, with all clients connected.
fn end(mut server: Server, connections: usize) -> Result<Sample> {
    let mut quiet = Quiet::connect(server.address, connections)?;
    let began = Instant::now();
    server.tell_to_end()?;
    while !server.has_ended()? {
        ensure!(began.elapsed() < END_WITHIN, "the server does not end");
        quiet.see_off(Instant::now() + Duration::from_millis(1))?;
    }
    let milliseconds = began.elapsed().as_secs_f64() * 1e3;
    Ok(Sample { cost: milliseconds, messages: connections as u64, ..Sample::default() })
}

#[cfg(test)]
mod tests;
