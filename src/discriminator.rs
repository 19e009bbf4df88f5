//! The discriminator: a policy of its own that writes attacks, with a head that gives verdicts.
//!
//! Shape legend: N prompts, C hidden size.

use std::sync::Arc;

use tch::{Device, Kind, Tensor, no_grad};

use crate::batch::microbatches;
use crate::encoding::{EncodingError, PromptEncoder};
use crate::generator::completion;
use crate::model::decoder::{DecodeOptions, Request, Segment};
use crate::model::rollouts::Rollouts;
use crate::model::sampling::Filters;
use crate::model::scoring::last_hidden;
use crate::model::{ModelConfig, Transformer};
use crate::rng::DrawKey;
use crate::rollout::Completion;

/// A policy, its verdict head, and its way of reading and writing text.
pub struct Discriminator {
    /// The trunk, which also writes the attacks.
    pub model: Transformer,
    /// Prompts and tokenizer.
    pub encoder: Arc<PromptEncoder>,
    /// What decodes.
    pub rollouts: Rollouts,
    /// Weight of the head, `[1, C]`.
    verdict_weight: Tensor,
    /// Bias of the head, `[1]`.
    verdict_bias: Tensor,
}

/// Names of the head's weights in a state dict.
const VERDICT_WEIGHT: &str = "verdict_head.weight";
const VERDICT_BIAS: &str = "verdict_head.bias";

/// Padded tokens in one forward pass of verdicts.
const VERDICT_TOKENS: usize = 8192;

impl Discriminator {
    /// A discriminator on `model` with a head at zero: every verdict is 0.5 until it has learnt.
    pub fn new(model: Transformer, encoder: Arc<PromptEncoder>) -> Self {
        let options = (Kind::Float, model.device());
        Self {
            verdict_weight: Tensor::zeros([1, model.config().hidden_size], options)
                .set_requires_grad(true),
            verdict_bias: Tensor::zeros([1], options).set_requires_grad(true),
            model,
            encoder,
            rollouts: Rollouts::trainer(),
        }
    }

    /// Every weight of this architecture with its shape: the trunk's, then the head's.
    pub fn weight_shapes(config: &ModelConfig) -> Vec<(String, Vec<i64>)> {
        Self::with_head(config.weight_shapes(), config)
    }

    /// The shapes of a trunk's trained weights with those of the head behind them.
    pub fn with_head(
        mut trunk: Vec<(String, Vec<i64>)>,
        config: &ModelConfig,
    ) -> Vec<(String, Vec<i64>)> {
        trunk.push((VERDICT_WEIGHT.into(), vec![1, config.hidden_size]));
        trunk.push((VERDICT_BIAS.into(), vec![1]));
        trunk
    }

    /// Builds the model on given weights, which must be exactly [`Self::weight_shapes`] in that order.
    pub fn from_weights(
        config: &ModelConfig,
        mut weights: Vec<(String, Tensor)>,
        device: Device,
        encoder: Arc<PromptEncoder>,
    ) -> Self {
        let head = weights.split_off(weights.len() - 2);
        let model = Transformer::from_weights(config, weights, device);
        Self::from_parts(model, &head, encoder)
    }

    /// Builds the model of a trunk and the two weights of the head.
    pub fn from_parts(
        model: Transformer,
        head: &[(String, Tensor)],
        encoder: Arc<PromptEncoder>,
    ) -> Self {
        let mut discriminator = Self::new(model, encoder);
        no_grad(|| {
            discriminator.verdict_weight.copy_(&head[0].1);
            discriminator.verdict_bias.copy_(&head[1].1);
        });
        discriminator
    }

    /// What training changes, by name, in the order of the state dict: the trunk's weights or its adapter, and the head.
    pub fn parameters(&self) -> Vec<(String, Tensor)> {
        let trunk = self
            .model
            .trainable()
            .iter()
            .map(|(name, t)| (name.clone(), t.shallow_clone()));
        let head = [
            (VERDICT_WEIGHT, &self.verdict_weight),
            (VERDICT_BIAS, &self.verdict_bias),
        ];
        trunk
            .chain(head.map(|(name, t)| (name.to_owned(), t.shallow_clone())))
            .collect()
    }

    /// Logits `[N]` of the verdicts after each prompt. `trunk_weight` scales the gradient that reaches the trunk.
    pub fn verdict_logits(&self, prompts: &[&[u32]], trunk_weight: f64) -> Tensor {
        let hidden = last_hidden(&self.model, prompts);
        // The value is that of `hidden`; only the share `trunk_weight` of it carries gradient.
        let hidden = &hidden * trunk_weight + hidden.detach() * (1.0 - trunk_weight);
        hidden
            .linear(&self.verdict_weight, Some(&self.verdict_bias))
            .squeeze_dim(1)
    }

    /// Probability that the chain in each prompt ends in correct code.
    pub fn verdicts(&self, prompts: &[Vec<u32>]) -> Vec<f32> {
        let lengths: Vec<usize> = prompts.iter().map(Vec::len).collect();
        let mut verdicts = vec![0.0; prompts.len()];
        for batch in microbatches(&lengths, VERDICT_TOKENS) {
            let members: Vec<&[u32]> = batch.iter().map(|&i| &prompts[i][..]).collect();
            let probabilities = no_grad(|| self.verdict_logits(&members, 0.0).sigmoid());
            let probabilities: Vec<f32> = Vec::try_from(probabilities).expect("verdicts are float");
            for (&i, p) in batch.iter().zip(&probabilities) {
                verdicts[i] = *p;
            }
        }
        verdicts
    }

    /// Writes one attack set after each prompt.
    pub fn attack(
        &self,
        prompts: &[(Vec<u32>, DrawKey)],
        max_new_tokens: usize,
        temperature: f64,
        batch_size: usize,
    ) -> Result<Vec<Completion>, EncodingError> {
        let requests: Vec<Request> = prompts
            .iter()
            .map(|(prompt, key)| Request {
                prompt: prompt.clone(),
                segments: vec![Segment {
                    opening: Vec::new(),
                    max_new_tokens,
                }],
                key: *key,
            })
            .collect();
        let options = DecodeOptions {
            temperature,
            end_token: self.encoder.end_token(),
            batch_size,
            filters: Filters::OFF,
            stop: None,
        };
        let decoded = self
            .rollouts
            .decode(&self.model, &requests, &options, &mut |_, _| {})?;
        Ok(decoded
            .into_iter()
            .map(|mut sampled| completion(&self.encoder, sampled.pop().unwrap_or_default()))
            .collect())
    }
}
