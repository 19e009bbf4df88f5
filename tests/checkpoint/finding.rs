//! A checkpoint is found by what a person calls it, and nothing else is.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use gauntlet::checkpoint::{
    Checkpoint, CheckpointError, CheckpointKind, Parent, Retention, Runs, SaveRequest, Store,
    Strategy,
};

use super::request;

/// Two runs: `tiny/<old>` with stage_0, stage_1 (best) and step_000020; `tiny/<new>`, which was
/// resumed from step_000020, with step_000030.
struct Outputs {
    dir: tempfile::TempDir,
    runs: Runs,
    old: PathBuf,
    new: PathBuf,
}

fn with(request: SaveRequest, change: impl FnOnce(&mut SaveRequest)) -> SaveRequest {
    let mut request = request;
    change(&mut request);
    request
}

fn outputs() -> Outputs {
    let dir = tempfile::tempdir().unwrap();
    let runs = Runs::new(dir.path());
    let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
    let old = runs.start("tiny", at(1_763_805_483)).unwrap();
    let new = runs.start("tiny", at(1_763_805_484)).unwrap();
    let store = Store::create(&old).unwrap();
    store.save(request("stage_0", 0, Some(0.1))).unwrap();
    store
        .save(with(request("stage_1", 10, Some(0.6)), |r| {
            r.set_best = true
        }))
        .unwrap();
    store.save(request("step_000020", 20, Some(0.2))).unwrap();
    let parent = store.load("step_000020").unwrap().as_parent();
    let store = Store::create(&new).unwrap();
    store
        .save(with(request("step_000030", 30, None), |r| {
            r.parent = Some(parent)
        }))
        .unwrap();
    Outputs {
        dir,
        runs,
        old,
        new,
    }
}

impl Outputs {
    /// The run and name that a reference finds.
    fn find(&self, reference: &str) -> (PathBuf, String) {
        place(&self.runs.find(reference, None).unwrap())
    }

    fn refused(&self, reference: &str) -> String {
        self.runs
            .find(reference, None)
            .expect_err(reference)
            .to_string()
    }
}

fn place(checkpoint: &Checkpoint) -> (PathBuf, String) {
    let run = checkpoint.path().parent().unwrap().parent().unwrap();
    (run.into(), checkpoint.manifest().name.clone())
}

#[test]
fn names_are_looked_up_in_the_newest_run_and_then_along_its_parents() {
    let outputs = outputs();
    let (old, new) = (
        outputs.old.canonicalize().unwrap(),
        outputs.new.canonicalize().unwrap(),
    );
    for (reference, run, name) in [
        ("latest", &new, "step_000030"),
        ("step_000030", &new, "step_000030"),
        ("checkpoints/step_000030", &new, "step_000030"),
        ("step:30", &new, "step_000030"),
        ("step:10", &old, "stage_1"),
        ("best", &old, "stage_1"),
        ("checkpoints/best", &old, "stage_1"),
        ("stage_0", &old, "stage_0"),
    ] {
        assert_eq!(
            outputs.find(reference),
            (run.clone(), name.to_string()),
            "{reference}"
        );
    }
    let in_old = outputs.runs.find("latest", Some(&outputs.old)).unwrap();
    assert_eq!(place(&in_old), (old.clone(), "step_000020".into()));
    for path in [
        outputs.old.join("checkpoints/best"),
        outputs.old.join("checkpoints/stage_1"),
    ] {
        assert_eq!(
            outputs.find(path.to_str().unwrap()),
            (old.clone(), "stage_1".into())
        );
    }
}

#[test]
fn a_new_run_without_checkpoints_does_not_hide_the_others() {
    let outputs = outputs();
    let empty = outputs
        .runs
        .start("another", UNIX_EPOCH + Duration::from_secs(1 << 31))
        .unwrap();
    Store::create(&empty).unwrap();
    assert_eq!(outputs.find("latest").1, "step_000030");
    assert_eq!(outputs.runs.list(None).unwrap()[0], empty);
}

#[test]
fn runs_that_start_in_the_same_second_are_apart() {
    let dir = tempfile::tempdir().unwrap();
    let runs = Runs::new(dir.path());
    let (a, b) = (
        runs.start("x", UNIX_EPOCH).unwrap(),
        runs.start("x", UNIX_EPOCH).unwrap(),
    );
    assert_ne!(a, b);
    assert!(a.ends_with("x/19700101_000000") && b.ends_with("x/19700101_000000_2"));
    assert!(runs.start("../x", UNIX_EPOCH).is_err());
}

#[test]
fn what_is_missing_is_told_with_what_there_is() {
    let outputs = outputs();
    for reference in ["stage_9", "final", "step:7"] {
        let text = outputs.refused(reference);
        assert!(
            text.starts_with(&format!("no checkpoint {reference:?} in ")),
            "{text}"
        );
        for name in ["step_000030", "stage_0", "stage_1", "step_000020"] {
            assert!(text.contains(name), "{text}");
        }
    }
    let nothing = tempfile::tempdir().unwrap();
    let text = Runs::new(nothing.path())
        .find("best", None)
        .unwrap_err()
        .to_string();
    assert!(text.ends_with("; there are no checkpoints"), "{text}");
    assert!(
        outputs
            .refused("some/where")
            .contains("some/where: does not exist")
    );
    assert!(
        outputs
            .refused(outputs.old.to_str().unwrap())
            .contains("not a committed checkpoint")
    );
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let outputs = outputs();
    let checkpoints = outputs.new.join("checkpoints");
    for reference in [
        "..",
        ".",
        "",
        ".lock",
        "-x",
        "a b",
        "best\n",
        "a\\b",
        "checkpoints/..",
        "step:x",
        "step:-1",
    ] {
        assert!(
            outputs
                .refused(reference)
                .contains("is not a name for a checkpoint"),
            "{reference:?}"
        );
    }
    let store = Store::open(&outputs.new).unwrap();
    for name in ["../stage_0", "/etc", "x/y"] {
        assert!(
            matches!(store.load(name), Err(CheckpointError::Name { .. })),
            "{name:?}"
        );
    }

    // A link with a checkpoint's name is not a checkpoint of this run.
    symlink(
        outputs.old.join("checkpoints/stage_0"),
        checkpoints.join("stage_5"),
    )
    .unwrap();
    let text = store.load("stage_5").unwrap_err().to_string();
    assert!(
        text.contains("stage_5: is not a directory of this run"),
        "{text}"
    );
    // `best` may only name a sibling.
    for target in [
        Path::new("../../../x"),
        &outputs.old.join("checkpoints/stage_0"),
        Path::new("stage_5"),
    ] {
        symlink(target, checkpoints.join("best")).unwrap();
        assert!(store.load("best").is_err(), "{}", target.display());
        fs::remove_file(checkpoints.join("best")).unwrap();
    }
}

#[test]
fn a_parent_that_leads_elsewhere_or_in_circles_is_not_followed() {
    let outputs = outputs();
    let stamp = |run: &Path| run.file_name().unwrap().to_str().unwrap().to_string();
    let store = Store::create(&outputs.old).unwrap();
    let circle = Parent {
        run: format!("tiny/{}", stamp(&outputs.new)),
        name: "step_000030".into(),
        manifest: String::new(),
    };
    store
        .save(with(request("final", 40, None), |r| {
            r.parent = Some(circle)
        }))
        .unwrap();
    assert!(outputs.refused("stage_9").contains("no checkpoint"));

    let third = outputs
        .runs
        .start("tiny", UNIX_EPOCH + Duration::from_secs(1_763_805_999))
        .unwrap();
    for (i, run) in ["../../etc", "/etc", "", "tiny/nowhere"]
        .into_iter()
        .enumerate()
    {
        let parent = Parent {
            run: run.into(),
            name: "x".into(),
            manifest: String::new(),
        };
        let name = format!("named-{i}");
        let store = Store::create(&third).unwrap();
        store
            .save(with(request(&name, 1, None), |r| r.parent = Some(parent)))
            .unwrap();
        assert!(outputs.refused("stage_0").contains(&name), "{run}");
    }
}

#[test]
fn recovery_takes_the_newest_that_is_whole_and_says_what_it_skipped() {
    let outputs = outputs();
    let store = Store::create(&outputs.new).unwrap();
    let sampler = with(request("step_000040", 40, None), |r| {
        r.kind = CheckpointKind::Sampler
    });
    store.save(sampler).unwrap();
    store.save(request("step_000050", 50, None)).unwrap();
    store.save(request("step_000060", 60, None)).unwrap();
    let checkpoints = outputs.new.join("checkpoints");
    fs::write(checkpoints.join("step_000060/generator.pt"), "short").unwrap();
    fs::remove_file(checkpoints.join("step_000050/manifest.json")).unwrap();
    fs::create_dir(checkpoints.join(".tmp-step_000070-1-1")).unwrap();

    let found = outputs.runs.newest_valid("tiny").unwrap();
    assert_eq!(found.checkpoint.unwrap().manifest().name, "step_000030");
    let skipped: Vec<String> = found
        .skipped
        .iter()
        .map(|skipped| {
            format!(
                "{}: {}",
                skipped.path.file_name().unwrap().display(),
                skipped.reason
            )
        })
        .collect();
    assert_eq!(skipped.len(), 3, "{skipped:#?}");
    for part in [
        "step_000060",
        "generator.pt",
        "expected",
        "step_000050",
        "no manifest.json",
        "step_000040",
        "sampler",
    ] {
        assert!(
            skipped.iter().any(|line| line.contains(part)),
            "{part}: {skipped:#?}"
        );
    }
    assert!(
        outputs
            .runs
            .newest_valid("other")
            .unwrap()
            .checkpoint
            .is_none()
    );
    assert!(outputs.runs.newest_valid("../x").is_err());
    assert!(outputs.dir.path().exists());
}

#[test]
fn what_a_crashed_run_left_is_swept_when_the_next_one_starts() {
    let outputs = outputs();
    let left = [".tmp-step_000070-1-1", ".trash-step_000010-1-2"];
    let leave = |run: &Path| {
        for name in left {
            let dir = run.join("checkpoints").join(name);
            fs::create_dir(&dir).unwrap();
            fs::write(dir.join("generator.pt"), "half").unwrap();
        }
    };
    let count = |run: &Path| {
        left.iter()
            .filter(|name| run.join("checkpoints").join(name).exists())
            .count()
    };
    leave(&outputs.old);
    leave(&outputs.new);
    let running = Store::create(&outputs.new).unwrap();
    assert_eq!(count(&outputs.new), 0, "a writer sweeps its own directory");
    leave(&outputs.new);
    outputs.runs.start("tiny", UNIX_EPOCH).unwrap();
    assert_eq!((count(&outputs.old), count(&outputs.new)), (0, 2));
    drop(running);
    assert_eq!(outputs.find("best").1, "stage_1");
}

#[test]
fn the_clock_may_go_backwards() {
    let outputs = outputs();
    let store = Store::create(&outputs.new).unwrap();
    store.save(request("stage_1", 31, None)).unwrap();
    let sequence = |name: &str| store.load(name).unwrap().manifest().sequence;
    assert_eq!((sequence("step_000030"), sequence("stage_1")), (1, 2));
    assert_eq!(store.load("latest").unwrap().manifest().name, "stage_1");
}

#[test]
fn a_committed_checkpoint_is_never_overwritten() {
    let outputs = outputs();
    let store = Store::create(&outputs.new).unwrap();
    let before = store
        .load("step_000030")
        .unwrap()
        .manifest_hash()
        .to_string();
    let error = store.save(request("step_000030", 99, None)).unwrap_err();
    assert!(matches!(error, CheckpointError::Exists { .. }), "{error}");
    assert_eq!(store.load("step_000030").unwrap().manifest_hash(), before);
    assert!(store.save(request("best", 1, None)).is_err());
}

#[test]
fn two_writers_do_not_share_a_run() {
    let outputs = outputs();
    let first = Store::create(&outputs.new).unwrap();
    let error = Store::create(&outputs.new)
        .map(|_| ())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&format!(
            "in use by another training (process {})",
            std::process::id()
        )),
        "{error}"
    );
    let reader = Store::open(&outputs.new).unwrap();
    assert!(
        reader
            .save(request("x", 1, None))
            .unwrap_err()
            .to_string()
            .contains("opened for reading")
    );
    drop(first);
    Store::create(&outputs.new).unwrap();
}

#[test]
fn retention_keeps_what_something_points_to() {
    let run = tempfile::tempdir().unwrap();
    let store = Store::create(run.path()).unwrap();
    store.save(request("stage_0", 0, None)).unwrap();
    for step in 1..=6 {
        let name = format!("step_{step:06}");
        store
            .save(with(request(&name, step, Some(1.0 / step as f64)), |r| {
                r.set_best = step == 2
            }))
            .unwrap();
    }
    let policy = Retention::new(Strategy::LastN, 2).unwrap();
    let deleted = store.retain(&policy, &["step_000003"]).unwrap();
    assert_eq!(deleted, ["step_000004", "step_000001"]);
    let names: Vec<String> = store
        .list()
        .unwrap()
        .into_iter()
        .map(|item| item.name)
        .collect();
    assert_eq!(
        names,
        [
            "stage_0",
            "step_000002",
            "step_000003",
            "step_000005",
            "step_000006"
        ]
    );
    assert_eq!(store.load("best").unwrap().manifest().name, "step_000002");
    for item in store.list().unwrap() {
        assert!(store.load(&item.name).unwrap().verify().is_empty());
    }
}
