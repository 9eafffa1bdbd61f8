//! `naksi attack`: hostile peers against a server on this machine, and what good clients feel of it.
//!
//! A crowd of good clients runs in calm weather first, and then again under each attack; the two are
//! compared. Here are the options and the course of the suite; the attacks and the figures have their files.

mod assault;
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
use assault::{Assault, Field, Tally};
use report::{Ceiling, Report, Weather};
use script::Server;

/// Slow enough for the accept limit of a server that does not exempt loopback.
const GOOD_CONNECT_RATE: u32 = 500;

/// What the server under attack runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Served {
    /// Raw bytes back.
    Echo,
    /// Frames to all of a topic.
    Relay,
    /// Rooms with a tick, names and moves.
    Chat,
    /// One room with logins, places and a database.
    World,
}

impl Served {
    /// What an attack that does not apply would need.
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
    /// The server, like 127.0.0.1:7777; it must be on this machine and run the echo, relay, chat or world app.
    #[arg(value_name = "ADDR")]
    address: String,
    /// Which attacks: `all`, or names with commas between them.
    #[arg(long, value_name = "NAMES", default_value = "all")]
    suite: String,
    /// Good clients that must not notice.
    #[arg(long, value_name = "N", default_value = "200", value_parser = units::parse_count_within::<1, 100_000>)]
    good: u32,
    /// Messages a second of each good client.
    #[arg(long, value_name = "HZ", default_value = "10")]
    rate: f64,
    /// How long the calm lasts, and each attack that no deadline of the server ends.
    #[arg(long, value_name = "S", default_value = "5")]
    secs: f64,
    /// So many times the usual number of attackers: 0.1 is a tenth.
    #[arg(long, value_name = "FACTOR", default_value = "1")]
    scale: f64,
    /// The server's settings file: its deadlines are what attackers are held to. The defaults otherwise.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How much later than its deadline an attacker may end: the machine is busy with the attack itself.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = units::parse_duration)]
    grace: Duration,
    /// Writes the report as JSON; `-` is standard output, instead of the text.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Exits with 99 if this comes true: `ratio>2` (p99 under attack to calm) or `rss>512MiB` (the server's).
    #[arg(long = "fail-if", value_name = "FIGURE>BOUND")]
    fail_if: Vec<Ceiling>,
}

/// Runs the suite and says what the good ones felt.
pub(crate) fn run(options: Options) -> Result<Outcome, Problem> {
    let servers = target::servers(&options.address)?;
    let suite = check(&options, &servers)?;
    let limits = Settings::load(options.config.as_deref())?.limits;
    let json = Json::open(options.json.as_deref())?;
    let signals = Signals::watch().map_err(failed)?;
    let (served, target) = question::ask(&servers)?;
    let rooms = options.good.div_ceil(10);
    let server = Server {
        served,
        limits: &limits,
        good_seed: pattern::mix(std::process::id().into()),
        good_rooms: rooms,
    };
    let field = Field {
        target,
        server,
        signals,
        scale: options.scale,
        span: Duration::from_secs_f64(options.secs),
        grace: options.grace,
    };
    let suite = applicable(suite, served)?;
    let most = suite.iter().map(|assault| assault.descriptors(&field)).max().unwrap_or(0);
    enough_descriptors(options.good + most)?;
    let mut view = View::new(Elsewhere::Nothing);
    let calm = weather("calm", &options, &field, None, &mut view)?;
    let mut storms = Vec::new();
    for assault in suite {
        storms.push(weather(&assault.name(), &options, &field, Some(assault), &mut view)?);
    }
    view.done();
    let report = Report::new(&field, options.good, calm, storms, &options.fail_if);
    json.publish(&report, || report.text())?;
    Ok(report.outcome())
}

fn check(options: &Options, servers: &[SocketAddr]) -> Result<Vec<Assault>, Problem> {
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
    let all = <Assault as clap::ValueEnum>::value_variants();
    if options.suite == "all" {
        return Ok(all.to_vec());
    }
    let named = |name: &str| {
        all.iter().copied().find(|assault| assault.name() == name.trim()).ok_or_else(|| {
            let names: Vec<String> = all.iter().map(|assault| assault.name()).collect();
            Problem::usage(format!("`{name}` is no attack: use all, or some of {}", names.join(", ")))
        })
    };
    options.suite.split(',').map(named).collect()
}

/// The attacks of a suite that an application can be attacked with; says which were left out, and why.
fn applicable(suite: Vec<Assault>, served: Served) -> Result<Vec<Assault>, Problem> {
    let (suite, left_out): (Vec<_>, Vec<_>) =
        suite.into_iter().partition(|assault| assault.applies_to(served));
    let why = served.lacks();
    if suite.is_empty() {
        return Err(Problem::usage(format!("none of these attacks applies to {why} (try a chat server)")));
    }
    if !left_out.is_empty() {
        let names: Vec<String> = left_out.into_iter().map(Assault::name).collect();
        tell!("naksi: left out {}, which do not apply to {why}", names.join(", "));
    }
    Ok(suite)
}

/// One run of the good crowd, in calm weather or under an attack.
fn weather(
    name: &str,
    options: &Options,
    field: &Field<'_>,
    assault: Option<Assault>,
    view: &mut View,
) -> Result<Weather, Problem> {
    let span = assault.map_or(field.span, |assault| assault.lasts(field));
    let Server { served, good_seed, good_rooms, .. } = field.server;
    let (scenario, rooms) = match served {
        Served::Echo => (Scenario::Echo, options.good),
        Served::Relay => (Scenario::Relay, good_rooms),
        Served::Chat => (Scenario::Chat, good_rooms),
        Served::World => (Scenario::World, options.good),
    };
    let mut plan = Plan::new(field.target, options.good, rooms, Pace::every(options.rate), span);
    plan.connect_rate = GOOD_CONNECT_RATE;
    plan.seed = good_seed;
    if scenario == Scenario::World {
        // All on one spot, where attackers can stand as well.
        plan.field = dummy::Field::new(Spread::One, options.good);
    }
    let plan = Arc::new(plan);
    let server = platform::listening_process(field.target);
    let (aftermath, tally, server_rss) = beside(&plan, scenario, field, assault, server, view)?;
    if field.signals.seen() {
        // Half of an attack says nothing of the server, and half of a calm nothing of the attacks.
        return Err(Problem::failed("stopped by Ctrl-C: nothing is judged"));
    }
    let deadline = assault.and_then(|assault| assault.deadline(field));
    let summary = Summary::new(&plan, scenario, aftermath, &[]);
    Ok(Weather::new(name, &summary, tally, deadline, server_rss))
}

/// The crowd on this thread, the attack on another, and a look at the server's memory on a third.
fn beside(
    plan: &Arc<Plan>,
    scenario: Scenario,
    field: &Field<'_>,
    assault: Option<Assault>,
    server: Option<u32>,
    view: &mut View,
) -> Result<(Aftermath, Option<Tally>, u64), Problem> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let attack = scope.spawn(|| {
            let assault = assault?;
            // The good ones are in first: who may come in under a storm is the door's business, not theirs.
            while plan.signals.started().is_none() {
                if over.load(Ordering::Relaxed) {
                    return None;
                }
                thread::sleep(Duration::from_millis(5));
            }
            Some(assault.run(field))
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
        let failed = |_| Problem::failed("an attack died of a bug of its own");
        let tally = attack.join().map_err(failed)?;
        let highest = memory.join().map_err(failed)?;
        Ok((aftermath?, tally, highest))
    })
}
