//! Work kept for reading: lines of `samples.jsonl`.

use std::collections::BTreeMap;

use gauntlet_sandbox::{Outcome, Value};
use serde::Serialize;

use crate::rollout::{
    Advantaged, AttackSet, CheckedAttack, Completion, FinishReason, Mask, Reward, Role, Rollout,
    RolloutKey, Validity,
};
use crate::stage::Stage;

/// One rollout or attack set, as a person reads it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SampleRecord {
    /// The step it was sampled for.
    pub step: u64,
    /// The stage in training.
    pub stage: Stage,
    /// The problem's id.
    pub problem: String,
    /// Who wrote it.
    pub role: Role,
    /// Which continuation.
    pub branch: u32,
    /// Which member of its group.
    pub sample: u32,
    /// Length of the prompt.
    pub prompt_tokens: usize,
    /// The texts of the five stages: written by the generator, under attack by the discriminator.
    pub stages: [String; Stage::COUNT],
    /// Length of the trained completion.
    pub completion_tokens: usize,
    /// Why the trained completion ended.
    pub finish_reason: FinishReason,
    /// What became of the code, one outcome a test.
    pub outcomes: Vec<Outcome>,
    /// The reward; none when masked.
    pub reward: Option<f64>,
    /// The parts of the reward.
    pub reward_breakdown: BTreeMap<String, f64>,
    /// Why there is no reward.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub masked: Option<Mask>,
    /// The advantage; none when masked or when the group was skipped.
    pub advantage: Option<f64>,
    /// The discriminator's verdict on the chain, where it gave one.
    pub verdict: Option<f32>,
    /// The tests of an attack set.
    pub attacks: Vec<AttackRecord>,
}

/// One line of an attack set.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AttackRecord {
    /// The arguments; none when the line did not parse.
    pub args: Option<Vec<Value>>,
    /// The expected value, after any repair.
    pub expected: Option<Value>,
    /// Whether candidates were run on it.
    pub valid: bool,
    /// Whether the expected value had to be repaired.
    pub repaired: bool,
    /// How many candidates it killed.
    pub kills: usize,
    /// Why it is not valid, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl AttackRecord {
    /// A line with the number of candidates it killed.
    pub fn new(checked: &CheckedAttack, kills: usize) -> AttackRecord {
        let (args, expected) = checked
            .attack
            .clone()
            .map(|attack| (attack.args, attack.expected))
            .unzip();
        let reason = match &checked.validity {
            Validity::Valid | Validity::Repaired => None,
            Validity::Unparsed(reason) => Some(reason.as_str()),
            Validity::InputRejected => Some("the problem does not allow the input"),
            Validity::ReferenceFailed => Some("the reference does not answer"),
            Validity::Duplicate => Some("repeats another test"),
            Validity::HostFault => Some("the host failed"),
        };
        AttackRecord {
            args,
            expected,
            valid: checked.validity.is_playable(),
            repaired: checked.validity == Validity::Repaired,
            kills,
            reason: reason.map(str::to_owned),
        }
    }
}

impl SampleRecord {
    /// A rollout with the outcomes of its code. The texts are those of its first candidate, which goes on to the code.
    pub fn generator(
        member: &Advantaged<Rollout>,
        verdict: Option<f32>,
        outcomes: Vec<Outcome>,
    ) -> SampleRecord {
        let rollout = &member.rollout;
        let chain = rollout.candidates().first().unwrap_or(&rollout.chain);
        let completion = rollout.chain.get(rollout.key.stage);
        let mut record = SampleRecord::new(
            &rollout.key,
            rollout.prompt_tokens.len(),
            completion,
            &member.reward,
        );
        record.stages = chain.texts();
        record.advantage = member.advantage;
        record.verdict = verdict;
        record.outcomes = outcomes;
        record
    }

    /// An attack set with what became of its lines; `stages` is the chain under attack, empty texts when blind.
    pub fn discriminator(
        member: &Advantaged<AttackSet>,
        stages: [String; Stage::COUNT],
        attacks: Vec<AttackRecord>,
    ) -> SampleRecord {
        let set = &member.rollout;
        let mut record = SampleRecord::new(
            &set.key,
            set.prompt_tokens.len(),
            Some(&set.completion),
            &member.reward,
        );
        record.stages = stages;
        record.advantage = member.advantage;
        record.attacks = attacks;
        record
    }

    fn new(
        key: &RolloutKey,
        prompt_tokens: usize,
        completion: Option<&Completion>,
        reward: &Result<Reward, Mask>,
    ) -> SampleRecord {
        SampleRecord {
            step: key.step,
            stage: key.stage,
            problem: key.problem.clone(),
            role: key.role,
            branch: key.branch,
            sample: key.sample,
            prompt_tokens,
            stages: Default::default(),
            completion_tokens: completion.map_or(0, |completion| completion.tokens.len()),
            finish_reason: completion
                .map_or(FinishReason::Abort, |completion| completion.finish_reason),
            outcomes: Vec::new(),
            reward: reward.as_ref().ok().map(Reward::value),
            reward_breakdown: reward
                .as_ref()
                .map(|reward| reward.breakdown.clone())
                .unwrap_or_default(),
            masked: reward.as_ref().err().copied(),
            advantage: None,
            verdict: None,
            attacks: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::{Chain, ParsedAttack};

    fn completion(text: &str) -> Completion {
        Completion {
            tokens: vec![7, 2],
            logprobs: vec![-0.5; 2],
            text: text.into(),
            finish_reason: FinishReason::Stop,
        }
    }

    fn key(role: Role, stage: Stage) -> RolloutKey {
        RolloutKey {
            role,
            stage,
            step: 3,
            problem: "p".into(),
            branch: 0,
            sample: 1,
        }
    }

    #[test]
    fn a_rollout_shows_the_chain_that_was_executed() {
        let mut chain = Chain::default();
        chain.set(Stage::Informal, completion("think"));
        let mut whole = chain.clone();
        whole.set(Stage::Code, completion("def f(): pass"));
        let key = key(Role::Generator, Stage::Informal);
        let rollout = Rollout {
            key,
            prompt_tokens: vec![1, 2, 3],
            chain,
            continuations: vec![whole],
        };
        let member = Advantaged {
            rollout,
            reward: Ok(Reward::new([("gold", 0.5)])),
            advantage: Some(0.25),
        };
        let json = serde_json::to_value(SampleRecord::generator(
            &member,
            Some(0.75),
            vec![Outcome::Passed],
        ))
        .unwrap();
        let expected = r#"{"step":3,"stage":1,"problem":"p","role":"generator","branch":0,"sample":1,"prompt_tokens":3,
            "stages":["think","","","","def f(): pass"],"completion_tokens":2,"finish_reason":"stop",
            "outcomes":["Passed"],"reward":0.5,"reward_breakdown":{"gold":0.5},"advantage":0.25,"verdict":0.75,
            "attacks":[]}"#;
        assert_eq!(
            json,
            serde_json::from_str::<serde_json::Value>(expected).unwrap()
        );
    }

    #[test]
    fn an_attack_set_shows_what_became_of_each_line() {
        let attack = ParsedAttack {
            args: vec![Value::from(1)],
            expected: Value::from(2),
        };
        let checked = [
            CheckedAttack {
                attack: Some(attack),
                validity: Validity::Repaired,
            },
            CheckedAttack {
                attack: None,
                validity: Validity::Unparsed("no `->`".into()),
            },
        ];
        let attacks = vec![
            AttackRecord::new(&checked[0], 2),
            AttackRecord::new(&checked[1], 0),
        ];
        let rollout = AttackSet {
            key: key(Role::Discriminator, Stage::Code),
            prompt_tokens: vec![1],
            completion: completion("(1,) -> 3"),
            target: Some(0),
            attacks: vec![],
        };
        let member = Advantaged {
            rollout,
            reward: Err(Mask::HostFault),
            advantage: None,
        };
        let record = SampleRecord::discriminator(&member, Default::default(), attacks);
        let json = serde_json::to_value(record).unwrap();
        assert_eq!(
            json["attacks"].to_string(),
            concat!(
                r#"[{"args":[1],"expected":2,"valid":true,"repaired":true,"kills":2},"#,
                r#"{"args":null,"expected":null,"valid":false,"repaired":false,"kills":0,"reason":"no `->`"}]"#
            )
        );
        assert_eq!(
            (&json["reward"], &json["masked"]),
            (&serde_json::Value::Null, &"host_fault".into())
        );
    }
}
