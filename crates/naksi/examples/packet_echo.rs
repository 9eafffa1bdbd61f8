//! Frames are echoed. Run `cargo run --example packet_echo`, then, in another terminal, `printf '\x07\x00\x01\x00cod'
//! | nc -q 1 127.0.0.1 7777 | xxd`: the seven bytes of the frame come back.
use naksi::prelude::*;

struct PacketEcho {
    seen: u32,
}

impl Session for PacketEcho {
    const FRAMING: Framing = Framing::Packets;

    fn on_packet(&mut self, c: &mut Conn<'_>, packet: Packet<'_>) {
        self.seen += 1;
        c.send_packet(packet.id, packet.body);
    }

    fn on_disconnected(&mut self, reason: DisconnectReason) {
        println!("gone after {} packets: {reason}", self.seen);
    }
}

fn main() -> naksi::Result<()> {
    Server::from_env()?.session(|| PacketEcho { seen: 0 }).run()
}
