//! The models' engine: a decoder-only transformer of the Llama family on LibTorch, its tokenizer, its key-value cache
//! and the batched decoder that samples from it.
//!
//! Nothing here knows of problems, stages or rewards.

pub mod config;
pub mod decoder;
pub mod kv_cache;
pub mod sampling;
pub mod scoring;
pub mod tokenizer;
pub mod transformer;

pub use config::ModelConfig;
pub use tokenizer::Tokenizer;
pub use transformer::Transformer;
