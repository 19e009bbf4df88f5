//! Gemma 3, its text models (arXiv 2503.19786): five layers with a window, then one that sees all, each kind with rotary
//! positions of its own base; norms on both sides of attention and of the feed-forward layer.

use super::llama::LLAMA;
use super::{Activation, Bias, Family, Norms, Windows};

pub const GEMMA3: Family = Family {
    model_type: "gemma3_text",
    gguf: "gemma3",
    class: "Gemma3ForCausalLM",
    defaults: r#"{"max_position_embeddings": 131072, "num_key_value_heads": 4, "head_dim": 256,
        "tie_word_embeddings": true, "rope_theta": 1000000.0, "rope_local_base_freq": 10000.0,
        "sliding_window": 4096, "sliding_window_pattern": 6, "query_pre_attn_scalar": 256}"#,
    bias: Bias::Configured,
    norms: Norms {
        before_attention: "input_layernorm",
        after_attention: Some("post_attention_layernorm"),
        before_mlp: "pre_feedforward_layernorm",
        after_mlp: Some("post_feedforward_layernorm"),
    },
    qk_norm: true,
    norm_offset: 1.0,
    scaled_embeddings: true,
    activation: Activation::GeluTanh,
    activation_key: "hidden_activation",
    windows: Windows::AllButEach,
    interleaved_heads: false,
    ..LLAMA
};
