//! What a run knows of each of its players: counters, and what moves the discriminators' rewards.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::algo::BaselineState;
use crate::checkpoint::{DISCRIMINATOR, GENERATOR, player_names};
use crate::config::Players;
use crate::metrics::{auc, mean};
use crate::stage::Stage;

/// An exponential moving average that starts at its first value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MovingAverage {
    value: Option<f64>,
}

impl MovingAverage {
    /// Share of the newest value.
    const WEIGHT: f64 = 0.1;

    /// Takes a value in.
    pub fn update(&mut self, value: f64) {
        self.value = Some(
            self.value
                .map_or(value, |old| old + Self::WEIGHT * (value - old)),
        );
    }

    /// The average, once there is one.
    pub fn get(&self) -> Option<f64> {
        self.value
    }
}

/// Verdicts on fresh samples with what execution said, of the newest groups, for the gate on the verdict's AUC.
///
/// A reward is compared within its group, where all have the same problem. So that is where the verdict must tell right
/// from wrong; which problems are hard it may know as well as it likes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct VerdictWindow {
    /// (probability, right) pairs of each group that has both right and wrong members, oldest first.
    #[serde(default)]
    pub groups: Vec<Vec<(f32, bool)>>,
}

impl VerdictWindow {
    const SIZE: usize = 64;

    /// Mean AUC of the groups, once there are enough of them to mean anything.
    pub fn auc(&self) -> Option<f64> {
        const LEAST: usize = 16;
        let scores = |group: &Vec<(f32, bool)>| -> Vec<(f64, bool)> {
            group.iter().map(|&(p, right)| (p.into(), right)).collect()
        };
        let aucs: Vec<f64> = self.groups.iter().filter_map(|g| auc(&scores(g))).collect();
        (aucs.len() >= LEAST).then(|| mean(&aucs))
    }

    /// Takes a group in, if there is anything to tell apart in it, and forgets the oldest.
    pub fn push(&mut self, group: Vec<(f32, bool)>) {
        let right = group.iter().filter(|(_, right)| *right).count();
        if right == 0 || right == group.len() {
            return;
        }
        self.groups.push(group);
        let surplus = self.groups.len().saturating_sub(Self::SIZE);
        self.groups.drain(..surplus);
    }
}

/// Counters of one player over the whole run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PlayerTotals {
    /// Scored rollouts or attack sets.
    pub episodes: u64,
    /// Those that won: code that passed everything, or a set that killed a candidate.
    pub wins: u64,
    /// Optimizer steps.
    pub updates: u64,
    /// Sum of rewards.
    pub reward_sum: f64,
}

impl PlayerTotals {
    /// What several came to together.
    fn of<'a>(all: impl IntoIterator<Item = &'a PlayerTotals>) -> Self {
        let mut sum = Self::default();
        for one in all {
            sum.episodes += one.episodes;
            sum.wins += one.wins;
            sum.updates += one.updates;
            sum.reward_sum += one.reward_sum;
        }
        sum
    }

    /// Takes note of the rewards of a group.
    pub fn count(&mut self, rewards: impl IntoIterator<Item = f64>) {
        let mut sum = 0.0;
        for reward in rewards {
            self.episodes += 1;
            sum += reward;
        }
        self.reward_sum += sum;
    }

    /// Mean reward of an episode.
    pub fn avg_reward(&self) -> f64 {
        self.reward_sum / self.episodes.max(1) as f64
    }

    /// Share of episodes won.
    pub fn win_rate(&self) -> f64 {
        self.wins as f64 / self.episodes.max(1) as f64
    }
}

/// What is known of one player.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PlayerStats {
    /// Its counters.
    #[serde(flatten)]
    pub totals: PlayerTotals,
    /// Of a discriminator, the share of its attacks that are valid, which moves alpha.
    #[serde(default)]
    pub validity: MovingAverage,
    /// Of a discriminator, its kill rate on the frozen bank of validation problems, once measured.
    #[serde(default)]
    pub bank_kill_rate: Option<f64>,
    /// Of a discriminator, its recent verdicts, for the gate.
    #[serde(default)]
    pub verdicts: VerdictWindow,
    /// Moving baselines by stage; none where the estimator has none.
    #[serde(default, skip_serializing_if = "no_baselines")]
    pub baselines: [BaselineState; Stage::COUNT],
}

impl PlayerStats {
    /// The moving baseline at a stage.
    pub fn baseline(&self, stage: Stage) -> BaselineState {
        self.baselines[stage.index()]
    }

    /// Keeps the moving baseline at a stage.
    pub fn keep_baseline(&mut self, stage: Stage, baseline: BaselineState) {
        self.baselines[stage.index()] = baseline;
    }

    /// Whether a discriminator is so far ahead that it waits for the generator: both its kill rate and the share of its
    /// attacks that are valid as it wrote them are above `bound`. The bank counts what a repaired attack kills, but that
    /// is killed by the reference's answer and not by the discriminator's own.
    pub fn is_ahead(&self, bound: f64) -> bool {
        [self.bank_kill_rate, self.validity.get()]
            .iter()
            .all(|rate| rate.is_some_and(|rate| rate > bound))
    }
}

/// What is known of each player.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "SavedStats", into = "SavedStats")]
pub struct AllPlayerStats {
    /// Generators by number.
    pub generators: Vec<PlayerStats>,
    /// Discriminators by number.
    pub discriminators: Vec<PlayerStats>,
}

/// The form of [`AllPlayerStats`] in `trainer_state.json`: what is known of the one player of a role; of several their
/// totals, and each by name.
#[derive(Clone, Serialize, Deserialize)]
struct SavedStats {
    validity: MovingAverage,
    bank_kill_rate: Option<f64>,
    verdicts: VerdictWindow,
    generator: PlayerTotals,
    discriminator: PlayerTotals,
    #[serde(default, skip_serializing_if = "no_baselines")]
    generator_baselines: [BaselineState; Stage::COUNT],
    #[serde(default, skip_serializing_if = "no_baselines")]
    discriminator_baselines: [BaselineState; Stage::COUNT],
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    players: BTreeMap<String, PlayerStats>,
}

impl AllPlayerStats {
    /// Of players that have done nothing yet.
    pub fn new(players: &Players) -> Self {
        Self {
            generators: vec![PlayerStats::default(); players.generators],
            discriminators: vec![PlayerStats::default(); players.discriminators],
        }
    }

    /// Updates of all players.
    pub fn updates(&self) -> u64 {
        let all = self.generators.iter().chain(&self.discriminators);
        all.map(|stats| stats.totals.updates).sum()
    }

    /// Every player with its name; none where there is one of each role.
    fn named(&self) -> Vec<(String, &PlayerStats)> {
        if self.generators.len() + self.discriminators.len() == 2 {
            return Vec::new();
        }
        let of = |role, stats: &'_ [PlayerStats]| player_names(role, stats.len());
        let names = of(GENERATOR, &self.generators)
            .into_iter()
            .chain(of(DISCRIMINATOR, &self.discriminators));
        names
            .zip(self.generators.iter().chain(&self.discriminators))
            .collect()
    }

    /// What `metrics.json` says of the generators, the discriminators and, where a role has several, of each player.
    pub fn metrics(&self) -> (Json, Json, Option<Json>) {
        let each = self.named().into_iter().map(|(name, stats)| {
            let one = std::slice::from_ref(stats);
            let json = match name.starts_with(GENERATOR) {
                true => generator_json(one),
                false => discriminator_json(one),
            };
            (name, json)
        });
        let each: serde_json::Map<String, Json> = each.collect();
        (
            generator_json(&self.generators),
            discriminator_json(&self.discriminators),
            (!each.is_empty()).then_some(Json::Object(each)),
        )
    }
}

fn no_baselines(baselines: &[BaselineState; Stage::COUNT]) -> bool {
    baselines.iter().all(BaselineState::is_empty)
}

fn totals_of(stats: &[PlayerStats]) -> PlayerTotals {
    PlayerTotals::of(stats.iter().map(|stats| &stats.totals))
}

/// The mean of a figure over those players that have one.
fn mean_of(stats: &[PlayerStats], figure: impl Fn(&PlayerStats) -> Option<f64>) -> Option<f64> {
    let known: Vec<f64> = stats.iter().filter_map(figure).collect();
    (!known.is_empty()).then(|| mean(&known))
}

fn player_json(totals: &PlayerTotals) -> Json {
    json!({
        "avg_reward": totals.avg_reward(), "episodes": totals.episodes, "wins": totals.wins,
        "win_rate": totals.win_rate(), "updates": totals.updates,
    })
}

fn generator_json(stats: &[PlayerStats]) -> Json {
    let totals = totals_of(stats);
    let mut json = player_json(&totals);
    json["pass_rate"] = json!(totals.win_rate());
    json
}

fn discriminator_json(stats: &[PlayerStats]) -> Json {
    let mut json = player_json(&totals_of(stats));
    json["attack_validity"] = json!(mean_of(stats, |s| s.validity.get()));
    json["kill_rate"] = json!(mean_of(stats, |s| s.bank_kill_rate));
    json["verdict_auc"] = json!(mean_of(stats, |s| s.verdicts.auc()));
    json
}

impl From<AllPlayerStats> for SavedStats {
    fn from(stats: AllPlayerStats) -> Self {
        let players = stats.named().into_iter();
        let players = players.map(|(name, stats)| (name, stats.clone()));
        let only = match &stats.discriminators[..] {
            [only] => only.clone(),
            _ => PlayerStats::default(),
        };
        let ours = match &stats.generators[..] {
            [only] => only.baselines,
            _ => Default::default(),
        };
        Self {
            generator_baselines: ours,
            discriminator_baselines: only.baselines,
            validity: only.validity,
            bank_kill_rate: only.bank_kill_rate,
            verdicts: only.verdicts,
            generator: totals_of(&stats.generators),
            discriminator: totals_of(&stats.discriminators),
            players: players.collect(),
        }
    }
}

impl From<SavedStats> for AllPlayerStats {
    fn from(kept: SavedStats) -> Self {
        if kept.players.is_empty() {
            let generator = PlayerStats {
                totals: kept.generator,
                baselines: kept.generator_baselines,
                ..PlayerStats::default()
            };
            let discriminator = PlayerStats {
                totals: kept.discriminator,
                validity: kept.validity,
                bank_kill_rate: kept.bank_kill_rate,
                verdicts: kept.verdicts,
                baselines: kept.discriminator_baselines,
            };
            return Self {
                generators: vec![generator],
                discriminators: vec![discriminator],
            };
        }
        // A role has fewer than ten players: their names are in the order of their numbers.
        let (generators, discriminators): (Vec<_>, Vec<_>) = kept
            .players
            .into_iter()
            .partition(|(name, _)| name.starts_with(GENERATOR));
        let unnamed = |named: Vec<(String, PlayerStats)>| named.into_iter().map(|(_, s)| s);
        Self {
            generators: unnamed(generators).collect(),
            discriminators: unnamed(discriminators).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_discriminator_is_ahead_only_by_attacks_of_its_own() {
        let ahead = |kills: Option<f64>, valid: Option<f64>| {
            let mut stats = PlayerStats {
                bank_kill_rate: kills,
                ..PlayerStats::default()
            };
            if let Some(valid) = valid {
                stats.validity.update(valid);
            }
            stats.is_ahead(0.95)
        };
        assert!(ahead(Some(0.97), Some(0.96)));
        assert!(!ahead(Some(0.97), Some(0.03)), "repaired");
        assert!(!ahead(Some(0.95), Some(1.0)));
        assert!(!ahead(Some(1.0), None) && !ahead(None, Some(1.0)));
    }

    #[test]
    fn the_window_keeps_the_newest_groups_that_have_something_to_tell_apart() {
        let mut window = VerdictWindow::default();
        for i in 0..70 {
            window.push(vec![(i as f32, true), (0.5, false)]);
            window.push(vec![(0.5, true), (0.6, true)]);
            window.push(vec![]);
        }
        assert_eq!((window.groups.len(), window.groups[0][0].0), (64, 6.0));
    }

    #[test]
    fn a_verdict_that_knows_only_which_problems_are_hard_is_no_better_than_chance() {
        let mut window = VerdictWindow::default();
        for i in 0..15 {
            let easy = [(0.9, true), (0.9, true), (0.9, false)];
            let hard = [(0.1, true), (0.1, false), (0.1, false)];
            window.push(if i % 2 == 0 { easy } else { hard }.to_vec());
        }
        assert_eq!(window.auc(), None, "too few");
        window.push(vec![(0.1, true), (0.1, false)]);
        assert_eq!(window.auc(), Some(0.5));
        window.push(vec![(0.2, true), (0.1, false)]);
        assert!(window.auc().unwrap() > 0.5);
    }
}
