//! A stage of the game, and the evaluation after it.

use std::time::Instant;

use serde_json::json;

use crate::config::Config;
use crate::evaluation::{Attempt, Pool, PoolScore, SolveOptions, score, solve};
use crate::judge::{Case, Judge, Judgement};
use crate::metrics::{AttackRecord, SampleRecord, StepReport, auc, mean};
use crate::prompts::parse_attacks;
use crate::rewards::{alpha, pool_attacks};
use crate::rollout::{ScoredAttackSet, ScoredRollout, Trainable, VerdictExample};
use crate::source::Purpose;
use crate::stage::Stage;
use crate::update::{PolicyOptions, judge, reinforce};

use super::play::{Round, Table, frozen_bank};
use super::scoring::{Batch, Scales, ScoredRound, estimate_groups, kill_rate, pass_rate, set_wins, validity, wins};
use super::session::Session;
use super::summary::StageRow;
use super::TrainError;

/// Verdict examples a problem and step: enough to follow the generator, a fraction of the cost of its own update.
const VERDICTS_PER_PROBLEM: usize = 4;

/// Means over the steps of one stage, for the table.
#[derive(Default)]
pub(super) struct StageMeans {
    generator_reward: Vec<f64>,
    discriminator_reward: Vec<f64>,
    validity: Vec<f64>,
}

impl Session<'_> {
    /// Plays the steps of `stage`; true when they are done.
    pub(super) fn game(&mut self, stage: Stage) -> Result<bool, TrainError> {
        let steps = self.config.planned_stages().find(|(s, _)| *s == stage).map_or(0, |(_, steps)| steps);
        self.phase_steps = steps;
        self.observer.phase(&format!("stage {}: {}", stage.number(), stage.name()), steps, self.state.phase_step);
        while self.state.phase_step < steps {
            if self.is_interrupted() {
                return Ok(false);
            }
            self.game_step(stage)?;
            let every = self.config.checkpoint.eval_every;
            if every > 0 && self.state.phase_step.is_multiple_of(every) && self.state.phase_step < steps {
                self.quick_validation()?;
            }
        }
        Ok(true)
    }

    fn game_step(&mut self, stage: Stage) -> Result<(), TrainError> {
        let started = Instant::now();
        let game = self.config.game.clone();
        let (count, step) = (game.problems_per_step, self.state.step);
        let problems = self.source.problems(self.judge.sandbox(), Purpose::Game, self.state.problems_seen, count)?;
        self.state.problems_seen += count as u64;
        let table = Table {
            config: &self.config,
            generator: &self.players.generator,
            discriminator: game.adversary.then_some(&self.players.discriminator),
            judge: &self.judge,
            mistakes: &self.mistakes,
            key: self.key,
        };
        let rounds = table.play(problems, stage, step)?;
        let verdict_prompts = self.verdict_prompts(&rounds)?;
        let verdicts = if game.adversary { self.players.discriminator.verdicts(&verdict_prompts) } else { Vec::new() };
        let played = started.elapsed();

        let scales = Scales {
            alpha: alpha(self.state.validity.get().unwrap_or(0.0), game.alpha_high, game.alpha_low),
            verdict_auc: self.state.verdict_auc(),
        };
        let mut offset = 0;
        let scored: Vec<ScoredRound> = rounds
            .iter()
            .map(|round| {
                let own = verdicts.get(offset..offset + round.rollouts.len()).unwrap_or(&[]);
                offset += round.rollouts.len();
                round.score(own, &scales, &self.config)
            })
            .collect();
        let examples = self.take_verdicts(&rounds, &scored, verdict_prompts, &verdicts);
        let recorded: usize = rounds.iter().map(|r| r.record_mistakes(&mut self.mistakes, step)).sum();
        let generator = estimate_groups(scored.iter().map(|s| s.rollouts.clone()).collect());
        let discriminator = estimate_groups(scored.iter().map(|s| s.sets.clone()).filter(|s| !s.is_empty()).collect());
        self.keep_samples(&rounds, &scored, &generator, &discriminator)?;
        let updating = Instant::now();
        let generator_report = self.update_generator(stage, &generator)?;
        let mut report = StepReport::new(step, stage.number());
        report.generator = Some(generator_report.with("pass_rate", pass_rate(&rounds)));
        let sets: Vec<Vec<ScoredAttackSet>> = scored.iter().map(|s| s.sets.clone()).collect();
        if game.adversary {
            let (playable, exact) = validity(&rounds);
            self.state.validity.update(exact);
            let mut discriminator_report = self
                .update_discriminator(&discriminator, &examples)?
                .with("attack_playable", playable)
                .with("attack_validity", exact);
            if let Some(kills) = kill_rate(&sets, scales.alpha) {
                discriminator_report = discriminator_report.with("kill_rate", kills);
            }
            report.discriminator = Some(discriminator_report);
        }
        self.count(&scored);
        let mut values = vec![("alpha", scales.alpha), ("mistakes_recorded", recorded as f64)];
        values.push(("problems", rounds.len() as f64));
        if let Some(auc) = scales.verdict_auc {
            values.push(("verdict_auc", auc));
        }
        let reward = |r: &Option<crate::metrics::PlayerReport>| r.as_ref().and_then(|r| r.reward);
        let (ours, theirs) = (reward(&report.generator), reward(&report.discriminator));
        self.means.generator_reward.extend(ours);
        self.means.discriminator_reward.extend(theirs);
        if game.adversary {
            self.means.validity.push(validity(&rounds).0);
        }
        let text = |r: Option<f64>| r.map_or("-".to_owned(), |r| format!("{r:.3}"));
        let message = format!("rewards {} / {}, passed {:.0} %", text(ours), text(theirs), 100.0 * pass_rate(&rounds));
        let timings = [("play", played), ("update", updating.elapsed())];
        self.finish_step(stage.number(), report, &values, &timings)?;
        self.observer.step(self.state.phase_step, &message);
        Ok(())
    }

    /// For each rollout the prompt that ends with its trained stage, round by round.
    fn verdict_prompts(&self, rounds: &[Round]) -> Result<Vec<Vec<u32>>, TrainError> {
        let encoder = &self.players.discriminator.encoder;
        let mut prompts = Vec::new();
        for round in rounds {
            for rollout in &round.rollouts {
                let problem = &round.problem;
                prompts.push(encoder.verdict_prompt(problem, &rollout.chain)?);
            }
        }
        Ok(prompts)
    }

    /// Moves fresh verdicts into the window and makes the examples that the head learns from.
    fn take_verdicts(
        &mut self,
        rounds: &[Round],
        scored: &[ScoredRound],
        prompts: Vec<Vec<u32>>,
        verdicts: &[f32],
    ) -> Vec<VerdictExample> {
        let mut prompts = prompts.into_iter();
        let mut verdicts = verdicts.iter();
        let mut examples = Vec::new();
        for (round, scored) in rounds.iter().zip(scored) {
            let mut taken = 0;
            for (rollout, target) in round.rollouts.iter().zip(&scored.verdict_targets) {
                let (prompt_tokens, verdict) = (prompts.next().unwrap_or_default(), verdicts.next());
                let (Some(target), false) = (*target, rollout.completion().truncated()) else { continue };
                if let Some(verdict) = verdict {
                    self.state.verdicts.extend([(*verdict, target > 0.5)]);
                }
                if taken < VERDICTS_PER_PROBLEM {
                    let (problem, stage) = (round.problem.id.clone(), rollout.key.stage);
                    examples.push(VerdictExample { problem, stage, prompt_tokens, target });
                    taken += 1;
                }
            }
        }
        examples
    }

    fn update_generator(&mut self, stage: Stage, batch: &Batch) -> Result<crate::metrics::PlayerReport, TrainError> {
        let report = batch.report.clone();
        let Some(anchors) = self.anchors.as_ref().filter(|_| !batch.sequences.is_empty()) else { return Ok(report) };
        let options = PolicyOptions {
            temperature: self.config.sampling.temperature,
            kl_beta: self.config.game.kl_beta,
            max_new_tokens: self.config.sampling.max_new_tokens[stage.index()],
            sequences: batch.all,
        };
        let metrics = reinforce(&self.players.generator.model, &anchors.generator, &batch.sequences, &options);
        let norm = self.players.generator_optimizer.step(self.config.optimizer.learning_rate)?;
        self.state.generator.updates += 1;
        Ok(report.with("kl", metrics.kl / metrics.tokens.max(1) as f64).with("grad_norm", norm))
    }

    /// Updates the discriminator on its attack sets and verdicts, unless it is so far ahead that it pauses.
    fn update_discriminator(
        &mut self,
        batch: &Batch,
        examples: &[VerdictExample],
    ) -> Result<crate::metrics::PlayerReport, TrainError> {
        let game = &self.config.game;
        let mut report = batch.report.clone();
        let paused = self.state.bank_kill_rate.is_some_and(|rate| rate > game.discriminator_pause);
        let Some(anchors) = self.anchors.as_ref().filter(|_| !paused) else { return Ok(report.with("paused", 1.0)) };
        if batch.sequences.is_empty() && examples.is_empty() {
            return Ok(report);
        }
        let options = PolicyOptions {
            temperature: self.config.sampling.temperature,
            kl_beta: game.kl_beta,
            max_new_tokens: self.config.sampling.attack_max_new_tokens,
            sequences: batch.all,
        };
        let metrics = reinforce(&self.players.discriminator.model, &anchors.discriminator, &batch.sequences, &options);
        if !examples.is_empty() {
            let nats = judge(&self.players.discriminator, examples, game.verdict_loss_weight);
            report = report.with("verdict_loss", nats);
        }
        let norm = self.players.discriminator_optimizer.step(self.config.optimizer.discriminator_learning_rate)?;
        self.state.discriminator.updates += 1;
        Ok(report.with("kl", metrics.kl / metrics.tokens.max(1) as f64).with("grad_norm", norm))
    }

    fn count(&mut self, scored: &[ScoredRound]) {
        for round in scored {
            let ours = &mut self.state.generator;
            ours.episodes += round.rollouts.iter().filter(|r| r.reward.is_ok()).count() as u64;
            ours.reward_sum += round.rollouts.iter().filter_map(|r| Some(r.reward.as_ref().ok()?.value())).sum::<f64>();
            ours.wins += wins(&round.rollouts);
            let theirs = &mut self.state.discriminator;
            theirs.episodes += round.sets.iter().filter(|r| r.reward.is_ok()).count() as u64;
            theirs.reward_sum += round.sets.iter().filter_map(|r| Some(r.reward.as_ref().ok()?.value())).sum::<f64>();
            theirs.wins += set_wins(&round.sets);
        }
    }

    /// The first rollouts of either player go to samples.jsonl.
    fn keep_samples(
        &mut self,
        rounds: &[Round],
        scored: &[ScoredRound],
        generator: &Batch,
        discriminator: &Batch,
    ) -> Result<(), TrainError> {
        let advantage = |batch: &Batch, group: usize, sample: u32| {
            let members = batch.advantages.get(group)?;
            members.iter().find(|(s, _)| *s == sample).map(|(_, advantage)| *advantage)
        };
        let mut kept = 0;
        for (i, (round, scored)) in rounds.iter().zip(scored).enumerate() {
            if kept >= self.config.monitor.samples_per_step {
                break;
            }
            kept += 1;
            if let Some(first) = scored.rollouts.first() {
                let outcomes = match round.candidates.first().map(|c| &c.gold) {
                    Some(Judgement::Ran(report)) => report.tests.iter().map(|t| t.outcome.clone()).collect(),
                    _ => Vec::new(),
                };
                let first: &ScoredRollout = first;
                self.files.sample(&SampleRecord::generator(first, advantage(generator, i, 0), outcomes))?;
            }
            if let (Some(first), Some(checked)) = (scored.sets.first(), round.checked.first()) {
                let chain = first.rollout.target.map(|t| round.candidates[t].chain.texts()).unwrap_or_default();
                let attacks = checked.iter().zip(&scored.kills[0]).map(|(c, kills)| AttackRecord::new(c, *kills)).collect();
                let advantage = advantage(discriminator, i, 0);
                self.files.sample(&SampleRecord::discriminator(first, advantage, chain, attacks))?;
            }
        }
        Ok(())
    }

    fn attempts(&self, pool: &Pool, limit: usize) -> Result<Vec<Vec<Attempt>>, TrainError> {
        let evaluation = &self.config.evaluation;
        let sampling = self.sampling(evaluation.temperature);
        let options = SolveOptions {
            sampling: &sampling,
            samples: evaluation.samples,
            stages: self.config.written_stages(),
            key: self.key.with_name("evaluation"),
        };
        let problems = &pool.problems[..limit.min(pool.problems.len())];
        Ok(solve(&self.players.generator, &self.judge, problems, &options)?)
    }

    /// Measures a part of the validation pools within a stage, to be seen; `best` is chosen by whole pools.
    fn quick_validation(&mut self) -> Result<(), TrainError> {
        let mut passed = Vec::new();
        for pool in &self.validation {
            passed.extend(score(&pool.name, &self.attempts(pool, self.config.evaluation.problems)?).passed);
        }
        let pass_at_1 = mean(&passed);
        self.observer.note(&format!("step {}: validation pass@1 {:.1} %", self.state.step, 100.0 * pass_at_1));
        Ok(())
    }

    /// Measures both players on all pools and adds a row to the summary. True when validation is better than ever.
    pub(super) fn evaluate(&mut self, label: &str) -> Result<bool, TrainError> {
        let mut pools: Vec<PoolScore> = Vec::new();
        let mut verdicts: Vec<(f64, bool)> = Vec::new();
        let mut validation = Vec::new();
        for (pool, chooses) in self.validation.iter().map(|p| (p, true)).chain(self.report.iter().map(|p| (p, false))) {
            let attempts = self.attempts(pool, usize::MAX)?;
            let scored = score(&pool.name, &attempts);
            if chooses {
                validation.extend(&scored.passed);
                verdicts.extend(self.final_verdicts(pool, &attempts)?);
            }
            pools.push(scored);
        }
        let validation = mean(&validation);
        let row = StageRow {
            label: label.to_owned(),
            step: self.state.step,
            validation,
            generator_reward: average(&self.means.generator_reward),
            discriminator_reward: average(&self.means.discriminator_reward),
            attack_validity: average(&self.means.validity),
            bank_kill_rate: self.bank_kill_rate()?,
            verdict_auc: auc(&verdicts),
            seconds: self.begun.elapsed().as_secs_f64(),
            pools,
        };
        self.means = StageMeans::default();
        self.state.bank_kill_rate = row.bank_kill_rate;
        let scores: serde_json::Map<String, serde_json::Value> = row
            .pools
            .iter()
            .map(|p| (p.name.clone(), json!({"pass_at_1": p.pass_at_1, "problems": p.problems, "truncated": p.truncated})))
            .collect();
        self.last_validation = json!({"pass_at_1": validation, "pools": scores});
        let mut line = json!({"step": self.state.step, "stage": self.state.phase.stage_id(), "after": label});
        line["evaluation"] = self.last_validation.clone();
        line["evaluation"]["bank_kill_rate"] = json!(row.bank_kill_rate);
        line["evaluation"]["verdict_auc"] = json!(row.verdict_auc);
        // Passes problem by problem, so that intervals and paired differences can be computed later.
        let passes: serde_json::Map<String, serde_json::Value> =
            row.pools.iter().map(|p| (p.name.clone(), json!(p.passed))).collect();
        line["passed"] = passes.into();
        self.files.metrics(&line)?;
        let texts: Vec<String> =
            row.pools.iter().map(|p| format!("{} {:.1} %", p.name.replace('_', " "), 100.0 * p.pass_at_1)).collect();
        self.observer.note(&format!("after {label}: pass@1 {}", texts.join(", ")));
        self.summary.rows.push(row);
        let better = self.state.best_score.is_none_or(|(best, _)| validation > best);
        if better {
            self.state.best_score = Some((validation, self.state.step));
        }
        Ok(better)
    }

    /// Verdicts on whole chains with what execution said.
    fn final_verdicts(&self, pool: &Pool, attempts: &[Vec<Attempt>]) -> Result<Vec<(f64, bool)>, TrainError> {
        if !self.config.game.adversary {
            return Ok(Vec::new());
        }
        let discriminator = &self.players.discriminator;
        let mut prompts = Vec::new();
        let mut right = Vec::new();
        for (problem, attempts) in pool.problems.iter().zip(attempts) {
            for attempt in attempts.iter().filter(|a| a.code.is_some() && !matches!(a.judgement, Judgement::Masked(_))) {
                prompts.push(discriminator.encoder.verdict_prompt(problem, &attempt.chain)?);
                right.push(attempt.judgement.passed());
            }
        }
        Ok(discriminator.verdicts(&prompts).into_iter().map(f64::from).zip(right).collect())
    }

    /// Share of mutants of validation problems' references, of those that gold tests kill, that one blind attack set a
    /// problem kills.
    fn bank_kill_rate(&self) -> Result<Option<f64>, TrainError> {
        if !self.config.game.adversary {
            return Ok(None);
        }
        let Some(pool) = self.validation.first() else { return Ok(None) };
        let limit = self.config.evaluation.problems.min(pool.problems.len());
        bank_kills(&self.config, &self.players.discriminator, &self.judge, &pool.problems[..limit], self.key)
    }
}

/// See [`Session::bank_kill_rate`].
fn bank_kills(
    config: &Config,
    discriminator: &crate::discriminator::Discriminator,
    judge: &Judge,
    problems: &[crate::problems::Problem],
    key: crate::model::sampling::DrawKey,
) -> Result<Option<f64>, TrainError> {
    let mut prompts = Vec::new();
    for problem in problems {
        let prompt = discriminator.encoder.attack_prompt(problem, None)?;
        prompts.push((prompt, key.with_name("bank").with_name(&problem.id)));
    }
    let sampling = &config.sampling;
    let sets = discriminator.attack(
        &prompts,
        sampling.attack_max_new_tokens,
        sampling.temperature,
        config.evaluation.batch_size,
    );
    let attacks: Vec<_> = sets.iter().map(|set| parse_attacks(&set.text, config.game.attacks_per_set)).collect();
    let asked: Vec<_> = problems.iter().zip(&attacks).map(|(problem, attacks)| (problem, &attacks[..])).collect();
    let tests: Vec<Vec<_>> = judge
        .check_attacks(&asked)
        .into_iter()
        .map(|checked| pool_attacks(&[checked]).iter().map(|pooled| pooled.test()).collect())
        .collect();
    let banks: Vec<Vec<String>> = problems.iter().map(|p| frozen_bank(p, config.game.bank_mutants)).collect();
    let gold_cases: Vec<Case> = problems
        .iter()
        .zip(&banks)
        .flat_map(|(problem, bank)| bank.iter().map(|code| Case { problem, code: Some(code), tests: &problem.tests }))
        .collect();
    let attack_cases: Vec<Case> = problems
        .iter()
        .zip(&banks)
        .zip(&tests)
        .flat_map(|((problem, bank), tests)| bank.iter().map(move |code| Case { problem, code: Some(code), tests }))
        .collect();
    let golds = judge.run(&gold_cases);
    let attacked = judge.run(&attack_cases);
    let killed = |judgement: &Judgement| matches!(judgement, Judgement::Ran(report) if !report.outcome.passed());
    let known: Vec<bool> = golds
        .iter()
        .zip(&attacked)
        .filter(|(gold, attacked)| killed(gold) && !matches!(attacked, Judgement::Masked(_)))
        .map(|(_, attacked)| killed(attacked))
        .collect();
    Ok((!known.is_empty()).then(|| known.iter().filter(|&&k| k).count() as f64 / known.len() as f64))
}

fn average(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| mean(values))
}
