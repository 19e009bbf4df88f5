//! What does not read is left out of a copy and told, and everything else is copied.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, UNIX_EPOCH};

use gauntlet::checkpoint::{Checkpoint, Mirror, Runs, Store, Transfer, transfer};

use super::request;

/// `tiny/<stamp>` with stage_0, stage_1 and final, and a second run of the same.
fn two_runs(outputs: &Path) -> [PathBuf; 2] {
    [1, 2].map(|seconds| {
        let moment = UNIX_EPOCH + Duration::from_secs(1_763_805_483 + seconds);
        let run = Runs::new(outputs).start("tiny", moment).unwrap();
        let store = Store::create(&run).unwrap();
        for (step, name) in ["stage_0", "stage_1", "final"].iter().enumerate() {
            store.save(request(name, step as u64, Some(0.5))).unwrap();
        }
        store.set_best("stage_0").unwrap();
        fs::write(run.join("metrics.jsonl"), "{\"step\": 1}\n").unwrap();
        run
    })
}

/// One way to break `stage_1` of a run.
type Damage = (&'static str, fn(&Path));

const DAMAGES: [Damage; 9] = [
    ("a file is gone", |dir| {
        fs::remove_file(dir.join("generator.pt")).unwrap()
    }),
    ("a directory in the place of a file", |dir| {
        fs::remove_file(dir.join("generator.pt")).unwrap();
        fs::create_dir(dir.join("generator.pt")).unwrap();
    }),
    ("a link into nothing", |dir| {
        fs::remove_file(dir.join("metrics.json")).unwrap();
        symlink("nowhere", dir.join("metrics.json")).unwrap();
    }),
    ("cut", |dir| {
        let file = fs::File::options()
            .write(true)
            .open(dir.join("generator.pt"));
        file.unwrap().set_len(100).unwrap();
    }),
    ("a flipped bit", |dir| {
        let path = dir.join("tokenizer.json");
        let mut bytes = fs::read(&path).unwrap();
        bytes[0] ^= 1;
        fs::write(path, bytes).unwrap();
    }),
    ("no manifest", |dir| {
        fs::remove_file(dir.join("manifest.json")).unwrap()
    }),
    ("a manifest cut short", |dir| {
        fs::write(dir.join("manifest.json"), "{").unwrap()
    }),
    ("another checkpoint of this name there", |dir| {
        fs::remove_dir_all(dir).unwrap();
        let run = dir.parent().unwrap().parent().unwrap();
        Store::create(run)
            .unwrap()
            .save(request("stage_1", 99, None))
            .unwrap();
    }),
    ("a log that is a directory", |dir| {
        let log = dir
            .parent()
            .unwrap()
            .parent()
            .unwrap()
            .join("samples.jsonl");
        fs::create_dir(log).unwrap();
        fs::remove_file(dir.join("generator.pt")).unwrap();
    }),
];

#[test]
fn what_is_broken_is_left_out_of_a_backup_and_told_and_the_rest_is_copied() {
    for (what, damage) in DAMAGES {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let runs = two_runs(from.path());
        let before = match what {
            "another checkpoint of this name there" => {
                let done = transfer(&runs, Some("stage_1"), to.path()).unwrap();
                done.copied.len()
            }
            _ => 0,
        };
        damage(&runs[0].join("checkpoints/stage_1"));
        let done = transfer(&runs, None, to.path()).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(done.skipped.len(), 1, "{what}: {done:?}");
        let skipped = &done.skipped[0];
        assert!(
            skipped.path.ends_with("checkpoints/stage_1"),
            "{what}: {done:?}"
        );
        assert!(!skipped.reason.is_empty(), "{what}");
        assert_eq!(
            done.copied.len() + done.present.len(),
            5,
            "{what}: {done:?}"
        );
        for copy in done.copied.iter().chain(&done.present) {
            assert!(
                Checkpoint::open(copy).unwrap().verify().is_empty(),
                "{what}"
            );
        }
        assert_eq!(done.present.len(), before.saturating_sub(1), "{what}");
        let best = Runs::new(to.path()).find("best", None).unwrap();
        assert_eq!(best.manifest().name, "stage_0", "{what}");
        for run in &runs {
            let log = to.path().join("tiny").join(run.file_name().unwrap());
            assert!(log.join("metrics.jsonl").is_file(), "{what}");
        }
    }
}

#[test]
fn a_log_that_does_not_read_and_a_run_in_use_are_left_out_and_told() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let runs = two_runs(from.path());
    let log = runs[0].join("metrics.jsonl");
    fs::set_permissions(&log, fs::Permissions::from_mode(0o000)).unwrap();
    let reads = fs::read(&log).is_ok();
    let there = to.path().join("tiny").join(runs[1].file_name().unwrap());
    fs::create_dir_all(&there).unwrap();
    let busy = Store::create(&there).unwrap();
    let done = transfer(&runs, None, to.path()).unwrap();
    let told: Vec<String> = done
        .skipped
        .iter()
        .map(|s| format!("{}: {}", s.path.display(), s.reason))
        .collect();
    assert!(
        told.iter()
            .any(|line| line.contains("in use by another training")),
        "{told:?}"
    );
    // Who may read everything (root) reads the log too.
    assert!(
        reads || told.iter().any(|line| line.contains("metrics.jsonl")),
        "{told:?}"
    );
    assert_eq!(done.copied.len(), 3);
    drop(busy);
    let done = transfer(&runs, None, to.path()).unwrap();
    assert_eq!((done.copied.len(), done.present.len()), (3, 3));
}

#[test]
fn a_name_that_only_some_runs_have_is_copied_from_those() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let runs = two_runs(from.path());
    fs::remove_dir_all(runs[0].join("checkpoints/final")).unwrap();
    let done = transfer(&runs, Some("final"), to.path()).unwrap();
    assert_eq!(done.copied.len(), 1);
    let error = transfer(&runs, Some("stage_9"), to.path())
        .unwrap_err()
        .to_string();
    assert!(error.contains("no checkpoint \"stage_9\""), "{error}");
}

#[test]
fn an_anchor_of_its_own_goes_along_with_a_run() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let runs = two_runs(from.path());
    let anchor = Store::open(&runs[0]).unwrap().load("stage_0").unwrap();
    let store = Store::create(&runs[1]).unwrap();
    let kept = store.keep_anchor(&anchor).unwrap();
    assert_eq!(kept.path, runs[1].join("anchor"));
    drop(store);
    // It is no checkpoint of the run: names, and the newest, are what they were.
    let listed = Store::open(&runs[1]).unwrap().list().unwrap();
    assert_eq!(listed.len(), 3);
    for _ in 0..2 {
        transfer(&runs[1..], None, to.path()).unwrap();
        let copy = to
            .path()
            .join("tiny")
            .join(runs[1].file_name().unwrap())
            .join("anchor");
        let copy = Checkpoint::open(&copy).unwrap();
        assert_eq!(copy.manifest_hash(), anchor.manifest_hash());
        assert!(copy.verify().is_empty());
    }
}

#[test]
fn a_mirror_waits_for_nothing_that_is_gone() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let [run, _] = two_runs(from.path());
    fs::remove_file(run.join("checkpoints/stage_1/generator.pt")).unwrap();
    let started = Instant::now();
    let mirror = Mirror::start(&run, to.path()).unwrap();
    for _ in 0..5 {
        mirror.update(Vec::new());
    }
    let last: Transfer = mirror.finish().result.unwrap();
    assert!(started.elapsed() < Duration::from_secs(20));
    // Told once, in whichever round.
    let told: Vec<&PathBuf> = last.skipped.iter().map(|skipped| &skipped.path).collect();
    assert_eq!(told.len(), 1, "{last:?}");
    assert!(told[0].ends_with("stage_1"), "{last:?}");
    let copies = Runs::new(to.path());
    for name in ["stage_0", "final", "best"] {
        copies.find(name, None).unwrap();
    }
}

#[test]
fn copies_need_a_place_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let [run, _] = two_runs(&dir.path().join("outputs"));
    fs::write(dir.path().join("file"), "").unwrap();
    symlink("outputs", dir.path().join("link")).unwrap();
    for (to, said) in [
        ("outputs", "is where the runs themselves are"),
        ("outputs/", "is where the runs themselves are"),
        ("outputs/../outputs", "is where the runs themselves are"),
        ("link", "is where the runs themselves are"),
        ("file", "cannot reach"),
        ("file/x", "cannot reach"),
    ] {
        let error = Mirror::start(&run, &dir.path().join(to))
            .err()
            .expect(to)
            .to_string();
        assert!(error.contains(said), "{to}: {error}");
    }
    Mirror::start(&run, &dir.path().join("outputs/copies")).unwrap();
}
