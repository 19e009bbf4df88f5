//! The GGUF container: metadata and tensors of one file, mapped into memory.
//!
//! Layout: magic, version, counts, metadata, tensor directory, padding, tensor data. Everything read is checked against
//! the file's length, so a truncated or corrupt file is an error and never a read out of bounds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tch::{Kind, Tensor};

use super::dequantize::Quantization;
use super::error::LoadError;
use super::mapped::Mapped;

/// A value of the metadata.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Any whole number.
    Int(i128),
    /// Any floating number.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// UTF-8 text.
    Text(String),
    /// Values of one type.
    Array(Vec<Value>),
}

impl Value {
    /// The number, if it is a whole one that fits.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(n) => i64::try_from(*n).ok(),
            _ => None,
        }
    }

    /// The number.
    pub fn as_float(&self) -> Option<f64> {
        match self {
            Self::Float(x) => Some(*x),
            Self::Int(n) => Some(*n as f64),
            _ => None,
        }
    }

    /// The text.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The entries.
    pub fn as_array(&self) -> Option<&[Value]> {
        match self {
            Self::Array(values) => Some(values),
            _ => None,
        }
    }
}

struct Entry {
    /// Outermost dimension first, as in torch.
    shape: Vec<i64>,
    format: Quantization,
    start: usize,
    bytes: usize,
}

/// An opened file.
pub struct Gguf {
    map: Mapped,
    path: PathBuf,
    metadata: BTreeMap<String, Value>,
    tensors: BTreeMap<String, Entry>,
}

impl Gguf {
    /// Opens a file and reads its directory; tensors are read when asked for.
    pub fn open(path: &Path) -> Result<Self, LoadError> {
        let map = Mapped::open(path)?;
        let mut cursor = Cursor {
            bytes: map.bytes(),
            at: 0,
        };
        let (metadata, tensors) = cursor.directory().map_err(|what| LoadError::Damaged {
            path: path.to_owned(),
            what: format!("byte {}: {what}", cursor.at),
        })?;
        Ok(Self {
            map,
            path: path.to_owned(),
            metadata,
            tensors,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The whole file.
    pub fn bytes(&self) -> &[u8] {
        self.map.bytes()
    }

    /// A value of the metadata.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key)
    }

    /// Whether there is a tensor of that name.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Shape of a tensor, outermost dimension first.
    pub fn shape(&self, name: &str) -> Option<&[i64]> {
        self.tensors.get(name).map(|entry| &*entry.shape)
    }

    /// A tensor, dequantised, of kind `kind`.
    pub fn tensor(&self, name: &str, kind: Kind) -> Result<Tensor, LoadError> {
        let entry = self.tensors.get(name).ok_or_else(|| LoadError::Weight {
            path: self.path.clone(),
            name: name.to_owned(),
            found: "missing".into(),
            expected: "there".into(),
        })?;
        let bytes = &self.map.bytes()[entry.start..entry.start + entry.bytes];
        let tensor = match entry.format {
            Quantization::F32 => Tensor::f_from_data_size(bytes, &entry.shape, Kind::Float)?,
            Quantization::F16 => Tensor::f_from_data_size(bytes, &entry.shape, Kind::Half)?,
            Quantization::BF16 => Tensor::f_from_data_size(bytes, &entry.shape, Kind::BFloat16)?,
            format => Tensor::from_slice(&format.dequantize(bytes)).f_view(&*entry.shape)?,
        };
        Ok(tensor.f_to_kind(kind)?)
    }
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

type Directory = (BTreeMap<String, Value>, BTreeMap<String, Entry>);

/// More than any real file has, and small enough that a corrupt count asks for no memory.
const MOST_ENTRIES: u64 = 1 << 24;

impl Cursor<'_> {
    fn directory(&mut self) -> Result<Directory, String> {
        if self.take(4)? != b"GGUF" {
            return Err("no GGUF file: it does not begin with the letters GGUF".into());
        }
        let version = self.u32()?;
        if !(2..=3).contains(&version) {
            return Err(format!("GGUF version {version}; versions 2 and 3 are read"));
        }
        let (tensor_count, value_count) = (self.count()?, self.count()?);
        let mut metadata = BTreeMap::new();
        for _ in 0..value_count {
            let key = self.text()?;
            let kind = self.u32()?;
            let value = self
                .value(kind, 0)
                .map_err(|what| format!("{key}: {what}"))?;
            metadata.insert(key, value);
        }
        let mut tensors = BTreeMap::new();
        for _ in 0..tensor_count {
            let name = self.text()?;
            let entry = self
                .entry()
                .map_err(|what| format!("tensor {name}: {what}"))?;
            tensors.insert(name, entry);
        }
        let alignment = match metadata.get("general.alignment").and_then(Value::as_int) {
            None => 32,
            Some(n) if n > 0 && n <= 1 << 20 => n as usize,
            Some(n) => return Err(format!("general.alignment is {n}")),
        };
        let data = self.at.div_ceil(alignment) * alignment;
        for (name, entry) in &mut tensors {
            let end = data
                .checked_add(entry.start)
                .and_then(|start| start.checked_add(entry.bytes));
            if end.is_none_or(|end| end > self.bytes.len()) {
                return Err(format!(
                    "tensor {name}: its {} bytes begin {} bytes into the data and reach beyond the file's {} bytes; the \
                     file is truncated",
                    entry.bytes,
                    entry.start,
                    self.bytes.len()
                ));
            }
            entry.start += data;
        }
        Ok((metadata, tensors))
    }

    fn entry(&mut self) -> Result<Entry, String> {
        let dimensions = self.u32()?;
        if !(1..=4).contains(&dimensions) {
            return Err(format!("{dimensions} dimensions, expected 1 to 4"));
        }
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            let size = self.u64()?;
            shape.push(i64::try_from(size).map_err(|_| format!("a dimension of {size}"))?);
        }
        let row = shape[0];
        shape.reverse();
        let number = self.u32()?;
        let format = Quantization::from_number(number).map_err(|name| {
            let known = Quantization::names();
            format!("its quantisation {name} is not supported; {known} are read")
        })?;
        let (weights, size) = format.block();
        if row % weights as i64 != 0 {
            return Err(format!(
                "rows of {row} weights are no whole blocks of {weights}"
            ));
        }
        let count = shape
            .iter()
            .try_fold(1i64, |n, d| n.checked_mul(*d))
            .and_then(|n| usize::try_from(n).ok())
            .and_then(|n| (n / weights).checked_mul(size));
        let start = usize::try_from(self.u64()?).map_err(|e| e.to_string())?;
        Ok(Entry {
            bytes: count.ok_or_else(|| format!("shape {shape:?} is too large"))?,
            shape,
            format,
            start,
        })
    }

    fn value(&mut self, kind: u32, depth: usize) -> Result<Value, String> {
        Ok(match kind {
            0 => Value::Int(self.take(1)?[0].into()),
            1 => Value::Int((self.take(1)?[0] as i8).into()),
            2 => Value::Int(u16::from_le_bytes(self.array()?).into()),
            3 => Value::Int(i16::from_le_bytes(self.array()?).into()),
            4 => Value::Int(self.u32()?.into()),
            5 => Value::Int(i32::from_le_bytes(self.array()?).into()),
            6 => Value::Float(f32::from_le_bytes(self.array()?).into()),
            7 => Value::Bool(self.take(1)?[0] != 0),
            8 => Value::Text(self.text()?),
            9 if depth < 4 => {
                let kind = self.u32()?;
                let count = self.count()?;
                let mut values = Vec::new();
                for _ in 0..count {
                    values.push(self.value(kind, depth + 1)?);
                }
                Value::Array(values)
            }
            10 => Value::Int(self.u64()?.into()),
            11 => Value::Int(i64::from_le_bytes(self.array()?).into()),
            12 => Value::Float(f64::from_le_bytes(self.array()?)),
            other => return Err(format!("a value of unknown type {other}")),
        })
    }

    fn take(&mut self, count: usize) -> Result<&[u8], String> {
        let left = self.bytes.len() - self.at;
        if count > left {
            return Err(format!(
                "the file ends where {count} more bytes are expected ({left} left); it is truncated or corrupt"
            ));
        }
        self.at += count;
        Ok(&self.bytes[self.at - count..self.at])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let bytes = self.take(N)?;
        Ok(bytes.try_into().expect("take gives as many as asked for"))
    }

    fn u32(&mut self) -> Result<u32, String> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, String> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn count(&mut self) -> Result<u64, String> {
        let count = self.u64()?;
        if count > MOST_ENTRIES {
            return Err(format!("a list of {count} entries; the file is corrupt"));
        }
        Ok(count)
    }

    fn text(&mut self) -> Result<String, String> {
        let length = self.u64()?;
        let length = usize::try_from(length).map_err(|_| format!("a text of {length} bytes"))?;
        let bytes = self.take(length)?.to_vec();
        String::from_utf8(bytes).map_err(|error| format!("a text is not UTF-8: {error}"))
    }
}
