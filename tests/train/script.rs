//! What an export brings: the inference script, run by transformers itself, and what is refused.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use gauntlet::encoding::PromptEncoder;
use gauntlet::generator::{ChainStart, Generator, Sampling};
use gauntlet::model::{Pretrained, Transformer};
use gauntlet::prompts::Prompts;
use gauntlet::rng::DrawKey;
use gauntlet::rollout::Chain;
use gauntlet::stage::Stage;
use tch::{Device, Kind};

use super::{peaceful, text};
use crate::model::peers::{python, run};

const PROBLEM: &str = "Return the sum of the even numbers of the list.";
const SIGNATURE: &str = "def sum_of_even(numbers: list[int]) -> int";
const MOST_TOKENS: usize = 24;

fn export(to: &Path, how: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_checkpoints"))
        .arg("export")
        .arg(peaceful().join("checkpoints/final"))
        .arg("--to")
        .arg(to)
        .arg(how)
        .output()
        .unwrap()
}

#[test]
fn the_script_of_an_export_writes_what_we_write() {
    let Some(python) = python() else {
        return;
    };
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().join("exported");
    let output = export(&folder, "--generate-script");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let script = folder.join("generate.py");
    let most = MOST_TOKENS.to_string();
    let written = run(
        python,
        &[
            script.to_str().unwrap(),
            PROBLEM,
            "--signature",
            SIGNATURE,
            "--max-new-tokens",
            &most,
            "--json",
        ],
    );
    let written: Vec<String> = serde_json::from_value(written).unwrap();
    assert_eq!(written.len(), Stage::COUNT);

    let opened = Pretrained::open(folder.to_str().unwrap()).unwrap();
    let weights = opened.weights(Kind::Float).unwrap();
    let model = Transformer::frozen(&opened.config, weights, Device::Cpu);
    let encoder = PromptEncoder::new(opened.tokenizer, Prompts::plain()).unwrap();
    let generator = Generator::new(model, Arc::new(encoder));
    let start = ChainStart {
        prompt: generator.encoder.problem(PROBLEM, Some(SIGNATURE)).unwrap(),
        code: generator.encoder.code_opening(Some(SIGNATURE)).unwrap(),
        chain: Chain::default(),
        key: DrawKey::new(0),
    };
    let sampling = Sampling {
        temperature: 0.0,
        max_new_tokens: [MOST_TOKENS; Stage::COUNT],
        batch_size: 1,
    };
    let chain = generator
        .write(&[start], &Stage::ALL, &sampling)
        .unwrap()
        .remove(0);
    for (stage, theirs) in Stage::ALL.into_iter().zip(&written) {
        let ours = chain.get(stage).unwrap();
        assert_eq!(&ours.text, theirs, "stage {}", stage.number());
        if ours.truncated() {
            // What follows a stage that was cut short is told apart by the script and by us.
            break;
        }
    }
}

#[test]
fn a_tokenizer_without_a_place_in_gguf_is_refused_and_nothing_is_left() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().join("exported");
    let output = export(&folder, "--gguf");
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(
        said.contains("qwen2") && said.contains("without --gguf"),
        "{said}"
    );
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0);
}
