//! What tests said: of one test ([`TestResult`]), of one piece of code on a list of tests ([`TestRun`]), of one candidate
//! on everything it met ([`CandidateResult`]).
//!
//! What says nothing about the code is masked and never scored: a fault of the host, a stop by the wall clock (a slow
//! machine is not wrong code).

use gauntlet_sandbox::{Fault, Outcome, Report, TimeLimit};

use crate::rollout::Mask;

/// One piece of code on one test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TestResult {
    /// The answer is right.
    Passed,
    /// It is not, or there is none.
    Failed,
    /// Nobody knows.
    Masked(Mask),
}

impl From<&Outcome> for TestResult {
    fn from(outcome: &Outcome) -> TestResult {
        match outcome {
            Outcome::Passed => TestResult::Passed,
            Outcome::Timeout {
                limit: TimeLimit::Wall,
            } => TestResult::Masked(Mask::WallClock),
            _ => TestResult::Failed,
        }
    }
}

/// One piece of code on a list of tests.
#[derive(Clone, Debug, PartialEq)]
pub struct TestRun {
    /// Whether there is code.
    pub has_code: bool,
    /// Whether Python parses it.
    pub parses: bool,
    /// One result a test, in the tests' order. Code that is not there fails every test.
    pub results: Vec<TestResult>,
    /// What the sandbox said, for people to read; empty where it was not asked, or failed.
    pub outcomes: Vec<Outcome>,
}

impl TestRun {
    /// Of a completion without code.
    pub fn without_code(tests: usize) -> TestRun {
        TestRun {
            has_code: false,
            parses: false,
            results: vec![TestResult::Failed; tests],
            outcomes: Vec::new(),
        }
    }

    /// Of code that meets no test.
    pub fn untested() -> TestRun {
        TestRun {
            has_code: true,
            parses: true,
            results: Vec::new(),
            outcomes: Vec::new(),
        }
    }

    /// Of what the sandbox reports on `tests` tests.
    pub fn new(report: Result<Report, Fault>, tests: usize) -> TestRun {
        let Ok(report) = report else {
            return TestRun {
                results: vec![TestResult::Masked(Mask::HostFault); tests],
                ..TestRun::untested()
            };
        };
        let outcomes: Vec<Outcome> = report.tests.into_iter().map(|test| test.outcome).collect();
        let unparsed = |outcome: &Outcome| matches!(outcome, Outcome::SyntaxError { .. });
        TestRun {
            has_code: true,
            parses: !outcomes.iter().any(unparsed),
            results: outcomes.iter().map(TestResult::from).collect(),
            outcomes,
        }
    }

    /// Whether the code passes every test; none where that is not known.
    pub fn right(&self) -> Option<bool> {
        all_passed(self.has_code, self.results.iter().copied())
    }

    /// Whether the code is known to pass every test.
    pub fn passed(&self) -> bool {
        self.right() == Some(true)
    }

    /// Whether there is code and it fails a test.
    pub fn failed(&self) -> bool {
        self.has_code && self.right() == Some(false)
    }

    /// Whether nothing can be said of the code.
    pub fn is_masked(&self) -> bool {
        self.right().is_none()
    }

    /// A word for tables: `NoCode`, `Masked`, or the name of the first outcome that is not a pass.
    pub fn name(&self) -> &'static str {
        match (self.has_code, self.right()) {
            (false, _) => "NoCode",
            (true, None) => "Masked",
            (true, Some(true)) => "Passed",
            (true, Some(false)) => {
                let failed = self.outcomes.iter().find(|outcome| !outcome.passed());
                failed.map_or("Failed", Outcome::name)
            }
        }
    }
}

/// One candidate on everything it met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CandidateResult {
    /// Whether there is code.
    pub has_code: bool,
    /// Whether Python parses it.
    pub parses: bool,
    /// The gold tests.
    pub gold: Vec<TestResult>,
    /// The pooled valid attacks of this step.
    pub attacks: Vec<TestResult>,
    /// The replayed kills.
    pub replays: Vec<TestResult>,
}

impl CandidateResult {
    /// The runs of one candidate on gold tests, pooled attacks and replayed kills.
    pub fn new(gold: &TestRun, attacks: &TestRun, replays: &TestRun) -> CandidateResult {
        CandidateResult {
            has_code: gold.has_code,
            parses: gold.parses && attacks.parses && replays.parses,
            gold: gold.results.clone(),
            attacks: attacks.results.clone(),
            replays: replays.results.clone(),
        }
    }

    /// Every result.
    pub fn results(&self) -> impl Iterator<Item = TestResult> + Clone + '_ {
        self.gold
            .iter()
            .chain(&self.attacks)
            .chain(&self.replays)
            .copied()
    }

    /// Why the candidate cannot be scored, if it cannot.
    pub fn mask(&self) -> Option<Mask> {
        let masks = self.results().filter_map(|result| match result {
            TestResult::Masked(mask) => Some(mask),
            _ => None,
        });
        masks.min()
    }

    /// Whether the candidate passes every gold test; none when that is not known.
    pub fn gold_right(&self) -> Option<bool> {
        let possible = self.parses && !self.gold.is_empty();
        all_passed(possible, self.gold.iter().copied())
    }

    /// Whether the candidate is right: it passes the gold tests, the attacks and the replayed kills. None when that is
    /// not known.
    pub fn right(&self) -> Option<bool> {
        all_passed(self.parses && !self.gold.is_empty(), self.results())
    }
}

/// One failure decides, whatever is masked beside it.
fn all_passed(
    possible: bool,
    mut results: impl Iterator<Item = TestResult> + Clone,
) -> Option<bool> {
    if !possible || results.clone().any(|result| result == TestResult::Failed) {
        return Some(false);
    }
    results
        .all(|result| result == TestResult::Passed)
        .then_some(true)
}

/// The share of a chain's continuations that is right: what the verdict head should have said of it. None when nothing
/// is known.
pub fn verdict_target(candidates: &[Result<CandidateResult, Mask>]) -> Option<f32> {
    let known: Vec<bool> = candidates
        .iter()
        .flatten()
        .filter_map(CandidateResult::right)
        .collect();
    let right = known.iter().filter(|&&right| right).count();
    (!known.is_empty()).then(|| right as f32 / known.len() as f32)
}

#[cfg(test)]
mod tests {
    use gauntlet_sandbox::TestReport;

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

    fn run(outcomes: &[Outcome]) -> TestRun {
        let first = outcomes.iter().find(|outcome| !outcome.passed());
        let report = Report {
            outcome: first.unwrap_or(&Outcome::Passed).clone(),
            tests: outcomes
                .iter()
                .map(|outcome| TestReport {
                    outcome: outcome.clone(),
                    got: None,
                    stdout: String::new(),
                    fuel: None,
                })
                .collect(),
            fuel: None,
            wall_ms: 0.0,
        };
        TestRun::new(Ok(report), outcomes.len())
    }

    fn candidate(gold: &[Outcome], attacks: &[Outcome], replays: &[Outcome]) -> CandidateResult {
        CandidateResult::new(&run(gold), &run(attacks), &run(replays))
    }

    fn without_code() -> CandidateResult {
        let none = TestRun::without_code;
        CandidateResult::new(&none(2), &none(0), &none(0))
    }

    #[test]
    fn what_the_guest_does_wrong_fails_and_what_the_clock_does_is_masked() {
        let syntax = Outcome::SyntaxError {
            message: "line 1".into(),
        };
        for (outcome, result) in [
            (Outcome::Passed, TestResult::Passed),
            (fuel(), TestResult::Failed),
            (wall(), TestResult::Masked(Mask::WallClock)),
            (syntax.clone(), TestResult::Failed),
            (Outcome::OutOfMemory, TestResult::Failed),
            (Outcome::Opaque, TestResult::Failed),
            (Outcome::MissingEntryPoint, TestResult::Failed),
            (Outcome::Malformed, TestResult::Failed),
        ] {
            assert_eq!(TestResult::from(&outcome), result, "{outcome}");
        }
        assert!(!candidate(&[syntax], &[], &[]).parses);
        assert!(candidate(&[fuel()], &[], &[]).parses);
    }

    #[test]
    fn a_fault_of_the_host_masks_every_test() {
        let fault = Fault::Instance {
            why: "out of slots".into(),
        };
        let run = TestRun::new(Err(fault), 2);
        assert_eq!(run.results, [TestResult::Masked(Mask::HostFault); 2]);
        assert!(run.is_masked() && !run.failed() && !run.passed());
        assert_eq!(run.name(), "Masked");
    }

    #[test]
    fn any_test_can_make_a_candidate_wrong() {
        let (pass, fail) = (
            [Outcome::Passed, Outcome::Passed],
            [Outcome::Passed, fuel()],
        );
        for (candidate, gold, right) in [
            (candidate(&pass, &pass, &pass), Some(true), Some(true)),
            (candidate(&pass, &[], &[]), Some(true), Some(true)),
            (candidate(&fail, &pass, &pass), Some(false), Some(false)),
            (candidate(&pass, &fail, &pass), Some(true), Some(false)),
            (candidate(&pass, &pass, &fail), Some(true), Some(false)),
            (candidate(&pass, &[wall()], &[]), Some(true), None),
            (candidate(&[wall()], &[], &[]), None, None),
            (
                candidate(&[wall(), fuel()], &[], &[]),
                Some(false),
                Some(false),
            ),
            (without_code(), Some(false), Some(false)),
            // Nothing was tested, so nothing was solved.
            (candidate(&[], &[], &[]), Some(false), Some(false)),
        ] {
            assert_eq!(
                (candidate.gold_right(), candidate.right()),
                (gold, right),
                "{candidate:?}"
            );
        }
    }

    #[test]
    fn verdict_targets_are_the_share_of_right_continuations() {
        let right = || Ok(candidate(&[Outcome::Passed], &[], &[]));
        let wrong = || Ok(without_code());
        for (candidates, target) in [
            (vec![right()], Some(1.0)),
            (vec![right(), wrong()], Some(0.5)),
            (vec![wrong(), Err(Mask::Truncated)], Some(0.0)),
            (vec![Err(Mask::HostFault)], None),
            (vec![Ok(candidate(&[wall()], &[], &[]))], None),
            (vec![], None),
        ] {
            assert_eq!(verdict_target(&candidates), target);
        }
    }
}
