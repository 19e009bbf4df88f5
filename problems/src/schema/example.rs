//! A small problem for the unit tests of this module's neighbours.

use serde_json::{Value as Json, json};

use super::super::signature::Signature;
use super::Problem;

/// The JSON of a problem that passes every check, after `changes` to its fields.
pub(crate) fn json(changes: Json) -> Json {
    let code = "def double(n):\n    return n * 2\n";
    let mut problem = json!({
        "id": "numbers/double", "statement": "Return twice n.", "signature": "def double(n: int) -> int",
        "entry_point": "double", "reference": code, "tests": [{"args": [2], "expected": 4}],
        "input_validator": "def valid(n):\n    return type(n) is int\n", "comparison": "exact",
        "trace": ["Multiply by two.", "1. Multiply", "return n * 2", "n is an integer", code],
        "family": "numbers", "difficulty": 1, "tags": [], "split": "train", "source": "gauntlet", "licence": "MIT",
    });
    for (field, value) in changes.as_object().expect("changes are an object") {
        problem[field] = value.clone();
    }
    problem
}

/// A problem with the given signature and gold arguments, each of these a Python list; what it computes
/// is of no interest.
pub(crate) fn with_gold(signature: &str, gold: &[&str]) -> Problem {
    let parsed = Signature::parse(signature).expect("a header");
    let names = parsed.param_names().join(", ");
    let code = format!("def {}({names}):\n    return None\n", parsed.name);
    let args = |text: &&str| {
        gauntlet_sandbox::Value::parse_literal(text)
            .expect("a literal")
            .to_json()
    };
    let tests: Vec<Json> = gold
        .iter()
        .map(|text| json!({"args": args(text), "expected": null}))
        .collect();
    let json = json(json!({
        "signature": signature, "entry_point": parsed.name, "reference": code, "tests": tests,
        "input_validator": format!("def valid({names}):\n    return True\n"),
        "trace": ["a", "b", "c", "d", code],
    }));
    serde_json::from_value(json).expect("a problem")
}
