//! A table of slots with generations: a stale id never finds a value (law 3).
//!
//! It grows in pages, so that values never move and an idle table costs only its pages. Freed slots are reused in the
//! order in which they were freed, which keeps stale ids distinct for as long as possible.

use std::collections::VecDeque;

/// Slots of one page.
const PAGE_SLOTS: usize = 64;

struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

/// A table of `T`, at most `slots_max` at once.
pub struct Table<T> {
    pages: Vec<Box<[Slot<T>]>>,
    free: VecDeque<u32>,
    len: usize,
    slots_max: usize,
}

impl<T> Table<T> {
    /// An empty table.
    pub fn new(slots_max: usize) -> Self {
        Self { pages: Vec::new(), free: VecDeque::new(), len: 0, slots_max }
    }

    /// Values kept now.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Inserts a value.
    ///
    /// # Errors
    /// Returns the value if the table is full.
    pub fn insert(&mut self, value: T) -> Result<(u32, u32), T> {
        if self.len >= self.slots_max {
            return Err(value);
        }
        if self.free.is_empty() {
            self.grow();
        }
        let index = self.free.pop_front().expect("a page was just added");
        let slot = self.slot_mut(index).expect("a free slot exists");
        slot.value = Some(value);
        let generation = slot.generation;
        self.len += 1;
        Ok((index, generation))
    }

    /// The value under this name, unless the name is stale.
    pub fn get(&self, index: u32, generation: u32) -> Option<&T> {
        let slot = self.pages.get(index as usize / PAGE_SLOTS)?.get(index as usize % PAGE_SLOTS)?;
        if slot.generation == generation { slot.value.as_ref() } else { None }
    }

    /// The value under this name, unless the name is stale.
    pub fn get_mut(&mut self, index: u32, generation: u32) -> Option<&mut T> {
        let slot = self.slot_mut(index)?;
        if slot.generation == generation { slot.value.as_mut() } else { None }
    }

    /// The value that is in a slot now, with its generation.
    pub fn at_mut(&mut self, index: u32) -> Option<(u32, &mut T)> {
        let slot = self.slot_mut(index)?;
        let generation = slot.generation;
        slot.value.as_mut().map(|value| (generation, value))
    }

    /// Takes the value out; its name is stale from now on.
    pub fn remove(&mut self, index: u32, generation: u32) -> Option<T> {
        let slot = self.slot_mut(index).filter(|slot| slot.generation == generation)?;
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push_back(index);
        self.len -= 1;
        Some(value)
    }

    /// The names of everything kept now.
    pub fn names(&self) -> Vec<(u32, u32)> {
        let slots = self.pages.iter().flat_map(|page| page.iter()).enumerate();
        slots
            .filter(|(_, slot)| slot.value.is_some())
            .map(|(index, slot)| (index as u32, slot.generation))
            .collect()
    }

    fn slot_mut(&mut self, index: u32) -> Option<&mut Slot<T>> {
        self.pages.get_mut(index as usize / PAGE_SLOTS)?.get_mut(index as usize % PAGE_SLOTS)
    }

    fn grow(&mut self) {
        let first = self.pages.len() * PAGE_SLOTS;
        let page: Vec<_> = (0..PAGE_SLOTS).map(|_| Slot { generation: 0, value: None }).collect();
        self.pages.push(page.into_boxed_slice());
        let last = u32::try_from(first + PAGE_SLOTS).expect("fewer than 2^32 slots");
        self.free.extend(first as u32..last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_name_never_meets_the_next_value_of_its_slot() {
        let mut table = Table::new(1000);
        let names: Vec<_> = (0..PAGE_SLOTS).map(|value| table.insert(value).expect("room")).collect();
        let (index, generation) = names[0];
        assert_eq!(table.remove(index, generation), Some(0));
        let (again, next) = table.insert(999).expect("room");
        assert_eq!((again, next), (index, generation + 1));
        assert_eq!(table.get(index, generation), None);
        assert_eq!(table.get_mut(index, generation), None);
        assert_eq!(table.remove(index, generation), None);
        assert_eq!(table.get(again, next), Some(&999));
    }

    #[test]
    fn a_table_is_empty_before_its_first_value_and_after_its_last() {
        let mut table = Table::new(4);
        assert!(table.is_empty());
        let (index, generation) = table.insert('a').expect("there is room");
        assert_eq!((table.is_empty(), table.len()), (false, 1));
        table.remove(index, generation).expect("it is there");
        assert_eq!((table.is_empty(), table.len()), (true, 0));
    }

    /// More values than a page holds; each is found under its own id, for reading and for changing.
    #[test]
    fn every_value_is_found_under_its_name_and_no_other_is() {
        let mut table = Table::new(10_000);
        let names: Vec<_> = (0..5_000_u32).map(|value| table.insert(value).expect("there is room")).collect();
        for (value, (index, generation)) in (0..).zip(&names) {
            assert_eq!(table.get(*index, *generation), Some(&value));
            *table.get_mut(*index, *generation).expect("it is there") += 1;
            assert_eq!(table.at_mut(*index), Some((*generation, &mut (value + 1))));
            assert!(table.get(*index, generation + 1).is_none());
            assert!(table.get_mut(*index, generation + 1).is_none());
        }
        for (index, generation) in names {
            assert_eq!(table.remove(index, generation), Some(index + 1), "slots are given out in order");
            assert!(table.get(index, generation).is_none());
            assert!(table.get_mut(index, generation).is_none());
        }
    }

    #[test]
    fn a_full_table_hands_the_value_back() {
        let mut table = Table::new(2);
        assert!(table.insert("a").is_ok() && table.insert("b").is_ok());
        assert_eq!(table.insert("c"), Err("c"));
        assert_eq!((table.len(), table.names().len()), (2, 2));
    }
}
