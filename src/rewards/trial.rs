//! One candidate on every test.

use gauntlet_sandbox::{Outcome, TimeLimit};

use crate::rollout::Mask;

/// One candidate on one test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cell {
    /// The answer was right.
    Passed,
    /// It was not, or there was none.
    Failed,
    /// Nobody knows.
    Masked(Mask),
}

impl From<&Outcome> for Cell {
    fn from(outcome: &Outcome) -> Cell {
        match outcome {
            Outcome::Passed => Cell::Passed,
            Outcome::Timeout {
                limit: TimeLimit::Wall,
            } => Cell::Masked(Mask::WallClock),
            _ => Cell::Failed,
        }
    }
}

/// One candidate's row of the matrix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// Whether there is code and Python can parse it.
    pub parses: bool,
    /// The gold tests.
    pub gold: Vec<Cell>,
    /// The pooled valid attacks of this step.
    pub attacks: Vec<Cell>,
    /// The replayed kills.
    pub replays: Vec<Cell>,
}

impl Trial {
    /// A row from what the sandbox said of a candidate that has code.
    pub fn new(gold: &[Outcome], attacks: &[Outcome], replays: &[Outcome]) -> Trial {
        let cells = |outcomes: &[Outcome]| outcomes.iter().map(Cell::from).collect();
        let all = gold.iter().chain(attacks).chain(replays);
        Trial {
            parses: !all
                .into_iter()
                .any(|outcome| matches!(outcome, Outcome::SyntaxError { .. })),
            gold: cells(gold),
            attacks: cells(attacks),
            replays: cells(replays),
        }
    }

    /// The row of a candidate without code: it fails everything.
    pub fn without_code(gold: usize, attacks: usize, replays: usize) -> Trial {
        let failed = |count| vec![Cell::Failed; count];
        Trial {
            parses: false,
            gold: failed(gold),
            attacks: failed(attacks),
            replays: failed(replays),
        }
    }

    /// Every cell of the row.
    pub fn cells(&self) -> impl Iterator<Item = Cell> + Clone + '_ {
        self.gold
            .iter()
            .chain(&self.attacks)
            .chain(&self.replays)
            .copied()
    }

    /// Why the row cannot be scored, if it cannot.
    pub fn mask(&self) -> Option<Mask> {
        let masks = self.cells().filter_map(|cell| match cell {
            Cell::Masked(mask) => Some(mask),
            _ => None,
        });
        masks.min()
    }

    /// Whether the candidate passed every gold test; none when that is not known.
    pub fn gold_right(&self) -> Option<bool> {
        right(
            self.parses && !self.gold.is_empty(),
            self.gold.iter().copied(),
        )
    }

    /// Whether the candidate is right: it passed the gold tests, the attacks and the replayed kills. None when that is
    /// not known.
    pub fn right(&self) -> Option<bool> {
        right(self.parses && !self.gold.is_empty(), self.cells())
    }
}

/// One failure decides, whatever is masked beside it.
fn right(possible: bool, mut cells: impl Iterator<Item = Cell> + Clone) -> Option<bool> {
    if !possible || cells.clone().any(|cell| cell == Cell::Failed) {
        return Some(false);
    }
    cells.all(|cell| cell == Cell::Passed).then_some(true)
}

/// What the verdict head should have said of a chain, from the trials of its continuations: the share that was right.
/// None when nothing is known.
pub fn verdict_target(trials: &[Result<Trial, Mask>]) -> Option<f32> {
    let known: Vec<bool> = trials.iter().flatten().filter_map(Trial::right).collect();
    let right = known.iter().filter(|&&right| right).count();
    (!known.is_empty()).then(|| right as f32 / known.len() as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wall() -> Outcome {
        Outcome::Timeout {
            limit: TimeLimit::Wall,
        }
    }

    fn fuel() -> Outcome {
        Outcome::Timeout {
            limit: TimeLimit::Fuel,
        }
    }

    #[test]
    fn what_the_guest_does_wrong_fails_and_what_the_clock_does_is_masked() {
        let syntax = Outcome::SyntaxError {
            message: "line 1".into(),
        };
        for (outcome, cell) in [
            (Outcome::Passed, Cell::Passed),
            (fuel(), Cell::Failed),
            (wall(), Cell::Masked(Mask::WallClock)),
            (syntax.clone(), Cell::Failed),
            (Outcome::OutOfMemory, Cell::Failed),
            (Outcome::Opaque, Cell::Failed),
            (Outcome::MissingEntryPoint, Cell::Failed),
            (Outcome::Malformed, Cell::Failed),
        ] {
            assert_eq!(Cell::from(&outcome), cell, "{outcome}");
        }
        assert!(!Trial::new(&[syntax], &[], &[]).parses);
        assert!(Trial::new(&[fuel()], &[], &[]).parses);
    }

    #[test]
    fn any_test_can_make_a_candidate_wrong() {
        let (pass, fail) = (
            [Outcome::Passed, Outcome::Passed],
            [Outcome::Passed, fuel()],
        );
        for (trial, gold, right) in [
            (Trial::new(&pass, &pass, &pass), Some(true), Some(true)),
            (Trial::new(&pass, &[], &[]), Some(true), Some(true)),
            (Trial::new(&fail, &pass, &pass), Some(false), Some(false)),
            (Trial::new(&pass, &fail, &pass), Some(true), Some(false)),
            (Trial::new(&pass, &pass, &fail), Some(true), Some(false)),
            (Trial::new(&pass, &[wall()], &[]), Some(true), None),
            (Trial::new(&[wall()], &[], &[]), None, None),
            (
                Trial::new(&[wall(), fuel()], &[], &[]),
                Some(false),
                Some(false),
            ),
            (Trial::without_code(2, 0, 0), Some(false), Some(false)),
            // Nothing was tested, so nothing was solved.
            (Trial::new(&[], &[], &[]), Some(false), Some(false)),
        ] {
            assert_eq!(
                (trial.gold_right(), trial.right()),
                (gold, right),
                "{trial:?}"
            );
        }
    }

    #[test]
    fn verdict_targets_are_the_share_of_right_continuations() {
        let right = || Ok(Trial::new(&[Outcome::Passed], &[], &[]));
        let wrong = || Ok(Trial::without_code(1, 0, 0));
        for (trials, target) in [
            (vec![right()], Some(1.0)),
            (vec![right(), wrong()], Some(0.5)),
            (vec![wrong(), Err(Mask::Truncated)], Some(0.0)),
            (vec![Err(Mask::HostFault)], None),
            (vec![Ok(Trial::new(&[wall()], &[], &[]))], None),
            (vec![], None),
        ] {
            assert_eq!(verdict_target(&trials), target);
        }
    }
}
