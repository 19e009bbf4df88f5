//! The `train` binary as a user runs it, on a model of a few thousand weights.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Small enough for seconds, complete enough to pass through every phase.
const CONFIG: &str = "
run: {name: test, output_dir: OUT, threads: 1}
model: {hidden_size: 32, num_hidden_layers: 1, num_attention_heads: 2, num_key_value_heads: 1, intermediate_size: 64}
problems: {dir: PROBLEMS, validation_problems: 2, report_problems: 2, composed_share: 0.8}
warmup: {generator_steps: 150, discriminator_steps: 30, batch_size: 8, verdict_problems: 3, attack_problems: 4, lr_warmup_steps: 5, learning_rate: 0.01}
stages: {steps: [1, 1, 1, 1, 3]}
game: {problems_per_step: 2, group_size: 2, discriminator_group_size: 2}
checkpoint: {save_every: 1, keep_last: -1, eval_every: 0}
";

struct Dir {
    temporary: TempDir,
}

impl Dir {
    fn new() -> Self {
        let temporary = tempfile::tempdir().expect("a temporary directory");
        let problems = temporary.path().join("problems");
        std::fs::create_dir(&problems).unwrap();
        // One family of the shipped set: checking references takes a second instead of a minute.
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("problems/strings.jsonl");
        std::fs::copy(shipped, problems.join("strings.jsonl")).unwrap();
        let dir = Self { temporary };
        let text = CONFIG
            .replace("OUT", &dir.path("out"))
            .replace("PROBLEMS", &dir.path("problems"));
        std::fs::write(dir.path("test.yaml"), text).unwrap();
        dir
    }

    fn path(&self, name: &str) -> String {
        self.temporary.path().join(name).display().to_string()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_train"));
        command
            .args(["--config", &self.path("test.yaml")])
            .args(args)
            .current_dir(self.temporary.path());
        command
    }

    fn train(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("train starts")
    }

    /// Run directories, oldest first.
    fn runs(&self) -> Vec<PathBuf> {
        let mut runs: Vec<PathBuf> = std::fs::read_dir(self.path("out/test"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        runs.sort_by_key(|run| {
            std::fs::metadata(run.join("config.json"))
                .unwrap()
                .modified()
                .unwrap()
        });
        runs
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn read(run: &Path, name: &str) -> String {
    std::fs::read_to_string(run.join(name))
        .unwrap_or_else(|e| panic!("{}/{name}: {e}", run.display()))
}

#[test]
fn a_run_leaves_everything_and_a_resumed_one_ends_with_the_same_bytes() {
    let dir = Dir::new();
    let output = dir.train(&[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let table = text(&output.stdout);
    for words in [
        "warm-up",
        "5 Executable Python",
        "unseen compositions",
        "--generate-tests",
    ] {
        assert!(table.contains(words), "{words} in {table}");
    }
    let whole = dir.runs().remove(0);
    for name in [
        "stage_0",
        "stage_1",
        "stage_5",
        "final",
        "best",
        "latest",
        "step_000100",
        "step_000185",
    ] {
        assert!(
            whole
                .join("checkpoints")
                .join(name)
                .join("manifest.json")
                .is_file(),
            "{name}"
        );
    }
    assert!(read(&whole, "samples.jsonl").lines().count() > 4);

    // From the middle of the last stage, the end of an earlier one, and within warm-up: the rest must come out the same.
    for from in ["step:185", "stage_2", "step:100"] {
        let output = dir.train(&["--resume", from, "--set", "checkpoint.keep_last=50"]);
        assert!(output.status.success(), "{from}: {}", text(&output.stderr));
        let resumed = dir.runs().pop().unwrap();
        assert_ne!(resumed, whole);
        assert_eq!(
            read(&whole, "metrics.jsonl"),
            read(&resumed, "metrics.jsonl"),
            "{from}"
        );
        let tensors = |run: &Path, file: &str| {
            let checkpoint =
                gauntlet::checkpoint::Checkpoint::open(&run.join("checkpoints/final")).unwrap();
            checkpoint.player(file).unwrap().model_state_dict().unwrap()
        };
        for player in ["generator", "discriminator"] {
            for ((name, a), (_, b)) in tensors(&whole, player)
                .iter()
                .zip(tensors(&resumed, player))
            {
                assert_eq!(a, &b, "{from}: {player} {name}");
            }
        }
    }
}

#[test]
fn an_interrupt_saves_a_checkpoint_and_exits_130() {
    let dir = Dir::new();
    let child = dir
        .command(&["--set", "warmup.generator_steps=100000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("train starts");
    let started = Instant::now();
    let begun = || {
        let runs = std::fs::read_dir(dir.path("out/test")).ok()?;
        let mut logs = runs.flatten().map(|run| run.path().join("metrics.jsonl"));
        logs.find(|log| std::fs::metadata(log).is_ok_and(|m| m.len() > 0))
    };
    while begun().is_none() && started.elapsed() < Duration::from_secs(120) {
        std::thread::sleep(Duration::from_millis(50));
    }
    Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .expect("kill runs");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    let message = text(&output.stderr);
    let saved = message
        .split("train --resume ")
        .nth(1)
        .expect("the command to go on")
        .trim();
    let resumed = dir.train(&["--resume", saved, "--set", "stages.last=1"]);
    assert!(resumed.status.success(), "{}", text(&resumed.stderr));
}

#[test]
fn mistakes_of_usage_are_named_and_exit_2() {
    let dir = Dir::new();
    let cases: [(&[&str], &str); 5] = [
        (&["--set", "game.group_sise=4"], "group_size"),
        (&["--set", "game.group_size=1"], "game.group_size"),
        (&["--resume", "stage_3"], "stage_3"),
        (&["--device", "tpu"], "run.device"),
        (
            &["--set", "model.num_key_value_heads=3"],
            "num_key_value_heads",
        ),
    ];
    for (args, expected) in cases {
        let output = dir.train(args);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {message}");
        assert!(message.contains(expected), "{args:?}: {message}");
    }
}

#[test]
fn a_problem_whose_reference_fails_its_tests_is_refused_by_name() {
    let dir = Dir::new();
    let file = dir.path("problems/strings.jsonl");
    let lines: Vec<String> = std::fs::read_to_string(&file)
        .unwrap()
        .lines()
        .enumerate()
        .map(|(i, line)| {
            if i != 1 {
                return line.to_owned();
            }
            let mut problem: serde_json::Value = serde_json::from_str(line).unwrap();
            problem["tests"][0]["expected"] = serde_json::json!("surely not the answer");
            problem.to_string()
        })
        .collect();
    let id: serde_json::Value = serde_json::from_str(&lines[1]).unwrap();
    std::fs::write(&file, lines.join("\n")).unwrap();
    let output = dir.train(&[]);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains(id["id"].as_str().unwrap()), "{message}");
}

#[test]
fn a_dry_run_prints_the_resolved_configuration_and_trains_nothing() {
    let dir = Dir::new();
    let output = dir.train(&["--dry-run", "--stages", "2-3"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let config: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&config["stages"]["first"], &config["stages"]["last"]),
        (&2.into(), &3.into())
    );
    assert!(!Path::new(&dir.path("out")).exists());
}
