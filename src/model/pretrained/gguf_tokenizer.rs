//! The tokenizer that a GGUF file carries, written as the `tokenizer.json` it came from.

use serde_json::{Value as Json, json};

use super::super::chat_template::ChatTemplate;
use super::super::tokenizer::Tokenizer;
use super::error::LoadError;
use super::gguf::{Gguf, Value};

/// Splits of Qwen2: contractions, words, single digits, punctuation, line ends.
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Splits of Llama 3: the same with up to three digits.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Kinds of tokens in `tokenizer.ggml.token_type`.
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

/// The tokenizer of a file.
pub fn tokenizer(file: &Gguf) -> Result<Tokenizer, LoadError> {
    let reader = Reader { file };
    let tokens = reader.texts("tokenizer.ggml.tokens")?;
    let merges = reader.texts("tokenizer.ggml.merges")?;
    let model = reader.text("tokenizer.ggml.model").unwrap_or_default();
    if model != "gpt2" {
        return Err(reader.unsupported("tokenizer.ggml.model", model, "gpt2 (byte-level BPE)"));
    }
    let pre = reader.text("tokenizer.ggml.pre").unwrap_or("default");
    let split = |pattern: &str| {
        json!({"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false},
        ]})
    };
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let digits = json!({"type": "Digits", "individual_digits": true});
    let (normalizer, splitter) = match pre {
        "qwen2" => (json!({"type": "NFC"}), split(QWEN2)),
        "llama-bpe" | "llama3" => (Json::Null, split(LLAMA3)),
        "smollm" => {
            let both = json!({"type": "Sequence", "pretokenizers": [digits, bytes]});
            (Json::Null, both)
        }
        "gpt-2" | "default" => (Json::Null, bytes),
        other => {
            let known = "qwen2, llama-bpe, smollm, gpt-2 and default";
            return Err(reader.unsupported("tokenizer.ggml.pre", other, known));
        }
    };
    let kinds: Vec<i64> = file
        .get("tokenizer.ggml.token_type")
        .and_then(Value::as_array)
        .unwrap_or_default()
        .iter()
        .filter_map(Value::as_int)
        .collect();
    let mut vocabulary = serde_json::Map::new();
    let mut added = Vec::new();
    for (id, token) in tokens.iter().enumerate() {
        let kind = kinds.get(id).copied().unwrap_or_default();
        if kind == CONTROL || kind == USER_DEFINED {
            added.push(json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": kind == CONTROL}));
        }
        vocabulary.insert((*token).to_owned(), id.into());
    }
    let json = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": normalizer,
        "pre_tokenizer": splitter,
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": pre == "llama-bpe" || pre == "llama3", "vocab": vocabulary, "merges": merges},
    });
    Ok(Tokenizer::from_json(&json.to_string())?)
}

/// The chat template of a file, if it has one.
pub fn chat_template(file: &Gguf) -> Result<Option<ChatTemplate>, LoadError> {
    let reader = Reader { file };
    let Some(source) = reader.text("tokenizer.chat_template") else {
        return Ok(None);
    };
    let tokens = reader.texts("tokenizer.ggml.tokens")?;
    let token = |key: &str| {
        let id = file.get(key).and_then(Value::as_int)?;
        tokens.get(usize::try_from(id).ok()?).copied()
    };
    let bos = token("tokenizer.ggml.bos_token_id").unwrap_or_default();
    let eos = token("tokenizer.ggml.eos_token_id").unwrap_or_default();
    Ok(Some(ChatTemplate::new(source, bos, eos)?))
}

struct Reader<'a> {
    file: &'a Gguf,
}

impl<'a> Reader<'a> {
    fn text(&self, key: &str) -> Option<&'a str> {
        self.file.get(key).and_then(Value::as_text)
    }

    fn texts(&self, key: &str) -> Result<Vec<&'a str>, LoadError> {
        let list = self.file.get(key).and_then(Value::as_array);
        let list = list.ok_or_else(|| LoadError::Damaged {
            path: self.file.path().to_owned(),
            what: format!(
                "its metadata has no list {key}; a model without its tokenizer is of no use here"
            ),
        })?;
        Ok(list.iter().filter_map(Value::as_text).collect())
    }

    fn unsupported(&self, key: &str, value: &str, known: &str) -> LoadError {
        LoadError::Unsupported {
            path: self.file.path().to_owned(),
            key: key.to_owned(),
            value: format!("{value:?}"),
            supported: format!(
                "known are {known}; a Hugging Face folder with tokenizer.json works for any"
            ),
        }
    }
}
