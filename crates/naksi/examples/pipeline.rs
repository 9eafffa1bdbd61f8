//! I/O, logic and database as three stages (lecture 002). Run `cargo run --release -p naksi --example pipeline --
//! 50`, then `naksi dummy 127.0.0.1:7777 --scenario echo --secs 10`: every message is echoed at once, and every
//! hundredth starts a save that blocks the database for that many milliseconds. With 0 nothing is saved: the echo's
//! latency is the same.
use naksi::prelude::*;
use std::time::Duration;

struct Player {
    block: Duration,
    heard: u64,
}

impl Session for Player {
    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        c.send(data);
        self.heard += 1;
        if !self.block.is_zero()
            && self.heard.is_multiple_of(100)
            && let (Some(logic), Some(database)) = (c.group("logic"), c.group("db"))
        {
            let block = self.block;
            // Logic decides what is saved; a full stage refuses jobs, which is counted and delays no session.
            let save = move || blocking(|| std::thread::sleep(block));
            let decide = move || database.post(save).unwrap_or(());
            logic.post(decide).ok();
        }
        data.len()
    }
}

fn main() -> naksi::Result<()> {
    let millis = std::env::args().nth(1).and_then(|millis| millis.parse().ok()).unwrap_or(50);
    let block = Duration::from_millis(millis);
    let service = Server::from_env()?
        .group(GroupOptions::new("logic").threads(2))
        .group(GroupOptions::new("db").threads(4).jobs_max(1_000))
        .session(move || Player { block, heard: 0 })
        .start()?;
    service.announce();
    let stats = service.serve_until_signal(Duration::from_secs(2))?;
    stats.groups.iter().for_each(|group| print!("{group}"));
    Ok(())
}
