//! The names a pickle may use, and what each of them makes: storages, tensors, dicts.

use std::sync::Arc;

use tch::Kind;

use super::dtype::storage_kind;
use super::unpickle::{Id, Machine, Node, Result};
use super::{LazyTensor, StorageRef};

/// Most dimensions of a tensor.
const MAX_RANK: usize = 16;

/// A name out of the closed list.
#[derive(Clone, Copy, Debug)]
pub(super) enum Global {
    /// `torch._utils._rebuild_tensor_v2`.
    RebuildTensor,
    /// `torch._utils._rebuild_parameter`.
    RebuildParameter,
    /// `collections.OrderedDict`.
    OrderedDict,
    /// `torch.FloatStorage` and its kin.
    Storage(Kind),
}

/// The closed list of names. Everything else is refused by its name.
pub(super) fn global(module: &str, name: &str) -> Option<Global> {
    match (module, name) {
        ("torch._utils", "_rebuild_tensor_v2") => Some(Global::RebuildTensor),
        ("torch._utils", "_rebuild_parameter") => Some(Global::RebuildParameter),
        ("collections", "OrderedDict") => Some(Global::OrderedDict),
        ("torch", name) => storage_kind(name).map(Global::Storage),
        _ => None,
    }
}

impl Machine<'_> {
    /// `("storage", torch.FloatStorage, key, location, numel)`: bytes that lie in the archive.
    pub(super) fn persistent_id(&mut self) -> Result<()> {
        let id = self.pop()?;
        let Node::Tuple(items) = &self.nodes[id] else {
            return Err("a persistent id that is not a tuple".into());
        };
        let items: Vec<&Node> = items.iter().map(|id| &self.nodes[*id]).collect();
        let [
            Node::Str(tag),
            Node::Global(Global::Storage(kind)),
            Node::Str(key),
            Node::Str(_),
            Node::Int(numel),
        ] = items[..]
        else {
            return Err("a persistent id that does not name a storage".into());
        };
        if tag != "storage" {
            return Err(format!("a persistent id of kind {tag:?}"));
        }
        let (kind, key) = (*kind, key.clone());
        let size = usize::try_from(*numel)
            .ok()
            .and_then(|n| n.checked_mul(kind.elt_size_in_bytes()));
        let (entry, found) = (self.find)(&key).ok_or_else(|| format!("no entry data/{key}"))?;
        if size != Some(found) {
            return Err(format!(
                "{entry} has {found} bytes, not {numel} elements of {kind:?}"
            ));
        }
        let fresh = Arc::new(StorageRef {
            entry,
            numel: *numel as i64,
        });
        let (known, storage) = self.storages.entry(key).or_insert((kind, fresh));
        if *known != kind {
            return Err(format!("{} is both {known:?} and {kind:?}", storage.entry));
        }
        let node = Node::Storage(kind, Arc::clone(storage));
        self.push(node)
    }

    /// Applies a global to its arguments, in the three forms that a state dict has.
    pub(super) fn reduce(&mut self) -> Result<()> {
        let pair = self.pop_many(2)?;
        let (Node::Global(global), Node::Tuple(arguments)) =
            (&self.nodes[pair[0]], &self.nodes[pair[1]])
        else {
            return Err("applies something that is not a global to a tuple".into());
        };
        match global {
            Global::OrderedDict if arguments.is_empty() => self.push(Node::Dict(Vec::new())),
            Global::OrderedDict => Err("an OrderedDict made of arguments".into()),
            Global::RebuildParameter => match arguments.first().map(|id| (*id, &self.nodes[*id])) {
                Some((id, Node::Tensor(_))) => self.push_id(id),
                _ => Err("a parameter that is not a tensor".into()),
            },
            Global::RebuildTensor => {
                let arguments = arguments
                    .iter()
                    .map(|id| &self.nodes[*id])
                    .collect::<Vec<_>>();
                let tensor = self.tensor(&arguments)?;
                self.push(Node::Tensor(tensor))
            }
            Global::Storage(_) => Err("a storage that is not in the archive".into()),
        }
    }

    /// `(storage, offset, shape, stride, requires_grad, hooks[, metadata])`.
    fn tensor(&self, arguments: &[&Node]) -> Result<LazyTensor> {
        // The seventh, where there is one, would make it a conjugated or negated view.
        let plain = match arguments {
            [plain @ .., _, _] if plain.len() == 4 => plain,
            [plain @ .., _, _, Node::None] if plain.len() == 4 => plain,
            _ => &[],
        };
        let [
            Node::Storage(kind, storage),
            Node::Int(offset),
            Node::Tuple(shape),
            Node::Tuple(stride),
        ] = plain
        else {
            return Err("a tensor with arguments that are not a plain tensor's".into());
        };
        if shape.len() > MAX_RANK || shape.len() != stride.len() {
            return Err(format!("a tensor of {} dimensions", shape.len()));
        }
        let sizes = |ids: &[Id]| -> Result<Vec<i64>> {
            let size = |id: &Id| match self.nodes[*id] {
                Node::Int(i) => i64::try_from(i).ok().filter(|i| *i >= 0),
                _ => None,
            };
            ids.iter()
                .map(|id| size(id).ok_or_else(|| "a size that is none".into()))
                .collect()
        };
        let (shape, stride) = (sizes(shape)?, sizes(stride)?);
        // Overflow saturates to far outside any storage.
        let numel = shape
            .iter()
            .fold(1_i128, |n, size| n.saturating_mul((*size).into()));
        let mut end = *offset;
        if numel > 0 {
            for (size, stride) in shape.iter().zip(&stride) {
                let step = i128::from(size - 1).saturating_mul((*stride).into());
                end = end.saturating_add(step);
            }
            end = end.saturating_add(1);
        }
        let available = i128::from(storage.numel);
        if *offset < 0 || end > available {
            return Err(format!("a tensor reaches outside {}", storage.entry));
        }
        if numel > available {
            return Err(format!(
                "a tensor of {numel} elements over {available} stored ones"
            ));
        }
        Ok(LazyTensor {
            kind: *kind,
            shape,
            stride,
            offset: *offset as i64,
            storage: Arc::clone(storage),
        })
    }
}
