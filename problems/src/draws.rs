//! Repeatable random draws for inputs and mutants: SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
//!
//! Small on purpose: the same seed must give the same problems, mutants and inputs on every machine
//! and in every version, which a library's generator does not promise.

/// A stream of draws from one seed.
#[derive(Debug, Clone)]
pub struct Draws {
    state: u64,
}

impl Draws {
    /// A stream that depends on `seed` and on `name`, so that two problems under one seed draw
    /// different values.
    pub fn new(seed: u64, name: &str) -> Draws {
        // FNV-1a: stable over versions, which the standard library's hasher is not.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Draws {
            state: hash ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        }
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 where `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        // The high half of a product: no modulo, and a bias below 2^-40 for any bound used here.
        ((u128::from(self.bits()) * bound as u128) >> 64) as usize
    }

    /// A number from `low` to `high`, both included; `low` where the range is empty.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        let width = high.saturating_sub(low).saturating_add(1).max(1);
        low + self.below(width as usize) as i64
    }

    /// True once in `times` draws.
    pub fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of `items`, or None where there are none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len()))
    }

    /// Brings `items` into random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_repeat_and_differ_by_seed_and_name() {
        let first = |seed, name| Draws::new(seed, name).bits();
        assert_eq!(first(1, "a"), first(1, "a"));
        assert_ne!(first(1, "a"), first(2, "a"));
        assert_ne!(first(1, "a"), first(1, "b"));
    }

    #[test]
    fn draws_stay_inside_their_bounds_and_reach_all_of_them() {
        let mut draws = Draws::new(7, "bounds");
        let mut seen = [0; 5];
        for _ in 0..500 {
            seen[draws.below(5)] += 1;
            assert!((-2..=2).contains(&draws.between(-2, 2)));
        }
        assert!(seen.iter().all(|&count| count > 50), "{seen:?}");
        assert_eq!((draws.below(0), draws.between(3, 1)), (0, 3));
        assert_eq!(draws.pick::<u8>(&[]), None);
    }

    #[test]
    fn a_shuffle_keeps_every_item() {
        let mut items: Vec<usize> = (0..20).collect();
        Draws::new(3, "shuffle").shuffle(&mut items);
        assert_ne!(items, (0..20).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..20).collect::<Vec<_>>());
    }
}
