//! The live path of a step, from a scripted model's text to the gradient: what is masked, cut short or equal never
//! reaches the loss. The sandbox is the real one; of models there is only the one that takes the gradient.

use std::time::Duration;

use gauntlet_sandbox::{Fault, Limits, Sandbox};
use serde_json::json;
use tch::{Device, Tensor};

use crate::algo::Algorithm;
use crate::config::Config;
use crate::execution::Executor;
use crate::mistake_book::{Mistake, MistakeBook};
use crate::model::{ModelConfig, Transformer};
use crate::players::model_config;
use crate::problems::Problem;
use crate::prompts::parse_attacks;
use crate::results::{TestResult, TestRun};
use crate::rng::DrawKey;
use crate::rollout::{AttackSet, Chain, Completion, FinishReason, Mask, Role, Rollout, RolloutKey};
use crate::stage::Stage;
use crate::update::{PolicyOptions, reinforce};

use super::advantage::{AdvantagedProblem, Baselines, PlayerBatch, compare};
use super::attack::{Attacked, check, meet};
use super::execute::{Executed, execute};
use super::sample::{Candidate, Sampled};
use super::score::{Weights, score};
use super::{Rules, Scene};

const RIGHT: &str = "def double(n):\n    return n * 2";
const WRONG: &str = "def double(n):\n    return n + 2";
const UNPARSED: &str = "def double(n) return n";
const ENDLESS: &str = "def double(n):\n    while True:\n        pass";
const PROMPT: [u32; 3] = [5, 6, 7];

fn problem() -> Problem {
    serde_json::from_value(json!({
        "id": "numbers/double", "statement": "Return twice n.", "signature": "def double(n: int) -> int",
        "entry_point": "double", "reference": RIGHT, "tests": [{"args": [2], "expected": 4}],
        "input_validator": "def valid(n):\n    return type(n) is int and n >= 0\n", "comparison": "exact",
        "trace": ["Multiply by two.", "1. Multiply", "return n * 2", "n is an integer", RIGHT],
        "family": "numbers", "difficulty": 1, "tags": [], "split": "train", "source": "gauntlet", "licence": "MIT",
    }))
    .unwrap()
}

/// What a scripted model says: the tokens are drawn from the text, so that different texts are different sequences.
fn completion(text: &str, finish_reason: FinishReason) -> Completion {
    let tokens: Vec<u32> = text.bytes().take(6).map(|b| u32::from(b) % 29).collect();
    Completion {
        logprobs: vec![-1.0; tokens.len()],
        tokens,
        text: text.to_owned(),
        finish_reason,
    }
}

fn key(role: Role, sample: usize) -> RolloutKey {
    RolloutKey {
        role,
        stage: Stage::Code,
        step: 3,
        problem: "numbers/double".into(),
        branch: 0,
        sample: sample as u32,
    }
}

/// The generator's group at the code stage: a text for each member, none for one without code; `-` before a text cuts
/// it short.
fn sampled(texts: &[&str]) -> Sampled {
    let (mut rollouts, mut candidates) = (Vec::new(), Vec::new());
    for (number, text) in texts.iter().enumerate() {
        let (text, reason) = match text.strip_prefix('-') {
            Some(text) => (text, FinishReason::Length),
            None => (*text, FinishReason::Stop),
        };
        let mut chain = Chain::default();
        chain.set(Stage::Code, completion(text, reason));
        candidates.push(Candidate {
            rollout: number,
            code: (!text.is_empty() && reason == FinishReason::Stop).then(|| text.to_owned()),
            chain: chain.clone(),
        });
        rollouts.push(Rollout {
            key: key(Role::Generator, number),
            prompt_tokens: PROMPT.to_vec(),
            chain,
            continuations: Vec::new(),
        });
    }
    Sampled {
        problem: problem(),
        rollouts,
        candidates,
    }
}

fn sets(texts: &[&str]) -> Vec<AttackSet> {
    let set = |(number, text): (usize, &&str)| AttackSet {
        key: key(Role::Discriminator, number),
        prompt_tokens: PROMPT.to_vec(),
        completion: completion(text, FinishReason::Stop),
        target: Some(0),
        attacks: parse_attacks(text, 4),
    };
    texts.iter().enumerate().map(set).collect()
}

/// A step with scripted players.
struct Script {
    executor: Executor,
    mistakes: MistakeBook,
    rules: Rules,
}

impl Script {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        let config = Config::parse("run: {name: script}", "script.yaml".as_ref(), &[]).unwrap();
        Self {
            executor: Executor::new(Sandbox::open().unwrap(), limits),
            mistakes: MistakeBook::default(),
            rules: Rules::game(&config),
        }
    }

    fn scene(&self) -> Scene<'_> {
        Scene {
            executor: &self.executor,
            mistakes: &self.mistakes,
            key: DrawKey::new(0),
            stage: Stage::Code,
            step: 3,
        }
    }

    fn attacked(&self, executed: Vec<Executed>, attacks: &[&str]) -> Attacked {
        let scene = self.scene();
        let attacks = check(&executed, vec![sets(attacks)], &scene);
        let verdicts = vec![Vec::new()];
        meet(executed, attacks, verdicts, &self.rules, &scene).remove(0)
    }

    fn played(&self, texts: &[&str], attacks: &[&str]) -> AdvantagedProblem {
        let executed = execute(vec![sampled(texts)], &self.executor);
        self.compared(self.attacked(executed, attacks))
    }

    fn compared(&self, attacked: Attacked) -> AdvantagedProblem {
        let weights = Weights {
            alpha: 0.5,
            verdict_auc: None,
        };
        let scored = vec![score(attacked, &self.rules, &weights, 3)];
        let (mut played, _) = compare(scored, &self.rules.algorithm, &Baselines::default());
        played.remove(0)
    }
}

fn rewards(played: &AdvantagedProblem) -> Vec<Result<f64, Mask>> {
    let rewards = played.rollouts.iter().map(|member| &member.reward);
    rewards
        .map(|reward| reward.as_ref().map(|r| r.value()).map_err(|mask| *mask))
        .collect()
}

fn algorithm(keys: &str) -> Algorithm {
    let text = format!("algorithm: {keys}");
    let config = Config::parse(&text, "script.yaml".as_ref(), &[]).unwrap();
    Algorithm::from_config(&config.algorithm)
}

fn model() -> Transformer {
    let config = Config::parse(
        "model: {hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, num_key_value_heads: 1, intermediate_size: 16}",
        "script.yaml".as_ref(),
        &[],
    )
    .unwrap();
    let shape: ModelConfig = model_config(&config.generator_model(), 32);
    Transformer::init(&shape, 0.5, 7, Device::Cpu)
}

/// The gradients that a batch leaves, parameter by parameter; undefined ones are left out.
fn gradients(batch: &PlayerBatch) -> Vec<Tensor> {
    let model = model();
    let options = PolicyOptions {
        temperature: 1.0,
        algorithm: algorithm("{kl: none}"),
        max_new_tokens: 6,
        counts: batch.counts,
    };
    reinforce(&model, &model, &batch.sequences, &options);
    let all = model.trainable().iter().map(|(_, tensor)| tensor.grad());
    all.filter(Tensor::defined).collect()
}

#[test]
fn what_execution_says_becomes_reward_and_advantage() {
    let script = Script::new();
    let played = script.played(&[RIGHT, WRONG, UNPARSED, ""], &[]);
    // The one gold test is 2 -> 4, which n + 2 passes.
    assert_eq!(rewards(&played), [Ok(1.0), Ok(1.0), Ok(0.0), Ok(0.0)]);
    let attacked = script.played(&[RIGHT, WRONG, UNPARSED, ""], &["(3,) -> 6\n(-1,) -> -2"]);
    // 0.1 + 0.4 gold + nothing adversarial.
    assert_eq!(rewards(&attacked), [Ok(1.0), Ok(0.5), Ok(0.0), Ok(0.0)]);
    let advantages: Vec<f64> = attacked
        .rollouts
        .iter()
        .map(|m| m.advantage.unwrap())
        .collect();
    assert_eq!(advantages, [0.625, 0.125, -0.375, -0.375]);
    // The set's first line kills one candidate that gold let pass, and what has no code is no kill.
    assert_eq!(attacked.kills, [[2, 0]]);
    let mistakes: Vec<&str> = attacked.mistakes.iter().map(|m| &m.killed[..]).collect();
    assert_eq!(mistakes, [WRONG]);
    let right: Vec<usize> = attacked
        .right()
        .map(|candidate| candidate.rollout)
        .collect();
    assert_eq!(right, [0]);
}

#[test]
fn what_the_wall_clock_stops_is_never_scored_and_has_no_gradient() {
    // Without fuel only the clock ends what is endless.
    let script = Script::with(Limits {
        fuel: None,
        wall: Duration::from_secs(2),
        ..Limits::default()
    });
    let played = script.played(&[RIGHT, ENDLESS, UNPARSED], &[]);
    assert_eq!(rewards(&played), [Ok(1.0), Err(Mask::WallClock), Ok(0.0)]);
    let advantages: Vec<Option<f64>> = played.rollouts.iter().map(|m| m.advantage).collect();
    assert_eq!(advantages, [Some(0.5), None, Some(-0.5)]);
    assert_eq!(played.verdict_targets, [Some(1.0), None, Some(0.0)]);
    let batch = PlayerBatch::of_generator([&played].into_iter());
    assert_eq!((batch.sequences.len(), batch.counts.sequences), (2, 3));
    assert_eq!(batch.report.masked[&Mask::WallClock], 1);
    // The gradient is that of a group in which the stopped member was cut short.
    let other = script.played(&[RIGHT, &format!("-{ENDLESS}"), UNPARSED], &[]);
    assert_eq!(rewards(&other)[1], Err(Mask::Truncated));
    let other = PlayerBatch::of_generator([&other].into_iter());
    let (one, two) = (gradients(&batch), gradients(&other));
    assert!(!one.is_empty() && one.iter().zip(&two).all(|(a, b)| a == b));
    // By fuel the same code is wrong, not unknown.
    let limited = Script::with(Limits {
        fuel: Some(500_000_000),
        ..Limits::default()
    });
    assert_eq!(rewards(&limited.played(&[RIGHT, ENDLESS], &[]))[1], Ok(0.1));
}

#[test]
fn a_fault_of_the_host_is_never_a_wrong_answer() {
    let script = Script::new();
    let fault = || {
        let why = "out of slots".into();
        TestRun::new(Err(Fault::Instance { why }), 1)
    };
    let mut executed = execute(vec![sampled(&[RIGHT, WRONG, UNPARSED])], &script.executor);
    executed[0].gold[1] = fault();
    let played = script.compared(script.attacked(executed, &["(2,) -> 4"]));
    assert_eq!(rewards(&played), [Ok(1.0), Err(Mask::HostFault), Ok(0.0)]);
    let batch = PlayerBatch::of_generator([&played].into_iter());
    assert_eq!(batch.sequences.len(), 2);
    assert!(batch.rewards[0].len() == 2 && batch.wins == 1);

    // A fault while an attack is run leaves its set without a reward where nothing else is known.
    let mut executed = execute(vec![sampled(&[WRONG, WRONG])], &script.executor);
    executed[0].gold.fill(fault());
    let mut attacked = script.attacked(executed, &["(3,) -> 6", "(5,) -> 10"]);
    for result in attacked.results.iter_mut().flatten() {
        result.gold = vec![TestResult::Failed];
        result.attacks = vec![TestResult::Masked(Mask::HostFault); 2];
    }
    let played = script.compared(attacked);
    assert!(
        played
            .sets
            .iter()
            .all(|set| set.reward == Err(Mask::HostFault))
    );
    let batch = PlayerBatch::of_discriminator([&played].into_iter());
    assert_eq!((batch.sequences.len(), batch.skipped_groups), (0, 1));
}

#[test]
fn groups_that_teach_nothing_leave_no_gradient() {
    let script = Script::new();
    for texts in [
        &[RIGHT, RIGHT, RIGHT][..],
        &[UNPARSED, UNPARSED],
        &[RIGHT],
        &["-def", "-x = 1"],
        &[],
    ] {
        let played = script.played(texts, &[]);
        assert!(played.skipped.is_some(), "{texts:?}");
        let batch = PlayerBatch::of_generator([&played].into_iter());
        assert_eq!(
            (batch.sequences.len(), batch.groups, batch.skipped_groups),
            (0, 1, 1)
        );
        assert_eq!(batch.informative(), 0.0);
        assert!(gradients(&batch).is_empty(), "{texts:?}");
    }
}

#[test]
fn the_denominator_counts_what_is_masked() {
    let script = Script::new();
    let few = script.played(&[RIGHT, UNPARSED], &[]);
    let more = script.played(&[RIGHT, UNPARSED, "-def", "-x"], &[]);
    let of =
        |played: &AdvantagedProblem| gradients(&PlayerBatch::of_generator([played].into_iter()));
    for (few, more) in of(&few).iter().zip(&of(&more)) {
        assert!(few.allclose(&(more * 2.0), 1e-5, 1e-9, false));
    }
}

#[test]
fn replayed_kills_and_the_bank_take_part() {
    let mut script = Script::new();
    script.mistakes.record(Mistake {
        problem: "numbers/double".into(),
        args: vec![7.into()],
        expected: 14.into(),
        killed: WRONG.into(),
        step: 1,
        by: "step_000001/set_0".into(),
    });
    let played = script.played(&[RIGHT, WRONG], &[]);
    assert_eq!(rewards(&played), [Ok(1.0), Ok(0.5)]);
    // With nobody wrong, attacks are tried on mutants of the reference: one that tells them apart earns more.
    let played = script.played(&[RIGHT, RIGHT], &["(9,) -> 18", "(0,) -> 0"]);
    let kill = |i: usize| played.sets[i].reward.as_ref().unwrap().breakdown["kill"];
    assert!(
        kill(0) > 0.0 && kill(0) >= kill(1),
        "{} {}",
        kill(0),
        kill(1)
    );
}
