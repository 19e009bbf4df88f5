//! Draws for the composer: what is drawn depends on the key alone, never on what was drawn for another key.

use crate::draws::Draws;

/// A stream of draws that belongs to one key.
#[derive(Debug, Clone)]
pub(super) struct Dice {
    draws: Draws,
}

impl Dice {
    pub(super) fn new(seed: u64, key: &str) -> Dice {
        Dice {
            draws: Draws::new(seed, key),
        }
    }

    /// A number from 0 to `n - 1`.
    pub(super) fn below(&mut self, n: usize) -> usize {
        self.draws.below(n)
    }

    /// A number from `low` to `high`, both included.
    pub(super) fn between(&mut self, low: i64, high: i64) -> i64 {
        self.draws.between(low, high)
    }

    /// True in `percent` of 100 draws.
    pub(super) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of `items`, which is not empty.
    pub(super) fn pick<'a, T: ?Sized>(&mut self, items: &[&'a T]) -> &'a T {
        items[self.below(items.len())]
    }

    /// One of the alternatives of an `a | b | c` text.
    pub(super) fn alternative<'a>(&mut self, text: &'a str) -> &'a str {
        self.pick(&alternatives(text))
    }

    /// The index of one of `weights`, by weight; their sum is above 0.
    pub(super) fn weighted(&mut self, weights: &[usize]) -> usize {
        let mut left = self.below(weights.iter().sum());
        for (index, &weight) in weights.iter().enumerate() {
            if left < weight {
                return index;
            }
            left -= weight;
        }
        unreachable!("the draw is below the sum of the weights")
    }
}

/// The parts of an `a | b | c` text; none for an empty one.
pub(super) fn alternatives(text: &str) -> Vec<&str> {
    text.split('|')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_of_zero_are_never_drawn() {
        let mut dice = Dice::new(7, "weights");
        assert!((0..100).all(|_| dice.weighted(&[0, 3, 0]) == 1));
        let drawn: Vec<usize> = (0..100).map(|_| dice.weighted(&[1, 1])).collect();
        assert!(drawn.contains(&0) && drawn.contains(&1));
    }

    #[test]
    fn alternatives_are_trimmed() {
        assert_eq!(alternatives("a b | c"), ["a b", "c"]);
        assert!(alternatives("").is_empty());
    }
}
