//! The published model that a run starts from, and the players made of it.
//!
//! With LoRA both players stand on the same frozen weights; what is trained, saved and resumed is each player's own
//! adapter. Without, each player has a copy of all weights.

use std::collections::BTreeMap;

use gauntlet_shim::Isa;
use serde_json::Value as Json;
use tch::{Device, Kind, Tensor};

use crate::algo::PolicyMetrics;
use crate::checkpoint::{BASE_HASH, PlayerFile};
use crate::config::{Backend, Config, Dtype, ModelKind};
use crate::encoding::PromptEncoder;
use crate::metrics::PlayerReport;
use crate::model::chat_template::ChatTemplate;
use crate::model::fused::{Precision, packs};
use crate::model::rollouts::Rollouts;
use crate::model::sampling::DrawKey;
use crate::model::{Batching, LoraConfig, ModelConfig, Pretrained, Transformer};
use crate::prompts::Prompts;

use super::TrainError;

/// A published model, loaded.
pub struct Base {
    /// Its frozen weights.
    model: Transformer,
    /// As the configuration names it.
    spec: String,
    /// BLAKE3 of its weight files.
    hash: String,
    lora: Option<LoraConfig>,
}

/// Where players are made: the device, and the published model they stand on, if there is one.
pub type Ground<'a> = (Device, Option<&'a Base>);

/// What the configuration decodes `model` with.
pub fn rollouts(config: &Config, model: &Transformer) -> Rollouts {
    match config.sampling.backend {
        Backend::Auto if packs(model.config(), model.device()) => {
            Rollouts::fused(Precision::Float32)
        }
        Backend::Auto | Backend::Trainer => Rollouts::trainer(),
        Backend::Float32 => Rollouts::fused(Precision::Float32),
        Backend::BFloat16 => Rollouts::fused(Precision::BFloat16),
        Backend::Int8 => Rollouts::fused(Precision::Int8),
    }
}

/// Mean |difference| of a token's log-probability between decoding and training above which an update is refused: such
/// weights would no longer correct, they would drown the signal.
const MOST_MISMATCH: f64 = 0.5;

/// Adds to a player's report how far rollouts were from the policy that is trained; refuses an update on rollouts that
/// are too far off. Players that decode with the trainer's own numbers report nothing.
pub fn with_mismatch(
    report: PlayerReport,
    metrics: &PolicyMetrics,
) -> Result<PlayerReport, TrainError> {
    if metrics.mismatch == 0.0 {
        return Ok(report);
    }
    let mean = metrics.mismatch / metrics.tokens.max(1) as f64;
    if mean > MOST_MISMATCH {
        return Err(TrainError::Base(format!(
            "rollouts were decoded {mean:.2} nats a token away from the policy that is trained, more than {MOST_MISMATCH}; \
             set sampling.backend to float32, or to trainer"
        )));
    }
    Ok(report.with("rollout_mismatch", mean))
}

/// The LoRA settings of a configuration; none when all weights are trained.
pub fn lora_config(config: &Config) -> Option<LoraConfig> {
    let training = &config.training;
    let r = training.lora_rank as i64;
    (r > 0).then(|| LoraConfig {
        r,
        lora_alpha: training.lora_alpha.unwrap_or(2.0 * r as f64),
        lora_dropout: training.lora_dropout,
        target_modules: training.lora_targets.clone(),
    })
}

/// What to tell a user whose published model would be trained in bf16 on a processor that multiplies it in software.
pub fn slow_dtype(config: &Config, device: Device) -> Option<String> {
    let model = config.generator_model();
    let is_slow = model.kind == ModelKind::Pretrained
        && model.dtype == Dtype::BFloat16
        && device == Device::Cpu
        && cfg!(target_arch = "x86_64")
        && Isa::current() < Isa::Avx512Bf16;
    is_slow.then(|| {
        "this processor has no instructions for bf16, and training in model.dtype=bfloat16 is slower here than in float32, \
         without AVX-512 hundreds of times: model.dtype=float32 is faster, and sampling.backend may still be int8 or \
         bfloat16"
            .to_owned()
    })
}

impl Base {
    /// Opens the model that the configuration starts from, with an encoder for it; none for players from scratch.
    pub fn open(
        config: &Config,
        device: Device,
    ) -> Result<Option<(Self, PromptEncoder)>, TrainError> {
        let model = config.generator_model();
        if model.kind == ModelKind::Scratch {
            return Ok(None);
        }
        let spec = model.path.clone().unwrap_or_default();
        let pretrained = Pretrained::open(&spec)?;
        let template = pretrained.chat_template.as_ref().ok_or_else(|| {
            TrainError::Base(format!(
                "{spec} has no chat template; model.path needs a model that was tuned on conversations (-Instruct)"
            ))
        })?;
        let lora = lora_config(config);
        // Without an adapter the weights are trained; then they may be the 32-bit masters of what bf16 computes.
        let masters = lora.is_none() && config.training.master_weights;
        let (stored, compute) = match model.dtype {
            Dtype::Float32 => (Kind::Float, Kind::Float),
            Dtype::BFloat16 if masters => (Kind::Float, Kind::BFloat16),
            Dtype::BFloat16 => (Kind::BFloat16, Kind::BFloat16),
        };
        if lora.is_none() && stored == Kind::BFloat16 && device != Device::Cpu {
            return Err(TrainError::Base(format!(
                "training.master_weights=false rounds on the CPU only, and run.device is {}; take master_weights=true, or \
                 an adapter with training.lora_rank",
                config.run.device
            )));
        }
        let checkpointing = config.training.activation_checkpointing;
        let weights = pretrained.weights(stored)?;
        let hash = pretrained.hash();
        let loaded = Transformer::frozen(&pretrained.config, weights, device)
            .running(compute, Batching::Packed { checkpointing });
        let prompts = match &model.prompts {
            Some(dir) => Prompts::load(crate::prompts::Format::Chat, dir)
                .map_err(crate::encoding::EncodingError::from)?,
            None => Prompts::chat(),
        };
        let encoder = PromptEncoder::chat(pretrained.tokenizer, prompts, template)?;
        let base = Self {
            model: loaded,
            spec,
            hash,
            lora,
        };
        base.check_context(config)?;
        Ok(Some((base, encoder)))
    }

    /// Refuses budgets that leave no room for a prompt.
    fn check_context(&self, config: &Config) -> Result<(), TrainError> {
        let budget: usize = config.sampling.max_new_tokens.iter().sum();
        let context = self.config().max_position_embeddings;
        if budget as i64 >= context {
            return Err(TrainError::Base(format!(
                "sampling.max_new_tokens allows chains of {budget} tokens, {} reads {context} with its prompt",
                self.spec
            )));
        }
        Ok(())
    }

    /// The architecture.
    pub fn config(&self) -> &ModelConfig {
        self.model.config()
    }

    /// Names and shapes of what a player trains and saves.
    pub fn trained_shapes(&self) -> Vec<(String, Vec<i64>)> {
        match &self.lora {
            Some(lora) => lora.weight_shapes(self.config()),
            None => self.config().weight_shapes(),
        }
    }

    /// A player that is the published model still: an adapter drawn for `role` that adds nothing, or a copy.
    pub fn fresh(&self, config: &Config, role: &str) -> Transformer {
        // LibTorch takes a signed seed.
        let seed = DrawKey::new(config.run.seed).with_name(role).value() >> 1;
        let weights = match &self.lora {
            Some(lora) => lora.init(self.config(), seed, self.model.device()),
            None => {
                let copies = self.model.parameters().iter();
                copies.map(|(name, t)| (name.clone(), t.copy())).collect()
            }
        };
        self.player(weights)
    }

    /// A player with these weights, which are [`Base::trained_shapes`], in that order.
    pub fn player(&self, weights: Vec<(String, Tensor)>) -> Transformer {
        match &self.lora {
            Some(lora) => self.model.with_adapter(lora.clone(), weights),
            None => {
                // Those of a checkpoint may be of another kind, as where a run without masters begins with one that had some.
                let kind = self.model.parameters()[0].1.kind();
                let stored = weights.into_iter().map(|(n, t)| (n, t.to_kind(kind)));
                Transformer::from_weights(self.config(), stored.collect(), self.model.device())
                    .running(self.model.compute_kind(), self.model.batching())
            }
        }
    }

    /// What a checkpoint says of the adapter: PEFT's keys, the base's name and its hash.
    pub fn lora_json(&self) -> Option<Json> {
        let mut json = self.lora.as_ref()?.peft_json(&self.spec);
        json[BASE_HASH] = self.hash.clone().into();
        Some(json)
    }

    /// Refuses to go on from an adapter that was trained on other weights.
    pub fn check_same(&self, player: &PlayerFile) -> Result<(), TrainError> {
        check_hash(player, &self.spec, || self.hash.clone())
    }
}

/// Refuses a model that is not the one a player's adapter was trained on; `spec` is what a person calls it.
pub fn check_base(player: &PlayerFile, base: &Pretrained, spec: &str) -> Result<(), TrainError> {
    check_hash(player, spec, || base.hash())
}

fn check_hash(
    player: &PlayerFile,
    spec: &str,
    hash: impl FnOnce() -> String,
) -> Result<(), TrainError> {
    let lora = player.lora_config()?.unwrap_or_default();
    let Some(was) = lora[BASE_HASH].as_str() else {
        return Ok(());
    };
    let is = hash();
    if was == is {
        return Ok(());
    }
    Err(TrainError::Base(format!(
        "{} was trained on {}, whose weights have BLAKE3 {was}; {spec} has {is}. An adapter fits only the weights it was \
         trained on: name that model",
        player.file().path().display(),
        lora["base_model_name_or_path"]
            .as_str()
            .unwrap_or("a model"),
    )))
}

const TEMPLATE_FILE: &str = "chat_template.jinja";
const TOKENS_FILE: &str = "chat_tokens.json";

/// Everything that a checkpoint keeps of an encoder's texts: the prompt templates, and the chat template with its tokens.
pub fn kept_texts(encoder: &PromptEncoder) -> BTreeMap<String, String> {
    let mut texts = encoder.prompts().snapshot().clone();
    if let Some(template) = encoder.chat_template() {
        let tokens = serde_json::json!({"bos_token": template.bos_token(), "eos_token": template.eos_token()});
        texts.insert(TEMPLATE_FILE.to_owned(), template.source().to_owned());
        texts.insert(TOKENS_FILE.to_owned(), tokens.to_string());
    }
    texts
}

/// The chat template among the texts of a checkpoint, taken out of them.
pub fn take_template(
    texts: &mut BTreeMap<String, String>,
) -> Result<Option<ChatTemplate>, TrainError> {
    let tokens: Json = texts
        .remove(TOKENS_FILE)
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default();
    let token = |key: &str| tokens[key].as_str().unwrap_or_default().to_owned();
    texts
        .remove(TEMPLATE_FILE)
        .map(|source| ChatTemplate::new(&source, &token("bos_token"), &token("eos_token")))
        .transpose()
        .map_err(|error| TrainError::Encoding(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn training_in_bf16_is_warned_of_where_the_processor_has_no_instructions_for_it() {
        Isa::limit(Isa::Avx512);
        let warned = |text: &str, device| {
            let config = Config::parse(text, "test.yaml".as_ref(), &[]).unwrap();
            slow_dtype(&config, device).is_some()
        };
        let bf16 = "model: {kind: pretrained, path: somewhere, dtype: bfloat16}";
        let float = "model: {kind: pretrained, path: somewhere}";
        assert_eq!(warned(bf16, Device::Cpu), cfg!(target_arch = "x86_64"));
        assert!(!warned(bf16, Device::Cuda(0)) && !warned(float, Device::Cpu));
        assert!(!warned("run: {name: scratch}", Device::Cpu));
    }
}
