//! The summary of a run: the figures, and their text.
//!
//! The figures are fields, so that the JSON has the same contents as the text.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::conductor::{Aftermath, Watch};
use super::plan::{Pace, Plan};
use super::threshold::{Threshold, Verdict};
use super::world::Figures;
use super::{Scenario, meter};
use crate::outcome::Outcome;
use crate::platform;
use crate::units::{bytes, grouped, millis};

/// A run that sent for less than this has no rate.
const RATE_AFTER: Duration = Duration::from_millis(50);

/// Percentiles in nanoseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Percentiles {
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
    pub(crate) max: u64,
}

/// One bar of the histogram: answers slower than the bar before and not slower than this.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Bar {
    pub(crate) up_to_ns: u64,
    pub(crate) count: u64,
}

/// What a process used while the clients were sending.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Usage {
    pub(crate) cpu_percent: u64,
    pub(crate) rss_bytes: u64,
    /// Growth of its anonymous memory since before the clients connected, per session.
    pub(crate) user_bytes_per_session: u64,
}

/// The machine of a run, so that two runs can be compared.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) kernel: Option<String>,
    pub(crate) processors: usize,
    pub(crate) naksi: &'static str,
}

/// Everything that a run has shown.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) scenario: String,
    pub(crate) target: String,
    pub(crate) model: String,
    pub(crate) machine: Machine,
    pub(crate) dummy_backend: &'static str,
    #[serde(serialize_with = "crate::units::as_text")]
    pub(crate) seed: u64,
    pub(crate) sessions: u32,
    pub(crate) connected: u64,
    /// Clients that never sent anything: not connected, refused, or not answered at all.
    pub(crate) never_started: u64,
    pub(crate) rooms: Option<u32>,
    pub(crate) size: usize,
    /// How long the clients took to connect.
    pub(crate) seconds_to_gather: f64,
    pub(crate) seconds: f64,
    pub(crate) cut_short: bool,
    pub(crate) sent: u64,
    /// Deliveries that the messages should have caused.
    pub(crate) owed: u64,
    pub(crate) received: u64,
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
    pub(crate) out_of_order: u64,
    pub(crate) corrupt: u64,
    pub(crate) foreign: u64,
    /// Messages per second of all clients; 0 where there is no rate.
    pub(crate) rate: f64,
    #[serde(skip)]
    has_rate: bool,
    pub(crate) rate_wanted: Option<f64>,
    pub(crate) mib_per_second_out: f64,
    pub(crate) mib_per_second_in: f64,
    /// Complete visits of the storm.
    pub(crate) visits: u64,
    /// What the dummies of a world received about each other.
    pub(crate) world: Option<Figures>,
    #[serde(rename = "connect_p99_ns")]
    pub(crate) connect_p99: u64,
    /// From the scheduled time.
    #[serde(rename = "latency_ns")]
    pub(crate) latency: Percentiles,
    pub(crate) histogram: Vec<Bar>,
    pub(crate) server: Option<Usage>,
    pub(crate) dummy: Option<Usage>,
    /// What went wrong, by name.
    pub(crate) errors: BTreeMap<String, u64>,
    pub(crate) thresholds: Vec<Verdict>,
}

impl Summary {
    pub(crate) fn new(plan: &Plan, scenario: Scenario, after: Aftermath, thresholds: &[Threshold]) -> Self {
        let total = &after.total;
        let seconds = after.elapsed.as_secs_f64().max(0.001);
        // A run that is silent on purpose, or very short, has no rate.
        let has_rate = scenario != Scenario::Idle && after.elapsed >= RATE_AFTER;
        let per_second = |count: u64| if has_rate { count as f64 / seconds } else { 0.0 };
        let mib = |count: u64| per_second(count) / (1024.0 * 1024.0);
        let lost = match scenario {
            Scenario::Storm => total.unanswered,
            _ => meter::lost(&total.ledgers, plan.rooms),
        };
        let mut summary = Self {
            scenario: format!("{scenario:?}").to_lowercase(),
            target: plan.target.to_string(),
            model: model(plan, scenario),
            machine: machine(),
            dummy_backend: after.backend,
            seed: plan.seed,
            sessions: plan.sessions,
            connected: total.connected,
            never_started: after.never_started,
            rooms: matches!(scenario, Scenario::Relay | Scenario::Chat).then_some(plan.rooms),
            size: plan.size,
            seconds_to_gather: after.gathered.as_secs_f64(),
            seconds,
            cut_short: after.cut_short,
            sent: total.sent,
            owed: total.owed,
            received: total.received,
            lost,
            duplicated: total.duplicated,
            out_of_order: total.out_of_order,
            corrupt: total.corrupt,
            foreign: total.foreign,
            rate: per_second(total.sent),
            has_rate,
            rate_wanted: rate_wanted(plan, scenario),
            mib_per_second_out: mib(total.bytes_out),
            mib_per_second_in: mib(total.bytes_in),
            visits: total.visits,
            world: (scenario == Scenario::World)
                .then(|| Figures { sights: total.sights, places_per_second: per_second(total.received) }),
            connect_p99: total.connect.value_at_quantile(0.99),
            latency: percentiles(&total.latency),
            histogram: bars(&total.latency),
            server: usage(&after.server, plan.sessions, seconds),
            dummy: usage(&after.dummy, plan.sessions, seconds),
            errors: errors(&after, scenario, lost),
            thresholds: Vec::new(),
        };
        summary.thresholds = thresholds.iter().map(|threshold| threshold.judge(&summary)).collect();
        summary
    }

    pub(crate) fn errors_total(&self) -> u64 {
        self.errors.values().sum()
    }

    /// A threshold on a count was requested by name, so it is reported before the errors that it counts; a latency
    /// means nothing in a failed run.
    pub(crate) fn outcome(&self) -> Outcome {
        let crossed =
            |count: bool| self.thresholds.iter().any(|verdict| verdict.crossed && verdict.is_count == count);
        match () {
            () if crossed(true) => Outcome::Threshold,
            () if self.errors_total() > 0 => Outcome::Errors,
            () if crossed(false) => Outcome::Threshold,
            () => Outcome::Fine,
        }
    }

    /// The summary as a person reads it.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        self.write(&mut out).expect("a string takes everything");
        out
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        let sized = (self.rate_wanted.is_some() && self.world.is_none()) || self.model.starts_with("window");
        let size = if sized { format!(" {} B", grouped(self.size as u64)) } else { String::new() };
        writeln!(
            out,
            "naksi dummy  {}{size}  {} clients x {}  to {}",
            self.scenario,
            grouped(u64::from(self.sessions)),
            self.model,
            self.target,
        )?;
        self.write_summary(out)?;
        if let Some(world) = &self.world {
            world.write(out)?;
        }
        self.write_latency(out)?;
        self.write_processes(out)?;
        let listed: Vec<String> =
            self.errors.iter().map(|(name, count)| format!("{name} {}", grouped(*count))).collect();
        let listed = if listed.is_empty() { "none".to_owned() } else { listed.join(", ") };
        writeln!(out, "Errors    {listed}")?;
        if self.scenario == "idle" && listed.contains("disconnected") {
            writeln!(
                out,
                "          (naksi serve ends sessions that are silent for limits.idle_within: 60 s unless set)"
            )?;
        }
        for verdict in &self.thresholds {
            let value = match verdict.is_count {
                true => grouped(verdict.value),
                false => format!("{} ms", millis(verdict.value)),
            };
            let word = if verdict.crossed { "CROSSED" } else { "ok" };
            writeln!(out, "Threshold {}: {word} ({value})", verdict.threshold)?;
        }
        Ok(())
    }

    fn write_summary(&self, out: &mut String) -> fmt::Result {
        writeln!(
            out,
            "Summary   sent {}  received {}  lost {}  duplicated {}  out-of-order {}",
            grouped(self.sent),
            grouped(self.received),
            grouped(self.lost),
            grouped(self.duplicated),
            grouped(self.out_of_order),
        )?;
        let wanted = match self.rate_wanted {
            Some(wanted) => format!(" (wanted {})", grouped(wanted.round() as u64)),
            None => String::new(),
        };
        let connect = match self.connect_p99 {
            0 => String::new(),
            nanos => format!("   connect p99 {} ms", millis(nanos)),
        };
        if self.has_rate {
            writeln!(
                out,
                "          rate {} msg/s{wanted}   {:.1} MiB/s out  {:.1} MiB/s in{connect}",
                grouped(self.rate.round() as u64),
                self.mib_per_second_out,
                self.mib_per_second_in,
            )?;
        } else if !connect.is_empty() {
            writeln!(out, "       {connect}")?;
        }
        if self.scenario == "storm" && self.has_rate {
            let rate = self.visits as f64 / self.seconds;
            let (visits, rate) = (grouped(self.visits), grouped(rate.round() as u64));
            writeln!(out, "          {rate} connections/s  ({visits} connected, echoed and closed)")?;
        }
        if self.foreign > 0 {
            writeln!(out, "          {} messages of another crowd, all sound", grouped(self.foreign))?;
        }
        if self.cut_short {
            writeln!(out, "          cut short by Ctrl-C after {:.1} s", self.seconds)?;
        }
        Ok(())
    }

    fn write_latency(&self, out: &mut String) -> fmt::Result {
        let Percentiles { p50, p90, p99, p999, max } = self.latency;
        writeln!(
            out,
            "Latency   p50 {}  p90 {}  p99 {}  p99.9 {}  max {} ms",
            millis(p50),
            millis(p90),
            millis(p99),
            millis(p999),
            millis(max)
        )?;
        const WIDTH: u64 = 40;
        let highest = self.histogram.iter().map(|bar| bar.count).max().unwrap_or(0).max(1);
        for bar in &self.histogram {
            // Whatever happened at all is worth one mark.
            let marks = (bar.count * WIDTH / highest).max(u64::from(bar.count > 0)) as usize;
            writeln!(out, "  {:>8.3} ms |{}", bar.up_to_ns as f64 / 1e6, "#".repeat(marks))?;
        }
        Ok(())
    }

    fn write_processes(&self, out: &mut String) -> fmt::Result {
        let sessions = grouped(u64::from(self.sessions));
        for (name, usage) in [("Server", self.server), ("Dummies", self.dummy)] {
            if let Some(usage) = usage {
                let rss = bytes(usage.rss_bytes);
                writeln!(out, "{name:<9} cpu {} %  rss {rss}", usage.cpu_percent)?;
            }
        }
        if self.scenario == "idle" {
            match self.server {
                Some(usage) => {
                    let each = grouped(usage.user_bytes_per_session);
                    writeln!(out, "          user memory per session: {each} B ({sessions} sessions)")?;
                }
                None => writeln!(
                    out,
                    "          user memory per session: unknown (no server process found here)"
                )?,
            }
            if let Some(usage) = self.dummy {
                writeln!(out, "          each dummy itself: {} B", grouped(usage.user_bytes_per_session))?;
            }
        }
        Ok(())
    }
}

fn model(plan: &Plan, scenario: Scenario) -> String {
    match (scenario, plan.pace) {
        (Scenario::Idle, _) => format!("{} s of silence", plan.span.as_secs_f64()),
        (Scenario::Storm, _) => "connect, echo, close  (closed loop)".to_owned(),
        (Scenario::World, Pace::Every(period)) => {
            let rate = (1e11 / period as f64).round() / 100.0;
            format!("{rate} steps/s  (latency: age of what is known of a neighbour)")
        }
        (_, Pace::Every(period)) => {
            let rate = 1e9 / period as f64;
            format!("{} msg/s  (open model, latency from the scheduled time)", (rate * 100.0).round() / 100.0)
        }
        (_, Pace::Window(window)) => format!("window {window}  (closed loop)"),
    }
}

fn rate_wanted(plan: &Plan, scenario: Scenario) -> Option<f64> {
    match (scenario, plan.pace) {
        (Scenario::Echo | Scenario::Relay | Scenario::Chat | Scenario::World, Pace::Every(period)) => {
            Some(f64::from(plan.sessions) * 1e9 / period as f64)
        }
        _ => None,
    }
}

fn machine() -> Machine {
    let processors = std::thread::available_parallelism().map_or(1, |count| count.get());
    Machine { kernel: platform::kernel(), processors, naksi: env!("CARGO_PKG_VERSION") }
}

fn percentiles(latency: &Histogram<u64>) -> Percentiles {
    Percentiles {
        p50: latency.value_at_quantile(0.5),
        p90: latency.value_at_quantile(0.9),
        p99: latency.value_at_quantile(0.99),
        p999: latency.value_at_quantile(0.999),
        max: latency.max(),
    }
}

/// Bars from the fastest to the slowest answer, each twice as wide as the one before.
fn bars(latency: &Histogram<u64>) -> Vec<Bar> {
    const FIRST_NANOS: u64 = 62_500;
    let mut bars = Vec::new();
    let (mut from, mut up_to, mut left) = (0, FIRST_NANOS, latency.len());
    while left > 0 {
        let count = latency.count_between(from, up_to).min(left);
        if count > 0 || !bars.is_empty() {
            bars.push(Bar { up_to_ns: up_to, count });
        }
        left -= count;
        (from, up_to) = (latency.next_non_equivalent(up_to), up_to * 2);
    }
    bars
}

fn usage(watch: &Watch, sessions: u32, seconds: f64) -> Option<Usage> {
    let (before, start, stop) = (watch.before?, watch.start?, watch.stop?);
    let spent = stop.processor.saturating_sub(start.processor).as_secs_f64();
    Some(Usage {
        cpu_percent: (spent * 100.0 / seconds).round() as u64,
        rss_bytes: stop.resident,
        user_bytes_per_session: stop.anonymous.saturating_sub(before.anonymous) / u64::from(sessions),
    })
}

fn errors(after: &Aftermath, scenario: Scenario, lost: u64) -> BTreeMap<String, u64> {
    let total = &after.total;
    let mut errors: BTreeMap<String, u64> =
        total.surprises.iter().map(|(reason, count)| (format!("disconnected {reason}"), *count)).collect();
    let counted = [
        ("connect failed", after.stats.connect_failures_total),
        ("never started", after.never_started),
        // A run that has sent nothing has measured nothing.
        ("nothing sent", u64::from(total.sent == 0 && !after.cut_short)),
        ("lost", lost),
        ("duplicated", total.duplicated),
        ("out of order", total.out_of_order),
        ("corrupt", total.corrupt),
    ];
    let stayed = total.connected.saturating_sub(total.surprises.values().sum());
    // A run that was cut short is not compared.
    let settles = scenario == Scenario::World && !after.cut_short;
    let sights = total.sights.errors(if settles { stayed } else { 0 });
    errors.extend(
        counted
            .into_iter()
            .chain(sights)
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| (name.to_owned(), count)),
    );
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_is_in_exactly_one_bar() {
        let mut latency = Histogram::new_with_bounds(1, 120_000_000_000, 3).expect("sound bounds");
        for nanos in [1, 62_500, 62_501, 1_000_000, 3_000_000_000, 119_000_000_000] {
            latency.record(nanos).expect("within bounds");
        }
        let bars = bars(&latency);
        assert_eq!(bars.iter().map(|bar| bar.count).sum::<u64>(), 6);
        assert!(bars.windows(2).all(|pair| pair[0].up_to_ns < pair[1].up_to_ns));
    }
}
