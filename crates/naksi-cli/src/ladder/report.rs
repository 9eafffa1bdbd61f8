//! The figures of a climb: one row for each model and load, as a table for the terminal and as plain data.
//!
//! Nothing here measures.

use std::io::Write as _;
use std::time::Duration;

use hdrhistogram::Histogram;
use naksi_models::{Ceiling, Family, Model};
use serde::Serialize;

use super::stage::Sample;
use crate::outcome::Problem;
use crate::units::grouped;

/// One model under one load.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Measured {
    pub(super) model: &'static str,
    pub(super) title: &'static str,
    pub(super) family: &'static str,
    /// Clients that wanted to connect.
    pub(super) connections: u64,
    /// Clients that were still served at the end.
    pub(super) served: u64,
    /// Clients that the model had no place for.
    pub(super) turned_away: u64,
    /// Connects that the system refused.
    pub(super) refused: u64,
    /// Echoes that were not what was sent.
    pub(super) wrong: u64,
    pub(super) messages: u64,
    pub(super) messages_per_second: f64,
    pub(super) processor_us_per_message: f64,
    pub(super) calls_per_message: f64,
    pub(super) wakeups_per_message: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) threads: u64,
    pub(super) groups: u64,
    pub(super) ceiling_korean: String,
    pub(super) ceiling: String,
}

impl Measured {
    pub(super) fn new(
        model: &Model,
        connections: u64,
        (before, after): (&Sample, &Sample),
        latencies: &Histogram<u64>,
        elapsed: Duration,
    ) -> Self {
        let messages = latencies.len();
        let each = |total: u64| total as f64 / messages.max(1) as f64;
        let micros = |quantile: f64| latencies.value_at_quantile(quantile) as f64 / 1e3;
        let (ceiling_korean, ceiling) = ceiling(model, after);
        Self {
            model: model.name,
            title: model.title,
            family: match model.family {
                Family::Reactor => "reactor",
                Family::Proactor => "proactor",
            },
            connections,
            served: connections,
            turned_away: after.turned_away,
            refused: 0,
            wrong: 0,
            messages,
            messages_per_second: messages as f64 / elapsed.as_secs_f64(),
            processor_us_per_message: each(after.processor_ns - before.processor_ns) / 1e3,
            calls_per_message: each(after.calls - before.calls),
            wakeups_per_message: each(after.wakeups - before.wakeups),
            p50_us: if messages == 0 { 0.0 } else { micros(0.5) },
            p99_us: if messages == 0 { 0.0 } else { micros(0.99) },
            threads: after.threads,
            groups: after.groups,
            ceiling_korean,
            ceiling,
        }
    }

    pub(super) fn with_crowd(self, served: u64, wrong: u64, refused: u64) -> Self {
        Self { served, wrong, refused, ..self }
    }
}

/// What of its ceiling a model met, in Korean and in English.
fn ceiling(model: &Model, after: &Sample) -> (String, String) {
    match model.ceiling {
        Ceiling::Sockets(places) if after.turned_away > 0 => (
            format!("셋이 가득: 자리 {}, 돌려보냄 {}", grouped(places as u64), grouped(after.turned_away)),
            format!(
                "set full: {} places, {} turned away",
                grouped(places as u64),
                grouped(after.turned_away)
            ),
        ),
        Ceiling::EventsPerWait(events) if after.groups > 1 => (
            format!("대기 하나에 {events}개: 스레드 {}개", after.groups),
            format!("{events} events a wait: {} threads", after.groups),
        ),
        Ceiling::OneThread => {
            ("메시지 하나씩, 한 스레드".to_owned(), "message by message, one thread".to_owned())
        }
        Ceiling::IssuingThread => {
            ("요청한 스레드만 실행".to_owned(), "only the thread that asked".to_owned())
        }
        Ceiling::Concurrency => {
            (format!("동시 실행 {}개까지", after.threads), format!("at most {} run at once", after.threads))
        }
        Ceiling::Sockets(_) | Ceiling::EventsPerWait(_) => (String::new(), String::new()),
    }
}

/// All rows, and where they were taken.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) system: String,
    /// Figures taken under Wine say nothing about the speed of Windows.
    pub(super) wine: bool,
    pub(super) processors: usize,
    pub(super) seconds: f64,
    pub(super) message_bytes: usize,
    pub(super) rows: Vec<Measured>,
}

impl Report {
    pub(super) fn new(span: Duration, kernel: Option<String>) -> Self {
        let wine = naksi_models::is_wine();
        let system = match kernel {
            _ if wine => "Wine (not Windows)".to_owned(),
            Some(kernel) => kernel,
            None => std::env::consts::OS.to_owned(),
        };
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let message_bytes = naksi_models::load::MESSAGE_BYTES;
        Self { system, wine, processors, seconds: span.as_secs_f64(), message_bytes, rows: Vec::new() }
    }

    /// Whether every client that was let in got every byte back.
    pub(super) fn is_clean(&self) -> bool {
        self.rows.iter().all(|row| row.wrong == 0 && row.refused == 0 && row.messages > 0)
    }

    pub(super) fn print_head(&self) -> Result<(), Problem> {
        say(format_args!(
            "naksi ladder: {}, {} processors, {} bytes a message, {} s a load{}\n\n{}\n{}\n",
            self.system,
            self.processors,
            self.message_bytes,
            self.seconds,
            if self.wine { "\nFigures under Wine: they say nothing about the speed of Windows." } else { "" },
            "모델                접속   서비스      메시지/s   CPU µs   호출수   깨어남    p50 µs    p99 µs  스레드",
            "model              conns   served         msg/s  per msg  per msg  per msg                     threads  ceiling met",
        ))
    }

    pub(super) fn add(&mut self, row: Measured) -> Result<(), Problem> {
        say(format_args!(
            "{:<18}{:>6}{:>9}{:>14}{:>9.2}{:>9.2}{:>9.3}{:>10.0}{:>10.0}{:>9}  {}\n",
            row.model,
            row.connections,
            row.served,
            grouped(row.messages_per_second.round() as u64),
            row.processor_us_per_message,
            row.calls_per_message,
            row.wakeups_per_message,
            row.p50_us,
            row.p99_us,
            row.threads,
            row.ceiling,
        ))?;
        self.rows.push(row);
        Ok(())
    }

    pub(super) fn print_foot(&self) -> Result<(), Problem> {
        let bad: Vec<String> = self
            .rows
            .iter()
            .filter(|row| row.wrong + row.refused > 0)
            .map(|row| {
                format!("{} × {}: {} wrong, {} refused", row.model, row.connections, row.wrong, row.refused)
            })
            .collect();
        if bad.is_empty() {
            return say(format_args!("\nEvery echo was compared byte by byte.\n"));
        }
        say(format_args!("\nerrors: {}\n", bad.join("; ")))
    }
}

fn say(text: std::fmt::Arguments<'_>) -> Result<(), Problem> {
    let mut out = std::io::stdout().lock();
    out.write_fmt(text).and_then(|()| out.flush()).map_err(Problem::output)
}
