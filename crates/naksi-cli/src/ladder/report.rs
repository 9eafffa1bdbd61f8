//! The figures of a climb: one row for each model and load, as a table for the terminal and as plain data.
//!
//! Nothing here measures.

use std::thread;
use std::time::Duration;

use hdrhistogram::Histogram;
use naksi_models::{Ceiling, Family, Model};
use serde::Serialize;

use super::Conditions;
use super::stage::{Sample, Setup, ThreadRow};
use crate::outcome::Problem;
use crate::results::print;
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
    /// The same when all clients but one are silent.
    pub(super) silent_processor_us_per_message: Option<f64>,
    pub(super) calls_per_message: f64,
    pub(super) wakeups_per_message: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) threads: u64,
    pub(super) groups: u64,
    pub(super) ceiling_korean: String,
    pub(super) ceiling: String,
    /// What each thread of the server did, if it was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) thread_rows: Vec<ThreadRow>,
}

impl Measured {
    pub(super) fn new(
        model: &Model,
        setup: Setup,
        connections: u64,
        (before, after): (&Sample, &Sample),
        latencies: &Histogram<u64>,
        elapsed: Duration,
    ) -> Self {
        let messages = latencies.len();
        let each = |total: u64| total as f64 / messages.max(1) as f64;
        let micros = |quantile: f64| latencies.value_at_quantile(quantile) as f64 / 1e3;
        let (ceiling_korean, ceiling) = ceiling(model, setup, after);
        Self {
            model: model.name,
            title: model.title,
            family: match model.family {
                Family::Blocking => "blocking",
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
            silent_processor_us_per_message: None,
            calls_per_message: each(after.calls - before.calls),
            wakeups_per_message: each(after.wakeups - before.wakeups),
            p50_us: if messages == 0 { 0.0 } else { micros(0.5) },
            p99_us: if messages == 0 { 0.0 } else { micros(0.99) },
            threads: after.threads,
            groups: after.groups,
            ceiling_korean,
            ceiling,
            thread_rows: Vec::new(),
        }
    }

    /// Takes from a second run, in which one client talked, what a message costs then.
    pub(super) fn with_silent(self, silent: &Self) -> Self {
        let silent_processor_us_per_message = Some(silent.processor_us_per_message);
        let wrong = self.wrong + silent.wrong;
        Self { silent_processor_us_per_message, wrong, ..self }
    }

    pub(super) fn with_crowd(self, served: u64, wrong: u64, refused: u64) -> Self {
        Self { served, wrong, refused, ..self }
    }
}

/// What of its limit a model met, in Korean and in English.
fn ceiling(model: &Model, setup: Setup, after: &Sample) -> (String, String) {
    let (threads, turned_away) = (grouped(after.threads), grouped(after.turned_away));
    match model.ceiling {
        Ceiling::Threads => (
            format!("클라이언트마다 스레드 하나: 스레드 {threads}개"),
            format!("one thread per client: {threads} threads"),
        ),
        Ceiling::Sockets if after.turned_away > 0 => {
            let places = grouped(setup.sockets_max());
            (
                format!("소켓 집합이 가득 참: 최대 {places}개, 거절한 접속 {turned_away}개"),
                format!("set full: {places} places, {turned_away} turned away"),
            )
        }
        Ceiling::EventsPerWait if after.groups > 1 => {
            let events = grouped(setup.events_max().unwrap_or_default());
            (
                format!("한 번에 {events}개까지 대기: 묶음 {}개, 스레드 {threads}개", after.groups),
                format!("{events} events a wait: {} groups, {threads} threads", after.groups),
            )
        }
        Ceiling::OneThread => {
            ("한 스레드가 메시지를 하나씩 처리".to_owned(), "message by message, one thread".to_owned())
        }
        Ceiling::IssuingThread => {
            ("완료 루틴은 요청한 스레드에서만 실행".to_owned(), "only the thread that asked".to_owned())
        }
        Ceiling::Concurrency => {
            let running = thread::available_parallelism().map_or(1, |count| count.get() as u64);
            let running = running.min(after.threads);
            (
                format!("작업자 {threads}개 가운데 동시에 {running}개까지 실행"),
                format!("at most {running} of {threads} workers run at once"),
            )
        }
        Ceiling::Sockets | Ceiling::EventsPerWait => (String::new(), String::new()),
    }
}

/// The columns of the terminal's table: Korean, English, width. The first one is aligned to the left.
const COLUMNS: [(&str, &str, usize); 11] = [
    ("모델", "model", 18),
    ("접속", "clients", 8),
    ("처리 중", "served", 8),
    ("메시지/초", "messages/s", 12),
    ("CPU µs", "a message", 11),
    ("혼자 말할 때", "one talks", 13),
    ("호출 수", "calls", 8),
    ("깨어난 횟수", "wakes", 12),
    ("p50 µs", "p50 µs", 9),
    ("p99 µs", "p99 µs", 9),
    ("스레드", "threads", 9),
];

/// Threads of one server that are shown singly; the others stand in one line.
const THREADS_SHOWN: usize = 8;

/// A heading in its column. A syllable of Hangul takes two places of a terminal.
fn padded(text: &str, width: usize) -> String {
    let places: usize = text.chars().map(|c| if ('가'..='힣').contains(&c) { 2 } else { 1 }).sum();
    let space = " ".repeat(width.saturating_sub(places));
    if width == COLUMNS[0].2 { format!("{text}{space}") } else { format!("{space}{text}") }
}

/// The load average of the last minute, on systems that have one.
fn load_average() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
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
    /// How many events one wait takes; as many as there are if absent.
    pub(super) events_max: Option<u64>,
    /// How many sockets a set takes.
    pub(super) sockets_max: u64,
    /// How long the handler of each message blocks, in milliseconds.
    pub(super) block_ms: f64,
    /// How many clients talk; the others are only connected. All of them if absent.
    pub(super) active: Option<u32>,
    /// How many threads of others wanted a processor shortly before, where the system tells it.
    pub(super) busy: Option<f64>,
    pub(super) rows: Vec<Measured>,
    /// A request to stop came before the top.
    pub(super) cut_short: bool,
}

impl Report {
    pub(super) fn new(conditions: &Conditions, kernel: Option<String>) -> Self {
        let wine = naksi_models::is_wine();
        let system = match kernel {
            _ if wine => "Wine (not Windows)".to_owned(),
            Some(kernel) => kernel,
            None => std::env::consts::OS.to_owned(),
        };
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let message_bytes = naksi_models::load::MESSAGE_BYTES;
        let seconds = conditions.span.as_secs_f64();
        let (active, busy) = (conditions.active, load_average());
        Self {
            system,
            wine,
            processors,
            seconds,
            message_bytes,
            events_max: conditions.setup.events_max(),
            sockets_max: conditions.setup.sockets_max(),
            block_ms: conditions.setup.blocks().as_secs_f64() * 1e3,
            active,
            busy,
            rows: Vec::new(),
            cut_short: false,
        }
    }

    /// Whether others left less than half of the machine to this run.
    pub(super) fn is_crowded(&self) -> bool {
        self.busy.is_some_and(|busy| busy > self.processors as f64 / 2.0)
    }

    /// Whether every client that was let in got every byte back.
    pub(super) fn is_clean(&self) -> bool {
        self.rows.iter().all(|row| row.wrong == 0 && row.refused == 0 && row.messages > 0)
    }

    /// The conditions in one line, as the head of the table and of the picture.
    pub(super) fn conditions(&self) -> String {
        let talk = self.active.map_or(String::new(), |active| format!(", {active} of the clients talk"));
        let blocks = match self.block_ms {
            0.0 => String::new(),
            span => format!(", each handler blocks for {span} ms"),
        };
        format!(
            "{}, {} processors shared by server and crowd, {} bytes a message, {} s a load{talk}{blocks}",
            self.system, self.processors, self.message_bytes, self.seconds
        )
    }

    /// The same in Korean, for the pictures.
    pub(super) fn conditions_korean(&self) -> String {
        let talk = self.active.map_or(String::new(), |active| format!(", 그 가운데 {active}개만 말함"));
        let blocks = match self.block_ms {
            0.0 => String::new(),
            span => format!(", 메시지를 처리할 때마다 {span} ms 블로킹"),
        };
        format!(
            "{}, 서버와 클라이언트가 CPU {}개를 함께 사용, 메시지 {}바이트, 측정 {}초{talk}{blocks}",
            self.system, self.processors, self.message_bytes, self.seconds
        )
    }

    pub(super) fn print_head(&self) -> Result<(), Problem> {
        say(format_args!("naksi ladder: {}\n", self.conditions()))?;
        if self.wine {
            say(format_args!("Figures under Wine: they say nothing about the speed of Windows.\n"))?;
        }
        if self.is_crowded() {
            say(format_args!(
                "Others keep this machine busy (load average {:.1}): trust the counts and the CPU, not the rates.\n",
                self.busy.unwrap_or_default()
            ))?;
        }
        let korean = COLUMNS.map(|(korean, _, width)| padded(korean, width)).concat();
        let english = COLUMNS.map(|(_, english, width)| padded(english, width)).concat();
        say(format_args!("\n{korean}  걸린 제한\n{english}  the ceiling met\n"))
    }

    pub(super) fn add(&mut self, row: Measured) -> Result<(), Problem> {
        let silent =
            row.silent_processor_us_per_message.map_or("–".to_owned(), |span| format!("{span:.2}"));
        say(format_args!(
            "{:<18}{:>8}{:>8}{:>12}{:>11.2}{silent:>13}{:>8.2}{:>12.3}{:>9.0}{:>9.0}{:>9}  {}\n",
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

    /// On which thread what ran, for a report that was asked for it.
    fn print_threads(&self) -> Result<(), Problem> {
        let shown = self.rows.iter().filter(|row| !row.thread_rows.is_empty());
        for (number, row) in shown.enumerate() {
            if number == 0 {
                say(format_args!(
                    "\n어느 스레드에서 실행되었나 · which thread ran what\n{}{}{}{}\n{:<18}{:>12}{:>16}{:>24}\n",
                    padded("스레드", COLUMNS[0].2),
                    padded("받은 접속", 12),
                    padded("처리한 메시지", 16),
                    padded("다른 스레드가 요청", 24),
                    "thread",
                    "accepted",
                    "handled",
                    "asked for by another",
                ))?;
            }
            say(format_args!("{} × {}\n", row.model, row.connections))?;
            let (first, others) = row.thread_rows.split_at(row.thread_rows.len().min(THREADS_SHOWN));
            for (number, thread) in first.iter().enumerate() {
                print_thread(&format!("  {}", number + 1), thread)?;
            }
            if !others.is_empty() {
                let sum = |value: fn(&ThreadRow) -> u64| others.iter().map(value).sum();
                let all = ThreadRow {
                    accepted: sum(|thread| thread.accepted),
                    handled: sum(|thread| thread.handled),
                    asked_by_another: sum(|thread| thread.asked_by_another),
                };
                print_thread(&format!("  + {}", others.len()), &all)?;
            }
        }
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
        self.print_threads()?;
        if self.cut_short {
            say(format_args!("\ncut short by Ctrl-C after {} loads\n", self.rows.len()))?;
        }
        if bad.is_empty() {
            return say(format_args!("\nEvery echo was compared byte by byte.\n"));
        }
        say(format_args!("\nerrors: {}\n", bad.join("; ")))
    }
}

fn print_thread(name: &str, thread: &ThreadRow) -> Result<(), Problem> {
    say(format_args!(
        "{name:<18}{:>12}{:>16}{:>24}\n",
        grouped(thread.accepted),
        grouped(thread.handled),
        grouped(thread.asked_by_another)
    ))
}

fn say(text: std::fmt::Arguments<'_>) -> Result<(), Problem> {
    print(&text.to_string())
}
