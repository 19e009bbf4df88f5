//! Reads the pickle of a `.pt` file: protocol 2, plain values, and the few names that `torch.save` uses for state dicts.
//!
//! The machine itself, which runs nothing, is the crate `gauntlet-pickle`.

use gauntlet_pickle::Value;

use super::rebuild::Torch;
use super::{LazyTensor, PtValue};

/// Largest pickle read; the tensors' bytes are not part of it.
pub(super) const MAX_PICKLE: usize = 64 << 20;

/// Which storages the archive has: the entry's name and size in bytes of a key.
pub(super) type FindStorage<'a> = &'a dyn Fn(&str) -> Option<(String, usize)>;

/// The value that a pickle describes.
pub(super) fn unpickle(
    bytes: &[u8],
    find: FindStorage<'_>,
) -> gauntlet_pickle::Result<PtValue<LazyTensor>> {
    gauntlet_pickle::unpickle(bytes, &mut Torch::new(find)).map(pt_value)
}

fn pt_value(value: Value<LazyTensor>) -> PtValue<LazyTensor> {
    let all = |items: Vec<Value<LazyTensor>>| items.into_iter().map(pt_value).collect();
    match value {
        Value::None => PtValue::None,
        Value::Bool(b) => PtValue::Bool(b),
        Value::Int(i) => PtValue::Int(i),
        Value::Float(f) => PtValue::Float(f),
        Value::Str(s) => PtValue::Str(s),
        Value::List(items) => PtValue::List(all(items)),
        Value::Tuple(items) => PtValue::Tuple(all(items)),
        Value::Dict(pairs) => {
            let pair = |(key, value)| (pt_value(key), pt_value(value));
            PtValue::Dict(pairs.into_iter().map(pair).collect())
        }
        Value::Leaf(tensor) => PtValue::Tensor(tensor),
    }
}
