//! Deletes checkpoints of runs that are over, as a person asks for it.
//!
//! Nothing goes that somebody might want: stages, final and named checkpoints stay whatever the
//! setting, as does what `best` and `latest` name and what another run was resumed from.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::CheckpointError;
use super::as_text;
use super::manifest::CheckpointKind;
use super::retention::{Candidate, Retention};
use super::runs::Runs;
use super::storage::storage_at;
use super::store::{Listed, Store};

/// What a person wants to be deleted.
#[derive(Clone, Copy, Debug)]
pub struct PruneOptions {
    /// Which periodic checkpoints stay.
    pub retention: Retention,
    /// Whether emergency checkpoints go as well, but for those that a run was resumed from and the
    /// newest of their run.
    pub emergency: bool,
    /// Whether directories go that are no whole checkpoint.
    pub broken: bool,
}

/// What is deleted, or would be.
#[derive(Debug, Default, Serialize)]
pub struct Pruning {
    /// The checkpoints.
    #[serde(serialize_with = "as_text::paths")]
    pub deleted: Vec<PathBuf>,
    /// Their bytes, as their manifests say.
    pub bytes: u64,
    /// Whether they are deleted, as against only named.
    pub done: bool,
}

/// Finds what `options` lets go of in runs below `runs`, and deletes it if `really` is set.
///
/// A run that is being written to is refused by the lock of its writer.
pub fn prune(
    runs: &Runs,
    chosen: &[PathBuf],
    options: &PruneOptions,
    really: bool,
) -> Result<Pruning, CheckpointError> {
    let wanted = resumed_from(runs)?;
    let mut pruning = Pruning {
        done: really,
        ..Pruning::default()
    };
    for run in chosen {
        let store = match really {
            true => Store::create(run)?,
            false => Store::open(run)?,
        };
        for item in surplus(run, &store, options, &wanted)? {
            pruning.bytes += item.manifest.as_ref().map_or(0, |m| m.total_size());
            if really {
                store.delete(&item.name)?;
            }
            pruning.deleted.push(item.path);
        }
    }
    Ok(pruning)
}

/// `<run name>/<timestamp>` and name of every checkpoint that a run was resumed from.
pub fn resumed_from(runs: &Runs) -> Result<HashSet<(String, String)>, CheckpointError> {
    let stores = runs
        .list(None)?
        .into_iter()
        .filter_map(|run| Store::open(&run).ok());
    stores
        .filter_map(|store| store.list().ok())
        .flatten()
        .filter_map(|item| item.manifest.ok()?.parent)
        .map(|parent| Ok((parent.run, parent.name)))
        .collect()
}

/// A run as a parent reference names it.
pub(super) fn run_name(run: &Path) -> String {
    let resolved = storage_at(run).ok().and_then(|s| s.resolve(run).ok());
    let run = resolved.unwrap_or_else(|| run.into());
    let name = |path: Option<&Path>| {
        let name = path.and_then(Path::file_name).unwrap_or_default();
        name.to_string_lossy().into_owned()
    };
    format!("{}/{}", name(run.parent()), name(Some(&run)))
}

fn surplus(
    run: &Path,
    store: &Store,
    options: &PruneOptions,
    wanted: &HashSet<(String, String)>,
) -> Result<Vec<Listed>, CheckpointError> {
    let listed = store.list()?;
    let run = run_name(run);
    let protected = |item: &Listed| {
        item.latest || item.best || wanted.contains(&(run.clone(), item.name.clone()))
    };
    let mut names: HashSet<String> = HashSet::new();
    let candidates: Vec<Candidate<'_>> = listed
        .iter()
        .filter_map(|item| {
            let manifest = item.manifest.as_ref().ok()?;
            Some(Candidate {
                name: &item.name,
                sequence: manifest.sequence,
                score: manifest.score,
                protected: protected(item),
            })
        })
        .collect();
    let periodic = options.retention.to_delete(&candidates);
    names.extend(periodic.into_iter().map(str::to_owned));
    for item in &listed {
        match &item.manifest {
            Ok(manifest) if manifest.kind == CheckpointKind::Emergency => {
                if options.emergency && !protected(item) {
                    names.insert(item.name.clone());
                }
            }
            Ok(_) => {}
            Err(_) if options.broken => {
                names.insert(item.name.clone());
            }
            Err(_) => {}
        }
    }
    Ok(listed
        .into_iter()
        .filter(|item| names.contains(&item.name))
        .collect())
}
