//! A hierarchical timer wheel: set and cancel in constant time, fire in order of wheel ticks; `now` is an argument.
//!
//! Six levels of 64 slots; a slot of level 0 is 2^20 ns (about a millisecond) wide, one of level n is 64 times as
//! wide as one of level n - 1. A timer never fires early; it may fire up to one wheel tick late.

use std::fmt;

use crate::tick::Tick;

const LEVELS: usize = 6;
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
const TICK_BITS: u32 = 20;
const NONE: u32 = u32::MAX;
/// The wheel tick of a wheel without timers.
const NEVER: u64 = u64::MAX;
/// The level of a timer that is due and was not fired: it is in no list.
const DUE: u8 = u8::MAX;

/// Identifies one timer; stale once it has fired or was cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerKey {
    index: u32,
    generation: u32,
}

struct Entry<T> {
    generation: u32,
    at: u64,
    place: (u8, u8),
    before: u32,
    after: u32,
    payload: Option<T>,
}

/// Timers that carry a `T` each.
pub struct TimerWheel<T> {
    entries: Vec<Entry<T>>,
    free: Vec<u32>,
    heads: [[u32; SLOTS]; LEVELS],
    tails: [[u32; SLOTS]; LEVELS],
    occupied: [u64; LEVELS],
    /// The wheel tick up to which everything has fired.
    now: u64,
    /// No linked timer is due before this wheel tick.
    next: u64,
    len: usize,
}

impl<T> Default for TimerWheel<T> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
            heads: [[NONE; SLOTS]; LEVELS],
            tails: [[NONE; SLOTS]; LEVELS],
            occupied: [0; LEVELS],
            now: 0,
            next: NEVER,
            len: 0,
        }
    }
}

impl<T> fmt::Debug for TimerWheel<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TimerWheel({} timers)", self.len)
    }
}

impl<T> TimerWheel<T> {
    /// Timers set and not fired.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no timer is set.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Sets a timer. One in the past fires at the next [`TimerWheel::expire`].
    pub fn set(&mut self, at: Tick, payload: T) -> TimerKey {
        let at = (at.nanos().saturating_add((1 << TICK_BITS) - 1)) >> TICK_BITS;
        let index = self.free.pop().unwrap_or_else(|| {
            let entry =
                Entry { generation: 0, at: 0, place: (0, 0), before: NONE, after: NONE, payload: None };
            self.entries.push(entry);
            (self.entries.len() - 1) as u32
        });
        let entry = &mut self.entries[index as usize];
        entry.at = at;
        entry.payload = Some(payload);
        let generation = entry.generation;
        self.link(index);
        self.len += 1;
        TimerKey { index, generation }
    }

    /// Cancels a timer; `None` if it has fired or was cancelled before.
    pub fn cancel(&mut self, key: TimerKey) -> Option<T> {
        if !self.is_set(key) {
            return None;
        }
        self.unlink(key.index);
        Some(self.release(key.index))
    }

    /// Whether a timer has neither fired nor been cancelled.
    pub fn is_set(&self, key: TimerKey) -> bool {
        let entry = self.entries.get(key.index as usize);
        entry.is_some_and(|entry| entry.generation == key.generation && entry.payload.is_some())
    }

    /// When to call [`TimerWheel::expire`] next: at the next timer's time or earlier.
    pub fn next(&self) -> Option<Tick> {
        (self.len > 0 && self.next != NEVER)
            .then(|| Tick::from_nanos(self.next.saturating_mul(1 << TICK_BITS)))
    }

    /// The first wheel tick at which a slot with timers begins.
    fn first_occupied(&self) -> u64 {
        let levels = self.occupied.iter().enumerate().filter(|(_, occupied)| **occupied != 0);
        let begins = levels.map(|(level, occupied)| {
            let shift = SLOT_BITS * level as u32;
            let position = ((self.now >> shift) & (SLOTS as u64 - 1)) as u32;
            let distance = occupied.rotate_right(position).trailing_zeros();
            (((self.now >> shift) + u64::from(distance)) << shift).max(self.now)
        });
        begins.min().unwrap_or(NEVER)
    }

    /// Passes every timer that is due at `now` to `fired`, in order of their wheel ticks, and within one wheel tick
    /// in the order in which they were set. A timer that was set more than 2^36 wheel ticks (two years and a quarter)
    /// ahead may come after one that was set later for the same wheel tick.
    pub fn expire(&mut self, now: Tick, mut fired: impl FnMut(T)) {
        self.reach(now, |wheel, index| fired(wheel.release(index)));
    }

    /// Appends the keys of all timers that are due at `now`, in the order of [`TimerWheel::expire`]. They do not
    /// count as fired before [`TimerWheel::fire`] takes them, so one callback may still cancel another timer.
    pub fn due(&mut self, now: Tick, keys: &mut Vec<TimerKey>) {
        self.reach(now, |wheel, index| {
            wheel.entries[index as usize].place.0 = DUE;
            keys.push(TimerKey { index, generation: wheel.entries[index as usize].generation });
        });
    }

    /// Takes a timer that was reported as due; `None` if it was cancelled since.
    pub fn fire(&mut self, key: TimerKey) -> Option<T> {
        self.cancel(key)
    }

    /// Takes every timer that is due at `now` out of its list, in order.
    fn reach(&mut self, now: Tick, mut reached: impl FnMut(&mut Self, u32)) {
        let until = now.nanos() >> TICK_BITS;
        while self.next <= until {
            self.now = self.next;
            self.cascade();
            let slot = (self.now & (SLOTS as u64 - 1)) as usize;
            while self.heads[0][slot] != NONE {
                let index = self.heads[0][slot];
                self.unlink(index);
                reached(self, index);
            }
            self.next = self.first_occupied();
        }
        self.now = self.now.max(until);
    }

    /// Moves timers of higher levels whose slot has begun to their current level.
    fn cascade(&mut self) {
        for level in (1..LEVELS).rev() {
            let shift = SLOT_BITS * level as u32;
            let slot = ((self.now >> shift) & (SLOTS as u64 - 1)) as usize;
            let mut index = std::mem::replace(&mut self.heads[level][slot], NONE);
            if index == NONE {
                continue;
            }
            self.tails[level][slot] = NONE;
            self.occupied[level] &= !(1 << slot);
            while index != NONE {
                let after = self.entries[index as usize].after;
                self.link(index);
                index = after;
            }
        }
    }

    fn link(&mut self, index: u32) {
        let at = self.entries[index as usize].at.max(self.now);
        // The highest bit in which due time and present differ determines the timer's level.
        let differing = (at ^ self.now) | 1;
        let level = ((63 - differing.leading_zeros()) / SLOT_BITS).min(LEVELS as u32 - 1);
        let shift = SLOT_BITS * level;
        let reach = ((SLOTS as u64 - 1) << shift) + (self.now & !((1 << shift) - 1));
        let placed_at = at.min(reach.max(self.now));
        let slot = ((placed_at >> shift) & (SLOTS as u64 - 1)) as usize;
        let level = level as usize;
        let tail = std::mem::replace(&mut self.tails[level][slot], index);
        let entry = &mut self.entries[index as usize];
        entry.place = (level as u8, slot as u8);
        entry.before = tail;
        entry.after = NONE;
        if tail == NONE {
            self.heads[level][slot] = index;
        } else {
            self.entries[tail as usize].after = index;
        }
        self.occupied[level] |= 1 << slot;
        // A slot of a higher level is processed when it begins.
        self.next = self.next.min(((placed_at >> shift) << shift).max(self.now));
    }

    fn unlink(&mut self, index: u32) {
        let Entry { before, after, place: (level, slot), .. } = self.entries[index as usize];
        if level == DUE {
            return;
        }
        let (level, slot) = (usize::from(level), usize::from(slot));
        if before == NONE {
            self.heads[level][slot] = after;
        } else {
            self.entries[before as usize].after = after;
        }
        if after == NONE {
            self.tails[level][slot] = before;
        } else {
            self.entries[after as usize].before = before;
        }
        if self.heads[level][slot] == NONE {
            self.occupied[level] &= !(1 << slot);
        }
    }

    fn release(&mut self, index: u32) -> T {
        self.len -= 1;
        self.free.push(index);
        let entry = &mut self.entries[index as usize];
        entry.generation = entry.generation.wrapping_add(1);
        entry.payload.take().expect("a linked timer carries its payload")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const MILLI: u64 = 1_000_000;

    fn at(millis: u64) -> Tick {
        Tick::from_nanos(millis * MILLI)
    }

    fn mix(seed: &mut u64) -> u64 {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *seed >> 33
    }

    #[test]
    fn timers_never_fire_early_and_at_most_one_wheel_tick_late() {
        let mut seed = 7;
        for round in 0..50 {
            let mut wheel = TimerWheel::default();
            let mut now = Tick::from_nanos(round * 977 * MILLI);
            wheel.expire(now, |()| panic!("nothing was set"));
            let mut due: Vec<Tick> = Vec::new();
            let mut pending = TimerWheel::default();
            pending.expire(now, |_: usize| {});
            for index in 0..200 {
                let span = Duration::from_nanos(mix(&mut seed) % (10_u64.pow(3 + (index % 9) as u32)) * 1000);
                due.push(now + span);
                pending.set(now + span, index);
            }
            let mut fired = vec![false; due.len()];
            while !pending.is_empty() {
                let next = pending.next().expect("timers are set");
                now = now.max(next);
                pending.expire(now, |index| {
                    assert!(!fired[index], "fired twice");
                    assert!(due[index] <= now, "{index} fired early");
                    assert!(now.since(due[index]) < Duration::from_nanos(1 << TICK_BITS), "{index} late");
                    fired[index] = true;
                });
            }
            assert!(fired.iter().all(|fired| *fired));
        }
    }

    /// A model of the wheel: a list of timers with their wheel ticks.
    #[derive(Default)]
    struct Model {
        timers: Vec<(u64, TimerKey, u32)>,
        now: u64,
    }

    impl Model {
        fn set(&mut self, at: Tick, key: TimerKey, payload: u32) {
            let tick = at.nanos().div_ceil(1 << TICK_BITS);
            self.timers.push((tick.max(self.now), key, payload));
        }

        /// The due timers in order of their wheel ticks, and within one wheel tick as they were set.
        fn reach(&mut self, now: Tick) -> Vec<(TimerKey, u32)> {
            self.now = self.now.max(now.nanos() >> TICK_BITS);
            let mut due: Vec<_> = self.timers.extract_if(.., |(tick, ..)| *tick <= self.now).collect();
            due.sort_by_key(|(tick, ..)| *tick);
            due.into_iter().map(|(_, key, payload)| (key, payload)).collect()
        }
    }

    /// Of timers that are due together, one cancels the last one. Returns what fired, and what should have.
    fn all_but_the_last(wheel: &mut TimerWheel<u32>, model: &mut Model, now: Tick) -> (Vec<u32>, Vec<u32>) {
        let (wanted, mut keys) = (model.reach(now), Vec::new());
        wheel.due(now, &mut keys);
        assert_eq!(keys, wanted.iter().map(|(key, _)| *key).collect::<Vec<_>>());
        assert_eq!(wheel.len(), model.timers.len() + keys.len(), "none has fired");
        let mut wanted: Vec<u32> = wanted.into_iter().map(|(_, payload)| payload).collect();
        if wanted.len() > 1 {
            assert_eq!(keys.last().and_then(|key| wheel.cancel(*key)), wanted.pop());
        }
        (keys.iter().filter_map(|key| wheel.fire(*key)).collect(), wanted)
    }

    #[test]
    fn it_fires_what_a_sorted_list_would_fire_whatever_is_set_and_cancelled_and_however_time_leaps() {
        let mut chance = crate::prng::Prng::new(3);
        // Up to 200 days: every level, below the range in which longer timers are re-queued.
        let span = |chance: &mut crate::prng::Prng| {
            let power = chance.below(7);
            chance.below(3 << (TICK_BITS as u64 - 4 + power * u64::from(SLOT_BITS)))
        };
        for round in 0..60 {
            let (mut wheel, mut model) = (TimerWheel::default(), Model::default());
            let mut now = Tick::from_nanos(span(&mut chance));
            for step in 0..300_u32 {
                match chance.below(8) {
                    0..=3 => {
                        let at = match chance.below(20) {
                            0 => Tick::from_nanos(now.nanos().saturating_sub(span(&mut chance))),
                            _ => now + Duration::from_nanos(span(&mut chance)),
                        };
                        let key = wheel.set(at, step);
                        model.set(at, key, step);
                    }
                    4 if !model.timers.is_empty() => {
                        let place = chance.below(model.timers.len() as u64) as usize;
                        let (_, key, payload) = model.timers.remove(place);
                        assert!(wheel.is_set(key));
                        assert_eq!((wheel.cancel(key), wheel.is_set(key)), (Some(payload), false));
                    }
                    5 => {
                        now = now + Duration::from_nanos(span(&mut chance) >> 8);
                        let (fired, wanted) = all_but_the_last(&mut wheel, &mut model, now);
                        assert_eq!(fired, wanted, "round {round}, step {step}");
                    }
                    _ => {
                        now = match wheel.next() {
                            Some(next) if chance.below(2) == 0 => now.max(next),
                            _ => now + Duration::from_nanos(span(&mut chance) >> 8),
                        };
                        let mut fired = Vec::new();
                        wheel.expire(now, |payload| fired.push(payload));
                        let wanted: Vec<_> = model.reach(now).iter().map(|(_, payload)| *payload).collect();
                        assert_eq!(fired, wanted, "round {round}, step {step}");
                    }
                }
                assert_eq!((wheel.len(), wheel.is_empty()), (model.timers.len(), model.timers.is_empty()));
                let soonest = model.timers.iter().map(|(tick, ..)| tick << TICK_BITS).min();
                match (wheel.next(), soonest) {
                    (Some(next), Some(soonest)) => {
                        assert!(next.nanos() <= soonest, "round {round}, step {step}")
                    }
                    (next, soonest) => {
                        assert_eq!((next, soonest), (None, None), "round {round}, step {step}")
                    }
                }
            }
            // Sleeping until each `next` in turn reaches the last timer.
            let mut wakes = 10_000_usize;
            while let Some(next) = wheel.next() {
                let mut fired = Vec::new();
                wheel.expire(next, |payload| fired.push(payload));
                assert_eq!(fired, model.reach(next).iter().map(|(_, payload)| *payload).collect::<Vec<_>>());
                wakes = wakes.checked_sub(1).expect("it wakes up for nothing, again and again");
            }
            assert!(model.timers.is_empty());
        }
    }

    #[test]
    fn a_timer_for_years_ahead_or_for_never_keeps_no_other_waiting_and_fires_no_sooner() {
        for far in [Tick::from_nanos(1 << 60), Tick::MAX] {
            let mut wheel = TimerWheel::default();
            let key = wheel.set(far, 1_000);
            let mut fired = Vec::new();
            for exponent in 0..60 {
                let at = Tick::from_nanos(1 << exponent);
                wheel.set(at, exponent);
                assert!(wheel.next().is_some_and(|next| next.nanos() < (1 << exponent) + (1 << TICK_BITS)));
                wheel.expire(at + Duration::from_nanos(1 << TICK_BITS), |number| fired.push(number));
                assert_eq!(fired.last(), Some(&exponent));
            }
            assert_eq!((fired.len(), wheel.is_set(key)), (60, true));
            wheel.expire(far, |number| fired.push(number));
            assert_eq!((fired.last(), wheel.next()), (Some(&1_000), None));
        }
    }

    #[test]
    fn a_timer_that_is_due_at_a_wheel_tick_fires_then_and_not_a_nanosecond_before() {
        for tick in [1_u64, 63, 64, 65, 4096, 1 << 30] {
            let (mut wheel, at) = (TimerWheel::default(), Tick::from_nanos(tick << TICK_BITS));
            let mut fired = 0;
            wheel.set(at, ());
            wheel.expire(Tick::from_nanos(at.nanos() - 1), |()| fired += 1);
            assert_eq!(fired, 0, "wheel tick {tick}");
            wheel.expire(at, |()| fired += 1);
            assert_eq!(fired, 1, "wheel tick {tick}");
        }
    }

    #[test]
    fn of_timers_that_are_due_together_one_may_cancel_another() {
        let mut wheel = TimerWheel::default();
        let keys: Vec<TimerKey> = (0..4).map(|index| wheel.set(at(5), index)).collect();
        let later = wheel.set(at(90), 9);
        let mut due = Vec::new();
        wheel.due(at(7), &mut due);
        assert_eq!((due.as_slice(), wheel.len()), (keys.as_slice(), 5), "none of them has fired");
        assert!(due.iter().all(|key| wheel.is_set(*key)));
        assert_eq!(wheel.fire(due[0]), Some(0));
        assert_eq!((wheel.cancel(keys[2]), wheel.cancel(keys[0])), (Some(2), None));
        // New timers reuse the slots of those that are gone, with other keys.
        let new: Vec<TimerKey> = (10..12).map(|index| wheel.set(at(8), index)).collect();
        assert_eq!([wheel.fire(due[1]), wheel.fire(due[2]), wheel.fire(due[3])], [Some(1), None, Some(3)]);
        due.clear();
        wheel.due(at(100), &mut due);
        assert_eq!(due, [new[0], new[1], later]);
        assert_eq!(due.iter().filter_map(|key| wheel.fire(*key)).collect::<Vec<_>>(), [10, 11, 9]);
        assert!(wheel.is_empty() && wheel.next().is_none());
    }

    #[test]
    fn a_cancelled_timer_never_fires_and_its_key_is_stale() {
        let mut wheel = TimerWheel::default();
        let key = wheel.set(at(5), "cancelled");
        let kept = wheel.set(at(5), "kept");
        assert_eq!(wheel.cancel(key), Some("cancelled"));
        assert_eq!(wheel.cancel(key), None);
        let mut fired = Vec::new();
        wheel.expire(at(10), |name| fired.push(name));
        assert_eq!(fired, ["kept"]);
        assert_eq!(wheel.cancel(kept), None);
        assert!(wheel.is_empty() && wheel.next().is_none());
    }

    #[test]
    fn a_jump_of_the_clock_fires_everything_due_once() {
        let mut wheel = TimerWheel::default();
        for millis in [1, 100, 10_000, 1_000_000, 100_000_000] {
            wheel.set(at(millis), millis);
        }
        let mut fired = Vec::new();
        wheel.expire(at(200_000_000), |millis| fired.push(millis));
        assert_eq!(fired, [1, 100, 10_000, 1_000_000, 100_000_000]);
    }

    #[test]
    fn timers_of_one_moment_fire_in_the_order_in_which_they_were_set() {
        for millis in [0, 5, 70, 5_000, 300_000, 20_000_000] {
            let mut wheel = TimerWheel::default();
            for number in 0..4 {
                wheel.set(at(millis), number);
            }
            let mut fired = Vec::new();
            while let Some(next) = wheel.next() {
                wheel.expire(next, |number| fired.push(number));
            }
            assert_eq!(fired, [0, 1, 2, 3], "after {millis} ms");
        }
    }

    #[test]
    fn a_timer_set_while_others_fire_is_not_lost() {
        let mut wheel = TimerWheel::default();
        wheel.set(at(1), 1);
        let mut again = Vec::new();
        wheel.expire(at(2), |n| again.push(n));
        wheel.set(at(0), 2);
        wheel.expire(at(2), |n| again.push(n));
        assert_eq!(again, [1, 2]);
    }
}
