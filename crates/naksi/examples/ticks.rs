//! How punctual rooms are. Run `cargo run --release -p naksi --example ticks -- 200 60`: 200 rooms, half of them at
//! 20 and half at 60 ticks a second, for 60 seconds. It prints how late ticks began, and how many ran of how many
//! were expected: a difference would be drift.
use naksi::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Notes when it ticked first and last.
struct Clock {
    hz: u64,
    first: Option<Tick>,
    worst_drift_nanos: Arc<AtomicU64>,
}

impl Room for Clock {
    type Member = ();

    fn on_tick(&mut self, cx: &mut Cx<'_, Self>, tick: u64) {
        let first = *self.first.get_or_insert_with(|| cx.now());
        // The time at which this tick is due after the first one; the rest is lateness or drift.
        let wanted = Duration::from_nanos((tick - 1) * 1_000_000_000 / self.hz);
        let beyond = cx.now().since(first).saturating_sub(wanted).as_nanos() as u64;
        self.worst_drift_nanos.store(beyond, Ordering::Relaxed);
    }
}

struct Silent;

impl Session for Silent {}

fn main() -> naksi::Result<()> {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|number| number.parse().ok()).collect();
    let (rooms, secs) = (numbers.first().copied().unwrap_or(200), numbers.get(1).copied().unwrap_or(10));
    let service = Server::from_env()?.listen("127.0.0.1:0").session(|| Silent).start()?;
    let drifts: Vec<Arc<AtomicU64>> = (0..rooms).map(|_| Arc::default()).collect();
    for (number, drift) in drifts.iter().enumerate() {
        let hz = [20, 60][number % 2];
        let clock = Clock { hz, first: None, worst_drift_nanos: Arc::clone(drift) };
        service.handle().open_room(clock, RoomOptions::new().tick_hz(hz as u32))?;
    }
    std::thread::sleep(Duration::from_secs(secs));
    let stats = service.stats().rooms;
    let latest = drifts.iter().map(|drift| drift.load(Ordering::Relaxed)).max().unwrap_or(0);
    println!("{rooms} rooms for {secs} s: jitter {}", stats.jitter);
    println!("ticks {} of {}, left out {}", stats.ticks_total, rooms * 40 * secs, stats.ticks_skipped_total);
    println!("the last tick of the worst room lay {} us off its schedule", latest / 1_000);
    service.stop(Duration::from_secs(1));
    Ok(())
}
