//! `naksi dummy`: many clients that load a server, check every byte, and measure without coordinated omission.
//!
//! This file has the options and their checks; the sequence of a run is in the conductor, and each scenario has a
//! file.

pub(crate) mod conductor;
mod chat;
mod echo;
mod html;
mod idle;
mod member;
mod meter;
mod order;
pub(crate) mod pattern;
pub(crate) mod plan;
pub(crate) mod progress;
mod relay;
mod roommate;
pub(crate) mod report;
mod storm;
pub(crate) mod threshold;
mod world;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use naksi::config::Url;
use naksi::prelude::*;

use crate::config::BackendName;
use crate::json::Json;
use crate::outcome::{Outcome, Problem};
use crate::output_file::OutputFile;
use crate::target;
use crate::{platform, units};
use member::Member;
use plan::{Pace, Plan};
use progress::{Elsewhere, View};
use report::Summary;
pub(crate) use roommate::room_number;
use threshold::Threshold;
pub(crate) use world::{Field, Spread};

/// How long the server may take to answer the first, single connect.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Descriptors that the process needs besides one for each session.
const OTHER_DESCRIPTORS: u64 = 64;
/// Messages a second of each dummy, unless asked otherwise.
const RATE: f64 = 10.0;
/// Bytes of a message, unless asked otherwise.
const SIZE: usize = 64;
/// New connections a second, unless asked otherwise.
const CONNECT_RATE: u32 = 5_000;
/// Largest message of an echo.
const ECHO_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of a message of each dummy, all of them together.
const CROWD_BYTES_MAX: u64 = 4 << 30;
/// Limit of what all members of rooms keep of each other, in entries.
const ACQUAINTANCES_MAX: u64 = 100_000_000;

/// Parses the number of dummies, or a number that cannot exceed it.
pub(crate) fn parse_sessions(text: &str) -> Result<u32, String> {
    units::parse_count_within::<1, 1_000_000>(text)
}

/// A session type of the dummies.
pub(crate) trait Dummy: Session {
    /// Makes the session of this member.
    fn new(member: Member) -> Self;
}

/// What the dummies do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Scenario {
    /// Send and get the same bytes back (an echo server).
    Echo,
    /// Send to a room and get what all members send (a relay server).
    Relay,
    /// Say hello, be silent, say it again: what a session costs (an echo server).
    Idle,
    /// Connect, echo once, close, and repeat, as fast as possible (an echo server).
    Storm,
    /// Play the sample game: enter a room, talk and walk (a chat server).
    Chat,
    /// Live in the sample world: log in, walk, see nearby players, log in again (a world server).
    World,
}

/// Options of `naksi dummy`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The server, like 127.0.0.1:7777 or ws://127.0.0.1:8080/play.
    #[arg(value_name = "ADDR")]
    address: String,
    /// What the dummies do.
    #[arg(long, value_enum, default_value = "echo")]
    scenario: Scenario,
    /// How many dummies; 10k is 10,000.
    #[arg(long, value_name = "N", default_value = "100", value_parser = parse_sessions)]
    sessions: u32,
    /// Messages a second of each dummy, on a fixed schedule; 10 by default (not idle, not storm).
    #[arg(long, value_name = "HZ", conflicts_with = "window")]
    rate: Option<f64>,
    /// Closed loop instead: at most this many messages in flight, the next when one is back (echo, relay, chat).
    #[arg(long, value_name = "W", value_parser = units::parse_count_within::<1, 1_000_000>)]
    window: Option<u32>,
    /// Bytes of a message, 64 by default; 4KiB is 4,096 (echo, relay, chat).
    #[arg(long, value_name = "B", value_parser = units::parse_bytes)]
    size: Option<usize>,
    /// How long to send (or to be silent).
    #[arg(long, value_name = "S", default_value = "10")]
    secs: f64,
    /// I/O worker threads of the dummies; half of the processors by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=255))]
    workers: Option<u16>,
    /// Rooms of the relay and chat scenarios; one for every ten dummies by default.
    #[arg(long, value_name = "N", value_parser = parse_sessions)]
    rooms: Option<u32>,
    /// Where the dummies of a world are; wide by default.
    #[arg(long, value_enum)]
    spread: Option<Spread>,
    /// New connections per second; 5,000 by default (not storm, which connects as fast as possible).
    #[arg(long, value_name = "N", value_parser = units::parse_count_within::<1, 10_000_000>)]
    connect_rate: Option<u32>,
    /// Which of the kernel's interfaces the dummies use.
    #[arg(long, value_enum, default_value = "auto")]
    backend: BackendName,
    /// Makes schedules, payloads and rooms repeat; by the clock by default.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Writes the summary as JSON; `-` is standard output, instead of the text. The seed is a string that keeps all
    /// its digits; counts, bytes and nanoseconds are numbers.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes the summary and a picture as one HTML file.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Exits with 99 if this condition holds: p50, p90, p99, p99.9 or max with a time, lost, never-started or errors
    /// with a count.
    #[arg(long = "fail-if", value_name = "FIGURE>BOUND")]
    fail_if: Vec<Threshold>,
    /// Allow a server that is not on this machine. Use this only for a server of your own.
    #[arg(long)]
    i_own_this_target: bool,
}

/// Runs the dummies and prints the summary.
pub(crate) fn run(options: Options) -> Result<Outcome, Problem> {
    let (url, servers) = target::server(&options.address)?;
    check(&options, &servers)?;
    enough_descriptors(options.sessions)?;
    let target = listening(&servers)?;
    let json = Json::open(options.json.as_deref())?;
    let html = options.html.as_deref().map(OutputFile::open).transpose()?;
    let plan = Arc::new(plan(&options, url, target));
    let mut view = View::new(Elsewhere::Nothing);
    let result = conductor::conduct(&plan, options.scenario, options.backend.into(), &mut view);
    view.done();
    let summary = Summary::new(&plan, options.scenario, result?, &options.fail_if);
    let published = json.publish(&summary, || summary.text());
    published.and(html.map_or(Ok(()), |file| file.write(&html::page(&summary))))?;
    Ok(summary.outcome())
}

/// Runs relay clients against a server in this process, for the demo.
pub(crate) fn run_relay(plan: Plan, view: &mut View) -> Result<Summary, Problem> {
    let plan = Arc::new(plan);
    let aftermath = conductor::conduct(&plan, Scenario::Relay, Backend::Auto, view)?;
    Ok(Summary::new(&plan, Scenario::Relay, aftermath, &[]))
}

fn check(options: &Options, servers: &[SocketAddr]) -> Result<(), Problem> {
    let usage = |line: String| Err(Problem::Usage(line));
    may_load(servers, options.i_own_this_target)?;
    if options.rate.is_some_and(|rate| !(0.001..=1_000_000.0).contains(&rate)) {
        return usage("--rate must be 0.001 to 1,000,000 messages a second".into());
    }
    if options.scenario == Scenario::World && options.window.is_some() {
        return usage("a world has no answers to wait for: use --rate instead of --window".into());
    }
    nothing_unused(options)?;
    if !(0.1..=86_400.0).contains(&options.secs) {
        return usage("--secs must be 0.1 to 86,400".into());
    }
    let sizes = match options.scenario {
        Scenario::Relay => roommate::HEAD_BYTES..=relay::BODY_BYTES_MAX,
        Scenario::Chat => chat::TEXT_BYTES_MIN..=chat::TEXT_BYTES_MAX,
        _ => 1..=ECHO_BYTES_MAX,
    };
    if !sizes.contains(&options.size.unwrap_or(SIZE)) {
        let (least, most) = (sizes.start(), units::grouped(*sizes.end() as u64));
        return usage(format!("--size must be {least} to {most} bytes in this scenario"));
    }
    fits_memory(options)
}

/// Refuses more clients than memory suffices for.
fn fits_memory(options: &Options) -> Result<(), Problem> {
    let (sessions, size) = (u64::from(options.sessions), options.size.unwrap_or(SIZE) as u64);
    if sessions * size > CROWD_BYTES_MAX {
        return Err(Problem::usage(format!(
            "{} dummies with {} each are more than {}: use a smaller --size or fewer --sessions",
            units::grouped(sessions),
            units::bytes(size),
            units::bytes(CROWD_BYTES_MAX)
        )));
    }
    match options.scenario {
        Scenario::Relay | Scenario::Chat => know_each_other(options.sessions, rooms(options)),
        _ => Ok(()),
    }
}

/// Refuses rooms in which the members would keep too much of each other.
pub(crate) fn know_each_other(sessions: u32, rooms: u32) -> Result<(), Problem> {
    let sessions = u64::from(sessions);
    let of_one = sessions.div_ceil(rooms.into());
    if sessions * of_one <= ACQUAINTANCES_MAX {
        return Ok(());
    }
    Err(Problem::usage(format!(
        "{} dummies in rooms of {} hear too many of each other: use more --rooms or fewer --sessions",
        units::grouped(sessions),
        units::grouped(of_one)
    )))
}

/// Refuses an option that the scenario does not use, because its user would believe that it changes the figures.
fn nothing_unused(options: &Options) -> Result<(), Problem> {
    use Scenario::{Chat, Echo, Idle, Relay, World};
    let given: [(&str, bool, &[Scenario]); 6] = [
        ("--rate", options.rate.is_some(), &[Echo, Relay, Chat, World]),
        ("--window", options.window.is_some(), &[Echo, Relay, Chat]),
        ("--size", options.size.is_some(), &[Echo, Relay, Chat]),
        ("--rooms", options.rooms.is_some(), &[Relay, Chat]),
        ("--spread", options.spread.is_some(), &[World]),
        ("--connect-rate", options.connect_rate.is_some(), &[Echo, Relay, Chat, World, Idle]),
    ];
    let name = |scenario: &Scenario| format!("{scenario:?}").to_lowercase();
    match given.iter().find(|(_, is_given, users)| *is_given && !users.contains(&options.scenario)) {
        None => Ok(()),
        Some((option, _, users)) => Err(Problem::usage(format!(
            "the {} scenario has no use for {option}: it is for {}",
            name(&options.scenario),
            users.iter().map(name).collect::<Vec<_>>().join(", ")
        ))),
    }
}

/// Refuses a server on another machine, unless its owner asks.
pub(crate) fn may_load(servers: &[SocketAddr], is_own: bool) -> Result<(), Problem> {
    match servers.iter().find(|server| !server.ip().to_canonical().is_loopback()) {
        Some(other) if !is_own => Err(Problem::usage(format!(
            "{other} is not on this machine: add --i-own-this-target if it is yours to load"
        ))),
        _ => Ok(()),
    }
}

/// The first of a server's addresses that answers. One test connection fails with one line where all clients would
/// fail with thousands.
pub(crate) fn listening(servers: &[SocketAddr]) -> Result<SocketAddr, Problem> {
    target::connect(servers, CONNECT_WITHIN).map(|(_, server)| server)
}

/// Refuses more clients than this process may have descriptors, and tells how to raise the limit.
pub(crate) fn enough_descriptors(sessions: u32) -> Result<(), Problem> {
    let needed = u64::from(sessions) + OTHER_DESCRIPTORS;
    match platform::raise_descriptor_limit() {
        Some(available) if available < needed => Err(Problem::failed(format!(
            "{} sessions need {needed} descriptors and this process may have {available}: run `ulimit -n {needed}` first",
            units::grouped(u64::from(sessions))
        ))),
        _ => Ok(()),
    }
}

/// Rooms of the plan.
fn rooms(options: &Options) -> u32 {
    match options.scenario {
        Scenario::Relay | Scenario::Chat => options.rooms.unwrap_or(options.sessions.div_ceil(10)),
        // Everybody is alone: what it gets is what it sent.
        _ => options.sessions,
    }
}

fn plan(options: &Options, url: Url, target: SocketAddr) -> Plan {
    let rooms = rooms(options);
    let pace = match options.window {
        Some(window) => Pace::Window(window),
        None => Pace::every(options.rate.unwrap_or(RATE)),
    };
    let mut plan = Plan::new(target, options.sessions, rooms, pace, Duration::from_secs_f64(options.secs));
    plan.url = Some(url);
    plan.size = options.size.unwrap_or(SIZE);
    if options.scenario == Scenario::World {
        plan.field = Field::new(options.spread.unwrap_or_default(), options.sessions);
    }
    plan.connect_rate = match options.scenario {
        Scenario::Storm => u32::MAX,
        _ => options.connect_rate.unwrap_or(CONNECT_RATE),
    };
    if let Some(workers) = options.workers {
        plan.set_workers(usize::from(workers));
    }
    if let Some(seed) = options.seed {
        plan.seed = seed;
    }
    plan
}
