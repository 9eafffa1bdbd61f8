//! Requests to stop, and how a second request is told from a repetition of the first one.

use std::fmt;
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use naksi_os::signals;
use naksi_os::stop_signal::StopSignal;

use crate::config::{Error, Result};
use crate::sync::{Condvar, Mutex};

/// Signals of one kind within this span after the first of them belong to the same event: a wrapper forwards what its
/// child has received already, and a service manager signals a process and its group.
const SAME_EVENT: Duration = Duration::from_millis(150);

/// What a stop needs besides the drain: threads that end, rooms that close, files that are flushed.
const AFTER_THE_DRAIN: Duration = Duration::from_secs(3);

/// Requests to stop: Ctrl-C (SIGINT), SIGTERM, a hang-up (SIGHUP), and the console events of Windows.
///
/// The first request starts a graceful stop. A second Ctrl-C after a Ctrl-C, or a second SIGTERM after a SIGTERM, at
/// least 150 ms later, ends the process at once with status 1. Different kinds are not counted together (systemd may
/// send SIGHUP after SIGTERM), and a hang-up never ends the process at once (a closed terminal sends two, and a
/// logout a SIGTERM after them). A signal that the process was started to ignore, as under nohup, stays ignored.
pub struct Signals {
    requests: Mutex<Requests>,
    changed: Condvar,
}

/// What has come so far.
#[derive(Debug, Default)]
struct Requests {
    seen: bool,
    hung_up: bool,
    interrupted: Option<Instant>,
    terminated: Option<Instant>,
}

impl Requests {
    /// Handles one signal. Returns whether it is a second, separate request.
    fn take(&mut self, signal: StopSignal, now: Instant) -> bool {
        self.seen = true;
        self.hung_up |= signal == StopSignal::HangUp;
        let first = match signal {
            StopSignal::Interrupt => &mut self.interrupted,
            StopSignal::Terminate => &mut self.terminated,
            _ => return false,
        };
        now.saturating_duration_since(*first.get_or_insert(now)) >= SAME_EVENT
    }
}

impl Signals {
    /// Installs the handlers, once per process; the signals no longer end the process by themselves.
    ///
    /// # Errors
    /// The system refuses a handler.
    pub fn watch() -> Result<&'static Signals> {
        static SIGNALS: OnceLock<Result<Arc<Signals>>> = OnceLock::new();
        let watched = SIGNALS.get_or_init(|| {
            let signals = Arc::new(Signals::unseen());
            let told = Arc::clone(&signals);
            match signals::watch(move |signal| told.came(signal)) {
                Ok(()) => Ok(signals),
                Err(error) => Err(Error::System(format!("no handler for signals: {error}"))),
            }
        });
        watched.as_ref().map(|signals| &**signals).map_err(Clone::clone)
    }

    /// How long a stop may take that was asked for as it was: `wanted`, unless the system ends the process before. Windows does
    /// so 5 s after a console was closed or a user has logged off; 3 s of these are left for what comes after the drain.
    pub fn stop_within(&self, wanted: Duration) -> Duration {
        let hung_up = self.requests.lock().unwrap_or_else(PoisonError::into_inner).hung_up;
        stop_within(wanted, signals::HANG_UP_SPAN_MAX.filter(|_| hung_up))
    }

    /// None has come yet.
    pub(crate) fn unseen() -> Self {
        Self { requests: Mutex::new(Requests::default()), changed: Condvar::new() }
    }

    /// Whether one has come.
    pub fn seen(&self) -> bool {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).seen
    }

    /// Waits at most this long for a request. Returns whether one has arrived.
    pub fn wait(&self, at_most: Duration) -> bool {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(requests, at_most, |requests| !requests.seen);
        waited.unwrap_or_else(PoisonError::into_inner).0.seen
    }

    pub(crate) fn came(&self, signal: StopSignal) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        if requests.take(signal, Instant::now()) {
            std::process::exit(1);
        }
        self.changed.notify_all();
    }
}

fn stop_within(wanted: Duration, lives_for: Option<Duration>) -> Duration {
    lives_for.map_or(wanted, |span| wanted.min(span.saturating_sub(AFTER_THE_DRAIN)))
}

impl fmt::Debug for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signals(seen: {})", self.seen())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use StopSignal::{HangUp, Interrupt, Terminate};

    /// Whether one of these signals, at milliseconds after the first one, counts as a second request.
    fn ends_at_once(signals: &[(u64, StopSignal)]) -> bool {
        let (mut requests, began) = (Requests::default(), Instant::now());
        signals.iter().any(|(after, signal)| requests.take(*signal, began + Duration::from_millis(*after)))
    }

    #[test]
    fn the_signals_of_one_event_are_one_request() {
        let events: [&[(u64, StopSignal)]; 6] = [
            &[(0, Terminate)],
            &[(0, Terminate), (1, HangUp)],
            &[(0, HangUp), (3, HangUp), (900, HangUp)],
            &[(0, HangUp), (2, HangUp), (2_000, Terminate), (2_001, HangUp)],
            &[(0, Interrupt), (5, Interrupt), (9, Terminate)],
            &[(0, Terminate), (40, Terminate), (149, Terminate), (3_000, Interrupt)],
        ];
        for event in events {
            assert!(!ends_at_once(event), "{event:?}");
        }
    }

    #[test]
    fn a_process_that_the_system_ends_soon_drains_for_less_than_that() {
        let seconds = Duration::from_secs;
        assert_eq!(stop_within(seconds(30), Some(seconds(5))), seconds(2));
        assert_eq!(stop_within(seconds(1), Some(seconds(5))), seconds(1));
        assert_eq!(stop_within(seconds(30), None), seconds(30));

        let signals = Signals::unseen();
        signals.came(Interrupt);
        assert_eq!(signals.stop_within(seconds(30)), seconds(30), "the system waits for a Ctrl-C");
        signals.came(HangUp);
        assert_eq!(signals.stop_within(seconds(30)), stop_within(seconds(30), signals::HANG_UP_SPAN_MAX));
    }

    #[test]
    fn a_second_request_of_the_same_kind_ends_at_once() {
        let again: [&[(u64, StopSignal)]; 4] = [
            &[(0, Terminate), (150, Terminate)],
            &[(0, Interrupt), (60_000, Interrupt)],
            // Pressed repeatedly: the span begins at the first one.
            &[(0, Interrupt), (100, Interrupt), (200, Interrupt)],
            &[(0, Terminate), (1, HangUp), (2_000, Terminate)],
        ];
        for requests in again {
            assert!(ends_at_once(requests), "{requests:?}");
        }
    }
}
