//! The architecture's hyperparameters, under the names that published `config.json` files use.

use serde::{Deserialize, Serialize};

use super::rope::RopeScaling;

/// Shape of a Llama-style decoder. Serialises to the keys of a Hugging Face `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// Architecture family: `llama`, `qwen2` (biases on query, key and value) or `qwen3` (RMSNorm on each query and
    /// key head).
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
    /// Longest sequence the rotary tables cover.
    pub max_position_embeddings: i64,
    /// Epsilon of every RMSNorm.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Whether the output head is the embedding table.
    pub tie_word_embeddings: bool,
    /// Whether the query, key and value projections have a bias; in `llama` and `qwen3` the output projection too.
    pub attention_bias: bool,
    /// How rotary frequencies are stretched beyond the context that the model was first trained with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rope_scaling: Option<RopeScaling>,
    /// Tokens that end a completion, of models that were published with them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub eos_token_id: Vec<u32>,
}

/// Why a configuration describes no model.
#[derive(Debug, thiserror::Error)]
#[error("model configuration: {key} = {value}: {reason}")]
pub struct ModelConfigError {
    /// The key at fault.
    pub key: &'static str,
    /// Its value.
    pub value: i64,
    /// What would be right.
    pub reason: String,
}

impl ModelConfig {
    /// Checks that the sizes fit one another.
    pub fn validate(&self) -> Result<(), ModelConfigError> {
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
                return Err(ModelConfigError {
                    key,
                    value,
                    reason: "must be at least 1".into(),
                });
            }
        }
        if self.num_attention_heads % self.num_key_value_heads != 0 {
            return Err(ModelConfigError {
                key: "num_key_value_heads",
                value: self.num_key_value_heads,
                reason: format!(
                    "must divide num_attention_heads = {}",
                    self.num_attention_heads
                ),
            });
        }
        if !["llama", "qwen2", "qwen3"].contains(&&*self.model_type) {
            return Err(ModelConfigError {
                key: "model_type",
                value: 0,
                reason: format!(
                    "{:?} is not one of the known architectures llama, qwen2, qwen3",
                    self.model_type
                ),
            });
        }
        if self.head_dim % 2 != 0 {
            return Err(ModelConfigError {
                key: "head_dim",
                value: self.head_dim,
                reason: "must be even for rotary positions".into(),
            });
        }
        Ok(())
    }

    /// Whether query and key heads pass through an RMSNorm of their own before rotary positions.
    pub fn qk_norm(&self) -> bool {
        self.model_type == "qwen3"
    }

    /// Whether the attention's output projection has a bias.
    pub fn output_bias(&self) -> bool {
        self.attention_bias && self.model_type != "qwen2"
    }

    /// Every weight of this architecture by its published name, with its shape, in the order of the state dict.
    pub fn weight_shapes(&self) -> Vec<(String, Vec<i64>)> {
        let (h, i, d) = (self.hidden_size, self.intermediate_size, self.head_dim);
        let (q, kv) = (self.num_attention_heads * d, self.num_key_value_heads * d);
        let mut shapes = vec![(
            "model.embed_tokens.weight".to_owned(),
            vec![self.vocab_size, h],
        )];
        for layer in 0..self.num_hidden_layers {
            let mut block = vec![("input_layernorm.weight", vec![h])];
            let projections = [
                ("self_attn.q_proj.weight", "self_attn.q_proj.bias", q),
                ("self_attn.k_proj.weight", "self_attn.k_proj.bias", kv),
                ("self_attn.v_proj.weight", "self_attn.v_proj.bias", kv),
            ];
            for (weight, bias, out) in projections {
                block.push((weight, vec![out, h]));
                if self.attention_bias {
                    block.push((bias, vec![out]));
                }
            }
            block.push(("self_attn.o_proj.weight", vec![h, q]));
            if self.output_bias() {
                block.push(("self_attn.o_proj.bias", vec![h]));
            }
            if self.qk_norm() {
                block.push(("self_attn.q_norm.weight", vec![d]));
                block.push(("self_attn.k_norm.weight", vec![d]));
            }
            block.extend([
                ("post_attention_layernorm.weight", vec![h]),
                ("mlp.gate_proj.weight", vec![i, h]),
                ("mlp.up_proj.weight", vec![i, h]),
                ("mlp.down_proj.weight", vec![h, i]),
            ]);
            shapes.extend(
                block
                    .into_iter()
                    .map(|(name, shape)| (format!("model.layers.{layer}.{name}"), shape)),
            );
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
        rope_scaling: None,
        eos_token_id: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
