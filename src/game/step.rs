//! The step itself: the chain of values from problems to gradients.

use std::collections::BTreeMap;

use crate::algo::PolicyMetrics;
use crate::discriminator::Discriminator;
use crate::encoding::EncodingError;
use crate::generator::Generator;
use crate::metrics::{PlayerReport, SampleRecord, StepReport};
use crate::mistake_book::Mistake;
use crate::players::{Player, PlayerStats};
use crate::problems::Problem;
use crate::problems::ground::GroundError;
use crate::rewards::{alpha, kill_weight};
use crate::rollout::VerdictExample;
use crate::stage::Stage;
use crate::update::{Example, PolicyOptions, imitate, judge, reinforce};

use super::advantage::{
    AdvantagedProblem, Baselines, PlayerBatch, compare, kill_rate, pass_rate, validity,
};
use super::attack::attack;
use super::execute::execute;
use super::sample::sample;
use super::score::{Weights, score};
use super::{Rules, Scene, verdict_examples};

/// Mean |difference| of a token's log-probability between decoding and training above which an update is refused: such
/// importance weights no longer correct, they drown the signal.
const MAX_MISMATCH: f64 = 0.5;

/// Why a step cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// A prompt cannot be made.
    #[error(transparent)]
    Encoding(#[from] EncodingError),
    /// A composed problem cannot be given its tests.
    #[error(transparent)]
    Ground(#[from] GroundError),
    /// Rollouts are too far from the policy that is trained.
    #[error(
        "rollouts were decoded {mean:.2} nats a token away from the policy that is trained, more than {MAX_MISMATCH}; set \
         sampling.backend to float32, or to trainer"
    )]
    Mismatch {
        /// Mean |difference| of a token's log-probability, in nats.
        mean: f64,
    },
}

/// Who plays a step.
#[derive(Clone, Copy)]
pub struct StepPlayers<'a> {
    /// Writes chains.
    pub generator: &'a Player<Generator>,
    /// Writes attacks and verdicts, where the rules have an adversary.
    pub discriminator: &'a Player<Discriminator>,
}

/// Draws so many more problems.
pub type Draw<'a> = dyn FnMut(usize) -> Result<Vec<Problem>, GroundError> + 'a;

/// Where a step's material comes from.
pub struct Material<'a> {
    /// The problems of the step.
    pub problems: Vec<Problem>,
    /// So many more problems, in place of such whose groups teach nothing.
    pub more: &'a mut Draw<'a>,
    /// Marks that the time since the last mark was spent on a part of the step.
    pub mark: &'a mut dyn FnMut(&'static str),
    /// Reference traces to imitate beside the policy gradient; asked for only where there is one.
    pub traces: &'a dyn Fn() -> Result<Vec<Example>, EncodingError>,
}

/// A step's problems, played, and the weights its rewards were computed with.
pub struct Played {
    /// Every problem that was played.
    pub problems: Vec<AdvantagedProblem>,
    /// Problems whose generator's group counts: as many as the step was given.
    counted: Vec<bool>,
    weights: Weights,
    /// The moving baselines behind it.
    pub baselines: Baselines,
}

/// What the losses of both players read of a step.
pub struct Batches {
    /// The generator's groups.
    pub generator: PlayerBatch,
    /// Reference traces that the generator imitates beside.
    pub traces: Vec<Example>,
    /// The discriminator's groups.
    pub discriminator: PlayerBatch,
    /// What the verdict head learns from.
    pub verdicts: Vec<VerdictExample>,
    /// Whether the discriminator sits this step out.
    pub paused: bool,
}

/// What is known of those who play, before the step.
#[derive(Clone, Copy)]
pub struct StepStats<'a> {
    /// Of the generator.
    pub generator: &'a PlayerStats,
    /// Of the discriminator.
    pub discriminator: &'a PlayerStats,
}

impl StepStats<'_> {
    fn baselines(&self, stage: Stage) -> Baselines {
        Baselines {
            generator: self.generator.baseline(stage),
            discriminator: self.discriminator.baseline(stage),
        }
    }
}

/// What one player's losses measured while its gradients were made, by name in the log.
pub type LossFigures = BTreeMap<&'static str, f64>;

/// The gradients of a step, which lie on the players' parameters. A player without any keeps its weights: nothing in the
/// step teaches it.
#[derive(Default)]
pub struct Gradients {
    /// Of the generator.
    pub generator: Option<LossFigures>,
    /// Of the discriminator.
    pub discriminator: Option<LossFigures>,
}

/// Everything a run has to apply and to remember of a step.
pub struct StepResult {
    /// What the losses read, for further passes over it.
    pub batches: Batches,
    /// What lies on the parameters.
    pub gradients: Gradients,
    /// Counts, means and rates, without what the optimizers will say.
    pub report: StepReport,
    /// Share of candidates that passed everything.
    pub pass_rate: f64,
    /// Share of attack lines that are playable.
    pub playable: f64,
    /// What is known of the discriminator once this step is counted, but for its counters.
    pub discriminator_stats: PlayerStats,
    /// The moving baselines behind this step.
    pub baselines: Baselines,
    /// Attacks to remember.
    pub mistakes: Vec<Mistake>,
    /// Work to read.
    pub samples: Vec<SampleRecord>,
}

/// Plays one step and leaves its gradients on the players' parameters.
pub fn step(
    players: StepPlayers,
    material: Material,
    rules: &Rules,
    stats: &StepStats,
    scene: &Scene,
) -> Result<StepResult, StepError> {
    let Material {
        problems,
        more,
        mark,
        traces,
    } = material;
    let played = play_enough(players, problems, (more, mark), rules, stats, scene)?;
    let Played {
        problems, weights, ..
    } = &played;
    let encoder = &players.discriminator.policy.encoder;
    let (playable, exact) = validity(problems);
    let mut after = stats.discriminator.clone();
    let mut verdicts = Vec::new();
    for one in problems {
        after.verdicts.push(one.verdict_pairs());
        if rules.adversary {
            verdicts.extend(verdict_examples::examples(one, encoder)?);
        }
    }
    if rules.adversary {
        after.validity.update(exact);
    }
    let generator = PlayerBatch::of_generator(played.counted());
    let traces = match rules.trace_weight > 0.0 && !generator.sequences.is_empty() {
        true => traces()?,
        false => Vec::new(),
    };
    let batches = Batches {
        generator,
        traces,
        discriminator: PlayerBatch::of_discriminator(problems.iter()),
        verdicts,
        paused: after.is_ahead(rules.discriminator_pause),
    };
    let gradients = accumulate(players, &batches, rules, (scene.stage, 0))?;
    mark("update");

    let pass_rate = pass_rate(problems);
    let mut report = StepReport::new(scene.step, scene.stage.number());
    report.generator = Some(
        batches
            .generator
            .report
            .clone()
            .with("pass_rate", pass_rate),
    );
    if rules.adversary {
        let theirs: PlayerReport = batches.discriminator.report.clone();
        let theirs = theirs
            .with("attack_playable", playable)
            .with("attack_validity", exact);
        let kills = kill_rate(problems, kill_weight(weights.alpha));
        report.discriminator = Some(match kills {
            Some(kills) => theirs.with("kill_rate", kills),
            None => theirs,
        });
    }
    let mut say = |name: &str, value: f64| report.values.insert(name.to_owned(), value);
    say("alpha", weights.alpha);
    say("problems", problems.len() as f64);
    if let Some(auc) = weights.verdict_auc {
        say("verdict_auc", auc);
    }
    if rules.resample > 0 {
        let replaced = played.counted.iter().filter(|counted| !**counted).count();
        say("replaced_groups", replaced as f64);
    }
    let first = problems.iter().take(rules.samples_per_step);
    Ok(StepResult {
        gradients,
        report,
        pass_rate,
        playable,
        discriminator_stats: after,
        baselines: played.baselines,
        samples: first.flat_map(AdvantagedProblem::samples).collect(),
        mistakes: problems
            .iter()
            .flat_map(|one| one.mistakes.iter().cloned())
            .collect(),
        batches,
    })
}

/// Plays `problems`, from the first line of the chain to its last value.
pub fn play(
    players: StepPlayers,
    problems: Vec<Problem>,
    mark: &mut dyn FnMut(&'static str),
    rules: &Rules,
    (stats, baselines): (&StepStats, &Baselines),
    scene: &Scene,
) -> Result<Played, EncodingError> {
    let discriminator = Some(&players.discriminator.policy).filter(|_| rules.adversary);
    let weights = Weights {
        alpha: alpha(
            stats.discriminator.validity.get().unwrap_or(0.0),
            rules.alpha_high,
            rules.alpha_low,
        ),
        verdict_auc: stats.discriminator.verdicts.auc(),
    };
    let sampled = sample(&players.generator.policy, problems, rules, scene)?;
    mark("generate");
    let executed = execute(sampled, scene.executor);
    mark("execute");
    let attacked = attack(discriminator, executed, rules, scene)?;
    mark("attack");
    let scored = attacked
        .into_iter()
        .map(|one| score(one, rules, &weights, scene.step))
        .collect();
    let (problems, baselines) = compare(scored, &rules.algorithm, baselines);
    Ok(Played {
        baselines,
        counted: vec![true; problems.len()],
        problems,
        weights,
    })
}

/// Plays `problems`, and others in place of those whose generator's group teaches nothing, in at most `rules.resample`
/// further rounds (dynamic sampling, as in DAPO, arXiv 2503.14476, section 3.2).
fn play_enough(
    players: StepPlayers,
    problems: Vec<Problem>,
    (more, mark): (&mut Draw, &mut dyn FnMut(&'static str)),
    rules: &Rules,
    stats: &StepStats,
    scene: &Scene,
) -> Result<Played, StepError> {
    let wanted = problems.len();
    let baselines = stats.baselines(scene.stage);
    let mut played = play(players, problems, mark, rules, (stats, &baselines), scene)?;
    for _ in 0..rules.resample {
        let teaching = played.problems.iter().filter(|one| one.skipped.is_none());
        let missing = wanted.saturating_sub(teaching.count());
        if missing == 0 {
            break;
        }
        let mut fresh = more(missing)?;
        // The same problem in the same step would be the same draws.
        fresh.retain(|new| played.problems.iter().all(|one| one.problem.id != new.id));
        let baselines = played.baselines;
        let round = play(players, fresh, mark, rules, (stats, &baselines), scene)?;
        played.problems.extend(round.problems);
        played.baselines = round.baselines;
    }
    played.count(wanted);
    Ok(played)
}

impl Played {
    /// The problems whose generator's group counts.
    fn counted(&self) -> impl Iterator<Item = &AdvantagedProblem> {
        let all = self.problems.iter().zip(&self.counted);
        all.filter(|(_, counted)| **counted).map(|(one, _)| one)
    }

    /// Has at most `wanted` groups count: those that teach something first.
    fn count(&mut self, wanted: usize) {
        let mut surplus = self.problems.len().saturating_sub(wanted);
        self.counted = vec![true; self.problems.len()];
        for teaches_nothing in [true, false] {
            for (one, counted) in self.problems.iter().zip(&mut self.counted) {
                if surplus > 0 && one.skipped.is_some() == teaches_nothing && *counted {
                    *counted = false;
                    surplus -= 1;
                }
            }
        }
    }
}

/// Adds the gradients of all losses over `batches` to the players' parameters, in one pass over them of several (the
/// first is number 0). A batch in which nothing is informative is a sum without terms: no gradient.
pub fn accumulate(
    players: StepPlayers,
    batches: &Batches,
    rules: &Rules,
    (stage, pass): (Stage, usize),
) -> Result<Gradients, StepError> {
    let temperature = rules.sampling.temperature;
    let options = |max_new_tokens: usize, batch: &PlayerBatch| PolicyOptions {
        temperature,
        algorithm: rules.algorithm,
        max_new_tokens,
        counts: batch.counts,
    };
    let ours = &batches.generator;
    let generator = (!ours.sequences.is_empty()).then(|| {
        let player = players.generator;
        let model = &player.policy.model;
        let longest = rules.sampling.max_new_tokens[stage.index()];
        let options = options(longest, ours);
        let metrics = reinforce(model, player.reference(), &ours.sequences, &options);
        let mut figures = figures(&metrics, pass)?;
        if !batches.traces.is_empty() {
            let nats = imitate(model, &batches.traces, rules.trace_weight);
            figures.insert("trace_loss", nats);
        }
        Ok::<_, StepError>(figures)
    });
    let theirs = &batches.discriminator;
    let teaches = !theirs.sequences.is_empty() || !batches.verdicts.is_empty();
    let plays = rules.adversary && !batches.paused && teaches;
    let discriminator = plays.then(|| {
        let player = players.discriminator;
        let options = options(rules.attacks.max_new_tokens, theirs);
        let model = &player.policy.model;
        let metrics = reinforce(model, player.reference(), &theirs.sequences, &options);
        let mut figures = figures(&metrics, pass)?;
        if !batches.verdicts.is_empty() {
            let nats = judge(&player.policy, &batches.verdicts, rules.verdict_loss_weight);
            figures.insert("verdict_loss", nats);
        }
        Ok::<_, StepError>(figures)
    });
    Ok(Gradients {
        generator: generator.transpose()?,
        discriminator: discriminator.transpose()?,
    })
}

/// What a policy loss measured. Rollouts that are too far from the policy are refused; players that decode with the
/// trainer's own numbers have no distance.
///
/// In later passes over a batch the distance is what the passes before moved, which the objective bounds.
fn figures(metrics: &PolicyMetrics, pass: usize) -> Result<LossFigures, StepError> {
    let tokens = metrics.tokens.max(1) as f64;
    let mut figures: LossFigures = metrics.figures().into_iter().collect();
    figures.insert("kl", metrics.kl / tokens);
    if metrics.mismatch != 0.0 && pass == 0 {
        let mean = metrics.mismatch / tokens;
        if mean > MAX_MISMATCH {
            return Err(StepError::Mismatch { mean });
        }
        figures.insert("rollout_mismatch", mean);
    }
    Ok(figures)
}
