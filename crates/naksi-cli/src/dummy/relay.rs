//! The relay scenario: members of a room send messages, and the server sends each to all of them. `roommate.rs`
//! checks what comes back.

use naksi::prelude::*;

use super::member::Member;
use super::roommate::{Head, Roommate};
use crate::apps::relay::{JOIN, JOINED, MSG};

/// The longest body that a frame can hold.
pub(crate) const BODY_BYTES_MAX: usize = 65_531;

/// One member of a room.
pub(crate) struct RelayDummy(Roommate);

impl super::Dummy for RelayDummy {
    fn new(member: Member) -> Self {
        Self(Roommate::new(member))
    }
}

impl Session for RelayDummy {
    const FRAMING: Framing = Framing::Packets;

    fn on_connected(&mut self, c: &mut Conn<'_>) {
        self.0.member.connected();
        c.send_packet(JOIN, &self.0.room().to_le_bytes());
    }

    fn on_timer(&mut self, c: &mut Conn<'_>, _tag: u32) {
        self.0.member.woken();
        self.pump(c);
    }

    fn on_sent(&mut self, c: &mut Conn<'_>, _bytes: usize) {
        self.pump(c);
    }

    fn on_packet(&mut self, c: &mut Conn<'_>, packet: Packet<'_>) {
        let sound = match packet.id {
            JOINED if !self.0.is_in() => {
                self.0.entered(c);
                packet.body == self.0.room().to_le_bytes()
            }
            MSG if self.0.is_in() => {
                self.0.member.plan.meter(self.0.member.worker).bytes_in += packet.frame.len() as u64;
                Head::read(packet.body).is_some_and(|head| self.0.came(head, packet.body.len(), |_mine| true))
            }
            _ => false,
        };
        if !sound {
            self.0.member.protest(c);
        }
        self.pump(c);
    }

    fn on_disconnected(&mut self, reason: DisconnectReason) {
        self.0.disconnected(reason);
    }
}

impl RelayDummy {
    fn pump(&mut self, c: &mut Conn<'_>) {
        let size = self.0.member.plan.size;
        let mut messages = 0;
        while let Some(head) = self.0.next(c) {
            c.send_packet(MSG, &head.write(size));
            messages += 1;
        }
        self.0.sent(messages, messages * (size as u64 + 4));
    }
}
