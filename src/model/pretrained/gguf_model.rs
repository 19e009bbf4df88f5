//! What a GGUF file says about a model, under the names that Hugging Face publishes: configuration and weights, and the
//! way back.

use tch::{Kind, Tensor};

use super::super::config::ModelConfig;
use super::super::rope::RopeScaling;
use super::error::{ARCHITECTURES, LoadError};
use super::gguf::{Gguf, Value};

/// Name of the tensor with one factor a rotary frequency.
const LLAMA3_FACTORS: &str = "rope_freqs.weight";

/// The configuration that the metadata describes.
pub fn config(file: &Gguf) -> Result<ModelConfig, LoadError> {
    let unsupported = |key: &str, value: String, supported: &str| LoadError::Unsupported {
        path: file.path().to_owned(),
        key: key.to_owned(),
        value,
        supported: supported.to_owned(),
    };
    let architecture = file
        .get("general.architecture")
        .and_then(Value::as_text)
        .unwrap_or_default();
    if !ARCHITECTURES.contains(&architecture) {
        let known = format!("known architectures are {}", ARCHITECTURES.join(", "));
        return Err(unsupported(
            "general.architecture",
            format!("{architecture:?}"),
            &known,
        ));
    }
    let key = |name: &str| format!("{architecture}.{name}");
    let int = |name: &str| file.get(&key(name)).and_then(Value::as_int);
    let needed = |name: &str| {
        int(name).ok_or_else(|| LoadError::Damaged {
            path: file.path().to_owned(),
            what: format!("its metadata has no number {}", key(name)),
        })
    };
    let (hidden_size, heads) = (needed("embedding_length")?, needed("attention.head_count")?);
    let vocab_size = file
        .shape("token_embd.weight")
        .and_then(|shape| shape.first().copied())
        .ok_or_else(|| missing(file, "token_embd.weight"))?;
    let float = |name: &str| file.get(&key(name)).and_then(Value::as_float);
    let context = needed("context_length")?;
    let rope_scaling = match file.get(&key("rope.scaling.type")).and_then(Value::as_text) {
        None | Some("none") => None,
        Some(kind @ ("linear" | "yarn")) => Some(RopeScaling {
            rope_type: kind.to_owned(),
            factor: float("rope.scaling.factor").unwrap_or(1.0),
            original_max_position_embeddings: int("rope.scaling.original_context_length"),
            low_freq_factor: None,
            high_freq_factor: None,
            beta_fast: None,
            beta_slow: None,
            attention_factor: None,
        }),
        Some(other) => {
            let value = format!("{other:?}");
            return Err(unsupported(
                &key("rope.scaling.type"),
                value,
                "linear and yarn are known",
            ));
        }
    };
    let mut config = ModelConfig {
        model_type: architecture.to_owned(),
        vocab_size,
        hidden_size,
        intermediate_size: needed("feed_forward_length")?,
        num_hidden_layers: needed("block_count")?,
        num_attention_heads: heads,
        num_key_value_heads: int("attention.head_count_kv").unwrap_or(heads),
        head_dim: int("attention.key_length").unwrap_or(hidden_size / heads.max(1)),
        max_position_embeddings: context,
        rms_norm_eps: float("attention.layer_norm_rms_epsilon").unwrap_or(1e-6),
        rope_theta: float("rope.freq_base").unwrap_or(10_000.0),
        tie_word_embeddings: !file.has("output.weight"),
        attention_bias: file.has("blk.0.attn_q.bias"),
        rope_scaling,
        eos_token_id: Vec::from_iter(
            file.get("tokenizer.ggml.eos_token_id")
                .and_then(Value::as_int)
                .map(|id| id as u32),
        ),
    };
    config.validate()?;
    if config.rope_scaling.is_none() {
        config.rope_scaling = llama3_scaling(file, &config)?;
    }
    Ok(config)
}

/// Llama 3.1's scaling, which a GGUF file holds as one factor a frequency. Where the bounds of that family's waves do not
/// give these factors, they are refused.
fn llama3_scaling(file: &Gguf, config: &ModelConfig) -> Result<Option<RopeScaling>, LoadError> {
    if !file.has(LLAMA3_FACTORS) {
        return Ok(None);
    }
    let factors: Vec<f64> = Vec::try_from(file.tensor(LLAMA3_FACTORS, Kind::Double)?)?;
    let original = format!("{}.rope.scaling.original_context_length", config.model_type);
    let original = file.get(&original).and_then(Value::as_int);
    let scaling = RopeScaling {
        rope_type: "llama3".into(),
        factor: factors.iter().copied().fold(1.0, f64::max),
        original_max_position_embeddings: Some(
            original.unwrap_or(8192.min(config.max_position_embeddings)),
        ),
        low_freq_factor: Some(1.0),
        high_freq_factor: Some(4.0),
        beta_fast: None,
        beta_slow: None,
        attention_factor: None,
    };
    let known = scaling.factors(config);
    let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-4 * b;
    if known.len() != factors.len() || !factors.iter().zip(&known).all(near) {
        return Err(LoadError::Unsupported {
            path: file.path().to_owned(),
            key: LLAMA3_FACTORS.into(),
            value: format!("{factors:.3?}"),
            supported: format!(
                "Llama 3.1's scaling is known, which would be {known:.3?} with a factor of {} over a first context of {}",
                scaling.factor,
                scaling.original_max_position_embeddings.unwrap_or_default()
            ),
        });
    }
    Ok(Some(scaling))
}

/// The metadata that [`config`] reads. The error says what the format has no place for.
pub fn metadata(config: &ModelConfig) -> Result<Vec<(String, Value)>, String> {
    let family = &config.model_type;
    let int = |n: i64| Value::Int(n.into());
    let mut keys = vec![
        ("vocab_size", int(config.vocab_size)),
        ("context_length", int(config.max_position_embeddings)),
        ("embedding_length", int(config.hidden_size)),
        ("block_count", int(config.num_hidden_layers)),
        ("feed_forward_length", int(config.intermediate_size)),
        ("attention.head_count", int(config.num_attention_heads)),
        ("attention.head_count_kv", int(config.num_key_value_heads)),
        ("attention.key_length", int(config.head_dim)),
        ("attention.value_length", int(config.head_dim)),
        (
            "attention.layer_norm_rms_epsilon",
            Value::Float(config.rms_norm_eps),
        ),
        ("rope.dimension_count", int(config.head_dim)),
        ("rope.freq_base", Value::Float(config.rope_theta)),
    ];
    if let Some(scaling) = &config.rope_scaling {
        let waves = [
            scaling.low_freq_factor.unwrap_or(1.0),
            scaling.high_freq_factor.unwrap_or(4.0),
        ];
        let own = scaling.beta_fast.is_some()
            || scaling.beta_slow.is_some()
            || scaling.attention_factor.is_some();
        if let Some(context) = scaling.original_max_position_embeddings {
            keys.push(("rope.scaling.original_context_length", int(context)));
        }
        match &*scaling.rope_type {
            "yarn" if own => {
                return Err(
                    "yarn with beta_fast, beta_slow or attention_factor of its own has no place in GGUF".into(),
                );
            }
            kind @ ("linear" | "yarn") => {
                keys.push(("rope.scaling.type", Value::Text(kind.to_owned())));
                keys.push(("rope.scaling.factor", Value::Float(scaling.factor)));
            }
            "llama3" if waves != [1.0, 4.0] => {
                return Err(format!(
                    "llama3 scaling with low_freq_factor and high_freq_factor {waves:?} in place of 1 and 4 has no place in GGUF"
                ));
            }
            // A tensor says it: see `stretching`.
            _ => {}
        }
    }
    let mut all = vec![(
        "general.architecture".to_owned(),
        Value::Text(family.clone()),
    )];
    all.extend(
        keys.into_iter()
            .map(|(key, value)| (format!("{family}.{key}"), value)),
    );
    Ok(all)
}

/// The tensor that holds Llama 3.1's scaling, of models that have it.
pub fn stretching(config: &ModelConfig) -> Option<(String, Tensor)> {
    let scaling = config.rope_scaling.as_ref()?;
    let factors = Tensor::from_slice(&scaling.factors(config)).to_kind(Kind::Float);
    (scaling.rope_type == "llama3").then(|| (LLAMA3_FACTORS.to_owned(), factors))
}

/// A published weight as it is stored: its name in the file, and a view of it in the order of the file.
pub fn stored(config: &ModelConfig, name: &str, weight: &Tensor) -> Option<(String, Tensor)> {
    let view = match interleaved_heads(config, name) {
        None => weight.shallow_clone(),
        Some(heads) => weight
            .view([heads, 2, config.head_dim / 2, -1])
            .transpose(1, 2)
            .reshape(weight.size()),
    };
    Some((stored_name(name)?, view))
}

/// For `llama`, the converter interleaves the two halves of each query and key head (its kernels turn neighbouring
/// pairs). Gives the number of heads.
fn interleaved_heads(config: &ModelConfig, name: &str) -> Option<i64> {
    match name.rsplit('.').nth(1) {
        _ if config.model_type != "llama" => None,
        Some("q_proj") => Some(config.num_attention_heads),
        Some("k_proj") => Some(config.num_key_value_heads),
        _ => None,
    }
}

/// A weight by its published name, with the architecture's shape.
pub fn weight(
    file: &Gguf,
    config: &ModelConfig,
    name: &str,
    shape: &[i64],
    kind: Kind,
) -> Result<Tensor, LoadError> {
    let stored = stored_name(name).ok_or_else(|| missing(file, name))?;
    let tensor = file.tensor(&stored, kind)?;
    if tensor.size() != shape {
        return Err(LoadError::Weight {
            path: file.path().to_owned(),
            name: stored,
            found: format!("{:?}", tensor.size()),
            expected: format!("{shape:?}"),
        });
    }
    let Some(heads) = interleaved_heads(config, name) else {
        return Ok(tensor);
    };
    let half = config.head_dim / 2;
    Ok(tensor
        .f_view([heads, half, 2, -1])?
        .f_transpose(1, 2)?
        .f_reshape(shape)?)
}

/// The name in the file of a published weight.
fn stored_name(name: &str) -> Option<String> {
    const OUTER: [(&str, &str); 3] = [
        ("model.embed_tokens.weight", "token_embd.weight"),
        ("model.norm.weight", "output_norm.weight"),
        ("lm_head.weight", "output.weight"),
    ];
    const INNER: [(&str, &str); 11] = [
        ("input_layernorm", "attn_norm"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("self_attn.q_norm", "attn_q_norm"),
        ("self_attn.k_norm", "attn_k_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ];
    if let Some((_, stored)) = OUTER.iter().find(|(published, _)| *published == name) {
        return Some((*stored).to_owned());
    }
    let (layer, rest) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let (module, ending) = rest.rsplit_once('.')?;
    let (_, stored) = INNER.iter().find(|(published, _)| *published == module)?;
    Some(format!("blk.{layer}.{stored}.{ending}"))
}

fn missing(file: &Gguf, name: &str) -> LoadError {
    LoadError::Weight {
        path: file.path().to_owned(),
        name: name.to_owned(),
        found: "missing".into(),
        expected: "there".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::config::test_config;
    use super::*;

    #[test]
    fn every_weight_of_every_family_has_a_stored_name() {
        for family in ARCHITECTURES {
            let config = ModelConfig {
                model_type: family.into(),
                attention_bias: true,
                tie_word_embeddings: false,
                ..test_config()
            };
            let mut names: Vec<String> = config
                .weight_shapes()
                .iter()
                .map(|(name, _)| stored_name(name).expect(name))
                .collect();
            let all = names.len();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), all, "two weights share a stored name");
        }
        assert_eq!(
            stored_name("model.layers.7.self_attn.k_norm.weight").unwrap(),
            "blk.7.attn_k_norm.weight"
        );
    }
}
