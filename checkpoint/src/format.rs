//! A player's state and its place in `generator.pt` and `discriminator.pt`.
//!
//! ```text
//! model_state_dict      {name: tensor}
//! optimizer_state_dict  {state: {index: {step, exp_avg, exp_avg_sq}}, param_groups: [{lr, .., params, param_names}]}
//! stage_id, metrics, model_config, lora_config, format_version
//! base_model            {name_or_path, blake3}, of an adapter
//! ```
//! `optimizer_state_dict` is what `torch.optim.AdamW.state_dict()` gives, so that Python can go on
//! from it; `param_names` says in addition which parameter an index means.

use std::collections::HashSet;

use serde_json::{Value as Json, json};
use tch::Tensor;

use super::CheckpointError;
use super::pt::{HostTensor, PtValue, Snapshotter};

/// Version of the files' layout; a reader refuses later ones.
pub const FORMAT_VERSION: i64 = 1;

/// Key of `lora_config` with BLAKE3 of the weights that the adapter was trained on; PEFT has none such.
pub const BASE_HASH: &str = "base_model_blake3";

/// Everything about one player that training needs to go on.
#[derive(Debug)]
pub struct PlayerState {
    /// Weights by their published names, in the model's order.
    pub model_state_dict: Vec<(String, Tensor)>,
    /// The optimizer, absent where a checkpoint is only for inference.
    pub optimizer: Option<OptimizerState>,
    /// The stage that was finished, or is in progress in a periodic save; 0 is warm-up.
    pub stage_id: i64,
    /// As in metrics.json.
    pub metrics: Json,
    /// The architecture, under the keys of a published `config.json`.
    pub model_config: Json,
    /// The adapter's configuration under PEFT's keys, where there is an adapter.
    pub lora_config: Option<Json>,
}

/// State of AdamW.
#[derive(Debug, Default)]
pub struct OptimizerState {
    /// Parameters by the settings they share; most often one group.
    pub groups: Vec<ParamGroup>,
}

/// Parameters that are updated with the same settings.
#[derive(Debug)]
pub struct ParamGroup {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the first and of the second moment.
    pub betas: (f64, f64),
    /// Added to the denominator.
    pub eps: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// The parameters, in the order of `model_state_dict`.
    pub params: Vec<Moments>,
}

/// What AdamW remembers about one parameter.
#[derive(Debug)]
pub struct Moments {
    /// The parameter's name in `model_state_dict`.
    pub name: String,
    /// Updates made so far.
    pub step: u64,
    /// Running mean of the gradient, in the parameter's shape.
    pub exp_avg: Tensor,
    /// Running mean of the gradient's square, in the parameter's shape.
    pub exp_avg_sq: Tensor,
}

impl PlayerState {
    /// Copies the state out of libtorch: what comes back can be written by another thread while
    /// the tensors change.
    pub fn snapshot(&self) -> Result<PtValue<HostTensor>, CheckpointError> {
        let mut copier = Snapshotter::default();
        let mut names = HashSet::new();
        let mut weights = Vec::with_capacity(self.model_state_dict.len());
        for (name, tensor) in &self.model_state_dict {
            if !names.insert(name) {
                let reason = "two weights have this name".into();
                return Err(CheckpointError::Unsavable {
                    what: name.clone(),
                    reason,
                });
            }
            weights.push((name, PtValue::Tensor(copier.copy(name, tensor)?)));
        }
        let mut entries = vec![("model_state_dict", PtValue::dict(weights))];
        if let Some(optimizer) = &self.optimizer {
            entries.push(("optimizer_state_dict", optimizer.snapshot(&mut copier)?));
        }
        entries.extend([
            ("stage_id", PtValue::Int(self.stage_id.into())),
            ("metrics", PtValue::from_json(&self.metrics)),
            ("model_config", PtValue::from_json(&self.model_config)),
            (
                "lora_config",
                self.lora_config
                    .as_ref()
                    .map_or(PtValue::None, PtValue::from_json),
            ),
            ("format_version", PtValue::Int(FORMAT_VERSION.into())),
        ]);
        if let Some(base) = self.base_model() {
            entries.push(("base_model", PtValue::from_json(&base)));
        }
        Ok(PtValue::dict(entries))
    }
}

impl PlayerState {
    /// The model that an adapter stands on, as far as `lora_config` says: its path or hub id, and BLAKE3 of its weights.
    fn base_model(&self) -> Option<Json> {
        let lora = self.lora_config.as_ref()?;
        Some(json!({
            "name_or_path": lora["base_model_name_or_path"], "blake3": lora[BASE_HASH],
        }))
    }
}

impl OptimizerState {
    fn snapshot(&self, copier: &mut Snapshotter) -> Result<PtValue<HostTensor>, CheckpointError> {
        let mut state = Vec::new();
        let mut groups = Vec::with_capacity(self.groups.len());
        for group in &self.groups {
            let first = state.len();
            for moments in &group.params {
                let mut copy = |part: &'static str, tensor: &Tensor| {
                    let tensor = copier.copy(&format!("{part} of {}", moments.name), tensor)?;
                    Ok::<_, CheckpointError>((part, PtValue::Tensor(tensor)))
                };
                let slot = PtValue::dict([
                    (
                        "step",
                        PtValue::Tensor(HostTensor::scalar(moments.step as f32)),
                    ),
                    copy("exp_avg", &moments.exp_avg)?,
                    copy("exp_avg_sq", &moments.exp_avg_sq)?,
                ]);
                state.push((PtValue::Int(state.len() as i128), slot));
            }
            let indices = state[first..]
                .iter()
                .map(|(index, _)| index.clone())
                .collect();
            groups.push(group.snapshot(indices));
        }
        let groups = PtValue::List(groups);
        Ok(PtValue::dict([
            ("state", PtValue::Dict(state)),
            ("param_groups", groups),
        ]))
    }
}

impl ParamGroup {
    /// Every key of torch.optim.AdamW's own groups, at its default where we have no such setting:
    /// a missing key would fail only at Python's next step.
    fn snapshot(&self, indices: Vec<PtValue<HostTensor>>) -> PtValue<HostTensor> {
        let names = self
            .params
            .iter()
            .map(|moments| PtValue::str(&moments.name))
            .collect();
        let (beta1, beta2) = self.betas;
        PtValue::dict([
            ("lr", PtValue::Float(self.lr)),
            (
                "betas",
                PtValue::Tuple(vec![PtValue::Float(beta1), PtValue::Float(beta2)]),
            ),
            ("eps", PtValue::Float(self.eps)),
            ("weight_decay", PtValue::Float(self.weight_decay)),
            ("amsgrad", PtValue::Bool(false)),
            ("foreach", PtValue::None),
            ("maximize", PtValue::Bool(false)),
            ("capturable", PtValue::Bool(false)),
            ("differentiable", PtValue::Bool(false)),
            ("fused", PtValue::None),
            ("decoupled_weight_decay", PtValue::Bool(true)),
            ("params", PtValue::List(indices)),
            ("param_names", PtValue::List(names)),
        ])
    }
}
