//! Finds a bug in a server's session: an echo of lines that loses a byte when a line comes in two pieces.
//!
//! `cargo run -p naksi-sim --example find_a_bug` prints the first seed that shows it, and what happened there.

use naksi::prelude::*;
use naksi_sim::{ClientScript, Simulation};

struct EchoLines;

impl Session for EchoLines {
    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        let Some(end) = data.iter().position(|byte| *byte == b'\n') else {
            return 1; // The bug: the line is not whole, and nothing of it may be taken.
        };
        c.send(&data[..=end]);
        end + 1
    }
}

fn main() {
    let simulation = Simulation::new(|| Server::new().session(|| EchoLines)).clients(5, |random| {
        let line = format!("line {}\n", random.below(1_000_000));
        ClientScript::new().send(&line).expect(&line)
    });
    match simulation.run(0..100) {
        Ok(report) => println!("no bug found: {report}"),
        Err(failed) => {
            simulation.trace(failed.seed, |event| println!("{event}")).ok(); // It fails as it did before.
            println!("{failed}");
        }
    }
}
