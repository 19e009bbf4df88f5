/// A value that a pickle describes; `L` is what its world adds to plain values.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<L> {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An integer of at most 16 bytes.
    Int(i128),
    /// A float.
    Float(f64),
    /// A string.
    Str(String),
    /// A list.
    List(Vec<Value<L>>),
    /// A tuple.
    Tuple(Vec<Value<L>>),
    /// A dict, in the order of insertion.
    Dict(Vec<(Value<L>, Value<L>)>),
    /// Something that only the world knows.
    Leaf(L),
}

impl<L> Value<L> {
    /// The type's name in Python, for errors.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::None => "None",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float",
            Value::Str(_) => "str",
            Value::List(_) => "list",
            Value::Tuple(_) => "tuple",
            Value::Dict(_) => "dict",
            Value::Leaf(_) => "object",
        }
    }
}
