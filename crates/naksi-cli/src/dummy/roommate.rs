//! One member of a room in which every member must get every message of every member once, in order and intact.
//!
//! A message contains its run, its sender, its number and its scheduled time, has a checksum over them, and is filled
//! with a pattern derived from all of these.

use naksi::prelude::{Conn, DisconnectReason};

use super::member::Member;
use super::order::{Order, Verdict};
use super::pattern::{self, mix};

/// Bytes of a message before its pattern.
pub(crate) const HEAD_BYTES: usize = 24;

/// The header of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    run: u32,
    pub(super) sender: u32,
    pub(super) number: u32,
    due_at: u64,
}

impl Head {
    /// A message of this many bytes.
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

    /// Reads a message; nothing if any byte of it is wrong.
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

    fn check(self) -> u64 {
        mix(pattern::key(u64::from(self.run), self.sender, self.number) ^ self.due_at)
    }
}

/// The server's number for a room of this run. Runs with different seeds use different rooms, and none uses room 0,
/// which a chat uses for people.
pub(crate) fn room_number(seed: u64, room: u32) -> u32 {
    (mix(seed) as u32).wrapping_add(room).max(1)
}

/// A member, and what it has received from the others of its room.
pub(super) struct Roommate {
    pub(super) member: Member,
    room: u32,
    /// One for each member of the room, by its index; empty before it has joined.
    orders: Vec<Order>,
    /// Own messages that have not come back.
    on_their_way: usize,
}

impl Roommate {
    pub(super) fn new(member: Member) -> Self {
        let room = member.index % member.plan.rooms;
        Self { member, room, orders: Vec::new(), on_their_way: 0 }
    }

    /// The number of its room at the server.
    pub(super) fn room(&self) -> u32 {
        room_number(self.member.plan.seed, self.room)
    }

    /// Whether the server has let it in.
    pub(super) fn is_in(&self) -> bool {
        !self.orders.is_empty()
    }

    /// The server has let it in.
    pub(super) fn entered(&mut self, c: &mut Conn<'_>) {
        self.orders.resize_with(self.members() as usize, Order::default);
        self.member.ready(c);
    }

    /// The head of a message to send now, if one is due.
    pub(super) fn next(&mut self, c: &mut Conn<'_>) -> Option<Head> {
        if !self.is_in() {
            return None;
        }
        let due_at = self.member.due(c, self.on_their_way)?;
        self.on_their_way += 1;
        let (run, sender) = (self.member.plan.run, self.member.index);
        Some(Head { run, sender, number: self.member.sent - 1, due_at })
    }

    /// Counts messages that were sent, and their bytes.
    pub(super) fn sent(&self, messages: u64, bytes: u64) {
        if messages > 0 {
            let mut meter = self.member.plan.meter(self.member.worker);
            meter.sent += messages;
            meter.owed += messages * u64::from(self.members());
            meter.bytes_out += bytes;
        }
    }

    /// Whether a message is from this run.
    pub(super) fn is_of_this_run(&self, head: Head) -> bool {
        head.run == self.member.plan.run
    }

    /// A message was received; `fits` checks its contents, given whether it is this member's own. Returns whether the
    /// message is valid.
    pub(super) fn came(&mut self, head: Head, size: usize, fits: impl FnOnce(bool) -> bool) -> bool {
        let plan = &self.member.plan;
        let mut meter = plan.meter(self.member.worker);
        if head.run != plan.run {
            meter.foreign += 1;
            return true;
        }
        let mine = head.sender == self.member.index;
        let of_this_room = head.sender % plan.rooms == self.room && size == plan.size && fits(mine);
        let place = (head.sender / plan.rooms) as usize;
        let Some(order) = self.orders.get_mut(place).filter(|_| of_this_room) else {
            return false;
        };
        self.on_their_way -= usize::from(mine && self.on_their_way > 0);
        match order.came(head.number) {
            Verdict::InOrder | Verdict::Ahead => {}
            Verdict::OutOfOrder => meter.out_of_order += 1,
            Verdict::Duplicate => {
                meter.duplicated += 1;
                return true;
            }
        }
        meter.received += 1;
        meter.latency.saturating_record(plan.clock.now().saturating_sub(head.due_at));
        true
    }

    /// The connection ended: reports the received messages by sender.
    pub(super) fn disconnected(&self, reason: DisconnectReason) {
        self.member.hand_in(reason, self.orders.iter().map(Order::distinct).collect());
    }

    fn members(&self) -> u32 {
        let plan = &self.member.plan;
        (plan.sessions - self.room).div_ceil(plan.rooms)
    }
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
