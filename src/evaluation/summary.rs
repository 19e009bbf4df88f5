//! What a run came to: the table that `train` prints at its end.

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::checkpoint::table::aligned_table;
use crate::checkpoint::{DISCRIMINATOR, GENERATOR, player_names};
use crate::metrics::Interval;
use crate::players::Pair;

use super::PoolScore;
use super::attacks::AttackQuality;

/// Means over the steps of one stage, for the table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageMeans {
    /// Mean rewards of the generator, step by step.
    pub generator_reward: Vec<f64>,
    /// The same of the discriminator.
    pub discriminator_reward: Vec<f64>,
    /// Share of attack lines that were playable, step by step.
    pub validity: Vec<f64>,
}

/// One row: after warm-up, or after a stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageRow {
    /// `warm-up`, or the stage's number and name.
    pub label: String,
    /// Optimizer steps done by then.
    pub step: u64,
    /// Scores of the validation pools, then of the report pools.
    pub pools: Vec<PoolScore>,
    /// Mean pass@1 over all validation problems.
    pub validation: f64,
    /// Mean reward of the generator over the stage, if it played.
    pub generator_reward: Option<f64>,
    /// Mean reward of the discriminator over the stage, if it played.
    pub discriminator_reward: Option<f64>,
    /// Share of attack lines that were playable over the stage.
    pub attack_validity: Option<f64>,
    /// Kill rate on mutants of validation problems' references.
    pub bank_kill_rate: Option<f64>,
    /// What blind attacks on validation problems are worth.
    #[serde(default)]
    pub unseen_attacks: Option<AttackQuality>,
    /// AUC of the verdict head on fresh samples.
    pub verdict_auc: Option<f64>,
    /// Wall-clock seconds since the run (or the resumed part of it) began.
    pub seconds: f64,
    /// What each player came to, where a role has several; the other figures are then those of the best pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ranking: Option<Ranking>,
}

/// What each player was measured at, by number. The best generator is the one with the highest pass@1 on the validation
/// pools, the best discriminator the one with the highest kill rate on the bank; of equals, the first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ranking {
    /// Mean pass@1 of each generator over all validation problems.
    pub validation: Vec<f64>,
    /// Kill rate of each discriminator on mutants of validation problems' references.
    pub bank_kill_rate: Vec<Option<f64>>,
    /// AUC of each discriminator's verdicts on the best generator's chains.
    pub verdict_auc: Vec<Option<f64>>,
}

impl Ranking {
    /// The best of each role.
    pub fn best(&self) -> Pair {
        let kills = self.bank_kill_rate.iter();
        let kills: Vec<f64> = kills.map(|rate| rate.unwrap_or(-1.0)).collect();
        Pair {
            generator: highest(&self.validation),
            discriminator: highest(&kills),
        }
    }

    /// What is known of each player, by name.
    pub(super) fn json(&self) -> Json {
        let ours = player_names(GENERATOR, self.validation.len()).into_iter();
        let ours = ours.zip(&self.validation);
        let ours = ours.map(|(name, pass_at_1)| (name, json!({"pass_at_1": pass_at_1})));
        let theirs = player_names(DISCRIMINATOR, self.bank_kill_rate.len()).into_iter();
        let theirs = theirs.zip(self.bank_kill_rate.iter().zip(&self.verdict_auc));
        let theirs = theirs.map(|(name, (kills, auc))| {
            (name, json!({"bank_kill_rate": kills, "verdict_auc": auc}))
        });
        ours.chain(theirs).collect::<serde_json::Map<_, _>>().into()
    }
}

/// Where the highest value stands; of equals, the first.
pub(super) fn highest(values: &[f64]) -> usize {
    let mut best = 0;
    for (i, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = i;
        }
    }
    best
}

/// One line of what is measured once, at the end.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FinalRow {
    /// What was measured.
    pub label: String,
    /// For each pool that it was measured on, the share of problems passed with its 95 % interval.
    pub pools: Vec<(String, Interval)>,
}

impl FinalRow {
    pub(super) fn new(label: &str) -> Self {
        Self {
            label: label.to_owned(),
            pools: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, pool: &str, interval: Interval) {
        self.pools.push((pool.to_owned(), interval));
    }
}

/// All rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// In order.
    pub rows: Vec<StageRow>,
    /// What was measured once, after everything.
    pub closing: Vec<FinalRow>,
}

impl Summary {
    /// The table as text.
    pub fn table(&self) -> String {
        let mut names: Vec<&str> = Vec::new();
        for pool in self.rows.iter().flat_map(|row| &row.pools) {
            if !names.contains(&pool.name.as_str()) {
                names.push(&pool.name);
            }
        }
        let mut lines = vec![vec!["after".to_owned()]];
        lines[0].extend(names.iter().map(|name| name.replace('_', " ")));
        let columns = [
            "G reward",
            "D reward",
            "attacks valid",
            "valid unseen",
            "bank kills",
            "verdict AUC",
            "time",
        ];
        lines[0].extend(columns.map(str::to_owned));
        let percent = |x: f64| format!("{:.1} %", 100.0 * x);
        let number = |x: Option<f64>| x.map_or("-".into(), |x| format!("{x:.3}"));
        for row in &self.rows {
            let mut cells = vec![row.label.clone()];
            for name in &names {
                let pool = row.pools.iter().find(|pool| pool.name == *name);
                cells.push(pool.map_or("-".into(), |pool| percent(pool.pass_at_1)));
            }
            cells.push(number(row.generator_reward));
            cells.push(number(row.discriminator_reward));
            cells.push(row.attack_validity.map_or("-".into(), percent));
            let unseen = row.unseen_attacks.map(|attacks| attacks.playable);
            cells.push(unseen.map_or("-".into(), percent));
            cells.push(row.bank_kill_rate.map_or("-".into(), percent));
            cells.push(number(row.verdict_auc));
            cells.push(format!(
                "{}:{:02}",
                row.seconds as u64 / 60,
                row.seconds as u64 % 60
            ));
            lines.push(cells);
        }
        aligned_table(&lines)
    }

    /// The measurements at the end as text: shares in percent with their 95 % intervals; empty without any.
    pub fn final_table(&self) -> String {
        let mut names: Vec<&str> = Vec::new();
        for (name, _) in self.closing.iter().flat_map(|row| &row.pools) {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        if names.is_empty() {
            return String::new();
        }
        let mut lines = vec![vec!["at the end, in %".to_owned()]];
        lines[0].extend(names.iter().map(|name| name.replace('_', " ")));
        for row in &self.closing {
            let mut cells = vec![row.label.clone()];
            for name in &names {
                let cell = row.pools.iter().find(|(pool, _)| pool == name);
                cells.push(cell.map_or("-".into(), |(_, i)| {
                    let [mean, low, high] = [i.mean, i.low, i.high].map(|x| 100.0 * x);
                    format!("{mean:.1} [{low:.1}, {high:.1}]")
                }));
            }
            lines.push(cells);
        }
        aligned_table(&lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let row = |label: &str, seconds| StageRow {
            label: label.into(),
            step: 0,
            pools: Vec::new(),
            validation: 0.5,
            generator_reward: Some(0.25),
            discriminator_reward: None,
            attack_validity: Some(0.5),
            bank_kill_rate: None,
            unseen_attacks: None,
            verdict_auc: None,
            seconds,
            ranking: None,
        };
        let table = Summary {
            rows: vec![row("warm-up", 61.0), row("1 Informal reasoning", 3600.0)],
            closing: Vec::new(),
        }
        .table();
        let lengths: Vec<usize> = table.lines().map(|line| line.chars().count()).collect();
        assert!(lengths.windows(2).all(|pair| pair[0] == pair[1]), "{table}");
        assert!(table.contains("1:01") && table.contains("60:00") && table.contains("50.0 %"));
    }

    #[test]
    fn the_first_of_the_best_is_the_best() {
        let ranking = Ranking {
            validation: vec![0.25, 0.5, 0.5],
            bank_kill_rate: vec![None, None],
            verdict_auc: vec![None, Some(0.5)],
        };
        let best = Pair {
            generator: 1,
            discriminator: 0,
        };
        assert_eq!(ranking.best(), best);
        assert_eq!(ranking.json()["generator_2"]["pass_at_1"], 0.5);
        assert_eq!(ranking.json()["discriminator_1"]["verdict_auc"], 0.5);
    }

    #[test]
    fn closing_shares_come_with_their_intervals() {
        let mut closing = vec![FinalRow::new("pass@1"), FinalRow::new("best of 8")];
        let interval = Interval {
            mean: 0.5,
            low: 0.375,
            high: 0.625,
        };
        closing[0].add("validation", interval);
        closing[0].add("unseen_wordings", interval);
        closing[1].add("validation", interval);
        let table = Summary {
            rows: Vec::new(),
            closing,
        }
        .final_table();
        let lines: Vec<&str> = table.lines().collect();
        assert!(
            lines[1].ends_with("50.0 [37.5, 62.5]") && lines[2].ends_with("-"),
            "{table}"
        );
    }
}
