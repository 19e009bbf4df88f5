//! What goes into a run and what comes out: programs, tests, limits, reports.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::json;

use crate::compare::Comparison;
use crate::fault::Fault;
use crate::outcome::Outcome;
use crate::value::{Value, ValueError};

/// One call of the entry point and what it should do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Test {
    /// The positional arguments.
    pub args: Vec<Value>,
    /// The value or the exception that is right.
    #[serde(deserialize_with = "stated")]
    pub expected: Expected,
    /// Labels, such as `edge`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

/// What a test expects: a value, or `{"$raises": "ValueError"}`.
#[derive(Clone, Debug, PartialEq)]
pub enum Expected {
    /// The call returns this.
    Value(Value),
    /// The call raises an exception whose class has this name.
    Raises(String),
    /// A condition of tests that are code holds: what stands behind `assert`. Only ever in reports.
    Assertion(String),
}

impl Expected {
    /// Reads the JSON form.
    pub fn from_json(json: &serde_json::Value) -> Result<Expected, ValueError> {
        let text = |key: &str, found: &serde_json::Value| match found {
            serde_json::Value::String(text) => Ok(text.clone()),
            found => Err(ValueError::NotAString {
                key: key.into(),
                found: found.to_string(),
            }),
        };
        match (json.get("$raises"), json.get("$assert")) {
            (Some(kind), _) => Ok(Expected::Raises(text("$raises", kind)?)),
            (None, Some(condition)) => Ok(Expected::Assertion(text("$assert", condition)?)),
            (None, None) => Value::from_json(json).map(Expected::Value),
        }
    }

    /// Writes the JSON form.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Expected::Value(value) => value.to_json(),
            Expected::Raises(kind) => json!({ "$raises": kind }),
            Expected::Assertion(condition) => json!({ "$assert": condition }),
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expected::Value(value) => value.fmt(f),
            Expected::Raises(kind) => write!(f, "{kind} to be raised"),
            Expected::Assertion(condition) => f.write_str(condition),
        }
    }
}

impl Serialize for Expected {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

/// What a test may expect: not a condition, which is code.
fn stated<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Expected, D::Error> {
    match Expected::deserialize(deserializer)? {
        Expected::Assertion(_) => Err(serde::de::Error::custom(
            "\"$assert\" stands in reports only; a test expects a value or {\"$raises\": ..}",
        )),
        expected => Ok(expected),
    }
}

impl<'de> Deserialize<'de> for Expected {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Expected, D::Error> {
        Expected::from_json(&serde_json::Value::deserialize(deserializer)?)
            .map_err(serde::de::Error::custom)
    }
}

/// Tests that are code: asserts that call the entry point by its name, or a function `check(candidate)` that is called with
/// it.
///
/// The code sees `candidate` as a function of the same arguments. What crosses to it and back are copies of values that
/// [`Value`] has, and instances of classes that `setup` defines, by their attributes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodeTest {
    /// The tests.
    pub code: String,
    /// Code to run before them: helpers, classes, a problem's prompt.
    #[serde(default)]
    pub setup: String,
}

/// Python source and the name of the function to call. An empty `entry_point` runs the source as a script.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Program {
    /// The source.
    pub code: String,
    /// The function.
    pub entry_point: String,
}

/// The limits of one input: loading the code and the call together.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Instructions (wasmtime fuel). None means as many as the wall clock allows.
    pub fuel: Option<u64>,
    /// The wall clock, checked every 10 ms.
    pub wall: Duration,
    /// The guest's linear memory, of which the interpreter itself takes about 40 MB.
    pub memory_bytes: usize,
    /// Printed text, and the encoded return value, each.
    pub output_bytes: usize,
    /// What `random`, `os.urandom` and their like start from: the same seed gives the same numbers.
    pub seed: u64,
    /// The order in which sets are walked.
    pub set_order: SetOrder,
}

/// Which of the orders that Python leaves open a program's sets have. What a program does in one and not in the other hangs
/// on an accident: where the elements' hashes are random (strings, bytes), on the process it runs in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SetOrder {
    /// As CPython walks them: numbers and tuples of numbers in the order that every 64-bit CPython gives them.
    #[default]
    Forward,
    /// From the end.
    Reversed,
}

/// Fuel that a tight Python loop burns in about two seconds.
pub const DEFAULT_FUEL: u64 = 20_000_000_000;

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            fuel: Some(DEFAULT_FUEL),
            wall: Duration::from_secs(10),
            memory_bytes: 256 << 20,
            output_bytes: 64 << 10,
            seed: 0,
            set_order: SetOrder::Forward,
        }
    }
}

impl Limits {
    /// Refuses limits that no program could keep to.
    pub(crate) fn check(&self) -> Result<(), Fault> {
        let zero = |limit, wanted| Fault::Limit {
            limit,
            found: "0".into(),
            wanted,
        };
        match self {
            Limits { fuel: Some(0), .. } => Err(zero("fuel", "at least 1, or none")),
            Limits { wall, .. } if wall.is_zero() => Err(zero("time", "above 0 s")),
            Limits {
                memory_bytes: 0, ..
            } => Err(zero("memory", MEMORY_WANTED)),
            Limits {
                output_bytes: 0, ..
            } => Err(zero("output", "at least 1 byte")),
            _ => Ok(()),
        }
    }
}

/// What a limit on memory must be.
pub(crate) const MEMORY_WANTED: &str = "at least what the interpreter itself takes, about 50 MB";

/// How many interpreters a run uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// A fresh interpreter for each input: no state passes from one to another.
    Pure,
    /// One interpreter for all inputs, in shuffled order: what an earlier call left behind can fail a later one. A check
    /// that passes so is repeated in [`Mode::Pure`], which decides.
    Fast,
}

/// What one input did.
#[derive(Clone, Debug, PartialEq)]
pub struct Execution {
    /// The value returned, or what happened in its place (never [`Outcome::Passed`] or [`Outcome::WrongAnswer`]).
    pub result: Result<Value, Outcome>,
    /// What was printed, standard output and error together.
    pub stdout: String,
    /// Fuel burnt by loading the code and by the call.
    pub fuel: Option<u64>,
}

/// What one test did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TestReport {
    /// Its outcome.
    pub outcome: Outcome,
    /// The value returned, if one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub got: Option<Value>,
    /// What was printed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stdout: String,
    /// Fuel burnt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fuel: Option<u64>,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The first outcome that is not [`Outcome::Passed`], else that.
    pub outcome: Outcome,
    /// One report a test, in the tests' order.
    pub tests: Vec<TestReport>,
    /// The sum over the tests.
    pub fuel: Option<u64>,
    /// Milliseconds by the wall clock, re-runs included.
    pub wall_ms: f64,
}

/// Arguments of [`Sandbox::execute`](crate::Sandbox::execute), to be queued.
#[derive(Clone, Debug)]
pub struct ExecuteJob {
    /// The program.
    pub program: Program,
    /// One list of arguments a call.
    pub inputs: Vec<Vec<Value>>,
    /// The limits of each call.
    pub limits: Limits,
    /// Fresh interpreters or one.
    pub mode: Mode,
}

/// Arguments of [`Sandbox::check`](crate::Sandbox::check), to be queued.
#[derive(Clone, Debug)]
pub struct CheckJob {
    /// The program.
    pub program: Program,
    /// The tests.
    pub tests: Vec<Test>,
    /// How answers compare.
    pub comparison: Comparison,
    /// The limits of each call.
    pub limits: Limits,
    /// Fresh interpreters or one.
    pub mode: Mode,
}

/// Arguments of [`Sandbox::check_code`](crate::Sandbox::check_code), to be queued.
#[derive(Clone, Debug)]
pub struct CodeCheckJob {
    /// The program.
    pub program: Program,
    /// The tests.
    pub test: CodeTest,
    /// The limits of each call of the program, and of the tests themselves.
    pub limits: Limits,
    /// Fresh interpreters or one for the program's calls. The tests always have one of their own.
    pub mode: Mode,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_reads_as_in_problem_files() {
        let json =
            r#"{"args":["a",{"$py":"(1,)"}],"expected":{"$raises":"ValueError"},"tags":["edge"]}"#;
        let test: Test = serde_json::from_str(json).unwrap();
        assert_eq!(test.expected, Expected::Raises("ValueError".into()));
        assert_eq!(test.args[1], Value::Tuple(vec![Value::from(1)]));
        assert_eq!(serde_json::to_string(&test).unwrap(), json);
    }

    #[test]
    fn unknown_fields_are_refused() {
        assert!(serde_json::from_str::<Test>(r#"{"args":[],"expected":1,"weight":2}"#).is_err());
        assert!(serde_json::from_str::<Test>(r#"{"args":[],"expected":{"$raises":1}}"#).is_err());
        assert!(serde_json::from_str::<Test>(r#"{"args":[]}"#).is_err());
        assert!(
            serde_json::from_str::<Test>(r#"{"args":[],"expected":{"$assert":"True"}}"#).is_err()
        );
    }

    #[test]
    fn empty_tags_are_not_written() {
        let test = Test {
            args: vec![],
            expected: Expected::Value(Value::None),
            tags: vec![],
        };
        assert_eq!(
            serde_json::to_string(&test).unwrap(),
            r#"{"args":[],"expected":null}"#
        );
    }
}
