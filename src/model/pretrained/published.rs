//! `config.json` as it is published, read into a [`ModelConfig`]: defaults filled in, what this engine would run wrongly
//! refused by name.

use std::path::Path;

use serde_json::Value as Json;

use super::super::arch::{Bias, Family, Windows, all_but_each};
use super::super::config::{LayerType, ModelConfig};
use super::error::LoadError;
use super::published_rope;

/// Reads the text of a published `config.json`; `path` is for messages.
pub fn parse(text: &str, path: &Path) -> Result<ModelConfig, LoadError> {
    let mut json: Json = serde_json::from_str(text).map_err(|error| LoadError::Damaged {
        path: path.to_owned(),
        what: format!("no JSON: {error}"),
    })?;
    let model_type = json["model_type"].as_str().unwrap_or_default();
    let Some(family) = Family::of_config(model_type) else {
        let known = Family::list(|family| family.model_type);
        let known = format!("known architectures are {known}");
        return Err(Reader { json: &json, path }.unsupported("model_type", &known));
    };
    if let Some(keys) = json.as_object_mut() {
        for (key, value) in family.defaults() {
            keys.entry(key).or_insert(value);
        }
    }
    Reader { json: &json, path }.config(family)
}

struct Reader<'a> {
    json: &'a Json,
    path: &'a Path,
}

impl Reader<'_> {
    fn config(&self, family: &Family) -> Result<ModelConfig, LoadError> {
        self.refuse_variants(family)?;
        let defaults = family.defaults();
        // Of a key that only some families have.
        let own = |key: &str| defaults.contains_key(key).then(|| &self.json[key]);
        let hidden_size = self.int("hidden_size")?;
        let layers = self.int("num_hidden_layers")?;
        let num_attention_heads = self.int("num_attention_heads")?;
        let whole = |value: &Json| {
            let number = value.as_f64().filter(|number| number.fract() == 0.0);
            let number = number.map(|number| number as i64);
            number
                .ok_or_else(|| self.unsupported("query_pre_attn_scalar", "whole numbers are read"))
        };
        let rope = published_rope::read(self.json, self.path, own("rope_local_base_freq"))?;
        let layer_types = self.layer_types(family, layers)?;
        let mut config = ModelConfig {
            model_type: family.model_type.to_owned(),
            vocab_size: self.int("vocab_size")?,
            hidden_size,
            intermediate_size: self.int("intermediate_size")?,
            num_hidden_layers: layers,
            num_attention_heads,
            num_key_value_heads: self.int_or("num_key_value_heads", num_attention_heads)?,
            head_dim: self.int_or("head_dim", hidden_size / num_attention_heads.max(1))?,
            max_position_embeddings: self.int("max_position_embeddings")?,
            rms_norm_eps: self.json["rms_norm_eps"].as_f64().unwrap_or(1e-6),
            rope_theta: rope.theta,
            tie_word_embeddings: self.json["tie_word_embeddings"].as_bool().unwrap_or(false),
            attention_bias: match family.bias {
                Bias::QueryKeyValue => true,
                Bias::Configured => self.json["attention_bias"].as_bool().unwrap_or(false),
            },
            rope_scaling: rope.scaling,
            eos_token_id: ids(&self.json["eos_token_id"]),
            sliding_window: match layer_types.is_empty() {
                true => None,
                false => self.json["sliding_window"].as_i64(),
            },
            layer_types,
            rope_local_base_freq: rope.local_theta,
            no_rope_layers: Vec::new(),
            query_pre_attn_scalar: own("query_pre_attn_scalar").map(whole).transpose()?,
        };
        if let Some(interval) = family.no_rope_layer_interval {
            let interval = self.int_or("no_rope_layer_interval", interval)?;
            config.no_rope_layers = match &self.json["no_rope_layers"] {
                Json::Array(listed) => {
                    let flag = |value: &Json| u8::from(value != 0 && value != false);
                    listed.iter().map(flag).collect()
                }
                _ => all_but_each(interval, layers).map(u8::from).collect(),
            };
        }
        config.validate()?;
        Ok(config)
    }

    /// What each layer attends to; nothing where all see everything, unless the family has layers that do not.
    fn layer_types(&self, family: &Family, layers: i64) -> Result<Vec<LayerType>, LoadError> {
        let kind = |slides: bool| match slides {
            true => LayerType::SlidingAttention,
            false => LayerType::FullAttention,
        };
        let listed: Option<Vec<LayerType>> = match &self.json["layer_types"] {
            Json::Null => None,
            listed => Some(serde_json::from_value(listed.clone()).map_err(|_| {
                let known = "full_attention and sliding_attention run here";
                self.unsupported("layer_types", known)
            })?),
        };
        let switched = self.json["use_sliding_window"].as_bool() == Some(true);
        let slides = |types: &[LayerType]| types.contains(&LayerType::SlidingAttention);
        match family.windows {
            Windows::AllButEach => Ok(match listed {
                Some(listed) => listed,
                None => {
                    let pattern = self.int("sliding_window_pattern")?;
                    all_but_each(pattern, layers).map(kind).collect()
                }
            }),
            Windows::AfterMaxWindowLayers if switched => {
                let from = self.int("max_window_layers")?;
                let types = listed
                    .unwrap_or_else(|| (0..layers).map(|layer| kind(layer >= from)).collect());
                // Without a window all see everything, as in transformers.
                let windowed = slides(&types) && !self.json["sliding_window"].is_null();
                Ok(if windowed { types } else { Vec::new() })
            }
            _ if switched => Err(self.unsupported(
                "use_sliding_window",
                "only full attention runs in this architecture",
            )),
            _ if slides(&listed.unwrap_or_default()) => Err(self.unsupported(
                "layer_types",
                "only full attention runs in this architecture without use_sliding_window",
            )),
            _ => Ok(Vec::new()),
        }
    }

    /// Variants of the known architectures that would run, and give other numbers.
    fn refuse_variants(&self, family: &Family) -> Result<(), LoadError> {
        let known = family.activations();
        let activation = self.json[family.activation_key].as_str();
        if !known.contains(&activation.unwrap_or(known[0])) {
            let runs = format!("the feed-forward layer runs {}", known[0]);
            return Err(self.unsupported(family.activation_key, &runs));
        }
        if self.json["mlp_bias"].as_bool() == Some(true) {
            return Err(self.unsupported("mlp_bias", "the feed-forward layer runs without biases"));
        }
        for key in ["attn_logit_softcapping", "final_logit_softcapping"] {
            if !self.json[key].is_null() {
                return Err(self.unsupported(key, "logits are not capped here"));
            }
        }
        if self.json["use_bidirectional_attention"].as_bool() == Some(true) {
            let runs = "positions see only what came before them here";
            return Err(self.unsupported("use_bidirectional_attention", runs));
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
        assert!(config.attention_bias && !config.output_bias() && !config.family().qk_norm);
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
        let cases: [(&str, Edit); 11] = [
            ("known architectures are llama, qwen2, qwen3", |c| {
                c["model_type"] = "gpt2".into()
            }),
            ("hidden_act is \"gelu\"", |c| {
                c["hidden_act"] = "gelu".into()
            }),
            ("layer_types is [\"sliding_attention\"]", |c| {
                c["layer_types"] = serde_json::json!(["sliding_attention"]);
            }),
            ("use_sliding_window is true", |c| {
                c["model_type"] = "llama".into();
                c["use_sliding_window"] = true.into();
            }),
            ("layer_types is [\"chunked_attention\"]", |c| {
                c["layer_types"] = serde_json::json!(["chunked_attention"]);
            }),
            ("final_logit_softcapping is 30.0", |c| {
                c["final_logit_softcapping"] = 30.0.into();
            }),
            ("hidden_activation is \"gelu\"", |c| {
                c["model_type"] = "gemma3_text".into();
                c["hidden_activation"] = "gelu".into();
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

    #[test]
    fn layers_with_a_window_are_those_that_transformers_gives_one() {
        let slides = |config: &ModelConfig| -> Vec<bool> {
            let layers = 0..config.num_hidden_layers as usize;
            layers.map(|layer| config.window(layer).is_some()).collect()
        };
        let qwen = edited(|c| {
            c["use_sliding_window"] = true.into();
            c["max_window_layers"] = 20.into();
            c["sliding_window"] = 512.into();
        });
        let qwen = qwen.unwrap();
        assert_eq!(slides(&qwen), [[false; 20].as_slice(), &[true; 4]].concat());
        assert_eq!(qwen.window(23), Some(512));
        // All layers are before `max_window_layers`.
        let full = edited(|c| c["use_sliding_window"] = true.into()).unwrap();
        assert_eq!((full.layer_types, full.sliding_window), (Vec::new(), None));

        let gemma = parse(GEMMA3, Path::new("config.json")).unwrap();
        let pattern = [true, true, true, true, true, false];
        assert_eq!(slides(&gemma), pattern.repeat(3));
        assert_eq!(gemma.rope_bases(), [(1e6, None), (1e4, None)]);
        let bases = |layer| gemma.rope_bases()[gemma.rope(layer).unwrap()].0;
        assert_eq!((bases(0), bases(5)), (1e4, 1e6));
        assert_eq!(gemma.attention_scale(), Some(1.0 / 16.0));
        assert_eq!(gemma.parameters(), 268_098_176);
    }

    /// Gemma 3 270M as it is published, with the pattern of older files.
    const GEMMA3: &str = r#"{"architectures": ["Gemma3ForCausalLM"], "attention_bias": false,
        "attn_logit_softcapping": null, "bos_token_id": 2, "eos_token_id": 1, "final_logit_softcapping": null,
        "head_dim": 256, "hidden_activation": "gelu_pytorch_tanh", "hidden_size": 640, "intermediate_size": 2048,
        "max_position_embeddings": 32768, "model_type": "gemma3_text", "num_attention_heads": 4,
        "num_hidden_layers": 18, "num_key_value_heads": 1, "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-06,
        "rope_local_base_freq": 10000.0, "rope_scaling": null, "rope_theta": 1000000.0, "sliding_window": 512,
        "sliding_window_pattern": 6, "vocab_size": 262144}"#;

    #[test]
    fn layers_without_rotary_positions_are_those_of_the_interval_or_the_list() {
        let read = |edit: fn(&mut Json)| {
            edited(|c| {
                c["model_type"] = "smollm3".into();
                c["num_hidden_layers"] = 6.into();
                edit(c);
            })
            .unwrap()
            .no_rope_layers
        };
        assert_eq!(read(|_| {}), [1, 1, 1, 0, 1, 1]);
        assert_eq!(
            read(|c| c["no_rope_layer_interval"] = 2.into()),
            [1, 0, 1, 0, 1, 0]
        );
        let listed = read(|c| c["no_rope_layers"] = serde_json::json!([0, 1, 1, 1, 1, 1]));
        assert_eq!(listed, [0, 1, 1, 1, 1, 1]);
    }
}
