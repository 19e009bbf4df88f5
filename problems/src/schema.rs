//! What a problem is, and its JSONL files: [`load_jsonl`], [`load_dir`], [`write_jsonl`].
//!
//! Reading is strict: an unknown or missing field, a wrong type, an entry point that the reference
//! does not define, or an id that is used twice is an error that names the file, the line, the field
//! and what would be right. Whatever was read has passed [`Problem::check`]. Whether the reference
//! really passes its tests takes execution: see [`super::validate`].

#[cfg(test)]
pub(crate) mod example;
mod files;

use gauntlet_sandbox::{Comparison, Expected, Test, Value};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value as Json};
use thiserror::Error;

use super::signature::{Signature, find_function};

pub use self::files::{ProblemError, SCHEMA_VERSION, load_dir, load_jsonl, write_jsonl};

/// The name under which a problem's `input_validator` defines its function.
pub const VALIDATOR: &str = "valid";

/// Gold tests that a problem needs before it is used: the shipped set, and what grounding lets pass.
pub const MIN_TESTS: usize = 8;

const FIELDS: [&str; 15] = [
    "id",
    "statement",
    "signature",
    "entry_point",
    "reference",
    "tests",
    "input_validator",
    "comparison",
    "trace",
    "family",
    "difficulty",
    "tags",
    "split",
    "source",
    "licence",
];

/// A programming problem with everything needed to judge a solution by execution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Json>")]
pub struct Problem {
    /// Unique in the set, family first: `strings/reverse_words`.
    pub id: String,
    /// The task in words, as a player reads it.
    pub statement: String,
    /// The header of the wanted function: `def reverse_words(s: str) -> str`.
    pub signature: String,
    /// The wanted function's name.
    pub entry_point: String,
    /// Python that defines `entry_point` and is right by definition.
    pub reference: String,
    /// The gold tests.
    pub tests: Vec<Test>,
    /// Python that defines `valid(*args)`, which returns True for the inputs the problem allows.
    pub input_validator: String,
    /// How an output is compared with the expected value.
    pub comparison: Comparison,
    /// A reference completion for each of the five stages; the last is code.
    pub trace: [String; 5],
    /// The family the problem belongs to, such as `strings`.
    pub family: String,
    /// From 1, a line or two, to 5.
    pub difficulty: u8,
    /// Free labels.
    pub tags: Vec<String>,
    /// What the problem may be used for.
    pub split: Split,
    /// Where the problem came from.
    pub source: String,
    /// The licence of its text and code.
    pub licence: String,
}

/// What a problem may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Trained on.
    Train,
    /// Chooses the `best` checkpoint; never trained on.
    Validation,
    /// Looked at once, for the reported figures; never trained on and never used to choose.
    Report,
}

impl std::fmt::Display for Split {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Split::Train => "train",
            Split::Validation => "validation",
            Split::Report => "report",
        })
    }
}

/// A problem whose expected values are not known yet: [`super::ground`] executes the reference on
/// `inputs` and fills the tests.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// The problem, with no tests.
    pub problem: Problem,
    /// The arguments of each test to be.
    pub inputs: Vec<Vec<Value>>,
}

/// One field of a problem that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{field}: {message}")]
pub struct Flaw {
    /// The field, with indices: `tests[3].expected`.
    pub field: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl Flaw {
    fn new(field: impl Into<String>, message: impl Into<String>) -> Flaw {
        Flaw {
            field: field.into(),
            message: message.into(),
        }
    }
}

impl Problem {
    /// The parsed [`signature`](Problem::signature).
    ///
    /// # Errors
    /// Says what is wrong with it; a problem that was loaded has none.
    pub fn parsed_signature(&self) -> Result<Signature, Flaw> {
        Signature::parse(&self.signature).map_err(|message| Flaw::new("signature", message))
    }

    /// Everything about a problem that can be told without executing it.
    ///
    /// # Errors
    /// The first field that is not as it should be.
    pub fn check(&self) -> Result<(), Flaw> {
        self.check_draft()?;
        if self.tests.is_empty() {
            return Err(Flaw::new("tests", "has none; a problem needs at least one"));
        }
        let signature = self.parsed_signature()?;
        for (index, test) in self.tests.iter().enumerate() {
            if !signature.takes(test.args.len()) {
                let message = format!(
                    "has {} arguments, which `{signature}` does not take",
                    test.args.len()
                );
                return Err(Flaw::new(format!("tests[{index}].args"), message));
            }
            if let Expected::Raises(kind) = &test.expected
                && !is_identifier(kind)
            {
                let message =
                    format!("{kind:?} is no exception; name its type, such as ValueError");
                return Err(Flaw::new(format!("tests[{index}].expected"), message));
            }
        }
        Ok(())
    }

    /// [`Problem::check`] without the tests, which a [`Draft`] does not have yet.
    pub(super) fn check_draft(&self) -> Result<(), Flaw> {
        let texts = [
            ("id", &self.id),
            ("statement", &self.statement),
            ("family", &self.family),
            ("source", &self.source),
            ("licence", &self.licence),
        ];
        for (field, text) in texts {
            if text.trim().is_empty() {
                return Err(Flaw::new(field, "is empty"));
            }
        }
        if self.id.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(Flaw::new(
                "id",
                format!("{:?} holds a space; write family/name", self.id),
            ));
        }
        if !(1..=5).contains(&self.difficulty) {
            return Err(Flaw::new(
                "difficulty",
                format!("is {}; it goes from 1 to 5", self.difficulty),
            ));
        }
        if let Comparison::Float(tolerance) = self.comparison
            && !(tolerance > 0.0 && tolerance.is_finite())
        {
            let message = format!("a tolerance of {tolerance}; it must be above 0, such as 1e-6");
            return Err(Flaw::new("comparison", message));
        }
        for (index, stage) in self.trace.iter().enumerate() {
            if stage.trim().is_empty() {
                return Err(Flaw::new(
                    format!("trace[{index}]"),
                    "is empty; all five stages are written",
                ));
            }
        }
        self.check_code()
    }

    fn check_code(&self) -> Result<(), Flaw> {
        let signature = self.parsed_signature()?;
        if signature.name != self.entry_point {
            let message = format!(
                "is {:?}, but the signature defines `{}`",
                self.entry_point, signature.name
            );
            return Err(Flaw::new("entry_point", message));
        }
        for (field, code) in [("reference", &self.reference), ("trace[4]", &self.trace[4])] {
            let found = find_function(code, &self.entry_point).map_err(|m| Flaw::new(field, m))?;
            if !found.takes(signature.params.len()) {
                let message = format!(
                    "defines `{found}`, which does not take the arguments of `{signature}`"
                );
                return Err(Flaw::new(field, message));
            }
        }
        let validator = find_function(&self.input_validator, VALIDATOR)
            .map_err(|message| Flaw::new("input_validator", message))?;
        if !validator.takes(signature.params.len()) {
            let message = format!(
                "defines `{validator}`, which does not take the arguments of `{signature}`"
            );
            return Err(Flaw::new("input_validator", message));
        }
        Ok(())
    }
}

impl TryFrom<Map<String, Json>> for Problem {
    type Error = Flaw;

    fn try_from(mut map: Map<String, Json>) -> Result<Problem, Flaw> {
        if let Some(unknown) = map.keys().find(|key| !FIELDS.contains(&key.as_str())) {
            let message = format!(
                "is no field of a problem; the fields are {}",
                FIELDS.join(", ")
            );
            return Err(Flaw::new(unknown, message));
        }
        let trace: Vec<String> = take(&mut map, "trace")?;
        let stages = trace.len();
        let problem = Problem {
            id: take(&mut map, "id")?,
            statement: take(&mut map, "statement")?,
            signature: take(&mut map, "signature")?,
            entry_point: take(&mut map, "entry_point")?,
            reference: take(&mut map, "reference")?,
            tests: take_tests(&mut map)?,
            input_validator: take(&mut map, "input_validator")?,
            comparison: take(&mut map, "comparison")?,
            trace: trace.try_into().map_err(|_| {
                Flaw::new("trace", format!("has {stages} stages; it must have five"))
            })?,
            family: take(&mut map, "family")?,
            difficulty: take(&mut map, "difficulty")?,
            tags: take(&mut map, "tags")?,
            split: take(&mut map, "split")?,
            source: take(&mut map, "source")?,
            licence: take(&mut map, "licence")?,
        };
        problem.check()?;
        Ok(problem)
    }
}

fn take<T: DeserializeOwned>(map: &mut Map<String, Json>, field: &str) -> Result<T, Flaw> {
    let json = map
        .remove(field)
        .ok_or_else(|| Flaw::new(field, "is missing"))?;
    serde_json::from_value(json).map_err(|error| Flaw::new(field, error.to_string()))
}

/// The tests one by one, so that an error says which.
fn take_tests(map: &mut Map<String, Json>) -> Result<Vec<Test>, Flaw> {
    let listed: Vec<Map<String, Json>> = take(map, "tests")?;
    let mut tests = Vec::with_capacity(listed.len());
    for (index, mut map) in listed.into_iter().enumerate() {
        let inside = |flaw: Flaw| Flaw::new(format!("tests[{index}].{}", flaw.field), flaw.message);
        if let Some(unknown) = map
            .keys()
            .find(|key| !["args", "expected", "tags"].contains(&key.as_str()))
        {
            return Err(inside(Flaw::new(
                unknown,
                "is no field of a test; the fields are args, expected, tags",
            )));
        }
        tests.push(Test {
            args: take(&mut map, "args").map_err(inside)?,
            expected: take(&mut map, "expected").map_err(inside)?,
            tags: if map.contains_key("tags") {
                take(&mut map, "tags").map_err(inside)?
            } else {
                Vec::new()
            },
        });
    }
    Ok(tests)
}

fn is_identifier(text: &str) -> bool {
    text.chars().all(|c| c == '_' || c.is_alphanumeric())
        && !text.starts_with(|c: char| c.is_numeric())
        && !text.is_empty()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Reads the example problem with one field changed.
    fn read(field: &str, value: Json) -> Result<Problem, String> {
        serde_json::from_value(example::json(json!({ field: value })))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_problem_is_read_and_written_alike() {
        let json = example::json(json!({"comparison": {"float": 1e-6}, "tests": [
            {"args": [{"$py": "(1, 2)"}], "expected": {"$raises": "TypeError"}, "tags": ["edge"]},
        ]}));
        let problem: Problem = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(
            problem.tests[0].expected,
            Expected::Raises("TypeError".to_owned())
        );
        assert_eq!(serde_json::to_value(&problem).unwrap(), json);
    }

    #[test]
    fn each_flaw_names_its_field_and_what_would_be_right() {
        let no_def = "def triple(n):\n    return n * 3\n";
        for (field, value, expected) in [
            ("id", json!("two words"), "id: \"two words\" holds a space"),
            ("id", json!(7), "id: invalid type: integer"),
            ("statement", json!(" "), "statement: is empty"),
            (
                "signature",
                json!("double(n)"),
                "signature: \"double(n)\" is not one function header",
            ),
            (
                "signature",
                json!("def double(n: int, m: int) -> int"),
                "reference: defines `def double(n)`, which does not",
            ),
            (
                "entry_point",
                json!("triple"),
                "entry_point: is \"triple\", but the signature defines `double`",
            ),
            (
                "reference",
                json!(no_def),
                "reference: defines `triple`; it must define `double`",
            ),
            (
                "reference",
                json!("def double(n:\n"),
                "reference: does not parse as Python at line 1",
            ),
            ("tests", json!([]), "tests: has none"),
            (
                "tests",
                json!([{"args": [1, 2], "expected": 3}]),
                "tests[0].args: has 2 arguments",
            ),
            (
                "tests",
                json!([{"args": [1]}]),
                "tests[0].expected: is missing",
            ),
            (
                "tests",
                json!([{"args": [1], "expected": {"$py": "(1"}}]),
                "tests[0].expected: \"$py\": ",
            ),
            (
                "tests",
                json!([{"args": [1], "expected": {"$raises": "a b"}}]),
                "tests[0].expected: \"a b\" is no",
            ),
            (
                "tests",
                json!([{"args": [1], "expected": 2, "weight": 3}]),
                "tests[0].weight: is no field of a test",
            ),
            (
                "input_validator",
                json!("def check(n): return True"),
                "input_validator: defines `check`; it must",
            ),
            (
                "input_validator",
                json!("def valid(a, b): return True"),
                "input_validator: defines `def valid(a, b)`",
            ),
            ("comparison", json!("fuzzy"), "comparison: unknown variant"),
            (
                "comparison",
                json!({"float": 0.0}),
                "comparison: a tolerance of 0",
            ),
            (
                "trace",
                json!(["a", "b"]),
                "trace: has 2 stages; it must have five",
            ),
            (
                "trace",
                json!(["a", "b", "", "d", "def double(n): pass"]),
                "trace[2]: is empty",
            ),
            (
                "trace",
                json!(["a", "b", "c", "d", "return n"]),
                "trace[4]: defines no function",
            ),
            (
                "difficulty",
                json!(6),
                "difficulty: is 6; it goes from 1 to 5",
            ),
            ("difficulty", json!(-1), "difficulty: invalid value"),
            (
                "split",
                json!("test"),
                "split: unknown variant `test`, expected one of `train`",
            ),
            (
                "hints",
                json!([]),
                "hints: is no field of a problem; the fields are id, statement",
            ),
        ] {
            let error =
                read(field, value.clone()).expect_err(&format!("{field} = {value} was accepted"));
            assert!(error.starts_with(expected), "{field} = {value}: {error}");
        }
    }

    #[test]
    fn each_missing_field_is_named() {
        for field in FIELDS {
            let mut json = example::json(json!({}));
            json.as_object_mut().unwrap().remove(field);
            let error = serde_json::from_value::<Problem>(json)
                .unwrap_err()
                .to_string();
            assert_eq!(error, format!("{field}: is missing"));
        }
    }
}
