//! Measurement: attempts at problems, executed, and what they add up to.

pub mod attacks;
mod final_eval;
mod harness;
pub mod probes;
pub mod ranking;
pub mod retrieval;
mod summary;

pub use final_eval::final_eval;
pub use harness::{Harness, QuickValidation, Stopped, passes};
pub use summary::{FinalRow, Ranking, StageMeans, StageRow, Summary};

use serde::{Deserialize, Serialize};

use crate::encoding::EncodingError;
use crate::execution::{Case, Executor};
use crate::extract::Wanted;
use crate::generator::{ChainStart, Generator, Sampling};
use crate::metrics::pass_at_k;
use crate::problems::Problem;
use crate::results::TestRun;
use crate::rng::DrawKey;
use crate::rollout::Chain;
pub use crate::source::Pool;
use crate::stage::Stage;

/// One attempt at one problem.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// What was written.
    pub chain: Chain,
    /// The code, if there was any.
    pub code: Option<String>,
    /// What the gold tests say.
    pub run: TestRun,
}

/// How attempts are made.
#[derive(Clone, Copy, Debug)]
pub struct SolveOptions<'a> {
    /// Limits and temperature.
    pub sampling: &'a Sampling,
    /// Attempts at each problem.
    pub samples: usize,
    /// Stages that are written, in order; the code alone for a direct policy.
    pub stages: &'a [Stage],
    /// Key of the draws.
    pub key: DrawKey,
}

/// Solves each problem `samples` times and executes the code on its gold tests; one list a problem.
pub fn solve(
    generator: &Generator,
    executor: &Executor,
    problems: &[Problem],
    options: &SolveOptions,
) -> Result<Vec<Vec<Attempt>>, EncodingError> {
    let mut starts = Vec::with_capacity(problems.len() * options.samples);
    for problem in problems {
        let key = options.key.with_name(&problem.id);
        let start = ChainStart::of(&generator.encoder, problem, key)?;
        starts.extend((0..options.samples as u64).map(|sample| ChainStart {
            key: key.with(sample),
            ..start.clone()
        }));
    }
    let each = |i: usize| &problems[i / options.samples];
    let attempts = attempt(
        generator,
        executor,
        &starts,
        options.stages,
        options.sampling,
        each,
    )?;
    let mut attempts = attempts.into_iter();
    Ok(problems
        .iter()
        .map(|_| attempts.by_ref().take(options.samples).collect())
        .collect())
}

/// Continues each start with `stages` and executes the code on the gold tests of its problem.
pub fn attempt<'p>(
    generator: &Generator,
    executor: &Executor,
    starts: &[ChainStart],
    stages: &[Stage],
    sampling: &Sampling,
    problem_of: impl Fn(usize) -> &'p Problem,
) -> Result<Vec<Attempt>, EncodingError> {
    let chains = generator.write(starts, stages, sampling)?;
    let codes: Vec<Option<String>> = chains
        .iter()
        .enumerate()
        .map(|(i, chain)| {
            let wanted = Wanted::from_entry_point(problem_of(i).entry_point.as_deref());
            generator.encoder.code(chain, wanted)
        })
        .collect();
    let cases: Vec<Case> = codes
        .iter()
        .enumerate()
        .map(|(i, code)| {
            let problem = problem_of(i);
            Case {
                problem,
                code: code.as_deref(),
                tests: &problem.tests,
            }
        })
        .collect();
    let runs = executor.run(&cases);
    let attempts = chains.into_iter().zip(codes).zip(runs);
    Ok(attempts
        .map(|((chain, code), run)| Attempt { chain, code, run })
        .collect())
}

/// What a pool's attempts add up to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PoolScore {
    /// The pool's name.
    pub name: String,
    /// Problems that count: those with an attempt that was not masked.
    pub problems: usize,
    /// Mean over problems of the unbiased pass@1.
    pub pass_at_1: f64,
    /// Whether each problem's first attempt passed, for intervals over problems; masked ones left out.
    #[serde(skip)]
    pub passed: Vec<f64>,
    /// Share of attempts cut short by a token limit.
    pub truncated: f64,
    /// Attempts of which execution says nothing.
    pub masked: usize,
}

/// Scores the attempts at a pool.
pub fn score(name: &str, attempts: &[Vec<Attempt>]) -> PoolScore {
    let all = || attempts.iter().flatten();
    let masked = |a: &&Attempt| a.run.is_masked();
    let passed: Vec<f64> = attempts
        .iter()
        .filter_map(|tries| {
            let counted: Vec<&Attempt> = tries.iter().filter(|a| !masked(a)).collect();
            let correct = counted.iter().filter(|a| a.run.passed()).count();
            (!counted.is_empty()).then(|| pass_at_k(counted.len(), correct, 1))
        })
        .collect();
    let total = all().count().max(1) as f64;
    PoolScore {
        name: name.to_owned(),
        problems: passed.len(),
        pass_at_1: passed.iter().sum::<f64>() / passed.len().max(1) as f64,
        truncated: all().filter(|a| a.chain.truncated()).count() as f64 / total,
        masked: all().filter(masked).count(),
        passed,
    }
}
