//! Reads a player's file, in the layout that [`super::format`] describes.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value as Json;
use tch::{Kind, Tensor};

use super::CheckpointError;
use super::architecture::{ArchitectureMismatch, NamedShape, check_architecture};
use super::format::{FORMAT_VERSION, Moments, OptimizerState, ParamGroup, PlayerState};
use super::pt::{At, LazyTensor, Loader, PtDigest, PtFile, PtValue, Unexpected};

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

    /// Reads the weights into memory of their own; the optimizer's state is not touched.
    pub fn model_state_dict(&self) -> Result<Vec<(String, Tensor)>, CheckpointError> {
        self.weights(self.file.loader())
    }

    /// The weights, verified but in the file's memory, as [`PtFile::mapping_loader`] gives them: for who reads them and
    /// does not train them.
    pub fn mapped_state_dict(&self) -> Result<Vec<(String, Tensor)>, CheckpointError> {
        self.weights(self.file.mapping_loader())
    }

    fn weights<'a>(
        &'a self,
        mut loader: Loader<'a>,
    ) -> Result<Vec<(String, Tensor)>, CheckpointError> {
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
