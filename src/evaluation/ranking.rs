//! Which of several candidates is likely right where no gold test is at hand.

use gauntlet_sandbox::{Expected, Test};

use crate::discriminator::Discriminator;
use crate::encoding::EncodingError;
use crate::model::sampling::DrawKey;
use crate::prompts::parse_attacks;
use crate::rollout::{Completion, ParsedAttack};

use super::attacks::AttackOptions;

/// Blind attack sets that rank the candidates of a problem: the likeliest one, then drawn ones.
pub const BLIND_SETS: usize = 4;

/// Temperature of the drawn ones.
const DRAWN_AT: f64 = 0.8;

/// Tests for each prompt, which shows a problem alone, out of `sets` attack sets; each input once. The expected outputs
/// are the discriminator's: nothing here knows the right ones.
pub fn blind_tests(
    discriminator: &Discriminator,
    prompts: &[(Vec<u32>, DrawKey)],
    sets: usize,
    options: &AttackOptions,
) -> Result<Vec<Vec<ParsedAttack>>, EncodingError> {
    let mut tests: Vec<Vec<ParsedAttack>> = vec![Vec::new(); prompts.len()];
    for set in 0..sets {
        let temperature = if set == 0 { 0.0 } else { DRAWN_AT };
        let keyed: Vec<(Vec<u32>, DrawKey)> = prompts
            .iter()
            .map(|(prompt, key)| (prompt.clone(), key.with_name("blind").with(set as u64)))
            .collect();
        let written = discriminator.attack(
            &keyed,
            options.max_new_tokens,
            temperature,
            options.batch_size,
        )?;
        for (tests, completion) in tests.iter_mut().zip(&written) {
            keep_new(tests, completion, options.per_set);
        }
    }
    Ok(tests)
}

/// Adds the tests of an attack set whose inputs are new.
pub fn keep_new(tests: &mut Vec<ParsedAttack>, completion: &Completion, per_set: usize) {
    for attack in parse_attacks(&completion.text, per_set)
        .into_iter()
        .flatten()
    {
        if tests.iter().all(|known| known.args != attack.args) {
            tests.push(attack);
        }
    }
}

/// An attack as the sandbox runs it, with the expected output that was written.
pub fn as_written(attack: &ParsedAttack) -> Test {
    Test {
        args: attack.args.clone(),
        expected: Expected::Value(attack.expected.clone()),
        tags: Vec::new(),
    }
}

/// Dual agreement (CodeT, arXiv 2207.10397): candidates that pass the same tests agree, and each scores the size of its
/// group times the number of tests it passes. `passes` has a row a candidate; none is for one without code, which scores
/// -1: with code that runs nowhere there is nothing to agree on.
pub fn dual_agreement(passes: &[Option<Vec<bool>>]) -> Vec<f64> {
    let score = |own: &Option<Vec<bool>>| match own {
        None => -1.0,
        Some(row) => {
            let size = passes.iter().filter(|other| *other == own).count();
            let passed = row.iter().filter(|passed| **passed).count();
            (size * passed) as f64
        }
    };
    passes.iter().map(score).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_group_that_passes_most_is_ahead() {
        let row = |passed: &[bool]| Some(passed.to_vec());
        let (both, first) = (row(&[true, true]), row(&[true, false]));
        let passes = [first.clone(), both.clone(), first, None, both.clone(), both];
        assert_eq!(dual_agreement(&passes), [2.0, 6.0, 2.0, -1.0, 6.0, 6.0]);
    }

    #[test]
    fn without_tests_no_code_is_ahead_of_other_code() {
        assert_eq!(dual_agreement(&[Some(vec![]), None]), [0.0, -1.0]);
    }
}
