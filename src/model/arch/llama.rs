//! Llama, and what is published in its shape (SmolLM2, DeepSeek-Coder, Yi).

use super::{Activation, Bias, Family, Norms, Windows};

/// Norms before attention and before the feed-forward layer.
pub const PRE_NORMS: Norms = Norms {
    before_attention: "input_layernorm",
    after_attention: None,
    before_mlp: "post_attention_layernorm",
    after_mlp: None,
};

pub const LLAMA: Family = Family {
    model_type: "llama",
    gguf: "llama",
    class: "LlamaForCausalLM",
    defaults: r#"{"max_position_embeddings": 2048, "rope_theta": 10000.0}"#,
    bias: Bias::Configured,
    norms: PRE_NORMS,
    qk_norm: false,
    norm_offset: 0.0,
    scaled_embeddings: false,
    activation: Activation::Silu,
    activation_key: "hidden_act",
    windows: Windows::Never,
    no_rope_layer_interval: None,
    interleaved_heads: true,
};
