//! How a test compares what it expected with what it got.

use num_traits::ToPrimitive;
use serde::{Deserialize, Serialize};

use crate::equality::Index;
use crate::value::Value;

/// The comparison a problem asks for: `"exact"`, `{"float": 1e-6}` or `"any_order"` in files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Comparison {
    /// Python's `==`.
    #[default]
    Exact,
    /// Python's `==`, but where either number is a float (or complex) the two may differ by the tolerance, absolute
    /// below 1 and relative to the expected number above. Two nans agree. Dict keys and set elements stay exact.
    Float(f64),
    /// Python's `==`, but the elements of the outermost list (or tuple) may come in any order.
    AnyOrder,
}

impl Comparison {
    /// Whether `got` is an answer as good as `expected`.
    pub fn equal(&self, expected: &Value, got: &Value) -> bool {
        match (self, expected, got) {
            (Comparison::Exact, ..) => expected.py_eq(got),
            (Comparison::Float(tolerance), ..) => close(expected, got, *tolerance),
            (Comparison::AnyOrder, Value::List(a), Value::List(b))
            | (Comparison::AnyOrder, Value::Tuple(a), Value::Tuple(b)) => {
                let mut rest = Index::new(b.iter());
                a.len() == b.len() && a.iter().all(|item| rest.take(item))
            }
            (Comparison::AnyOrder, ..) => expected.py_eq(got),
        }
    }
}

fn close(expected: &Value, got: &Value, tolerance: f64) -> bool {
    match (expected, got) {
        (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| close(a, b, tolerance))
        }
        (Value::Dict(a), Value::Dict(b)) => {
            let index = Index::new(b.iter().map(|(key, _)| key));
            let matches = |(key, value): &(Value, Value)| {
                index
                    .find(key)
                    .is_some_and(|at| close(value, &b[at].1, tolerance))
            };
            a.len() == b.len() && a.iter().all(matches)
        }
        _ if expected.py_eq(got) => true,
        _ => match (parts(expected), parts(got)) {
            (Some((a, a_exact)), Some((b, b_exact))) if !(a_exact && b_exact) => {
                near(a.0, b.0, tolerance) && near(a.1, b.1, tolerance)
            }
            _ => false,
        },
    }
}

/// A number's real and imaginary part, and whether it is an integer, which no tolerance applies to.
fn parts(value: &Value) -> Option<((f64, f64), bool)> {
    match value {
        Value::Bool(b) => Some(((f64::from(u8::from(*b)), 0.0), true)),
        Value::Int(i) => Some(((i.to_f64()?, 0.0), true)),
        Value::Float(f) => Some(((*f, 0.0), false)),
        Value::Complex { re, im } => Some(((*re, *im), false)),
        _ => None,
    }
}

fn near(expected: f64, got: f64, tolerance: f64) -> bool {
    expected == got
        || (expected.is_nan() && got.is_nan())
        || (expected.is_finite() && (expected - got).abs() <= tolerance * expected.abs().max(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn equal(comparison: Comparison, expected: &str, got: &str) -> bool {
        comparison.equal(
            &Value::parse_literal(expected).unwrap(),
            &Value::parse_literal(got).unwrap(),
        )
    }

    #[test]
    fn float_tolerance_applies_to_floats_only() {
        let float = Comparison::Float(1e-6);
        for (expected, got) in [
            ("1.0", "1.0000001"),
            ("1e9", "1000000000.5"),
            ("0.3", "3e-1"),
            ("float('nan')", "float('nan')"),
            ("[1, {'a': (2.0,)}]", "[1.0, {'a': (2.0000001,)}]"),
            ("1", "0.9999999"),
            ("complex(1, 2)", "complex(1, 2.0000001)"),
        ] {
            assert!(equal(float, expected, got), "{expected} ~ {got}");
        }
        for (expected, got) in [
            ("1000000000", "1000000001"),
            ("1.0", "1.00001"),
            ("float('inf')", "1e308"),
            ("float('inf')", "float('-inf')"),
            ("1.0", "float('nan')"),
            ("[1.0]", "(1.0,)"),
            ("'1.0'", "1.0"),
            ("{1.0}", "{1.0000001}"),
        ] {
            assert!(!equal(float, expected, got), "{expected} !~ {got}");
        }
    }

    #[test]
    fn any_order_is_a_multiset_of_the_outermost_list() {
        assert!(equal(Comparison::AnyOrder, "[1, 2, 2]", "[2, 1.0, 2]"));
        assert!(!equal(Comparison::AnyOrder, "[1, 2, 2]", "[1, 1, 2]"));
        assert!(!equal(Comparison::AnyOrder, "[[1, 2]]", "[[2, 1]]"));
        assert!(!equal(Comparison::AnyOrder, "[1, 2]", "(2, 1)"));
        assert!(!equal(Comparison::AnyOrder, "[1]", "[1, 1]"));
        assert!(equal(Comparison::AnyOrder, "'ab'", "'ab'"));
    }

    #[test]
    fn the_written_form_is_short() {
        let write = |comparison| serde_json::to_string(&comparison).unwrap();
        assert_eq!(write(Comparison::Exact), r#""exact""#);
        assert_eq!(write(Comparison::AnyOrder), r#""any_order""#);
        assert_eq!(write(Comparison::Float(1e-6)), r#"{"float":1e-6}"#);
        assert!(serde_json::from_str::<Comparison>(r#""fuzzy""#).is_err());
    }
}
