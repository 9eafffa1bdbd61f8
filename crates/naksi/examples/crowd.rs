//! A benchmark of area of interest: a thousand players in one place, then ten thousand spread out, all moving. Run it
//! with `--release`; it prints moves and choices per second of one thread.
use std::time::Instant;

use naksi::grid::{Entity, Grid, Point, Sight};

fn main() {
    measure("1,000 on one spot", 1_000, 40);
    measure("10,000 spread out", 10_000, 20_000);
}

/// Players in a square of this width that all walk, with a budget of 4,000 bytes each, for 40 rounds.
fn measure(name: &str, players: usize, width: i32) {
    let mut grid = Grid::new(500);
    let (mut changes, mut chosen) = (Vec::new(), Vec::new());
    let sight = Some(Sight::new(400, 500));
    // A stride that is coprime to the width spreads them evenly; each walks in its own direction.
    let place = |index: usize, round: usize| {
        let (column, row) = (index * 7919 + round * (index % 7), index * 104_729 + round * (index % 11));
        Point::new((column % width as usize) as i32, (row % width as usize) as i32)
    };
    let crowd: Vec<_> = (0..players)
        .map(|index| grid.insert(Entity { at: place(index, 0), sight, visible: true }, &mut changes))
        .collect();
    let (mut moving, mut choosing, mut told, mut waiting, mut turns) = (0.0, 0.0, 0, 0, 0);
    for round in 1..=40 {
        grid.begin_round();
        let begun = Instant::now();
        for (index, id) in crowd.iter().enumerate() {
            changes.clear();
            grid.move_to(*id, place(index, round), &mut changes);
            turns += changes.len();
        }
        moving += begun.elapsed().as_secs_f64();
        let begun = Instant::now();
        for id in &crowd {
            chosen.clear();
            let found = grid.choose(*id, 4_000, |_| 20, &mut chosen);
            (told, waiting) = (told + found.entities, waiting + found.waiting);
        }
        choosing += begun.elapsed().as_secs_f64();
    }
    let rounds = (40 * players) as f64;
    println!(
        "{name}: {:.0} moves/s, {:.0} choices/s; each told of {:.0} a round while {:.0} wait, {:.1} enters and leaves a move",
        rounds / moving,
        rounds / choosing,
        told as f64 / rounds,
        waiting as f64 / rounds,
        turns as f64 / rounds,
    );
}
