//! The order of jobs: those that share a key run one at a time, in the order in which they were put in; all others
//! at once. A job of several keys waits until it is the first of each.
//!
//! That is the relog fence, too: a load stands behind the saves of its key. Time is an argument; nothing here knows
//! a thread, a database or what a job does.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Instant;

/// What a job is about: a player, a guild, an account. Jobs that share a key keep their order.
///
/// Made of a number, a text, or a text with a key behind it, as in `("guild", 7)`. A number is the same key whatever
/// its type. Two keys that happen to meet in one share a lane, which costs them some waiting and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(u64);

macro_rules! keys_of_numbers {
    ($($kind:ty)*) => {
        $(impl From<$kind> for Key {
            fn from(number: $kind) -> Self {
                // Of what does not fit the rest is enough to tell most apart.
                Self(number as u64)
            }
        })*
    };
}

keys_of_numbers!(u64 i64 u32 i32 u16 i16 u8 usize u128);

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        Self(hasher.finish())
    }
}

impl From<&String> for Key {
    fn from(text: &String) -> Self {
        Self::from(text.as_str())
    }
}

impl<K: Into<Key>> From<(&str, K)> for Key {
    fn from((text, key): (&str, K)) -> Self {
        let mut hasher = DefaultHasher::new();
        (text, key.into()).hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// Whether a job reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Load,
    Save,
}

/// The name of a job in the lanes, in the order in which they were put in.
pub(crate) type Ticket = u64;

struct Entry<J> {
    keys: Vec<Key>,
    kind: Kind,
    /// Lanes in which it is not the first.
    blocked: usize,
    deadline: Instant,
    /// When it is to be tried again.
    again_at: Option<Instant>,
    /// Away while it runs.
    job: Option<J>,
}

/// A job that has waited beyond its deadline.
pub(crate) struct Late<J> {
    pub(crate) kind: Kind,
    pub(crate) job: J,
    /// Loads that waited for it, if it is a save.
    pub(crate) behind: Vec<J>,
}

/// Jobs, each in the lanes of its keys.
pub(crate) struct Lanes<J> {
    entries: HashMap<Ticket, Entry<J>>,
    lanes: HashMap<Key, VecDeque<Ticket>>,
    /// First in all of their lanes; the oldest is taken first.
    ready: BTreeSet<Ticket>,
    /// First in their lanes, and not to be tried before a time.
    later: BTreeSet<(Instant, Ticket)>,
    deadlines: BTreeSet<(Instant, Ticket)>,
    /// Loads that wait, the oldest first.
    loads: BTreeSet<Ticket>,
    next: Ticket,
    running: usize,
}

impl<J> Default for Lanes<J> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            lanes: HashMap::new(),
            ready: BTreeSet::new(),
            later: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            loads: BTreeSet::new(),
            next: 0,
            running: 0,
        }
    }
}

impl<J> Lanes<J> {
    /// Jobs that wait for a turn or for a second one.
    pub(crate) fn waiting(&self) -> usize {
        self.entries.len() - self.running
    }

    /// Jobs that run.
    pub(crate) fn running(&self) -> usize {
        self.running
    }

    /// Whether a job could be taken now.
    pub(crate) fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Jobs that could be taken now.
    pub(crate) fn ready(&self) -> usize {
        self.ready.len()
    }

    /// Puts a job at the end of each of its lanes.
    pub(crate) fn push(&mut self, mut keys: Vec<Key>, kind: Kind, deadline: Instant, job: J) {
        keys.sort_unstable();
        keys.dedup();
        let ticket = self.next;
        self.next += 1;
        let mut blocked = 0;
        for key in &keys {
            let lane = self.lanes.entry(*key).or_default();
            blocked += usize::from(!lane.is_empty());
            lane.push_back(ticket);
        }
        if blocked == 0 {
            self.ready.insert(ticket);
        }
        if kind == Kind::Load {
            self.loads.insert(ticket);
        }
        self.deadlines.insert((deadline, ticket));
        self.entries.insert(ticket, Entry { keys, kind, blocked, deadline, again_at: None, job: Some(job) });
    }

    /// Takes the job whose turn it is. It holds its lanes until [`Lanes::done`] or [`Lanes::again`].
    pub(crate) fn take(&mut self) -> Option<(Ticket, Kind, J)> {
        let ticket = self.ready.pop_first()?;
        let entry = self.entries.get_mut(&ticket).expect("a job that is ready exists");
        self.loads.remove(&ticket);
        self.deadlines.remove(&(entry.deadline, ticket));
        self.running += 1;
        let job = entry.job.take().expect("a job that is ready does not run");
        Some((ticket, entry.kind, job))
    }

    /// A job that ran is over: its lanes go on.
    pub(crate) fn done(&mut self, ticket: Ticket) {
        self.running -= 1;
        self.remove(ticket);
    }

    /// A job that ran is to be tried again at a time. It keeps its place in its lanes.
    pub(crate) fn again(&mut self, ticket: Ticket, at: Instant, job: J) {
        self.running -= 1;
        let entry = self.entries.get_mut(&ticket).expect("a job that ran exists");
        entry.job = Some(job);
        entry.again_at = Some(at);
        self.deadlines.insert((entry.deadline, ticket));
        if entry.kind == Kind::Load {
            self.loads.insert(ticket);
        }
        self.later.insert((at, ticket));
    }

    /// Makes ready what was to be tried again by now, and takes out what has waited beyond its deadline.
    pub(crate) fn turn(&mut self, now: Instant) -> Vec<Late<J>> {
        while let Some((at, ticket)) = self.later.first().copied().filter(|(at, _)| *at <= now) {
            self.later.remove(&(at, ticket));
            self.entries.get_mut(&ticket).expect("a job that waits exists").again_at = None;
            self.ready.insert(ticket);
        }
        let mut late = Vec::new();
        while let Some((_, ticket)) = self.deadlines.first().copied().filter(|(at, _)| *at <= now) {
            let kind = self.entries[&ticket].kind;
            let behind = if kind == Kind::Save { self.take_out_loads_behind(ticket) } else { Vec::new() };
            late.extend(self.take_out(ticket).map(|job| Late { kind, job, behind }));
        }
        late
    }

    /// When [`Lanes::turn`] has something to do next.
    pub(crate) fn next_turn(&self) -> Option<Instant> {
        let firsts = [self.later.first(), self.deadlines.first()];
        firsts.into_iter().flatten().map(|(at, _)| *at).min()
    }

    /// Takes out the load that has waited longest.
    pub(crate) fn take_out_oldest_load(&mut self) -> Option<J> {
        let ticket = *self.loads.first()?;
        self.take_out(ticket)
    }

    /// Takes out every load that waits.
    pub(crate) fn take_out_loads(&mut self) -> Vec<J> {
        std::iter::from_fn(|| self.take_out_oldest_load()).collect()
    }

    /// Takes out the loads that wait behind this job in one of its lanes.
    pub(crate) fn take_out_loads_behind(&mut self, ticket: Ticket) -> Vec<J> {
        let keys = self.entries.get(&ticket).map(|entry| entry.keys.clone()).unwrap_or_default();
        let behind: BTreeSet<Ticket> = keys
            .iter()
            .filter_map(|key| self.lanes.get(key))
            .flat_map(|lane| lane.iter().copied().skip_while(|other| *other != ticket).skip(1))
            .filter(|other| self.loads.contains(other))
            .collect();
        behind.into_iter().filter_map(|ticket| self.take_out(ticket)).collect()
    }

    /// Takes out everything that waits.
    pub(crate) fn take_out_all(&mut self) -> Vec<(Kind, J)> {
        let waiting: BTreeMap<Ticket, Kind> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.job.is_some())
            .map(|(ticket, entry)| (*ticket, entry.kind))
            .collect();
        waiting
            .into_iter()
            .filter_map(|(ticket, kind)| self.take_out(ticket).map(|job| (kind, job)))
            .collect()
    }

    /// Takes out a job that does not run.
    fn take_out(&mut self, ticket: Ticket) -> Option<J> {
        let entry = self.entries.get_mut(&ticket)?;
        let job = entry.job.take()?;
        self.deadlines.remove(&(entry.deadline, ticket));
        if let Some(at) = entry.again_at {
            self.later.remove(&(at, ticket));
        }
        self.loads.remove(&ticket);
        self.ready.remove(&ticket);
        self.remove(ticket);
        Some(job)
    }

    /// Takes a job out of its lanes; who was behind it may be the first now.
    fn remove(&mut self, ticket: Ticket) {
        let entry = self.entries.remove(&ticket).expect("a job is removed once");
        for key in entry.keys {
            let lane = self.lanes.get_mut(&key).expect("a job's lane exists");
            let place = lane.iter().position(|other| *other == ticket).expect("a job stands in its lanes");
            lane.remove(place);
            let first = lane.front().copied().filter(|_| place == 0);
            if lane.is_empty() {
                self.lanes.remove(&key);
            }
            if let Some(first) = first {
                let next = self.entries.get_mut(&first).expect("a job in a lane exists");
                next.blocked -= 1;
                if next.blocked == 0 {
                    self.ready.insert(first);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use naksi_core::prng::Prng;
    use std::time::Duration;

    const NEVER: Duration = Duration::from_secs(1_000_000);

    fn keys(numbers: &[u64]) -> Vec<Key> {
        numbers.iter().copied().map(Key::from).collect()
    }

    /// Puts in what the test calls by a number, and takes the first.
    fn push(lanes: &mut Lanes<u32>, of: &[u64], kind: Kind, job: u32) {
        lanes.push(keys(of), kind, Instant::now() + NEVER, job);
    }

    #[test]
    fn a_number_is_the_same_key_whatever_its_type() {
        let all = [Key::from(7_u64), 7_i64.into(), 7_u32.into(), 7_i32.into(), 7_usize.into(), 7_u128.into()];
        assert!(all.iter().all(|key| *key == all[0]));
        assert_ne!(Key::from("7"), all[0]);
        assert_eq!(Key::from(("guild", 7_u8)), Key::from(("guild", 7_i64)));
        assert_ne!(Key::from(("guild", 7)), Key::from(("clan", 7)));
        assert_eq!(Key::from("minsu"), Key::from(&String::from("minsu")));
    }

    #[test]
    fn jobs_of_one_key_keep_their_order_and_others_pass_them() {
        let mut lanes = Lanes::default();
        for (job, key) in [(0, 1), (1, 1), (2, 2), (3, 1)] {
            push(&mut lanes, &[key], Kind::Save, job);
        }
        let (first, _, job) = lanes.take().expect("the first of key 1");
        assert_eq!(job, 0);
        assert_eq!(lanes.take().map(|(_, _, job)| job), Some(2));
        assert!(lanes.take().is_none(), "the others wait for the first");
        lanes.again(first, Instant::now(), job);
        assert!(lanes.take().is_none(), "and while it is to be tried again");
        assert!(lanes.turn(Instant::now()).is_empty());
        let (first, _, job) = lanes.take().expect("again");
        assert_eq!(job, 0);
        lanes.done(first);
        let (second, _, job) = lanes.take().expect("its turn");
        assert_eq!(job, 1);
        lanes.done(second);
        assert_eq!(lanes.take().map(|(_, _, job)| job), Some(3));
    }

    #[test]
    fn whatever_happens_to_jobs_of_several_keys_none_meets_another_of_its_keys_and_all_have_their_turn() {
        for seed in 0..200 {
            let mut chance = Prng::new(seed);
            let mut now = Instant::now();
            let mut lanes = Lanes::default();
            let mut running: Vec<(Ticket, u32)> = Vec::new();
            let mut of: Vec<(Vec<Key>, Instant)> = Vec::new();
            let mut over = BTreeSet::new();
            let mut last_of_key: HashMap<Key, u32> = HashMap::new();
            for step in 0..1_000 {
                now += Duration::from_millis(1);
                let going_on = step < 700;
                match chance.below(6) {
                    0 | 1 if going_on => {
                        let count = chance.below(4);
                        let keys: Vec<Key> = (0..count).map(|_| Key::from(chance.below(6))).collect();
                        let deadline = now + Duration::from_millis(chance.between(5, 300));
                        let kind = if chance.chance(30_000) { Kind::Load } else { Kind::Save };
                        lanes.push(keys.clone(), kind, deadline, of.len() as u32);
                        of.push((keys, deadline));
                    }
                    2 if going_on => over.extend(lanes.take_out_oldest_load()),
                    3 => {
                        for late in lanes.turn(now) {
                            assert!(of[late.job as usize].1 <= now, "it had time left");
                            assert!(over.insert(late.job));
                            over.extend(late.behind);
                        }
                    }
                    4 if !running.is_empty() => {
                        let (ticket, job) = running.swap_remove(chance.below(running.len() as u64) as usize);
                        if going_on && chance.chance(20_000) {
                            lanes.again(ticket, now + Duration::from_millis(chance.below(10)), job);
                        } else {
                            let fails = chance.chance(10_000).then(|| lanes.take_out_loads_behind(ticket));
                            over.extend(fails.unwrap_or_default());
                            lanes.done(ticket);
                            assert!(over.insert(job));
                        }
                    }
                    _ => {
                        if let Some((ticket, _, job)) = lanes.take() {
                            let (keys, _) = &of[job as usize];
                            for (_, other) in &running {
                                let meets = of[*other as usize].0.iter().any(|key| keys.contains(key));
                                assert!(!meets, "seed {seed}: {other} and {job} run at once");
                            }
                            for key in keys {
                                let last = last_of_key.insert(*key, job);
                                assert!(
                                    last.is_none_or(|last| last <= job),
                                    "seed {seed}: {job} after {last:?}"
                                );
                            }
                            running.push((ticket, job));
                        }
                    }
                }
                assert_eq!(lanes.waiting() + running.len() + over.len(), of.len(), "seed {seed} step {step}");
            }
            for (ticket, job) in running.drain(..) {
                lanes.done(ticket);
                over.insert(job);
            }
            let left = lanes.take_out_all();
            over.extend(left.into_iter().map(|(_, job)| job));
            assert_eq!(over.len(), of.len(), "seed {seed}: every job is over once");
            assert_empty(&lanes);
        }
    }

    fn assert_empty(lanes: &Lanes<u32>) {
        assert!(lanes.lanes.is_empty() && lanes.ready.is_empty() && lanes.later.is_empty());
        assert!(lanes.deadlines.is_empty() && lanes.loads.is_empty() && lanes.entries.is_empty());
    }

    #[test]
    fn loads_behind_a_save_are_found_in_all_of_its_lanes_and_only_there() {
        let mut lanes = Lanes::default();
        push(&mut lanes, &[1], Kind::Load, 0);
        push(&mut lanes, &[1, 2], Kind::Save, 1);
        for (job, key) in [(2, 1), (3, 2), (4, 3), (5, 1)] {
            push(&mut lanes, &[key], Kind::Load, job);
        }
        let (load, _, _) = lanes.take().expect("the load before the save");
        lanes.done(load);
        assert_eq!(lanes.take().map(|(_, _, job)| job), Some(1));
        assert_eq!(lanes.take_out_loads_behind(1), [2, 3, 5]);
        assert_eq!(lanes.take_out_all(), [(Kind::Load, 4)]);
    }
}
