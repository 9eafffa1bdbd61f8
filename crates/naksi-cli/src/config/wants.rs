//! The form of each setting, in words for errors, and how its text in the environment is parsed.

use super::Settings;
use super::table::{Row, rows};

/// How a text of the environment is parsed: as the setting's own type, never by what the text looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Taken literally.
    Text,
    /// As texts separated by commas, or as a list in the file's syntax.
    List,
    /// As a whole number.
    Number,
    /// As true or false.
    Flag,
    /// As a table of a file.
    Table,
}

/// Limits that may not be 0, whatever their numbers could be.
const FROM_ONE: &[&str] = &[
    "accepts_per_second_max",
    "connections_per_address_max",
    "data_entries_max",
    "handshakes_max",
    "log_lines_per_second_max",
    "message_fragments_max",
    "send_queue_entries_max",
    "sessions_max",
];

/// The setting of this name.
pub(super) fn setting(section: &str, key: &str) -> Option<Row> {
    rows(&Settings::default()).into_iter().find(|row| row.section == section && row.key == key)
}

/// Rewrites a type parser's error about a setting for people. `found` is the invalid value.
pub(super) fn message<'a>(said: &str, name: (&str, &str), found: impl Fn() -> &'a str) -> String {
    let (section, key) = name;
    match setting(section, key) {
        Some(row) if said.starts_with("invalid type") || said.starts_with("invalid value") => {
            let wants = if FROM_ONE.contains(&key) {
                row.wants.replace("from 0", "from 1")
            } else {
                row.wants.to_owned()
            };
            format!("`{section}.{key}` wants {wants}, and not {}", found())
        }
        Some(_) if said.starts_with("unknown field") || said.starts_with(&format!("`{section}.")) => {
            said.to_owned()
        }
        Some(_) => format!("`{section}.{key}`: {}", said.replacen("unknown variant", "unknown value", 1)),
        None if key.is_empty() && said.starts_with("invalid type") => {
            format!("`{section}` is a section: write [{section}], and its settings below it")
        }
        None => said.to_owned(),
    }
}

impl Form {
    /// A text of the environment as written in a file. An invalid one stays a text, and is refused as such.
    pub(super) fn literal(self, value: &str) -> String {
        let trimmed = value.trim();
        // What has a line feed could be more than one value.
        let read =
            format!("value = {trimmed}\n").parse::<toml::Table>().ok().filter(|_| !trimmed.contains('\n'));
        let read = read.and_then(|mut table| table.remove("value"));
        let is_meant = match (self, &read) {
            (Form::Number, Some(toml::Value::Integer(_))) => !trimmed.contains('#'),
            (Form::Flag, _) => matches!(trimmed, "true" | "false"),
            (Form::Table, Some(toml::Value::Table(_))) | (Form::List, Some(toml::Value::Array(_))) => true,
            _ => false,
        };
        if is_meant { trimmed.to_owned() } else { toml::Value::String(value.to_owned()).to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_read_as_its_setting_and_not_as_what_it_looks_like() {
        for text in
            ["rec", "2026", "2026-11-30", "true", "inf", "1e5", "[]", "{}", "a = 1", "\"quoted\"", " "]
        {
            let document = format!("x = {}", Form::Text.literal(text));
            let table = document.parse::<toml::Table>().expect("a document");
            assert_eq!(table["x"].as_str(), Some(text), "{document}");
        }
        assert_eq!(Form::Number.literal(" 2 "), "2");
        assert_eq!(Form::Number.literal("1_000"), "1_000");
        for text in ["2.0", "two", "true", "", "2 # 3", "2\nx = 3", "0x", "99999999999999999999"] {
            assert!(Form::Number.literal(text).starts_with(['"', '\'']), "{text}");
        }
        assert_eq!(
            ["true", "false", "1", "yes", "True"].map(|text| Form::Flag.literal(text)),
            ["true", "false", "\"1\"", "\"yes\"", "\"True\""]
        );
        assert_eq!(Form::List.literal("[\"a:1\", \"b:2\"]"), "[\"a:1\", \"b:2\"]");
        assert_eq!(Form::List.literal("[::1]:7777"), "\"[::1]:7777\"");
    }

    #[test]
    fn every_setting_says_what_it_wants_without_a_type_of_rust() {
        for row in rows(&Settings::default()) {
            let types = ["usize", "u16", "u32", "u64", "i64", "Duration", "struct", "integer"];
            assert!(
                !row.wants.is_empty() && types.iter().all(|name| !row.wants.contains(name)),
                "{}",
                row.name()
            );
        }
        assert!(
            FROM_ONE.iter().all(|key| setting("limits", key).is_some_and(|row| row.wants.contains("from 0")))
        );
    }
}
