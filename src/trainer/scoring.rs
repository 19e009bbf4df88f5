//! From a played round to rewards, advantages and what the losses read.

use crate::algo::{Algorithm, BaselineState, BatchCounts, Group};
use crate::config::Config;
use crate::metrics::PlayerReport;
use crate::mistake_book::{Mistake, MistakeBook};
use crate::rewards::{
    Cell, Opponent, Trial, discriminator_reward, generator_reward, shape, verdict_target,
    wrong_candidates,
};
use crate::rollout::{
    AttackSet, Mask, Reward, Rollout, Scored, ScoredAttackSet, ScoredRollout, TrainSequence,
    Trainable, Validity,
};

use super::play::{Candidate, Round};

/// What shaping and the schedule of the discriminator's reward depend on.
#[derive(Clone, Copy, Debug)]
pub struct Scales {
    /// Weight of validity against kills.
    pub alpha: f64,
    /// AUC of the verdict head on fresh samples, once there are enough.
    pub verdict_auc: Option<f64>,
}

/// A round with the rewards of both players.
pub struct ScoredRound {
    /// The generator's group.
    pub rollouts: Vec<ScoredRollout>,
    /// The discriminator's group.
    pub sets: Vec<ScoredAttackSet>,
    /// For each rollout what its verdict should have been, where that is known.
    pub verdict_targets: Vec<Option<f32>>,
    /// For each set and line the candidates that the line kills.
    pub kills: Vec<Vec<usize>>,
}

impl Round {
    /// The candidates of one rollout.
    fn candidates_of(&self, rollout: usize) -> impl Iterator<Item = &Candidate> {
        self.candidates.iter().filter(move |c| c.rollout == rollout)
    }

    /// Pays both players. `verdicts` holds one probability a rollout, or nothing when there is no discriminator.
    pub fn score(&self, verdicts: &[f32], scales: &Scales, config: &Config) -> ScoredRound {
        let mut verdict_targets = Vec::with_capacity(self.rollouts.len());
        let rollouts = self
            .rollouts
            .iter()
            .enumerate()
            .map(|(i, rollout)| {
                let trials: Vec<Result<Trial, Mask>> =
                    self.candidates_of(i).map(Candidate::trial).collect();
                verdict_targets.push(verdict_target(&trials));
                let reward = match rollout.completion().truncated() {
                    true => Err(Mask::Truncated),
                    false => generator_reward(&trials),
                };
                let verdict = verdicts.get(i).map(|v| f64::from(*v));
                let weight = config.game.verdict_weight;
                let shaped = |reward| match verdict {
                    Some(verdict) => shape(reward, verdict, scales.verdict_auc, weight),
                    None => reward,
                };
                Scored {
                    rollout: rollout.clone(),
                    reward: reward.map(shaped),
                }
            })
            .collect();
        ScoredRound {
            rollouts,
            sets: self.score_sets(scales, config),
            verdict_targets,
            kills: self.kills(),
        }
    }

    fn score_sets(&self, scales: &Scales, config: &Config) -> Vec<ScoredAttackSet> {
        let trials: Vec<Trial> = self
            .candidates
            .iter()
            .filter_map(|c| c.trial().ok())
            .collect();
        let mut opponents = wrong_candidates(&trials);
        if opponents.is_empty() {
            opponents = self
                .bank
                .iter()
                .map(|judged| Opponent {
                    weight: 1.0,
                    attacks: cells(judged),
                })
                .collect();
        }
        // A bank member whose run was masked says nothing.
        opponents.retain(|opponent| opponent.attacks.len() == self.pool.len());
        self.sets
            .iter()
            .zip(&self.checked)
            .enumerate()
            .map(|(i, (set, checked))| {
                let truncated = set.completion.truncated();
                let limit = config.game.attacks_per_set;
                let reward = discriminator_reward(
                    i,
                    truncated,
                    checked,
                    &self.pool,
                    &opponents,
                    limit,
                    scales.alpha,
                );
                Scored {
                    rollout: set.clone(),
                    reward,
                }
            })
            .collect()
    }

    /// For each set and line the number of candidates that the line kills.
    fn kills(&self) -> Vec<Vec<usize>> {
        let rows: Vec<Vec<bool>> = self
            .candidates
            .iter()
            .map(|c| c.attacked.passes())
            .collect();
        let mut kills: Vec<Vec<usize>> = self
            .checked
            .iter()
            .map(|lines| vec![0; lines.len()])
            .collect();
        for (i, pooled) in self.pool.iter().enumerate() {
            let killed = rows.iter().filter(|row| row.get(i) == Some(&false)).count();
            for source in &pooled.sources {
                kills[source.set][source.line] = killed;
            }
        }
        kills
    }

    /// Writes down every attack that kills a candidate which gold had let pass. Returns how many were new.
    pub fn record_mistakes(&self, book: &mut MistakeBook, step: u64) -> usize {
        let mut recorded = 0;
        for candidate in self.candidates.iter().filter(|c| c.gold.passed()) {
            for (pooled, passed) in self.pool.iter().zip(candidate.attacked.passes()) {
                if !passed {
                    recorded += usize::from(book.record(Mistake {
                        problem: self.problem.id.clone(),
                        args: pooled.attack.args.clone(),
                        expected: pooled.attack.expected.clone(),
                        killed: candidate.code.clone().unwrap_or_default(),
                        step,
                        by: format!(
                            "step_{step:06}/set_{}",
                            pooled.sources.first().map_or(0, |s| s.set)
                        ),
                    }));
                }
            }
        }
        recorded
    }
}

fn cells(judgement: &crate::judge::Judgement) -> Vec<Cell> {
    judgement
        .passes()
        .into_iter()
        .map(|passed| if passed { Cell::Passed } else { Cell::Failed })
        .collect()
}

/// The two players' reports and sequences of one step.
pub struct Batch {
    /// What the loss reads.
    pub sequences: Vec<TrainSequence>,
    /// Sizes before masking and skipping, for the denominator.
    pub all: BatchCounts,
    /// Counts and means.
    pub report: PlayerReport,
    /// For each group the advantage of each member that has one, by sample number.
    pub advantages: Vec<Vec<(u32, f64)>>,
}

impl Batch {
    /// Share of the groups that are trained on.
    pub fn informative(&self) -> f64 {
        let trained = self.report.groups - self.report.skipped_groups;
        trained as f64 / self.report.groups.max(1) as f64
    }
}

/// Advantages of groups of one player, as training sequences.
pub fn estimate_groups<R: Trainable>(algorithm: &Algorithm, groups: Vec<Vec<Scored<R>>>) -> Batch {
    let all = BatchCounts::of(groups.iter().flatten().map(|scored| &scored.rollout));
    let rewards: Vec<Result<Reward, Mask>> = groups
        .iter()
        .flatten()
        .map(|scored| scored.reward.clone())
        .collect();
    let mut report = PlayerReport::new(&rewards);
    report.groups = groups.len();
    let mut sequences = Vec::new();
    let mut advantages = Vec::new();
    let (groups, _) = algorithm.estimate(groups, &BaselineState::default());
    for Group { members, skipped } in groups {
        report.skipped_groups += usize::from(skipped.is_some());
        advantages.push(
            members
                .iter()
                .map(|m| (m.rollout.key().sample, m.advantage))
                .collect(),
        );
        // Equal to the mean: nothing to learn, and no forward pass to pay for.
        sequences.extend(
            members
                .iter()
                .filter(|m| m.advantage != 0.0)
                .map(TrainSequence::new),
        );
    }
    Batch {
        sequences,
        all,
        report,
        advantages,
    }
}

/// Share of the generator's rollouts whose code passed everything.
pub fn pass_rate(rounds: &[Round]) -> f64 {
    let known: Vec<bool> = rounds
        .iter()
        .flat_map(|round| &round.candidates)
        .filter_map(|candidate| candidate.trial().ok()?.right())
        .collect();
    known.iter().filter(|&&right| right).count() as f64 / known.len().max(1) as f64
}

/// Shares of attack lines: playable, and valid as written (the expected value too).
pub fn validity(rounds: &[Round]) -> (f64, f64) {
    let lines: Vec<&Validity> = rounds
        .iter()
        .flat_map(|r| &r.checked)
        .flatten()
        .map(|c| &c.validity)
        .collect();
    let share = |count: usize| count as f64 / lines.len().max(1) as f64;
    let playable = lines.iter().filter(|v| v.is_playable()).count();
    let exact = lines
        .iter()
        .filter(|v| matches!(v, Validity::Valid))
        .count();
    (share(playable), share(exact))
}

/// Mean over attack sets of the part of the reward that is paid for kills, as a share of what could be had.
pub fn kill_rate(sets: &[Vec<ScoredAttackSet>], alpha: f64) -> Option<f64> {
    let kills: Vec<f64> = sets
        .iter()
        .flatten()
        .filter_map(|scored| scored.reward.as_ref().ok()?.breakdown.get("kill").copied())
        .collect();
    let most = 0.9 - alpha;
    (!kills.is_empty() && most > 0.0)
        .then(|| kills.iter().sum::<f64>() / (kills.len() as f64 * most))
}

/// The set that a rollout or attack set came from wins when it did what its player is for.
pub fn wins(rollouts: &[ScoredRollout]) -> u64 {
    let won = |scored: &&Scored<Rollout>| {
        scored.reward.as_ref().is_ok_and(|reward| {
            reward
                .breakdown
                .get("solved")
                .is_some_and(|solved| *solved > 0.0)
        })
    };
    rollouts.iter().filter(won).count() as u64
}

/// Attack sets that killed an opponent.
pub fn set_wins(sets: &[ScoredAttackSet]) -> u64 {
    let won = |scored: &&Scored<AttackSet>| {
        scored
            .reward
            .as_ref()
            .is_ok_and(|reward| reward.breakdown.get("kill").is_some_and(|kill| *kill > 0.0))
    };
    sets.iter().filter(won).count() as u64
}
