//! The chat scenario: each client enters a room under a name, talks and walks. Messages of the others must arrive
//! once and in order, ticks must increase, and no player may be seen where it has not been.
//!
//! Chat lines are relay messages encoded in letters.

use std::collections::HashMap;

use naksi::packets::decode;
use naksi::prelude::*;

use super::member::Member;
use super::roommate::{HEAD_BYTES, Head, Roommate};
use crate::apps::chat::{CHAT, Enter, Entered, Gone, Joined, Move, Moved, Said, Say};

/// Letters of a message's head.
pub(crate) const TEXT_BYTES_MIN: usize = 2 * HEAD_BYTES;
/// The longest text: its frame fits the server's bound.
pub(crate) const TEXT_BYTES_MAX: usize = 8 * 1024;

/// One member of a room.
pub(crate) struct ChatDummy {
    mate: Roommate,
    me: Option<u64>,
    tick: u64,
    /// The other clients of this run, by their first message, and how far each was seen to have walked. Other players
    /// in the same room are ignored.
    mates: HashMap<u64, Option<i32>>,
}

impl super::Dummy for ChatDummy {
    fn new(member: Member) -> Self {
        Self { mate: Roommate::new(member), me: None, tick: 0, mates: HashMap::new() }
    }
}

impl Session for ChatDummy {
    const FRAMING: Framing = Framing::Packets;

    fn on_connected(&mut self, c: &mut Conn<'_>) {
        let member = &self.mate.member;
        member.connected();
        let room = self.mate.room();
        c.send_message(&Enter { room, name: format!("dummy {}", member.index) });
    }

    fn on_timer(&mut self, c: &mut Conn<'_>, _tag: u32) {
        self.mate.member.woken();
        self.pump(c);
    }

    fn on_sent(&mut self, c: &mut Conn<'_>, _bytes: usize) {
        self.pump(c);
    }

    fn on_packet(&mut self, c: &mut Conn<'_>, packet: Packet<'_>) {
        let member = &self.mate.member;
        member.plan.meter(member.worker).bytes_in += packet.frame.len() as u64;
        if self.take(c, packet).is_none() {
            self.mate.member.protest(c);
        }
        self.pump(c);
    }

    fn on_disconnected(&mut self, reason: DisconnectReason) {
        self.mate.disconnected(reason);
    }
}

impl ChatDummy {
    /// Handles a packet; `None` if it may not come now.
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
        self.mate.entered(c);
        (entered.version == CHAT.version()).then_some(())
    }

    fn said(&mut self, me: u64, said: &Said) -> Option<()> {
        let head = Head::read(&bytes_of(&said.text)?)?;
        if self.mate.is_of_this_run(head) {
            self.mates.entry(said.from).or_default();
        }
        self.mate.came(head, said.text.len(), |mine| mine == (said.from == me)).then_some(())
    }

    fn moved(&mut self, moved: &Moved) -> Option<()> {
        // A tick sends the places of many players in several packets.
        let later = moved.tick >= self.tick;
        self.tick = moved.tick;
        for (who, x, _) in &moved.places {
            let Some(place) = self.mates.get_mut(who) else { continue };
            // Everybody walks one way only.
            if place.replace(*x).is_some_and(|before| before >= *x) {
                return None;
            }
        }
        later.then_some(())
    }

    fn pump(&mut self, c: &mut Conn<'_>) {
        let size = self.mate.member.plan.size;
        let mut messages = 0;
        while let Some(head) = self.mate.next(c) {
            c.send_message(&Say { text: letters_of(&head.write(size / 2), size) });
            c.send_message(&Move { x: head.number as i32, y: head.sender as i32 });
            messages += 1;
        }
        self.mate.sent(messages, messages * size as u64);
    }
}

/// Two letters per byte, and one more if the length is odd.
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
