//! Qwen2 (biases on query, key and value) and Qwen3 (norms of query and key heads).

use super::llama::LLAMA;
use super::{Bias, Family, Windows};

pub const QWEN2: Family = Family {
    model_type: "qwen2",
    gguf: "qwen2",
    class: "Qwen2ForCausalLM",
    defaults: r#"{"max_position_embeddings": 32768, "num_key_value_heads": 32, "rope_theta": 10000.0,
        "sliding_window": 4096, "max_window_layers": 28}"#,
    bias: Bias::QueryKeyValue,
    windows: Windows::AfterMaxWindowLayers,
    interleaved_heads: false,
    ..LLAMA
};

pub const QWEN3: Family = Family {
    model_type: "qwen3",
    gguf: "qwen3",
    class: "Qwen3ForCausalLM",
    defaults: r#"{"max_position_embeddings": 32768, "num_key_value_heads": 32, "head_dim": 128, "rope_theta": 10000.0,
        "sliding_window": 4096, "max_window_layers": 28}"#,
    bias: Bias::Configured,
    qk_norm: true,
    ..QWEN2
};
