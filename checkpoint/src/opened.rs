//! A committed checkpoint, opened for reading.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::CheckpointError;
use super::cache::{local_copy, local_log};
use super::manifest::{FileRecord, MANIFEST, MAX_MANIFEST, Manifest, Parent};
use super::object::is_url;
use super::player_file::PlayerFile;
use super::pt::{Mapped, PtFile};
use super::save::{DISCRIMINATOR, GENERATOR};
use super::storage::{EntryKind, Storage, storage_at};

/// A committed checkpoint. Every file is verified against the manifest before it is used, and
/// only the files that are asked for are read. Those in an object store are copied to the user's cache folder first.
#[derive(Clone)]
pub struct Checkpoint {
    storage: Arc<dyn Storage>,
    path: PathBuf,
    manifest: Manifest,
    manifest_hash: String,
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpoint")
            .field("path", &self.path)
            .field("manifest_hash", &self.manifest_hash)
            .finish_non_exhaustive()
    }
}

impl Checkpoint {
    /// Opens the checkpoint in a directory, or at a URL of an object store; a link to one is followed.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let storage = storage_at(path)?;
        let path = storage
            .resolve(path)
            .map_err(CheckpointError::io("open", path))?;
        let (manifest, manifest_hash) = read_manifest(storage.as_ref(), &path)?;
        Ok(Self {
            storage,
            path,
            manifest,
            manifest_hash,
        })
    }

    /// The checkpoint's directory or URL, links resolved.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the checkpoint says about itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// BLAKE3 of manifest.json, which stands for the whole content.
    pub fn manifest_hash(&self) -> &str {
        &self.manifest_hash
    }

    /// How a run that goes on from here refers to this checkpoint.
    pub fn as_parent(&self) -> Parent {
        let name = |path: Option<&Path>| {
            let name = path.and_then(Path::file_name).unwrap_or_default();
            name.to_string_lossy().into_owned()
        };
        // outputs/<run name>/<timestamp>/checkpoints/<name>
        let run = self.path.parent().and_then(Path::parent);
        Parent {
            run: format!("{}/{}", name(run.and_then(Path::parent)), name(run)),
            name: name(Some(&self.path)),
            manifest: self.manifest_hash.clone(),
        }
    }

    /// The generator; of several, the best.
    pub fn generator(&self) -> Result<PlayerFile, CheckpointError> {
        self.player(self.choose(GENERATOR, None)?)
    }

    /// The discriminator; of several, the best.
    pub fn discriminator(&self) -> Result<PlayerFile, CheckpointError> {
        self.player(self.choose(DISCRIMINATOR, None)?)
    }

    /// Names of the players of a role, in the order of their numbers.
    pub fn players_of(&self, role: &str) -> Vec<&str> {
        let number = |name: &str| match name.strip_prefix(role)? {
            "" => Some(0),
            rest => rest.strip_prefix('_')?.parse::<usize>().ok(),
        };
        let mut names = self.players();
        names.retain(|name| number(name).is_some());
        names.sort_by_key(|name| number(name));
        names
    }

    /// Name of the player of a role with this number; without one, of the player that validation found best, else of the
    /// first.
    pub fn choose<'a>(
        &'a self,
        role: &'a str,
        number: Option<usize>,
    ) -> Result<&'a str, CheckpointError> {
        let names = self.players_of(role);
        let number = match (number, names.len()) {
            // Whoever opens the player says what is there instead.
            (_, 0) => return Ok(role),
            (Some(number), _) => number,
            (None, 1) => 0,
            (None, _) => self.metrics()?["validation"][role].as_u64().unwrap_or(0) as usize,
        };
        names
            .get(number)
            .copied()
            .ok_or_else(|| CheckpointError::NoPlayer {
                path: self.path.clone(),
                role: role.to_owned(),
                number,
                players: names.iter().map(|name| (*name).to_owned()).collect(),
            })
    }

    /// Names of all players.
    pub fn players(&self) -> Vec<&str> {
        self.manifest
            .files
            .iter()
            .filter_map(|record| record.path.strip_suffix(".pt"))
            .collect()
    }

    /// Opens a player's file. Its weights are read and verified one by one when asked for.
    pub fn player(&self, name: &str) -> Result<PlayerFile, CheckpointError> {
        let path = format!("{name}.pt");
        let record = self.record(&path)?;
        let Some(digest) = record.digest() else {
            let reason = format!("has no hashes of the entries of {path}");
            return Err(CheckpointError::invalid(&self.path.join(MANIFEST), reason));
        };
        PlayerFile::open_verified(&self.local(record)?, record.size, &digest)
    }

    /// Where a file can be mapped from.
    fn local(&self, record: &FileRecord) -> Result<PathBuf, CheckpointError> {
        let file = self.path.join(&record.path);
        match is_url(&file) {
            true => local_copy(self.storage.as_ref(), &self.manifest_hash, &file, record),
            false => Ok(file),
        }
    }

    /// A file of the run that this is a checkpoint of, as metrics.jsonl; of a run in an object store, a local copy. None
    /// where there is no such file.
    pub fn run_file(&self, name: &str) -> Result<Option<PathBuf>, CheckpointError> {
        match self.path.parent().and_then(Path::parent) {
            Some(run) => local_log(&run.join(name)),
            None => Ok(None),
        }
    }

    /// Copies what is in an object store to the user's cache folder, every byte verified.
    pub(super) fn fetch(&self) -> Result<(), CheckpointError> {
        let mut records = self.manifest.files.iter();
        records.try_for_each(|record| self.local(record).map(drop))
    }

    /// Content of metrics.json.
    pub fn metrics(&self) -> Result<Json, CheckpointError> {
        self.json("metrics.json")
    }

    /// Content of training_config.json.
    pub fn training_config(&self) -> Result<Json, CheckpointError> {
        self.json("training_config.json")
    }

    /// Content of trainer_state.json, in the trainer's own form.
    pub fn trainer_state<T: DeserializeOwned>(&self) -> Result<T, CheckpointError> {
        self.json("trainer_state.json")
    }

    /// Content of mistake_book.jsonl.
    pub fn mistake_book(&self) -> Result<String, CheckpointError> {
        self.text("mistake_book.jsonl")
    }

    /// Content of own_chains.jsonl; empty where there is none.
    pub fn own_chains(&self) -> Result<String, CheckpointError> {
        const FILE: &str = "own_chains.jsonl";
        match self.manifest.files.iter().any(|file| file.path == FILE) {
            true => self.text(FILE),
            false => Ok(String::new()),
        }
    }

    /// Content of tokenizer.json.
    pub fn tokenizer(&self) -> Result<String, CheckpointError> {
        self.text("tokenizer.json")
    }

    /// File name and content of every prompt template.
    pub fn prompts(&self) -> Result<Vec<(String, String)>, CheckpointError> {
        let names = self
            .manifest
            .files
            .iter()
            .filter_map(|r| r.path.strip_prefix("prompts/"));
        names
            .map(|name| Ok((name.into(), self.text(&format!("prompts/{name}"))?)))
            .collect()
    }

    /// A file's bytes, verified.
    pub fn file(&self, path: &str) -> Result<Vec<u8>, CheckpointError> {
        Ok(self.mapped(path)?.to_vec())
    }

    /// A file as memory, verified.
    pub(super) fn mapped(&self, path: &str) -> Result<Mapped, CheckpointError> {
        let record = self.record(path)?;
        let file = self.local(record)?;
        let map = Mapped::open(&file).map_err(CheckpointError::io("open", &file))?;
        check_hash(&file, record, &map)?;
        Ok(map)
    }

    /// The manifest as it was when the checkpoint was opened, byte for byte.
    pub(super) fn manifest_bytes(&self) -> Result<Vec<u8>, CheckpointError> {
        let file = self.path.join(MANIFEST);
        let bytes = self
            .storage
            .read(&file, MAX_MANIFEST)
            .map_err(CheckpointError::io("read", &file))?;
        let found = blake3::hash(&bytes).to_hex().to_string();
        if found == self.manifest_hash {
            return Ok(bytes);
        }
        Err(CheckpointError::Damaged {
            file,
            entry: None,
            expected: format!("BLAKE3 {}", self.manifest_hash),
            found,
        })
    }

    /// Reads every byte; gives everything that is not as the manifest says.
    pub fn verify(&self) -> Vec<CheckpointError> {
        let mut faults: Vec<_> = self
            .manifest
            .files
            .iter()
            .filter_map(|r| self.verify_file(r).err())
            .collect();
        self.find_strangers("", &mut faults);
        faults
    }

    fn verify_file(&self, record: &FileRecord) -> Result<(), CheckpointError> {
        let file = match is_url(&self.path) {
            // What is in the store counts, not what was fetched once.
            true => return self.verify_object(record),
            false => self.path.join(&record.path),
        };
        let map = Mapped::open(&file).map_err(CheckpointError::io("open", &file))?;
        let Err(fault) = check_hash(&file, record, &map) else {
            return Ok(());
        };
        // A `.pt` file can say which entry it is.
        if let (Some(digest), true) = (record.digest(), map.len() as u64 == record.size) {
            PtFile::open_verified(&file, record.size, &digest)?.verify_entries()?;
        }
        Err(fault)
    }

    fn verify_object(&self, record: &FileRecord) -> Result<(), CheckpointError> {
        let file = self.path.join(&record.path);
        let mut hash = blake3::Hasher::new();
        self.storage
            .copy_out(&file, &mut hash)
            .map_err(CheckpointError::io("read", &file))?;
        record.check(&file, hash.count(), &hash.finalize().to_hex())
    }

    fn find_strangers(&self, below: &str, faults: &mut Vec<CheckpointError>) {
        let dir = match below {
            "" => self.path.clone(),
            below => self.path.join(below),
        };
        let listed = match self
            .storage
            .list(&dir)
            .map_err(CheckpointError::io("list", &dir))
        {
            Ok(listed) => listed,
            Err(fault) => return faults.push(fault),
        };
        for (name, kind) in listed {
            let path = if below.is_empty() {
                name
            } else {
                format!("{below}/{name}")
            };
            match kind {
                EntryKind::Dir => self.find_strangers(&path, faults),
                _ if path == MANIFEST || self.manifest.file(&path).is_some() => {}
                _ => {
                    let reason = "is not in the manifest";
                    faults.push(CheckpointError::invalid(&self.path.join(path), reason));
                }
            }
        }
    }

    fn record(&self, path: &str) -> Result<&FileRecord, CheckpointError> {
        self.manifest.file(path).ok_or_else(|| {
            let listed: Vec<&str> = self
                .manifest
                .files
                .iter()
                .map(|r| r.path.as_str())
                .collect();
            let reason = format!("lists no {path}; it lists: {}", listed.join(", "));
            CheckpointError::invalid(&self.path.join(MANIFEST), reason)
        })
    }

    fn text(&self, path: &str) -> Result<String, CheckpointError> {
        String::from_utf8(self.file(path)?)
            .map_err(|e| CheckpointError::invalid(&self.path.join(path), e.to_string()))
    }

    fn json<T: DeserializeOwned>(&self, path: &str) -> Result<T, CheckpointError> {
        serde_json::from_slice(&self.file(path)?)
            .map_err(|e| CheckpointError::invalid(&self.path.join(path), e.to_string()))
    }
}

/// Reads and checks the manifest in a directory; gives it with its hash.
pub(super) fn read_manifest(
    storage: &dyn Storage,
    dir: &Path,
) -> Result<(Manifest, String), CheckpointError> {
    let file = dir.join(MANIFEST);
    let bytes = storage
        .read(&file, MAX_MANIFEST)
        .map_err(|cause| match cause.kind() {
            io::ErrorKind::NotFound => CheckpointError::invalid(
                dir,
                "is not a committed checkpoint: it has no manifest.json",
            ),
            _ => CheckpointError::Io {
                action: "read",
                path: file.clone(),
                cause,
            },
        })?;
    let manifest = Manifest::parse(&file, &bytes)?;
    Ok((manifest, blake3::hash(&bytes).to_hex().to_string()))
}

fn check_hash(file: &Path, record: &FileRecord, map: &Mapped) -> Result<(), CheckpointError> {
    let hash = match map.len() as u64 == record.size {
        true => map.hash(0..map.len()).to_hex().to_string(),
        // The size says enough.
        false => String::new(),
    };
    record.check(file, map.len() as u64, &hash)
}
