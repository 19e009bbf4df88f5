//! What a GGUF file says about a model, under the names that Hugging Face publishes: configuration and weights, and the
//! way back.

use tch::{Kind, Tensor};

use super::super::arch::{Family, Windows, all_but_each};
use super::super::config::{LayerType, ModelConfig};
use super::error::LoadError;
use super::gguf::{Gguf, Value};
use super::gguf_rope;

/// The configuration that the metadata describes.
pub fn config(file: &Gguf) -> Result<ModelConfig, LoadError> {
    let architecture = file
        .get("general.architecture")
        .and_then(Value::as_text)
        .unwrap_or_default();
    let Some(family) = Family::of_gguf(architecture) else {
        let known = Family::list(|family| family.gguf);
        return Err(LoadError::Unsupported {
            path: file.path().to_owned(),
            key: "general.architecture".into(),
            value: format!("{architecture:?}"),
            supported: format!("known architectures are {known}"),
        });
    };
    let keys = Keys {
        file,
        architecture: family.gguf,
    };
    let (hidden_size, heads) = (
        keys.needed("embedding_length")?,
        keys.needed("attention.head_count")?,
    );
    let vocab_size = file
        .shape("token_embd.weight")
        .and_then(|shape| shape.first().copied())
        .ok_or_else(|| missing(file, "token_embd.weight"))?;
    let head_dim = keys
        .int("attention.key_length")
        .unwrap_or(hidden_size / heads.max(1));
    let layers = keys.needed("block_count")?;
    let mut config = ModelConfig {
        model_type: family.model_type.to_owned(),
        vocab_size,
        hidden_size,
        intermediate_size: keys.needed("feed_forward_length")?,
        num_hidden_layers: layers,
        num_attention_heads: heads,
        num_key_value_heads: keys.int("attention.head_count_kv").unwrap_or(heads),
        head_dim,
        max_position_embeddings: keys.needed("context_length")?,
        rms_norm_eps: keys
            .float("attention.layer_norm_rms_epsilon")
            .unwrap_or(1e-6),
        rope_theta: keys.float("rope.freq_base").unwrap_or(10_000.0),
        tie_word_embeddings: !file.has("output.weight"),
        attention_bias: file.has("blk.0.attn_q.bias"),
        rope_scaling: gguf_rope::scaling(&keys, head_dim)?,
        eos_token_id: Vec::from_iter(
            file.get("tokenizer.ggml.eos_token_id")
                .and_then(Value::as_int)
                .map(|id| id as u32),
        ),
        ..ModelConfig::default()
    };
    if let Some(cap) = keys
        .float("final_logit_softcapping")
        .filter(|cap| *cap != 0.0)
    {
        return Err(keys.unsupported("final_logit_softcapping", cap, "logits are not capped here"));
    }
    if family.windows == Windows::AllButEach {
        config.layer_types = window_pattern(&keys, family, layers)?;
        config.sliding_window = Some(keys.needed("attention.sliding_window")?);
        let local = keys.float("rope.freq_base_swa");
        config.rope_local_base_freq = local.or(family.defaults()["rope_local_base_freq"].as_f64());
        config.query_pre_attn_scalar = Some(attention_scalar(&config));
    }
    if let Some(interval) = family.no_rope_layer_interval {
        // No key says it: readers of the format take the published interval.
        config.no_rope_layers = all_but_each(interval, layers).map(u8::from).collect();
    }
    config.validate()?;
    if config.rope_scaling.is_none() {
        config.rope_scaling = gguf_rope::llama3_scaling(&keys, &config)?;
    }
    Ok(config)
}

/// The metadata of one architecture.
pub struct Keys<'a> {
    pub file: &'a Gguf,
    pub architecture: &'static str,
}

impl Keys<'_> {
    /// The whole name of a key.
    pub fn name(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    pub fn get(&self, key: &str) -> Option<&Value> {
        self.file.get(&self.name(key))
    }

    pub fn int(&self, key: &str) -> Option<i64> {
        self.get(key).and_then(Value::as_int)
    }

    pub fn float(&self, key: &str) -> Option<f64> {
        self.get(key).and_then(Value::as_float)
    }

    fn needed(&self, key: &str) -> Result<i64, LoadError> {
        self.int(key).ok_or_else(|| LoadError::Damaged {
            path: self.file.path().to_owned(),
            what: format!("its metadata has no number {}", self.name(key)),
        })
    }

    pub fn unsupported(&self, key: &str, value: impl ToString, supported: &str) -> LoadError {
        LoadError::Unsupported {
            path: self.file.path().to_owned(),
            key: self.name(key),
            value: value.to_string(),
            supported: supported.to_owned(),
        }
    }
}

const PATTERN: &str = "attention.sliding_window_pattern";

/// Which layers have a window: one flag a layer, or each so manieth has none, by default as the family publishes it.
fn window_pattern(keys: &Keys, family: &Family, layers: i64) -> Result<Vec<LayerType>, LoadError> {
    let kind = |slides: bool| match slides {
        true => LayerType::SlidingAttention,
        false => LayerType::FullAttention,
    };
    let published = family.defaults()["sliding_window_pattern"].as_i64();
    match keys.get(PATTERN) {
        Some(Value::Array(flags)) if flags.len() as i64 == layers => {
            let flag = |flag: &Value| kind(matches!(flag, Value::Bool(true)));
            Ok(flags.iter().map(flag).collect())
        }
        Some(Value::Array(flags)) => {
            let given = format!("a list of {}", flags.len());
            Err(keys.unsupported(PATTERN, given, &format!("there are {layers} layers")))
        }
        other => {
            let pattern = other.and_then(Value::as_int).or(published).unwrap_or(1);
            Ok(all_but_each(pattern, layers).map(kind).collect())
        }
    }
}

/// What no key says of Gemma 3: only its model of 62 layers scales attention by another width than that of a head.
fn attention_scalar(config: &ModelConfig) -> i64 {
    match config.num_hidden_layers {
        62 => config.hidden_size / config.num_attention_heads,
        _ => config.head_dim,
    }
}

/// The metadata that [`config`] reads. The error says what the format has no place for.
pub fn metadata(config: &ModelConfig) -> Result<Vec<(String, Value)>, String> {
    let family = config.family();
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
    keys.extend(gguf_rope::metadata(config)?);
    keys.extend(layers_metadata(config, family)?);
    let mut all = vec![(
        "general.architecture".to_owned(),
        Value::Text(family.gguf.to_owned()),
    )];
    all.extend(
        keys.into_iter()
            .map(|(key, value)| (format!("{}.{key}", family.gguf), value)),
    );
    Ok(all)
}

/// What differs between layers.
fn layers_metadata(
    config: &ModelConfig,
    family: &Family,
) -> Result<Vec<(&'static str, Value)>, String> {
    let layers = config.num_hidden_layers;
    if let Some(interval) = family.no_rope_layer_interval {
        let known = all_but_each(interval, layers).map(u8::from);
        if !known.eq(config.no_rope_layers.iter().copied()) {
            return Err(format!(
                "GGUF knows {} with each {interval}th layer without rotary positions, and has no place for no_rope_layers {:?}",
                family.gguf, config.no_rope_layers
            ));
        }
    }
    if config.layer_types.is_empty() {
        return Ok(Vec::new());
    }
    if family.windows != Windows::AllButEach {
        return Err(format!(
            "windows of attention have no place in GGUF for {}",
            family.gguf
        ));
    }
    let slides = config
        .layer_types
        .iter()
        .map(|t| *t == LayerType::SlidingAttention);
    let pattern =
        (1..=layers + 1).find(|pattern| all_but_each(*pattern, layers).eq(slides.clone()));
    let pattern =
        pattern.ok_or("GGUF has a place for windows in all layers but each so manieth")?;
    let scalar = attention_scalar(config);
    if config.query_pre_attn_scalar != Some(scalar) {
        return Err(format!(
            "query_pre_attn_scalar {:?} has no place in GGUF, where it is {scalar}",
            config.query_pre_attn_scalar
        ));
    }
    let window = config.sliding_window.unwrap_or_default();
    let local = config.rope_local_base_freq.unwrap_or(config.rope_theta);
    Ok(vec![
        ("attention.sliding_window", Value::Int(window.into())),
        (PATTERN, Value::Int(pattern.into())),
        ("rope.freq_base_swa", Value::Float(local)),
    ])
}

/// A published weight as it is stored: its name in the file, and a view of it in the order of the file.
pub fn stored(config: &ModelConfig, name: &str, weight: &Tensor) -> Option<(String, Tensor)> {
    let offset = norm_offset(config, name);
    let view = match interleaved_heads(config, name) {
        None if offset != 0.0 => weight.to_kind(Kind::Float) + offset,
        None => weight.shallow_clone(),
        Some(heads) => weight
            .view([heads, 2, config.head_dim / 2, -1])
            .transpose(1, 2)
            .reshape(weight.size()),
    };
    Some((stored_name(config.family(), name)?, view))
}

/// What the file holds more of a weight than what is published: its norms are what values are multiplied by.
fn norm_offset(config: &ModelConfig, name: &str) -> f64 {
    match Family::is_norm(name) {
        true => config.family().norm_offset,
        false => 0.0,
    }
}

/// For some families the converter interleaves the two halves of each query and key head (its kernels turn neighbouring
/// pairs). Gives the number of heads.
fn interleaved_heads(config: &ModelConfig, name: &str) -> Option<i64> {
    match name.rsplit('.').nth(1) {
        _ if !config.family().interleaved_heads => None,
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
    let stored = stored_name(config.family(), name).ok_or_else(|| missing(file, name))?;
    let offset = norm_offset(config, name);
    let tensor = match offset == 0.0 {
        true => file.tensor(&stored, kind)?,
        false => (file.tensor(&stored, Kind::Float)? - offset).f_to_kind(kind)?,
    };
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
fn stored_name(family: &Family, name: &str) -> Option<String> {
    const OUTER: [(&str, &str); 3] = [
        ("model.embed_tokens.weight", "token_embd.weight"),
        ("model.norm.weight", "output_norm.weight"),
        ("lm_head.weight", "output.weight"),
    ];
    if let Some((_, stored)) = OUTER.iter().find(|(published, _)| *published == name) {
        return Some((*stored).to_owned());
    }
    let (layer, rest) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let (module, ending) = rest.rsplit_once('.')?;
    let stored = family.gguf_module(module)?;
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
    use super::super::super::arch::FAMILIES;
    use super::super::super::config::test_family;
    use super::*;

    #[test]
    fn every_weight_of_every_family_has_a_stored_name() {
        for family in FAMILIES {
            let config = ModelConfig {
                attention_bias: true,
                tie_word_embeddings: false,
                ..test_family(family)
            };
            let mut names: Vec<String> = config
                .weight_shapes()
                .iter()
                .map(|(name, _)| stored_name(family, name).expect(name))
                .collect();
            let all = names.len();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), all, "two weights share a stored name");
        }
        let name = |model_type: &str, name: &str| {
            stored_name(Family::of_config(model_type).unwrap(), name).unwrap()
        };
        for (family, published, stored) in [
            ("qwen3", "self_attn.k_norm", "attn_k_norm"),
            ("llama", "post_attention_layernorm", "ffn_norm"),
            (
                "gemma3_text",
                "post_attention_layernorm",
                "post_attention_norm",
            ),
            ("gemma3_text", "pre_feedforward_layernorm", "ffn_norm"),
            ("gemma3_text", "post_feedforward_layernorm", "post_ffw_norm"),
        ] {
            let published = format!("model.layers.7.{published}.weight");
            assert_eq!(name(family, &published), format!("blk.7.{stored}.weight"));
        }
    }

    #[test]
    fn layers_that_the_format_has_no_place_for_are_refused() {
        let refused = |model_type: &str, edit: fn(&mut ModelConfig)| {
            let mut config = test_family(Family::of_config(model_type).unwrap());
            config.num_hidden_layers = 4;
            config.no_rope_layers.extend([1, 0]);
            edit(&mut config);
            metadata(&config).unwrap_err()
        };
        let error = refused("smollm3", |_| {});
        assert!(error.contains("no_rope_layers [1, 0, 1, 0]"), "{error}");
        let error = refused("gemma3_text", |config| {
            config.layer_types = vec![LayerType::SlidingAttention; 4];
            config.no_rope_layers.clear();
        });
        assert!(error.contains("query_pre_attn_scalar Some(7)"), "{error}");
        let error = refused("qwen2", |config| {
            config.layer_types = vec![LayerType::SlidingAttention; 4];
            config.no_rope_layers.clear();
        });
        assert!(error.contains("no place in GGUF for qwen2"), "{error}");
    }
}
