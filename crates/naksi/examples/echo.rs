//! The complete echo server. Run it, then type into `naksi client 127.0.0.1:7777` or `nc 127.0.0.1 7777`.
use naksi::prelude::*;
struct Echo;
impl Session for Echo {
    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        c.send(data);
        data.len()
    }
}
fn main() -> naksi::Result<()> {
    Server::from_env()?.session(|| Echo).run()
}
