//! The true place of every client, for comparison with what the server sends. Each client writes only its own entry.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use naksi::service::Signals;

use super::super::plan::Plan;

/// After this long without news, the world counts as quiet.
const QUIET: Duration = Duration::from_millis(600);
/// The longest wait for the quiet, or for the judgements.
const SETTLE_WITHIN: Duration = Duration::from_secs(30);

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Where the players are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Spread {
    /// All on one spot.
    One,
    /// All over the world.
    #[default]
    Wide,
}

#[derive(Default)]
struct Walker {
    /// Both coordinates in one word.
    place: AtomicU64,
    visits: AtomicU32,
    present: AtomicBool,
}

/// The dummies of a world, by index.
#[derive(Default)]
pub(crate) struct Field {
    pub(super) spread: Spread,
    walkers: Box<[Walker]>,
    settled: AtomicBool,
}

impl Field {
    pub(crate) fn new(spread: Spread, sessions: u32) -> Self {
        let walkers = (0..sessions).map(|_| Walker::default()).collect();
        Self { spread, walkers, settled: AtomicBool::new(false) }
    }

    /// A client was let in at this place. Returns whether it has been here before; then it must be where it was.
    pub(super) fn enter(&self, index: u32, at: (i32, i32)) -> bool {
        let walker = &self.walkers[index as usize];
        let before = walker.visits.fetch_add(1, Ordering::Relaxed) > 0;
        if !before {
            self.set_place(index, at);
        }
        walker.present.store(true, Ordering::Relaxed);
        before
    }

    pub(super) fn leave(&self, index: u32) {
        self.walkers[index as usize].present.store(false, Ordering::Relaxed);
    }

    /// How often a dummy was let in.
    pub(super) fn visits(&self, index: u32) -> u32 {
        self.walkers[index as usize].visits.load(Ordering::Relaxed)
    }

    /// Whether anybody was ever let in.
    pub(crate) fn has_been_entered(&self) -> bool {
        self.walkers.iter().any(|walker| walker.visits.load(Ordering::Relaxed) > 0)
    }

    pub(super) fn set_place(&self, index: u32, (x, y): (i32, i32)) {
        let word = u64::from(x.cast_unsigned()) << 32 | u64::from(y.cast_unsigned());
        self.walkers[index as usize].place.store(word, Ordering::Relaxed);
    }

    pub(super) fn place(&self, index: u32) -> (i32, i32) {
        let word = self.walkers[index as usize].place.load(Ordering::Relaxed);
        (((word >> 32) as u32).cast_signed(), (word as u32).cast_signed())
    }

    /// All players in the world, and their places.
    pub(super) fn present(&self) -> impl Iterator<Item = (u32, (i32, i32))> {
        let here = |(_, walker): &(usize, &Walker)| walker.present.load(Ordering::Relaxed);
        self.walkers
            .iter()
            .enumerate()
            .filter(here)
            .map(|(index, _)| (index as u32, self.place(index as u32)))
    }

    /// Whether all stand still and everything has arrived.
    pub(super) fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Acquire)
    }
}

/// A dummy's name in the world; unique to this run.
pub(super) fn name_of(run: u32, index: u32) -> String {
    format!("dummy {run:08x} {index}")
}

/// Whose name that is, if it is of this run.
pub(super) fn index_of(run: u32, name: &str) -> Option<u32> {
    name.strip_prefix("dummy ")?.strip_prefix(&format!("{run:08x} "))?.parse().ok()
}

/// After the last step: waits until nothing arrives any more, and has every client compare its view with the truth.
/// Returns whether Ctrl-C came instead.
pub(crate) fn settle(plan: &Plan, signals: &Signals) -> bool {
    let began = Instant::now();
    let wait_until = |is_so: &mut dyn FnMut() -> bool| {
        while !is_so() && began.elapsed() < SETTLE_WITHIN {
            if signals.wait(LOOK_EVERY) {
                return true;
            }
        }
        false
    };
    let (mut seen, mut moved_at) = (0, began);
    let cut_short = wait_until(&mut || {
        let come = (0..plan.workers).map(|worker| plan.meter(worker).bytes_in).sum();
        if come != seen {
            (seen, moved_at) = (come, Instant::now());
        }
        moved_at.elapsed() > QUIET
    });
    if cut_short {
        // A client whose view is incomplete has nothing to compare.
        return true;
    }
    plan.field.settled.store(true, Ordering::Release);
    wait_until(&mut || {
        let judged = (0..plan.workers).map(|worker| plan.meter(worker).sights.judged).sum::<u64>();
        judged >= (0..plan.workers).map(|worker| plan.meter(worker).ready).sum()
    })
}
