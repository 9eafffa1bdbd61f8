//! The groups of a run: threads that are none, stepped between the turns of the workers, in the order that a seed says.
//!
//! Two groups: `logic`, to which rooms go on when their budget is spent, and `db`, which answers sessions and the room
//! late or never. A job begins at one moment of the world and happens at a later one. Nothing here knows a
//! port or a peer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::kernel::world::World;
use naksi::group::{Group, GroupOptions, SubmitError};
use naksi::prelude::*;
use naksi_core::prng::Prng;

use super::hazard::{Hazard, Hits};
use super::observations::Observations;
use super::setting::Setting;
use super::users;
use crate::stepped_group::SteppedGroup;

/// The group that rooms go on in.
pub const LOGIC: &str = "logic";
/// The group that answers questions.
pub const DB: &str = "db";

/// What the jobs of the database's group write down.
#[derive(Debug, Default)]
pub struct JobCounts {
    /// Questions that were put to it, those that were refused included.
    pub asked: AtomicU64,
    /// Questions that found it full, or closed.
    pub refused: AtomicU64,
    /// Jobs that came to their end.
    pub played: AtomicU64,
    /// Jobs that panicked.
    pub panicked: AtomicU64,
    /// Answers that the room took.
    pub calls: AtomicU64,
}

/// Puts a session's question to the database. `heart` beats as long as the session's value lives.
pub fn ask(db: &Group, c: &Conn<'_>, observations: &Arc<Observations>, heart: &Arc<()>) {
    let number = observations.jobs.asked.fetch_add(1, Ordering::Relaxed);
    let (id, remote) = (c.id(), c.handle());
    let (books_of_job, heart) = (Arc::clone(observations), Arc::downgrade(heart));
    let job = move || answer(number, id, &remote, &books_of_job, &heart);
    if let Err(SubmitError::Full | SubmitError::Closed) = db.post(job) {
        observations.jobs.refused.fetch_add(1, Ordering::Relaxed);
    }
}

fn answer(
    number: u64,
    id: SessionId,
    remote: &ServiceHandle,
    observations: &Arc<Observations>,
    heart: &Weak<()>,
) {
    if observations.stormy.load(Ordering::Relaxed) && number % 16 == 3 {
        observations.jobs.panicked.fetch_add(1, Ordering::Relaxed);
        panic!("a job fails, on purpose");
    }
    observations.jobs.played.fetch_add(1, Ordering::Relaxed);
    let shared_room = observations.shared().shared_room.clone();
    if let Some(shared_room) = shared_room.filter(|_| number % 4 == 1) {
        // A room that has ended, or has too much to hear, takes nothing.
        if shared_room.call(move |shared_room, _| shared_room.hear_answer(number)).is_ok() {
            observations.jobs.calls.fetch_add(1, Ordering::Relaxed);
            observations.hit(Hazard::G5);
        }
    }
    let late = heart.strong_count() == 0;
    if late {
        observations.hit(Hazard::G4);
    }
    if number % 8 != 5 {
        let words = if late { users::STALE } else { users::ANSWER };
        // Not awaited: a full mailbox is an answer that never comes.
        remote.send(id, users::packet(words, &id.to_u64().to_le_bytes())).ok();
    }
}

/// A group of this name, with threads that are stepped.
fn open(name: &str, threads: usize, jobs_max: usize) -> SteppedGroup {
    let options = GroupOptions::new(name).threads(threads).jobs_max(jobs_max);
    SteppedGroup::new(Group::stepped(options).expect("options that make sense"), threads)
}

/// All groups of a run.
#[derive(Debug)]
pub struct Groups {
    logic: SteppedGroup,
    db: SteppedGroup,
    random: Prng,
    stormy: bool,
    slow: u64,
    jobs_max: usize,
}

impl Groups {
    /// The groups that a setting asks for, if it does.
    pub fn open(setting: &Setting, stormy: bool) -> Option<Self> {
        (setting.threads > 0).then(|| {
            let jobs_max = setting.jobs_max.max(1);
            Self {
                logic: open(LOGIC, setting.threads, jobs_max),
                db: open(DB, setting.threads, jobs_max),
                random: Prng::new(setting.seed ^ 0x57A6_E500_57A6_E500),
                stormy,
                slow: 0,
                jobs_max,
            }
        })
    }

    /// Handles for a service.
    pub fn groups(&self) -> Vec<Group> {
        vec![self.logic.group.clone(), self.db.group.clone()]
    }

    /// Nothing is slow any more.
    pub fn calm_down(&mut self) {
        self.stormy = false;
    }

    /// Each group does one thing. Returns how many did.
    pub fn step(&mut self, world: &World) -> u64 {
        let (now, stormy) = (world.now(), self.stormy);
        let mut slow = 0;
        let logic = self.logic.step(now, &mut self.random, |random| match random.below(4) {
            0 => Duration::from_micros(random.below(2_000)),
            _ => Duration::ZERO,
        });
        let db = self.db.step(now, &mut self.random, |random| match random.below(8) {
            0 if stormy => {
                slow += 1;
                Duration::from_micros(random.below(4_000_000))
            }
            _ => Duration::from_micros(random.below(5_000)),
        });
        self.slow += slow;
        let mut stepped = 0;
        for until in [logic, db].into_iter().flatten() {
            stepped += 1;
            if until > now {
                world.wake_at(until);
            }
        }
        stepped
    }

    /// Ends the groups, and checks that every job that was posted has happened, once.
    ///
    /// # Panics
    /// A job is lost, or there was one too many.
    pub fn settle(&mut self, observations: &Observations, handed_over: impl FnOnce() -> u64) -> Hits {
        let (logic, db) = (self.logic.close(), self.db.close());
        // Rooms may have been handed over until now.
        let handed_over = handed_over();
        for stats in [&logic, &db] {
            assert_eq!((stats.done_total, stats.depth), (stats.posted_total, 0), "a job is lost: {stats}");
        }
        let count = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let jobs = &observations.jobs;
        assert_eq!(logic.posted_total, handed_over, "a room was handed over and did not arrive: {logic}");
        assert_eq!(db.posted_total + count(&jobs.refused), count(&jobs.asked), "a question is lost: {db}");
        assert_eq!(count(&jobs.played) + count(&jobs.panicked), db.done_total, "a job ran not once: {db}");
        assert_eq!(db.panics_total, count(&jobs.panicked), "a panic is not counted: {db}");
        assert_eq!(logic.panics_total, 0, "a room's panic got out: {logic}");
        assert!(db.depth_max <= self.jobs_max, "law 9: a group's queue has an end: {db}");
        let mut hits = Hits::default();
        hits.add(Hazard::G1, self.slow);
        hits.add(Hazard::G2, db.refused_total);
        hits.add(Hazard::G3, db.panics_total);
        hits.add(Hazard::G6, logic.posted_total);
        hits
    }
}
