//! The sessions of a run: an echo of bytes, an echo of frames that does a little of everything, and a caller.
//!
//! A frame's id says what the server does beside echoing it. Nothing here knows a port or a peer.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use naksi::prelude::*;
use naksi_core::send_queue::SendStatus;

use super::books::{Booked, Books};
use super::hall::Hall;
use super::hazard::Hazard;
use super::stages;

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
pub const ERRAND: u16 = 0x203;
/// Set a timer and take it back.
pub const TIMER: u16 = 0x204;
/// End at once.
pub const SLAM: u16 = 0x205;
/// Say goodbye in order.
pub const BYE: u16 = 0x206;
/// Queue more than a queue may hold.
pub const BLAST: u16 = 0x207;
/// From the server: what somebody told the room.
pub const SAID: u16 = 0x300;
/// From the server: the database's answer, with the name of the session that asked.
pub const ANSWER: u16 = 0x301;
/// From the server, and wrong: it was meant for somebody who is gone.
pub const STALE: u16 = 0x302;
/// From the server: filling.
pub const CHAFF: u16 = 0x303;
/// From the server: the room has heard somebody, and this is the number of it.
pub const NUMBERED: u16 = 0x304;
/// The number of the room.
pub const ROOM_NUMBER: u64 = 1 << 60;

/// Most bytes that a session's send queue holds in these runs.
pub const QUEUE_BYTES_MAX: usize = 8 * 1024;

/// The longest frame of these runs.
pub const FRAME_BYTES_MAX: usize = 4096;

const FIRED: u32 = 7;
const TAKEN_BACK: u32 = 8;
/// What an errand asks of a stage.
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
    pub books: Arc<Books>,
    /// Frames and bytes that each of them may be shown in a second; 0 is no limit.
    pub rates: (u32, usize),
}

impl Host {
    fn is_stormy(&self) -> bool {
        self.books.stormy.load(Ordering::Relaxed)
    }

    /// Every so many sessions of a stormy server end inside a callback.
    fn moody(&self, arrival: &ConnectionInfo) -> bool {
        self.is_stormy() && arrival.index % 61 == 7
    }

    fn book(&self, arrival: &ConnectionInfo) -> Booked {
        if self.is_stormy() && arrival.index % 97 == 5 {
            self.books.hit(Hazard::L11);
            panic!("no memory for a session, on purpose");
        }
        Booked::new(&self.books)
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
    fn check(&mut self, messages: u64, bytes: usize, c: &Conn<'_>, books: &Books) {
        if self.rates == (0, 0) {
            return;
        }
        let since = *self.since.get_or_insert(c.now());
        let nanos = c.now().nanos() - since.nanos() + 1_000_000_000;
        for (what, count, rate) in
            [("frames", self.messages, u64::from(self.rates.0)), ("bytes", self.bytes, self.rates.1 as u64)]
        {
            if rate > 0 && count > rate * nanos / 1_000_000_000 {
                books.break_law(format!("law 9: {count} {what} and more in {nanos} ns at {rate} a second"));
            }
        }
        self.messages += messages;
        self.bytes += bytes as u64;
    }
}

/// Echoes bytes.
pub struct RawEcho {
    booked: Booked,
    moody: bool,
    meter: Meter,
}

impl RawEcho {
    /// A session for this arrival.
    pub fn new(host: &Host, arrival: &ConnectionInfo) -> Self {
        Self { booked: host.book(arrival), moody: host.moody(arrival), meter: Meter::new(host.rates) }
    }
}

impl Session for RawEcho {
    fn on_connected(&mut self, c: &mut Conn<'_>) {
        self.booked.connect(c, true);
        if self.moody {
            self.booked.books.hit(Hazard::L3);
            c.close(DisconnectReason::Handler);
        }
    }

    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        self.booked.alive();
        assert!(!data.windows(BOMB_BYTES.len()).any(|bytes| bytes == BOMB_BYTES), "a bomb, on purpose");
        self.meter.check(0, data.len(), c, &self.booked.books);
        c.send(data);
        check_queue(&self.booked.books, c);
        data.len()
    }

    fn on_sent(&mut self, _: &mut Conn<'_>, bytes: usize) {
        self.booked.alive();
        if bytes == 0 {
            self.booked.books.break_law("nothing sent is nothing to tell");
        }
    }

    fn on_disconnected(&mut self, reason: DisconnectReason) {
        self.booked.disconnect(reason);
    }
}

fn check_queue(books: &Books, c: &Conn<'_>) {
    if c.pending_bytes() > QUEUE_BYTES_MAX {
        books.break_law(format!("law 9: {} bytes are queued", c.pending_bytes()));
    }
}

/// Echoes frames and does what they ask for.
pub struct FrameEcho {
    booked: Booked,
    moody: bool,
    /// What it told the room.
    said: u32,
    file: Option<FileId>,
    /// Beats as long as this value lives.
    heart: Arc<()>,
    meter: Meter,
}

impl FrameEcho {
    /// A session for this arrival.
    pub fn new(host: &Host, arrival: &ConnectionInfo) -> Self {
        Self {
            booked: host.book(arrival),
            moody: host.moody(arrival),
            said: 0,
            file: None,
            heart: Arc::default(),
            meter: Meter::new(host.rates),
        }
    }

    fn obey(&mut self, c: &mut Conn<'_>, id: u16) {
        match id {
            ROOM => {
                let room = c.topic(ROOM_NUMBER);
                c.join(&room);
                self.said += 1;
                let mut body = c.id().to_u64().to_le_bytes().to_vec();
                body.extend(self.said.to_le_bytes());
                c.broadcast_packet(&room, SAID, &body);
                self.booked.books.hit(Hazard::O5);
            }
            LEAVE => {
                let room = c.topic(ROOM_NUMBER);
                c.leave(&room);
            }
            FILE => c.open_file(&path_of(c), FileAccess::Create, 0),
            ERRAND => match c.group(stages::DB) {
                // Several at once, so that a stage's queue is full now and then.
                Some(db) => {
                    (0..QUESTIONS_AT_ONCE).for_each(|_| stages::ask(&db, c, &self.booked.books, &self.heart))
                }
                None => self.booked.books.pages().asked.push_back(c.id()),
            },
            TIMER => {
                let key = c.after(Duration::from_millis(5), TAKEN_BACK);
                c.after(Duration::from_millis(10), FIRED);
                if !c.cancel_timer(key) {
                    self.booked.books.break_law("a timer fired before its time");
                }
                self.booked.books.hit(Hazard::L10);
            }
            SLAM => {
                self.booked.books.hit(Hazard::L1);
                c.abort(DisconnectReason::Handler);
            }
            BYE => {
                self.booked.books.hit(Hazard::L2);
                c.close(DisconnectReason::Handler);
                if c.send(b"too late") != SendStatus::Closed {
                    self.booked.books.break_law("bytes were queued after the end");
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
    /// What the room has to do with a packet.
    fn meet(&mut self, c: &mut Conn<'_>, packet: Packet<'_>) {
        if packet.id != ROOM && packet.id != LEAVE {
            return;
        }
        let hall = Hall::find(&self.booked.books, c);
        if packet.id == LEAVE {
            c.leave_room(&hall);
        } else {
            c.join_room(&hall, ());
            c.room_send_packet(&hall, packet);
        }
    }
}

fn path_of(c: &Conn<'_>) -> PathBuf {
    PathBuf::from(format!("{}", c.id()))
}

impl Session for FrameEcho {
    const FRAMING: Framing = Framing::Packets;

    fn on_connected(&mut self, c: &mut Conn<'_>) {
        self.booked.connect(c, true);
        // A topic of one: what is broadcast to it must arrive in its place, as if it were sent.
        let topic = c.topic(c.id().to_u64());
        c.join(&topic);
    }

    fn on_packet(&mut self, c: &mut Conn<'_>, packet: Packet<'_>) {
        self.booked.alive();
        self.meter.check(1, packet.frame.len(), c, &self.booked.books);
        assert!(packet.id != BOMB, "a bomb, on purpose");
        if self.moody {
            self.booked.books.hit(Hazard::L3);
            return c.close(DisconnectReason::Handler);
        }
        if packet.frame.len() > FRAME_BYTES_MAX {
            self.booked.books.break_law("a frame over the limit was shown");
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
        self.obey(c, packet.id);
        self.meet(c, packet);
        check_queue(&self.booked.books, c);
    }

    fn on_timer(&mut self, _: &mut Conn<'_>, tag: u32) {
        self.booked.alive();
        if tag != FIRED {
            self.booked.books.break_law("a timer fired that was taken back");
        }
    }

    fn on_file(&mut self, c: &mut Conn<'_>, done: FileDone<'_>) {
        self.booked.alive();
        match done {
            FileDone::Opened { file, bytes, .. } => {
                if bytes != 0 {
                    self.booked.books.break_law("a fresh file is not empty");
                }
                self.file = Some(file);
                // Half of one byte is none: a disk that is full takes nothing of it.
                let text = if c.id().slot().is_multiple_of(3) { &b"h"[..] } else { &b"herring"[..] };
                c.write_at(file, 0, text.to_vec(), 1);
            }
            FileDone::Written { bytes, .. } => {
                self.file.inspect(|file| c.read_at(*file, 0, bytes as usize, 2));
            }
            FileDone::Read { data, .. } => {
                if !b"herring".starts_with(data) || data.is_empty() {
                    self.booked.books.break_law("a file does not hold what was written");
                }
                self.file.inspect(|file| c.sync_file(*file, 3));
            }
            FileDone::Synced { .. } | FileDone::Failed { .. } => {
                self.file.take().inspect(|file| c.close_file(*file));
            }
        }
    }

    fn on_disconnected(&mut self, reason: DisconnectReason) {
        self.booked.disconnect(reason);
    }
}

/// The engine's own client: says something a few times, checks every echo, goes.
pub struct Caller {
    booked: Booked,
    said: Vec<u8>,
    heard: usize,
    rounds: u64,
}

impl Caller {
    /// A session for this arrival.
    pub fn new(arrival: &ConnectionInfo, talk: u64, books: &Arc<Books>) -> Self {
        let body = vec![(arrival.index % 170) as u8; 20 + arrival.index as usize % 60];
        let said = packet(2, &body);
        Self { booked: Booked::new(books), said, heard: 0, rounds: arrival.index % 10 * talk }
    }
}

impl Session for Caller {
    fn on_connected(&mut self, c: &mut Conn<'_>) {
        self.booked.connect(c, false);
        c.send(&self.said);
    }

    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        self.booked.alive();
        if Some(data) != self.said.get(self.heard..self.heard + data.len()) {
            self.booked.books.break_law("law 7: what comes back is not what was sent");
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
        self.booked.disconnect(reason);
    }
}
