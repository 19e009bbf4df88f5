//! The checkpoints of one run: saving, listing, opening by name, deleting.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::CheckpointError;
use super::clock;
use super::commit::{Commit, delete, sweep};
use super::format::FORMAT_VERSION;
use super::link::{Linked, read_link, swap_link};
use super::manifest::{MANIFEST, Manifest};
use super::names::{self, BEST, LATEST};
use super::opened::{Checkpoint, read_manifest};
use super::retention::{Candidate, Retention};
use super::save::{SaveJob, SaveRequest};
use super::storage::{EntryKind, Lock, Storage, storage_at};

/// Name of the directory of checkpoints inside a run.
pub const CHECKPOINTS: &str = "checkpoints";

/// Name of the lock file inside that directory.
pub(super) const LOCK: &str = ".lock";

/// The checkpoints of one run.
pub struct Store {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) dir: PathBuf,
    pub(super) sequence: AtomicU64,
    /// Held by a store that was opened for saving.
    lock: Option<Mutex<Lock>>,
    /// What the file system lacks, until it is told.
    warnings: Mutex<Vec<CheckpointError>>,
    /// Whether it was found to take no links.
    linkless: AtomicBool,
}

/// A committed checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Its directory.
    pub path: PathBuf,
    /// BLAKE3 of its manifest.
    pub manifest_hash: String,
}

/// One line of a listing.
#[derive(Debug)]
pub struct Listed {
    /// The checkpoint's name.
    pub name: String,
    /// Its directory.
    pub path: PathBuf,
    /// What it says about itself, or why that cannot be believed.
    pub manifest: Result<Manifest, CheckpointError>,
    /// Whether it is the newest.
    pub latest: bool,
    /// Whether `best` points to it.
    pub best: bool,
}

impl Store {
    /// Opens a run's directory for saving: creates it where needed, keeps other writers out, and
    /// sweeps what a crashed one left. In an object store, where there is nothing to lock, what is left is replaced
    /// when the same checkpoint is written again.
    pub fn create(run: &Path) -> Result<Self, CheckpointError> {
        Self::create_on(storage_at(run)?, run)
    }

    /// As [`Store::create`], over a file system of the caller's.
    pub fn create_on(storage: Arc<dyn Storage>, run: &Path) -> Result<Self, CheckpointError> {
        let dir = run.join(CHECKPOINTS);
        storage
            .create_dir_all(&dir)
            .map_err(CheckpointError::io("create", &dir))?;
        storage
            .sync_dir(run)
            .map_err(CheckpointError::io("sync", run))?;
        let lock = take_lock(storage.as_ref(), &dir)?;
        if storage.renames() {
            sweep(storage.as_ref(), &dir)?;
            sweep(storage.as_ref(), run)?;
        }
        let warnings = match lock.is_by_name() {
            true => vec![CheckpointError::NoLocks { path: dir.clone() }],
            false => Vec::new(),
        };
        let store = Self {
            storage,
            dir,
            sequence: AtomicU64::new(1),
            lock: Some(Mutex::new(lock)),
            warnings: Mutex::new(warnings),
            linkless: AtomicBool::new(false),
        };
        let newest = store
            .list()?
            .iter()
            .filter_map(Listed::sequence)
            .max()
            .unwrap_or(0);
        store.sequence.store(newest + 1, Ordering::Relaxed);
        Ok(store)
    }

    /// Opens a run's directory, or its `checkpoints` directory, for reading.
    pub fn open(run: &Path) -> Result<Self, CheckpointError> {
        let inner = run.join(CHECKPOINTS);
        let itself = run.file_name().is_some_and(|name| name == CHECKPOINTS);
        let storage = storage_at(run)?;
        let is_dir = |dir: &Path| {
            let kind = storage.resolve(dir).and_then(|dir| storage.kind(&dir));
            matches!(kind, Ok(EntryKind::Dir))
        };
        let dir = if itself && !is_dir(&inner) {
            run.to_path_buf()
        } else {
            inner
        };
        if !is_dir(&dir) {
            return Err(CheckpointError::invalid(
                run,
                "is not a run: it has no checkpoints/",
            ));
        }
        Ok(Self {
            storage,
            dir,
            sequence: AtomicU64::new(0),
            lock: None,
            warnings: Mutex::default(),
            linkless: AtomicBool::new(false),
        })
    }

    /// What the file system lacks and this store does without, each told once.
    pub fn take_warnings(&self) -> Vec<CheckpointError> {
        std::mem::take(&mut self.warnings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether a process writes to this store; none where that cannot be known.
    pub fn has_writer(&self) -> Result<Option<bool>, CheckpointError> {
        let file = self.dir.join(LOCK);
        let locked = self.storage.is_locked(&file);
        locked.map_err(CheckpointError::io("look at", &file))
    }

    /// The directory that holds the checkpoints.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Saves a checkpoint and returns once it would survive a crash. `latest` points to it then,
    /// and `best` if the request says so. After an error nothing of it is left, with the one
    /// exception that [`CheckpointError::Link`] names.
    pub fn save(&self, request: SaveRequest) -> Result<Saved, CheckpointError> {
        self.write(&request.snapshot()?)
    }

    /// The second half of [`Store::save`], which may run on another thread.
    pub fn write(&self, job: &SaveJob) -> Result<Saved, CheckpointError> {
        self.prepare(&job.name)?;
        job.check_finite()?;
        let storage = self.storage.as_ref();
        self.check_space(job.size())?;
        let mut commit = Commit::begin(storage, &self.dir, &job.name)?;
        for (path, player) in &job.players {
            commit.write_pt(path, player)?;
        }
        for (path, bytes) in &job.files {
            commit.write(path, bytes)?;
        }
        let path = self.dir.join(&job.name);
        for log in &job.logs {
            log.sync_data()
                .map_err(CheckpointError::io("sync a log of", &self.dir))?;
        }
        let manifest_hash = commit.finish(Manifest {
            format_version: FORMAT_VERSION,
            kind: job.kind,
            sequence: self.sequence.fetch_add(1, Ordering::Relaxed),
            created: clock::utc(SystemTime::now()),
            stage: job.stage,
            step: job.step,
            score: job.score,
            parent: job.parent.clone(),
            tags: job.tags.clone(),
            usage: usage(&path, job),
            files: Vec::new(),
            name: job.name.clone(),
        })?;
        let links = [(LATEST, true), (BEST, job.set_best)];
        for (link, _) in links.into_iter().filter(|(_, wanted)| *wanted) {
            self.link(link, &job.name)
                .map_err(|cause| CheckpointError::Link {
                    checkpoint: path.clone(),
                    link,
                    cause: cause.into(),
                })?;
        }
        Ok(Saved {
            path,
            manifest_hash,
        })
    }

    /// Points a link at one of the checkpoints.
    pub(super) fn link(&self, link: &str, name: &str) -> Result<(), CheckpointError> {
        let linked = swap_link(self.storage.as_ref(), &self.dir, link, name)?;
        if linked == Linked::Pointer && !self.linkless.swap(true, Ordering::Relaxed) {
            let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
            warnings.push(CheckpointError::NoLinks {
                path: self.dir.clone(),
            });
        }
        Ok(())
    }

    pub(super) fn check_space(&self, needed: u64) -> Result<(), CheckpointError> {
        let free = self
            .storage
            .free_space(&self.dir)
            .map_err(CheckpointError::io("measure", &self.dir))?;
        if free >= needed {
            return Ok(());
        }
        Err(CheckpointError::NoSpace {
            path: self.dir.clone(),
            needed,
            free,
        })
    }

    /// Refuses a store that was opened for reading. Makes the directory again where somebody has
    /// deleted it under the run: what it held is lost, what follows need not be.
    pub(super) fn prepare(&self, name: &str) -> Result<(), CheckpointError> {
        let Some(lock) = &self.lock else {
            return Err(CheckpointError::Unsavable {
                what: name.into(),
                reason: "the store was opened for reading".into(),
            });
        };
        let gone = self.storage.kind(&self.dir);
        if gone.is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            self.storage
                .create_dir_all(&self.dir)
                .map_err(CheckpointError::io("create", &self.dir))?;
            // The lock that is held is that of a file which is gone as well.
            let fresh = take_lock(self.storage.as_ref(), &self.dir)?;
            *lock.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
        }
        Ok(())
    }

    /// What a checkpoint that is committed counts as.
    pub(super) fn saved(&self, name: &str) -> Result<Saved, CheckpointError> {
        let path = self.committed(name)?;
        let (_, manifest_hash) = read_manifest(self.storage.as_ref(), &path)?;
        Ok(Saved {
            path,
            manifest_hash,
        })
    }

    /// Points `best` at a committed checkpoint.
    pub fn set_best(&self, name: &str) -> Result<(), CheckpointError> {
        names::check_new(name)?;
        self.committed(name)?;
        self.link(BEST, name)
    }

    /// Deletes one checkpoint, whatever it is: it disappears as a whole.
    pub fn delete(&self, name: &str) -> Result<(), CheckpointError> {
        self.prepare(name)?;
        self.committed(name)?;
        delete(self.storage.as_ref(), &self.dir, name)
    }

    /// What crashed writers left half written or half deleted.
    pub fn leftovers(&self) -> Result<Vec<PathBuf>, CheckpointError> {
        let entries = self.storage.list(&self.dir);
        let entries = entries.map_err(CheckpointError::io("list", &self.dir))?;
        let left = entries.into_iter().filter(|(name, kind)| {
            let under_way = || is_under_way(self.storage.as_ref(), &self.dir.join(name));
            names::is_leftover(name) || (*kind == EntryKind::Dir && under_way())
        });
        Ok(left.map(|(name, _)| self.dir.join(name)).collect())
    }

    /// Names of the checkpoints that are being written, while their run goes on.
    pub fn being_written(&self) -> Result<Vec<String>, CheckpointError> {
        let left = self.leftovers()?;
        let names = left.iter().filter_map(|path| path.file_name()?.to_str());
        Ok(names
            .filter_map(|name| names::of_temporary(name))
            .map(str::to_owned)
            .collect())
    }

    /// Every checkpoint, in the order of saving; broken ones, by name, at the end.
    pub fn list(&self) -> Result<Vec<Listed>, CheckpointError> {
        let storage = self.storage.as_ref();
        let mut listed = Vec::new();
        // `best` and `latest` are directories where a copy of the run was made that follows links.
        let mut copied_links = Vec::new();
        for (name, kind) in storage
            .list(&self.dir)
            .map_err(CheckpointError::io("list", &self.dir))?
        {
            if kind == EntryKind::Dir && !name.starts_with('.') {
                let path = self.dir.join(&name);
                let manifest = read_manifest(storage, &path).map(|(manifest, _)| manifest);
                if manifest.is_err() && is_under_way(storage, &path) {
                    continue;
                }
                let item = Listed {
                    name,
                    path,
                    manifest,
                    latest: false,
                    best: false,
                };
                match [BEST, LATEST].contains(&item.name.as_str()) {
                    true => copied_links.push(item),
                    false => listed.push(item),
                }
            }
        }
        let mut best = self.best_name(&listed);
        for copy in copied_links {
            let original = copy.manifest.as_ref().ok();
            let original = original
                .and_then(|manifest| listed.iter().find(|item| same(&item.manifest, manifest)));
            match original {
                Some(item) if copy.name == BEST => best = Some(item.name.clone()),
                Some(_) => {}
                // All that is left of it.
                None => {
                    best = best.or_else(|| (copy.name == BEST).then(|| copy.name.clone()));
                    listed.push(copy);
                }
            }
        }
        listed.sort_by_key(|item| item.sequence().unwrap_or(u64::MAX));
        if let Some(newest) = listed.iter_mut().rfind(|item| item.manifest.is_ok()) {
            newest.latest = true;
        }
        for item in &mut listed {
            item.best = best.as_ref() == Some(&item.name);
        }
        Ok(listed)
    }

    /// The target of the link `best`, as long as it is a committed sibling.
    fn best_name(&self, listed: &[Listed]) -> Option<String> {
        let target = read_link(self.storage.as_ref(), &self.dir.join(BEST)).ok()?;
        let whole = |item: &&Listed| item.manifest.is_ok() && Path::new(&item.name) == target;
        listed.iter().find(whole).map(|item| item.name.clone())
    }

    /// Opens a checkpoint by name. `latest` is the newest that is whole, even where a crash kept
    /// the link behind; `best` is what the link names. No other link is followed.
    pub fn load(&self, name: &str) -> Result<Checkpoint, CheckpointError> {
        Checkpoint::open(&self.path_of(name)?)
    }

    /// Opens the newest checkpoint of a step, whatever it is called.
    pub fn load_step(&self, step: u64) -> Result<Checkpoint, CheckpointError> {
        let of_step = |item: &Listed| item.manifest.as_ref().is_ok_and(|m| m.step == step);
        match self.list()?.into_iter().rfind(of_step) {
            Some(item) => Checkpoint::open(&item.path),
            None => Err(self.not_found(&format!("step:{step}"))),
        }
    }

    /// The directory that a name stands for.
    pub fn path_of(&self, name: &str) -> Result<PathBuf, CheckpointError> {
        names::check("a checkpoint", name)?;
        let chosen = match name {
            LATEST => self
                .list()?
                .into_iter()
                .find(|item| item.latest)
                .map(|item| item.path),
            BEST => self
                .list()?
                .into_iter()
                .find(|item| item.best)
                .map(|item| item.path),
            _ => return self.committed(name),
        };
        chosen.ok_or_else(|| self.not_found(name))
    }

    /// The directory of a committed checkpoint that has this very name.
    fn committed(&self, name: &str) -> Result<PathBuf, CheckpointError> {
        let path = self.dir.join(name);
        match self.storage.kind(&path) {
            Ok(EntryKind::Dir) => Ok(path),
            Ok(_) => Err(CheckpointError::invalid(
                &path,
                "is not a directory of this run",
            )),
            Err(_) => Err(self.not_found(name)),
        }
    }

    fn not_found(&self, name: &str) -> CheckpointError {
        CheckpointError::NotFound {
            wanted: name.into(),
            place: self.dir.display().to_string(),
            available: available(&self.list().unwrap_or_default()),
        }
    }

    /// Deletes the periodic checkpoints that `policy` does not keep; gives their names. What the
    /// run still points to is kept, as are the names in `protected`.
    pub fn retain(
        &self,
        policy: &Retention,
        protected: &[&str],
    ) -> Result<Vec<String>, CheckpointError> {
        let listed = self.list()?;
        let candidates: Vec<Candidate<'_>> = listed
            .iter()
            .filter_map(|item| {
                let manifest = item.manifest.as_ref().ok()?;
                let protected = item.latest || item.best || protected.contains(&&*item.name);
                let (name, sequence) = (item.name.as_str(), manifest.sequence);
                Some(Candidate {
                    name,
                    sequence,
                    score: manifest.score,
                    protected,
                })
            })
            .collect();
        let mut deleted = Vec::new();
        for name in policy.to_delete(&candidates) {
            delete(self.storage.as_ref(), &self.dir, name)?;
            deleted.push(name.to_string());
        }
        Ok(deleted)
    }
}

/// Whether a directory is a checkpoint on its way to a store where the manifest is what commits it.
fn is_under_way(storage: &dyn Storage, dir: &Path) -> bool {
    let missing = |error: io::Error| error.kind() == io::ErrorKind::NotFound;
    !storage.renames() && storage.kind(&dir.join(MANIFEST)).is_err_and(missing)
}

/// Whether two manifests are of one checkpoint.
fn same(found: &Result<Manifest, CheckpointError>, manifest: &Manifest) -> bool {
    found.as_ref().is_ok_and(|found| found == manifest)
}

/// What may be asked for by name: the checkpoints, and the links to them.
pub(super) fn available(listed: &[Listed]) -> Vec<String> {
    let names = listed.iter().map(|item| item.name.clone());
    let link = |name: &str, item: Option<&Listed>| {
        let item = item.filter(|item| item.name != name)?;
        Some(format!("{name} ({})", item.name))
    };
    let best = link(BEST, listed.iter().find(|item| item.best));
    let latest = link(LATEST, listed.iter().find(|item| item.latest));
    names.chain(best).chain(latest).collect()
}

/// Times a lock is tried that somebody may only have looked at.
const LOCK_TRIES: usize = 5;

/// Keeps other writers out of a directory.
fn take_lock(storage: &dyn Storage, dir: &Path) -> Result<Lock, CheckpointError> {
    let file = dir.join(LOCK);
    let take = || {
        let holder = format!("process {}", std::process::id());
        let lock = storage.lock(&file, &holder);
        lock.map_err(CheckpointError::io("lock", &file))
    };
    let mut taken = take()?;
    for _ in 1..LOCK_TRIES {
        if taken.is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
        taken = take()?;
    }
    taken.map_err(|holder| CheckpointError::Busy {
        path: dir.into(),
        holder,
    })
}

impl Listed {
    /// Whether this is a periodic checkpoint, which retention may delete.
    pub fn is_periodic(&self) -> bool {
        names::periodic_suffix(&self.name).is_some()
    }

    fn sequence(&self) -> Option<u64> {
        self.manifest
            .as_ref()
            .ok()
            .map(|manifest| manifest.sequence)
    }
}

/// Commands that use a checkpoint.
fn usage(path: &Path, job: &SaveJob) -> Vec<String> {
    let path = path.display();
    let player = job.players.first();
    let player = player.map_or("generator.pt", |(file, _)| file.as_str());
    vec![
        format!("inference --checkpoint {path} --problem \"Implement a function that ..\""),
        format!("train --resume {path}"),
        format!("checkpoints inspect {path}"),
        format!("python3 -c 'import torch; torch.load(\"{path}/{player}\", weights_only=True)'"),
    ]
}
