//! Turns completion entries into completions, or handles them inside the port.
//!
//! A multishot operation that the kernel ended early is submitted again, a receive that found the pool empty is
//! parked until a lease returns, and the end of a port takes everything back (law 10). Nothing here blocks, except at
//! the end.

// UNSAFETY: an accepted descriptor arrives as a number, and poll(2) takes an array.
#![expect(unsafe_code, reason = "an accepted descriptor arrives as a number, and poll takes an array")]

use std::mem::{self, MaybeUninit};
use std::num::NonZeroU32;
use std::os::fd::{FromRawFd, OwnedFd};

use io_uring::types::Fd;
use io_uring::{cqueue, opcode};
use naksi_core::completion::{Accepted, Completion, Done};
use naksi_core::id::{Handle, Token};
use naksi_core::lease::Buffer;

use super::buffers::{Buffers, RECV_LEASES_MAX};
use super::op::{OpKind, SubmitMode};
use super::parked::Queue;
use super::port::{CANCEL, Port, WAKE};
use crate::clock::now;
use crate::handles::HandleKind;
use crate::in_flight::Key;
use crate::linux::error;
use crate::linux::socket::{self, Descriptor, FdKind, OpenFd};
use crate::port::{Ledger, Port as _};
use crate::port_core;

/// Completion entries that are copied out of the ring at a time.
const REAP_ENTRIES: usize = 32;
/// Streams that a busy port checks together; a port that is about to sleep checks all of them.
const HANGUP_CHECKS_MAX: usize = 1024;
/// A busy port checks the streams after at most this many waits, however few they are: some milliseconds.
const WAITS_BEFORE_RECHECK_MAX: u32 = 64;
/// As much as a receive brings from here on is much.
const LONG_BYTES_MIN: u32 = 4 * 1024;

impl Port {
    /// Appends what is ready, up to `full` completions, without a system call.
    pub(super) fn poll_completions(&mut self, completions: &mut Vec<Completion>, full: usize) {
        while completions.len() < full {
            let Some((key, result)) = self.core.local.pop_front() else { break };
            self.complete(key, result, 0, completions);
        }
        // Neither posts nor the kernel can starve the other.
        let half = completions.len() + full.saturating_sub(completions.len()).div_ceil(2);
        self.core.hand_out_posts(completions, half);
        self.reap(completions, full);
        self.core.hand_out_posts(completions, full);
        if let Some(buffers) = self.buffers.as_mut() {
            // The next system call may come before these are processed, and should find buffers.
            buffers.top_up(&mut self.core.pool);
        }
    }

    /// Provides returned buffers to the kernel, and submits receives that can be served.
    pub(super) fn refill(&mut self) {
        let Some(buffers) = self.buffers.as_mut() else { return };
        buffers.refill(&mut self.core.pool, self.parked.usual());
        // As many as there are buffers: more would find the pool empty and lose their turn.
        let mut buffers = buffers.with_kernel();
        let mut portion = self.parked.turn(now);
        for queue in self.parked.order() {
            while buffers > 0 && (queue == Queue::Usual || portion > 0) {
                let Some((key, mode)) = self.next_parked(queue) else { break };
                let leases = if matches!(mode, SubmitMode::Once) { 1 } else { RECV_LEASES_MAX as usize };
                buffers = buffers.saturating_sub(leases);
                portion = portion.saturating_sub(if queue == Queue::Long { leases } else { 0 });
                self.submit_op(key, mode);
            }
        }
        self.parked.turned();
    }

    /// Whether a parked receive could be served; the port does not sleep then.
    pub(super) fn has_servable(&self) -> bool {
        let ahead = self.buffers.as_ref().map_or(0, Buffers::with_kernel);
        !self.parked.is_empty() && ahead + self.core.pool.at_home() > 0
    }

    /// Ends the parked receive of a socket, if there is one. It completes as aborted with the next wait.
    pub(super) fn end_parked(&mut self, socket: Handle) -> bool {
        let Some(descriptor) = self.core.handles.any_mut(socket) else { return false };
        let Some(key) = descriptor.parked.take() else { return false };
        self.core.counters.starved -= usize::from(mem::take(&mut descriptor.starved));
        self.core.local.push_back((key, -libc::ECANCELED));
        true
    }

    /// The parked receive that has waited longest. Entries that have ended are skipped.
    fn next_parked(&mut self, queue: Queue) -> Option<(Key, SubmitMode)> {
        while let Some(key) = self.parked.pop(queue) {
            let Some((_, operation)) = self.core.in_flight.running(key) else { continue };
            let OpKind::Recv { socket } = operation.kind else { continue };
            let Some(descriptor) = self.core.handles.any_mut(socket) else { continue };
            if descriptor.parked == Some(key) {
                descriptor.parked = None;
                let starved = mem::take(&mut descriptor.starved);
                self.core.counters.starved -= usize::from(starved);
                return Some((key, if starved { SubmitMode::Once } else { SubmitMode::Again }));
            }
        }
        None
    }

    pub(super) fn watch_inbox(&mut self) {
        // Every write to the event triggers a multishot poll, so the event's count is never read.
        let poll = opcode::PollAdd::new(Fd(self.core.inbox.waker.descriptor()), libc::POLLIN as u32)
            .multi(true)
            .build();
        self.push(poll.user_data(WAKE));
    }

    fn reap(&mut self, completions: &mut Vec<Completion>, full: usize) {
        let mut entries = [const { MaybeUninit::uninit() }; REAP_ENTRIES];
        while completions.len() < full {
            let room = (full - completions.len()).min(REAP_ENTRIES);
            let filled = self.ring.completion().fill(&mut entries[..room]);
            if filled.is_empty() {
                return;
            }
            for entry in filled {
                match entry.user_data() {
                    CANCEL => {} // only the target's last completion means anything
                    WAKE if cqueue::more(entry.flags()) || self.core.ending => {}
                    WAKE => self.watch_inbox(),
                    key => self.complete(Key::from_u64(key), entry.result(), entry.flags(), completions),
                }
            }
        }
    }

    /// One result of one operation; appends at most one completion.
    fn complete(&mut self, key: Key, result: i32, flags: u32, completions: &mut Vec<Completion>) {
        // Checked here, because a cancelled operation's result is mapped to aborted below.
        debug_assert_ne!(result, -libc::EFAULT, "law 2: the kernel met memory that was released: {key:?}");
        let buffer =
            cqueue::buffer_select(flags).and_then(|number| self.take_back(number, result.max(0) as usize));
        let Some((token, operation)) = self.core.in_flight.running(key) else {
            debug_assert!(false, "a completion of nothing that is in flight: {key:?}, result {result}");
            tracing::error!(?key, result, "the kernel completed something that is not in flight");
            self.put_home(buffer);
            return;
        };
        let over = operation.cancelled || self.core.ending;
        let more = cqueue::more(flags);
        match operation.kind {
            OpKind::Recv { socket } => {
                if more && result > 0 && !cqueue::sock_nonempty(flags) {
                    self.doubt(key, socket);
                }
                self.received(key, token, socket, (result, more, over), buffer, completions);
            }
            OpKind::Accept { .. } => self.accepted(key, token, (result, more, over), completions),
            OpKind::AcceptOne { .. } => self.accepted_directly(key, token, result, completions),
            _ => self.finish(key, result, completions),
        }
    }

    fn received(
        &mut self,
        key: Key,
        token: Token,
        socket: Handle,
        (result, more, over): (i32, bool, bool),
        buffer: Option<Buffer>,
        completions: &mut Vec<Completion>,
    ) {
        let length = u32::try_from(result).ok().and_then(NonZeroU32::new);
        match (length, buffer) {
            (Some(length), Some(buffer)) => {
                let lease = self.core.pool.lend(buffer, length);
                self.core.hand_out(completions, token, Done::Recv(Ok(lease)), true);
                if !more {
                    self.go_on_receiving(key, socket, length.get() >= LONG_BYTES_MIN, over);
                }
            }
            (Some(_), None) => {
                debug_assert!(false, "{result} bytes arrived in no buffer of ours");
                self.finish(key, -libc::EIO, completions);
            }
            (None, buffer) => {
                // An ending may name a buffer that it did not fill.
                self.put_home(buffer);
                let descriptor =
                    self.core.handles.any_mut(socket).expect("a handle outlives the operations on it");
                let ended_both = descriptor.ended_both;
                let recalled = mem::take(&mut descriptor.recalled);
                let unlimited = descriptor.unlimited;
                descriptor.unlimited |= result == -libc::EINVAL;
                match -result {
                    libc::ECANCELED if recalled && !over && !ended_both => {
                        self.core.counters.rearmed_total += 1;
                        // It polls before it takes a buffer, as a first one does: there may be nothing but an end.
                        self.submit_op(key, SubmitMode::First);
                    }
                    libc::ENOBUFS if over || ended_both => self.finish(key, -libc::ECANCELED, completions),
                    libc::ENOBUFS => self.run_dry(key, socket),
                    // A kernel without the limit refuses all receives that were submitted with one; they are
                    // submitted without.
                    libc::EINVAL if !unlimited && !over => {
                        self.recv_bytes_max = 0;
                        self.submit_op(key, SubmitMode::First);
                    }
                    _ => self.finish(key, result, completions),
                }
            }
        }
    }

    fn accepted(
        &mut self,
        key: Key,
        token: Token,
        (result, more, over): (i32, bool, bool),
        completions: &mut Vec<Completion>,
    ) {
        if result < 0 {
            match error::accept(-result, over) {
                error::AcceptEnded::NextPeer => self.go_on(key, over),
                error::AcceptEnded::Over(_) => self.finish(key, result, completions),
            }
            return;
        }
        // SAFETY: accept(2): "On success, these system calls return a file descriptor for the accepted
        // socket", which has no owner yet.
        let owned = unsafe { OwnedFd::from_raw_fd(result) };
        match socket::peer(&owned) {
            Ok(peer) => {
                let socket = self.core.handles.insert(HandleKind::Stream, Descriptor::new(owned));
                self.core.hand_out(completions, token, Done::Accept(Ok(Accepted { socket, peer })), true);
            }
            Err(error) => tracing::debug!(%error, "a peer was gone before it was accepted"),
        }
        if !more {
            self.go_on(key, over);
        }
    }

    /// The kernel ended a multishot operation by itself, or because of a cancellation.
    fn go_on(&mut self, key: Key, over: bool) {
        if over {
            self.core.local.push_back((key, -libc::ECANCELED));
        } else {
            self.core.counters.rearmed_total += 1;
            self.submit_op(key, SubmitMode::Again);
        }
    }

    /// A receive returned bytes and continues, and the kernel reported nothing after them: queues a hangup check.
    fn doubt(&mut self, key: Key, socket: Handle) {
        let descriptor = self.core.handles.any_mut(socket).expect("a handle outlives the operations on it");
        if descriptor.doubted.replace(key).is_none() {
            self.hangup_checks.push(socket);
        }
    }

    /// Whether the hangup checks are due. A check is a system call with a cost per stream, and the next bytes of a
    /// busy stream make it unnecessary.
    pub(super) fn must_settle(&mut self, about_to_sleep: bool) -> bool {
        if self.hangup_checks.is_empty() {
            return false;
        }
        self.waits_before_recheck += 1;
        about_to_sleep
            || self.hangup_checks.len() >= HANGUP_CHECKS_MAX
            || self.waits_before_recheck >= WAITS_BEFORE_RECHECK_MAX
    }

    /// Polls the streams that have returned bytes since the last check, and submits the receive again where the
    /// stream has ended.
    ///
    /// Two wake-ups before the kernel runs a multishot receive count as one: it takes the bytes, and misses the reset
    /// (or our own shutdown) that came directly after them. Nothing wakes it again, and the session would hang for
    /// ever. A later end wakes it as it should, so one check after the bytes were delivered is enough.
    pub(super) fn settle_doubts(&mut self) {
        self.waits_before_recheck = 0;
        let mut keys = Vec::new();
        let mut polls = Vec::new();
        for socket in mem::take(&mut self.hangup_checks) {
            let Some(descriptor) = self.core.handles.any_mut(socket) else { continue };
            let Some(key) = descriptor.doubted.take() else { continue };
            let idle = descriptor.parked.is_some() || descriptor.recalled;
            let fd_kind = descriptor.fd_kind();
            match (self.core.in_flight.running(key), fd_kind) {
                (Some((_, operation)), FdKind::Process(fd)) if !operation.cancelled && !idle => {
                    keys.push((socket, key));
                    polls.push(libc::pollfd { fd, events: 0, revents: 0 });
                }
                // Sockets in the ring's table cannot be polled from outside: their receive is submitted again in any
                // case.
                (Some((_, operation)), FdKind::Ring(_)) if !operation.cancelled && !idle => {
                    self.ask_afresh(socket, key)
                }
                _ => {}
            }
        }
        if polls.is_empty() {
            return;
        }
        // SAFETY: poll(2): "the caller should specify the number of items in the fds array in nfds", and the
        // descriptors are open: each has a receive in flight.
        let over = unsafe { libc::poll(polls.as_mut_ptr(), polls.len() as libc::nfds_t, 0) };
        if over == 0 {
            return;
        }
        for ((socket, key), poll) in keys.into_iter().zip(polls) {
            if over < 0 {
                // A signal, or no memory for so many: check again in the next turn.
                self.doubt(key, socket);
            } else if poll.revents & (libc::POLLHUP | libc::POLLERR) != 0 {
                self.ask_afresh(socket, key);
            }
        }
    }

    /// Cancels a receive, to submit it again: a fresh one polls the stream before it waits.
    fn ask_afresh(&mut self, socket: Handle, key: Key) {
        if let Some(descriptor) = self.core.handles.any_mut(socket) {
            descriptor.recalled = true;
        }
        self.push(opcode::AsyncCancel::new(key.to_u64()).build().user_data(CANCEL));
    }

    /// A receive has returned all that it may before the next wait.
    fn go_on_receiving(&mut self, key: Key, socket: Handle, long: bool, over: bool) {
        let descriptor = self.core.handles.any_mut(socket).expect("a handle outlives the operations on it");
        // A cancellation that came too late has no effect any more: the next receive polls the stream anyway.
        descriptor.recalled = false;
        if over || descriptor.ended_both {
            self.core.local.push_back((key, -libc::ECANCELED));
        } else {
            self.core.counters.rearmed_total += 1;
            self.park(key, socket, if long { Queue::Long } else { Queue::Usual }, false);
        }
    }

    /// A receive found no buffer: the pool is empty, or the kernel had been provided with too few.
    fn run_dry(&mut self, key: Key, socket: Handle) {
        let starved = self.core.pool.at_home() == 0;
        self.core.counters.rearmed_total += u64::from(!starved);
        if let Some(buffers) = self.buffers.as_mut().filter(|_| !starved) {
            buffers.widen();
        }
        self.park(key, socket, Queue::Usual, starved);
    }

    /// A receive waits inside the port until the next wait and, if it is starved, until a lease has returned.
    fn park(&mut self, key: Key, socket: Handle, queue: Queue, starved: bool) {
        let descriptor = self.core.handles.any_mut(socket).expect("a handle outlives the operations on it");
        descriptor.parked = Some(key);
        descriptor.starved = starved;
        self.parked.push(queue, key);
        if starved {
            self.core.count_starved();
        }
    }

    /// The last completion of an operation: returns what it owned and frees its direction and its token.
    pub(super) fn finish(&mut self, key: Key, result: i32, completions: &mut Vec<Completion>) {
        let (token, operation) = self.core.take_out(key);
        if let (OpKind::Close { place: OpenFd::Ring(_) }, 0, Some(direct)) =
            (&operation.kind, result, &mut self.direct)
        {
            direct.give_back();
        }
        let direction = operation.direction();
        let done = operation.conclude(result, &mut self.core.handles, &mut self.spent);
        if let Some((handle, direction)) = direction {
            self.core.handles.end(handle, direction);
        }
        self.core.hand_out_last(completions, token, done);
    }

    fn take_back(&mut self, number: u16, bytes: usize) -> Option<Buffer> {
        let buffer = self.buffers.as_mut()?.take_back(number, bytes);
        debug_assert!(buffer.is_some(), "the kernel names buffer {number}, which it does not hold");
        buffer
    }

    fn put_home(&mut self, buffer: Option<Buffer>) {
        if let Some(buffer) = buffer {
            self.core.pool.put(buffer);
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

    fn drain(&mut self) {
        let Some((tokens, deadline)) = self.core.begin_end() else { return };
        for (handle, kind) in self.core.handles.iter() {
            // Sockets in the ring's table end when the table is closed.
            if let (HandleKind::Stream, Some(descriptor)) = (kind, self.core.handles.any(handle))
                && let OpenFd::Process(owned) = descriptor.place()
            {
                socket::end(owned);
            }
        }
        tokens.into_iter().for_each(|token| self.cancel(token));
        port_core::drain(self, deadline);
        self.give_up_the_rest();
    }

    fn give_up_the_rest(&mut self) {
        let Some(buffers) = self.buffers.take() else { return };
        // If anything is leaked, dropping the table of raw pointers frees nothing: the kernel may still write there.
        if self.core.leak_the_rest() == 0 {
            self.give_up_table();
            if let Err(error) = buffers.close(&self.ring.submitter(), &mut self.core.pool) {
                tracing::warn!(%error, "the receive pool could not be taken back and is leaked on purpose");
            }
        }
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.drain();
    }
}
