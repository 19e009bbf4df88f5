//! Weights of a Hugging Face folder: one safetensors file, or shards with an index.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gauntlet_shim::{map_tensor, read_tensor};
use safetensors::tensor::{Dtype, Metadata, SafeTensors, TensorInfo};
use tch::{Kind, Tensor};

use super::error::LoadError;
use super::mapped::Mapped;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// The safetensors files of a model folder.
pub struct Weights {
    files: Vec<(PathBuf, Mapped)>,
    places: BTreeMap<String, Place>,
    folder: PathBuf,
}

/// Where a tensor stands.
struct Place {
    file: usize,
    /// Its first byte in the file.
    at: u64,
    info: TensorInfo,
}

/// Names of the weight files of a folder: what its index lists, else the single file.
pub fn shard_names(index: Option<&str>, path: &Path) -> Result<Vec<String>, LoadError> {
    let Some(text) = index else {
        return Ok(vec![SINGLE.to_owned()]);
    };
    let damaged = |what: String| LoadError::Damaged {
        path: path.to_owned(),
        what,
    };
    let json: serde_json::Value =
        serde_json::from_str(text).map_err(|error| damaged(format!("no JSON: {error}")))?;
    let map = json["weight_map"]
        .as_object()
        .ok_or_else(|| damaged("it has no `weight_map`".into()))?;
    let mut names: Vec<String> = map
        .values()
        .filter_map(|name| Some(name.as_str()?.to_owned()))
        .collect();
    names.sort();
    names.dedup();
    let inside = |name: &String| !name.contains(['/', '\\']) && !name.starts_with('.');
    match names.iter().find(|name| !inside(name)) {
        Some(name) => Err(damaged(format!("shard {name:?} lies outside the folder"))),
        None => Ok(names),
    }
}

impl Weights {
    /// Maps the files of `folder` and reads their directories.
    pub fn open(folder: &Path) -> Result<Self, LoadError> {
        let index_path = folder.join(INDEX);
        let index = match std::fs::read_to_string(&index_path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(source) => {
                return Err(LoadError::Read {
                    path: index_path,
                    source,
                });
            }
        };
        let mut files = Vec::new();
        let mut places = BTreeMap::new();
        for name in shard_names(index.as_deref(), &index_path)? {
            let path = folder.join(&name);
            if !path.exists() {
                let needed = match index {
                    Some(_) => format!("{INDEX} names this shard"),
                    None => format!("a model folder has {SINGLE}, or {INDEX} with its shards"),
                };
                return Err(LoadError::Missing { path, needed });
            }
            let map = Mapped::open(&path)?;
            let (begin, directory) = parse(&path, &map)?;
            for (name, info) in directory.tensors() {
                let place = Place {
                    file: files.len(),
                    at: (begin + info.data_offsets.0) as u64,
                    info: info.clone(),
                };
                places.insert(name, place);
            }
            files.push((path, map));
        }
        Ok(Self {
            files,
            places,
            folder: folder.to_owned(),
        })
    }

    /// The bytes of each file.
    pub fn files(&self) -> impl Iterator<Item = &[u8]> {
        self.files.iter().map(|(_, map)| map.bytes())
    }

    /// A tensor of kind `kind`, which must have this shape: in memory of its own, or if `mapped` and stored in that kind
    /// in the file's.
    pub fn tensor(
        &self,
        name: &str,
        shape: &[i64],
        kind: Kind,
        mapped: bool,
    ) -> Result<Tensor, LoadError> {
        let wrong = |path: &Path, found: String| LoadError::Weight {
            path: path.to_owned(),
            name: name.to_owned(),
            found,
            expected: format!("{shape:?}"),
        };
        let Some(place) = self.places.get(name) else {
            return Err(wrong(&self.folder, "missing".into()));
        };
        let (path, map) = &self.files[place.file];
        let found: Vec<i64> = place.info.shape.iter().map(|&d| d as i64).collect();
        if found != shape {
            return Err(wrong(path, format!("{found:?}")));
        }
        let stored = match place.info.dtype {
            Dtype::F32 => Kind::Float,
            Dtype::F16 => Kind::Half,
            Dtype::BF16 => Kind::BFloat16,
            Dtype::F64 => Kind::Double,
            other => {
                return Err(LoadError::Unsupported {
                    path: path.clone(),
                    key: format!("the element type of {name}"),
                    value: format!("{other:?}"),
                    supported: "F32, F16, BF16 and F64 are read".into(),
                });
            }
        };
        let numel = found.iter().product();
        let aligned = place.at.is_multiple_of(stored.elt_size_in_bytes() as u64);
        let flat = match mapped && stored == kind && aligned {
            true => map_tensor(map.file(), place.at, numel, stored),
            false => read_tensor(map.file(), place.at, numel, stored, |_| {}),
        };
        let flat = flat.map_err(|source| LoadError::Read {
            path: path.clone(),
            source,
        })?;
        Ok(flat.f_view(&found[..])?.f_to_kind(kind)?)
    }
}

/// Where the data begin, and the directory, which is checked against the file's length.
fn parse(path: &Path, map: &Mapped) -> Result<(usize, Metadata), LoadError> {
    // The directory stands behind its length.
    const LENGTH: usize = 8;
    let (length, directory) =
        SafeTensors::read_metadata(map.bytes()).map_err(|error| LoadError::Damaged {
            path: path.to_owned(),
            what: format!("no whole safetensors file: {error}; fetch it again"),
        })?;
    Ok((LENGTH + length, directory))
}
