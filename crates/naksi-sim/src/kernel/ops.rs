//! What each operation does.
//!
//! An operation starts when its port flushes it, makes progress whenever something that it waits for has
//! happened, and answers. Reads and writes are carried out here, on the buffers that the in-flight table
//! owns, at the moment of the answer. Nothing here knows how an answer reaches the engine.

use core::net::SocketAddr;
use std::num::NonZeroU32;

use naksi_core::completion::Datagram;
use naksi_core::ended::{Ended, Failure, OsError};
use naksi_core::op::{Op, ShutdownHow};

use super::calendar::{Calendar, Caller, Event, OpId};
use super::fault::FaultKind;
use super::net::{Owner, Transit};
use super::port_state::{End, Held, Raw, Stage, Target};
use super::state::Kernel;

/// What fills a buffer when it is handed to the kernel: reading it too early shows it.
pub(super) const POISON: u8 = 0xA5;

/// How long a connect waits for an answer that does not come, in nanoseconds.
const CONNECT_PATIENCE_NANOS: u64 = 3_000_000_000;

/// What one IPv4 packet holds beside its headers; no system sends a longer datagram.
const DATAGRAM_BYTES_MAX: usize = 65_507;

fn failed(failure: Failure, code: i32) -> Raw {
    Raw::Ended(Ended::Failed(OsError::new(failure, code)))
}

/// A failure with any of a system's numbers.
fn any_failure(calendar: &mut Calendar) -> Raw {
    let code = calendar.prng.between(1, 133) as i32;
    let failure = match code {
        12 | 105 => Failure::MemoryExhausted,
        110 => Failure::TimedOut,
        101 | 113 => Failure::Unreachable,
        103 => Failure::PeerGone,
        111 => Failure::Refused,
        13 => Failure::Denied,
        22 => Failure::Invalid,
        _ => Failure::Other,
    };
    failed(failure, code)
}

impl Kernel {
    pub(super) fn held(&mut self, op: OpId) -> Option<&mut Held> {
        let state = self.ports[op.port as usize].as_mut()?;
        state.in_flight.running(op.key).map(|(_, held)| held)
    }

    /// Where a connect that is under way wants to go.
    pub(super) fn connect_remote(&mut self, op: OpId) -> Option<SocketAddr> {
        match self.held(op)? {
            Held { op: Op::Connect { remote }, stage: Stage::Armed, .. } => Some(*remote),
            _ => None,
        }
    }

    pub(super) fn set_target(&mut self, op: OpId, target: Target) {
        if let Some(held) = self.held(op) {
            held.target = target;
        }
    }

    /// Hands an operation to the kernel, for the first time or again.
    pub(super) fn start(&mut self, op: OpId) {
        let held = self.held(op).expect("an operation starts while it is in flight");
        held.stage = Stage::Armed;
        let target = held.target;
        let (receives, sends) = (matches!(held.op, Op::Recv { .. }), matches!(held.op, Op::Send { .. }));
        if (receives || sends) && self.fails_at_once(op, target, receives) {
            return;
        }
        self.port_state(op.port).starting = Some(op.key);
        self.begin(op, target);
        self.port_state(op.port).starting = None;
    }

    fn begin(&mut self, op: OpId, target: Target) {
        let held = self.held(op).expect("an operation begins while it is in flight");
        match &held.op {
            Op::Accept { .. } => {
                if let Target::Listener(index) = target {
                    let listener = self.net.listeners[index as usize].as_mut().expect("the listener is open");
                    listener.accept_op = Some(op.key);
                }
                self.progress(op);
            }
            Op::Recv { .. } => {
                if let Target::Stream(id) = target {
                    self.net.live(id).recv_op = Some(op.key);
                }
                self.progress(op);
            }
            Op::Send { .. } => {
                if let Target::Stream(id) = target {
                    let socket = self.net.live(id);
                    assert!(socket.send_op.is_none(), "law 7: two sends in flight on one socket");
                    socket.send_op = Some(op.key);
                }
                self.progress(op);
            }
            Op::RecvFrom { .. } => {
                if let Target::Datagram(index) = target {
                    let socket = self.net.datagrams[index as usize].as_mut().expect("the socket is open");
                    socket.recv_op = Some(op.key);
                }
                self.progress(op);
            }
            Op::Connect { .. } => self.start_connect(op),
            Op::Shutdown { .. } | Op::Close { .. } | Op::SendTo { .. } => self.progress(op),
            Op::ReadAt { .. } | Op::WriteAt { .. } | Op::Sync { .. } => {
                let at = self.disk_ready_at();
                self.start_later(op, at);
            }
            Op::Timeout { at } => {
                let at = *at;
                self.start_later(op, at);
            }
        }
    }

    fn start_later(&mut self, op: OpId, at: naksi_core::tick::Tick) {
        if let Some(held) = self.held(op) {
            held.ready_at = at;
        }
        if at <= self.calendar.now() {
            self.progress(op);
        } else {
            self.calendar.at(at, Event::Poke(op));
        }
    }

    fn start_connect(&mut self, op: OpId) {
        if self.descriptors >= self.options.descriptors_max {
            return self.answer(op, failed(Failure::DescriptorsExhausted, 24), End::Last);
        }
        self.descriptors += 1;
        let caller = Caller::Op(op);
        let nanos = self.calendar.latency();
        if self.calendar.strike(FaultKind::ConnectRefused) {
            self.calendar.after(nanos * 2, Event::ConnectFailed { caller, failure: Failure::Refused });
        } else if self.calendar.strike(FaultKind::ConnectTimedOut) {
            let failure = Failure::TimedOut;
            self.calendar.after(CONNECT_PATIENCE_NANOS, Event::ConnectFailed { caller, failure });
        } else {
            self.calendar.after(nanos, Event::Syn { caller, tries: 0 });
        }
    }

    /// Something that the operation waits for has happened; a fault may hold its answer back.
    pub(super) fn rouse(&mut self, op: OpId) {
        match self.held(op) {
            Some(held) if held.stage == Stage::Armed && !held.held_back => {}
            _ => return,
        }
        if self.calendar.strike(FaultKind::CompletionDelayed) {
            if let Some(held) = self.held(op) {
                held.held_back = true;
            }
            let nanos = self.calendar.delay();
            return self.calendar.after(nanos, Event::Poke(op));
        }
        self.progress(op);
    }

    /// Lets an operation go on whatever held it: a delay, or the wait for a buffer.
    pub(super) fn stir(&mut self, op: OpId) {
        let Some(state) = self.ports[op.port as usize].as_mut() else { return };
        let Some((_, held)) = state.in_flight.running(op.key) else { return };
        held.held_back = false;
        if held.stage == Stage::Parked {
            held.stage = Stage::Armed;
            state.starved.retain(|key| *key != op.key);
        }
        self.progress(op);
    }

    /// Does what can be done now.
    pub(super) fn progress(&mut self, op: OpId) {
        let now = self.calendar.now();
        let Some(held) = self.held(op) else { return };
        if held.stage != Stage::Armed || held.held_back || held.ready_at > now {
            return;
        }
        match &held.op {
            Op::Accept { .. } => self.progress_accept(op),
            Op::Recv { .. } => while self.progress_recv(op) {},
            Op::Send { .. } => self.progress_send(op),
            Op::Shutdown { how, .. } => {
                let how = *how;
                self.shut_down(op, how);
            }
            Op::Close { .. } => {
                let target = held.target;
                self.close_target(target);
                self.answer(op, Raw::Nothing, End::Last);
            }
            Op::RecvFrom { .. } => self.progress_recv_from(op),
            Op::SendTo { .. } => self.progress_send_to(op),
            Op::ReadAt { .. } | Op::WriteAt { .. } => self.progress_file(op),
            Op::Sync { .. } | Op::Timeout { .. } => self.answer(op, Raw::Nothing, End::Last),
            Op::Connect { .. } => {}
        }
    }

    /// Whether the kernel goes on after a success.
    fn end_of_success(&mut self, op: OpId) -> End {
        if self.held(op).is_some_and(|held| held.dying) {
            return End::Last;
        }
        if self.is_iocp() {
            return End::More;
        }
        let state = self.ports[op.port as usize].as_ref().expect("the port is open");
        if state.answers.len() >= state.completion_entries {
            self.calendar.faults.note(FaultKind::CompletionOverflow);
            return End::Overflowed;
        }
        if self.calendar.strike(FaultKind::CompletionOverflow) {
            End::Overflowed
        } else if state.single_shot || self.calendar.strike(FaultKind::LostMore) {
            End::Lost
        } else {
            End::More
        }
    }

    /// Why no further connection can be taken now, if none can.
    fn accept_refused(&mut self, index: usize) -> Option<Raw> {
        if self.is_iocp() {
            self.top_up(index);
            let listener = self.net.listeners[index].as_ref().expect("the listener is open");
            return (listener.credits == 0).then(|| failed(Failure::DescriptorsExhausted, 10_024));
        }
        if self.descriptors >= self.options.descriptors_max {
            self.calendar.faults.note(FaultKind::DescriptorsExhausted);
            return Some(failed(Failure::DescriptorsExhausted, 24));
        }
        if self.calendar.strike(FaultKind::DescriptorsExhausted) {
            return Some(failed(Failure::DescriptorsExhausted, 24));
        }
        let full = self.calendar.strike(FaultKind::DirectTableFull);
        full.then(|| failed(Failure::DescriptorsExhausted, 23))
    }

    /// A failure under an accept that says nothing about the next one.
    fn accept_failed(&mut self) -> Option<Raw> {
        if !self.calendar.strike(FaultKind::AcceptFailed) {
            return None;
        }
        let why = [(Failure::Other, 71), (Failure::Unreachable, 100), (Failure::MemoryExhausted, 12)];
        let (failure, code) = why[self.calendar.prng.below(3) as usize];
        Some(failed(failure, code))
    }

    fn progress_accept(&mut self, op: OpId) {
        let Some(Held { target: Target::Listener(index), .. }) = self.held(op) else { return };
        let index = *index as usize;
        loop {
            let listener = self.net.listeners[index].as_mut().expect("the listener is open");
            if listener.backlog.is_empty() {
                return;
            }
            if let Some(refused) = self.accept_refused(index).or_else(|| self.accept_failed()) {
                return self.answer(op, refused, End::Last);
            }
            let iocp = self.is_iocp();
            let listener = self.net.listeners[index].as_mut().expect("the listener is open");
            let id = listener.backlog.pop_front().expect("the backlog was just seen");
            if iocp {
                listener.credits -= 1;
            } else {
                self.descriptors += 1;
            }
            if self.calendar.strike(FaultKind::AcceptContextFailed) {
                self.abandon_connect(Target::Stream(id));
                continue;
            }
            if self.calendar.strike(FaultKind::AcceptAborted) {
                self.abandon_connect(Target::Stream(id));
                return self.answer(op, Raw::AcceptAborted, End::Lost);
            }
            let socket = self.net.live(id);
            socket.owner = Owner::Port(op.port);
            socket.established = true;
            let peer = socket.remote;
            let end = self.end_of_success(op);
            self.answer(op, Raw::Accepted(id, peer), end);
            if end != End::More {
                return;
            }
        }
    }

    /// Fills one buffer, or says why not. Returns whether it is worth another look.
    fn progress_recv(&mut self, op: OpId) -> bool {
        if self.is_iocp()
            && let Some(Held { target: Target::Stream(id), stage: Stage::Armed, .. }) = self.held(op)
        {
            let id = *id;
            let socket = self.net.live(id);
            if !socket.shut_read && !socket.reset && !socket.inbox.readable().is_empty() {
                self.answer(op, Raw::Readable, End::Lost);
                return false;
            }
        }
        let Some((raw, end)) = self.read(op) else { return false };
        self.answer(op, raw, end);
        end == End::More
    }

    /// What a receive would answer now; nothing if it has to wait.
    pub(super) fn read(&mut self, op: OpId) -> Option<(Raw, End)> {
        let Some(Held { target: Target::Stream(id), stage: Stage::Armed, .. }) = self.held(op) else {
            return None;
        };
        let id = *id;
        let socket = self.net.live(id);
        let ended = if socket.shut_read {
            Some(Ended::Aborted)
        } else if socket.reset {
            Some(Ended::Reset)
        } else if socket.inbox.readable().is_empty() {
            if !socket.inbox.ended() {
                return None;
            }
            Some(Ended::Closed)
        } else {
            None
        };
        if let Some(ended) = ended {
            return Some((Raw::Ended(ended), End::Last));
        }
        let state = self.ports[op.port as usize].as_mut().expect("the port is open");
        let injected = self.calendar.strike(FaultKind::PoolEmpty);
        let Some(mut buffer) = (if injected { None } else { state.pool.take() }) else {
            return Some((Raw::Starved, End::Lost));
        };
        if self.calendar.strike(FaultKind::RecvFailed) {
            state.pool.put(buffer);
            return Some((any_failure(&mut self.calendar), End::Last));
        }
        state.with_kernel += 1;
        buffer.bytes.fill(POISON);
        let readable = self.net.live(id).inbox.readable();
        let mut length = readable.len().min(buffer.bytes.len());
        if length > 1 && self.calendar.strike(FaultKind::PartialRecv) {
            length = self.calendar.prng.between(1, length as u64 - 1) as usize;
        }
        buffer.bytes[..length].copy_from_slice(&readable[..length]);
        self.net.consume(&mut self.calendar, id, length);
        let length = NonZeroU32::new(length as u32).expect("something was readable");
        let end = self.end_of_success(op);
        Some((Raw::Data(buffer, length), end))
    }

    fn progress_send(&mut self, op: OpId) {
        let state = self.ports[op.port as usize].as_mut().expect("the port is open");
        let Some((_, held)) = state.in_flight.running(op.key) else { return };
        let (Op::Send { batch, .. }, Target::Stream(id)) = (&held.op, held.target) else { return };
        let socket = self.net.live(id);
        if socket.reset || socket.shut_write {
            let ended = if socket.shut_write { Ended::Aborted } else { Ended::Reset };
            return self.answer(op, Raw::Ended(ended), End::Last);
        }
        if self.calendar.strike(FaultKind::SendFailed) {
            let raw = any_failure(&mut self.calendar);
            return self.answer(op, raw, End::Last);
        }
        let mut most = batch.bytes().min(u32::MAX as usize);
        if most > 1 && self.calendar.strike(FaultKind::ShortSend) {
            most = self.calendar.prng.between(1, most as u64 - 1) as usize;
        }
        let taken = self.net.write(&mut self.calendar, id, batch.slices(), most);
        if taken > 0 {
            self.answer(op, Raw::Count(taken as u32), End::Last);
        }
    }

    fn shut_down(&mut self, op: OpId, how: ShutdownHow) {
        let Some(Held { target: Target::Stream(id), .. }) = self.held(op) else { return };
        let id = *id;
        self.net.send_fin(&mut self.calendar, id);
        let socket = self.net.live(id);
        socket.shut_write = true;
        socket.shut_read |= how == ShutdownHow::Both;
        let waiting = match how {
            ShutdownHow::Both => [socket.recv_op, socket.send_op],
            ShutdownHow::Write => [None, socket.send_op],
        };
        self.answer(op, Raw::Nothing, End::Last);
        for key in waiting.into_iter().flatten() {
            self.stir(OpId { port: op.port, key });
        }
    }

    fn progress_recv_from(&mut self, op: OpId) {
        let state = self.ports[op.port as usize].as_mut().expect("the port is open");
        let Some((_, held)) = state.in_flight.running(op.key) else { return };
        let (Op::RecvFrom { buffer, .. }, Target::Datagram(index)) = (&mut held.op, held.target) else {
            return;
        };
        let socket = self.net.datagrams[index as usize].as_mut().expect("the socket is open");
        let Some((from, bytes)) = socket.queue.pop_front() else { return };
        let length = bytes.len().min(buffer.len());
        buffer[..length].copy_from_slice(&bytes[..length]);
        let datagram = Datagram { bytes: length as u32, from, cut: bytes.len() > length };
        self.answer(op, Raw::Datagram(datagram), End::Last);
    }

    fn progress_send_to(&mut self, op: OpId) {
        let Some(held) = self.held(op) else { return };
        let (Op::SendTo { remote, bytes, .. }, Target::Datagram(index)) = (&held.op, held.target) else {
            return;
        };
        let (to, bytes) = (*remote, bytes.clone());
        let socket = self.net.datagrams[index as usize].as_ref().expect("the socket is open");
        let (from, length) = (socket.address, bytes.len() as u32);
        if bytes.len() > DATAGRAM_BYTES_MAX {
            return self.answer(op, failed(Failure::Invalid, 90), End::Last);
        }
        self.net.dispatch(&mut self.calendar, Transit { from, to, bytes });
        self.answer(op, Raw::Count(length), End::Last);
    }

    fn progress_file(&mut self, op: OpId) {
        let state = self.ports[op.port as usize].as_mut().expect("the port is open");
        let Some((_, held)) = state.in_flight.running(op.key) else { return };
        let Target::File(index, writable) = held.target else { return };
        let content = &mut self.files[index as usize];
        let raw = match &mut held.op {
            Op::ReadAt { offset, buffer, .. } => {
                let start = usize::try_from(*offset).unwrap_or(usize::MAX).min(content.len());
                let length = buffer.len().min(content.len() - start);
                buffer[..length].copy_from_slice(&content[start..start + length]);
                if length == 0 { Raw::Ended(Ended::Closed) } else { Raw::Count(length as u32) }
            }
            Op::WriteAt { .. } if !writable => failed(Failure::Invalid, 9),
            Op::WriteAt { offset, bytes, .. } => {
                let full = self.calendar.strike(FaultKind::StorageFull);
                let length = if full { bytes.len() / 2 } else { bytes.len() };
                if length == 0 {
                    failed(Failure::StorageFull, 28)
                } else {
                    let start = usize::try_from(*offset).expect("a simulated file fits in memory");
                    content.resize(content.len().max(start + length), 0);
                    content[start..start + length].copy_from_slice(&bytes[..length]);
                    Raw::Count(length as u32)
                }
            }
            _ => return,
        };
        self.answer(op, raw, End::Last);
    }
}
