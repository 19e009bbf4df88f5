//! Saving beside training: nothing blocks, nothing is lost, and every failure is told.

use std::fs;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gauntlet::checkpoint::{
    CheckpointError, Offered, Retention, SaveJob, SaveRequest, Saver, Store, Strategy,
    on_improvement,
};

use super::faulty::{Fault, Faulty};
use super::{assert_same, request};

fn job(name: &str, step: u64) -> SaveJob {
    request(name, step, None).snapshot().unwrap()
}

struct Bench {
    run: tempfile::TempDir,
    faulty: Faulty,
    store: Arc<Store>,
    saver: Saver,
}

fn bench() -> Bench {
    let run = tempfile::tempdir().unwrap();
    let faulty = Faulty::default();
    let store = Arc::new(Store::create_on(Arc::new(faulty.clone()), run.path()).unwrap());
    let saver = Saver::start(Arc::clone(&store)).unwrap();
    Bench {
        run,
        faulty,
        store,
        saver,
    }
}

impl Bench {
    fn names(&self) -> Vec<String> {
        let listed = self.store.list().unwrap().into_iter();
        listed.map(|item| item.name).collect()
    }
}

#[test]
fn training_goes_on_while_a_checkpoint_is_written() {
    let mut bench = bench();
    let gate = bench.faulty.hold();
    let request = request("stage_1", 10, None);
    let weight = request.players[0].1.model_state_dict[0].1.shallow_clone();
    let job = request.snapshot().unwrap();
    assert!(bench.saver.begin(job, None).is_none());
    assert!(bench.saver.is_busy());
    assert!(bench.saver.poll().is_none(), "it cannot be done yet");

    // The next step changes the weights in place.
    let before = weight.copy();
    let _ = tch::no_grad(|| weight.shallow_clone().fill_(-1.0));
    assert!(bench.names().is_empty());
    drop(gate);
    let finished = bench.saver.wait().expect("one was in flight");
    assert_eq!(finished.name, "stage_1");
    assert!(!bench.saver.is_busy());
    let saved = finished.result.unwrap();
    let state = gauntlet::checkpoint::Checkpoint::open(&saved.path)
        .unwrap()
        .generator()
        .unwrap()
        .state()
        .unwrap();
    assert_same("the copy", &state.model_state_dict[0].1, &before);
}

#[test]
fn one_save_is_in_flight_and_a_second_waits_for_it() {
    let mut bench = bench();
    let gate = bench.faulty.hold();
    bench.saver.begin(job("step_000010", 10), None);
    let opener = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        drop(gate);
    });
    let started = Instant::now();
    let first = bench.saver.begin(job("step_000020", 20), None);
    assert!(started.elapsed() >= Duration::from_millis(150));
    assert_eq!(
        first.unwrap().result.unwrap().path.file_name().unwrap(),
        "step_000010"
    );
    assert!(bench.saver.wait().unwrap().result.is_ok());
    opener.join().unwrap();
    assert_eq!(bench.names(), ["step_000010", "step_000020"]);
    assert!(bench.saver.wait().is_none(), "each result is given once");
}

#[test]
fn a_saver_that_is_dropped_finishes_what_it_writes() {
    let mut bench = bench();
    bench.saver.begin(job("final", 30), None);
    let Bench {
        run, saver, store, ..
    } = bench;
    drop(saver);
    assert!(store.load("final").unwrap().verify().is_empty());
    drop(run);
}

#[test]
fn a_full_disk_is_told_at_once_and_the_job_can_be_tried_again() {
    let mut bench = bench();
    bench.faulty.set_free(Some(1000));
    bench.saver.begin(job("stage_1", 10), None);
    let failed = bench.saver.wait().unwrap();
    assert!(matches!(
        failed.result,
        Err(CheckpointError::NoSpace { .. })
    ));
    assert_eq!(failed.tries, 1, "waiting frees no space");
    bench.faulty.set_free(None);
    bench.saver.begin(failed.job.expect("it comes back"), None);
    assert!(bench.saver.wait().unwrap().result.is_ok());
    assert_eq!(bench.names(), ["stage_1"]);
}

#[test]
fn a_hiccup_is_tried_again_and_a_lasting_failure_is_not() {
    for (kind, tries, saved) in [
        (io::ErrorKind::TimedOut, 2, true),
        (io::ErrorKind::Other, 2, true),
        (io::ErrorKind::StorageFull, 1, false),
        (io::ErrorKind::PermissionDenied, 1, false),
    ] {
        let mut bench = bench();
        bench.faulty.fail_after(20, Fault::Fails(kind));
        bench.saver.begin(job("stage_1", 10), None);
        let finished = bench.saver.wait().unwrap();
        assert_eq!(
            (finished.tries, finished.result.is_ok()),
            (tries, saved),
            "{kind:?}"
        );
        assert_eq!(finished.job.is_some(), !saved);
        assert_eq!(bench.names().len(), usize::from(saved), "{kind:?}");
    }
}

#[test]
fn whatever_fails_once_the_next_save_succeeds_and_best_catches_up() {
    for n in 1.. {
        let mut bench = bench();
        bench.saver.begin(job("step_000010", 10), None);
        assert!(bench.saver.wait().unwrap().result.is_ok());
        bench
            .faulty
            .fail_after(n, Fault::Fails(io::ErrorKind::StorageFull));
        let mut better = request("stage_1", 20, Some(0.9));
        better.set_best = true;
        bench.saver.begin(better.snapshot().unwrap(), None);
        let finished = bench.saver.wait().unwrap();
        let struck = bench.faulty.struck();
        if finished.result.is_ok() {
            assert_eq!(
                finished.warnings.is_empty(),
                !struck,
                "{n}: {:?}",
                finished.warnings
            );
        } else {
            assert!(struck);
            bench.saver.begin(finished.job.unwrap(), None);
            assert!(bench.saver.wait().unwrap().result.is_ok(), "{n}");
        }
        if !struck {
            assert!(n > 30, "only {n} operations failed");
            return;
        }
        bench.saver.begin(job("step_000030", 30), None);
        let last = bench.saver.wait().unwrap();
        assert!(
            last.result.is_ok() && last.warnings.is_empty(),
            "{n}: {:?}",
            last.warnings
        );
        assert_eq!(
            bench.store.load("best").unwrap().manifest().name,
            "stage_1",
            "{n}"
        );
        assert_eq!(
            bench.store.load("latest").unwrap().manifest().name,
            "step_000030",
            "{n}"
        );
    }
}

#[test]
fn old_checkpoints_go_only_after_the_new_one_is_durable() {
    let mut bench = bench();
    let newest = Retention::new(Strategy::LastN, 1).unwrap();
    for step in [10, 20] {
        bench
            .saver
            .begin(job(&format!("step_{step:06}"), step), Some(newest));
        bench.saver.wait().unwrap().result.unwrap();
    }
    assert_eq!(bench.names(), ["step_000020"]);
    bench.faulty.set_free(Some(0));
    bench.saver.begin(job("step_000030", 30), Some(newest));
    let failed = bench.saver.wait().unwrap();
    assert!(failed.result.is_err() && failed.deleted.is_empty());
    assert_eq!(
        bench.names(),
        ["step_000020"],
        "the only one that there is stays"
    );
    bench.faulty.set_free(None);
    bench.saver.begin(job("step_000030", 30), Some(newest));
    assert_eq!(bench.saver.wait().unwrap().deleted, ["step_000020"]);
    assert_eq!(bench.names(), ["step_000030"]);
}

#[test]
fn a_directory_deleted_under_a_run_is_made_again_and_locked() {
    let mut bench = bench();
    bench.saver.begin(job("step_000010", 10), None);
    bench.saver.wait().unwrap().result.unwrap();
    fs::remove_dir_all(bench.store.dir()).unwrap();
    bench.saver.begin(job("step_000020", 20), None);
    bench.saver.wait().unwrap().result.unwrap();
    assert_eq!(bench.names(), ["step_000020"]);
    let other = Store::create(bench.run.path()).map(|_| ());
    assert!(
        other
            .unwrap_err()
            .to_string()
            .contains("in use by another training")
    );

    // The whole run.
    fs::remove_dir_all(bench.run.path()).unwrap();
    bench.saver.begin(job("final", 30), None);
    bench.saver.wait().unwrap().result.unwrap();
    assert!(bench.store.load("final").unwrap().verify().is_empty());
}

#[test]
fn a_save_that_failed_does_not_raise_the_bar() {
    let mut bench = bench();
    bench.saver = bench.saver.when(on_improvement(Some(0.25)));
    let offer = |saver: &mut Saver, name: &str, score| {
        let request = request(name, 10, Some(score));
        match saver.offer(request, None).unwrap() {
            Offered::Declined => None,
            Offered::Begun { before } => Some(before),
        }
    };
    bench.faulty.set_free(Some(0));
    let before = offer(&mut bench.saver, "fails", 0.75).expect("it is better");
    assert!(before.is_none());
    assert!(offer(&mut bench.saver, "worse", 0.125).is_none());
    // That has waited for the first one to fail; there is room again.
    bench.faulty.set_free(None);
    let before = offer(&mut bench.saver, "lower", 0.5).expect("the better one is not saved");
    let failed = before.expect("what became of it is told");
    assert!(failed.name == "fails" && failed.result.is_err());

    // This one does raise it; what became of it waits to be taken while others are declined.
    assert!(offer(&mut bench.saver, "same", 0.5).is_none());
    assert!(offer(&mut bench.saver, "between", 0.375).is_none());
    assert!(bench.saver.is_busy());
    assert!(bench.saver.wait().unwrap().result.is_ok());
    assert!(!bench.saver.is_busy());

    // Tried again by hand, the first one counts as well.
    bench.saver.begin(failed.job.unwrap(), None);
    assert!(bench.saver.wait().unwrap().result.is_ok());
    assert!(offer(&mut bench.saver, "late", 0.625).is_none());
    assert_eq!(bench.names(), ["lower", "fails"]);
}

#[test]
fn a_closure_is_a_condition() {
    let mut bench = bench();
    bench.saver = bench.saver.when(|request: &SaveRequest| request.step > 5);
    for step in [5, 6] {
        let request = request(&format!("at-{step}"), step, None);
        bench.saver.offer(request, None).unwrap();
    }
    bench.saver.wait().unwrap().result.unwrap();
    assert_eq!(bench.names(), ["at-6"]);
}

#[test]
fn a_crash_loses_no_line_that_a_checkpoint_counts_on() {
    let bench = bench();
    let log = bench.run.path().join("metrics.jsonl");
    fs::write(&log, "{}\n").unwrap();
    let job = job("final", 1).after(vec![fs::File::open(&log).unwrap()]);
    bench.store.write(&job).unwrap();
    // A log that cannot be synced must not leave a checkpoint behind that counts on it.
    let (reader, _writer) = std::os::unix::net::UnixStream::pair().unwrap();
    let unsyncable = fs::File::from(std::os::fd::OwnedFd::from(reader));
    let job = self::job("late", 2).after(vec![unsyncable]);
    assert!(bench.store.write(&job).is_err());
    assert_eq!(bench.names(), ["final"]);
}
