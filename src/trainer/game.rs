//! A stage of the game: its steps, and what each leaves behind.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::algo::Algorithm;
use crate::encoding::PromptEncoder;
use crate::judge::Judgement;
use crate::metrics::{AttackRecord, PlayerReport, SampleRecord, StepReport};
use crate::rewards::alpha;
use crate::rollout::{Scored, ScoredAttackSet, ScoredRollout, Trainable, VerdictExample};
use crate::source::Purpose;
use crate::stage::Stage;
use crate::update::{PolicyOptions, imitate, judge, reinforce};
use crate::warmup::{generator_batch, learning_rate};

use super::TrainError;
use super::base::with_mismatch;
use super::play::{Round, Table};
use super::players::Pair;
use super::scoring::{
    Batch, Scales, ScoredRound, estimate_groups, kill_rate, pass_rate, set_wins, validity, wins,
};
use super::session::Session;
use super::verdicts;

/// Means over the steps of one stage, for the table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct StageMeans {
    pub(super) generator_reward: Vec<f64>,
    pub(super) discriminator_reward: Vec<f64>,
    pub(super) validity: Vec<f64>,
}

impl Session<'_> {
    /// Plays the steps of `stage`; true when they are done.
    pub(super) fn game(&mut self, stage: Stage) -> Result<bool, TrainError> {
        let steps = self
            .config
            .planned_stages()
            .find(|(s, _)| *s == stage)
            .map_or(0, |(_, steps)| steps);
        self.phase_steps = steps;
        self.observer.phase(
            &format!("stage {}: {}", stage.number(), stage.name()),
            steps,
            self.state.phase_step,
        );
        // Where a validation failed, the run that goes on from there makes up for it.
        self.validate_if_due(steps)?;
        while self.state.phase_step < steps {
            if self.is_interrupted() {
                return Ok(false);
            }
            self.carefully(|session| session.game_step(stage))?;
            self.validate_if_due(steps)?;
            // After the validation, whose score the checkpoint carries.
            self.save_if_due(stage.number())?;
        }
        Ok(true)
    }

    /// Measures a part of the validation pools after every `eval_every` steps; the last step is followed by all of them.
    fn validate_if_due(&mut self, steps: u64) -> Result<(), TrainError> {
        let (every, done) = (self.config.checkpoint.eval_every, self.state.phase_step);
        let due = every > 0 && done > 0 && done.is_multiple_of(every) && done < steps;
        let validated = self.state.validated.map(|(step, _)| step);
        if due && validated != Some(self.state.step) {
            self.quick_validation()?;
        }
        Ok(())
    }

    fn game_step(&mut self, stage: Stage) -> Result<(), TrainError> {
        let started = Instant::now();
        let game = self.config.game.clone();
        let (count, step) = (game.problems_per_step, self.state.step);
        let problems = self.source.problems(
            self.judge.sandbox(),
            Purpose::Game,
            self.state.problems_seen,
            count,
        )?;
        self.state.problems_seen += count as u64;
        let pair = self.roster.pair(step);
        let theirs = &self.roster.discriminators[pair.discriminator].policy;
        let table = Table {
            config: &self.config,
            generator: &self.roster.generators[pair.generator].policy,
            discriminator: game.adversary.then_some(theirs),
            judge: &self.judge,
            mistakes: &self.mistakes,
            key: self.key,
        };
        let rounds = table.play(problems, stage, step)?;
        let verdict_prompts = verdict_prompts(&rounds, &theirs.encoder)?;
        let verdicts = if game.adversary {
            theirs.verdicts(&verdict_prompts)
        } else {
            Vec::new()
        };
        let played = started.elapsed();

        let standing = &self.state.standings.discriminators[pair.discriminator];
        let scales = Scales {
            alpha: alpha(
                standing.validity.get().unwrap_or(0.0),
                game.alpha_high,
                game.alpha_low,
            ),
            verdict_auc: standing.verdicts.auc(),
        };
        let mut offset = 0;
        let scored: Vec<ScoredRound> = rounds
            .iter()
            .map(|round| {
                let own = verdicts
                    .get(offset..offset + round.rollouts.len())
                    .unwrap_or(&[]);
                offset += round.rollouts.len();
                round.score(own, &scales, &self.config)
            })
            .collect();
        let examples = self.take_verdicts(pair, &rounds, &scored, &verdict_prompts, &verdicts)?;
        let recorded: usize = rounds
            .iter()
            .map(|r| r.record_mistakes(&mut self.mistakes, step))
            .sum();
        let algorithm = Algorithm::from_config(&self.config.algorithm);
        let generator = estimate_groups(
            &algorithm,
            scored.iter().map(|s| s.rollouts.clone()).collect(),
        );
        let discriminator = estimate_groups(
            &algorithm,
            scored
                .iter()
                .map(|s| s.sets.clone())
                .filter(|s| !s.is_empty())
                .collect(),
        );
        self.keep_samples(&rounds, &scored, &generator, &discriminator)?;
        let updating = Instant::now();
        let generator_report = self.update_generator(pair, stage, &generator)?;
        let mut report = StepReport::new(step, stage.number());
        report.generator = Some(generator_report.with("pass_rate", pass_rate(&rounds)));
        let sets: Vec<Vec<ScoredAttackSet>> = scored.iter().map(|s| s.sets.clone()).collect();
        if game.adversary {
            let (playable, exact) = validity(&rounds);
            let standing = &mut self.state.standings.discriminators[pair.discriminator];
            standing.validity.update(exact);
            let mut discriminator_report = self
                .update_discriminator(pair, &discriminator, &examples)?
                .with("attack_playable", playable)
                .with("attack_validity", exact);
            if let Some(kills) = kill_rate(&sets, scales.alpha) {
                discriminator_report = discriminator_report.with("kill_rate", kills);
            }
            report.discriminator = Some(discriminator_report);
        }
        self.say_who_played(pair, &mut report);
        self.count(pair, &scored);
        let mut values = vec![
            ("alpha", scales.alpha),
            ("mistakes_recorded", recorded as f64),
        ];
        values.push(("problems", rounds.len() as f64));
        if let Some(auc) = scales.verdict_auc {
            values.push(("verdict_auc", auc));
        }
        let reward = |r: &Option<PlayerReport>| r.as_ref().and_then(|r| r.reward);
        let (ours, theirs) = (reward(&report.generator), reward(&report.discriminator));
        self.means.generator_reward.extend(ours);
        self.means.discriminator_reward.extend(theirs);
        if game.adversary {
            self.means.validity.push(validity(&rounds).0);
        }
        let text = |r: Option<f64>| r.map_or("-".to_owned(), |r| format!("{r:.3}"));
        let message = format!(
            "rewards {} / {}, passed {:.0} %",
            text(ours),
            text(theirs),
            100.0 * pass_rate(&rounds)
        );
        let timings = [("play", played), ("update", updating.elapsed())];
        self.finish_step(stage.number(), report, &values, &timings)?;
        self.observer.step(self.state.phase_step, &message);
        Ok(())
    }

    /// Adds the number of each player to its report, where its role has several.
    fn say_who_played(&self, pair: Pair, report: &mut StepReport) {
        let say = |report: &mut Option<PlayerReport>, players: usize, number: usize| {
            if players > 1 {
                *report = report.take().map(|r| r.with("player", number as f64));
            }
        };
        let (ours, theirs) = (&self.roster.generators, &self.roster.discriminators);
        say(&mut report.generator, ours.len(), pair.generator);
        say(&mut report.discriminator, theirs.len(), pair.discriminator);
    }

    /// Moves fresh verdicts into the window and makes the examples that the head learns from.
    fn take_verdicts(
        &mut self,
        pair: Pair,
        rounds: &[Round],
        scored: &[ScoredRound],
        prompts: &[Vec<u32>],
        given: &[f32],
    ) -> Result<Vec<VerdictExample>, TrainError> {
        let encoder = &self.roster.discriminators[pair.discriminator]
            .policy
            .encoder;
        let window = &mut self.state.standings.discriminators[pair.discriminator].verdicts;
        let mut examples = Vec::new();
        let mut offset = 0;
        for (round, scored) in rounds.iter().zip(scored) {
            let own = offset..offset + round.rollouts.len();
            offset = own.end;
            let fresh = round.rollouts.iter().zip(&scored.verdict_targets);
            let verdicts = given.get(own.clone()).unwrap_or(&[]);
            let known = fresh
                .zip(verdicts)
                .filter(|((rollout, _), _)| !rollout.completion().truncated());
            let pairs = known
                .filter_map(|((_, target), &verdict)| target.map(|target| (verdict, target > 0.5)));
            window.push(pairs.collect());
            if self.config.game.adversary {
                examples.extend(verdicts::examples(round, scored, &prompts[own], encoder)?);
            }
        }
        Ok(examples)
    }

    /// What is left of a learning rate at this step of the stage.
    fn scheduled(&self, highest: f64) -> f64 {
        let optimizer = &self.config.optimizer;
        let (floor, rise) = (optimizer.min_lr_ratio, optimizer.lr_warmup_steps);
        let (step, steps) = (self.state.phase_step, self.phase_steps);
        learning_rate(highest, floor, rise, step, steps)
    }

    fn update_generator(
        &mut self,
        pair: Pair,
        stage: Stage,
        batch: &Batch,
    ) -> Result<PlayerReport, TrainError> {
        let report = batch.report.clone();
        // AdamW steps as far on the gradient of one group as on that of all: where most are skipped, on noise.
        let rate = batch.informative() * self.scheduled(self.config.optimizer.learning_rate);
        let player = &mut self.roster.generators[pair.generator];
        let Some(anchor) = player
            .anchor
            .as_ref()
            .filter(|_| !batch.sequences.is_empty())
        else {
            return Ok(report);
        };
        let options = PolicyOptions {
            temperature: self.config.sampling.temperature,
            algorithm: Algorithm::from_config(&self.config.algorithm),
            max_new_tokens: self.config.sampling.max_new_tokens[stage.index()],
            counts: batch.all,
        };
        let model = &player.policy.model;
        let metrics = reinforce(model, anchor, &batch.sequences, &options);
        let mut report = with_mismatch(report, &metrics)?;
        let weight = self.config.game.trace_weight;
        if weight > 0.0 {
            let traces = generator_batch(
                &self.source,
                &player.policy.encoder,
                self.config.written_stages(),
                self.state.step,
                self.config.warmup.batch_size,
            )?;
            let nats = imitate(model, &traces, weight);
            report = report.with("trace_loss", nats);
        }
        let norm = player.step(rate)?;
        let standing = &mut self.state.standings.generators[pair.generator];
        standing.totals.updates += 1;
        Ok(report
            .with_all(metrics.figures())
            .with("kl", metrics.kl / metrics.tokens.max(1) as f64)
            .with("learning_rate", rate)
            .with("grad_norm", norm))
    }

    /// Updates the discriminator on its attack sets and verdicts, unless it is so far ahead that it pauses.
    fn update_discriminator(
        &mut self,
        pair: Pair,
        batch: &Batch,
        examples: &[VerdictExample],
    ) -> Result<PlayerReport, TrainError> {
        let game = &self.config.game;
        let mut report = batch.report.clone();
        let rate = self.scheduled(self.config.optimizer.discriminator_learning_rate);
        let player = &mut self.roster.discriminators[pair.discriminator];
        let standing = &mut self.state.standings.discriminators[pair.discriminator];
        let paused = standing.is_ahead(game.discriminator_pause);
        let Some(anchor) = player.anchor.as_ref().filter(|_| !paused) else {
            return Ok(report.with("paused", 1.0));
        };
        if batch.sequences.is_empty() && examples.is_empty() {
            return Ok(report);
        }
        let options = PolicyOptions {
            temperature: self.config.sampling.temperature,
            algorithm: Algorithm::from_config(&self.config.algorithm),
            max_new_tokens: self.config.sampling.attack_max_new_tokens,
            counts: batch.all,
        };
        let model = &player.policy.model;
        let metrics = reinforce(model, anchor, &batch.sequences, &options);
        report = with_mismatch(report, &metrics)?;
        if !examples.is_empty() {
            let nats = judge(&player.policy, examples, game.verdict_loss_weight);
            report = report.with("verdict_loss", nats);
        }
        let norm = player.step(rate)?;
        standing.totals.updates += 1;
        Ok(report
            .with_all(metrics.figures())
            .with("kl", metrics.kl / metrics.tokens.max(1) as f64)
            .with("learning_rate", rate)
            .with("grad_norm", norm))
    }

    fn count(&mut self, pair: Pair, scored: &[ScoredRound]) {
        let standings = &mut self.state.standings;
        let ours = &mut standings.generators[pair.generator].totals;
        let theirs = &mut standings.discriminators[pair.discriminator].totals;
        for round in scored {
            ours.count(rewards(&round.rollouts), wins(&round.rollouts));
            theirs.count(rewards(&round.sets), set_wins(&round.sets));
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
            members
                .iter()
                .find(|(s, _)| *s == sample)
                .map(|(_, advantage)| *advantage)
        };
        let limit = self.config.monitor.samples_per_step;
        for (i, (round, scored)) in rounds.iter().zip(scored).take(limit).enumerate() {
            if let Some(first) = scored.rollouts.first() {
                let outcomes = match round.candidates.first().map(|c| &c.gold) {
                    Some(Judgement::Ran(report)) => {
                        report.tests.iter().map(|t| t.outcome.clone()).collect()
                    }
                    _ => Vec::new(),
                };
                let first: &ScoredRollout = first;
                self.files.sample(&SampleRecord::generator(
                    first,
                    advantage(generator, i, 0),
                    outcomes,
                ))?;
            }
            if let (Some(first), Some(checked)) = (scored.sets.first(), round.checked.first()) {
                let chain = first
                    .rollout
                    .target
                    .map(|t| round.candidates[t].chain.texts())
                    .unwrap_or_default();
                let attacks = checked
                    .iter()
                    .zip(&scored.kills[0])
                    .map(|(c, kills)| AttackRecord::new(c, *kills))
                    .collect();
                let advantage = advantage(discriminator, i, 0);
                self.files.sample(&SampleRecord::discriminator(
                    first, advantage, chain, attacks,
                ))?;
            }
        }
        Ok(())
    }
}

/// The rewards of what was scored.
fn rewards<R>(work: &[Scored<R>]) -> impl Iterator<Item = f64> {
    let known = work.iter().filter_map(|one| one.reward.as_ref().ok());
    known.map(|reward| reward.value())
}

/// For each rollout the prompt that ends with its trained stage, round by round.
fn verdict_prompts(rounds: &[Round], encoder: &PromptEncoder) -> Result<Vec<Vec<u32>>, TrainError> {
    let mut prompts = Vec::new();
    for round in rounds {
        for rollout in &round.rollouts {
            prompts.push(encoder.verdict_prompt(&round.problem, &rollout.chain)?);
        }
    }
    Ok(prompts)
}
