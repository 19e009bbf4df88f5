//! A stage of the game.

use crate::config::Config;
use crate::error::TrainError;
use crate::game::{
    self, Batches, Gradients, Material, PlayerBatch, Rules, Scene, StepPlayers, StepResult,
    StepStats,
};
use crate::metrics::{PlayerReport, StepReport};
use crate::optimizer::OptimizerError;
use crate::players::{Pair, Player, Policy, Roster};
use crate::source::Purpose;
use crate::stage::Stage;

use super::schedule::learning_rate;
use super::traces::generator_batch;
use super::{Learner, Setup, StepOutcome, TrainingPhase, Watch};

/// The steps of one stage.
pub struct Game {
    stage: Stage,
    steps: u64,
    rules: Rules,
}

impl Game {
    /// A stage as a configuration plans it.
    pub fn new(config: &Config, stage: Stage) -> Self {
        let planned = config.planned_stages().find(|(s, _)| *s == stage);
        Self {
            stage,
            steps: planned.map_or(0, |(_, steps)| steps),
            rules: Rules::game(config),
        }
    }

    /// Applies a step: the optimizers go, and what is known of the players is brought up to date.
    fn apply(
        &self,
        config: &Config,
        learner: &mut Learner,
        pair: Pair,
        result: StepResult,
    ) -> Result<StepOutcome, TrainError> {
        let StepResult {
            batches,
            gradients,
            mut report,
            pass_rate,
            playable,
            discriminator_stats,
            baselines,
            mistakes,
            samples,
        } = result;
        let state = &mut learner.state;
        let ours = &mut state.stats.generators[pair.generator];
        ours.keep_baseline(self.stage, baselines.generator);
        let theirs = &mut state.stats.discriminators[pair.discriminator];
        theirs.validity = discriminator_stats.validity;
        theirs.verdicts = discriminator_stats.verdicts;
        theirs.keep_baseline(self.stage, baselines.discriminator);
        let recorded = mistakes.into_iter().map(|one| learner.mistakes.record(one));
        let recorded = recorded.filter(|is_recorded| *is_recorded).count();

        let mut gradients = gradients;
        for pass in 0..self.rules.algorithm.passes() {
            if pass > 0 {
                let players = players_of(&learner.roster, pair);
                let at = (self.stage, pass);
                gradients = game::accumulate(players, &batches, &self.rules, at)?;
            }
            self.optimize(config, learner, pair, (&batches, gradients), &mut report)?;
            gradients = Gradients::default();
        }
        let count = |totals: &mut crate::players::PlayerTotals, batch: &PlayerBatch| {
            for group in &batch.rewards {
                totals.count(group.iter().copied());
            }
            totals.wins += batch.wins;
        };
        let stats = &mut learner.state.stats;
        count(
            &mut stats.generators[pair.generator].totals,
            &batches.generator,
        );
        count(
            &mut stats.discriminators[pair.discriminator].totals,
            &batches.discriminator,
        );
        learner.name_players(pair, &mut report);
        report
            .values
            .insert("mistakes_recorded".into(), recorded as f64);

        let reward = |report: &Option<PlayerReport>| report.as_ref().and_then(|r| r.reward);
        let (ours, theirs) = (reward(&report.generator), reward(&report.discriminator));
        learner.means.generator_reward.extend(ours);
        learner.means.discriminator_reward.extend(theirs);
        if self.rules.adversary {
            learner.means.validity.push(playable);
        }
        let text = |reward: Option<f64>| reward.map_or("-".to_owned(), |r| format!("{r:.3}"));
        Ok(StepOutcome {
            report,
            samples,
            message: format!(
                "rewards {} / {}, passed {:.0} %",
                text(ours),
                text(theirs),
                100.0 * pass_rate
            ),
        })
    }
}

impl Game {
    /// Steps of both players' optimizers on the gradients that lie on their parameters. A player without gradients, whom
    /// nothing in the step teaches, stays as it is.
    fn optimize(
        &self,
        config: &Config,
        learner: &mut Learner,
        pair: Pair,
        (batches, gradients): (&Batches, Gradients),
        report: &mut StepReport,
    ) -> Result<(), OptimizerError> {
        let (optimizer, state) = (&config.optimizer, &mut learner.state);
        let scheduled = |highest: f64| {
            let (floor, rise) = (optimizer.min_lr_ratio, optimizer.lr_warmup_steps);
            learning_rate(highest, floor, rise, state.phase_step, self.steps)
        };
        // AdamW steps as far on the gradient of one group as on that of all: where most are skipped, on noise.
        let ours = batches.generator.informative() * scheduled(optimizer.learning_rate);
        let theirs = scheduled(optimizer.discriminator_learning_rate);
        if let (Some(figures), Some(report)) = (gradients.generator, &mut report.generator) {
            let player = &mut learner.roster.generators[pair.generator];
            update(player, ours, figures, report)?;
            state.stats.generators[pair.generator].totals.updates += 1;
        }
        let Some(report) = &mut report.discriminator else {
            return Ok(());
        };
        if batches.paused {
            report.values.insert("paused".into(), 1.0);
        }
        if let Some(figures) = gradients.discriminator {
            let player = &mut learner.roster.discriminators[pair.discriminator];
            update(player, theirs, figures, report)?;
            state.stats.discriminators[pair.discriminator]
                .totals
                .updates += 1;
        }
        Ok(())
    }
}

impl TrainingPhase for Game {
    fn title(&self) -> String {
        format!("stage {}: {}", self.stage.number(), self.stage.name())
    }

    fn steps(&self) -> u64 {
        self.steps
    }

    fn stage_id(&self) -> u8 {
        self.stage.number()
    }

    fn step(
        &mut self,
        setup: &Setup,
        learner: &mut Learner,
        watch: &mut dyn Watch,
    ) -> Result<StepOutcome, TrainError> {
        let (config, step) = (&setup.config, learner.state.step);
        let mut drawn = learner.state.problems_seen;
        let mut draw = |count: usize| {
            let sandbox = setup.executor.sandbox();
            let problems = setup.source.problems(sandbox, Purpose::Game, drawn, count);
            drawn += count as u64;
            problems
        };
        let problems = draw(config.game.problems_per_step)?;
        let pair = learner.roster.pair(step);
        let players = players_of(&learner.roster, pair);
        let encoder = &players.generator.policy.encoder;
        let traces = || {
            let (stages, size) = (config.written_stages(), config.warmup.batch_size);
            generator_batch(&setup.source, encoder, stages, step, size)
        };
        let scene = Scene {
            executor: &setup.executor,
            mistakes: &learner.mistakes,
            key: setup.key,
            stage: self.stage,
            step,
        };
        let material = Material {
            problems,
            more: &mut draw,
            traces: &traces,
            mark: &mut |part| watch.mark(part),
        };
        let stats = &learner.state.stats;
        let stats = StepStats {
            generator: &stats.generators[pair.generator],
            discriminator: &stats.discriminators[pair.discriminator],
        };
        let result = game::step(players, material, &self.rules, &stats, &scene)?;
        learner.state.problems_seen = drawn;
        let outcome = self.apply(config, learner, pair, result);
        watch.mark("optimize");
        outcome
    }
}

impl Learner {
    /// Adds the number of each player to its report, where its role has several.
    fn name_players(&self, pair: Pair, report: &mut StepReport) {
        let name = |report: &mut Option<PlayerReport>, players: usize, number: usize| {
            if let (Some(report), true) = (report, players > 1) {
                report.values.insert("player".into(), number as f64);
            }
        };
        let (ours, theirs) = (&self.roster.generators, &self.roster.discriminators);
        name(&mut report.generator, ours.len(), pair.generator);
        name(&mut report.discriminator, theirs.len(), pair.discriminator);
    }
}

/// Those of a pair.
pub(super) fn players_of(roster: &Roster, pair: Pair) -> StepPlayers<'_> {
    StepPlayers {
        generator: &roster.generators[pair.generator],
        discriminator: &roster.discriminators[pair.discriminator],
    }
}

/// A step of one player's optimizer on the gradients that lie on its parameters.
fn update<P: Policy>(
    player: &mut Player<P>,
    rate: f64,
    figures: game::LossFigures,
    report: &mut PlayerReport,
) -> Result<(), OptimizerError> {
    let norm = player.step(rate)?;
    let figures = figures
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    report.values.extend(figures);
    report.values.insert("learning_rate".into(), rate);
    report.values.insert("grad_norm".into(), norm);
    Ok(())
}
