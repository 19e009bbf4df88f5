//! Weights that are trained in bf16 without masters: resumed exactly, rounding included.

use gauntlet::checkpoint::{Checkpoint, GENERATOR};
use gauntlet::model::Pretrained;
use tch::Kind;

use super::lora::on_a_published_model;
use super::{assert_same_end, text};

const ALONE: [&str; 6] = [
    "--set",
    "training.lora_rank=0",
    "--set",
    "model.dtype=bfloat16",
    "--set",
    "training.master_weights=false",
];

#[test]
fn weights_without_masters_resume_exactly() {
    let (dir, base) = on_a_published_model();
    let output = dir.train(&ALONE);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let whole = dir.runs().remove(0);
    for from in ["stage_0", "step_000016"] {
        let path = whole.join("checkpoints").join(from);
        let output = dir.train(&[&ALONE[..], &["--resume", path.to_str().unwrap()]].concat());
        assert!(output.status.success(), "{from}: {}", text(&output.stderr));
        assert_same_end(&whole, &dir.runs().pop().unwrap(), from);
    }

    // Weights and moments are bf16 in the file, and training moved them.
    let last = Checkpoint::open(&whole.join("checkpoints/final")).unwrap();
    let last = last.player(GENERATOR).unwrap().state().unwrap();
    let published = Pretrained::open(base.to_str().unwrap()).unwrap();
    let published = published.weights(Kind::BFloat16).unwrap();
    assert_eq!(published.len(), last.model_state_dict.len());
    for ((name, a), (_, b)) in last.model_state_dict.iter().zip(&published) {
        assert_eq!(a.kind(), Kind::BFloat16, "{name}");
        assert_ne!(a, b, "{name}");
    }
    let moments = &last.optimizer.unwrap().groups[0].params[0];
    assert_eq!(moments.exp_avg.kind(), Kind::BFloat16);
    assert_eq!(moments.exp_avg_sq.kind(), Kind::BFloat16);

    // The state of one way does not fit the other; its weights do.
    let from = whole.join("checkpoints/stage_0");
    let from = from.to_str().unwrap();
    let output = dir.train(&[&ALONE[..4], &["--resume", from]].concat());
    let message = text(&output.stderr);
    assert!(!output.status.success());
    assert!(
        message.contains("training.master_weights was false there and is true here"),
        "{message}"
    );
    let output = dir.train(&[&ALONE[..4], &["--init-from", from]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let with = dir.runs().pop().unwrap().join("checkpoints/final");
    let file = Checkpoint::open(&with).unwrap().player(GENERATOR).unwrap();
    assert!(
        file.tensors()
            .unwrap()
            .iter()
            .all(|t| t.kind == Kind::Float)
    );
}
