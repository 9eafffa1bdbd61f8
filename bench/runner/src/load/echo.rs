//! Echo in a closed loop: every connection keeps a window of messages in flight.
//!
//! Whole messages that came back are replaced by as many new ones, sent together. When the measurement is over,
//! nothing new is sent, and everything in flight must come back.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::crowd::{Crowd, READ_BYTES, Ready};
use super::pattern::Pattern;
use super::{AFTERMATH, Seen, Shares, Window};

/// How the work is dealt out among connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Share {
    /// Everybody always has a full window on the way.
    Even,
    /// One connection in ten always has one in flight; the others together get one message for every nine of those.
    Skewed,
}

/// An echo load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Echo {
    pub(crate) connections: usize,
    pub(crate) window: usize,
    pub(crate) message_bytes: usize,
    pub(crate) share: Share,
}

#[derive(Default)]
struct Talker {
    sent_bytes: u64,
    received_bytes: u64,
    /// When each message on the way was sent.
    sent_at: VecDeque<Instant>,
    /// Messages that came back while it was measured.
    messages: u64,
}

/// A load that stands: connected, and every window filled.
pub(crate) struct Running {
    echo: Echo,
    crowd: Crowd,
    pattern: Pattern,
    talkers: Vec<Talker>,
    buffer: Vec<u8>,
    /// Messages of hot connections since a cold one sent, and the next cold one.
    hot: usize,
    cold: usize,
    /// Whether the closed loop still goes on.
    sending: bool,
}

impl Echo {
    pub(crate) fn connect(self, address: SocketAddr) -> Result<Running> {
        let crowd = Crowd::connect(address, self.connections)?;
        let talkers = (0..self.connections).map(|_| Talker::default()).collect();
        let (pattern, buffer) = (Pattern::new(), vec![0; READ_BYTES]);
        let (hot, cold, sending) = (0, 0, true);
        let mut running = Running { echo: self, crowd, pattern, talkers, buffer, hot, cold, sending };
        for number in 0..self.connections {
            if running.is_hot(number) {
                running.send(number, self.window)?;
            }
        }
        Ok(running)
    }
}

impl Running {
    /// Runs, and calls `begin` when the warm-up is over.
    pub(crate) fn run(&mut self, window: Window, begin: impl FnOnce() -> Result<()>) -> Result<Seen> {
        let mut seen = Seen::new();
        let mut ready = Vec::new();
        self.drive(Instant::now() + window.warm_up, &mut ready, None)?;
        begin()?;
        self.drive(Instant::now() + window.measured, &mut ready, Some(&mut seen))?;
        Ok(seen)
    }

    /// After the measurement: everything that was sent must come back. Messages in flight at its end count with their
    /// full time; missing ones are lost, and count with their age. Other figures do not change.
    pub(crate) fn settle(&mut self, seen: &mut Seen) -> Result<()> {
        self.sending = false;
        if self.echo.share == Share::Even {
            let messages = self.talkers.iter().map(|talker| talker.messages).collect();
            seen.shares = Shares::of(messages, self.echo.window);
        }
        let (deadline, mut ready) = (Instant::now() + AFTERMATH, Vec::new());
        while self.talkers.iter().any(|talker| !talker.sent_at.is_empty()) && Instant::now() < deadline {
            let until = (Instant::now() + Duration::from_millis(20)).min(deadline);
            self.drive(until, &mut ready, Some(seen))?;
        }
        let now = Instant::now();
        for sent in self.talkers.iter_mut().flat_map(|talker| talker.sent_at.drain(..)) {
            seen.lost += 1;
            seen.record(now.duration_since(sent).as_nanos() as u64);
        }
        Ok(())
    }

    fn drive(&mut self, until: Instant, ready: &mut Vec<Ready>, mut seen: Option<&mut Seen>) -> Result<()> {
        while Instant::now() < until {
            self.crowd.wait(until, ready)?;
            for one in ready.iter().filter(|one| one.readable) {
                let Some(read) = self.crowd.read(one.number, &mut self.buffer)? else { continue };
                self.take(one.number, read, seen.as_deref_mut())?;
            }
        }
        Ok(())
    }

    fn take(&mut self, number: usize, read: usize, seen: Option<&mut Seen>) -> Result<()> {
        let talker = &mut self.talkers[number];
        let wanted = self.pattern.run(number as u64, talker.received_bytes, read);
        ensure!(self.buffer[..read] == *wanted, "connection {number}: other bytes came back");
        let bytes = self.echo.message_bytes as u64;
        let before = talker.received_bytes / bytes;
        talker.received_bytes += read as u64;
        ensure!(
            talker.received_bytes <= talker.sent_bytes,
            "connection {number}: more came back than was sent"
        );
        let messages = (talker.received_bytes / bytes - before) as usize;
        let now = Instant::now();
        let arrived = talker.sent_at.drain(..messages);
        match seen {
            Some(seen) => {
                if self.sending {
                    seen.messages += messages as u64;
                    talker.messages += messages as u64;
                }
                for sent in arrived {
                    seen.record(now.duration_since(sent).as_nanos() as u64);
                }
            }
            None => drop(arrived),
        }
        if messages == 0 || !self.sending {
            return Ok(());
        }
        if self.is_hot(number) {
            self.send(number, messages)?;
            self.warm_the_cold(messages)?;
        }
        Ok(())
    }

    /// In a skewed load, cold connections send one message for every nine of the hot ones.
    fn warm_the_cold(&mut self, hot: usize) -> Result<()> {
        if self.echo.share == Share::Even {
            return Ok(());
        }
        self.hot += hot;
        while self.hot >= 9 {
            self.hot -= 9;
            for _ in 0..self.crowd.len() {
                self.cold = (self.cold + 1) % self.crowd.len();
                if !self.is_hot(self.cold) && self.talkers[self.cold].sent_at.is_empty() {
                    self.send(self.cold, 1)?;
                    break;
                }
            }
        }
        Ok(())
    }

    fn is_hot(&self, number: usize) -> bool {
        self.echo.share == Share::Even || number.is_multiple_of(10)
    }

    fn send(&mut self, number: usize, messages: usize) -> Result<()> {
        let talker = &mut self.talkers[number];
        let now = Instant::now();
        talker.sent_at.extend(std::iter::repeat_n(now, messages));
        let mut left = messages * self.echo.message_bytes;
        while left > 0 {
            let run = self.pattern.run(number as u64, talker.sent_bytes, left);
            talker.sent_bytes += run.len() as u64;
            left -= run.len();
            self.crowd.write(number, run)?;
        }
        Ok(())
    }
}
