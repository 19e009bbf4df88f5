//! Adapters on a published model: resumed exactly, and only on the weights they were trained on.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use gauntlet::checkpoint::{Checkpoint, DISCRIMINATOR, GENERATOR};
use serde_json::{Value as Json, json};

use super::{Dir, assert_same_end, peaceful, text};

/// LoRA on the model in BASE.
const CONFIG: &str = "
run: {name: test, output_dir: OUT, threads: 1}
model: {kind: pretrained, path: BASE}
training: {lora_rank: 4, lora_targets: [q_proj, v_proj, down_proj]}
problems: {dir: PROBLEMS, validation_problems: 2, report_problems: 2, composed_share: 0.8}
warmup: {generator_steps: 6, discriminator_steps: 4, batch_size: 2, muon_ratio: 0.0, verdict_problems: 2, attack_problems: 2}
stages: {steps: [1, 1, 1, 1, 3]}
game: {problems_per_step: 2, group_size: 2, discriminator_group_size: 2}
sampling: {max_new_tokens: [8, 8, 8, 8, 24], attack_max_new_tokens: 16}
evaluation: {closing: false}
checkpoint: {save_every: 1, keep_last: -1, eval_every: 0}
";

const CHAT: &str = "{% for m in messages %}{{ m.role + ':\\n' + m.content + '<|end|>' }}{% endfor %}\
                    {% if add_generation_prompt %}{{ 'assistant:\\n' }}{% endif %}";

fn checkpoints(dir: &Dir, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_checkpoints"));
    command.args(args).current_dir(&dir.root).output().unwrap()
}

/// A directory with CONFIG and a small model in the layout of published ones.
pub fn on_a_published_model() -> (Dir, PathBuf) {
    let dir = Dir::new();
    let base = dir.root.join("base");
    let trained = peaceful().join("checkpoints/final");
    let to = ["--to", base.to_str().unwrap()];
    let output = checkpoints(
        &dir,
        &[&["export", trained.to_str().unwrap()][..], &to].concat(),
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    // Turns of a conversation, and room for them.
    set(
        &base.join("tokenizer_config.json"),
        "chat_template",
        json!(CHAT),
    );
    set(
        &base.join("tokenizer_config.json"),
        "eos_token",
        json!("<|end|>"),
    );
    set(
        &base.join("config.json"),
        "max_position_embeddings",
        json!(4096),
    );
    let config = CONFIG
        .replace("OUT", &dir.path("out"))
        .replace("PROBLEMS", &dir.path("problems"))
        .replace("BASE", base.to_str().unwrap());
    std::fs::write(dir.path("test.yaml"), config).unwrap();
    (dir, base)
}

fn set(file: &Path, key: &str, value: Json) {
    let mut json: Json = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    json[key] = value;
    std::fs::write(file, json.to_string()).unwrap();
}

#[test]
fn adapters_resume_exactly_and_only_on_the_weights_they_were_trained_on() {
    let (dir, base) = on_a_published_model();
    let output = dir.train(&[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let whole = dir.runs().remove(0);
    for from in ["stage_0", "stage_2", "step_000016"] {
        let path = whole.join("checkpoints").join(from);
        let output = dir.train(&["--resume", path.to_str().unwrap()]);
        assert!(output.status.success(), "{from}: {}", text(&output.stderr));
        assert_same_end(&whole, &dir.runs().pop().unwrap(), from);
    }

    // The file holds the adapter alone, and says of which model.
    let last = whole.join("checkpoints/final");
    let checkpoint = Checkpoint::open(&last).unwrap();
    for player in [GENERATOR, DISCRIMINATOR] {
        let file = checkpoint.player(player).unwrap();
        let names: Vec<String> = file
            .tensors()
            .unwrap()
            .into_iter()
            .map(|t| t.name)
            .collect();
        let adapter = |name: &String| name.contains("lora_") || name.starts_with("verdict_head");
        assert!(names.len() > 5 && names.iter().all(adapter), "{names:?}");
        let root = file.file().root();
        let of = root.key("base_model").unwrap().to_json().unwrap();
        assert_eq!(of["name_or_path"], base.to_str().unwrap());
        assert_eq!(of["blake3"].as_str().unwrap().len(), 64);
    }

    // One weight of the base changes: nobody may go on from, merge or sample with the adapter.
    let weights = base.join("model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    let refused = |output: Output| {
        let message = text(&output.stderr);
        assert!(!output.status.success(), "{message}");
        for part in [
            "generator.pt was trained on ",
            "BLAKE3",
            "fits only the weights",
        ] {
            assert!(message.contains(part), "{part} in {message}");
        }
    };
    let path = last.to_str().unwrap();
    refused(dir.train(&["--resume", path]));
    refused(dir.train(&["--init-from", path]));
    refused(checkpoints(&dir, &["export", path, "--to", "merged"]));
    assert!(!dir.root.join("merged").exists());
}
