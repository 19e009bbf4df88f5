//! The players: policies with their optimizers, their KL references and what is known of them.

mod stats;

use serde_json::Value as Json;
use tch::{Kind, Tensor};

use crate::checkpoint::{
    DISCRIMINATOR, GENERATOR, Moments, OptimizerState, ParamGroup, PlayerState, player_names,
};
use crate::config::{Config, Model};
use crate::discriminator::Discriminator;
use crate::generator::Generator;
use crate::model::arch::Family;
use crate::model::rollouts::Rollouts;
use crate::model::{ModelConfig, Transformer};
use crate::optimizer::{AdamW, AdamWOptions, AdamWState, Muon, OptimizerError};

pub use stats::{AllPlayerStats, MovingAverage, PlayerStats, PlayerTotals, VerdictWindow};

/// What generators and discriminators have in common.
pub trait Policy {
    /// The weights.
    fn model(&self) -> &Transformer;
    /// What training changes, by name, in the order of the state dict.
    fn trained(&self) -> Vec<(String, Tensor)>;
    /// What decodes.
    fn rollouts(&mut self) -> &mut Rollouts;
}

/// A player, ready to be trained.
pub struct Player<P> {
    /// Its policy.
    pub policy: P,
    /// Its optimizer.
    pub optimizer: AdamW,
    /// The frozen copy that the KL term holds it near, once the game has begun.
    pub reference: Option<Transformer>,
}

/// All players: of each role one or several.
pub struct Roster {
    /// Those who write chains.
    pub generators: Vec<Player<Generator>>,
    /// Those who write attacks and verdicts: models of their own.
    pub discriminators: Vec<Player<Discriminator>>,
    /// What checkpoints say of the adapters, where there are any.
    pub lora_config: Option<Json>,
}

/// Who plays a step, by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pair {
    /// Number of the generator.
    pub generator: usize,
    /// Number of the discriminator.
    pub discriminator: usize,
}

impl Pair {
    /// The pair of a step: generators take turns, and whenever all had theirs the discriminators move on by one, so that
    /// every `generators * discriminators` steps each pair has met once.
    pub fn of(step: u64, generators: usize, discriminators: usize) -> Self {
        let (round, turn) = (step / generators as u64, step % generators as u64);
        Self {
            generator: turn as usize,
            discriminator: ((round + turn) % discriminators as u64) as usize,
        }
    }
}

/// The architecture that a configuration and a tokenizer describe.
pub fn model_config(model: &Model, vocab_size: usize) -> ModelConfig {
    let int = |n: usize| n as i64;
    ModelConfig {
        model_type: Family::of_scratch(model.attention_bias).model_type.into(),
        vocab_size: int(vocab_size),
        hidden_size: int(model.hidden_size),
        intermediate_size: int(model.intermediate_size),
        num_hidden_layers: int(model.num_hidden_layers),
        num_attention_heads: int(model.num_attention_heads),
        num_key_value_heads: int(model.num_key_value_heads),
        head_dim: int(model
            .head_dim
            .unwrap_or(model.hidden_size / model.num_attention_heads.max(1))),
        max_position_embeddings: int(model.max_position_embeddings),
        rms_norm_eps: model.rms_norm_eps,
        rope_theta: model.rope_theta,
        tie_word_embeddings: model.tie_word_embeddings,
        attention_bias: model.attention_bias,
        ..ModelConfig::default()
    }
}

/// Muon and AdamW as the warm-up uses them; the game has its own settings.
pub fn warmup_options(config: &Config) -> AdamWOptions {
    let ratio = config.warmup.muon_ratio;
    AdamWOptions {
        weight_decay: config.warmup.weight_decay,
        muon: (ratio > 0.0).then_some(Muon {
            learning_rate_ratio: ratio,
            momentum: 0.95,
        }),
        ..game_options(config)
    }
}

/// AdamW as the game uses it.
pub fn game_options(config: &Config) -> AdamWOptions {
    let o = &config.optimizer;
    AdamWOptions {
        beta1: o.beta1,
        beta2: o.beta2,
        eps: o.eps,
        weight_decay: o.weight_decay,
        max_grad_norm: o.max_grad_norm,
        muon: None,
    }
}

impl Policy for Generator {
    fn model(&self) -> &Transformer {
        &self.model
    }

    fn trained(&self) -> Vec<(String, Tensor)> {
        let weights = self.model.trainable().iter();
        weights
            .map(|(name, tensor)| (name.clone(), tensor.shallow_clone()))
            .collect()
    }

    fn rollouts(&mut self) -> &mut Rollouts {
        &mut self.rollouts
    }
}

impl Policy for Discriminator {
    fn model(&self) -> &Transformer {
        &self.model
    }

    fn trained(&self) -> Vec<(String, Tensor)> {
        self.parameters()
    }

    fn rollouts(&mut self) -> &mut Rollouts {
        &mut self.rollouts
    }
}

impl<P: Policy> Player<P> {
    /// A player whose optimizer remembers nothing.
    pub fn new(policy: P, options: AdamWOptions) -> Self {
        Self {
            optimizer: AdamW::new(&policy.trained(), options),
            policy,
            reference: None,
        }
    }

    /// What the KL term holds it near: before the game it is its own reference.
    pub fn reference(&self) -> &Transformer {
        self.reference.as_ref().unwrap_or(self.policy.model())
    }

    /// Takes over saved moments.
    pub fn load_optimizer(&mut self, state: OptimizerState) -> Result<(), OptimizerError> {
        self.optimizer.load_state(&adamw_state(state))
    }

    /// A step of the optimizer, which what decodes has to see.
    pub fn step(&mut self, learning_rate: f64) -> Result<f64, OptimizerError> {
        let norm = self.optimizer.step(learning_rate)?;
        self.policy.rollouts().refresh();
        Ok(norm)
    }

    /// The state for a checkpoint.
    pub fn state(
        &self,
        stage_id: u8,
        learning_rate: f64,
        metrics: &Json,
        lora_config: &Option<Json>,
    ) -> PlayerState {
        PlayerState {
            lora_config: lora_config.clone(),
            ..player_state(
                self.policy.trained(),
                &self.optimizer,
                self.policy.model().config(),
                stage_id,
                learning_rate,
                metrics,
            )
        }
    }
}

impl Roster {
    /// The generators as they write.
    pub fn generators(&self) -> Vec<&Generator> {
        self.generators
            .iter()
            .map(|player| &player.policy)
            .collect()
    }

    /// Who plays a step.
    pub fn pair(&self, step: u64) -> Pair {
        Pair::of(step, self.generators.len(), self.discriminators.len())
    }

    /// Whether a role has several players, so that it has to be said who is meant.
    pub fn has_several(&self) -> bool {
        self.generators.len() > 1 || self.discriminators.len() > 1
    }

    /// Names of the generators, then of the discriminators.
    pub fn names(&self) -> [Vec<String>; 2] {
        [
            player_names(GENERATOR, self.generators.len()),
            player_names(DISCRIMINATOR, self.discriminators.len()),
        ]
    }

    /// All players go from warm-up to the game: with moments at zero, for what the warm-up's gradients were says nothing
    /// about the game's; held near the players of `warm`, or near what they are now.
    pub fn enter_game(&mut self, options: AdamWOptions, warm: Option<&Roster>) {
        enter(&mut self.generators, options, warm.map(|w| &w.generators));
        let warm = warm.map(|w| &w.discriminators);
        enter(&mut self.discriminators, options, warm);
    }
}

fn enter<P: Policy>(
    players: &mut [Player<P>],
    options: AdamWOptions,
    warm: Option<&Vec<Player<P>>>,
) {
    for (number, player) in players.iter_mut().enumerate() {
        let warm = warm.map_or(&player.policy, |warm| &warm[number].policy);
        player.reference = Some(warm.model().frozen_copy());
        player.optimizer = AdamW::new(&player.policy.trained(), options);
    }
}

fn player_state(
    weights: Vec<(String, Tensor)>,
    optimizer: &AdamW,
    config: &ModelConfig,
    stage_id: u8,
    learning_rate: f64,
    metrics: &Json,
) -> PlayerState {
    let state = optimizer.state();
    let options = optimizer.options();
    let params = state
        .names
        .into_iter()
        .zip(state.steps)
        .zip(state.exp_avg.into_iter().zip(state.exp_avg_sq))
        .map(|((name, step), (exp_avg, exp_avg_sq))| Moments {
            name,
            step: step.double_value(&[]) as u64,
            exp_avg,
            exp_avg_sq,
        })
        .collect();
    let group = ParamGroup {
        lr: learning_rate,
        betas: (options.beta1, options.beta2),
        eps: options.eps,
        weight_decay: options.weight_decay,
        params,
    };
    PlayerState {
        model_state_dict: weights,
        optimizer: Some(OptimizerState {
            groups: vec![group],
        }),
        stage_id: i64::from(stage_id),
        metrics: metrics.clone(),
        model_config: serde_json::to_value(config).expect("a model configuration is plain data"),
        lora_config: None,
    }
}

fn adamw_state(state: OptimizerState) -> AdamWState {
    let mut all = AdamWState {
        names: Vec::new(),
        steps: Vec::new(),
        exp_avg: Vec::new(),
        exp_avg_sq: Vec::new(),
    };
    for moments in state.groups.into_iter().flat_map(|group| group.params) {
        all.names.push(moments.name);
        all.steps
            .push(Tensor::from(moments.step as f64).to_kind(Kind::Float));
        all.exp_avg.push(moments.exp_avg);
        all.exp_avg_sq.push(moments.exp_avg_sq);
    }
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_pair_meets_once_in_a_round() {
        for generators in 1..=8 {
            for discriminators in 1..=8 {
                let steps = generators * discriminators;
                for from in [0, 3 * steps] {
                    let pairs: BTreeSet<(usize, usize)> = (from..from + steps)
                        .map(|step| Pair::of(step as u64, generators, discriminators))
                        .map(|pair| (pair.generator, pair.discriminator))
                        .collect();
                    assert_eq!(pairs.len(), steps, "{generators} and {discriminators}");
                }
            }
        }
        let first: Vec<usize> = (0..4)
            .map(|step| Pair::of(step, 2, 2).discriminator)
            .collect();
        assert_eq!(first, [0, 1, 1, 0]);
    }
}
