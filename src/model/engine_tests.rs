//! The engine decodes what the plain decoder decodes, and computes what is common once.

use tch::Device;

use super::super::ModelConfig;
use super::super::config::test_config;
use super::super::decoder::{Segment, decode};
use super::super::fused::Precision;
use super::super::sampling::Filters;
use super::super::transformer::Transformer;
use super::*;
use crate::rng::DrawKey;

fn model() -> Transformer {
    let config = ModelConfig {
        model_type: "qwen2".into(),
        attention_bias: true,
        hidden_size: 64,
        head_dim: 16,
        max_position_embeddings: 128,
        ..test_config()
    };
    Transformer::init(&config, 0.2, 3, Device::Cpu)
}

fn engine(model: &Transformer) -> Engine {
    Engine::new(FusedModel::new(model, Precision::Float32).unwrap())
}

fn options(batch_size: usize) -> DecodeOptions {
    DecodeOptions {
        temperature: 1.0,
        end_token: 2,
        batch_size,
        filters: Filters::default(),
        stop: None,
    }
}

fn request(prompt: Vec<u32>, sample: u64) -> Request {
    let segments = (0..3)
        .map(|i| Segment {
            opening: vec![3 + i, 9, 11],
            max_new_tokens: 14,
        })
        .collect();
    Request {
        prompt,
        segments,
        key: DrawKey::new(1).with(sample),
    }
}

fn prompt(length: u32, step: u32) -> Vec<u32> {
    (0..length).map(|i| 5 + (i * step) % 30).collect()
}

fn run(
    engine: &mut Engine,
    requests: &[Request],
    batch: usize,
) -> (Vec<Vec<Sampled>>, EngineCounts) {
    engine
        .decode(requests, &options(batch), &mut |_, _| {})
        .unwrap()
}

fn tokens(decoded: &[Vec<Sampled>]) -> Vec<Vec<(Vec<u32>, bool)>> {
    let row = |r: &Vec<Sampled>| r.iter().map(|s| (s.tokens.clone(), s.truncated)).collect();
    decoded.iter().map(row).collect()
}

#[test]
fn tokens_are_those_of_the_plain_decoder_whatever_shares_the_batch() {
    let model = model();
    let requests: Vec<Request> = (0..9u64)
        .map(|i| request(prompt(1 + 7 * (i as u32 % 5), 3), i))
        .collect();
    let plain = decode(&model, &requests, &options(16)).unwrap();
    assert!(
        plain.iter().any(|row| row.len() > 1),
        "some row has a second segment"
    );
    for batch in [1, 4, 16] {
        let (fused, _) = run(&mut engine(&model), &requests, batch);
        assert_eq!(tokens(&fused), tokens(&plain), "batch {batch}");
        let logprobs = |d: &[Vec<Sampled>]| -> Vec<f32> {
            d.iter()
                .flatten()
                .flat_map(|s| s.logprobs.clone())
                .collect()
        };
        let pairs = logprobs(&fused).into_iter().zip(logprobs(&plain));
        assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-3));
    }
}

#[test]
fn a_common_prompt_is_computed_once() {
    let model = model();
    let group: Vec<Request> = (0..8).map(|i| request(prompt(48, 7), i)).collect();
    let mut engine = engine(&model);
    let (_, counts) = run(&mut engine, &group, 8);
    // Three full blocks are computed by the first row and shared by seven.
    assert_eq!(counts.shared, 7 * 48);
    // Rows that go on from a finished row's text find it too.
    let (first, _) = run(&mut engine, &group[..1], 1);
    let written = [
        &group[0].prompt[..],
        &group[0].segments[0].opening,
        &first[0][0].tokens,
    ]
    .concat();
    let (_, counts) = run(&mut engine, &[request(written.clone(), 9)], 1);
    // The last token of a row that ended is sampled and never computed.
    let blocks = |tokens: usize| (tokens / 16 * 16) as u64;
    assert!((blocks(written.len() - 1)..=blocks(written.len())).contains(&counts.shared));
}

#[test]
fn forgotten_blocks_are_never_taken_for_others() {
    let model = model();
    let mut small = engine(&model);
    // Far more different prompts than there is room for, then the first ones again.
    let requests: Vec<Request> = (0..12u64)
        .map(|i| {
            let mut request = request(prompt(40 + (i as u32 % 3) * 16, 1 + i as u32 % 11), i % 4);
            request.segments.truncate(1);
            request.segments[0].max_new_tokens = 3;
            request
        })
        .collect();
    for request in requests.iter().chain(&requests[..4]) {
        let (kept, _) = run(&mut small, std::slice::from_ref(request), 1);
        let (fresh, _) = run(&mut engine(&model), std::slice::from_ref(request), 1);
        assert_eq!(tokens(&kept), tokens(&fresh));
    }
}

#[test]
fn finished_rows_make_room() {
    let model = model();
    let mut requests: Vec<Request> = (0..6).map(|i| request(prompt(4, 3), i)).collect();
    for (i, request) in requests.iter_mut().enumerate() {
        request.segments.truncate(1);
        request.segments[0].max_new_tokens = if i == 0 { 40 } else { 8 };
    }
    let never = DecodeOptions {
        end_token: u32::MAX,
        ..options(2)
    };
    let (decoded, counts) = engine(&model)
        .decode(&requests, &never, &mut |_, _| {})
        .unwrap();
    assert_eq!(decoded[0][0].tokens.len(), 40);
    // The five short rows pass one after another beside the long one; cutting into pairs would take 40 + 8 + 8.
    assert!(counts.passes < 48, "{counts:?}");
}

#[test]
fn every_token_is_told_and_stops_end_a_row() {
    let model = model();
    let request = request(prompt(4, 3), 1);
    let mut heard = Vec::new();
    let (decoded, _) = engine(&model)
        .decode(
            std::slice::from_ref(&request),
            &options(1),
            &mut |row, token| heard.push((row, token)),
        )
        .unwrap();
    let written: Vec<(usize, u32)> = decoded[0]
        .iter()
        .flat_map(|s| s.tokens.iter().map(|t| (0, *t)))
        .collect();
    assert_eq!(heard, written);
    let third = decoded[0][0].tokens[2];
    let stopping = DecodeOptions {
        stop: Some(std::sync::Arc::new(move |tokens: &[u32]| tokens.len() == 3)),
        ..options(1)
    };
    let (stopped, _) = engine(&model)
        .decode(&[request], &stopping, &mut |_, _| {})
        .unwrap();
    assert_eq!(stopped[0][0].tokens.last(), Some(&third));
    assert!(stopped[0][0].tokens.len() == 3 && !stopped[0][0].truncated);
}

#[test]
fn numbers_that_are_none_end_the_run() {
    let model = model();
    let poisoned = model.parameters()[0].1.detach();
    let _ = poisoned.get(0).fill_(f64::NAN);
    let mut engine = engine(&model);
    let error = engine
        .decode(&[request(vec![0, 1], 0)], &options(1), &mut |_, _| {})
        .unwrap_err();
    assert!(error.to_string().contains("not finite"), "{error}");
}
