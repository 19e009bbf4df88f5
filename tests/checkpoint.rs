//! Checkpoints: round trips, damage, hostile files, crashes, and Python's torch as a reader.

mod command;
mod copying;
mod damage;
mod faults;
pub(crate) mod faulty;
mod finding;
mod fuzz;
pub(crate) mod guide;
mod hostile;
mod large;
mod object;
mod order;
mod plot;
mod python;
mod round_trip;
pub(crate) mod s3;
mod saver;

use gauntlet::checkpoint::{
    CheckpointKind, DISCRIMINATOR, GENERATOR, Moments, OptimizerState, ParamGroup, PlayerState,
    SaveRequest,
};
use serde_json::json;
use tch::{Device, Kind, Tensor};

/// Asserts that two tensors have the same type, shape and bytes.
fn assert_same(name: &str, a: &Tensor, b: &Tensor) {
    assert_eq!((a.kind(), a.size()), (b.kind(), b.size()), "{name}");
    assert_eq!(bytes(a), bytes(b), "{name}");
}

fn bytes(tensor: &Tensor) -> Vec<u8> {
    let mut bytes = vec![0; tensor.numel() * tensor.kind().elt_size_in_bytes()];
    if !bytes.is_empty() {
        tensor.copy_data_u8(&mut bytes, tensor.numel());
    }
    bytes
}

/// A player of a few hundred bytes, different for every `salt`.
fn player(salt: i64) -> PlayerState {
    let ramp = |n: i64, shape: &[i64]| {
        (Tensor::arange(n, (Kind::Float, Device::Cpu)) * 0.1 + salt).reshape(shape)
    };
    let weights = vec![
        ("model.embed_tokens.weight".to_string(), ramp(12, &[4, 3])),
        ("model.norm.weight".to_string(), ramp(3, &[3])),
    ];
    let params = weights
        .iter()
        .map(|(name, weight)| Moments {
            name: name.clone(),
            step: 7,
            exp_avg: weight * 0.01,
            exp_avg_sq: weight * weight,
        })
        .collect();
    let group = ParamGroup {
        lr: 1e-3,
        betas: (0.9, 0.95),
        eps: 1e-8,
        weight_decay: 0.1,
        params,
    };
    PlayerState {
        model_state_dict: weights,
        optimizer: Some(OptimizerState {
            groups: vec![group],
        }),
        stage_id: 3,
        metrics: json!({"avg_reward": 0.25, "episodes": 12}),
        model_config: json!({"hidden_size": 3, "vocab_size": 4, "tie_word_embeddings": true}),
        lora_config: None,
    }
}

/// A request to save two small players.
fn request(name: &str, step: u64, score: Option<f64>) -> SaveRequest {
    SaveRequest {
        name: name.into(),
        kind: CheckpointKind::Full,
        stage: 3,
        step,
        score,
        players: vec![
            (GENERATOR.into(), player(step as i64)),
            (DISCRIMINATOR.into(), player(-(step as i64))),
        ],
        metrics: json!({"stage": 3, "step": step, "validation": {"pass_at_1": score}}),
        training_config: json!({"run": {"seed": u64::MAX}}),
        trainer_state: json!({"step": step, "alpha": 0.1}),
        mistake_book: "{\"problem\":\"x\"}\n".into(),
        own_chains: String::new(),
        tokenizer: "{}".into(),
        prompts: vec![
            ("generator/stage_1.j2".into(), "Solve {{ problem }}".into()),
            ("shared.j2".into(), "é".into()),
        ],
        parent: None,
        tags: [("note".to_string(), "a first try".to_string())].into(),
        set_best: false,
    }
}
