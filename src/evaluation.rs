//! Measurement: attempts at problems, executed, and what they add up to.

pub mod attacks;
pub mod probes;
pub mod ranking;
pub mod retrieval;

use serde::{Deserialize, Serialize};

use crate::encoding::EncodingError;
use crate::generator::{ChainStart, Generator, Sampling};
use crate::judge::{Case, Judge, Judgement};
use crate::metrics::pass_at_k;
use crate::model::sampling::DrawKey;
use crate::problems::Problem;
use crate::rollout::Chain;
use crate::stage::Stage;

/// A named set of problems.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Name in metrics and tables.
    pub name: String,
    /// The problems.
    pub problems: Vec<Problem>,
}

/// One attempt at one problem.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// What was written.
    pub chain: Chain,
    /// The code, if there was any.
    pub code: Option<String>,
    /// What became of it on the gold tests.
    pub judgement: Judgement,
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
    judge: &Judge,
    problems: &[Problem],
    options: &SolveOptions,
) -> Result<Vec<Vec<Attempt>>, EncodingError> {
    let mut starts = Vec::with_capacity(problems.len() * options.samples);
    for problem in problems {
        let prompt = generator.encoder.problem_prompt(problem)?;
        let code = generator.encoder.problem_code_opening(problem)?;
        for sample in 0..options.samples {
            let key = options.key.with_name(&problem.id).with(sample as u64);
            starts.push(ChainStart {
                prompt: prompt.clone(),
                code: code.clone(),
                chain: Chain::default(),
                key,
            });
        }
    }
    let chains = generator.write(&starts, options.stages, options.sampling)?;
    let codes: Vec<Option<String>> = chains
        .iter()
        .map(|chain| generator.encoder.code(chain))
        .collect();
    let cases: Vec<Case> = codes
        .iter()
        .enumerate()
        .map(|(i, code)| {
            let problem = &problems[i / options.samples];
            Case {
                problem,
                code: code.as_deref(),
                tests: &problem.tests,
            }
        })
        .collect();
    let judgements = judge.run(&cases);
    let mut attempts =
        chains
            .into_iter()
            .zip(codes)
            .zip(judgements)
            .map(|((chain, code), judgement)| Attempt {
                chain,
                code,
                judgement,
            });
    Ok(problems
        .iter()
        .map(|_| attempts.by_ref().take(options.samples).collect())
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
    /// Attempts that the host failed to judge.
    pub masked: usize,
}

/// Scores the attempts at a pool.
pub fn score(name: &str, attempts: &[Vec<Attempt>]) -> PoolScore {
    let all = || attempts.iter().flatten();
    let masked = |a: &&Attempt| matches!(a.judgement, Judgement::Masked(_));
    let passed: Vec<f64> = attempts
        .iter()
        .filter_map(|tries| {
            let counted: Vec<&Attempt> = tries.iter().filter(|a| !masked(a)).collect();
            let correct = counted.iter().filter(|a| a.judgement.passed()).count();
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
