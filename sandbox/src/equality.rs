//! Python's `==` between [`Value`]s, and a hash that agrees with it.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use num_bigint::BigInt;
use num_traits::{FromPrimitive, Zero};

use crate::value::Value;

impl Value {
    /// Python's `==`: `1 == 1.0 == True`, nan differs from itself, the order of dicts and sets does not count, a list
    /// never equals a tuple. [`Value::Opaque`] equals nothing.
    pub fn py_eq(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::None, Value::None) => true,
            (Value::Str(a), Value::Str(b)) => a == b,
            (Value::Bytes(a), Value::Bytes(b)) => a == b,
            (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.py_eq(b))
            }
            (Value::Set(a) | Value::FrozenSet(a), Value::Set(b) | Value::FrozenSet(b)) => {
                let index = Index::new(b.iter());
                a.len() == b.len() && a.iter().all(|item| index.find(item).is_some())
            }
            (Value::Dict(a), Value::Dict(b)) => {
                let index = Index::new(b.iter().map(|(key, _)| key));
                a.len() == b.len()
                    && a.iter()
                        .all(|(key, value)| index.find(key).is_some_and(|at| value.py_eq(&b[at].1)))
            }
            _ => match (Number::of(self), Number::of(other)) {
                (Some(a), Some(b)) => a == b,
                _ => false,
            },
        }
    }
}

/// A number in the one form all its equals share: an integer if it is one, so `1`, `1.0`, `True` and `1+0j` meet.
#[derive(PartialEq)]
enum Number {
    Integer(BigInt),
    Real(f64),
    Complex(f64, f64),
}

impl Number {
    fn of(value: &Value) -> Option<Number> {
        Some(match value {
            Value::Bool(b) => Number::Integer(BigInt::from(u8::from(*b))),
            Value::Int(i) => Number::Integer(i.clone()),
            Value::Float(f) => Number::real(*f),
            Value::Complex { re, im } if im.is_zero() => Number::real(*re),
            Value::Complex { re, im } => Number::Complex(*re, *im),
            _ => return None,
        })
    }

    fn real(f: f64) -> Number {
        let integer = if f.fract() == 0.0 {
            BigInt::from_f64(f)
        } else {
            None
        };
        integer.map_or(Number::Real(f), Number::Integer)
    }
}

/// Feeds `value` to `hasher` so that values that are `py_eq` hash alike.
fn hash(value: &Value, hasher: &mut DefaultHasher) {
    match value {
        Value::None => 0.hash(hasher),
        Value::Str(s) => (1, s).hash(hasher),
        Value::Bytes(b) => (2, b).hash(hasher),
        Value::List(items) => sequence(3, items, hasher),
        Value::Tuple(items) => sequence(4, items, hasher),
        Value::Set(items) | Value::FrozenSet(items) => unordered(5, items.iter(), hasher),
        Value::Dict(pairs) => unordered(6, pairs.iter().map(|(key, _)| key), hasher),
        Value::Opaque(_) => 7.hash(hasher),
        Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Complex { .. } => {
            match Number::of(value) {
                Some(Number::Integer(i)) => (8, i).hash(hasher),
                Some(Number::Real(f)) => (9, bits(f)).hash(hasher),
                Some(Number::Complex(re, im)) => (10, bits(re), bits(im)).hash(hasher),
                None => {}
            }
        }
    }
}

/// The bits of a float, with both zeros alike (the zero part of a complex number may carry a sign).
fn bits(f: f64) -> u64 {
    if f == 0.0 { 0 } else { f.to_bits() }
}

fn sequence(tag: u8, items: &[Value], hasher: &mut DefaultHasher) {
    (tag, items.len()).hash(hasher);
    items.iter().for_each(|item| hash(item, hasher));
}

fn unordered<'a>(tag: u8, items: impl Iterator<Item = &'a Value>, hasher: &mut DefaultHasher) {
    (
        tag,
        items.fold(0_u64, |sum, item| sum.wrapping_add(hash_of(item))),
    )
        .hash(hasher);
}

fn hash_of(value: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    hash(value, &mut hasher);
    hasher.finish()
}

/// Finds values by Python's `==` without comparing all pairs: what the guest returns must not cost the host a quadratic
/// number of steps.
#[derive(Default)]
pub(crate) struct Index<'a> {
    buckets: HashMap<u64, Vec<(usize, &'a Value)>>,
}

impl<'a> Index<'a> {
    pub(crate) fn new(items: impl Iterator<Item = &'a Value>) -> Index<'a> {
        let mut index = Index::default();
        for (at, item) in items.enumerate() {
            index.insert(at, item);
        }
        index
    }

    pub(crate) fn insert(&mut self, at: usize, item: &'a Value) {
        self.buckets
            .entry(hash_of(item))
            .or_default()
            .push((at, item));
    }

    /// Where an equal of `item` stands.
    pub(crate) fn find(&self, item: &Value) -> Option<usize> {
        let bucket = self.buckets.get(&hash_of(item))?;
        bucket
            .iter()
            .find(|(_, other)| item.py_eq(other))
            .map(|(at, _)| *at)
    }

    /// Removes one equal of `item`; says whether there was one.
    pub(crate) fn take(&mut self, item: &Value) -> bool {
        let Some(bucket) = self.buckets.get_mut(&hash_of(item)) else {
            return false;
        };
        match bucket.iter().position(|(_, other)| item.py_eq(other)) {
            Some(at) => {
                bucket.swap_remove(at);
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v(text: &str) -> Value {
        Value::parse_literal(text).unwrap()
    }

    #[test]
    fn equal_values() {
        for (a, b) in [
            ("1", "1.0"),
            ("1", "True"),
            ("0", "-0.0"),
            ("complex(1, 0)", "True"),
            ("complex(-0.0, 1)", "complex(0.0, 1)"),
            ("9007199254740992", "9007199254740992.0"),
            ("{1: 'a', 2: 'b'}", "{2.0: 'b', True: 'a'}"),
            ("{1, (2, 3)}", "frozenset({(2.0, 3), 1})"),
            ("{frozenset({1, 2})}", "{frozenset({2, 1})}"),
            ("float('inf')", "float('inf')"),
            ("[[], ()]", "[[], ()]"),
        ] {
            assert!(v(a).py_eq(&v(b)) && v(b).py_eq(&v(a)), "{a} == {b}");
            assert_eq!(hash_of(&v(a)), hash_of(&v(b)), "hash of {a} and {b}");
        }
    }

    #[test]
    fn unequal_values() {
        for (a, b) in [
            ("[1]", "(1,)"),
            ("'a'", "b'a'"),
            ("float('nan')", "float('nan')"),
            ("{float('nan')}", "{float('nan')}"),
            ("9007199254740993", "9007199254740992.0"),
            ("None", "False"),
            ("{}", "set()"),
            ("{1: 2}", "{1: 3}"),
            ("{1: 2}", "{1: 2, 3: 4}"),
            ("'1'", "1"),
            ("1e400", "1"),
        ] {
            assert!(!v(a).py_eq(&v(b)) && !v(b).py_eq(&v(a)), "{a} != {b}");
        }
        let opaque = Value::Opaque("Foo".into());
        assert!(!opaque.py_eq(&opaque));
    }

    /// `==` of the machine's Python is the oracle, on all pairs of generated values.
    #[test]
    fn agrees_with_python_on_generated_values() {
        let leaves = [
            "0",
            "1",
            "2",
            "True",
            "False",
            "1.0",
            "0.5",
            "-0.0",
            "complex(1, 0)",
            "complex(0, 1)",
            "None",
            "'1'",
            "'a'",
            "b'a'",
            "float('inf')",
            "float('nan')",
            "2**53 + 1",
            "2.0**53",
            "()",
            "frozenset()",
        ];
        let mut state = 3_u64;
        let mut next = |below: usize| {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (state >> 33) as usize % below
        };
        let mut texts: Vec<String> = leaves
            .iter()
            .map(|leaf| leaf.replace("2**53 + 1", "9007199254740993"))
            .collect();
        texts
            .iter_mut()
            .for_each(|text| *text = text.replace("2.0**53", "9007199254740992.0"));
        for _ in 0..200 {
            let (a, b) = (
                texts[next(texts.len())].clone(),
                texts[next(texts.len())].clone(),
            );
            let text = match next(6) {
                0 => format!("[{a}, {b}]"),
                1 => format!("({a}, {b})"),
                2 => format!("{{{a}, {b}}}"),
                3 => format!("{{{a}: {b}, {b}: {a}}}"),
                4 => format!("frozenset({{{a}, {b}}})"),
                _ => format!("({b},)"),
            };
            if text.len() < 60 && Value::parse_literal(&text).is_ok() {
                texts.push(text);
            }
        }
        // Evaluated afresh on each side, so that no two nans are the same object.
        let script = "import json, sys\ntexts = json.load(sys.stdin)\nfor a in texts: print(''.join('01'[eval(a) == eval(b)] for b in texts))";
        let Some(answers) = crate::oracle::python(script, &serde_json::to_string(&texts).unwrap())
        else {
            return;
        };
        let values: Vec<Value> = texts.iter().map(|text| v(text)).collect();
        for (a, row) in values.iter().zip(answers.lines()) {
            for (b, answer) in values.iter().zip(row.chars()) {
                assert_eq!(a.py_eq(b), answer == '1', "{a} == {b}");
            }
        }
    }

    #[test]
    fn large_sets_compare_in_linear_time() {
        let set = |from: i64| Value::Set((from..from + 200_000).map(Value::from).collect());
        assert!(set(0).py_eq(&set(0)));
        assert!(!set(0).py_eq(&set(1)));
    }
}
