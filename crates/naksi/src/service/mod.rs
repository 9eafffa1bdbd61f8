//! A running service: where it listens, what it counts, how it ends.
//!
//! Dropping a service stops it at once; `stop` lets it drain. Nothing here knows which port is behind it.

mod client;
mod launch;
mod lobby;
mod server;
mod signals;

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
pub use lobby::Guest;
pub use server::{ADDRESS_DEFAULT, BoundServer, Server};
pub use signals::Signals;

/// After the time to drain, workers have this long to cut what is left and to return.
const HOME_WITHIN: Duration = Duration::from_millis(2_500);

/// The line that announces a service may take this long before the service goes on without it.
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
    /// What stands before each of them, in the same order.
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

    /// The same service, with what stands before its addresses.
    pub(crate) fn with_schemes(mut self, schemes: Vec<&'static str>) -> Self {
        self.schemes = schemes;
        self
    }

    /// The same service, with groups to drain when it ends.
    pub(crate) fn with_groups(mut self, groups: Vec<Group>) -> Self {
        self.groups = groups;
        self
    }

    /// Every worker stands and begins to serve.
    pub(crate) fn started(mut self) -> Self {
        let Self { addresses, backend, workers, .. } = &self;
        tracing::info!(?addresses, backend, workers, fallback = self.fallback, "the service has started");
        self.started = true;
        self
    }

    /// Where it listens, with the port numbers that the system picked.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The same with what its connections travel over: `ws://127.0.0.1:8080`, and `127.0.0.1:7777` for plain TCP.
    pub fn urls(&self) -> impl Iterator<Item = String> {
        let schemes = self.schemes.iter().copied().chain(std::iter::repeat(""));
        self.addresses.iter().zip(schemes).map(|(address, scheme)| format!("{scheme}{address}"))
    }

    /// What stands behind it: `uring`, `epoll` or `iocp`.
    pub fn backend(&self) -> &'static str {
        self.backend
    }

    /// Why it is not the backend that serves best on this system, if that one was refused.
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

    /// A door for other threads.
    pub fn handle(&self) -> ServiceHandle {
        ServiceHandle::new(Arc::clone(&self.service))
    }

    /// The counters now.
    pub fn stats(&self) -> Stats {
        self.service.stats()
    }

    /// Writes where it listens to standard output, one line for each listener: all of it before it returns, unless
    /// nothing reads there for a second. A standard output that is closed or full is no reason not to serve.
    pub fn announce(&self) {
        let Self { backend, workers, .. } = self;
        let line = |url| format!("naksi: listening on {url} backend={backend} workers={workers}\n");
        let text: String = self.urls().map(line).collect();
        let (written, is_written) = channel();
        // A pipe that is full holds its writer for ever, and signals are to be heard meanwhile.
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

    /// Accepts no connection, lets sessions flush and end within this time, cuts the rest, and
    /// returns the last counters when every worker is home.
    pub fn stop(mut self, within: Duration) -> Stats {
        self.finish(within).ok(); // A worker that broke has been logged; the counters tell the rest.
        self.service.stats()
    }

    /// Serves until a request to stop, then stops: see [`Signals`].
    ///
    /// # Errors
    /// The system allows no signal handler, or a worker broke (the others are stopped then).
    pub fn serve_until_signal(self, drain_within: Duration) -> Result<Stats> {
        let signals = Signals::watch()?;
        self.serve_while(|| !signals.seen(), drain_within)
    }

    /// Serves until a message comes on `stop`, or all its senders are gone, then stops as [`Service::stop`] does. No signal
    /// is handled: this is for a process that learns in its own way that it is to end.
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
    /// A worker broke (the others are stopped then).
    pub fn serve_until(self, stop: &Receiver<()>, drain_within: Duration) -> Result<Stats> {
        self.serve_while(|| stop.try_recv() == Err(TryRecvError::Empty), drain_within)
    }

    fn serve_while(mut self, goes_on: impl Fn() -> bool, drain_within: Duration) -> Result<Stats> {
        loop {
            match self.happened.recv_timeout(Duration::from_millis(20)) {
                Err(RecvTimeoutError::Timeout) if goes_on() => {}
                Err(RecvTimeoutError::Timeout) => break,
                Ok(Event::WorkerEnded(index, ended)) => {
                    self.finish(drain_within).ok(); // The first cause is the one to tell.
                    let cause =
                        ended.err().map_or_else(|| "it ended by itself".to_owned(), |error| error.text);
                    return Err(Error::Worker(index, cause));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    self.finish(drain_within)?;
                    return Err(Error::System("every worker has ended".into()));
                }
            }
        }
        self.finish(drain_within)?;
        Ok(self.service.stats())
    }

    fn finish(&mut self, within: Duration) -> Result<()> {
        if self.started {
            tracing::info!(addresses = ?self.addresses, ?within, "the service stops");
        }
        self.service.drain(within);
        // Never, if it is later than a clock can say.
        let until = within.checked_add(HOME_WITHIN).and_then(|within| Instant::now().checked_add(within));
        let in_time = || until.is_none_or(|until| Instant::now() < until);
        let mut result = Ok(());
        for (index, thread) in self.threads.drain(..).enumerate() {
            while !thread.is_finished() && in_time() {
                std::thread::sleep(Duration::from_millis(1));
            }
            if !thread.is_finished() {
                tracing::error!(worker = index, "a worker does not come home; a callback may be blocking it");
                continue;
            }
            if thread.join().is_err() {
                result = Err(Error::Worker(index, "it panicked".into()));
            }
        }
        Arc::clone(&self.service).close_rooms();
        // Only the groups themselves still post: each may still post to those behind it.
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
