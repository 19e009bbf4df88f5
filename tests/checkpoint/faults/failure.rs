//! An operation fails, and the process goes on.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use gauntlet::checkpoint::{CheckpointError, Store};

use super::super::faulty::{Change, Faulty};
use super::super::request;
use super::{Fault, at_every_operation, whole};

#[test]
fn a_failure_of_any_operation_is_reported_and_the_next_try_succeeds() {
    for kind in [
        io::ErrorKind::StorageFull,
        io::ErrorKind::PermissionDenied,
        io::ErrorKind::Other,
    ] {
        let fault = Fault::Fails(kind);
        at_every_operation(fault, |scene, what| {
            let mut third = request("stage_3", 30, Some(0.9));
            third.set_best = true;
            match scene.store.save(third) {
                Ok(_) => assert!(!scene.struck(), "{what}: not reported"),
                Err(CheckpointError::Link { checkpoint, .. }) => {
                    assert!(checkpoint.ends_with("stage_3"), "{what}");
                    // It counts as saved, so it must be durable by now.
                    let renamed = |c: &(PathBuf, Change)| matches!(c.1, Change::Renamed { .. });
                    assert!(!scene.faulty.state().pending.iter().any(renamed), "{what}");
                    scene.store.set_best("stage_3").unwrap();
                }
                Err(error) => {
                    assert!(
                        error.to_string().contains("stage_3")
                            || error.to_string().contains("checkpoints"),
                        "{what}: {error}"
                    );
                    assert_eq!(whole(&scene.store, what).len(), 2, "{what}: {error}");
                    scene.store.save(request("stage_3", 30, None)).unwrap();
                    scene.store.set_best("stage_3").unwrap();
                }
            }
            assert_eq!(whole(&scene.store, what).len(), 3, "{what}");
            assert_eq!(
                scene.store.load("best").unwrap().manifest().name,
                "stage_3",
                "{what}"
            );
        });
    }
}

#[test]
fn a_checkpoint_that_does_not_fit_is_refused_before_anything_is_written() {
    let run = tempfile::tempdir().unwrap();
    let faulty = Faulty::default();
    let store = Store::create_on(Arc::new(faulty.clone()), run.path()).unwrap();
    faulty.state().free = Some(1000);
    let error = store.save(request("stage_3", 30, None)).unwrap_err();
    assert!(
        matches!(error, CheckpointError::NoSpace { free: 1000, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("1000 bytes are free"), "{error}");
    assert_eq!(
        fs::read_dir(store.dir()).unwrap().count(),
        1,
        "more than the lock is there"
    );

    // What is asked for is enough for what is then written.
    faulty.state().free = Some(u64::MAX);
    let job = request("stage_3", 30, None).snapshot().unwrap();
    let asked = job.size();
    let saved = store.write(&job).unwrap();
    let manifest = store.load("stage_3").unwrap().manifest().total_size();
    let total = manifest
        + fs::metadata(saved.path.join("manifest.json"))
            .unwrap()
            .len();
    assert!(
        total <= asked,
        "{total} bytes were written, {asked} asked for"
    );
}
