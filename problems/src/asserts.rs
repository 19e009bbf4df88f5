//! Asserts become calls with values where they say nothing else: `assert f(1, 2) == 3`.
//!
//! A call with values can be varied, strengthened and put to a consensus; code can only be run. What is lifted means
//! the same as the assert, since a test's default comparison is Python's `==`.

use gauntlet_sandbox::{CodeTest, Comparison, Expected, Test, Value};

use super::schema::Problem;

/// Adds tests written as code to a problem: as calls where every statement is a plain assert, else as code.
///
/// The entry point is taken from the first call where the problem has none.
pub fn add(problem: &mut Problem, code: &str, setup: &str) {
    let exact = problem.comparison == Comparison::Exact && setup.trim().is_empty();
    if exact && let Some(lifted) = lift_all(problem.entry_point.as_deref(), code) {
        if problem.entry_point.is_none() {
            problem.entry_point = lifted.first().map(|call| call.function.clone());
        }
        problem
            .tests
            .extend(lifted.into_iter().map(|call| call.test));
        return;
    }
    problem.code_tests.push(CodeTest {
        code: code.to_owned(),
        setup: setup.to_owned(),
    });
}

/// Adds the tests of a function `check(candidate)`: its plain asserts as calls, and the other asserts as code where
/// each stands alone; anything else keeps the function whole.
pub fn add_check(problem: &mut Problem, code: &str, setup: &str) {
    let whole = |problem: &mut Problem| {
        problem.code_tests.push(CodeTest {
            code: code.to_owned(),
            setup: setup.to_owned(),
        });
    };
    let Some(body) = check_body(code) else {
        return whole(problem);
    };
    let mut lifted = Vec::new();
    let mut rest = Vec::new();
    for line in body {
        match lift(line) {
            Some(call) if call.function == "candidate" => lifted.push(call.test),
            _ if line == "pass" || is_true(line) => {}
            _ => rest.push(line),
        }
    }
    if problem.comparison != Comparison::Exact || lifted.is_empty() {
        return whole(problem);
    }
    problem.tests.extend(lifted);
    for line in rest {
        problem.code_tests.push(CodeTest {
            code: format!("def check(candidate):\n    {line}\n"),
            setup: setup.to_owned(),
        });
    }
}

/// The lines of `check`, if each is an assert by itself and nothing that stands before the function matters to them.
fn check_body(code: &str) -> Option<Vec<&str>> {
    let (before, body) = code.split_once("def check(candidate):")?;
    let mut depth = 0_i32;
    for line in before.lines().map(str::trim) {
        let plain = line.is_empty()
            || line.starts_with('#')
            || line.starts_with("METADATA = {")
            || depth > 0;
        depth += line.matches('{').count() as i32 - line.matches('}').count() as i32;
        if !plain {
            return None;
        }
    }
    let mut lines = Vec::new();
    let mut indent = None;
    for line in body.lines().filter(|line| !line.trim().is_empty()) {
        let text = line.trim();
        if text.starts_with('#') {
            continue;
        }
        let depth = line.len() - line.trim_start().len();
        if depth == 0 || *indent.get_or_insert(depth) != depth || line.contains('\t') {
            return None;
        }
        if text != "pass" && !(text.starts_with("assert ") || text.starts_with("assert(")) {
            return None;
        }
        // A statement that goes on in the next line cannot be taken alone.
        if super::infer::parses(text).is_err() {
            return None;
        }
        lines.push(text);
    }
    (!lines.is_empty()).then_some(lines)
}

/// `assert True`, with or without a message: it tells nothing.
fn is_true(line: &str) -> bool {
    let Some(rest) = line.strip_prefix("assert True") else {
        return false;
    };
    ends(rest)
}

/// A call that an assert compares with a value.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The function called.
    pub function: String,
    /// Arguments and expected value.
    pub test: Test,
}

/// Every line as a call, all of one function.
fn lift_all(entry_point: Option<&str>, code: &str) -> Option<Vec<Call>> {
    let mut calls: Vec<Call> = Vec::new();
    for line in code.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let call = lift(line)?;
        let wanted = entry_point
            .map(|name| name.rsplit('.').next().unwrap_or(name))
            .or(calls.first().map(|first| first.function.as_str()));
        if wanted.is_some_and(|wanted| wanted != call.function) {
            return None;
        }
        calls.push(call);
    }
    (!calls.is_empty()).then_some(calls)
}

/// Reads `assert f(literals) == literal`; none where it is anything else.
pub fn lift(line: &str) -> Option<Call> {
    let rest = line.trim().strip_prefix("assert")?;
    let mut rest = rest.trim_start();
    if rest.len() == line.trim().len() - "assert".len() && !rest.starts_with('(') {
        return None;
    }
    let mut open = 0;
    while let Some(inner) = rest.strip_prefix('(') {
        (open, rest) = (open + 1, inner.trim_start());
    }
    let end = rest.find(|c: char| c != '_' && !c.is_alphanumeric())?;
    let function = &rest[..end];
    if function.is_empty() || function.starts_with(|c: char| c.is_numeric()) {
        return None;
    }
    let (args, mut rest) = arguments(rest[end..].trim_start().strip_prefix('(')?)?;
    for _ in 0..open {
        rest = rest.trim_start().strip_prefix(')')?;
    }
    let rest = rest.trim_start().strip_prefix("==")?;
    let (expected, rest) = Value::parse_literal_prefix(rest.trim_start()).ok()?;
    if !ends(rest) {
        return None;
    }
    // `nan` equals nothing, and an assert that can never hold is no call with a value.
    if !expected.py_eq(&expected) {
        return None;
    }
    Some(Call {
        function: function.to_owned(),
        test: Test {
            args,
            expected: Expected::Value(expected),
            tags: Vec::new(),
        },
    })
}

/// The literal arguments of every call of `names` in code: inputs that a problem's author thought of.
pub(crate) fn inputs_in(code: &str, names: &[&str]) -> Vec<Vec<Value>> {
    let mut found = Vec::new();
    for name in names.iter().filter(|name| !name.is_empty()) {
        for (at, _) in code.match_indices(name) {
            let before = code[..at].chars().next_back();
            let part_of_a_word =
                before.is_some_and(|c| c == '_' || c == '.' || c.is_alphanumeric());
            let rest = code[at + name.len()..].trim_start();
            if let (false, Some(rest)) = (part_of_a_word, rest.strip_prefix('('))
                && let Some((args, _)) = arguments(rest)
            {
                found.push(args);
            }
        }
    }
    found
}

/// Literals up to the closing bracket.
pub(crate) fn arguments(mut rest: &str) -> Option<(Vec<Value>, &str)> {
    let mut args = Vec::new();
    loop {
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix(')') {
            return Some((args, after));
        }
        let (value, after) = Value::parse_literal_prefix(rest).ok()?;
        args.push(value);
        let after = after.trim_start();
        rest = match after.strip_prefix(',') {
            Some(next) => next,
            None if after.starts_with(')') => after,
            None => return None,
        };
    }
}

/// Whether an assert is over: nothing follows, a comment, or a message.
fn ends(rest: &str) -> bool {
    let rest = rest.trim_start();
    if rest.is_empty() || rest.starts_with('#') {
        return true;
    }
    let Some(message) = rest.strip_prefix(',') else {
        return false;
    };
    match Value::parse_literal_prefix(message.trim_start()) {
        Ok((Value::Str(_), after)) => {
            let after = after.trim_start();
            after.is_empty() || after.starts_with('#')
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_asserts_are_calls_and_others_stay_code() {
        for (line, expected) in [
            ("assert f(1, [2]) == 3", Some("f(1, [2]) == 3")),
            ("assert (f((1,))) == (1, 2)", Some("f((1,)) == (1, 2)")),
            ("assert f ('a,b)') == 'x', 'why'", Some("f('a,b)') == 'x'")),
            ("assert f() == None # nothing", Some("f() == None")),
            (
                "assert f(1.5) == float('inf')",
                Some("f(1.5) == float('inf')"),
            ),
            ("assert(f(-1) == -2)", None),
            ("assert f(x) == 3", None),
            ("assert f(a=1) == 3", None),
            ("assert f(1) == 3 or True", None),
            ("assert f(1) == 3 == 3", None),
            ("assert f(1)[0] == 3", None),
            ("assert f(1) == 3, print('x')", None),
            ("assert not f(1) == 3", None),
            ("assert f(1)", None),
            ("assert f(1) == float('nan')", None),
            ("assertf(1) == 3", None),
            ("f(1) == 3", None),
        ] {
            let found = lift(line).map(|call| {
                let args: Vec<String> = call.test.args.iter().map(Value::to_literal).collect();
                format!(
                    "{}({}) == {}",
                    call.function,
                    args.join(", "),
                    call.test.expected
                )
            });
            assert_eq!(found.as_deref(), expected, "{line}");
        }
    }

    #[test]
    fn a_block_is_lifted_whole_or_not_at_all() {
        let mut problem = Problem::new("a/b", "s");
        add(&mut problem, "assert f(1) == 2\n\nassert f(2) == 3\n", "");
        assert_eq!(
            (problem.tests.len(), problem.entry_point.as_deref()),
            (2, Some("f"))
        );
        add(&mut problem, "assert f(1) == 2\nassert g(2) == 3\n", "");
        add(&mut problem, "assert f(1) == 2", "import math");
        assert_eq!((problem.tests.len(), problem.code_tests.len()), (2, 2));
    }

    #[test]
    fn check_gives_its_plain_asserts_and_keeps_what_is_more() {
        let before = "METADATA = {\n    'author': 'x'\n}\n\n";
        let plain = "def check(candidate):\n    # easy\n    assert candidate(1) == 2\n    assert True, 'x'\n    \
                     assert abs(candidate(2) - 3) < 1e-6\n";
        let mut problem = Problem::new("a/b", "s");
        add_check(&mut problem, &format!("{before}{plain}"), "");
        assert_eq!((problem.tests.len(), problem.code_tests.len()), (1, 1));
        assert!(problem.code_tests[0].code.contains("abs(candidate(2)"));
        for whole in [
            "import math\n\ndef check(candidate):\n    assert candidate(1) == 2\n",
            "def check(candidate):\n    for i in range(3):\n        assert candidate(i) == i\n",
            "def check(candidate):\n    assert candidate(\n        1) == 2\n",
        ] {
            let mut problem = Problem::new("a/b", "s");
            add_check(&mut problem, whole, "");
            assert_eq!(
                (problem.tests.len(), problem.code_tests.len()),
                (0, 1),
                "{whole}"
            );
        }
    }
}
