//! A running service: its addresses, its counters, and how it stops.
//!
//! Dropping a service stops it at once; `stop` drains it first.

mod client;
mod launch;
mod listener;
mod lobby;
mod server;
mod signals;
mod stepped;

use core::net::SocketAddr;
use std::fmt;
use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use naksi_os::port::PortError;

use crate::config::{Error, Result};
use crate::group::Group;
use crate::shared::handle::{ServiceHandle, ServiceInner};
use crate::shared::stats::Stats;

pub use client::{BoundClient, Client};
pub use listener::Listener;
pub use lobby::Guest;
pub use server::{ADDRESS_DEFAULT, BoundServer, Server};
pub use signals::Signals;
pub use stepped::SteppedServer;

/// Time that workers have after the drain time to close what is left and to return.
const HOME_WITHIN: Duration = Duration::from_millis(2_500);

/// How long writing the service's address lines may block before the service continues without them.
const ANNOUNCED_WITHIN: Duration = Duration::from_secs(1);

/// What happens to a running service.
#[derive(Debug)]
pub(crate) enum Event {
    /// A worker's thread is at its end.
    WorkerEnded(usize, Result<(), PortError>),
}

/// A running service (the lecture's `Service`, lecture 004).
pub struct Service {
    service: Arc<dyn ServiceInner>,
    threads: Vec<JoinHandle<()>>,
    happened: Receiver<Event>,
    addresses: Vec<SocketAddr>,
    /// The URL scheme of each address, in the same order.
    schemes: Vec<&'static str>,
    backend: &'static str,
    fallback: Option<String>,
    workers: usize,
    groups: Vec<Group>,
    /// Its start was logged.
    started: bool,
}

impl Service {
    pub(crate) fn new(
        service: Arc<dyn ServiceInner>,
        threads: Vec<JoinHandle<()>>,
        happened: Receiver<Event>,
        addresses: Vec<SocketAddr>,
        (backend, fallback): (&'static str, Option<String>),
    ) -> Self {
        let workers = threads.len();
        Self {
            service,
            threads,
            happened,
            schemes: Vec::new(),
            addresses,
            backend,
            fallback,
            workers,
            groups: Vec::new(),
            started: false,
        }
    }

    /// Sets the URL schemes of its addresses.
    pub(crate) fn with_schemes(mut self, schemes: Vec<&'static str>) -> Self {
        self.schemes = schemes;
        self
    }

    /// Sets the groups to drain when it stops.
    pub(crate) fn with_groups(mut self, groups: Vec<Group>) -> Self {
        self.groups = groups;
        self
    }

    /// All workers have opened: begins to serve.
    pub(crate) fn started(mut self) -> Self {
        let Self { addresses, backend, workers, .. } = &self;
        tracing::info!(?addresses, backend, workers, fallback = self.fallback, "the service has started");
        self.started = true;
        self
    }

    /// The addresses it listens on, with the port numbers that the system chose.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The same as URLs with their transport: `ws://127.0.0.1:8080`, or `127.0.0.1:7777` for plain TCP.
    pub fn urls(&self) -> impl Iterator<Item = String> {
        let schemes = self.schemes.iter().copied().chain(std::iter::repeat(""));
        self.addresses.iter().zip(schemes).map(|(address, scheme)| format!("{scheme}{address}"))
    }

    /// The backend in use: `uring`, `epoll` or `iocp`.
    pub fn backend(&self) -> &'static str {
        self.backend
    }

    /// Why the preferred backend of this system was refused, if it was.
    pub fn fallback_reason(&self) -> Option<&str> {
        self.fallback.as_deref()
    }

    /// Its worker threads.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// Its group of this name.
    pub fn group(&self, name: &str) -> Option<Group> {
        self.groups.iter().find(|group| group.name() == name).cloned()
    }

    /// A handle for other threads.
    pub fn handle(&self) -> ServiceHandle {
        ServiceHandle::new(Arc::clone(&self.service))
    }

    /// The counters now.
    pub fn stats(&self) -> Stats {
        self.service.stats()
    }

    /// Writes its addresses to standard output, one line per listener, and returns when they are written or after a
    /// second without a reader. A standard output that is closed or full is not an error.
    pub fn announce(&self) {
        self.announce_with("");
    }

    /// The same, with this text behind it: lines of the server's own, each with its line feed.
    pub fn announce_with(&self, more: &str) {
        let Self { backend, workers, .. } = self;
        let line = |url| format!("naksi: listening on {url} backend={backend} workers={workers}\n");
        let text: String = self.urls().map(line).chain([more.to_owned()]).collect();
        let (written, is_written) = channel();
        // A full pipe blocks its writer for ever, and signals must be handled meanwhile.
        let write = move || {
            let mut out = std::io::stdout().lock();
            out.write_all(text.as_bytes()).and_then(|()| out.flush()).ok(); // It serves all the same.
            written.send(()).ok(); // Nothing waits for a line that came too late.
        };
        let spawned = std::thread::Builder::new().name("naksi-announce".to_owned()).spawn(write);
        match spawned {
            Ok(_) => drop(is_written.recv_timeout(ANNOUNCED_WITHIN)),
            Err(error) => tracing::warn!(%error, "no thread to announce the addresses on standard output"),
        }
    }

    /// Accepts no more connections, lets sessions flush and end within this time, closes the rest, and returns the
    /// last counters when every worker has returned.
    pub fn stop(mut self, within: Duration) -> Stats {
        self.finish(within).ok(); // A worker that broke has been logged; the counters tell the rest.
        self.service.stats()
    }

    /// Serves until a request to stop, then stops: see [`Signals`].
    ///
    /// # Errors
    /// The system refuses a signal handler, or a worker failed (the others are stopped then).
    pub fn serve_until_signal(self, drain_within: Duration) -> Result<Stats> {
        let signals = Signals::watch()?;
        self.serve_while(|| !signals.seen(), || signals.stop_within(drain_within))
    }

    /// Serves until a message arrives on `stop` or all its senders are dropped, then stops as [`Service::stop`] does.
    /// It handles no signals: it is for a process with its own way to be told to stop.
    ///
    /// ```
    /// use naksi::prelude::*;
    /// # use std::{sync::mpsc::channel, time::Duration};
    /// # struct Echo;
    /// # impl Session for Echo {
    /// #     fn on_recv(&mut self, c: &mut Conn, data: &[u8]) -> usize { c.send(data); data.len() }
    /// # }
    /// # fn main() -> naksi::Result<()> {
    /// let (stop, stopped) = channel();
    /// let service = Server::new().listen("127.0.0.1:0").session(|| Echo).start()?;
    /// std::thread::spawn(move || stop.send(()));
    /// let stats = service.serve_until(&stopped, Duration::from_secs(1))?;
    /// assert_eq!(stats.live, 0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// A worker failed (the others are stopped then).
    pub fn serve_until(self, stop: &Receiver<()>, drain_within: Duration) -> Result<Stats> {
        self.serve_while(|| stop.try_recv() == Err(TryRecvError::Empty), || drain_within)
    }

    fn serve_while(
        mut self,
        goes_on: impl Fn() -> bool,
        drain_within: impl Fn() -> Duration,
    ) -> Result<Stats> {
        loop {
            match self.happened.recv_timeout(Duration::from_millis(20)) {
                Err(RecvTimeoutError::Timeout) if goes_on() => {}
                Err(RecvTimeoutError::Timeout) => break,
                Ok(Event::WorkerEnded(index, ended)) => {
                    self.finish(drain_within()).ok(); // The first cause is the one to tell.
                    let cause =
                        ended.err().map_or_else(|| "it ended by itself".to_owned(), |error| error.text);
                    return Err(Error::Worker(index, cause));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    self.finish(drain_within())?;
                    return Err(Error::System("every worker has ended".into()));
                }
            }
        }
        self.finish(drain_within())?;
        Ok(self.service.stats())
    }

    fn finish(&mut self, within: Duration) -> Result<()> {
        if self.started {
            tracing::info!(addresses = ?self.addresses, ?within, "the service stops");
        }
        self.service.drain(within);
        // No deadline if the clock cannot represent it.
        let until = within.checked_add(HOME_WITHIN).and_then(|within| Instant::now().checked_add(within));
        let in_time = || until.is_none_or(|until| Instant::now() < until);
        let mut result = Ok(());
        for (index, thread) in self.threads.drain(..).enumerate() {
            while !thread.is_finished() && in_time() {
                std::thread::sleep(Duration::from_millis(1));
            }
            if !thread.is_finished() {
                tracing::error!(worker = index, "a worker has not ended; a callback may be blocking it");
                continue;
            }
            if thread.join().is_err() {
                result = Err(Error::Worker(index, "it panicked".into()));
            }
        }
        Arc::clone(&self.service).close_rooms();
        // From here on only the groups post: each may still post to those declared after it.
        for group in std::mem::take(&mut self.groups) {
            let left = until.map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
            group.close(left.max(HOME_WITHIN));
        }
        while let Ok(Event::WorkerEnded(index, ended)) = self.happened.try_recv() {
            if let Err(error) = ended {
                tracing::error!(worker = index, %error, "a worker broke");
                result = Err(Error::Worker(index, error.text));
            }
        }
        if std::mem::take(&mut self.started) {
            let Stats { live, connected_total, .. } = self.service.stats();
            tracing::info!(addresses = ?self.addresses, connected_total, live, "the service has stopped");
        }
        result
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if !self.threads.is_empty() {
            self.finish(Duration::ZERO).ok(); // There is no caller left.
        }
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Service({:?}, {}, {} workers)", self.addresses, self.backend, self.workers)
    }
}
