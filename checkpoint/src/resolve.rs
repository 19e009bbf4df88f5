//! Finds a checkpoint by what a person calls it, across the runs below `outputs/`.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use super::CheckpointError;
use super::manifest::{CheckpointKind, MANIFEST, Parent};
use super::names;
use super::object::is_url;
use super::opened::Checkpoint;
use super::runs::{Runs, exists, is_dir};
use super::storage::storage_at;
use super::store::{CHECKPOINTS, Listed, Store, available};

/// A checkpoint that automatic recovery or a copy passed over.
#[derive(Debug)]
pub struct Skipped {
    /// Its directory.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
}

/// What automatic recovery found.
#[derive(Debug)]
pub struct Resumable {
    /// The newest checkpoint that is whole, if there is one.
    pub checkpoint: Option<Checkpoint>,
    /// Newer ones that are not.
    pub skipped: Vec<Skipped>,
}

/// Where names are looked up.
#[derive(Clone, Copy, Debug)]
pub enum Within<'a> {
    /// In the newest run that has checkpoints, whatever it is called.
    Any,
    /// In the newest run of this name that has checkpoints.
    Called(&'a str),
    /// In the run in this directory.
    Run(&'a Path),
}

/// A checkpoint that was looked up.
#[derive(Debug)]
pub struct Found {
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// Why it is this one, as in "best of the newest run called tiny".
    pub why: String,
}

impl Runs {
    /// Opens the checkpoint that `reference` names; see [`Runs::look_up`]. Without a run, names are looked up in the
    /// newest one that has checkpoints.
    pub fn find(
        &self,
        reference: impl AsRef<OsStr>,
        run: Option<&Path>,
    ) -> Result<Checkpoint, CheckpointError> {
        let within = run.map_or(Within::Any, Within::Run);
        Ok(self.look_up(reference, within)?.checkpoint)
    }

    /// Opens the checkpoint that `reference` names, and says why it is this one:
    ///
    /// - a path to a checkpoint's directory, also `<run>/checkpoints/best` where the link is a parent's, or its URL in
    ///   an object store;
    /// - `best`, `latest`, `final`, `stage_3`, any name, also as `checkpoints/best`; what a name tells of the players
    ///   may be left out;
    /// - `step:120`, whatever the checkpoint of that step is called.
    ///
    /// Names are looked up in one run, and then along the links from a run to the one it was resumed from.
    pub fn look_up(
        &self,
        reference: impl AsRef<OsStr>,
        within: Within<'_>,
    ) -> Result<Found, CheckpointError> {
        let reference = reference.as_ref();
        let path = Path::new(reference);
        let slashed = reference.as_encoded_bytes().contains(&b'/');
        if (slashed || path.is_absolute()) && exists(&path.join(MANIFEST)) {
            return Ok(Found {
                checkpoint: Checkpoint::open(path)?,
                why: "named by its path".into(),
            });
        }
        // `<run>/checkpoints/best`, where a resumed run has no `best` of its own yet: its parent's.
        if let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str()))
            && dir.file_name().is_some_and(|dir| dir == CHECKPOINTS)
            && let Some(run) = dir.parent().filter(|run| !run.as_os_str().is_empty())
            && is_dir(dir)
            && (is_url(path) || std::fs::symlink_metadata(path).is_err())
        {
            return self.look_up(name, Within::Run(run));
        }
        let Some(text) = reference.to_str() else {
            return Err(no_such_path(path));
        };
        let prefix = format!("{CHECKPOINTS}/");
        let name = text.strip_prefix(&prefix).unwrap_or(text);
        if name.contains('/') {
            return Err(no_such_path(path));
        }
        let wanted = match name.strip_prefix("step:") {
            Some(digits) => Wanted::Step(digits.parse().map_err(|_| CheckpointError::Name {
                what: "a checkpoint",
                name: name.into(),
                reason: "step: is followed by a number, as in step:120",
            })?),
            None => {
                names::check("a checkpoint", name)?;
                Wanted::Name(name)
            }
        };
        let first = match within {
            Within::Run(run) => Some(run.to_path_buf()),
            Within::Any => self.newest()?,
            Within::Called(run_name) => match self.newest_called(Some(run_name))? {
                None => return Err(self.no_run(run_name, &wanted, text)),
                found => found,
            },
        };
        self.along_parents(first, &wanted, text, within)
    }

    /// Looks in a run, and then in those it was resumed from.
    fn along_parents(
        &self,
        first: Option<PathBuf>,
        wanted: &Wanted<'_>,
        text: &str,
        within: Within<'_>,
    ) -> Result<Found, CheckpointError> {
        let mut there = Vec::new();
        let mut seen = HashSet::new();
        let place = first.as_ref().unwrap_or(&self.outputs);
        let mut place = place.display().to_string();
        let mut next = first;
        while let Some(run) = next.take().filter(|run| seen.insert(run.clone())) {
            let store = Store::open(&run)?;
            let listed = store.list()?;
            if let Some(item) = wanted.choose(&listed) {
                return Ok(Found {
                    checkpoint: Checkpoint::open(&item.path)?,
                    why: why(wanted, within, seen.len() > 1),
                });
            }
            let parent = parent_of(&listed);
            next = parent.and_then(|parent| run_of(&run, parent));
            if let (Some(parent), None) = (parent, &next) {
                place += &format!(" (resumed from {}, which is not here)", parent.run);
            }
            match seen.len() {
                1 => there.extend(available(&listed)),
                _ => there.extend(listed.iter().map(|item| item.path.display().to_string())),
            }
        }
        Err(CheckpointError::NotFound {
            wanted: text.into(),
            place,
            available: there,
        })
    }

    /// What is said where there is no run of a name: where the newest run of each other name has what was asked for.
    fn no_run(&self, name: &str, wanted: &Wanted<'_>, text: &str) -> CheckpointError {
        let mut names = HashSet::new();
        let mut elsewhere = Vec::new();
        for run in self.list(None).unwrap_or_default() {
            let listed = Store::open(&run).and_then(|store| store.list());
            let found = listed
                .as_ref()
                .ok()
                .and_then(|listed| wanted.choose(listed));
            if let Some(item) = found
                && names.insert(run.parent().map(Path::to_owned))
            {
                elsewhere.push(item.path.clone());
            }
        }
        elsewhere.truncate(3);
        CheckpointError::NoRun {
            name: name.into(),
            outputs: self.outputs.clone(),
            wanted: text.into(),
            elsewhere,
        }
    }

    /// The newest checkpoint of the runs with a name that training can go on from, every byte
    /// verified, with the newer ones that were passed over and why.
    pub fn newest_valid(&self, run_name: &str) -> Result<Resumable, CheckpointError> {
        names::check_run(run_name)?;
        let mut skipped = Vec::new();
        for run in self.list(Some(run_name))? {
            let mut listed = Store::open(&run)?.list()?;
            // Broken ones are last: their place in the order is not known, so they come first now.
            listed.reverse();
            for item in listed {
                match resumable(&item) {
                    Ok(checkpoint) => {
                        return Ok(Resumable {
                            checkpoint: Some(checkpoint),
                            skipped,
                        });
                    }
                    Err(reason) => skipped.push(Skipped {
                        path: item.path,
                        reason,
                    }),
                }
            }
        }
        Ok(Resumable {
            checkpoint: None,
            skipped,
        })
    }
}

fn no_such_path(path: &Path) -> CheckpointError {
    let reason = match exists(path) {
        true => "is not a committed checkpoint: it has no manifest.json",
        false => "does not exist",
    };
    CheckpointError::invalid(path, reason)
}

/// Why a checkpoint was found under what was asked for.
fn why(wanted: &Wanted<'_>, within: Within<'_>, of_parent: bool) -> String {
    let what = match wanted {
        Wanted::Step(step) => format!("the newest of step {step}"),
        Wanted::Name(name) => (*name).to_owned(),
    };
    let run = match within {
        Within::Any => "the newest run".to_owned(),
        Within::Called(name) => format!("the newest run called {name}"),
        Within::Run(_) => "the run that was named".to_owned(),
    };
    match of_parent {
        true => format!("{what} of a run that {run} was resumed from"),
        false => format!("{what} of {run}"),
    }
}

enum Wanted<'a> {
    Name(&'a str),
    Step(u64),
}

impl Wanted<'_> {
    fn choose<'l>(&self, listed: &'l [Listed]) -> Option<&'l Listed> {
        match self {
            Self::Name(names::LATEST) => listed.iter().find(|item| item.latest),
            Self::Name(names::BEST) => listed.iter().find(|item| item.best),
            Self::Name(name) => {
                let exact = listed.iter().find(|item| item.name == *name);
                let same = |item: &&Listed| names::is_called(&item.name, name);
                exact.or_else(|| listed.iter().rfind(same))
            }
            Self::Step(step) => {
                let same = |item: &&Listed| item.manifest.as_ref().is_ok_and(|m| m.step == *step);
                listed.iter().rfind(same)
            }
        }
    }
}

/// The checkpoint, verified, or why training cannot go on from it.
fn resumable(item: &Listed) -> Result<Checkpoint, String> {
    let manifest = item.manifest.as_ref().map_err(ToString::to_string)?;
    if manifest.kind == CheckpointKind::Sampler {
        return Err("is a sampler checkpoint, without optimizer state".into());
    }
    let checkpoint = Checkpoint::open(&item.path).map_err(|e| e.to_string())?;
    if is_url(&item.path) {
        // It is needed here anyhow, and it is verified on the way.
        checkpoint.fetch().map_err(|e| e.to_string())?;
        return Ok(checkpoint);
    }
    match checkpoint.verify().first() {
        None => Ok(checkpoint),
        Some(fault) => Err(fault.to_string()),
    }
}

/// The checkpoint that a run was resumed from.
fn parent_of(listed: &[Listed]) -> Option<&Parent> {
    listed
        .iter()
        .find_map(|item| item.manifest.as_ref().ok()?.parent.as_ref())
}

/// The directory of the run that `run` was resumed from: `<run name>/<timestamp>` below the same outputs.
pub(super) fn run_of(run: &Path, parent: &Parent) -> Option<PathBuf> {
    let relative = Path::new(&parent.run);
    let plain = relative
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    let run = storage_at(run).ok()?.resolve(run).ok()?;
    let found = run.parent()?.parent()?.join(relative);
    (plain && is_dir(&found)).then_some(found)
}
