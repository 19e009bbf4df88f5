//! Low-rank adapters (LoRA, Hu et al. 2021, arXiv 2106.09685) on linear layers, under PEFT's names and keys.
//!
//! ```text
//! y = W x + b + (alpha / r) B A dropout(x)        A [r, in] drawn, B [out, r] zero
//! ```

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use tch::{Device, Kind, Tensor};

use super::config::ModelConfig;

/// The linear layers that an adapter can sit on, by the last part of their names.
pub const TARGETS: [&str; 7] = [
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "gate_proj",
    "up_proj",
    "down_proj",
];

/// Shape and strength of an adapter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoraConfig {
    /// Rank r.
    pub r: i64,
    /// The product B A is scaled by `lora_alpha / r`.
    pub lora_alpha: f64,
    /// Share of inputs dropped in training.
    pub lora_dropout: f64,
    /// Which of [`TARGETS`] have an adapter.
    pub target_modules: Vec<String>,
}

/// Why an adapter cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum LoraError {
    /// A target that is no linear layer of this architecture.
    #[error("lora target {0:?} is none of {known}", known = TARGETS.join(", "))]
    UnknownTarget(String),
    /// No target at all.
    #[error("lora without targets trains nothing; take some of {}", TARGETS.join(", "))]
    NoTarget,
}

impl LoraConfig {
    /// Checks the targets.
    pub fn validate(&self) -> Result<(), LoraError> {
        if self.target_modules.is_empty() {
            return Err(LoraError::NoTarget);
        }
        match self
            .target_modules
            .iter()
            .find(|target| !TARGETS.contains(&&***target))
        {
            Some(unknown) => Err(LoraError::UnknownTarget(unknown.clone())),
            None => Ok(()),
        }
    }

    /// What the product of the two factors is multiplied by.
    pub fn scale(&self) -> f64 {
        self.lora_alpha / self.r as f64
    }

    /// Names and shapes of the adapter's weights, in the order of the layers: for each adapted layer first A, then B.
    pub fn weight_shapes(&self, model: &ModelConfig) -> Vec<(String, Vec<i64>)> {
        let adapted = model
            .weight_shapes()
            .into_iter()
            .filter_map(|(name, shape)| {
                let layer = name.strip_suffix(".weight")?.to_owned();
                let target = layer.rsplit('.').next()?;
                self.target_modules
                    .iter()
                    .any(|t| t == target)
                    .then_some((layer, shape))
            });
        adapted
            .flat_map(|(layer, shape)| {
                [
                    (adapter_name(&layer, 'A'), vec![self.r, shape[1]]),
                    (adapter_name(&layer, 'B'), vec![shape[0], self.r]),
                ]
            })
            .collect()
    }

    /// The adapter before training: A uniform in +-sqrt(3 / in) / sqrt(3) as PEFT draws it (Kaiming with a = sqrt(5)), B
    /// zero, so that the model is unchanged. Draws from LibTorch's generator, seeded by `seed`.
    pub fn init(&self, model: &ModelConfig, seed: u64, device: Device) -> Vec<(String, Tensor)> {
        let _alone = super::transformer::seeded(seed);
        self.weight_shapes(model)
            .into_iter()
            .map(|(name, shape)| {
                let options = (Kind::Float, Device::Cpu);
                let tensor = if name.ends_with("lora_A.weight") {
                    let bound = 1.0 / (shape[1] as f64).sqrt();
                    (Tensor::rand(&shape, options) * 2.0 - 1.0) * bound
                } else {
                    Tensor::zeros(&shape, options)
                };
                (name, tensor.to_device(device))
            })
            .collect()
    }

    /// `adapter_config.json` of PEFT; `base` is the path or hub id of the model below.
    pub fn peft_json(&self, base: &str) -> Json {
        json!({
            "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base, "r": self.r,
            "lora_alpha": self.lora_alpha, "lora_dropout": self.lora_dropout, "target_modules": self.target_modules,
            "bias": "none", "fan_in_fan_out": false, "init_lora_weights": true, "inference_mode": true,
            "modules_to_save": null, "use_rslora": false, "use_dora": false,
        })
    }
}

/// PEFT's name of one factor of the adapter on the layer `model.layers.0.self_attn.q_proj`.
pub(super) fn adapter_name(layer: &str, factor: char) -> String {
    format!("base_model.model.{layer}.lora_{factor}.weight")
}

/// The adapter of one linear layer.
pub(super) struct Adapter {
    /// `[r, in]`.
    pub a: Tensor,
    /// `[out, r]`.
    pub b: Tensor,
    pub scale: f64,
    pub dropout: f64,
}

impl Adapter {
    /// What the adapter adds to the layer's output. `train` switches dropout on.
    pub fn forward(&self, x: &Tensor, train: bool) -> Tensor {
        let kind = x.kind();
        let dropped = (train && self.dropout > 0.0).then(|| x.dropout(self.dropout, true));
        let narrow = dropped
            .as_ref()
            .unwrap_or(x)
            .linear(&cast(&self.a, kind), None::<Tensor>);
        narrow.linear(&cast(&(&self.b * self.scale), kind), None::<Tensor>)
    }

    /// `scale` B A, to be added to the weight it stands beside.
    pub fn product(&self) -> Tensor {
        self.b.matmul(&self.a) * self.scale
    }
}

/// `tensor` as `kind`; the same storage where it already is.
pub(super) fn cast(tensor: &Tensor, kind: Kind) -> Tensor {
    if tensor.kind() == kind {
        tensor.shallow_clone()
    } else {
        tensor.to_kind(kind)
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::test_config;
    use super::*;

    fn config(targets: &[&str]) -> LoraConfig {
        LoraConfig {
            r: 3,
            lora_alpha: 6.0,
            lora_dropout: 0.0,
            target_modules: targets.iter().map(|t| (*t).to_owned()).collect(),
        }
    }

    #[test]
    fn names_and_shapes_are_those_of_peft() {
        let shapes = config(&["q_proj", "down_proj"]).weight_shapes(&test_config());
        assert_eq!(shapes.len(), 2 * 2 * 2);
        let first = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
        assert_eq!(shapes[0], (first.to_owned(), vec![3, 16]));
        assert_eq!(shapes[3].1, vec![16, 3]);
    }

    #[test]
    fn a_target_that_does_not_exist_is_named() {
        let error = config(&["q_proj", "wq"]).validate().unwrap_err();
        assert!(
            error
                .to_string()
                .contains("\"wq\" is none of q_proj, k_proj"),
            "{error}"
        );
        assert!(config(&[]).validate().is_err());
    }
}
