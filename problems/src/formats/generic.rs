//! Rows of any shape: a field holds the statement, another the tests.

use std::collections::BTreeMap;

use gauntlet_sandbox::{Comparison, Expected, Test, Value};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::super::asserts;
use super::super::schema::{Flaw, Problem, ScriptTest, Split, take, take_opt};
use super::{Context, code, difficulty, nested, text};

/// Which fields of a row hold what. What is not named is looked for under its usual names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FieldMap(BTreeMap<String, String>);

/// What a row can hold, with the names it usually has.
const USUAL: [(&str, &[&str]); 9] = [
    (
        "id",
        &["id", "task_id", "question_id", "problem_id", "name", "slug"],
    ),
    (
        "prompt",
        &[
            "prompt",
            "statement",
            "question",
            "instruction",
            "problem",
            "description",
            "text",
            "query",
        ],
    ),
    (
        "tests",
        &[
            "tests",
            "test_list",
            "test_cases",
            "test",
            "unit_tests",
            "asserts",
            "assertions",
        ],
    ),
    (
        "reference",
        &[
            "reference",
            "solution",
            "canonical_solution",
            "code",
            "answer",
            "completion",
        ],
    ),
    ("entry_point", &["entry_point", "function_name", "fn_name"]),
    ("signature", &["signature", "function_declaration"]),
    ("setup", &["setup", "test_setup_code"]),
    ("checker", &["checker"]),
    ("split", &["split"]),
];

impl FieldMap {
    /// Reads `prompt=question,tests=cases`.
    ///
    /// # Errors
    /// Names the part that says nothing, and what can be said.
    pub fn parse(text: &str) -> Result<FieldMap, String> {
        let mut fields = BTreeMap::new();
        for part in text.split(',').filter(|part| !part.trim().is_empty()) {
            let (what, field) = part
                .split_once('=')
                .ok_or_else(|| format!("{part:?} is not WHAT=FIELD"))?;
            fields.insert(what.trim().to_owned(), field.trim().to_owned());
        }
        let map = FieldMap(fields);
        map.check()?;
        Ok(map)
    }

    /// Refuses names of things that no row holds.
    ///
    /// # Errors
    /// Names the first, and what can be named.
    pub fn check(&self) -> Result<(), String> {
        let unknown = self
            .0
            .keys()
            .find(|what| USUAL.iter().all(|(known, _)| known != what));
        unknown.map_or(Ok(()), |what| {
            let names: Vec<&str> = USUAL.iter().map(|(known, _)| *known).collect();
            Err(format!(
                "{what:?} is nothing that a row holds; it can be {}",
                names.join(", ")
            ))
        })
    }

    /// Whether anything is named.
    pub(super) fn is_set(&self) -> bool {
        !self.0.is_empty()
    }

    /// Whether a row has a statement and tests.
    pub(super) fn fits(&self, row: &Map<String, Json>) -> bool {
        self.name(row, "prompt").is_some() && self.name(row, "tests").is_some()
    }

    fn name<'a>(&'a self, row: &Map<String, Json>, what: &str) -> Option<&'a str> {
        if let Some(field) = self.0.get(what) {
            return Some(field);
        }
        let (_, usual) = USUAL.iter().find(|(known, _)| *known == what)?;
        usual.iter().copied().find(|field| row.contains_key(*field))
    }
}

pub(super) fn problem(context: &Context<'_>, mut row: Map<String, Json>) -> Result<Problem, Flaw> {
    let fields = context.fields;
    let name = |row: &Map<String, Json>, what: &str| fields.name(row, what).map(str::to_owned);
    let optional = |row: &mut Map<String, Json>, what: &str| match name(row, what) {
        Some(field) => text(row, &field),
        None => Ok(None),
    };
    let id = optional(&mut row, "id")?.unwrap_or_else(|| context.id());
    let prompt = name(&row, "prompt").unwrap_or_else(|| "prompt".into());
    let statement: String = statement_of(&prompt, take(&mut row, &prompt)?)?;
    let tests = name(&row, "tests").unwrap_or_else(|| "tests".into());
    let tests: (String, Json) = (tests.clone(), take(&mut row, &tests)?);
    let split = match optional(&mut row, "split")?.as_deref() {
        Some("test" | "report") => Split::Report,
        Some("validation" | "valid" | "dev") => Split::Validation,
        Some("train") => Split::Train,
        _ => context.split(),
    };
    let mut problem = Problem {
        signature: optional(&mut row, "signature")?,
        entry_point: optional(&mut row, "entry_point")?,
        setup: optional(&mut row, "setup")?
            .map(code)
            .filter(|s| !s.trim().is_empty()),
        checker: optional(&mut row, "checker")?.map(code),
        difficulty: difficulty(&mut row)?,
        split,
        ..Problem::new(id, statement)
    };
    if let Some(json) = row.remove("comparison") {
        let read = serde_json::from_value::<Comparison>(json);
        problem.comparison = read.map_err(|e| Flaw::new("comparison", e.to_string()))?;
    }
    let reference = optional(&mut row, "reference")?.map(code);
    add_tests(&mut problem, &tests.0, tests.1)?;
    problem.reference = reference
        .filter(|code| !code.trim().is_empty())
        .map(unfenced);
    Ok(problem)
}

/// A prompt as text, or as the turns of a conversation: the user's last turn is the statement.
fn statement_of(field: &str, json: Json) -> Result<String, Flaw> {
    match json {
        Json::String(text) => Ok(text),
        Json::Array(turns) => turns
            .iter()
            .rev()
            .find(|turn| turn.get("role").and_then(Json::as_str) == Some("user"))
            .and_then(|turn| turn.get("content")?.as_str())
            .map(str::to_owned)
            .ok_or_else(|| Flaw::new(field, "is a list without a turn of the user")),
        other => Err(Flaw::new(field, format!("is {other}, not a text"))),
    }
}

/// Code out of a fenced block, where there is one.
pub(super) fn unfenced(text: String) -> String {
    let Some((_, rest)) = text
        .split_once("```python\n")
        .or(text.split_once("```py\n"))
    else {
        return text;
    };
    rest.split_once("```")
        .map_or(text.clone(), |(inside, _)| inside.to_owned())
}

/// Adds tests in any of the forms that rows have: code, a list of asserts, calls, inputs and outputs.
fn add_tests(problem: &mut Problem, field: &str, json: Json) -> Result<(), Flaw> {
    match json {
        Json::String(text) if text.trim_start().starts_with(['[', '{']) => {
            let inner = nested(field, &text)?;
            add_tests(problem, field, inner)
        }
        Json::String(text) => {
            add_code(problem, code(text));
            Ok(())
        }
        Json::Array(items) if items.is_empty() => Err(Flaw::new(field, "has none")),
        Json::Array(items) => {
            for (index, item) in items.into_iter().enumerate() {
                add_one(problem, &format!("{field}[{index}]"), item)?;
            }
            Ok(())
        }
        // Lists of inputs and outputs side by side.
        Json::Object(mut map) if map.contains_key("inputs") && map.contains_key("outputs") => {
            if let Some(name) = take_opt::<String>(&mut map, "fn_name")? {
                problem.entry_point.get_or_insert(name);
            }
            let inputs: Vec<Json> = take(&mut map, "inputs")?;
            let outputs: Vec<Json> = take(&mut map, "outputs")?;
            pairs(problem, field, inputs, outputs)
        }
        other => Err(Flaw::new(
            field,
            format!("is {other}, which holds no tests"),
        )),
    }
}

fn add_code(problem: &mut Problem, text: String) {
    match text.contains("def check(") {
        true => asserts::add_check(problem, &text, ""),
        false => asserts::add(problem, &text, ""),
    }
}

fn add_one(problem: &mut Problem, field: &str, item: Json) -> Result<(), Flaw> {
    let mut map = match item {
        Json::String(text) => {
            add_code(problem, code(text));
            return Ok(());
        }
        Json::Object(map) => map,
        other => return Err(Flaw::new(field, format!("is {other}, which is no test"))),
    };
    let inside = |flaw: Flaw| Flaw::new(format!("{field}.{}", flaw.field), flaw.message);
    let first = |names: [&str; 4], map: &Map<String, Json>| {
        names
            .into_iter()
            .find(|name| map.contains_key(*name))
            .map(str::to_owned)
    };
    let input = first(["args", "stdin", "input", "inputs"], &map);
    let output = first(["expected", "stdout", "output", "expected_output"], &map);
    if let Some(text) = take_opt::<String>(&mut map, "code").map_err(inside)? {
        add_code(problem, code(text));
        return Ok(());
    }
    let (Some(input), Some(output)) = (input, output) else {
        return Err(Flaw::new(
            field,
            "is no test: it has neither code, nor an input with its output",
        ));
    };
    if let Some(name) = take_opt::<String>(&mut map, "fn_name").map_err(inside)? {
        problem.entry_point.get_or_insert(name);
    }
    let pair = |name: &str, map: &mut Map<String, Json>| take::<Json>(map, name).map_err(inside);
    let (input, output) = (pair(&input, &mut map)?, pair(&output, &mut map)?);
    pairs(problem, field, vec![input], vec![output])
}

/// Inputs with their outputs: texts are standard input and output, unless an entry point is called.
pub(super) fn pairs(
    problem: &mut Problem,
    field: &str,
    inputs: Vec<Json>,
    outputs: Vec<Json>,
) -> Result<(), Flaw> {
    if inputs.len() != outputs.len() {
        let message = format!("has {} inputs and {} outputs", inputs.len(), outputs.len());
        return Err(Flaw::new(field, message));
    }
    let called = problem.entry_point.is_some() || problem.signature.is_some();
    for (index, (input, output)) in inputs.into_iter().zip(outputs).enumerate() {
        let wrong = |message: String| Flaw::new(format!("{field}[{index}]"), message);
        match (input, output) {
            (Json::String(stdin), output) if !called => {
                let stdout =
                    lines(output).ok_or_else(|| wrong("has an output that is no text".into()))?;
                problem.script_tests.push(ScriptTest {
                    stdin,
                    stdout: Some(stdout),
                    tags: Vec::new(),
                });
            }
            (Json::Array(args), output) => {
                let args = args.iter().map(Value::from_json).collect::<Result<_, _>>();
                let expected = Value::from_json(&output);
                let (Ok(args), Ok(expected)) = (args, expected) else {
                    return Err(wrong("holds a value that is none of Python's".into()));
                };
                problem.tests.push(Test {
                    args,
                    expected: Expected::Value(expected),
                    tags: Vec::new(),
                });
            }
            _ => return Err(wrong("is neither text nor a list of arguments".into())),
        }
    }
    Ok(())
}

/// An output as text: some sets have a list of lines.
fn lines(output: Json) -> Option<String> {
    match output {
        Json::String(text) => Some(text),
        Json::Array(items) => {
            let texts: Option<Vec<String>> = items.into_iter().map(lines).collect();
            Some(texts?.join("\n"))
        }
        Json::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// AceCode: a question and a list of asserts, without a solution.
pub(super) fn acecode(context: &Context<'_>, mut row: Map<String, Json>) -> Result<Problem, Flaw> {
    let id = text(&mut row, "id")?.unwrap_or_else(|| context.id());
    let statement: String = take(&mut row, "question")?;
    let tests: Vec<String> = take(&mut row, "test_cases")?;
    if tests.is_empty() {
        return Err(Flaw::new("test_cases", "has none"));
    }
    let mut problem = Problem {
        split: context.split(),
        source: "AceCode".into(),
        licence: "MIT".into(),
        family: "acecode".into(),
        ..Problem::new(id, statement)
    };
    for test in tests {
        asserts::add(&mut problem, &code(test), "");
    }
    Ok(problem)
}
