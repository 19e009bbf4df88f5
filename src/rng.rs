//! Random numbers without state: a draw is a function of its key alone, so it depends neither on what else was in the
//! batch nor on how many draws came before, and a resumed run needs no generator state.

/// Key of a stream of draws, folded from (seed, role, stage, step, problem, branch, sample).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrawKey(u64);

impl DrawKey {
    /// The root key of a run.
    pub fn new(seed: u64) -> Self {
        Self(mix(seed ^ 0x9e37_79b9_7f4a_7c15))
    }

    /// A key that depends on this one and on `part`; order matters.
    #[must_use]
    pub fn with(self, part: u64) -> Self {
        Self(mix(
            self.0.rotate_left(23) ^ mix(part.wrapping_add(0x6a09_e667_f3bc_c909))
        ))
    }

    /// The same for a name.
    #[must_use]
    pub fn with_name(self, name: &str) -> Self {
        name.bytes()
            .fold(self.with(name.len() as u64), |key, byte| {
                key.with(u64::from(byte))
            })
    }

    /// The key as a number, for seeding deterministic choices elsewhere.
    pub fn value(self) -> u64 {
        self.0
    }

    /// A uniform number in [0, 1) with 53 random bits.
    pub fn uniform(self, position: u64) -> f64 {
        (self.with(position).0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014): a bijection whose output bits all depend on all input bits.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_by_every_part_and_by_order() {
        let root = DrawKey::new(5);
        let keys = [
            root,
            root.with(0),
            root.with(1),
            root.with(0).with(1),
            root.with(1).with(0),
            root.with_name("a"),
        ];
        for (i, a) in keys.iter().enumerate() {
            assert!(keys[i + 1..].iter().all(|b| a != b));
        }
    }
}
