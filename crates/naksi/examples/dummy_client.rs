//! The DummyClient of lecture 004: one connection that sends 100 bytes again and again, until it is ended by force.
use std::time::Duration;

use naksi::prelude::*;

/// How many bytes it sends at a time; the lecture's console shows this number.
const BYTES: usize = 100;
/// How long it waits between two sends.
const PAUSE: Duration = Duration::from_millis(100);

struct ServerSession;

impl Session for ServerSession {
    fn on_connected(&mut self, c: &mut Conn<'_>) {
        println!("OnConnected");
        c.after(PAUSE, 0);
    }

    fn on_timer(&mut self, c: &mut Conn<'_>, _: u32) {
        c.send(&[0; BYTES]);
        c.after(PAUSE, 0);
    }

    fn on_disconnected(&mut self, reason: DisconnectReason) {
        println!("Disconnect : {reason}");
    }
}

pub(crate) fn run(address: &str) -> naksi::Result<()> {
    // The lecture's server sends nothing yet, which is no reason to leave it.
    let limits = Limits { idle_within: Duration::from_secs(24 * 60 * 60), ..Limits::default() };
    let client = Client::new(address).limits(limits).session(|| ServerSession).start()?;
    client.serve_until_signal(Duration::from_secs(1)).map(drop)
}

fn main() -> naksi::Result<()> {
    run(&std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7777".to_owned()))
}
