//! The report: for each attack, what the regular clients measured and how the attackers ended.
//!
//! A run fails if a regular client lost something, or if an attacker outlived its deadline. Times are judged only if
//! the user asks for it.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;

use super::Served;
use super::kinds::{AttackContext, AttackCounts};
use crate::dummy::report::Summary;
use crate::outcome::Outcome;
use crate::units::{self, bytes, grouped, millis};

/// What the regular clients measured in one phase: the baseline, or one attack.
#[derive(Clone, Debug, Serialize)]
pub(super) struct PhaseResult {
    name: String,
    #[serde(rename = "p50_ns")]
    p50: u64,
    #[serde(rename = "p99_ns")]
    p99: u64,
    /// The 99th percentile divided by the baseline's.
    ratio: f64,
    sent: u64,
    received: u64,
    lost: u64,
    /// Errors of the regular clients, by name.
    errors: BTreeMap<String, u64>,
    /// How long an attacker may live after its clock began, in milliseconds.
    deadline_ms: Option<u64>,
    attack: Option<AttackCounts>,
    /// The server's peak memory in bytes; 0 if unknown.
    server_rss_bytes: u64,
}

impl PhaseResult {
    pub(super) fn new(
        name: &str,
        summary: &Summary,
        attack: Option<AttackCounts>,
        deadline: Option<Duration>,
        server_rss_bytes: u64,
    ) -> Self {
        Self {
            name: name.to_owned(),
            p50: summary.latency.p50,
            p99: summary.latency.p99,
            ratio: 1.0,
            sent: summary.sent,
            received: summary.received,
            lost: summary.lost,
            errors: summary.errors.clone(),
            deadline_ms: deadline.map(|within| within.as_millis() as u64),
            attack,
            server_rss_bytes,
        }
    }

    fn is_sound(&self) -> bool {
        let silent = self.received == 0;
        self.errors.is_empty() && !silent && self.attack.as_ref().is_none_or(|counts| counts.outlived == 0)
    }
}

/// The whole suite.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    target: String,
    served: Served,
    good: u32,
    #[serde(rename = "calm")]
    baseline: PhaseResult,
    attacks: Vec<PhaseResult>,
    ceilings: Vec<Verdict>,
}

#[derive(Clone, Debug, Serialize)]
struct Verdict {
    ceiling: String,
    value: f64,
    crossed: bool,
}

impl Report {
    pub(super) fn new(
        context: &AttackContext<'_>,
        good: u32,
        baseline: PhaseResult,
        mut attacks: Vec<PhaseResult>,
        ceilings: &[Ceiling],
    ) -> Self {
        for phase in &mut attacks {
            phase.ratio = phase.p99 as f64 / baseline.p99.max(1) as f64;
        }
        let highest = |figure: fn(&PhaseResult) -> f64| attacks.iter().map(figure).fold(0.0, f64::max);
        let judge = |ceiling: &Ceiling| {
            let value = match ceiling.figure {
                Figure::Ratio => highest(|phase| phase.ratio),
                Figure::Rss => highest(|phase| phase.server_rss_bytes as f64),
            };
            Verdict { ceiling: ceiling.text.clone(), value, crossed: value > ceiling.bound }
        };
        let ceilings = ceilings.iter().map(judge).collect();
        Self {
            target: context.target.to_string(),
            served: context.server.served,
            good,
            baseline,
            attacks,
            ceilings,
        }
    }

    pub(super) fn outcome(&self) -> Outcome {
        let sound = self.baseline.is_sound() && self.attacks.iter().all(PhaseResult::is_sound);
        match () {
            () if !sound => Outcome::Errors,
            () if self.ceilings.iter().any(|verdict| verdict.crossed) => Outcome::Threshold,
            () => Outcome::Fine,
        }
    }

    /// The report as text.
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        self.write(&mut out).expect("a string takes everything");
        out
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        let served = format!("{:?}", self.served).to_lowercase();
        writeln!(out, "Attack    {served} at {}, {} good clients", self.target, grouped(self.good.into()))?;
        writeln!(
            out,
            "{:<10}{:>9}{:>9}{:>7}{:>6}{:>11}{:>10}{:>8}{:>8}{:>10}{:>18}{:>11}",
            "",
            "p50 ms",
            "p99 ms",
            "ratio",
            "lost",
            "attackers",
            "kept out",
            "ended",
            "left",
            "outlived",
            "ended/deadline s",
            "server"
        )?;
        for phase in [&self.baseline].into_iter().chain(&self.attacks) {
            write_line(out, phase)?;
        }
        for phase in [&self.baseline].into_iter().chain(&self.attacks) {
            for (error, count) in &phase.errors {
                writeln!(out, "Error     {}: {error}: {}", phase.name, grouped(*count))?;
            }
        }
        for Verdict { ceiling, value, crossed } in &self.ceilings {
            let said = if *crossed { "crossed" } else { "kept" };
            writeln!(out, "Ceiling   {ceiling}: {said} ({value:.2})")?;
        }
        let verdict = match self.outcome() {
            Outcome::Errors => "the good clients lost something, or attackers outlived their deadline",
            Outcome::Fine | Outcome::Threshold => {
                "the good clients lost nothing, and every attacker ended within its deadline"
            }
        };
        writeln!(out, "Verdict   {verdict}")
    }
}

fn write_line(out: &mut String, phase: &PhaseResult) -> fmt::Result {
    let PhaseResult { name, p50, p99, ratio, lost, attack, deadline_ms, server_rss_bytes, .. } = phase;
    let (p50, p99) = (millis(*p50), millis(*p99));
    write!(out, "{name:<10}{p50:>9}{p99:>9}{ratio:>6.1}x{:>6}", grouped(*lost))?;
    let memory = if *server_rss_bytes > 0 { bytes(*server_rss_bytes) } else { "?".to_owned() };
    let Some(counts) = attack else {
        return writeln!(out, "{memory:>76}");
    };
    let AttackCounts { attackers, kept_out, ended, left, outlived, ended_after_ms, .. } = counts;
    let seconds = |ms: u64| ms as f64 / 1e3;
    let ends = match deadline_ms {
        Some(deadline) => format!("{:.1}/{:.1}", seconds(*ended_after_ms), seconds(*deadline)),
        None => "-".to_owned(),
    };
    write!(out, "{:>11}{:>10}", grouped(*attackers), grouped(*kept_out))?;
    write!(out, "{:>8}{:>8}{:>10}", grouped(*ended), grouped(*left), grouped(*outlived))?;
    writeln!(out, "{ends:>18}{memory:>11}")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Figure {
    Ratio,
    Rss,
}

/// A bound on a figure that depends on the machine: judged only on request.
#[derive(Clone, Debug)]
pub(super) struct Ceiling {
    text: String,
    figure: Figure,
    bound: f64,
}

impl FromStr for Ceiling {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shape = || format!("`{text}` is not a ceiling: write `ratio>2` or `rss>512MiB`");
        let (name, bound) = text.split_once('>').ok_or_else(shape)?;
        let (figure, bound) = match name.trim() {
            "ratio" => {
                let bound =
                    bound.trim().parse().ok().filter(|bound: &f64| bound.is_finite() && *bound >= 0.0);
                (Figure::Ratio, bound.ok_or_else(shape)?)
            }
            "rss" => (Figure::Rss, units::parse_bytes(bound)? as f64),
            _ => return Err(shape()),
        };
        Ok(Self { text: text.to_owned(), figure, bound })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_stand_apart_and_under_their_headings() {
        let phase = |name: &str, attack| PhaseResult {
            name: name.to_owned(),
            p50: 1_000_000,
            p99: 2_000_000,
            ratio: 1.0,
            sent: 9,
            received: 9,
            lost: 0,
            errors: BTreeMap::new(),
            deadline_ms: Some(60_000),
            attack,
            server_rss_bytes: 512 << 20,
        };
        let counts =
            AttackCounts { attackers: 4_000, kept_out: 1_200, ended: 2_800, ..AttackCounts::default() };
        let (target, baseline) = ("127.0.0.1:7777".to_owned(), phase("calm", None));
        let attacks = vec![phase("squatters", Some(counts))];
        let report =
            Report { target, served: Served::Echo, good: 10, baseline, attacks, ceilings: Vec::new() };
        let text = report.text();
        let lines: Vec<&str> = text.lines().skip(1).take(3).collect();
        assert!(lines.iter().all(|line| line.len() == lines[0].len()), "{text}");
        let headings: Vec<&str> =
            lines[0].split("  ").map(str::trim).filter(|part| !part.is_empty()).collect();
        let names =
            ["p50 ms", "p99 ms", "ratio", "lost", "attackers", "kept out", "ended", "left", "outlived"];
        assert_eq!(headings, [&names[..], &["ended/deadline s", "server"]].concat());
    }

    #[test]
    fn ceilings_are_read_and_nonsense_is_named() {
        let read = |text: &str| text.parse::<Ceiling>().map(|read| (read.figure, read.bound));
        assert_eq!(read("ratio>2"), Ok((Figure::Ratio, 2.0)));
        assert_eq!(read("rss > 1MiB"), Ok((Figure::Rss, 1_048_576.0)));
        assert!(read("ratio<2").is_err() && read("p99>1").is_err() && read("ratio>fast").is_err());
        assert!(read("ratio>nan").is_err() && read("ratio>inf").is_err() && read("ratio>-1").is_err());
    }
}
