//! A pseudo-random generator that repeats exactly from a seed.
//!
//! Used for simulated runs, the jitter of retries and shuffled orders, so that a run can be repeated from one number.
//! Not for secrets.

/// A generator of the xoshiro256++ family: 32 bytes of state, about one nanosecond a number.
#[derive(Clone, Debug)]
pub struct Prng {
    state: [u64; 4],
}

impl Prng {
    /// The generator of this seed. Every seed is valid, zero too: splitmix64 expands it to the state.
    pub fn new(seed: u64) -> Self {
        let mut word = seed;
        Self { state: std::array::from_fn(|_| spread(&mut word)) }
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let number = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let (c, d) = (c ^ a, d ^ b);
        self.state = [a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)];
        number
    }

    /// A number below `bound`, which must not be zero; uniform to within 2^-64.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "there is no number below zero");
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A number from `least` to `most`, both included.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        assert!(least <= most, "the range {least}..={most} is empty");
        match (most - least).checked_add(1) {
            Some(span) => least + self.below(span),
            None => self.next_u64(),
        }
    }

    /// `true` in `chances` of 65,536 cases.
    pub fn chance(&mut self, chances: u16) -> bool {
        self.next_u64() >> 48 < u64::from(chances)
    }
}

/// One step of splitmix64.
fn spread(word: &mut u64) -> u64 {
    *word = word.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (*word ^ (*word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_another_differs() {
        let numbers = |seed| {
            let mut prng = Prng::new(seed);
            std::array::from_fn::<u64, 8, _>(|_| prng.next_u64())
        };
        assert_eq!(numbers(7), numbers(7));
        assert_ne!(numbers(7), numbers(8));
    }

    #[test]
    fn the_published_generator_comes_out() {
        // The first numbers of xoshiro256++ from the state 1, 2, 3, 4, as printed by its authors' code.
        let mut prng = Prng { state: [1, 2, 3, 4] };
        assert_eq!(
            [prng.next_u64(), prng.next_u64(), prng.next_u64()],
            [41_943_041, 58_720_359, 3_588_806_011_781_223]
        );
    }

    /// Computed with another program: splitmix64 expands the seed. Worlds and schedules are identified by a seed, so
    /// these numbers must not change.
    #[test]
    fn a_seed_stands_for_the_same_numbers_for_ever() {
        for (seed, first, thousandth) in [
            (0, [0x5317_5D61_490B_23DF, 0x61DA_6F3D_C380_D507], 0x3763_00FA_032F_6483),
            (7, [0x0E2C_1A00_2AAE_913D, 0x2C0F_C8DD_FA4E_9E14], 0x0E99_781D_434A_21D9),
        ] {
            let mut prng = Prng::new(seed);
            assert_eq!([prng.next_u64(), prng.next_u64()], first, "seed {seed}");
            assert_eq!((2..1_000).map(|_| prng.next_u64()).last(), Some(thousandth), "seed {seed}");
        }
        assert_eq!(Prng::new(3).between(5, 5), 5, "a range of one number");
    }

    #[test]
    fn every_number_below_ten_comes_about_as_often() {
        let mut prng = Prng::new(1);
        let mut seen = [0_u32; 10];
        for _ in 0..10_000 {
            seen[prng.below(10) as usize] += 1;
        }
        assert!(seen.iter().all(|count| (800..1200).contains(count)), "{seen:?}");
        let between: std::collections::BTreeSet<u64> = (0..1000).map(|_| prng.between(7, 12)).collect();
        assert!(between.into_iter().eq(7..=12), "both ends and all between them, and nothing else");
    }

    #[test]
    fn a_chance_of_a_quarter_is_a_quarter() {
        let mut prng = Prng::new(2);
        let hits = (0..10_000).filter(|_| prng.chance(16_384)).count();
        assert!((2300..2700).contains(&hits), "{hits}");
        assert!((0..1 << 20).all(|_| !prng.chance(0)), "no chance is none");
    }
}
