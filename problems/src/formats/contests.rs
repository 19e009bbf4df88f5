//! APPS, TACO and CodeContests: problems of programming contests, most of them read from standard input.

use gauntlet_sandbox::Comparison;
use serde_json::{Map, Value as Json};

use super::super::schema::{Flaw, Problem, ScriptTest, Split, take, take_opt};
use super::{Context, Format, code, difficulty, generic, nested, text};

/// Wrong solutions kept of each problem: some have hundreds.
const MAX_INCORRECT: usize = 10;

/// APPS and TACO: tests, and solutions, are JSON in a text.
pub(super) fn apps(
    format: Format,
    context: &Context<'_>,
    mut row: Map<String, Json>,
) -> Result<Problem, Flaw> {
    let family = format.to_string();
    let given = match text(&mut row, "problem_id")? {
        Some(id) => Some(id),
        None => text(&mut row, "id")?,
    };
    let id = match given {
        Some(id) => format!("{family}/{id}"),
        None => context.id(),
    };
    let starter: String = take_opt(&mut row, "starter_code")?.unwrap_or_default();
    let mut problem = Problem {
        difficulty: difficulty(&mut row)?,
        split: context.split(),
        source: if format == Format::Taco {
            "TACO"
        } else {
            "APPS"
        }
        .into(),
        licence: "MIT".into(),
        family,
        ..Problem::new(id, take::<String>(&mut row, "question")?)
    };
    let tests: String = take(&mut row, "input_output")?;
    if tests.trim().is_empty() {
        return Err(Flaw::new(
            "input_output",
            "is empty: the problem has no tests",
        ));
    }
    let Json::Object(mut tests) = nested("input_output", &tests)? else {
        return Err(Flaw::new(
            "input_output",
            "is no object with inputs and outputs",
        ));
    };
    let inside = |flaw: Flaw| Flaw::new(format!("input_output.{}", flaw.field), flaw.message);
    if let Some(name) = take_opt::<String>(&mut tests, "fn_name").map_err(inside)? {
        problem.entry_point = Some(match starter.contains("class Solution") {
            true => format!("Solution.{name}"),
            false => name,
        });
    }
    let inputs: Vec<Json> = take(&mut tests, "inputs").map_err(inside)?;
    let mut outputs: Vec<Json> = take(&mut tests, "outputs").map_err(inside)?;
    if problem.entry_point.is_some() {
        // The value of a call stands in a list of its own, most of the time.
        let boxed = |output: &Json| output.as_array().is_some_and(|items| items.len() == 1);
        if outputs.iter().all(boxed) {
            let inner = |output: Json| match output {
                Json::Array(mut items) => items.remove(0),
                other => other,
            };
            outputs = outputs.into_iter().map(inner).collect();
        }
    }
    generic::pairs(&mut problem, "input_output", inputs, outputs)?;
    let solutions = match row.remove("solutions") {
        Some(Json::String(text)) if !text.trim().is_empty() => nested("solutions", &text)?,
        Some(list @ Json::Array(_)) => list,
        _ => Json::Null,
    };
    problem.reference = solutions
        .as_array()
        .and_then(|list| list.iter().find_map(Json::as_str))
        .map(|text| code(text.to_owned()));
    Ok(problem)
}

/// CodeContests: public, private and generated tests, right and wrong solutions in several languages.
pub(super) fn code_contests(
    context: &Context<'_>,
    mut row: Map<String, Json>,
) -> Result<Problem, Flaw> {
    let id = text(&mut row, "name")?.unwrap_or_else(|| context.id());
    let mut problem = Problem {
        // The published judge lets numbers differ by this much.
        comparison: Comparison::Float(1e-5),
        split: match context.split() {
            Split::Train => Split::Train,
            other => other,
        },
        family: "codecontests".into(),
        source: "CodeContests".into(),
        licence: "CC-BY-4.0".into(),
        ..Problem::new(id, take::<String>(&mut row, "description")?)
    };
    for (field, tag) in [
        ("public_tests", "public"),
        ("private_tests", "private"),
        ("generated_tests", "generated"),
    ] {
        let Some(mut tests) = take_opt::<Map<String, Json>>(&mut row, field)? else {
            continue;
        };
        let inside = |flaw: Flaw| Flaw::new(format!("{field}.{}", flaw.field), flaw.message);
        let inputs: Vec<String> = take(&mut tests, "input").map_err(inside)?;
        let outputs: Vec<String> = take(&mut tests, "output").map_err(inside)?;
        if inputs.len() != outputs.len() {
            let message = format!("has {} inputs and {} outputs", inputs.len(), outputs.len());
            return Err(Flaw::new(field, message));
        }
        let tests = inputs
            .into_iter()
            .zip(outputs)
            .map(|(stdin, stdout)| ScriptTest {
                stdin,
                stdout: Some(stdout),
                tags: vec![tag.to_owned()],
            });
        problem.script_tests.extend(tests);
    }
    if problem.script_tests.is_empty() {
        return Err(Flaw::new(
            "public_tests",
            "has none, and neither do the others",
        ));
    }
    problem.reference = in_python(&mut row, "solutions")?.into_iter().next();
    problem.incorrect = in_python(&mut row, "incorrect_solutions")?;
    problem.incorrect.truncate(MAX_INCORRECT);
    Ok(problem)
}

/// The solutions in Python 3, which is language 3 of the data set.
fn in_python(row: &mut Map<String, Json>, field: &str) -> Result<Vec<String>, Flaw> {
    let Some(mut solutions) = take_opt::<Map<String, Json>>(row, field)? else {
        return Ok(Vec::new());
    };
    let inside = |flaw: Flaw| Flaw::new(format!("{field}.{}", flaw.field), flaw.message);
    let languages: Vec<Json> = take(&mut solutions, "language").map_err(inside)?;
    let texts: Vec<String> = take(&mut solutions, "solution").map_err(inside)?;
    let python = |language: &Json| {
        language.as_i64() == Some(3) || language.as_str().is_some_and(|name| name == "PYTHON3")
    };
    let both = languages.iter().zip(texts);
    Ok(both
        .filter(|(language, _)| python(language))
        .map(|(_, text)| code(text))
        .collect())
}
