//! KodCode: tests as pytest functions that import the solution.

use gauntlet_sandbox::CodeTest;
use serde_json::{Map, Value as Json};

use super::super::schema::{Flaw, Problem, take, take_opt};
use super::super::signature::defined_functions;
use super::{Context, code, text};

/// What the tests may use of pytest: there is no package in the sandbox.
const PYTEST: &str = include_str!("kodcode/pytest.py");

pub(super) fn problem(context: &Context<'_>, mut row: Map<String, Json>) -> Result<Problem, Flaw> {
    let id = match text(&mut row, "question_id")? {
        Some(id) => format!("kodcode/{id}"),
        None => context.id(),
    };
    let test: String = code(take(&mut row, "test")?);
    let mut problem = Problem {
        split: context.split(),
        family: "kodcode".into(),
        source: "KodCode".into(),
        licence: "CC-BY-NC-4.0".into(),
        ..Problem::new(id, take::<String>(&mut row, "question")?)
    };
    problem.reference = Some(code(take(&mut row, "solution")?));
    let info: Json = take_opt(&mut row, "test_info")?.unwrap_or_default();
    let told = match &info {
        Json::Array(items) => items.first(),
        other => Some(other),
    };
    let told = |field: &str| told?.get(field)?.as_str().map(str::to_owned);
    problem.signature = told("function_declaration").filter(|text| text.starts_with("def "));

    let mut imported: Vec<&str> = Vec::new();
    let mut lines: Vec<&str> = Vec::new();
    for line in test.lines() {
        match line.trim().strip_prefix("from solution import ") {
            Some(names) => {
                imported.extend(names.trim_matches(['(', ')']).split(',').map(str::trim))
            }
            None if matches!(line.trim(), "import pytest" | "from solution import *") => {}
            None => lines.push(line),
        }
    }
    imported.retain(|name| !name.is_empty());
    problem.entry_point = match (told("function_name"), imported.as_slice()) {
        (_, [only]) => Some((*only).to_owned()),
        (Some(name), []) => Some(name),
        (_, []) => None,
        (_, many) => {
            let message = format!(
                "imports {} of the solution; tests can call one function",
                many.join(", ")
            );
            return Err(Flaw::new("test", message));
        }
    };
    let body = lines.join("\n");
    let functions = defined_functions(&body).map_err(|message| Flaw::new("test", message))?;
    let tests = functions.iter().filter(|f| f.name.starts_with("test"));
    let needs_pytest = body.contains("pytest");
    for function in tests {
        problem.code_tests.push(CodeTest {
            code: format!("{body}\n\n{}()\n", function.name),
            setup: match needs_pytest {
                true => PYTEST.to_owned(),
                false => String::new(),
            },
        });
    }
    match problem.code_tests.is_empty() {
        true => Err(Flaw::new(
            "test",
            "defines no function whose name begins with test",
        )),
        false => Ok(problem),
    }
}
