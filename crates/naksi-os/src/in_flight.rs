//! The in-flight table: it owns every buffer that a kernel may touch.
//!
//! The life of an operation, for every backend:
//!
//! ```text
//!   Idle ──submit──► Running(held) ──terminal completion──► Done(held returned) ──► Idle, generation + 1
//!                        │
//!                        └──abandon──► Abandoned(held) ──terminal completion──► freed here ──► Idle
//! ```
//!
//! *Submit* moves everything the kernel may touch (`H`: the batch, the buffer, the address it points to) into a slot
//! of this table. From then on only the slot owns it: the caller cannot reach it, and the kernel never gets a
//! borrowed pointer (law 2). The slot's key travels with the operation (as io_uring's user data, or beside an
//! OVERLAPPED) and comes back in every completion.
//!
//! *A terminal completion* (law 1) takes the held values out and frees the slot. A completion with `more` leaves them
//! in place. The key carries the slot's generation: a completion of an operation that is gone, or one that a broken
//! kernel invents, is recognised and counted, never mistaken for the slot's next operation.
//!
//! *Abandon* is for the end of a port: the result is not needed, but the kernel may still touch the buffer, so the
//! slot keeps it and the completion frees it. If a deadline passes first, the slots are leaked on purpose (law 10):
//! leaked memory is counted, memory reused under a kernel would be corrupted.

use crate::port::Trimmed;
use naksi_core::id::Token;
use std::mem;
use std::num::NonZeroU32;

/// The key of one operation in flight: slot and generation in one word; never below 2^32, so a backend can use small
/// words for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    slot: u32,
    /// Never 0, so that an `Option<Key>` is no larger than a key.
    generation: NonZeroU32,
}

impl Key {
    /// A key that no operation has: there are fewer than 2^32 - 1 slots.
    const NO_OPERATION: Self = Self { slot: u32::MAX, generation: NonZeroU32::MAX };

    fn new(slot: u32, generation: NonZeroU32) -> Self {
        Self { slot, generation }
    }

    /// The key as the word that travels through a kernel.
    pub fn to_u64(self) -> u64 {
        u64::from(self.generation.get()) << 32 | u64::from(self.slot)
    }

    /// The key from a completion. A number that was never a key becomes `NO_OPERATION`.
    pub fn from_u64(raw: u64) -> Self {
        NonZeroU32::new((raw >> 32) as u32)
            .map_or(Self::NO_OPERATION, |generation| Self::new(raw as u32, generation))
    }

    fn slot(self) -> usize {
        self.slot as usize
    }
}

/// Slots that are never freed.
const SLOTS_KEPT: usize = 1024;

enum State<H> {
    Idle,
    Running { token: Token, held: H },
    Abandoned { held: H },
}

struct Slot<H> {
    generation: NonZeroU32,
    state: State<H>,
}

/// What a terminal completion finds in its slot.
#[derive(Debug)]
pub enum Finished<H> {
    /// In use: its token, and what the completion returns.
    Wanted(Token, H),
    /// It had been abandoned; its things are the finder's to free.
    Abandoned(H),
    /// No such operation is in flight: a stale or an invented key.
    Unknown,
}

/// The operations in flight of one port.
pub struct InFlight<H> {
    slots: Vec<Slot<H>>,
    free: Vec<u32>,
    running: usize,
    abandoned: usize,
    /// Most slots that were in use at once since the last trim.
    peak: usize,
    /// The generation at which new slots start: above those of every slot that was freed (law 3).
    first_generation: NonZeroU32,
}

impl<H> Default for InFlight<H> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            running: 0,
            abandoned: 0,
            peak: 0,
            // Not 0, so that a key is never one of the small numbers that a backend reserves.
            first_generation: NonZeroU32::MIN,
        }
    }
}

impl<H> InFlight<H> {
    /// Takes ownership of what a kernel may touch from now on.
    pub fn start(&mut self, token: Token, held: H) -> Key {
        self.running += 1;
        self.peak = self.peak.max(self.running + self.abandoned);
        let state = State::Running { token, held };
        if let Some(index) = self.free.pop() {
            let slot = &mut self.slots[index as usize];
            slot.state = state;
            return Key::new(index, slot.generation);
        }
        let index = u32::try_from(self.slots.len()).expect("fewer than 2^32 operations in flight");
        let generation = self.first_generation;
        self.slots.push(Slot { generation, state });
        Key::new(index, generation)
    }

    /// The token and the held values of a running operation, for example to pass their addresses to a kernel.
    pub fn running(&mut self, key: Key) -> Option<(Token, &mut H)> {
        let slot = self.slots.get_mut(key.slot()).filter(|slot| slot.generation == key.generation)?;
        match &mut slot.state {
            State::Running { token, held } => Some((*token, held)),
            State::Idle | State::Abandoned { .. } => None,
        }
    }

    /// A terminal completion: frees the slot and returns its values.
    pub fn finish(&mut self, key: Key) -> Finished<H> {
        let slot = self.slots.get_mut(key.slot());
        let Some(slot) = slot.filter(|slot| slot.generation == key.generation) else {
            return Finished::Unknown;
        };
        let finished = match mem::replace(&mut slot.state, State::Idle) {
            State::Idle => return Finished::Unknown,
            State::Running { token, held } => {
                self.running -= 1;
                Finished::Wanted(token, held)
            }
            State::Abandoned { held } => {
                self.abandoned -= 1;
                Finished::Abandoned(held)
            }
        };
        slot.generation = slot.generation.checked_add(1).unwrap_or(NonZeroU32::MIN);
        self.free.push(key.slot() as u32);
        finished
    }

    /// A key of an operation that ended before the current one in its slot, searched from a slot on.
    pub fn stale(&self, from: usize) -> Option<Key> {
        let count = self.slots.len();
        (0..count).map(|step| (from + step) % count).find_map(|index| {
            let slot = &self.slots[index];
            let earlier = NonZeroU32::new(slot.generation.get() - 1)?;
            matches!(slot.state, State::Running { .. }).then(|| Key::new(index as u32, earlier))
        })
    }

    /// Abandons all of them; each keeps its buffers until its completion.
    pub fn abandon_all(&mut self) -> Vec<Key> {
        let mut keys = Vec::new();
        for (index, slot) in self.slots.iter_mut().enumerate() {
            slot.state = match mem::replace(&mut slot.state, State::Idle) {
                State::Running { held, .. } => {
                    self.running -= 1;
                    self.abandoned += 1;
                    keys.push(Key::new(index as u32, slot.generation));
                    State::Abandoned { held }
                }
                other => other,
            };
        }
        keys
    }

    /// Frees the slots at the end that were unused since the last trim.
    pub fn trim(&mut self) -> Trimmed {
        let in_use = self.running + self.abandoned;
        let needed = mem::replace(&mut self.peak, in_use).max(SLOTS_KEPT);
        let is_worth_it = |needed: usize| self.slots.len() > needed + needed / 4;
        if !is_worth_it(needed) {
            return if is_worth_it(in_use.max(SLOTS_KEPT)) { Trimmed::Later } else { Trimmed::Nothing };
        }
        let is_free = |slot: &&Slot<H>| matches!(slot.state, State::Idle);
        let unused = self.slots.iter().rev().take_while(is_free).count().min(self.slots.len() - needed);
        let kept = self.slots.len() - unused;
        let freed = self.slots.drain(kept..).map(|slot| slot.generation);
        self.first_generation = freed.fold(self.first_generation, NonZeroU32::max);
        self.free.retain(|index| (*index as usize) < kept);
        self.slots.shrink_to(kept);
        self.free.shrink_to(2 * self.free.len());
        if unused > 0 { Trimmed::Freed } else { Trimmed::Nothing }
    }

    /// Operations in flight that are not abandoned.
    pub fn len(&self) -> usize {
        self.running
    }

    /// Whether no operation is in flight, abandoned ones aside.
    pub fn is_empty(&self) -> bool {
        self.running == 0
    }

    /// Abandoned operations whose buffers the kernel may still touch.
    pub fn abandoned(&self) -> usize {
        self.abandoned
    }

    /// Leaks what is left: its memory is never freed and never reused (law 10). Returns the number of slots.
    pub fn leak(self) -> usize {
        let left = self.running + self.abandoned;
        mem::forget(self);
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(number: u32) -> Token {
        Token::new(1, number, 0)
    }

    #[test]
    fn what_was_held_comes_home_once() {
        let mut table = InFlight::default();
        let key = table.start(token(1), "bait");
        assert!(matches!(table.finish(key), Finished::Wanted(name, "bait") if name == token(1)));
        assert!(matches!(table.finish(key), Finished::Unknown));
        assert!(table.is_empty());
    }

    #[test]
    fn a_stale_key_never_meets_the_next_operation_of_its_slot() {
        let mut table = InFlight::default();
        let old = table.start(token(1), "old");
        table.finish(old);
        let new = table.start(token(2), "new");
        assert_ne!(old, new);
        assert!(table.running(old).is_none());
        assert!(matches!(table.finish(old), Finished::Unknown));
        assert_eq!(table.stale(7), Some(old));
        assert!(matches!(table.finish(new), Finished::Wanted(..)));
        assert_eq!(table.stale(7), None, "nothing runs in its slot");
    }

    #[test]
    fn slots_of_a_burst_are_freed_and_their_keys_stay_stale() {
        let mut table = InFlight::default();
        let lasting: Vec<_> = (0..1_000).map(|number| table.start(token(number), "lasting")).collect();
        let burst: Vec<_> = (0..9_000).map(|number| table.start(token(number), "burst")).collect();
        for key in &burst {
            assert!(matches!(table.finish(*key), Finished::Wanted(_, "burst")));
        }
        assert_eq!(table.trim(), Trimmed::Later, "the burst was a moment ago; the next trim frees its slots");
        assert_eq!(table.slots.len(), 10_000);
        assert_eq!(table.trim(), Trimmed::Freed);
        assert!(table.slots.capacity() < 2_000 && table.free.len() < 100);
        let again: Vec<_> = (0..9_000).map(|number| table.start(token(number), "again")).collect();
        for key in burst {
            assert!(table.running(key).is_none() && matches!(table.finish(key), Finished::Unknown));
        }
        for key in lasting.into_iter().chain(again) {
            assert!(matches!(table.finish(key), Finished::Wanted(..)));
        }
        assert!(table.is_empty());
    }

    #[test]
    fn an_abandoned_operation_keeps_its_things_until_its_completion() {
        let mut table = InFlight::default();
        let things = std::rc::Rc::new(());
        let key = table.start(token(1), std::rc::Rc::clone(&things));
        assert_eq!(table.abandon_all(), vec![key]);
        assert_eq!((std::rc::Rc::strong_count(&things), table.abandoned()), (2, 1));
        assert!(matches!(table.finish(key), Finished::Abandoned(_)));
        assert_eq!((std::rc::Rc::strong_count(&things), table.abandoned()), (1, 0));
    }

    #[test]
    fn what_is_leaked_is_counted_and_never_freed() {
        let mut table = InFlight::default();
        let things = std::rc::Rc::new(());
        table.start(token(1), std::rc::Rc::clone(&things));
        table.abandon_all();
        assert_eq!(table.leak(), 1);
        assert_eq!(std::rc::Rc::strong_count(&things), 2);
    }
}
