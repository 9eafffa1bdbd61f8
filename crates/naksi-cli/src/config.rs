//! The settings of a server: defaults, then a file, then the environment, then flags; each overrides what
//! came before.
//!
//! Keys that do not exist are refused with their line and the nearest key that does. Nothing here knows
//! what a setting does.

use std::fs;
use std::path::Path;
use std::time::Duration;

use naksi::prelude::{Backend, Heartbeat, Limits, Overflow};
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};

use crate::outcome::Problem;
use crate::units;

/// What a server needs to know before it starts.
pub(crate) struct Settings {
    pub(crate) addresses: Vec<String>,
    pub(crate) workers: Option<usize>,
    pub(crate) backend: Backend,
    /// Entries of each worker's own table of sockets.
    pub(crate) direct: Option<u32>,
    /// Milliseconds between the ticks at which sends leave; at once without.
    pub(crate) flush_ms: Option<u32>,
    /// Microseconds for which a worker looks before it sleeps.
    pub(crate) spin_us: Option<u32>,
    pub(crate) limits: Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            addresses: vec!["127.0.0.1:7777".to_owned()],
            workers: None,
            backend: Backend::Auto,
            direct: None,
            flush_ms: None,
            spin_us: None,
            limits: Limits::default(),
        }
    }
}

impl Settings {
    /// The defaults, changed by the file if there is one, and then by the environment.
    pub(crate) fn load(file: Option<&Path>) -> Result<Self, Problem> {
        let mut settings = Self::default();
        if let Some(path) = file {
            let name = path.display();
            let text = fs::read_to_string(path)
                .map_err(|error| Problem::usage(format!("cannot read {name}: {}", plain(&error))))?;
            Part::read(&text, |line| format!("{name}:{line}"))?.apply(&mut settings);
        }
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            let (name, value) = (name.into_string().ok()?, value.into_string().ok()?);
            name.starts_with("NAKSI_").then_some((name, value))
        });
        for (name, value) in variables {
            if let Some(text) = variable_as_document(&name, &value) {
                Part::read(&text, |_| format!("environment variable {name}"))?.apply(&mut settings);
            }
        }
        Ok(settings)
    }

    /// Refuses limits that contradict each other.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        self.limits.check().map_err(|rule| Problem::usage(format!("limits make no sense: {rule}")))
    }
}

/// An error of the system without the number that Rust appends to it.
pub(crate) fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// `NAKSI_IO__WORKERS=2` as the document `[io]` / `workers = 2`, so that both have one reader.
fn variable_as_document(name: &str, value: &str) -> Option<String> {
    let (section, key) = name.strip_prefix("NAKSI_")?.split_once("__")?;
    let (section, key) = (section.to_lowercase(), key.to_lowercase());
    let document = format!("[{section}]\n{key} = {value}\n");
    // What is no TOML value as it stands (an address, a word, `30s`) was meant as text.
    match document.parse::<toml::Table>() {
        Ok(_) => Some(document),
        Err(_) => Some(format!("[{section}]\n{key} = {}\n", toml::Value::String(value.to_owned()))),
    }
}

/// What one source says; what it does not mention stays as it was.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Part {
    listen: ListenPart,
    io: IoPart,
    limits: LimitsPart,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ListenPart {
    addresses: Option<Addresses>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct IoPart {
    workers: Option<usize>,
    backend: Option<BackendName>,
    direct: Option<u32>,
    flush_ms: Option<u32>,
    spin_us: Option<u32>,
}

impl Part {
    fn read(text: &str, place: impl Fn(usize) -> String) -> Result<Self, Problem> {
        toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            let line = text[..start].matches('\n').count() + 1;
            Problem::usage(format!("{}: {}", place(line), with_hint(error.message())))
        })
    }

    fn apply(self, settings: &mut Settings) {
        if let Some(addresses) = self.listen.addresses {
            settings.addresses = addresses.0;
        }
        if let Some(workers) = self.io.workers {
            settings.workers = Some(workers);
        }
        if let Some(backend) = self.io.backend {
            settings.backend = backend.into();
        }
        settings.direct = self.io.direct.or(settings.direct);
        settings.flush_ms = self.io.flush_ms.or(settings.flush_ms);
        settings.spin_us = self.io.spin_us.or(settings.spin_us);
        self.limits.apply(&mut settings.limits);
    }
}

/// Serde lists every key that exists; a person wants the one that was meant.
fn with_hint(message: &str) -> String {
    let mut names = message.split('`').skip(1).step_by(2);
    let Some(wrong) = names.next().filter(|_| message.starts_with("unknown field")) else {
        return message.to_owned();
    };
    match naksi::config::nearest(wrong, names) {
        Some(name) => format!("unknown key `{wrong}`: did you mean `{name}`?"),
        None => message.replacen("unknown field", "unknown key", 1),
    }
}

/// The backends by the names that the command line and the file share.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum BackendName {
    /// io_uring or completion ports; epoll, loudly, where io_uring is refused.
    Auto,
    /// io_uring, or an error.
    Uring,
    /// epoll.
    Epoll,
    /// I/O completion ports: Windows only.
    Iocp,
}

impl From<BackendName> for Backend {
    fn from(name: BackendName) -> Self {
        match name {
            BackendName::Auto => Backend::Auto,
            BackendName::Uring => Backend::Uring,
            BackendName::Epoll => Backend::Epoll,
            BackendName::Iocp => Backend::Iocp,
        }
    }
}

/// One address, several with commas between them, or a list.
struct Addresses(Vec<String>);

impl<'de> Deserialize<'de> for Addresses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match toml::Value::deserialize(deserializer)? {
            toml::Value::String(text) => Ok(Self(text.split(',').map(|one| one.trim().to_owned()).collect())),
            toml::Value::Array(list) => list
                .iter()
                .map(|one| one.as_str().map(str::to_owned))
                .collect::<Option<Vec<_>>>()
                .map(Self)
                .ok_or_else(|| de::Error::custom("`addresses` must be texts like \"127.0.0.1:7777\"")),
            _ => Err(de::Error::custom(
                "`addresses` must be a text like \"127.0.0.1:7777\", or a list of them",
            )),
        }
    }
}

/// A number of bytes: `65536` or `"64KiB"`.
struct Size(usize);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match toml::Value::deserialize(deserializer)? {
            toml::Value::Integer(count) => {
                usize::try_from(count).map(Self).map_err(|_| de::Error::custom("a size cannot be negative"))
            }
            toml::Value::String(text) => units::parse_bytes(&text).map(Self).map_err(de::Error::custom),
            _ => Err(de::Error::custom("a size is a number of bytes or a text like \"64KiB\"")),
        }
    }
}

impl From<Size> for usize {
    fn from(size: Size) -> usize {
        size.0
    }
}

/// A duration: `"30s"`.
struct Span(Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match toml::Value::deserialize(deserializer)? {
            toml::Value::String(text) => units::parse_duration(&text).map(Self).map_err(de::Error::custom),
            _ => Err(de::Error::custom("a duration is a text like \"30s\" or \"500ms\"")),
        }
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Duration {
        span.0
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum OverflowName {
    EndSession,
    DropNew,
}

impl From<OverflowName> for Overflow {
    fn from(name: OverflowName) -> Overflow {
        match name {
            OverflowName::EndSession => Overflow::EndSession,
            OverflowName::DropNew => Overflow::DropNew,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HeartbeatPart {
    packet_id: u16,
    every: Span,
}

impl From<HeartbeatPart> for Option<Heartbeat> {
    fn from(part: HeartbeatPart) -> Option<Heartbeat> {
        Some(Heartbeat { packet_id: part.packet_id, every: part.every.0 })
    }
}

/// One optional key for every field of [`Limits`], under the same name.
macro_rules! limits_part {
    ($($field:ident: $kind:ty,)*) => {
        #[derive(Default, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        struct LimitsPart { $($field: Option<$kind>,)* }

        impl LimitsPart {
            fn apply(self, limits: &mut Limits) {
                $(if let Some(value) = self.$field { limits.$field = value.into(); })*
            }
        }
    };
}

limits_part! {
    frame_bytes_max: Size,
    first_frame_bytes_max: Size,
    first_frame_within: Span,
    frame_within: Span,
    idle_within: Span,
    send_stall_within: Span,
    heartbeat: HeartbeatPart,
    send_queue_bytes_max: Size,
    send_queue_entries_max: usize,
    send_queue_high_bytes: Size,
    send_queue_low_bytes: Size,
    overflow: OverflowName,
    recv_backlog_bytes_max: Size,
    recv_backlog_total_bytes_max: Size,
    drain_within: Span,
    linger_within: Span,
    sessions_max: usize,
    connections_per_address_max: u32,
    accepts_per_second_max: u32,
    loopback_exempt: bool,
    log_lines_per_second_max: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, Problem> {
        let mut settings = Settings::default();
        Part::read(text, |line| format!("naksi.toml:{line}"))?.apply(&mut settings);
        Ok(settings)
    }

    #[test]
    fn a_file_changes_what_it_mentions_and_nothing_else() {
        let text = "[listen]\naddresses = [\"127.0.0.1:1\", \"[::1]:1\"]\n[io]\nworkers = 3\nbackend = \"epoll\"\n\
                    flush_ms = 5\nspin_us = 50\n\
                    [limits]\nidle_within = \"90s\"\nsend_queue_bytes_max = \"1MiB\"\noverflow = \"drop_new\"\n\
                    heartbeat = { packet_id = 7, every = \"10s\" }\n";
        let settings = read(text).expect("a sound file");
        assert_eq!(settings.addresses, ["127.0.0.1:1", "[::1]:1"]);
        assert_eq!(settings.workers, Some(3));
        assert_eq!((settings.flush_ms, settings.spin_us, settings.direct), (Some(5), Some(50), None));
        assert_eq!(settings.limits.idle_within, Duration::from_secs(90));
        assert_eq!(settings.limits.send_queue_bytes_max, 1 << 20);
        assert_eq!(settings.limits.overflow, Overflow::DropNew);
        assert_eq!(settings.limits.heartbeat.map(|beat| beat.packet_id), Some(7));
        assert_eq!(settings.limits.frame_bytes_max, Limits::default().frame_bytes_max);
    }

    #[test]
    fn a_wrong_key_is_named_with_its_line_and_the_key_that_was_meant() {
        let line = read("[io]\n\nwokers = 3\n").err().expect("refused").to_string();
        assert_eq!(line, "naksi.toml:3: unknown key `wokers`: did you mean `workers`?");
        let line = read("[limits]\nidle_within = \"90 weeks\"\n").err().expect("refused").to_string();
        assert!(line.starts_with("naksi.toml:2: ") && line.contains("weeks"), "{line}");
    }

    #[test]
    fn the_environment_is_a_document_of_one_key() {
        let document = |name, value| variable_as_document(name, value).expect("two underscores");
        assert_eq!(document("NAKSI_IO__WORKERS", "2"), "[io]\nworkers = 2\n");
        assert_eq!(document("NAKSI_LIMITS__IDLE_WITHIN", "30s"), "[limits]\nidle_within = \"30s\"\n");
        let settings = read(&document("NAKSI_LISTEN__ADDRESSES", "127.0.0.1:1,127.0.0.1:2")).expect("sound");
        assert_eq!(settings.addresses.len(), 2);
        assert!(variable_as_document("NAKSI_LOG", "info").is_none());
    }
}
