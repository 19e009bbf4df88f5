//! A player's state and its place in `generator.pt` and `discriminator.pt`.
//!
//! ```text
//! model_state_dict      {name: tensor}
//! optimizer_state_dict  {state: {index: {step, exp_avg, exp_avg_sq}}, param_groups: [{lr, .., params, param_names}]}
//! stage_id, metrics, model_config, lora_config, format_version
//! ```
//! `optimizer_state_dict` is what `torch.optim.AdamW.state_dict()` gives, so that Python can go on
//! from it; `param_names` says in addition which parameter an index means.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use serde_json::Value as Json;
use tch::{Kind, Tensor};

use super::CheckpointError;
use super::architecture::{ArchitectureMismatch, NamedShape, check_architecture};
use super::pt::{
    At, HostTensor, LazyTensor, Loader, PtDigest, PtFile, PtValue, Snapshotter, Unexpected,
};

/// Version of the files' layout; a reader refuses later ones.
pub const FORMAT_VERSION: i64 = 1;

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
        Ok(PtValue::dict(entries))
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

/// A player's file, opened: everything but the tensors is there, tensors come when asked for.
#[derive(Debug)]
pub struct PlayerFile {
    file: PtFile,
}

/// A tensor as a file describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorInfo {
    /// Its name in `model_state_dict`.
    pub name: String,
    /// Its element type.
    pub kind: Kind,
    /// Its shape.
    pub shape: Vec<i64>,
}

impl TensorInfo {
    /// Number of elements.
    pub fn numel(&self) -> i64 {
        self.shape.iter().product()
    }
}

impl PlayerFile {
    /// Opens a player's file that stands alone, without a manifest to verify it by.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        Self::checked(PtFile::open(path)?)
    }

    /// Opens a player's file that must be the one `digest` describes.
    pub fn open_verified(
        path: &Path,
        size: u64,
        digest: &PtDigest,
    ) -> Result<Self, CheckpointError> {
        Self::checked(PtFile::open_verified(path, size, digest)?)
    }

    fn checked(file: PtFile) -> Result<Self, CheckpointError> {
        let player = Self { file };
        player.read(|root| {
            root.key("model_state_dict")?.items()?;
            let version = root.key("format_version")?;
            match version.as_i64()? {
                FORMAT_VERSION => Ok(()),
                other => Err(version.error(format!(
                    "is {other}; this program reads version {FORMAT_VERSION}"
                ))),
            }
        })?;
        Ok(player)
    }

    /// The file underneath.
    pub fn file(&self) -> &PtFile {
        &self.file
    }

    /// Applies `f` to the root and puts the file's name on a refusal.
    fn read<'a, R>(
        &'a self,
        f: impl FnOnce(At<'a, LazyTensor>) -> Result<R, Unexpected>,
    ) -> Result<R, CheckpointError> {
        f(self.file.root()).map_err(|e| self.invalid(e))
    }

    fn invalid(&self, e: Unexpected) -> CheckpointError {
        CheckpointError::invalid(self.file.path(), e.to_string())
    }

    /// The stage that was finished, or was in progress.
    pub fn stage_id(&self) -> Result<i64, CheckpointError> {
        self.read(|root| root.key("stage_id")?.as_i64())
    }

    /// The metrics at the time of saving.
    pub fn metrics(&self) -> Result<Json, CheckpointError> {
        self.read(|root| root.key("metrics")?.to_json())
    }

    /// The architecture.
    pub fn model_config(&self) -> Result<Json, CheckpointError> {
        self.read(|root| root.key("model_config")?.to_json())
    }

    /// The adapter's configuration, if there is an adapter.
    pub fn lora_config(&self) -> Result<Option<Json>, CheckpointError> {
        self.read(|root| {
            root.key("lora_config")?
                .some()
                .map(|at| at.to_json())
                .transpose()
        })
    }

    /// Name, element type and shape of every weight, in the file's order.
    pub fn tensors(&self) -> Result<Vec<TensorInfo>, CheckpointError> {
        self.read(|root| {
            let items = root.key("model_state_dict")?.items()?.into_iter();
            items
                .map(|(name, at)| {
                    let tensor = at.as_tensor()?;
                    let (kind, shape) = (tensor.kind, tensor.shape.clone());
                    Ok(TensorInfo {
                        name: name.into(),
                        kind,
                        shape,
                    })
                })
                .collect()
        })
    }

    /// Checks, before any weight is read, that the weights are those of a model with `expected`.
    pub fn check_architecture(&self, expected: &[NamedShape]) -> Result<(), CheckpointError> {
        let found: Vec<NamedShape> = self
            .tensors()?
            .into_iter()
            .map(|info| (info.name, info.shape))
            .collect();
        let name = self.file.path().display().to_string();
        check_architecture(&name, expected, &found)
            .map_err(|mismatch: ArchitectureMismatch| mismatch.into())
    }

    /// Reads the weights; the optimizer's state is not touched.
    pub fn model_state_dict(&self) -> Result<Vec<(String, Tensor)>, CheckpointError> {
        let mut loader = self.file.loader();
        self.read(|root| root.key("model_state_dict")?.items())?
            .into_iter()
            .map(|(name, at)| Ok((name.to_string(), self.tensor(&mut loader, &at)?)))
            .collect()
    }

    /// Whether the file has the optimizer's state.
    pub fn has_optimizer(&self) -> Result<bool, CheckpointError> {
        self.read(|root| Ok(root.get("optimizer_state_dict")?.is_some()))
    }

    /// Reads the optimizer's state, if the checkpoint has one.
    pub fn optimizer(&self) -> Result<Option<OptimizerState>, CheckpointError> {
        let Some(root) = self.read(|root| root.get("optimizer_state_dict"))? else {
            return Ok(None);
        };
        let shapes: HashMap<String, Vec<i64>> = self
            .tensors()?
            .into_iter()
            .map(|info| (info.name, info.shape))
            .collect();
        let refuse = |e| self.invalid(e);
        let mut loader = self.file.loader();
        let mut groups = Vec::new();
        for group in root
            .key("param_groups")
            .and_then(|at| at.elements())
            .map_err(refuse)?
        {
            let mut read = settings(&group).map_err(refuse)?;
            for (name, slot) in slots(&root, &group).map_err(refuse)? {
                let step = self.step(&mut loader, &slot.key("step").map_err(refuse)?)?;
                let mut moment = |part| {
                    let at = slot.key(part).map_err(refuse)?;
                    let found = &at.as_tensor().map_err(refuse)?.shape;
                    let reason = match shapes.get(name) {
                        Some(shape) if shape == found => return self.tensor(&mut loader, &at),
                        Some(shape) => format!("has shape {found:?}, but {name} has {shape:?}"),
                        None => format!("is of {name}, which is no weight here"),
                    };
                    Err(refuse(at.error(reason)))
                };
                let (exp_avg, exp_avg_sq) = (moment("exp_avg")?, moment("exp_avg_sq")?);
                read.params.push(Moments {
                    name: name.into(),
                    step,
                    exp_avg,
                    exp_avg_sq,
                });
            }
            groups.push(read);
        }
        Ok(Some(OptimizerState { groups }))
    }

    /// Reads everything.
    pub fn state(&self) -> Result<PlayerState, CheckpointError> {
        Ok(PlayerState {
            model_state_dict: self.model_state_dict()?,
            optimizer: self.optimizer()?,
            stage_id: self.stage_id()?,
            metrics: self.metrics()?,
            model_config: self.model_config()?,
            lora_config: self.lora_config()?,
        })
    }

    fn tensor<'a>(
        &'a self,
        loader: &mut Loader<'a>,
        at: &At<'a, LazyTensor>,
    ) -> Result<Tensor, CheckpointError> {
        loader.tensor(at.as_tensor().map_err(|e| self.invalid(e))?)
    }

    /// A step count: a scalar tensor as torch keeps it, or a plain number as older files have it.
    fn step<'a>(
        &'a self,
        loader: &mut Loader<'a>,
        at: &At<'a, LazyTensor>,
    ) -> Result<u64, CheckpointError> {
        let count = match at.value() {
            PtValue::Tensor(lazy) if lazy.shape.is_empty() => {
                loader.tensor(lazy)?.double_value(&[])
            }
            _ => at.as_f64().map_err(|e| self.invalid(e))?,
        };
        if count >= 0.0 && count < 2.0_f64.powi(53) && count.fract() == 0.0 {
            return Ok(count as u64);
        }
        Err(self.invalid(at.error(format!("{count} is no count of steps"))))
    }
}

/// A group's settings, parameters left out.
fn settings(group: &At<'_, LazyTensor>) -> Result<ParamGroup, Unexpected> {
    let number = |key: &str| group.key(key)?.as_f64();
    let betas = group.key("betas")?;
    let [beta1, beta2] = betas
        .elements()?
        .try_into()
        .map_err(|_| betas.error("is not a pair"))?;
    Ok(ParamGroup {
        lr: number("lr")?,
        betas: (beta1.as_f64()?, beta2.as_f64()?),
        eps: number("eps")?,
        weight_decay: number("weight_decay")?,
        params: Vec::new(),
    })
}

/// A group's parameters: the name of each, and its place in `state`.
fn slots<'a>(
    root: &At<'a, LazyTensor>,
    group: &At<'a, LazyTensor>,
) -> Result<Vec<(&'a str, At<'a, LazyTensor>)>, Unexpected> {
    let (indices, names_at) = (group.key("params")?.elements()?, group.key("param_names")?);
    let names = names_at.elements()?;
    if names.len() != indices.len() {
        let reason = format!("has {} names for {} parameters", names.len(), indices.len());
        return Err(names_at.error(reason));
    }
    let state = root.key("state")?;
    let slot = |(name, index): (&At<'a, _>, &At<'a, _>)| {
        Ok((name.as_str()?, state.int_key(index.as_i64()?.into())?))
    };
    names.iter().zip(&indices).map(slot).collect()
}
