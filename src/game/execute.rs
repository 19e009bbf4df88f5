//! [`Sampled`] -> [`Executed`]: the gold tests, all problems side by side.

use gauntlet_sandbox::Test;

use crate::execution::{Case, Executor};
use crate::problems::Problem;
use crate::results::TestRun;
use crate::rollout::Rollout;

use super::sample::{Candidate, Sampled};

/// One problem's group with what the gold tests say of each candidate.
#[derive(Clone, Debug)]
pub struct Executed {
    /// The problem.
    pub problem: Problem,
    /// The generator's group.
    pub rollouts: Vec<Rollout>,
    /// Every complete chain of the group.
    pub candidates: Vec<Candidate>,
    /// The gold tests, candidate by candidate.
    pub gold: Vec<TestRun>,
}

/// Runs the gold tests of every candidate.
pub(super) fn execute(sampled: Vec<Sampled>, executor: &Executor) -> Vec<Executed> {
    let gold = run_all(executor, &sampled, |one| {
        (&one.problem, &one.candidates, &one.problem.tests)
    });
    sampled
        .into_iter()
        .zip(gold)
        .map(|(sampled, gold)| Executed {
            problem: sampled.problem,
            rollouts: sampled.rollouts,
            candidates: sampled.candidates,
            gold,
        })
        .collect()
}

/// Runs the candidates of all problems on tests of their problem's; one list of runs a problem.
pub(super) fn run_all<T>(
    executor: &Executor,
    problems: &[T],
    of: impl Fn(&T) -> (&Problem, &[Candidate], &[Test]),
) -> Vec<Vec<TestRun>> {
    let mut cases = Vec::new();
    for one in problems {
        let (problem, candidates, tests) = of(one);
        cases.extend(candidates.iter().map(|candidate| Case {
            problem,
            code: candidate.code.as_deref(),
            tests,
        }));
    }
    let mut runs = executor.run(&cases).into_iter();
    problems
        .iter()
        .map(|one| runs.by_ref().take(of(one).1.len()).collect())
        .collect()
}
