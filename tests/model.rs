//! Published models: what we make of them is what transformers makes of them.
//!
//! The golden files in `model/data` are small random models of each family with the logits and greedy continuations that
//! transformers 5.23 and 5.24 give in float32. They were made, and can be made again, by
//! `python model/reference.py model/data/FAMILY make FAMILY` and the commands `logits` and `greedy` of that script.

use std::path::{Path, PathBuf};

use gauntlet::model::decoder::{DecodeOptions, Request, Segment};
use gauntlet::model::fused::Precision;
use gauntlet::model::rollouts::Rollouts;
use gauntlet::model::sampling::Filters;
use gauntlet::model::{ModelConfig, Transformer};
use gauntlet::rng::DrawKey;
use serde_json::Value as Json;
use tch::{Device, Kind, Tensor, no_grad};

mod damage;
mod gguf;
pub mod peers;
mod training;

const FAMILIES: [&str; 5] = ["llama", "qwen2", "qwen3", "gemma3", "smollm3"];

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/model/data")
}

fn json(path: &Path) -> Json {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap()
}

/// A copy of a golden model with a tokenizer, as a folder that can be opened and damaged.
fn folder(family: &str) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(data().join(family)).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.path().join(entry.file_name())).unwrap();
    }
    std::fs::write(to.path().join("tokenizer.json"), tokenizer()).unwrap();
    let template = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
    let config = serde_json::json!({"chat_template": template, "eos_token": "<|im_end|>"});
    std::fs::write(to.path().join("tokenizer_config.json"), config.to_string()).unwrap();
    to
}

/// A tokenizer of 96 ids: printable characters, and the two marks of a conversation.
fn tokenizer() -> String {
    let mut vocabulary = serde_json::Map::new();
    for (id, byte) in (b'!'..=b'~').enumerate() {
        vocabulary.insert((byte as char).to_string(), id.into());
    }
    let marks = [(94, "<|im_start|>"), (95, "<|im_end|>")];
    let added: Vec<Json> = marks
        .iter()
        .map(|(id, content)| {
            serde_json::json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true})
        })
        .collect();
    serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": null, "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocabulary, "merges": []},
    })
    .to_string()
}

fn open(family: &str) -> Transformer {
    let folder = folder(family);
    let pretrained = gauntlet::model::Pretrained::open(folder.path().to_str().unwrap()).unwrap();
    let weights = pretrained.weights(Kind::Float).unwrap();
    Transformer::frozen(&pretrained.config, weights, Device::Cpu)
}

fn token_rows() -> Vec<Vec<i64>> {
    serde_json::from_value(json(&data().join("tokens.json"))).unwrap()
}

#[test]
fn logits_are_those_of_transformers() {
    for family in FAMILIES {
        let model = open(family);
        let golden = json(&data().join(family).join("logits.json"));
        for (row, golden) in token_rows().iter().zip(golden.as_array().unwrap()) {
            let input = Tensor::from_slice(row).view([1, -1]);
            let logits = no_grad(|| model.logits(&model.forward(&input))).squeeze_dim(0);
            // The golden files keep the first two and the last two positions.
            let golden: Vec<Vec<f64>> = serde_json::from_value(golden.clone()).unwrap();
            let n = row.len() as i64;
            for (at, golden) in [0, 1, n - 2, n - 1].into_iter().zip(golden) {
                let golden = Tensor::from_slice(&golden);
                let ours = logits.get(at).to_kind(Kind::Double);
                let worst = (&ours - &golden).abs().max().double_value(&[]);
                assert!(worst < 1e-3, "{family}, position {at}: {worst}");
                assert_eq!(ours.argmax(0, false), golden.argmax(0, false));
            }
        }
    }
}

/// Has each prompt continued by its likeliest tokens, `count` of them.
fn greedy(prompts: impl Iterator<Item = Vec<u32>>, count: usize) -> (Vec<Request>, DecodeOptions) {
    let requests = prompts.map(|prompt| Request {
        prompt,
        segments: vec![Segment {
            opening: Vec::new(),
            max_new_tokens: count,
        }],
        key: DrawKey::new(0),
    });
    let options = DecodeOptions {
        temperature: 0.0,
        end_token: u32::MAX,
        batch_size: 8,
        filters: Filters::OFF,
        stop: None,
    };
    (requests.collect(), options)
}

#[test]
fn greedy_continuations_are_those_of_transformers() {
    for family in FAMILIES {
        let model = open(family);
        let golden = json(&data().join(family).join("greedy.json"));
        let golden: Vec<Vec<u32>> = serde_json::from_value(golden).unwrap();
        let rows = token_rows();
        let prompts = rows
            .iter()
            .map(|row| row.iter().map(|t| *t as u32).collect());
        let (requests, options) = greedy(prompts, golden[0].len());
        for rollouts in [Rollouts::trainer(), Rollouts::fused(Precision::Float32)] {
            let decoded = rollouts
                .decode(&model, &requests, &options, &mut |_, _| {})
                .unwrap();
            for (row, golden) in decoded.iter().zip(&golden) {
                assert_eq!(&row[0].tokens, golden, "{family}");
            }
        }
    }
}

#[test]
fn a_hub_id_without_network_and_cache_is_a_clear_error() {
    let cache = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_train"))
        .args([
            "--set",
            "model.kind=pretrained",
            "--set",
            "model.path=nobody/no-model@v7",
        ])
        .args(["--set", "problems.composed=false"])
        .env("HF_HOME", cache.path())
        .env("HF_HUB_OFFLINE", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    for part in [
        "nobody/no-model",
        "revision v7",
        "config.json",
        "HF_HUB_OFFLINE forbids the network",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let error = gauntlet::model::Pretrained::open("no such model")
        .err()
        .unwrap();
    assert!(
        error.to_string().contains("no folder and no file"),
        "{error}"
    );
}

#[test]
fn frozen_weights_are_those_that_are_copied_whatever_kind_is_asked_for() {
    for family in FAMILIES {
        let folder = folder(family);
        let spec = folder.path().to_str().unwrap();
        let model = gauntlet::model::Pretrained::open(spec).unwrap();
        for kind in [Kind::Float, Kind::BFloat16] {
            let (opened, frozen) =
                gauntlet::model::Pretrained::open_frozen(spec, |_| kind).unwrap();
            assert_eq!(opened.config, model.config);
            assert_eq!(opened.tokenizer.json(), model.tokenizer.json());
            assert!(frozen.iter().all(|(_, tensor)| tensor.kind() == kind));
            assert!(frozen == model.weights(kind).unwrap(), "{family} {kind:?}");
        }
    }
}

#[test]
fn published_configurations_describe_published_models() {
    // Parameters as the models' own pages count them.
    let config = |text: &str| -> ModelConfig {
        gauntlet::model::pretrained::published::parse(text, Path::new("config.json")).unwrap()
    };
    let smollm2 = config(
        r#"{"model_type": "llama", "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
        "num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49152, "tie_word_embeddings": true,
        "rope_theta": 100000, "rms_norm_eps": 1e-05, "max_position_embeddings": 8192}"#,
    );
    assert_eq!(smollm2.parameters(), 134_515_008);
    let qwen3 = config(
        r#"{"model_type": "qwen3", "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28,
        "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936,
        "tie_word_embeddings": true, "rope_theta": 1000000, "rms_norm_eps": 1e-06, "max_position_embeddings": 40960}"#,
    );
    assert_eq!(qwen3.parameters(), 596_049_920);
}
