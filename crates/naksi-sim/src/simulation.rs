//! Runs a user's server on simulated kernels, one for each seed, and reports the first seed that shows a bug.
//!
//! Nothing here knows what the server does: its clients and its own assertions say what is right.

use std::cell::RefCell;
use std::fmt;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::Duration;

use naksi::engine::{SteppedServer, Turn, Worker};
use naksi::prelude::*;
use naksi::service::BoundServer;
use naksi::session::Factory;
use naksi_core::prng::Prng;
use naksi_os::port::PortOptions;

use crate::client_script::{ClientScript, ClientTally, Faults, ScriptedClient};
use crate::kernel::fault::{Dialect, FaultKind, FaultPlan};
use crate::kernel::port::SimPort;
use crate::kernel::world::{World, WorldOptions};
use crate::panics::first_panic;
use crate::stepped_group::SteppedGroup;

/// Kinds of fault that may end a session or a connection; all others only change how and when things happen.
const ENDING: [FaultKind; 9] = [
    FaultKind::AcceptAborted,
    FaultKind::AcceptContextFailed,
    FaultKind::PeerReset,
    FaultKind::ConnectRefused,
    FaultKind::ConnectTimedOut,
    FaultKind::SendFailed,
    FaultKind::RecvFailed,
    FaultKind::ClockJump,
    FaultKind::ImmediateError,
];
/// Turns of workers without any progress of time: more is a loop without an end.
const TURNS_AT_ONCE_MAX: u64 = 300_000;
/// How long the end of a service may take, in the world's time.
const STOP_WITHIN: Duration = Duration::from_secs(60);

type MakeServer<F> = Box<dyn Fn() -> BoundServer<F>>;
type MakeScript = Box<dyn Fn(&mut Prng) -> ClientScript>;
type Check = Box<dyn Fn(&Stats)>;

/// Runs a server on simulated kernels, one for each seed.
///
/// A seed decides everything: the number of workers, the sizes of their ports, the order of events, the latencies, and
/// the faults. Time is virtual, and nothing touches the network or the clock of this machine, so the same seed gives
/// the same run. Seed 0 has no faults; every fourth seed from 3 on has faults of all kinds, which may end
/// connections; the other seeds have faults that only change how and when bytes arrive.
///
/// A seed has found a bug if
/// * a client does not receive what its [`ClientScript`] expects, or waits for it longer than
///   [`Simulation::clients_within`];
/// * anything panics: a callback, a room, a job, a check;
/// * the service does not stop, or keeps a session, a room, a buffer or a descriptor.
///
/// ```
/// use naksi::prelude::*;
/// use naksi_sim::{ClientScript, Simulation};
///
/// struct Echo;
/// impl Session for Echo {
///     fn on_recv(&mut self, c: &mut Conn, data: &[u8]) -> usize { c.send(data); data.len() }
/// }
///
/// let report = Simulation::new(|| Server::new().session(|| Echo))
///     .clients(10, |_| ClientScript::new().send(b"hello").expect(b"hello"))
///     .run(0..20)?;
/// assert!(report.completed > 100);
/// # Ok::<(), naksi_sim::FailedSeed>(())
/// ```
pub struct Simulation<F> {
    server: MakeServer<F>,
    clients: Vec<(u64, MakeScript)>,
    checks: Vec<Check>,
    clients_within: Duration,
}

impl<F> fmt::Debug for Simulation<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Simulation({} kinds of clients)", self.clients.len())
    }
}

/// What the seeds of a simulation came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SimulationReport {
    /// Seeds that were run.
    pub seeds: u64,
    /// Clients whose script was carried out to its end.
    pub completed: u64,
    /// Clients whose connection was ended by a fault.
    pub cut: u64,
    /// Faults that happened.
    pub faults: u64,
    /// A hash of every event with its time: equal for equal runs.
    pub trace_hash: u64,
}

impl fmt::Display for SimulationReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seeds, completed, cut, faults, .. } = self;
        write!(f, "{seeds} seeds: {completed} clients completed, {cut} were cut by faults; {faults} faults")
    }
}

/// The first seed that has found a bug.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailedSeed {
    /// Pass it to [`Simulation::trace`] to see what happened.
    pub seed: u64,
    /// What was seen.
    pub text: String,
}

impl fmt::Display for FailedSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}: {}", self.seed, self.text)
    }
}

/// As `Display`, because a test that unwraps shows this.
impl fmt::Debug for FailedSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for FailedSeed {}

impl<F: Factory> Simulation<F> {
    /// Simulates the server that this makes, once for each seed. Its workers and port sizes are the seed's.
    pub fn new(server: impl Fn() -> BoundServer<F> + 'static) -> Self {
        Self {
            server: Box::new(server),
            clients: Vec::new(),
            checks: Vec::new(),
            clients_within: Duration::from_secs(120),
        }
    }

    /// Adds so many clients, which connect within the first second. Each has an address of its own and its own script;
    /// the random numbers are the seed's.
    #[must_use]
    pub fn clients(mut self, count: u64, script: impl Fn(&mut Prng) -> ClientScript + 'static) -> Self {
        self.clients.push((count, Box::new(script)));
        self
    }

    /// Adds a check that runs when the service has stopped; it panics if something is wrong.
    #[must_use]
    pub fn check(mut self, check: impl Fn(&Stats) + 'static) -> Self {
        self.checks.push(Box::new(check));
        self
    }

    /// How long all clients together may take, in the world's time; 120 s by default.
    #[must_use]
    pub fn clients_within(mut self, span: Duration) -> Self {
        self.clients_within = span;
        self
    }

    /// Runs these seeds in order.
    ///
    /// # Errors
    /// The first seed that has found a bug.
    pub fn run(&self, seeds: impl IntoIterator<Item = u64>) -> Result<SimulationReport, FailedSeed> {
        let mut sum = SimulationReport::default();
        for seed in seeds {
            let one = self.run_one(seed, None)?;
            sum.seeds += 1;
            sum.completed += one.completed;
            sum.cut += one.cut;
            sum.faults += one.faults;
            sum.trace_hash = sum.trace_hash.rotate_left(5) ^ one.trace_hash;
        }
        Ok(sum)
    }

    /// Runs one seed, and gives a line for every event, fault and completion.
    ///
    /// # Errors
    /// The seed has found a bug.
    pub fn trace(
        &self,
        seed: u64,
        mut line: impl FnMut(&str) + 'static,
    ) -> Result<SimulationReport, FailedSeed> {
        let tracer = move |at: Tick, what: fmt::Arguments<'_>| line(&format!("{at:?} {what}"));
        self.run_one(seed, Some(Box::new(tracer)))
    }

    fn run_one(
        &self,
        seed: u64,
        tracer: Option<crate::kernel::world::Tracer>,
    ) -> Result<SimulationReport, FailedSeed> {
        let run = || {
            let mut run = Run::open(seed, self, tracer)?;
            run.serve(self.clients_within)?;
            run.stop(&self.checks)
        };
        first_panic(None, run).flatten().map_err(|text| FailedSeed { seed, text })
    }
}

fn faults_of(seed: u64) -> Faults {
    match seed {
        0 => Faults::None,
        _ if seed % 4 == 3 => Faults::Every,
        _ => Faults::EndNoSession,
    }
}

fn plan_of(seed: u64) -> FaultPlan {
    let random = FaultPlan::random(seed);
    match faults_of(seed) {
        Faults::None => FaultPlan::none(),
        Faults::Every => random,
        Faults::EndNoSession => ENDING.into_iter().fold(random, |plan, kind| plan.with(kind, 0)),
    }
}

/// One seed.
struct Run<F: Factory> {
    world: World,
    server: SteppedServer<SimPort, F>,
    groups: Vec<SteppedGroup>,
    random: Prng,
    tally: Rc<RefCell<ClientTally>>,
    clients: u64,
}

impl<F: Factory> Run<F> {
    fn open(
        seed: u64,
        simulation: &Simulation<F>,
        tracer: Option<crate::kernel::world::Tracer>,
    ) -> Result<Self, String> {
        let mut random = Prng::new(seed ^ 0x0005_EED0_F0A5_E12E);
        let dialect = Dialect::ALL[seed as usize % 2];
        let world =
            World::new(WorldOptions { seed, dialect, faults: plan_of(seed), ..WorldOptions::default() });
        if let Some(tracer) = tracer {
            world.follow(tracer);
        }
        let port = PortOptions {
            submission_entries: 1 << random.between(3, 8),
            completion_entries: 1 << random.between(9, 12),
            lease_count: 1 << random.between(0, 6),
            lease_bytes: 1 << random.between(6, 12),
            catch_max: random.between(1, 64) as usize,
            ..PortOptions::default()
        };
        let workers = random.between(1, 3) as usize;
        let open = |options: &PortOptions| Ok(world.open_port(options));
        let mut server = (simulation.server)()
            .stepped(workers, &port, open)
            .map_err(|error| format!("the server does not start: {error}"))?;
        let groups = server.groups.drain(..);
        let groups = groups.map(|group| SteppedGroup::new(group, 1)).collect();
        let mut run = Self { world, server, groups, random, tally: Rc::default(), clients: 0 };
        for (count, script) in &simulation.clients {
            for _ in 0..*count {
                let script = script(&mut run.random);
                run.dial(script, faults_of(seed));
            }
        }
        Ok(run)
    }

    fn dial(&mut self, script: ClientScript, faults: Faults) {
        let client = ScriptedClient::new(self.clients, script, faults, &self.tally);
        self.clients += 1;
        let from = std::net::Ipv4Addr::from(0x0A01_0000 + self.clients as u32);
        let remote = self.server.addresses[self.random.below(self.server.addresses.len() as u64) as usize];
        let at = self.world.now() + Duration::from_micros(self.random.below(1_000_000));
        self.world.dial_from(from.into(), remote, Box::new(client), at);
    }

    /// One turn of every worker that has something to do, and one thing in every group. Returns how many did.
    fn step(&mut self) -> u64 {
        let mut stepped = 0;
        self.server.workers.retain_mut(|worker: &mut Worker<SimPort, F>| {
            if !worker.port().is_runnable() {
                return true;
            }
            stepped += 1;
            worker.turn().expect("a simulated port does not break") == Turn::Going
        });
        let now = self.world.now();
        for group in &mut self.groups {
            let duration = |random: &mut Prng| Duration::from_micros(random.below(5_000));
            if let Some(until) = group.step(now, &mut self.random, duration) {
                stepped += 1;
                if until > now {
                    self.world.wake_at(until);
                }
            }
        }
        stepped
    }

    /// Goes on until `done` breaks it off, until `deadline`, or until nothing is left to happen.
    fn drive(
        &mut self,
        deadline: Tick,
        mut done: impl FnMut(&Self) -> ControlFlow<()>,
    ) -> Result<bool, String> {
        let (mut at, mut turns) = (self.world.now(), 0);
        loop {
            let now = self.world.now();
            if now != at {
                (at, turns) = (now, 0);
            }
            let stepped = self.step();
            turns += stepped;
            if turns > TURNS_AT_ONCE_MAX {
                return Err(format!("the server is busy without an end at {now:?}: {turns} turns"));
            }
            if let Some(failed) = &self.tally.borrow().failed {
                return Err(failed.clone());
            }
            if done(self).is_break() {
                return Ok(true);
            }
            if stepped == 0 && (now > deadline || !self.world.advance()) {
                return Ok(false);
            }
        }
    }

    fn clients_over(&self) -> u64 {
        let tally = self.tally.borrow();
        tally.completed + tally.cut
    }

    fn serve(&mut self, within: Duration) -> Result<(), String> {
        let deadline = self.world.now() + within;
        let all_over = |run: &Self| {
            if run.clients_over() == run.clients { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        if self.drive(deadline, all_over)? {
            return Ok(());
        }
        let (over, stats) = (self.clients_over(), self.server.service_core.stats());
        Err(format!(
            "{} of {} clients wait after {within:?}; sessions live: {}",
            self.clients - over,
            self.clients,
            stats.live
        ))
    }

    fn stop(mut self, checks: &[Check]) -> Result<SimulationReport, String> {
        self.world.heal();
        self.server.service_core.drain(Duration::from_secs(5));
        let deadline = self.world.now() + STOP_WITHIN;
        let ended = |run: &Self| {
            if run.server.workers.is_empty() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        if !self.drive(deadline, ended)? {
            return Err(format!(
                "the service does not stop within {STOP_WITHIN:?}: {:?}",
                self.server.workers
            ));
        }
        self.server.service_core.close_rooms();
        for group in &mut self.groups {
            let stats = group.close();
            if (stats.done_total, stats.depth) != (stats.posted_total, 0) {
                return Err(format!("a job is lost: {stats}"));
            }
        }
        let stats = self.server.service_core.stats();
        if (stats.live, stats.rooms.live, stats.held_bytes) != (0, 0, 0) {
            return Err(format!("the stopped service keeps sessions, rooms or memory: {stats}"));
        }
        checks.iter().for_each(|check| check(&stats));
        let Self { world, server, tally, .. } = self;
        drop(server);
        world.advance();
        if world.descriptors() != 0 {
            return Err(format!("{} descriptors stay open", world.descriptors()));
        }
        let tally = tally.borrow();
        let (faults, trace_hash) = (world.fired_total(), world.trace_hash());
        Ok(SimulationReport { seeds: 1, completed: tally.completed, cut: tally.cut, faults, trace_hash })
    }
}
