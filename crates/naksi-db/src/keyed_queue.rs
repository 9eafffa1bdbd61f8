//! A queue with keys: jobs that share a key run one at a time, in the order of submission; all others run
//! concurrently. A job with several keys waits until it is first for each of them.
//!
//! This is also the relog fence: a load runs after the earlier saves of its key. Time is an argument; there is no
//! thread and no database here.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Instant;

/// What a job is about: a player, a guild, an account. Jobs that share a key keep their order.
///
/// Made from a number, a text, or a text and a key, as in `("guild", 7)`. A number is the same key whatever its
/// integer type. Keys whose hashes collide are serialized with each other, which costs waiting time only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(u64);

macro_rules! keys_of_numbers {
    ($($kind:ty)*) => {
        $(impl From<$kind> for Key {
            fn from(number: $kind) -> Self {
                // Truncation is fine: a collision costs waiting time only.
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

/// A job's number in the queue, in the order of submission.
pub(crate) type Ticket = u64;

struct Entry<J> {
    keys: Vec<Key>,
    kind: Kind,
    /// KeyedQueue in which it is not the first.
    blocked: usize,
    deadline: Instant,
    /// The time of its next attempt, if it is retried.
    retry_at: Option<Instant>,
    /// `None` while it runs.
    job: Option<J>,
}

/// A job that passed its deadline while it waited.
pub(crate) struct Late<J> {
    pub(crate) kind: Kind,
    pub(crate) job: J,
    /// If it is a save: the loads that waited for it.
    pub(crate) behind: Vec<J>,
}

/// All jobs, and per key the order in which they run.
pub(crate) struct KeyedQueue<J> {
    entries: HashMap<Ticket, Entry<J>>,
    by_key: HashMap<Key, VecDeque<Ticket>>,
    /// First for all of their keys; the oldest is taken first.
    ready: BTreeSet<Ticket>,
    /// First for all of their keys, but not to be retried before a time.
    later: BTreeSet<(Instant, Ticket)>,
    deadlines: BTreeSet<(Instant, Ticket)>,
    /// Waiting loads, the oldest first.
    loads: BTreeSet<Ticket>,
    next: Ticket,
    running: usize,
}

impl<J> Default for KeyedQueue<J> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            by_key: HashMap::new(),
            ready: BTreeSet::new(),
            later: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            loads: BTreeSet::new(),
            next: 0,
            running: 0,
        }
    }
}

impl<J> KeyedQueue<J> {
    /// Jobs that wait for their first or next attempt.
    pub(crate) fn waiting(&self) -> usize {
        self.entries.len() - self.running
    }

    /// Running jobs.
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

    /// Appends a job for each of its keys.
    pub(crate) fn push(&mut self, mut keys: Vec<Key>, kind: Kind, deadline: Instant, job: J) {
        keys.sort_unstable();
        keys.dedup();
        let ticket = self.next;
        self.next += 1;
        let mut blocked = 0;
        for key in &keys {
            let lane = self.by_key.entry(*key).or_default();
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
        self.entries.insert(ticket, Entry { keys, kind, blocked, deadline, retry_at: None, job: Some(job) });
    }

    /// Takes the oldest ready job. It blocks its keys until [`KeyedQueue::done`] or [`KeyedQueue::retry`].
    pub(crate) fn take(&mut self) -> Option<(Ticket, Kind, J)> {
        let ticket = self.ready.pop_first()?;
        let entry = self.entries.get_mut(&ticket).expect("a job that is ready exists");
        self.loads.remove(&ticket);
        self.deadlines.remove(&(entry.deadline, ticket));
        self.running += 1;
        let job = entry.job.take().expect("a job that is ready does not run");
        Some((ticket, entry.kind, job))
    }

    /// A job is finished: the next jobs of its keys may run.
    pub(crate) fn done(&mut self, ticket: Ticket) {
        self.running -= 1;
        self.remove(ticket);
    }

    /// Schedules another attempt of a job. It keeps its position for each of its keys.
    pub(crate) fn retry(&mut self, ticket: Ticket, at: Instant, job: J) {
        self.running -= 1;
        let entry = self.entries.get_mut(&ticket).expect("a job that ran exists");
        entry.job = Some(job);
        entry.retry_at = Some(at);
        self.deadlines.insert((entry.deadline, ticket));
        if entry.kind == Kind::Load {
            self.loads.insert(ticket);
        }
        self.later.insert((at, ticket));
    }

    /// Makes due retries ready, and removes the jobs that are past their deadline.
    pub(crate) fn advance(&mut self, now: Instant) -> Vec<Late<J>> {
        while let Some((at, ticket)) = self.later.first().copied().filter(|(at, _)| *at <= now) {
            self.later.remove(&(at, ticket));
            self.entries.get_mut(&ticket).expect("a job that waits exists").retry_at = None;
            self.ready.insert(ticket);
        }
        let mut late = Vec::new();
        while let Some((_, ticket)) = self.deadlines.first().copied().filter(|(at, _)| *at <= now) {
            let kind = self.entries[&ticket].kind;
            let behind = if kind == Kind::Save { self.remove_loads_behind(ticket) } else { Vec::new() };
            late.extend(self.remove_waiting(ticket).map(|job| Late { kind, job, behind }));
        }
        late
    }

    /// The next time at which [`KeyedQueue::advance`] has work.
    pub(crate) fn next_advance(&self) -> Option<Instant> {
        let firsts = [self.later.first(), self.deadlines.first()];
        firsts.into_iter().flatten().map(|(at, _)| *at).min()
    }

    /// Removes the oldest waiting load.
    pub(crate) fn remove_oldest_load(&mut self) -> Option<J> {
        let ticket = *self.loads.first()?;
        self.remove_waiting(ticket)
    }

    /// Removes every waiting load.
    pub(crate) fn remove_loads(&mut self) -> Vec<J> {
        std::iter::from_fn(|| self.remove_oldest_load()).collect()
    }

    /// Removes the loads that wait behind this job for one of its keys.
    pub(crate) fn remove_loads_behind(&mut self, ticket: Ticket) -> Vec<J> {
        let keys = self.entries.get(&ticket).map(|entry| entry.keys.clone()).unwrap_or_default();
        let behind: BTreeSet<Ticket> = keys
            .iter()
            .filter_map(|key| self.by_key.get(key))
            .flat_map(|lane| lane.iter().copied().skip_while(|other| *other != ticket).skip(1))
            .filter(|other| self.loads.contains(other))
            .collect();
        behind.into_iter().filter_map(|ticket| self.remove_waiting(ticket)).collect()
    }

    /// Removes every waiting job.
    pub(crate) fn remove_all(&mut self) -> Vec<(Kind, J)> {
        let waiting: BTreeMap<Ticket, Kind> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.job.is_some())
            .map(|(ticket, entry)| (*ticket, entry.kind))
            .collect();
        waiting
            .into_iter()
            .filter_map(|(ticket, kind)| self.remove_waiting(ticket).map(|job| (kind, job)))
            .collect()
    }

    /// Removes a waiting job.
    fn remove_waiting(&mut self, ticket: Ticket) -> Option<J> {
        let entry = self.entries.get_mut(&ticket)?;
        let job = entry.job.take()?;
        self.deadlines.remove(&(entry.deadline, ticket));
        if let Some(at) = entry.retry_at {
            self.later.remove(&(at, ticket));
        }
        self.loads.remove(&ticket);
        self.ready.remove(&ticket);
        self.remove(ticket);
        Some(job)
    }

    /// Removes a job; the ones behind it may become ready.
    fn remove(&mut self, ticket: Ticket) {
        let entry = self.entries.remove(&ticket).expect("a job is removed once");
        for key in entry.keys {
            let lane = self.by_key.get_mut(&key).expect("a job's lane exists");
            let place = lane.iter().position(|other| *other == ticket).expect("a job stands in its queue");
            lane.remove(place);
            let first = lane.front().copied().filter(|_| place == 0);
            if lane.is_empty() {
                self.by_key.remove(&key);
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

    /// Pushes a job with a number as its payload.
    fn push(queue: &mut KeyedQueue<u32>, of: &[u64], kind: Kind, job: u32) {
        queue.push(keys(of), kind, Instant::now() + NEVER, job);
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
        let mut queue = KeyedQueue::default();
        for (job, key) in [(0, 1), (1, 1), (2, 2), (3, 1)] {
            push(&mut queue, &[key], Kind::Save, job);
        }
        let (first, _, job) = queue.take().expect("the first of key 1");
        assert_eq!(job, 0);
        assert_eq!(queue.take().map(|(_, _, job)| job), Some(2));
        assert!(queue.take().is_none(), "the others wait for the first");
        queue.retry(first, Instant::now(), job);
        assert!(queue.take().is_none(), "and while it is to be tried again");
        assert!(queue.advance(Instant::now()).is_empty());
        let (first, _, job) = queue.take().expect("again");
        assert_eq!(job, 0);
        queue.done(first);
        let (second, _, job) = queue.take().expect("its turn");
        assert_eq!(job, 1);
        queue.done(second);
        assert_eq!(queue.take().map(|(_, _, job)| job), Some(3));
    }

    #[test]
    fn whatever_happens_to_jobs_of_several_keys_none_meets_another_of_its_keys_and_all_have_their_turn() {
        for seed in 0..200 {
            let mut chance = Prng::new(seed);
            let mut now = Instant::now();
            let mut queue = KeyedQueue::default();
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
                        queue.push(keys.clone(), kind, deadline, of.len() as u32);
                        of.push((keys, deadline));
                    }
                    2 if going_on => over.extend(queue.remove_oldest_load()),
                    3 => {
                        for late in queue.advance(now) {
                            assert!(of[late.job as usize].1 <= now, "it had time left");
                            assert!(over.insert(late.job));
                            over.extend(late.behind);
                        }
                    }
                    4 if !running.is_empty() => {
                        let (ticket, job) = running.swap_remove(chance.below(running.len() as u64) as usize);
                        if going_on && chance.chance(20_000) {
                            queue.retry(ticket, now + Duration::from_millis(chance.below(10)), job);
                        } else {
                            let fails = chance.chance(10_000).then(|| queue.remove_loads_behind(ticket));
                            over.extend(fails.unwrap_or_default());
                            queue.done(ticket);
                            assert!(over.insert(job));
                        }
                    }
                    _ => {
                        if let Some((ticket, _, job)) = queue.take() {
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
                assert_eq!(queue.waiting() + running.len() + over.len(), of.len(), "seed {seed} step {step}");
            }
            for (ticket, job) in running.drain(..) {
                queue.done(ticket);
                over.insert(job);
            }
            let left = queue.remove_all();
            over.extend(left.into_iter().map(|(_, job)| job));
            assert_eq!(over.len(), of.len(), "seed {seed}: every job is over once");
            assert_empty(&queue);
        }
    }

    fn assert_empty(queue: &KeyedQueue<u32>) {
        assert!(queue.by_key.is_empty() && queue.ready.is_empty() && queue.later.is_empty());
        assert!(queue.deadlines.is_empty() && queue.loads.is_empty() && queue.entries.is_empty());
    }

    #[test]
    fn loads_behind_a_save_are_found_for_all_of_its_keys_and_no_others() {
        let mut queue = KeyedQueue::default();
        push(&mut queue, &[1], Kind::Load, 0);
        push(&mut queue, &[1, 2], Kind::Save, 1);
        for (job, key) in [(2, 1), (3, 2), (4, 3), (5, 1)] {
            push(&mut queue, &[key], Kind::Load, job);
        }
        let (load, _, _) = queue.take().expect("the load before the save");
        queue.done(load);
        assert_eq!(queue.take().map(|(_, _, job)| job), Some(1));
        assert_eq!(queue.remove_loads_behind(1), [2, 3, 5]);
        assert_eq!(queue.remove_all(), [(Kind::Load, 4)]);
    }
}
