//! Writes a value as a `.pt` file.

use std::collections::HashMap;
use std::io::{self, Write};

use super::dtype::storage_name;
use super::zip_write::{PtDigest, ZipWriter};
use super::{HostTensor, MAX_DEPTH, PtValue};

/// Writes a file that `torch.load(path, weights_only=True)` opens.
///
/// Tensors that are clones of one [`HostTensor`] are written once and share memory when read.
/// Equal values give equal bytes. A value nested too deep is an error of kind `InvalidInput`.
pub fn write_pt(value: &PtValue<HostTensor>, out: &mut dyn Write) -> io::Result<PtDigest> {
    let mut pickler = Pickler::default();
    pickler.bytes.extend([0x80, 2]);
    pickler.value(value, 0)?;
    pickler.bytes.push(b'.');

    let mut zip = ZipWriter::new(out);
    zip.entry("data.pkl", &pickler.bytes)?;
    zip.entry("byteorder", b"little")?;
    for (key, tensor) in pickler.storages.iter().enumerate() {
        zip.entry(&format!("data/{key}"), tensor.bytes())?;
    }
    zip.entry("version", b"3\n")?;
    zip.finish()
}

#[derive(Default)]
struct Pickler<'a> {
    bytes: Vec<u8>,
    storages: Vec<&'a HostTensor>,
    keys: HashMap<*const Vec<u8>, usize>,
}

impl<'a> Pickler<'a> {
    fn value(&mut self, value: &'a PtValue<HostTensor>, depth: usize) -> io::Result<()> {
        if depth > MAX_DEPTH {
            return Err(invalid(format!("nested deeper than {MAX_DEPTH} levels")));
        }
        match value {
            PtValue::None => self.bytes.push(b'N'),
            PtValue::Bool(b) => self.bytes.push(if *b { 0x88 } else { 0x89 }),
            PtValue::Int(i) => self.int(*i),
            PtValue::Float(f) => {
                self.bytes.push(b'G');
                self.bytes.extend(f.to_be_bytes());
            }
            PtValue::Str(text) => self.str(text)?,
            PtValue::List(items) => {
                self.bytes.extend(b"](");
                for item in items {
                    self.value(item, depth + 1)?;
                }
                self.bytes.push(b'e');
            }
            PtValue::Tuple(items) => {
                self.bytes.push(b'(');
                for item in items {
                    self.value(item, depth + 1)?;
                }
                self.bytes.push(b't');
            }
            PtValue::Dict(items) => {
                self.bytes.extend(b"}(");
                for (key, value) in items {
                    self.value(key, depth + 1)?;
                    self.value(value, depth + 1)?;
                }
                self.bytes.push(b'u');
            }
            PtValue::Tensor(tensor) => self.tensor(tensor)?,
        }
        Ok(())
    }

    /// `_rebuild_tensor_v2(storage, 0, shape, stride, False, OrderedDict())`, the storage being
    /// named by a persistent id that only the reader of the archive can follow.
    fn tensor(&mut self, tensor: &'a HostTensor) -> io::Result<()> {
        let storage = storage_name(tensor.kind())
            .ok_or_else(|| invalid(format!("element type {:?}", tensor.kind())))?;
        let next = self.storages.len();
        let key = *self.keys.entry(tensor.storage_id()).or_insert(next);
        if key == next {
            self.storages.push(tensor);
        }
        let shape = tensor.shape();
        let numel: i64 = shape.iter().product();
        let mut stride = vec![1_i64; shape.len()];
        for dim in (1..shape.len()).rev() {
            stride[dim - 1] = stride[dim] * shape[dim].max(1);
        }

        self.global("torch._utils", "_rebuild_tensor_v2");
        self.bytes.extend(b"((");
        self.str("storage")?;
        self.global("torch", storage);
        self.str(&key.to_string())?;
        self.str("cpu")?;
        self.int(numel.into());
        self.bytes.extend(b"tQ");
        self.int(0);
        for sizes in [shape, &stride] {
            self.bytes.push(b'(');
            for size in sizes {
                self.int((*size).into());
            }
            self.bytes.push(b't');
        }
        self.bytes.push(0x89);
        self.global("collections", "OrderedDict");
        self.bytes.extend(b")RtR");
        Ok(())
    }

    fn global(&mut self, module: &str, name: &str) {
        self.bytes.extend(format!("c{module}\n{name}\n").as_bytes());
    }

    fn str(&mut self, text: &str) -> io::Result<()> {
        let length = u32::try_from(text.len()).map_err(|_| invalid("a string over 4 GB"))?;
        self.bytes.push(b'X');
        self.bytes.extend(length.to_le_bytes());
        self.bytes.extend(text.as_bytes());
        Ok(())
    }

    fn int(&mut self, i: i128) {
        if let Ok(byte) = u8::try_from(i) {
            self.bytes.extend([b'K', byte]);
        } else if let Ok(word) = i32::try_from(i) {
            self.bytes.push(b'J');
            self.bytes.extend(word.to_le_bytes());
        } else {
            self.bytes.extend([0x8a, 16]);
            self.bytes.extend(i.to_le_bytes());
        }
    }
}

fn invalid(reason: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, reason.into())
}
