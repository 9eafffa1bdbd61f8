//! The settings of a server: defaults, then a file, then the environment, then flags; each overrides the one before,
//! and every value records where it came from.
//!
//! Unknown keys are refused with their line and the nearest known key.

mod listen;
mod part;
pub(crate) mod table;
mod wants;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use naksi::prelude::{Backend, Limits};

use crate::log;
use crate::outcome::Problem;
use crate::picture::{self, Place};
use crate::text;
pub(crate) use listen::Listener;
pub(crate) use part::BackendName;
use part::Said;

/// The file that is read if no other is named and it exists.
pub(crate) const FILE_DEFAULT: &str = "naksi.toml";

/// What a server needs to know before it starts.
pub(crate) struct Settings {
    pub(crate) listeners: Vec<Listener>,
    /// Whether a listener on `[::]` takes IPv4 too.
    pub(crate) dual_stack: bool,
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
    /// How they are written.
    pub(crate) log_format: log::Format,
    pub(crate) admin: AdminSettings,
    pub(crate) limits: Limits,
    /// Where each mentioned key got its value, by `section.key`.
    origins: BTreeMap<String, Origin>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listeners: vec![Listener::at("127.0.0.1:7777")],
            dual_stack: false,
            workers: None,
            backend: Backend::Auto,
            direct: None,
            flush_ms: None,
            spin_us: None,
            record: None,
            record_run_bytes_max: naksi::record::RUN_BYTES_MAX_DEFAULT,
            log_filter: None,
            log_format: log::Format::default(),
            admin: AdminSettings::default(),
            limits: Limits::default(),
            origins: BTreeMap::new(),
        }
    }
}

/// Where metrics and health are served, if at all.
#[derive(Clone, Debug, Default)]
pub(crate) struct AdminSettings {
    pub(crate) address: Option<String>,
    pub(crate) token_file: Option<String>,
    /// Names by which it is called, beside its address.
    pub(crate) hosts: Vec<String>,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The default.
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
    /// Where to listen, as tcp:// (the default) or ws://; port 0 takes a free one. All addresses of a name are listened
    /// on. May be given several times; 127.0.0.1:7777 by default.
    #[arg(long = "addr", value_name = "ADDR")]
    addresses: Vec<String>,
    /// A listener on [::] accepts IPv4 too; IPv6 alone by default.
    #[arg(long)]
    dual_stack: bool,
    /// I/O worker threads; one per processor by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: Option<u16>,
    /// Which of the kernel's interfaces to use; auto by default.
    #[arg(long, value_enum)]
    backend: Option<BackendName>,
    /// Keep up to N sockets of each worker outside the process's descriptors (io_uring's direct descriptors).
    #[arg(long, value_name = "N", value_parser = crate::units::parse_count)]
    direct: Option<u32>,
    /// Send queued data every N milliseconds (1 to 100) instead of at once: fewer and larger sends.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    flush_ms: Option<u32>,
    /// Busy-poll for up to N microseconds (at most 1000) before a worker sleeps, after waits that were as short.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=1000))]
    spin_us: Option<u32>,
    /// Most sessions at a time; more are refused at accept.
    #[arg(long, value_name = "N", value_parser = crate::units::parse_count)]
    max_sessions: Option<u32>,
    /// Record everything that sessions receive, with times, in this folder; `naksi replay` sends it again.
    #[arg(long, value_name = "DIR")]
    pub(crate) record: Option<String>,
    /// Serve metrics, health and readiness over HTTP on this address, as in 127.0.0.1:9090.
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
    /// Require the token in this file for requests to the admin address; needed unless it is a loopback address.
    #[arg(long, value_name = "FILE")]
    admin_token_file: Option<String>,
    /// Settings from a TOML file (naksi.toml if it is there); NAKSI_SECTION__KEY variables and flags override it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Flags {
    /// The file to read: the one that was named, or the default one if it exists.
    pub(crate) fn file(&self) -> Option<PathBuf> {
        let usual = || Some(PathBuf::from(FILE_DEFAULT)).filter(|path| path.is_file());
        self.config.clone().or_else(usual)
    }

    /// The settings from all sources, checked.
    pub(crate) fn settings(&self) -> Result<Settings, Problem> {
        let (settings, problems) = self.gather();
        Problem::all(problems).map(|()| settings)
    }

    /// The same, with everything that is wrong.
    pub(crate) fn gather(&self) -> (Settings, Vec<Problem>) {
        let (mut settings, mut problems) = Settings::gather(self.file().as_deref());
        settings.take(self);
        problems.extend(settings.faults());
        (settings, problems)
    }
}

impl Settings {
    /// The defaults, changed by the file if there is one, and then by the environment.
    pub(crate) fn load(file: Option<&Path>) -> Result<Self, Problem> {
        let (settings, problems) = Self::gather(file);
        Problem::all(problems).map(|()| settings)
    }

    /// The same, with everything that is wrong.
    fn gather(file: Option<&Path>) -> (Self, Vec<Problem>) {
        let (mut settings, mut problems) = (Self::default(), Vec::new());
        if let Some(path) = file {
            let name = path.display().to_string();
            match text::read(path) {
                Ok(text) => problems.extend(settings.read_file(&name, &text)),
                Err(error) => {
                    problems.push(Problem::usage(format!("cannot read {name}: {}", plain(&error))));
                }
            }
        }
        let mut variables: Vec<(OsString, OsString)> = std::env::vars_os().collect();
        // Variables come in no order, and problems should.
        variables.sort();
        for (name, value) in variables {
            problems.extend(settings.read_os_variable(&name, &value));
        }
        (settings, problems)
    }

    fn read_file(&mut self, name: &str, text: &str) -> Vec<Problem> {
        let mut said = Said::read(text);
        let mut problems: Vec<Problem> =
            said.wrong.drain(..).map(|wrong| pictured(name, text, &wrong)).collect();
        let line_of_record =
            said.mentioned.iter().find(|(key, _)| key == "record.directory").map(|(_, line)| *line);
        self.take_said(said, |line| Origin::File(name.to_owned(), line));
        // The escape in a file's text may not be what its author meant; flags and variables are taken literally.
        let is_escaped = self.record.as_deref().is_some_and(|path| path.contains(char::is_control));
        if let Some(line) = line_of_record.filter(|_| is_escaped) {
            problems.push(Problem::usage(format!(
                "{name}:{line}: `record.directory` has a control character in it, as of \\n or \\t: a path of Windows \
                 stands in single quotes, like 'C:\\naksi\\new'"
            )));
        }
        problems
    }

    /// Takes a variable of any name, if it is a setting.
    fn read_os_variable(&mut self, name: &OsStr, value: &OsStr) -> Vec<Problem> {
        let is_ours = name.to_string_lossy().starts_with(PREFIX);
        match (name.to_str(), value.to_str()) {
            _ if !is_ours => Vec::new(),
            (Some(name), Some(value)) => self.read_variable(name, value),
            (Some(name), None) if !name.contains("__") && meant_as_setting(name).is_none() => Vec::new(),
            _ => {
                let name = name.to_string_lossy();
                vec![Problem::usage(format!("environment variable {name}: it is no text (no UTF-8)"))]
            }
        }
    }

    fn read_variable(&mut self, name: &str, value: &str) -> Vec<Problem> {
        let refused = |why: String| Problem::usage(format!("environment variable {name}: {why}"));
        let Some((section, key)) = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once("__")) else {
            let meant = meant_as_setting(name).map(|meant| refused(format!("did you mean {meant}?")));
            return meant.into_iter().collect();
        };
        let (section, key) = (section.to_lowercase(), key.to_lowercase());
        let Some(row) = wants::setting(&section, &key) else { return vec![refused(unknown(&section, &key))] };
        if let Some(Origin::Environment(other)) = self.origins.get(&row.name()) {
            return vec![refused(format!("{other} sets the same"))];
        }
        let mut said = Said::read(&format!("[{section}]\n{key} = {}\n", row.form.literal(value)));
        let problems = said.wrong.drain(..).map(|wrong| refused(wrong.line())).collect();
        self.take_said(said, |_| Origin::Environment(name.to_owned()));
        problems
    }

    fn take_said(&mut self, mut said: Said, origin: impl Fn(usize) -> Origin) {
        let mentioned = std::mem::take(&mut said.mentioned);
        said.apply(self);
        self.origins.extend(mentioned.into_iter().map(|(key, line)| (key, origin(line))));
    }

    /// Applies the flags.
    fn take(&mut self, flags: &Flags) {
        let mut said = Vec::new();
        if !flags.addresses.is_empty() {
            self.listeners = flags.addresses.iter().map(|address| Listener::at(address)).collect();
            said.push(("listen.addresses", "--addr"));
        }
        if flags.dual_stack {
            self.dual_stack = true;
            said.push(("listen.dual_stack", "--dual-stack"));
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
        let texts = [
            (&flags.record, &mut self.record, ("record.directory", "--record")),
            (&flags.admin, &mut self.admin.address, ("admin.address", "--admin")),
            (&flags.admin_token_file, &mut self.admin.token_file, ("admin.token_file", "--admin-token-file")),
        ];
        for (flag, setting, names) in texts {
            if flag.is_some() {
                setting.clone_from(flag);
                said.push(names);
            }
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

    /// Everything that a server would refuse: values out of range, and limits that contradict each other.
    fn faults(&self) -> Vec<Problem> {
        let rules = [
            ("listen.addresses", !self.listeners.is_empty(), "must not be empty"),
            (
                "io.workers",
                self.workers.is_none_or(|workers| (1..=256).contains(&workers)),
                "must be 1 to 256",
            ),
            ("io.direct", self.direct != Some(0), "must be at least 1"),
            // An unset variable in a script would otherwise record into the current folder.
            ("record.directory", self.record.as_deref() != Some(""), "must not be empty"),
            (
                "admin.token_file",
                self.admin.token_file.is_none() || self.admin.address.is_some(),
                "is of no use without admin.address",
            ),
            ("io.flush_ms", self.flush_ms.is_none_or(|span| (1..=100).contains(&span)), "must be 1 to 100"),
            ("io.spin_us", self.spin_us.is_none_or(|span| span <= 1000), "must be at most 1000"),
        ];
        let broken = rules.into_iter().filter(|(_, holds, _)| !holds);
        let mut lines: Vec<String> =
            broken.map(|(key, _, rule)| format!("{key} {rule} ({})", self.origin(key))).collect();
        if let Some(Err(error)) = self.log_filter.as_deref().map(log::check_filter) {
            lines.push(format!("log.filter: {error} ({})", self.origin("log.filter")));
        }
        lines.extend(self.limits.faults().into_iter().map(|rule| format!("limits make no sense: {rule}")));
        lines.into_iter().map(Problem::Usage).collect()
    }
}

/// What the names of variables begin with.
const PREFIX: &str = "NAKSI_";

/// The error for a variable that matches no setting.
fn unknown(section: &str, key: &str) -> String {
    let rows = table::rows(&Settings::default());
    let keys = rows.iter().filter(|row| row.section == section).map(|row| row.key);
    let sections = rows.iter().map(|row| row.section);
    match (naksi::config::nearest(key, keys.clone()), naksi::config::nearest(section, sections)) {
        (Some(meant), _) => format!("unknown key `{key}`: did you mean `{meant}`?"),
        (None, _) if keys.count() > 0 => format!("unknown key `{key}` of section `{section}`"),
        (None, Some(meant)) => format!("unknown section `{section}`: did you mean `{meant}`?"),
        (None, None) => format!("unknown section `{section}`"),
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

/// The setting that a variable with one underscore instead of two was meant for.
fn meant_as_setting(name: &str) -> Option<String> {
    let settings = table::rows(&Settings::default());
    let mut meant = settings.iter().map(|row| format!("{PREFIX}{}__{}", row.section, row.key).to_uppercase());
    meant.find(|meant| meant.replacen("__", "_", 1) == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use naksi::prelude::Overflow;
    use std::time::Duration;

    fn read(text: &str) -> Result<Settings, Problem> {
        let mut settings = Settings::default();
        Problem::all(settings.read_file("naksi.toml", text)).map(|()| settings)
    }

    #[test]
    fn a_file_changes_what_it_mentions_and_nothing_else() {
        let text = "[listen]\naddresses = [\"127.0.0.1:1\", \"[::1]:1\"]\n[io]\nworkers = 3\nbackend = \"epoll\"\n\
                    flush_ms = 5\nspin_us = 50\n\
                    [limits]\nidle_within = \"90s\"\nsend_queue_bytes_max = \"1MiB\"\noverflow = \"drop_new\"\n\
                    heartbeat = { packet_id = 7, every = \"10s\" }\n";
        let settings = read(text).expect("a sound file");
        assert_eq!(settings.listeners, ["127.0.0.1:1", "[::1]:1"].map(Listener::at));
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
        assert!(line.starts_with("naksi.toml:2:15: ") && line.contains("weeks"), "{line}");
    }

    fn said_of(name: &str, value: &str) -> String {
        let problems = Settings::default().read_variable(name, value);
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn a_variable_is_read_as_its_settings_own_type() {
        let mut settings = Settings::default();
        for (name, value) in [
            ("NAKSI_IO__WORKERS", "2"),
            ("NAKSI_LIMITS__IDLE_WITHIN", "30s"),
            ("NAKSI_LISTEN__ADDRESSES", "127.0.0.1:1,ws://[::1]:2"),
            ("NAKSI_LISTEN__DUAL_STACK", "true"),
            ("NAKSI_RECORD__DIRECTORY", "2026-11-30"),
            ("NAKSI_LOG__FILTER", "3"),
            ("NAKSI_LIMITS__FRAME_BYTES_MAX", "4096"),
            ("NAKSI_LIMITS__HEARTBEAT", "{ packet_id = 7, every = \"10s\" }"),
        ] {
            let problems = settings.read_variable(name, value);
            assert!(problems.is_empty(), "{name}: {problems:?}");
        }
        assert_eq!((settings.workers, settings.limits.idle_within), (Some(2), Duration::from_secs(30)));
        assert_eq!(settings.listeners, ["127.0.0.1:1", "ws://[::1]:2"].map(Listener::at));
        assert_eq!(settings.record.as_deref(), Some("2026-11-30"));
        assert_eq!((settings.log_filter.as_deref(), settings.limits.frame_bytes_max), (Some("3"), 4096));
        assert_eq!(settings.limits.heartbeat.map(|beat| beat.packet_id), Some(7));
        assert!(settings.dual_stack);
    }

    #[test]
    fn a_variable_that_cannot_be_used_is_named_with_what_it_wants() {
        let said = said_of("NAKSI_IO__WORKERS", "many");
        assert_eq!(
            said,
            "environment variable NAKSI_IO__WORKERS: `io.workers` wants a whole number from 1 to 256, and not \"many\""
        );
        assert!(said_of("NAKSI_IO__WOKERS", "2").ends_with("unknown key `wokers`: did you mean `workers`?"));
        assert!(
            said_of("NAKSI_LIMIT__SESSIONS_MAX", "2")
                .ends_with("unknown section `limit`: did you mean `limits`?")
        );
        assert!(said_of("NAKSI_IO_WORKERS", "2").ends_with("did you mean NAKSI_IO__WORKERS?"));
        assert_eq!(said_of("NAKSI_LOG", "info"), "");
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once_and_in_words() {
        let text = "[io]\nworkers = \"many\"\nwokers = 2\nflush_ms = -1\n[limit]\nx = 1\n[limits]\nidle_within = 30\n\
                    sessions_max = 1.5\nloopback_exempt = \"no\"\n[record]\ndirectory = \"C:\\new\"\n";
        let mut settings = Settings::default();
        let problems: Vec<String> = settings
            .read_file("naksi.toml", text)
            .iter()
            .map(|problem| problem.to_string().lines().next().unwrap_or_default().to_owned())
            .collect();
        let said = problems.join("\n");
        for line in [
            "naksi.toml:2:11: `io.workers` wants a whole number from 1 to 256, and not \"many\"",
            "naksi.toml:3:1: unknown key `wokers`: did you mean `workers`?",
            "naksi.toml:4:12: `io.flush_ms` wants a whole number from 1 to 100, and not -1",
            "naksi.toml:5:2: unknown key `limit`: did you mean `limits`?",
            "naksi.toml:8:15: `limits.idle_within`: a duration is a text like \"30s\"",
            "naksi.toml:9:16: `limits.sessions_max` wants a whole number from 1, and not 1.5",
            "naksi.toml:10:19: `limits.loopback_exempt` wants true or false, and not \"no\"",
            "naksi.toml:12: `record.directory` has a control character in it",
        ] {
            assert!(said.contains(line), "{line}\nin\n{said}");
        }
        assert_eq!(problems.len(), 8, "{said}");
        assert!(!said.contains("usize") && !said.contains("u32"), "{said}");
    }

    #[test]
    fn a_path_of_windows_in_double_quotes_is_told_about_single_ones() {
        for text in ["[record]\ndirectory = \"C:\\new\"\n", "[record]\ndirectory = \"D:\\data\"\n"] {
            let said = read(text).err().expect("refused").to_string();
            assert!(said.starts_with("naksi.toml:2") && said.contains("single quotes"), "{said}");
        }
        let settings = read("[record]\ndirectory = 'C:\\new'\n").expect("a sound file");
        assert_eq!(settings.record.as_deref(), Some("C:\\new"));
    }
}
