//! The queue of droppable messages for a slow receiver: they wait while a batch is in flight, and give way to newer
//! ones.
//!
//! Messages in the send queue proper are never dropped silently. Droppable messages wait beside it in order; each
//! message's class decides what is dropped or replaced when the receiver does not keep up. Bounded in bytes and in
//! entries, and empty while the receiver keeps up.

use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};

use crate::limits::Limits;
use crate::tick::Tick;

/// What happens to droppable messages of a class when the receiver does not keep up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LagPolicy {
    /// When there is no room, the oldest waiting messages of the class are dropped.
    DropOld,
    /// When there is no room, the new one is dropped.
    DropNew,
    /// Only the latest message per key waits, in the position of the first; when there is no room for another key,
    /// the oldest waiting message of the class is dropped.
    Latest,
    /// When there is no room, the session ends.
    End,
}

/// A kind of messages that are treated alike.
///
/// ```
/// use naksi_core::droppable_queue::{LagPolicy, PacketClass};
/// const POSITIONS: PacketClass = PacketClass { number: 1, lag_policy: LagPolicy::Latest };
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketClass {
    /// Its number, shown in logs; unique within a service.
    pub number: u8,
    /// What happens when a receiver does not keep up.
    pub lag_policy: LagPolicy,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    /// It waits, perhaps in the position of an older one with its key.
    Waits,
    /// It waits, and this many older ones were dropped for it.
    Instead(u64),
    /// It was dropped.
    Dropped,
    /// It does not fit, and its class requires the session to end.
    End,
}

#[derive(Debug)]
struct Entry {
    class: u8,
    key: Option<u64>,
    /// Empty: it was dropped, and only its place is left.
    bytes: Bytes,
    since: Tick,
}

/// The droppable queue of one session.
#[derive(Debug, Default)]
pub struct DroppableQueue {
    entries: VecDeque<Entry>,
    /// The number of the first entry; the others follow.
    first: u64,
    /// The index of the waiting message of a class and key.
    latest: BTreeMap<(u8, u64), u64>,
    waiting: usize,
    bytes: usize,
}

impl DroppableQueue {
    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of memory that the queue keeps: the messages, and the lists of them.
    pub fn held_bytes(&self) -> usize {
        // An entry of the map takes its key, its value and a part of a node.
        let lists = self.entries.capacity() * size_of::<Entry>() + self.latest.len() * 32;
        size_of::<Self>() + lists + self.bytes
    }

    /// Messages that wait.
    pub fn len(&self) -> usize {
        self.waiting
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Since when the oldest waiting message waits; for a key, since its first message.
    pub fn since(&self) -> Option<Tick> {
        self.entries.iter().find(|entry| !entry.bytes.is_empty()).map(|entry| entry.since)
    }

    /// Queues a message at the end, or in the position of an older one. An empty message is ignored.
    pub fn push(&mut self, class: PacketClass, key: u64, bytes: Bytes, now: Tick, limits: &Limits) -> Placed {
        if bytes.is_empty() {
            return Placed::Waits;
        }
        let key = (class.lag_policy == LagPolicy::Latest).then_some(key);
        if bytes.len() > limits.data_bytes_max && class.lag_policy != LagPolicy::End {
            // A message that can never wait here displaces no other, but the one under its own key is out of date.
            if let Some(number) = key.and_then(|key| self.latest.get(&(class.number, key))).copied() {
                self.drop_at((number - self.first) as usize);
            }
            return Placed::Dropped;
        }
        let mut dropped = 0;
        if let Some(key) = key
            && let Some(number) = self.latest.get(&(class.number, key)).copied()
        {
            let entry = &mut self.entries[(number - self.first) as usize];
            let old = std::mem::replace(&mut entry.bytes, bytes);
            self.bytes = self.bytes + entry.bytes.len() - old.len();
            // A longer message may displace others, but not itself.
            while self.bytes > limits.data_bytes_max && self.drop_oldest(class.number, Some(number)) {
                dropped += 1;
            }
            if self.bytes > limits.data_bytes_max {
                self.drop_at((number - self.first) as usize);
                dropped += 1;
            }
            return if dropped > 0 { Placed::Instead(dropped) } else { Placed::Waits };
        }
        while !self.has_room(bytes.len(), limits) {
            match class.lag_policy {
                LagPolicy::DropOld | LagPolicy::Latest if self.drop_oldest(class.number, None) => {
                    dropped += 1
                }
                LagPolicy::End => return Placed::End,
                _ => return if dropped > 0 { Placed::Instead(dropped + 1) } else { Placed::Dropped },
            }
        }
        // Empty entries must not pile up behind a first message that may not be dropped.
        if self.entries.len() > 2 * self.waiting + 64 {
            self.close_ranks();
        }
        if let Some(key) = key {
            self.latest.insert((class.number, key), self.first + self.entries.len() as u64);
        }
        (self.bytes, self.waiting) = (self.bytes + bytes.len(), self.waiting + 1);
        self.entries.push_back(Entry { class: class.number, key, bytes, since: now });
        if dropped > 0 { Placed::Instead(dropped) } else { Placed::Waits }
    }

    /// The message that has waited longest.
    pub fn first(&mut self) -> Option<&Bytes> {
        self.shed();
        self.entries.front().map(|entry| &entry.bytes)
    }

    /// Takes the message that has waited longest.
    pub fn pop(&mut self) -> Option<Bytes> {
        self.shed();
        (!self.entries.is_empty()).then(|| {
            let bytes = self.drop_at(0);
            self.shed();
            bytes
        })
    }

    fn has_room(&self, bytes: usize, limits: &Limits) -> bool {
        self.waiting < limits.data_entries_max && self.bytes + bytes <= limits.data_bytes_max
    }

    /// Drops the oldest waiting message of a class, except the one with this number. Returns whether there was one.
    fn drop_oldest(&mut self, class: u8, but: Option<u64>) -> bool {
        let but = but.map(|number| (number - self.first) as usize);
        let mut candidates = self.entries.iter().enumerate();
        let found = candidates
            .find(|(place, entry)| entry.class == class && !entry.bytes.is_empty() && Some(*place) != but);
        let Some((place, _)) = found else { return false };
        self.drop_at(place);
        true
    }

    fn drop_at(&mut self, place: usize) -> Bytes {
        let entry = &mut self.entries[place];
        let bytes = std::mem::take(&mut entry.bytes);
        (self.bytes, self.waiting) = (self.bytes - bytes.len(), self.waiting - 1);
        if let Some(key) = entry.key {
            self.latest.remove(&(entry.class, key));
        }
        bytes
    }

    /// Removes empty entries at the front, and frees all memory with the last of them.
    fn shed(&mut self) {
        while self.entries.front().is_some_and(|entry| entry.bytes.is_empty()) {
            self.entries.pop_front();
            self.first += 1;
        }
        if self.entries.is_empty() {
            self.entries = VecDeque::new();
        }
    }

    fn close_ranks(&mut self) {
        self.entries.retain(|entry| !entry.bytes.is_empty());
        for (place, entry) in self.entries.iter().enumerate() {
            if let Some(key) = entry.key {
                self.latest.insert((entry.class, key), self.first + place as u64);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLASSES: [PacketClass; 4] = [
        PacketClass { number: 0, lag_policy: LagPolicy::DropOld },
        PacketClass { number: 1, lag_policy: LagPolicy::DropNew },
        PacketClass { number: 2, lag_policy: LagPolicy::Latest },
        PacketClass { number: 3, lag_policy: LagPolicy::End },
    ];

    fn limits(bytes: usize, entries: usize) -> Limits {
        Limits { data_bytes_max: bytes, data_entries_max: entries, ..Limits::default() }
    }

    /// What the plane should do, in a list, without any haste.
    #[derive(Default)]
    struct Model(Vec<(u8, Option<u64>, Bytes)>);

    impl Model {
        fn bytes(&self) -> usize {
            self.0.iter().map(|(.., bytes)| bytes.len()).sum()
        }

        fn drop_oldest(&mut self, class: u8, but: Option<u64>) -> bool {
            let found =
                self.0.iter().position(|(mine, key, _)| *mine == class && (but.is_none() || *key != but));
            found.map(|place| self.0.remove(place)).is_some()
        }

        fn push(&mut self, class: PacketClass, key: u64, bytes: &Bytes, limits: &Limits) -> Placed {
            let key = (class.lag_policy == LagPolicy::Latest).then_some(key);
            let same = self
                .0
                .iter()
                .position(|(mine, old, _)| key.is_some() && *mine == class.number && *old == key);
            if bytes.len() > limits.data_bytes_max && class.lag_policy != LagPolicy::End {
                same.map(|place| self.0.remove(place));
                return Placed::Dropped;
            }
            let before = self.0.len();
            if let Some(place) = same {
                self.0[place].2 = bytes.clone();
                while self.bytes() > limits.data_bytes_max && self.drop_oldest(class.number, key) {}
                if self.bytes() > limits.data_bytes_max {
                    self.0.retain(|(mine, old, _)| *mine != class.number || *old != key);
                }
                return Self::placed(before - self.0.len());
            }
            while self.0.len() >= limits.data_entries_max
                || self.bytes() + bytes.len() > limits.data_bytes_max
            {
                match class.lag_policy {
                    LagPolicy::DropOld | LagPolicy::Latest if self.drop_oldest(class.number, None) => {}
                    LagPolicy::End => return Placed::End,
                    _ if self.0.len() == before => return Placed::Dropped,
                    _ => return Self::placed(before - self.0.len() + 1),
                }
            }
            let dropped = before - self.0.len();
            self.0.push((class.number, key, bytes.clone()));
            Self::placed(dropped)
        }

        fn placed(dropped: usize) -> Placed {
            if dropped > 0 { Placed::Instead(dropped as u64) } else { Placed::Waits }
        }
    }

    #[test]
    fn it_holds_what_a_plain_list_would_hold_under_any_pushes_and_pops() {
        let mut seed = 5_u64;
        let mut chance = move |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        for round in 0..300 {
            let limits = limits(20 + chance(200) as usize, 1 + chance(12) as usize);
            let (mut plane, mut model) = (DroppableQueue::default(), Model::default());
            for step in 0..400 {
                if chance(4) == 0 {
                    let wanted = (!model.0.is_empty()).then(|| model.0.remove(0).2);
                    assert_eq!(plane.first().cloned(), wanted);
                    assert_eq!(plane.pop(), wanted, "round {round}, step {step}");
                } else {
                    let class = CLASSES[chance(4) as usize];
                    let bytes = Bytes::from(vec![step as u8; 1 + chance(40) as usize]);
                    let key = chance(6);
                    let wanted = model.push(class, key, &bytes, &limits);
                    let placed = plane.push(class, key, bytes, Tick::ZERO, &limits);
                    assert_eq!(placed, wanted, "round {round}, step {step}");
                }
                assert_eq!((plane.len(), plane.bytes()), (model.0.len(), model.bytes()), "{round}.{step}");
                assert_eq!(plane.is_empty(), model.0.is_empty());
                assert!(plane.len() <= limits.data_entries_max && plane.bytes() <= limits.data_bytes_max);
                assert!(plane.entries.len() <= 2 * plane.len() + 65 + limits.data_entries_max);
            }
            while let Some(bytes) = plane.pop() {
                assert_eq!(bytes, model.0.remove(0).2);
            }
            assert!(model.0.is_empty() && plane.latest.is_empty() && plane.entries.capacity() == 0);
        }
    }

    #[test]
    fn of_every_key_the_latest_is_there_and_nothing_else() {
        let (mut plane, limits) = (DroppableQueue::default(), limits(10_000, 100));
        for value in 0..50_u8 {
            for key in 0..100 {
                let placed =
                    plane.push(CLASSES[2], key, Bytes::from(vec![key as u8, value]), Tick::ZERO, &limits);
                assert_eq!(placed, Placed::Waits);
            }
        }
        let left: Vec<_> = std::iter::from_fn(|| plane.pop()).collect();
        assert_eq!(left, (0..100).map(|key| vec![key, 49]).collect::<Vec<_>>());
    }

    #[test]
    fn a_message_that_can_never_wait_takes_nobodys_place() {
        let (mut plane, limits) = (DroppableQueue::default(), limits(100, 10));
        let mut push =
            |class, key, bytes| plane.push(class, key, Bytes::from(vec![1; bytes]), Tick::ZERO, &limits);
        for class in [CLASSES[0], CLASSES[1], CLASSES[2]] {
            assert_eq!(push(class, 1, 30), Placed::Waits);
            assert_eq!(push(class, 2, 101), Placed::Dropped);
        }
        assert_eq!(push(CLASSES[2], 1, 101), Placed::Dropped, "what is known under its key is out of date");
        assert_eq!((plane.len(), plane.bytes()), (2, 60));
    }

    #[test]
    fn places_that_were_left_behind_do_not_pile_up_behind_one_that_stays() {
        let (mut plane, limits) = (DroppableQueue::default(), limits(64_000, 1_000));
        let long = |bytes| Bytes::from(vec![1; bytes]);
        plane.push(CLASSES[1], 0, long(60_000), Tick::ZERO, &limits);
        for _ in 0..1_000 {
            // The second message is too long for the space left, and removes the first one of its key.
            assert_eq!(plane.push(CLASSES[2], 7, long(1_000), Tick::ZERO, &limits), Placed::Waits);
            assert_eq!(plane.push(CLASSES[2], 7, long(10_000), Tick::ZERO, &limits), Placed::Instead(1));
        }
        assert_eq!((plane.len(), plane.bytes()), (1, 60_000));
        assert!(plane.entries.len() < 100, "{} places for one message", plane.entries.len());
    }

    #[test]
    fn places_of_many_that_were_dropped_at_once_do_not_pile_up_and_keys_stay_with_their_messages() {
        let (mut plane, limits) = (DroppableQueue::default(), limits(64_000, 1_000));
        let message = |byte: u8, bytes: usize| Bytes::from(vec![byte; bytes]);
        for key in 0..10 {
            plane.push(CLASSES[2], key, message(0, 1), Tick::ZERO, &limits);
        }
        (0..5).for_each(|_| drop(plane.pop()));
        for _ in 0..200 {
            plane.push(CLASSES[0], 0, message(1, 10), Tick::ZERO, &limits);
        }
        for _ in 0..1_000 {
            // It takes the room of all that are old.
            plane.push(CLASSES[0], 0, message(2, 63_995), Tick::ZERO, &limits);
            plane.push(CLASSES[0], 0, message(3, 10), Tick::ZERO, &limits);
        }
        assert!(plane.entries.len() < 300, "{} places for {} messages", plane.entries.len(), plane.len());
        for key in 5..10 {
            assert_eq!(
                plane.push(CLASSES[2], key, message(key as u8, 1), Tick::ZERO, &limits),
                Placed::Waits
            );
        }
        let left: Vec<_> = std::iter::from_fn(|| plane.pop()).map(|bytes| bytes[0]).collect();
        assert_eq!(left, [5, 6, 7, 8, 9, 3]);
    }

    #[test]
    fn what_it_holds_is_its_messages_and_the_lists_of_them() {
        let limits = limits(10_000, 1_000);
        let held = |class: PacketClass, messages: u64| {
            let mut plane = DroppableQueue::default();
            for key in 0..messages {
                plane.push(class, key, Bytes::from(vec![1; 50]), Tick::ZERO, &limits);
            }
            plane.held_bytes()
        };
        assert_eq!(held(CLASSES[0], 0), size_of::<DroppableQueue>());
        let entries = 100 * (50 + size_of::<Entry>());
        let without_keys = held(CLASSES[0], 100);
        assert!((entries..4 * entries).contains(&without_keys), "{without_keys} bytes, and {entries} used");
        let of_keys = held(CLASSES[2], 100) - without_keys;
        assert!((100 * 24..100 * 100).contains(&of_keys), "{of_keys} bytes for a hundred keys");
    }

    #[test]
    fn it_says_since_when_something_waits() {
        let (mut plane, limits) = (DroppableQueue::default(), limits(100, 2));
        assert_eq!(plane.since(), None);
        for tick in [5, 6, 7] {
            plane.push(CLASSES[0], 0, Bytes::from_static(b"x"), Tick::from_nanos(tick), &limits);
        }
        assert_eq!(plane.since(), Some(Tick::from_nanos(6)), "the oldest has made room");
    }
}
