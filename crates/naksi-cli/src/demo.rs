//! `naksi demo`: a relay server and clients in one process, with a live view and suggestions what to try next.
//!
//! It succeeds only if every message arrived once, in order and intact, and the server had no sessions left
//! afterwards.

use std::io::{self, Write};
use std::thread;
use std::time::{Duration, Instant};

use naksi::prelude::*;

use crate::apps::relay::Relay;
use crate::dummy::plan::{Pace, Plan};
use crate::dummy::progress::{Elsewhere, View};
use crate::dummy::report::Summary;
use crate::outcome::{Outcome, Problem};
use crate::serve::failed;
use crate::stderr::tell;
use crate::units::grouped;
use crate::{dummy, platform};

/// How long the server may take to notice that all clients have left.
const EMPTY_WITHIN: Duration = Duration::from_secs(5);

/// Options of `naksi demo`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How long the clients send.
    #[arg(long, value_name = "S", default_value = "10")]
    secs: f64,
    /// How many dummies.
    #[arg(long, value_name = "N", default_value = "500", value_parser = dummy::parse_sessions)]
    sessions: u32,
    /// How many rooms they share.
    #[arg(long, value_name = "N", default_value = "10", value_parser = dummy::parse_sessions)]
    rooms: u32,
    /// Messages a second of each dummy.
    #[arg(long, value_name = "HZ", default_value = "10")]
    rate: f64,
}

/// Runs server and clients, and shows the result.
pub(crate) fn run(options: Options) -> Result<Outcome, Problem> {
    let plausible = (0.1..=3600.0).contains(&options.secs) && (0.001..=10_000.0).contains(&options.rate);
    if !plausible {
        return Err(Problem::usage("--secs must be 0.1 to 3,600, --rate 0.001 to 10,000"));
    }
    dummy::know_each_other(options.sessions, options.rooms)?;
    // Both ends of every connection are in this process.
    dummy::enough_descriptors(options.sessions.saturating_mul(2))?;
    let server =
        Server::new().listen("127.0.0.1:0").workers(1).session(Relay::default).start().map_err(failed)?;
    let target = *server.addresses().first().ok_or_else(|| Problem::failed("the server has no address"))?;
    tell!(
        "naksi demo: a relay server on {target} ({}), {} dummies in {} rooms, {} messages a second each",
        server.backend(),
        grouped(u64::from(options.sessions)),
        options.rooms.min(options.sessions),
        options.rate,
    );
    let span = Duration::from_secs_f64(options.secs);
    let plan = Plan::new(target, options.sessions, options.rooms, Pace::every(options.rate), span);
    let mut view = View::new(Elsewhere::Lines);
    let summary = dummy::run_relay(plan, &mut view);
    view.done();
    let summary = summary?;
    let left = left_behind(&server);
    let stats = server.stop(EMPTY_WITHIN);
    let empty = left == 0 && stats.live == 0 && stats.disconnected_total == stats.connected_total;
    show(&summary, &stats, empty).map_err(Problem::output)?;
    let outcome = summary.outcome();
    Ok(if outcome == Outcome::Fine && !empty { Outcome::Errors } else { outcome })
}

/// Sessions that the server still has when its patience is over.
fn left_behind(server: &Service) -> u64 {
    let began = Instant::now();
    loop {
        let live = server.stats().live;
        if live == 0 || began.elapsed() > EMPTY_WITHIN {
            return live;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn show(summary: &Summary, stats: &Stats, empty: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(summary.text().as_bytes())?;
    let state = if empty { "empty again" } else { "NOT EMPTY" };
    writeln!(
        out,
        "Server    in this process too: {} connected, {} disconnected, {} live: {state}",
        grouped(stats.connected_total),
        grouped(stats.disconnected_total),
        stats.live,
    )?;
    let verdict = match summary.errors_total() {
        0 if empty => "Every message came once, in order and whole.",
        _ => "Something went wrong; the lines above say what.",
    };
    let system = platform::kernel().unwrap_or_else(|| std::env::consts::OS.to_owned());
    writeln!(out, "\n{verdict} ({system})\n\nNext, in two terminals:")?;
    for (left, right) in [
        ("naksi serve --app echo", "a server of your own, on 127.0.0.1:7777"),
        ("naksi client 127.0.0.1:7777", "talk to it: type 안녕하세요"),
        ("naksi dummy 127.0.0.1:7777 --sessions 1000 --rate 20", "load it and read the latency"),
        ("naksi dummy 127.0.0.1:7777 --scenario idle --sessions 10k", "see what an idle session costs"),
    ] {
        writeln!(out, "  {left:<58} {right}")?;
    }
    out.flush()
}
