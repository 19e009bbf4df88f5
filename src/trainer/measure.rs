//! Measurement of both players on all pools, after each phase.

use serde_json::{Value as Json, json};

use crate::checkpoint::{GENERATOR, player_names};
use crate::config::Config;
use crate::discriminator::Discriminator;
use crate::evaluation::attacks::{AttackOptions, AttackQuality, attack_quality};
use crate::evaluation::{Attempt, Pool, PoolScore, SolveOptions, score, solve};
use crate::generator::Generator;
use crate::judge::Judgement;
use crate::metrics::{auc, mean};
use crate::problems::Problem;

use super::TrainError;
use super::game::StageMeans;
use super::players::Pair;
use super::session::Session;
use super::summary::{Ranking, StageRow, highest};

impl Session<'_> {
    /// A generator's attempts at the first `limit` problems of a pool, as `evaluation` says.
    pub(super) fn attempts(
        &self,
        generator: &Generator,
        pool: &Pool,
        limit: usize,
    ) -> Result<Vec<Vec<Attempt>>, TrainError> {
        let evaluation = &self.config.evaluation;
        let problems = &pool.problems[..limit.min(pool.problems.len())];
        self.attempts_at(
            generator,
            problems,
            evaluation.samples,
            evaluation.temperature,
        )
    }

    fn attempts_at(
        &self,
        generator: &Generator,
        problems: &[Problem],
        samples: usize,
        temperature: f64,
    ) -> Result<Vec<Vec<Attempt>>, TrainError> {
        let sampling = self.sampling(temperature);
        let options = SolveOptions {
            sampling: &sampling,
            samples,
            stages: self.config.written_stages(),
            key: self.key.with_name("evaluation"),
        };
        Ok(solve(generator, &self.judge, problems, &options)?)
    }

    /// The players that did best when all were measured last.
    pub(super) fn best(&self) -> Pair {
        let last = self.summary.rows.last();
        let ranking = last.and_then(|row| row.ranking.as_ref());
        ranking.map(Ranking::best).unwrap_or_default()
    }

    /// Measures a part of the validation pools within a stage, to be seen; `best` is chosen by whole pools.
    pub(super) fn quick_validation(&mut self) -> Result<(), TrainError> {
        let mut scores: Vec<Vec<PoolScore>> = Vec::new();
        for generator in self.roster.generators() {
            let mut pools = Vec::new();
            for pool in &self.validation {
                let attempts = self.attempts(generator, pool, self.config.evaluation.problems)?;
                pools.push(score(&pool.name, &attempts));
            }
            scores.push(pools);
        }
        let each: Vec<f64> = scores.iter().map(|pools| pass_at_1(pools)).collect();
        let best = highest(&each);
        let (pass_at_1, pools) = (each[best], scores.swap_remove(best));
        let problems: usize = pools.iter().map(|pool| pool.problems).sum();
        let mut validation =
            json!({"pass_at_1": pass_at_1, "problems": problems, "pools": by_name(&pools)});
        if each.len() > 1 {
            let names = player_names(GENERATOR, each.len()).into_iter();
            let each = names.zip(&each);
            let each = each.map(|(name, pass_at_1)| (name, json!({"pass_at_1": pass_at_1})));
            validation["generator"] = json!(best);
            validation["players"] = each.collect::<serde_json::Map<_, _>>().into();
        }
        // Not under `evaluation`, whose figures are of whole pools.
        self.log_metrics(&json!({
            "step": self.state.step, "stage": self.state.phase.stage_id(),
            "validation": validation, "passed": passes(&pools),
        }))?;
        self.state.validated = Some((self.state.step, pass_at_1));
        self.observer.note(&format!(
            "step {}: validation pass@1 {:.1} %",
            self.state.step,
            100.0 * pass_at_1
        ));
        Ok(())
    }

    /// Measures both players on all pools and adds a row to the summary. True when validation is better than ever.
    pub(super) fn evaluate(&mut self, label: &str) -> Result<bool, TrainError> {
        // A stage without steps changes nothing that would have to be measured again.
        let step = self.state.step;
        let row = match self.summary.rows.last().filter(|last| last.step == step) {
            Some(last) => StageRow {
                label: label.to_owned(),
                generator_reward: None,
                discriminator_reward: None,
                attack_validity: None,
                ..last.clone()
            },
            None => self.measured(label)?,
        };
        let validation = row.validation;
        self.means = StageMeans::default();
        let kills = match &row.ranking {
            Some(ranking) => ranking.bank_kill_rate.clone(),
            None => vec![row.bank_kill_rate],
        };
        let theirs = &mut self.state.standings.discriminators;
        for (standing, rate) in theirs.iter_mut().zip(kills) {
            standing.bank_kill_rate = rate;
        }
        let of_validation = |p: &&PoolScore| self.validation.iter().any(|pool| pool.name == p.name);
        let problems: usize = row
            .pools
            .iter()
            .filter(of_validation)
            .map(|p| p.problems)
            .sum();
        self.last_validation =
            json!({"pass_at_1": validation, "problems": problems, "pools": by_name(&row.pools)});
        if let Some(ranking) = &row.ranking {
            let best = ranking.best();
            self.last_validation["generator"] = json!(best.generator);
            self.last_validation["discriminator"] = json!(best.discriminator);
            self.last_validation["players"] = ranking.json();
        }
        let mut line =
            json!({"step": self.state.step, "stage": self.state.phase.stage_id(), "after": label});
        line["evaluation"] = self.last_validation.clone();
        line["evaluation"]["bank_kill_rate"] = json!(row.bank_kill_rate);
        line["evaluation"]["verdict_auc"] = json!(row.verdict_auc);
        if let Some(attacks) = &row.unseen_attacks {
            line["evaluation"]["attacks_valid"] = json!(attacks.valid);
            line["evaluation"]["attacks_playable"] = json!(attacks.playable);
            line["evaluation"]["attacks_repeated"] = json!(attacks.duplicate);
        }
        line["passed"] = passes(&row.pools);
        self.log_metrics(&line)?;
        let texts: Vec<String> = row
            .pools
            .iter()
            .map(|p| format!("{} {:.1} %", p.name.replace('_', " "), 100.0 * p.pass_at_1))
            .collect();
        self.observer
            .note(&format!("after {label}: pass@1 {}", texts.join(", ")));
        self.summary.rows.push(row);
        let better = self
            .state
            .best_score
            .is_none_or(|(best, _)| validation > best);
        if better {
            self.state.best_score = Some((validation, self.state.step));
        }
        Ok(better)
    }

    fn measured(&self, label: &str) -> Result<StageRow, TrainError> {
        // By generator, pool and problem: all of them compete on the validation pools.
        let mut attempts: Vec<Vec<Vec<Vec<Attempt>>>> = Vec::new();
        for generator in self.roster.generators() {
            let of_pool = |pool| self.unhurried_attempts(generator, pool);
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
        let generator = &self.roster.generators[best].policy;
        for pool in &self.report {
            let attempts = self.unhurried_attempts(generator, pool)?;
            pools.push(score(&pool.name, &attempts));
        }
        pools.extend(self.sampled_scores(generator)?);
        let mut ranking = Ranking {
            validation,
            bank_kill_rate: Vec::new(),
            verdict_auc: Vec::new(),
        };
        let mut qualities = Vec::new();
        for player in &self.roster.discriminators {
            let mut verdicts: Vec<(f64, bool)> = Vec::new();
            for (pool, attempts) in self.validation.iter().zip(attempts) {
                verdicts.extend(self.final_verdicts(&player.policy, pool, attempts)?);
            }
            ranking.verdict_auc.push(auc(&verdicts));
            let quality = self.attack_quality(&player.policy)?;
            ranking
                .bank_kill_rate
                .push(quality.and_then(|quality| quality.bank_kills));
            qualities.push(quality);
        }
        let best = ranking.best();
        Ok(StageRow {
            label: label.to_owned(),
            step: self.state.step,
            validation: ranking.validation[best.generator],
            generator_reward: average(&self.means.generator_reward),
            discriminator_reward: average(&self.means.discriminator_reward),
            attack_validity: average(&self.means.validity),
            bank_kill_rate: ranking.bank_kill_rate[best.discriminator],
            unseen_attacks: qualities[best.discriminator],
            verdict_auc: ranking.verdict_auc[best.discriminator],
            seconds: self.begun.elapsed().as_secs_f64(),
            pools,
            ranking: self.roster.has_several().then_some(ranking),
        })
    }

    /// A generator's attempts at a whole pool. That takes minutes, and whoever asks to stop may not wait that long.
    fn unhurried_attempts(
        &self,
        generator: &Generator,
        pool: &Pool,
    ) -> Result<Vec<Vec<Attempt>>, TrainError> {
        if self.is_interrupted() {
            return Err(TrainError::Interrupted);
        }
        self.attempts(generator, pool, usize::MAX)
    }

    /// pass@1 at the temperature of training, which is what the game improves, on the composed validation and report
    /// pools; named after them.
    fn sampled_scores(&self, generator: &Generator) -> Result<Vec<PoolScore>, TrainError> {
        let samples = self.config.evaluation.sampled;
        let temperature = self.config.sampling.temperature;
        let composed = |pool: &&Pool| !pool.name.ends_with("written");
        let mut scores = Vec::new();
        if samples > 0 {
            for pool in self.validation.iter().chain(&self.report).filter(composed) {
                let attempts = self.attempts_at(generator, &pool.problems, samples, temperature)?;
                scores.push(score(&format!("{}_sampled", pool.name), &attempts));
            }
        }
        Ok(scores)
    }

    /// Verdicts on whole chains with what execution said.
    fn final_verdicts(
        &self,
        discriminator: &Discriminator,
        pool: &Pool,
        attempts: &[Vec<Attempt>],
    ) -> Result<Vec<(f64, bool)>, TrainError> {
        if !self.config.game.adversary {
            return Ok(Vec::new());
        }
        let mut prompts = Vec::new();
        let mut right = Vec::new();
        for (problem, attempts) in pool.problems.iter().zip(attempts) {
            for attempt in attempts
                .iter()
                .filter(|a| a.code.is_some() && !matches!(a.judgement, Judgement::Masked(_)))
            {
                prompts.push(
                    discriminator
                        .encoder
                        .verdict_prompt(problem, &attempt.chain)?,
                );
                right.push(attempt.judgement.passed());
            }
        }
        Ok(discriminator
            .verdicts(&prompts)
            .into_iter()
            .map(f64::from)
            .zip(right)
            .collect())
    }

    /// What the tests of a discriminator are worth on validation problems.
    fn attack_quality(
        &self,
        discriminator: &Discriminator,
    ) -> Result<Option<AttackQuality>, TrainError> {
        if !self.config.game.adversary {
            return Ok(None);
        }
        let Some(pool) = self.validation.first() else {
            return Ok(None);
        };
        let limit = self.config.evaluation.problems.min(pool.problems.len());
        let quality = attack_quality(
            discriminator,
            &self.judge,
            &pool.problems[..limit],
            self.config.game.bank_mutants,
            &attack_options(&self.config),
            self.key,
        )?;
        Ok(Some(quality))
    }
}

/// Attack sets are measured as the game draws them.
pub(super) fn attack_options(config: &Config) -> AttackOptions {
    AttackOptions {
        max_new_tokens: config.sampling.attack_max_new_tokens,
        temperature: config.sampling.temperature,
        batch_size: config.evaluation.batch_size,
        per_set: config.game.attacks_per_set,
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
fn passes(pools: &[PoolScore]) -> Json {
    let pools = pools.iter().map(|p| (p.name.clone(), json!(p.passed)));
    pools.collect::<serde_json::Map<_, _>>().into()
}

fn average(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| mean(values))
}
