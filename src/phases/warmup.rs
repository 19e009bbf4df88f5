//! Supervised warm-up: the generators imitate reference traces, then the discriminators learn from executed samples.

use crate::config::{Config, Warmup};
use crate::error::TrainError;
use crate::update::{imitate, judge};

use super::discriminator_data::DiscriminatorData;
use super::schedule::{learning_rate, own_step, turn};
use super::traces::generator_batch;
use super::{Learner, Setup, StepOutcome, TrainingPhase, Watch, supervised_outcome};

/// The generators imitate traces, each for all the steps, in turn and on examples of its own.
pub struct GeneratorWarmup {
    warmup: Warmup,
    players: u64,
}

impl GeneratorWarmup {
    /// As a configuration has it.
    pub fn new(config: &Config) -> Self {
        Self {
            warmup: config.warmup.clone(),
            players: config.players.generators as u64,
        }
    }
}

impl TrainingPhase for GeneratorWarmup {
    fn title(&self) -> String {
        "warm-up of the generator".into()
    }

    fn steps(&self) -> u64 {
        self.warmup.generator_steps * self.players
    }

    fn step(
        &mut self,
        setup: &Setup,
        learner: &mut Learner,
        watch: &mut dyn Watch,
    ) -> Result<StepOutcome, TrainError> {
        let warmup = &self.warmup;
        let (number, step) = turn(learner.state.phase_step, self.players);
        let encoder = &learner.roster.generators[number].policy.encoder;
        let own = own_step(number, step);
        let stages = setup.config.written_stages();
        let examples = generator_batch(&setup.source, encoder, stages, own, warmup.batch_size)?;
        let rate = warmup_rate(warmup, step, warmup.generator_steps);
        learner.imitate(number, &examples, rate, watch)
    }
}

/// The discriminators learn from executed samples, in turn.
pub struct DiscriminatorWarmup {
    warmup: Warmup,
    steps: u64,
    players: u64,
    data: Option<DiscriminatorData>,
}

impl DiscriminatorWarmup {
    /// As a configuration has it.
    pub fn new(config: &Config) -> Self {
        let steps = match config.game.adversary {
            true => config.warmup.discriminator_steps,
            false => 0,
        };
        Self {
            warmup: config.warmup.clone(),
            steps,
            players: config.players.discriminators as u64,
            data: None,
        }
    }
}

impl TrainingPhase for DiscriminatorWarmup {
    fn title(&self) -> String {
        "warm-up of the discriminator".into()
    }

    fn steps(&self) -> u64 {
        self.steps * self.players
    }

    fn prepare(
        &mut self,
        setup: &Setup,
        learner: &mut Learner,
        watch: &mut dyn Watch,
    ) -> Result<bool, TrainError> {
        if self.data.is_none() {
            let data = DiscriminatorData::collect(
                &setup.config,
                &setup.source,
                &learner.roster.generators(),
                &setup.executor,
                &setup.sampling(setup.config.sampling.temperature),
                setup.key.with_name("discriminator warm-up"),
            )?;
            let (attacks, verdicts) = data.sizes();
            watch.note(&format!(
                "discriminator data: {attacks} attack sets, {verdicts} verdicts ({:.0} % right)",
                100.0 * data.pass_rate()
            ));
            watch.mark("execute");
            self.data = Some(data);
        }
        Ok(true)
    }

    fn step(
        &mut self,
        _setup: &Setup,
        learner: &mut Learner,
        watch: &mut dyn Watch,
    ) -> Result<StepOutcome, TrainError> {
        let (number, step) = turn(learner.state.phase_step, self.players);
        let player = &mut learner.roster.discriminators[number];
        let size = self.warmup.batch_size;
        let (examples, verdicts) = match &self.data {
            Some(data) => data.batch(own_step(number, step), size),
            None => (Vec::new(), Vec::new()),
        };
        let nats = imitate(&player.policy.model, &examples, 1.0);
        // From scratch the trunk has to learn what verdicts need, so here it takes their whole gradient.
        let verdict_nats = judge(&player.policy, &verdicts, 1.0);
        let rate = warmup_rate(&self.warmup, step, self.steps);
        let norm = player.step(rate)?;
        learner.state.stats.discriminators[number].totals.updates += 1;
        watch.mark("update");
        let mut values = vec![
            ("discriminator_loss", nats),
            ("verdict_loss", verdict_nats),
            ("discriminator_grad_norm", norm),
            ("learning_rate", rate),
        ];
        values.extend((self.players > 1).then_some(("player", number as f64)));
        let message = format!("loss {nats:.3}, verdict {verdict_nats:.3}");
        Ok(supervised_outcome(&values, message))
    }
}

/// The learning rate of one of a player's own warm-up steps.
fn warmup_rate(warmup: &Warmup, step: u64, steps: u64) -> f64 {
    let rise = warmup.lr_warmup_steps;
    learning_rate(warmup.learning_rate, warmup.min_lr_ratio, rise, step, steps)
}
