//! What an inference found, as text and as JSON.

use gauntlet::stage::Stage;
use gauntlet_sandbox::{Outcome, Value};
use serde::Serialize;

/// Everything about one solved problem; the layout of `results.json`.
#[derive(Serialize)]
pub struct Results {
    /// The problem as given.
    pub problem: String,
    /// The five stages; empty where one was not written.
    pub reasoning_chain: [String; Stage::COUNT],
    /// The code of the last stage; empty when there is none.
    pub final_code: String,
    /// The function that tests call.
    pub entry_point: String,
    /// Where the weights came from.
    pub checkpoint: CheckpointInfo,
    /// Seed of the draws.
    pub seed: u64,
    /// Tests written by the discriminator, with outcomes.
    pub tests: Vec<TestResult>,
    /// Probability, after each stage, that the chain ends in correct code.
    pub verdicts: Vec<f32>,
    /// All candidates, best first, when there were several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<CandidateResult>,
    /// Seconds.
    pub timing: Timing,
    /// The first outcome that is not a pass, else a pass; none when nothing was tested.
    pub outcome: Option<Outcome>,
    /// Whether a stage ran into its token limit.
    pub truncated: bool,
}

/// A checkpoint's place and hash.
#[derive(Serialize)]
pub struct CheckpointInfo {
    /// Its directory.
    pub path: String,
    /// BLAKE3 of its manifest; none for a published model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
    /// Names of the generator and the discriminator, where the checkpoint has others too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub players: Option<[String; 2]>,
}

/// Who saw what when a test was written.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TestKind {
    /// From the problem alone.
    Blind,
    /// With the code in view.
    WhiteBox,
}

/// A test with its outcome.
#[derive(Serialize)]
pub struct TestResult {
    /// Arguments of the call.
    pub args: Vec<Value>,
    /// What the discriminator believes the right answer to be.
    pub expected: Value,
    /// What happened.
    pub outcome: Outcome,
    /// How the test was written.
    pub kind: TestKind,
}

/// One of several candidates.
#[derive(Serialize)]
pub struct CandidateResult {
    /// Its code.
    pub code: String,
    /// Its answers to the inputs of blind tests, each counted as often as candidates gave it; -1 without code.
    pub agreement: f64,
    /// Tests passed.
    pub passed: usize,
    /// The verdict on the whole chain.
    pub verdict: Option<f32>,
}

/// Wall-clock times.
#[derive(Serialize)]
pub struct Timing {
    /// Until all stages were written.
    pub generate_s: f64,
    /// In all.
    pub total_s: f64,
}

/// A stage under its name.
pub fn stage_text(stage: Stage, text: &str) -> String {
    format!(
        "{}. {}\n{}\n",
        stage.number(),
        stage.name(),
        text.trim_end()
    )
}

impl Results {
    /// Whether there is no code, or a test failed.
    pub fn failed(&self) -> bool {
        self.final_code.is_empty()
            || self
                .outcome
                .as_ref()
                .is_some_and(|outcome| !outcome.passed())
    }

    /// The results for a person; `with_stages` leaves out what was streamed already.
    pub fn text(&self, with_stages: bool) -> String {
        let mut text = String::new();
        if with_stages {
            for stage in Stage::ALL {
                let written = &self.reasoning_chain[stage.index()];
                if !written.is_empty() {
                    text += &stage_text(stage, written);
                    text.push('\n');
                }
            }
        }
        if self.truncated {
            text += "A stage ran into its token limit, so the chain is incomplete.\n";
        }
        if let Some(verdict) = self.verdicts.last() {
            text += &format!("Verdict: {:.0} % likely to be correct\n", 100.0 * verdict);
        }
        if !self.tests.is_empty() {
            let passed = self
                .tests
                .iter()
                .filter(|test| test.outcome.passed())
                .count();
            text += &format!(
                "Tests by the discriminator ({passed} of {} passed):\n",
                self.tests.len()
            );
            for test in &self.tests {
                text += &format!("  {}\n", test.line(&self.entry_point));
            }
        }
        for (i, candidate) in self.candidates.iter().enumerate() {
            let verdict = candidate.verdict.map_or("-".into(), |v| format!("{v:.2}"));
            text += &format!(
                "candidate {}: agreement {}, verdict {verdict}, {} tests passed\n",
                i + 1,
                candidate.agreement,
                candidate.passed
            );
        }
        text
    }
}

impl TestResult {
    fn line(&self, entry_point: &str) -> String {
        let args: Vec<String> = self.args.iter().map(Value::to_literal).collect();
        let call = format!(
            "{entry_point}({}) == {}",
            args.join(", "),
            self.expected.to_literal()
        );
        let kind = match self.kind {
            TestKind::Blind => "blind",
            TestKind::WhiteBox => "white box",
        };
        match &self.outcome {
            Outcome::Passed => format!("passed  {call}  [{kind}]"),
            Outcome::WrongAnswer { got, .. } => {
                format!("FAILED  {call}, got {}  [{kind}]", got.to_literal())
            }
            other => format!("FAILED  {call}, {}  [{kind}]", other.name()),
        }
    }
}
