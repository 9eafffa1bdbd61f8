//! `naksi attack`: hostile peers against a server on this machine, and what regular clients measure meanwhile.
//!
//! Regular clients run without an attack first (the baseline), and then under each attack; the two are compared. This
//! file has the options and the sequence of the suite.

mod kinds;
mod attacker;
mod question;
mod report;
mod script;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use naksi::prelude::*;
use naksi::service::Signals;

use crate::config::Settings;
use crate::dummy::conductor::{self, Aftermath};
use crate::dummy::plan::{Pace, Plan};
use crate::dummy::progress::{Elsewhere, View};
use crate::dummy::report::Summary;
use crate::dummy::{self, Scenario, Spread, enough_descriptors, pattern};
use crate::json::Json;
use crate::outcome::{Outcome, Problem};
use crate::serve::failed;
use crate::stderr::tell;
use crate::target;
use crate::{platform, units};
use kinds::{AttackContext, AttackCounts, AttackKind};
use report::{Ceiling, PhaseResult, Report};
use script::Server;

/// Slow enough for the accept limit of a server that does not exempt loopback.
const GOOD_CONNECT_RATE: u32 = 500;

/// The application of the server under attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Served {
    /// Raw bytes back.
    Echo,
    /// Frames to all members of a topic.
    Relay,
    /// Rooms with a tick, names and moves.
    Chat,
    /// One room with logins, places and a database.
    World,
}

impl Served {
    /// Why an attack does not apply.
    fn lacks(self) -> &'static str {
        match self {
            Served::Echo => "an echo server, which has no frames, rooms, names or places",
            Served::Relay => "a relay, which has no names or places",
            Served::Chat | Served::World => "this server",
        }
    }
}

/// Options of `naksi attack`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The server, like 127.0.0.1:7777 or ws://127.0.0.1:8080; it must be on this machine and run the echo, relay, chat or world app.
    #[arg(value_name = "ADDR")]
    address: String,
    /// The attacks: `all`, or names separated by commas.
    #[arg(long, value_name = "NAMES", default_value = "all")]
    suite: String,
    /// Number of good clients, which must lose nothing.
    #[arg(long, value_name = "N", default_value = "200", value_parser = units::parse_count_within::<1, 100_000>)]
    good: u32,
    /// Messages per second of each good client.
    #[arg(long, value_name = "HZ", default_value = "10")]
    rate: f64,
    /// Length of the calm phase, and of each attack that no deadline of the server ends.
    #[arg(long, value_name = "S", default_value = "5")]
    secs: f64,
    /// Multiplies the number of attackers: 0.1 is a tenth.
    #[arg(long, value_name = "FACTOR", default_value = "1")]
    scale: f64,
    /// The server's settings file, whose deadlines attackers must not outlive; the default settings if not given.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How much later than its deadline an attacker may end, because the machine is busy with the attack itself.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = units::parse_duration)]
    grace: Duration,
    /// Writes the report as JSON; `-` is standard output, instead of the text.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Exits with 99 if this condition holds: `ratio>2` (p99 under attack to calm) or `rss>512MiB` (the server's memory).
    #[arg(long = "fail-if", value_name = "FIGURE>BOUND")]
    fail_if: Vec<Ceiling>,
}

/// Runs the suite and reports what the regular clients measured.
pub(crate) fn run(options: Options) -> Result<Outcome, Problem> {
    let (url, servers) = target::server(&options.address)?;
    let suite = check(&options, &servers)?;
    let limits = Settings::load(options.config.as_deref())?.limits;
    let json = Json::open(options.json.as_deref())?;
    let signals = Signals::watch().map_err(failed)?;
    let (served, target) = question::ask(&url, &servers)?;
    let rooms = options.good.div_ceil(10);
    let server = Server {
        served,
        limits: &limits,
        good_seed: pattern::mix(std::process::id().into()),
        good_rooms: rooms,
    };
    let context = AttackContext {
        target,
        url,
        server,
        signals,
        scale: options.scale,
        span: Duration::from_secs_f64(options.secs),
        grace: options.grace,
    };
    let suite = applicable(suite, served)?;
    let most = suite.iter().map(|kind| kind.descriptors(&context)).max().unwrap_or(0);
    enough_descriptors(options.good + most)?;
    let mut view = View::new(Elsewhere::Nothing);
    let baseline = run_phase("calm", &options, &context, None, &mut view)?;
    let mut attacks = Vec::new();
    for kind in suite {
        attacks.push(run_phase(&kind.name(), &options, &context, Some(kind), &mut view)?);
    }
    view.done();
    let report = Report::new(&context, options.good, baseline, attacks, &options.fail_if);
    json.publish(&report, || report.text())?;
    Ok(report.outcome())
}

fn check(options: &Options, servers: &[SocketAddr]) -> Result<Vec<AttackKind>, Problem> {
    if let Some(target) = servers.iter().find(|server| !server.ip().to_canonical().is_loopback()) {
        return Err(Problem::usage(format!(
            "{target} is not a loopback address: attacks stay on this machine, at 127.0.0.1 or [::1]"
        )));
    }
    if !(0.1..=3_600.0).contains(&options.secs)
        || !(0.001..=100.0).contains(&options.scale)
        || !(0.001..=10_000.0).contains(&options.rate)
        || options.grace > Duration::from_secs(3_600)
    {
        return Err(Problem::usage(
            "--secs must be 0.1 to 3,600, --scale 0.001 to 100, --rate 0.001 to 10,000, --grace at most an hour",
        ));
    }
    let all = <AttackKind as clap::ValueEnum>::value_variants();
    if options.suite == "all" {
        return Ok(all.to_vec());
    }
    let named = |name: &str| {
        all.iter().copied().find(|kind| kind.name() == name.trim()).ok_or_else(|| {
            let names: Vec<String> = all.iter().map(|kind| kind.name()).collect();
            Problem::usage(format!("`{name}` is no attack: use all, or some of {}", names.join(", ")))
        })
    };
    options.suite.split(',').map(named).collect()
}

/// The attacks of a suite that fit an application; prints which were left out, and why.
fn applicable(suite: Vec<AttackKind>, served: Served) -> Result<Vec<AttackKind>, Problem> {
    let (suite, left_out): (Vec<_>, Vec<_>) = suite.into_iter().partition(|kind| kind.applies_to(served));
    let why = served.lacks();
    if suite.is_empty() {
        return Err(Problem::usage(format!("none of these attacks applies to {why} (try a chat server)")));
    }
    if !left_out.is_empty() {
        let names: Vec<String> = left_out.into_iter().map(AttackKind::name).collect();
        tell!("naksi: left out {}, which do not apply to {why}", names.join(", "));
    }
    Ok(suite)
}

/// One run of the regular clients, without an attack or under one.
fn run_phase(
    name: &str,
    options: &Options,
    context: &AttackContext<'_>,
    kind: Option<AttackKind>,
    view: &mut View,
) -> Result<PhaseResult, Problem> {
    let span = kind.map_or(context.span, |kind| kind.lasts(context));
    let Server { served, good_seed, good_rooms, .. } = context.server;
    let (scenario, rooms) = match served {
        Served::Echo => (Scenario::Echo, options.good),
        Served::Relay => (Scenario::Relay, good_rooms),
        Served::Chat => (Scenario::Chat, good_rooms),
        Served::World => (Scenario::World, options.good),
    };
    let mut plan = Plan::new(context.target, options.good, rooms, Pace::every(options.rate), span);
    plan.connect_rate = GOOD_CONNECT_RATE;
    plan.url = Some(context.url.clone());
    plan.seed = good_seed;
    if scenario == Scenario::World {
        // All in one place, where attackers can be as well.
        plan.field = dummy::Field::new(Spread::One, options.good);
    }
    let plan = Arc::new(plan);
    let server = platform::listening_process(context.target);
    let (aftermath, counts, server_rss) = beside(&plan, scenario, context, kind, server, view)?;
    if context.signals.seen() {
        // A part of an attack shows nothing about the server, and a part of the baseline nothing about the attacks.
        return Err(Problem::failed("stopped by Ctrl-C: nothing is judged"));
    }
    let deadline = kind.and_then(|kind| kind.deadline(context));
    let summary = Summary::new(&plan, scenario, aftermath, &[]);
    Ok(PhaseResult::new(name, &summary, counts, deadline, server_rss))
}

/// Runs the clients on this thread, the attack on another, and samples the server's memory on a third.
fn beside(
    plan: &Arc<Plan>,
    scenario: Scenario,
    context: &AttackContext<'_>,
    kind: Option<AttackKind>,
    server: Option<u32>,
    view: &mut View,
) -> Result<(Aftermath, Option<AttackCounts>, u64), Problem> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let attack = scope.spawn(|| {
            let kind = kind?;
            // The regular clients connect first: admission during a connect flood is not what they measure.
            while plan.signals.started().is_none() {
                if over.load(Ordering::Relaxed) {
                    return None;
                }
                thread::sleep(Duration::from_millis(5));
            }
            Some(kind.run(context))
        });
        let memory = scope.spawn(|| {
            let mut highest = 0;
            while !over.load(Ordering::Relaxed) {
                let sample = server.and_then(platform::sample);
                highest = highest.max(sample.map_or(0, |sample| sample.resident));
                thread::sleep(Duration::from_millis(100));
            }
            highest
        });
        let aftermath = conductor::conduct(plan, scenario, Backend::Auto, view);
        over.store(true, Ordering::Relaxed);
        let failed = |_| Problem::failed("an attack thread panicked, which is a bug of this program");
        let counts = attack.join().map_err(failed)?;
        let highest = memory.join().map_err(failed)?;
        Ok((aftermath?, counts, highest))
    })
}
