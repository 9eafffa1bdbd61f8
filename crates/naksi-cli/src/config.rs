//! The settings of a server: defaults, then a file, then the environment, then flags; each overrides what
//! came before, and every value knows where it came from.
//!
//! Keys that do not exist are refused with their line and the nearest key that does. Nothing here knows
//! what a setting does.

mod part;
pub(crate) mod table;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use naksi::prelude::{Backend, Limits};

use crate::logging;
use crate::outcome::Problem;
use crate::picture::{self, Place};
pub(crate) use part::BackendName;
use part::Part;

/// The file that is read where no other is named, if it is there.
pub(crate) const FILE_DEFAULT: &str = "naksi.toml";

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
    /// A folder to record what is received in.
    pub(crate) record: Option<String>,
    /// Bytes that the files of a run may have together.
    pub(crate) record_run_bytes_max: u64,
    /// Which log lines are written.
    pub(crate) log_filter: Option<String>,
    pub(crate) limits: Limits,
    /// Where each key that somebody mentioned got its value, by `section.key`.
    origins: BTreeMap<String, Origin>,
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
            record: None,
            record_run_bytes_max: naksi::record::RUN_BYTES_MAX_DEFAULT,
            log_filter: None,
            limits: Limits::default(),
            origins: BTreeMap::new(),
        }
    }
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Nobody said anything.
    Default,
    /// A file, at a line.
    File(String, usize),
    /// A variable of the environment.
    Environment(String),
    /// A flag of the command line.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(name, line) => write!(f, "{name}:{line}"),
            Origin::Environment(name) => write!(f, "environment {name}"),
            Origin::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// The settings that have flags of their own.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct Flags {
    /// Where to listen; port 0 takes a free one. May be given several times; 127.0.0.1:7777 if not at all.
    #[arg(long = "addr", value_name = "ADDR")]
    addresses: Vec<String>,
    /// I/O worker threads; one for each processor by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: Option<u16>,
    /// Which of the kernel's interfaces to use; auto by default.
    #[arg(long, value_enum)]
    backend: Option<BackendName>,
    /// Keep up to N sockets of each worker outside the process's descriptors (io_uring's direct descriptors).
    #[arg(long, value_name = "N", value_parser = crate::units::parse_count)]
    direct: Option<u32>,
    /// Sends leave together every N milliseconds (1 to 100) instead of at once: fewer and larger ones.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    flush_ms: Option<u32>,
    /// A worker looks for N microseconds (at most 1000) before it sleeps, after waits that were as short.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=1000))]
    spin_us: Option<u32>,
    /// Most sessions at a time; more are refused at accept.
    #[arg(long, value_name = "N", value_parser = crate::units::parse_count)]
    max_sessions: Option<u32>,
    /// Record what every session receives, with its times, in this folder; `naksi replay` sends it again.
    #[arg(long, value_name = "DIR")]
    pub(crate) record: Option<String>,
    /// Settings from a TOML file (naksi.toml if it is there); NAKSI_SECTION__KEY variables and flags override it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Flags {
    /// The file that is read: the one that was named, or the usual one if it is there.
    pub(crate) fn file(&self) -> Option<PathBuf> {
        let usual = || Some(PathBuf::from(FILE_DEFAULT)).filter(|path| path.is_file());
        self.config.clone().or_else(usual)
    }

    /// What all sources together say, checked.
    pub(crate) fn settings(&self) -> Result<Settings, Problem> {
        let mut settings = Settings::load(self.file().as_deref())?;
        settings.take(self);
        settings.check()?;
        Ok(settings)
    }
}

impl Settings {
    /// The defaults, changed by the file if there is one, and then by the environment.
    pub(crate) fn load(file: Option<&Path>) -> Result<Self, Problem> {
        let mut settings = Self::default();
        if let Some(path) = file {
            let name = path.display().to_string();
            let text = fs::read_to_string(path)
                .map_err(|error| Problem::usage(format!("cannot read {name}: {}", plain(&error))))?;
            settings.read_file(&name, &text)?;
        }
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            let (name, value) = (name.into_string().ok()?, value.into_string().ok()?);
            name.starts_with("NAKSI_").then_some((name, value))
        });
        for (name, value) in variables {
            settings.read_variable(&name, &value)?;
        }
        Ok(settings)
    }

    fn read_file(&mut self, name: &str, text: &str) -> Result<(), Problem> {
        let part = Part::read(text).map_err(|wrong| pictured(name, text, &wrong))?;
        self.take_part(part, text, |line| Origin::File(name.to_owned(), line));
        Ok(())
    }

    fn read_variable(&mut self, name: &str, value: &str) -> Result<(), Problem> {
        let Some(text) = variable_as_document(name, value) else { return meant_as_setting(name) };
        let refused =
            |wrong: part::Wrong| Problem::usage(format!("environment variable {name}: {}", wrong.line()));
        let part = Part::read(&text).map_err(refused)?;
        self.take_part(part, &text, |_| Origin::Environment(name.to_owned()));
        Ok(())
    }

    fn take_part(&mut self, part: Part, text: &str, origin: impl Fn(usize) -> Origin) {
        part.apply(self);
        self.origins.extend(part::mentioned(text).into_iter().map(|(key, line)| (key, origin(line))));
    }

    /// What the flags say.
    fn take(&mut self, flags: &Flags) {
        let mut said = Vec::new();
        if !flags.addresses.is_empty() {
            self.addresses.clone_from(&flags.addresses);
            said.push(("listen.addresses", "--addr"));
        }
        if let Some(workers) = flags.workers {
            self.workers = Some(workers.into());
            said.push(("io.workers", "--workers"));
        }
        if let Some(backend) = flags.backend {
            self.backend = backend.into();
            said.push(("io.backend", "--backend"));
        }
        let numbers = [
            (flags.direct, &mut self.direct, ("io.direct", "--direct")),
            (flags.flush_ms, &mut self.flush_ms, ("io.flush_ms", "--flush-ms")),
            (flags.spin_us, &mut self.spin_us, ("io.spin_us", "--spin-us")),
        ];
        for (flag, setting, names) in numbers {
            if flag.is_some() {
                *setting = flag;
                said.push(names);
            }
        }
        if flags.record.is_some() {
            self.record.clone_from(&flags.record);
            said.push(("record.directory", "--record"));
        }
        if let Some(sessions) = flags.max_sessions {
            self.limits.sessions_max = sessions as usize;
            said.push(("limits.sessions_max", "--max-sessions"));
        }
        self.origins.extend(said.into_iter().map(|(key, flag)| (key.to_owned(), Origin::Flag(flag))));
    }

    /// Where a key, by `section.key`, got its value.
    pub(crate) fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }

    /// Refuses what a server would refuse: values out of range, and limits that contradict each other.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        let rules = [
            (!self.addresses.is_empty(), "listen.addresses must not be empty"),
            (self.workers.is_none_or(|workers| (1..=256).contains(&workers)), "io.workers must be 1 to 256"),
            (self.direct != Some(0), "io.direct must be at least 1"),
            // An unset variable in a script would otherwise record whatever comes, in the folder where it runs.
            (self.record.as_deref() != Some(""), "record.directory must not be empty"),
            (self.flush_ms.is_none_or(|span| (1..=100).contains(&span)), "io.flush_ms must be 1 to 100"),
            (self.spin_us.is_none_or(|span| span <= 1000), "io.spin_us must be at most 1000"),
        ];
        if let Some((_, rule)) = rules.iter().find(|(holds, _)| !holds) {
            return Err(Problem::usage(*rule));
        }
        if let Some(filter) = &self.log_filter {
            logging::parse(filter).map_err(|error| Problem::usage(format!("log.filter: {error}")))?;
        }
        self.limits.check().map_err(|rule| Problem::usage(format!("limits make no sense: {rule}")))
    }
}

fn pictured(name: &str, text: &str, wrong: &part::Wrong) -> Problem {
    let label = match &wrong.meant {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => "here".to_owned(),
    };
    let help = "`naksi config init` writes a file with every key; `naksi config print --effective` says who set what";
    picture::of(
        &wrong.message,
        &wrong.line(),
        Place { name, text, span: wrong.span.clone(), label: &label, help },
    )
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

/// A setting's name with one underscore where two belong would be heeded by nobody.
fn meant_as_setting(name: &str) -> Result<(), Problem> {
    let settings = table::rows(&Settings::default());
    let meant = settings.iter().map(|row| format!("NAKSI_{}__{}", row.section, row.key).to_uppercase());
    match meant.into_iter().find(|meant| meant.replacen("__", "_", 1) == name) {
        Some(meant) => Err(Problem::usage(format!("environment variable {name}: did you mean {meant}?"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use naksi::prelude::Overflow;
    use std::time::Duration;

    fn read(text: &str) -> Result<Settings, Problem> {
        let mut settings = Settings::default();
        settings.read_file("naksi.toml", text)?;
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
        let said = read("[io]\n\nwokers = 3\n").err().expect("refused").to_string();
        assert_eq!(
            said.lines().next(),
            Some("naksi.toml:3:1: unknown key `wokers`: did you mean `workers`?")
        );
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
