//! The two players with their optimizers: made fresh, or out of a checkpoint's state.

use std::sync::Arc;

use serde_json::Value as Json;
use tch::{Device, Kind, Tensor};

use crate::checkpoint::{Moments, OptimizerState, ParamGroup, PlayerState};
use crate::config::{Config, Model};
use crate::discriminator::Discriminator;
use crate::encoding::PromptEncoder;
use crate::generator::Generator;
use crate::model::sampling::DrawKey;
use crate::model::{ModelConfig, Transformer};
use crate::optimizer::{AdamW, AdamWOptions, AdamWState, Muon, OptimizerError};

use super::base::{Base, rollouts};

/// Both players, ready to be trained.
pub struct Players {
    /// First player.
    pub generator: Generator,
    /// Its optimizer.
    pub generator_optimizer: AdamW,
    /// Second player: a model of its own.
    pub discriminator: Discriminator,
    /// Its optimizer.
    pub discriminator_optimizer: AdamW,
    /// What checkpoints say of the adapters, where there are any.
    pub lora_config: Option<Json>,
}

/// The architecture that a configuration and a tokenizer describe.
pub fn model_config(model: &Model, vocab_size: usize) -> ModelConfig {
    let int = |n: usize| n as i64;
    ModelConfig {
        // The published family whose biases stand where these do.
        model_type: if model.attention_bias {
            "qwen2"
        } else {
            "llama"
        }
        .into(),
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
        rope_scaling: None,
        eos_token_id: Vec::new(),
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

impl Players {
    /// Freshly drawn players; the same seed gives the same weights.
    pub fn fresh(
        config: &Config,
        encoder: &Arc<PromptEncoder>,
        device: Device,
        base: Option<&Base>,
    ) -> Self {
        if let Some(base) = base {
            let generator = Generator::new(base.fresh(config, "generator"), Arc::clone(encoder));
            let trunk = base.fresh(config, "discriminator");
            let discriminator = Discriminator::new(trunk, Arc::clone(encoder));
            let options = warmup_options(config);
            return Self {
                lora_config: base.lora_json(),
                ..Self::with_fresh_optimizers(generator, discriminator, options)
            }
            .decoding_as(config);
        }
        let vocab = encoder.tokenizer().vocab_size();
        let key = DrawKey::new(config.run.seed);
        let make = |model: &Model, role: &str| {
            // LibTorch takes a signed seed.
            let seed = key.with_name(role).value() >> 1;
            Transformer::init(
                &model_config(model, vocab),
                model.initializer_range,
                seed,
                device,
            )
        };
        let generator = Generator::new(
            make(&config.generator_model(), "generator"),
            Arc::clone(encoder),
        );
        let discriminator = Discriminator::new(
            make(&config.discriminator_model(), "discriminator"),
            Arc::clone(encoder),
        );
        Self::with_fresh_optimizers(generator, discriminator, warmup_options(config))
    }

    /// Given models with optimizers that remember nothing.
    pub fn with_fresh_optimizers(
        generator: Generator,
        discriminator: Discriminator,
        options: AdamWOptions,
    ) -> Self {
        Self {
            generator_optimizer: AdamW::new(generator.model.trainable(), options),
            discriminator_optimizer: AdamW::new(&discriminator.parameters(), options),
            generator,
            discriminator,
            lora_config: None,
        }
    }

    /// Both policies with the decoder that the configuration names.
    #[must_use]
    pub fn decoding_as(mut self, config: &Config) -> Self {
        self.generator.rollouts = rollouts(config);
        self.discriminator.rollouts = rollouts(config);
        self
    }

    /// Forgets the moments: what the warm-up's gradients were says nothing about the game's.
    pub fn reset_optimizers(&mut self, options: AdamWOptions) {
        self.generator_optimizer = AdamW::new(self.generator.model.trainable(), options);
        self.discriminator_optimizer = AdamW::new(&self.discriminator.parameters(), options);
    }

    /// Takes over saved moments.
    pub fn load_optimizers(
        &mut self,
        generator: OptimizerState,
        discriminator: OptimizerState,
    ) -> Result<(), OptimizerError> {
        self.generator_optimizer
            .load_state(&adamw_state(generator))?;
        self.discriminator_optimizer
            .load_state(&adamw_state(discriminator))
    }

    /// The generator's state for a checkpoint.
    pub fn generator_state(&self, stage_id: u8, learning_rate: f64, metrics: &Json) -> PlayerState {
        let weights = self
            .generator
            .model
            .trainable()
            .iter()
            .map(|(n, t)| (n.clone(), t.shallow_clone()))
            .collect();
        let config = self.generator.model.config();
        player_state(
            weights,
            &self.generator_optimizer,
            config,
            stage_id,
            learning_rate,
            metrics,
        )
        .on(&self.lora_config)
    }

    /// The discriminator's state for a checkpoint.
    pub fn discriminator_state(
        &self,
        stage_id: u8,
        learning_rate: f64,
        metrics: &Json,
    ) -> PlayerState {
        let config = self.discriminator.model.config();
        let weights = self.discriminator.parameters();
        player_state(
            weights,
            &self.discriminator_optimizer,
            config,
            stage_id,
            learning_rate,
            metrics,
        )
        .on(&self.lora_config)
    }
}

trait OnBase {
    /// The state with what it says of its adapter.
    fn on(self, lora_config: &Option<Json>) -> Self;
}

impl OnBase for PlayerState {
    fn on(self, lora_config: &Option<Json>) -> Self {
        Self {
            lora_config: lora_config.clone(),
            ..self
        }
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
