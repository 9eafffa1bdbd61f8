//! The options of a server and of a client; both make the wires of their connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use naksi_core::limits::Limits;
use naksi_core::prng::Prng;
use naksi_core::wire::{MakeWire, Wire};

use crate::websocket::WebSocket;

/// What stands before an address of a WebSocket.
const SCHEME: &str = "ws://";

/// The web pages that may connect. A client that is not a browser sends no origin, and may always connect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origins {
    /// Pages from the host that the request is for, whatever their port; the default. Without such a check any page that a
    /// player visits could connect in the player's name.
    #[default]
    SameHost,
    /// Pages from these origins, like `https://play.example`.
    Listed(Vec<String>),
    /// Pages from anywhere.
    Any,
}

/// What a server accepts.
#[derive(Clone, Debug, Default)]
pub struct ServerOptions {
    pub(crate) origins: Origins,
    pub(crate) path: Option<String>,
    pub(crate) subprotocols: Vec<String>,
}

impl ServerOptions {
    /// Pages from the same host, every path, and no subprotocol.
    pub fn new() -> Self {
        Self::default()
    }

    /// Which pages may connect.
    #[must_use]
    pub fn origins(mut self, origins: Origins) -> Self {
        self.origins = origins;
        self
    }

    /// The only path that is served, like `/play`; every path by default. Requests for another one are refused with 404; a
    /// query (`?seat=3`) is not compared.
    #[must_use]
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// A subprotocol that the server speaks (`Sec-WebSocket-Protocol`); of those that a client offers the first one that was
    /// named here is chosen. A client that offers none is accepted. One that offers another version of the same family, the
    /// part before the last dot, and none of these is refused with both named.
    #[must_use]
    pub fn subprotocol(mut self, name: impl Into<String>) -> Self {
        self.subprotocols.push(name.into());
        self
    }
}

impl MakeWire for ServerOptions {
    fn scheme(&self) -> &'static str {
        SCHEME
    }

    fn make(self: Arc<Self>, messages: bool, limits: &Limits) -> Box<dyn Wire> {
        Box::new(WebSocket::server(self, messages, limits))
    }
}

/// What a client asks for.
#[derive(Debug)]
pub struct ClientOptions {
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) subprotocol: Option<String>,
    /// Of keys and masks: the next connection's seed.
    seed: AtomicU64,
}

impl ClientOptions {
    /// The server's host and port, as the `Host` line has them, and the path, which begins with `/`. `seed` is where keys and
    /// masks come from; masks keep a page from choosing what goes over the wire, and a program of one's own needs no more.
    pub fn new(host: impl Into<String>, path: impl Into<String>, seed: u64) -> Self {
        Self { host: host.into(), path: path.into(), subprotocol: None, seed: AtomicU64::new(seed) }
    }

    /// The subprotocol to offer.
    #[must_use]
    pub fn subprotocol(mut self, name: impl Into<String>) -> Self {
        self.subprotocol = Some(name.into());
        self
    }
}

impl MakeWire for ClientOptions {
    fn scheme(&self) -> &'static str {
        SCHEME
    }

    fn make(self: Arc<Self>, messages: bool, limits: &Limits) -> Box<dyn Wire> {
        let chance = Prng::new(self.seed.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed));
        Box::new(WebSocket::client(self, chance, messages, limits))
    }
}
