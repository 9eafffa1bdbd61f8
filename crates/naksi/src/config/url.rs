//! Addresses with a scheme: `ws://play.example:8080/room`, `tcp://[::1]:7777`, and `127.0.0.1:7777`, which is plain TCP.
//!
//! This is the only place that reads a scheme. Nothing here resolves a name before it is asked to.

use core::net::SocketAddr;
use std::fmt;
use std::io;
use std::str::FromStr;

use super::address::ToAddresses;
use super::{Error, Result};

/// What the connections of an address travel over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Transport {
    /// Plain TCP: `tcp://`, or no scheme.
    #[default]
    Tcp,
    /// WebSocket over TCP: `ws://`.
    WebSocket,
}

impl Transport {
    /// The port of an address that names none; plain TCP has no such port.
    pub fn port_default(self) -> Option<u16> {
        match self {
            Transport::Tcp => None,
            Transport::WebSocket => Some(80),
        }
    }
}

/// An address with its scheme and, for WebSocket, its path.
///
/// ```
/// use naksi::config::{Transport, Url};
///
/// let url: Url = "ws://play.example/room?seat=3".parse()?;
/// assert_eq!(url.transport(), Transport::WebSocket);
/// assert_eq!((url.place(), url.path()), ("play.example", "/room?seat=3"));
/// assert_eq!("127.0.0.1:7777".parse::<Url>()?.transport(), Transport::Tcp);
/// # Ok::<(), naksi::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    text: String,
    transport: Transport,
    place: String,
    path: String,
}

impl Url {
    /// What connections travel over.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// Host and port as they are written; the port may be missing.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// The path with its query; `/` if none is written.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether the address names its port.
    pub fn has_port(&self) -> bool {
        self.place.contains(':') && !self.place.ends_with(']')
    }
}

impl FromStr for Url {
    type Err = Error;

    /// # Errors
    /// [`Error::Config`]: an unknown scheme, a path where the transport has none, or a part that no request can carry.
    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim();
        let wrong = |why: &str| Err(Error::Config(format!("`{}`: {why}", text.escape_debug())));
        let (scheme, rest) = text.split_once("://").unwrap_or(("tcp", text));
        let transport = match &*scheme.to_ascii_lowercase() {
            "tcp" => Transport::Tcp,
            "ws" => Transport::WebSocket,
            "tls" | "wss" => {
                return wrong(
                    "this version does not speak TLS: use tcp:// or ws:// behind a proxy that does",
                );
            }
            _ => {
                return wrong(&format!(
                    "the scheme is tcp:// or ws://, and not {}://",
                    scheme.escape_debug()
                ));
            }
        };
        let (place, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if place.is_empty() {
            return wrong("it has no host");
        }
        if transport == Transport::Tcp && !path.is_empty() {
            return wrong("an address of plain TCP has no path: leave out what follows the port");
        }
        if place.contains('@') {
            return wrong("a user name in an address is not sent: leave it out");
        }
        if path.contains('#') {
            return wrong("a WebSocket address has no fragment: leave out `#` and what follows it");
        }
        if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return wrong("write blanks and letters outside ASCII in the path percent-encoded, like %20");
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { text: text.to_owned(), transport, place: place.to_owned(), path })
    }
}

impl ToAddresses for Url {
    /// All addresses of its host, with the transport's own port where none is written.
    fn to_addresses(&self) -> io::Result<Vec<SocketAddr>> {
        match self.transport.port_default().filter(|_| !self.has_port()) {
            Some(port) => format!("{}:{port}", self.place).to_addresses(),
            None => self.place.to_addresses(),
        }
    }
}

impl fmt::Display for Url {
    /// As it was written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Url {
        text.parse().expect(text)
    }

    #[test]
    fn scheme_place_and_path_are_read_as_they_are_written() {
        for (text, transport, place, path) in [
            ("127.0.0.1:7777", Transport::Tcp, "127.0.0.1:7777", "/"),
            ("tcp://[::1]:7777", Transport::Tcp, "[::1]:7777", "/"),
            (" ws://localhost:8080 ", Transport::WebSocket, "localhost:8080", "/"),
            ("WS://localhost:8080/", Transport::WebSocket, "localhost:8080", "/"),
            ("ws://[::1]/play", Transport::WebSocket, "[::1]", "/play"),
            ("ws://play.example?room=3", Transport::WebSocket, "play.example", "/?room=3"),
            ("ws://a:1/b://c", Transport::WebSocket, "a:1", "/b://c"),
        ] {
            let url = read(text);
            assert_eq!((url.transport(), url.place(), url.path()), (transport, place, path), "{text}");
            assert_eq!(url.to_string(), text.trim());
        }
    }

    #[test]
    fn what_no_connection_can_be_made_with_is_refused_with_the_reason() {
        for (text, why) in [
            ("http://a:1", "tcp:// or ws://, and not http://"),
            ("://a:1", "tcp:// or ws://"),
            ("wss://a:1", "does not speak TLS"),
            ("tls://a:1", "does not speak TLS"),
            ("ws://", "no host"),
            ("ws:///play", "no host"),
            ("tcp://a:1/play", "has no path"),
            ("a:1/play", "has no path"),
            ("ws://me:secret@a:1", "a user name"),
            ("ws://a:1/#top", "no fragment"),
            ("ws://a:1/two words", "percent-encoded"),
            ("ws://a:1/\u{B099}", "percent-encoded"),
            ("ws://a:1/x\r\nHost: b", "percent-encoded"),
        ] {
            let said = text.parse::<Url>().expect_err(text).to_string();
            assert!(said.contains(why) && !said.contains('\n'), "{text}: {said}");
        }
    }

    #[test]
    fn a_port_that_is_missing_is_80_for_websocket_and_an_error_for_plain_tcp() {
        for (text, address) in [
            ("ws://127.0.0.1/play", "127.0.0.1:80"),
            ("ws://[::1]", "[::1]:80"),
            ("ws://127.0.0.1:8080", "127.0.0.1:8080"),
        ] {
            assert_eq!(read(text).to_addresses().expect(text), [address.parse().expect("an address")]);
        }
        assert!(read("127.0.0.1").to_addresses().is_err());
        assert!(read("ws://::1").to_addresses().is_err(), "an IPv6 address stands in brackets");
    }
}
