//! Which periodic checkpoints to keep.

use serde::{Deserialize, Serialize};

use super::names;

/// Which periodic checkpoints are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// The newest.
    LastN,
    /// Those with the best validation score, ties to the newer.
    TopKVal,
}

/// A rule and a number. Only checkpoints named `step_<digits>` or `step_<digits>_sampler`, whether they tell of the
/// players or not, are ever
/// deleted; the two kinds are counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    strategy: Strategy,
    keep: Option<usize>,
}

/// A setting that would delete everything, or that means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("keep_last = {0}: must be at least 1, or -1 to keep all")]
pub struct RetentionError(pub i64);

/// A committed checkpoint, as far as retention is concerned.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its place in the order of saving.
    pub sequence: u64,
    /// Its validation score.
    pub score: Option<f64>,
    /// Whether something points to it.
    pub protected: bool,
}

impl Retention {
    /// A rule that keeps `keep_last` periodic checkpoints, or all if it is -1.
    pub fn new(strategy: Strategy, keep_last: i64) -> Result<Self, RetentionError> {
        let keep = match keep_last {
            -1 => None,
            1.. => Some(usize::try_from(keep_last).unwrap_or(usize::MAX)),
            _ => return Err(RetentionError(keep_last)),
        };
        Ok(Self { strategy, keep })
    }

    /// The names to delete. Protected checkpoints take up places among those kept.
    pub fn to_delete<'a>(&self, checkpoints: &[Candidate<'a>]) -> Vec<&'a str> {
        let Some(keep) = self.keep else {
            return Vec::new();
        };
        let kinds = ["", names::SAMPLER];
        kinds
            .iter()
            .flat_map(|suffix| self.surplus(keep, suffix, checkpoints))
            .collect()
    }

    /// Those of one kind that are too many.
    fn surplus<'a>(
        &self,
        keep: usize,
        suffix: &str,
        checkpoints: &[Candidate<'a>],
    ) -> Vec<&'a str> {
        let mut periodic: Vec<&Candidate<'a>> = checkpoints
            .iter()
            .filter(|candidate| names::periodic_suffix(candidate.name) == Some(suffix))
            .collect();
        periodic.sort_by(|a, b| {
            let score = |c: &Candidate<'_>| match self.strategy {
                Strategy::LastN => 0.0,
                Strategy::TopKVal => c
                    .score
                    .filter(|score| !score.is_nan())
                    .unwrap_or(f64::NEG_INFINITY),
            };
            score(b)
                .total_cmp(&score(a))
                .then(b.sequence.cmp(&a.sequence))
        });
        let surplus = periodic.into_iter().skip(keep);
        surplus
            .filter(|candidate| !candidate.protected)
            .map(|candidate| candidate.name)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [(&str, Option<f64>); 8] = [
        ("stage_0", Some(0.0)),
        ("step_000010", Some(0.5)),
        ("step_000020", None),
        ("step_000030", Some(0.5)),
        ("step_mine", Some(0.1)),
        ("emergency_step_000035", None),
        ("step_000040", Some(0.2)),
        ("final", Some(0.1)),
    ];

    fn deleted(strategy: Strategy, keep_last: i64, protected: &str) -> Vec<&'static str> {
        let candidates: Vec<Candidate<'static>> = ALL
            .iter()
            .zip(1..)
            .map(|((name, score), sequence)| Candidate {
                name,
                sequence,
                score: *score,
                protected: *name == protected,
            })
            .collect();
        Retention::new(strategy, keep_last)
            .unwrap()
            .to_delete(&candidates)
    }

    #[test]
    fn only_periodic_checkpoints_go() {
        use Strategy::{LastN, TopKVal};
        assert_eq!(
            deleted(LastN, 1, ""),
            ["step_000030", "step_000020", "step_000010"]
        );
        assert_eq!(deleted(LastN, 2, "step_000010"), ["step_000020"]);
        assert_eq!(deleted(LastN, 9, ""), [""; 0]);
        assert_eq!(deleted(LastN, -1, ""), [""; 0]);
        assert_eq!(
            deleted(TopKVal, 1, ""),
            ["step_000010", "step_000040", "step_000020"]
        );
        assert_eq!(deleted(TopKVal, 3, ""), ["step_000020"]);
    }

    #[test]
    fn sampler_checkpoints_are_counted_apart() {
        let names = [
            "step_000010_sampler",
            "step_000010",
            "step_000020_sampler",
            "step_000020",
            "step_000030",
            "step_000040_old",
        ];
        let candidates: Vec<Candidate<'static>> = names
            .iter()
            .zip(1..)
            .map(|(name, sequence)| Candidate {
                name,
                sequence,
                score: None,
                protected: false,
            })
            .collect();
        let newest = Retention::new(Strategy::LastN, 1).unwrap();
        assert_eq!(
            newest.to_delete(&candidates),
            ["step_000020", "step_000010", "step_000010_sampler"]
        );
    }

    #[test]
    fn a_setting_that_deletes_everything_is_refused() {
        for keep_last in [0, -2, i64::MIN] {
            assert_eq!(
                Retention::new(Strategy::LastN, keep_last),
                Err(RetentionError(keep_last))
            );
        }
    }
}
