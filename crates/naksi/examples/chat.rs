//! A chat in one room, line by line. Type `cargo run --example chat`, then `nc 127.0.0.1 7777` in two more
//! terminals: what one types, the other sees. The first line is the name.
use naksi::prelude::*;

#[derive(Default)]
struct Chatter {
    name: String,
}

impl Session for Chatter {
    fn on_connected(&mut self, c: &mut Conn<'_>) {
        c.send("이름? / name? ".as_bytes());
    }

    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        // Whole lines only: what is not consumed is offered again with what follows.
        let Some(end) = data.iter().position(|byte| *byte == b'\n') else { return 0 };
        let line = String::from_utf8_lossy(&data[..end]).trim().to_owned();
        let room = c.topic(1);
        if self.name.is_empty() {
            self.name = if line.is_empty() { format!("guest {}", c.id()) } else { line };
            c.broadcast(&room, format!("* {} joined\n", self.name).as_bytes());
            c.join(&room);
            c.send(format!("* {} here\n", room.members()).as_bytes());
        } else {
            c.broadcast_others(&room, format!("{}: {line}\n", self.name).as_bytes());
        }
        end + 1
    }
}

fn main() -> naksi::Result<()> {
    Server::from_env()?.session(Chatter::default).run()
}
