//! `kill -9` of real runs, most often inside a save: what is committed stays whole, and the run that goes on ends like
//! one that was left in peace.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gauntlet::checkpoint::Runs;

use super::{Dir, assert_same_end, read, text};

/// More steps than [`super::CONFIG`] has: each life of a run makes one or two.
const STEPS: [&str; 8] = [
    "--set",
    "checkpoint.eval_every=2",
    "--set",
    "evaluation.closing=false",
    "--set",
    "stages.steps=[4, 4, 4, 4, 10]",
    "--set",
    "warmup.generator_steps=250",
];

/// What is being written below a run's name, in any of its directories.
fn being_written(runs: &Path) -> Option<PathBuf> {
    let runs = std::fs::read_dir(runs).ok()?;
    let entries = runs
        .flatten()
        .filter_map(|run| std::fs::read_dir(run.path().join("checkpoints")).ok());
    let names = entries.flatten().flatten();
    names.map(|entry| entry.path()).find(|path| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(".tmp-s"))
    })
}

/// Checkpoints that are committed below a run's name.
fn committed(runs: &Path) -> usize {
    let Ok(runs) = std::fs::read_dir(runs) else {
        return 0;
    };
    let entries = runs
        .flatten()
        .filter_map(|run| std::fs::read_dir(run.path().join("checkpoints")).ok());
    let names = entries.flatten().flatten();
    names
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter(|entry| entry.path().join("manifest.json").exists())
        .filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'))
        .count()
}

/// Starts a run that goes on from the newest whole checkpoint there is.
fn live(dir: &Dir) -> Child {
    let mut command = dir.command(&[&STEPS[..], &["--resume", "auto"]].concat());
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().expect("train starts")
}

/// What a person would find after a kill: the newest committed checkpoint is whole, and nothing was passed over.
fn assert_nothing_is_lost(dir: &Dir) {
    let found = Runs::new(dir.path("out")).newest_valid("test").unwrap();
    let newest = found.checkpoint.expect("something was committed");
    assert!(found.skipped.is_empty(), "{:?}", found.skipped);
    newest.generator().unwrap().state().unwrap();
    newest.discriminator().unwrap().state().unwrap();
}

/// Kills a run again and again, four times out of five in the middle of a save; gives how many kills there were and how
/// many of them left a half-written checkpoint. Ends early if a run comes to its end.
fn kill_again_and_again(dir: &Dir, kills: usize) -> (usize, usize) {
    let runs = PathBuf::from(dir.path("out/test"));
    let (mut killed, mut inside) = (0, 0);
    while killed < kills {
        let before = committed(&runs);
        let mut child = live(dir);
        let started = Instant::now();
        let mut ready = None;
        loop {
            if child.try_wait().unwrap().is_some() {
                let output = child.wait_with_output().unwrap();
                assert!(output.status.success(), "{}", text(&output.stderr));
                return (killed, inside);
            }
            // Each life commits something first, so that the run gets on.
            if ready.is_none() && committed(&runs) > before {
                ready = Some(Instant::now());
            }
            let now = ready.is_some_and(|since| match killed % 5 {
                4 => since.elapsed() > Duration::from_millis(20 * (killed as u64 % 7)),
                _ => being_written(&runs).is_some(),
            });
            if now {
                break;
            }
            assert!(
                started.elapsed() < Duration::from_secs(600),
                "no checkpoint in ten minutes"
            );
            std::thread::sleep(Duration::from_micros(200));
        }
        child.kill().unwrap();
        let told = text(&child.wait_with_output().unwrap().stderr);
        assert!(!told.contains("skipped "), "{told}");
        assert_eq!(told.contains("resuming "), before > 0, "{told}");
        killed += 1;
        inside += usize::from(being_written(&runs).is_some());
        assert_nothing_is_lost(dir);
    }
    (killed, inside)
}

/// Kills runs until there were `kills` of them, no more than `a_run` each; every run ends like one left in peace.
fn survives(kills: usize, a_run: usize) {
    let peaceful = Dir::new();
    let output = peaceful.train(&STEPS);
    assert!(output.status.success(), "{}", text(&output.stderr));

    let lines = read(&peaceful.runs()[0], "metrics.jsonl");
    let validations = lines.matches(",\"validation\":{\"pass_at_1\":").count();
    assert_eq!(
        validations,
        4 + 4,
        "one in each stage of 4 steps, 4 in the one of 10"
    );

    let (mut killed, mut inside) = (0, 0);
    while killed < kills {
        let dir = Dir::new();
        let (more, within) = kill_again_and_again(&dir, a_run.min(kills - killed));
        killed += more;
        inside += within;
        println!("{killed} kills, {inside} of them inside a save");
        let output = dir.train(&[&STEPS[..], &["--resume", "auto"]].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        let left = being_written(Path::new(&dir.path("out/test")));
        assert_eq!(left, None, "leftovers are swept when the next run starts");
        let last = dir.runs().pop().unwrap();
        assert_same_end(&peaceful.runs()[0], &last, "after the kills");
        let verified = Command::new(env!("CARGO_BIN_EXE_checkpoints"))
            .args(["verify", "final", "--outputs", &dir.path("out")])
            .output()
            .unwrap();
        assert!(verified.status.success(), "{}", text(&verified.stdout));
    }
    assert!(
        2 * inside >= killed,
        "only {inside} of {killed} kills fell into a save"
    );
}

#[test]
fn a_run_killed_20_times_ends_like_one_left_in_peace() {
    survives(20, 20);
}

#[test]
#[ignore = "minutes: cargo test --release --test gauntlet -- --ignored --nocapture killed_200"]
fn runs_killed_200_times_end_like_one_left_in_peace() {
    survives(200, 20);
}
