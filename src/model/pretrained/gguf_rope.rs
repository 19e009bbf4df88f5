//! Rotary positions in the metadata of a GGUF file.

use tch::{Kind, Tensor};

use super::super::config::ModelConfig;
use super::super::rope::RopeScaling;
use super::error::LoadError;
use super::gguf::Value;
use super::gguf_model::Keys;

/// Name of the tensor with one factor a rotary frequency.
const LLAMA3_FACTORS: &str = "rope_freqs.weight";

/// Factors on cos and sin, which are multiplied.
const ATTENTION: [&str; 2] = ["rope.scaling.attn_factor", "rope.scaling.yarn_attn_factor"];

/// The scaling that the keys describe, of heads of width `head_dim`.
pub fn scaling(keys: &Keys, head_dim: i64) -> Result<Option<RopeScaling>, LoadError> {
    let turned = keys.int("rope.dimension_count").unwrap_or(head_dim);
    if turned != head_dim {
        let whole = format!("heads of {head_dim} are turned whole here");
        return Err(keys.unsupported("rope.dimension_count", turned, &whole));
    }
    let given = |key: &str| keys.float(key).filter(|factor| *factor != 0.0);
    let factor = given("rope.scaling.factor").or(given("rope.scale_linear"));
    let attention: f64 = ATTENTION
        .iter()
        .map(|key| keys.float(key).unwrap_or(1.0))
        .product();
    // A factor alone stretches linearly.
    let kind = match keys.get("rope.scaling.type").and_then(Value::as_text) {
        Some("none") => return Ok(None),
        None if factor.is_none_or(|factor| factor == 1.0) && attention == 1.0 => return Ok(None),
        kind => kind.unwrap_or("linear"),
    };
    let mut scaling = RopeScaling {
        rope_type: kind.to_owned(),
        factor: factor.unwrap_or(1.0),
        original_max_position_embeddings: keys.int("rope.scaling.original_context_length"),
        ..RopeScaling::default()
    };
    match kind {
        "linear" if attention != 1.0 => {
            let only = "only yarn multiplies cos and sin here";
            return Err(keys.unsupported("rope.scaling.attn_factor", attention, only));
        }
        "linear" => {}
        "yarn" => {
            scaling.beta_fast = keys.float("rope.scaling.yarn_beta_fast");
            scaling.beta_slow = keys.float("rope.scaling.yarn_beta_slow");
            if attention != 1.0 {
                scaling.attention_factor = Some(attention * scaling.magnitude());
            }
        }
        other => {
            let known = "linear and yarn are known";
            return Err(keys.unsupported("rope.scaling.type", format!("{other:?}"), known));
        }
    }
    for (key, plain) in [
        ("rope.scaling.yarn_ext_factor", 1.0),
        ("rope.scaling.yarn_log_multiplier", 0.0),
    ] {
        if let Some(value) = keys.float(key).filter(|value| *value != plain) {
            return Err(keys.unsupported(key, value, &format!("{plain} runs here")));
        }
    }
    Ok(Some(scaling))
}

/// Llama 3.1's scaling, which a GGUF file holds as one factor a frequency. Where the bounds of that family's waves do not
/// give these factors, they are refused.
pub fn llama3_scaling(keys: &Keys, config: &ModelConfig) -> Result<Option<RopeScaling>, LoadError> {
    let file = keys.file;
    if !file.has(LLAMA3_FACTORS) {
        return Ok(None);
    }
    let factors: Vec<f64> = Vec::try_from(file.tensor(LLAMA3_FACTORS, Kind::Double)?)?;
    let original = keys.int("rope.scaling.original_context_length");
    let scaling = RopeScaling {
        rope_type: "llama3".into(),
        factor: factors.iter().copied().fold(1.0, f64::max),
        original_max_position_embeddings: Some(
            original.unwrap_or(8192.min(config.max_position_embeddings)),
        ),
        low_freq_factor: Some(1.0),
        high_freq_factor: Some(4.0),
        ..RopeScaling::default()
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

/// The keys that [`scaling`] reads. The error says what the format has no place for.
pub fn metadata(config: &ModelConfig) -> Result<Vec<(&'static str, Value)>, String> {
    let Some(scaling) = &config.rope_scaling else {
        return Ok(Vec::new());
    };
    let mut keys = Vec::new();
    if let Some(context) = scaling.original_max_position_embeddings {
        keys.push((
            "rope.scaling.original_context_length",
            Value::Int(context.into()),
        ));
    }
    match &*scaling.rope_type {
        kind @ ("linear" | "yarn") => {
            keys.push(("rope.scaling.type", Value::Text(kind.to_owned())));
            keys.push(("rope.scaling.factor", Value::Float(scaling.factor)));
        }
        "llama3" => {
            let waves = [
                scaling.low_freq_factor.unwrap_or(1.0),
                scaling.high_freq_factor.unwrap_or(4.0),
            ];
            if waves != [1.0, 4.0] {
                return Err(format!(
                    "llama3 scaling with low_freq_factor and high_freq_factor {waves:?} in place of 1 and 4 has no place in GGUF"
                ));
            }
            // A tensor says the rest: see `stretching`.
        }
        _ => {}
    }
    if scaling.rope_type == "yarn" {
        if scaling.truncate == Some(false) {
            return Err("yarn without truncate has no place in GGUF".into());
        }
        for (key, value) in [
            ("rope.scaling.yarn_beta_fast", scaling.beta_fast),
            ("rope.scaling.yarn_beta_slow", scaling.beta_slow),
        ] {
            keys.extend(value.map(|value| (key, Value::Float(value))));
        }
        let plain = RopeScaling {
            rope_type: "yarn".into(),
            factor: scaling.factor,
            ..RopeScaling::default()
        };
        let attention = scaling.magnitude() / plain.magnitude();
        if attention != 1.0 {
            keys.push((ATTENTION[0], Value::Float(attention)));
        }
    }
    Ok(keys)
}

/// The tensor that holds Llama 3.1's scaling, of models that have it.
pub fn stretching(config: &ModelConfig) -> Option<(String, Tensor)> {
    let scaling = config.rope_scaling.as_ref()?;
    let factors = Tensor::from_slice(&scaling.factors(config)).to_kind(Kind::Float);
    (scaling.rope_type == "llama3").then(|| (LLAMA3_FACTORS.to_owned(), factors))
}
