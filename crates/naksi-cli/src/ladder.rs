//! `naksi ladder`: the models of the lectures under the same load, as one table and one picture.
//!
//! Each server runs in a process of its own, so that its descriptors and its processor time are its own. The
//! crowd is the same for all, one connection count after the other. How a model works is not known here.

mod html;
mod lab;
mod picture;
mod practice;
mod report;
mod stage;

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use naksi::service::Signals;
use naksi_models::load::Crowd;
use naksi_models::{MODELS, Model};

use crate::config::plain;
use crate::outcome::{Outcome, Problem};
use crate::output_file::OutputFile;
use crate::platform;
use crate::serve::failed;
use crate::units::{parse_count_within, parse_duration};
use report::{Measured, Report};
use stage::{Setup, Stage};

/// How long a load runs before it is measured: caches warm, every connection served once.
const WARM_UP_MAX: Duration = Duration::from_millis(500);
/// Connects that may be ahead of the server's accepts: fewer than any listener's queue holds.
const CONNECTS_AHEAD_MAX: u64 = 64;
/// A server that stops accepting for so long has met something.
const ACCEPT_PATIENCE: Duration = Duration::from_secs(10);

/// How long a load may be measured.
const SPAN_MIN: Duration = Duration::from_millis(10);
const SPAN_MAX: Duration = Duration::from_secs(3_600);
/// How often a load looks for a request to stop.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Options of `naksi ladder`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The models to climb, from the bottom; all of them if none is named.
    #[arg(long = "model", value_name = "NAME", value_delimiter = ',', value_parser = parse_model)]
    models: Vec<&'static Model>,
    /// How many clients are connected at once.
    #[arg(long = "conns", value_name = "COUNT", value_delimiter = ',', value_parser = parse_count_within::<1, 1_000_000>,
        default_value = "1,64,200,1000")]
    connections: Vec<u32>,
    /// How long each load is measured, like 3 or 3s.
    #[arg(long = "secs", value_name = "SPAN", value_parser = parse_seconds, default_value = "3")]
    span: Duration,
    /// How many of the clients talk, while the others are only connected; all of them if not given.
    #[arg(long, value_name = "COUNT", value_parser = parse_count_within::<1, 1_000_000>)]
    active: Option<u32>,
    #[command(flatten)]
    setup: Setup,
    /// Write the figures to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the picture to this file.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write messages per second and processor time as one picture (SVG) to this file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Play a lab of the lectures instead, and print what its windows show.
    #[arg(long, value_enum, value_name = "NUMBER")]
    lab: Option<lab::Lab>,
    /// Be the server of one model, for a measuring process.
    #[arg(long, hide = true, value_name = "NAME", value_parser = parse_model)]
    serve: Option<&'static Model>,
}

fn parse_model(name: &str) -> Result<&'static Model, String> {
    naksi_models::model(name).ok_or_else(|| {
        let names: Vec<&str> = MODELS.iter().map(|model| model.name).collect();
        format!("there is no model `{name}`: the ladder has {}", names.join(", "))
    })
}

/// A span in seconds, with or without a unit.
fn parse_seconds(text: &str) -> Result<Duration, String> {
    let span = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => Some(parse_duration(text)?),
    };
    let is_sane = |span: &Duration| (SPAN_MIN..=SPAN_MAX).contains(span);
    span.filter(is_sane).ok_or_else(|| "from 0.01 to 3600 seconds".to_owned())
}

/// Climbs the ladder.
pub(crate) fn run(options: Options) -> Result<Outcome, Problem> {
    platform::raise_descriptor_limit();
    options.setup.check()?;
    if let Some(model) = options.serve {
        return stage::serve(model, options.setup);
    }
    if let Some(lab) = options.lab {
        return lab::play(lab);
    }
    let signals = Signals::watch().map_err(failed)?;
    let conditions = Conditions { span: options.span, setup: options.setup, active: options.active, signals };
    let models = if options.models.is_empty() { MODELS.iter().collect() } else { options.models };
    let json = options.json.as_deref().map(OutputFile::open).transpose()?;
    let html = options.html.as_deref().map(OutputFile::open).transpose()?;
    let svg = options.svg.as_deref().map(OutputFile::open).transpose()?;
    let mut report = Report::new(&conditions, platform::kernel());
    report.print_head()?;
    climb(&models, &options.connections, &conditions, &mut report)?;
    report.print_foot()?;
    if let Some(file) = json {
        let text = serde_json::to_string_pretty(&report).expect("plain figures can be written");
        file.write(&(text + "\n"))?;
    }
    if let Some(file) = html {
        file.write(&html::page(&report))?;
    }
    if let Some(file) = svg {
        file.write(&picture::file(&report))?;
    }
    Ok(if report.is_clean() { Outcome::Fine } else { Outcome::Errors })
}

/// Measures every model under every load, or as much of it as there is time for until a request to stop.
fn climb(
    models: &[&'static Model],
    connections: &[u32],
    conditions: &Conditions,
    report: &mut Report,
) -> Result<(), Problem> {
    let loads = models.iter().flat_map(|model| connections.iter().map(|count| (*model, *count)));
    for (model, connections) in loads {
        progress(format_args!("{} × {connections}", model.name));
        let row = measure(model, connections.into(), conditions)?;
        progress(format_args!(""));
        match row {
            Some(row) => report.add(row)?,
            None => {
                report.cut_short = true;
                return Ok(());
            }
        }
    }
    Ok(())
}

/// What is the same for every model and every load.
pub(crate) struct Conditions {
    signals: &'static Signals,
    span: Duration,
    setup: Setup,
    active: Option<u32>,
}

/// One model under one load; and once more with all clients silent but one, if nothing else was asked for. Nothing if the
/// program was asked to stop meanwhile.
fn measure(
    model: &'static Model,
    connections: u64,
    conditions: &Conditions,
) -> Result<Option<Measured>, Problem> {
    let Some(talking) = measure_once(model, connections, conditions)? else { return Ok(None) };
    if conditions.active.is_some() {
        return Ok(Some(talking));
    }
    let span = conditions.span.div_f64(2.0);
    let silent = measure_once(model, connections, &Conditions { span, active: Some(1), ..*conditions })?;
    Ok(silent.map(|silent| talking.with_silent(&silent)))
}

fn measure_once(
    model: &'static Model,
    connections: u64,
    conditions: &Conditions,
) -> Result<Option<Measured>, Problem> {
    let Conditions { span, setup, active, signals } = *conditions;
    let failed = |error: io::Error| Problem::failed(format!("{}: {}", model.name, plain(&error)));
    let mut stage = Stage::open(model, setup)?;
    let mut crowd = Crowd::open(active.map_or(usize::MAX, |active| active as usize)).map_err(failed)?;
    let refused = gather(&mut crowd, &mut stage, connections, signals)?;
    let mut ignored = 0;
    talk(&mut crowd, span.min(WARM_UP_MAX), signals, |_| ignored += 1).map_err(failed)?;
    let mut latencies = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3).expect("the bounds are sane");
    let before = stage.sample()?;
    let started = Instant::now();
    let record = |latency: Duration| latencies.saturating_record(latency.as_nanos() as u64);
    talk(&mut crowd, span, signals, record).map_err(failed)?;
    let elapsed = started.elapsed();
    let after = stage.sample()?;
    if signals.seen() {
        return Ok(None);
    }
    let mut measured = Measured::new(model, setup, connections, (&before, &after), &latencies, elapsed);
    measured.thread_rows = stage.threads()?;
    Ok(Some(measured.with_crowd(crowd.clients(), crowd.wrong(), refused)))
}

/// Has the crowd talk for this long, or until a request to stop.
fn talk(
    crowd: &mut Crowd,
    span: Duration,
    signals: &Signals,
    mut on_message: impl FnMut(Duration),
) -> io::Result<()> {
    let began = Instant::now();
    loop {
        let left = span.saturating_sub(began.elapsed());
        if left.is_zero() || signals.seen() {
            return Ok(());
        }
        crowd.run(left.min(LOOK_EVERY), &mut on_message)?;
    }
}

/// Connects the crowd, never far ahead of the server. Says how many connects the system refused.
fn gather(crowd: &mut Crowd, stage: &mut Stage, connections: u64, signals: &Signals) -> Result<u64, Problem> {
    let mut refused = 0;
    for number in 1..=connections {
        if crowd.connect(stage.address()).is_err() {
            refused += 1;
        }
        if number % CONNECTS_AHEAD_MAX == 0 || number == connections {
            let started = Instant::now();
            while stage.sample()?.accepted + refused < number && started.elapsed() < ACCEPT_PATIENCE {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        if signals.seen() {
            break;
        }
    }
    Ok(refused)
}

/// A line that is written over; only for a person who looks.
fn progress(text: std::fmt::Arguments<'_>) {
    if io::stderr().is_terminal() {
        crate::stderr::raw(&format!("\r\x1b[2K{text}"));
    }
}
