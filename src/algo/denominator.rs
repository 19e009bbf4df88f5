//! What the sum over tokens is divided by.
//!
//! ```text
//! constant    sequences x longest completion allowed     no completion counts more for its length (Dr. GRPO)
//! token       tokens of the batch                        every token counts the same (DAPO, arXiv 2503.14476, eq. 8)
//! sequence    sequences, and each one's own tokens       every completion counts the same (GRPO, arXiv 2402.03300, eq. 3)
//! ```
//!
//! Sizes are those of the whole batch, which the caller counts: over all microbatches, and over all processes that share
//! it. Skipped and masked sequences are counted, so that skipping a group does not raise the weight of the others.

use std::iter::Sum;
use std::ops::Add;

use crate::config::Denominator;
use crate::rollout::Trainable;

/// Sizes of the whole batch of one player; those of its parts add up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchCounts {
    /// Sequences, skipped and masked ones included.
    pub sequences: usize,
    /// Tokens of their completions.
    pub tokens: usize,
}

impl BatchCounts {
    /// The counts of sampled work, whatever becomes of it.
    pub fn of<'a, R: Trainable + 'a>(work: impl IntoIterator<Item = &'a R>) -> BatchCounts {
        let one = |work: &R| BatchCounts {
            sequences: 1,
            tokens: work.completion().tokens.len(),
        };
        work.into_iter().map(one).sum()
    }

    /// The number that the sum over all tokens is divided by.
    pub fn denominator(&self, denominator: Denominator, max_new_tokens: usize) -> f64 {
        (match denominator {
            Denominator::Constant => self.sequences.max(1) * max_new_tokens.max(1),
            Denominator::Token => self.tokens.max(1),
            Denominator::Sequence => self.sequences.max(1),
        }) as f64
    }
}

impl Add for BatchCounts {
    type Output = BatchCounts;

    fn add(self, other: BatchCounts) -> BatchCounts {
        BatchCounts {
            sequences: self.sequences + other.sequences,
            tokens: self.tokens + other.tokens,
        }
    }
}

impl Sum for BatchCounts {
    fn sum<I: Iterator<Item = BatchCounts>>(parts: I) -> BatchCounts {
        parts.fold(BatchCounts::default(), Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let part = BatchCounts {
            sequences: 3,
            tokens: 20,
        };
        let whole = part + part;
        for (denominator, by_hand) in [
            (Denominator::Constant, 6.0 * 48.0),
            (Denominator::Token, 40.0),
            (Denominator::Sequence, 6.0),
        ] {
            assert_eq!(whole.denominator(denominator, 48), by_hand);
            let nothing = BatchCounts::default().denominator(denominator, 48);
            assert!(nothing >= 1.0, "{denominator:?}");
        }
    }
}
