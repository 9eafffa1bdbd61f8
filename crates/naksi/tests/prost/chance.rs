//! Random messages from a seed.

use super::table::kinds::order::What;
use super::table::kinds::tree::Fruit;
use super::table::kinds::{Buffer, C2sLogin, Holds, Numbers, Order, Place, Say, Tree};

/// Chance from a seed.
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }

    /// Small numbers, large ones, and those between.
    pub(crate) fn bits(&mut self) -> u64 {
        let number = self.next(1 << 31) << 33 | self.next(1 << 31) << 8 | self.next(256);
        number >> self.next(64)
    }

    pub(crate) fn text(&mut self) -> String {
        (0..self.next(40)).map(|_| char::from_u32(self.next(0xD000) as u32).unwrap_or('?')).collect()
    }

    fn place(&mut self) -> Place {
        Place { x: self.bits() as i32, y: -(self.next(1000) as i32) }
    }

    fn many<T>(&mut self, mut one: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.next(6)).map(|_| one(self)).collect()
    }

    pub(crate) fn maybe<T>(&mut self, one: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.next(2) == 0).then(|| one(self))
    }

    pub(crate) fn numbers(&mut self) -> Numbers {
        let signed = self.bits() as i64;
        Numbers {
            double_one: f64::from_bits(self.bits() >> 2),
            float_one: f32::from_bits(self.bits() as u32 >> 2),
            int32_one: -(self.bits() as u32 as i32 / 2),
            int64_one: signed.wrapping_neg(),
            uint32_one: self.bits() as u32,
            uint64_one: self.bits(),
            sint32_one: self.bits() as i32,
            sint64_one: signed,
            fixed32_one: self.bits() as u32,
            fixed64_one: self.bits(),
            sfixed32_one: self.bits() as i32,
            sfixed64_one: signed.wrapping_neg(),
            bool_one: self.next(2) == 1,
        }
    }

    pub(crate) fn holds(&mut self) -> Holds {
        let mood = |chance: &mut Self| [0, 1, -3, 99][chance.next(4) as usize];
        Holds {
            blob: self.many(|chance| chance.next(256) as u8),
            mood: mood(self),
            place: self.maybe(Self::place),
            path: self.many(Self::place),
            names: self.many(Self::text),
            deltas: self.many(|chance| chance.bits() as i64),
            weights: self.many(|chance| chance.next(1000) as f64 / 7.0),
            moods: self.many(mood),
            loose: self.many(|chance| chance.bits() as u32),
            note: self.maybe(Self::text),
            sure: self.maybe(|chance| chance.next(2) == 1),
            wish: self.maybe(mood),
        }
    }

    pub(crate) fn say(&mut self) -> Say {
        Say { text: self.text(), to: self.maybe(|chance| chance.bits() as u32) }
    }

    /// Unusual floating-point numbers; some are not equal to anything, or equal to another one.
    pub(crate) fn odd_numbers(&mut self) -> (Numbers, Holds) {
        let odd = [-0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE / 2.0, f64::MAX];
        let mut one = || odd[self.next(odd.len() as u64) as usize];
        let numbers = Numbers { double_one: one(), float_one: one() as f32, ..Numbers::default() };
        (numbers, Holds { weights: vec![one(), one(), one()], ..Holds::default() })
    }

    /// A tree of at most so many storeys.
    pub(crate) fn tree(&mut self, storeys: u32) -> Tree {
        let grows = storeys > 0 && self.next(3) > 0;
        Tree {
            trunk: grows.then(|| Box::new(self.tree(storeys - 1))),
            branches: if grows { self.many(|chance| chance.tree(storeys.min(2) - 1)) } else { Vec::new() },
            fruits: self.many(|chance| Fruit { name: chance.text(), growth: chance.next(3) as i32 }),
            growth: self.next(3) as i32,
        }
    }

    pub(crate) fn login(&mut self) -> C2sLogin {
        let buffer = self.maybe(|chance| Buffer { bytes: chance.many(|chance| chance.next(256) as u8) });
        C2sLogin { name: self.text(), buffer, json_is_other: self.text() }
    }

    pub(crate) fn order(&mut self) -> Order {
        let what = match self.next(4) {
            0 => Some(What::Go(self.place())),
            1 => Some(What::Shout(self.text())),
            2 => Some(What::Wait(self.bits() as u32)),
            _ => None,
        };
        Order { what }
    }
}
