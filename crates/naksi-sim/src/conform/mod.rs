//! One suite of scenarios for every port: the same script, the same normalised trace.
//!
//! A scenario is a short script over the port's contract together with the lines that it must leave. Each
//! backend is compared with those lines, and so all of them with each other. Peers are made with the port's
//! own listen and connect, so that a simulated kernel runs the same scripts; the few scenarios that need
//! another thread or a foreign peer say so, and are skipped there with that reason. What may differ is the
//! list [`permitted::PERMITTED`] and nothing else.
//!
//! The contract has no operation that sends a file over a socket, so there is no such scenario.
//!
//! ```text
//!   harness.rs     where ports come from          script.rs   submit, let time pass, collect, write down
//!   trace.rs      completions in words           verbs.rs    shorthands of the scripts
//!   scenarios/    the scripts and their lines    permitted.rs   what may differ, and why
//! ```

pub mod permitted;
pub mod harness;

mod scenarios;
mod script;
mod trace;
mod verbs;

use std::fmt;
use std::time::Duration;

use crate::kernel::fault::Dialect;
use crate::kernel::world::WorldOptions;
use naksi_os::OsPort;
use naksi_os::port::{PortError, PortOptions};

use harness::{DynHarness, Real, Simulated};
use permitted::PERMITTED;
use script::Script;

/// Why a scenario is not for every backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    Anything,
    RealPorts(&'static str),
}

/// One script and the lines it must leave.
pub struct Scenario {
    verb: &'static str,
    case: &'static str,
    needs: Needs,
    script: fn(&mut Script),
    expected: &'static [&'static str],
}

impl fmt::Debug for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scenario({})", self.name())
    }
}

impl Scenario {
    const fn new(
        verb: &'static str,
        case: &'static str,
        script: fn(&mut Script),
        expected: &'static [&'static str],
    ) -> Self {
        Self { verb, case, needs: Needs::Anything, script, expected }
    }

    const fn real_ports_only(mut self, reason: &'static str) -> Self {
        self.needs = Needs::RealPorts(reason);
        self
    }

    /// The verb on trial and the case, as `verb/case`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.verb, self.case)
    }

    /// The lines that every backend must leave.
    pub fn expected(&self) -> &'static [&'static str] {
        self.expected
    }
}

/// Every scenario, by verb.
pub fn scenarios() -> impl Iterator<Item = &'static Scenario> {
    scenarios::ALL.iter().copied().flatten()
}

/// How a backend did in one scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScenarioResult {
    /// It left the expected lines.
    Agrees,
    /// It left other lines, as the list of permitted differences says that it may, for this reason.
    Permitted(&'static str),
    /// It left other lines.
    Differs,
    /// It was not run, for this reason.
    Skipped(&'static str),
}

/// What one run of one scenario left.
#[derive(Clone, Debug)]
pub struct Report {
    /// How it compares.
    pub verdict: ScenarioResult,
    /// The lines; none if it was skipped.
    pub lines: Vec<String>,
}

/// A backend that can be put on trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Linux io_uring.
    Uring,
    /// Linux epoll.
    Epoll,
    /// Windows I/O completion ports.
    Iocp,
    /// The simulated kernel in one of its dialects, in a world made of this seed.
    Sim(Dialect, u64),
}

impl Backend {
    /// The backend of a name as the command line knows it.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "uring" => Some(Backend::Uring),
            "epoll" => Some(Backend::Epoll),
            "iocp" => Some(Backend::Iocp),
            "sim" | "sim-uring" => Some(Backend::Sim(Dialect::Uring, 1)),
            "sim-iocp" => Some(Backend::Sim(Dialect::Iocp, 1)),
            _ => None,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Backend::Uring => "uring",
            Backend::Epoll => "epoll",
            Backend::Iocp => "iocp",
            Backend::Sim(Dialect::Uring, _) => "sim-uring",
            Backend::Sim(Dialect::Iocp, _) => "sim-iocp",
        }
    }

    /// Every backend that this build knows.
    pub fn all() -> Vec<Self> {
        ["uring", "epoll", "iocp", "sim-uring", "sim-iocp"].into_iter().filter_map(Self::named).collect()
    }

    /// Why the backend cannot be used here, if it cannot.
    pub fn refusal(self) -> Option<String> {
        let options = PortOptions { lease_count: 1, lease_bytes: 64, ..script::small() };
        self.harness().open(&options).err().map(|error| error.text)
    }

    fn is_real(self) -> bool {
        !matches!(self, Backend::Sim(..))
    }

    fn harness(self) -> Box<dyn DynHarness> {
        match self {
            Backend::Uring | Backend::Epoll | Backend::Iocp => system(self.name()),
            Backend::Sim(dialect, seed) => {
                let latency_max = script::MOMENT / 4;
                let latency_min = Duration::from_micros(50);
                let options =
                    WorldOptions { seed, dialect, latency_min, latency_max, ..WorldOptions::default() };
                Box::new(Simulated::new(options))
            }
        }
    }

    /// Runs one scenario and compares what it left.
    pub fn run(self, scenario: &Scenario) -> Report {
        if let (Needs::RealPorts(reason), false) = (scenario.needs, self.is_real()) {
            return Report { verdict: ScenarioResult::Skipped(reason), lines: Vec::new() };
        }
        let lines = script::run(self.harness(), scenario.script);
        Report { verdict: self.judge(scenario, &lines), lines }
    }

    fn judge(self, scenario: &Scenario, lines: &[String]) -> ScenarioResult {
        if lines == scenario.expected {
            return ScenarioResult::Agrees;
        }
        let name = scenario.name();
        let permitted = PERMITTED
            .iter()
            .find(|one| one.is_about(self.name()) && one.scenario == name && lines == one.instead);
        permitted.map_or(ScenarioResult::Differs, |one| ScenarioResult::Permitted(one.reason))
    }
}

/// The port of this name, if this system has one.
fn system(name: &'static str) -> Box<dyn DynHarness> {
    let open: fn(&PortOptions) -> Result<OsPort, PortError> = match name {
        "uring" => |options| OsPort::open_backend(options, "uring"),
        "epoll" => |options| OsPort::open_backend(options, "epoll"),
        _ => |options| OsPort::open_backend(options, "iocp"),
    };
    Box::new(Real { open, end: OsPort::end })
}
