//! Families of models as data: one small file a family says what differs, and [`Family::of_config`] and [`Family::of_gguf`]
//! are the one place where a model's family is decided.
//!
//! All families are decoders of one shape: RMSNorm, grouped-query attention with rotary positions, a gated feed-forward
//! layer. Another family is another file here and another line in [`FAMILIES`], as long as what differs is in [`Family`].

mod gemma;
mod llama;
mod qwen;
mod smollm3;

pub use gauntlet_shim::Activation;

/// All families, in the order in which they are told.
pub const FAMILIES: [&Family; 5] = [
    &llama::LLAMA,
    &qwen::QWEN2,
    &qwen::QWEN3,
    &gemma::GEMMA3,
    &smollm3::SMOLLM3,
];

/// What differs between families. Keys and names are the published ones.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// `model_type` in a `config.json`.
    pub model_type: &'static str,
    /// `general.architecture` in a GGUF file.
    pub gguf: &'static str,
    /// The class that transformers runs it with.
    pub class: &'static str,
    /// What transformers takes for keys that a `config.json` leaves out, where families differ: a JSON object.
    pub defaults: &'static str,
    /// Which projections of attention have a bias.
    pub bias: Bias,
    /// The norms of a block.
    pub norms: Norms,
    /// Whether query and key heads pass through an RMSNorm of their own before rotary positions.
    pub qk_norm: bool,
    /// What is added to the weight of every norm: 1 where published weights are the distance from one.
    pub norm_offset: f64,
    /// Whether embeddings are multiplied by sqrt(hidden_size), rounded to the kind of the hidden states.
    pub scaled_embeddings: bool,
    /// What the feed-forward layer makes of its gate.
    pub activation: Activation,
    /// The key that names the activation.
    pub activation_key: &'static str,
    /// Which layers attend within a window, where `layer_types` does not say.
    pub windows: Windows,
    /// Every so manieth layer goes without rotary positions, where `no_rope_layers` does not say.
    pub no_rope_layer_interval: Option<i64>,
    /// Whether a GGUF file stores query and key heads with the two halves interleaved, pair by pair.
    pub interleaved_heads: bool,
}

/// Which projections of attention have a bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bias {
    /// Query, key, value and output, if `attention_bias` says so.
    Configured,
    /// Query, key and value, whatever `attention_bias` says.
    QueryKeyValue,
}

/// Names of the norms in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Norms {
    /// Of the block's input, before attention.
    pub before_attention: &'static str,
    /// Of what attention adds to the residual stream.
    pub after_attention: Option<&'static str>,
    /// Of the residual stream, before the feed-forward layer.
    pub before_mlp: &'static str,
    /// Of what the feed-forward layer adds.
    pub after_mlp: Option<&'static str>,
}

/// Which layers attend within a window of `sliding_window` tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Windows {
    /// None.
    Never,
    /// Those from `max_window_layers` on, if `use_sliding_window` says so.
    AfterMaxWindowLayers,
    /// All but each `sliding_window_pattern`-th; they have rotary positions of their own base, `rope_local_base_freq`.
    AllButEach,
}

impl Family {
    /// The family of a `config.json`.
    pub fn of_config(model_type: &str) -> Option<&'static Self> {
        FAMILIES.into_iter().find(|f| f.model_type == model_type)
    }

    /// The family of a GGUF file.
    pub fn of_gguf(architecture: &str) -> Option<&'static Self> {
        FAMILIES.into_iter().find(|f| f.gguf == architecture)
    }

    /// The family of a model that is made from scratch: one whose biases stand where these do.
    pub fn of_scratch(attention_bias: bool) -> &'static Self {
        match attention_bias {
            true => &qwen::QWEN2,
            false => &llama::LLAMA,
        }
    }

    /// The families by the names that `name` takes of them, for messages.
    pub fn list(name: impl Fn(&Self) -> &'static str) -> String {
        FAMILIES.map(name).join(", ")
    }

    /// The published names of its activation, the usual one first.
    pub fn activations(&self) -> &'static [&'static str] {
        match self.activation {
            Activation::Silu => &["silu", "swish"],
            Activation::GeluTanh => &["gelu_pytorch_tanh"],
        }
    }

    /// The name in a GGUF file of a published module of a block.
    pub fn gguf_module(&self, module: &str) -> Option<&'static str> {
        const LINEAR: [(&str, &str); 9] = [
            ("self_attn.q_proj", "attn_q"),
            ("self_attn.k_proj", "attn_k"),
            ("self_attn.v_proj", "attn_v"),
            ("self_attn.o_proj", "attn_output"),
            ("self_attn.q_norm", "attn_q_norm"),
            ("self_attn.k_norm", "attn_k_norm"),
            ("mlp.gate_proj", "ffn_gate"),
            ("mlp.up_proj", "ffn_up"),
            ("mlp.down_proj", "ffn_down"),
        ];
        let norms = [
            (Some(self.norms.before_attention), "attn_norm"),
            (self.norms.after_attention, "post_attention_norm"),
            (Some(self.norms.before_mlp), "ffn_norm"),
            (self.norms.after_mlp, "post_ffw_norm"),
        ];
        let norms = norms
            .into_iter()
            .filter_map(|(name, stored)| Some((name?, stored)));
        let (_, stored) = LINEAR
            .into_iter()
            .chain(norms)
            .find(|(name, _)| *name == module)?;
        Some(stored)
    }

    /// Whether `name` is the weight of a norm.
    pub fn is_norm(name: &str) -> bool {
        name.ends_with("norm.weight")
    }

    /// The published defaults.
    pub fn defaults(&self) -> serde_json::Map<String, serde_json::Value> {
        serde_json::from_str(self.defaults).expect("the defaults of a family are a JSON object")
    }
}

/// The layers of `AllButEach`: whether each of `layers` is one with a window, where each `pattern`-th is none.
pub fn all_but_each(pattern: i64, layers: i64) -> impl Iterator<Item = bool> {
    (1..=layers).map(move |layer| pattern < 1 || layer % pattern != 0)
}
