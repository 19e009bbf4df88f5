//! MBPP: a task in words and three asserts. The full file, the sanitized one, and MBPP+ as it stands on the hub.

use serde_json::{Map, Value as Json};

use super::super::asserts;
use super::super::schema::{Flaw, Problem, Split, take, take_opt};
use super::{Context, code, text};

pub(super) fn problem(context: &Context<'_>, mut row: Map<String, Json>) -> Result<Problem, Flaw> {
    let number = text(&mut row, "task_id")?.ok_or_else(|| Flaw::new("task_id", "is missing"))?;
    let statement = match take_opt::<String>(&mut row, "text")? {
        Some(text) => text,
        None => take(&mut row, "prompt")?,
    };
    let reference = code(take(&mut row, "code")?);
    let tests: Vec<String> = take(&mut row, "test_list")?;
    let hard: Vec<String> = take_opt(&mut row, "challenge_test_list")?.unwrap_or_default();
    let setup: String = take_opt(&mut row, "test_setup_code")?.unwrap_or_default();
    let imports: Vec<String> = take_opt(&mut row, "test_imports")?.unwrap_or_default();
    let setup = code([imports.join("\n"), setup].join("\n"));
    let mut problem = Problem {
        setup: (!setup.trim().is_empty()).then(|| setup.trim().to_owned() + "\n"),
        family: "mbpp".into(),
        split: split(&number).unwrap_or_else(|| context.split()),
        source: "MBPP".into(),
        licence: "CC-BY-4.0".into(),
        ..Problem::new(format!("Mbpp/{number}"), statement)
    };
    for (index, test) in tests.iter().chain(&hard).enumerate() {
        if test.trim().is_empty() {
            return Err(Flaw::new(format!("test_list[{index}]"), "is empty"));
        }
        asserts::add(&mut problem, &code(test.clone()), "");
    }
    // The inputs of MBPP+ are asserts of a loop over lists; EvalPlus's own file has them as data.
    if let Some(plus) = take_opt::<String>(&mut row, "test")? {
        problem.code_tests.push(gauntlet_sandbox::CodeTest {
            code: code(plus),
            setup: String::new(),
        });
    }
    problem.reference = Some(reference);
    Ok(problem)
}

/// The split that the authors gave a task: 11 to 510 are for tests, 511 to 600 for validation.
pub(super) fn split(number: &str) -> Option<Split> {
    Some(match number.parse::<u32>().ok()? {
        11..=510 => Split::Report,
        511..=600 => Split::Validation,
        _ => Split::Train,
    })
}
