//! What the models produced and what became of it, one type for each step of the way to the loss.
//!
//! ```text
//! Rollout / AttackSet      sampled: tokens, their logprobs, text
//!   -> Scored<_>           executed: a reward with its breakdown, or the reason why there is none
//!   -> Advantaged<_>       compared with its group
//!   -> TrainSequence       what the loss reads, the same for both players
//! ```
//!
//! A worked example. At stage 2 of a game with `group_size` 2, the problem `strings/reverse_words` gives two
//! [`Rollout`]s. Both have the same `prompt_tokens`: the problem, the frozen stage 1 and the marker that opens
//! stage 2. Their chains hold two completions each, of which only the second is trained, and each has one
//! continuation to code (stages 1 to 5). One continuation passes every test, the other fails: rewards 1.0 and 0.3,
//! so advantages 0.35 and -0.35. [`TrainSequence::new`] joins prompt and stage-2 tokens and marks the latter as the
//! range that carries gradient.
//!
//! The types are distinct so that unscored work cannot reach the loss: a [`TrainSequence`] is made from an
//! [`Advantaged`] value and from nothing else.

use std::collections::BTreeMap;
use std::ops::Range;

use gauntlet_sandbox::Value;
use serde::{Deserialize, Serialize};

use crate::stage::Stage;

/// Which of the two players.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Solves problems in five stages.
    Generator,
    /// Writes attacks and gives verdicts.
    Discriminator,
}

/// Why a completion ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FinishReason {
    /// The policy wrote the end token.
    Stop,
    /// `max_new_tokens` were written first: the completion is truncated.
    Length,
    /// Sampling was cut short from outside.
    Abort,
}

/// What a policy wrote after one prompt.
///
/// ```
/// # use gauntlet::rollout::{Completion, FinishReason};
/// let completion = Completion {
///     tokens: vec![311, 87, 2], // 2 is <|end|>: the policy chose it, so it is trained like the others
///     logprobs: vec![-0.4, -1.1, -0.02],
///     text: "sort it".into(), // without the end token
///     finish_reason: FinishReason::Stop,
/// };
/// assert!(!completion.truncated());
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Completion {
    /// The sampled tokens, the end token included when it was sampled.
    pub tokens: Vec<u32>,
    /// One log-probability a token, under the policy and the temperature that sampled it.
    pub logprobs: Vec<f32>,
    /// The tokens decoded, without special tokens.
    pub text: String,
    /// Why it ended.
    pub finish_reason: FinishReason,
}

impl Completion {
    /// Whether the policy did not end the completion itself. Truncated work is masked, never scored.
    pub fn truncated(&self) -> bool {
        self.finish_reason != FinishReason::Stop
    }
}

/// One attempt at a problem: a completion for each stage, filled in order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Chain(pub [Option<Completion>; Stage::COUNT]);

impl Chain {
    /// What was written at `stage`, if that stage has been reached.
    pub fn get(&self, stage: Stage) -> Option<&Completion> {
        self.0[stage.index()].as_ref()
    }

    /// Writes `completion` at `stage`.
    pub fn set(&mut self, stage: Stage, completion: Completion) {
        self.0[stage.index()] = Some(completion);
    }

    /// The last stage written.
    pub fn last(&self) -> Option<Stage> {
        Stage::ALL
            .into_iter()
            .rev()
            .find(|&stage| self.get(stage).is_some())
    }

    /// A copy that ends at `stage`.
    pub fn prefix(&self, stage: Stage) -> Chain {
        let mut chain = self.clone();
        for later in stage.later() {
            chain.0[later.index()] = None;
        }
        chain
    }

    /// The text of each stage; empty where a stage is not written.
    pub fn texts(&self) -> [String; Stage::COUNT] {
        Stage::ALL.map(|stage| {
            self.get(stage)
                .map(|completion| completion.text.clone())
                .unwrap_or_default()
        })
    }

    /// Whether any stage was cut short.
    pub fn truncated(&self) -> bool {
        self.0.iter().flatten().any(Completion::truncated)
    }

    /// The tokens written, stage after stage.
    pub fn tokens(&self) -> impl Iterator<Item = u32> {
        let written = self.0.iter().flatten();
        written.flat_map(|completion| completion.tokens.iter().copied())
    }

    /// How many tokens were written over all stages.
    pub fn completion_tokens(&self) -> usize {
        self.tokens().count()
    }
}

/// What tells one piece of sampled work from every other in a run. Random draws are keyed by it, so the same key
/// gives the same draws whatever else was in the batch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RolloutKey {
    /// Who wrote it.
    pub role: Role,
    /// The stage in training.
    pub stage: Stage,
    /// The optimizer step it was sampled for.
    pub step: u64,
    /// The problem's id.
    pub problem: String,
    /// Which continuation of a sample; 0 for the trained completion itself.
    pub branch: u32,
    /// Which member of its group.
    pub sample: u32,
}

/// One full attempt of the generator, with the completion of `key.stage` to be trained.
#[derive(Clone, Debug, PartialEq)]
pub struct Rollout {
    /// Its identity.
    pub key: RolloutKey,
    /// Everything the trained completion saw: problem, earlier stages and the marker of its own stage. The same for
    /// all of a group.
    pub prompt_tokens: Vec<u32>,
    /// Stages 1 to `key.stage`; the last is the trained one.
    pub chain: Chain,
    /// Complete chains that go on from `chain`, one for each continuation. Empty when `key.stage` is the code, for
    /// then the chain is complete itself.
    pub continuations: Vec<Chain>,
}

impl Rollout {
    /// The complete chains whose code is executed for this rollout.
    pub fn candidates(&self) -> &[Chain] {
        match self.key.stage {
            Stage::Code => std::slice::from_ref(&self.chain),
            _ => &self.continuations,
        }
    }
}

/// A test that the discriminator proposes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ParsedAttack {
    /// The arguments of the call.
    pub args: Vec<Value>,
    /// What the discriminator believes the right answer to be.
    pub expected: Value,
}

/// What became of one line of an attack set, before any candidate ran on it.
#[derive(Clone, Debug, PartialEq)]
pub enum Validity {
    /// The input is allowed and the expected output is the reference's.
    Valid,
    /// The input is allowed, the expected output was wrong and is now the reference's.
    Repaired,
    /// The line is not `(args) -> expected`.
    Unparsed(String),
    /// The problem's input validator refuses the input.
    InputRejected,
    /// The reference fails on the input, or does not answer twice alike.
    ReferenceFailed,
    /// It repeats another attack of the set, or a gold input.
    Duplicate,
    /// The host failed; says nothing about the attack.
    HostFault,
}

impl Validity {
    /// Whether candidates are run on the attack.
    pub fn is_playable(&self) -> bool {
        matches!(self, Validity::Valid | Validity::Repaired)
    }
}

/// An attack with the judgement of the reference.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckedAttack {
    /// The attack, with the expected output repaired where it had to be; none when the line did not parse.
    pub attack: Option<ParsedAttack>,
    /// What became of it.
    pub validity: Validity,
}

/// One completion of the discriminator: up to `attacks_per_set` tests against one chain.
#[derive(Clone, Debug, PartialEq)]
pub struct AttackSet {
    /// Its identity.
    pub key: RolloutKey,
    /// The attack prompt, the same for all of a group.
    pub prompt_tokens: Vec<u32>,
    /// What was written.
    pub completion: Completion,
    /// The chain under attack, as an index into the problem's candidates; none when the prompt showed the problem
    /// alone.
    pub target: Option<usize>,
    /// The lines of the completion, each parsed or refused with a reason.
    pub attacks: Vec<Result<ParsedAttack, String>>,
}

/// A verdict prompt with the executed truth: what the verdict head learns from.
#[derive(Clone, Debug, PartialEq)]
pub struct VerdictExample {
    /// The problem's id.
    pub problem: String,
    /// The last stage in the prompt.
    pub stage: Stage,
    /// The prompt; the head reads the state after its last token.
    pub prompt_tokens: Vec<u32>,
    /// 1 for right code, 0 for wrong; the mean over continuations for a prefix.
    pub target: f32,
}

/// A reward: the number that training uses, and what it is made of.
///
/// ```
/// # use gauntlet::rollout::Reward;
/// let reward = Reward::new([("format", 0.1), ("gold", 0.4), ("adversarial", 0.1), ("solved", 0.0)]);
/// assert!((reward.execution - 0.6).abs() < 1e-12);
/// assert_eq!(reward.value(), reward.execution); // nothing shaped yet
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reward {
    /// What execution alone gave. Groups are compared on this before any shaping.
    pub execution: f64,
    /// What was added on top without execution; at most a tenth.
    pub shaping: f64,
    /// Named parts of `execution`, already weighted, so that they sum to it.
    pub breakdown: BTreeMap<String, f64>,
}

impl Reward {
    /// A reward made of named, weighted parts.
    pub fn new<const N: usize>(parts: [(&str, f64); N]) -> Reward {
        // Summed in the order given: the same parts give the same bits.
        let execution = parts.iter().fold(0.0, |sum, (_, value)| sum + value);
        Reward {
            execution,
            shaping: 0.0,
            breakdown: parts.map(|(name, value)| (name.to_owned(), value)).into(),
        }
    }

    /// The number that training uses.
    pub fn value(&self) -> f64 {
        self.execution + self.shaping
    }
}

/// Why work has no reward. Masked work is counted, and takes no part in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mask {
    /// The completion did not end by itself.
    Truncated,
    /// The host failed while executing it.
    HostFault,
    /// The wall clock stopped it, which would not repeat.
    WallClock,
}

/// Work with its reward, or the reason why it has none.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored<R> {
    /// The work.
    pub rollout: R,
    /// Its reward.
    pub reward: Result<Reward, Mask>,
}

/// Scored work compared with its group. Only [`crate::algo`] makes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Advantaged<R> {
    /// The work.
    pub rollout: R,
    /// Its reward, or the reason why it has none.
    pub reward: Result<Reward, Mask>,
    /// How much better than its group it did; none where it is masked or its group teaches nothing.
    pub advantage: Option<f64>,
}

/// Sampled work of either player: one prompt and the one completion to be trained.
pub trait Trainable {
    /// Its identity.
    fn key(&self) -> &RolloutKey;
    /// Everything the completion saw.
    fn prompt_tokens(&self) -> &[u32];
    /// The trained completion.
    fn completion(&self) -> &Completion;
}

impl Trainable for Rollout {
    fn key(&self) -> &RolloutKey {
        &self.key
    }

    fn prompt_tokens(&self) -> &[u32] {
        &self.prompt_tokens
    }

    fn completion(&self) -> &Completion {
        self.chain
            .get(self.key.stage)
            .expect("a rollout holds the completion of the stage it trains")
    }
}

impl Trainable for AttackSet {
    fn key(&self) -> &RolloutKey {
        &self.key
    }

    fn prompt_tokens(&self) -> &[u32] {
        &self.prompt_tokens
    }

    fn completion(&self) -> &Completion {
        &self.completion
    }
}

/// One sequence of a batch: what the loss needs to know and nothing else.
///
/// For prompt tokens `[5, 6, 7]` and completion tokens `[8, 2]`, `tokens` is `[5, 6, 7, 8, 2]` and `loss_range` is
/// `3..5`: the logits at positions 2 and 3 predict the two trained tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainSequence {
    tokens: Vec<u32>,
    logprobs: Vec<f32>,
    advantage: f32,
}

impl TrainSequence {
    /// Joins prompt and completion of work that has an advantage. None where there is nothing to learn: without an
    /// advantage, or where it is 0.
    pub fn new<R: Trainable>(work: &Advantaged<R>) -> Option<TrainSequence> {
        let advantage = work.advantage.filter(|advantage| *advantage != 0.0)?;
        let completion = work.rollout.completion();
        Some(TrainSequence {
            tokens: [work.rollout.prompt_tokens(), &completion.tokens].concat(),
            logprobs: completion.logprobs.clone(),
            advantage: advantage as f32,
        })
    }

    /// Prompt and completion.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Where in `tokens` the trained completion stands.
    pub fn loss_range(&self) -> Range<usize> {
        self.tokens.len() - self.logprobs.len()..self.tokens.len()
    }

    /// The log-probabilities at sampling time, one for each token of the loss range.
    pub fn logprobs(&self) -> &[f32] {
        &self.logprobs
    }

    /// The advantage, the same for every token of the loss range.
    pub fn advantage(&self) -> f32 {
        self.advantage
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completion(tokens: &[u32], finish_reason: FinishReason) -> Completion {
        Completion {
            tokens: tokens.to_vec(),
            logprobs: vec![-0.5; tokens.len()],
            text: "x".into(),
            finish_reason,
        }
    }

    fn rollout(stage: Stage) -> Rollout {
        let mut chain = Chain::default();
        for &earlier in stage.earlier() {
            chain.set(earlier, completion(&[6, 2], FinishReason::Stop));
        }
        chain.set(stage, completion(&[8, 9, 2], FinishReason::Stop));
        let key = RolloutKey {
            role: Role::Generator,
            stage,
            step: 7,
            problem: "p".into(),
            branch: 0,
            sample: 1,
        };
        Rollout {
            key,
            prompt_tokens: vec![4, 5, 6, 2, 7],
            chain,
            continuations: vec![],
        }
    }

    #[test]
    fn a_train_sequence_trains_the_tokens_of_its_stage_only() {
        let work = |advantage| Advantaged {
            rollout: rollout(Stage::Structured),
            reward: Ok(Reward::new([])),
            advantage,
        };
        assert_eq!(TrainSequence::new(&work(None)), None);
        assert_eq!(TrainSequence::new(&work(Some(0.0))), None);
        let sequence = TrainSequence::new(&work(Some(-0.25))).unwrap();
        assert_eq!(sequence.tokens(), [4, 5, 6, 2, 7, 8, 9, 2]);
        assert_eq!(sequence.loss_range(), 5..8);
        assert_eq!(&sequence.tokens()[sequence.loss_range()], [8, 9, 2]);
        assert_eq!(sequence.logprobs().len(), sequence.loss_range().len());
        assert_eq!(sequence.advantage(), -0.25);
    }

    #[test]
    fn only_the_last_stage_is_its_own_candidate() {
        assert_eq!(rollout(Stage::Code).candidates().len(), 1);
        assert_eq!(rollout(Stage::Pseudocode).candidates().len(), 0);
    }

    #[test]
    fn a_prefix_forgets_what_came_later() {
        let chain = rollout(Stage::Code).chain;
        let prefix = chain.prefix(Stage::Structured);
        assert_eq!(prefix.last(), Some(Stage::Structured));
        assert_eq!(prefix.texts(), ["x", "x", "", "", ""]);
        assert_eq!(prefix.completion_tokens(), 4);
        assert_eq!(Chain::default().last(), None);
    }

    #[test]
    fn a_chain_is_truncated_when_any_stage_is() {
        let mut chain = rollout(Stage::Code).chain;
        assert!(!chain.truncated());
        for reason in [FinishReason::Length, FinishReason::Abort] {
            chain.set(Stage::Structured, completion(&[1], reason));
            assert!(chain.truncated());
        }
    }
}
