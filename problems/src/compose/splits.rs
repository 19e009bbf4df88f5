//! Which compositions are trained on, and which are held out.

use std::collections::HashSet;
use std::sync::LazyLock;

use super::Pool;
use super::dice::Dice;
use super::op::Op;
use super::ops;

/// Of 100 compositions, those that go to each held-out pool.
const HELD_OUT_PERCENT: usize = 12;

/// The pools that share compositions no other pool has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Share {
    Train,
    Validation,
    Report,
}

impl Share {
    pub(super) fn of_pool(pool: Pool) -> Share {
        match pool {
            Pool::Train | Pool::UnseenWordings => Share::Train,
            Pool::Validation => Share::Validation,
            Pool::UnseenCompositions => Share::Report,
        }
    }

    /// The share of a composition. It depends on the set of kinds alone, so that no reordering of a
    /// held-out composition is trained on; and an operation that does the work of several counts as those.
    pub(super) fn of<'a>(composition: impl IntoIterator<Item = &'a Op>) -> Share {
        let key = key(composition);
        if !key.contains('+') || SPELT_OUT.contains(&key) {
            return Share::Train;
        }
        match Dice::new(0, &key).below(100) {
            n if n < HELD_OUT_PERCENT => Share::Validation,
            n if n < 2 * HELD_OUT_PERCENT => Share::Report,
            _ => Share::Train,
        }
    }
}

/// What operations that equal several would be, spelt out: such an operation alone is trained on.
static SPELT_OUT: LazyLock<HashSet<String>> = LazyLock::new(|| {
    ops::all()
        .filter(|op| !op.equals.is_empty())
        .map(|op| key([op]))
        .collect()
});

/// The kinds, spelt out and sorted.
pub(super) fn key<'a>(composition: impl IntoIterator<Item = &'a Op>) -> String {
    let mut kinds: Vec<&str> = Vec::new();
    for op in composition {
        match op.equals {
            "" => kinds.push(op.kind),
            equals => kinds.extend(equals.split(' ')),
        }
    }
    kinds.sort_unstable();
    kinds.join("+")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(kind: &str) -> &'static Op {
        ops::all()
            .find(|op| op.kind == kind)
            .expect("a known operation")
    }

    #[test]
    fn single_operations_are_trained_on() {
        assert!(ops::all().all(|op| Share::of([op]) == Share::Train));
    }

    #[test]
    fn reordering_and_spelling_out_do_not_change_the_share() {
        for (a, b) in [
            ("square", "keep_even"),
            ("sort", "first_k"),
            ("split", "longest"),
        ] {
            assert_eq!(Share::of([op(a), op(b)]), Share::of([op(b), op(a)]));
        }
        assert_eq!(key([op("digit_sum")]), key([op("digits"), op("sum")]));
        assert_eq!(Share::of([op("digits"), op("sum")]), Share::Train);
    }

    #[test]
    fn about_an_eighth_of_all_pairs_goes_to_each_held_out_share() {
        let all: Vec<&Op> = ops::all().collect();
        let mut counts = [0usize; 3];
        for (i, a) in all.iter().enumerate() {
            for b in &all[..i] {
                counts[Share::of([*a, *b]) as usize] += 1;
            }
        }
        let total: usize = counts.iter().sum();
        for held_out in &counts[1..] {
            assert!(
                (10..=14).contains(&(held_out * 100 / total)),
                "{counts:?} of {total}"
            );
        }
    }
}
