//! HumanEval: a prompt that a completion continues, and `check(candidate)`.

use serde_json::{Map, Value as Json};

use super::super::asserts::add_check;
use super::super::schema::{Flaw, Problem, Split, take, take_opt};
use super::{Context, code};

pub(super) fn problem(_: &Context<'_>, mut row: Map<String, Json>) -> Result<Problem, Flaw> {
    let id: String = take(&mut row, "task_id")?;
    let prompt = code(take(&mut row, "prompt")?);
    let entry_point: String = take(&mut row, "entry_point")?;
    let solution: String = take(&mut row, "canonical_solution")?;
    let test = code(take(&mut row, "test")?);
    let (statement, signature) = parts(&prompt, &entry_point);
    let mut problem = Problem {
        signature,
        setup: imports(&prompt),
        reference: Some(prompt.clone() + &code(solution)),
        family: "humaneval".into(),
        split: Split::Report,
        source: "HumanEval".into(),
        licence: "MIT".into(),
        ..Problem::new(id, statement)
    };
    // The plus version on the hub computes with numpy in its tests, and has its inputs there.
    let _: Option<Json> = take_opt(&mut row, "atol")?;
    // Helpers that the prompt defines before the function belong to the tests as well.
    let helpers = before(&prompt, &entry_point);
    add_check(&mut problem, &test, helpers);
    if !helpers.trim().is_empty() {
        problem.setup = Some(helpers.to_owned());
    }
    problem.entry_point = Some(entry_point);
    Ok(problem)
}

/// What stands before the wanted function: imports and helpers.
pub(super) fn before<'a>(prompt: &'a str, entry_point: &str) -> &'a str {
    let header = format!("def {entry_point}(");
    let at = match prompt.strip_prefix(&header) {
        Some(_) => 0,
        None => prompt
            .rfind(&format!("\n{header}"))
            .map_or(0, |newline| newline + 1),
    };
    &prompt[..at]
}

/// The statement as words, from the docstring of the wanted function, and its header.
pub(super) fn parts(prompt: &str, entry_point: &str) -> (String, Option<String>) {
    let rest = &prompt[before(prompt, entry_point).len()..];
    let (header, body) = match rest.split_once(":\n") {
        Some((header, body)) if header.starts_with("def ") => (header.trim(), body),
        _ => return (prompt.trim().to_owned(), None),
    };
    let text = body.trim().trim_start_matches('r');
    let text = text.trim_matches(|c| c == '"' || c == '\'').trim();
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    let indent = lines
        .iter()
        .skip(1)
        .filter(|line| !line.is_empty())
        .map(|line| line.len() - line.trim_start().len())
        .min()
        .unwrap_or(0);
    let plain: Vec<&str> = lines
        .iter()
        .enumerate()
        .map(|(index, line)| match index {
            0 => *line,
            _ => line.get(indent..).unwrap_or(""),
        })
        .collect();
    match plain.join("\n") {
        words if words.is_empty() => (prompt.trim().to_owned(), None),
        words => (words, Some(header.to_owned())),
    }
}

/// The imports that a prompt begins with.
fn imports(prompt: &str) -> Option<String> {
    let lines: Vec<&str> = prompt
        .lines()
        .filter(|line| line.starts_with("import ") || line.starts_with("from "))
        .collect();
    (!lines.is_empty()).then(|| lines.join("\n") + "\n")
}
