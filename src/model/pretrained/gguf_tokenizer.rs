//! The tokenizer that a GGUF file carries, written as the `tokenizer.json` it came from, and the way back.

use serde_json::{Value as Json, json};

use super::super::chat_template::ChatTemplate;
use super::super::tokenizer::Tokenizer;
use super::error::LoadError;
use super::gguf::{Gguf, Value};

/// Splits of Qwen2: contractions, words, single digits, punctuation, line ends.
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Splits of Llama 3: the same with up to three digits.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Ways to split text that are read and written, by their names in `tokenizer.ggml.pre`.
const SPLITS: [&str; 6] = ["qwen2", "llama-bpe", "llama3", "smollm", "gpt-2", "default"];

/// Kinds of tokens in `tokenizer.ggml.token_type`.
const NORMAL: i64 = 1;
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;
const UNUSED: i64 = 5;

/// Normaliser and splitter of a `tokenizer.json`, by the name of the way to split.
fn splitter(name: &str) -> Option<(Json, Json)> {
    let split = |pattern: &str| {
        json!({"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false},
        ]})
    };
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let digits = json!({"type": "Digits", "individual_digits": true});
    Some(match name {
        "qwen2" => (json!({"type": "NFC"}), split(QWEN2)),
        "llama-bpe" | "llama3" => (Json::Null, split(LLAMA3)),
        "smollm" => {
            let both = json!({"type": "Sequence", "pretokenizers": [digits, bytes]});
            (Json::Null, both)
        }
        "gpt-2" | "default" => (Json::Null, bytes),
        _ => return None,
    })
}

/// What a splitter does, step by step, whatever else its `tokenizer.json` says.
fn steps(splitter: &Json) -> Vec<String> {
    match splitter["type"].as_str() {
        Some("Sequence") => {
            let parts = splitter["pretokenizers"].as_array();
            parts.into_iter().flatten().flat_map(steps).collect()
        }
        Some("Split") => vec![format!("split {}", splitter["pattern"]["Regex"])],
        Some("ByteLevel") => {
            let options = ["use_regex", "add_prefix_space"].map(|key| &splitter[key] == true);
            vec![format!("bytes {options:?}")]
        }
        Some("Digits") => vec![format!("digits {}", splitter["individual_digits"])],
        _ => vec![splitter.to_string()],
    }
}

/// The metadata that [`tokenizer`] and [`chat_template`] read, for a model with `rows` embeddings. The error says what
/// in the `tokenizer.json` the format has no place for.
pub fn metadata(
    json: &str,
    rows: usize,
    end: Option<u32>,
    template: Option<&ChatTemplate>,
) -> Result<Vec<(String, Value)>, String> {
    let json: Json = serde_json::from_str(json).map_err(|error| error.to_string())?;
    let given = steps(&json["pre_tokenizer"]);
    let known = |name: &&str| splitter(name).is_some_and(|(_, known)| steps(&known) == given);
    let name = SPLITS.into_iter().find(known).ok_or_else(|| {
        format!(
            "GGUF knows the splits of some published tokenizers ({}) and has no place for this one's: {}",
            SPLITS.join(", "),
            given.join(", ")
        )
    })?;
    let mut tokens: Vec<(String, i64)> =
        (0..rows).map(|id| (format!("[PAD{id}]"), UNUSED)).collect();
    let mut place = |id: Option<u64>, token: &str, kind: i64| {
        let place = id.and_then(|id| tokens.get_mut(id as usize));
        *place.ok_or_else(|| format!("token {token:?} has no row among {rows} embeddings"))? =
            (token.to_owned(), kind);
        Ok::<_, String>(())
    };
    for (token, id) in json["model"]["vocab"].as_object().into_iter().flatten() {
        place(id.as_u64(), token, NORMAL)?;
    }
    for added in json["added_tokens"].as_array().into_iter().flatten() {
        let kind = if added["special"] == true {
            CONTROL
        } else {
            USER_DEFINED
        };
        let content = added["content"].as_str().unwrap_or_default();
        place(added["id"].as_u64(), content, kind)?;
    }
    let merges = json["model"]["merges"].as_array().into_iter().flatten();
    // A merge is a pair, in older files one text.
    let merges = merges.map(
        |merge| match (merge.as_str(), merge[0].as_str(), merge[1].as_str()) {
            (Some(text), ..) => Ok(Value::Text(text.to_owned())),
            (None, Some(left), Some(right)) => Ok(Value::Text(format!("{left} {right}"))),
            _ => Err(format!("{merge} is no merge of two tokens")),
        },
    );
    let merges = merges.collect::<Result<_, _>>()?;
    let id_of = |token: &str| tokens.iter().position(|(known, _)| known == token);
    let mut all = vec![
        ("model", Value::Text("gpt2".to_owned())),
        ("pre", Value::Text(name.to_owned())),
        ("merges", Value::Array(merges)),
        ("add_bos_token", Value::Bool(false)),
    ];
    if let Some(id) = end {
        all.push(("eos_token_id", Value::Int(id.into())));
    }
    if let Some(id) = template.and_then(|template| id_of(template.bos_token())) {
        all.push(("bos_token_id", Value::Int(id as i128)));
    }
    let (tokens, kinds): (Vec<Value>, Vec<Value>) = tokens
        .into_iter()
        .map(|(token, kind)| (Value::Text(token), Value::Int(kind.into())))
        .unzip();
    all.push(("tokens", Value::Array(tokens)));
    all.push(("token_type", Value::Array(kinds)));
    let mut all: Vec<(String, Value)> = all
        .into_iter()
        .map(|(key, value)| (format!("tokenizer.ggml.{key}"), value))
        .collect();
    if let Some(template) = template {
        all.push((
            "tokenizer.chat_template".to_owned(),
            Value::Text(template.source().to_owned()),
        ));
    }
    Ok(all)
}

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
    let (normalizer, splitter) = splitter(pre)
        .ok_or_else(|| reader.unsupported("tokenizer.ggml.pre", pre, &SPLITS.join(", ")))?;
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
