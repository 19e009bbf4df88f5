//! The formats that problems are published in, told by their fields, and how a row of each becomes a problem.
//!
//! | format | told by |
//! |---|---|
//! | our own | `statement` |
//! | EvalPlus | `base_input` |
//! | HumanEval | `canonical_solution`, `test` |
//! | MBPP | `test_list` |
//! | LiveCodeBench | `question_content`, `public_test_cases` |
//! | LeetCode | `starter_code`, `entry_point`, `test` |
//! | KodCode | `question`, `solution`, `test` |
//! | AceCode | `question`, `test_cases` |
//! | APPS, TACO | `question`, `input_output` |
//! | CodeContests | `description`, `public_tests` |
//! | rows of `{prompt, tests}` | a field for the statement and one for tests, by usual names or a [`FieldMap`] |

mod contests;
mod evalplus;
mod generic;
mod humaneval;
mod kodcode;
mod leetcode;
mod livecodebench;
mod mbpp;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::infer;
use super::schema::{Flaw, Problem, Split, take_opt};

pub use self::generic::FieldMap;

/// How a set of problems is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// docs/problems.md.
    Own,
    /// HumanEval's own file, and HumanEval+ as it stands on the hub.
    HumanEval,
    /// MBPP, full or sanitized, and MBPP+ as it stands on the hub.
    Mbpp,
    /// EvalPlus's own files: base and plus inputs.
    EvalPlus,
    /// LiveCodeBench's code generation.
    LiveCodeBench,
    /// A class `Solution` with a method, and `check(candidate)`.
    LeetCode,
    /// Tests as pytest functions.
    KodCode,
    /// A question and a list of asserts.
    AceCode,
    /// APPS.
    Apps,
    /// TACO.
    Taco,
    /// CodeContests.
    CodeContests,
    /// Any row with a statement and tests.
    Generic,
}

/// Every format, with the fields that tell it.
const KNOWN: [(Format, &str, &[&str]); 12] = [
    (Format::Own, "own", &["statement"]),
    (
        Format::EvalPlus,
        "evalplus",
        &["task_id", "prompt", "entry_point", "base_input"],
    ),
    (
        Format::LeetCode,
        "leetcode",
        &["starter_code", "entry_point", "test"],
    ),
    (
        Format::HumanEval,
        "humaneval",
        &["prompt", "entry_point", "canonical_solution", "test"],
    ),
    (Format::Mbpp, "mbpp", &["task_id", "code", "test_list"]),
    (
        Format::LiveCodeBench,
        "livecodebench",
        &["question_content", "public_test_cases"],
    ),
    (
        Format::KodCode,
        "kodcode",
        &["question", "solution", "test"],
    ),
    (Format::AceCode, "acecode", &["question", "test_cases"]),
    (
        Format::Taco,
        "taco",
        &["question", "input_output", "skill_types"],
    ),
    (Format::Apps, "apps", &["question", "input_output"]),
    (
        Format::CodeContests,
        "codecontests",
        &["description", "public_tests"],
    ),
    (Format::Generic, "generic", &[]),
];

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = KNOWN.iter().find(|(format, ..)| format == self);
        f.write_str(known.map_or("?", |(_, name, _)| name))
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Format, String> {
        let known = KNOWN.iter().find(|(_, name, _)| *name == text);
        known.map(|(format, ..)| *format).ok_or_else(|| {
            let names: Vec<&str> = KNOWN.iter().map(|(_, name, _)| *name).collect();
            format!(
                "{text:?} is no format; the formats are {}",
                names.join(", ")
            )
        })
    }
}

/// Fields that no known format has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the format is not known: the fields are {}; {closest}; the known formats are {}; for other rows name the fields \
     that hold statement and tests (--fields prompt=..,tests=..)",
    fields.join(", "), known.join(", ")
)]
pub struct Unknown {
    /// The fields found.
    pub fields: Vec<String>,
    /// The format that lacks the fewest fields, and which.
    pub closest: String,
    /// The formats known, with the fields that tell them.
    pub known: Vec<String>,
}

/// Where a row stands and what was said about its set.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The file.
    pub file: &'a str,
    /// The row, from 1.
    pub row: usize,
    /// What the fields of rows without a format are called.
    pub fields: &'a FieldMap,
}

impl Context<'_> {
    /// An id for a row that has none: the file's name and the row.
    fn id(&self) -> String {
        let name = self.file.rsplit('/').next().unwrap_or(self.file);
        let stem = name.split('.').next().unwrap_or(name);
        format!("{stem}/{}", self.row)
    }

    /// What a file's name says about its split, as files on the hub are named: `test-00000-of-00001.parquet`.
    fn split(&self) -> Split {
        let name = self.file.rsplit('/').next().unwrap_or(self.file);
        let first = name.split(['-', '.']).next().unwrap_or(name);
        match first {
            "test" => Split::Report,
            "validation" | "valid" | "dev" => Split::Validation,
            _ => Split::Train,
        }
    }
}

impl Format {
    /// The format of a row, told by its fields.
    ///
    /// # Errors
    /// Where no known format has such fields; it names both.
    pub fn of(row: &Map<String, Json>, fields: &FieldMap) -> Result<Format, Unknown> {
        if fields.is_set() {
            return Ok(Format::Generic);
        }
        let lacks = |wanted: &[&str]| -> Vec<String> {
            let missing = wanted.iter().filter(|field| !row.contains_key(**field));
            missing.map(|field| format!("`{field}`")).collect()
        };
        let named = KNOWN.iter().filter(|(_, _, wanted)| !wanted.is_empty());
        if let Some((format, ..)) = named
            .clone()
            .find(|(_, _, wanted)| lacks(wanted).is_empty())
        {
            return Ok(*format);
        }
        if fields.fits(row) {
            return Ok(Format::Generic);
        }
        let near = named
            .clone()
            .filter(|(_, _, wanted)| lacks(wanted).len() < wanted.len())
            .min_by_key(|(_, _, wanted)| lacks(wanted).len());
        let closest = match near {
            Some((_, name, wanted)) => format!(
                "{name} is the closest and lacks {}",
                lacks(wanted).join(", ")
            ),
            None => "none of them tells a format".to_owned(),
        };
        Err(Unknown {
            fields: row.keys().map(|field| format!("`{field}`")).collect(),
            closest,
            known: named
                .map(|(_, name, wanted)| format!("{name} ({})", wanted.join(", ")))
                .collect(),
        })
    }

    /// The problem that a row of this format holds, without the checks that parse Python.
    ///
    /// # Errors
    /// The first field that is not as it should be.
    pub fn problem(
        self,
        context: &Context<'_>,
        mut row: Map<String, Json>,
    ) -> Result<Problem, Flaw> {
        let mut problem = match self {
            Format::Own => {
                if !row.contains_key("id") {
                    row.insert("id".into(), context.id().into());
                }
                return Problem::from_json(row);
            }
            Format::HumanEval => humaneval::problem(context, row)?,
            Format::Mbpp => mbpp::problem(context, row)?,
            Format::EvalPlus => evalplus::problem(context, row)?,
            Format::LiveCodeBench => livecodebench::problem(context, row)?,
            Format::LeetCode => leetcode::problem(context, row)?,
            Format::KodCode => kodcode::problem(context, row)?,
            Format::AceCode => generic::acecode(context, row)?,
            Format::Apps | Format::Taco => contests::apps(self, context, row)?,
            Format::CodeContests => contests::code_contests(context, row)?,
            Format::Generic => generic::problem(context, row)?,
        };
        problem.id = problem
            .id
            .split(|c: char| c.is_whitespace() || c.is_control())
            .collect::<Vec<_>>()
            .join("_");
        infer::fill(&mut problem);
        Ok(problem)
    }
}

/// A text that may stand as a number: ids do.
fn text(row: &mut Map<String, Json>, field: &str) -> Result<Option<String>, Flaw> {
    match row.remove(field) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(text)) => Ok(Some(text)),
        Some(Json::Number(number)) => Ok(Some(number.to_string())),
        Some(other) => Err(Flaw::new(
            field,
            format!("is {other}, neither a text nor a number"),
        )),
    }
}

/// Python as people on other systems saved it, with plain line ends.
fn code(text: String) -> String {
    match text.contains('\r') {
        true => text.replace("\r\n", "\n").replace('\r', "\n"),
        false => text,
    }
}

/// A JSON document that stands in a text.
fn nested(field: &str, text: &str) -> Result<Json, Flaw> {
    super::schema::parse_foreign(text.as_bytes())
        .map_err(|error| Flaw::new(field, format!("holds text that is {error}")))
}

/// Words for how hard a problem is, as a number from 1 to 5.
fn difficulty(row: &mut Map<String, Json>) -> Result<Option<u8>, Flaw> {
    let Some(json) = take_opt::<Json>(row, "difficulty")? else {
        return Ok(None);
    };
    let word = match &json {
        Json::String(word) => word.to_lowercase(),
        _ => return Ok(None),
    };
    Ok(match word.as_str() {
        "easy" | "introductory" => Some(2),
        "medium" | "interview" => Some(3),
        "medium_hard" => Some(4),
        "hard" | "very_hard" | "competition" => Some(5),
        _ => None,
    })
}

#[cfg(test)]
mod tests;
