//! Plays worlds one after another until one breaks a law, and says which.
//!
//! `cargo xtask mutants` builds it in a copy of the tree that has mutants. The argument is how many worlds to play at most.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use naksi_sim::worlds::Dialect;
use naksi_sim::worlds::setting::Setting;
use naksi_sim::worlds::sweep::attempt;

/// How long worlds are played at most.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let worlds = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(1000);
    let begun = Instant::now();
    for number in 0..worlds {
        // A mutant that shows nothing in this time is not caught; only a world without an end is a hang.
        if begun.elapsed() > PATIENCE {
            println!("{number} survived");
            return ExitCode::SUCCESS;
        }
        let setting = Setting::random(number, Dialect::ALL[number as usize % 2]);
        if let Err(broken) = attempt(&setting) {
            let line: String =
                broken.lines().skip(1).collect::<Vec<_>>().join(" ").chars().take(100).collect();
            println!("{} {line}", number + 1);
            return ExitCode::FAILURE;
        }
    }
    println!("{worlds} survived");
    ExitCode::SUCCESS
}
