//! Model folders and files that are not right are refused, and the error names what, where, and what would be right.

use std::path::Path;

use gauntlet::model::Pretrained;
use tch::Kind;

use super::folder;

fn refusal(path: &Path) -> String {
    let opened = Pretrained::open(path.to_str().unwrap());
    match opened.and_then(|model| model.weights(Kind::Float)) {
        Ok(_) => panic!("{} was taken", path.display()),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_missing_shard_is_named() {
    let folder = folder("qwen2");
    let shard = "model-00002-of-00003.safetensors";
    std::fs::remove_file(folder.path().join(shard)).unwrap();
    let said = refusal(folder.path());
    assert!(
        said.contains(shard) && said.contains("names this shard"),
        "{said}"
    );
}

#[test]
fn truncated_and_corrupt_safetensors_are_named() {
    let folder = folder("llama");
    let path = folder.path().join("model.safetensors");
    let whole = std::fs::read(&path).unwrap();
    for (bytes, said) in [
        (
            whole[..whole.len() - 7].to_vec(),
            "no whole safetensors file",
        ),
        (whole[..5].to_vec(), "no whole safetensors file"),
        (Vec::new(), "the file is empty"),
        (
            [&whole[..9], b"\xff\xff", &whole[11..]].concat(),
            "no whole safetensors file",
        ),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let refused = refusal(folder.path());
        assert!(
            refused.contains(said) && refused.contains("model.safetensors"),
            "{refused}"
        );
    }
}

#[test]
fn a_weight_of_another_shape_is_named_with_both() {
    let folder = folder("llama");
    let path = folder.path().join("config.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(
        &path,
        text.replace("\"intermediate_size\": 96", "\"intermediate_size\": 128"),
    )
    .unwrap();
    let said = refusal(folder.path());
    assert!(
        said.contains("mlp.gate_proj.weight is [96, 64], expected [128, 64]"),
        "{said}"
    );
}

#[test]
fn unknown_architectures_and_missing_files_are_named() {
    let folder = folder("qwen3");
    let path = folder.path().join("config.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(
        &path,
        text.replace("\"model_type\": \"qwen3\"", "\"model_type\": \"mamba\""),
    )
    .unwrap();
    let said = refusal(folder.path());
    assert!(
        said.contains("\"mamba\"") && said.contains("llama, qwen2, qwen3"),
        "{said}"
    );
    std::fs::write(&path, text).unwrap();
    std::fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
    let said = refusal(folder.path());
    assert!(said.contains("tokenizer.json is missing"), "{said}");
}

#[test]
fn a_tokenizer_of_another_model_is_refused_with_both_sizes() {
    let folder = folder("qwen3");
    std::fs::write(
        folder.path().join("tokenizer.json"),
        gauntlet::model::tokenizer::EMBEDDED,
    )
    .unwrap();
    let said = refusal(folder.path());
    assert!(
        said.contains("embeddings for 96") && said.contains("not of one model"),
        "{said}"
    );
}
