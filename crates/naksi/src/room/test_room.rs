//! A room in a unit test, without a server: fake sessions, and a clock that the test moves.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use naksi_core::frame;
use naksi_core::id::SessionId;
use naksi_core::reason::DisconnectReason;
use naksi_core::tick::Tick;

use super::event::RoomSink;
use super::mailbox::{Charge, Job, Site};
use super::output::{Part, RoomOutput, Undelivered};
use super::{
    Batch, Cx, DynRoom, Event, LeaveReason, Room, RoomCell, RoomCloseReason, RoomCounters, RoomOptions,
    RoomStats,
};
use crate::packets::{Message, decode, encode};

/// A room without a service: every call is processed at once, on the calling thread.
///
/// ```
/// use naksi::prelude::*;
/// struct Echo;
/// impl Room for Echo {
///     type Member = ();
///     fn on_packet(&mut self, cx: &mut Cx<'_, Self>, from: SessionId, packet: Packet<'_>) {
///         cx.send_packet(from, packet.id, packet.body);
///     }
/// }
/// let mut room = TestRoom::new(Echo, RoomOptions::new());
/// let anna = room.join(());
/// room.packet(anna, 7, b"hello");
/// assert_eq!(room.received(anna), [(7, b"hello".to_vec())]);
/// ```
pub struct TestRoom<R: Room> {
    cell: Arc<RoomCell<R>>,
    counters: Arc<RoomCounters>,
    now: Tick,
    tickets: u32,
    sink: TestSink,
}

/// What became of a fake session.
#[derive(Debug, Default)]
struct Fake {
    ticket: u32,
    member: bool,
    bytes: Vec<u8>,
    ended: Option<DisconnectReason>,
    put_out: Option<RoomCloseReason>,
}

#[derive(Default)]
struct TestSink(Mutex<BTreeMap<SessionId, Fake>>);

impl<R: Room> TestRoom<R> {
    /// A newly opened room, at tick zero.
    ///
    /// # Panics
    /// If the options are invalid.
    pub fn new(room: R, options: RoomOptions) -> Self {
        assert_eq!(options.check().err(), None, "the options make no sense");
        let counters: Arc<RoomCounters> = Arc::default();
        let site = Site { number: 1, home: 0, group: None, counters: Arc::clone(&counters), service: None };
        let cell = RoomCell::new(room, options, site);
        let mut test = Self { cell, counters, now: Tick::ZERO, tickets: 0, sink: TestSink::default() };
        test.bring(Job::Wake);
        test
    }

    /// A new session joins.
    pub fn join(&mut self, data: R::Member) -> SessionId {
        self.tickets += 1;
        let (id, ticket) = (SessionId::new(0, self.tickets, 0), self.tickets);
        self.sink.fakes().insert(id, Fake { ticket, ..Fake::default() });
        self.bring_event(Event::Join { id, ticket, data: Box::new(data) }, &[]);
        id
    }

    /// A session leaves.
    pub fn leave(&mut self, id: SessionId) {
        self.go(id, LeaveReason::Asked);
    }

    /// A session disconnects.
    pub fn die(&mut self, id: SessionId, reason: DisconnectReason) {
        self.go(id, LeaveReason::Disconnected(reason));
    }

    /// Delivers a packet from a session.
    ///
    /// # Panics
    /// If the body fits no frame.
    pub fn packet(&mut self, from: SessionId, id: u16, body: &[u8]) {
        let header = frame::header(id, body.len()).expect("a body of at most 65,531 bytes");
        let frame = [&header, body].concat();
        let event = Event::Packet { from, ticket: self.ticket(from), bytes: frame.len() as u32 };
        self.bring_event(event, &frame);
    }

    /// Delivers a message from a session.
    ///
    /// # Panics
    /// If it fits no frame.
    pub fn send<M: Message>(&mut self, from: SessionId, message: &M) {
        let frame = encode(message).expect("a message of at most 65,531 bytes");
        self.packet(from, M::ID, &frame[frame::HEADER_BYTES..]);
    }

    /// Takes the session's output and returns the messages of this type in it; others are discarded.
    ///
    /// # Panics
    /// If one of them cannot be decoded.
    pub fn heard<M: Message>(&mut self, id: SessionId) -> Vec<M> {
        let frames = self.received(id).into_iter().filter(|(id, _)| *id == M::ID);
        frames.map(|(_, body)| decode(&body).expect("what a room sends can be read")).collect()
    }

    /// Calls into the room, as with [`RoomRef::call`](super::RoomRef::call).
    pub fn call(&mut self, call: impl FnOnce(&mut R, &mut Cx<'_, R>) + Send + 'static) {
        self.bring(Job::Call(Box::new(call), Charge::default()));
    }

    /// Advances the clock: timers and ticks are called when they are due, one after the other.
    pub fn advance(&mut self, span: Duration) {
        let until = self.now + span;
        while let Some(next) = self.next().filter(|next| *next <= until) {
            self.now = self.now.max(next);
            self.bring(Job::Wake);
        }
        self.now = until;
        self.bring(Job::Wake);
    }

    /// Advances the clock in one step: what is due in between is called late.
    pub fn stall(&mut self, span: Duration) {
        self.now = self.now + span;
        self.bring(Job::Wake);
    }

    /// Ends the room in order.
    pub fn close(&mut self) {
        self.bring(Job::Close(RoomCloseReason::Closed));
    }

    /// Whether the room is over.
    pub fn is_closed(&self) -> bool {
        self.cell.is_closed()
    }

    /// Inspects the room.
    ///
    /// # Panics
    /// If the room has ended.
    pub fn look<T>(&self, look: impl FnOnce(&R) -> T) -> T {
        let inside = self.cell.inside.lock().unwrap_or_else(PoisonError::into_inner);
        look(inside.body.room().expect("the room is open"))
    }

    /// Takes the frames that a session was sent: id and body.
    ///
    /// # Panics
    /// If the output does not consist of frames.
    pub fn received(&mut self, id: SessionId) -> Vec<(u16, Vec<u8>)> {
        let bytes = self.received_bytes(id);
        let (mut rest, mut frames) = (&bytes[..], Vec::new());
        while !rest.is_empty() {
            let packet = frame::first(rest, usize::MAX).ok().flatten().expect("whole frames");
            frames.push((packet.id, packet.body.to_vec()));
            rest = &rest[packet.frame.len()..];
        }
        frames
    }

    /// Takes the bytes that a session was sent.
    pub fn received_bytes(&mut self, id: SessionId) -> Vec<u8> {
        self.sink.fakes().get_mut(&id).map(|fake| std::mem::take(&mut fake.bytes)).unwrap_or_default()
    }

    /// Why the room ended a session, if it did.
    pub fn ended(&self, id: SessionId) -> Option<DisconnectReason> {
        self.sink.fakes().get(&id).and_then(|fake| fake.ended.clone())
    }

    /// Why a session was removed from the room, if it was.
    pub fn put_out(&self, id: SessionId) -> Option<RoomCloseReason> {
        self.sink.fakes().get(&id).and_then(|fake| fake.put_out)
    }

    /// What was counted.
    pub fn stats(&self) -> RoomStats {
        self.counters.stats()
    }

    fn next(&self) -> Option<Tick> {
        self.cell.inside.lock().unwrap_or_else(PoisonError::into_inner).body.scene.timers.next()
    }

    fn ticket(&self, id: SessionId) -> u32 {
        self.sink.fakes().get(&id).map_or(0, |fake| fake.ticket)
    }

    fn go(&mut self, id: SessionId, why: LeaveReason) {
        let ticket = self.ticket(id);
        if let Some(fake) = self.sink.fakes().get_mut(&id) {
            fake.member = false;
        }
        self.bring_event(Event::Leave { id, ticket, why }, &[]);
    }

    fn bring_event(&mut self, event: Event, frame: &[u8]) {
        let mut batch = Batch { events: vec![event], ..Batch::default() };
        batch.frames.extend_from_slice(frame);
        let is_ours = self.cell.push(batch);
        self.run(is_ours);
    }

    fn bring(&mut self, job: Job<R>) {
        let is_ours = self.cell.put(job);
        self.run(is_ours);
    }

    fn run(&mut self, is_ours: bool) {
        // Another thread that calls into the room may hold the claim for a moment and release it without having run.
        while !is_ours && !self.cell.claim() {
            std::thread::yield_now();
        }
        let now = self.now;
        while DynRoom::run(Arc::clone(&self.cell), &|| now, &self.sink) {}
    }
}

impl<R: Room> fmt::Debug for TestRoom<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TestRoom({:?})", self.now)
    }
}

impl TestSink {
    fn fakes(&self) -> MutexGuard<'_, BTreeMap<SessionId, Fake>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RoomSink for TestSink {
    fn post(&self, room_output: RoomOutput) -> Option<Undelivered> {
        let bytes =
            |range: &std::ops::Range<u32>| &room_output.bytes[range.start as usize..range.end as usize];
        let mut fakes = self.fakes();
        for part in &room_output.parts {
            match part {
                Part::All(..) | Part::Others(..) | Part::One(..) | Part::Data(..) => {
                    let members = fakes.iter_mut().filter(|(_, fake)| fake.member);
                    for (id, fake) in members {
                        match part {
                            Part::All(range, _) => fake.bytes.extend_from_slice(bytes(range)),
                            Part::Others(but, range) if but != id => {
                                fake.bytes.extend_from_slice(bytes(range))
                            }
                            // A fake session keeps up.
                            Part::Data(to, _, _, range) if to.is_none_or(|(to, _)| to == *id) => {
                                fake.bytes.extend_from_slice(bytes(range));
                            }
                            Part::One(to, _, range, _) if to == id => {
                                fake.bytes.extend_from_slice(bytes(range));
                            }
                            _ => {}
                        }
                    }
                }
                Part::Admit(id, _) => {
                    fakes.entry(*id).or_default().member = true;
                }
                // A fake session has no peer that could close, and is never held back.
                Part::Answered(..) | Part::Taken(..) => {}
                Part::PutOut(id, _, why) => {
                    let fake = fakes.entry(*id).or_default();
                    (fake.member, fake.put_out) = (false, Some(*why));
                }
                Part::End(id, _, reason) => {
                    let fake = fakes.entry(*id).or_default();
                    (fake.member, fake.ended) = (false, Some(reason.clone()));
                }
                Part::CloseAndEnd(_) => unreachable!("a fake session keeps up"),
                Part::Close(why) => {
                    for fake in fakes.values_mut().filter(|fake| fake.member) {
                        (fake.member, fake.put_out) = (false, Some(*why));
                    }
                }
            }
        }
        None
    }

    fn set_wake_timer(&self, _room: Arc<dyn DynRoom>, _at: Tick) {}

    fn closed(&self, _room: u64) {}
}
