//! A file system that counts operations. Operation N fails, or is the last before a crash: then all later ones fail,
//! and what was not synced is lost (or, in the other extreme that a real file system is free to choose, all of it is
//! kept).

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use gauntlet::checkpoint::{EntryKind, LocalStorage, Lock, Storage, StorageFile};

/// What happens at operation N.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It fails; later ones succeed.
    Fails(io::ErrorKind),
    /// It is the first that does not happen; what was not synced is lost.
    CrashLosing,
    /// It is the first that does not happen; what was not synced is there all the same.
    CrashKeeping,
    /// It is the first that does not happen; of each file that was not synced, half is there.
    CrashTearing,
}

/// A change of a directory that is lost in a crash unless the directory is synced.
#[derive(Debug)]
pub(super) enum Change {
    Created(PathBuf),
    Renamed {
        from: PathBuf,
        to: PathBuf,
    },
    Linked {
        link: PathBuf,
        before: Option<PathBuf>,
        /// Of a file that stands for a link, what was in it.
        content: Option<Vec<u8>>,
    },
}

#[derive(Default)]
pub(super) struct State {
    pub(super) count: usize,
    pub(super) at: Option<(usize, Fault)>,
    crashed: bool,
    pub(super) free: Option<u64>,
    /// Whether the file system has no symbolic links.
    pub(super) linkless: bool,
    dirty: Vec<PathBuf>,
    pub(super) pending: Vec<(PathBuf, Change)>,
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
    pub(super) fn tear_unsynced(&mut self) {
        for file in self.dirty.drain(..) {
            if let Ok(file) = fs::File::options().write(true).open(file) {
                let length = file.metadata().unwrap().len();
                file.set_len(length / 2).unwrap();
            }
        }
    }

    /// Takes back what was never synced, the last first.
    pub(super) fn lose_unsynced(&mut self) {
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
                Change::Linked {
                    link,
                    before,
                    content,
                } => {
                    fs::remove_file(&link).unwrap();
                    if let Some(before) = before {
                        std::os::unix::fs::symlink(before, link).unwrap();
                    } else if let Some(content) = content {
                        fs::write(link, content).unwrap();
                    }
                }
            }
        }
    }
}

/// The file system with faults. [`Faulty::hold`] keeps writers waiting.
#[derive(Clone, Default)]
pub(crate) struct Faulty(Arc<Mutex<State>>, Arc<Mutex<()>>);

/// Keeps writers waiting until it is dropped.
pub(crate) struct Held(Option<(Sender<()>, JoinHandle<()>)>);

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
    pub(crate) fn hold(&self) -> Held {
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
    pub(crate) fn fail_after(&self, n: usize, fault: Fault) {
        let mut state = self.state();
        state.at = Some((state.count + n, fault));
    }

    /// Whether the fault has come.
    pub(crate) fn struck(&self) -> bool {
        let state = self.state();
        state.at.is_some_and(|(at, _)| state.count >= at)
    }

    /// Pretends that so many bytes are free.
    pub(crate) fn set_free(&self, free: Option<u64>) {
        self.state().free = free;
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
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
    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        LocalStorage.resolve(path)
    }

    fn copy_out(&self, file: &Path, out: &mut dyn Write) -> io::Result<()> {
        LocalStorage.copy_out(file, out)
    }

    fn size(&self, file: &Path) -> io::Result<u64> {
        LocalStorage.size(file)
    }

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
        let content = before.is_none().then(|| fs::read(to).ok()).flatten();
        LocalStorage.replace_link(from, to)?;
        state
            .pending
            .retain(|(_, change)| !matches!(change, Change::Created(path) if path == from));
        state.change(
            to.parent(),
            Change::Linked {
                link: to.into(),
                before,
                content,
            },
        );
        Ok(())
    }

    fn symlink(&self, target: &Path, link: &Path) -> io::Result<()> {
        let mut state = self.tick()?;
        if state.linkless {
            // As exFAT and some shares say it: EPERM.
            return Err(io::Error::from_raw_os_error(1));
        }
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
