//! An opened `.pt` file: its values at once, its tensors when asked for.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};

use gauntlet_shim::{map_tensor, read_tensor};
use tch::{Kind, Tensor};

use super::unpickle::unpickle;
use super::zip_read;
use super::{At, LazyTensor, Mapped, PtDigest, PtValue};
use crate::CheckpointError;

/// A `.pt` file, mapped into memory, its pickle read and its tensors described but not touched.
#[derive(Debug)]
pub struct PtFile {
    path: PathBuf,
    map: Mapped,
    entries: BTreeMap<String, Range<usize>>,
    hashes: Option<HashMap<String, String>>,
    root: PtValue<LazyTensor>,
}

impl PtFile {
    /// Opens a file of any origin.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let map = Mapped::open(path).map_err(CheckpointError::io("open", path))?;
        Self::read(path, map, None)
    }

    /// Opens a file that must be the one `digest` describes: everything but the tensors' bytes is
    /// checked at once, and each tensor's bytes before the tensor is built.
    pub fn open_verified(
        path: &Path,
        size: u64,
        digest: &PtDigest,
    ) -> Result<Self, CheckpointError> {
        let map = Mapped::open(path).map_err(CheckpointError::io("open", path))?;
        if map.len() as u64 != size {
            return Err(CheckpointError::Damaged {
                file: path.into(),
                entry: None,
                expected: format!("{size} bytes"),
                found: format!("{} bytes", map.len()),
            });
        }
        check_layout(path, &map, digest)?;
        let hashes = digest
            .entries
            .iter()
            .map(|entry| (entry.name.clone(), entry.blake3.clone()))
            .collect();
        Self::read(path, map, Some(hashes))
    }

    fn read(
        path: &Path,
        map: Mapped,
        hashes: Option<HashMap<String, String>>,
    ) -> Result<Self, CheckpointError> {
        let refused = |(entry, reason)| CheckpointError::Pt {
            file: path.into(),
            entry,
            reason,
        };
        let listed = zip_read::entries(&map).map_err(refused)?;
        let entries = strip_folder(listed).map_err(refused)?;
        let mut file = Self {
            path: path.into(),
            map,
            entries,
            hashes,
            root: PtValue::None,
        };
        if file.entries.contains_key("byteorder") && file.bytes("byteorder")? != b"little" {
            return Err(file.refuse("byteorder", "is not \"little\""));
        }
        if file.entries.contains_key("version") {
            file.bytes("version")?;
        }
        let find = |key: &str| {
            let entry = format!("data/{key}");
            let size = file.entries.get(&entry)?.len();
            Some((entry, size))
        };
        let root = unpickle(file.bytes("data.pkl")?, &find);
        file.root = root.map_err(|reason| file.refuse("data.pkl", reason))?;
        Ok(file)
    }

    /// Where the file lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Size of the file in bytes.
    pub fn size(&self) -> u64 {
        self.map.len() as u64
    }

    /// The value that the file holds.
    pub fn root(&self) -> At<'_, LazyTensor> {
        At::root(&self.root)
    }

    /// Starts reading tensors into memory of their own. Those read by one loader share memory where the file says so.
    pub fn loader(&self) -> Loader<'_> {
        self.loader_into(Memory::Own)
    }

    /// Starts reading tensors that stay in the file's memory: nothing is copied, the system may give the memory to others
    /// and read it again, and who writes to a tensor gets a copy of the pages it touches. Whoever changed the file while
    /// a tensor lives would change the tensor; deleting it is no harm.
    pub fn mapping_loader(&self) -> Loader<'_> {
        self.loader_into(Memory::File)
    }

    fn loader_into(&self, memory: Memory) -> Loader<'_> {
        Loader {
            file: self,
            memory,
            storages: HashMap::new(),
        }
    }

    /// Hashes every entry; an error names the first that is not as it was written.
    pub fn verify_entries(&self) -> Result<(), CheckpointError> {
        // In the file's order, which is not that of the names.
        let mut entries: Vec<_> = self.entries.iter().collect();
        entries.sort_by_key(|(_, range)| range.start);
        entries
            .into_iter()
            .try_for_each(|(entry, _)| self.bytes(entry).map(|_| ()))
    }

    fn refuse(&self, entry: &str, reason: impl Into<String>) -> CheckpointError {
        CheckpointError::Pt {
            file: self.path.clone(),
            entry: entry.into(),
            reason: reason.into(),
        }
    }

    /// Where an entry's bytes stand.
    fn range(&self, entry: &str) -> Result<&Range<usize>, CheckpointError> {
        self.entries
            .get(entry)
            .ok_or_else(|| self.refuse(entry, "is missing"))
    }

    /// An entry's bytes, verified where a hash is known.
    fn bytes(&self, entry: &str) -> Result<&[u8], CheckpointError> {
        let range = self.range(entry)?;
        self.check(entry, || self.map.hash(range.clone()))?;
        Ok(&self.map[range.clone()])
    }

    /// Refuses an entry whose bytes have another hash than the known one.
    fn check(
        &self,
        entry: &str,
        hash: impl FnOnce() -> blake3::Hash,
    ) -> Result<(), CheckpointError> {
        let Some(hashes) = &self.hashes else {
            return Ok(());
        };
        let Some(expected) = hashes.get(entry) else {
            return Err(self.refuse(entry, "is not in the manifest"));
        };
        let found = hash().to_hex();
        if found.as_str() == expected {
            return Ok(());
        }
        Err(CheckpointError::Damaged {
            file: self.path.clone(),
            entry: Some(entry.into()),
            expected: format!("BLAKE3 {expected}"),
            found: found.to_string(),
        })
    }

    /// A storage as a tensor of one dimension, verified where a hash is known.
    fn storage(&self, tensor: &LazyTensor, memory: Memory) -> Result<Tensor, CheckpointError> {
        let (entry, kind) = (tensor.storage.entry.as_str(), tensor.kind);
        let range = self.range(entry)?;
        let width = kind.elt_size_in_bytes();
        // The unpickler has checked this; libtorch itself would read past the end.
        if range.len() != tensor.storage.numel as usize * width {
            return Err(self.refuse(entry, "has another size than its tensor"));
        }
        let bools = |bytes: &[u8]| kind != Kind::Bool || bytes.iter().all(|byte| *byte <= 1);
        let (file, at) = (self.map.file(), range.start as u64);
        let apart = memory == Memory::Own || !range.start.is_multiple_of(width);
        let failed = CheckpointError::io("read", &self.path);
        let (storage, valid) = match apart || range.len() < LEAST_MAPPED {
            true => {
                let (mut hash, mut valid) = (blake3::Hasher::new(), true);
                let seen = |bytes: &[u8]| {
                    if self.hashes.is_some() {
                        hash.update(bytes);
                    }
                    valid &= bools(bytes);
                };
                let numel = tensor.storage.numel;
                let storage = read_tensor(file, at, numel, kind, seen).map_err(failed)?;
                self.check(entry, || hash.finalize())?;
                (storage, valid)
            }
            false => {
                let valid = bools(self.bytes(entry)?);
                let storage = map_tensor(file, at, tensor.storage.numel, kind);
                (storage.map_err(failed)?, valid)
            }
        };
        match valid {
            true => Ok(storage),
            false => Err(self.refuse(entry, "holds bools that are neither 0 nor 1")),
        }
    }
}

/// Where a tensor that was read has its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Memory {
    /// Copied from the file.
    Own,
    /// The file's, as long as nobody writes to them.
    File,
}

/// Fewer bytes are copied: they take less than a map of their own costs.
const LEAST_MAPPED: usize = 1 << 20;

/// Reads tensors of one file and remembers storages, so that shared ones stay shared.
#[derive(Debug)]
pub struct Loader<'a> {
    file: &'a PtFile,
    memory: Memory,
    storages: HashMap<&'a str, Tensor>,
}

impl<'a> Loader<'a> {
    /// The tensor, on the CPU, without gradient.
    pub fn tensor(&mut self, tensor: &'a LazyTensor) -> Result<Tensor, CheckpointError> {
        let entry = tensor.storage.entry.as_str();
        let fail = |e: tch::TchError| self.file.refuse(entry, format!("libtorch: {e}"));
        if !self.storages.contains_key(entry) {
            let storage = self.file.storage(tensor, self.memory)?;
            self.storages.insert(entry, storage);
        }
        let storage = &self.storages[entry];
        storage
            .f_as_strided(&tensor.shape, &tensor.stride, tensor.offset)
            .map_err(fail)
    }
}

/// The archive has one folder, whatever its name; the entries are named inside it.
fn strip_folder(
    listed: BTreeMap<String, Range<usize>>,
) -> Result<BTreeMap<String, Range<usize>>, zip_read::Refused> {
    let refuse = |part: &str, reason: &str| Err((part.to_string(), reason.to_string()));
    let mut pickles = listed
        .keys()
        .filter_map(|name| name.strip_suffix("/data.pkl"));
    let (Some(folder), None) = (pickles.next(), pickles.next()) else {
        return refuse(
            "data.pkl",
            "is missing, or there are several: not a file of torch.save",
        );
    };
    let folder = format!("{folder}/");
    if listed.contains_key(&format!("{folder}constants.pkl")) {
        return refuse(
            "constants.pkl",
            "makes this a TorchScript archive, which holds code",
        );
    }
    listed
        .into_iter()
        .map(|(name, range)| match name.strip_prefix(&folder) {
            Some(inner) => Ok((inner.to_string(), range)),
            None => Err((name, "lies outside the archive's folder".to_string())),
        })
        .collect()
}

/// Hashes everything between the entries: headers, padding, the directory.
fn check_layout(path: &Path, map: &[u8], digest: &PtDigest) -> Result<(), CheckpointError> {
    let mut hash = blake3::Hasher::new();
    let mut at = 0;
    for entry in &digest.entries {
        let start = usize::try_from(entry.offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(usize::try_from(entry.size).unwrap_or(usize::MAX));
        match map.get(at..start) {
            Some(gap) if end <= map.len() => hash.update(gap),
            _ => {
                let reason = format!("the manifest puts {} outside the file", entry.name);
                return Err(CheckpointError::invalid(path, reason));
            }
        };
        at = end;
    }
    hash.update(&map[at..]);
    let found = hash.finalize().to_hex();
    if found.as_str() == digest.layout {
        return Ok(());
    }
    Err(CheckpointError::Damaged {
        file: path.into(),
        entry: Some("headers and directory".into()),
        expected: format!("BLAKE3 {}", digest.layout),
        found: found.to_string(),
    })
}
