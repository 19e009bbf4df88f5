//! Gives a trained player back in the layouts that others read: a Hugging Face folder or a GGUF file with everything
//! merged, or PEFT's adapter alone.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, View, serialize_to_file};
use serde_json::{Value as Json, json};
use tch::{Device, Kind, Tensor};

use crate::checkpoint::{Checkpoint, PlayerFile};
use crate::model::chat_template::ChatTemplate;
use crate::model::pretrained::gguf_write::{self, GgufError, GgufModel, GgufType};
use crate::model::{LoraConfig, ModelConfig, Pretrained, Transformer};

pub use super::base::check_base;
use crate::error::TrainError;

/// The script of [`add_script`].
const SCRIPT: &str = include_str!("export/generate.py");

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A whole model as a Hugging Face folder; an adapter is merged into its base.
    Merged,
    /// The adapter, in PEFT's layout.
    Adapter,
    /// A whole model as one file for llama.cpp, its weights stored so; [`ExportOptions::kind`] is not looked at.
    Gguf(GgufType),
}

/// How to export.
#[derive(Clone, Debug)]
pub struct ExportOptions {
    /// Whole model or adapter, and in which layout.
    pub form: Form,
    /// Element type of the weights.
    pub kind: Kind,
    /// Base model to merge into, in place of the one that training read.
    pub base: Option<String>,
}

/// What was written.
#[derive(Debug)]
pub struct Exported {
    /// Files in the folder.
    pub files: Vec<String>,
    /// What a reader should know.
    pub notes: Vec<String>,
}

/// Writes a player of `checkpoint` to the folder `to`, which must not exist or be empty. The folder is complete or not
/// there.
pub fn export(
    checkpoint: &Checkpoint,
    player: &PlayerFile,
    to: &Path,
    options: &ExportOptions,
) -> Result<Exported, TrainError> {
    if std::fs::read_dir(to).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(TrainError::Export(format!(
            "{} is not empty; name a new folder",
            to.display()
        )));
    }
    let partial = sibling(to);
    let write = |path: &Path| -> Result<Exported, TrainError> {
        std::fs::create_dir_all(path).map_err(|source| failed(path, source))?;
        let exported = match options.form {
            Form::Merged => hugging_face_folder(checkpoint, player, path, options)?,
            Form::Gguf(weights) => gguf_file(checkpoint, player, path, to, weights, options)?,
            Form::Adapter => adapter(player, path, options)?,
        };
        let _ = std::fs::remove_dir(to);
        std::fs::rename(path, to).map_err(|source| failed(to, source))?;
        Ok(exported)
    };
    let result = write(&partial);
    if result.is_err() {
        let _ = std::fs::remove_dir_all(&partial);
    }
    result
}

fn sibling(to: &Path) -> PathBuf {
    let name = to.file_name().unwrap_or_default().to_string_lossy();
    to.with_file_name(format!(".{name}.partial-{}", std::process::id()))
}

fn failed(path: &Path, source: std::io::Error) -> TrainError {
    TrainError::Write {
        path: path.to_owned(),
        source,
    }
}

fn refused(what: impl std::fmt::Display) -> TrainError {
    TrainError::Export(what.to_string())
}

/// The adapter's configuration and the model it stands on, where the player has one.
pub fn lora_of(player: &PlayerFile) -> Result<Option<(LoraConfig, String)>, TrainError> {
    let Some(json) = player.lora_config()? else {
        return Ok(None);
    };
    let base = json["base_model_name_or_path"]
        .as_str()
        .ok_or_else(|| refused("lora_config names no base_model_name_or_path"))?
        .to_owned();
    let lora: LoraConfig =
        serde_json::from_value(json).map_err(|e| refused(format!("lora_config: {e}")))?;
    Ok(Some((lora, base)))
}

fn config_of(player: &PlayerFile) -> Result<ModelConfig, TrainError> {
    let config: ModelConfig = serde_json::from_value(player.model_config()?)
        .map_err(|e| refused(format!("model_config: {e}")))?;
    config.validate()?;
    Ok(config)
}

/// A player with its adapter merged, without its verdict head.
struct Merged {
    config: ModelConfig,
    weights: Vec<(String, Tensor)>,
    template: Option<ChatTemplate>,
    notes: Vec<String>,
}

fn merged(
    checkpoint: &Checkpoint,
    player: &PlayerFile,
    base: Option<&str>,
) -> Result<Merged, TrainError> {
    let config = config_of(player)?;
    let mut notes = Vec::new();
    let mut weights = player.mapped_state_dict()?;
    if weights.iter().any(|(name, _)| is_head(name)) {
        notes.push("the verdict head has no place in this layout and is left out".to_owned());
        weights.retain(|(name, _)| !is_head(name));
    }
    let mut template = None;
    if let Some((lora, trained_on)) = lora_of(player)? {
        let base = base.unwrap_or(&trained_on);
        let pretrained = Pretrained::open(base)?;
        check_base(player, &pretrained, base)?;
        template = pretrained.chat_template.clone();
        let frozen = pretrained.weights(Kind::Float)?;
        let model = Transformer::frozen(&config, frozen, Device::Cpu);
        weights = model.with_adapter(lora, weights).merged();
        notes.push(format!("the adapter is merged into {base}"));
    }
    Ok(Merged {
        config,
        weights,
        template: template.or(checkpoint_template(checkpoint)?),
        notes,
    })
}

fn hugging_face_folder(
    checkpoint: &Checkpoint,
    player: &PlayerFile,
    folder: &Path,
    options: &ExportOptions,
) -> Result<Exported, TrainError> {
    let model = merged(checkpoint, player, options.base.as_deref())?;
    write_json(
        &folder.join("config.json"),
        &hugging_face(&model.config, options.kind),
    )?;
    write_weights(
        &folder.join("model.safetensors"),
        &model.weights,
        options.kind,
    )?;
    let path = folder.join("tokenizer.json");
    std::fs::write(&path, checkpoint.tokenizer()?).map_err(|source| failed(&path, source))?;
    let mut tokenizer = json!({
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": model.config.max_position_embeddings,
        "clean_up_tokenization_spaces": false,
    });
    if let Some(template) = &model.template {
        tokenizer["chat_template"] = template.source().into();
        tokenizer["eos_token"] = template.eos_token().into();
    }
    write_json(&folder.join("tokenizer_config.json"), &tokenizer)?;
    let files = [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ];
    Ok(Exported {
        files: files.map(str::to_owned).to_vec(),
        notes: model.notes,
    })
}

/// `name` is the folder as the user calls it, and names the model.
fn gguf_file(
    checkpoint: &Checkpoint,
    player: &PlayerFile,
    folder: &Path,
    name: &Path,
    weights: GgufType,
    options: &ExportOptions,
) -> Result<Exported, TrainError> {
    let model = merged(checkpoint, player, options.base.as_deref())?;
    let path = folder.join("model.gguf");
    let written = GgufModel {
        name: &name.file_name().unwrap_or_default().to_string_lossy(),
        config: &model.config,
        weights: &model.weights,
        tokenizer: &checkpoint.tokenizer()?,
        chat_template: model.template.as_ref(),
    };
    gguf_write::write(&path, &written, weights).map_err(|error| match error {
        GgufError::Io(source) => failed(&path, source),
        GgufError::NoPlace(what) => refused(format!(
            "{what}; export a Hugging Face folder, without --gguf"
        )),
    })?;
    Ok(Exported {
        files: vec!["model.gguf".into()],
        notes: model.notes,
    })
}

fn adapter(
    player: &PlayerFile,
    folder: &Path,
    options: &ExportOptions,
) -> Result<Exported, TrainError> {
    let Some((lora, trained_on)) = lora_of(player)? else {
        return Err(refused(
            "this player was trained without LoRA; export it whole, without --adapter",
        ));
    };
    let base = options.base.clone().unwrap_or(trained_on);
    let mut weights = player.mapped_state_dict()?;
    weights.retain(|(name, _)| !is_head(name));
    write_json(&folder.join("adapter_config.json"), &lora.peft_json(&base))?;
    write_weights(
        &folder.join("adapter_model.safetensors"),
        &weights,
        options.kind,
    )?;
    Ok(Exported {
        files: vec![
            "adapter_config.json".into(),
            "adapter_model.safetensors".into(),
        ],
        notes: vec![format!("load it on {base}")],
    })
}

/// Adds a Python script to an exported folder that solves problems with the model there, and the prompts that it was
/// trained with. Gives the names of the files.
pub fn add_script(checkpoint: &Checkpoint, folder: &Path) -> Result<Vec<String>, TrainError> {
    let mut files = vec![("generate.py".to_owned(), SCRIPT.to_owned())];
    for (path, text) in checkpoint.prompts()? {
        if let Some(name) = path.strip_prefix("generator/") {
            files.push((format!("prompts/{name}"), text));
        }
    }
    let dir = folder.join("prompts");
    std::fs::create_dir_all(&dir).map_err(|source| failed(&dir, source))?;
    for (name, text) in &files {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(|source| failed(&path, source))?;
    }
    Ok(files.into_iter().map(|(name, _)| name).collect())
}

/// The chat template that is kept among a checkpoint's prompts.
fn checkpoint_template(checkpoint: &Checkpoint) -> Result<Option<ChatTemplate>, TrainError> {
    super::base::take_template(&mut checkpoint.prompts()?.into_iter().collect())
}

fn is_head(name: &str) -> bool {
    name.starts_with("verdict_head.")
}

/// `config.json` as transformers reads it.
pub fn hugging_face(config: &ModelConfig, kind: Kind) -> Json {
    let mut json = serde_json::to_value(config).expect("a model configuration is plain data");
    let family = config.family();
    json["architectures"] = json!([family.class]);
    json[family.activation_key] = family.activations()[0].into();
    // Where the key is missing, readers take the published model's, which may lie beyond a smaller vocabulary.
    json["pad_token_id"] = Json::Null;
    json["torch_dtype"] = match kind {
        Kind::BFloat16 => "bfloat16",
        Kind::Half => "float16",
        _ => "float32",
    }
    .into();
    // Readers take 2048 for a bound of theirs where the key is missing.
    json["use_cache"] = true.into();
    json
}

fn write_json(path: &Path, json: &Json) -> Result<(), TrainError> {
    let text = serde_json::to_string_pretty(json).expect("JSON can be written") + "\n";
    std::fs::write(path, text).map_err(|source| failed(path, source))
}

/// A tensor whose bytes are made when they are written, so that one tensor at a time is held twice.
struct Lazy<'a> {
    tensor: &'a Tensor,
    shape: Vec<usize>,
    kind: Kind,
}

impl View for Lazy<'_> {
    fn dtype(&self) -> Dtype {
        match self.kind {
            Kind::BFloat16 => Dtype::BF16,
            Kind::Half => Dtype::F16,
            _ => Dtype::F32,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let tensor = self
            .tensor
            .detach()
            .to_device(Device::Cpu)
            .to_kind(self.kind);
        let mut bytes = vec![0; self.data_len()];
        tensor.contiguous().copy_data_u8(&mut bytes, tensor.numel());
        Cow::Owned(bytes)
    }

    fn data_len(&self) -> usize {
        self.shape.iter().product::<usize>() * self.kind.elt_size_in_bytes()
    }
}

fn write_weights(path: &Path, weights: &[(String, Tensor)], kind: Kind) -> Result<(), TrainError> {
    let views = weights.iter().map(|(name, tensor)| {
        let shape = tensor.size().iter().map(|&d| d as usize).collect();
        (
            name,
            Lazy {
                tensor,
                shape,
                kind,
            },
        )
    });
    // Readers of torch's layout ask for this mark.
    let marks = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    serialize_to_file(views, Some(marks), path)
        .map_err(|error| refused(format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::arch::FAMILIES;
    use crate::model::config::test_family;
    use crate::model::pretrained::published;

    #[test]
    fn an_exported_configuration_reads_back_as_it_was() {
        for family in FAMILIES {
            let config = ModelConfig {
                eos_token_id: vec![3, 4],
                ..test_family(family)
            };
            let text = hugging_face(&config, Kind::BFloat16).to_string();
            assert_eq!(
                published::parse(&text, Path::new("config.json")).unwrap(),
                config
            );
        }
    }
}
