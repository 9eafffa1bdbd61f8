//! What a wait hands out.
//!
//! The submission queue is flushed, parked receives are resumed, posts are fetched, and the kernel's
//! answers are said in the contract's words: a lost `more` is asked for again, an exhausted pool parks, an
//! aborted connection is passed over. Nothing here knows how an answer came about.

use naksi_core::completion::{Accepted, Completion, Connected, Done};
use naksi_core::ended::Ended;
use naksi_core::op::Op;
use naksi_core::tick::Tick;

use super::calendar::{Event, OpId};
use super::fault::FaultKind;
use super::iocp;
use super::net::Net;
use super::port_state::{Answer, End, Held, PortState, Raw, Stage, Submission, Target};
use super::state::Kernel;
use naksi_os::backend::HandleKind;
use naksi_os::backend::{Finished, Key};
use naksi_os::port::PollStatus;

impl Kernel {
    /// One wait of one port.
    pub(super) fn wait(
        &mut self,
        port: u32,
        caught: &mut Vec<Completion>,
        until: Option<Tick>,
    ) -> PollStatus {
        self.close_dropped();
        let state = self.port_state(port);
        state.totals.enters_total += 1;
        state.wake_at = None;
        // Where nothing is handed over, nothing is interrupted; nor, below, is a wake spurious where nothing is to
        // hand out.
        if !state.submissions.is_empty() && self.calendar.strike(FaultKind::EnterInterrupted) {
            self.interrupted(port);
            return PollStatus::Drained;
        }
        self.flush(port);
        if self.is_iocp() {
            self.top_up_all(port);
        }
        self.resume_starved(port);
        self.fetch_posts(port);
        let before = caught.len();
        let state = self.port_state(port);
        let anything = !state.local.is_empty() || !state.answers.is_empty();
        if anything && !self.calendar.strike(FaultKind::SpuriousWake) {
            let catch_max = self.port_state(port).catch_max;
            while caught.len() - before < catch_max {
                let state = self.port_state(port);
                let Some(answer) = state.local.pop_front().or_else(|| state.answers.pop_front()) else {
                    break;
                };
                if let Some(completion) = self.hand_out(port, answer) {
                    self.note_completion(&completion);
                    caught.push(completion);
                }
            }
        }
        let now = self.calendar.now();
        let state = self.port_state(port);
        state.assert_leases_balance();
        state.totals.completions_total += (caught.len() - before) as u64;
        // A wake-up time that has passed is no sleep: the worker looks again.
        state.asleep = caught.len() == before && until.is_none_or(|at| at > now);
        if state.asleep {
            state.wake_at = until;
        }
        let dry = caught.len() == before || (state.answers.is_empty() && state.local.is_empty());
        if dry { PollStatus::Drained } else { PollStatus::More }
    }

    /// The hand-over was interrupted or refused for now: every operation stays owned and in its place.
    fn interrupted(&mut self, port: u32) {
        let state = self.port_state(port);
        state.asleep = false;
    }

    /// Hands every operation in the submission queue to the kernel.
    pub(super) fn flush(&mut self, port: u32) {
        while let Some(submission) = self.port_state(port).submissions.pop_front() {
            match submission {
                Submission::Start(key) => self.start(OpId { port, key }),
                Submission::Cancel(key) => self.cancel(OpId { port, key }),
            }
        }
    }

    /// Gives the receives that found the pool empty another chance, one for each buffer at home.
    fn resume_starved(&mut self, port: u32) {
        let state = self.port_state(port);
        for _ in 0..state.starved.len().min(state.pool.at_home()) {
            let state = self.port_state(port);
            let (Some(key), Some(last)) = (state.starved.front().copied(), state.starved.back().copied())
            else {
                return;
            };
            let mut parked_as = |key| state.in_flight.running(key).map_or(0, |(_, held)| held.parked_as);
            assert!(
                parked_as(key) <= parked_as(last),
                "law 5: a receive overtook those that starved before it"
            );
            self.stir(OpId { port, key });
        }
    }

    fn fetch_posts(&mut self, port: u32) {
        let state = self.port_state(port);
        if state.posts_held || !state.posts.waiting() {
            return;
        }
        if self.calendar.strike(FaultKind::PostDelayed) {
            self.port_state(port).posts_held = true;
            let nanos = self.calendar.delay();
            return self.calendar.after(nanos, Event::PostsReleased { port });
        }
        if self.calendar.strike(FaultKind::UnknownCompletion) {
            let stray = self.stray(port);
            self.port_state(port).push(Answer::Stray(stray), false);
        }
        while let Some((token, value)) = self.port_state(port).posts.take() {
            let overtake = self.port_state(port).may_overtake(None)
                && self.calendar.strike(FaultKind::CompletionReordered);
            self.port_state(port).push(Answer::Post { token, value }, overtake);
        }
    }

    /// The key of a completion that belongs to no operation: mostly one whose slot another operation has by now.
    fn stray(&mut self, port: u32) -> Key {
        let (from, invented) = (self.calendar.prng.below(1 << 16), self.calendar.prng.chance(16_384));
        let stale = self.port_state(port).in_flight.stale(from as usize);
        stale.filter(|_| !invented).unwrap_or(Key::from_u64(u64::MAX))
    }

    /// Says an answer in the contract's words; nothing, if the port deals with it alone.
    fn hand_out(&mut self, port: u32, answer: Answer) -> Option<Completion> {
        match answer {
            Answer::Post { token, value } => {
                Some(Completion { token, done: Done::Posted(value), more: false })
            }
            Answer::Stray(key) => {
                // An unknown operation: it is ignored, and must not touch anything.
                let found = self.port_state(port).in_flight.finish(key);
                assert!(matches!(found, Finished::Unknown), "law 1: a stray completion ended an operation");
                None
            }
            Answer::Op { key, raw, end: End::Last } => Some(self.last(port, key, raw)),
            Answer::Op { key, raw, end } => self.goes_on(OpId { port, key }, raw, end),
        }
    }

    /// An answer after which the operation is not over.
    fn goes_on(&mut self, op: OpId, raw: Raw, end: End) -> Option<Completion> {
        if matches!(raw, Raw::Readable) {
            return self.harvest(op);
        }
        let starved = matches!(raw, Raw::Starved);
        let state = self.ports[op.port as usize].as_mut().expect("the port is open");
        let (_, held) = state.in_flight.running(op.key).expect("law 1: a completion after the last one");
        let (target, cancelled) = (held.target, held.cancelled);
        let completion = self.brought(op, target, raw);
        if end == End::More {
            return completion;
        }
        if cancelled {
            if completion.is_none() {
                return Some(self.end_cancelled(op, target));
            }
            self.set_stage(op, Stage::Armed);
            self.abort(op);
            return completion;
        }
        if starved {
            self.park(op);
        } else {
            let state = self.port_state(op.port);
            state.totals.rearmed_total += 1;
            if state.single_shot && end == End::Lost && completion.is_some() {
                // Asked for again only because its kernel lacks what others have.
                self.calendar.faults.note(FaultKind::FeatureMissing);
            }
            self.start(op);
        }
        completion
    }

    /// What an answer before the last brought, if it was anything.
    pub(super) fn brought(&mut self, op: OpId, target: Target, raw: Raw) -> Option<Completion> {
        let state = self.ports[op.port as usize].as_mut().expect("the port is open");
        let (token, _) = state.in_flight.running(op.key).expect("law 1: a completion after the last one");
        let done = success(state, &mut self.net, target, raw)?;
        Some(Completion { token, done, more: true })
    }

    /// The kernel has nothing left to cancel, so the port says the ending itself.
    pub(super) fn end_cancelled(&mut self, op: OpId, target: Target) -> Completion {
        self.detach(op, target);
        self.last(op.port, op.key, Raw::Ended(Ended::Aborted))
    }

    pub(super) fn set_stage(&mut self, op: OpId, stage: Stage) {
        if let Some((_, held)) = self.port_state(op.port).in_flight.running(op.key) {
            held.stage = stage;
        }
    }

    /// A receive waits inside the port until a buffer returns; one that we have shut down waits for none.
    pub(super) fn park(&mut self, op: OpId) {
        let state = self.ports[op.port as usize].as_mut().expect("the port is open");
        state.totals.starved_total += 1;
        let Some((_, held)) = state.in_flight.running(op.key) else { return };
        held.stage = Stage::Parked;
        held.parked_as = state.totals.starved_total;
        let target = held.target;
        state.starved.push_back(op.key);
        if let Target::Stream(id) = target
            && self.net.live(id).shut_read
        {
            self.stir(op);
        }
    }

    /// The one terminal completion of an operation.
    pub(super) fn last(&mut self, port: u32, key: Key, raw: Raw) -> Completion {
        let state = self.ports[port as usize].as_mut().expect("the port is open");
        let Finished::Wanted(token, held) = state.in_flight.finish(key) else {
            panic!("law 1: a second last completion, {raw:?}");
        };
        let raw = match raw {
            Raw::EndedWith(code) => Raw::Ended(iocp::ending_of(code, &held, &mut self.net)),
            raw => raw,
        };
        let named = state.names.remove(&token);
        assert!(named == Some(key), "law 1: the token names another operation");
        if let Some((handle, direction)) = held.direction {
            state.handles.end(handle, direction);
        }
        let done = conclude(state, &mut self.net, held, raw);
        Completion { token, done, more: false }
    }

    /// Mixes a completion into the trace.
    fn note_completion(&mut self, completion: &Completion) {
        let (kind, length): (u64, u64) = match &completion.done {
            Done::Accept(result) => (1, code(result.map(|_| 0))),
            Done::Connect(result) => (2, code(result.map(|_| 0))),
            Done::Recv(Ok(lease)) => (3, lease.len() as u64),
            Done::Recv(Err(ended)) => (3, code(Err(*ended))),
            Done::Send(_, result) => (4, code(*result)),
            Done::Shutdown(result) => (5, code(result.map(|()| 0))),
            Done::Close => (6, 0),
            Done::ReadAt(_, result) => (7, code(*result)),
            Done::WriteAt(_, result) => (8, code(*result)),
            Done::Sync(result) => (9, code(result.map(|()| 0))),
            Done::RecvFrom(_, result) => (10, code(result.map(|datagram| datagram.bytes))),
            Done::SendTo(_, result) => (11, code(*result)),
            Done::Timeout(result) => (12, code(result.map(|()| 0))),
            Done::Posted(value) => (13, *value),
        };
        self.calendar.tell(format_args!("{completion:?}"));
        self.calendar.note(completion.token.to_u64());
        self.calendar.note(kind << 1 | u64::from(completion.more) | length << 8);
    }
}

/// A result as a number, with endings far above any length.
fn code(result: Result<u32, Ended>) -> u64 {
    match result {
        Ok(length) => u64::from(length),
        Err(Ended::Closed) => 1 << 33,
        Err(Ended::Reset) => 1 << 34,
        Err(Ended::Aborted) => 1 << 35,
        Err(Ended::Failed(error)) => 1 << 36 | u64::from(error.code.unsigned_abs()),
    }
}

/// What an accept or a receive brought; nothing for an answer that only the port hears.
fn success(state: &mut PortState, net: &mut Net, target: Target, raw: Raw) -> Option<Done> {
    match raw {
        Raw::Data(buffer, length) => {
            state.with_kernel -= 1;
            let lease = state.pool.lend(buffer, length);
            if let Target::Stream(id) = target {
                net.live(id).inbox.take(&lease);
            }
            Some(Done::Recv(Ok(lease)))
        }
        Raw::Accepted(id, peer) => {
            let socket = state.handles.insert(HandleKind::Stream, Target::Stream(id));
            Some(Done::Accept(Ok(Accepted { socket, peer })))
        }
        Raw::Starved | Raw::AcceptAborted => None,
        other => unreachable!("{other:?} ends an operation"),
    }
}

/// What the last answer of an operation means, with what returns.
fn conclude(state: &mut PortState, net: &mut Net, held: Held, raw: Raw) -> Done {
    let target = held.target;
    match (held.op, raw) {
        (Op::Recv { .. }, Raw::Ended(ended)) => {
            if let (Ended::Closed, Target::Stream(id)) = (ended, target) {
                net.live(id).inbox.assert_complete();
            }
            Done::Recv(Err(ended))
        }
        (Op::Accept { .. }, Raw::Ended(ended)) => Done::Accept(Err(ended)),
        (Op::Recv { .. } | Op::Accept { .. }, raw) => {
            success(state, net, target, raw).expect("a last answer is a success or an ending")
        }
        (Op::Connect { .. }, Raw::Connected(id, local)) => {
            let socket = state.handles.insert(HandleKind::Stream, Target::Stream(id));
            Done::Connect(Ok(Connected { socket, local }))
        }
        (Op::Connect { .. }, raw) => Done::Connect(Err(ending(raw))),
        (Op::Send { batch, .. }, raw) => {
            let result = count(raw);
            if let Ok(sent) = result {
                assert!(sent > 0 && sent as usize <= batch.bytes(), "law 7: a send took {sent} bytes");
            }
            Done::Send(batch, result)
        }
        (Op::Shutdown { .. }, raw) => Done::Shutdown(nothing(raw)),
        (Op::Close { .. }, _) => Done::Close,
        (Op::ReadAt { buffer, .. }, raw) => Done::ReadAt(buffer, count(raw)),
        (Op::WriteAt { bytes, .. }, raw) => Done::WriteAt(bytes, count(raw)),
        (Op::Sync { .. }, raw) => Done::Sync(nothing(raw)),
        (Op::RecvFrom { buffer, .. }, Raw::Datagram(datagram)) => Done::RecvFrom(buffer, Ok(datagram)),
        (Op::RecvFrom { buffer, .. }, raw) => Done::RecvFrom(buffer, Err(ending(raw))),
        (Op::SendTo { bytes, .. }, raw) => Done::SendTo(bytes, count(raw)),
        (Op::Timeout { .. }, raw) => Done::Timeout(nothing(raw)),
    }
}

fn ending(raw: Raw) -> Ended {
    match raw {
        Raw::Ended(ended) => ended,
        other => unreachable!("{other:?} is no ending"),
    }
}

fn nothing(raw: Raw) -> Result<(), Ended> {
    match raw {
        Raw::Nothing => Ok(()),
        other => Err(ending(other)),
    }
}

fn count(raw: Raw) -> Result<u32, Ended> {
    match raw {
        Raw::Count(count) => Ok(count),
        other => Err(ending(other)),
    }
}
