//! Relay: a message goes unchanged to every member of the sender's room, including the sender.
//!
//! Frames are `[u16 LE size, header included][u16 LE id][body]`; the engine splits the stream into frames. Bodies are
//! not interpreted.
//!
//! | id | from | body | what follows |
//! |---|---|---|---|
//! | 1 JOIN | client | `u32 LE room` | leaves the room it was in, enters this one, gets JOINED |
//! | 2 JOINED | server | the same body | |
//! | 10 MSG | client | anything | the frame to every member of the room, in order per sender |

use naksi::prelude::*;

/// Enter a room.
pub(crate) const JOIN: u16 = 1;
/// The answer: you are in.
pub(crate) const JOINED: u16 = 2;
/// Something for everybody in the room.
pub(crate) const MSG: u16 = 10;

/// One client, a member or not joined yet.
#[derive(Default)]
pub(crate) struct Relay {
    room: Option<Topic>,
}

impl Session for Relay {
    const FRAMING: Framing = Framing::Packets;

    fn on_packet(&mut self, c: &mut Conn<'_>, packet: Packet<'_>) {
        match (packet.id, &self.room) {
            (JOIN, _) => self.join(c, packet.body),
            // A member whose messages do not fit is disconnected: no message is lost silently.
            (MSG, Some(room)) => match c.broadcast(room, packet.frame) {
                SendStatus::Dropped | SendStatus::Overflowed => c.close(DisconnectReason::SendQueueFull),
                SendStatus::Queued | SendStatus::Closed => {}
            },
            (MSG, None) => c.close(DisconnectReason::Protocol),
            _ => c.close(DisconnectReason::UnknownPacket),
        }
    }
}

impl Relay {
    fn join(&mut self, c: &mut Conn<'_>, body: &[u8]) {
        let Ok(number) = <[u8; 4]>::try_from(body) else {
            c.close(DisconnectReason::Protocol);
            return;
        };
        if let Some(room) = self.room.take() {
            c.leave(&room);
        }
        let room = c.topic(u64::from(u32::from_le_bytes(number)));
        c.join(&room);
        self.room = Some(room);
        c.send_packet(JOINED, body);
    }
}
