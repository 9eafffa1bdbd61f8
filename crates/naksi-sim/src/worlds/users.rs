//! The sessions of a run: an echo of bytes, an echo of frames that does a little of everything, and a caller.
//!
//! A frame's id says what the server does beside echoing it. Nothing here knows a port or a peer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use naksi::prelude::*;
use naksi_core::send_queue::SendStatus;

use super::files::FileCheck;
use super::groups;
use super::hazard::Hazard;
use super::observations::{Observations, ObservedSession};
use super::shared_room::SharedRoom;

/// The frame that makes the handler panic.
pub const BOMB: u16 = 0xB0B;
/// The bytes that make the raw handler panic.
pub const BOMB_BYTES: &[u8] = b"\xB0\xB0\xB0\xB0";
/// Join the room and tell it something.
pub const ROOM: u16 = 0x200;
/// Leave the room.
pub const LEAVE: u16 = 0x201;
/// Write a file, read it back, close it.
pub const FILE: u16 = 0x202;
/// Ask the database.
pub const ASK_GROUP: u16 = 0x203;
/// Set a timer and take it back.
pub const TIMER: u16 = 0x204;
/// End at once.
pub const SLAM: u16 = 0x205;
/// Say goodbye in order.
pub const BYE: u16 = 0x206;
/// Join the room's topic, tell it something and leave it, all at once.
pub const VISIT: u16 = 0x207;
/// From now on have replies wait for ticks, but for this one.
pub const FLUSH: u16 = 0x208;
/// Join the topic of those that stay.
pub const ENLIST: u16 = 0x209;
/// Tell the others in that topic something.
pub const HAIL: u16 = 0x20A;
/// Be sent data that may be missed.
pub const DATA: u16 = 0x20B;
/// Be sent more data than may wait, of a class that ends the session.
pub const GLUT: u16 = 0x20C;
/// Join the room and be put out by it.
pub const DISMISS: u16 = 0x20D;
/// Queue more than a queue may hold.
pub const BLAST: u16 = 0x20E;
/// From the server: what a member sent to the room.
pub const SAID: u16 = 0x300;
/// From the server: the database's answer, with the name of the session that asked.
pub const ANSWER: u16 = 0x301;
/// From the server, and wrong: it was meant for a session that has ended.
pub const STALE: u16 = 0x302;
/// From the server: filling.
pub const CHAFF: u16 = 0x303;
/// From the server: the room's number of a member's message.
pub const NUMBERED: u16 = 0x304;
/// From the server: what a session told the others in the topic of those that stay, or another thread.
pub const HAILED: u16 = 0x305;
/// From the server: data that may be missed.
pub const DATUM: u16 = 0x306;
/// From the server: a room has put the session out.
pub const DISMISSED: u16 = 0x307;
/// From the server: another member's message to a room, and its sender.
pub const OVERHEARD: u16 = 0x308;
/// The number of the room.
pub const ROOM_NUMBER: u64 = 1 << 60;
/// The number of the topic of those that stay.
pub const STAYERS_NUMBER: u64 = 1 << 61;
/// The sender of what another thread says to that topic.
pub const ELSEWHERE: u64 = u64::MAX;

/// Of so many keys the latest value is sent.
pub const LATEST_KEYS: u8 = 3;
/// Data of which only the latest value of each key matters.
pub const LATEST: PacketClass = PacketClass { number: 1, lag_policy: LagPolicy::Latest };
const DROP_OLD: PacketClass = PacketClass { number: 2, lag_policy: LagPolicy::DropOld };
const DROP_NEW: PacketClass = PacketClass { number: 3, lag_policy: LagPolicy::DropNew };
const END: PacketClass = PacketClass { number: 4, lag_policy: LagPolicy::End };
/// How often a request for data brings a value of each key and class.
const DATA_ROUNDS: u32 = 8;
/// Bytes of data that may wait for a session in these runs.
pub const DATA_BYTES_MAX: usize = 1024;
/// Messages of data that may wait for a session in these runs.
pub const DATA_ENTRIES_MAX: usize = 16;
/// The tick of a session that asked for one.
const OWN_TICK: Duration = Duration::from_millis(100);

/// Most bytes that a session's send queue holds in these runs.
pub const QUEUE_BYTES_MAX: usize = 8 * 1024;

/// The longest frame of these runs.
pub const FRAME_BYTES_MAX: usize = 4096;

const FIRED: u32 = 7;
const TAKEN_BACK: u32 = 8;
/// Asks a group for an answer.
const QUESTIONS_AT_ONCE: u32 = 4;

/// A frame of this number around a short body.
///
/// # Panics
/// The body is longer than a frame.
pub fn packet(id: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = naksi_core::frame::header(id, body.len()).expect("a short body").to_vec();
    bytes.extend_from_slice(body);
    bytes
}

/// Makes a server's sessions.
pub struct Host {
    /// Where they write.
    pub observations: Arc<Observations>,
    /// Frames and bytes that each of them may be shown in a second; 0 is no limit.
    pub rates: (u32, usize),
    /// Nothing goes wrong and no turn is slow: what leaves at once is taken at once.
    pub is_prompt: bool,
}

impl Host {
    fn is_stormy(&self) -> bool {
        self.observations.stormy.load(Ordering::Relaxed)
    }

    /// Every so many sessions of a stormy server end inside a callback.
    fn moody(&self, arrival: &ConnectionInfo) -> bool {
        self.is_stormy() && arrival.index % 61 == 7
    }

    fn book(&self, arrival: &ConnectionInfo) -> ObservedSession {
        if self.is_stormy() && arrival.index % 97 == 5 {
            self.observations.hit(Hazard::L11);
            panic!("no memory for a session, on purpose");
        }
        ObservedSession::new(&self.observations)
    }
}

/// What one session was shown, for its rates.
#[derive(Default)]
struct Meter {
    rates: (u32, usize),
    messages: u64,
    bytes: u64,
    /// When the first of it was shown.
    since: Option<Tick>,
}

impl Meter {
    fn new(rates: (u32, usize)) -> Self {
        Self { rates, ..Self::default() }
    }

    /// So much more was shown. What came before it is within the rate and a second's burst; the last may go beyond.
    fn check(&mut self, messages: u64, bytes: usize, c: &Conn<'_>, observations: &Observations) {
        if self.rates == (0, 0) {
            return;
        }
        let since = *self.since.get_or_insert(c.now());
        let nanos = c.now().nanos() - since.nanos() + 1_000_000_000;
        for (what, count, rate) in
            [("frames", self.messages, u64::from(self.rates.0)), ("bytes", self.bytes, self.rates.1 as u64)]
        {
            if rate > 0 && count > rate * nanos / 1_000_000_000 {
                observations
                    .break_law(format!("law 9: {count} {what} and more in {nanos} ns at {rate} a second"));
            }
        }
        self.messages += messages;
        self.bytes += bytes as u64;
    }
}

/// Echoes bytes.
pub struct RawEcho {
    observed: ObservedSession,
    moody: bool,
    meter: Meter,
}

impl RawEcho {
    /// A session for this arrival.
    pub fn new(host: &Host, arrival: &ConnectionInfo) -> Self {
        Self { observed: host.book(arrival), moody: host.moody(arrival), meter: Meter::new(host.rates) }
    }
}

impl Session for RawEcho {
    fn on_connected(&mut self, c: &mut Conn<'_>) {
        self.observed.connect(c, true);
        if self.moody {
            self.observed.observations.hit(Hazard::L3);
            c.close(DisconnectReason::Handler);
        }
    }

    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        self.observed.alive();
        assert!(!data.windows(BOMB_BYTES.len()).any(|bytes| bytes == BOMB_BYTES), "a bomb, on purpose");
        self.meter.check(0, data.len(), c, &self.observed.observations);
        c.send(data);
        check_queue(&self.observed.observations, c);
        data.len()
    }

    fn on_sent(&mut self, _: &mut Conn<'_>, bytes: usize) {
        self.observed.alive();
        if bytes == 0 {
            self.observed.observations.break_law("nothing sent is nothing to tell");
        }
    }

    fn on_disconnected(&mut self, reason: DisconnectReason) {
        self.observed.disconnect(reason);
    }
}

fn check_queue(observations: &Observations, c: &Conn<'_>) {
    if c.pending_bytes() > QUEUE_BYTES_MAX {
        observations.break_law(format!("law 9: {} bytes are queued", c.pending_bytes()));
    }
    let pending = c.pending();
    if pending.data_bytes > DATA_BYTES_MAX || pending.data_entries > DATA_ENTRIES_MAX {
        observations.break_law(format!("law 9: more data waits than may: {pending:?}"));
    }
}

/// Echoes frames and does what they ask for.
pub struct FrameEcho {
    observed: ObservedSession,
    moody: bool,
    /// What it told the room.
    said: u32,
    /// Data that it was sent.
    data: u32,
    file: FileCheck,
    /// Nothing is slow, so that what was flushed is soon sent.
    is_prompt: bool,
    /// Its replies wait for ticks.
    has_ticks: bool,
    /// When something of what is queued has to be sent, where nothing is slow.
    due: Option<Tick>,
    /// Beats as long as this value lives.
    heart: Arc<()>,
    meter: Meter,
}

impl FrameEcho {
    /// A session for this arrival.
    pub fn new(host: &Host, arrival: &ConnectionInfo) -> Self {
        Self {
            observed: host.book(arrival),
            moody: host.moody(arrival),
            said: 0,
            data: 0,
            file: FileCheck::default(),
            is_prompt: host.is_prompt,
            has_ticks: false,
            due: None,
            heart: Arc::default(),
            meter: Meter::new(host.rates),
        }
    }

    fn obey(&mut self, c: &mut Conn<'_>, id: u16) {
        match id {
            ROOM => {
                self.tell_the_topic(c);
                self.observed.observations.hit(Hazard::O5);
            }
            VISIT => {
                let room = self.tell_the_topic(c);
                c.leave(&room);
            }
            FLUSH => {
                c.set_flush(Flush::Every(OWN_TICK));
                c.flush();
                self.has_ticks = true;
                self.due = self.is_prompt.then(|| c.now() + OWN_TICK / 2);
                self.observed.observations.hit(Hazard::O8);
            }
            ENLIST => {
                let topic = c.topic(STAYERS_NUMBER);
                c.join(&topic);
            }
            HAIL => {
                let topic = c.topic(STAYERS_NUMBER);
                c.broadcast_others(&topic, &packet(HAILED, &c.id().to_u64().to_le_bytes()));
            }
            DATA => self.send_droppable(c),
            GLUT => self.send_a_glut(c),
            LEAVE => {
                let room = c.topic(ROOM_NUMBER);
                c.leave(&room);
            }
            FILE => FileCheck::begin(c),
            ASK_GROUP => match c.group(groups::DB) {
                // Several at once, so that a group's queue is full now and then.
                Some(db) => (0..QUESTIONS_AT_ONCE)
                    .for_each(|_| groups::ask(&db, c, &self.observed.observations, &self.heart)),
                None => self.observed.observations.shared().asked.push_back(c.id()),
            },
            TIMER => {
                let key = c.after(Duration::from_millis(5), TAKEN_BACK);
                c.after(Duration::from_millis(10), FIRED);
                if !c.cancel_timer(key) {
                    self.observed.observations.break_law("a timer fired before its time");
                }
                self.observed.observations.hit(Hazard::L10);
            }
            SLAM => {
                self.observed.observations.hit(Hazard::L1);
                c.abort(DisconnectReason::Handler);
            }
            BYE => {
                self.observed.observations.hit(Hazard::L2);
                c.close(DisconnectReason::Handler);
                if c.send(b"too late") != SendStatus::Closed {
                    self.observed.observations.break_law("bytes were queued after the end");
                }
            }
            BLAST => (0..20).for_each(|_| {
                c.send_packet(CHAFF, &[0; 1000]);
            }),
            _ => {}
        }
    }
}

impl FrameEcho {
    /// Joins the room's topic and tells it something, with the moment at which that was.
    fn tell_the_topic(&mut self, c: &mut Conn<'_>) -> Topic {
        let room = c.topic(ROOM_NUMBER);
        c.join(&room);
        self.observed.joined_topic();
        self.said += 1;
        let mut body = c.id().to_u64().to_le_bytes().to_vec();
        body.extend(self.said.to_le_bytes());
        body.extend(self.observed.observations.moments.fetch_add(1, Ordering::Relaxed).to_le_bytes());
        c.broadcast_packet(&room, SAID, &body);
        room
    }

    /// What is queued waits for a tick, and leaves with it.
    fn expect_a_tick(&mut self, c: &Conn<'_>) {
        if self.has_ticks && self.is_prompt {
            self.due.get_or_insert(c.now() + 5 * OWN_TICK);
        }
    }

    /// Sends data of classes that the session may miss, each value newer than the one before.
    fn send_droppable(&mut self, c: &mut Conn<'_>) {
        self.observed.observations.hit(Hazard::O6);
        let first = self.data;
        self.data += DATA_ROUNDS;
        for round in 1..=DATA_ROUNDS {
            for key in 0..LATEST_KEYS {
                let bytes = datum(LATEST, key, round == DATA_ROUNDS, first + round);
                c.send_droppable(LATEST, key.into(), &bytes);
            }
        }
        for class in [DROP_OLD, DROP_NEW] {
            for round in 1..=DATA_ROUNDS {
                c.send_droppable(class, 0, &datum(class, 0, false, first + round));
            }
        }
    }

    /// Sends data of a class that ends the session until that is so.
    fn send_a_glut(&mut self, c: &mut Conn<'_>) {
        let bytes = datum(END, 0, false, 0);
        let most = (DATA_BYTES_MAX + QUEUE_BYTES_MAX) / bytes.len() + 1;
        let refused =
            (0..most).map(|_| c.send_droppable(END, 0, &bytes)).find(|sent| *sent != SendStatus::Queued);
        if !matches!(refused, Some(SendStatus::Overflowed | SendStatus::Closed)) || c.is_open() {
            self.observed
                .observations
                .break_law(format!("law 9: data that may not be missed has no end: {refused:?}"));
        }
    }

    /// What the room has to do with a packet.
    fn meet(&mut self, c: &mut Conn<'_>, packet: Packet<'_>) {
        if ![ROOM, LEAVE, DISMISS].contains(&packet.id) {
            return;
        }
        let shared_room = SharedRoom::find(&self.observed.observations, c);
        if packet.id == LEAVE {
            c.leave_room(&shared_room);
        } else {
            c.join_room(&shared_room, c.id());
            c.room_send_packet(&shared_room, packet);
        }
    }
}

/// A frame of data: its class, its key, whether it is the last of its kind, and how new it is.
fn datum(class: PacketClass, key: u8, is_last: bool, number: u32) -> Bytes {
    let mut body = vec![class.number, key, u8::from(is_last)];
    body.extend(number.to_le_bytes());
    // Short ones would fit where long ones wait.
    if class == LATEST || number.is_multiple_of(2) {
        body.resize(48, 0);
    }
    Bytes::from(packet(DATUM, &body))
}

impl Session for FrameEcho {
    const FRAMING: Framing = Framing::Packets;

    fn on_connected(&mut self, c: &mut Conn<'_>) {
        self.observed.connect(c, true);
        // A topic of one: what is broadcast to it must arrive in its place, as if it were sent.
        let topic = c.topic(c.id().to_u64());
        c.join(&topic);
    }

    fn on_packet(&mut self, c: &mut Conn<'_>, packet: Packet<'_>) {
        self.observed.alive();
        self.meter.check(1, packet.frame.len(), c, &self.observed.observations);
        assert!(packet.id != BOMB, "a bomb, on purpose");
        if self.moody {
            self.observed.observations.hit(Hazard::L3);
            return c.close(DisconnectReason::Handler);
        }
        if packet.frame.len() > FRAME_BYTES_MAX {
            self.observed.observations.break_law("a frame over the limit was shown");
        }
        if packet.id > BLAST {
            return c.abort(DisconnectReason::Protocol);
        }
        if packet.id.is_multiple_of(2) {
            c.send(packet.frame);
        } else {
            let topic = c.topic(c.id().to_u64());
            c.broadcast(&topic, packet.frame);
        }
        self.expect_a_tick(c);
        self.obey(c, packet.id);
        self.meet(c, packet);
        check_queue(&self.observed.observations, c);
    }

    fn on_sent(&mut self, c: &mut Conn<'_>, _: usize) {
        if let Some(due) = self.due.take().filter(|due| *due < c.now()) {
            self.observed
                .observations
                .break_law(format!("what waits for a tick left {:?} late", c.now().since(due)));
        }
        if c.pending_bytes() > 0 {
            self.expect_a_tick(c);
        }
    }

    fn on_room_closed(&mut self, c: &mut Conn<'_>, _: u64, why: RoomCloseReason) {
        self.observed.alive();
        if why == RoomCloseReason::Removed {
            c.send_packet(DISMISSED, &[]);
        }
    }

    fn on_timer(&mut self, _: &mut Conn<'_>, tag: u32) {
        self.observed.alive();
        if tag != FIRED {
            self.observed.observations.break_law("a timer fired that was taken back");
        }
    }

    fn on_file(&mut self, c: &mut Conn<'_>, done: FileDone<'_>) {
        self.observed.alive();
        self.file.go_on(c, &done, &self.observed.observations);
    }

    fn on_disconnected(&mut self, reason: DisconnectReason) {
        self.observed.disconnect(reason);
    }
}

/// The engine's own client: says something a few times, checks every echo, goes.
pub struct Caller {
    observed: ObservedSession,
    said: Vec<u8>,
    heard: usize,
    rounds: u64,
}

impl Caller {
    /// A session for this arrival.
    pub fn new(arrival: &ConnectionInfo, talk: u64, observations: &Arc<Observations>) -> Self {
        let body = vec![(arrival.index % 170) as u8; 20 + arrival.index as usize % 60];
        let said = packet(2, &body);
        Self {
            observed: ObservedSession::new(observations),
            said,
            heard: 0,
            rounds: arrival.index % 10 * talk,
        }
    }
}

impl Session for Caller {
    fn on_connected(&mut self, c: &mut Conn<'_>) {
        self.observed.connect(c, false);
        c.send(&self.said);
    }

    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        self.observed.alive();
        if Some(data) != self.said.get(self.heard..self.heard + data.len()) {
            self.observed.observations.break_law("law 7: what comes back is not what was sent");
        }
        self.heard += data.len();
        if self.heard >= self.said.len() && self.rounds > 0 {
            self.rounds -= 1;
            self.heard = 0;
            c.send(&self.said);
        } else if self.heard >= self.said.len() {
            c.close(DisconnectReason::Handler);
        }
        data.len()
    }

    fn on_disconnected(&mut self, reason: DisconnectReason) {
        self.observed.disconnect(reason);
    }
}
