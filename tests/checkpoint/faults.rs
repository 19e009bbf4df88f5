//! A failure, or a crash, at every single operation of a save: the newest committed checkpoint loads.
//!
//! The writer runs over a file system that counts operations. Operation N fails, or is the last
//! before a crash: then all later ones fail, and what was not synced is lost (or, in the other
//! extreme that a real file system is free to choose, all of it is kept).

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use gauntlet::checkpoint::{
    CheckpointError, EntryKind, LocalStorage, Lock, Retention, Storage, StorageFile, Store,
    Strategy,
};

use super::request;

/// What happens at operation N.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It fails; later ones succeed.
    Fails(io::ErrorKind),
    /// It is the first that does not happen; what was not synced is lost.
    CrashLosing,
    /// It is the first that does not happen; what was not synced is there all the same.
    CrashKeeping,
    /// It is the first that does not happen; of each file that was not synced, half is there.
    CrashTearing,
}

/// What may be left after a crash.
const CRASHES: [Fault; 3] = [Fault::CrashLosing, Fault::CrashKeeping, Fault::CrashTearing];

/// A change of a directory that is lost in a crash unless the directory is synced.
#[derive(Debug)]
enum Change {
    Created(PathBuf),
    Renamed {
        from: PathBuf,
        to: PathBuf,
    },
    Linked {
        link: PathBuf,
        before: Option<PathBuf>,
    },
}

#[derive(Default)]
struct State {
    count: usize,
    at: Option<(usize, Fault)>,
    crashed: bool,
    free: Option<u64>,
    dirty: Vec<PathBuf>,
    pending: Vec<(PathBuf, Change)>,
}

impl State {
    /// Counts an operation; `Err` if it must not happen.
    fn tick(&mut self) -> io::Result<()> {
        self.count += 1;
        match self.at {
            _ if self.crashed => Err(io::Error::other("after the crash")),
            Some((at, fault)) if at == self.count => match fault {
                Fault::Fails(kind) => Err(kind.into()),
                _ => {
                    self.crashed = true;
                    Err(io::Error::other("crash"))
                }
            },
            _ => Ok(()),
        }
    }

    fn change(&mut self, dir: Option<&Path>, change: Change) {
        self.pending.push((dir.unwrap().to_path_buf(), change));
    }

    /// Cuts every file that was never synced to half of what was written.
    fn tear_unsynced(&mut self) {
        for file in self.dirty.drain(..) {
            if let Ok(file) = fs::File::options().write(true).open(file) {
                let length = file.metadata().unwrap().len();
                file.set_len(length / 2).unwrap();
            }
        }
    }

    /// Takes back what was never synced, the last first.
    fn lose_unsynced(&mut self) {
        for file in self.dirty.drain(..) {
            if let Ok(file) = fs::File::options().write(true).open(file) {
                file.set_len(0).unwrap();
            }
        }
        while let Some((_, change)) = self.pending.pop() {
            match change {
                Change::Created(path) if path.is_dir() => fs::remove_dir_all(path).unwrap(),
                Change::Created(path) => drop(fs::remove_file(path)),
                Change::Renamed { from, to } => fs::rename(to, from).unwrap(),
                Change::Linked { link, before } => {
                    fs::remove_file(&link).unwrap();
                    if let Some(before) = before {
                        std::os::unix::fs::symlink(before, link).unwrap();
                    }
                }
            }
        }
    }
}

/// The file system with faults. [`Faulty::hold`] keeps writers waiting.
#[derive(Clone, Default)]
pub(super) struct Faulty(Arc<Mutex<State>>, Arc<Mutex<()>>);

/// Keeps writers waiting until it is dropped.
pub(super) struct Held(Option<(Sender<()>, JoinHandle<()>)>);

impl Drop for Held {
    fn drop(&mut self) {
        if let Some((release, holder)) = self.0.take() {
            release.send(()).unwrap();
            holder.join().unwrap();
        }
    }
}

impl Faulty {
    /// Lets no file be created until the guard is dropped, which may happen on another thread.
    pub(super) fn hold(&self) -> Held {
        let gate = Arc::clone(&self.1);
        let (release, released) = channel();
        let (ready, is_ready) = channel();
        let holder = std::thread::spawn(move || {
            let _gate = gate.lock().unwrap();
            ready.send(()).unwrap();
            released.recv().unwrap();
        });
        is_ready.recv().unwrap();
        Held(Some((release, holder)))
    }

    /// The `n`th operation from here on meets a fault.
    pub(super) fn fail_after(&self, n: usize, fault: Fault) {
        let mut state = self.state();
        state.at = Some((state.count + n, fault));
    }

    /// Whether the fault has come.
    pub(super) fn struck(&self) -> bool {
        let state = self.state();
        state.at.is_some_and(|(at, _)| state.count >= at)
    }

    /// Pretends that so many bytes are free.
    pub(super) fn set_free(&self, free: Option<u64>) {
        self.state().free = free;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn tick(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        state.tick()?;
        Ok(state)
    }
}

struct FaultyFile(Faulty, PathBuf, Box<dyn StorageFile>);

impl Write for FaultyFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Err(error) = self.0.tick() {
            // A write that fails may have written a part.
            let _ = self.2.write(&bytes[..bytes.len() / 2]);
            return Err(error);
        }
        self.2.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl StorageFile for FaultyFile {
    fn sync(&mut self) -> io::Result<()> {
        self.0.tick()?.dirty.retain(|file| *file != self.1);
        Ok(())
    }
}

impl Storage for Faulty {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let _state = self.tick()?;
        LocalStorage.create_dir_all(dir)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.tick()?;
        LocalStorage.create_dir(dir)?;
        state.change(dir.parent(), Change::Created(dir.into()));
        Ok(())
    }

    fn create_file(&self, file: &Path) -> io::Result<Box<dyn StorageFile>> {
        drop(self.1.lock().unwrap());
        let mut state = self.tick()?;
        let inner = LocalStorage.create_file(file)?;
        state.change(file.parent(), Change::Created(file.into()));
        state.dirty.push(file.into());
        Ok(Box::new(FaultyFile(self.clone(), file.into(), inner)))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.tick()?.pending.retain(|(of, _)| of != dir);
        Ok(())
    }

    fn rename_dir(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.tick()?;
        LocalStorage.rename_dir(from, to)?;
        // What is pending inside moves along.
        let moved = |path: &mut PathBuf| {
            if let Ok(inner) = path.strip_prefix(from) {
                *path = if inner == Path::new("") {
                    to.into()
                } else {
                    to.join(inner)
                };
            }
        };
        state.dirty.iter_mut().for_each(moved);
        for (dir, change) in &mut state.pending {
            moved(dir);
            if let Change::Created(path) = change {
                moved(path);
            }
        }
        state.change(
            to.parent(),
            Change::Renamed {
                from: from.into(),
                to: to.into(),
            },
        );
        Ok(())
    }

    fn replace_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.tick()?;
        let before = fs::read_link(to).ok();
        LocalStorage.replace_link(from, to)?;
        state
            .pending
            .retain(|(_, change)| !matches!(change, Change::Created(path) if path == from));
        state.change(
            to.parent(),
            Change::Linked {
                link: to.into(),
                before,
            },
        );
        Ok(())
    }

    fn symlink(&self, target: &Path, link: &Path) -> io::Result<()> {
        let mut state = self.tick()?;
        LocalStorage.symlink(target, link)?;
        state.change(link.parent(), Change::Created(link.into()));
        Ok(())
    }

    fn read_link(&self, link: &Path) -> io::Result<PathBuf> {
        LocalStorage.read_link(link)
    }

    fn kind(&self, path: &Path) -> io::Result<EntryKind> {
        LocalStorage.kind(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<(String, EntryKind)>> {
        LocalStorage.list(dir)
    }

    fn read(&self, file: &Path, limit: u64) -> io::Result<Vec<u8>> {
        LocalStorage.read(file, limit)
    }

    fn remove_file(&self, file: &Path) -> io::Result<()> {
        let mut state = self.tick()?;
        state
            .pending
            .retain(|(_, change)| !matches!(change, Change::Created(path) if path == file));
        LocalStorage.remove_file(file)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.tick()?;
        state
            .pending
            .retain(|(_, change)| !matches!(change, Change::Created(path) if path == dir));
        LocalStorage.remove_dir(dir)
    }

    fn free_space(&self, dir: &Path) -> io::Result<u64> {
        let free = self.tick()?.free;
        free.map_or_else(|| LocalStorage.free_space(dir), Ok)
    }

    fn lock(&self, file: &Path, holder: &str) -> io::Result<Result<Lock, String>> {
        LocalStorage.lock(file, holder)
    }
}

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
