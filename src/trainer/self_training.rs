//! Self-training: problems are solved, and what was right is imitated, in turn (STaR, arXiv 2203.14465; ReST,
//! arXiv 2308.08998).
//!
//! Chains come out of the same rounds as the game's, so that one counts as right only if it stands gold tests, the
//! discriminator's attacks and replayed kills.

use std::collections::HashSet;
use std::time::Instant;

use serde_json::json;

use crate::config::Config;
use crate::encoding::PromptEncoder;
use crate::mistake_book::MistakeBook;
use crate::own_chains::OwnChain;
use crate::problems::Problem;
use crate::source::Purpose;
use crate::update::{Example, imitate};
use crate::warmup::{chain_example, learning_rate, own_step, trace_example};

use super::TrainError;
use super::play::{Candidate, Round, Table};
use super::session::{Session, turn};

impl Session<'_> {
    /// All rounds of sampling and imitating, the generators in turn; true when they are done.
    pub(super) fn self_training(&mut self) -> Result<bool, TrainError> {
        let (options, warmup) = (
            self.config.self_training.clone(),
            self.config.warmup.clone(),
        );
        let (players, steps) = (self.roster.generators.len() as u64, options.all_steps());
        self.phase_steps = steps * players;
        self.show_progress();
        while self.state.phase_step < self.phase_steps {
            if self.is_interrupted() {
                return Ok(false);
            }
            let round = self.state.phase_step / (options.steps * players);
            if self.state.sampled_rounds <= round {
                if !self.sample_chains(round)? {
                    return Ok(false);
                }
                self.show_progress();
            }
            let started = Instant::now();
            let (number, step) = turn(self.state.phase_step, players);
            let examples = self.own_and_reference(number, step)?;
            let player = &mut self.roster.generators[number];
            let nats = imitate(&player.policy.model, &examples, 1.0);
            let (floor, rise) = (warmup.min_lr_ratio, warmup.lr_warmup_steps);
            // In each round anew: weights left at a high rate write fewer right chains in the next round's samples.
            let (peak, of_round) = (options.learning_rate, step % options.steps);
            let rate = learning_rate(peak, floor, rise, of_round, options.steps);
            let norm = player.step(rate)?;
            self.state.standings.generators[number].totals.updates += 1;
            let mut values = vec![
                ("generator_loss", nats),
                ("generator_grad_norm", norm),
                ("learning_rate", rate),
            ];
            values.extend((players > 1).then_some(("player", number as f64)));
            self.finish_warmup_step(&values, started, &format!("loss {nats:.3}"))?;
        }
        Ok(true)
    }

    fn show_progress(&mut self) {
        let done = self.state.phase_step;
        self.observer.phase("self-training", self.phase_steps, done);
    }

    /// What a generator imitates at one of its steps: its share of own chains, and reference traces that the warm-up has
    /// not come to.
    fn own_and_reference(&self, number: usize, step: u64) -> Result<Vec<Example>, TrainError> {
        let (size, stages) = (self.config.warmup.batch_size, self.config.written_stages());
        let encoder = &self.roster.generators[number].policy.encoder;
        let own = match self.own_chains.len() {
            0 => 0,
            _ => (self.config.self_training.own_share * size as f64).round() as usize,
        };
        let key = self.key.with_name("self-training");
        let key = key.with(own_step(number, step));
        let mut examples = Vec::with_capacity(size);
        for i in 0..own as u64 {
            let drawn = (key.uniform(i) * self.own_chains.len() as f64) as usize;
            let own = &self.own_chains[drawn];
            let problem = (&own.statement[..], own.signature.as_deref());
            examples.push(chain_example(encoder, problem, &own.chain, stages)?);
        }
        let first = own_step(number, self.config.warmup.generator_steps + step) * size as u64;
        for index in first..first + (size - own) as u64 {
            let problem = self.source.example(index);
            examples.push(trace_example(encoder, &problem, stages)?);
        }
        Ok(examples)
    }

    /// Plays new problems and keeps a right chain of each that has one. False when it was interrupted, which leaves
    /// everything as it was.
    fn sample_chains(&mut self, round: u64) -> Result<bool, TrainError> {
        let options = self.config.self_training.clone();
        let config = sampling_rules(&self.config);
        let batch = config.evaluation.batch_size.min(options.problems);
        let batches = options.problems.div_ceil(batch) as u64;
        let title = format!("self-training, round {}: sampling", round + 1);
        self.observer.phase(&title, batches, 0);
        let started = Instant::now();
        let mut mistakes = self.mistakes.clone();
        let (mut kept, mut ids) = (Vec::new(), HashSet::new());
        let (mut played, mut chains, mut right) = (0, 0, 0);
        for number in 0..batches {
            if self.is_interrupted() {
                return Ok(false);
            }
            let first = number as usize * batch;
            let count = batch.min(options.problems - first);
            let from = self.state.problems_seen + first as u64;
            let problems =
                self.source
                    .problems(self.judge.sandbox(), Purpose::Game, from, count)?;
            let rounds = self.play_for_chains(&config, problems, number, &mistakes)?;
            for played_round in &rounds {
                played_round.record_mistakes(&mut mistakes, self.state.step);
                chains += played_round.candidates.len();
                right += played_round.right().count();
                if ids.insert(played_round.problem.id.clone()) {
                    kept.extend(self.own_chain(played_round, round));
                }
            }
            played += rounds.len();
            let message = format!("{} right chains of {played} problems", kept.len());
            self.observer.step(number + 1, &message);
        }
        if kept.is_empty() && self.own_chains.is_empty() && options.own_share == 1.0 {
            return Err(TrainError::NothingToImitate { chains });
        }
        self.log_metrics(&json!({
            "step": self.state.step, "stage": 0,
            "self_training": {
                "round": round, "problems": played, "chains": chains, "right": right, "kept": kept.len(),
            },
        }))?;
        self.observer.note(&format!(
            "self-training, round {}: {right} of {chains} chains right, one kept of each of {} problems, {:.0} s",
            round + 1,
            kept.len(),
            started.elapsed().as_secs_f64()
        ));
        self.mistakes = mistakes;
        self.own_chains
            .retain(|chain| !ids.contains(&chain.problem));
        self.own_chains.extend(kept);
        self.state.problems_seen += options.problems as u64;
        self.state.sampled_rounds = round + 1;
        Ok(true)
    }

    fn play_for_chains(
        &self,
        config: &Config,
        problems: Vec<Problem>,
        number: u64,
        mistakes: &MistakeBook,
    ) -> Result<Vec<Round>, TrainError> {
        let pair = self.roster.pair(number);
        let theirs = &self.roster.discriminators[pair.discriminator].policy;
        let table = Table {
            config,
            generator: &self.roster.generators[pair.generator].policy,
            discriminator: config.game.adversary.then_some(theirs),
            judge: &self.judge,
            mistakes,
            key: self.key.with_name("self-training"),
        };
        let stage = config.written_stages()[0];
        Ok(table.play(problems, stage, self.state.step)?)
    }

    /// One of the right chains of a problem, each as likely as the others however often it was written.
    fn own_chain(&self, played: &Round, round: u64) -> Option<OwnChain> {
        let mut different: Vec<&Candidate> = Vec::new();
        for candidate in played.right() {
            let texts = candidate.chain.texts();
            if different.iter().all(|known| known.chain.texts() != texts) {
                different.push(candidate);
            }
        }
        let key = self.key.with_name("own chain").with(round);
        let drawn = key.with_name(&played.problem.id).uniform(0) * different.len() as f64;
        let chain = &different.get(drawn as usize)?.chain;
        Some(OwnChain {
            problem: played.problem.id.clone(),
            statement: played.problem.statement.clone(),
            signature: PromptEncoder::shown_signature(&played.problem).map(str::to_owned),
            chain: chain.texts(),
            round,
        })
    }
}

/// The rules of the game for sampling: a group of chains, one attack set against one of them, and no bank, because nobody
/// is paid. All stages are sampled at one temperature: what the policy would have written anyway teaches it less.
fn sampling_rules(config: &Config) -> Config {
    let mut rules = config.clone();
    rules.game.group_size = config.self_training.samples;
    rules.game.discriminator_group_size = 1;
    rules.game.continuations = 1;
    rules.game.bank_mutants = 0;
    rules.sampling.continuation_temperature = rules.sampling.temperature;
    rules
}
