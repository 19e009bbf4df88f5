//! Self-training: problems are solved, and what was right is imitated, in turn (STaR, arXiv 2203.14465; ReST,
//! arXiv 2308.08998).
//!
//! Chains are played by the game's rules, so that one counts as right only if it stands gold tests, the discriminator's
//! attacks and replayed kills.

use std::collections::HashSet;

use serde_json::json;

use crate::config::{self, Config};
use crate::encoding::PromptEncoder;
use crate::error::TrainError;
use crate::game::{self, AdvantagedProblem, Baselines, Candidate, Rules, Scene, StepStats};
use crate::own_chains::OwnChain;
use crate::players::PlayerStats;
use crate::problems::Problem;
use crate::rng::DrawKey;
use crate::source::Purpose;
use crate::update::Example;

use super::adversarial::players_of;
use super::schedule::{learning_rate, own_step, turn};
use super::traces::{chain_example, trace_example};
use super::{Learner, Setup, StepOutcome, TrainingPhase, Watch};

/// All rounds of sampling and imitating, the generators in turn.
pub struct SelfTraining {
    options: config::SelfTraining,
    rules: Rules,
    players: u64,
}

impl SelfTraining {
    /// As a configuration has it.
    pub fn new(config: &Config) -> Self {
        Self {
            options: config.self_training.clone(),
            rules: Rules::self_training(config),
            players: config.players.generators as u64,
        }
    }

    /// What a generator imitates at one of its steps: its share of own chains, and reference traces that the warm-up has
    /// not come to.
    fn examples(
        &self,
        setup: &Setup,
        learner: &Learner,
        number: usize,
        step: u64,
    ) -> Result<Vec<Example>, TrainError> {
        let (warmup, chains) = (&setup.config.warmup, &learner.own_chains);
        let (size, stages) = (warmup.batch_size, setup.config.written_stages());
        let encoder = &learner.roster.generators[number].policy.encoder;
        let own = match chains.len() {
            0 => 0,
            _ => (self.options.own_share * size as f64).round() as usize,
        };
        let key = root(setup).with(own_step(number, step));
        let mut examples = Vec::with_capacity(size);
        for i in 0..own as u64 {
            let own = &chains[(key.uniform(i) * chains.len() as f64) as usize];
            let problem = (&own.statement[..], own.signature.as_deref());
            examples.push(chain_example(encoder, problem, &own.chain, stages)?);
        }
        let first = own_step(number, warmup.generator_steps + step) * size as u64;
        for index in first..first + (size - own) as u64 {
            let problem = setup.source.example(index);
            examples.extend(trace_example(encoder, &problem, stages)?);
        }
        Ok(examples)
    }

    /// Plays new problems and keeps a right chain of each that has one. False when it was stopped, which leaves
    /// everything as it was.
    fn sample_chains(
        &self,
        setup: &Setup,
        learner: &mut Learner,
        watch: &mut dyn Watch,
        round: u64,
    ) -> Result<bool, TrainError> {
        let options = &self.options;
        let batch = self.rules.sampling.batch_size.min(options.problems);
        let batches = options.problems.div_ceil(batch) as u64;
        let title = format!("self-training, round {}: sampling", round + 1);
        watch.begin(&title, batches, 0);
        let mut mistakes = learner.mistakes.clone();
        let (mut kept, mut ids) = (Vec::new(), HashSet::new());
        let (mut played, mut chains, mut right) = (0, 0, 0);
        for number in 0..batches {
            if watch.is_stopped() {
                return Ok(false);
            }
            let first = number as usize * batch;
            let count = batch.min(options.problems - first);
            let from = learner.state.problems_seen + first as u64;
            let sandbox = setup.executor.sandbox();
            let problems = setup.source.problems(sandbox, Purpose::Game, from, count)?;
            let scene = Scene {
                executor: &setup.executor,
                mistakes: &mistakes,
                key: root(setup),
                stage: self.rules.stages[0],
                step: learner.state.step,
            };
            let round_of_play = self.play(learner, problems, number, &scene, watch)?;
            for one in &round_of_play {
                for mistake in &one.mistakes {
                    mistakes.record(mistake.clone());
                }
                chains += one.candidates.len();
                right += one.right().count();
                if ids.insert(one.problem.id.clone()) {
                    kept.extend(own_chain(setup.key, one, round));
                }
            }
            played += round_of_play.len();
            let message = format!("{} right chains of {played} problems", kept.len());
            watch.progress(number + 1, &message);
        }
        if kept.is_empty() && learner.own_chains.is_empty() && options.own_share == 1.0 {
            return Err(TrainError::NothingToImitate { chains });
        }
        watch.log(&json!({
            "step": learner.state.step, "stage": 0,
            "self_training": {
                "round": round, "problems": played, "chains": chains, "right": right, "kept": kept.len(),
            },
        }))?;
        watch.note(&format!(
            "self-training, round {}: {right} of {chains} chains right, one kept of each of {} problems",
            round + 1,
            kept.len(),
        ));
        learner.mistakes = mistakes;
        learner
            .own_chains
            .retain(|chain| !ids.contains(&chain.problem));
        learner.own_chains.extend(kept);
        learner.state.problems_seen += options.problems as u64;
        learner.state.sampled_rounds = round + 1;
        Ok(true)
    }

    fn play(
        &self,
        learner: &Learner,
        problems: Vec<Problem>,
        number: u64,
        scene: &Scene,
        watch: &mut dyn Watch,
    ) -> Result<Vec<AdvantagedProblem>, TrainError> {
        let pair = learner.roster.pair(number);
        let players = players_of(&learner.roster, pair);
        // Nobody is paid, so nothing hangs on what is known of the players.
        let unknown = PlayerStats::default();
        let stats = StepStats {
            generator: &unknown,
            discriminator: &unknown,
        };
        let mark = &mut |part| watch.mark(part);
        let played = game::play(
            players,
            problems,
            mark,
            &self.rules,
            (&stats, &Baselines::default()),
            scene,
        )?;
        Ok(played.problems)
    }
}

impl TrainingPhase for SelfTraining {
    fn title(&self) -> String {
        "self-training".into()
    }

    fn steps(&self) -> u64 {
        self.options.all_steps() * self.players
    }

    fn prepare(
        &mut self,
        setup: &Setup,
        learner: &mut Learner,
        watch: &mut dyn Watch,
    ) -> Result<bool, TrainError> {
        let round = learner.state.phase_step / (self.options.steps * self.players);
        if learner.state.sampled_rounds <= round {
            if !self.sample_chains(setup, learner, watch, round)? {
                return Ok(false);
            }
            let done = learner.state.phase_step;
            watch.begin(&self.title(), self.steps(), done);
        }
        Ok(true)
    }

    fn step(
        &mut self,
        setup: &Setup,
        learner: &mut Learner,
        watch: &mut dyn Watch,
    ) -> Result<StepOutcome, TrainError> {
        let (number, step) = turn(learner.state.phase_step, self.players);
        let examples = self.examples(setup, learner, number, step)?;
        let warmup = &setup.config.warmup;
        let (floor, rise) = (warmup.min_lr_ratio, warmup.lr_warmup_steps);
        // In each round anew: weights left at a high rate write fewer right chains in the next round's samples.
        let (peak, of_round) = (self.options.learning_rate, step % self.options.steps);
        let rate = learning_rate(peak, floor, rise, of_round, self.options.steps);
        learner.imitate(number, &examples, rate, watch)
    }
}

/// The key of all draws of self-training but the choice of chains.
fn root(setup: &Setup) -> DrawKey {
    setup.key.with_name("self-training")
}

/// One of the right chains of a problem, each as likely as the others however often it was written.
fn own_chain(key: DrawKey, played: &AdvantagedProblem, round: u64) -> Option<OwnChain> {
    let mut different: Vec<&Candidate> = Vec::new();
    for candidate in played.right() {
        let texts = candidate.chain.texts();
        if different.iter().all(|known| known.chain.texts() != texts) {
            different.push(candidate);
        }
    }
    let key = key.with_name("own chain").with(round);
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
