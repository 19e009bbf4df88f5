//! Which run is newer, and which run's checkpoint a name stands for.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gauntlet::checkpoint::{Checkpoint, CheckpointError, Runs, Store, Within, transfer};

use super::request;

const NOON: u64 = 1_763_805_600;
const DAY: u64 = 86_400;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

/// Starts a run and saves a checkpoint in it, which may come from one of another run.
fn run(runs: &Runs, name: &str, seconds: u64, from: Option<&Path>) -> PathBuf {
    let run = runs.start(name, at(seconds)).unwrap();
    let mut first = request("final", 10, Some(0.5));
    first.set_best = true;
    first.parent = from.map(|run| Store::open(run).unwrap().load("final").unwrap().as_parent());
    Store::create(&run).unwrap().save(first).unwrap();
    run
}

/// The directory that a run's checkpoint is in.
fn run_of(checkpoint: &Checkpoint) -> PathBuf {
    checkpoint.path().parent().unwrap().parent().unwrap().into()
}

fn outputs() -> (tempfile::TempDir, Runs) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    (dir, Runs::new(root))
}

#[test]
fn of_runs_that_begin_in_one_second_the_last_is_the_newest() {
    let (_dir, runs) = outputs();
    let begun: Vec<PathBuf> = (0..12).map(|_| run(&runs, "tiny", NOON, None)).collect();
    assert!(begun[10].ends_with("20251122_100000_11"), "{begun:?}");
    let listed = runs.list(Some("tiny")).unwrap();
    assert!(listed.iter().eq(begun.iter().rev()), "{listed:?}");
    for reference in ["latest", "best", "final", "step:10"] {
        assert_eq!(
            run_of(&runs.find(reference, None).unwrap()),
            begun[11],
            "{reference}"
        );
    }
    let newest = runs.newest_valid("tiny").unwrap().checkpoint.unwrap();
    assert_eq!(run_of(&newest), begun[11]);
}

#[test]
fn a_clock_that_is_set_back_hides_no_run() {
    let (_dir, runs) = outputs();
    let ahead = run(&runs, "tiny", NOON + DAY, None);
    // Set back: one run goes on from it, the next ones begin afresh, one under another name.
    let mut begun = vec![ahead.clone()];
    begun.push(run(&runs, "tiny", NOON, Some(&ahead)));
    begun.push(run(&runs, "tiny", NOON + 60, None));
    begun.push(run(&runs, "other", NOON - 60, None));
    begun.push(run(&runs, "tiny", NOON + 30, None));
    // The clock has come past that day.
    begun.push(run(&runs, "tiny", NOON + 2 * DAY, None));
    begun.push(run(&runs, "tiny", NOON + 2 * DAY + 1, None));
    let listed = runs.list(None).unwrap();
    assert!(listed.iter().eq(begun.iter().rev()), "{listed:#?}");
    assert!(
        !begun[6].join("order.json").exists(),
        "only where a name tells a wrong place"
    );

    // A copy keeps the order.
    let (_there, copies) = outputs();
    let target = copies.list(None).unwrap();
    assert!(target.is_empty());
    let to = _there.path().canonicalize().unwrap();
    transfer(&begun, None, &to).unwrap();
    let names = |runs: &[PathBuf]| {
        let stamps = runs.iter().map(|run| run.file_name().unwrap().to_owned());
        stamps.collect::<Vec<_>>()
    };
    assert_eq!(names(&copies.list(None).unwrap()), names(&listed));
}

#[test]
fn a_resumed_run_comes_after_the_one_it_came_from_even_where_nothing_was_written_down() {
    let (_dir, runs) = outputs();
    let parent = run(&runs, "tiny", NOON + DAY, None);
    let child = run(&runs, "tiny", NOON, Some(&parent));
    let grandchild = run(&runs, "tiny", NOON - DAY, Some(&child));
    for run in [&child, &grandchild] {
        fs::remove_file(run.join("order.json")).unwrap();
    }
    assert_eq!(runs.list(None).unwrap(), [grandchild, child, parent]);
}

#[test]
fn a_run_whose_directory_was_renamed_stands_where_its_checkpoints_were_saved() {
    let (dir, runs) = outputs();
    let run = run(&runs, "tiny", NOON, None);
    // Checkpoints are dated by the clock: by now it is later than the run's own name says.
    let renamed = run.with_file_name("zzz-the-first-try");
    fs::rename(&run, &renamed).unwrap();
    let later = self::run(&runs, "tiny", 4_000_000_000, None);
    assert_eq!(runs.list(None).unwrap(), [later, renamed.clone()]);
    fs::create_dir_all(dir.path().join("tiny/zzzz/checkpoints")).unwrap();
    assert_eq!(
        runs.newest().unwrap().unwrap().file_name().unwrap(),
        "20961002_070640"
    );
    // A file that does not read is as good as none.
    fs::write(renamed.join("order.json"), "{\"order\": \"soon").unwrap();
    assert_eq!(runs.list(None).unwrap().len(), 3);
}

#[test]
fn a_name_is_looked_up_in_the_runs_that_are_called_so_and_said_why() {
    let (_dir, runs) = outputs();
    let old = run(&runs, "tiny", NOON, None);
    let tiny = run(&runs, "tiny", NOON + 1, Some(&old));
    let other = run(&runs, "other", NOON + 2, None);
    for (reference, within, run, why) in [
        (
            "final",
            Within::Called("tiny"),
            &tiny,
            "final of the newest run called tiny",
        ),
        (
            "best",
            Within::Called("tiny"),
            &tiny,
            "best of the newest run called tiny",
        ),
        (
            "latest",
            Within::Called("other"),
            &other,
            "latest of the newest run called other",
        ),
        (
            "step:10",
            Within::Any,
            &other,
            "the newest of step 10 of the newest run",
        ),
        (
            "final",
            Within::Run(&old),
            &old,
            "final of the run that was named",
        ),
    ] {
        let found = runs.look_up(reference, within).unwrap();
        assert_eq!(
            (run_of(&found.checkpoint), found.why.as_str()),
            (run.clone(), why)
        );
    }
    let path = tiny.join("checkpoints/best");
    assert_eq!(
        runs.look_up(&path, Within::Called("other")).unwrap().why,
        "named by its path"
    );
    fs::remove_dir_all(tiny.join("checkpoints/final")).unwrap();
    let found = runs.look_up("best", Within::Run(&tiny));
    assert!(
        found.is_err(),
        "a link into nothing is no checkpoint, and nobody's best is taken"
    );

    let error = runs.look_up("final", Within::Called("third")).unwrap_err();
    assert!(matches!(error, CheckpointError::NoRun { .. }));
    let text = error.to_string();
    for part in [
        "no run called \"third\"",
        "other/",
        "tiny/",
        "/checkpoints/final",
        "set run.name",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn what_is_missing_is_told_with_the_links_and_the_run_that_is_not_here() {
    let (_dir, runs) = outputs();
    let parent = run(&runs, "tiny", NOON, None);
    let child = run(&runs, "tiny", NOON + 1, Some(&parent));
    let text = Store::open(&child)
        .unwrap()
        .load("stage_4")
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("final, best (final), latest (final)"),
        "{text}"
    );
    fs::remove_dir_all(&parent).unwrap();
    let text = runs.find("stage_4", None).unwrap_err().to_string();
    assert!(
        text.contains("final, best (final), latest (final)"),
        "{text}"
    );
    assert!(
        text.contains("(resumed from tiny/20251122_100000, which is not here)"),
        "{text}"
    );
}

#[test]
fn directories_in_the_place_of_links_are_what_they_are_copies_of() {
    let (_dir, runs) = outputs();
    let run = run(&runs, "tiny", NOON, None);
    let checkpoints = run.join("checkpoints");
    let store = Store::create(&run).unwrap();
    store.save(request("step_000020", 20, None)).unwrap();
    // As `cp -rL` and most archives make them.
    let copy = |from: &str, to: &str| {
        fs::remove_file(checkpoints.join(to)).unwrap();
        let status = std::process::Command::new("cp")
            .arg("-r")
            .args([checkpoints.join(from), checkpoints.join(to)])
            .status();
        assert!(status.unwrap().success());
    };
    copy("final", "best");
    copy("step_000020", "latest");
    let names = |store: &Store| {
        let listed = store.list().unwrap().into_iter();
        listed
            .map(|item| (item.name, item.best, item.latest))
            .collect::<Vec<_>>()
    };
    let expected = [
        ("final".into(), true, false),
        ("step_000020".into(), false, true),
    ];
    assert_eq!(names(&store), expected);
    for (reference, name) in [("best", "final"), ("latest", "step_000020")] {
        let found = runs.find(reference, None).unwrap();
        assert_eq!(found.manifest().name, name);
        assert!(found.verify().is_empty());
    }
    // Twice: what is there already is not in the way.
    let there = tempfile::tempdir().unwrap();
    for copied in [2, 0] {
        let done = transfer(std::slice::from_ref(&run), None, there.path()).unwrap();
        assert_eq!(
            (done.copied.len(), done.skipped.len()),
            (copied, 0),
            "{done:?}"
        );
    }
    let copied = Runs::new(there.path()).find("best", None).unwrap();
    assert_eq!(copied.manifest().name, "final");
    // Only the copy is left.
    fs::remove_dir_all(checkpoints.join("final")).unwrap();
    assert_eq!(runs.find("best", None).unwrap().manifest().name, "final");
}
