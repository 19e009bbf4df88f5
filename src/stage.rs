//! The five reasoning stages, from a first thought to executable Python.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// One reasoning stage. Each stage is a completion that sees the stages before it, and training passes through
/// them in this order. Warm-up, which comes before any of them, is not a stage of reasoning and has no value here.
///
/// Serialized as its number, 1 to 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum Stage {
    /// What is asked, in plain words.
    Informal = 1,
    /// The same thought as an ordered plan.
    Structured,
    /// The plan as pseudocode.
    Pseudocode,
    /// What must hold: bounds, edge cases, invariants.
    Constraints,
    /// Executable Python.
    Code,
}

/// A number that names no stage.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{0} is not a stage: stages are numbered 1 to 5")]
pub struct NoSuchStage(pub u8);

impl Stage {
    /// How many stages there are.
    pub const COUNT: usize = 5;

    /// Every stage, in order.
    pub const ALL: [Stage; Stage::COUNT] = [
        Stage::Informal,
        Stage::Structured,
        Stage::Pseudocode,
        Stage::Constraints,
        Stage::Code,
    ];

    /// The stage's number, 1 to 5.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The stage's place in an array of one entry a stage, 0 to 4.
    pub fn index(self) -> usize {
        self as usize - 1
    }

    /// The stage's name as people read it.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Informal => "Informal reasoning",
            Stage::Structured => "Structured reasoning",
            Stage::Pseudocode => "Pseudocode",
            Stage::Constraints => "Constraints and invariants",
            Stage::Code => "Executable Python",
        }
    }

    /// The special token that opens the stage in the plain prompt format.
    pub fn marker(self) -> &'static str {
        match self {
            Stage::Informal => "<|informal|>",
            Stage::Structured => "<|structured|>",
            Stage::Pseudocode => "<|pseudocode|>",
            Stage::Constraints => "<|constraints|>",
            Stage::Code => "<|code|>",
        }
    }

    /// The stage after this one; none after the code.
    pub fn next(self) -> Option<Stage> {
        Stage::ALL.get(self.index() + 1).copied()
    }

    /// The stages before this one, in order.
    pub fn earlier(self) -> &'static [Stage] {
        const ALL: &[Stage] = &Stage::ALL;
        &ALL[..self.index()]
    }

    /// The stages after this one, in order.
    pub fn later(self) -> &'static [Stage] {
        const ALL: &[Stage] = &Stage::ALL;
        &ALL[self.index() + 1..]
    }
}

impl TryFrom<u8> for Stage {
    type Error = NoSuchStage;

    fn try_from(number: u8) -> Result<Self, NoSuchStage> {
        Stage::ALL
            .into_iter()
            .find(|stage| stage.number() == number)
            .ok_or(NoSuchStage(number))
    }
}

impl From<Stage> for u8 {
    fn from(stage: Stage) -> u8 {
        stage.number()
    }
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_follow_one_another() {
        let mut walked = vec![Stage::Informal];
        while let Some(next) = walked[walked.len() - 1].next() {
            walked.push(next);
        }
        assert_eq!(walked, Stage::ALL);
        for stage in Stage::ALL {
            let around = [stage.earlier(), &[stage], stage.later()].concat();
            assert_eq!(around, Stage::ALL);
        }
    }

    #[test]
    fn numbers_convert_both_ways_and_others_are_refused() {
        for stage in Stage::ALL {
            assert_eq!(Stage::try_from(stage.number()), Ok(stage));
            assert_eq!(
                serde_json::to_string(&stage).unwrap(),
                stage.number().to_string()
            );
        }
        for number in [0, 6, 255] {
            assert_eq!(Stage::try_from(number), Err(NoSuchStage(number)));
        }
        assert!(
            serde_json::from_str::<Stage>("0")
                .unwrap_err()
                .to_string()
                .contains("1 to 5")
        );
    }
}
