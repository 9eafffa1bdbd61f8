//! Where a server listens, in the words of the file: texts with an address each, or tables with an address and what holds
//! for it alone. Nothing here resolves a name.

use std::fmt;

use naksi::config::{Transport, Url};
use naksi::ws::Origins;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use toml::Value;

/// One listener of the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listener {
    /// With its scheme, as it is written.
    pub(crate) address: String,
    /// Defaults to `listen.dual_stack`.
    pub(crate) dual_stack: Option<bool>,
    pub(crate) origins: Option<Origins>,
    pub(crate) path: Option<String>,
    pub(crate) subprotocols: Vec<String>,
}

impl Listener {
    /// A listener that is an address and nothing else.
    pub(crate) fn at(address: &str) -> Self {
        Self {
            address: address.trim().to_owned(),
            dual_stack: None,
            origins: None,
            path: None,
            subprotocols: Vec::new(),
        }
    }

    /// As a file would have it.
    pub(super) fn literal(&self) -> String {
        let quoted = |text: &str| Value::String(text.to_owned()).to_string();
        let list =
            |texts: &[String]| Value::Array(texts.iter().cloned().map(Value::String).collect()).to_string();
        let mut keys = vec![format!("address = {}", quoted(&self.address))];
        keys.extend(self.dual_stack.map(|on| format!("dual_stack = {on}")));
        keys.extend(self.origins.as_ref().map(|origins| match origins {
            Origins::SameHost => "origins = \"same_host\"".to_owned(),
            Origins::Any => "origins = \"any\"".to_owned(),
            Origins::Listed(pages) => format!("origins = {}", list(pages)),
        }));
        keys.extend(self.path.as_deref().map(|path| format!("path = {}", quoted(path))));
        if !self.subprotocols.is_empty() {
            keys.push(format!("subprotocols = {}", list(&self.subprotocols)));
        }
        if keys.len() == 1 { quoted(&self.address) } else { format!("{{ {} }}", keys.join(", ")) }
    }

    /// Why the keys of a table do not go together.
    fn contradiction(&self) -> Option<String> {
        let is_plain = self.address.parse::<Url>().ok()?.transport() == Transport::Tcp;
        let of_websocket = [
            ("origins", self.origins.is_some()),
            ("path", self.path.is_some()),
            ("subprotocols", !self.subprotocols.is_empty()),
        ];
        let (key, _) = of_websocket.into_iter().find(|(_, is_set)| is_plain && *is_set)?;
        Some(format!("`listen.{key}` is for an address with ws://, and `{}` is plain TCP", self.address))
    }
}

/// The tables of a file, before they are known to make sense.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(default, deserialize_with = "address")]
    address: String,
    #[serde(default, deserialize_with = "dual_stack")]
    dual_stack: Option<bool>,
    #[serde(default, deserialize_with = "origins")]
    origins: Option<Origins>,
    #[serde(default, deserialize_with = "path")]
    path: Option<String>,
    #[serde(default, deserialize_with = "subprotocols")]
    subprotocols: Vec<String>,
}

/// Reads a key of a table, or says what it wants.
fn wanted<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    (key, wants): (&str, &str),
    read: impl FnOnce(&Value) -> Option<T>,
) -> Result<T, D::Error> {
    let value = Value::deserialize(deserializer)?;
    read(&value).ok_or_else(|| de::Error::custom(format!("`listen.{key}` wants {wants}, and not {value}")))
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let wants = ("address", "a text like \"ws://0.0.0.0:8080\"");
    let address = wanted(deserializer, wants, |value| value.as_str().map(str::to_owned))?;
    sound("address", &address).map_err(de::Error::custom)?;
    Ok(address)
}

fn dual_stack<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    wanted(deserializer, ("dual_stack", "true or false"), Value::as_bool).map(Some)
}

fn origins<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Origins>, D::Error> {
    let wants = "\"same_host\", \"any\" or a list like [\"https://play.example\"]";
    let is_origin = |text: &String| {
        let place = text.split_once("://").map(|(_, place)| place);
        place.is_some_and(|place| !place.is_empty() && !place.contains(['/', ' ', '*']))
    };
    let read = |value: &Value| match value {
        Value::String(text) if text == "same_host" => Some(Origins::SameHost),
        Value::String(text) if text == "any" => Some(Origins::Any),
        Value::Array(_) => texts(value).filter(|pages| pages.iter().all(is_origin)).map(Origins::Listed),
        _ => None,
    };
    wanted(deserializer, ("origins", wants), read).map(Some)
}

fn path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let is_path = |text: &&str| {
        text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#".contains(&byte))
    };
    let read = |value: &Value| value.as_str().filter(is_path).map(str::to_owned);
    wanted(deserializer, ("path", "a text like \"/play\""), read).map(Some)
}

fn subprotocols<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    // A token of RFC 9110, section 5.6.2.
    let is_token = |name: &String| {
        let is_mark = |byte: u8| b"!#$%&'*+-.^_`|~".contains(&byte);
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || is_mark(byte))
    };
    let read = |value: &Value| texts(value).filter(|names| names.iter().all(is_token));
    wanted(deserializer, ("subprotocols", "a list of names like [\"chat.v2\"]"), read)
}

/// The texts of a list.
fn texts(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|one| one.as_str().map(str::to_owned)).collect()
}

/// Says what is wrong with a scheme; the rest of an address is looked at when it is resolved.
fn sound(key: &str, address: &str) -> Result<(), String> {
    address.parse::<Url>().map(drop).map_err(|error| format!("`listen.{key}`: {error}"))
}

impl<'de> Deserialize<'de> for Listener {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneListener)
    }
}

struct OneListener;

impl<'de> Visitor<'de> for OneListener {
    type Value = Listener;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an address or a table with one")
    }

    fn visit_str<E: de::Error>(self, address: &str) -> Result<Listener, E> {
        sound("addresses", address).map_err(E::custom)?;
        Ok(Listener::at(address))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Listener, A::Error> {
        let table = Table::deserialize(MapAccessDeserializer::new(map))?;
        let Table { address, dual_stack, origins, path, subprotocols } = table;
        if address.is_empty() {
            return Err(de::Error::custom("a listener needs an `address`, like \"ws://0.0.0.0:8080\""));
        }
        let listener = Listener { dual_stack, origins, path, subprotocols, ..Listener::at(&address) };
        match listener.contradiction() {
            Some(why) => Err(de::Error::custom(why)),
            None => Ok(listener),
        }
    }
}

/// One address, several with commas between them, or a list of addresses and tables.
pub(super) struct Listeners(pub(super) Vec<Listener>);

impl<'de> Deserialize<'de> for Listeners {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AllListeners)
    }
}

struct AllListeners;

impl<'de> Visitor<'de> for AllListeners {
    type Value = Listeners;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an address or a list of them")
    }

    fn visit_str<E: de::Error>(self, addresses: &str) -> Result<Listeners, E> {
        addresses
            .split(',')
            .map(|one| OneListener.visit_str(one.trim()))
            .collect::<Result<_, _>>()
            .map(Listeners)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Listeners, A::Error> {
        let mut listeners = Vec::new();
        while let Some(listener) = list.next_element()? {
            listeners.push(listener);
        }
        Ok(Listeners(listeners))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Settings;

    fn read(text: &str) -> Result<Settings, Vec<String>> {
        let mut settings = Settings::default();
        let problems = settings.read_file("naksi.toml", text);
        let lines =
            problems.iter().map(|problem| problem.to_string().lines().next().unwrap_or_default().to_owned());
        if problems.is_empty() { Ok(settings) } else { Err(lines.collect()) }
    }

    #[test]
    fn a_table_for_each_listener_says_what_holds_for_it_alone() {
        let text = "[[listen]]\naddress = \"[::]:7777\"\ndual_stack = true\n\n[[listen]]\naddress = \"ws://0.0.0.0:8080\"\n\
                    origins = [\"https://play.example\", \"http://localhost:3000\"]\npath = \"/play\"\n\
                    subprotocols = [\"chat.v2\"]\n\n[[listen]]\naddress = \"ws://0.0.0.0:8081\"\norigins = \"any\"\n\n[io]\nworkers = 2\n";
        let settings = read(text).expect("a sound file");
        let literals: Vec<String> = settings.listeners.iter().map(|listener| listener.literal()).collect();
        assert_eq!(
            literals,
            [
                "{ address = \"[::]:7777\", dual_stack = true }",
                "{ address = \"ws://0.0.0.0:8080\", origins = [\"https://play.example\", \"http://localhost:3000\"], \
                 path = \"/play\", subprotocols = [\"chat.v2\"] }",
                "{ address = \"ws://0.0.0.0:8081\", origins = \"any\" }",
            ]
        );
        assert_eq!(settings.origin("listen.addresses").to_string(), "naksi.toml:1");
        let list = format!("[listen]\naddresses = [{}, \"tcp://b:2\"]\n", literals.join(", "));
        let again = read(&list).expect("the same in a list");
        assert_eq!(again.listeners[..3], settings.listeners[..]);
    }

    #[test]
    fn what_is_wrong_with_a_listener_is_said_with_its_line_and_its_key() {
        for (text, said) in [
            (
                "[[listen]]\nadress = \"a:1\"\n",
                "naksi.toml:2:1: unknown key `adress`: did you mean `address`?",
            ),
            ("[[listen]]\norigins = \"any\"\n", "naksi.toml:1:"),
            ("[[listen]]\naddress = 7777\n", "naksi.toml:2:11: `listen.address` wants a text like"),
            (
                "[[listen]]\naddress = \"http://a:1\"\n",
                "naksi.toml:2:11: `listen.address`: `http://a:1`: the scheme is",
            ),
            (
                "[[listen]]\naddress = \"a:1\"\norigins = \"any\"\n",
                "`listen.origins` is for an address with ws://",
            ),
            ("[[listen]]\naddress = \"a:1\"\npath = \"/x\"\n", "`listen.path` is for an address with ws://"),
            (
                "[[listen]]\naddress = \"ws://a:1\"\norigins = \"none\"\n",
                "naksi.toml:3:11: `listen.origins` wants \"same_host\", \"any\" or a list",
            ),
            (
                "[[listen]]\naddress = \"ws://a:1\"\norigins = [\"play.example\"]\n",
                "naksi.toml:3:11: `listen.origins` wants",
            ),
            (
                "[[listen]]\naddress = \"ws://a:1\"\npath = \"play\"\n",
                "naksi.toml:3:8: `listen.path` wants a text like",
            ),
            (
                "[[listen]]\naddress = \"ws://a:1\"\nsubprotocols = [\"two words\"]\n",
                "naksi.toml:3:16: `listen.subprotocols` wants a list of names",
            ),
            (
                "[[listen]]\naddress = \"a:1\"\ndual_stack = 1\n",
                "naksi.toml:3:14: `listen.dual_stack` wants true or false",
            ),
            (
                "[listen]\naddresses = [\"ftp://a:1\"]\n",
                "naksi.toml:2:14: `listen.addresses`: `ftp://a:1`: the scheme is",
            ),
            ("[listen]\naddresses = 7777\n", "naksi.toml:2:13: `listen.addresses` wants a text like"),
            ("[listen]\naddresses = [7777]\n", "naksi.toml:2:14: `listen.addresses` wants a text like"),
            ("[listen]\ndual_stack = true\n[[listen]]\naddress = \"a:1\"\n", "both [listen] and [[listen]]"),
        ] {
            let lines = read(text).err().expect(text);
            assert_eq!(lines.len(), 1, "{lines:?}");
            assert!(lines[0].contains(said), "{text}\n{lines:?}");
        }
        let two = "[[listen]]\naddress = 1\n[[listen]]\naddress = 2\n";
        assert_eq!(read(two).err().expect("refused").len(), 2, "all that is wrong is said at once");
    }
}
