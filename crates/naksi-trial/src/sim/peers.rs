//! The far ends: honest ones, and those that a server meets as well.
//!
//! Every peer checks what it gets against what it sent: the bytes it reads are always a prefix of the echo.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use naksi_os::sim::peer::{Peer, PeerEvent, PeerIo};

/// What peers report to the run.
#[derive(Debug, Default)]
pub struct Tally {
    /// Peers that got back everything they sent and then the server's end.
    pub served: u64,
    /// Peers that were reset or refused.
    pub reset: u64,
    /// Peers that are through, one way or another.
    pub through: u64,
}

/// How a peer behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Sends frames in pieces of any size, reads everything, says its end, waits for the server's.
    Honest,
    /// One byte at a time, with pauses.
    Dribbler,
    /// Reads a few bytes now and then.
    SlowReader,
    /// Resets in the middle.
    Resetter,
    /// Stops doing anything.
    Vanisher,
    /// Sends a size that no frame has.
    Liar,
    /// Ends in the middle of a frame.
    Cutter,
    /// Makes the handler panic.
    Bomber,
}

impl Manner {
    /// A manner for a random number; half of all are honest.
    pub fn from_number(number: u64) -> Self {
        match number % 16 {
            0 => Manner::Dribbler,
            1 | 2 => Manner::SlowReader,
            3 => Manner::Resetter,
            4 => Manner::Vanisher,
            5 => Manner::Liar,
            6 => Manner::Cutter,
            7 => Manner::Bomber,
            _ => Manner::Honest,
        }
    }
}

/// One scripted client.
pub struct Client {
    manner: Manner,
    tally: Rc<RefCell<Tally>>,
    script: Vec<u8>,
    /// Bytes of the script that were written.
    written: usize,
    /// Bytes of the echo that were read.
    read: usize,
    finished: bool,
    ended: bool,
}

impl Client {
    /// `random` decides how much it says.
    pub fn new(manner: Manner, framed: bool, random: u64, tally: Rc<RefCell<Tally>>) -> Self {
        let mut script = Vec::new();
        let frames = 1 + random % 6;
        for number in 0..frames {
            let body = ((random >> (8 + number * 7)) % 200) as usize;
            let head = naksi_core::frame::header(number as u16 + 1, body).expect("a short body");
            script.extend_from_slice(&head);
            script.extend((0..body).map(|byte| (byte as u8) ^ (random as u8)));
        }
        match manner {
            Manner::Liar => script.extend_from_slice(&[(random % 4) as u8, 0, 9, 9]),
            Manner::Cutter => script.extend_from_slice(&[200, 0, 1]),
            Manner::Bomber => {
                let head = naksi_core::frame::header(super::run::BOMB, 0).expect("a short body");
                script.extend_from_slice(&head);
            }
            _ => {}
        }
        if !framed && manner == Manner::Bomber {
            script.extend_from_slice(super::run::BOMB_BYTES);
        }
        Self { manner, tally, script, written: 0, read: 0, finished: false, ended: false }
    }

    fn speak(&mut self, io: &mut PeerIo<'_>) {
        let piece = match self.manner {
            Manner::Dribbler => 1,
            _ => 1 + (io.random() % 300) as usize,
        };
        let stop = match self.manner {
            Manner::Resetter | Manner::Vanisher => self.script.len() / 2,
            _ => self.script.len(),
        };
        let to = stop.min(self.written + piece);
        let taken = io.write(&self.script[self.written..to]);
        self.written += taken;
        if self.written < stop {
            // A short write is told of when there is room; anything else goes on after a pause.
            let pause = if self.manner == Manner::Dribbler { 400 } else { 1 };
            let span = Duration::from_millis(io.random() % pause + 1);
            io.set_timer(span, 0);
        } else if !self.finished {
            self.finished = true;
            match self.manner {
                Manner::Resetter => self.leave(io, true),
                Manner::Vanisher => self.through(),
                _ => io.shutdown_write(),
            }
        }
    }

    fn listen(&mut self, io: &mut PeerIo<'_>, most: usize) {
        let bytes = io.read(most);
        let expected = self.script.get(self.read..self.read + bytes.len());
        assert_eq!(Some(bytes), expected, "law 7: what comes back is a prefix of what was sent");
        self.read += bytes.len();
    }

    fn through(&mut self) {
        if !std::mem::replace(&mut self.ended, true) {
            self.tally.borrow_mut().through += 1;
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

impl Peer for Client {
    fn on_event(&mut self, io: &mut PeerIo<'_>, event: PeerEvent) {
        match event {
            PeerEvent::Connected => self.speak(io),
            PeerEvent::Timer(0) if !self.ended => self.speak(io),
            PeerEvent::Timer(_) if !self.ended => {
                self.listen(io, 20);
                if io.readable() > 0 {
                    io.set_timer(Duration::from_millis(50), 1);
                }
            }
            PeerEvent::Timer(_) => {}
            PeerEvent::Readable if self.manner == Manner::SlowReader => {
                io.set_timer(Duration::from_millis(50), 1);
            }
            PeerEvent::Readable if self.manner == Manner::Vanisher => {}
            PeerEvent::Readable => self.listen(io, usize::MAX),
            PeerEvent::Writable if !self.finished => self.speak(io),
            PeerEvent::Writable => {}
            PeerEvent::Closed => {
                self.listen(io, usize::MAX);
                if self.read == self.script.len() {
                    self.tally.borrow_mut().served += 1;
                }
                self.leave(io, false);
            }
            PeerEvent::Refused | PeerEvent::Reset => {
                self.tally.borrow_mut().reset += 1;
                self.through();
            }
        }
    }
}
