//! `naksi replay`: sends recorded sessions to a server again, at their times or as fast as possible, and compares
//! whether it answers. The packets' contents are not interpreted.

mod player;
mod script;

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use naksi::prelude::*;
use naksi::service::Signals;

use crate::dummy::{enough_descriptors, listening, may_load, pattern};
use crate::escape::Escaped;
use crate::outcome::{Outcome, Problem};
use crate::serve::failed;
use crate::stderr::tell;
use crate::target;
use crate::units;
use player::{Manner, Player, Tally};
use script::Play;

/// How often it is looked whether all is over.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Idle limit of a replayed session.
const IDLE_WITHIN: Duration = Duration::from_secs(30 * 24 * 3600);

/// Options of `naksi replay`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// A recording, a folder of recordings, or a prefix of the file names of one run.
    #[arg(value_name = "FILE")]
    recording: PathBuf,
    /// The server, like 127.0.0.1:7777 or ws://127.0.0.1:8080; without one, only a summary of the recording is printed.
    #[arg(value_name = "ADDR")]
    address: Option<String>,
    /// As fast as possible instead of at the recorded times.
    #[arg(long)]
    fast: bool,
    /// Waits this many milliseconds for each further answer after a session's last packet, unless the client left
    /// first.
    #[arg(long, value_name = "MS", default_value = "1000", value_parser = clap::value_parser!(u32).range(1..=600_000))]
    wait_ms: u32,
    /// Sessions without any answer are not an error: for a server that only receives.
    #[arg(long)]
    one_way: bool,
    /// Allow a server that is not on this machine. Use this only for a server of your own.
    #[arg(long)]
    i_own_this_target: bool,
}

/// Replays it, and reports the answers.
pub(crate) fn run(options: Options) -> Result<Outcome, Problem> {
    let play = Play::load(&options.recording)?;
    introduce(&play).map_err(Problem::output)?;
    let Some(address) = &options.address else { return Ok(Outcome::Fine) };
    let (url, servers) = target::server(address)?;
    may_load(&servers, options.i_own_this_target)?;
    enough_descriptors(play.scripts.len().try_into().unwrap_or(u32::MAX))?;
    let manner = Manner {
        fast: options.fast,
        framed: play.framed,
        wait: Duration::from_millis(options.wait_ms.into()),
    };
    let signals = Signals::watch().map_err(failed)?;
    let remote = listening(&servers)?;
    let tally = Arc::new(Mutex::new(Tally::default()));
    let began = Instant::now();
    let begins = if options.fast { vec![Duration::ZERO; play.begins.len()] } else { play.begins.clone() };
    let limits = Limits {
        idle_within: IDLE_WITHIN,
        send_queue_high_bytes: player::QUEUE_HIGH_BYTES,
        ..Limits::default()
    };
    let client = target::over(Client::new(remote), &url, pattern::mix(std::process::id().into()));
    let client = client.retry(Retry::NEVER).limits(limits).connect_at(begins);
    let (scripts, players) = (play.scripts.clone(), Arc::clone(&tally));
    let make = move |arrival: &ConnectionInfo| {
        let script = Arc::clone(&scripts[arrival.index as usize]);
        Player::new(script, manner, Arc::clone(&players))
    };
    let service = client.session_with(make).start().map_err(failed)?;
    let sessions = play.scripts.len() as u64;
    let look = || tally.lock().unwrap_or_else(PoisonError::into_inner).clone();
    while look().over + service.stats().given_up_total < sessions && !signals.wait(LOOK_EVERY) {}
    service.stop(Duration::ZERO);
    conclude(&look(), sessions, began.elapsed(), manner, options.one_way).map_err(Problem::output)
}

/// Prints a summary of the recording.
fn introduce(play: &Play) -> io::Result<()> {
    let pieces: usize = play.scripts.iter().map(|script| script.sends.len()).sum();
    let all = play.scripts.iter().flat_map(|script| &script.sends);
    let bytes: usize = all.map(|(_, bytes)| bytes.len()).sum();
    let what = if play.framed { "packets" } else { "pieces" };
    let (sessions, pieces) = (units::grouped(play.scripts.len() as u64), units::grouped(pieces as u64));
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "recorded   {sessions} sessions, {pieces} {what}, {} in {:.3} s; {} files, table version {:016x}",
        units::bytes(bytes as u64),
        play.span().as_secs_f64(),
        play.files,
        play.table_version,
    )?;
    if play.lost > 0 {
        tell!("naksi: {} entries are missing: the disk did not keep up", units::grouped(play.lost));
    }
    for (path, bytes) in &play.torn {
        let path = path.display().to_string();
        tell!("naksi: {}: read up to byte {bytes}, the last whole entry", Escaped(&path));
    }
    Ok(())
}

/// Prints the result.
fn conclude(
    tally: &Tally,
    sessions: u64,
    took: Duration,
    manner: Manner,
    one_way: bool,
) -> io::Result<Outcome> {
    let mut out = io::stdout().lock();
    let late = if manner.fast {
        String::new()
    } else {
        format!(", late by {:.1} ms at most", tally.late_max.as_secs_f64() * 1e3)
    };
    writeln!(
        out,
        "replayed   {} of {} sessions, {} sent, {} in {:.3} s{late}",
        units::grouped(tally.connected),
        units::grouped(sessions),
        units::grouped(tally.sent),
        units::bytes(tally.sent_bytes),
        took.as_secs_f64(),
    )?;
    let packets: u64 = tally.answers.values().sum();
    let ids: Vec<String> =
        tally.answers.iter().map(|(id, count)| format!("{} of id {id}", units::grouped(*count))).collect();
    let ids = if ids.is_empty() {
        String::new()
    } else {
        format!(", {} packets: {}", units::grouped(packets), ids.join(", "))
    };
    writeln!(out, "answered   {}{ids}", units::bytes(tally.answer_bytes))?;
    let cut_short = tally.cut_short;
    writeln!(
        out,
        "ended      {} by the server, {cut_short} of them before all was sent",
        tally.ended_by_server + cut_short
    )?;
    if tally.stopped > 0 {
        writeln!(out, "stopped    {} before all was sent", tally.stopped)?;
    }
    let never_started = sessions.saturating_sub(tally.connected);
    if never_started > 0 {
        writeln!(out, "unstarted  {} were never connected", units::grouped(never_started))?;
    }
    if tally.unanswered > 0 {
        let unanswered = units::grouped(tally.unanswered);
        writeln!(out, "unanswered {unanswered} sent something and were told nothing (--one-way permits it)")?;
    }
    let is_answered = one_way || tally.unanswered == 0;
    let whole = never_started + cut_short + tally.stopped == 0 && is_answered;
    Ok(if whole { Outcome::Fine } else { Outcome::Errors })
}
