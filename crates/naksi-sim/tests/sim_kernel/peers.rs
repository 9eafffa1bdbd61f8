//! Scripted clients with manners, and a server.

use naksi_sim::kernel::peer::{Peer, PeerEvent, PeerIo};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// What all clients of a run came to.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Clients that are through, however.
    pub(crate) ended: Cell<u32>,
    /// Clients that got every byte back and a proper end.
    pub(crate) complete: Cell<u32>,
    /// Bytes that came back and were right.
    pub(crate) bytes: Cell<u64>,
}

/// How a client behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Sends, reads, says its end and waits for the other one.
    Honest,
    /// As honest, with one message of 32 bytes.
    Brief,
    /// One byte at a time.
    Dribbler,
    /// Reads a little, and only when its timer says so.
    SlowReader,
    /// Resets in the middle.
    Resetter,
    /// Closes in the middle without reading.
    Vanisher,
}

impl Manner {
    pub(crate) fn of(random: u64) -> Self {
        match random % 8 {
            0 => Manner::Dribbler,
            1 => Manner::SlowReader,
            2 => Manner::Resetter,
            3 => Manner::Vanisher,
            _ => Manner::Honest,
        }
    }
}

/// A client that knows every byte it will send and compares every byte that comes back.
pub(crate) struct Client {
    tally: Rc<Tally>,
    seed: u64,
    manner: Manner,
    total: u64,
    sent: u64,
    received: u64,
    said_end: bool,
}

impl Client {
    pub(crate) fn new(tally: &Rc<Tally>, seed: u64, manner: Manner) -> Self {
        let total = match manner {
            Manner::Brief => 32,
            Manner::Dribbler => 20,
            _ => 1 + seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) % 6000,
        };
        Self { tally: Rc::clone(tally), seed, manner, total, sent: 0, received: 0, said_end: false }
    }

    fn byte(&self, offset: u64) -> u8 {
        ((offset ^ self.seed).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8
    }

    fn send(&mut self, io: &mut PeerIo<'_>) {
        let mut bytes = [0; 1024];
        while self.sent < self.total {
            let step = if self.manner == Manner::Dribbler { 1 } else { bytes.len() as u64 };
            let length = step.min(self.total - self.sent) as usize;
            for (index, place) in bytes[..length].iter_mut().enumerate() {
                *place = self.byte(self.sent + index as u64);
            }
            let taken = io.write(&bytes[..length]);
            self.sent += taken as u64;
            if self.manner == Manner::Dribbler {
                return io.set_timer(Duration::from_millis(3), 0);
            }
            if taken < length {
                return;
            }
        }
        if !self.said_end {
            self.said_end = true;
            io.shutdown_write();
        }
    }

    fn receive(&mut self, io: &mut PeerIo<'_>, most: usize) {
        let start = self.received;
        let (seed, bytes) = (self.seed, io.read(most));
        for (index, byte) in bytes.iter().enumerate() {
            let offset = start + index as u64;
            let wanted = ((offset ^ seed).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8;
            assert_eq!(*byte, wanted, "byte {offset} came back wrong");
        }
        self.received += bytes.len() as u64;
        assert!(self.received <= self.sent, "more came back than was sent");
    }

    fn end(&mut self, io: &mut PeerIo<'_>) {
        self.tally.bytes.set(self.tally.bytes.get() + self.received);
        self.tally.ended.set(self.tally.ended.get() + 1);
        let complete = self.received == self.total;
        self.tally.complete.set(self.tally.complete.get() + u32::from(complete));
        io.close();
    }
}

impl Peer for Client {
    fn on_event(&mut self, io: &mut PeerIo<'_>, event: PeerEvent) {
        let slow = self.manner == Manner::SlowReader;
        match event {
            PeerEvent::Connected => {
                match self.manner {
                    Manner::SlowReader => io.set_timer(Duration::from_millis(20), 1),
                    Manner::Resetter | Manner::Vanisher => {
                        let nanos = io.random() % 10_000_000;
                        io.set_timer(Duration::from_nanos(nanos), 2);
                    }
                    _ => {}
                }
                self.send(io);
            }
            PeerEvent::Writable | PeerEvent::Timer(0) => self.send(io),
            PeerEvent::Readable if !slow => self.receive(io, usize::MAX),
            PeerEvent::Readable => {}
            PeerEvent::Timer(1) => {
                self.receive(io, 700);
                io.set_timer(Duration::from_millis(20), 1);
            }
            PeerEvent::Timer(_) => {
                if self.manner == Manner::Resetter {
                    self.end_with(io, |io| io.reset());
                } else {
                    self.end(io);
                }
            }
            PeerEvent::Closed => {
                self.receive(io, usize::MAX);
                self.end(io);
            }
            PeerEvent::Reset | PeerEvent::Refused => self.end(io),
        }
    }
}

impl Client {
    fn end_with(&mut self, io: &mut PeerIo<'_>, how: impl FnOnce(&mut PeerIo<'_>)) {
        how(io);
        self.end(io);
    }
}

/// Sends back what it gets until the other side says its end.
#[derive(Default)]
pub(crate) struct EchoServer {
    waiting: Vec<u8>,
    over: bool,
}

impl Peer for EchoServer {
    fn on_event(&mut self, io: &mut PeerIo<'_>, event: PeerEvent) {
        self.over |= event == PeerEvent::Closed;
        self.waiting.extend_from_slice(io.read(usize::MAX));
        let taken = io.write(&self.waiting);
        self.waiting.drain(..taken);
        if self.over && self.waiting.is_empty() {
            io.close();
        }
    }
}
