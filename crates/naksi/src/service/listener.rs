//! One address to listen on, with its scheme and what its connections may do.
//!
//! Nothing here opens anything.

use core::net::SocketAddr;
#[cfg(feature = "ws")]
use std::sync::Arc;

use crate::config::address::{ToAddresses, to_listen};
use crate::config::{Error, Result, Transport, Url};
use crate::service::launch::Listen;
use crate::shared::mailbox::Wires;

/// One address to listen on: what [`Server::listener`](super::Server::listener) takes. A name stands for all of its
/// addresses that this machine has.
///
/// ```
/// use naksi::prelude::*;
/// use naksi::service::Listener;
/// # struct Lobby;
/// # impl Session for Lobby { const FRAMING: Framing = Framing::Packets; }
///
/// let both = Listener::new("[::]:0")?.dual_stack(true);
/// let server = Server::new().listener(both).listener(Listener::new("tcp://127.0.0.1:0")?);
/// # drop(server.session(|| Lobby));
/// # Ok::<(), naksi::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Listener {
    url: Url,
    addresses: Vec<SocketAddr>,
    dual_stack: Option<bool>,
    #[cfg(feature = "ws")]
    websocket: naksi_ws::ServerOptions,
}

impl Listener {
    /// A listener of an address like `127.0.0.1:7777`, `tcp://[::1]:7777` or `ws://0.0.0.0:8080` (cargo feature `ws`). Port 0
    /// takes a free one.
    ///
    /// # Errors
    /// [`Error::Config`]: no address, an unknown scheme, a missing port, a path, or a transport that this build lacks.
    pub fn new(address: &str) -> Result<Self> {
        let url: Url = address.parse()?;
        let wrong = |why: &str| Err(Error::Config(format!("`{url}`: {why}")));
        if url.transport() == Transport::WebSocket && cfg!(not(feature = "ws")) {
            return wrong("this build has no WebSocket: turn on the cargo feature `ws`");
        }
        if url.path() != "/" {
            return wrong("an address to listen on has no path: leave out what follows the port");
        }
        let looks = "write it as 127.0.0.1:7777, [::1]:7777, [fe80::1%eth0]:7777 or localhost:7777";
        if !url.has_port() {
            return Err(Error::Config(format!("`{url}` has no port: {looks}")));
        }
        let addresses = url.to_addresses().map_err(|error| {
            let text = error.to_string();
            let why = text.split(" (os error").next().unwrap_or_default();
            Error::Config(format!("`{url}` is not an address ({why}): {looks}"))
        })?;
        Ok(Self {
            url,
            addresses: to_listen(addresses),
            dual_stack: None,
            #[cfg(feature = "ws")]
            websocket: naksi_ws::ServerOptions::new(),
        })
    }

    /// What its connections travel over.
    pub fn transport(&self) -> Transport {
        self.url.transport()
    }

    /// The addresses of the listener.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Whether it takes IPv4 as well, if its address is `[::]`; as [`Server::dual_stack`](super::Server::dual_stack) says by
    /// default.
    #[must_use]
    pub fn dual_stack(mut self, on: bool) -> Self {
        self.dual_stack = Some(on);
        self
    }

    /// What a WebSocket listener accepts (cargo feature `ws`); pages from the same host by default. Listeners of other
    /// transports ignore it.
    #[cfg(feature = "ws")]
    #[must_use]
    pub fn websocket(mut self, options: naksi_ws::ServerOptions) -> Self {
        self.websocket = options;
        self
    }

    fn wires(&self) -> Wires {
        match self.url.transport() {
            Transport::Tcp => None,
            #[cfg(feature = "ws")]
            Transport::WebSocket => Some(Arc::new(self.websocket.clone())),
            #[cfg(not(feature = "ws"))]
            Transport::WebSocket => unreachable!("such a listener was refused"),
        }
    }

    /// One listener of the plan for each address.
    pub(super) fn into_listens(self) -> impl Iterator<Item = Listen> {
        let (wires, dual_stack) = (self.wires(), self.dual_stack);
        self.addresses.into_iter().map(move |address| Listen { address, wires: wires.clone(), dual_stack })
    }
}
