//! Sockets in a table of the ring (direct descriptors), which use no descriptor of the process.
//!
//! Such a socket has no number by which the process could ask for its peer, so it is accepted as `AcceptEx` does it:
//! a fixed number of single accepts is with the kernel, each with room for an address, and together they implement
//! the requested accept. A slot of the table is reserved for each of them beforehand, because the kernel takes a
//! connection out of the backlog before it looks for a slot, and drops the connection if there is none.

use std::net::{Ipv4Addr, SocketAddr};

use naksi_core::completion::{Accepted, Completion, Done};
use naksi_core::id::{Handle, Token};

use super::op::{InFlightOp, OpKind, SubmitMode};
use super::port::Port;
use crate::handles::HandleKind;
use crate::in_flight::{Finished, Key};
use crate::linux::error;
use crate::linux::socket::Descriptor;

/// Single accepts that implement one multishot accept: the number of connections that one turn accepts without
/// submitting again.
const ACCEPTS_MAX: usize = 16;

/// The ring's own table.
#[derive(Debug)]
pub(super) struct Direct {
    /// Slots that hold no socket and are set aside for none.
    free: u32,
    /// Single accepts in flight.
    accepts: usize,
}

impl Direct {
    pub(super) fn new(entries: u32) -> Self {
        Self { free: entries, accepts: 0 }
    }

    /// Operations that the port submits for itself.
    pub(super) fn accepts(&self) -> usize {
        self.accepts
    }

    /// A slot is empty again.
    pub(super) fn give_back(&mut self) {
        self.free += 1;
    }

    fn set_aside(&mut self) -> bool {
        let some = self.free > 0;
        self.free -= u32::from(some);
        some
    }
}

/// An accept that is with the kernel as several single ones.
#[derive(Debug)]
pub(super) struct AcceptMany {
    pub(super) listener: Handle,
    /// The single ones in flight.
    ones: Vec<Key>,
    /// Why it ends, which is when the last single accept has returned.
    ended: Option<i32>,
}

impl AcceptMany {
    pub(super) fn new(listener: Handle) -> Self {
        Self { listener, ones: Vec::new(), ended: None }
    }
}

impl Port {
    pub(super) fn is_accept_of_many(&mut self, key: Key) -> bool {
        self.core
            .in_flight
            .running(key)
            .is_some_and(|(_, operation)| matches!(operation.kind, OpKind::AcceptMany(_)))
    }

    /// Submits the single accepts, or ends the accept at once because the table is full.
    pub(super) fn begin_accepts(&mut self, many: Key) {
        self.post_accepts(many);
        if self.many(many).ones.is_empty() {
            self.core.local.push_back((many, -libc::ENFILE));
        }
    }

    /// The accept's cancellation was requested.
    pub(super) fn recall_accepts(&mut self, many: Key) {
        for one in self.many(many).ones.clone() {
            self.request_cancel(one);
        }
    }

    /// A single accept has returned, with the index of a socket or with an error.
    pub(super) fn accepted_directly(
        &mut self,
        one: Key,
        token: Token,
        result: i32,
        completions: &mut Vec<Completion>,
    ) {
        let (_, operation) =
            self.core.in_flight.running(one).expect("a operation that was just seen running");
        let OpKind::AcceptOne { many, block } = &mut operation.kind else { unreachable!("{operation:?}") };
        let many = *many;
        let peer = block.came_from();
        let goes_on = self.accepts_go_on(many);
        let Ok(index) = u32::try_from(result) else {
            if error::accept(-result, !goes_on) == error::AcceptEnded::NextPeer {
                self.core.counters.rearmed_total += 1;
                return self.submit_op(one, SubmitMode::Again);
            }
            self.table().give_back();
            self.end_accepts(many, result);
            return self.retire(one, many);
        };
        // The kernel asks a new socket for its peer and drops it if there is none, so there is one.
        let peer = peer.unwrap_or(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
        let socket = self.core.handles.insert(HandleKind::Stream, Descriptor::direct(index));
        self.core.hand_out(completions, token, Done::Accept(Ok(Accepted { socket, peer })), true);
        if goes_on && self.table().set_aside() {
            self.submit_op(one, SubmitMode::Again);
            // There may be room again for those that ended while the table was full.
            return self.post_accepts(many);
        }
        self.retire(one, many);
    }

    /// Closes what is still in the table. The kernel would do so too, but only a while after the ring's end.
    pub(super) fn give_up_table(&mut self) {
        if self.direct.is_some()
            && let Err(error) = self.ring.submitter().unregister_files()
        {
            tracing::warn!(%error, "the table of direct descriptors is left for the kernel to empty");
        }
    }

    fn post_accepts(&mut self, many: Key) {
        while self.accepts_go_on(many) && self.many(many).ones.len() < ACCEPTS_MAX && self.table().set_aside()
        {
            let block = self.spent.take();
            let (token, operation) =
                self.core.in_flight.running(many).expect("only running accepts are posted");
            let operation = InFlightOp {
                packed_fd: operation.packed_fd,
                cancelled: false,
                kind: OpKind::AcceptOne { many, block },
            };
            let one = self.core.in_flight.start(token, operation);
            self.many(many).ones.push(one);
            self.table().accepts += 1;
            self.submit_op(one, SubmitMode::First);
        }
    }

    fn accepts_go_on(&mut self, many: Key) -> bool {
        let ending = self.core.ending;
        let (_, operation) = self.core.in_flight.running(many).expect("an accept outlives its single ones");
        !operation.cancelled
            && !ending
            && matches!(&operation.kind, OpKind::AcceptMany(many) if many.ended.is_none())
    }

    /// The first failure ends all of them.
    fn end_accepts(&mut self, many: Key, result: i32) {
        let state = self.many(many);
        if state.ended.is_none() {
            state.ended = Some(result);
            self.recall_accepts(many);
        }
    }

    /// A single accept has ended; the last one ends the whole accept as well.
    fn retire(&mut self, one: Key, many: Key) {
        let Finished::Wanted(_, InFlightOp { kind: OpKind::AcceptOne { block, .. }, .. }) =
            self.core.in_flight.finish(one)
        else {
            unreachable!("a single accept that was just seen running");
        };
        self.spent.give_back(block);
        self.table().accepts -= 1;
        let state = self.many(many);
        state.ones.retain(|key| *key != one);
        if state.ones.is_empty() {
            // No failure and none left: the table is full, or they were cancelled.
            let result = state.ended.unwrap_or(-libc::ENFILE);
            self.core.local.push_back((many, result));
        }
    }

    fn many(&mut self, key: Key) -> &mut AcceptMany {
        match self.core.in_flight.running(key) {
            Some((_, InFlightOp { kind: OpKind::AcceptMany(many), .. })) => many,
            _ => unreachable!("an accept outlives its single ones"),
        }
    }

    fn table(&mut self) -> &mut Direct {
        self.direct.as_mut().expect("only a ring with a table accepts into it")
    }
}
