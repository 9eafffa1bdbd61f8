//! A line-based chat in one room. Run `cargo run --example chat`, then `nc 127.0.0.1 7777` in two more terminals:
//! what one types, the other sees. The first line is the name.
use naksi::prelude::*;
use std::sync::OnceLock;

packets! { LOBBY { 1 => Say { text: String } } }

struct Lobby;

impl Room for Lobby {
    type Member = String; // the name

    fn routes(routes: &mut Routes<Self>) {
        routes.on(Self::say);
    }

    fn on_join(&mut self, cx: &mut Cx<'_, Self>, member: SessionId) {
        let line = format!("* {} joined, {} here\n", cx.member(member).map_or("?", |name| name), cx.len());
        cx.broadcast_bytes(line.as_bytes());
    }

    fn on_leave(&mut self, cx: &mut Cx<'_, Self>, _member: SessionId, name: String, _why: LeaveReason) {
        cx.broadcast_bytes(format!("* {name} left\n").as_bytes());
    }
}

impl Lobby {
    fn say(&mut self, cx: &mut Cx<'_, Self>, from: SessionId, Say { text }: Say) {
        let line = format!("{}: {text}\n", cx.member(from).map_or("?", |name| name));
        cx.broadcast_bytes(line.as_bytes());
    }
}

#[derive(Default)]
struct Chatter(Option<RoomRef<Lobby>>);

impl Session for Chatter {
    fn on_connected(&mut self, c: &mut Conn<'_>) {
        c.send("이름? / name? ".as_bytes());
    }

    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        static OPEN: OnceLock<RoomRef<Lobby>> = OnceLock::new();
        // Whole lines only: unconsumed bytes are offered again with what follows.
        let Some(end) = data.iter().position(|byte| *byte == b'\n') else { return 0 };
        let text = String::from_utf8_lossy(&data[..end]).trim().to_owned();
        match &self.0 {
            Some(lobby) => drop(c.room_send(lobby, &Say { text })),
            None => {
                let open = || c.open_room(Lobby, RoomOptions::new()).expect("the defaults make sense");
                let lobby = self.0.insert(OPEN.get_or_init(open).clone());
                c.join_room(lobby, text);
            }
        }
        end + 1
    }
}

fn main() -> naksi::Result<()> {
    Server::from_env()?.session(Chatter::default).run()
}
