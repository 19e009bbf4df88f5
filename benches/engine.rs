//! Speed of the model engine on a published model, one JSON line a measurement:
//! `cargo bench --bench engine -- MODEL PARTS [ROUNDS]`.
//!
//! PARTS are separated by commas. What decodes may be followed by a precision (`decode:int8`), and runs in all of them
//! otherwise; what trains may be followed by the kind that it computes in (`full:bfloat16`, float32 otherwise), `step` by
//! both (`step:int8:bfloat16`). All weights in bf16 have masters in float32; `full:bfloat16:alone` has none.
//!
//! ```text
//! floor      what the machine gives: bytes a second read, operations a second in large products
//! decode     tokens a second of 1, 8 and 32 rows behind 64 tokens
//! prefill    tokens a second of a prompt of 400 tokens
//! group      seconds for 8 completions of 200 tokens over one prompt of 400
//! full       seconds for forward and backward of 8 x 256 tokens, all weights trained, loss on all tokens
//! last       the same with loss on the last 64 tokens of each
//! lora       the same as full with an adapter of rank 16 on all linear layers
//! step       seconds for a policy-gradient step: 2 prompts x 8 completions x 128 tokens, adapter of rank 16, KL
//! first      one token behind a short prompt: time the whole process
//! ```
//!
//! `benches/peers.sh` runs this and the peers in turn on the same model and prints the ratios. Best and median of the
//! rounds are told, for a machine that others use too, and the process's peak of memory so far. Threads are those of
//! `OMP_NUM_THREADS`.

use std::time::Instant;

use gauntlet::algo::{Algorithm, BatchCounts};
use gauntlet::config;
use gauntlet::model::decoder::{DecodeOptions, Request, Segment};
use gauntlet::model::engine::Engine;
use gauntlet::model::fused::{FusedModel, Precision};
use gauntlet::model::lora::TARGETS;
use gauntlet::model::sampling::Filters;
use gauntlet::model::{Batching, LoraConfig, Pretrained, Transformer};
use gauntlet::optimizer::{AdamW, AdamWOptions};
use gauntlet::rng::DrawKey;
use gauntlet::rollout::{
    Advantaged, Completion, FinishReason, Reward, RolloutKey, TrainSequence, Trainable,
};
use gauntlet::update::{Example, PolicyOptions, imitate, reinforce};
use serde_json::json;
use tch::{Device, Kind, Tensor};

/// Tokens of a prompt that is decoded after, tokens decoded, and rows.
const CONTEXT: usize = 64;
const DECODED: usize = 32;
const BATCHES: [usize; 3] = [1, 8, 32];

const PRECISIONS: [Precision; 3] = [Precision::Float32, Precision::BFloat16, Precision::Int8];

fn name(precision: Precision) -> String {
    format!("{precision:?}").to_lowercase()
}

/// What training computes in; float32 unless named.
fn kind(name: &str) -> anyhow::Result<Kind> {
    match name {
        "" | "float32" => Ok(Kind::Float),
        "bfloat16" => Ok(Kind::BFloat16),
        other => anyhow::bail!("training computes in float32 or bfloat16, not in {other:?}"),
    }
}

/// As `line` names it.
fn label(kind: Kind) -> &'static str {
    match kind {
        Kind::BFloat16 => "bfloat16",
        _ => "float32",
    }
}

fn main() -> anyhow::Result<()> {
    gauntlet_shim::keep_freed_memory();
    // `cargo bench` adds `--bench`.
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let [model, parts, rounds @ ..] = &args[..] else {
        // Without a model, as when all benches are run, there is nothing to measure.
        println!("usage: cargo bench --bench engine -- MODEL PARTS [ROUNDS]");
        return Ok(());
    };
    let rounds = rounds.first().map_or(Ok(3), |n| n.parse())?;
    let pretrained = Pretrained::open(model)?;
    for part in parts.split(',') {
        let mut words = part.split(':');
        let part = words.next().unwrap_or_default();
        let only = words.next().unwrap_or_default();
        let precisions = PRECISIONS
            .into_iter()
            .filter(|p| only.is_empty() || only == name(*p));
        match part {
            "floor" => floor(rounds),
            "full" | "last" | "lora" => {
                let compute = kind(only)?;
                let stored = match words.next() {
                    None if part == "lora" => compute,
                    None => Kind::Float,
                    Some("alone") => compute,
                    Some(other) => {
                        anyhow::bail!("weights are trained with masters or alone, not {other:?}")
                    }
                };
                train(&load(&pretrained, stored)?, part, compute, rounds);
            }
            "step" => {
                let kind = kind(words.next().unwrap_or_default())?;
                for precision in precisions {
                    step(&load(&pretrained, kind)?, precision, rounds)?;
                }
            }
            _ => {
                for precision in precisions {
                    let kind = match precision {
                        Precision::BFloat16 => Kind::BFloat16,
                        _ => Kind::Float,
                    };
                    let model = load(&pretrained, kind)?;
                    run(&model, part, precision, rounds)?;
                }
            }
        }
    }
    Ok(())
}

fn load(pretrained: &Pretrained, kind: Kind) -> anyhow::Result<Transformer> {
    let begun = Instant::now();
    let model = Transformer::frozen(&pretrained.config, pretrained.weights(kind)?, Device::Cpu);
    let what = format!("load {kind:?}").to_lowercase();
    line(&what, 1.0, "s", &[begun.elapsed().as_secs_f64()]);
    Ok(model)
}

fn run(model: &Transformer, part: &str, precision: Precision, rounds: usize) -> anyhow::Result<()> {
    let label = name(precision);
    let begun = Instant::now();
    let mut engine = Engine::new(FusedModel::new(model, precision)?);
    let seconds = begun.elapsed().as_secs_f64();
    line(&format!("pack {label}"), 1.0, "s", &[seconds]);
    match part {
        "decode" => decode(&mut engine, &label, rounds),
        "prefill" => {
            let round = |round| time(&mut engine, &requests(1, 400, 1, false, 100 + round));
            let seconds: Vec<f64> = (0..rounds).map(round).collect::<Result<_, _>>()?;
            line(&format!("prefill {label}"), 400.0, "tokens/s", &seconds);
            Ok(())
        }
        "group" => {
            let round = |round| time(&mut engine, &requests(8, 400, 200, true, 200 + round));
            let seconds: Vec<f64> = (0..rounds).map(round).collect::<Result<_, _>>()?;
            line(&format!("group {label}"), 1.0, "s", &seconds);
            Ok(())
        }
        "first" => {
            let seconds = time(&mut engine, &requests(1, 8, 1, false, 0))?;
            line(&format!("first {label}"), 1.0, "s", &[seconds]);
            Ok(())
        }
        other => anyhow::bail!("part {other:?}"),
    }
}

fn line(what: &str, work: f64, unit: &str, seconds: &[f64]) {
    let mut sorted = seconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    let value = |s: f64| if unit == "s" { s } else { work / s };
    let (best, median) = (value(sorted[0]), value(sorted[sorted.len() / 2]));
    println!(
        "{}",
        json!({"who": "gauntlet", "what": what, "unit": unit, "best": best, "median": median, "rounds": seconds.len(),
            "peak_mb": peak_mb()})
    );
}

/// The most memory that the process has held so far, where the system tells.
fn peak_mb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? / 1024)
}

fn floor(rounds: usize) {
    let options = (Kind::Float, Device::Cpu);
    let timed = |f: &dyn Fn() -> Tensor| {
        let round = |_| {
            let begun = Instant::now();
            drop(f());
            begun.elapsed().as_secs_f64()
        };
        let first: f64 = round(0);
        // Where the processor has no instructions for it, once is enough.
        let rounds = if first > 10.0 { 0 } else { 3 * rounds };
        let rest: Vec<f64> = (0..rounds).map(round).collect();
        if rest.is_empty() { vec![first] } else { rest }
    };
    let large = Tensor::ones([1 << 28], options);
    let bytes = (large.numel() * 4) as f64 / 1e9;
    line("read", bytes, "GB/s", &timed(&|| large.sum(Kind::Float)));
    for kind in [Kind::Float, Kind::BFloat16] {
        let a = Tensor::randn([2048, 2048], options).to_kind(kind);
        let operations = 2.0 * 2048f64.powi(3) / 1e9;
        let what = format!("product {kind:?}").to_lowercase();
        line(&what, operations, "GFLOP/s", &timed(&|| a.matmul(&a)));
    }
}

/// `rows` prompts of `length` tokens that share nothing, or everything, each to be continued by `count` tokens.
fn requests(rows: usize, length: usize, count: usize, shared: bool, round: usize) -> Vec<Request> {
    (0..rows)
        .map(|row| {
            let own = if shared { 0 } else { row };
            let token = |i: usize| (1000 + (i * 31 + own * 977 + round * 7919) % 20_000) as u32;
            Request {
                prompt: (0..length).map(token).collect(),
                segments: vec![Segment {
                    opening: Vec::new(),
                    max_new_tokens: count,
                }],
                key: DrawKey::new(round as u64).with(row as u64),
            }
        })
        .collect()
}

fn time(engine: &mut Engine, requests: &[Request]) -> anyhow::Result<f64> {
    let options = DecodeOptions {
        temperature: 1.0,
        end_token: u32::MAX,
        batch_size: 32,
        filters: Filters::OFF,
        stop: None,
    };
    let begun = Instant::now();
    engine.decode(requests, &options, &mut |_, _| {})?;
    Ok(begun.elapsed().as_secs_f64())
}

fn decode(engine: &mut Engine, label: &str, rounds: usize) -> anyhow::Result<()> {
    for batch in BATCHES {
        let mut seconds = Vec::new();
        for round in 0..rounds {
            // The difference of two lengths is decoding alone.
            let long = requests(batch, CONTEXT, 1 + DECODED, false, 2 * round);
            let short = requests(batch, CONTEXT, 1, false, 2 * round + 1);
            let seconds_of = time(engine, &long)? - time(engine, &short)?;
            seconds.push(seconds_of.max(1e-9));
        }
        let tokens = (batch * DECODED) as f64;
        line(
            &format!("decode {label} batch {batch}"),
            tokens,
            "tokens/s",
            &seconds,
        );
    }
    Ok(())
}

fn adapter(model: &Transformer) -> Transformer {
    let lora = LoraConfig {
        r: 16,
        lora_alpha: 32.0,
        lora_dropout: 0.0,
        target_modules: TARGETS.map(str::to_owned).to_vec(),
    };
    let weights = lora.init(model.config(), 1, Device::Cpu);
    let packed = Batching::Packed {
        checkpointing: false,
    };
    let base = model.share().running(model.compute_kind(), packed);
    base.with_adapter(lora, weights)
}

fn train(model: &Transformer, part: &str, compute: Kind, rounds: usize) {
    let trained = if part == "lora" {
        adapter(model)
    } else {
        let packed = Batching::Packed {
            checkpointing: false,
        };
        let weights = model.parameters();
        let shared = weights.iter().map(|(n, t)| (n.clone(), t.detach()));
        Transformer::from_weights(model.config(), shared.collect(), Device::Cpu)
            .running(compute, packed)
    };
    let from = if part == "last" { 192 } else { 1 };
    let round = |round| {
        let examples: Vec<Example> = requests(8, 256, 1, false, round)
            .into_iter()
            .map(|request| Example {
                tokens: request.prompt,
                from,
            })
            .collect();
        let begun = Instant::now();
        imitate(&trained, &examples, 1.0);
        let seconds = begun.elapsed().as_secs_f64();
        for (_, tensor) in trained.trainable() {
            tensor.shallow_clone().zero_grad();
        }
        seconds
    };
    let seconds: Vec<f64> = (0..rounds).map(round).collect();
    let masters = part != "lora" && model.parameters()[0].1.kind() != compute;
    let what = match masters {
        true => format!("{part} mixed"),
        false => format!("{part} {}", label(compute)),
    };
    line(&what, 1.0, "s", &seconds);
}

/// A completion of forced length.
struct Forced {
    prompt: Vec<u32>,
    completion: Completion,
}

impl Trainable for Forced {
    fn key(&self) -> &RolloutKey {
        unreachable!("forced work has no identity")
    }

    fn prompt_tokens(&self) -> &[u32] {
        &self.prompt
    }

    fn completion(&self) -> &Completion {
        &self.completion
    }
}

/// Tokens of a prompt and of a completion of the policy-gradient step.
const PROMPT: usize = 100;
const COMPLETION: usize = 128;

fn step(model: &Transformer, precision: Precision, rounds: usize) -> anyhow::Result<()> {
    let policy = adapter(model);
    let reference = model
        .share()
        .running(policy.compute_kind(), policy.batching());
    let mut optimizer = AdamW::new(
        policy.trainable(),
        AdamWOptions {
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.0,
            max_grad_norm: 1.0,
            muon: None,
        },
    );
    let mut parts: [Vec<f64>; 4] = Default::default();
    let mut whole = Vec::new();
    for round in 0..rounds {
        let begun = Instant::now();
        let mut last = 0.0;
        let mut lap = |seconds: &mut Vec<f64>| {
            let now = begun.elapsed().as_secs_f64();
            seconds.push(now - last);
            last = now;
        };
        let mut engine = Engine::new(FusedModel::new(&policy, precision)?);
        lap(&mut parts[0]);
        let mut asked = Vec::new();
        for prompt in 0..2 {
            asked.extend(requests(8, PROMPT, COMPLETION, true, 2 * round + prompt));
        }
        let options = DecodeOptions {
            temperature: 1.0,
            end_token: u32::MAX,
            batch_size: 16,
            filters: Filters::OFF,
            stop: None,
        };
        let (sampled, _) = engine.decode(&asked, &options, &mut |_, _| {})?;
        drop(engine);
        lap(&mut parts[1]);
        let sequences: Vec<TrainSequence> = asked
            .iter()
            .zip(&sampled)
            .enumerate()
            .filter_map(|(index, (request, sampled))| {
                let rollout = Forced {
                    prompt: request.prompt.clone(),
                    completion: Completion {
                        tokens: sampled[0].tokens.clone(),
                        logprobs: sampled[0].logprobs.clone(),
                        text: String::new(),
                        finish_reason: FinishReason::Stop,
                    },
                };
                TrainSequence::new(&Advantaged {
                    rollout,
                    reward: Ok(Reward::new([("forced", 0.0)])),
                    advantage: Some(if index % 2 == 0 { 1.0 } else { -1.0 }),
                })
            })
            .collect();
        let options = PolicyOptions {
            algorithm: Algorithm::from_config(&config::Algorithm {
                kl_beta: 0.04,
                ..config::Algorithm::default()
            }),
            temperature: 1.0,
            max_new_tokens: COMPLETION,
            counts: BatchCounts {
                sequences: sequences.len(),
                tokens: 16 * COMPLETION,
            },
        };
        let metrics = reinforce(&policy, &reference, &sequences, &options);
        lap(&mut parts[2]);
        optimizer.step(1e-5)?;
        lap(&mut parts[3]);
        whole.push(begun.elapsed().as_secs_f64());
        assert_eq!(metrics.tokens, 16 * COMPLETION);
        eprintln!(
            "step {round}: mismatch {} nats a token",
            metrics.mismatch / metrics.tokens as f64
        );
    }
    // Named by what trains where that is not float32, else by what decodes.
    let label = match policy.compute_kind() {
        Kind::BFloat16 => format!("{} trained in bf16", name(precision)),
        _ => name(precision),
    };
    line(&format!("step {label}"), 1.0, "s", &whole);
    for (what, seconds) in [
        "pack",
        "generate",
        "reference, forward, backward",
        "optimizer",
    ]
    .into_iter()
    .zip(&parts)
    {
        line(&format!("step {label}: {what}"), 1.0, "s", seconds);
    }
    Ok(())
}
