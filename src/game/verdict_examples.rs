//! What the verdict head learns from in a step of the game.

use std::collections::{HashSet, VecDeque};

use crate::encoding::{EncodingError, PromptEncoder};
use crate::results::verdict_target;
use crate::rollout::VerdictExample;
use crate::stage::Stage;

use super::advantage::AdvantagedProblem;

/// Examples a problem and step, of whole chains and again of chains that end at the trained stage: enough to follow the
/// generator, a fraction of the cost of its own update.
const EXAMPLES_PER_PROBLEM: usize = 2;

/// The examples of one problem: right and wrong in turn, so that what tells them apart weighs as much as how hard the
/// problem is.
pub(super) fn examples(
    played: &AdvantagedProblem,
    encoder: &PromptEncoder,
) -> Result<Vec<VerdictExample>, EncodingError> {
    let example = |stage, prompt_tokens, target| VerdictExample {
        problem: played.problem.id.clone(),
        stage,
        prompt_tokens,
        target,
    };
    let prefixes = played.judged().filter_map(|(rollout, verdict, target)| {
        Some(example(rollout.key.stage, verdict.tokens.clone(), target?))
    });
    let mut chosen = balanced(prefixes);
    // At the last stage the chains above are whole.
    let is_prefix = |stage: Stage| stage != Stage::Code;
    if played
        .rollouts
        .iter()
        .any(|r| is_prefix(r.rollout.key.stage))
    {
        let mut whole = Vec::with_capacity(played.candidates.len());
        for (candidate, result) in played.candidates.iter().zip(&played.results) {
            if let Some(target) = verdict_target(std::slice::from_ref(result)) {
                let prompt = encoder.verdict_prompt(&played.problem, &candidate.chain)?;
                whole.push(example(Stage::Code, prompt, target));
            }
        }
        chosen.extend(balanced(whole.into_iter()));
    }
    Ok(chosen)
}

/// Right and wrong examples in turn while both last, each chain once, at most [`EXAMPLES_PER_PROBLEM`].
fn balanced(examples: impl Iterator<Item = VerdictExample>) -> Vec<VerdictExample> {
    let mut seen = HashSet::new();
    let (mut next, mut other): (VecDeque<_>, VecDeque<_>) = examples
        .filter(|example| seen.insert(example.prompt_tokens.clone()))
        .partition(|example| example.target > 0.5);
    let mut chosen = Vec::with_capacity(EXAMPLES_PER_PROBLEM);
    while chosen.len() < EXAMPLES_PER_PROBLEM {
        let Some(example) = next.pop_front().or_else(|| other.pop_front()) else {
            break;
        };
        chosen.push(example);
        std::mem::swap(&mut next, &mut other);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn right_and_wrong_take_turns_and_equal_chains_count_once() {
        let example = |token, target| VerdictExample {
            problem: "p".into(),
            stage: Stage::Code,
            prompt_tokens: vec![token],
            target,
        };
        let chosen = |all: &[(u32, f32)]| -> Vec<u32> {
            balanced(all.iter().map(|&(token, target)| example(token, target)))
                .iter()
                .map(|e| e.prompt_tokens[0])
                .collect()
        };
        let mixed = [(1, 1.0), (2, 1.0), (1, 1.0), (3, 1.0), (4, 0.0), (5, 0.0)];
        assert_eq!(chosen(&mixed), [1, 4]);
        assert_eq!(chosen(&[(1, 0.0), (2, 0.0), (3, 1.0)]), [3, 1]);
        assert_eq!(chosen(&[(1, 1.0), (1, 1.0), (2, 1.0), (3, 1.0)]), [1, 2]);
        assert_eq!(chosen(&[(1, 0.0)]), [1]);
        assert!(chosen(&[]).is_empty());
    }
}
