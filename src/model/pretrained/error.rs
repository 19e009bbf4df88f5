//! Why a published model cannot be used, each with the file and what would be right.

use std::path::PathBuf;

use super::super::config::ModelConfigError;
use super::super::tokenizer::TokenizerError;

/// Why a model cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file that a model folder must have is not there.
    #[error("{} is missing: {needed}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// What it is needed for.
        needed: String,
    },
    /// A file is damaged, or not what its name says.
    #[error("{}: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        what: String,
    },
    /// A setting that this engine does not run.
    #[error("{}: {key} is {value}; {supported}", path.display())]
    Unsupported {
        /// The file that says so.
        path: PathBuf,
        /// The key.
        key: String,
        /// Its value.
        value: String,
        /// What would be right.
        supported: String,
    },
    /// A tensor that the architecture needs is not there, or has another shape.
    #[error("{}: {name} is {found}, expected {expected}", path.display())]
    Weight {
        /// The file or folder.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its shape, or `missing`.
        found: String,
        /// The architecture's shape.
        expected: String,
    },
    /// The tokenizer has more ids than the model has embeddings.
    #[error(
        "{}: the tokenizer has {tokens} tokens, the model has embeddings for {embeddings}; they are not of one model",
        path.display()
    )]
    TokenizerSize {
        /// The model.
        path: PathBuf,
        /// Ids of the tokenizer.
        tokens: usize,
        /// Rows of the embedding.
        embeddings: i64,
    },
    /// The model and what it takes to run it do not fit into memory.
    #[error(
        "{}: {needed_mb} MB are needed to load it, {available_mb} MB are available; take a smaller model, or free memory",
        path.display()
    )]
    Memory {
        /// The model.
        path: PathBuf,
        /// Megabytes needed.
        needed_mb: u64,
        /// Megabytes that the system would give.
        available_mb: u64,
    },
    /// Neither a folder, nor a file, nor the id of a model on the hub.
    #[error(
        "{0:?} is no folder and no file, and does not read as a hub id such as `Qwen/Qwen2.5-Coder-0.5B-Instruct`"
    )]
    NotAModel(String),
    /// The hub cannot be reached, or does not have the file.
    #[error(
        "{id} (revision {revision}): {file} is not in the cache {} and cannot be fetched: {message}; check the id, the \
         network and HF_TOKEN, or give the path of a folder",
        cache.display()
    )]
    Hub {
        /// The model's id.
        id: String,
        /// Branch, tag or commit.
        revision: String,
        /// The file asked for.
        file: String,
        /// Folder that was looked into first.
        cache: PathBuf,
        /// What the hub's client said.
        message: String,
    },
    /// The tokenizer does not parse.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The sizes do not fit one another.
    #[error(transparent)]
    Config(#[from] ModelConfigError),
    /// The chat template does not parse or render.
    #[error(transparent)]
    ChatTemplate(#[from] super::super::chat_template::ChatTemplateError),
    /// LibTorch refused a tensor.
    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),
}
