//! Weights of a Hugging Face folder: one safetensors file, or shards with an index.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors};
use tch::{Kind, Tensor};

use super::error::LoadError;
use super::mapped::Mapped;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// The safetensors files of a model folder, mapped.
pub struct Weights {
    files: Vec<(PathBuf, Mapped)>,
    /// Which file a tensor is in.
    places: BTreeMap<String, usize>,
    folder: PathBuf,
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
            for name in parse(&path, &map)?.names() {
                places.insert(name.to_owned(), files.len());
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

    /// A tensor of kind `kind`, which must have this shape.
    pub fn tensor(&self, name: &str, shape: &[i64], kind: Kind) -> Result<Tensor, LoadError> {
        let wrong = |path: &Path, found: String| LoadError::Weight {
            path: path.to_owned(),
            name: name.to_owned(),
            found,
            expected: format!("{shape:?}"),
        };
        let Some(&at) = self.places.get(name) else {
            return Err(wrong(&self.folder, "missing".into()));
        };
        let (path, map) = &self.files[at];
        let file = parse(path, map)?;
        let view = file.tensor(name).map_err(|e| wrong(path, e.to_string()))?;
        let found: Vec<i64> = view.shape().iter().map(|&d| d as i64).collect();
        if found != shape {
            return Err(wrong(path, format!("{found:?}")));
        }
        let stored = match view.dtype() {
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
        Ok(Tensor::f_from_data_size(view.data(), &found, stored)?.f_to_kind(kind)?)
    }
}

fn parse<'a>(path: &Path, map: &'a Mapped) -> Result<SafeTensors<'a>, LoadError> {
    SafeTensors::deserialize(map.bytes()).map_err(|error| LoadError::Damaged {
        path: path.to_owned(),
        what: format!("no whole safetensors file: {error}; fetch it again"),
    })
}
