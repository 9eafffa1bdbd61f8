//! Identifiers: sessions, handles, operations.
//!
//! Each contains a generation, so that a stale identifier never reaches the object that reuses its slot (law 3).

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};

/// The id of one session for its whole life: worker, slot and generation in one 64-bit word.
///
/// The id of a session that has ended never refers to the session that reuses its slot (law 3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(u64);

impl SessionId {
    /// Most slots that one worker can name.
    pub const SLOTS_MAX: u32 = 1 << 24;

    /// Packs an id. `slot` must be below [`SessionId::SLOTS_MAX`].
    pub fn new(worker: u8, slot: u32, generation: u32) -> Self {
        assert!(slot < Self::SLOTS_MAX, "session slot {slot} does not fit 24 bits");
        Self(u64::from(worker) << 56 | u64::from(slot) << 32 | u64::from(generation))
    }

    /// The worker that owns the session.
    pub fn worker(self) -> u8 {
        (self.0 >> 56) as u8
    }

    /// The place in that worker's table.
    pub fn slot(self) -> u32 {
        (self.0 >> 32) as u32 & (Self::SLOTS_MAX - 1)
    }

    /// How often the place had been used before.
    pub fn generation(self) -> u32 {
        self.0 as u32
    }

    /// The id as one number, for logs and for protocols.
    pub fn to_u64(self) -> u64 {
        self.0
    }

    /// The id from the result of [`SessionId::to_u64`]. An arbitrary number is harmless: it refers to no live
    /// session.
    pub fn from_u64(raw: u64) -> Self {
        Self(raw)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.worker(), self.slot(), self.generation())
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A port's identifier of an open socket, listener or file. Only ports create them; a stale one is refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Handle {
    slot: u32,
    generation: u32,
}

impl Handle {
    /// For ports: identifies the entry `slot` of the port's handle table in its `generation`-th use.
    pub fn new(slot: u32, generation: u32) -> Self {
        Self { slot, generation }
    }

    /// The entry of the port's handle table.
    pub fn slot(self) -> u32 {
        self.slot
    }

    /// How often that entry had been used before.
    pub fn generation(self) -> u32 {
        self.generation
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "h{}.{}", self.slot, self.generation)
    }
}

/// The caller's identifier of one operation, returned in every completion of it.
///
/// Two operations in flight on one port never share a token. The engine packs a verb, a slot and a generation into
/// it; a port does not interpret it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(u64);

impl Token {
    /// Packs a kind (the caller's verb), a slot below 2^24 and a generation into a token.
    pub fn new(kind: u8, slot: u32, generation: u32) -> Self {
        assert!(slot < SessionId::SLOTS_MAX, "token slot {slot} does not fit 24 bits");
        Self(u64::from(kind) << 56 | u64::from(slot) << 32 | u64::from(generation))
    }

    /// The caller's verb.
    pub fn kind(self) -> u8 {
        (self.0 >> 56) as u8
    }

    /// The caller's slot.
    pub fn slot(self) -> u32 {
        (self.0 >> 32) as u32 & (SessionId::SLOTS_MAX - 1)
    }

    /// The generation of that slot.
    pub fn generation(self) -> u32 {
        self.0 as u32
    }

    /// The token as one number.
    pub fn to_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "t{}:{}.{}", self.kind(), self.slot(), self.generation())
    }
}

/// A map for keys that a peer may choose: its hash is seeded at random, so a peer cannot choose colliding keys. Its
/// iteration order differs between processes, so nothing may depend on it.
pub type PeerMap<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// A map keyed by tokens or ids. Its hash is a fixed mix, so that a simulated run repeats exactly.
///
/// Only for keys that this process makes; for keys that a peer may choose use [`PeerMap`].
pub type TokenMap<K, V> = HashMap<K, V, BuildHasherDefault<MixHasher>>;

/// One multiplication per word: enough for keys that this process makes.
#[derive(Default)]
pub struct MixHasher(u64);

impl Hasher for MixHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }

    fn write_u64(&mut self, word: u64) {
        let mixed = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = mixed ^ (mixed >> 29);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::hash::BuildHasher as _;

    #[test]
    fn names_are_shown_by_their_parts() {
        let (session, handle) = (SessionId::new(3, 77, 9), Handle::new(77, 9));
        assert_eq!((handle.slot(), handle.generation()), (77, 9));
        assert_eq!(
            (format!("{session}"), format!("{session:?}")),
            ("3.77.9".to_owned(), "3.77.9".to_owned())
        );
        assert_eq!(format!("{handle:?} {:?}", Token::new(4, 77, 9)), "h77.9 t4:77.9");
    }

    #[test]
    fn a_session_id_keeps_its_three_parts_apart() {
        for (worker, slot, generation) in
            [(0, 0, 0), (255, SessionId::SLOTS_MAX - 1, u32::MAX), (3, 77, 1_000_000)]
        {
            let id = SessionId::new(worker, slot, generation);
            assert_eq!((id.worker(), id.slot(), id.generation()), (worker, slot, generation));
            assert_eq!(SessionId::from_u64(id.to_u64()), id);
        }
    }

    /// Undoes the fixed mix: the number whose hash this is.
    fn unmixed(hash: u64) -> u64 {
        let mut mixed = hash;
        (0..3).for_each(|_| mixed = hash ^ (mixed >> 29));
        let (factor, mut inverse) = (0x9E37_79B9_7F4A_7C15_u64, 0x9E37_79B9_7F4A_7C15_u64);
        (0..6).for_each(|_| inverse = inverse.wrapping_mul(2_u64.wrapping_sub(factor.wrapping_mul(inverse))));
        mixed.wrapping_mul(inverse)
    }

    #[test]
    fn keys_that_were_chosen_to_collide_are_spread_as_any_others() {
        // The table uses the lowest bits for the position and the highest seven for the tag.
        let places = |state: &dyn Fn(u64) -> u64, key: &dyn Fn(u64) -> u64| {
            let hashes = (0..10_000).map(|number| state(key(number)));
            hashes.map(|hash| (hash & 0x3FFF, hash >> 57)).collect::<std::collections::HashSet<_>>().len()
        };
        let chosen = |number: u64| unmixed(5 << 57 | number << 24 | 0x12345);
        let fixed = |key: u64| BuildHasherDefault::<MixHasher>::default().hash_one(key);
        assert_eq!(places(&fixed, &chosen), 1, "these collide wherever the hash is known");
        let of_map = PeerMap::<u64, ()>::default();
        let seeded = |key: u64| of_map.hasher().hash_one(key);
        let (of_chosen, of_others) = (places(&seeded, &chosen), places(&seeded, &|number| number));
        assert!(of_chosen > 9_000 && of_others > 9_000, "{of_chosen} and {of_others} places for 10,000 keys");
        // 32-bit numbers for which the fixed mix gives the same low bits; one in sixteen thousand does.
        let short: Vec<u64> = (0..1 << 21).filter(|key| fixed(*key) & 0x3FFF == 7).collect();
        let short = |number: u64| short[number as usize % short.len()];
        assert!(places(&seeded, &short) > 100, "{} places", places(&seeded, &short));
    }

    #[test]
    fn a_token_keeps_its_three_parts_apart() {
        let token = Token::new(200, 5, 9);
        assert_eq!((token.kind(), token.slot(), token.generation()), (200, 5, 9));
        let numbers = [Token::new(0, 0, 1), Token::new(0, 1, 0), Token::new(1, 0, 0)].map(Token::to_u64);
        assert_eq!(numbers, [1, 1 << 32, 1 << 56], "no two tokens have one number");
    }

    #[test]
    fn keys_of_several_words_and_of_bytes_have_hashes_of_their_own() {
        let state = BuildHasherDefault::<MixHasher>::default();
        let handles = (0..100).flat_map(|slot| (0..100).map(move |generation| Handle::new(slot, generation)));
        let hashes: std::collections::HashSet<u64> = handles.map(|handle| state.hash_one(handle)).collect();
        assert_eq!(hashes.len(), 10_000);
        let texts = (0..10_000).map(|number| state.hash_one(format!("key {number}")));
        assert_eq!(texts.collect::<std::collections::HashSet<_>>().len(), 10_000);
    }
}
