//! Makes completions from results, and resumes operations that waited.
//!
//! A receive that found the pool empty is parked until a lease returns; posts, deadlines and files take turns with
//! sockets; the end of a port takes everything back (law 10).

use naksi_core::completion::Completion;
use naksi_core::id::Handle;

use super::op::{InFlightOp, OpKind};
use super::port::Port;
use super::serve::socket_state;
use super::socket_state::Resource;
use crate::clock::now;
use crate::handles::Direction;
use crate::in_flight::Key;
use crate::port::{Ledger, Port as _};
use crate::port_core;

/// The way out.
impl Port {
    /// Appends what is ready, up to `full` completions.
    pub(super) fn poll_completions(&mut self, completions: &mut Vec<Completion>, full: usize) {
        self.resume_parked();
        while completions.len() < full {
            let Some((key, result)) = self.core.local.pop_front() else { break };
            self.finish(key, result, completions);
        }
        // Neither posts nor sockets can keep the others from being heard.
        let half = completions.len() + full.saturating_sub(completions.len()).div_ceil(2);
        self.hand_out_posts(completions, half);
        self.serve(completions, full);
        self.hand_out_posts(completions, full);
    }

    fn hand_out_posts(&mut self, completions: &mut Vec<Completion>, full: usize) {
        // The file thread wakes the port as a post does, so its results are collected whenever posts are.
        if self.core.hand_out_posts(completions, full) {
            self.collect_work();
        }
    }

    fn collect_work(&mut self) {
        if !self.file_thread.is_busy() {
            return;
        }
        self.file_thread.collect(&mut self.filed);
        for (key, done, result) in self.filed.drain(..) {
            let Some((_, InFlightOp { kind: OpKind::File { work, .. }, .. })) =
                self.core.in_flight.running(key)
            else {
                unreachable!("work on files is in flight until it comes home");
            };
            *work = Some(done);
            self.core.local.push_back((key, result));
        }
    }

    pub(super) fn fire_timers(&mut self) {
        if self.timers.next().is_none() {
            return;
        }
        let now = now();
        while let Some(key) = self.timers.take_passed(now) {
            match self.core.in_flight.running(key) {
                Some((_, operation)) if !operation.over => {
                    operation.over = true;
                    self.core.local.push_back((key, -libc::ETIME));
                }
                _ => self.timers.took_dead(),
            }
        }
    }

    /// The last completion of an operation: returns what it owned and frees its direction and its token.
    pub(super) fn finish(&mut self, key: Key, result: i32, completions: &mut Vec<Completion>) {
        let (token, operation) = self.core.take_out(key);
        if let Some((handle, direction)) = operation.direction() {
            self.core.handles.end(handle, direction);
            if let Some(socket_state) = self.core.handles.any_mut(handle).and_then(Resource::pier_mut) {
                match direction {
                    Direction::In => socket_state.incoming = None,
                    Direction::Out => socket_state.outgoing = None,
                    Direction::Control | Direction::Shared => {}
                }
            }
        }
        let done = operation.conclude(result, &mut self.core.handles);
        self.core.hand_out_last(completions, token, done);
    }
}

/// Receives that wait for a lease.
impl Port {
    pub(super) fn park(&mut self, key: Key) {
        self.parked.push_back(key);
        self.core.count_starved();
    }

    /// As many parked receives as there are buffers go to the head of the ready queue: they have waited longest, and
    /// more would only find the pool empty again.
    fn resume_parked(&mut self) {
        if self.parked.is_empty() {
            return;
        }
        let room = self.core.pool.at_home();
        let before = self.ready.len();
        while self.ready.len() < before + room {
            let Some(key) = self.next_parked() else { break };
            let (_, operation) = self.core.in_flight.running(key).expect("it was just seen");
            operation.queued = true;
            self.ready.push_back(key);
        }
        let resumed = self.ready.len() - before;
        self.ready.rotate_right(resumed);
    }

    /// The parked receive that has waited longest. Entries that have ended are skipped.
    fn next_parked(&mut self) -> Option<Key> {
        while let Some(key) = self.parked.pop_front() {
            let Some((_, InFlightOp { kind: OpKind::Recv { socket }, .. })) =
                self.core.in_flight.running(key)
            else {
                continue;
            };
            let descriptor = &mut socket_state(&mut self.core.handles, *socket).descriptor;
            if descriptor.parked == Some(key) {
                descriptor.parked = None;
                self.core.counters.starved -= 1;
                return Some(key);
            }
        }
        None
    }

    /// Ends the parked receive of a socket, if there is one.
    pub(super) fn end_parked(&mut self, socket: Handle) {
        if let Some(key) = socket_state(&mut self.core.handles, socket).descriptor.parked.take() {
            self.core.counters.starved -= 1;
            self.end_early(key);
        }
    }
}

/// The end of a port.
impl Port {
    /// Cancels and drains everything, as dropping does, and returns the last ledger (law 10).
    #[must_use]
    pub fn end(mut self) -> Ledger {
        self.drain();
        self.ledger()
    }

    /// Drains the work on files; nothing else is ever with the kernel.
    fn drain(&mut self) {
        let Some((tokens, deadline)) = self.core.begin_end() else { return };
        tokens.into_iter().for_each(|token| self.cancel(token));
        port_core::drain(self, deadline);
        self.core.leak_the_rest();
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.drain();
    }
}
