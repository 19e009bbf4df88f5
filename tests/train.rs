//! The `train` binary as a user runs it, on a model of a few thousand weights.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tempfile::TempDir;

mod alone;
mod copies;
mod disk;
mod emergency;
mod kill;
mod lora;
mod masters;
mod output;
mod players;
mod script;
mod self_training;
mod serve;
mod stages;
mod tensorboard;

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
    root: PathBuf,
    _temporary: Option<TempDir>,
}

/// The directory of a run of [`CONFIG`] that nothing interrupted, made once for all tests.
fn peaceful() -> PathBuf {
    static RUN: OnceLock<PathBuf> = OnceLock::new();
    let made = RUN.get_or_init(|| {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("peaceful");
        let _ = std::fs::remove_dir_all(&root);
        let dir = Dir::at(root, None);
        let output = dir.train(&[]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        std::fs::write(dir.path("table"), output.stdout).unwrap();
        dir.runs().remove(0)
    });
    made.clone()
}

impl Dir {
    fn new() -> Self {
        let temporary = tempfile::tempdir().expect("a temporary directory");
        Self::at(temporary.path().to_owned(), Some(temporary))
    }

    fn at(root: PathBuf, temporary: Option<TempDir>) -> Self {
        let problems = root.join("problems");
        std::fs::create_dir_all(&problems).unwrap();
        // One family of the shipped set: checking references takes a second instead of a minute.
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("problems/strings.jsonl");
        std::fs::copy(shipped, problems.join("strings.jsonl")).unwrap();
        let dir = Self {
            root,
            _temporary: temporary,
        };
        let text = CONFIG
            .replace("OUT", &dir.path("out"))
            .replace("PROBLEMS", &dir.path("problems"));
        std::fs::write(dir.path("test.yaml"), text).unwrap();
        dir
    }

    fn path(&self, name: &str) -> String {
        self.root.join(name).display().to_string()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_train"));
        command
            .args(["--config", &self.path("test.yaml")])
            .args(args)
            .current_dir(&self.root);
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

/// Asserts that two runs ended with the same bytes: weights, moments, mistake book, metrics, samples, and the table but
/// for its times.
#[track_caller]
fn assert_same_end(a: &Path, b: &Path, what: &str) {
    let last = gauntlet::checkpoint::Checkpoint::open(&a.join("checkpoints/final")).unwrap();
    assert!(last.players().len() > 1, "{what}");
    let players = last.players().into_iter();
    let players = players.map(|player| format!("checkpoints/final/{player}.pt"));
    let others = [
        "metrics.jsonl",
        "samples.jsonl",
        "checkpoints/final/mistake_book.jsonl",
        "checkpoints/final/metrics.json",
    ];
    for file in others.map(str::to_owned).into_iter().chain(players) {
        let bytes = |run: &Path| std::fs::read(run.join(&file)).unwrap();
        assert!(
            bytes(a) == bytes(b),
            "{what}: {file} differs: {} and {}",
            a.display(),
            b.display()
        );
    }
    let rows = |run: &Path| {
        let mut summary: serde_json::Value =
            serde_json::from_str(&read(run, "summary.json")).unwrap();
        let rows = summary["rows"].as_array_mut().unwrap();
        rows.iter_mut().for_each(|row| row["seconds"] = 0.into());
        summary
    };
    assert_eq!(rows(a), rows(b), "{what}");
}

#[test]
fn a_run_leaves_everything_and_a_resumed_one_ends_with_the_same_bytes() {
    let whole = peaceful();
    let table = std::fs::read_to_string(whole.join("../../../table")).unwrap();
    for words in [
        "warm-up",
        "5 Executable Python",
        "unseen compositions",
        "--generate-tests",
    ] {
        assert!(table.contains(words), "{words} in {table}");
    }
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
    let metrics = read(&whole, "checkpoints/final/metrics.json");
    let metrics: serde_json::Value = serde_json::from_str(&metrics).unwrap();
    let validation = &metrics["validation"];
    assert!(validation["pass_at_1"].is_f64(), "{validation}");
    let pools = ["validation", "validation_written"].map(|pool| &validation["pools"][pool]);
    let problems: u64 = pools
        .iter()
        .filter_map(|pool| pool["problems"].as_u64())
        .sum();
    assert!(
        problems > 1 && validation["problems"] == problems,
        "{validation}"
    );

    // From the middle of the last stage, the end of an earlier one, and within warm-up: the rest must come out the same.
    let dir = Dir::new();
    for from in ["step_000185", "stage_2", "step_000100"] {
        let path = whole.join("checkpoints").join(from);
        let path = path.to_str().unwrap();
        let output = dir.train(&["--resume", path, "--set", "checkpoint.keep_last=50"]);
        assert!(output.status.success(), "{from}: {}", text(&output.stderr));
        let resumed = dir.runs().pop().unwrap();
        assert_same_end(&whole, &resumed, from);
    }
}

#[test]
fn learning_rates_fall_within_a_stage_and_with_the_groups_that_say_nothing() {
    let metrics = read(&peaceful(), "metrics.jsonl");
    let lines = metrics
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|line| line["stage"] == 5 && line["generator"].is_object());
    let mut updates = 0;
    for (step, line) in (0..).zip(lines) {
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * f64::from(step) / 3.0).cos());
        let schedule = 0.1 + 0.9 * cosine;
        let ours = &line["generator"];
        let count = |key: &str| ours[key].as_f64().unwrap();
        let informative = 1.0 - count("skipped_groups") / count("groups");
        for (rate, expected) in [
            (&ours["learning_rate"], 2e-4 * schedule * informative),
            (&line["discriminator"]["learning_rate"], 5e-4 * schedule),
        ] {
            if let Some(rate) = rate.as_f64() {
                assert!((rate - expected).abs() < 1e-9, "{line}");
                updates += 1;
            }
        }
    }
    assert!(updates > 2, "{metrics}");
}

#[test]
fn an_interrupt_saves_a_checkpoint_and_exits_130() {
    for signal in ["-INT", "-TERM", "-HUP"] {
        interrupted_by(signal);
    }
}

fn interrupted_by(signal: &str) {
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
        .args([signal, &child.id().to_string()])
        .status()
        .expect("kill runs");
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        output.status.code(),
        Some(130),
        "{signal}: {}",
        text(&output.stderr)
    );
    let message = text(&output.stderr);
    let command = message
        .split("go on with: ")
        .nth(1)
        .expect("the command to go on")
        .trim();
    // Exactly as a person would paste it, with fewer steps so that it ends.
    let resumed = Command::new("sh")
        .args([
            "-c",
            &format!("{command} --set warmup.generator_steps=1 --set stages.last=1"),
        ])
        .current_dir(&dir.root)
        .output()
        .unwrap();
    assert!(
        resumed.status.success(),
        "{command}: {}",
        text(&resumed.stderr)
    );
}

#[test]
fn what_may_not_change_on_resume_is_refused_with_both_values() {
    let dir = Dir::new();
    let short = [
        "--set",
        "warmup.generator_steps=2",
        "--set",
        "warmup.discriminator_steps=0",
        "--set",
        "evaluation.closing=false",
    ];
    let stages = [
        "--stages",
        "1",
        "--set",
        "checkpoint.checkpoint_kind=sampler",
    ];
    let start = [
        "--set",
        "checkpoint.checkpoint_on_start=true",
        "--tag",
        "note=first",
    ];
    let output = dir.train(&[&short[..], &stages, &start].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let run = dir.runs().remove(0);
    let open = |name: &str| {
        gauntlet::checkpoint::Checkpoint::open(&run.join("checkpoints").join(name)).unwrap()
    };
    assert_eq!(open("final").manifest().tags["note"], "first");
    assert_eq!(open("step_000000").manifest().step, 0);

    for (set, part) in [
        ("run.seed=3", "run.seed was 0 there and is 3 here"),
        (
            "generator.hidden_size=64",
            "generator.hidden_size was 32 there and is 64 here",
        ),
        (
            "model.rope_theta=500.0",
            "generator.rope_theta was 10000.0 there and is 500.0 here",
        ),
    ] {
        let output = dir.train(&["--resume", "final", "--set", set]);
        let message = text(&output.stderr);
        assert!(
            !output.status.success() && message.contains(part),
            "{set}: {message}"
        );
    }
    // A name is one of the runs that are called as this one is, and what was taken is said.
    let output = dir.train(&["--resume", "final", "--set", "run.name=other"]);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    for part in [
        "no run called \"other\"",
        "/checkpoints/final",
        "set run.name",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    let output = dir.train(&["--resume", "latest", "--dry-run"]);
    let message = text(&output.stderr);
    let taken = "checkpoints/final (latest of the newest run called test)";
    assert!(message.contains(taken), "{message}");
    // One player alone begins with these weights.
    let role = ["--init-from", "final", "--init-role", "generator"];
    let again = [
        "--set",
        "checkpoint.checkpoint_on_start=true",
        "--set",
        "run.seed=9",
    ];
    let output = dir.train(&[&short[..], &["--stages", "1"], &role, &again].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let begun = dir.runs().pop().unwrap().join("checkpoints/step_000000");
    let begun = gauntlet::checkpoint::Checkpoint::open(&begun).unwrap();
    let weights = |checkpoint: &gauntlet::checkpoint::Checkpoint, player: &str| {
        checkpoint
            .player(player)
            .unwrap()
            .model_state_dict()
            .unwrap()
    };
    let last = open("final");
    assert_eq!(weights(&begun, "generator"), weights(&last, "generator"));
    assert_ne!(
        weights(&begun, "discriminator"),
        weights(&last, "discriminator")
    );
}

#[test]
fn mistakes_of_usage_are_named_and_exit_2() {
    let dir = Dir::new();
    let cases: [(&[&str], &str); 5] = [
        (&["--set", "game.group_sise=4"], "group_size"),
        (&["--set", "game.group_size=1"], "game.group_size"),
        (&["--resume", "stage_3"], "no run called \"test\""),
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
