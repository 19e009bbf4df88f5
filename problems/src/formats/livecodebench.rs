//! LiveCodeBench: public tests as JSON, private ones as JSON or compressed.
//!
//! A compressed field is base64 of zlib of a pickle that holds one string of JSON. The pickle is read with the
//! closed-list reader, which builds plain values and runs nothing.

use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gauntlet_pickle::{Plain, Value as Pickled, unpickle};
use gauntlet_sandbox::{Expected, Test, Value};
use serde_json::{Map, Value as Json};

use super::super::schema::{Flaw, Problem, ScriptTest, Split, take, take_opt};
use super::{Context, code, difficulty, nested, text};

/// The most that one row's private tests may unfold to.
const MAX_TESTS: u64 = 512 << 20;

pub(super) fn problem(context: &Context<'_>, mut row: Map<String, Json>) -> Result<Problem, Flaw> {
    let id = match text(&mut row, "question_id")? {
        Some(id) => format!("livecodebench/{id}"),
        None => context.id(),
    };
    let starter: String = code(take_opt(&mut row, "starter_code")?.unwrap_or_default());
    let mut problem = Problem {
        difficulty: difficulty(&mut row)?,
        split: Split::Report,
        source: "LiveCodeBench".into(),
        ..Problem::new(id, take::<String>(&mut row, "question_content")?)
    };
    let metadata: String = take_opt(&mut row, "metadata")?.unwrap_or_default();
    let name = match metadata.trim() {
        "" => None,
        text => nested("metadata", text)?
            .get("func_name")
            .and_then(Json::as_str)
            .map(str::to_owned),
    };
    if let Some(name) = name.filter(|_| !starter.trim().is_empty()) {
        problem.entry_point = Some(match starter.contains("class Solution") {
            true => format!("Solution.{name}"),
            false => name,
        });
        problem.setup = Some("from typing import *\n".into());
    }
    for (field, tag) in [
        ("public_test_cases", "public"),
        ("private_test_cases", "private"),
    ] {
        let tests = match row.remove(field) {
            None | Some(Json::Null) => continue,
            Some(Json::String(text)) => listed(field, &text)?,
            Some(other) => other,
        };
        let Json::Array(tests) = tests else {
            return Err(Flaw::new(field, "is no list of tests"));
        };
        for (index, test) in tests.into_iter().enumerate() {
            add(&mut problem, tag, test).map_err(|flaw| {
                Flaw::new(format!("{field}[{index}].{}", flaw.field), flaw.message)
            })?;
        }
    }
    Ok(problem)
}

/// The tests of a field: JSON, or compressed.
fn listed(field: &str, text: &str) -> Result<Json, Flaw> {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Ok(Json::Array(Vec::new()));
    }
    if trimmed.starts_with('[') {
        return nested(field, trimmed);
    }
    let wrong = |message: String| Flaw::new(field, message);
    let packed = STANDARD
        .decode(trimmed)
        .map_err(|error| wrong(format!("is neither JSON nor base64: {error}")))?;
    let mut pickle = Vec::new();
    let unpacked = flate2::read::ZlibDecoder::new(packed.as_slice())
        .take(MAX_TESTS + 1)
        .read_to_end(&mut pickle);
    unpacked.map_err(|error| wrong(format!("is no zlib data: {error}")))?;
    if pickle.len() as u64 > MAX_TESTS {
        return Err(wrong(format!(
            "unfolds to more than {} MiB",
            MAX_TESTS >> 20
        )));
    }
    match unpickle(&pickle, &mut Plain) {
        Ok(Pickled::Str(json)) => nested(field, &json),
        Ok(other) => Err(wrong(format!("pickles {}, not a text", other.type_name()))),
        Err(reason) => Err(wrong(format!("is a pickle that is refused: {reason}"))),
    }
}

/// Adds a test: `{input, output, testtype}`, where a function's arguments are JSON, one a line.
fn add(problem: &mut Problem, tag: &str, test: Json) -> Result<(), Flaw> {
    let Json::Object(mut test) = test else {
        return Err(Flaw::new("", format!("is {test}, not an object")));
    };
    let input: String = take(&mut test, "input")?;
    let output: String = take(&mut test, "output")?;
    let kind: String = take_opt(&mut test, "testtype")?.unwrap_or_default();
    let tags = vec![tag.to_owned()];
    if kind != "functional" {
        problem.script_tests.push(ScriptTest {
            stdin: input,
            stdout: Some(output),
            tags,
        });
        return Ok(());
    }
    let value = |field: &str, text: &str| {
        Value::from_json(&nested(field, text)?).map_err(|e| Flaw::new(field, e.to_string()))
    };
    let lines = input.lines().filter(|line| !line.trim().is_empty());
    problem.tests.push(Test {
        args: lines
            .map(|line| value("input", line))
            .collect::<Result<_, _>>()?,
        expected: Expected::Value(value("output", &output)?),
        tags,
    });
    Ok(())
}
