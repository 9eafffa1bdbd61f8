//! A hundred thousand idle sessions in one server process that may have 20,000 descriptors.
//!
//! One server keeps its sockets in its rings' tables; several client processes on loopback connect, exchange a nonce
//! on each session, are silent at the same time, and exchange another one. During the silence the number of
//! connections and the server's memory are read from the system. Everything is bounded and ends by itself.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::root;

/// The default number of sessions.
pub(crate) const SESSIONS: usize = 100_000;
/// Descriptors that the server may have, and each crowd.
const DESCRIPTORS: usize = 20_000;
/// Sessions of each client process and of each worker, so that neither gets close to its limit.
const SHARE: usize = 17_000;
/// Connects a second, of all crowds together.
const CONNECT_RATE: usize = 15_000;
/// How long all are silent, and how long opening may take.
const SILENCE: Duration = Duration::from_secs(40);
const OPEN_WITHIN: Duration = Duration::from_secs(60);
/// The state ESTABLISHED in `/proc/net/tcp`.
const ESTABLISHED: &str = "01";

/// A process that does not outlive the chore.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to kill.
        if self.0.kill().is_ok() {
            self.0.wait().ok(); // A killed process ends.
        }
    }
}

/// What the system says while all are silent.
struct Silence {
    standing: usize,
    descriptors: usize,
    user_bytes: u64,
    kernel_bytes: u64,
}

/// Runs the server and the clients, prints the figures and checks them.
pub(crate) fn run(sessions: usize) -> Result<()> {
    ensure!(cfg!(target_os = "linux"), "only Linux has io_uring");
    ensure!((1..=1_000_000).contains(&sessions), "the number of sessions must be 1 to 1,000,000");
    let built = root::cargo().args(["build", "--release", "-p", "naksi-cli"]).status()?;
    ensure!(built.success(), "the program does not build");
    let program = root::target().join("release/naksi");
    let parts = sessions.div_ceil(SHARE);
    let (mut server, addresses) = serve(&program, parts)?;
    let pid = server.0.id();
    let (user_before, kernel_before) = (user_bytes(pid)?, kernel_bytes()?);
    let wanted = sockets()? + 2 * sessions - sessions / 100;

    let began = Instant::now();
    let mut crowds = Vec::new();
    for (part, address) in addresses.iter().enumerate() {
        let members = sessions / parts + usize::from(part < sessions % parts);
        crowds.push((began.elapsed(), members, crowd(&program, address, members, part, parts)?));
    }
    let mut silence = await_silence(&addresses, wanted, pid, &mut crowds)?;
    silence.user_bytes = silence.user_bytes.saturating_sub(user_before);
    silence.kernel_bytes = silence.kernel_bytes.saturating_sub(kernel_before);

    let mut told = Vec::new();
    for (started, members, crowd) in crowds {
        told.push((started, members, figures(crowd)?));
    }
    let farewell = stop(&mut server)?;
    judge(sessions, &silence, &told, &farewell)
}

/// Starts the server with its descriptor limit, one listener per client process and one worker per share.
fn serve(program: &Path, parts: usize) -> Result<(Process, Vec<String>)> {
    let mut command = confined(program);
    command.args(["serve", "--app", "echo", "--backend", "uring"]);
    command.args(["--workers", &parts.to_string(), "--direct", &DESCRIPTORS.to_string()]);
    for part in 0..parts {
        // One address per client process, because there are about 28,000 ports towards one address.
        command.arg("--addr").arg(format!("127.0.0.{}:0", part + 1));
    }
    command.env("NAKSI_LIMITS__IDLE_WITHIN", "10m").stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut server = Process(command.spawn().context("the server does not start")?);
    let mut lines = BufReader::new(server.0.stdout.take().context("no pipe")?).lines();
    let mut addresses = Vec::new();
    while addresses.len() < parts {
        let line = lines.next().context("the server did not say where it listens")??;
        let address = line.strip_prefix("naksi: listening on ").and_then(|rest| rest.split(' ').next());
        addresses.push(address.with_context(|| format!("not a listening line: {line}"))?.to_owned());
    }
    Ok((server, addresses))
}

fn crowd(program: &Path, address: &str, members: usize, part: usize, parts: usize) -> Result<Process> {
    let mut command = confined(program);
    command.args(["dummy", address, "--scenario", "idle", "--workers", "1", "--json", "-"]);
    command.args(["--sessions", &members.to_string(), "--secs", &SILENCE.as_secs().to_string()]);
    command.args(["--connect-rate", &(CONNECT_RATE / parts).max(1).to_string()]);
    command.args(["--seed", &(part + 1).to_string()]).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(Process(command.spawn().context("a crowd does not start")?))
}

/// The program under a limit of descriptors that it cannot raise again.
fn confined(program: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", r#"ulimit -n "$1" && shift && exec "$@""#, "sh", &DESCRIPTORS.to_string()]);
    command.arg(program);
    command
}

/// Waits until (nearly) every connection is established, then a while longer, and counts.
///
/// The machine's count of sockets is cheap but includes those of other programs; the list of them is exact, and so
/// expensive that it is read once.
fn await_silence(
    addresses: &[String],
    wanted: usize,
    pid: u32,
    crowds: &mut [(Duration, usize, Process)],
) -> Result<Silence> {
    let began = Instant::now();
    loop {
        if sockets()? >= wanted {
            thread::sleep(Duration::from_secs(4)); // the last nonces, and a moment
            return Ok(Silence {
                user_bytes: user_bytes(pid)?,
                kernel_bytes: kernel_bytes()?,
                descriptors: fs::read_dir(format!("/proc/{pid}/fd"))?.count(),
                standing: standing(addresses)?,
            });
        }
        for (_, _, crowd) in crowds.iter_mut() {
            if let Some(status) = crowd.0.try_wait()? {
                let said =
                    crowd.0.stderr.take().map(std::io::read_to_string).transpose()?.unwrap_or_default();
                bail!("a crowd has ended with {status} before all were there: {said}");
            }
        }
        ensure!(began.elapsed() < 2 * OPEN_WITHIN, "only {} of {wanted} sockets are open", sockets()?);
        thread::sleep(Duration::from_millis(100));
    }
}

/// TCP sockets of the whole machine, both ends of every connection.
fn sockets() -> Result<usize> {
    let text = fs::read_to_string("/proc/net/sockstat")?;
    let line = text.lines().find(|line| line.starts_with("TCP:")).context("the system does not say")?;
    Ok(line.split_whitespace().nth(2).context("the system does not say")?.parse()?)
}

/// Connections that stand on the server's side of these addresses.
fn standing(addresses: &[String]) -> Result<usize> {
    let mut ours = Vec::new();
    for address in addresses {
        let address: std::net::SocketAddrV4 = address.parse()?;
        let ip = u32::from_ne_bytes(address.ip().octets());
        ours.push(format!("{ip:08X}:{:04X}", address.port()));
    }
    let table = fs::read_to_string("/proc/net/tcp")?;
    let is_ours = |line: &&str| {
        let mut fields = line.split_whitespace();
        let (local, state) = (fields.nth(1), fields.nth(1));
        state == Some(ESTABLISHED) && local.is_some_and(|local| ours.iter().any(|one| one == local))
    };
    Ok(table.lines().filter(is_ours).count())
}

/// A process's own memory that is resident.
fn user_bytes(pid: u32) -> Result<u64> {
    kibibytes(&PathBuf::from(format!("/proc/{pid}/status")), "RssAnon:")
}

/// The kernel's objects and the sockets' buffers, of the whole machine.
fn kernel_bytes() -> Result<u64> {
    kibibytes(Path::new("/proc/meminfo"), "SUnreclaim:")
}

fn kibibytes(file: &Path, field: &str) -> Result<u64> {
    let text = fs::read_to_string(file)?;
    let line = text.lines().find(|line| line.starts_with(field)).context("the system does not say")?;
    let number = line.split_whitespace().nth(1).context("the system does not say")?;
    Ok(number.parse::<u64>()? * 1024)
}

/// Waits for a crowd's end, and reads what it saw.
fn figures(mut crowd: Process) -> Result<serde_json::Value> {
    let stdout = crowd.0.stdout.take().context("no pipe")?;
    // The summary is the last output of the process.
    let text = std::io::read_to_string(stdout)?;
    let status = crowd.0.wait()?;
    if text.trim().is_empty() {
        let said = crowd.0.stderr.take().map(std::io::read_to_string).transpose()?.unwrap_or_default();
        bail!("a crowd ended with {status}: {said}");
    }
    Ok(serde_json::from_str(&text)?)
}

fn stop(server: &mut Process) -> Result<String> {
    let status = Command::new("kill").args(["-TERM", &server.0.id().to_string()]).status()?;
    ensure!(status.success(), "the server is gone already");
    let said = std::io::read_to_string(server.0.stderr.take().context("no pipe")?)?;
    ensure!(server.0.wait()?.success(), "the server did not end in order: {said}");
    Ok(said)
}

/// Sums up, prints, and reports what does not match the expectation.
fn judge(
    sessions: usize,
    silence: &Silence,
    crowds: &[(Duration, usize, serde_json::Value)],
    farewell: &str,
) -> Result<()> {
    let sum = |name: &str| crowds.iter().map(|(_, _, told)| told[name].as_u64().unwrap_or(0)).sum::<u64>();
    let errors: u64 = crowds
        .iter()
        .filter_map(|(_, _, told)| told["errors"].as_object())
        .flat_map(|errors| errors.values().filter_map(serde_json::Value::as_u64))
        .sum();
    let gathered = |(started, _, told): &(Duration, usize, serde_json::Value)| {
        *started + Duration::from_secs_f64(told["seconds_to_gather"].as_f64().unwrap_or(f64::from(u32::MAX)))
    };
    let last = crowds.iter().map(gathered).max().unwrap_or_default();
    let first = crowds.iter().map(gathered).min().unwrap_or_default();
    let slowest =
        crowds.iter().filter_map(|(_, _, told)| told["latency_ns"]["max"].as_u64()).max().unwrap_or(0);
    let each = |bytes: u64| bytes / sessions as u64;
    println!("sessions                  {sessions} in one process, {} crowds", crowds.len());
    println!("connections that stand    {} at once, all silent", silence.standing);
    println!(
        "opened, first nonce back  {:.1} s ({:.0} a second)",
        last.as_secs_f64(),
        sessions as f64 / last.as_secs_f64()
    );
    println!("server's descriptors      {} of {DESCRIPTORS}", silence.descriptors);
    println!(
        "nonces                    {} sent, {} back, {} lost, {errors} errors",
        sum("sent"),
        sum("received"),
        sum("lost")
    );
    println!("slowest nonce             {:.0} ms", slowest as f64 / 1e6);
    println!("user memory per session   {} B", each(silence.user_bytes));
    println!(
        "kernel slab per session   {} B (both ends of the connection, whole machine)",
        each(silence.kernel_bytes)
    );
    print!("{farewell}");
    let whole = sessions as u64;
    ensure!(sum("connected") == whole, "not everybody connected");
    ensure!(sum("received") == 2 * whole && sum("lost") == 0 && errors == 0, "not every nonce came back");
    ensure!(silence.standing == sessions, "not all of them stood at once");
    ensure!(first + SILENCE > last, "the first crowd spoke again before the last was there");
    ensure!(last <= OPEN_WITHIN, "opening took longer than {} s", OPEN_WITHIN.as_secs());
    ensure!(farewell.contains(" 0 left"), "the server's counters did not return to zero");
    Ok(())
}
