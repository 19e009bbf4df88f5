//! `config.json` as it is published, read into a [`ModelConfig`]: defaults filled in, what this engine would run wrongly
//! refused by name.

use std::path::Path;

use serde_json::Value as Json;

use super::super::config::ModelConfig;
use super::super::rope::{ROPE_TYPES, RopeScaling};
use super::error::{ARCHITECTURES, LoadError};

/// Reads the text of a published `config.json`; `path` is for messages.
pub fn parse(text: &str, path: &Path) -> Result<ModelConfig, LoadError> {
    let json: Json = serde_json::from_str(text).map_err(|error| LoadError::Damaged {
        path: path.to_owned(),
        what: format!("no JSON: {error}"),
    })?;
    Reader { json: &json, path }.config()
}

struct Reader<'a> {
    json: &'a Json,
    path: &'a Path,
}

impl Reader<'_> {
    fn config(&self) -> Result<ModelConfig, LoadError> {
        let model_type = self.json["model_type"].as_str().unwrap_or_default();
        if !ARCHITECTURES.contains(&model_type) {
            let known = format!("known architectures are {}", ARCHITECTURES.join(", "));
            return Err(self.unsupported("model_type", &known));
        }
        self.refuse_variants()?;
        let hidden_size = self.int("hidden_size")?;
        let num_attention_heads = self.int("num_attention_heads")?;
        let rope = match &self.json["rope_parameters"] {
            Json::Null => &self.json["rope_scaling"],
            parameters => parameters,
        };
        let rope_theta = [&self.json["rope_theta"], &rope["rope_theta"]]
            .into_iter()
            .find_map(Json::as_f64)
            .unwrap_or(10_000.0);
        let config = ModelConfig {
            model_type: model_type.to_owned(),
            vocab_size: self.int("vocab_size")?,
            hidden_size,
            intermediate_size: self.int("intermediate_size")?,
            num_hidden_layers: self.int("num_hidden_layers")?,
            num_attention_heads,
            num_key_value_heads: self.int_or("num_key_value_heads", num_attention_heads)?,
            head_dim: self.int_or("head_dim", hidden_size / num_attention_heads.max(1))?,
            max_position_embeddings: self.int_or("max_position_embeddings", 2048)?,
            rms_norm_eps: self.json["rms_norm_eps"].as_f64().unwrap_or(1e-6),
            rope_theta,
            tie_word_embeddings: self.json["tie_word_embeddings"].as_bool().unwrap_or(false),
            attention_bias: self.json["attention_bias"]
                .as_bool()
                .unwrap_or(model_type == "qwen2"),
            rope_scaling: self.rope_scaling(rope)?,
            eos_token_id: ids(&self.json["eos_token_id"]),
        };
        config.validate()?;
        Ok(config)
    }

    /// Variants of the known architectures that would run, and give other numbers.
    fn refuse_variants(&self) -> Result<(), LoadError> {
        let activation = self.json["hidden_act"].as_str().unwrap_or("silu");
        if !["silu", "swish"].contains(&activation) {
            return Err(self.unsupported("hidden_act", "the feed-forward layer runs silu"));
        }
        if self.json["mlp_bias"].as_bool() == Some(true) {
            return Err(self.unsupported("mlp_bias", "the feed-forward layer runs without biases"));
        }
        let layers = self.json["num_hidden_layers"].as_i64().unwrap_or(0);
        let windowed = match self.json["layer_types"].as_array() {
            Some(types) => types.iter().any(|t| t == "sliding_attention"),
            None => {
                self.json["use_sliding_window"].as_bool() == Some(true)
                    && self.json["max_window_layers"].as_i64().unwrap_or(0) < layers
            }
        };
        if windowed {
            return Err(self.unsupported("use_sliding_window", "only full attention runs here"));
        }
        if !self.json["quantization_config"].is_null() {
            let method = "quantization_config.quant_method";
            return Err(LoadError::Unsupported {
                path: self.path.to_owned(),
                key: method.into(),
                value: self.json["quantization_config"]["quant_method"].to_string(),
                supported: "take the unquantised folder, or a GGUF file".into(),
            });
        }
        Ok(())
    }

    fn rope_scaling(&self, rope: &Json) -> Result<Option<RopeScaling>, LoadError> {
        let name = rope["rope_type"].as_str().or(rope["type"].as_str());
        let Some(name) = name.filter(|name| *name != "default") else {
            return Ok(None);
        };
        if !ROPE_TYPES.contains(&name) {
            return Err(LoadError::Unsupported {
                path: self.path.to_owned(),
                key: "rope_scaling.rope_type".into(),
                value: format!("{name:?}"),
                supported: format!("known scalings are {}", ROPE_TYPES.join(", ")),
            });
        }
        // Older files say `type`, newer ones `rope_type`, some both.
        let mut fields = rope.clone();
        if let Some(fields) = fields.as_object_mut() {
            fields.remove("type");
            fields.insert("rope_type".into(), name.into());
        }
        let scaling = serde_json::from_value(fields).map_err(|error| LoadError::Damaged {
            path: self.path.to_owned(),
            what: format!("rope_scaling: {error}"),
        })?;
        Ok(Some(scaling))
    }

    fn int(&self, key: &str) -> Result<i64, LoadError> {
        self.json[key].as_i64().ok_or_else(|| LoadError::Damaged {
            path: self.path.to_owned(),
            what: format!("{key} is {}, expected a whole number", self.json[key]),
        })
    }

    fn int_or(&self, key: &str, default: i64) -> Result<i64, LoadError> {
        match &self.json[key] {
            Json::Null => Ok(default),
            _ => self.int(key),
        }
    }

    fn unsupported(&self, key: &str, supported: &str) -> LoadError {
        LoadError::Unsupported {
            path: self.path.to_owned(),
            key: key.into(),
            value: self.json[key].to_string(),
            supported: supported.into(),
        }
    }
}

/// One token id or a list of them.
pub fn ids(json: &Json) -> Vec<u32> {
    match json {
        Json::Array(list) => list.iter().flat_map(ids).collect(),
        one => Vec::from_iter(one.as_u64().map(|id| id as u32)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QWEN2: &str = r#"{"architectures": ["Qwen2ForCausalLM"], "bos_token_id": 151643, "eos_token_id": [151645, 151643],
        "hidden_act": "silu", "hidden_size": 896, "intermediate_size": 4864, "max_position_embeddings": 32768,
        "max_window_layers": 24, "model_type": "qwen2", "num_attention_heads": 14, "num_hidden_layers": 24,
        "num_key_value_heads": 2, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "sliding_window": 32768,
        "tie_word_embeddings": true, "use_sliding_window": false, "vocab_size": 151936}"#;

    fn edited(edit: impl FnOnce(&mut Json)) -> Result<ModelConfig, LoadError> {
        let mut json: Json = serde_json::from_str(QWEN2).unwrap();
        edit(&mut json);
        parse(&json.to_string(), Path::new("config.json"))
    }

    #[test]
    fn qwen2_has_its_biases_and_its_size() {
        let config = edited(|_| {}).unwrap();
        assert!(config.attention_bias && !config.output_bias() && !config.qk_norm());
        assert_eq!((config.head_dim, config.eos_token_id.len()), (64, 2));
        assert_eq!(config.parameters(), 494_032_768);
    }

    #[test]
    fn both_spellings_of_rope_scaling_are_read() {
        let old =
            edited(|c| c["rope_scaling"] = serde_json::json!({"type": "yarn", "factor": 4.0}));
        let new = edited(|c| {
            c["rope_parameters"] =
                serde_json::json!({"rope_type": "yarn", "factor": 4.0, "rope_theta": 1000000.0});
        });
        assert_eq!(old.unwrap().rope_scaling, new.unwrap().rope_scaling);
        let plain = edited(|c| c["rope_parameters"] = serde_json::json!({"rope_type": "default"}));
        assert_eq!(plain.unwrap().rope_scaling, None);
    }

    #[test]
    fn what_would_run_wrongly_is_refused_by_name() {
        type Edit = fn(&mut Json);
        let cases: [(&str, Edit); 7] = [
            ("known architectures are llama, qwen2, qwen3", |c| {
                c["model_type"] = "gpt2".into()
            }),
            ("hidden_act is \"gelu\"", |c| {
                c["hidden_act"] = "gelu".into()
            }),
            ("use_sliding_window is true", |c| {
                c["use_sliding_window"] = true.into();
                c["max_window_layers"] = 12.into();
            }),
            ("quant_method is \"gptq\"", |c| {
                c["quantization_config"] = serde_json::json!({"quant_method": "gptq"})
            }),
            ("rope_scaling.rope_type is \"longrope\"", |c| {
                c["rope_scaling"] = serde_json::json!({"rope_type": "longrope"})
            }),
            ("hidden_size is null, expected a whole number", |c| {
                c["hidden_size"] = Json::Null
            }),
            ("num_key_value_heads = 3", |c| {
                c["num_key_value_heads"] = 3.into()
            }),
        ];
        for (said, edit) in cases {
            let error = edited(edit).unwrap_err().to_string();
            assert!(error.contains(said), "wanted {said:?}, got {error}");
        }
    }
}
