//! The names a pickle may use, and what each of them makes: storages, tensors, dicts.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use gauntlet_pickle::{Id, Made, Node, Result, World};
use tch::Kind;

use super::dtype::storage_kind;
use super::unpickle::{FindStorage, MAX_PICKLE};
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

/// The archive that a pickle's names and ids are about.
pub(super) struct Torch<'a> {
    find: FindStorage<'a>,
    storages: HashMap<String, (Kind, Arc<StorageRef>)>,
}

/// What a name, a persistent id or an application gives.
#[derive(Clone, Debug)]
pub(super) enum Object {
    /// A name.
    Global(Global),
    /// Bytes in the archive.
    Storage(Kind, Arc<StorageRef>),
    /// A tensor over them.
    Tensor(LazyTensor),
}

type TorchNode = Node<Object>;

impl<'a> Torch<'a> {
    /// Storages are looked for with `find`.
    pub(super) fn new(find: FindStorage<'a>) -> Torch<'a> {
        Torch {
            find,
            storages: HashMap::new(),
        }
    }
}

impl World for Torch<'_> {
    type Object = Object;
    type Leaf = LazyTensor;

    const PROTOCOLS: RangeInclusive<u8> = 2..=2;
    const MAX_PICKLE: usize = MAX_PICKLE;

    fn global(&self, module: &str, name: &str) -> Option<Object> {
        global(module, name).map(Object::Global)
    }

    /// `("storage", torch.FloatStorage, key, location, numel)`: bytes that lie in the archive.
    fn persistent_id(&mut self, nodes: &[TorchNode], id: Id) -> Result<Object> {
        let Node::Tuple(items) = &nodes[id] else {
            return Err("a persistent id that is not a tuple".into());
        };
        let items: Vec<&TorchNode> = items.iter().map(|id| &nodes[*id]).collect();
        let [
            Node::Str(tag),
            Node::Object(Object::Global(Global::Storage(kind))),
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
        Ok(Object::Storage(kind, Arc::clone(storage)))
    }

    /// Applies a global to its arguments, in the three forms that a state dict has.
    fn reduce(
        &mut self,
        nodes: &[TorchNode],
        object: &Object,
        arguments: &[Id],
    ) -> Result<Made<Object>> {
        let Object::Global(global) = object else {
            return Err("applies something that is not a global to a tuple".into());
        };
        match global {
            Global::OrderedDict if arguments.is_empty() => Ok(Made::Fresh(Node::Dict(Vec::new()))),
            Global::OrderedDict => Err("an OrderedDict made of arguments".into()),
            Global::RebuildParameter => match arguments.first().map(|id| (*id, &nodes[*id])) {
                Some((id, Node::Object(Object::Tensor(_)))) => Ok(Made::Known(id)),
                _ => Err("a parameter that is not a tensor".into()),
            },
            Global::RebuildTensor => {
                let arguments = arguments.iter().map(|id| &nodes[*id]).collect::<Vec<_>>();
                let tensor = tensor(nodes, &arguments)?;
                Ok(Made::Fresh(Node::Object(Object::Tensor(tensor))))
            }
            Global::Storage(_) => Err("a storage that is not in the archive".into()),
        }
    }

    fn leaf(&self, object: &Object) -> Result<LazyTensor> {
        match object {
            Object::Tensor(tensor) => Ok(tensor.clone()),
            Object::Storage(..) => Err("holds a storage outside a tensor".into()),
            Object::Global(global) => Err(format!("holds {global:?} as a value")),
        }
    }
}

/// `(storage, offset, shape, stride, requires_grad, hooks[, metadata])`.
fn tensor(nodes: &[TorchNode], arguments: &[&TorchNode]) -> Result<LazyTensor> {
    // The seventh, where there is one, would make it a conjugated or negated view.
    let plain = match arguments {
        [plain @ .., _, _] if plain.len() == 4 => plain,
        [plain @ .., _, _, Node::None] if plain.len() == 4 => plain,
        _ => &[],
    };
    let [
        Node::Object(Object::Storage(kind, storage)),
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
        let size = |id: &Id| match nodes[*id] {
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
