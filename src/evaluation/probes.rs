//! What is measured once, at the end of a run: whether the stages matter, and what verdicts and tests are worth for
//! choosing.

use gauntlet_sandbox::{Program, Test, Value};

use crate::discriminator::Discriminator;
use crate::encoding::EncodingError;
use crate::execution::{Case, Executor};
use crate::generator::{ChainStart, Generator, Sampling};
use crate::metrics::auc;
use crate::problems::Problem;
use crate::results::TestResult;
use crate::rng::DrawKey;
use crate::stage::Stage;

use super::attacks::AttackOptions;
use super::ranking::{BLIND_SETS, answer_agreement, as_written, blind_tests, dual_agreement};
use super::{Attempt, attempt};

/// Whether the code still passes when stages 1 to 4 are those that were written for another problem of the pool (the
/// next one): a policy that reads its own stages must fail. `attempts` are the policy's own at `problems`.
pub fn swapped_stages(
    generator: &Generator,
    executor: &Executor,
    problems: &[Problem],
    attempts: &[Vec<Attempt>],
    sampling: &Sampling,
    key: DrawKey,
) -> Result<Vec<f64>, EncodingError> {
    let mut starts = Vec::with_capacity(problems.len());
    for (i, problem) in problems.iter().enumerate() {
        let donor = attempts[(i + 1) % attempts.len()].first();
        let chain = donor.map(|attempt| attempt.chain.prefix(Stage::Constraints));
        starts.push(ChainStart {
            chain: chain.unwrap_or_default(),
            ..ChainStart::of(&generator.encoder, problem, key.with_name(&problem.id))?
        });
    }
    let of = |i: usize| &problems[i];
    let swapped = attempt(generator, executor, &starts, &[Stage::Code], sampling, of)?;
    Ok(swapped
        .iter()
        .filter(|attempt| !attempt.run.is_masked())
        .map(|attempt| f64::from(u8::from(attempt.run.passed())))
        .collect())
}

/// Choosing one of several sampled candidates without a gold test, per problem.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BestOf {
    /// Share of candidates that pass: what choosing at random gives.
    pub mean: Vec<f64>,
    /// Whether the candidate with the highest verdict passes.
    pub by_verdict: Vec<f64>,
    /// Whether the candidate passes that passes the discriminator's blind tests with most others, of equals the one with
    /// the highest verdict.
    pub by_tests: Vec<f64>,
    /// Whether the candidate passes whose answers to the inputs of those tests most others give, of equals the one that
    /// passes more of them: what `inference --samples` chooses.
    pub by_answers: Vec<f64>,
    /// Whether any candidate passes: the most that choosing can give.
    pub any: Vec<f64>,
    /// Where some pass and some fail, the share of (passing, failing) pairs whose passing one has the higher verdict: the
    /// AUC within one problem.
    pub ordered: Vec<f64>,
}

/// Lets verdicts and blind tests choose among the attempts at each problem.
pub fn best_of(
    attempts: &[Vec<Attempt>],
    discriminator: &Discriminator,
    executor: &Executor,
    problems: &[Problem],
    options: &AttackOptions,
    key: DrawKey,
) -> Result<BestOf, EncodingError> {
    let counted: Vec<Vec<&Attempt>> = attempts
        .iter()
        .map(|tries| {
            let masked = |a: &&Attempt| a.run.is_masked();
            tries.iter().filter(|a| !masked(a)).collect()
        })
        .collect();
    let agreement = agreement(&counted, discriminator, executor, problems, options, key)?;
    let mut best = BestOf::default();
    for ((problem, counted), agreement) in problems.iter().zip(&counted).zip(&agreement) {
        let prompts = counted
            .iter()
            .map(|a| discriminator.encoder.verdict_prompt(problem, &a.chain))
            .collect::<Result<Vec<_>, _>>()?;
        let verdicts = discriminator.verdicts(&prompts);
        let passed: Vec<f64> = counted
            .iter()
            .map(|a| f64::from(u8::from(a.run.passed())))
            .collect();
        let highest = |scores: &dyn Fn(usize) -> [f64; 2]| {
            (0..passed.len()).max_by(|&a, &b| {
                let ([a, a_tie], [b, b_tie]) = (scores(a), scores(b));
                a.total_cmp(&b).then(a_tie.total_cmp(&b_tie))
            })
        };
        let verdict = |i: usize| f64::from(verdicts[i]);
        // A chain that was cut short has no code, and its verdict is one on a stage: it is no choice beside whole ones.
        let whole = |i: usize| f64::from(u8::from(counted[i].code.is_some()));
        let (Some(by_verdict), Some(by_tests), Some(by_answers)) = (
            highest(&|i| [whole(i), verdict(i)]),
            highest(&|i| [agreement.tests[i], verdict(i)]),
            highest(&|i| [agreement.answers[i], agreement.tests[i]]),
        ) else {
            continue;
        };
        best.mean
            .push(passed.iter().sum::<f64>() / passed.len() as f64);
        best.by_verdict.push(passed[by_verdict]);
        best.by_tests.push(passed[by_tests]);
        best.by_answers.push(passed[by_answers]);
        best.any.push(passed.iter().copied().fold(0.0, f64::max));
        let scores: Vec<(f64, bool)> = verdicts
            .iter()
            .zip(&passed)
            .map(|(&verdict, &passed)| (f64::from(verdict), passed > 0.5))
            .collect();
        best.ordered.extend(auc(&scores));
    }
    Ok(best)
}

/// What the attempts at one problem agree on.
struct Agreement {
    /// [`dual_agreement`] on blind tests, as written.
    tests: Vec<f64>,
    /// [`answer_agreement`] on their inputs.
    answers: Vec<f64>,
}

fn agreement(
    counted: &[Vec<&Attempt>],
    discriminator: &Discriminator,
    executor: &Executor,
    problems: &[Problem],
    options: &AttackOptions,
    key: DrawKey,
) -> Result<Vec<Agreement>, EncodingError> {
    let mut prompts = Vec::new();
    for problem in problems {
        let prompt = discriminator.encoder.attack_prompt(problem, None)?;
        prompts.push((prompt, key.with_name(&problem.id)));
    }
    let tests: Vec<Vec<Test>> = blind_tests(discriminator, &prompts, BLIND_SETS, options)?
        .iter()
        .map(|attacks| attacks.iter().map(as_written).collect())
        .collect();
    let cases: Vec<Case> = counted
        .iter()
        .enumerate()
        .flat_map(|(i, tries)| {
            let (problem, tests) = (&problems[i], &tests[i]);
            tries.iter().map(move |attempt| Case {
                problem,
                code: attempt.code.as_deref(),
                tests,
            })
        })
        .collect();
    let mut runs = executor.run(&cases).into_iter();
    let mut found = Vec::new();
    for ((problem, tries), tests) in problems.iter().zip(counted).zip(&tests) {
        let passes: Vec<Option<Vec<bool>>> = tries
            .iter()
            .map(|attempt| {
                let run = runs.next().expect("one run for every attempt");
                let passed = |result: &TestResult| *result == TestResult::Passed;
                attempt.code.as_ref()?;
                Some(run.results.iter().map(passed).collect())
            })
            .collect();
        let programs: Vec<Option<Program>> = tries
            .iter()
            .map(|attempt| Some(problem.program(attempt.code.as_deref()?)))
            .collect();
        let inputs: Vec<Vec<Value>> = tests.iter().map(|test| test.args.clone()).collect();
        found.push(Agreement {
            tests: dual_agreement(&passes),
            answers: answer_agreement(executor, &programs, &inputs),
        });
    }
    Ok(found)
}
