//! The relay scenario: every member of a room must get every message of every member, once, in order, whole.
//!
//! A message carries the run, its sender, its number, its scheduled time and a check over them, and is
//! filled up with a pattern that grows from all of these. Nothing here knows when to send; that is the
//! member's business.

use naksi::prelude::*;

use super::member::Member;
use super::meter::{Ledger, Meter};
use super::order::{Order, Verdict};
use super::pattern::{self, mix};
use crate::apps::relay::{JOIN, JOINED, MSG};

/// Bytes of a body before its pattern.
pub(crate) const HEAD_BYTES: usize = 24;
/// The longest body that a frame can hold.
pub(crate) const BODY_BYTES_MAX: usize = 65_531;

/// What a message says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) run: u32,
    pub(super) sender: u32,
    pub(super) number: u32,
    pub(super) due_at: u64,
}

impl Head {
    fn check(self) -> u64 {
        mix(pattern::key(u64::from(self.run), self.sender, self.number) ^ self.due_at)
    }

    pub(super) fn write(self, size: usize) -> Vec<u8> {
        let mut body = Vec::with_capacity(size + 8);
        for word in [self.run, self.sender, self.number, self.check() as u32] {
            body.extend_from_slice(&word.to_le_bytes());
        }
        body.extend_from_slice(&self.due_at.to_le_bytes());
        let mut word = self.check();
        while body.len() < size {
            word = mix(word);
            body.extend_from_slice(&word.to_le_bytes());
        }
        body.truncate(size);
        body
    }

    /// Reads a body; nothing if any byte of it is wrong.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let (head, mut rest) = body.split_at_checked(HEAD_BYTES)?;
        let word = |at: usize| Some(u32::from_le_bytes(*head.get(at..)?.first_chunk()?));
        let due_at = u64::from_le_bytes(*head.get(16..)?.first_chunk()?);
        let read = Self { run: word(0)?, sender: word(4)?, number: word(8)?, due_at };
        let mut pattern = read.check();
        if word(12)? != pattern as u32 {
            return None;
        }
        while !rest.is_empty() {
            pattern = mix(pattern);
            let (now, later) = rest.split_at(rest.len().min(8));
            if now != &pattern.to_le_bytes()[..now.len()] {
                return None;
            }
            rest = later;
        }
        Some(read)
    }
}

/// One member of a room.
pub(crate) struct RelayDummy {
    member: Member,
    room: u32,
    /// One for each member of the room, by its place there.
    orders: Vec<Order>,
    /// Own messages that have not come back.
    on_their_way: usize,
}

impl super::Dummy for RelayDummy {
    fn new(member: Member) -> Self {
        let room = member.index % member.plan.rooms;
        Self { member, room, orders: Vec::new(), on_their_way: 0 }
    }
}

impl Session for RelayDummy {
    const FRAMING: Framing = Framing::Packets;

    fn on_connected(&mut self, c: &mut Conn<'_>) {
        self.member.connected();
        c.send_packet(JOIN, &self.room_on_the_wire());
    }

    fn on_timer(&mut self, c: &mut Conn<'_>, _tag: u32) {
        self.member.woken();
        self.pump(c);
    }

    fn on_sent(&mut self, c: &mut Conn<'_>, _bytes: usize) {
        self.pump(c);
    }

    fn on_packet(&mut self, c: &mut Conn<'_>, packet: Packet<'_>) {
        let sound = match packet.id {
            JOINED if self.orders.is_empty() => self.joined(c, packet.body),
            MSG if !self.orders.is_empty() => self.came(packet.body, packet.frame.len()),
            _ => false,
        };
        if !sound {
            self.member.plan.meter(self.member.worker).corrupt += 1;
            c.end_now(Reason::Protocol);
        }
        if self.on_their_way == 0 || packet.id == MSG {
            self.pump(c);
        }
    }

    fn on_disconnected(&mut self, reason: Reason) {
        let stayed = self.member.disconnected(reason);
        let came = self.orders.iter().map(Order::distinct).collect();
        let (member, sent) = (self.member.index, self.member.sent);
        self.member.plan.meter(self.member.worker).ledgers.push(Ledger { member, sent, came, stayed });
    }
}

impl RelayDummy {
    /// Crowds with different seeds use different rooms.
    fn room_on_the_wire(&self) -> [u8; 4] {
        let base = mix(self.member.plan.seed) as u32;
        base.wrapping_add(self.room).to_le_bytes()
    }

    fn members_of_room(&self) -> u32 {
        let plan = &self.member.plan;
        (plan.sessions - self.room).div_ceil(plan.rooms)
    }

    fn joined(&mut self, c: &mut Conn<'_>, body: &[u8]) -> bool {
        self.orders.resize_with(self.members_of_room() as usize, Order::default);
        self.member.ready(c);
        body == self.room_on_the_wire()
    }

    fn pump(&mut self, c: &mut Conn<'_>) {
        if self.orders.is_empty() {
            return;
        }
        let size = self.member.plan.size;
        let mut count = 0;
        while let Some(due_at) = self.member.due(c, self.on_their_way) {
            let (run, sender) = (self.member.plan.run, self.member.index);
            let head = Head { run, sender, number: self.member.sent - 1, due_at };
            c.send_packet(MSG, &head.write(size));
            self.on_their_way += 1;
            count += 1;
        }
        if count > 0 {
            let mut meter = self.member.plan.meter(self.member.worker);
            meter.sent += count;
            meter.owed += count * u64::from(self.members_of_room());
            meter.bytes_out += count * (size as u64 + 4);
        }
    }

    /// A message came; whether it is one that may come.
    fn came(&mut self, body: &[u8], bytes: usize) -> bool {
        let plan = &self.member.plan;
        let mut meter = plan.meter(self.member.worker);
        meter.bytes_in += bytes as u64;
        let Some(head) = Head::read(body) else {
            return false;
        };
        if head.run != plan.run {
            meter.foreign += 1;
            return true;
        }
        let mine = head.sender % plan.rooms == self.room && body.len() == plan.size;
        let place = (head.sender / plan.rooms) as usize;
        let Some(order) = self.orders.get_mut(place).filter(|_| mine) else {
            return false;
        };
        count(order.came(head.number), plan.clock.now().saturating_sub(head.due_at), &mut meter);
        if head.sender == self.member.index {
            self.on_their_way = self.on_their_way.saturating_sub(1);
        }
        true
    }
}

pub(super) fn count(verdict: Verdict, latency: u64, meter: &mut Meter) {
    match verdict {
        Verdict::InOrder | Verdict::Ahead => {}
        Verdict::OutOfOrder => meter.out_of_order += 1,
        Verdict::Duplicate => {
            meter.duplicated += 1;
            return;
        }
    }
    meter.received += 1;
    meter.latency.saturating_record(latency);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_read_back_and_no_byte_of_it_may_change() {
        let head = Head { run: 1, sender: 2, number: 3, due_at: 4 };
        for size in [HEAD_BYTES, HEAD_BYTES + 1, 64, 100] {
            let body = head.write(size);
            assert_eq!((body.len(), Head::read(&body)), (size, Some(head)));
            for index in 0..size {
                let mut wrong = body.clone();
                wrong[index] ^= 0x10;
                assert_ne!(Head::read(&wrong), Some(head), "byte {index} of {size}");
            }
            assert_eq!(Head::read(&body[..HEAD_BYTES - 1]), None);
        }
    }
}
