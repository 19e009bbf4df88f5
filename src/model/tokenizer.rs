//! Text to tokens and back, on the `tokenizers` crate and its `tokenizer.json`.

use std::path::{Path, PathBuf};

use tokenizers::models::bpe::BPE;
use tokenizers::{
    DecoderWrapper, Model, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper,
    TokenizerImpl,
};

/// The tokenizer that ships with the embedded default model, trained by `train-tokenizer` on the problem set.
pub const EMBEDDED: &str = include_str!("../../configs/tokenizer.json");

/// Why a tokenizer cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// The file cannot be read.
    #[error("tokenizer {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The text is no tokenizer.
    #[error("tokenizer: {0}")]
    Parse(String),
    /// A special token that the prompts use is missing.
    #[error("tokenizer: no token {0:?} in the vocabulary; the prompts need it")]
    MissingToken(String),
    /// Encoding failed.
    #[error("tokenizer: cannot encode {0} bytes of text: {1}")]
    Encode(usize, String),
}

/// A tokenizer whose model is byte-pair encoding, as those of the architectures we load are.
type BytePair = TokenizerImpl<
    BPE,
    NormalizerWrapper,
    PreTokenizerWrapper,
    PostProcessorWrapper,
    DecoderWrapper,
>;

/// A tokenizer with its special tokens.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    json: String,
}

impl Tokenizer {
    /// Reads the text of a `tokenizer.json`.
    pub fn from_json(json: &str) -> Result<Self, TokenizerError> {
        // Asked for any model, the library parses the model three times over to find out which it is.
        let inner = match serde_json::from_str::<BytePair>(json) {
            Ok(byte_pair) => byte_pair.into(),
            Err(_) => json
                .parse::<tokenizers::Tokenizer>()
                .map_err(|e| TokenizerError::Parse(e.to_string()))?,
        };
        Ok(Self {
            inner,
            json: json.to_owned(),
        })
    }

    /// Reads a `tokenizer.json` file; the name `embedded` stands for [`EMBEDDED`].
    pub fn open(path: &Path) -> Result<Self, TokenizerError> {
        if path.as_os_str() == "embedded" {
            return Self::from_json(EMBEDDED);
        }
        let json = std::fs::read_to_string(path).map_err(|source| TokenizerError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::from_json(&json)
    }

    /// The `tokenizer.json` this tokenizer was made from.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// Number of token ids, special tokens included.
    pub fn vocab_size(&self) -> usize {
        // The library would copy the vocabulary to count it.
        let model = self.inner.get_model();
        let added = self.inner.get_added_vocabulary().get_vocab();
        let beside = added.keys().filter(|t| model.token_to_id(t).is_none());
        model.get_vocab_size() + beside.count()
    }

    /// The id of a special token.
    pub fn special(&self, token: &str) -> Result<u32, TokenizerError> {
        self.inner
            .token_to_id(token)
            .ok_or_else(|| TokenizerError::MissingToken(token.to_owned()))
    }

    /// Whether `text` is one token that stands outside the vocabulary of plain text.
    pub fn is_special(&self, text: &str) -> bool {
        let added = self.inner.get_added_vocabulary();
        added.is_special_token(text)
    }

    /// Token ids of `text`; special tokens in it are recognised.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let encoding = self.inner.encode_fast(text, false);
        encoding
            .map(|e| e.get_ids().to_vec())
            .map_err(|e| TokenizerError::Encode(text.len(), e.to_string()))
    }

    /// Text of `tokens`, special tokens left out. Bytes that are no UTF-8 become replacement characters.
    pub fn decode(&self, tokens: &[u32]) -> String {
        self.inner.decode(tokens, true).unwrap_or_default()
    }
}
