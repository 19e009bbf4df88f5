//! The element types a `.pt` file may hold, under the names torch gives their storages.

use tch::Kind;

/// Every element type we write or read, with the `torch` global that names its storage.
const STORAGES: [(Kind, &str); 10] = [
    (Kind::Float, "FloatStorage"),
    (Kind::Double, "DoubleStorage"),
    (Kind::Half, "HalfStorage"),
    (Kind::BFloat16, "BFloat16Storage"),
    (Kind::Int64, "LongStorage"),
    (Kind::Int, "IntStorage"),
    (Kind::Int16, "ShortStorage"),
    (Kind::Int8, "CharStorage"),
    (Kind::Uint8, "ByteStorage"),
    (Kind::Bool, "BoolStorage"),
];

/// The storage class of an element type, if it is one of ours.
pub(super) fn storage_name(kind: Kind) -> Option<&'static str> {
    STORAGES
        .iter()
        .find(|(k, _)| *k == kind)
        .map(|(_, name)| *name)
}

/// The element type of a storage class, if it is one of ours.
pub(super) fn storage_kind(name: &str) -> Option<Kind> {
    STORAGES
        .iter()
        .find(|(_, n)| *n == name)
        .map(|(kind, _)| *kind)
}

/// The element type's name as torch prints it, without the `torch.`.
pub fn dtype_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Float => "float32",
        Kind::Double => "float64",
        Kind::Half => "float16",
        Kind::BFloat16 => "bfloat16",
        Kind::Int64 => "int64",
        Kind::Int => "int32",
        Kind::Int16 => "int16",
        Kind::Int8 => "int8",
        Kind::Uint8 => "uint8",
        Kind::Bool => "bool",
        _ => "unsupported",
    }
}
