//! The conductor of a run: connects the clients, starts them, watches, waits for late answers, stops them, and sums
//! up. It decides when clients act; the scenarios decide what they send.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use naksi::prelude::*;
use naksi::service::Signals;

use super::chat::ChatDummy;
use super::echo::EchoDummy;
use super::idle::{self, IdleDummy};
use super::member::Member;
use super::meter::{self, Glance, Meter};
use super::plan::Plan;
use super::progress::View;
use super::relay::RelayDummy;
use super::storm::StormDummy;
use super::world::{self, WorldDummy};
use super::{Dummy, Scenario};
use crate::outcome::Problem;
use crate::platform::{self, ProcessSample};
use crate::serve::failed;
use crate::target;

/// How often the conductor looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// After this long without a new client, the run starts with those that are ready.
const GATHER_PATIENCE: Duration = Duration::from_secs(10);
/// How late a message that was due before the stop may be sent, because timers of a busy machine are late.
const LATE_SENDS: Duration = Duration::from_millis(50);
/// Late answers are awaited while some still arrive within this span, and not without limit.
const STRAGGLER_PATIENCE: Duration = Duration::from_secs(3);
const STRAGGLERS_WITHIN: Duration = Duration::from_secs(15);
/// How long the dummies may take to disconnect.
const GOODBYE_WITHIN: Duration = Duration::from_secs(3);

/// Memory and processor time of the server and of this process, at the phases of a run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Watch {
    /// Before the first connection.
    pub(crate) before: Option<ProcessSample>,
    /// When sending began.
    pub(crate) start: Option<ProcessSample>,
    /// When sending ended.
    pub(crate) stop: Option<ProcessSample>,
}

/// What a run leaves behind.
pub(crate) struct Aftermath {
    pub(crate) total: Meter,
    pub(crate) stats: Stats,
    pub(crate) backend: &'static str,
    /// From the first connect until everybody was ready.
    pub(crate) gathered: Duration,
    /// From the start of sending to its end.
    pub(crate) elapsed: Duration,
    pub(crate) server: Watch,
    pub(crate) dummy: Watch,
    /// Ctrl-C came before the time was over.
    pub(crate) cut_short: bool,
    /// Members that have not begun, though they had the time to.
    pub(crate) never_started: u64,
}

/// Runs the plan from the first connection to the last disconnect.
pub(crate) fn conduct(
    plan: &Arc<Plan>,
    scenario: Scenario,
    backend: Backend,
    view: &mut View,
) -> Result<Aftermath, Problem> {
    let signals = Signals::watch().map_err(failed)?;
    // A server in this process (the demo) cannot be told apart from its clients.
    let pid = platform::listening_process(plan.target).filter(|pid| *pid != std::process::id());
    let look = || (pid.and_then(platform::sample), platform::sample(std::process::id()));
    let (mut server, mut dummy) = (Watch::default(), Watch::default());
    (server.before, dummy.before) = look();
    plan.signals.begin(plan.clock.now());
    let service = launch(plan, scenario, backend).map_err(failed)?;
    let began = Instant::now();
    let mut cut_short = false;
    if scenario != Scenario::Storm {
        cut_short = gather(plan, scenario, &service, signals, view);
    }
    if scenario == Scenario::World && !cut_short && !plan.field.has_been_entered() {
        plan.signals.finish();
        service.stop(Duration::ZERO);
        return Err(nobody_let_in(plan));
    }
    let gathered = began.elapsed();
    (server.start, dummy.start) = look();
    let has_begun = !cut_short;
    if has_begun {
        cut_short = watch(plan, scenario, signals, view);
    }
    let elapsed = plan.signals.sent_for();
    (server.stop, dummy.stop) = look();
    if scenario == Scenario::Idle && !cut_short {
        thread::sleep(idle::SECOND_WITHIN);
    }
    if scenario == Scenario::World && !cut_short {
        cut_short = world::settle(plan, signals);
    }
    wait_for_stragglers(plan, scenario);
    plan.signals.finish();
    let backend = service.backend();
    let never_started = if has_begun { plan.never_started() } else { 0 };
    let stats = service.stop(GOODBYE_WITHIN);
    let total = meter::collect(plan);
    Ok(Aftermath { total, stats, backend, gathered, elapsed, server, dummy, cut_short, never_started })
}

fn launch(plan: &Arc<Plan>, scenario: Scenario, backend: Backend) -> naksi::Result<Service> {
    match scenario {
        Scenario::Relay => crowd::<RelayDummy>(plan, backend, Retry::NEVER),
        Scenario::Chat => crowd::<ChatDummy>(plan, backend, Retry::NEVER),
        Scenario::World => {
            let soon = Duration::from_millis(100);
            let again =
                Retry { attempts_max: u32::MAX, pause_min: Duration::from_millis(10), pause_max: soon };
            crowd::<WorldDummy>(plan, backend, again)
        }
        Scenario::Idle => crowd::<IdleDummy>(plan, backend, Retry::NEVER),
        Scenario::Storm => {
            let at_once =
                Retry { attempts_max: u32::MAX, pause_min: Duration::ZERO, pause_max: Duration::ZERO };
            crowd::<StormDummy>(plan, backend, at_once)
        }
        _ => crowd::<EchoDummy>(plan, backend, Retry::NEVER),
    }
}

fn crowd<D: Dummy>(plan: &Arc<Plan>, backend: Backend, retry: Retry) -> naksi::Result<Service> {
    let shared = Arc::clone(plan);
    let mut client = Client::new(plan.target);
    if let Some(url) = &plan.url {
        client = target::over(client, url, plan.seed);
    }
    client
        .connections(plan.sessions)
        .connect_rate(plan.connect_rate)
        .workers(plan.workers)
        .backend(backend)
        .limits(plan.limits())
        .retry(retry)
        .session_with(move |arrival: &ConnectionInfo| D::new(Member::new(&shared, arrival)))
        .start()
}

/// Waits until all clients are ready, or no more will be. Returns whether Ctrl-C came instead.
fn gather(plan: &Plan, scenario: Scenario, service: &Service, signals: &Signals, view: &mut View) -> bool {
    let mut seen = 0;
    let mut moved_at = Instant::now();
    loop {
        let glance = meter::glance(plan);
        view.gathering(&glance, plan.sessions);
        let settled = glance.ready + glance.surprises + service.stats().given_up_total;
        // A client that a world disconnects comes again: as long as none is in, that says nothing about the others.
        let is_outside = scenario == Scenario::World && !plan.field.has_been_entered();
        let is_over = if is_outside { glance.wrong } else { settled } >= u64::from(plan.sessions);
        if is_over || moved_at.elapsed() > GATHER_PATIENCE {
            return false;
        }
        let arrived = if is_outside { 0 } else { settled + glance.connected };
        if arrived > seen {
            seen = arrived;
            moved_at = Instant::now();
        }
        if signals.wait(LOOK_EVERY) {
            return true;
        }
    }
}

/// The error for a world that lets no client in.
fn nobody_let_in(plan: &Plan) -> Problem {
    let (target, glance) = (plan.target, meter::glance(plan));
    let what = match glance.wrong {
        0 => "it ended the connections or said nothing",
        _ => "what it answers is no welcome",
    };
    Problem::failed(format!("{target} let no dummy into a world: {what} (is it `naksi serve --app world`?)"))
}

/// Starts the clients and watches them until the time is over. Returns whether Ctrl-C came first.
fn watch(plan: &Plan, scenario: Scenario, signals: &Signals, view: &mut View) -> bool {
    // Every client must have seen the signal before its first message is due.
    let notice = if scenario == Scenario::Storm { Duration::ZERO } else { plan.look_every() * 2 };
    let start = plan.clock.now() + notice.as_nanos() as u64;
    let stop = start + plan.span.as_nanos() as u64;
    plan.signals.start(start, stop);
    let mut early = false;
    loop {
        let now = plan.clock.now();
        let glance = meter::glance(plan);
        let elapsed = Duration::from_nanos(now.saturating_sub(start));
        view.running(&glance, elapsed.min(plan.span), plan.span);
        let deserted = scenario != Scenario::Storm && glance.gone >= u64::from(plan.sessions);
        if now >= stop || deserted || early {
            plan.signals.stop(now);
            return early;
        }
        early = signals.wait(LOOK_EVERY.min(Duration::from_nanos(stop - now)));
    }
}

/// Waits for answers that are still in flight, as long as some arrive.
fn wait_for_stragglers(plan: &Plan, scenario: Scenario) {
    // In a storm, a client without a connection has nothing outstanding yet, and is awaited all the same.
    let are_all_in = || scenario != Scenario::Storm || plan.never_started() == 0;
    let began = Instant::now();
    let (mut seen, mut moved_at) = (Glance::default(), began);
    while began.elapsed() < STRAGGLERS_WITHIN && moved_at.elapsed() < STRAGGLER_PATIENCE {
        let glance = meter::glance(plan);
        // What was due before the stop may be sent after it: two consecutive samples must find everything answered.
        let is_answered = glance.received >= glance.owed && glance.owed == seen.owed;
        if is_answered && are_all_in() && began.elapsed() > LATE_SENDS {
            return;
        }
        if glance.received > seen.received || glance.owed > seen.owed {
            (seen, moved_at) = (glance, Instant::now());
        }
        thread::sleep(Duration::from_millis(20));
    }
}
