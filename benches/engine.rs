//! Speed of the model engine on a published model, one JSON line a measurement: `cargo bench --bench engine -- MODEL`.
//!
//! `benches/peers.sh` runs this and the peers in turn on the same model and prints the ratios. Each measurement is taken
//! `--rounds` times; best and median are told, for a machine that others use too.

use std::time::Instant;

use gauntlet::model::decoder::{DecodeOptions, Request, Segment};
use gauntlet::model::engine::Engine;
use gauntlet::model::fused::{FusedModel, Precision};
use gauntlet::model::lora::TARGETS;
use gauntlet::model::sampling::{DrawKey, Filters};
use gauntlet::model::{Batching, LoraConfig, Pretrained, Transformer};
use gauntlet::update::{Example, imitate};
use serde_json::json;
use tch::{Device, Kind};

/// Tokens of a prompt that is decoded after, tokens decoded, and rows.
const CONTEXT: usize = 64;
const DECODED: usize = 32;
const BATCHES: [usize; 3] = [1, 8, 32];

fn main() -> anyhow::Result<()> {
    // `cargo bench` adds `--bench`.
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let Some(name) = args.first() else {
        // Without a model, as when all benches are run, there is nothing to measure.
        println!("usage: cargo bench --bench engine -- MODEL [ROUNDS]");
        return Ok(());
    };
    let rounds = args.get(1).map_or(Ok(5), |n| n.parse())?;
    let begun = Instant::now();
    let pretrained = Pretrained::open(name)?;
    let weights = pretrained.weights(Kind::Float)?;
    let model = Transformer::frozen(&pretrained.config, weights, Device::Cpu);
    line("load float32", 1.0, "s", &[begun.elapsed().as_secs_f64()]);
    for precision in [Precision::Float32, Precision::BFloat16, Precision::Int8] {
        let begun = Instant::now();
        let mut engine = Engine::new(FusedModel::new(&model, precision)?);
        let label = format!("{precision:?}").to_lowercase();
        line(
            &format!("pack {label}"),
            1.0,
            "s",
            &[begun.elapsed().as_secs_f64()],
        );
        decode(&mut engine, &label, rounds)?;
    }
    train(&model, rounds.min(3))
}

fn line(what: &str, work: f64, unit: &str, seconds: &[f64]) {
    let mut sorted = seconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    let value = |s: f64| if unit == "s" { s } else { work / s };
    let (best, median) = (value(sorted[0]), value(sorted[sorted.len() / 2]));
    println!(
        "{}",
        json!({"what": what, "unit": unit, "best": best, "median": median, "rounds": seconds.len(), "who": "gauntlet"})
    );
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

fn decode(engine: &mut Engine, label: &str, rounds: usize) -> anyhow::Result<()> {
    let options = DecodeOptions {
        temperature: 1.0,
        end_token: u32::MAX,
        batch_size: 32,
        filters: Filters::OFF,
        stop: None,
    };
    let mut time = |requests: &[Request]| -> anyhow::Result<f64> {
        let begun = Instant::now();
        engine.decode(requests, &options, &mut |_, _| {})?;
        Ok(begun.elapsed().as_secs_f64())
    };
    for batch in BATCHES {
        let mut seconds = Vec::new();
        for round in 0..rounds {
            // The difference of two lengths is decoding alone.
            let long = time(&requests(batch, CONTEXT, 1 + DECODED, false, 2 * round))?;
            let short = time(&requests(batch, CONTEXT, 1, false, 2 * round + 1))?;
            seconds.push((long - short).max(1e-9));
        }
        line(
            &format!("decode {label} batch {batch}"),
            (batch * DECODED) as f64,
            "tokens/s",
            &seconds,
        );
    }
    let mut seconds = Vec::new();
    for round in 0..rounds {
        seconds.push(time(&requests(1, 400, 1, false, 100 + round))?);
    }
    line(&format!("prefill {label} 400"), 400.0, "tokens/s", &seconds);
    let mut seconds = Vec::new();
    for round in 0..rounds.min(2) {
        seconds.push(time(&requests(8, 400, 200, true, 200 + round))?);
    }
    line(
        &format!("group {label} 8 x 200 over 400"),
        1.0,
        "s",
        &seconds,
    );
    Ok(())
}

fn train(model: &Transformer, rounds: usize) -> anyhow::Result<()> {
    let packed = Batching::Packed {
        checkpointing: false,
    };
    let lora = LoraConfig {
        r: 16,
        lora_alpha: 32.0,
        lora_dropout: 0.0,
        target_modules: TARGETS.map(str::to_owned).to_vec(),
    };
    let copies = model
        .parameters()
        .iter()
        .map(|(n, t)| (n.clone(), t.copy()))
        .collect();
    let full =
        Transformer::from_weights(model.config(), copies, Device::Cpu).running(Kind::Float, packed);
    let base = model.share().running(Kind::Float, packed);
    let adapted = base.with_adapter(lora.clone(), lora.init(model.config(), 1, Device::Cpu));
    for (what, model, from) in [
        ("all", &full, 1),
        ("all, last 64", &full, 192),
        ("lora 16", &adapted, 1),
    ] {
        let mut seconds = Vec::new();
        for round in 0..rounds {
            let examples: Vec<Example> = requests(8, 256, 1, false, round)
                .into_iter()
                .map(|request| Example {
                    tokens: request.prompt,
                    from,
                })
                .collect();
            let begun = Instant::now();
            imitate(model, &examples, 1.0);
            seconds.push(begun.elapsed().as_secs_f64());
            for (_, tensor) in model.trainable() {
                tensor.shallow_clone().zero_grad();
            }
        }
        line(
            &format!("forward+backward float32 8 x 256, {what}"),
            1.0,
            "s",
            &seconds,
        );
    }
    Ok(())
}
