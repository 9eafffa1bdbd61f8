//! The builder of a client: a number of connections to one server, each with its own session. Nothing happens before
//! `start`.

use core::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use naksi_core::limits::Limits;
use naksi_os::port::PortOptions;

use crate::config::address::{ToAddresses, to_connect};
use crate::config::{Backend, CONNECT_WITHIN_DEFAULT, Error, Result, Retry};
use crate::service::Service;
use crate::service::launch::{Dial, Plan, launch};
use crate::session::{ConnectionInfo, Factory, Session};

/// A client that has not started (the client service that lecture 004 mentions).
///
/// ```no_run
/// use naksi::prelude::*;
/// struct Player;
/// impl Session for Player {
///     const FRAMING: Framing = Framing::Packets;
///     fn on_connected(&mut self, c: &mut Conn) {
///         c.send_packet(1, b"hello");
///     }
///     fn on_packet(&mut self, _: &mut Conn, packet: Packet) {
///         println!("{}: {} bytes", packet.id, packet.body.len());
///     }
/// }
/// let client = Client::new("127.0.0.1:7777").connections(100).connect_rate(50).retry(Retry::ALWAYS);
/// let service = client.session(|| Player).start()?;
/// # drop(service);
/// # Ok::<(), naksi::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    plan: Plan,
    dial: Dial,
    wrong: Option<Error>,
}

impl Client {
    /// One connection to this address, on one worker. A name is resolved here, once; each attempt tries its addresses
    /// in turn until one answers. `0.0.0.0` and `[::]` mean this machine ([`to_connect`]).
    pub fn new(remote: impl ToAddresses + std::fmt::Debug) -> Self {
        let (found, wrong) = match remote.to_addresses() {
            Ok(addresses) => (addresses, None),
            Err(error) => {
                let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
                (vec![nowhere], Some(Error::Config(format!("{remote:?} is not an address: {error}"))))
            }
        };
        let remotes: Arc<[SocketAddr]> = found.into_iter().map(to_connect).collect();
        let (rate, retry, within, schedule) = (None, Retry::START, CONNECT_WITHIN_DEFAULT, None);
        let dial = Dial { remotes, connections: 1, rate, retry, within, schedule, wires: None };
        Self { plan: Plan { workers: 1, ..Plan::default() }, dial, wrong }
    }

    /// Connects over WebSocket (cargo feature `ws`). `on_connected` is called when the server has accepted the
    /// upgrade.
    #[cfg(feature = "ws")]
    #[must_use]
    pub fn over_ws(mut self, options: naksi_ws::ClientOptions) -> Self {
        self.dial.wires = Some(Arc::new(options));
        self
    }

    /// Connects over these wires, or keeps what is wrong with them for the start.
    #[cfg(feature = "tls")]
    pub(crate) fn dial_over(mut self, wires: Result<Arc<dyn naksi_core::wire::MakeWire>>) -> Self {
        match wires {
            Ok(wires) => self.dial.wires = Some(wires),
            Err(wrong) => self.wrong = Some(wrong),
        }
        self
    }

    /// Number of connections, 1 to 16,777,216; 1 by default. [`BoundClient::start`] returns an error for other
    /// values.
    #[must_use]
    pub fn connections(mut self, connections: u32) -> Self {
        self.dial.connections = connections;
        self
    }

    /// Most new connections a second, at least 1; unlimited by default.
    #[must_use]
    pub fn connect_rate(mut self, per_second: u32) -> Self {
        self.dial.rate = Some(per_second);
        self
    }

    /// One connection for each of these times, which count from the start; connections are numbered in this order.
    #[must_use]
    pub fn connect_at(mut self, times: Vec<Duration>) -> Self {
        self.dial.connections = times.len().try_into().unwrap_or(u32::MAX);
        self.dial.schedule = Some(times.into());
        self
    }

    /// Time limit of one attempt to connect, at least a millisecond; 30 seconds by default. It applies even if the
    /// system would wait longer.
    #[must_use]
    pub fn connect_within(mut self, span: Duration) -> Self {
        self.dial.within = span.max(Duration::from_millis(1));
        self
    }

    /// What to do when a connection fails.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.dial.retry = retry;
        self
    }

    /// Worker threads, 1 to 256.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.plan.workers = workers;
        self
    }

    /// Which completion port to use.
    #[must_use]
    pub fn backend(mut self, backend: Backend) -> Self {
        self.plan.backend = backend;
        self
    }

    /// The bounds of every session.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.plan.limits = limits;
        self
    }

    /// Sizes of every worker's port.
    #[must_use]
    pub fn port_options(mut self, options: PortOptions) -> Self {
        self.plan.port = options;
        self
    }

    /// Makes each connection's session with this function.
    pub fn session<S: Session>(
        self,
        make: impl Fn() -> S + Send + Sync + 'static,
    ) -> BoundClient<impl Factory<Session = S>> {
        self.session_with(move |_: &ConnectionInfo| make())
    }

    /// Makes each connection's session with this function, which gets the connection's [`ConnectionInfo`].
    pub fn session_with<S: Session>(
        self,
        make: impl Fn(&ConnectionInfo) -> S + Send + Sync + 'static,
    ) -> BoundClient<impl Factory<Session = S>> {
        BoundClient { client: self, factory: make }
    }
}

/// A client with its session factory, ready to start.
#[derive(Debug)]
#[must_use]
pub struct BoundClient<F> {
    client: Client,
    factory: F,
}

impl<F: Factory> BoundClient<F> {
    /// Opens the ports and begins to connect.
    ///
    /// # Errors
    /// An invalid address, invalid limits, or a system that refuses the port.
    pub fn start(self) -> Result<Service> {
        if let Some(wrong) = self.client.wrong {
            return Err(wrong);
        }
        launch(Plan { dial: Some(self.client.dial), ..self.client.plan }, self.factory)
    }
}
