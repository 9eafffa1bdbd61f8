//! The chat scenario: everybody enters a room under a name, talks and walks; what the others say must come once and in
//! order, ticks must go up, and nobody may be seen where they have not been.
//!
//! What is said is a relay message in letters. Nothing here knows when to speak; that is the member's business.

use std::collections::HashMap;

use naksi::packets::decode;
use naksi::prelude::*;

use super::member::Member;
use super::meter::Ledger;
use super::order::Order;
use super::relay::{HEAD_BYTES, Head, count};
use crate::apps::chat::{CHAT, Enter, Entered, Gone, Joined, Move, Moved, Said, Say};

/// Letters of a message's head.
pub(crate) const TEXT_BYTES_MIN: usize = 2 * HEAD_BYTES;
/// The longest text: its frame fits the server's bound.
pub(crate) const TEXT_BYTES_MAX: usize = 8 * 1024;

/// One member of a room.
pub(crate) struct ChatDummy {
    member: Member,
    room: u32,
    me: Option<u64>,
    /// One for each member of the room, by its place there.
    orders: Vec<Order>,
    on_their_way: usize,
    tick: u64,
    /// How far everybody was seen to have walked.
    places: HashMap<u64, i32>,
}

impl super::Dummy for ChatDummy {
    fn new(member: Member) -> Self {
        let room = member.index % member.plan.rooms;
        let places = HashMap::new();
        Self { member, room, me: None, orders: Vec::new(), on_their_way: 0, tick: 0, places }
    }
}

impl Session for ChatDummy {
    const FRAMING: Framing = Framing::Packets;

    fn on_connected(&mut self, c: &mut Conn<'_>) {
        self.member.connected();
        // Crowds with different seeds use different rooms; room 0 is for people.
        let base = super::pattern::mix(self.member.plan.seed) as u32;
        let room = base.wrapping_add(self.room).max(1);
        c.send_message(&Enter { room, name: format!("dummy {}", self.member.index) });
    }

    fn on_timer(&mut self, c: &mut Conn<'_>, _tag: u32) {
        self.member.woken();
        self.pump(c);
    }

    fn on_sent(&mut self, c: &mut Conn<'_>, _bytes: usize) {
        self.pump(c);
    }

    fn on_packet(&mut self, c: &mut Conn<'_>, packet: Packet<'_>) {
        let bytes = packet.frame.len() as u64;
        self.member.plan.meter(self.member.worker).bytes_in += bytes;
        if self.take(c, packet).is_none() {
            self.member.plan.meter(self.member.worker).corrupt += 1;
            c.end_now(Reason::Protocol);
        }
        self.pump(c);
    }

    fn on_disconnected(&mut self, reason: Reason) {
        let stayed = self.member.disconnected(reason);
        let came = self.orders.iter().map(Order::distinct).collect();
        let (member, sent) = (self.member.index, self.member.sent);
        self.member.plan.meter(self.member.worker).ledgers.push(Ledger { member, sent, came, stayed });
    }
}

impl ChatDummy {
    /// Takes a packet; nothing if it is none that may come now.
    fn take(&mut self, c: &mut Conn<'_>, packet: Packet<'_>) -> Option<()> {
        match (packet.id, self.me) {
            (Entered::ID, None) => self.entered(c, &decode(packet.body).ok()?),
            (Said::ID, Some(me)) => self.said(me, &decode(packet.body).ok()?),
            (Moved::ID, Some(_)) => self.moved(&decode(packet.body).ok()?),
            (Joined::ID, Some(_)) => decode::<Joined>(packet.body).ok().map(drop),
            (Gone::ID, Some(_)) => decode::<Gone>(packet.body).ok().map(drop),
            _ => None,
        }
    }

    fn entered(&mut self, c: &mut Conn<'_>, entered: &Entered) -> Option<()> {
        self.me = Some(entered.you);
        self.orders.resize_with(self.members_of_room() as usize, Order::default);
        self.member.ready(c);
        (entered.version == CHAT.version()).then_some(())
    }

    fn said(&mut self, me: u64, said: &Said) -> Option<()> {
        let plan = &self.member.plan;
        let head = Head::read(&bytes_of(&said.text)?)?;
        let mut meter = plan.meter(self.member.worker);
        if head.run != plan.run {
            meter.foreign += 1;
            return Some(());
        }
        let order = self.orders.get_mut((head.sender / plan.rooms) as usize)?;
        let of_this_room = head.sender % plan.rooms == self.room && said.text.len() == plan.size;
        let mine = head.sender == self.member.index;
        if !of_this_room || mine != (said.from == me) {
            return None;
        }
        count(order.came(head.number), plan.clock.now().saturating_sub(head.due_at), &mut meter);
        self.on_their_way -= usize::from(mine && self.on_their_way > 0);
        Some(())
    }

    fn moved(&mut self, moved: &Moved) -> Option<()> {
        // A tick that tells of a large crowd does so in several packets.
        let later = moved.tick >= self.tick;
        self.tick = moved.tick;
        for (who, x, _) in &moved.places {
            // Everybody walks one way only.
            if self.places.insert(*who, *x).is_some_and(|before| before >= *x) {
                return None;
            }
        }
        later.then_some(())
    }

    fn members_of_room(&self) -> u32 {
        let plan = &self.member.plan;
        (plan.sessions - self.room).div_ceil(plan.rooms)
    }

    fn pump(&mut self, c: &mut Conn<'_>) {
        if self.orders.is_empty() {
            return;
        }
        let size = self.member.plan.size;
        let mut sent = 0;
        while let Some(due_at) = self.member.due(c, self.on_their_way) {
            let (run, sender, number) = (self.member.plan.run, self.member.index, self.member.sent - 1);
            let head = Head { run, sender, number, due_at };
            c.send_message(&Say { text: letters_of(&head.write(size / 2), size) });
            c.send_message(&Move { x: number as i32, y: sender as i32 });
            self.on_their_way += 1;
            sent += 1;
        }
        if sent > 0 {
            let mut meter = self.member.plan.meter(self.member.worker);
            meter.sent += sent;
            meter.owed += sent * u64::from(self.members_of_room());
            meter.bytes_out += sent * size as u64;
        }
    }
}

/// Two letters for a byte, and one more where the length is odd.
fn letters_of(bytes: &[u8], length: usize) -> String {
    let mut letters: String = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(letter).collect();
    letters.extend((letters.len()..length).map(|_| 'z'));
    letters
}

fn letter(four_bits: u8) -> char {
    char::from(b'a' + four_bits)
}

fn bytes_of(letters: &str) -> Option<Vec<u8>> {
    let four_bits = |letter: &u8| letter.checked_sub(b'a').filter(|bits| *bits < 16);
    let pairs = letters.as_bytes().chunks_exact(2);
    if !matches!(pairs.remainder(), [] | [b'z']) {
        return None;
    }
    pairs.map(|pair| Some(four_bits(&pair[0])? << 4 | four_bits(&pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_read_back_and_others_are_not() {
        let bytes: Vec<u8> = (0..=255).collect();
        for length in [512, 513] {
            let letters = letters_of(&bytes, length);
            assert_eq!((letters.len(), bytes_of(&letters)), (length, Some(bytes.clone())));
        }
        assert_eq!((bytes_of("aq"), bytes_of("a"), bytes_of("A")), (None, None, None));
    }
}
