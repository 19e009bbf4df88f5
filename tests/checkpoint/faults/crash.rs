//! The process ends between two operations.

use gauntlet::checkpoint::{Checkpoint, Retention, Strategy};

use super::super::request;
use super::{Fault, at_every_operation, whole};

/// What may be left after a crash.
const CRASHES: [Fault; 3] = [Fault::CrashLosing, Fault::CrashKeeping, Fault::CrashTearing];

#[test]
fn a_crash_between_any_two_operations_of_a_save_loses_nothing_committed() {
    for fault in CRASHES {
        let operations = at_every_operation(fault, |scene, what| {
            let mut third = request("stage_3", 30, Some(0.9));
            third.set_best = true;
            let result = scene.store.save(third);
            assert_eq!(result.is_err(), scene.struck(), "{what}");
            let (_run, store) = scene.restart(fault);
            let names = whole(&store, what);
            assert_eq!(names[..2], ["step_000010", "step_000020"], "{what}");
            let latest = store.load("latest").unwrap().manifest().name.clone();
            if result.is_ok() || names.len() == 3 {
                assert_eq!(
                    (names[2].as_str(), latest.as_str()),
                    ("stage_3", "stage_3"),
                    "{what}"
                );
            } else {
                assert_eq!(latest, "step_000020", "{what}");
                store.save(request("stage_3", 30, None)).unwrap();
            }
            // The run goes on, and order is kept.
            store.save(request("final", 40, None)).unwrap();
            assert_eq!(
                store.load("latest").unwrap().manifest().name,
                "final",
                "{what}"
            );
        });
        assert!(
            operations > 50,
            "only {operations} operations were interrupted"
        );
    }
}

#[test]
fn a_crash_while_old_checkpoints_are_deleted_leaves_the_others_whole() {
    let keep_one = Retention::new(Strategy::LastN, 1).unwrap();
    for fault in CRASHES {
        let operations = at_every_operation(fault, |scene, what| {
            scene.store.set_best("step_000020").unwrap_or_default();
            let _ = scene.store.retain(&keep_one, &[]);
            let (_run, store) = scene.restart(fault);
            let names = whole(&store, what);
            assert!(
                names.contains(&"step_000020".to_string()),
                "{what}: {names:?}"
            );
            store.set_best("step_000020").unwrap();
            store.retain(&keep_one, &[]).unwrap();
            assert_eq!(whole(&store, what), ["step_000020"], "{what}");
        });
        assert!(
            operations > 10,
            "only {operations} operations were interrupted"
        );
    }
}

#[test]
fn a_crash_where_there_are_no_links_loses_nothing_committed() {
    for fault in CRASHES {
        let operations = at_every_operation(fault, |scene, what| {
            scene.faulty.state().linkless = true;
            for link in ["best", "latest"] {
                std::fs::remove_file(scene.store.dir().join(link)).unwrap();
            }
            let names = ["step_000010", "step_000020"];
            if names
                .map(|name| scene.store.set_best(name))
                .iter()
                .all(Result::is_ok)
            {
                let best = scene.store.load("best").unwrap();
                assert_eq!(best.manifest().name, "step_000020", "{what}");
            }
            let (_run, store) = scene.restart(fault);
            if let Ok(best) = store.load("best") {
                assert!(names.contains(&best.manifest().name.as_str()), "{what}");
            }
            store.set_best("step_000010").unwrap();
            assert_eq!(whole(&store, what), names, "{what}");
        });
        assert!(
            operations > 5,
            "only {operations} operations were interrupted"
        );
    }
}

#[test]
fn a_crash_while_the_anchor_is_copied_leaves_a_whole_one_or_none() {
    for fault in CRASHES {
        let operations = at_every_operation(fault, |scene, what| {
            let anchor = scene.store.load("step_000010").unwrap();
            let hash = anchor.manifest_hash().to_owned();
            let kept = scene.store.keep_anchor(&anchor);
            let (run, store) = scene.restart(fault);
            let place = run.path().join("anchor");
            let is_whole = || {
                let found = Checkpoint::open(&place).unwrap();
                assert_eq!(found.manifest_hash(), hash, "{what}");
                assert!(found.verify().is_empty(), "{what}");
            };
            if kept.is_ok() || place.exists() {
                is_whole();
            }
            assert_eq!(
                whole(&store, what),
                ["step_000010", "step_000020"],
                "{what}"
            );
            let again = store.load("step_000010").unwrap();
            assert_eq!(store.keep_anchor(&again).unwrap().path, place, "{what}");
            is_whole();
            let names = std::fs::read_dir(run.path()).unwrap();
            let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let left: Vec<String> = names.filter(|name| name.starts_with('.')).collect();
            assert!(left.is_empty(), "{what}: left over: {left:?}");
        });
        assert!(
            operations > 30,
            "only {operations} operations were interrupted"
        );
    }
}
