//! The settings from one source in the file's format: parsed by serde, so that an invalid key or value is reported
//! with its place.

use std::borrow::Cow;
use std::ops::Range;
use std::time::Duration;

use naksi::config::{Backend, Heartbeat, Limits, Overflow, RateLimitAction};
use naksi::log::Format;
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::Settings;
use super::listen::Listeners;
use super::table::Row;
use super::wants::{self, Form};
use crate::picture::line_of;
use crate::units;

/// The settings that one source contains; others stay unchanged.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Part {
    listen: ListenPart,
    io: IoPart,
    record: RecordPart,
    log: LogPart,
    admin: AdminPart,
    limits: LimitsPart,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ListenPart {
    addresses: Option<Listeners>,
    dual_stack: Option<bool>,
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

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RecordPart {
    directory: Option<String>,
    run_bytes_max: Option<Size>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct LogPart {
    filter: Option<String>,
    format: Option<FormatName>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct AdminPart {
    address: Option<String>,
    token_file: Option<String>,
    hosts: Option<Texts>,
}

/// What is wrong with a text, and where.
pub(super) struct Wrong {
    pub(super) message: String,
    /// The key that was meant, if one is near.
    pub(super) meant: Option<String>,
    /// Bytes of the text.
    pub(super) span: Range<usize>,
}

impl Wrong {
    fn of(error: &toml::de::Error, message: String, text: &str) -> Self {
        let (mut message, meant) = with_hint(&message);
        let span = error.span().unwrap_or(0..0);
        if message.contains("escape") {
            message += ": a path of Windows stands in single quotes, like 'C:\\naksi\\new'";
        }
        // A place behind the last byte has no line to show.
        let end = span.end.min(text.len());
        Self { message, meant, span: span.start.min(end)..end }
    }

    /// The whole of it in one line.
    pub(super) fn line(&self) -> String {
        match &self.meant {
            Some(meant) => format!("{}: did you mean `{meant}`?", self.message),
            None => self.message.clone(),
        }
    }
}

/// The settings in a text, and all errors in it.
#[derive(Default)]
pub(super) struct Said {
    parts: Vec<Part>,
    /// The keys that it mentions, by `section.key`, with their lines.
    pub(super) mentioned: Vec<(String, usize)>,
    pub(super) wrong: Vec<Wrong>,
}

impl Said {
    /// Parses a text. It continues after an invalid setting, so that all errors are reported.
    pub(super) fn read(text: &str) -> Self {
        let mut said = Self::default();
        let (sections, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            let wrong = errors.iter().map(|error| Wrong::of(error, refused(error.message(), text), text));
            said.wrong = wrong.collect();
            return said;
        }
        for (section, value) in sections.into_inner() {
            match value.get_ref() {
                DeValue::Table(keys) if !keys.is_empty() => {
                    for (key, value) in keys {
                        let mut only = DeTable::new();
                        only.insert(key.clone(), value.clone());
                        let only = Spanned::new(key.span(), DeValue::Table(only));
                        said.take(&section, Some(key), only, text);
                    }
                }
                DeValue::Array(tables) if *section.get_ref() == "listen" && !tables.is_empty() => {
                    said.take_listeners(&section, &value, tables, text);
                }
                _ => said.take(&section, None, value, text),
            }
        }
        // The parser sorts sections by name; errors are shown in the order of the text.
        said.wrong.sort_by_key(|wrong| wrong.span.start);
        said
    }

    /// Parses a section with one key, or the value that stands in place of a section.
    fn take(
        &mut self,
        section: &Spanned<Cow<'_, str>>,
        key: Option<&Spanned<Cow<'_, str>>>,
        value: Spanned<DeValue<'_>>,
        text: &str,
    ) {
        let mut document = DeTable::new();
        document.insert(section.clone(), value);
        let document = Spanned::new(section.span(), document);
        match Part::deserialize(toml::de::Deserializer::from(document)) {
            Ok(part) => {
                self.parts.push(part);
                self.mentioned.extend(key.map(|key| {
                    (format!("{}.{}", section.get_ref(), key.get_ref()), line_of(text, key.span().start))
                }));
            }
            Err(error) => {
                let (section, key) = (&**section.get_ref(), key.map_or("", |key| &**key.get_ref()));
                let message = wants::message(error.message(), (section, key), || {
                    error.span().and_then(|span| text.get(span)).unwrap_or_default()
                });
                self.wrong.push(Wrong::of(&error, message, text));
            }
        }
    }

    /// Reads `[[listen]]`, a table for each listener: as the list in `listen.addresses`, once each of them makes sense.
    fn take_listeners(
        &mut self,
        section: &Spanned<Cow<'_, str>>,
        all: &Spanned<DeValue<'_>>,
        tables: &[Spanned<DeValue<'_>>],
        text: &str,
    ) {
        let key = |name: &'static str| Spanned::new(all.span(), Cow::Borrowed(name));
        let wrong = self.wrong.len();
        for one in tables.chunks(1) {
            let mut alone = Self::default();
            alone.take(section, Some(&key("")), listed(one, all.span()), text);
            self.wrong.append(&mut alone.wrong);
        }
        if self.wrong.len() == wrong {
            self.take(section, Some(&key("addresses")), listed(tables, all.span()), text);
        }
    }

    pub(super) fn apply(self, settings: &mut Settings) {
        self.parts.into_iter().for_each(|part| part.apply(settings));
    }
}

impl Part {
    fn apply(self, settings: &mut Settings) {
        if let Some(addresses) = self.listen.addresses {
            settings.listeners = addresses.0;
        }
        settings.dual_stack = self.listen.dual_stack.unwrap_or(settings.dual_stack);
        if let Some(workers) = self.io.workers {
            settings.workers = Some(workers);
        }
        if let Some(backend) = self.io.backend {
            settings.backend = backend.into();
        }
        settings.direct = self.io.direct.or(settings.direct);
        settings.flush_ms = self.io.flush_ms.or(settings.flush_ms);
        settings.spin_us = self.io.spin_us.or(settings.spin_us);
        settings.record = self.record.directory.or(settings.record.take());
        if let Some(bytes) = self.record.run_bytes_max {
            settings.record_run_bytes_max = bytes.0 as u64;
        }
        settings.log_filter = self.log.filter.or(settings.log_filter.take());
        if let Some(format) = self.log.format {
            settings.log_format = format.into();
        }
        settings.admin.address = self.admin.address.or(settings.admin.address.take());
        settings.admin.token_file = self.admin.token_file.or(settings.admin.token_file.take());
        if let Some(hosts) = self.admin.hosts {
            settings.admin.hosts = hosts.0;
        }
        self.limits.apply(&mut settings.limits);
    }
}

/// Why a text is not a settings file. TOML forbids `[listen]` beside `[[listen]]`, and its error does not say so.
fn refused(message: &str, text: &str) -> String {
    let has = |header| text.lines().any(|line| line.trim_start().starts_with(header));
    match message.contains("duplicate key") && has("[listen]") && has("[[listen]]") {
        true => {
            "there are both [listen] and [[listen]]: use the section, or a table for each listener".to_owned()
        }
        false => message.to_owned(),
    }
}

/// Tables of listeners, as a section with the list of them.
fn listed<'a>(tables: &[Spanned<DeValue<'a>>], span: Range<usize>) -> Spanned<DeValue<'a>> {
    let array: DeArray<'a> = tables.iter().cloned().collect();
    let array = Spanned::new(span.clone(), DeValue::Array(array));
    let mut section = DeTable::new();
    section.insert(Spanned::new(span.clone(), Cow::Borrowed("addresses")), array);
    Spanned::new(span, DeValue::Table(section))
}

/// Serde lists every key that exists; the nearest one is more helpful.
fn with_hint(message: &str) -> (String, Option<String>) {
    let mut names = message.split('`').skip(1).step_by(2);
    let Some(wrong) = names.next().filter(|_| message.starts_with("unknown field")) else {
        return (message.to_owned(), None);
    };
    match naksi::config::nearest(wrong, names) {
        Some(name) => (format!("unknown key `{wrong}`"), Some(name.to_owned())),
        None => (message.replacen("unknown field", "unknown key", 1), None),
    }
}

/// The backends by their names on the command line and in the file.
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

impl BackendName {
    /// The name as a file has it.
    pub(super) fn of(backend: Backend) -> &'static str {
        match backend {
            Backend::Auto => "auto",
            Backend::Uring => "uring",
            Backend::Epoll => "epoll",
            Backend::Iocp => "iocp",
        }
    }
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

/// One text, several with commas between them, or a list.
struct Texts(Vec<String>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match toml::Value::deserialize(deserializer)? {
            toml::Value::String(text) => Ok(Self(text.split(',').map(|one| one.trim().to_owned()).collect())),
            toml::Value::Array(list) => list
                .iter()
                .map(|one| one.as_str().map(str::to_owned))
                .collect::<Option<Vec<_>>>()
                .map(Self)
                .ok_or_else(|| {
                    de::Error::custom("a list of texts is wanted, and it has something else in it")
                }),
            _ => Err(de::Error::custom("a text or a list of texts is wanted")),
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

/// A number of bytes as a file has it.
pub(super) fn size(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let whole = units.iter().find(|(unit, _)| bytes > 0 && bytes.is_multiple_of(*unit));
    whole.map_or_else(|| bytes.to_string(), |(unit, name)| format!("\"{}{name}\"", bytes / unit))
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
#[serde(rename_all = "lowercase")]
enum FormatName {
    Text,
    Json,
}

impl From<FormatName> for Format {
    fn from(name: FormatName) -> Format {
        match name {
            FormatName::Text => Format::Text,
            FormatName::Json => Format::Json,
        }
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
#[serde(rename_all = "snake_case")]
enum RateLimitActionName {
    Pause,
    EndSession,
}

impl From<RateLimitActionName> for RateLimitAction {
    fn from(name: RateLimitActionName) -> RateLimitAction {
        match name {
            RateLimitActionName::Pause => RateLimitAction::Pause,
            RateLimitActionName::EndSession => RateLimitAction::EndSession,
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

/// A type of setting: its form in a file, and its name for people.
trait Literal {
    type Of;
    /// How the environment's text is read.
    const FORM: Form;
    /// What the setting wants, in words.
    const WANTS: &'static str;
    /// The value as written in a file; `None` if it is not set.
    fn literal(value: &Self::Of) -> Option<String>;
}

impl Literal for Size {
    type Of = usize;
    const FORM: Form = Form::Text;
    const WANTS: &'static str = "a number of bytes from 0, or a text like \"64KiB\"";

    fn literal(bytes: &usize) -> Option<String> {
        Some(size(*bytes as u64))
    }
}

impl Literal for Span {
    type Of = Duration;
    const FORM: Form = Form::Text;
    const WANTS: &'static str = "a text like \"30s\" or \"500ms\"";

    fn literal(span: &Duration) -> Option<String> {
        let nanos = span.as_nanos();
        let units = [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us"), (1, "ns")];
        let (unit, name) =
            units.into_iter().find(|(unit, _)| nanos.is_multiple_of(*unit)).unwrap_or((1, "ns"));
        Some(format!("\"{}{name}\"", nanos / unit))
    }
}

macro_rules! literal_as_it_is {
    ($($kind:ty: $form:ident $wants:literal)*) => {
        $(impl Literal for $kind {
            type Of = $kind;
            const FORM: Form = Form::$form;
            const WANTS: &'static str = $wants;

            fn literal(value: &$kind) -> Option<String> {
                Some(value.to_string())
            }
        })*
    };
}

literal_as_it_is!(
    usize: Number "a whole number from 0"
    u32: Number "a whole number from 0 to 4,294,967,295"
    bool: Flag "true or false"
);

impl Literal for OverflowName {
    type Of = Overflow;
    const FORM: Form = Form::Text;
    const WANTS: &'static str = "\"end_session\" or \"drop_new\"";

    fn literal(overflow: &Overflow) -> Option<String> {
        let name = match overflow {
            Overflow::EndSession => "end_session",
            Overflow::DropNew => "drop_new",
        };
        Some(format!("\"{name}\""))
    }
}

impl Literal for RateLimitActionName {
    type Of = RateLimitAction;
    const FORM: Form = Form::Text;
    const WANTS: &'static str = "\"pause\" or \"end_session\"";

    fn literal(rate_limit_action: &RateLimitAction) -> Option<String> {
        let name = match rate_limit_action {
            RateLimitAction::Pause => "pause",
            RateLimitAction::EndSession => "end_session",
        };
        Some(format!("\"{name}\""))
    }
}

impl Literal for HeartbeatPart {
    type Of = Option<Heartbeat>;
    const FORM: Form = Form::Table;
    const WANTS: &'static str =
        "a table like { packet_id = 1, every = \"20s\" } with a packet_id from 0 to 65,535";

    fn literal(heartbeat: &Option<Heartbeat>) -> Option<String> {
        let Heartbeat { packet_id, every } = (*heartbeat)?;
        Some(format!("{{ packet_id = {packet_id}, every = {} }}", Span::literal(&every)?))
    }
}

/// One optional key for every field of [`Limits`], under the same name, with its line in `config init`.
macro_rules! limits_part {
    ($(#[doc = $doc:literal] $field:ident: $kind:ty $(= $example:literal)?,)*) => {
        #[derive(Default, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        struct LimitsPart { $($field: Option<$kind>,)* }

        impl LimitsPart {
            fn apply(self, limits: &mut Limits) {
                $(if let Some(value) = self.$field { limits.$field = value.into(); })*
            }
        }

        /// Every limit, as a file would have it.
        pub(super) fn rows_of_limits(limits: &Limits) -> Vec<Row> {
            // A limit without a key does not compile.
            let Limits { $($field: _),* } = limits;
            vec![$(Row {
                section: "limits",
                key: stringify!($field),
                value: <$kind as Literal>::literal(&limits.$field),
                form: <$kind as Literal>::FORM,
                wants: <$kind as Literal>::WANTS,
                example: concat!($($example)?),
                about: $doc,
            },)*]
        }
    };
}

limits_part! {
    /// Largest frame, header included (4 to 65,535 bytes).
    frame_bytes_max: Size,
    /// Largest frame before the first whole frame was received; a login with its token must fit.
    first_frame_bytes_max: Size,
    /// Time limit for the first whole frame after connecting; longer than a login screen stays open.
    first_frame_within: Span,
    /// Time limit for a whole frame after its first byte.
    frame_within: Span,
    /// Longest head of the HTTP request of a WebSocket handshake; it may have at most 64 lines.
    head_bytes_max: Size,
    /// Largest message of an application that takes WebSocket messages; `--app echo` takes 16 MiB if it is not set.
    message_bytes_max: Size,
    /// Most fragments of one WebSocket message.
    message_fragments_max: u32,
    /// A session that receives nothing for this long ends.
    idle_within: Span,
    /// A session that has bytes to send and makes no progress for this long ends.
    send_stall_within: Span,
    /// Empty packets that both sides send when they have been silent; off by default.
    heartbeat: HeartbeatPart = "{ packet_id = 1, every = \"20s\" }",
    /// Most bytes queued for one session.
    send_queue_bytes_max: Size,
    /// Most pieces queued for one session.
    send_queue_entries_max: usize,
    /// Over this many queued bytes, or with a full queue, a session stops receiving.
    send_queue_high_bytes: Size,
    /// At or below this many queued bytes it receives again.
    send_queue_low_bytes: Size,
    /// The kernel's send buffer for one session; 0 leaves it to the system.
    kernel_send_bytes_max: Size,
    /// The kernel's receive buffer for one session; 0 leaves it to the system.
    kernel_recv_bytes_max: Size,
    /// Most bytes of droppable data that wait for one session.
    data_bytes_max: Size,
    /// Most droppable messages that wait for one session.
    data_entries_max: usize,
    /// What happens to bytes that do not fit: end_session or drop_new.
    overflow: OverflowName,
    /// Most unconsumed bytes of one session.
    recv_backlog_bytes_max: Size,
    /// Most unconsumed bytes of all sessions of one worker.
    recv_backlog_total_bytes_max: Size,
    /// Most bytes of memory that all sessions hold together, shared data counted for each; 0 is no limit.
    memory_bytes_max: Size,
    /// Most messages per second from a session; 0 is no limit.
    messages_per_second_max: u32,
    /// Most bytes per second from a session; 0 is no limit.
    recv_bytes_per_second_max: Size,
    /// Most rooms per second that a session may join; 0 is no limit.
    room_joins_per_second_max: u32,
    /// Most topics, and most rooms, that a session is in at once.
    memberships_max: usize,
    /// Most bytes that rooms hold unprocessed for one session; above it, reading from the session pauses.
    room_backlog_bytes_max: Size,
    /// What happens to a session that exceeds one of the three rates: pause or end_session.
    rate_limit_action: RateLimitActionName,
    /// Most files that one session may have open.
    files_max: usize,
    /// Most file operations of one session in flight.
    file_operations_max: usize,
    /// Most bytes of the reads and writes of one session in flight.
    file_bytes_max: Size,
    /// How long a session that ends gracefully may take to flush its queue.
    drain_within: Span,
    /// After flushing, the peer's own end is awaited for this long.
    linger_within: Span,
    /// Most sessions, 1 to 16,777,216; more are refused at accept.
    sessions_max: usize,
    /// Most connections from one address.
    connections_per_address_max: u32,
    /// Most connections accepted per second, with a burst of as many.
    accepts_per_second_max: u32,
    /// Most connections whose TLS or WebSocket handshake is not done; more are refused at accept.
    handshakes_max: usize,
    /// Whether connections_per_address_max and accepts_per_second_max exempt loopback addresses.
    loopback_exempt: bool,
    /// Most log lines per second and worker about the same subject.
    log_lines_per_second_max: u32,
}
