//! SmolLM3: Llama with every fourth layer without rotary positions (NoPE, arXiv 2501.18795).

use super::Family;
use super::llama::LLAMA;

pub const SMOLLM3: Family = Family {
    model_type: "smollm3",
    gguf: "smollm3",
    class: "SmolLM3ForCausalLM",
    defaults: r#"{"max_position_embeddings": 32768, "num_key_value_heads": 4, "tie_word_embeddings": true,
        "rope_theta": 2000000.0}"#,
    no_rope_layer_interval: Some(4),
    ..LLAMA
};
