//! Measurement of all players on all pools.

use serde_json::{Value as Json, json};

use crate::checkpoint::{GENERATOR, player_names};
use crate::config::Config;
use crate::discriminator::Discriminator;
use crate::encoding::EncodingError;
use crate::execution::Executor;
use crate::generator::{Generator, Sampling};
use crate::metrics::{auc, mean};
use crate::players::Roster;
use crate::problems::Problem;
use crate::rng::DrawKey;

use super::attacks::{AttackOptions, AttackQuality, attack_quality};
use super::summary::{Ranking, StageMeans, StageRow, highest};
use super::{Attempt, Pool, PoolScore, SolveOptions, score, solve};

/// What measures: the pools, and how attempts at them are made and executed.
#[derive(Clone, Copy)]
pub struct Harness<'a> {
    /// Every key.
    pub config: &'a Config,
    /// Executes.
    pub executor: &'a Executor,
    /// Problems that choose `best`.
    pub validation: &'a [Pool],
    /// Problems that are only reported.
    pub report: &'a [Pool],
    /// Root key of the run's draws.
    pub key: DrawKey,
    /// Whether the run is asked to stop: a measurement takes minutes.
    pub is_stopped: &'a dyn Fn() -> bool,
}

/// Why a measurement has no result.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// A prompt cannot be made.
    #[error(transparent)]
    Encoding(#[from] EncodingError),
    /// The run was asked to stop.
    #[error("interrupted")]
    Interrupted,
}

/// What a part of the validation pools came to within a stage.
pub struct QuickValidation {
    /// Mean pass@1 of the best generator.
    pub pass_at_1: f64,
    /// What metrics.jsonl says of it.
    pub figures: Json,
    /// Passes of the best generator, problem by problem.
    pub passed: Json,
}

impl Harness<'_> {
    /// Limits of a chain, at a temperature.
    pub fn sampling(&self, temperature: f64) -> Sampling {
        Sampling {
            temperature,
            max_new_tokens: self.config.sampling.max_new_tokens,
            batch_size: self.config.evaluation.batch_size,
        }
    }

    /// A generator's attempts at the first `limit` problems of a pool, as `evaluation` says.
    pub fn attempts(
        &self,
        generator: &Generator,
        pool: &Pool,
        limit: usize,
    ) -> Result<Vec<Vec<Attempt>>, Stopped> {
        let evaluation = &self.config.evaluation;
        let problems = &pool.problems[..limit.min(pool.problems.len())];
        let (samples, temperature) = (evaluation.samples, evaluation.temperature);
        self.attempts_at(generator, problems, samples, temperature)
    }

    fn attempts_at(
        &self,
        generator: &Generator,
        problems: &[Problem],
        samples: usize,
        temperature: f64,
    ) -> Result<Vec<Vec<Attempt>>, Stopped> {
        if (self.is_stopped)() {
            return Err(Stopped::Interrupted);
        }
        let sampling = self.sampling(temperature);
        let options = SolveOptions {
            sampling: &sampling,
            samples,
            stages: self.config.written_stages(),
            key: self.key.with_name("evaluation"),
        };
        Ok(solve(generator, self.executor, problems, &options)?)
    }

    /// Measures the generators on a part of the validation pools.
    pub fn quick(&self, roster: &Roster) -> Result<QuickValidation, Stopped> {
        let mut scores: Vec<Vec<PoolScore>> = Vec::new();
        for generator in roster.generators() {
            let mut pools = Vec::new();
            for pool in self.validation {
                let attempts = self.attempts(generator, pool, self.config.evaluation.problems)?;
                pools.push(score(&pool.name, &attempts));
            }
            scores.push(pools);
        }
        let each: Vec<f64> = scores.iter().map(|pools| pass_at_1(pools)).collect();
        let best = highest(&each);
        let (pass_at_1, pools) = (each[best], scores.swap_remove(best));
        let problems: usize = pools.iter().map(|pool| pool.problems).sum();
        let mut figures =
            json!({"pass_at_1": pass_at_1, "problems": problems, "pools": by_name(&pools)});
        if each.len() > 1 {
            let names = player_names(GENERATOR, each.len()).into_iter();
            let each = names.zip(&each);
            let each = each.map(|(name, pass_at_1)| (name, json!({"pass_at_1": pass_at_1})));
            figures["generator"] = json!(best);
            figures["players"] = each.collect::<serde_json::Map<_, _>>().into();
        }
        Ok(QuickValidation {
            pass_at_1,
            figures,
            passed: passes(&pools),
        })
    }

    /// Measures all players on all pools: a row of the table, but for the time it took.
    pub fn measure(
        &self,
        roster: &Roster,
        label: &str,
        step: u64,
        means: &StageMeans,
    ) -> Result<StageRow, Stopped> {
        // By generator, pool and problem: all of them compete on the validation pools.
        let mut attempts: Vec<Vec<Vec<Vec<Attempt>>>> = Vec::new();
        for generator in roster.generators() {
            let of_pool = |pool| self.attempts(generator, pool, usize::MAX);
            attempts.push(
                self.validation
                    .iter()
                    .map(of_pool)
                    .collect::<Result<_, _>>()?,
            );
        }
        let scores = attempts.iter().map(|attempts| {
            let pools = self.validation.iter().zip(attempts);
            pools.map(|(pool, attempts)| score(&pool.name, attempts))
        });
        let mut scores: Vec<Vec<PoolScore>> = scores.map(Iterator::collect).collect();
        let validation: Vec<f64> = scores.iter().map(|pools| pass_at_1(pools)).collect();
        let best = highest(&validation);
        let (mut pools, attempts) = (scores.swap_remove(best), &attempts[best]);
        // The others cost only what choosing takes.
        let generator = &roster.generators[best].policy;
        for pool in self.report {
            let attempts = self.attempts(generator, pool, usize::MAX)?;
            pools.push(score(&pool.name, &attempts));
        }
        pools.extend(self.sampled_scores(generator)?);
        let mut ranking = Ranking {
            validation,
            bank_kill_rate: Vec::new(),
            verdict_auc: Vec::new(),
        };
        let mut qualities = Vec::new();
        for player in &roster.discriminators {
            let mut verdicts: Vec<(f64, bool)> = Vec::new();
            for (pool, attempts) in self.validation.iter().zip(attempts) {
                verdicts.extend(self.final_verdicts(&player.policy, pool, attempts)?);
            }
            ranking.verdict_auc.push(auc(&verdicts));
            let quality = self.attack_quality(&player.policy)?;
            let kills = quality.and_then(|quality| quality.bank_kills);
            ranking.bank_kill_rate.push(kills);
            qualities.push(quality);
        }
        let best = ranking.best();
        Ok(StageRow {
            label: label.to_owned(),
            step,
            validation: ranking.validation[best.generator],
            generator_reward: average(&means.generator_reward),
            discriminator_reward: average(&means.discriminator_reward),
            attack_validity: average(&means.validity),
            bank_kill_rate: ranking.bank_kill_rate[best.discriminator],
            unseen_attacks: qualities[best.discriminator],
            verdict_auc: ranking.verdict_auc[best.discriminator],
            seconds: 0.0,
            pools,
            ranking: roster.has_several().then_some(ranking),
        })
    }

    /// What metrics.jsonl and checkpoints say of a row.
    pub fn figures(&self, row: &StageRow) -> Json {
        let of_validation = |p: &&PoolScore| self.validation.iter().any(|pool| pool.name == p.name);
        let problems = row.pools.iter().filter(of_validation).map(|p| p.problems);
        let problems: usize = problems.sum();
        let mut figures = json!({
            "pass_at_1": row.validation, "problems": problems, "pools": by_name(&row.pools),
        });
        if let Some(ranking) = &row.ranking {
            let best = ranking.best();
            figures["generator"] = json!(best.generator);
            figures["discriminator"] = json!(best.discriminator);
            figures["players"] = ranking.json();
        }
        figures
    }

    /// pass@1 at the temperature of training, which is what the game improves, on the composed validation and report
    /// pools; named after them.
    fn sampled_scores(&self, generator: &Generator) -> Result<Vec<PoolScore>, Stopped> {
        let samples = self.config.evaluation.sampled;
        let temperature = self.config.sampling.temperature;
        let composed = |pool: &&Pool| !pool.name.ends_with("written");
        let mut scores = Vec::new();
        if samples > 0 {
            for pool in self.validation.iter().chain(self.report).filter(composed) {
                let attempts = self.attempts_at(generator, &pool.problems, samples, temperature)?;
                scores.push(score(&format!("{}_sampled", pool.name), &attempts));
            }
        }
        Ok(scores)
    }

    /// Verdicts on whole chains with what execution says.
    fn final_verdicts(
        &self,
        discriminator: &Discriminator,
        pool: &Pool,
        attempts: &[Vec<Attempt>],
    ) -> Result<Vec<(f64, bool)>, Stopped> {
        if !self.config.game.adversary {
            return Ok(Vec::new());
        }
        let (mut prompts, mut right) = (Vec::new(), Vec::new());
        for (problem, attempts) in pool.problems.iter().zip(attempts) {
            let known = |attempt: &&Attempt| attempt.code.is_some() && !attempt.run.is_masked();
            for attempt in attempts.iter().filter(known) {
                let encoder = &discriminator.encoder;
                prompts.push(encoder.verdict_prompt(problem, &attempt.chain)?);
                right.push(attempt.run.passed());
            }
        }
        let verdicts = discriminator.verdicts(&prompts).into_iter().map(f64::from);
        Ok(verdicts.zip(right).collect())
    }

    /// What the tests of a discriminator are worth on validation problems.
    fn attack_quality(
        &self,
        discriminator: &Discriminator,
    ) -> Result<Option<AttackQuality>, Stopped> {
        let Some(pool) = self
            .validation
            .first()
            .filter(|_| self.config.game.adversary)
        else {
            return Ok(None);
        };
        if (self.is_stopped)() {
            return Err(Stopped::Interrupted);
        }
        let limit = self.config.evaluation.problems.min(pool.problems.len());
        let quality = attack_quality(
            discriminator,
            self.executor,
            &pool.problems[..limit],
            self.config.game.bank_mutants,
            &AttackOptions::of(self.config),
            self.key,
        )?;
        Ok(Some(quality))
    }
}

/// The share of the pools' problems that were solved, every problem counting the same.
fn pass_at_1(pools: &[PoolScore]) -> f64 {
    let passed: Vec<f64> = pools
        .iter()
        .flat_map(|pool| &pool.passed)
        .copied()
        .collect();
    mean(&passed)
}

/// What pools came to, by their names.
fn by_name(pools: &[PoolScore]) -> Json {
    let of = |p: &PoolScore| json!({"pass_at_1": p.pass_at_1, "problems": p.problems, "truncated": p.truncated});
    let pools = pools.iter().map(|p| (p.name.clone(), of(p)));
    pools.collect::<serde_json::Map<_, _>>().into()
}

/// Passes problem by problem, so that intervals and paired differences can be computed later.
pub fn passes(pools: &[PoolScore]) -> Json {
    let pools = pools.iter().map(|p| (p.name.clone(), json!(p.passed)));
    pools.collect::<serde_json::Map<_, _>>().into()
}

fn average(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| mean(values))
}
