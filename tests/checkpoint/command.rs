//! The `checkpoints` binary as a person and a script see it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, UNIX_EPOCH};

use gauntlet::checkpoint::{Runs, Store};
use serde_json::Value;

use super::request;

/// A folder with `outputs/tiny/<stamp>`, which has stage_0 (best), a broken one and final.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let runs = Runs::new(dir.path().join("outputs"));
    let run = runs
        .start("tiny", UNIX_EPOCH + Duration::from_secs(1_763_805_483))
        .unwrap();
    let store = Store::create(&run).unwrap();
    let mut first = request("stage_0", 5, Some(0.25));
    first.set_best = true;
    store.save(first).unwrap();
    store.save(request("step_000010", 10, None)).unwrap();
    store.save(request("final", 15, Some(0.125))).unwrap();
    fs::write(store.dir().join("step_000010/manifest.json"), "{}").unwrap();
    dir
}

fn checkpoints(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_checkpoints"));
    command.args(args).current_dir(dir).output().unwrap()
}

/// Standard output, after the exit code was as expected.
#[track_caller]
fn stdout(output: &Output, code: i32) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn list_shows_every_checkpoint_with_its_marks() {
    let dir = folder();
    let text = stdout(&checkpoints(dir.path(), &["list"]), 0);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "outputs/tiny/20251122_095803");
    assert!(
        lines[1].contains("checkpoint") && lines[1].contains("score"),
        "{text}"
    );
    assert!(
        lines[2].contains("stage_0") && lines[2].contains("0.250") && lines[2].ends_with("best")
    );
    assert!(
        lines[3].contains("final") && lines[3].ends_with("latest"),
        "{text}"
    );
    assert!(
        lines[4].contains("step_000010") && lines[4].contains("broken: "),
        "{text}"
    );

    let json = stdout(&checkpoints(dir.path(), &["list", "--all", "--json"]), 0);
    let json: Value = serde_json::from_str(&json).unwrap();
    let rows = json[0]["checkpoints"].as_array().unwrap();
    assert_eq!(rows.len(), 3);
    assert_eq!(
        (&rows[0]["kind"], &rows[0]["step"]),
        (&"full".into(), &5.into())
    );
    assert!(
        rows[2]["broken"]
            .as_str()
            .unwrap()
            .contains("manifest.json"),
        "{json}"
    );
}

#[test]
fn inspect_shows_architecture_metrics_and_commands() {
    let dir = folder();
    let text = stdout(&checkpoints(dir.path(), &["inspect", "best"]), 0);
    for part in [
        "full checkpoint of stage 3, step 5",
        "validation score 0.2500",
        "generator: 15 parameters in float32, with optimizer state",
        "embed_tokens",
        "hidden_size 3",
        "\"pass_at_1\": 0.25",
        "discriminator.pt",
        "/outputs/tiny/20251122_095803/checkpoints/stage_0 --problem",
    ] {
        assert!(text.contains(part), "{part:?} not in\n{text}");
    }
    let short = stdout(
        &checkpoints(dir.path(), &["inspect", "best", "--info-only"]),
        0,
    );
    assert!(
        !short.contains("parameters") && short.contains("manifest"),
        "{short}"
    );
    let json = stdout(&checkpoints(dir.path(), &["inspect", "final", "--json"]), 0);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["players"][0]["parameters"], 15);
}

#[test]
fn exit_codes_tell_damage_from_wrong_usage() {
    let dir = folder();
    let whole = checkpoints(dir.path(), &["verify", "final"]);
    assert!(stdout(&whole, 0).contains("final: whole, 9 files"));
    let file = dir
        .path()
        .join("outputs/tiny/20251122_095803/checkpoints/final/generator.pt");
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&file, bytes).unwrap();
    let damaged = stdout(&checkpoints(dir.path(), &["verify", "final"]), 1);
    assert!(
        damaged.contains("1 fault\n") && damaged.contains("generator.pt"),
        "{damaged}"
    );

    for args in [
        &["inspect", "stage_9"][..],
        &["list", "--outputs", "none"],
        &["frob"],
        &[],
    ] {
        stdout(&checkpoints(dir.path(), args), 2);
    }
    let missing = checkpoints(dir.path(), &["inspect", "stage_9"]);
    let stderr = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(
        stderr.contains("there are: stage_0, final, step_000010"),
        "{stderr}"
    );
    assert!(
        stdout(&checkpoints(dir.path(), &["--completions", "bash"]), 0).contains("_checkpoints")
    );
}
