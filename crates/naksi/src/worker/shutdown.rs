//! The graceful shutdown of a worker: stop accepting, end sessions, wait, close what is left, give up.
//!
//! Every step is bounded by the time that the service was given.

use std::time::Duration;

use naksi_core::callbacks::CloseMode;
use naksi_core::reason::DisconnectReason;
use naksi_core::tick::Tick;
use naksi_os::port::Port;

use super::Worker;
use crate::session::Factory;
use crate::session::context::Due;

/// How long sockets may take to return after their sessions were aborted.
const CUT_WITHIN: Duration = Duration::from_millis(500);

/// The stage of a worker's shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopping {
    /// Sessions flush their queues until then.
    Draining(Tick),
    /// Sessions were aborted and have until then to return.
    Cutting(Tick),
    /// What is left is left to the port.
    GivenUp,
}

impl<P: Port + 'static, F: Factory> Worker<P, F> {
    pub(crate) fn begin_drain(&mut self, within: Duration) {
        if self.stopping.is_some() {
            return;
        }
        self.begun = true;
        let until = self.context.now + within;
        self.stopping = Some(Stopping::Draining(until));
        self.context.wheel.set(until, Due::DrainOver);
        for listener in 0..self.listeners.len() {
            self.close_listener(listener);
        }
        self.stop_connecting();
        // What was broadcast so far is still delivered: here, on the other workers, and to rooms.
        self.flush_topics();
        for _ in 0..self.mailbox().len() {
            let Some(message) = self.mailbox().pop() else { break };
            self.process_message(message);
        }
        for (slot, generation) in self.sessions.names() {
            self.say_goodbye(slot, generation);
        }
    }

    pub(crate) fn say_goodbye(&mut self, slot: u32, generation: u32) {
        self.end_session(slot, generation, CloseMode::Graceful);
    }

    /// The drain time is over, or the time after the abort.
    pub(crate) fn end_drain(&mut self) {
        match self.stopping {
            Some(Stopping::Draining(_)) => {
                let until = self.context.now + CUT_WITHIN;
                self.stopping = Some(Stopping::Cutting(until));
                self.context.wheel.set(until, Due::DrainOver);
                let left = self.sessions.names();
                if !left.is_empty() {
                    tracing::warn!(sessions = left.len(), "the time to drain is over; these are cut");
                }
                for (slot, generation) in left {
                    self.end_session(slot, generation, CloseMode::Abort);
                }
            }
            Some(Stopping::Cutting(_)) => {
                tracing::error!(sessions = self.sessions.len(), "not everything came home; giving up");
                self.give_up(&DisconnectReason::Shutdown);
                self.stopping = Some(Stopping::GivenUp);
            }
            Some(Stopping::GivenUp) | None => {}
        }
    }

    /// Calls the outstanding `on_disconnected` and forgets the sessions, whatever is still in flight (law 8).
    pub(crate) fn give_up(&mut self, reason: &DisconnectReason) {
        self.stop_connecting();
        for (slot, generation) in self.sessions.names() {
            self.with_session(slot, generation, |session, cx, callbacks| {
                session.give_up(reason.clone(), cx, callbacks)
            });
            self.retire(slot, generation);
        }
        self.abandon_record();
    }

    pub(crate) fn is_finished(&self) -> bool {
        match self.stopping {
            None => false,
            Some(Stopping::GivenUp) => true,
            Some(Stopping::Draining(_) | Stopping::Cutting(_)) => {
                self.sessions.is_empty()
                    && self.listeners.iter().all(|listener| listener.closed)
                    && self.connector.as_ref().is_none_or(|connector| connector.is_idle())
                    && self.context.files.is_empty()
                    && self.context.recorder.as_ref().is_none_or(|recorder| recorder.is_closed())
                    && self.turning_away == 0
            }
        }
    }

    fn end_session(&mut self, slot: u32, generation: u32, ending: CloseMode) {
        self.with_session(slot, generation, |session, cx, callbacks| {
            session.end(DisconnectReason::Shutdown, ending, cx, callbacks);
        });
    }
}
