//! Self-training on a problem that a small model learns by heart: what it leaves behind, and how it resumes.

use std::path::Path;

use gauntlet::checkpoint::Checkpoint;
use gauntlet::own_chains::read_jsonl;
use gauntlet::problems::load_dir;

use super::{Dir, assert_same_end, read, text};

/// A run with two rounds behind the warm-up, in the middle of the second of which there is a checkpoint.
const ROUNDS: [&str; 20] = [
    "--set",
    "model.hidden_size=64",
    "--set",
    "model.intermediate_size=128",
    "--set",
    "problems.composed_share=0.0",
    "--set",
    "warmup.generator_steps=120",
    "--set",
    "self_training.rounds=2",
    "--set",
    "self_training.problems=3",
    "--set",
    "self_training.samples=3",
    "--set",
    "self_training.steps=60",
    "--set",
    "stages.steps=[1, 0, 0, 0, 0]",
    "--set",
    "evaluation.closing=false",
];

/// A directory whose only problem is the shipped one with the shortest trace.
fn with_one_problem() -> Dir {
    let dir = Dir::new();
    let file = Path::new(&dir.path("problems")).join("strings.jsonl");
    let problems = std::fs::read_to_string(&file).unwrap();
    let head = problems.lines().next().unwrap();
    let one = problems
        .lines()
        .find(|line| line.contains("\"strings/is_palindrome\""));
    std::fs::write(&file, format!("{head}\n{}\n", one.unwrap())).unwrap();
    dir
}

#[test]
fn own_right_chains_are_kept_imitated_and_resumed_exactly() {
    let dir = with_one_problem();
    let output = dir.train(&ROUNDS);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let whole = dir.runs().remove(0);
    let problem = &load_dir(dir.path("problems")).unwrap()[0];

    let middle = Checkpoint::open(&whole.join("checkpoints/step_000250")).unwrap();
    let chains = read_jsonl(&middle.own_chains().unwrap()).unwrap();
    // The chain of the second round is in the place of the first one's.
    assert_eq!(chains.len(), 1);
    assert_eq!((&chains[0].problem, chains[0].round), (&problem.id, 1));
    assert_eq!(chains[0].statement, problem.statement);
    assert_eq!(chains[0].signature, problem.signature);
    assert_eq!(chains[0].chain[4], problem.trace.as_ref().unwrap()[4]);
    for name in ["warm_up", "stage_0"] {
        let other = Checkpoint::open(&whole.join("checkpoints").join(name)).unwrap();
        assert_eq!(other.own_chains().unwrap(), "", "{name}");
    }
    let metrics: Vec<serde_json::Value> = read(&whole, "metrics.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let rounds: Vec<_> = metrics
        .split(|line| line["self_training"].is_object())
        .skip(1)
        .map(|round| {
            round
                .iter()
                .filter_map(|line| line["learning_rate"].as_f64())
        })
        .map(|rates| rates.take(60).collect::<Vec<_>>())
        .collect();
    assert!(rounds[0][59] < 0.1 * rounds[0][30], "{:?}", rounds[0]);
    assert_eq!(rounds[0], rounds[1], "every round anneals");
    let sampled = metrics
        .iter()
        .filter(|line| line["self_training"].is_object());
    let sampled: Vec<_> = sampled.collect();
    assert_eq!(sampled.len(), 2);
    for (round, line) in sampled.iter().enumerate() {
        let line = &line["self_training"];
        assert_eq!(
            (&line["round"], &line["chains"]),
            (&round.into(), &3.into())
        );
        assert!(
            line["right"].as_u64() >= Some(1) && line["kept"] == 1,
            "{line}"
        );
    }

    for from in ["warm_up", "step_000250", "stage_0"] {
        let path = whole.join("checkpoints").join(from);
        let resume = ["--resume", path.to_str().unwrap()];
        let output = dir.train(&[&ROUNDS[..], &resume].concat());
        assert!(output.status.success(), "{from}: {}", text(&output.stderr));
        assert_same_end(&whole, &dir.runs().pop().unwrap(), from);
    }
}

#[test]
fn without_a_right_chain_there_is_nothing_to_imitate() {
    let dir = with_one_problem();
    let untaught = [
        "--set",
        "warmup.generator_steps=1",
        "--set",
        "warmup.discriminator_steps=0",
        "--set",
        "self_training.own_share=1.0",
    ];
    let output = dir.train(&[&ROUNDS[..], &untaught].concat());
    assert!(!output.status.success());
    let message = text(&output.stderr);
    assert!(
        message.contains("none of 3 chains was right")
            && message.contains("self_training.own_share"),
        "{message}"
    );
}
