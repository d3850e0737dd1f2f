//! Chance that repeats itself: the same seed gives the same numbers on every machine (splitmix64).

/// A source of numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chance(u64);

impl Chance {
    /// The source of that seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `n`; 0 where `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        self.draw().checked_rem(n).unwrap_or(0)
    }

    /// True `per_mille` times in a thousand.
    pub fn hits(&mut self, per_mille: u16) -> bool {
        self.below(1_000) < u64::from(per_mille)
    }

    /// One of them; `None` of none.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        let n = usize::try_from(self.below(of.len() as u64)).unwrap_or(0);
        of.get(n)
    }

    /// Mixes them up (Fisher and Yates).
    pub fn shuffle<T>(&mut self, of: &mut [T]) {
        for n in (1..of.len()).rev() {
            let other = usize::try_from(self.below(n as u64 + 1)).unwrap_or(0);
            of.swap(n, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_itself() {
        let numbers = |seed| (0..100).map(|_| Chance::new(seed).below(10)).collect::<Vec<_>>();
        assert_eq!(numbers(5), numbers(5));
        let mut chance = Chance::new(1);
        let hits = (0..10_000).filter(|_| chance.hits(250)).count();
        assert!((2_300..2_700).contains(&hits), "{hits}");
        assert!(!chance.hits(0) && chance.hits(1_000));
        assert_eq!((chance.below(0), chance.pick::<u8>(&[])), (0, None));
        let mut all: Vec<u32> = (0..50).collect();
        chance.shuffle(&mut all);
        assert_ne!(all, (0..50).collect::<Vec<_>>());
        all.sort_unstable();
        assert_eq!(all, (0..50).collect::<Vec<_>>());
    }
}
