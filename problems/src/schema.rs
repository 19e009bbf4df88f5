//! What a problem is, and its JSONL files: [`load_jsonl`], [`load_dir`], [`write_jsonl`].
//!
//! A problem needs a statement and some way to judge a solution: tests, a reference, or a checker with inputs.
//! Everything else may be absent, and docs/problems.md says what its absence means.
//!
//! Reading is strict about what is there: an unknown field, a wrong type, an entry point that the reference
//! does not define, or an id that is used twice is an error that names the file, the line, the field
//! and what would be right. Whether the reference really passes its tests takes execution: see
//! [`super::validate`] for what the shipped set must prove, and [`super::examine`] for any set.

mod check;
#[cfg(test)]
pub(crate) mod example;
mod files;
mod json;

use gauntlet_sandbox::{CodeTest, Comparison, Program, Test, Value};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::signature::{Signature, find_entry};

pub(crate) use self::check::is_identifier;
pub(crate) use self::files::parse_foreign;
pub use self::files::{ProblemError, SCHEMA_VERSION, load_dir, load_jsonl, write_jsonl};
pub(crate) use self::json::{take, take_opt};

/// The name under which a problem's `input_validator` defines its function.
pub const VALIDATOR: &str = "valid";

/// The name under which a problem's `checker` defines its function.
pub const CHECKER: &str = "accepts";

/// Gold tests that a shipped or composed problem needs.
pub const MIN_TESTS: usize = 8;

/// A programming problem: a statement, and what a solution is judged by.
///
/// ```
/// # use gauntlet_problems::Problem;
/// let line = r#"{"id": "mine/double", "statement": "Return twice n.", "tests": ["assert double(2) == 4"]}"#;
/// let problem: Problem = serde_json::from_str(line).unwrap();
/// assert_eq!(problem.entry_point.as_deref(), Some("double"));
/// assert_eq!(problem.tests.len(), 1);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// Unique in the set, family first: `strings/reverse_words`.
    pub id: String,
    /// The task in words, as a player reads it.
    pub statement: String,
    /// The header of the wanted function: `def reverse_words(s: str) -> str`.
    pub signature: Option<String>,
    /// The wanted function's name, or `Solution.name` for a method of a class that is made without arguments.
    /// Without one a solution is a script: it reads standard input and prints.
    pub entry_point: Option<String>,
    /// Python that is right by definition.
    pub reference: Option<String>,
    /// Calls of the entry point with the values they return.
    pub tests: Vec<Test>,
    /// Tests that are code: asserts, or a function `check(candidate)`.
    pub code_tests: Vec<CodeTest>,
    /// Runs of a script with its input and output.
    pub script_tests: Vec<ScriptTest>,
    /// Arguments of tests whose expected values the reference or a consensus gives.
    pub inputs: Vec<Input>,
    /// Python that stands before a solution's code, and before tests that are code: imports, classes.
    pub setup: Option<String>,
    /// Python that defines `accepts(input, expected, got)`, for problems with several right answers.
    pub checker: Option<String>,
    /// Python that defines `valid(*args)`, which returns True for the inputs the problem allows.
    pub input_validator: Option<String>,
    /// How an output is compared with the expected value.
    pub comparison: Comparison,
    /// A reference completion for each of the five stages; the last is code.
    pub trace: Option<[String; 5]>,
    /// Wrong solutions, which tests should fail.
    pub incorrect: Vec<String>,
    /// The family the problem belongs to, such as `strings`.
    pub family: String,
    /// From 1, a line or two, to 5; none where nobody graded it.
    pub difficulty: Option<u8>,
    /// Free labels.
    pub tags: Vec<String>,
    /// What the problem may be used for.
    pub split: Split,
    /// Where the problem came from.
    pub source: String,
    /// The licence of its text and code.
    pub licence: String,
}

/// One run of a script: what it reads and what it should print.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptTest {
    /// Standard input.
    pub stdin: String,
    /// Standard output, compared by [`super::stdout`]. None where only a checker, the reference or a consensus
    /// knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdout: Option<String>,
    /// Labels, such as `public`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

/// The arguments of a test whose expected value is not written down.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The positional arguments.
    pub args: Vec<Value>,
    /// Labels, such as `plus`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

/// What a problem may be used for.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Trained on.
    #[default]
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
    pub(crate) fn new(field: impl Into<String>, message: impl Into<String>) -> Flaw {
        Flaw {
            field: field.into(),
            message: message.into(),
        }
    }
}

impl Problem {
    /// A problem with a statement and nothing else, to be filled.
    pub fn new(id: impl Into<String>, statement: impl Into<String>) -> Problem {
        let id = id.into();
        Problem {
            family: family_of(&id),
            id,
            statement: statement.into(),
            signature: None,
            entry_point: None,
            reference: None,
            tests: Vec::new(),
            code_tests: Vec::new(),
            script_tests: Vec::new(),
            inputs: Vec::new(),
            setup: None,
            checker: None,
            input_validator: None,
            comparison: Comparison::Exact,
            trace: None,
            incorrect: Vec::new(),
            difficulty: None,
            tags: Vec::new(),
            split: Split::Train,
            source: UNKNOWN.to_owned(),
            licence: UNKNOWN.to_owned(),
        }
    }

    /// The parsed [`signature`](Problem::signature), if there is one.
    ///
    /// # Errors
    /// Says what is wrong with it; a problem that was loaded has none.
    pub fn parsed_signature(&self) -> Result<Option<Signature>, Flaw> {
        let parse = |text: &String| {
            Signature::parse(text).map_err(|message| Flaw::new("signature", message))
        };
        self.signature.as_ref().map(parse).transpose()
    }

    /// The header a solution is asked for: the signature, or the reference's own where none is written.
    pub fn wanted_signature(&self) -> Option<Signature> {
        let stated = self.parsed_signature().ok().flatten();
        stated.or_else(|| find_entry(self.reference.as_deref()?, self.entry_point.as_deref()?).ok())
    }

    /// Whether a solution is a script that reads standard input and prints.
    pub fn is_script(&self) -> bool {
        self.entry_point.is_none()
    }

    /// How many tests of all forms say what is right.
    pub fn test_count(&self) -> usize {
        self.tests.len() + self.code_tests.len() + self.script_tests.len()
    }

    /// The name that calls and code tests use for the entry point: without its class.
    pub fn function(&self) -> &str {
        let entry_point = self.entry_point.as_deref().unwrap_or_default();
        entry_point
            .rsplit_once('.')
            .map_or(entry_point, |(_, method)| method)
    }

    /// What the sandbox runs for a solution's `code`: the setup before it, and for a method of a class a function
    /// that makes an instance and calls it.
    pub fn program(&self, code: &str) -> Program {
        let mut source = String::new();
        if let Some(setup) = &self.setup {
            source.push_str(setup);
            source.push('\n');
        }
        source.push_str(code);
        let method = self.entry_point.as_deref().and_then(|e| e.rsplit_once('.'));
        if let Some((class, method)) = method {
            source += &format!(
                "\n\ndef {method}(*args, **kwargs):\n    return {class}().{method}(*args, **kwargs)\n"
            );
        }
        Program {
            code: source,
            entry_point: self.function().to_owned(),
        }
    }

    /// The reference as a program, if there is one.
    pub fn reference_program(&self) -> Option<Program> {
        self.reference.as_deref().map(|code| self.program(code))
    }
}

/// What stands for a source or a licence that nobody named.
pub const UNKNOWN: &str = "unknown";

/// The part of an id before its first slash.
pub(crate) fn family_of(id: &str) -> String {
    id.split_once('/')
        .map_or("other", |(family, _)| family)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use gauntlet_sandbox::Expected;

    use super::*;
    use serde_json::Value as Json;

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
            (
                "tests",
                json!([{"args": [1, 2], "expected": 3}]),
                "tests[0].args: has 2 arguments",
            ),
            ("tests", json!([7]), "tests[0]: 7 is no test"),
            (
                "tests",
                json!(["assert double(1"]),
                "tests[0].code: does not parse",
            ),
            (
                "tests",
                json!(["assert 1 == 1"]),
                "tests[0].code: calls neither",
            ),
            (
                "tests",
                json!([{"args": [1], "stdin": ""}]),
                "tests[0]: is no test",
            ),
            (
                "tests",
                json!([{"code": "assert double(1)", "stdout": ""}]),
                "tests[0].stdout: does not go with",
            ),
            (
                "tests",
                json!([{"stdin": "1", "stdout": "2"}]),
                "entry_point: stands beside",
            ),
            (
                "tests",
                json!([{"stdin": 1}]),
                "tests[0].stdin: invalid type",
            ),
            (
                "checker",
                json!("def accepts(a): return True"),
                "checker: defines `def accepts(a)`",
            ),
            ("setup", json!("import ("), "setup: does not parse"),
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
    fn only_id_statement_and_some_way_to_judge_are_needed() {
        for field in super::json::FIELDS {
            let mut json = example::json(json!({}));
            json.as_object_mut().unwrap().remove(field);
            let read = serde_json::from_value::<Problem>(json).map_err(|e| e.to_string());
            match field {
                "id" | "statement" => assert_eq!(read.unwrap_err(), format!("{field}: is missing")),
                _ => assert_eq!(read.err(), None, "{field}"),
            }
        }
        let bare = json!({"id": "a/b", "statement": "s"});
        let error = serde_json::from_value::<Problem>(bare)
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("tests: has none, and there is no reference"),
            "{error}"
        );
    }
}
