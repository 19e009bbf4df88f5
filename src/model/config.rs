//! The architecture's hyperparameters, under the names that published `config.json` files use.

use serde::{Deserialize, Serialize};

use super::arch::{Bias, Family};
use super::rope::RopeScaling;

/// What a layer attends to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LayerType {
    /// All positions so far.
    FullAttention,
    /// The last `sliding_window` of them.
    SlidingAttention,
}

/// Shape of a decoder. Serialises to the keys of a Hugging Face `config.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// The architecture: `model_type` of one of [`super::arch::FAMILIES`].
    pub model_type: String,
    /// Rows of the embedding table.
    pub vocab_size: i64,
    /// Width of the residual stream.
    pub hidden_size: i64,
    /// Width of the gated feed-forward layer.
    pub intermediate_size: i64,
    /// Number of blocks.
    pub num_hidden_layers: i64,
    /// Query heads.
    pub num_attention_heads: i64,
    /// Key and value heads; divides `num_attention_heads`.
    pub num_key_value_heads: i64,
    /// Width of one head.
    pub head_dim: i64,
    /// Longest sequence that the model reads.
    pub max_position_embeddings: i64,
    /// Epsilon of every RMSNorm.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Whether the output head is the embedding table.
    pub tie_word_embeddings: bool,
    /// Whether the query, key and value projections have a bias; in all families but `qwen2` the output projection too.
    pub attention_bias: bool,
    /// How rotary frequencies are stretched beyond the context that the model was first trained with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rope_scaling: Option<RopeScaling>,
    /// Tokens that end a completion, of models that were published with them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub eos_token_id: Vec<u32>,
    /// What each layer attends to; nothing where all see everything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layer_types: Vec<LayerType>,
    /// How many positions, its own included, a layer of `sliding_attention` sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sliding_window: Option<i64>,
    /// Base of the rotary frequencies of layers of `sliding_attention`, which are not stretched, where it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rope_local_base_freq: Option<f64>,
    /// 1 for each layer with rotary positions, 0 for each without; nothing where all have them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub no_rope_layers: Vec<u8>,
    /// Products of queries and keys are divided by its root, in place of `head_dim`'s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query_pre_attn_scalar: Option<i64>,
}

/// Why a configuration describes no model.
#[derive(Debug, thiserror::Error)]
#[error("model configuration: {key} = {value}: {reason}")]
pub struct ModelConfigError {
    /// The key at fault.
    pub key: &'static str,
    /// Its value.
    pub value: String,
    /// What would be right.
    pub reason: String,
}

impl ModelConfig {
    /// Checks that the sizes fit one another.
    pub fn validate(&self) -> Result<(), ModelConfigError> {
        let wrong = |key, value: &dyn std::fmt::Display, reason: String| {
            let value = value.to_string();
            Err(ModelConfigError { key, value, reason })
        };
        let positive = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("head_dim", self.head_dim),
            ("max_position_embeddings", self.max_position_embeddings),
        ];
        for (key, value) in positive {
            if value < 1 {
                return wrong(key, &value, "must be at least 1".into());
            }
        }
        if self.num_attention_heads % self.num_key_value_heads != 0 {
            let reason = format!(
                "must divide num_attention_heads = {}",
                self.num_attention_heads
            );
            return wrong("num_key_value_heads", &self.num_key_value_heads, reason);
        }
        if Family::of_config(&self.model_type).is_none() {
            let known = Family::list(|family| family.model_type);
            let reason = format!("it is not one of the known architectures {known}");
            return wrong("model_type", &format!("{:?}", self.model_type), reason);
        }
        if self.head_dim % 2 != 0 {
            let reason = "must be even for rotary positions".into();
            return wrong("head_dim", &self.head_dim, reason);
        }
        let lists = [
            ("layer_types", self.layer_types.len()),
            ("no_rope_layers", self.no_rope_layers.len()),
        ];
        for (key, length) in lists {
            if length != 0 && length as i64 != self.num_hidden_layers {
                let reason = format!(
                    "must have one for each of {} layers",
                    self.num_hidden_layers
                );
                return wrong(key, &format!("a list of {length}"), reason);
            }
        }
        let slides = self.layer_types.contains(&LayerType::SlidingAttention);
        if slides && self.sliding_window.is_none_or(|window| window < 1) {
            let given = self.sliding_window.map_or("null".into(), |w| w.to_string());
            let reason = "layers of sliding_attention need a window of at least 1".into();
            return wrong("sliding_window", &given, reason);
        }
        if let Some(scalar) = self.query_pre_attn_scalar.filter(|scalar| *scalar < 1) {
            return wrong(
                "query_pre_attn_scalar",
                &scalar,
                "must be at least 1".into(),
            );
        }
        Ok(())
    }

    /// What the models of its architecture have in common.
    ///
    /// # Panics
    ///
    /// If there is no such architecture, which [`ModelConfig::validate`] refuses.
    pub fn family(&self) -> &'static Family {
        Family::of_config(&self.model_type).expect("a validated configuration is of a known family")
    }

    /// Whether the attention's output projection has a bias.
    pub fn output_bias(&self) -> bool {
        self.attention_bias && self.family().bias == Bias::Configured
    }

    /// How many positions layer `index` sees; all if it has no window.
    pub fn window(&self, index: usize) -> Option<i64> {
        let slides = self.layer_types.get(index) == Some(&LayerType::SlidingAttention);
        self.sliding_window.filter(|_| slides)
    }

    /// The bases of rotary frequencies, with their scalings: the model's own, and that of layers with a window where it is
    /// another.
    pub fn rope_bases(&self) -> Vec<(f64, Option<&RopeScaling>)> {
        let own = (self.rope_theta, self.rope_scaling.as_ref());
        let local = self.rope_local_base_freq.map(|base| (base, None));
        [own].into_iter().chain(local).collect()
    }

    /// Which of [`ModelConfig::rope_bases`] layer `index` turns by; none without rotary positions.
    pub fn rope(&self, index: usize) -> Option<usize> {
        if self.no_rope_layers.get(index) == Some(&0) {
            return None;
        }
        let local = self.rope_local_base_freq.is_some() && self.window(index).is_some();
        Some(local.into())
    }

    /// What products of queries and keys are multiplied by, where it is not 1 / sqrt(head_dim).
    pub fn attention_scale(&self) -> Option<f64> {
        Some((self.query_pre_attn_scalar? as f64).sqrt().recip())
    }

    /// What embeddings are multiplied by, before it is rounded to the kind of the hidden states.
    pub fn embedding_scale(&self) -> Option<f64> {
        let scaled = self.family().scaled_embeddings;
        scaled.then(|| (self.hidden_size as f64).sqrt())
    }

    /// Every weight of this architecture by its published name, with its shape, in the order of the state dict.
    pub fn weight_shapes(&self) -> Vec<(String, Vec<i64>)> {
        let family = self.family();
        let (h, i, d) = (self.hidden_size, self.intermediate_size, self.head_dim);
        let (q, kv) = (self.num_attention_heads * d, self.num_key_value_heads * d);
        let mut shapes = vec![(
            "model.embed_tokens.weight".to_owned(),
            vec![self.vocab_size, h],
        )];
        let mut block: Vec<(String, Vec<i64>)> = Vec::new();
        let mut add = |name: &str, ending: &str, shape: &[i64]| {
            block.push((format!("{name}.{ending}"), shape.to_vec()));
        };
        add(family.norms.before_attention, "weight", &[h]);
        let output = self.output_bias();
        for (name, out, into, bias) in [
            ("self_attn.q_proj", q, h, self.attention_bias),
            ("self_attn.k_proj", kv, h, self.attention_bias),
            ("self_attn.v_proj", kv, h, self.attention_bias),
            ("self_attn.o_proj", h, q, output),
        ] {
            add(name, "weight", &[out, into]);
            if bias {
                add(name, "bias", &[out]);
            }
        }
        if family.qk_norm {
            add("self_attn.q_norm", "weight", &[d]);
            add("self_attn.k_norm", "weight", &[d]);
        }
        if let Some(name) = family.norms.after_attention {
            add(name, "weight", &[h]);
        }
        add(family.norms.before_mlp, "weight", &[h]);
        add("mlp.gate_proj", "weight", &[i, h]);
        add("mlp.up_proj", "weight", &[i, h]);
        add("mlp.down_proj", "weight", &[h, i]);
        if let Some(name) = family.norms.after_mlp {
            add(name, "weight", &[h]);
        }
        for layer in 0..self.num_hidden_layers {
            let named = |(name, shape): &(String, Vec<i64>)| {
                (format!("model.layers.{layer}.{name}"), shape.clone())
            };
            shapes.extend(block.iter().map(named));
        }
        shapes.push(("model.norm.weight".to_owned(), vec![h]));
        if !self.tie_word_embeddings {
            shapes.push(("lm_head.weight".to_owned(), vec![self.vocab_size, h]));
        }
        shapes
    }

    /// Number of weights.
    pub fn parameters(&self) -> i64 {
        self.weight_shapes()
            .iter()
            .map(|(_, shape)| shape.iter().product::<i64>())
            .sum()
    }
}

#[cfg(test)]
pub(crate) fn test_config() -> ModelConfig {
    ModelConfig {
        model_type: "llama".into(),
        vocab_size: 40,
        hidden_size: 16,
        intermediate_size: 32,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 4,
        max_position_embeddings: 64,
        rms_norm_eps: 1e-5,
        rope_theta: 10000.0,
        tie_word_embeddings: true,
        attention_bias: false,
        ..ModelConfig::default()
    }
}

/// A small configuration of `family` with everything that the family has.
#[cfg(test)]
pub(crate) fn test_family(family: &Family) -> ModelConfig {
    use super::arch::Windows;
    use LayerType::{FullAttention, SlidingAttention};
    let config = ModelConfig {
        model_type: family.model_type.into(),
        attention_bias: family.bias == Bias::QueryKeyValue,
        ..test_config()
    };
    match (family.windows, family.no_rope_layer_interval) {
        (Windows::AllButEach, _) => ModelConfig {
            layer_types: vec![SlidingAttention, FullAttention],
            sliding_window: Some(3),
            rope_local_base_freq: Some(100.0),
            query_pre_attn_scalar: Some(7),
            ..config
        },
        (_, Some(_)) => ModelConfig {
            no_rope_layers: vec![1, 0],
            ..config
        },
        (..) => config,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_describe_a_model_is_named() {
        type Edit = fn(&mut ModelConfig);
        let cases: [(&str, Edit); 5] = [
            ("model_type = \"gpt2\"", |c| c.model_type = "gpt2".into()),
            ("layer_types = a list of 1", |c| {
                c.layer_types = vec![LayerType::FullAttention]
            }),
            ("sliding_window = null", |c| {
                c.layer_types = vec![LayerType::SlidingAttention; 2]
            }),
            ("no_rope_layers = a list of 3", |c| {
                c.no_rope_layers = vec![1; 3]
            }),
            ("query_pre_attn_scalar = 0", |c| {
                c.query_pre_attn_scalar = Some(0)
            }),
        ];
        for (said, edit) in cases {
            let mut config = test_config();
            edit(&mut config);
            let error = config.validate().unwrap_err().to_string();
            assert!(error.contains(said), "wanted {said:?}, got {error}");
        }
    }

    #[test]
    fn counts_every_weight_once() {
        // 40*16 + 2 * (16 + 16*16 + 2*8*16 + 16*16 + 16 + 3*32*16) + 16
        assert_eq!(
            test_config().parameters(),
            640 + 2 * (16 + 256 + 256 + 256 + 16 + 1536) + 16
        );
    }

    #[test]
    fn heads_that_do_not_divide_are_refused_by_name() {
        let error = ModelConfig {
            num_key_value_heads: 3,
            ..test_config()
        }
        .validate()
        .unwrap_err();
        assert!(
            error.to_string().contains("num_key_value_heads = 3"),
            "{error}"
        );
    }
}
