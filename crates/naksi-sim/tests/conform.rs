//! Every scenario on every backend that can be had here, compared with its lines.
//!
//! Nothing here measures time; a scenario that hangs gives up by itself. A backend that this system refuses
//! is skipped aloud.

use std::io::Write as _;

use naksi_sim::conform::{Backend, ScenarioResult, permitted, scenarios};
use naksi_sim::kernel::fault::Dialect;

/// Runs every scenario on one backend, and returns what differs.
fn trial(backend: Backend) -> Vec<String> {
    let mut findings = Vec::new();
    for scenario in scenarios() {
        let report = backend.run(scenario);
        if report.verdict == ScenarioResult::Differs {
            let name = scenario.name();
            let (expected, lines) = (scenario.expected(), report.lines);
            findings.push(format!("{backend:?} {name}\n  expected {expected:#?}\n  saw {lines:#?}"));
        }
    }
    findings
}

fn agrees(backend: Backend) {
    if let Some(why) = backend.refusal() {
        // Behind the harness, which shows nothing of what passes.
        let line = format!("skipped: the scenarios on {}, which cannot be used here: {why}", backend.name());
        writeln!(std::io::stderr(), "{line}").expect("stderr takes a line");
        return;
    }
    let findings = trial(backend);
    assert!(findings.is_empty(), "{} scenarios differ:\n{}", findings.len(), findings.join("\n"));
}

#[test]
fn io_uring_conforms() {
    agrees(Backend::Uring);
}

#[test]
fn epoll_conforms() {
    agrees(Backend::Epoll);
}

#[test]
fn completion_ports_conform() {
    agrees(Backend::Iocp);
}

#[test]
fn the_simulated_kernel_conforms_in_ten_worlds_of_each_dialect() {
    for dialect in Dialect::ALL {
        (0..10).for_each(|seed| agrees(Backend::Sim(dialect, seed)));
    }
}

#[test]
fn there_are_enough_scenarios_and_few_permitted_differences() {
    let names: Vec<String> = scenarios().map(|scenario| scenario.name()).collect();
    assert!(names.len() >= 80, "{} scenarios", names.len());
    let mut unique = names.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), names.len(), "two scenarios share a name");
    assert!(permitted::PERMITTED.len() <= 5);
    for one in permitted::PERMITTED {
        assert!(names.iter().any(|name| name == one.scenario), "{} is no scenario", one.scenario);
    }
}
