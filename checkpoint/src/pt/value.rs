//! What a `.pt` file says: plain values and tensors, nothing that runs.

use std::sync::Arc;

use serde_json::Value as Json;
use tch::Kind;

/// A value of a `.pt` file, generic over its tensors: [`super::HostTensor`] when written,
/// [`LazyTensor`] when read.
#[derive(Clone, Debug, PartialEq)]
pub enum PtValue<T> {
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
    List(Vec<PtValue<T>>),
    /// A tuple.
    Tuple(Vec<PtValue<T>>),
    /// A dict or an `OrderedDict`, in the order of insertion.
    Dict(Vec<(PtValue<T>, PtValue<T>)>),
    /// A tensor.
    Tensor(T),
}

/// A tensor that is described, not yet read.
#[derive(Clone, Debug, PartialEq)]
pub struct LazyTensor {
    /// Element type.
    pub kind: Kind,
    /// Size of each dimension.
    pub shape: Vec<i64>,
    /// Elements to step over for each dimension.
    pub stride: Vec<i64>,
    /// First element inside the storage.
    pub offset: i64,
    /// The storage; tensors with the same storage share memory when read.
    pub storage: Arc<StorageRef>,
}

impl LazyTensor {
    /// Number of elements.
    pub fn numel(&self) -> i64 {
        self.shape.iter().product()
    }
}

/// Where a tensor's elements lie in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageRef {
    /// Name of the archive entry.
    pub entry: String,
    /// Number of elements in it.
    pub numel: i64,
}

impl<T> PtValue<T> {
    /// A string value.
    pub fn str(text: impl Into<String>) -> Self {
        Self::Str(text.into())
    }

    /// A dict with string keys.
    pub fn dict<K: Into<String>>(items: impl IntoIterator<Item = (K, Self)>) -> Self {
        Self::Dict(
            items
                .into_iter()
                .map(|(key, value)| (Self::str(key), value))
                .collect(),
        )
    }

    /// The type's name in Python, for errors.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Bool(_) => "a bool",
            Self::Int(_) => "an int",
            Self::Float(_) => "a float",
            Self::Str(_) => "a str",
            Self::List(_) => "a list",
            Self::Tuple(_) => "a tuple",
            Self::Dict(_) => "a dict",
            Self::Tensor(_) => "a tensor",
        }
    }

    /// A JSON value as plain Python values; every number keeps its value.
    pub fn from_json(json: &Json) -> Self {
        match json {
            Json::Null => Self::None,
            Json::Bool(b) => Self::Bool(*b),
            Json::Number(n) => match (n.as_i64(), n.as_u64(), n.as_f64()) {
                (Some(i), _, _) => Self::Int(i.into()),
                (_, Some(u), _) => Self::Int(u.into()),
                (_, _, f) => Self::Float(f.unwrap_or(f64::NAN)),
            },
            Json::String(s) => Self::str(s),
            Json::Array(items) => Self::List(items.iter().map(Self::from_json).collect()),
            Json::Object(map) => {
                Self::dict(map.iter().map(|(key, value)| (key, Self::from_json(value))))
            }
        }
    }
}

/// A value together with the way that led to it, so that a refusal says where it stands.
#[derive(Debug)]
pub struct At<'a, T> {
    path: String,
    value: &'a PtValue<T>,
}

impl<T> Clone for At<'_, T> {
    fn clone(&self) -> Self {
        Self {
            path: self.path.clone(),
            value: self.value,
        }
    }
}

/// A value that is not what it should be: `path: reason`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct Unexpected {
    /// The way to the value, as in `optimizer_state_dict.param_groups[0].lr`.
    pub path: String,
    /// What was expected and what is there.
    pub reason: String,
}

impl<'a, T> At<'a, T> {
    /// Stands at the root of a file.
    pub fn root(value: &'a PtValue<T>) -> Self {
        Self {
            path: String::new(),
            value,
        }
    }

    /// The value itself.
    pub fn value(&self) -> &'a PtValue<T> {
        self.value
    }

    /// An error at this place.
    pub fn error(&self, reason: impl Into<String>) -> Unexpected {
        let path = if self.path.is_empty() {
            "the file"
        } else {
            &self.path
        };
        Unexpected {
            path: path.into(),
            reason: reason.into(),
        }
    }

    fn expected<R>(&self, what: &str) -> Result<R, Unexpected> {
        Err(self.error(format!("is {}, expected {what}", self.value.type_name())))
    }

    fn below(&self, step: std::fmt::Arguments<'_>, value: &'a PtValue<T>) -> Self {
        Self {
            path: format!("{}{step}", self.path),
            value,
        }
    }

    /// A dict's items with string keys.
    pub fn items(&self) -> Result<Vec<(&'a str, Self)>, Unexpected> {
        let PtValue::Dict(items) = self.value else {
            return self.expected("a dict");
        };
        let dot = if self.path.is_empty() { "" } else { "." };
        items
            .iter()
            .map(|(key, value)| match key {
                PtValue::Str(key) => {
                    Ok((key.as_str(), self.below(format_args!("{dot}{key}"), value)))
                }
                other => Err(self.error(format!("has {} as a key", other.type_name()))),
            })
            .collect()
    }

    /// A dict's value under a string key, if it is there. The last one counts, as in Python.
    pub fn get(&self, key: &str) -> Result<Option<Self>, Unexpected> {
        let PtValue::Dict(items) = self.value else {
            return self.expected("a dict");
        };
        let dot = if self.path.is_empty() { "" } else { "." };
        let found = items
            .iter()
            .rfind(|(k, _)| matches!(k, PtValue::Str(k) if k == key));
        Ok(found.map(|(_, value)| self.below(format_args!("{dot}{key}"), value)))
    }

    /// A dict's value under a string key.
    pub fn key(&self, key: &str) -> Result<Self, Unexpected> {
        if let Some(found) = self.get(key)? {
            return Ok(found);
        }
        let names: Vec<&str> = match self.value {
            PtValue::Dict(items) => items
                .iter()
                .filter_map(|(k, _)| k.as_name())
                .take(12)
                .collect(),
            _ => Vec::new(),
        };
        Err(self.error(format!(
            "has no key {key:?}; its keys are: {}",
            names.join(", ")
        )))
    }

    /// A dict's value under an integer key.
    pub fn int_key(&self, key: i128) -> Result<Self, Unexpected> {
        let PtValue::Dict(items) = self.value else {
            return self.expected("a dict");
        };
        let found = items
            .iter()
            .rfind(|(k, _)| matches!(k, PtValue::Int(k) if *k == key));
        match found {
            Some((_, value)) => Ok(self.below(format_args!("[{key}]"), value)),
            None => Err(self.error(format!("has no key {key}"))),
        }
    }

    /// The elements of a list or tuple.
    pub fn elements(&self) -> Result<Vec<Self>, Unexpected> {
        match self.value {
            PtValue::List(items) | PtValue::Tuple(items) => Ok(items
                .iter()
                .enumerate()
                .map(|(i, value)| self.below(format_args!("[{i}]"), value))
                .collect()),
            _ => self.expected("a list"),
        }
    }

    /// The value, unless it is `None`.
    pub fn some(&self) -> Option<Self> {
        (!matches!(self.value, PtValue::None)).then(|| self.clone())
    }

    /// A string.
    pub fn as_str(&self) -> Result<&'a str, Unexpected> {
        match self.value {
            PtValue::Str(text) => Ok(text),
            _ => self.expected("a str"),
        }
    }

    /// An integer.
    pub fn as_i64(&self) -> Result<i64, Unexpected> {
        match self.value {
            PtValue::Int(i) => {
                i64::try_from(*i).map_err(|_| self.error(format!("{i} is out of range")))
            }
            _ => self.expected("an int"),
        }
    }

    /// A number.
    pub fn as_f64(&self) -> Result<f64, Unexpected> {
        match self.value {
            PtValue::Float(f) => Ok(*f),
            PtValue::Int(i) => Ok(*i as f64),
            _ => self.expected("a number"),
        }
    }

    /// A tensor.
    pub fn as_tensor(&self) -> Result<&'a T, Unexpected> {
        match self.value {
            PtValue::Tensor(tensor) => Ok(tensor),
            _ => self.expected("a tensor"),
        }
    }

    /// Plain values as JSON. Tuples become arrays; tensors and non-finite floats have no JSON form.
    pub fn to_json(&self) -> Result<Json, Unexpected> {
        Ok(match self.value {
            PtValue::None => Json::Null,
            PtValue::Bool(b) => Json::Bool(*b),
            PtValue::Int(i) => match (i64::try_from(*i), u64::try_from(*i)) {
                (Ok(i), _) => i.into(),
                (_, Ok(u)) => u.into(),
                _ => return Err(self.error(format!("{i} is out of range"))),
            },
            PtValue::Float(f) => match serde_json::Number::from_f64(*f) {
                Some(number) => Json::Number(number),
                None => return Err(self.error(format!("{f} is not a finite number"))),
            },
            PtValue::Str(text) => Json::String(text.clone()),
            PtValue::List(_) | PtValue::Tuple(_) => Json::Array(
                self.elements()?
                    .iter()
                    .map(Self::to_json)
                    .collect::<Result<_, _>>()?,
            ),
            PtValue::Dict(_) => {
                let items = self.items()?.into_iter();
                Json::Object(
                    items
                        .map(|(k, v)| Ok((k.into(), v.to_json()?)))
                        .collect::<Result<_, _>>()?,
                )
            }
            PtValue::Tensor(_) => return self.expected("a plain value"),
        })
    }
}

impl<T> PtValue<T> {
    fn as_name(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Plain = PtValue<()>;

    #[test]
    fn errors_say_where_and_what() {
        let group = Plain::dict([("lr", Plain::str("fast"))]);
        let value = Plain::dict([
            ("groups", Plain::List(vec![group])),
            ("n", Plain::Int(1 << 70)),
        ]);
        let root = At::root(&value);
        let group = &root.key("groups").unwrap().elements().unwrap()[0];
        let lr = group.key("lr").unwrap().as_f64().unwrap_err();
        assert_eq!(lr.to_string(), "groups[0].lr: is a str, expected a number");
        assert_eq!(
            root.key("weights").unwrap_err().to_string(),
            "the file: has no key \"weights\"; its keys are: groups, n"
        );
        assert_eq!(
            root.key("n").unwrap().as_i64().unwrap_err().to_string(),
            "n: 1180591620717411303424 is out of range"
        );
    }

    #[test]
    fn json_survives_both_ways() {
        let json = serde_json::json!({
            "a": [1, -2, 0.1, null, true, "x"], "big": u64::MAX, "small": i64::MIN, "nested": {"": {}}
        });
        let value = Plain::from_json(&json);
        assert_eq!(At::root(&value).to_json().unwrap(), json);
        let nan = Plain::Float(f64::NAN);
        assert!(
            At::root(&nan)
                .to_json()
                .unwrap_err()
                .to_string()
                .contains("not a finite number")
        );
    }
}
