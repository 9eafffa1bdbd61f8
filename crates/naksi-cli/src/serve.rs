//! `naksi serve`: runs one application on one or more addresses until it is told to stop.
//!
//! It prints the addresses on standard output once it accepts; scripts wait for that line.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use naksi::Signals;
use naksi::prelude::*;
use naksi::ws::ServerOptions;
#[cfg(feature = "world")]
use naksi_db::OpenError;

use crate::apps::chat::{Chat, Halls};
#[cfg(feature = "world")]
use crate::apps::world::{Gate, Player};
use crate::apps::{App, Kept, echo::Echo, relay::Relay};
use crate::config::{Flags, Listener, Origin, Settings};
use crate::outcome::{Outcome, Problem};
use crate::stderr::tell;
use crate::{admin, log, platform, reload, target, units};

/// How long sessions may take to flush and end before they are aborted.
const DRAIN_WITHIN: Duration = Duration::from_secs(4);

/// Longest message that an echo server sends back over WebSocket, unless the settings set another limit.
const ECHOED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Options of `naksi serve`.
#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    flags: Flags,
    /// What to run.
    #[arg(long, value_enum, default_value = "echo")]
    app: App,
    /// Where the world keeps its players, like sqlite:world.db; by default they are kept only while the server runs.
    #[arg(long, value_name = "ADDRESS")]
    database: Option<String>,
    /// Print statistics to stderr every N seconds.
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    stats_every: Option<u32>,
}

impl Options {
    /// Whether a hang-up reloads the settings instead of ending the server: if there is a file to read.
    pub(crate) fn reloads(&self) -> bool {
        self.flags.file().is_some()
    }

    /// The same options for a server that records in this folder.
    fn recording(mut self, directory: String) -> Result<Self, Problem> {
        match self.flags.record.replace(directory) {
            None => Ok(self),
            Some(_) => Err(Problem::usage("`naksi record DIR` says where to record: leave --record out")),
        }
    }
}

/// Options of `naksi record`; the folder has its own place there.
#[derive(clap::Args)]
#[command(mut_arg("record", |argument| argument.hide(true)))]
pub(crate) struct RecordOptions {
    /// The folder to record in; it is created if missing.
    #[arg(value_name = "DIR")]
    directory: String,
    #[command(flatten)]
    serve: Options,
}

impl RecordOptions {
    /// The options of `naksi serve --record DIR`; an error if the folder was given twice.
    pub(crate) fn into_serve(self) -> Result<Options, Problem> {
        self.serve.recording(self.directory)
    }

    /// As for a server.
    pub(crate) fn reloads(&self) -> bool {
        self.serve.reloads()
    }
}

/// Runs the server until a signal comes.
pub(crate) fn run(options: Options) -> Result<Outcome, Problem> {
    let app = options.app;
    let stats_every = options.stats_every;
    let database = options.database.clone();
    let settings = options.flags.settings()?;
    log::set_format(settings.log_format);
    if let Some(filter) = &settings.log_filter {
        log::set_filter(filter).map_err(|error| Problem::usage(format!("log.filter: {error}")))?;
    }
    let descriptors = platform::raise_descriptor_limit();
    // Before the addresses are printed, because a reader of them may send a signal at once.
    Signals::watch().map_err(failed)?;
    // Before the service starts: an address in use is reported before a client connects.
    let admin = admin::listen(&settings.admin)?;
    let players = open_players(app, database.as_deref())?;
    let service = start(app, &settings, players.as_ref())?;
    // Until the service has ended, because readiness is queried while it drains.
    let admin = admin::serve(admin, service.handle())?;
    service.announce_with(&admin::line(admin.as_ref()));
    say_fallback(&service);
    // Only io_uring has tables of its own for sockets.
    let tables = settings.direct.filter(|_| service.backend() == "uring");
    let room = tables.map(|entries| u64::from(entries) * service.workers() as u64 + 64);
    warn_of_descriptors(room.or(descriptors), settings.limits.sessions_max);
    if let Some(seconds) = stats_every {
        report_regularly(service.handle(), Duration::from_secs(seconds.into()))?;
    }
    if options.reloads() {
        reload::on_hangup(options.flags, settings, service.handle())?;
    }
    let stats = service.serve_until_signal(DRAIN_WITHIN).map_err(failed)?;
    drop(admin);
    say_farewell(&stats);
    Ok(players.map_or(Outcome::Fine, close_players))
}

/// The world's players, if it is the world that runs.
fn open_players(app: App, database: Option<&str>) -> Result<Option<Kept>, Problem> {
    match app {
        #[cfg(feature = "world")]
        App::World => {
            let refused = |error: OpenError| match error {
                OpenError::Address { .. } => Problem::usage(error.to_string()),
                _ => Problem::failed(error.to_string()),
            };
            Kept::open(database).map(Some).map_err(refused)
        }
        _ if database.is_some() => Err(Problem::usage("only `--app world` has a use for --database")),
        _ => Ok(None),
    }
}

/// Writes the remaining players, and reports the result.
#[cfg(feature = "world")]
fn close_players(players: Kept) -> Outcome {
    let (written, closed) = players.close();
    let lost = closed.saves_lost + closed.still_running;
    tell!("naksi: saved {} places, {lost} lost", units::grouped(written));
    if lost > 0 { Outcome::Errors } else { Outcome::Fine }
}

#[cfg(not(feature = "world"))]
fn close_players(players: Kept) -> Outcome {
    match players {}
}

/// Prints why the preferred port was refused, if it was.
fn say_fallback(service: &Service) {
    if let Some(reason) = service.fallback_reason() {
        let backend = service.backend();
        tell!("naksi: {backend} serves, because the port that was asked for first was refused: {reason}");
    }
}

#[cfg_attr(not(feature = "world"), expect(unused_variables, reason = "only a world has players"))]
fn start(app: App, settings: &Settings, players: Option<&Kept>) -> Result<Service, Problem> {
    let listeners =
        target::listeners(settings).or_else(|problems| Problem::all(problems).map(|()| Vec::new()))?;
    let mut server = Server::new().backend(settings.backend).limits(limits(app, settings));
    if let Some(workers) = settings.workers {
        server = server.workers(workers);
    }
    if let Some(entries) = settings.direct {
        server = server.direct_descriptors(entries);
    }
    if let Some(milliseconds) = settings.flush_ms {
        server = server.flush(Flush::Every(Duration::from_millis(milliseconds.into())));
    }
    if let Some(microseconds) = settings.spin_us {
        server = server.spin(Duration::from_micros(microseconds.into()));
    }
    if let Some(directory) = &settings.record {
        let record = naksi::record::RecordOptions::new(directory);
        let record = record.run_bytes_max(settings.record_run_bytes_max);
        server = server.record(record.table_version(app.table_version()));
    }
    server = server.dual_stack(settings.dual_stack);
    for (said, listener) in listeners {
        let listener = listener.websocket(websocket(app, said));
        server = server.listener(match said.dual_stack {
            Some(on) => listener.dual_stack(on),
            None => listener,
        });
    }
    let started = match app {
        App::Echo => server.session(|| Echo).start(),
        App::Relay => server.session(Relay::default).start(),
        App::Chat => {
            let halls = Arc::new(Halls::default());
            let server = server.group(GroupOptions::new("logic"));
            server.session(move || Chat::new(&halls)).start()
        }
        #[cfg(feature = "world")]
        App::World => {
            let players = players.expect("a world was opened with its players");
            let gate = Arc::new(Gate::new(players.store(), settings.limits.send_stall_within));
            let server = server.group(GroupOptions::new("logic"));
            server.session(move || Player::new(&gate)).start()
        }
    };
    started.map_err(failed)
}

/// The limits of the settings. An echo server accepts long messages, and has room to send them back, unless the
/// settings set other limits.
fn limits(app: App, settings: &Settings) -> Limits {
    let mut limits = settings.limits.clone();
    let is_default = |key: &str| settings.origin(key) == Origin::Default;
    if app == App::Echo && is_default("limits.message_bytes_max") {
        limits.message_bytes_max = ECHOED_BYTES_MAX;
    }
    if app == App::Echo && is_default("limits.send_queue_bytes_max") {
        limits.send_queue_bytes_max = limits.send_queue_bytes_max.max(2 * limits.message_bytes_max);
    }
    limits
}

/// What a WebSocket listener of this application accepts.
fn websocket(app: App, said: &Listener) -> ServerOptions {
    let mut options = match app.table_version() {
        0 => ServerOptions::new(),
        version => ServerOptions::new().subprotocol(format!("naksi.{version:016x}")),
    };
    options = said.subprotocols.iter().fold(options, ServerOptions::subprotocol);
    if let Some(origins) = &said.origins {
        options = options.origins(origins.clone());
    }
    match &said.path {
        Some(path) => options.path(path),
        None => options,
    }
}

/// Warns at the start if the server may have fewer descriptors than sessions.
fn warn_of_descriptors(available: Option<u64>, sessions_max: usize) {
    let asked = Limits::default().sessions_max != sessions_max;
    if let Some(available) = available.filter(|available| asked && *available < sessions_max as u64 + 64) {
        let needed = sessions_max + 64;
        tell!(
            "naksi: {} sessions need {needed} descriptors and this process may have {available}: run `ulimit -n {needed}` first",
            units::grouped(sessions_max as u64)
        );
    }
}

/// A thread that prints a line per interval; it lives as long as the process and holds nothing that must be saved.
fn report_regularly(remote: ServiceHandle, every: Duration) -> Result<(), Problem> {
    let report = move || {
        loop {
            thread::sleep(every);
            tell!("naksi: {}", counted(&remote.stats()));
        }
    };
    let spawned = thread::Builder::new().name("naksi-stats".to_owned()).spawn(report);
    spawned.map(drop).map_err(|error| Problem::failed(format!("no thread for the statistics: {error}")))
}

/// The most important counters in one line; those that are zero are left out.
fn counted(stats: &Stats) -> String {
    let mut line = format!("live {} connected {}", stats.live, stats.connected_total);
    let rare = [
        ("refused_full", stats.refused_full_total),
        ("refused_address", stats.refused_address_total),
        ("refused_rate", stats.refused_rate_total),
        ("refused_memory", stats.refused_memory_total),
        ("refused_handshakes", stats.refused_handshakes_total),
        ("accept_pauses", stats.accept_pauses_total),
        ("handler_panics", stats.handler_panics),
        ("dropped", stats.dropped),
        ("record_lost", stats.record_lost_total),
        ("starved", stats.starved_total),
    ];
    let ended = stats.ended.iter().map(|(reason, count)| (*reason, *count));
    for (name, count) in rare.into_iter().chain(ended).filter(|(_, count)| *count > 0) {
        line += &format!(" {name} {count}");
    }
    if stats.rooms.ticks_total > 0 {
        line += &format!(" {}", ticked(stats));
    }
    line
}

/// How the rooms kept their time.
fn ticked(stats: &Stats) -> String {
    let rooms = &stats.rooms;
    format!("ticks {} skipped {} late {}", rooms.ticks_total, rooms.ticks_skipped_total, rooms.jitter)
}

/// One line about how it ended.
fn say_farewell(stats: &Stats) {
    let drained = stats.ended.get(DisconnectReason::Shutdown.name()).copied().unwrap_or(0);
    let others: Vec<String> = stats
        .ended
        .iter()
        .filter(|(reason, _)| **reason != DisconnectReason::Shutdown.name())
        .map(|(reason, count)| format!("{reason} {}", units::grouped(*count)))
        .collect();
    let before = if others.is_empty() { String::new() } else { format!("; before: {}", others.join(", ")) };
    let refused = stats.refused_full_total
        + stats.refused_address_total
        + stats.refused_rate_total
        + stats.refused_memory_total
        + stats.refused_handshakes_total;
    let refused = if refused == 0 {
        String::new()
    } else {
        let full = units::grouped(stats.refused_full_total);
        let address = units::grouped(stats.refused_address_total);
        let rate = units::grouped(stats.refused_rate_total);
        let memory = units::grouped(stats.refused_memory_total);
        let handshakes = match stats.refused_handshakes_total {
            0 => String::new(),
            count => format!(", handshakes {}", units::grouped(count)),
        };
        format!("; refused: full {full}, address {address}, rate {rate}, memory {memory}{handshakes}")
    };
    tell!(
        "naksi: drained {} sessions, {} left ({} connected in all{before}{refused})",
        units::grouped(drained),
        stats.live,
        units::grouped(stats.connected_total),
    );
    if stats.rooms.ticks_total > 0 {
        tell!("naksi: {}", ticked(stats));
    }
    if stats.recorded_total + stats.record_lost_total > 0 {
        let (recorded, lost) =
            (units::grouped(stats.recorded_total), units::grouped(stats.record_lost_total));
        tell!("naksi: recorded {recorded} entries, {lost} lost");
    }
}

/// An error of the engine is one readable line already.
pub(crate) fn failed(error: Error) -> Problem {
    match error {
        Error::Config(line) => Problem::Usage(line),
        other => Problem::Failed(other.to_string()),
    }
}
