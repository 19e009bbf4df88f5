//! The models' engine: a decoder-only transformer of the Llama family on LibTorch, its tokenizer, its key-value cache
//! and the batched decoder that samples from it.
//!
//! Nothing here knows of problems, stages or rewards.

pub mod arch;
pub mod chat_template;
pub mod config;
pub mod decoder;
pub mod diagnosis;
pub mod engine;
pub mod fused;
pub mod kv_cache;
mod layers;
pub mod lora;
pub mod packed;
pub mod pretrained;
pub mod rollouts;
pub mod rope;
pub mod sampling;
pub mod scoring;
pub mod tokenizer;
pub mod transformer;

pub use config::ModelConfig;
pub use lora::LoraConfig;
pub use pretrained::Pretrained;
pub use tokenizer::Tokenizer;
pub use transformer::{Batching, Transformer};
