//! What is measured once, at the end of a run: whether the stages matter, and what the verdict is worth.

use crate::discriminator::Discriminator;
use crate::encoding::EncodingError;
use crate::generator::{ChainStart, Generator, Sampling};
use crate::judge::{Case, Judge, Judgement};
use crate::metrics::auc;
use crate::model::sampling::DrawKey;
use crate::problems::Problem;
use crate::stage::Stage;

use super::{Attempt, SolveOptions, solve};

/// Whether the code still passes when stages 1 to 4 are those that were written for another problem of the pool (the
/// next one): a policy that reads its own stages must fail. `attempts` are the policy's own at `problems`.
pub fn swapped_stages(
    generator: &Generator,
    judge: &Judge,
    problems: &[Problem],
    attempts: &[Vec<Attempt>],
    sampling: &Sampling,
    key: DrawKey,
) -> Result<Vec<f64>, EncodingError> {
    let mut starts = Vec::with_capacity(problems.len());
    for (i, problem) in problems.iter().enumerate() {
        let donor = &attempts[(i + 1) % attempts.len()];
        starts.push(ChainStart {
            prompt: generator.encoder.problem_prompt(problem)?,
            code: generator.encoder.problem_code_opening(problem)?,
            chain: donor
                .first()
                .map(|attempt| attempt.chain.prefix(Stage::Constraints))
                .unwrap_or_default(),
            key: key.with_name(&problem.id),
        });
    }
    let chains = generator.write(&starts, &[Stage::Code], sampling)?;
    let codes: Vec<Option<String>> = chains
        .iter()
        .map(|chain| generator.encoder.code(chain))
        .collect();
    let cases: Vec<Case> = problems
        .iter()
        .zip(&codes)
        .map(|(problem, code)| Case {
            problem,
            code: code.as_deref(),
            tests: &problem.tests,
        })
        .collect();
    Ok(judge
        .run(&cases)
        .iter()
        .filter(|judgement| !matches!(judgement, Judgement::Masked(_)))
        .map(|judgement| f64::from(u8::from(judgement.passed())))
        .collect())
}

/// Choosing one of several sampled candidates by verdict, per problem.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BestOf {
    /// Share of candidates that pass: what choosing at random gives.
    pub mean: Vec<f64>,
    /// Whether the candidate with the highest verdict passes.
    pub chosen: Vec<f64>,
    /// Whether any candidate passes: the most that choosing can give.
    pub any: Vec<f64>,
    /// Where some pass and some fail, the share of (passing, failing) pairs whose passing one has the higher verdict: the
    /// AUC within one problem.
    pub ordered: Vec<f64>,
}

/// Samples candidates as `options` say and lets the verdict choose.
pub fn best_of(
    generator: &Generator,
    discriminator: &Discriminator,
    judge: &Judge,
    problems: &[Problem],
    options: &SolveOptions,
) -> Result<BestOf, EncodingError> {
    let mut best = BestOf::default();
    for (problem, attempts) in problems
        .iter()
        .zip(solve(generator, judge, problems, options)?)
    {
        let counted: Vec<&Attempt> = attempts
            .iter()
            .filter(|a| !matches!(a.judgement, Judgement::Masked(_)))
            .collect();
        let prompts = counted
            .iter()
            .map(|a| discriminator.encoder.verdict_prompt(problem, &a.chain))
            .collect::<Result<Vec<_>, _>>()?;
        let verdicts = discriminator.verdicts(&prompts);
        let passed: Vec<f64> = counted
            .iter()
            .map(|a| f64::from(u8::from(a.judgement.passed())))
            .collect();
        // A chain that was cut short has no code, and its verdict is one on a stage: it is no choice beside whole ones.
        let rank = |i: usize| (counted[i].code.is_some(), verdicts[i]);
        let chosen = (0..passed.len()).max_by(|&a, &b| {
            let ((a_whole, a), (b_whole, b)) = (rank(a), rank(b));
            a_whole.cmp(&b_whole).then(a.total_cmp(&b))
        });
        let Some(chosen) = chosen else { continue };
        best.mean
            .push(passed.iter().sum::<f64>() / passed.len() as f64);
        best.chosen.push(passed[chosen]);
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
