//! `naksi conform`: one suite of scenarios on every port of this system, side by side.
//!
//! It succeeds only if every backend produced the expected lines of every scenario, apart from the permitted
//! differences.

use std::fmt::Write as _;

use naksi_sim::conform::{Backend, Report, Scenario, ScenarioResult, permitted, scenarios};

use crate::outcome::{Outcome, Problem};
use crate::results::print;

/// Options of `naksi conform`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Which backends: uring, epoll, iocp, sim (or sim-uring), sim-iocp. Without it, all that this system has.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    backend: Vec<String>,
    /// Only the scenarios whose name holds this.
    #[arg(long, value_name = "PATTERN", default_value = "")]
    only: String,
    /// Print the names of the scenarios and the permitted differences, and run nothing.
    #[arg(long)]
    list: bool,
    /// Print the lines that every run left.
    #[arg(long)]
    trace: bool,
    /// The seed of the simulated world.
    #[arg(long, value_name = "S", default_value = "1")]
    seed: u64,
}

/// Runs the scenarios and prints a line for each.
pub(crate) fn run(options: Options) -> Result<Outcome, Problem> {
    let chosen: Vec<&Scenario> =
        scenarios().filter(|scenario| scenario.name().contains(options.only.as_str())).collect();
    if chosen.is_empty() {
        return Err(Problem::usage(format!(
            "no scenario is called like `{}`: --list names them",
            options.only
        )));
    }
    if options.list {
        return print(&list(&chosen)).map(|()| Outcome::Fine);
    }
    let backends = backends(&options)?;
    let heads: Vec<String> = backends.iter().map(|backend| format!("{:<10}", backend.name())).collect();
    print(&format!("{:<64}{}\n", "scenario", heads.concat()))?;
    let mut tally = Tally::default();
    for scenario in &chosen {
        let reports: Vec<Report> = backends.iter().map(|backend| backend.run(scenario)).collect();
        print(&row(scenario, &backends, &reports, options.trace))?;
        reports.iter().for_each(|report| tally.count(&report.verdict));
    }
    let Tally { agreed, permitted, differed, skipped } = tally;
    print(&format!(
        "{} scenarios on {} backends: {agreed} agree, {permitted} differ as permitted, {skipped} skipped, \
         {differed} differ\n",
        chosen.len(),
        backends.len()
    ))?;
    Ok(if differed == 0 { Outcome::Fine } else { Outcome::Errors })
}

#[derive(Default)]
struct Tally {
    agreed: u32,
    permitted: u32,
    differed: u32,
    skipped: u32,
}

impl Tally {
    fn count(&mut self, verdict: &ScenarioResult) {
        *match verdict {
            ScenarioResult::Agrees => &mut self.agreed,
            ScenarioResult::Permitted(_) => &mut self.permitted,
            ScenarioResult::Differs => &mut self.differed,
            ScenarioResult::Skipped(_) => &mut self.skipped,
        } += 1;
    }
}

/// The requested backends; one that cannot be used here is an error only if it was named.
fn backends(options: &Options) -> Result<Vec<Backend>, Problem> {
    let seeded = |backend| match backend {
        Backend::Sim(dialect, _) => Backend::Sim(dialect, options.seed),
        real => real,
    };
    if options.backend.is_empty() {
        return Ok(Backend::all().into_iter().filter(|one| one.refusal().is_none()).map(seeded).collect());
    }
    let mut chosen = Vec::new();
    for name in &options.backend {
        let backend = Backend::named(name).ok_or_else(|| {
            Problem::usage(format!("`{name}` is no backend: use uring, epoll, iocp, sim-uring or sim-iocp"))
        })?;
        if let Some(why) = backend.refusal() {
            return Err(Problem::failed(format!("{name} cannot be used here: {why}")));
        }
        chosen.push(seeded(backend));
    }
    Ok(chosen)
}

/// One row of the table, followed by the details of a failure.
fn row(scenario: &Scenario, backends: &[Backend], reports: &[Report], trace: bool) -> String {
    let name = scenario.name();
    let mut text = format!("{name:<64}");
    let mut notes = String::new();
    for (backend, report) in backends.iter().zip(reports) {
        let backend = backend.name();
        let (word, note) = match report.verdict {
            ScenarioResult::Agrees => ("ok", None),
            ScenarioResult::Permitted(reason) => ("permitted", Some(reason)),
            ScenarioResult::Skipped(reason) => ("skipped", Some(reason)),
            ScenarioResult::Differs => ("DIFFERS", None),
        };
        write!(text, "{word:<10}").expect("a string takes everything");
        if let Some(note) = note {
            writeln!(notes, "    {backend}: {note}").expect("a string takes everything");
        }
        if trace || report.verdict == ScenarioResult::Differs {
            for line in &report.lines {
                writeln!(notes, "    {backend}| {line}").expect("a string takes everything");
            }
        }
    }
    if reports.iter().any(|report| report.verdict == ScenarioResult::Differs) {
        for line in scenario.expected() {
            writeln!(notes, "    expected| {line}").expect("a string takes everything");
        }
    }
    format!("{}\n{notes}", text.trim_end())
}

fn list(chosen: &[&Scenario]) -> String {
    let mut text: String = chosen.iter().map(|scenario| format!("{}\n", scenario.name())).collect();
    writeln!(
        text,
        "\n{} scenarios; the contract has no operation that sends a file over a socket",
        chosen.len()
    )
    .expect("a string takes everything");
    for one in permitted::PERMITTED {
        writeln!(text, "permitted: {} in {}: {}", one.backend, one.scenario, one.reason)
            .expect("a string takes everything");
    }
    text
}
