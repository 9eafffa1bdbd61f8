//! The far ends: honest ones, and those that a server meets as well.
//!
//! A peer is a manner and a script of frames. Every peer checks what it gets against what it sent: apart from
//! what the server says on its own, the frames it reads are the echo, in order. Nothing here knows a port.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use naksi_core::frame;
use naksi_os::sim::peer::{Peer, PeerEvent, PeerIo};

use super::hazard::{Hazard, Hits};
use super::users;

/// The number of the nudge upon which a peer that stays must say a fresh nonce.
pub const NONCE: u32 = 9;
const SPEAK: u32 = 0;
const LISTEN: u32 = 1;

/// What peers report to the run.
#[derive(Debug, Default)]
pub struct Tally {
    /// Peers that got back everything they sent and then the server's end.
    pub served: u64,
    /// Peers that were reset or refused.
    pub reset: u64,
    /// Peers that are through, one way or another.
    pub through: u64,
    /// Peers that stay and still stand.
    pub standing: u64,
    /// Nonces that came back.
    pub echoed: u64,
    /// Manners of those that want to connect again.
    pub again: Vec<Manner>,
    /// Rows of the fault table that were met.
    pub hits: Hits,
}

/// How a peer behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Sends frames in pieces of any size, reads everything, says its end, waits for the server's.
    Honest,
    /// Lets the server end it.
    Polite,
    /// One byte at a time, with pauses.
    Dribbler,
    /// Reads a few bytes now and then.
    SlowReader,
    /// Says much and reads nothing.
    Deaf,
    /// Says very much at once.
    Flooder,
    /// Resets in the middle.
    Resetter,
    /// Stops doing anything.
    Vanisher,
    /// Sends a size that no frame has.
    Liar,
    /// Begins a frame and waits.
    Squatter,
    /// Sends bytes that mean nothing.
    Garbler,
    /// Ends in the middle of a frame.
    Cutter,
    /// Makes the handler panic.
    Bomber,
    /// Has itself ended at once.
    Slammer,
    /// Connects again whenever it is through.
    Reconnector,
    /// Stays until the service stops.
    Stayer,
}

impl Manner {
    /// A manner for a random number; half of all are honest.
    pub fn from_number(number: u64) -> Self {
        use Manner::*;
        const MANY: [Manner; 28] = [
            Dribbler,
            SlowReader,
            Deaf,
            Flooder,
            Resetter,
            Resetter,
            Vanisher,
            Liar,
            Liar,
            Squatter,
            Garbler,
            Cutter,
            Bomber,
            Slammer,
            Reconnector,
            Polite,
            Honest,
            Honest,
            Honest,
            Honest,
            Honest,
            Honest,
            Honest,
            Honest,
            Honest,
            Honest,
            Honest,
            Honest,
        ];
        MANY[number as usize % MANY.len()]
    }

    /// An honest manner for a random number.
    pub fn honest(number: u64, framed: bool) -> Self {
        if framed && number.is_multiple_of(4) { Manner::Polite } else { Manner::Honest }
    }

    /// The row of the fault table that this manner is.
    fn hazard(self, random: u64) -> Option<Hazard> {
        Some(match self {
            Manner::Honest | Manner::Reconnector => Hazard::P3,
            Manner::Polite => Hazard::P2,
            Manner::Dribbler => Hazard::P7,
            Manner::SlowReader | Manner::Deaf => Hazard::P9,
            Manner::Flooder => Hazard::O4,
            Manner::Resetter => Hazard::P1,
            Manner::Vanisher => Hazard::P10,
            Manner::Liar if random.is_multiple_of(2) => Hazard::P5,
            Manner::Liar => Hazard::P6,
            Manner::Squatter => Hazard::P8,
            Manner::Garbler => Hazard::P11,
            Manner::Cutter => Hazard::P4,
            Manner::Bomber => Hazard::L6,
            Manner::Slammer | Manner::Stayer => return None,
        })
    }
}

fn push(script: &mut Vec<u8>, id: u16, body: &[u8]) {
    script.extend(frame::header(id, body.len()).expect("a short body"));
    script.extend_from_slice(body);
}

/// What a peer of this manner will say.
fn script_of(manner: Manner, framed: bool, random: u64, talk: u64) -> Vec<u8> {
    let mut script = Vec::new();
    let (frames, body_max) = match manner {
        Manner::Dribbler => (1 + random % 2, 12),
        // Without frames a flood is long enough to come in long leases.
        Manner::Flooder => ((12 + random % 12) * talk, if framed { 200 } else { 800 }),
        Manner::Deaf => (12 + random % 12, 200),
        Manner::Stayer => (1, 40),
        _ => ((1 + random % 10) * talk, 120),
    };
    for number in 0..frames {
        let body = ((random >> (8 + number % 8 * 6)) % body_max) as usize;
        let bytes: Vec<u8> = (0..body).map(|byte| (byte as u8) ^ (random as u8)).collect();
        push(&mut script, number as u16 + 1, &bytes);
    }
    if !framed {
        if manner == Manner::Bomber {
            script.extend_from_slice(users::BOMB_BYTES);
        }
        return script;
    }
    const EXTRAS: [u16; 5] = [users::ROOM, users::LEAVE, users::FILE, users::ERRAND, users::TIMER];
    if (random >> 40).is_multiple_of(3) {
        push(&mut script, EXTRAS[(random >> 44) as usize % 5], b"");
    }
    match manner {
        Manner::Polite => push(&mut script, users::BYE, b"farewell"),
        Manner::Slammer => push(&mut script, users::SLAM, b""),
        Manner::Bomber => push(&mut script, users::BOMB, b""),
        Manner::Deaf => {
            push(&mut script, users::ROOM, b"");
            push(&mut script, users::BLAST, b"");
        }
        Manner::Liar if random.is_multiple_of(2) => script.extend([(random >> 4) as u8 % 4, 0, 9, 9]),
        Manner::Liar => push(&mut script, 2, &[0; 4996]),
        Manner::Cutter => script.extend([200, 0, 1]),
        Manner::Squatter => script.extend([50, 0]),
        Manner::Garbler => script.extend((0..64).map(|byte| (random >> (byte % 56)) as u8 ^ 0x5C)),
        _ => {}
    }
    script
}

/// One scripted client.
pub struct Guest {
    manner: Manner,
    framed: bool,
    tally: Rc<RefCell<Tally>>,
    script: Vec<u8>,
    /// Bytes of the script that were written.
    written: usize,
    /// Bytes of the echo that were read.
    read: usize,
    /// Bytes that were read and are no whole frame yet.
    cut: Vec<u8>,
    /// What others told the room lately, as far as it was heard.
    heard: Vec<(u64, u32)>,
    /// The last number that the room told.
    numbered: u32,
    nonce_ends_at: Option<usize>,
    connected: bool,
    finished: bool,
    ended: bool,
}

impl Guest {
    /// `random` decides how much it says; `talk` is [`Setting::talk`](super::setting::Setting::talk).
    pub fn new(manner: Manner, framed: bool, random: u64, talk: u64, tally: &Rc<RefCell<Tally>>) -> Self {
        if let Some(hazard) = manner.hazard(random) {
            tally.borrow_mut().hits.hit(hazard);
        }
        Self {
            manner,
            framed,
            tally: Rc::clone(tally),
            script: script_of(manner, framed, random, talk),
            written: 0,
            read: 0,
            cut: Vec::new(),
            heard: Vec::new(),
            numbered: 0,
            nonce_ends_at: None,
            connected: false,
            finished: false,
            ended: false,
        }
    }

    fn speak(&mut self, io: &mut PeerIo<'_>) {
        let piece = match self.manner {
            Manner::Dribbler => 1,
            Manner::Flooder | Manner::Deaf => usize::MAX / 2,
            _ => 1 + (io.random() % 200) as usize,
        };
        let stop = match self.manner {
            Manner::Resetter | Manner::Vanisher => self.script.len() / 2,
            _ => self.script.len(),
        };
        let to = stop.min(self.written + piece);
        self.written += io.write(&self.script[self.written..to]);
        if self.written < stop {
            // A short write is told of when there is room; anything else goes on after a pause.
            let pause = if self.manner == Manner::Dribbler { 300 } else { 2 };
            let span = Duration::from_millis(io.random() % pause + 1);
            io.set_timer(span, SPEAK);
        } else if !self.finished {
            self.finish(io);
        }
    }

    fn finish(&mut self, io: &mut PeerIo<'_>) {
        match self.manner {
            Manner::Stayer => {
                self.script.reserve(16);
                push(&mut self.script, 2, &[0; 4]);
                io.set_timer(Duration::from_secs(3), SPEAK);
                return;
            }
            Manner::Resetter => self.leave(io, true),
            Manner::Vanisher | Manner::Squatter => self.through(),
            // The server ends these: in order, at once, or because it waits in vain.
            Manner::Polite if self.framed => {}
            Manner::Slammer | Manner::Deaf => {}
            _ => io.shutdown_write(),
        }
        self.finished = true;
    }

    fn listen(&mut self, io: &mut PeerIo<'_>, most: usize) {
        let bytes = io.read(most);
        if !self.framed {
            let expected = self.script.get(self.read..self.read + bytes.len());
            assert_eq!(Some(bytes), expected, "law 7: what comes back is a prefix of what was sent");
            self.read += bytes.len();
        } else {
            self.cut.extend_from_slice(bytes);
            let whole = std::mem::take(&mut self.cut);
            let mut rest = &whole[..];
            while let Some(packet) = frame::first(rest, 65_535).expect("law 7: the server sends whole frames")
            {
                self.hear(packet);
                rest = &rest[packet.frame.len()..];
            }
            self.cut = rest.to_vec();
        }
        if self.nonce_ends_at.is_some_and(|end| self.read >= end) {
            self.nonce_ends_at = None;
            self.tally.borrow_mut().echoed += 1;
        }
    }

    fn hear(&mut self, packet: frame::Packet<'_>) {
        match packet.id {
            users::SAID => {
                let sender = u64::from_le_bytes(packet.body[..8].try_into().expect("a room's frame"));
                let number = u32::from_le_bytes(packet.body[8..].try_into().expect("a room's frame"));
                match self.heard.iter_mut().find(|(who, _)| *who == sender) {
                    Some((_, last)) => {
                        assert!(*last < number, "law 7: a room hears one sender's words in order, once");
                        *last = number;
                    }
                    None => self.heard.push((sender, number)),
                }
            }
            users::NUMBERED => {
                let number = u32::from_le_bytes(packet.body.try_into().expect("a room's number"));
                assert!(
                    self.numbered < number,
                    "a room is heard in its order, once: {number} after {}",
                    self.numbered
                );
                self.numbered = number;
            }
            users::ANSWER | users::CHAFF => {}
            users::STALE => panic!("law 3: words for a session that is gone reached another"),
            _ => {
                let expected = self.script.get(self.read..self.read + packet.frame.len());
                assert_eq!(Some(packet.frame), expected, "law 7: what comes back is what was sent, in order");
                self.read += packet.frame.len();
            }
        }
    }

    fn say_nonce(&mut self, io: &mut PeerIo<'_>) {
        if !self.connected || self.ended {
            return;
        }
        let nonce = io.random().to_le_bytes();
        push(&mut self.script, 4, &nonce);
        self.nonce_ends_at = Some(self.script.len());
        self.speak(io);
    }

    fn through(&mut self) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let mut tally = self.tally.borrow_mut();
        if self.manner == Manner::Stayer {
            tally.standing -= u64::from(self.connected);
            return;
        }
        tally.through += 1;
        if self.manner == Manner::Reconnector {
            let next = if self.script.len().is_multiple_of(2) { Manner::Reconnector } else { Manner::Honest };
            tally.again.push(next);
        }
    }

    fn leave(&mut self, io: &mut PeerIo<'_>, reset: bool) {
        if reset {
            io.reset();
        } else {
            io.close();
        }
        self.through();
    }
}

impl Peer for Guest {
    fn on_event(&mut self, io: &mut PeerIo<'_>, event: PeerEvent) {
        let slow = self.manner == Manner::SlowReader;
        match event {
            PeerEvent::Connected => {
                self.connected = true;
                if self.manner == Manner::Stayer {
                    self.tally.borrow_mut().standing += 1;
                }
                self.speak(io);
            }
            PeerEvent::Timer(NONCE) => self.say_nonce(io),
            PeerEvent::Timer(SPEAK) if !self.ended => self.speak(io),
            PeerEvent::Timer(LISTEN) if !self.ended => {
                self.listen(io, 40);
                if io.readable() > 0 {
                    io.set_timer(Duration::from_millis(50), LISTEN);
                }
            }
            PeerEvent::Timer(_) => {}
            PeerEvent::Readable if slow => io.set_timer(Duration::from_millis(50), LISTEN),
            PeerEvent::Readable if matches!(self.manner, Manner::Vanisher | Manner::Deaf) => {}
            PeerEvent::Readable => self.listen(io, usize::MAX),
            PeerEvent::Writable if !self.finished && !self.ended => self.speak(io),
            PeerEvent::Writable => {}
            PeerEvent::Closed => {
                self.listen(io, usize::MAX);
                if self.read == self.script.len() {
                    self.tally.borrow_mut().served += 1;
                }
                self.leave(io, false);
            }
            PeerEvent::Refused | PeerEvent::Reset => {
                if self.manner != Manner::Stayer {
                    self.tally.borrow_mut().reset += 1;
                }
                self.through();
            }
        }
    }
}
