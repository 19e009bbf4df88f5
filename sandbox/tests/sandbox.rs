//! The crate against its runtime: what programs may do, what they may not, and that nothing they do buys a pass.

mod agreement;
mod attacks;
mod behaviour;
mod bench;
mod classes;
mod code_tests;
mod command;
mod equality;
mod modules;
mod pool;
mod scripts;
mod soak;
mod stdlib;
mod verdicts;
mod words;

use std::sync::OnceLock;

use gauntlet_sandbox::{
    Comparison, Execution, Expected, Limits, Mode, Outcome, Program, Report, Sandbox, Test, Value,
};

/// The one sandbox that all tests share.
fn sandbox() -> &'static Sandbox {
    static SANDBOX: OnceLock<Sandbox> = OnceLock::new();
    SANDBOX.get_or_init(|| match Sandbox::open() {
        Ok(sandbox) => sandbox,
        Err(fault) => panic!("these tests need the sandbox runtime: {fault}"),
    })
}

fn program(code: &str) -> Program {
    Program {
        code: code.into(),
        entry_point: "f".into(),
    }
}

/// Python literals for arguments, `1, 'a'`.
fn args(text: &str) -> Vec<Value> {
    if text.is_empty() {
        return Vec::new();
    }
    match Value::parse_literal(&format!("({text},)")) {
        Ok(Value::Tuple(args)) => args,
        other => panic!("{text}: {other:?}"),
    }
}

/// Calls `f` of `code` once, in a fresh interpreter.
fn call(code: &str, arguments: &str) -> Execution {
    call_within(code, arguments, &Limits::default())
}

fn call_within(code: &str, arguments: &str, limits: &Limits) -> Execution {
    let mut executions = sandbox()
        .execute(&program(code), &[args(arguments)], limits, Mode::Pure)
        .expect("no fault of the host");
    assert_eq!(executions.len(), 1);
    executions.remove(0)
}

/// The literal of what `f` returns, or the outcome's name.
fn result(code: &str, arguments: &str) -> String {
    describe(&call(code, arguments))
}

fn describe(execution: &Execution) -> String {
    match &execution.result {
        Ok(value) => value.to_literal(),
        Err(Outcome::Raised { kind, .. }) => format!("Raised {kind}"),
        Err(Outcome::Forbidden { what }) => format!("Forbidden {what}"),
        Err(Outcome::Crashed { what }) => format!("Crashed {what}"),
        Err(outcome) => outcome.name().into(),
    }
}

/// Tests written as `(arguments, expected)`; an expected `!ValueError` is an exception.
fn tests(pairs: &[(&str, &str)]) -> Vec<Test> {
    let expected = |text: &str| match text.strip_prefix('!') {
        Some(kind) => Expected::Raises(kind.into()),
        None => Expected::Value(Value::parse_literal(text).expect("a literal")),
    };
    pairs
        .iter()
        .map(|(input, text)| Test {
            args: args(input),
            expected: expected(text),
            tags: vec![],
        })
        .collect()
}

fn check(code: &str, pairs: &[(&str, &str)], mode: Mode) -> Report {
    sandbox()
        .check(
            &program(code),
            &tests(pairs),
            &Comparison::Exact,
            &Limits::default(),
            mode,
        )
        .expect("no fault of the host")
}
