//! [`ScoredProblem`] -> [`AdvantagedProblem`]: every member compared as the algorithm says; and what the losses read of it.

use gauntlet_sandbox::Outcome;

use crate::algo::{Algorithm, BaselineState, BatchCounts, Skip};
use crate::metrics::{AttackRecord, PlayerReport, SampleRecord};
use crate::mistake_book::Mistake;
use crate::problems::Problem;
use crate::results::CandidateResult;
use crate::rewards::{KILL, SOLVED_PART};
use crate::rollout::{
    Advantaged, AttackSet, CheckedAttack, Mask, Reward, Rollout, TrainSequence, Trainable, Validity,
};

use super::attack::VerdictPrompt;
use super::sample::Candidate;
use super::score::ScoredProblem;

/// One problem, played: what the run learns from, remembers and logs.
#[derive(Clone, Debug)]
pub struct AdvantagedProblem {
    /// The problem.
    pub problem: Problem,
    /// The generator's group.
    pub rollouts: Vec<Advantaged<Rollout>>,
    /// Why the generator's group teaches nothing, if it does.
    pub skipped: Option<Skip>,
    /// One verdict a rollout; empty without a discriminator.
    pub verdicts: Vec<VerdictPrompt>,
    /// For each rollout what its verdict should have been, where that is known.
    pub verdict_targets: Vec<Option<f32>>,
    /// Every complete chain of the group.
    pub candidates: Vec<Candidate>,
    /// What all tests say, candidate by candidate; a chain that was cut short is masked.
    pub results: Vec<Result<CandidateResult, Mask>>,
    /// What the gold tests say of the first candidate, for people to read.
    pub first_outcomes: Vec<Outcome>,
    /// The discriminator's group; empty without a discriminator.
    pub sets: Vec<Advantaged<AttackSet>>,
    /// Why the discriminator's group teaches nothing, if it does.
    pub sets_skipped: Option<Skip>,
    /// What became of each line of each set.
    pub checked: Vec<Vec<CheckedAttack>>,
    /// For each set and line the number of candidates that the line kills.
    pub kills: Vec<Vec<usize>>,
    /// Pooled attacks that kill a candidate which the gold tests let pass.
    pub mistakes: Vec<Mistake>,
}

/// The moving baselines of the two players at one stage, which only some estimators read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Baselines {
    /// Of the generator.
    pub generator: BaselineState,
    /// Of the discriminator.
    pub discriminator: BaselineState,
}

/// Compares the members of all groups of a step, and gives the baselines behind it.
pub(super) fn compare(
    scored: Vec<ScoredProblem>,
    algorithm: &Algorithm,
    baselines: &Baselines,
) -> (Vec<AdvantagedProblem>, Baselines) {
    let (mut chains, mut attacks, mut rest) = (Vec::new(), Vec::new(), Vec::new());
    for mut one in scored {
        chains.push(std::mem::take(&mut one.rollouts));
        attacks.push(std::mem::take(&mut one.sets));
        rest.push(one);
    }
    let (chains, generator) = algorithm.estimate(chains, &baselines.generator);
    let (attacks, discriminator) = algorithm.estimate(attacks, &baselines.discriminator);
    let all = rest.into_iter().zip(chains.into_iter().zip(attacks));
    let compared = all.map(|(scored, (chains, attacks))| AdvantagedProblem {
        problem: scored.problem,
        rollouts: chains.members,
        skipped: chains.skipped,
        verdicts: scored.verdicts,
        verdict_targets: scored.verdict_targets,
        candidates: scored.candidates,
        results: scored.results,
        first_outcomes: scored.first_outcomes,
        sets: attacks.members,
        sets_skipped: attacks.skipped,
        checked: scored.checked,
        kills: scored.kills,
        mistakes: scored.mistakes,
    });
    let next = Baselines {
        generator,
        discriminator,
    };
    (compared.collect(), next)
}

impl AdvantagedProblem {
    /// The candidates that passed every test they met.
    pub fn right(&self) -> impl Iterator<Item = &Candidate> {
        let all = self.candidates.iter().zip(&self.results);
        all.filter(|(_, result)| {
            result
                .as_ref()
                .is_ok_and(|result| result.right() == Some(true))
        })
        .map(|(candidate, _)| candidate)
    }

    /// The rollouts that ended by themselves, each with its verdict and with what the verdict should have been.
    pub(super) fn judged(&self) -> impl Iterator<Item = (&Rollout, &VerdictPrompt, Option<f32>)> {
        self.rollouts
            .iter()
            .zip(&self.verdicts)
            .zip(&self.verdict_targets)
            .map(|((member, verdict), target)| (&member.rollout, verdict, *target))
            .filter(|(rollout, _, _)| !rollout.completion().truncated())
    }

    /// Verdicts with what execution said, for the gate on the verdict head's AUC.
    pub(super) fn verdict_pairs(&self) -> Vec<(f32, bool)> {
        self.judged()
            .filter_map(|(_, verdict, target)| Some((verdict.probability, target? > 0.5)))
            .collect()
    }

    /// The first work of either player, for reading.
    pub(super) fn samples(&self) -> Vec<SampleRecord> {
        let generator = self.rollouts.first().map(|first| {
            let verdict = self.verdicts.first().map(|verdict| verdict.probability);
            SampleRecord::generator(first, verdict, self.first_outcomes.clone())
        });
        let set = self.sets.first().zip(self.checked.first());
        let discriminator = set.map(|(first, checked)| {
            let chain = first
                .rollout
                .target
                .map(|target| self.candidates[target].chain.texts());
            let lines = checked.iter().zip(&self.kills[0]);
            let attacks = lines.map(|(line, kills)| AttackRecord::new(line, *kills));
            SampleRecord::discriminator(first, chain.unwrap_or_default(), attacks.collect())
        });
        generator.into_iter().chain(discriminator).collect()
    }
}

/// What one player's loss reads of a step, with the counts that its denominators are made of.
#[derive(Clone, Debug, Default)]
pub struct PlayerBatch {
    /// What carries gradient.
    pub sequences: Vec<TrainSequence>,
    /// Sizes before masking and skipping.
    pub counts: BatchCounts,
    /// Groups.
    pub groups: usize,
    /// Groups that teach nothing.
    pub skipped_groups: usize,
    /// Rewards of what was scored, group by group.
    pub rewards: Vec<Vec<f64>>,
    /// Work that did what its player is for: code that passes everything, a set that kills an opponent.
    pub wins: u64,
    /// Counts and means for the log.
    pub report: PlayerReport,
}

impl PlayerBatch {
    /// The groups of one player with why each teaches nothing, if it does. `won` is the part of the reward that a win
    /// earns.
    fn new<'a, R: Trainable + 'a>(
        groups: impl Iterator<Item = (&'a Vec<Advantaged<R>>, Option<Skip>)>,
        won: &str,
    ) -> PlayerBatch {
        let mut batch = PlayerBatch::default();
        let mut all: Vec<&Result<Reward, Mask>> = Vec::new();
        for (members, skipped) in groups {
            batch.groups += 1;
            batch.skipped_groups += usize::from(skipped.is_some());
            let work = members.iter().map(|member| &member.rollout);
            batch.counts = batch.counts + BatchCounts::of(work);
            let rewards = members.iter().map(|member| &member.reward);
            let known = rewards.clone().filter_map(|reward| reward.as_ref().ok());
            batch.rewards.push(known.map(Reward::value).collect());
            all.extend(rewards);
            batch
                .sequences
                .extend(members.iter().filter_map(TrainSequence::new));
        }
        let is_won = |reward: &&Reward| reward.breakdown.get(won).is_some_and(|part| *part > 0.0);
        batch.wins = all
            .iter()
            .filter_map(|reward| reward.as_ref().ok())
            .filter(is_won)
            .count() as u64;
        batch.report = PlayerReport::new(all);
        batch.report.groups = batch.groups;
        batch.report.skipped_groups = batch.skipped_groups;
        batch
    }

    /// The generator's groups of a step.
    pub(super) fn of_generator<'a>(
        played: impl Iterator<Item = &'a AdvantagedProblem>,
    ) -> PlayerBatch {
        let groups = played.map(|one| (&one.rollouts, one.skipped));
        PlayerBatch::new(groups, SOLVED_PART)
    }

    /// The discriminator's groups of a step.
    pub(super) fn of_discriminator<'a>(
        played: impl Iterator<Item = &'a AdvantagedProblem>,
    ) -> PlayerBatch {
        let groups = played.map(|one| (&one.sets, one.sets_skipped));
        PlayerBatch::new(groups.filter(|(sets, _)| !sets.is_empty()), KILL)
    }

    /// Share of the groups that teach something.
    pub fn informative(&self) -> f64 {
        (self.groups - self.skipped_groups) as f64 / self.groups.max(1) as f64
    }
}

/// Share of the generator's candidates that passed everything they met.
pub(super) fn pass_rate(played: &[AdvantagedProblem]) -> f64 {
    let known: Vec<bool> = played
        .iter()
        .flat_map(|one| &one.results)
        .filter_map(|result| result.as_ref().ok()?.right())
        .collect();
    known.iter().filter(|&&right| right).count() as f64 / known.len().max(1) as f64
}

/// Shares of attack lines: playable, and valid as written (the expected value too).
pub(super) fn validity(played: &[AdvantagedProblem]) -> (f64, f64) {
    let lines: Vec<&Validity> = played
        .iter()
        .flat_map(|one| &one.checked)
        .flatten()
        .map(|line| &line.validity)
        .collect();
    let share = |count: usize| count as f64 / lines.len().max(1) as f64;
    let playable = lines.iter().filter(|v| v.is_playable()).count();
    let exact = lines
        .iter()
        .filter(|v| matches!(v, Validity::Valid))
        .count();
    (share(playable), share(exact))
}

/// Mean over attack sets of the share of opponents killed, weighted as the reward weighs them; `kill_weight` is what all
/// kills earn.
pub(super) fn kill_rate(played: &[AdvantagedProblem], kill_weight: f64) -> Option<f64> {
    let kills: Vec<f64> = played
        .iter()
        .flat_map(|one| &one.sets)
        .filter_map(|set| set.reward.as_ref().ok()?.breakdown.get(KILL).copied())
        .collect();
    (!kills.is_empty() && kill_weight > 0.0)
        .then(|| kills.iter().sum::<f64>() / (kills.len() as f64 * kill_weight))
}
