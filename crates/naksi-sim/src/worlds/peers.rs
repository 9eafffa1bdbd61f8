//! The far ends: honest ones, and those that a server meets as well.
//!
//! A peer has a behavior and its script of frames. Every peer checks what it gets against what it sent: apart from
//! what the server says on its own, the frames it reads are the echo, in order. Nothing here knows a port.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::kernel::peer::{Peer, PeerEvent, PeerIo};
use naksi::prelude::SessionId;
use naksi_core::frame;

use super::behavior::{Behavior, push, script_of};
use super::hazard::{Hazard, Hits};
use super::liveness::{Got, Standing};
use super::observations::Observations;
use super::quiet_check::{QuietCheck, Stalls, Terms};
use super::setting::{Setting, Stop, Weather};
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
    pub standing: Standing,
    /// Nonces that came back.
    pub echoed: u64,
    /// Behaviors of those that want to connect again.
    pub again: Vec<Behavior>,
    /// Rows of the fault table that were met.
    pub hits: Hits,
    /// How long the server's workers have stalled.
    pub stalls: Stalls,
}

/// One scripted client.
pub struct SimulatedPeer {
    behavior: Behavior,
    framed: bool,
    tally: Rc<RefCell<Tally>>,
    observations: Arc<Observations>,
    /// Its own address, once it is connected.
    local: Option<SocketAddr>,
    /// What its session is granted once it falls silent, if it does.
    terms: Option<Terms>,
    silence: Option<QuietCheck>,
    /// The row of the fault table that it has yet to meet.
    row: Option<Hazard>,
    /// After this many bytes of the script it has met it.
    met_at: usize,
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
    /// How new the last data was, by class and key.
    data: BTreeMap<(u8, u8), u32>,
    /// What it told the topic of the room and heard itself.
    heard_itself: u32,
    /// Only faults that a port hides: a served peer has received everything.
    hears_everything: bool,
    nonce_ends_at: Option<usize>,
    connected: bool,
    finished: bool,
    ended: bool,
}

impl SimulatedPeer {
    /// `random` decides how much it says; `observations` are those of the sessions that it talks to.
    pub fn new(
        behavior: Behavior,
        setting: &Setting,
        random: u64,
        tally: &Rc<RefCell<Tally>>,
        observations: &Arc<Observations>,
    ) -> Self {
        let framed = setting.framed;
        let behavior = if framed { behavior } else { behavior.without_frames() };
        let (script, met_at) = script_of(behavior, framed, random, setting.talk);
        Self {
            behavior,
            framed,
            tally: Rc::clone(tally),
            observations: Arc::clone(observations),
            local: None,
            terms: matches!(behavior, Behavior::Vanisher | Behavior::Squatter).then(|| Terms::of(setting)),
            silence: None,
            row: behavior.row(random),
            met_at,
            script,
            written: 0,
            read: 0,
            cut: Vec::new(),
            heard: Vec::new(),
            numbered: 0,
            data: BTreeMap::new(),
            heard_itself: 0,
            hears_everything: setting.weather != Weather::Storm && setting.stop != Stop::DrainInStorm,
            nonce_ends_at: None,
            connected: false,
            finished: false,
            ended: false,
        }
    }

    fn speak(&mut self, io: &mut PeerIo<'_>) {
        let piece = match self.behavior {
            Behavior::Dribbler => 1,
            Behavior::Flooder | Behavior::Deaf => usize::MAX / 2,
            _ => 1 + (io.random() % 200) as usize,
        };
        let stop = match self.behavior {
            Behavior::Resetter | Behavior::Vanisher => self.script.len() / 2,
            _ => self.script.len(),
        };
        let to = stop.min(self.written + piece);
        self.written += io.write(&self.script[self.written..to]);
        if self.written >= self.met_at {
            self.meet();
        }
        if self.written < stop {
            // A short write is told of when there is room; anything else goes on after a pause.
            let pause = if self.behavior == Behavior::Dribbler { 300 } else { 2 };
            let span = Duration::from_millis(io.random() % pause + 1);
            io.set_timer(span, SPEAK);
        } else if !self.finished {
            self.finish(io);
        }
    }

    /// The deciding byte is said, the deciding act is done: the row is met if a session stands that bears it.
    fn meet(&mut self) {
        if self.row.is_some() && self.observations.life(self.local).is_some_and(|life| life.over.is_none()) {
            self.row.take().inspect(|row| self.tally.borrow_mut().hits.hit(*row));
        }
    }

    fn finish(&mut self, io: &mut PeerIo<'_>) {
        match self.behavior {
            Behavior::Stayer => {
                self.script.reserve(16);
                push(&mut self.script, 2, &[0; 4]);
                io.set_timer(Duration::from_secs(3), SPEAK);
                return;
            }
            Behavior::Resetter => {
                self.meet();
                self.leave(io, true);
            }
            Behavior::Vanisher | Behavior::Squatter => {
                let stalls = self.tally.borrow().stalls;
                let (said, reads) = (&self.script[..self.written], self.behavior == Behavior::Squatter);
                self.silence = self.terms.map(|terms| QuietCheck::begin(io, terms, stalls, said, reads));
                self.through();
            }
            // The server ends these: in order, at once, or because it waits in vain.
            Behavior::Polite | Behavior::Slammer | Behavior::Deaf => {}
            Behavior::Honest | Behavior::Reconnector | Behavior::Cutter => {
                io.shutdown_write();
                self.meet();
            }
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
            let mut tally = self.tally.borrow_mut();
            tally.echoed += 1;
            if let Some(got) = tally.standing.of(self.local) {
                got.nonce = true;
            }
        }
    }

    fn hear(&mut self, packet: frame::Packet<'_>) {
        match packet.id {
            users::SAID => {
                let sender = u64::from_le_bytes(packet.body[..8].try_into().expect("a room's frame"));
                let number = u32::from_le_bytes(packet.body[8..12].try_into().expect("a room's frame"));
                let moment = u64::from_le_bytes(packet.body[12..].try_into().expect("a room's frame"));
                self.hear_the_topic(sender, moment);
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
            users::ANSWER => {
                let asked = u64::from_le_bytes(packet.body.try_into().expect("the name of a session"));
                let own = self.observations.life(self.local).map(|life| life.id.to_u64());
                assert_eq!(Some(asked), own, "law 3: an answer reached another than the one who had asked");
            }
            users::OVERHEARD | users::HAILED => self.hear_others(packet),
            users::DATUM => self.hear_data(packet.body),
            users::DISMISSED => {
                if let Some(got) = self.tally.borrow_mut().standing.of(self.local) {
                    got.put_out = true;
                }
            }
            users::CHAFF => {}
            users::STALE => panic!("law 3: words for a session that is gone reached another"),
            _ => {
                let expected = self.script.get(self.read..self.read + packet.frame.len());
                assert_eq!(Some(packet.frame), expected, "law 7: what comes back is what was sent, in order");
                self.read += packet.frame.len();
            }
        }
    }

    /// A session of the same worker told the topic something: it was there before that, and if it is its own, hears it.
    fn hear_the_topic(&mut self, sender: u64, moment: u64) {
        let Some(life) = self.observations.life(self.local).filter(|_| sender != users::ELSEWHERE) else {
            return;
        };
        self.heard_itself += u32::from(sender == life.id.to_u64());
        let is_near = SessionId::from_u64(sender).worker() == life.id.worker();
        assert!(
            !is_near || life.joined.is_some_and(|joined| joined <= moment),
            "a new member heard what was said before it joined: {moment}, and it came at {:?}",
            life.joined
        );
    }

    /// A session told all others something.
    fn hear_others(&mut self, packet: frame::Packet<'_>) {
        let sender = u64::from_le_bytes(packet.body.try_into().expect("the name of a session"));
        let own = self.observations.life(self.local).map(|life| life.id.to_u64());
        assert_ne!(Some(sender), own, "a session heard what was for the others");
        if let Some(got) =
            self.tally.borrow_mut().standing.of(self.local).filter(|_| packet.id == users::HAILED)
        {
            got.hailed_from_elsewhere |= sender == users::ELSEWHERE;
            got.hails.insert(sender);
        }
    }

    /// Data that might have been missed: what does come is newer than what came before.
    fn hear_data(&mut self, body: &[u8]) {
        let (class, key, is_last) = (body[0], body[1], body[2] == 1);
        let number = u32::from_le_bytes(body[3..7].try_into().expect("a number"));
        let before = self.data.insert((class, key), number);
        assert!(
            before.is_none_or(|before| before < number),
            "law 7: data is overtaken by older data: {number} behind {before:?} of class {class}"
        );
        if let Some(got) = self.tally.borrow_mut().standing.of(self.local).filter(|_| is_last) {
            got.latest.insert(key);
        }
    }

    /// Asks for everything that a peer that stays must get, with a nonce behind it.
    fn say_nonce(&mut self, io: &mut PeerIo<'_>) {
        if !self.connected || self.ended {
            return;
        }
        let life = self.observations.life(self.local);
        if let Some(got) = self.tally.borrow_mut().standing.of(self.local) {
            let hails = std::mem::take(&mut got.hails);
            let hailed_from_elsewhere = got.hailed_from_elsewhere;
            let name = life.map_or(0, |life| life.id.to_u64());
            *got = Got { name, hails, hailed_from_elsewhere, ..Got::default() };
        }
        if self.framed {
            for id in [users::HAIL, users::DATA, users::DISMISS] {
                push(&mut self.script, id, b"");
            }
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
        if self.behavior == Behavior::Stayer {
            self.local.inspect(|own| tally.standing.is_gone(*own));
            return;
        }
        tally.through += 1;
        if self.behavior == Behavior::Reconnector {
            let next =
                if self.script.len().is_multiple_of(2) { Behavior::Reconnector } else { Behavior::Honest };
            tally.again.push(next);
        }
    }

    /// The session of a silent peer has ended: in time, or a law is broken.
    fn hear_the_end(&mut self, io: &PeerIo<'_>) {
        let Some(silence) = self.silence.take() else { return };
        // A refused connection had none.
        let Some(life) = self.observations.life(self.local) else { return };
        let mut tally = self.tally.borrow_mut();
        if silence.end(io, &life, tally.stalls) {
            self.row.take().inspect(|row| tally.hits.hit(*row));
        }
    }

    /// A member hears itself; also one that leaves at once.
    fn check_what_it_told_the_topic(&self) {
        if !self.framed || !self.hears_everything || self.behavior == Behavior::Stayer {
            return;
        }
        let mut rest = &self.script[..];
        let mut told = 0;
        while let Ok(Some(packet)) = frame::first(rest, 65_535) {
            told += u32::from(packet.id == users::ROOM || packet.id == users::VISIT);
            rest = &rest[packet.frame.len()..];
        }
        assert_eq!(self.heard_itself, told, "a member did not hear what it told its topic");
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

impl Peer for SimulatedPeer {
    fn on_event(&mut self, io: &mut PeerIo<'_>, event: PeerEvent) {
        let slow = self.behavior == Behavior::SlowReader;
        match event {
            PeerEvent::Connected => {
                self.connected = true;
                self.local = io.local();
                if self.behavior == Behavior::Stayer {
                    self.local.inspect(|own| self.tally.borrow_mut().standing.stands(*own));
                }
                self.speak(io);
            }
            PeerEvent::Timer(NONCE) => self.say_nonce(io),
            PeerEvent::Timer(SPEAK) if !self.ended => self.speak(io),
            PeerEvent::Timer(LISTEN) if !self.ended => {
                self.listen(io, 40);
                if io.readable() > 0 {
                    self.meet();
                    io.set_timer(Duration::from_millis(50), LISTEN);
                }
            }
            PeerEvent::Timer(_) => {}
            PeerEvent::Readable if slow => io.set_timer(Duration::from_millis(50), LISTEN),
            PeerEvent::Readable if matches!(self.behavior, Behavior::Vanisher | Behavior::Deaf) => {}
            PeerEvent::Readable => self.listen(io, usize::MAX),
            PeerEvent::Writable if !self.finished && !self.ended => self.speak(io),
            PeerEvent::Writable => {}
            PeerEvent::Closed => {
                self.hear_the_end(io);
                self.listen(io, usize::MAX);
                if self.read == self.script.len() {
                    self.check_what_it_told_the_topic();
                    let mut tally = self.tally.borrow_mut();
                    tally.served += 1;
                    // Its session may be over by now, but not before everything was said.
                    let polite = self.row.take_if(|row| *row == Hazard::P2);
                    polite.inspect(|row| tally.hits.hit(*row));
                }
                self.leave(io, false);
            }
            PeerEvent::Refused | PeerEvent::Reset => {
                self.hear_the_end(io);
                if self.behavior != Behavior::Stayer {
                    self.tally.borrow_mut().reset += 1;
                }
                self.through();
            }
        }
    }
}
