//! The `inference` binary as a user runs it, on a checkpoint trained in seconds.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

use gauntlet::checkpoint::Runs;
use gauntlet::config::Config;
use gauntlet::run::{Ending, Session, Silent};

const CONFIG: &str = "
run: {name: test, output_dir: OUT, threads: 1}
model: {hidden_size: 32, num_hidden_layers: 1, num_attention_heads: 2, num_key_value_heads: 1, intermediate_size: 64}
problems: {dir: PROBLEMS, validation_problems: 2, report_problems: 2, composed_share: 0.8}
warmup: {generator_steps: 150, discriminator_steps: 30, batch_size: 8, verdict_problems: 3, attack_problems: 4, lr_warmup_steps: 5, learning_rate: 0.01}
stages: {steps: [1, 1, 1, 1, 1]}
game: {problems_per_step: 2, group_size: 2, discriminator_group_size: 2}
";

/// A folder with the outputs of one trained run; made once for all tests.
static TRAINED: LazyLock<PathBuf> = LazyLock::new(|| trained("trained", &[]));

/// The same of a run with two players of each role.
static TWO_OF_EACH: LazyLock<PathBuf> = LazyLock::new(|| {
    let sets = [
        "players.generators=2",
        "players.discriminators=2",
        "warmup.generator_steps=20",
        "warmup.discriminator_steps=10",
        "evaluation.closing=false",
        "stages.first=5",
    ];
    trained("two-of-each", &sets)
});

/// The same of a run whose rollouts the fused decoder wrote.
static FUSED: LazyLock<PathBuf> = LazyLock::new(|| {
    let sets = [
        "sampling.backend=float32",
        "warmup.discriminator_steps=10",
        "evaluation.closing=false",
        "stages.first=5",
    ];
    trained("fused", &sets)
});

fn trained(name: &str, sets: &[&str]) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    // What an earlier run of the tests left.
    let _ = std::fs::remove_dir_all(&dir);
    let problems = dir.join("problems");
    std::fs::create_dir_all(&problems).unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../problems/strings.jsonl");
    std::fs::copy(shipped, problems.join("strings.jsonl")).unwrap();
    let text = CONFIG
        .replace("OUT", &dir.join("outputs").display().to_string())
        .replace("PROBLEMS", &problems.display().to_string());
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    let config = Config::parse(&text, Path::new("test.yaml"), &sets).unwrap();
    let mut observer = Silent;
    let mut session = Session::open(config, None, None, Default::default(), &mut observer).unwrap();
    assert!(matches!(session.run().unwrap(), Ending::Finished { .. }));
    dir
}

fn inference(args: &[&str], stdin: &[u8]) -> Output {
    inference_in(&TRAINED, args, stdin)
}

fn inference_in(dir: &Path, args: &[&str], stdin: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_inference"))
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("inference starts");
    // A child that refuses its arguments does not read.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn every_checkpoint_name_solves_a_problem_and_writes_its_results() {
    for name in [
        "best",
        "final",
        "latest",
        "stage_3",
        "checkpoints/best",
        "step:185",
    ] {
        let args = [
            "--checkpoint",
            name,
            "--problem",
            "Implement two_sum",
            "--output",
            "results.json",
        ];
        let output = inference(&args, b"");
        assert_eq!(
            output.status.code(),
            Some(0),
            "{name}: {}",
            text(&output.stderr)
        );
        let results: serde_json::Value =
            serde_json::from_slice(&std::fs::read(TRAINED.join("results.json")).unwrap()).unwrap();
        assert_eq!(results["problem"], "Implement two_sum");
        assert_eq!(results["reasoning_chain"].as_array().unwrap().len(), 5);
        assert!(results["final_code"].is_string() && results["checkpoint"]["manifest"].is_string());
    }
}

#[test]
fn generated_tests_are_shown_with_outcomes_and_decide_the_exit_code() {
    let args = [
        "--json",
        "--generate-tests",
        "--samples",
        "3",
        "--seed",
        "4",
    ];
    let output = inference(&args, b"");
    let results: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(results["candidates"].as_array().unwrap().len(), 3);
    let failed = results["final_code"] == ""
        || results["tests"]
            .as_array()
            .unwrap()
            .iter()
            .any(|t| t["outcome"] != "Passed");
    assert_eq!(
        output.status.code(),
        Some(if failed { 3 } else { 0 }),
        "{results:#}"
    );
    let again = inference(&args, b"");
    let again: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(results["reasoning_chain"], again["reasoning_chain"]);
}

#[test]
fn stages_that_are_streamed_read_as_those_that_are_not() {
    for dir in [&TRAINED, &FUSED] {
        let ask = |more: &[&str]| {
            let common = ["--problem", "Implement two_sum", "--checkpoint=final"];
            let output = inference_in(dir, &[&common[..], more].concat(), b"");
            assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
            text(&output.stdout)
        };
        let whole = ask(&[]);
        assert!(whole.contains("1. Informal reasoning\n"), "{whole}");
        assert_eq!(ask(&["--stream"]), whole);
    }
}

#[test]
fn of_several_players_the_best_or_those_asked_for_are_used() {
    let ask = |args: &[&str]| {
        let common = ["--json", "--temperature=1", "--checkpoint=final"];
        let output = inference_in(&TWO_OF_EACH, &[&common[..], args].concat(), b"");
        serde_json::from_slice::<serde_json::Value>(&output.stdout)
            .unwrap_or_else(|e| panic!("{e}: {}", text(&output.stderr)))
    };
    let chosen = ask(&["--generator", "1", "--discriminator", "0"]);
    let players = &chosen["checkpoint"]["players"];
    assert_eq!(
        players,
        &serde_json::json!(["generator_1", "discriminator_0"])
    );
    let other = ask(&["--generator", "0", "--discriminator", "0"]);
    assert_ne!(chosen["reasoning_chain"], other["reasoning_chain"]);

    let runs = Runs::new(TWO_OF_EACH.join("outputs"));
    let last = runs.find("final", None).unwrap();
    let validation = &last.metrics().unwrap()["validation"];
    let best = ["generator", "discriminator"].map(|role| format!("{role}_{}", validation[role]));
    assert_eq!(ask(&[])["checkpoint"]["players"], serde_json::json!(best));

    let file = last.path().join("generator_1.pt");
    let file = inference_in(
        &TWO_OF_EACH,
        &["--json", "--model", file.to_str().unwrap()],
        b"",
    );
    let file: serde_json::Value = serde_json::from_slice(&file.stdout).unwrap();
    assert_eq!(file["checkpoint"]["players"][0], "generator_1");

    for (dir, args, expected) in [
        (
            &TWO_OF_EACH,
            ["--discriminator", "2"],
            "has no discriminator 2; it has 0 (discriminator_0.pt), 1 (discriminator_1.pt)",
        ),
        (
            &TRAINED,
            ["--generator", "1"],
            "has no generator 1; it has 0 (generator.pt)",
        ),
    ] {
        let output = inference_in(dir, &args, b"");
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn a_benchmark_reports_pass_at_k() {
    let output = inference(
        &[
            "--benchmark",
            "problems/strings.jsonl",
            "--k",
            "1,2",
            "--json",
        ],
        b"",
    );
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", text(&output.stderr)));
    assert_eq!(report["pass_at_k"].as_array().unwrap().len(), 2);
    assert_eq!(report["samples"], 2);
    let attacks = &report["attacks"];
    let share = |name: &str| attacks[name].as_f64().unwrap();
    assert!(attacks["lines"].as_u64().unwrap() > 0, "{attacks}");
    assert!(share("valid") <= share("playable") && share("playable") <= 1.0);
    let choosing = &report["choosing"];
    let mean = |name: &str| choosing[name]["mean"].as_f64().unwrap();
    for by in ["by_verdict", "by_tests", "by_answers"] {
        assert!(mean(by) <= mean("any"), "{choosing}");
    }
    // Any of two samples solves what pass@2 counts.
    assert!((mean("any") - report["pass_at_k"][1]["mean"].as_f64().unwrap()).abs() < 1e-9);
}

#[test]
fn checkpoints_play_against_each_other_on_a_pool() {
    let args = ["--checkpoint", "stage_5", "--benchmark", "validation"];
    let more = ["--problems", "3", "--against", "stage_0,stage_2", "--json"];
    let output = inference(&[&args[..], &more].concat(), b"");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", text(&output.stderr)));
    assert_eq!(report["problems"], 3);
    let table = &report["cross_play"];
    assert_eq!(
        table["players"],
        serde_json::json!(["stage_5", "stage_0", "stage_2"])
    );
    let pass_at_1 = report["pass_at_k"][0]["mean"].as_f64().unwrap();
    for what in ["stood", "caught", "broken"] {
        let rows = table[what].as_array().unwrap();
        assert!(rows.iter().all(|row| row.as_array().unwrap().len() == 3) && rows.len() == 3);
    }
    // What stands attacks stands the gold tests too.
    for cell in table["stood"][0].as_array().unwrap() {
        assert!(
            cell["mean"].as_f64().unwrap() <= pass_at_1 + 1e-9,
            "{table}"
        );
    }
}

#[test]
fn bad_input_is_named_and_exits_2() {
    let long = format!("Reverse a string. {}", "please ".repeat(15_000));
    let cases: [(&[&str], &[u8], &str); 8] = [
        (&["--checkpoint", "stage_9"], b"", "stage_3"),
        (&["--problem", "  "], b"", "empty"),
        (&["--problem", "-"], b"\xff\xfe", "UTF-8 at byte 0"),
        (&["--problem", "-"], long.as_bytes(), "tokens long"),
        (&["--device", "tpu"], b"", "cpu, cuda"),
        (&["--temperature=11"], b"", "--temperature"),
        (&["--benchmark", "nowhere.jsonl"], b"", "nowhere.jsonl"),
        (&["--benchmark", "unseen_words"], b"", "unseen_wordings"),
    ];
    for (args, stdin, expected) in cases {
        let output = inference(args, stdin);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {message}");
        assert!(message.contains(expected), "{args:?}: {message}");
    }
}
