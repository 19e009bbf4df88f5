//! The `checkpoints` binary as a person and a script see it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
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

pub(super) fn checkpoints(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_checkpoints"));
    command.args(args).current_dir(dir).output().unwrap()
}

/// Standard output, after the exit code was as expected.
#[track_caller]
pub(super) fn stdout(output: &Output, code: i32) -> String {
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
        lines[2].contains("stage_0")
            && lines[2].contains("0.250")
            && lines[2].ends_with("best, protected, note=a first try"),
        "{text}"
    );
    assert!(
        lines[3].contains("final") && lines[3].contains("latest, protected"),
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
        "note: a first try",
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

#[test]
fn compare_shows_metrics_settings_and_samples_side_by_side() {
    let dir = folder();
    let run = dir.path().join("outputs/tiny/20251122_095803");
    let store = Store::create(&run).unwrap();
    let mut other = request("mine", 20, Some(0.5));
    other.training_config = serde_json::json!({"run": {"seed": 7}});
    store.save(other).unwrap();
    drop(store);
    let sample = |step: u64, text: &str| {
        serde_json::json!({
            "step": step, "problem": "strings/reverse", "role": "generator", "reward": step as f64 / 10.0,
            "stages": ["thought", text, ""],
        })
        .to_string()
    };
    let lines = [
        sample(3, "early"),
        sample(12, "later"),
        sample(30, "too late"),
    ];
    fs::write(run.join("samples.jsonl"), lines.join("\n")).unwrap();

    let args = ["compare", "stage_0", "mine", "final"];
    let text = stdout(&checkpoints(dir.path(), &args), 0);
    for part in [
        "20251122_095803/stage_0",
        "difference",
        "validation.pass_at_1",
        "0.2500",
        "+0.2500",
        "-0.1250",
        "run.seed: 18446744073709551615 | 7 | 18446744073709551615",
        "samples of strings/reverse",
        "(step 3, reward 0.300):\n    early",
        "(step 12, reward 1.200):\n    later",
    ] {
        assert!(text.contains(part), "{part:?} not in\n{text}");
    }
    assert!(!text.contains("too late"), "{text}");
    let json = stdout(
        &checkpoints(dir.path(), &[&args[..], &["--json"]].concat()),
        0,
    );
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["metrics"][1]["differences"][1], 15.0, "{json}");
    stdout(&checkpoints(dir.path(), &["compare", "final"]), 2);

    let against = ["inspect", "mine", "--against", "final", "--info-only"];
    let text = stdout(&checkpoints(dir.path(), &against), 0);
    assert!(
        text.contains("run.seed: 7 | 18446744073709551615"),
        "{text}"
    );
}

/// A run with six periodic checkpoints beside those of [`folder`], all whole.
pub(super) fn crowded() -> tempfile::TempDir {
    let dir = folder();
    let run = dir.path().join("outputs/tiny/20251122_095803");
    fs::remove_dir_all(run.join("checkpoints/step_000010")).unwrap();
    let store = Store::create(&run).unwrap();
    for step in 1..=6 {
        let name = format!("step_{step:06}");
        store
            .save(request(&name, step, Some(1.0 / step as f64)))
            .unwrap();
    }
    store.save(request("before-the-move", 7, None)).unwrap();
    // Another run goes on from step 2.
    let parent = store.load("step_000002").unwrap().as_parent();
    let next = Runs::new(dir.path().join("outputs"))
        .start("tiny", UNIX_EPOCH + Duration::from_secs(1_763_805_999))
        .unwrap();
    let mut child = request("step_000003", 3, None);
    child.parent = Some(parent);
    Store::create(&next).unwrap().save(child).unwrap();
    dir
}

fn names(dir: &Path, run: &str) -> Vec<String> {
    let store = Store::open(&dir.join("outputs/tiny").join(run)).unwrap();
    store
        .list()
        .unwrap()
        .into_iter()
        .map(|item| item.name)
        .collect()
}

#[test]
fn prune_deletes_what_it_named_and_nothing_that_is_wanted() {
    let dir = crowded();
    let run = "outputs/tiny/20251122_095803";
    let before = names(dir.path(), "20251122_095803");
    let prune = ["prune", "--run", run, "--keep-last", "1"];
    let named = stdout(&checkpoints(dir.path(), &prune), 0);
    assert!(
        named.contains("4 checkpoints") && named.contains("can go"),
        "{named}"
    );
    assert_eq!(names(dir.path(), "20251122_095803"), before, "only named");

    let deleted = stdout(
        &checkpoints(dir.path(), &[&prune[..], &["--yes"]].concat()),
        0,
    );
    assert!(
        deleted.contains("4 checkpoints") && deleted.contains("deleted"),
        "{deleted}"
    );
    assert_eq!(
        names(dir.path(), "20251122_095803"),
        [
            "stage_0",
            "final",
            "step_000002",
            "step_000006",
            "before-the-move"
        ]
    );
    for (args, part) in [
        (
            &["--keep-last", "0"][..],
            "keep_last = 0: must be at least 1, or -1 to keep all",
        ),
        (
            &["--keep-last", "1", "--strategy", "none"],
            "expected last_n or top_k_val",
        ),
    ] {
        let refused = checkpoints(
            dir.path(),
            &[&["prune", "--run", run, "--yes"], args].concat(),
        );
        let stderr = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(part), "{stderr}");
    }
    // A run that is training is left alone.
    let training = Store::create(&dir.path().join(run)).unwrap();
    let refused = checkpoints(dir.path(), &[&prune[..], &["--yes"]].concat());
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("in use by another training"));
    drop(training);
}

#[test]
fn a_backup_is_verified_and_restores_to_the_same_bytes() {
    let dir = crowded();
    let run = dir.path().join("outputs/tiny/20251122_095803");
    fs::write(run.join("metrics.jsonl"), "{\"step\":1}\n").unwrap();
    let damaged = run.join("checkpoints/step_000004/generator.pt");
    let mut bytes = fs::read(&damaged).unwrap();
    bytes[200] ^= 1;
    fs::write(&damaged, bytes).unwrap();

    let backup = |args: &[&str], code| {
        let args = [&["backup", "safe", "--all"], args].concat();
        stdout(&checkpoints(dir.path(), &args), code)
    };
    let text = backup(&[], 1);
    assert!(
        text.contains("9 checkpoints copied") && text.contains("1 skipped"),
        "{text}"
    );
    assert!(
        text.contains("step_000004") && text.contains("damaged"),
        "{text}"
    );
    let again = backup(&[], 1);
    assert!(
        again.contains("0 checkpoints copied") && again.contains("9 there already"),
        "{again}"
    );
    let listed = stdout(
        &checkpoints(dir.path(), &["list", "--all", "--outputs", "safe"]),
        0,
    );
    assert!(
        listed.contains("before-the-move") && listed.contains("best, protected"),
        "{listed}"
    );

    let original = Store::open(&run).unwrap().load("final").unwrap();
    let hash = original.manifest_hash().to_owned();
    fs::remove_dir_all(dir.path().join("outputs")).unwrap();
    let restored = stdout(&checkpoints(dir.path(), &["restore", "safe"]), 0);
    assert!(restored.contains("9 checkpoints copied"), "{restored}");
    let store = Store::open(&run).unwrap();
    let restored = store.load("final").unwrap();
    assert_eq!(restored.manifest_hash(), hash);
    assert_eq!(store.load("best").unwrap().manifest().name, "stage_0");
    assert_eq!(
        fs::read_to_string(run.join("metrics.jsonl")).unwrap(),
        "{\"step\":1}\n"
    );
    for item in store.list().unwrap() {
        assert!(
            store.load(&item.name).unwrap().verify().is_empty(),
            "{}",
            item.name
        );
    }

    let nowhere = checkpoints(dir.path(), &["restore", "nothing-here"]);
    assert_eq!(nowhere.status.code(), Some(2));
    let onto_itself = checkpoints(dir.path(), &["backup", "outputs"]);
    assert!(String::from_utf8_lossy(&onto_itself.stderr).contains("where these runs are already"));
    let one = ["backup", "other", "--checkpoint", "stage_9"];
    let refused = checkpoints(dir.path(), &one);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("no checkpoint \"stage_9\""));
}

#[test]
fn du_counts_every_byte_once() {
    let dir = crowded();
    let run = dir.path().join("outputs/tiny/20251122_095803");
    fs::write(run.join("metrics.jsonl"), vec![b'x'; 5000]).unwrap();
    let left = run.join("checkpoints/.tmp-step_000009-1-1");
    fs::create_dir(&left).unwrap();
    fs::write(left.join("generator.pt"), vec![0; 70_000]).unwrap();
    fs::create_dir(run.join("checkpoints/half")).unwrap();
    fs::write(run.join("checkpoints/half/x"), vec![0; 300]).unwrap();
    let json = stdout(&checkpoints(dir.path(), &["du", "--json"]), 0);
    let json: Value = serde_json::from_str(&json).unwrap();
    let usage = json["runs"]
        .as_array()
        .unwrap()
        .iter()
        .find(|usage| usage["run"].as_str().unwrap().ends_with("095803"))
        .unwrap();
    let bytes = |key: &str| usage[key].as_u64().unwrap();
    assert_eq!(
        (bytes("leftovers"), bytes("broken")),
        (70_000, 300),
        "{usage}"
    );
    let parts = ["kept", "periodic", "broken", "leftovers", "logs"].map(bytes);
    assert_eq!(parts.iter().sum::<u64>(), bytes("total"), "{usage}");
    assert!(
        bytes("kept") > 0 && bytes("periodic") > 0 && bytes("logs") >= 5000,
        "{usage}"
    );
    let text = stdout(&checkpoints(dir.path(), &["du"]), 0);
    assert!(text.contains("2 runs: ") && text.contains("free"), "{text}");
}

#[test]
fn a_run_that_never_answers_is_told_of() {
    let dir = folder();
    let run = dir.path().join("outputs/tiny/20251122_095803");
    let requests = || fs::read_dir(run.join("requests")).map_or(0, Iterator::count);
    // Nobody would ever answer: nothing is promised, and nothing is left behind.
    for wait in ["0", "600"] {
        let over = checkpoints(dir.path(), &["save", "now", "--wait", wait]);
        assert_eq!(over.status.code(), Some(2));
        let told = String::from_utf8_lossy(&over.stderr).into_owned();
        assert!(
            told.contains("is not training") && requests() == 0,
            "{told}"
        );
    }
    let training = Store::create(&run).unwrap();
    let late = checkpoints(dir.path(), &["save", "now", "--wait", "1"]);
    assert_eq!((late.status.code(), requests()), (Some(1), 1));
    assert!(String::from_utf8_lossy(&late.stderr).contains("has not seen the request"));
    let odd = checkpoints(dir.path(), &["save", "../x"]);
    assert_eq!(odd.status.code(), Some(2));
    let taken = checkpoints(dir.path(), &["save", "final"]);
    assert_eq!(taken.status.code(), Some(2));
    // It ends while somebody waits.
    let waiting = std::thread::spawn({
        let dir = dir.path().to_owned();
        move || checkpoints(&dir, &["save", "later", "--wait", "600"])
    });
    while requests() < 2 {
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(training);
    let ended = waiting.join().unwrap();
    assert_eq!((ended.status.code(), requests()), (Some(1), 1));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("has ended without saving later"));
}

#[test]
fn what_nobody_reads_ends_quietly_and_a_full_disk_is_told() {
    let dir = folder();
    let commands: [&[&str]; 8] = [
        &["list"],
        &["list", "--json"],
        &["inspect", "final"],
        &["verify", "final", "--json"],
        &["compare", "stage_0", "final"],
        &["du"],
        &["plot", "--to", "chart.svg"],
        &["--completions", "bash"],
    ];
    for args in commands {
        let run = |stdout: Stdio| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_checkpoints"));
            command.args(args).current_dir(dir.path()).stdout(stdout);
            let output = command.stderr(Stdio::piped()).output().unwrap();
            let told = String::from_utf8(output.stderr).unwrap();
            assert!(!told.contains("panicked"), "{args:?}: {told}");
            (output.status.code(), told)
        };
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        assert_eq!(run(writer.into()).0, Some(0), "{args:?}");
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let (code, told) = run(full.into());
        assert_eq!(code, Some(1), "{args:?}");
        assert!(
            told.contains("cannot write to standard output"),
            "{args:?}: {told}"
        );
    }
}

#[test]
fn a_look_up_by_name_says_what_it_took_and_why() {
    let dir = folder();
    let output = checkpoints(dir.path(), &["inspect", "best", "--info-only"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        told.contains("checkpoints/stage_0 (best of the newest run)"),
        "{told}"
    );
    let missing = checkpoints(dir.path(), &["inspect", "stage_4"]);
    let told = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(told.contains("best (stage_0), latest (final)"), "{told}");
}

#[test]
fn paths_that_are_no_text_are_named_and_printed() {
    use std::os::unix::ffi::OsStrExt;
    let folder = folder();
    let odd = folder.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9"));
    fs::create_dir(&odd).unwrap();
    fs::rename(folder.path().join("outputs"), odd.join("outputs")).unwrap();
    let final_there = odd.join("outputs/tiny/20251122_095803/checkpoints/final");
    for args in [
        &["list", "--json", "--outputs"][..],
        &["du", "--json", "--outputs"],
        &["inspect", "final", "--json", "--outputs"],
        &["prune", "--keep-last", "1", "--json", "--outputs"],
        &["backup", "there", "--json", "--outputs"],
        &["list", "--all", "--outputs"],
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_checkpoints"));
        command
            .args(args)
            .arg(odd.join("outputs"))
            .current_dir(folder.path());
        let output = command.output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        // One checkpoint of the folder is broken, which a backup tells by its exit code.
        let code = if args[0] == "backup" { 1 } else { 0 };
        assert_eq!(output.status.code(), Some(code), "{args:?}: {told}");
        assert!(String::from_utf8(output.stdout).is_ok(), "{args:?}");
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_checkpoints"));
    let output = command.arg("verify").arg(&final_there).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
