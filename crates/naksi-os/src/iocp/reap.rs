//! Turns packets from the port into completions, or handles them inside the port.
//!
//! A receive with something to read gets a lease and reads without waiting; one that finds the pool empty is parked
//! until a lease returns, and one that read nothing asks the kernel again. The end of a port takes everything back
//! (law 10). Nothing here blocks, except at the end.

use std::num::NonZeroU32;
use std::ptr::{self, NonNull};

use naksi_core::completion::{Completion, Done};
use naksi_core::id::Handle;

use super::op::{CANCELLED, OpKind};
use super::op_block;
use super::port::Port;
use crate::clock::now;
use crate::handles::{Direction, HandleKind};
use crate::in_flight::Key;
use crate::port::{Ledger, Port as _};
use crate::port_core;
use crate::windows::kernel::{self, Answer, Packet};
use crate::windows::socket::{self, Resource};

/// How many reads a receive makes without asking the kernel in between, so that others get their turn.
const READS_MAX: u8 = 8;
/// Blocks that are kept for the next operation.
const SPENT_PARCELS_MAX: usize = 1024;

impl Port {
    /// Appends what is ready, up to `full` completions, without waiting.
    pub(super) fn poll_completions(&mut self, completions: &mut Vec<Completion>, full: usize) {
        self.take_due_timers();
        while completions.len() < full {
            let Some((key, answer)) = self.core.local.pop_front() else { break };
            self.finish(key, answer, completions);
        }
        // Neither posts nor the kernel can starve the other.
        let half = completions.len() + full.saturating_sub(completions.len()).div_ceil(2);
        self.core.hand_out_posts(completions, half);
        while completions.len() < full && self.entries_read < self.entries_filled {
            let packet = kernel::packet(&self.entries[self.entries_read]);
            self.entries_read += 1;
            self.open_packet(packet, completions);
        }
        // Those that are ready now, each once: they come after all that have waited in the kernel.
        for _ in 0..self.ready.len() {
            if completions.len() == full {
                break;
            }
            let Some(key) = self.ready.pop_front() else { break };
            self.read(key, completions);
        }
        self.core.hand_out_posts(completions, full);
    }

    /// Reads for the receives that wait for leases, as many as there are free buffers.
    pub(super) fn serve_parked(&mut self) {
        for _ in 0..self.core.pool.at_home() {
            let Some(key) = self.next_parked() else { break };
            self.ready.push_back(key);
        }
    }

    /// Ends the parked receive of a socket, if there is one. It completes as aborted with the next wait.
    pub(super) fn end_parked(&mut self, socket: Handle) -> bool {
        let Some(key) = self.core.handles.any_mut(socket).and_then(|descriptor| descriptor.parked.take())
        else {
            return false;
        };
        self.core.counters.starved -= 1;
        self.core.local.push_back((key, Answer::failed(CANCELLED)));
        true
    }

    /// Ends a receive that is not with the kernel: parked, or about to be read again.
    pub(super) fn end_resting(&mut self, key: Key, socket: Handle) {
        if self.end_parked(socket) {
            return;
        }
        if let Some(place) = self.ready.iter().position(|ready| *ready == key) {
            self.ready.remove(place);
            self.core.local.push_back((key, Answer::failed(CANCELLED)));
        }
    }

    /// The parked receive that has waited longest. Entries that have ended are skipped.
    fn next_parked(&mut self) -> Option<Key> {
        while let Some(key) = self.parked.pop_front() {
            let Some((_, operation)) = self.core.in_flight.running(key) else { continue };
            let OpKind::Recv { socket, .. } = operation.kind else { continue };
            let Some(descriptor) = self.core.handles.any_mut(socket) else { continue };
            if descriptor.parked == Some(key) {
                descriptor.parked = None;
                self.core.counters.starved -= 1;
                return Some(key);
            }
        }
        None
    }

    fn take_due_timers(&mut self) {
        while let Some((at, raw)) = self.timers.first().copied() {
            if at > now() {
                return;
            }
            self.timers.pop_first();
            self.core.local.push_back((Key::from_u64(raw), Answer::done(0)));
        }
    }

    /// One packet of one operation; appends at most one completion.
    fn open_packet(&mut self, packet: Packet, completions: &mut Vec<Completion>) {
        // A packet without an operation has woken the port, which is all it is for.
        let Some(overlapped) = NonNull::new(packet.overlapped) else { return };
        let (key, number) = op_block::addressee(overlapped);
        let Some((token, operation)) = self.core.in_flight.running(key) else {
            debug_assert!(false, "a packet of nothing that is in flight: {key:?}, {packet:?}");
            tracing::error!(?key, ?packet, "the kernel completed something that is not in flight");
            return;
        };
        operation.pending = false;
        match operation.kind {
            OpKind::Accept(_) => self.accepted(key, number, token, packet.answer, completions),
            OpKind::Recv { ref mut reads, .. } if packet.answer.code == 0 => {
                *reads = 0;
                self.read(key, completions);
            }
            _ => self.finish(key, packet.answer, completions),
        }
    }

    /// Reads what is available into a lease, or finds that there is no data or no lease.
    fn read(&mut self, key: Key, completions: &mut Vec<Completion>) {
        let Some((token, operation)) = self.core.in_flight.running(key) else { return };
        let over = operation.cancelled;
        let OpKind::Recv { socket, .. } = operation.kind else { return };
        let descriptor = self.core.handles.any(socket).expect("a handle outlives the operations on it");
        let Resource::Socket(owned) = descriptor.resource() else { return };
        if over || self.core.ending || descriptor.ended_both {
            self.finish(key, Answer::failed(CANCELLED), completions);
            return;
        }
        let Some(mut buffer) = self.core.pool.take() else {
            self.park(key, socket);
            return;
        };
        self.core.counters.enters_total += 1;
        match socket::read(owned, &mut buffer.bytes) {
            Ok(Some(bytes)) => {
                let is_full = bytes as usize == buffer.bytes.len();
                let Some(length) = NonZeroU32::new(bytes) else {
                    self.core.pool.put(buffer);
                    self.finish(key, Answer::done(0), completions);
                    return;
                };
                let lease = self.core.pool.lend(buffer, length);
                self.core.hand_out(completions, token, Done::Recv(Ok(lease)), true);
                self.go_on(key, is_full);
            }
            Ok(None) => {
                self.core.pool.put(buffer);
                self.go_on(key, false);
            }
            Err(code) => {
                self.core.pool.put(buffer);
                self.finish(key, Answer::failed(code), completions);
            }
        }
    }

    /// After a full buffer there may be more: reads again without the kernel, within a budget.
    fn go_on(&mut self, key: Key, is_full: bool) {
        let Some((_, operation)) = self.core.in_flight.running(key) else { return };
        let OpKind::Recv { reads, .. } = &mut operation.kind else { return };
        *reads += 1;
        if is_full && *reads < READS_MAX {
            self.ready.push_back(key);
        } else {
            *reads = 0;
            self.submit_op(key);
        }
    }

    fn park(&mut self, key: Key, socket: Handle) {
        let descriptor = self.core.handles.any_mut(socket).expect("a handle outlives the operations on it");
        descriptor.parked = Some(key);
        self.parked.push_back(key);
        self.core.count_starved();
    }

    /// The last completion of an operation: returns what it owned and frees its direction and its token.
    fn finish(&mut self, key: Key, answer: Answer, completions: &mut Vec<Completion>) {
        let (token, operation) = self.core.take_out(key);
        debug_assert!(!operation.pending, "a packet is owed for {operation:?}");
        let (direction, files) = (operation.direction(), operation.files());
        let done = operation.conclude(answer, &mut self.core.handles, &mut self.spent);
        if let Some((handle, direction)) = direction {
            self.core.handles.end(handle, direction);
        }
        files.into_iter().for_each(|file| self.core.handles.end(file, Direction::Shared));
        self.spent.truncate(SPENT_PARCELS_MAX);
        self.core.hand_out_last(completions, token, done);
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

    fn drain(&mut self) {
        let Some((tokens, deadline)) = self.core.begin_end() else { return };
        tokens.into_iter().for_each(|token| self.cancel(token));
        for (handle, _) in self.core.handles.iter() {
            // Before the handle is closed: on some systems closing alone does not return all operations.
            if let Some(descriptor) = self.core.handles.any(handle) {
                kernel::cancel(descriptor.raw(), ptr::null());
            }
        }
        for (handle, kind) in self.core.handles.iter() {
            if let (HandleKind::Stream, Some(descriptor)) = (kind, self.core.handles.any(handle))
                && let Resource::Socket(owned) = descriptor.resource()
            {
                // What is left of a connection would keep the next server from the port of this one.
                socket::reset_at_close(owned);
            }
        }
        port_core::drain(self, deadline);
        self.core.leak_the_rest();
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.drain();
    }
}
