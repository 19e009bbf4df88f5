//! What the discriminator's warm-up learns from: executed samples.
//!
//! Left out on purpose: verdicts over reference traces with mutants for code. They would teach the style of references,
//! not correctness; verdicts are learnt on the warm generator's own right and wrong chains.

use gauntlet_sandbox::{Test, Value};

use crate::attacks::{PooledAttack, pool_attacks};
use crate::config::Config;
use crate::encoding::{EncodingError, PromptEncoder};
use crate::evaluation::{SolveOptions, solve};
use crate::execution::{Case, Executor};
use crate::game::StepError;
use crate::generator::{Generator, Sampling};
use crate::problems::{Problem, inputs::random_inputs};
use crate::prompts::format_attack;
use crate::results::TestResult;
use crate::rng::DrawKey;
use crate::rollout::{Chain, Completion, FinishReason, ParsedAttack, VerdictExample};
use crate::source::{ProblemSource, Purpose};
use crate::stage::Stage;
use crate::update::Example;

/// Everything the discriminator's warm-up reads, made once by executing.
pub struct DiscriminatorData {
    attacks: Vec<Example>,
    verdicts: Vec<VerdictExample>,
    contests: Vec<Contest>,
    key: DrawKey,
}

/// Whole chains of one problem of which some are right and some are wrong, as indices of the verdict examples.
#[derive(Default)]
struct Contest {
    right: Vec<usize>,
    wrong: Vec<usize>,
}

impl DiscriminatorData {
    /// Solves `warmup.verdict_problems` problems with the warm generators, an equal part with each, executes the chains, and turns them into
    /// verdict examples (each chain at every stage) and attack sets whose expected values the reference gave. Inputs that
    /// the chain under attack fails on come first.
    pub fn collect(
        config: &Config,
        source: &ProblemSource,
        generators: &[&Generator],
        executor: &Executor,
        sampling: &Sampling,
        key: DrawKey,
    ) -> Result<Self, StepError> {
        let count = config.warmup.verdict_problems;
        let problems =
            source.problems(executor.sandbox(), Purpose::DiscriminatorWarmup, 0, count)?;
        let stages = config.written_stages();
        let options = SolveOptions {
            sampling,
            samples: config.warmup.verdict_samples,
            stages,
            key: key.with_name("chains"),
        };
        let part = count.div_ceil(generators.len()).max(1);
        let mut attempts = Vec::with_capacity(count);
        for (generator, problems) in generators.iter().zip(problems.chunks(part)) {
            attempts.extend(solve(generator, executor, problems, &options)?);
        }
        let encoder = &generators[0].encoder;
        let (mut verdicts, mut contests) = (Vec::new(), Vec::new());
        for (problem, tries) in problems.iter().zip(&attempts) {
            let mut contest = Contest::default();
            for attempt in tries
                .iter()
                .filter(|attempt| !attempt.run.is_masked() && !attempt.chain.truncated())
            {
                for &stage in stages {
                    verdicts.push(VerdictExample {
                        problem: problem.id.clone(),
                        stage,
                        prompt_tokens: encoder
                            .verdict_prompt(problem, &attempt.chain.prefix(stage))?,
                        target: if attempt.run.passed() { 1.0 } else { 0.0 },
                    });
                }
                // The last example is that of the whole chain.
                contest.add(attempt.run.passed(), verdicts.len() - 1);
            }
            contests.extend(contest.is_open().then_some(contest));
        }
        let pools = labelled_inputs(executor, &problems, key);
        let mut attacks = Vec::new();
        // Which inputs break the chain under attack is known by running it.
        let tests: Vec<Vec<Test>> = pools
            .iter()
            .map(|pool| pool.iter().map(PooledAttack::test).collect())
            .collect();
        let cases: Vec<Case> = problems
            .iter()
            .zip(&attempts)
            .zip(&tests)
            .map(|((problem, tries), tests)| Case {
                problem,
                code: tries[0].code.as_deref(),
                tests,
            })
            .collect();
        for (((problem, tries), pool), run) in problems
            .iter()
            .zip(&attempts)
            .zip(&pools)
            .zip(executor.run(&cases))
        {
            let blind = key.with_name(&problem.id).uniform(0) < config.game.blind_share;
            let passes = |i: usize| run.results.get(i) == Some(&TestResult::Passed);
            let mut order: Vec<usize> = (0..pool.len()).collect();
            // Stable: kills first for a visible chain, else in drawn order.
            order.sort_by_key(|&i| !blind && passes(i));
            let chain = (!blind).then(|| &tries[0].chain);
            attacks.extend(attack_example(
                config,
                encoder,
                problem,
                chain,
                order.iter().map(|&i| &pool[i]),
            )?);
        }
        // Far more problems, without chains of the generator: what a test looks like, and what is worth trying.
        let more = source.problems(
            executor.sandbox(),
            Purpose::DiscriminatorWarmup,
            count as u64,
            config.warmup.attack_problems,
        )?;
        for (problem, pool) in more.iter().zip(labelled_inputs(executor, &more, key)) {
            let blind = key.with_name(&problem.id).uniform(0) < config.game.blind_share;
            let chain = (!blind).then(|| reference_chain(problem, stages)).flatten();
            attacks.extend(attack_example(
                config,
                encoder,
                problem,
                chain.as_ref(),
                pool.iter(),
            )?);
        }
        Ok(Self {
            attacks,
            verdicts,
            contests,
            key: key.with_name("batches"),
        })
    }

    /// Attack sets and verdicts of one step: three attack sets to two verdicts. Half of the verdicts are pairs of a right
    /// and a wrong whole chain of one problem, which teach what tells them apart; the other half are drawn from all chains
    /// at all stages, which teaches how likely a problem is to be solved.
    pub fn batch(&self, step: u64, batch_size: usize) -> (Vec<Example>, Vec<VerdictExample>) {
        let pairs = batch_size.div_ceil(8);
        let draw = |what: u64, i: u64, len: usize| -> usize {
            (self.key.with(step).with(what).uniform(i) * len as f64) as usize
        };
        let pick = |len: usize, what: u64, count: usize| -> Vec<usize> {
            (0..count as u64)
                .filter(|_| len > 0)
                .map(|i| draw(what, i, len))
                .collect()
        };
        let mut judged = pick(self.verdicts.len(), 1, 2 * pairs);
        for (i, contest) in (0..).zip(pick(self.contests.len(), 2, pairs)) {
            let Contest { right, wrong } = &self.contests[contest];
            judged.push(right[draw(3, i, right.len())]);
            judged.push(wrong[draw(4, i, wrong.len())]);
        }
        let attacks = batch_size - batch_size.div_ceil(4);
        (
            pick(self.attacks.len(), 0, attacks)
                .into_iter()
                .map(|i| self.attacks[i].clone())
                .collect(),
            judged
                .into_iter()
                .map(|i| self.verdicts[i].clone())
                .collect(),
        )
    }

    /// Numbers of attack sets and of verdicts.
    pub fn sizes(&self) -> (usize, usize) {
        (self.attacks.len(), self.verdicts.len())
    }

    /// Share of verdict examples whose chain passed.
    pub fn pass_rate(&self) -> f64 {
        let sum: f64 = self.verdicts.iter().map(|v| f64::from(v.target)).sum();
        sum / self.verdicts.len().max(1) as f64
    }
}

impl Contest {
    fn add(&mut self, right: bool, example: usize) {
        let side = if right {
            &mut self.right
        } else {
            &mut self.wrong
        };
        side.push(example);
    }

    /// Whether there is anything to tell apart.
    fn is_open(&self) -> bool {
        !self.right.is_empty() && !self.wrong.is_empty()
    }
}

/// The attack set made of the first playable inputs of `pool`, after its prompt; none without any.
fn attack_example<'a>(
    config: &Config,
    encoder: &PromptEncoder,
    problem: &Problem,
    chain: Option<&Chain>,
    pool: impl Iterator<Item = &'a PooledAttack>,
) -> Result<Option<Example>, EncodingError> {
    let lines: Vec<String> = pool
        .take(config.game.attacks_per_set)
        .map(|pooled| format_attack(&pooled.attack.args, &pooled.attack.expected))
        .collect();
    if lines.is_empty() {
        return Ok(None);
    }
    let mut tokens = encoder.attack_prompt(problem, chain)?;
    let from = tokens.len();
    tokens.extend(encoder.encode_completion(&lines.join("\n"))?);
    // What the policy could not finish within its budget would teach it to be cut short.
    let fits = tokens.len() - from <= config.sampling.attack_max_new_tokens;
    Ok(fits.then_some(Example { tokens, from }))
}

/// A problem's reference trace as a chain, for prompts that show one.
fn reference_chain(problem: &Problem, stages: &[Stage]) -> Option<Chain> {
    let trace = problem.trace.as_ref()?;
    let mut chain = Chain::default();
    for &stage in stages {
        let text = trace[stage.index()].clone();
        let completion = Completion {
            tokens: Vec::new(),
            logprobs: Vec::new(),
            text,
            finish_reason: FinishReason::Stop,
        };
        chain.set(stage, completion);
    }
    Some(chain)
}

/// Random inputs drawn for each problem, of which those are kept that are no gold input and that validator and reference
/// accept, with the reference's answers.
fn labelled_inputs(
    executor: &Executor,
    problems: &[Problem],
    key: DrawKey,
) -> Vec<Vec<PooledAttack>> {
    const DRAWN: usize = 16;
    let drawn: Vec<Vec<Result<ParsedAttack, String>>> = problems
        .iter()
        .map(|problem| {
            let inputs = random_inputs(problem, DRAWN, key.with_name(&problem.id).value());
            inputs
                .into_iter()
                .map(|args| {
                    Ok(ParsedAttack {
                        args,
                        expected: Value::None,
                    })
                })
                .collect()
        })
        .collect();
    let sets: Vec<_> = problems
        .iter()
        .zip(&drawn)
        .map(|(problem, drawn)| (problem, &drawn[..]))
        .collect();
    executor
        .check_attacks(&sets)
        .into_iter()
        .map(|checked| pool_attacks(&[checked]))
        .collect()
}
