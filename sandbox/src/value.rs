//! Python values as the host holds them, and their JSON form.
//!
//! JSON carries what it can say: `null`, booleans, numbers, strings, lists, and dicts whose keys are strings. The rest
//! travels as `{"$py": "<Python literal>"}`, so that a tuple stays a tuple: `[1, 2]` is a list,
//! `{"$py": "(1, 2)"}` a tuple. An integer beyond 64 bits has to be written as `$py` too, since JSON readers round it.

use std::fmt;

use num_bigint::BigInt;
use num_traits::ToPrimitive;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, json};

use crate::literal::{self, LiteralError};

/// Containers nested deeper than this are refused wherever a value enters: from JSON, a literal or the guest.
pub const MAX_DEPTH: usize = 100;

/// A Python value of an exact built-in type.
///
/// `==` is structural (`Int(1) != Bool(true)`, a dict's order counts). [`Value::py_eq`] is Python's `==`.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `None`.
    None,
    /// `True` and `False`.
    Bool(bool),
    /// An `int` of any size.
    Int(BigInt),
    /// A `float`.
    Float(f64),
    /// A `complex`.
    Complex {
        /// The real part.
        re: f64,
        /// The imaginary part.
        im: f64,
    },
    /// A `str` without lone surrogates (one that has them is [`Value::Opaque`]).
    Str(String),
    /// A `bytes`.
    Bytes(Vec<u8>),
    /// A `list`.
    List(Vec<Value>),
    /// A `tuple`.
    Tuple(Vec<Value>),
    /// A `dict`, in insertion order.
    Dict(Vec<(Value, Value)>),
    /// A `set`; the order says nothing.
    Set(Vec<Value>),
    /// A `frozenset`; the order says nothing.
    FrozenSet(Vec<Value>),
    /// Anything else, by the name of its type. It equals nothing, itself included.
    Opaque(String),
}

/// JSON that names no Python value.
#[derive(Debug, thiserror::Error)]
pub enum ValueError {
    /// The text behind `$py` is no literal.
    #[error("\"$py\": {source} in {literal:?}")]
    Literal {
        /// The text.
        literal: String,
        /// What is wrong with it.
        source: LiteralError,
    },
    /// `$py` or `$opaque` holds something other than a string.
    #[error("{key:?} holds {found}, not a string")]
    NotAString {
        /// The key.
        key: String,
        /// The JSON found in place of a string.
        found: String,
    },
    /// An object key with `$` that means nothing here.
    #[error(
        "unknown key {key:?}: keys that start with `$` are reserved, write such a dict as {{\"$py\": ..}}"
    )]
    ReservedKey {
        /// The key.
        key: String,
    },
    /// Nested beyond [`MAX_DEPTH`].
    #[error("nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
}

impl Value {
    /// Reads the JSON form.
    pub fn from_json(json: &serde_json::Value) -> Result<Value, ValueError> {
        from_json(json, MAX_DEPTH)
    }

    /// Writes the JSON form; [`Value::from_json`] gives the same value back.
    pub fn to_json(&self) -> serde_json::Value {
        let py = |value: &Value| json!({ "$py": value.to_literal() });
        match self {
            Value::None => serde_json::Value::Null,
            Value::Bool(b) => json!(b),
            Value::Int(i) => match (i.to_i64(), i.to_u64()) {
                (Some(i), _) => json!(i),
                (None, Some(u)) => json!(u),
                (None, None) => py(self),
            },
            Value::Float(f) if f.is_finite() => json!(f),
            Value::Str(s) => json!(s),
            Value::List(items) => items.iter().map(Value::to_json).collect(),
            Value::Dict(pairs) => {
                let mut object = Map::new();
                for (key, value) in pairs {
                    match key {
                        Value::Str(key) if !key.starts_with('$') => {
                            object.insert(key.clone(), value.to_json())
                        }
                        _ => return py(self),
                    };
                }
                serde_json::Value::Object(object)
            }
            Value::Opaque(type_name) => json!({ "$opaque": type_name }),
            _ => py(self),
        }
    }

    /// Parses one Python literal, as `ast.literal_eval` would, and also `float('nan')`, `float('inf')`,
    /// `complex(re, im)` and `frozenset(..)`, which have no literal of their own.
    pub fn parse_literal(text: &str) -> Result<Value, LiteralError> {
        literal::parse(text)
    }

    /// Parses a literal at the start of `text` and returns it with what follows, as in `(1, 2) -> 3`.
    pub fn parse_literal_prefix(text: &str) -> Result<(Value, &str), LiteralError> {
        literal::parse_prefix(text)
    }

    /// A Python expression for this value; [`Value::parse_literal`] gives the same value back, except for
    /// [`Value::Opaque`], which prints as `<opaque NAME>`.
    pub fn to_literal(&self) -> String {
        let mut out = String::new();
        literal::write(self, &mut out);
        out
    }

    /// Whether the value is, or holds, something of a type that does not cross to the host.
    pub fn has_opaque(&self) -> bool {
        match self {
            Value::Opaque(_) => true,
            Value::List(items)
            | Value::Tuple(items)
            | Value::Set(items)
            | Value::FrozenSet(items) => items.iter().any(Value::has_opaque),
            Value::Dict(pairs) => pairs
                .iter()
                .any(|(key, value)| key.has_opaque() || value.has_opaque()),
            _ => false,
        }
    }

    /// Whether Python could use the value as a dict key or a set element.
    pub(crate) fn hashable(&self) -> bool {
        match self {
            Value::List(_) | Value::Dict(_) | Value::Set(_) => false,
            Value::Tuple(items) => items.iter().all(Value::hashable),
            _ => true,
        }
    }
}

fn from_json(json: &serde_json::Value, depth: usize) -> Result<Value, ValueError> {
    if depth == 0 {
        return Err(ValueError::TooDeep);
    }
    Ok(match json {
        serde_json::Value::Null => Value::None,
        serde_json::Value::Bool(b) => Value::Bool(*b),
        serde_json::Value::Number(n) => match (n.as_i64(), n.as_u64(), n.as_f64()) {
            (Some(i), _, _) => Value::Int(i.into()),
            (None, Some(u), _) => Value::Int(u.into()),
            (None, None, f) => Value::Float(f.unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(s) => Value::Str(s.clone()),
        serde_json::Value::Array(items) => Value::List(
            items
                .iter()
                .map(|item| from_json(item, depth - 1))
                .collect::<Result<_, _>>()?,
        ),
        serde_json::Value::Object(object) => {
            let Some(key) = object.keys().find(|key| key.starts_with('$')) else {
                let pair = |(key, value)| {
                    Ok((Value::Str(String::clone(key)), from_json(value, depth - 1)?))
                };
                return Ok(Value::Dict(
                    object.iter().map(pair).collect::<Result<_, _>>()?,
                ));
            };
            let text = match (&object[key], object.len(), key.as_str()) {
                (serde_json::Value::String(text), 1, "$py" | "$opaque") => text,
                (found, 1, "$py" | "$opaque") => {
                    return Err(ValueError::NotAString {
                        key: key.clone(),
                        found: found.to_string(),
                    });
                }
                _ => return Err(ValueError::ReservedKey { key: key.clone() }),
            };
            if key == "$opaque" {
                return Ok(Value::Opaque(text.clone()));
            }
            literal::parse(text).map_err(|source| ValueError::Literal {
                literal: text.clone(),
                source,
            })?
        }
    })
}

impl From<i64> for Value {
    fn from(i: i64) -> Value {
        Value::Int(i.into())
    }
}

impl From<&str> for Value {
    fn from(s: &str) -> Value {
        Value::Str(s.to_owned())
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_literal())
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        Value::from_json(&serde_json::Value::deserialize(deserializer)?)
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Value, ValueError> {
        Value::from_json(&serde_json::from_str(json).unwrap())
    }

    #[test]
    fn json_and_back_is_the_same_value() {
        for json in [
            "null",
            "true",
            "1",
            "18446744073709551615",
            "1.0",
            "-0.0",
            "1e+300",
            r#""a\u0000b""#,
            "[1,[2,{}]]",
            r#"{"b":1,"a":[null]}"#,
            r#"{"$py":"(1, [2], {3})"}"#,
            r#"{"$py":"{1: 'a', (2,): b'\\xff'}"}"#,
            r#"[{"$py":"float('inf')"},{"$py":"123456789012345678901234567890"}]"#,
            r#"{"$py":"{'$py': 1}"}"#,
            r#"{"$opaque":"Foo"}"#,
        ] {
            assert_eq!(read(json).unwrap().to_json().to_string(), json);
        }
    }

    #[test]
    fn integers_and_floats_stay_apart() {
        assert_eq!(read("1").unwrap(), Value::from(1));
        assert_eq!(read("1.0").unwrap(), Value::Float(1.0));
    }

    #[test]
    fn errors_name_the_operand() {
        let cases = [
            (r#"{"$py": 3}"#, "\"$py\" holds 3, not a string"),
            (r#"{"$py": "(1"}"#, "\"$py\": "),
            (r#"{"$python": "1"}"#, "unknown key \"$python\""),
            (r#"{"a": 1, "$py": "1"}"#, "unknown key \"$py\""),
        ];
        for (json, message) in cases {
            assert!(
                read(json).unwrap_err().to_string().starts_with(message),
                "{json}"
            );
        }
        let deep = "[".repeat(101) + &"]".repeat(101);
        assert!(matches!(read(&deep), Err(ValueError::TooDeep)));
    }
}
