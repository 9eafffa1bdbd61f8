//! Many worlds on several threads, until enough sessions have lived; the first that fails is shrunk.
//!
//! A world is not `Send`, but every thread can make its own: seeds are handed out one by one, and the sum
//! does not depend on who played which. Nothing here knows what a world does.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::kernel::fault::Dialect;
use crate::panics::first_panic;

use super::outcome::Outcome;
use super::run::run;
use super::setting::Setting;

/// Most worlds that are tried to make a failing one smaller.
const SHRINKS_MAX: u32 = 200;

/// What to play.
#[derive(Clone, Debug)]
pub struct SweepOptions {
    /// The first seed.
    pub seed: u64,
    /// Sessions that must have lived.
    pub sessions: u64,
    /// One dialect, or both in turn.
    pub dialect: Option<Dialect>,
    /// How much is said: [`Setting::talk`].
    pub talk: u64,
    /// Threads.
    pub threads: usize,
}

/// Worlds that broke no law.
#[derive(Clone, Debug, Default)]
pub struct Swept {
    /// What they came to, all together.
    pub sum: Outcome,
    /// The first seed that was not played: every one before it, from the first one on, was.
    pub next_seed: u64,
}

/// A world that broke a law.
#[derive(Clone, Debug)]
pub struct FailedWorld {
    /// Its setting.
    pub setting: Setting,
    /// What was broken.
    pub text: String,
}

/// Plays one world and catches what it breaks.
///
/// # Errors
/// The law that is broken.
pub fn attempt(setting: &Setting) -> Result<Outcome, String> {
    first_panic(Some("on purpose"), || run(setting))
}

/// Runs worlds until enough sessions have lived, or until `progress`, which gets the sum after every world, breaks:
/// worlds that have begun are played to their end.
///
/// # Errors
/// The first world that broke a law, by its seed.
pub fn sweep(
    options: &SweepOptions,
    progress: impl Fn(&Outcome) -> ControlFlow<()> + Sync,
) -> Result<Swept, Box<FailedWorld>> {
    let next = AtomicU64::new(options.seed);
    let stop = AtomicBool::new(false);
    let sum = Mutex::new(Outcome::default());
    let failure: Mutex<Option<FailedWorld>> = Mutex::new(None);
    let play = || {
        while !stop.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            // Both dialects play every second number, so that one number still names one world.
            let dialect = options.dialect.unwrap_or(Dialect::ALL[number as usize % 2]);
            let setting = Setting { talk: options.talk, ..Setting::random(number, dialect) };
            match attempt(&setting) {
                Ok(outcome) => {
                    let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
                    sum.add(&outcome);
                    if progress(&sum).is_break() || sum.sessions >= options.sessions {
                        stop.store(true, Ordering::Relaxed);
                    }
                }
                Err(text) => {
                    stop.store(true, Ordering::Relaxed);
                    let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
                    if failure.as_ref().is_none_or(|first| first.setting.seed > number) {
                        *failure = Some(FailedWorld { setting, text });
                    }
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..options.threads.max(1) {
            scope.spawn(play);
        }
    });
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(failure) => Err(Box::new(failure)),
        None => Ok(Swept {
            sum: sum.into_inner().unwrap_or_else(PoisonError::into_inner),
            next_seed: next.into_inner(),
        }),
    }
}

/// Makes a failing setting smaller for as long as it still fails: fewer peers, fewer kinds of fault, fewer
/// workers. Another law may break on the way; any breach will do.
pub fn shrink(failure: &FailedWorld) -> FailedWorld {
    let mut best = failure.clone();
    let mut tries = 0;
    let mut smaller = true;
    while smaller && tries < SHRINKS_MAX {
        smaller = false;
        for candidate in candidates(&best.setting) {
            tries += 1;
            if let Err(text) = attempt(&candidate) {
                best = FailedWorld { setting: candidate, text };
                smaller = true;
                break;
            }
        }
    }
    best
}

fn candidates(setting: &Setting) -> Vec<Setting> {
    let mut list = Vec::new();
    let mut offer = |change: &dyn Fn(&mut Setting)| {
        let mut candidate = setting.clone();
        change(&mut candidate);
        if candidate.to_string() != setting.to_string() {
            list.push(candidate);
        }
    };
    offer(&|one| one.peers /= 4);
    offer(&|one| one.own_clients /= 4);
    offer(&|one| one.talk = 1);
    offer(&|one| one.workers = 1);
    offer(&|one| one.rate = 0);
    offer(&|one| one.threads = 0);
    offer(&|one| one.memory_bytes = 0);
    offer(&|one| one.stayers /= 2);
    offer(&|one| one.peers = one.peers * 3 / 4);
    for kind in setting.kinds() {
        offer(&|one| one.faults = one.faults.clone().with(kind, 0));
    }
    list
}
