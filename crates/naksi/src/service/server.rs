//! The builder of a server: addresses, workers, limits. Nothing happens before `start` or `run`.

use core::net::SocketAddr;
use std::ffi::OsString;
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use naksi_core::flush::Flush;
use naksi_core::limits::Limits;
use naksi_os::port::{ListenOptions, PortOptions};

use super::lobby::{Guest, Lobby};
use crate::config::address::{ToAddresses, to_listen};
use crate::config::{Backend, ENVIRONMENT, Error, Result, nearest};
use crate::group::GroupOptions;
use crate::record::RecordOptions;
use crate::room::{Room, RoomOptions};
use crate::service::launch::{Listen, Plan, launch};
use crate::service::{Listener, Service, Signals};
use crate::session::{ConnectionInfo, Factory, Session};
use crate::shared::mailbox::Wires;

/// The default address of a server.
pub const ADDRESS_DEFAULT: &str = "127.0.0.1:7777";

/// A server that has not started; starting it gives a [`Service`].
///
/// ```
/// use naksi::prelude::*;
/// # struct Echo;
/// # impl Session for Echo {
/// #     fn on_recv(&mut self, c: &mut Conn, data: &[u8]) -> usize { c.send(data); data.len() }
/// # }
/// let limits = Limits { sessions_max: 10_000, ..Limits::default() };
/// let server = Server::new().listen("127.0.0.1:0").workers(1).limits(limits);
/// let service = server.session(|| Echo).start()?;
/// println!("listening on {}", service.addresses()[0]);
/// service.stop(std::time::Duration::from_secs(1));
/// # Ok::<(), naksi::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Server {
    plan: Plan,
    wrong: Option<Error>,
}

impl Default for Server {
    fn default() -> Self {
        Self::new()
    }
}

impl Server {
    /// A server with the defaults: loopback port 7777, one worker per processor, and protective limits.
    pub fn new() -> Self {
        Self { plan: Plan::default(), wrong: None }
    }

    /// A server configured by the environment; see [`ENVIRONMENT`].
    ///
    /// # Errors
    /// A variable that begins with `NAKSI_` and is unknown, or an invalid value.
    pub fn from_env() -> Result<Self> {
        Self::from_variables(std::env::vars_os())
    }

    fn from_variables(variables: impl Iterator<Item = (OsString, OsString)>) -> Result<Self> {
        let mut server = Self::new();
        let mut run_bytes_max = None;
        for (name, value) in variables {
            // Variables of other programs may contain any bytes.
            let shown = name.to_string_lossy();
            if !shown.starts_with("NAKSI_") {
                continue;
            }
            let no_text = || Error::Config(format!("{shown}: the variable's name is not text"));
            let name = name.to_str().ok_or_else(no_text)?;
            // What belongs to others may hold anything.
            if !name.contains("__") && !lacks_an_underscore(name) {
                continue;
            }
            let value = value.into_string();
            let value = value.map_err(|value| Error::Config(format!("{name}: {value:?} is not text")))?;
            if name == "NAKSI_RECORD__RUN_BYTES_MAX" {
                run_bytes_max = Some(read(name, &value, "a number of bytes")?);
            } else {
                server = server.with_variable(name, &value)?;
            }
        }
        // The order of variables is undefined, and this one has no effect without a recording.
        if let (Some((record, _)), Some(bytes)) = (&mut server.plan.record, run_bytes_max) {
            record.run_bytes_max = bytes;
        }
        match server.wrong {
            Some(wrong) => Err(wrong),
            None => Ok(server),
        }
    }

    fn with_variable(self, name: &str, value: &str) -> Result<Self> {
        Ok(match name {
            "NAKSI_LISTEN__ADDRESSES" => {
                let wrong = |error| Error::Config(format!("{name}: {error}"));
                let listeners = value.split(',').map(|address| Listener::new(address).map_err(wrong));
                let listeners: Vec<Listener> = listeners.collect::<Result<_>>()?;
                listeners.into_iter().fold(self, Server::listener)
            }
            "NAKSI_LISTEN__DUAL_STACK" => {
                let wrong = |_| Error::Config(format!("{name}: `{value}` is neither true nor false"));
                self.dual_stack(value.parse().map_err(wrong)?)
            }
            "NAKSI_IO__WORKERS" => self.workers(read(name, value, "a number of workers")?),
            "NAKSI_IO__DIRECT" => self.direct_descriptors(read(name, value, "a number of sockets")?),
            "NAKSI_RECORD__DIRECTORY" => self.record(RecordOptions::new(value)),
            "NAKSI_IO__FLUSH_MS" => {
                let span = Duration::from_millis(read(name, value, "a number of milliseconds")?);
                self.flush(Flush::Every(span))
            }
            "NAKSI_IO__SPIN_US" => {
                self.spin(Duration::from_micros(read(name, value, "a number of microseconds")?))
            }
            "NAKSI_IO__BACKEND" => self.backend(value.parse()?),
            _ => return Err(unknown(name)),
        })
    }

    /// Adds an address to listen on; the first call replaces the default. For a name with several addresses (IPv4 and
    /// IPv6) it listens on all of them that this machine has; port 0 takes a free port for each.
    #[must_use]
    pub fn listen(mut self, address: impl ToAddresses + std::fmt::Debug) -> Self {
        match address.to_addresses() {
            Ok(addresses) => self.add(addresses, None),
            Err(error) => {
                self.wrong =
                    Some(Error::Config(format!("{address:?} is not an address to listen on: {error}")));
            }
        }
        self
    }

    /// Adds an address to listen on for WebSocket (cargo feature `ws`). The same session type serves plain TCP and
    /// WebSocket: the frames of [`Framing::Packets`](naksi_core::session::Framing::Packets) and the bytes of `Raw`
    /// are sent in binary messages; `Messages` gets each message as it was received.
    ///
    /// ```no_run
    /// # use naksi::prelude::*;
    /// # struct Lobby;
    /// # impl Session for Lobby { const FRAMING: Framing = Framing::Packets; }
    /// use naksi::ws::{Origins, ServerOptions};
    ///
    /// let pages = Origins::Listed(vec!["https://play.example".into()]);
    /// let server = Server::new().listen("0.0.0.0:7777");
    /// let server = server.listen_ws("0.0.0.0:8080", ServerOptions::new().origins(pages));
    /// let service = server.session(|| Lobby).start()?;
    /// # Ok::<(), naksi::Error>(())
    /// ```
    #[cfg(feature = "ws")]
    #[must_use]
    pub fn listen_ws(
        mut self,
        address: impl ToAddresses + std::fmt::Debug,
        options: naksi_ws::ServerOptions,
    ) -> Self {
        match address.to_addresses() {
            Ok(addresses) => self.add(addresses, Some(Arc::new(options))),
            Err(error) => {
                self.wrong =
                    Some(Error::Config(format!("{address:?} is not an address to listen on: {error}")));
            }
        }
        self
    }

    /// Listens as this listener says too: an address with its scheme, and its options.
    #[must_use]
    pub fn listener(mut self, listener: Listener) -> Self {
        self.plan.listen.extend(listener.into_listens());
        self
    }

    /// Listens on an address over these wires, or keeps what is wrong with it for the start.
    #[cfg(feature = "tls")]
    pub(crate) fn listen_over(
        mut self,
        address: impl ToAddresses + std::fmt::Debug,
        wires: Result<Arc<dyn naksi_core::wire::MakeWire>>,
    ) -> Self {
        let wrong = |error| Error::Config(format!("{address:?} is not an address to listen on: {error}"));
        match (address.to_addresses().map_err(wrong), wires) {
            (Ok(addresses), Ok(wires)) => self.add(addresses, Some(wires)),
            (Err(wrong), _) | (_, Err(wrong)) => self.wrong = Some(wrong),
        }
        self
    }

    fn add(&mut self, addresses: Vec<SocketAddr>, wires: Wires) {
        let listens = to_listen(addresses).into_iter();
        let listen = |address| Listen { address, wires: wires.clone(), dual_stack: None };
        self.plan.listen.extend(listens.map(listen));
    }

    /// Whether a listener on `[::]` accepts IPv4 as well; off by default, on every system. Sessions of IPv4 peers
    /// still see IPv4 addresses. Addresses other than `[::]` are not affected.
    #[must_use]
    pub fn dual_stack(mut self, on: bool) -> Self {
        self.plan.listener.dual_stack = on;
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

    /// Keeps up to `entries` accepted sockets of each worker in a table of its port (io_uring's direct descriptors),
    /// where they use no descriptor of the process: N workers then hold N times as many sessions as the process may
    /// have descriptors. Every worker listens on every address and keeps the connections that the system assigns to
    /// it; none is placed with the least loaded worker. A worker whose table is full pauses accepting, and
    /// connections assigned to it wait, so leave each table about 5 % spare. Other backends than io_uring ignore
    /// this.
    #[must_use]
    pub fn direct_descriptors(mut self, entries: u32) -> Self {
        self.plan.port.direct_descriptors = Some(entries);
        self
    }

    /// When queued data is sent: at the end of the turn, or at the next tick (1 to 100 ms), so that one send carries
    /// everything queued since the last one. Batches of topics wait for the same tick. Order and deadlines do not
    /// change. A session can choose its own policy with [`Conn::set_flush`](crate::Conn::set_flush).
    #[must_use]
    pub fn flush(mut self, flush: Flush) -> Self {
        self.plan.flush = flush;
        self
    }

    /// How long a worker busy-polls before it sleeps, at most 1 ms; 0 by default.
    ///
    /// This saves a wake-up of the server on connections that answer at once, and keeps a processor busy. A worker
    /// spins only after waits that were as short, and never while it has work.
    #[must_use]
    pub fn spin(mut self, span: Duration) -> Self {
        self.plan.spin = span;
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

    /// Options of every listener.
    #[must_use]
    pub fn listen_options(mut self, options: ListenOptions) -> Self {
        self.plan.listener = options;
        self
    }

    /// Records everything that sessions receive, with times; see [`crate::record`].
    #[must_use]
    pub fn record(mut self, options: RecordOptions) -> Self {
        self.plan.record = Some((options, crate::record::Run::default()));
        self
    }

    /// Adds a thread group to post jobs to. Groups are drained after the sessions, in the order of declaration: a job
    /// may post to any group declared after its own.
    #[must_use]
    pub fn group(mut self, options: GroupOptions) -> Self {
        self.plan.groups.push(options);
        self
    }

    /// How long `run` lets sessions flush after the first signal.
    #[must_use]
    pub fn drain_within(mut self, within: Duration) -> Self {
        self.plan.drain_within = within;
        self
    }

    /// Makes each connection's session with this function.
    pub fn session<S: Session>(
        self,
        make: impl Fn() -> S + Send + Sync + 'static,
    ) -> BoundServer<impl Factory<Session = S>> {
        self.session_with(move |_: &ConnectionInfo| make())
    }

    /// A service that consists of one room: every session joins it and forwards every packet to it. When the room has
    /// ended, its sessions end with
    /// [`DisconnectReason::RoomClosed`](naksi_core::reason::DisconnectReason::RoomClosed), and the next session opens
    /// a new one. The service does not start if the options are invalid.
    pub fn room<R: Room<Member: Default>>(
        mut self,
        options: RoomOptions,
        make: impl Fn() -> R + Send + Sync + 'static,
    ) -> BoundServer<impl Factory<Session = Guest<R>>> {
        self.wrong = self.wrong.or(options.check().err());
        let lobby = Arc::new(Lobby { make: Box::new(make), options, open: Mutex::new(None) });
        self.session(move || Guest { lobby: Arc::clone(&lobby), room: None })
    }

    /// Makes each connection's session with this function, which gets the connection's [`ConnectionInfo`].
    pub fn session_with<S: Session>(
        self,
        make: impl Fn(&ConnectionInfo) -> S + Send + Sync + 'static,
    ) -> BoundServer<impl Factory<Session = S>> {
        BoundServer { server: self, factory: make }
    }
}

/// A server with its session factory, ready to start.
#[derive(Debug)]
#[must_use]
pub struct BoundServer<F> {
    server: Server,
    factory: F,
}

impl<F: Factory> BoundServer<F> {
    /// Opens the ports and the listeners; when it returns, clients are accepted.
    ///
    /// # Errors
    /// An address that is in use or invalid, invalid limits or options, or a system that refuses the port.
    pub fn start(self) -> Result<Service> {
        let (plan, factory) = self.into_plan()?;
        launch(plan, factory)
    }

    /// What the server shall be, with the default address if it has none.
    pub(super) fn into_plan(self) -> Result<(Plan, F)> {
        if let Some(wrong) = self.server.wrong {
            return Err(wrong);
        }
        let mut plan = self.server.plan;
        if plan.listen.is_empty() {
            let default: SocketAddr = ADDRESS_DEFAULT.parse().expect("the default is an address");
            plan.listen.push(Listen { address: default, wires: None, dual_stack: None });
        }
        Ok((plan, self.factory))
    }

    /// Starts, prints the addresses on standard output, and serves until SIGTERM, Ctrl-C or a hang-up, then drains. A
    /// second, separate request ends the process at once: see [`Signals`].
    ///
    /// # Errors
    /// As for [`BoundServer::start`], or a worker that failed.
    pub fn run(self) -> Result<()> {
        let drain_within = self.server.plan.drain_within;
        // Before the addresses are printed, because a reader of them may send a signal at once.
        Signals::watch()?;
        let service = self.start()?;
        service.announce();
        service.serve_until_signal(drain_within).map(drop)
    }
}

/// Whether a name has one underscore where two are needed, so that it would be ignored.
fn lacks_an_underscore(name: &str) -> bool {
    ENVIRONMENT.iter().any(|(known, _)| known.replacen("__", "_", 1) == name)
}

/// The number that a variable holds.
fn read<T: FromStr>(name: &str, value: &str, what: &str) -> Result<T> {
    value.parse().map_err(|_| Error::Config(format!("{name}: `{value}` is not {what}")))
}

fn unknown(name: &str) -> Error {
    let known = ENVIRONMENT.iter().map(|(name, _)| *name);
    let meant = nearest(name, known).map(|name| format!("; did you mean {name}?")).unwrap_or_default();
    Error::Config(format!("unknown environment variable {name}{meant}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Server> {
        Server::from_variables(variables.iter().map(|(name, value)| (name.into(), value.into())))
    }

    #[test]
    fn addresses_of_the_environment_have_schemes_and_what_is_wrong_names_the_variable() {
        const NAME: &str = "NAKSI_LISTEN__ADDRESSES";
        let server = of(&[(NAME, "127.0.0.1:1, tcp://[::1]:2"), ("NAKSI_IO__WORKERS", "3")]).expect("sound");
        let listens: Vec<String> = server.plan.listen.iter().map(|one| one.address.to_string()).collect();
        assert_eq!((listens, server.plan.workers), (vec!["127.0.0.1:1".into(), "[::1]:2".into()], 3));
        for (value, why) in [
            ("http://127.0.0.1:1", "the scheme is tcp:// or ws://, and not http://"),
            ("127.0.0.1:1,", "has no host"),
            ("127.0.0.1", "has no port"),
            ("ws://127.0.0.1", "has no port"),
            ("ws://127.0.0.1:1/play", "has no path"),
        ] {
            let said = of(&[(NAME, value)]).expect_err(value).to_string();
            let is_missing = cfg!(not(feature = "ws")) && value.starts_with("ws:");
            let why = if is_missing { "cargo feature `ws`" } else { why };
            assert!(said.starts_with(NAME) && said.contains(why), "{value}: {said}");
        }
        let twice = of(&[(NAME, "127.0.0.1:7,tcp://127.0.0.1:7")]).expect("each is sound");
        let said = twice.session(|| Guard).start().expect_err("both are one address").to_string();
        assert_eq!(said, "two listeners have the address 127.0.0.1:7");
    }

    #[cfg(feature = "ws")]
    #[test]
    fn a_websocket_listener_of_the_environment_is_announced_with_its_scheme() {
        let server = of(&[("NAKSI_LISTEN__ADDRESSES", "ws://127.0.0.1:0,127.0.0.1:0")]).expect("sound");
        let service = server.workers(1).session(|| Guard).start().expect("it starts");
        let urls: Vec<String> = service.urls().collect();
        assert!(urls[0].starts_with("ws://127.0.0.1:") && urls[1].starts_with("127.0.0.1:"), "{urls:?}");
    }

    struct Guard;

    impl Session for Guard {}

    #[test]
    fn a_name_with_one_underscore_where_two_belong_is_known_as_such() {
        assert!(lacks_an_underscore("NAKSI_IO_WORKERS") && lacks_an_underscore("NAKSI_RECORD_RUN_BYTES_MAX"));
        assert!(!lacks_an_underscore("NAKSI_IO__WORKERS") && !lacks_an_underscore("NAKSI_LOG"));
        assert!(unknown("NAKSI_IO_WORKERS").to_string().contains("did you mean NAKSI_IO__WORKERS?"));
    }
}
