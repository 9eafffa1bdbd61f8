//! Relay: members of rooms send messages, and every member of the room must receive them once, in order and intact.
//!
//! Closed loop: a member that receives its own message sends the next one. Open loop: messages are due at fixed
//! times, and latency counts from then.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::crowd::{Crowd, READ_BYTES, Ready};
use super::pattern::Pattern;
use super::{AFTERMATH, Seen, Window};

const JOIN: u16 = 1;
const JOINED: u16 = 2;
const MSG: u16 = 10;
/// Size, id, sender, sequence number, time.
const HEAD_BYTES: usize = 2 + 2 + 4 + 4 + 8;

/// When members speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Each member keeps this many of its own messages in flight.
    Closed(usize),
    /// So many messages a second, of all members together, evenly.
    PerSecond(u64),
}

/// A relay load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Relay {
    pub(crate) members: usize,
    pub(crate) rooms: usize,
    /// Whole frame.
    pub(crate) message_bytes: usize,
    pub(crate) pace: Pace,
    /// Members that join and then never read again.
    pub(crate) stalled: usize,
}

/// A load that stands: connected, and everybody is in a room.
pub(crate) struct Running {
    relay: Relay,
    crowd: Crowd,
    pattern: Pattern,
    /// The next number that each member expects from every other member of its room.
    expected: Vec<u32>,
    /// The next number that each member says.
    said: Vec<u32>,
    /// A frame's beginning, for each member.
    cut: Vec<Vec<u8>>,
    buffer: Vec<u8>,
    frames: Vec<u8>,
    epoch: Instant,
    /// Whether latencies of other members' messages count too (expensive, so only for low rates).
    all_latencies: bool,
    /// Own messages that came back, for who has been heard.
    heard: Vec<usize>,
    delivered: u64,
    /// Whether the closed loop still goes on.
    speaking: bool,
}

impl Relay {
    pub(crate) fn connect(self, address: SocketAddr) -> Result<Running> {
        ensure!(self.members.is_multiple_of(self.rooms), "rooms of equal size");
        let seats = self.members / self.rooms;
        let mut running = Running {
            relay: self,
            crowd: Crowd::connect_with_deaf(address, self.members, self.stalled)?,
            pattern: Pattern::new(),
            expected: vec![0; self.members * seats],
            said: vec![0; self.members],
            cut: (0..self.members).map(|_| Vec::new()).collect(),
            buffer: vec![0; READ_BYTES],
            frames: Vec::new(),
            epoch: Instant::now(),
            all_latencies: matches!(self.pace, Pace::PerSecond(_)),
            heard: Vec::new(),
            delivered: 0,
            speaking: true,
        };
        running.join()?;
        for number in 0..self.stalled {
            running.crowd.stall(number)?;
        }
        Ok(running)
    }
}

impl Running {
    /// Everybody enters a room, and is told so before anybody speaks.
    fn join(&mut self) -> Result<()> {
        for number in 0..self.relay.members {
            let mut frame = Vec::from(8_u16.to_le_bytes());
            frame.extend_from_slice(&JOIN.to_le_bytes());
            frame.extend_from_slice(&((number % self.relay.rooms) as u32).to_le_bytes());
            self.crowd.write(number, &frame)?;
        }
        let (mut joined, mut ready) = (0, Vec::new());
        let deadline = Instant::now() + Duration::from_secs(10);
        while joined < self.relay.members {
            ensure!(Instant::now() < deadline, "only {joined} of {} were let in", self.relay.members);
            self.crowd.wait(deadline, &mut ready)?;
            for one in &ready {
                let mut answer = [0; 8];
                let Some(8) = self.crowd.read(one.number, &mut answer)? else { continue };
                let room = ((one.number % self.relay.rooms) as u32).to_le_bytes();
                ensure!(answer[2..4] == JOINED.to_le_bytes() && answer[4..] == room, "not a JOINED");
                joined += 1;
            }
        }
        Ok(())
    }

    /// Runs, and calls `begin` when the warm-up is over.
    pub(crate) fn run(&mut self, window: Window, begin: impl FnOnce() -> Result<()>) -> Result<Seen> {
        let mut seen = Seen::new();
        self.epoch = Instant::now();
        let start = self.epoch + window.warm_up;
        let mut due = Due { start: self.epoch, sent: 0 };
        if let Pace::Closed(messages) = self.relay.pace {
            for number in self.relay.stalled..self.relay.members {
                self.say(number, messages, self.epoch)?;
            }
        }
        self.drive(start, &mut due, None)?;
        begin()?;
        self.drive(start + window.measured, &mut due, Some(&mut seen))?;
        Ok(seen)
    }

    /// For each member that does not read: its own address, and the bytes that were sent to its room.
    pub(crate) fn owed(&self) -> Result<Vec<(SocketAddr, u64)>> {
        let rooms = self.relay.rooms;
        let said_in =
            |room: usize| self.said.iter().skip(room).step_by(rooms).copied().map(u64::from).sum::<u64>();
        let bytes = |stalled: usize| said_in(stalled % rooms) * self.relay.message_bytes as u64;
        (0..self.relay.stalled).map(|stalled| Ok((self.crowd.address(stalled)?, bytes(stalled)))).collect()
    }

    /// After the measurement: everything that was sent must arrive. Returns the number missing.
    pub(crate) fn settle(&mut self) -> Result<u64> {
        let hearers = (self.relay.members - self.relay.stalled) as u64;
        let rooms = self.relay.rooms;
        let mut wanted = 0;
        for (number, said) in self.said.iter().enumerate() {
            let room = number % rooms;
            let deaf = (0..self.relay.stalled).filter(|stalled| stalled % rooms == room).count() as u64;
            wanted += u64::from(*said) * ((self.relay.members / rooms) as u64 - deaf);
        }
        ensure!(hearers > 0, "no member received anything");
        self.speaking = false;
        let deadline = Instant::now() + AFTERMATH;
        let mut never = Due { start: deadline + AFTERMATH, sent: 0 };
        while self.delivered < wanted && Instant::now() < deadline {
            let until = (Instant::now() + Duration::from_millis(20)).min(deadline);
            self.drive(until, &mut never, None)?;
        }
        Ok(wanted - self.delivered.min(wanted))
    }

    fn drive(&mut self, until: Instant, due: &mut Due, mut seen: Option<&mut Seen>) -> Result<()> {
        let mut ready: Vec<Ready> = Vec::new();
        while Instant::now() < until {
            let next = self.say_what_is_due(due, until)?;
            self.crowd.wait(next, &mut ready)?;
            for one in ready.iter().filter(|one| one.readable) {
                self.hear(one.number, seen.as_deref_mut())?;
            }
            let mut heard = std::mem::take(&mut self.heard);
            if !self.speaking {
                heard.clear();
            }
            // One read may return several of a member's own messages: as many new ones are sent in one write.
            for group in heard.chunk_by(|one, other| one == other) {
                self.say(group[0], group.len(), Instant::now())?;
            }
            heard.clear();
            self.heard = heard;
        }
        Ok(())
    }

    /// Sends what is due by now, and computes when the next message is.
    fn say_what_is_due(&mut self, due: &mut Due, until: Instant) -> Result<Instant> {
        let Pace::PerSecond(rate) = self.relay.pace else { return Ok(until) };
        if !self.speaking {
            return Ok(until);
        }
        let speakers = (self.relay.members - self.relay.stalled) as u64;
        loop {
            let at = due.start + Duration::from_nanos(due.sent * 1_000_000_000 / rate);
            if at > Instant::now() || at >= until {
                return Ok(at.min(until));
            }
            // A step without a common factor with the number of speakers, so that rooms and members take turns.
            let number = self.relay.stalled as u64 + due.sent * 7919 % speakers;
            due.sent += 1;
            self.say(number as usize, 1, at)?;
        }
    }

    /// A member says so many messages, in one write.
    fn say(&mut self, number: usize, messages: usize, at: Instant) -> Result<()> {
        let bytes = self.relay.message_bytes;
        let since = at.saturating_duration_since(self.epoch).as_nanos() as u64;
        let mut frames = std::mem::take(&mut self.frames);
        frames.clear();
        for _ in 0..messages {
            let sequence = self.said[number];
            self.said[number] += 1;
            frames.extend_from_slice(&(bytes as u16).to_le_bytes());
            frames.extend_from_slice(&MSG.to_le_bytes());
            frames.extend_from_slice(&(number as u32).to_le_bytes());
            frames.extend_from_slice(&sequence.to_le_bytes());
            frames.extend_from_slice(&since.to_le_bytes());
            let filler = self.pattern.run(number as u64, u64::from(sequence), bytes - HEAD_BYTES);
            frames.extend_from_slice(filler);
        }
        let written = self.crowd.write(number, &frames);
        self.frames = frames;
        written
    }

    fn hear(&mut self, number: usize, mut seen: Option<&mut Seen>) -> Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let cut = std::mem::take(&mut self.cut[number]);
        buffer[..cut.len()].copy_from_slice(&cut);
        let read = self.crowd.read(number, &mut buffer[cut.len()..])?;
        let held = cut.len() + read.unwrap_or(0);
        self.cut[number] = cut;
        if read.is_some() {
            let now = Instant::now().saturating_duration_since(self.epoch).as_nanos() as u64;
            let mut rest = &buffer[..held];
            while rest.len() >= self.relay.message_bytes {
                let (frame, after) = rest.split_at(self.relay.message_bytes);
                self.check(number, frame, now, seen.as_deref_mut())?;
                rest = after;
            }
            let cut = &mut self.cut[number];
            cut.clear();
            cut.extend_from_slice(rest);
        }
        self.buffer = buffer;
        Ok(())
    }

    fn check(&mut self, number: usize, frame: &[u8], now: u64, seen: Option<&mut Seen>) -> Result<()> {
        let word = |at: usize| u32::from_le_bytes(frame[at..at + 4].try_into().expect("four bytes"));
        let (sender, sequence) = (word(4) as usize, word(8));
        let rooms = self.relay.rooms;
        if word(0) != u32::from(MSG) << 16 | self.relay.message_bytes as u32
            || sender >= self.relay.members
            || sender % rooms != number % rooms
        {
            bail!("member {number} received a message that no member of its room sent");
        }
        let place = number * (self.relay.members / rooms) + sender / rooms;
        let expected = self.expected.get_mut(place).context("a seat for every sender")?;
        ensure!(
            sequence == *expected,
            "member {number}: message {sequence} of {sender} came where {expected} should"
        );
        *expected += 1;
        let filler = self.pattern.run(sender as u64, u64::from(sequence), frame.len() - HEAD_BYTES);
        ensure!(&frame[HEAD_BYTES..] == filler, "member {number}: a message of {sender} has other bytes");
        self.delivered += 1;
        let own = sender == number;
        if own && matches!(self.relay.pace, Pace::Closed(_)) {
            self.heard.push(number);
        }
        if let Some(seen) = seen {
            seen.messages += 1;
            if own || self.all_latencies {
                let said = u64::from_le_bytes(frame[12..HEAD_BYTES].try_into().expect("eight bytes"));
                seen.record(now.saturating_sub(said));
            }
        }
        Ok(())
    }
}

/// How far an open loop has come.
struct Due {
    start: Instant,
    sent: u64,
}
