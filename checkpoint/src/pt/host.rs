//! Tensors as plain bytes: what the trainer hands over when a checkpoint is taken.

use std::collections::HashMap;
use std::sync::Arc;

use tch::{Device, Kind, Tensor};

use super::dtype::storage_name;
use crate::CheckpointError;

/// A tensor's bytes, contiguous and detached from libtorch. Clones share the bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTensor {
    kind: Kind,
    shape: Vec<i64>,
    bytes: Arc<Vec<u8>>,
}

impl HostTensor {
    /// Copies a tensor from whatever device it is on. `name` says in an error which one it was.
    pub fn copy_of(name: &str, tensor: &Tensor) -> Result<Self, CheckpointError> {
        let fail = |reason: String| CheckpointError::Unsavable {
            what: name.into(),
            reason,
        };
        let kind = tensor.f_kind().map_err(|e| fail(e.to_string()))?;
        if storage_name(kind).is_none() {
            return Err(fail(format!("{kind:?} is no element type of a checkpoint")));
        }
        let shape = tensor.size();
        let numel = tensor.numel();
        let mut bytes = vec![0; numel * kind.elt_size_in_bytes()];
        if numel > 0 {
            tensor
                .f_copy_data_u8(&mut bytes, numel)
                .map_err(|e| fail(e.to_string()))?;
        }
        Ok(Self {
            kind,
            shape,
            bytes: Arc::new(bytes),
        })
    }

    /// A float32 scalar.
    pub fn scalar(value: f32) -> Self {
        let bytes = Arc::new(value.to_le_bytes().to_vec());
        Self {
            kind: Kind::Float,
            shape: Vec::new(),
            bytes,
        }
    }

    /// Element type.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Size of each dimension.
    pub fn shape(&self) -> &[i64] {
        &self.shape
    }

    /// The elements, in order, little-endian.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether no element is infinite or not a number; of whole numbers always.
    pub fn is_finite(&self) -> bool {
        // A float is not finite if all bits of its exponent are set. Chunks are folded whole, so that the loop is
        // vectorised.
        fn all<const N: usize>(bytes: &[u8], not_finite: impl Fn([u8; N]) -> bool) -> bool {
            let (elements, _) = bytes.as_chunks::<N>();
            let chunk = |chunk: &[[u8; N]]| chunk.iter().fold(false, |any, e| any | not_finite(*e));
            !elements.chunks(4096).any(chunk)
        }
        match self.kind {
            Kind::Double => all(&self.bytes, |e| {
                u64::from_le_bytes(e) & 0x7ff0 << 48 == 0x7ff0 << 48
            }),
            Kind::Float => all(&self.bytes, |e| {
                u32::from_le_bytes(e) & 0x7f80_0000 == 0x7f80_0000
            }),
            Kind::BFloat16 => all(&self.bytes, |e| u16::from_le_bytes(e) & 0x7f80 == 0x7f80),
            Kind::Half => all(&self.bytes, |e| u16::from_le_bytes(e) & 0x7c00 == 0x7c00),
            _ => true,
        }
    }

    /// What tells storages apart: clones of one tensor have the same.
    pub(super) fn storage_id(&self) -> *const Vec<u8> {
        Arc::as_ptr(&self.bytes)
    }
}

/// Copies tensors and keeps shared what is shared: a tied embedding is copied and written once.
///
/// It knows tensors by address, so that all tensors given to it must live until the last was given.
#[derive(Default)]
pub struct Snapshotter {
    seen: HashMap<Identity, HostTensor>,
}

#[derive(PartialEq, Eq, Hash)]
struct Identity {
    address: usize,
    device: Device,
    kind: Kind,
    shape: Vec<i64>,
    stride: Vec<i64>,
}

impl Snapshotter {
    /// The tensor's bytes, copied unless the very same view was copied before.
    pub fn copy(&mut self, name: &str, tensor: &Tensor) -> Result<HostTensor, CheckpointError> {
        if tensor.numel() == 0 || tensor.is_sparse() {
            return HostTensor::copy_of(name, tensor);
        }
        let identity = Identity {
            address: tensor.data_ptr() as usize,
            device: tensor.device(),
            kind: tensor.kind(),
            shape: tensor.size(),
            stride: tensor.stride(),
        };
        if let Some(copy) = self.seen.get(&identity) {
            return Ok(copy.clone());
        }
        let copy = HostTensor::copy_of(name, tensor)?;
        self.seen.insert(identity, copy.clone());
        Ok(copy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn infinity_and_nan_are_seen_in_every_float() {
        for kind in [Kind::Float, Kind::Double, Kind::Half, Kind::BFloat16] {
            let finite = |value: f64, at: i64| {
                let tensor = Tensor::full([5000], 60_000.0, (kind, Device::Cpu));
                let _ = tensor.get(at).fill_(value);
                HostTensor::copy_of("x", &tensor).unwrap().is_finite()
            };
            for at in [0, 4095, 4999] {
                assert!(finite(-1e-7, at), "{kind:?}");
                for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                    assert!(!finite(value, at), "{kind:?} {value} at {at}");
                }
            }
        }
        let whole = Tensor::full([3], -1, (Kind::Int64, Device::Cpu));
        assert!(HostTensor::copy_of("x", &whole).unwrap().is_finite());
    }
}
