//! Published models: weights, configuration, tokenizer and chat template, out of a Hugging Face folder, a GGUF file or the
//! hub.
//!
//! ```text
//! spec ─┬─ folder: config.json, *.safetensors, tokenizer.json, chat template ─┐
//!       ├─ file.gguf: metadata and quantised tensors ─────────────────────────┼─> Pretrained
//!       └─ OWNER/NAME[@REVISION]: the hub's cache, then as a folder ──────────┘
//! ```
//!
//! Files are mapped, and weights are converted one tensor at a time, so that loading takes the model's size plus one
//! tensor.

pub mod dequantize;
mod error;
pub mod gguf;
mod gguf_model;
mod gguf_rope;
mod gguf_tokenizer;
pub mod gguf_write;
mod hub;
mod mapped;
pub mod published;
mod published_rope;
mod weights;

use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use tch::{Kind, Tensor};

use super::chat_template::ChatTemplate;
use super::config::ModelConfig;
use super::rope::Rope;
use super::tokenizer::Tokenizer;

pub use error::LoadError;
pub use hub::HubId;
pub use mapped::{available_memory, check_memory};

use gguf::Gguf;
use weights::Weights;

/// A published model, opened; its weights are read by [`Pretrained::weights`].
pub struct Pretrained {
    /// The architecture.
    pub config: ModelConfig,
    /// The tokenizer.
    pub tokenizer: Tokenizer,
    /// How conversations are written, of models that were tuned on them.
    pub chat_template: Option<ChatTemplate>,
    /// The folder or file.
    pub path: PathBuf,
    source: Source,
}

enum Source {
    Folder(Weights),
    Gguf(Gguf),
}

/// All weights by name.
pub type NamedWeights = Vec<(String, Tensor)>;

impl Pretrained {
    /// Opens a folder, a GGUF file, or the id of a model on the hub.
    pub fn open(spec: &str) -> Result<Self, LoadError> {
        let opened = Opened::find(spec)?;
        let tokenizer = opened.tokenizer()?;
        Ok(opened.with(tokenizer))
    }

    /// Opens a model and its weights, of the kind that `kind` chooses, to be read but not trained: weights that a folder
    /// stores in that kind are not copied, so the files must stay as they are. The tokenizer is parsed beside them, which
    /// takes a good part of a second for a large vocabulary.
    pub fn open_frozen(
        spec: &str,
        kind: impl FnOnce(&ModelConfig) -> Kind,
    ) -> Result<(Self, NamedWeights), LoadError> {
        let opened = Opened::find(spec)?;
        let kind = kind(&opened.config);
        let (tokenizer, weights) = std::thread::scope(|scope| {
            let tokenizer = scope.spawn(|| opened.tokenizer());
            let weights = weights(&opened.source, &opened.path, &opened.config, kind, true);
            (tokenizer.join().expect("parsing does not panic"), weights)
        });
        let tokenizer = tokenizer?;
        Ok((opened.with(tokenizer), weights?))
    }

    /// All weights in the order of [`ModelConfig::weight_shapes`], of kind `kind`. Refused beforehand where the system
    /// has less memory left than they take.
    pub fn weights(&self, kind: Kind) -> Result<NamedWeights, LoadError> {
        weights(&self.source, &self.path, &self.config, kind, false)
    }
}

/// A model whose tokenizer has not been parsed yet.
struct Opened {
    config: ModelConfig,
    chat_template: Option<ChatTemplate>,
    path: PathBuf,
    source: Source,
}

impl Opened {
    fn find(spec: &str) -> Result<Self, LoadError> {
        let path = Path::new(spec);
        if path.is_dir() {
            Self::folder(path)
        } else if path.is_file() {
            Self::gguf(path)
        } else if let Some(id) = HubId::parse(spec) {
            Self::folder(&id.folder()?)
        } else {
            Err(LoadError::NotAModel(spec.to_owned()))
        }
    }

    fn gguf(path: &Path) -> Result<Self, LoadError> {
        let file = Gguf::open(path)?;
        Ok(Self {
            config: gguf_model::config(&file)?,
            chat_template: gguf_tokenizer::chat_template(&file)?,
            path: path.to_owned(),
            source: Source::Gguf(file),
        })
    }

    fn folder(folder: &Path) -> Result<Self, LoadError> {
        let path = folder.join("config.json");
        let text = read(
            &path,
            "a model folder has config.json, safetensors and tokenizer.json",
        )?;
        let mut config = published::parse(&text, &path)?;
        if let Some(text) = read_optional(&folder.join("generation_config.json"))? {
            let path = folder.join("generation_config.json");
            let ids = published::ids(&parse_json(&text, &path)?["eos_token_id"]);
            if !ids.is_empty() {
                config.eos_token_id = ids;
            }
        }
        Ok(Self {
            config,
            chat_template: folder_template(folder)?,
            path: folder.to_owned(),
            source: Source::Folder(Weights::open(folder)?),
        })
    }

    /// The tokenizer, which must fit the embeddings.
    fn tokenizer(&self) -> Result<Tokenizer, LoadError> {
        let tokenizer = match &self.source {
            Source::Folder(_) => {
                let path = self.path.join("tokenizer.json");
                let text = read(&path, "the fast tokenizer; a slow one alone is not read")?;
                Tokenizer::from_json(&text)?
            }
            Source::Gguf(file) => gguf_tokenizer::tokenizer(file)?,
        };
        let tokens = tokenizer.vocab_size();
        if tokens as i64 > self.config.vocab_size {
            return Err(LoadError::TokenizerSize {
                path: self.path.clone(),
                tokens,
                embeddings: self.config.vocab_size,
            });
        }
        Ok(tokenizer)
    }

    fn with(self, tokenizer: Tokenizer) -> Pretrained {
        Pretrained {
            config: self.config,
            tokenizer,
            chat_template: self.chat_template,
            path: self.path,
            source: self.source,
        }
    }
}

/// See [`Pretrained::weights`] and, for `mapped`, [`Pretrained::open_frozen`].
fn weights(
    source: &Source,
    path: &Path,
    config: &ModelConfig,
    kind: Kind,
    mapped: bool,
) -> Result<NamedWeights, LoadError> {
    let shapes = config.weight_shapes();
    let sizes = shapes
        .iter()
        .map(|(_, shape)| shape.iter().product::<i64>() as u64);
    let largest = sizes.clone().max().unwrap_or(0) * 4;
    let width = kind.elt_size_in_bytes() as u64;
    let angles = Rope::bytes(config, 1);
    check_memory(path, sizes.sum::<u64>() * width + largest + angles)?;
    shapes
        .into_iter()
        .map(|(name, shape)| {
            let tensor = match source {
                Source::Folder(weights) => weights.tensor(&name, &shape, kind, mapped)?,
                Source::Gguf(file) => gguf_model::weight(file, config, &name, &shape, kind)?,
            };
            Ok((name, tensor))
        })
        .collect()
}

impl Pretrained {
    /// BLAKE3 of the weight files, one behind the other, in hexadecimal: tells whether an adapter's base is the one it
    /// was trained on.
    pub fn hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        match &self.source {
            Source::Folder(weights) => weights.files().for_each(|bytes| {
                hasher.update(bytes);
            }),
            Source::Gguf(file) => {
                hasher.update(file.bytes());
            }
        }
        hasher.finalize().to_hex().to_string()
    }
}

/// The template of a folder: a file of its own, else in the tokenizer's configuration.
fn folder_template(folder: &Path) -> Result<Option<ChatTemplate>, LoadError> {
    let path = folder.join("tokenizer_config.json");
    let json = match read_optional(&path)? {
        Some(text) => parse_json(&text, &path)?,
        None => Json::Null,
    };
    // A token is text, or an object with its text and how it is matched.
    let token = |key: &str| {
        let token = &json[key];
        let text = token.as_str().or(token["content"].as_str());
        text.unwrap_or_default().to_owned()
    };
    let source = match read_optional(&folder.join("chat_template.jinja"))? {
        Some(text) => Some(text),
        None => match &json["chat_template"] {
            Json::Array(named) => named
                .iter()
                .find(|entry| entry["name"] == "default")
                .and_then(|entry| entry["template"].as_str().map(str::to_owned)),
            one => one.as_str().map(str::to_owned),
        },
    };
    source
        .map(|source| ChatTemplate::new(&source, &token("bos_token"), &token("eos_token")))
        .transpose()
        .map_err(LoadError::from)
}

fn parse_json(text: &str, path: &Path) -> Result<Json, LoadError> {
    serde_json::from_str(text).map_err(|error| LoadError::Damaged {
        path: path.to_owned(),
        what: format!("no JSON: {error}"),
    })
}

fn read(path: &Path, needed: &str) -> Result<String, LoadError> {
    read_optional(path)?.ok_or_else(|| LoadError::Missing {
        path: path.to_owned(),
        needed: needed.to_owned(),
    })
}

fn read_optional(path: &Path) -> Result<Option<String>, LoadError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(LoadError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}
