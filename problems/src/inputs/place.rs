//! What is known about one place in the arguments: the values that gold tests put there.
//!
//! A place is a parameter, or the elements of a list at a place, and so on down. Inputs are drawn
//! place by place, so that a key is made like the other keys and a weight like the other weights.

use std::mem::discriminant;

use gauntlet_sandbox::Value;

use super::habits::Habits;
use super::shape::Shape;

/// A place, with one variant for each type of value that stands there.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) variants: Vec<Variant>,
}

/// The values of one type at a place.
#[derive(Debug, Clone)]
pub(super) struct Variant {
    /// A value of the type, which says which type it is.
    pub(super) sample: Value,
    /// The values seen; none where only the annotation says that the type may stand here.
    pub(super) seen: Vec<Value>,
    /// List, set: the elements. Dict: keys, values. Tuple: one place an index, or one for all of them
    /// where the lengths differ.
    pub(super) inner: Vec<Place>,
    /// What all values seen have in common.
    pub(super) habits: Habits,
}

impl Place {
    /// Learns a place from the values seen there and from what its annotation allows.
    pub(super) fn learn(seen: Vec<&Value>, shape: &Shape) -> Place {
        let options = shape.options();
        let mut groups: Vec<Vec<&Value>> = Vec::new();
        for value in seen {
            match groups
                .iter_mut()
                .find(|group| discriminant(group[0]) == discriminant(value))
            {
                Some(group) => group.push(value),
                None => groups.push(vec![value]),
            }
        }
        let mut variants: Vec<Variant> = groups
            .into_iter()
            .map(|group| {
                let matching = options.iter().find(|shape| is_of(group[0], shape));
                Variant::learn(
                    group[0].clone(),
                    group,
                    matching.copied().unwrap_or(&Shape::Any),
                )
            })
            .collect();
        for option in options {
            // Gold tests that give integers for a float mean what they say.
            let known = variants
                .iter()
                .any(|variant| is_of(&variant.sample, option));
            if let (false, Some(sample)) = (known, empty_of(option)) {
                variants.push(Variant::learn(sample, Vec::new(), option));
            }
        }
        if variants.is_empty() {
            variants.push(Variant::learn(Value::from(0), Vec::new(), &Shape::Int));
        }
        Place { variants }
    }

    /// The variant of a value's type.
    pub(super) fn variant_of(&self, value: &Value) -> Option<&Variant> {
        self.variants
            .iter()
            .find(|variant| discriminant(&variant.sample) == discriminant(value))
    }
}

impl Variant {
    fn learn(sample: Value, seen: Vec<&Value>, shape: &Shape) -> Variant {
        let all = |at: &dyn Fn(&Value) -> Vec<Value>| -> Vec<Value> {
            seen.iter().flat_map(|v| at(v)).collect()
        };
        let place =
            |values: Vec<Value>, shape: &Shape| Place::learn(values.iter().collect(), shape);
        let inner = match (&sample, shape) {
            (Value::List(_), Shape::List(inner)) | (Value::Set(_), Shape::Set(inner)) => {
                vec![place(all(&items), inner)]
            }
            (Value::FrozenSet(_), Shape::FrozenSet(inner)) => vec![place(all(&items), inner)],
            (Value::List(_) | Value::Set(_) | Value::FrozenSet(_), _) => {
                vec![place(all(&items), &Shape::Any)]
            }
            (Value::Tuple(first), _) => {
                let fixed =
                    seen.iter().all(|value| items(value).len() == first.len()) && !first.is_empty();
                let shape_at = |index: usize| match shape {
                    Shape::Tuple(shapes) => shapes.get(index).unwrap_or(&Shape::Any),
                    Shape::Tuples(inner) => inner.as_ref(),
                    _ => &Shape::Any,
                };
                match fixed && !matches!(shape, Shape::Tuples(_)) {
                    true => (0..first.len())
                        .map(|index| {
                            place(
                                all(&|value| {
                                    items(value).get(index).cloned().into_iter().collect()
                                }),
                                shape_at(index),
                            )
                        })
                        .collect(),
                    false => vec![place(all(&items), shape_at(0))],
                }
            }
            (Value::Dict(_), _) => {
                let (keys, values) = match shape {
                    Shape::Dict(keys, values) => (keys.as_ref(), values.as_ref()),
                    _ => (&Shape::Any, &Shape::Any),
                };
                let part = |pick: fn(&(Value, Value)) -> Value| {
                    move |value: &Value| match value {
                        Value::Dict(pairs) => pairs.iter().map(pick).collect(),
                        _ => Vec::new(),
                    }
                };
                vec![
                    place(all(&part(|pair| pair.0.clone())), keys),
                    place(all(&part(|pair| pair.1.clone())), values),
                ]
            }
            _ => Vec::new(),
        };
        let habits = Habits::of(&seen);
        Variant {
            sample,
            seen: seen.into_iter().cloned().collect(),
            inner,
            habits,
        }
    }
}

/// The items of a container, in order; a string has none.
pub(super) fn items(value: &Value) -> Vec<Value> {
    match value {
        Value::List(items) | Value::Tuple(items) | Value::Set(items) | Value::FrozenSet(items) => {
            items.clone()
        }
        _ => Vec::new(),
    }
}

fn is_of(value: &Value, shape: &Shape) -> bool {
    matches!(
        (value, shape),
        (Value::None, Shape::None)
            | (Value::Bool(_), Shape::Bool)
            | (Value::Int(_), Shape::Int | Shape::Float)
            | (Value::Float(_), Shape::Float)
            | (Value::Str(_), Shape::Str)
            | (Value::Bytes(_), Shape::Bytes)
            | (Value::List(_), Shape::List(_))
            | (Value::Tuple(_), Shape::Tuple(_) | Shape::Tuples(_))
            | (Value::Dict(_), Shape::Dict(..))
            | (Value::Set(_), Shape::Set(_))
            | (Value::FrozenSet(_), Shape::FrozenSet(_))
    )
}

fn empty_of(shape: &Shape) -> Option<Value> {
    Some(match shape {
        Shape::None => Value::None,
        Shape::Bool => Value::Bool(false),
        Shape::Int => Value::from(0),
        Shape::Float => Value::Float(0.0),
        Shape::Str => Value::from(""),
        Shape::Bytes => Value::Bytes(Vec::new()),
        Shape::List(_) => Value::List(Vec::new()),
        Shape::Tuple(shapes) => Value::Tuple(vec![Value::None; shapes.len()]),
        Shape::Tuples(_) => Value::Tuple(Vec::new()),
        Shape::Dict(..) => Value::Dict(Vec::new()),
        Shape::Set(_) => Value::Set(Vec::new()),
        Shape::FrozenSet(_) => Value::FrozenSet(Vec::new()),
        Shape::Union(_) | Shape::Any => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learn(literals: &[&str], annotation: &str) -> Place {
        let values: Vec<Value> = literals
            .iter()
            .map(|text| Value::parse_literal(text).unwrap())
            .collect();
        Place::learn(values.iter().collect(), &Shape::parse(annotation))
    }

    #[test]
    fn values_are_grouped_by_place_and_type() {
        let place = learn(
            &["[('a', 1), ('b', 2)]", "[]", "None"],
            "list[tuple[str, int]] | None",
        );
        assert_eq!(place.variants.len(), 2);
        let tuples = &place.variants[0].inner[0].variants[0];
        assert_eq!(tuples.inner.len(), 2);
        assert_eq!(
            tuples.inner[1].variants[0].seen,
            [Value::from(1), Value::from(2)]
        );
    }

    #[test]
    fn the_annotation_adds_what_no_test_shows() {
        let place = learn(&["[]"], "list[int] | str");
        assert_eq!(place.variants.len(), 2);
        assert_eq!(
            place.variants[0].inner[0].variants[0].sample,
            Value::from(0)
        );
        assert_eq!(learn(&["1"], "float").variants.len(), 1);
        assert_eq!(learn(&[], "").variants.len(), 1);
    }
}
