//! Every setting in a table: its value as written in a file, and a description. `config print`, `config init` and a
//! reload are built from it.

use super::part::{BackendName, rows_of_limits, size};
use super::wants::Form;
use super::{AdminSettings, Origin, Settings};

/// One setting.
pub(crate) struct Row {
    pub(crate) section: &'static str,
    pub(crate) key: &'static str,
    /// The value as written in a file; `None` if it is not set.
    pub(crate) value: Option<String>,
    /// How the environment's text is read.
    pub(crate) form: Form,
    /// What it wants, in words.
    pub(crate) wants: &'static str,
    /// A valid value, as an example in a new file.
    pub(crate) example: &'static str,
    /// What it is, in a line.
    pub(crate) about: &'static str,
}

/// Settings that take effect in a running server; all others need a restart.
const RELOADED: &[&str] = &[
    "log.filter",
    "log.format",
    "limits.sessions_max",
    "limits.connections_per_address_max",
    "limits.accepts_per_second_max",
    "limits.handshakes_max",
    "limits.loopback_exempt",
];

impl Row {
    pub(crate) fn name(&self) -> String {
        format!("{}.{}", self.section, self.key)
    }

    pub(crate) fn is_reloaded(&self) -> bool {
        RELOADED.contains(&self.name().as_str())
    }
}

fn row(
    path: (&'static str, &'static str),
    value: Option<String>,
    (form, wants): (Form, &'static str),
    example: &'static str,
    about: &'static str,
) -> Row {
    Row { section: path.0, key: path.1, value, form, wants, example, about }
}

/// Every setting, section by section.
pub(crate) fn rows(settings: &Settings) -> Vec<Row> {
    let mut rows = rows_of_io(settings);
    rows.extend(rows_of_files(settings));
    rows.extend(rows_of_admin(&settings.admin));
    rows.extend(rows_of_limits(&settings.limits));
    rows
}

/// A text as a file would have it.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// Texts as a file would have them.
fn list(texts: &[String]) -> String {
    format!("[{}]", texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", "))
}

/// Where a server listens, and what it runs on.
fn rows_of_io(settings: &Settings) -> Vec<Row> {
    let number = |number: Option<u32>| number.map(|number| number.to_string());
    let addresses: Vec<String> = settings.listeners.iter().map(|listener| listener.literal()).collect();
    vec![
        row(
            ("listen", "addresses"),
            Some(format!("[{}]", addresses.join(", "))),
            (Form::List, "a text like \"127.0.0.1:7777\" or \"ws://0.0.0.0:8080\", or a list of them"),
            "[\"127.0.0.1:7777\"]",
            "Addresses to listen on; port 0 takes a free one. ws:// before an address is WebSocket, nothing or tcp:// plain TCP.",
        ),
        row(
            ("listen", "dual_stack"),
            Some(settings.dual_stack.to_string()),
            (Form::Flag, "true or false"),
            "true",
            "Whether a listener on [::] accepts IPv4 too.",
        ),
        row(
            ("io", "workers"),
            settings.workers.map(|workers| workers.to_string()),
            (Form::Number, "a whole number from 1 to 256"),
            "2",
            "I/O worker threads; one per processor if it is not set.",
        ),
        row(
            ("io", "backend"),
            Some(quoted(BackendName::of(settings.backend))),
            (Form::Text, "\"auto\", \"uring\", \"epoll\" or \"iocp\""),
            "\"auto\"",
            "The kernel interface to use: auto, uring, epoll or iocp.",
        ),
        row(
            ("io", "direct"),
            number(settings.direct),
            (Form::Number, "a whole number from 1 to 4,294,967,295"),
            "10000",
            "Sockets of each worker that are kept outside the process's descriptors (io_uring's direct descriptors).",
        ),
        row(
            ("io", "flush_ms"),
            number(settings.flush_ms),
            (Form::Number, "a whole number from 1 to 100"),
            "5",
            "Send queued data every N milliseconds (1 to 100); at once if it is not set.",
        ),
        row(
            ("io", "spin_us"),
            number(settings.spin_us),
            (Form::Number, "a whole number from 0 to 1,000"),
            "50",
            "How long a worker busy-polls before it sleeps, in microseconds (at most 1000).",
        ),
    ]
}

/// What a server writes: recordings and log lines.
fn rows_of_files(settings: &Settings) -> Vec<Row> {
    vec![
        row(
            ("record", "directory"),
            settings.record.as_deref().map(quoted),
            (Form::Text, "a text with the path of a folder"),
            "\"recordings\"",
            "Folder for recordings of what sessions receive; nothing is recorded if it is not set.",
        ),
        row(
            ("record", "run_bytes_max"),
            Some(size(settings.record_run_bytes_max)),
            (Form::Text, "a number of bytes from 0, or a text like \"64GiB\""),
            "\"64GiB\"",
            "Most bytes of all recordings of one run; then recording ends, and the server continues.",
        ),
        row(
            ("log", "filter"),
            settings.log_filter.as_deref().map(quoted),
            (Form::Text, "a text like \"info\" or \"warn,naksi=debug\""),
            "\"info\"",
            "Which log lines are written; NAKSI_LOG overrides it. Warnings and errors if it is not set; info adds the start and \
             stop of the service, debug each session's beginning and end, trace the lengths of receives and sends.",
        ),
        row(
            ("log", "format"),
            Some(quoted(settings.log_format.name())),
            (Form::Text, "\"text\" or \"json\""),
            "\"json\"",
            "How log lines are written: text, or json with one object a line.",
        ),
    ]
}

/// Where metrics and health are served.
fn rows_of_admin(admin: &AdminSettings) -> Vec<Row> {
    vec![
        row(
            ("admin", "address"),
            admin.address.as_deref().map(quoted),
            (Form::Text, "a text like \"127.0.0.1:9090\""),
            "\"127.0.0.1:9090\"",
            "Address for metrics, health and readiness over HTTP; not served if it is not set.",
        ),
        row(
            ("admin", "token_file"),
            admin.token_file.as_deref().map(quoted),
            (Form::Text, "a text with the path of a file"),
            "\"admin.token\"",
            "File with the token for requests (at least 16 characters); needed unless address is a loopback address.",
        ),
        row(
            ("admin", "hosts"),
            Some(list(&admin.hosts)),
            (Form::List, "a text like \"naksi.example\", or a list of them"),
            "[\"naksi.example\"]",
            "Host names of the admin server, besides its address and localhost; requests for other names are refused.",
        ),
    ]
}

/// The settings as a file that names the source of each value; with `all`, defaults too.
pub(crate) fn print(settings: &Settings, all: bool) -> String {
    let lines = rows(settings).into_iter().filter_map(|row| {
        let origin = settings.origin(&row.name());
        let said = match &row.value {
            Some(value) => format!("{} = {value}", row.key),
            None => format!("# {} is not set", row.key),
        };
        (all || origin != Origin::Default).then(|| (row.section, format!("{said:<46} # {origin}")))
    });
    in_sections(lines)
}

/// A file that sets nothing and shows every setting.
pub(crate) fn blank() -> String {
    let lines = rows(&Settings::default()).into_iter().map(|row| {
        let reloaded = if row.is_reloaded() { " Reloaded on SIGHUP." } else { "" };
        let value = row.value.as_deref().unwrap_or(row.example);
        (row.section, format!("#{}{reloaded}\n# {} = {value}", about(row.about), row.key))
    });
    let head = "# The settings of a Naksi server. Commented settings show the default, or an example where there is none.\n\
                # The environment (NAKSI_IO__WORKERS=2) overrides the file, and flags override both. Settings that are not\n\
                # marked as reloaded take effect at the next start.\n\n";
    format!("{head}{LISTENERS}{}", in_sections(lines))
}

/// The example of listeners with options.
const LISTENERS: &str = "# Instead of [listen], a table for each listener can set more than an address:\n#\n\
    #     [[listen]]\n#     address = \"127.0.0.1:7777\"\n#\n\
    #     [[listen]]\n#     address = \"ws://0.0.0.0:8080\"\n\
    #     origins = [\"https://play.example\"]   # allowed origins: \"same_host\" (the default), \"any\" or a list\n\
    #     path = \"/play\"                       # the only path served; every path if it is not set\n\
    #     subprotocols = [\"chat.v2\"]           # further accepted ones\n\
    #     dual_stack = false                   # whether a listener on [::] accepts IPv4 too\n\n";

/// Removes the leading space of a doc comment.
fn about(text: &str) -> String {
    format!(" {}", text.trim_start())
}

fn in_sections(lines: impl Iterator<Item = (&'static str, String)>) -> String {
    let (mut text, mut last) = (String::new(), "");
    for (section, line) in lines {
        if section != last {
            let gap = if last.is_empty() { "" } else { "\n" };
            text += &format!("{gap}[{section}]\n");
            last = section;
        }
        text += &line;
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Settings {
        let mut settings = Settings::default();
        let problems = settings.read_file("naksi.toml", text);
        assert!(problems.is_empty(), "{problems:?}");
        settings
    }

    #[test]
    fn a_new_file_shows_every_setting_and_every_example_is_one_that_is_read() {
        let blank = blank();
        let nothing = read(&blank);
        assert!(rows(&nothing).iter().all(|row| nothing.origin(&row.name()) == Origin::Default));
        // A comment line is a setting if it parses as one without its mark.
        let says = |line: &&str| {
            line.strip_prefix("# ")
                .is_some_and(|rest| rest.split(" = ").next().is_some_and(|key| !key.contains(' ')))
        };
        let count = blank.lines().filter(says).count();
        let all: String = blank
            .lines()
            .map(|line| if says(&line) { line[2..].to_owned() } else { line.to_owned() } + "\n")
            .collect();
        let settings = read(&all);
        let table = rows(&settings);
        assert_eq!(count, table.len());
        for row in &table {
            assert!(matches!(settings.origin(&row.name()), Origin::File(_, _)), "{} is not read", row.name());
        }
        // What has a default is shown with it.
        for (row, default) in
            table.iter().zip(rows(&Settings::default())).filter(|(_, default)| default.value.is_some())
        {
            assert_eq!(row.value, default.value, "{}", row.name());
        }
    }

    #[test]
    fn what_is_printed_is_read_as_the_same_settings_and_names_each_origin() {
        let text = "[io]\nworkers = 3\n\n[limits]\nidle_within = \"1500ms\"\nheartbeat = { packet_id = 7, every = \"10s\" }\n\
                    overflow = \"drop_new\"\nsend_queue_bytes_max = 300001\n";
        let settings = read(text);
        let printed = print(&settings, true);
        let again = read(&printed);
        assert_eq!(values(&again), values(&settings));
        for line in [
            "workers = 3 # naksi.toml:2",
            "idle_within = \"1500ms\" # naksi.toml:5",
            "backend = \"auto\" # default",
        ] {
            let squeezed = printed.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(squeezed.contains(line), "{line} in\n{printed}");
        }
        let said = print(&settings, false);
        assert!(said.contains("workers") && !said.contains("backend"), "{said}");
    }

    fn values(settings: &Settings) -> Vec<Option<String>> {
        rows(settings).into_iter().map(|row| row.value).collect()
    }

    #[test]
    fn what_can_be_reloaded_exists() {
        let names: Vec<String> = rows(&Settings::default()).iter().map(Row::name).collect();
        assert!(RELOADED.iter().all(|name| names.iter().any(|row| row == name)));
    }
}
