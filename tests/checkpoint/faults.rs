//! A failure, or a crash, at every single operation of a save: the newest committed checkpoint loads.

mod crash;
mod failure;

use std::fs;
use std::sync::Arc;

use gauntlet::checkpoint::Store;

use super::faulty::{Fault, Faulty};
use super::request;

/// What the run had committed when the fault came.
struct Scene {
    run: tempfile::TempDir,
    faulty: Faulty,
    store: Store,
}

/// A run with `step_000010`, which is best, and `step_000020`; the fault comes `n` operations on.
fn scene(n: usize, fault: Fault) -> Scene {
    let run = tempfile::tempdir().unwrap();
    let faulty = Faulty::default();
    let store = Store::create_on(Arc::new(faulty.clone()), run.path()).unwrap();
    let mut first = request("step_000010", 10, Some(0.5));
    first.set_best = true;
    store.save(first).unwrap();
    store.save(request("step_000020", 20, Some(0.1))).unwrap();
    assert!(
        faulty.state().pending.is_empty(),
        "{:?}",
        faulty.state().pending
    );
    let count = faulty.state().count;
    faulty.state().at = Some((count + n, fault));
    Scene { run, faulty, store }
}

impl Scene {
    /// Whether the fault has come.
    fn struck(&self) -> bool {
        self.faulty.struck()
    }

    /// Ends the process, and starts another one over what is left.
    fn restart(self, fault: Fault) -> (tempfile::TempDir, Store) {
        drop(self.store);
        let mut state = self.faulty.state();
        match fault {
            Fault::CrashLosing => state.lose_unsynced(),
            Fault::CrashTearing => state.tear_unsynced(),
            _ => {}
        }
        drop(state);
        // The same file system without faults: it skips the real syncs, which take most of the time.
        let store = Store::create_on(Arc::new(Faulty::default()), self.run.path()).unwrap();
        (self.run, store)
    }
}

/// All listed checkpoints are whole, `latest` and `best` too; gives the names.
fn whole(store: &Store, what: &str) -> Vec<String> {
    let listed = store.list().unwrap();
    for item in &listed {
        let checkpoint = store
            .load(&item.name)
            .unwrap_or_else(|e| panic!("{what}: {e}"));
        let faults = checkpoint.verify();
        assert!(faults.is_empty(), "{what}: {faults:?}");
        checkpoint.generator().unwrap().state().unwrap();
    }
    for link in ["latest", "best"] {
        store.load(link).unwrap_or_else(|e| panic!("{what}: {e}"));
    }
    let hidden: Vec<_> = fs::read_dir(store.dir())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with('.') && name != ".lock")
        .collect();
    assert!(hidden.is_empty(), "{what}: left over: {hidden:?}");
    listed.into_iter().map(|item| item.name).collect()
}

/// Runs `scenario` with the fault at its first, second, .. operation until it outruns the fault.
fn at_every_operation(fault: Fault, scenario: impl Fn(Scene, &str)) -> usize {
    for n in 1.. {
        let scene = scene(n, fault);
        let probe = scene.faulty.clone();
        scenario(scene, &format!("{fault:?} at operation {n}"));
        let state = probe.state();
        if state.at.is_none_or(|(at, _)| state.count < at) {
            return n - 1;
        }
    }
    unreachable!("a save ends")
}
