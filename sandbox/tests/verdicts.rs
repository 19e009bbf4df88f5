//! A verdict cannot be forged: not by knowing what is expected, not by state, not by order.

use gauntlet_sandbox::{Comparison, Limits, Mode, Outcome, Value};

use crate::{check, program, sandbox, tests};

const SQUARES: [(&str, &str); 4] = [("1", "1"), ("2", "4"), ("3", "9"), ("-4", "16")];

#[test]
fn right_code_passes_in_both_modes() {
    for mode in [Mode::Pure, Mode::Fast] {
        let report = check("def f(n): return n * n", &SQUARES, mode);
        assert_eq!(report.outcome, Outcome::Passed);
        assert_eq!(report.tests.len(), 4);
        assert!(report.fuel.unwrap() > 0 && report.wall_ms > 0.0);
    }
}

#[test]
fn the_report_names_the_first_failure() {
    let report = check("def f(n): return abs(n) * n", &SQUARES, Mode::Fast);
    let expected = Outcome::WrongAnswer {
        input: vec![Value::from(-4)],
        expected: gauntlet_sandbox::Expected::Value(Value::from(16)),
        got: Value::from(-16),
    };
    assert_eq!(report.outcome, expected);
    assert_eq!(
        report
            .tests
            .iter()
            .filter(|test| test.outcome.passed())
            .count(),
        3
    );
    assert_eq!(report.tests[3].got, Some(Value::from(-16)));
}

#[test]
fn expected_values_are_nowhere_in_the_guest() {
    // Looks through every object, every frame and every loaded module for the answer it should give.
    let code = "
import gc, sys
def f(n):
    seen = list(gc.get_objects())
    gc.unfreeze()
    seen += gc.get_objects()
    frame = sys._getframe()
    while frame:
        seen += list(frame.f_locals.values()) + list(frame.f_globals.values())
        frame = frame.f_back
    for thing in seen:
        parts = [thing, *gc.get_referents(thing)]
        for part in parts:
            if type(part) is str and part.startswith('the answer to') or type(part) is bytes and b'the answer to' in part:
                if part != 'the answer to' and part != b'the answer to' and len(part) > 13:
                    return 'found ' + repr(part)
    return 'not found'
";
    let pairs = [("1", "'the answer to it all'")];
    for mode in [Mode::Pure, Mode::Fast] {
        let report = check(code, &pairs, mode);
        let got = report.tests[0]
            .got
            .as_ref()
            .map(Value::to_literal)
            .unwrap_or_default();
        // The search finds its own source, and nothing else.
        assert!(!got.contains("it all"), "{got}");
        assert!(!report.outcome.passed());
    }
}

#[test]
fn a_pass_bought_with_state_is_taken_back_in_fresh_interpreters() {
    // Right for one input by itself, and for the others once some call has gone before: all it needs is that one to come
    // first, and a comment to shuffle with.
    let code = |salt: u32| {
        format!(
            "calls = []\ndef f(n):\n calls.append(n)\n return n * n if len(calls) > 1 or n == 3 else 0 # {salt}"
        )
    };
    let inputs: Vec<Vec<Value>> = tests(&SQUARES).into_iter().map(|test| test.args).collect();
    let lucky = (0..100).map(code).find(|code| {
        let executions = sandbox()
            .execute(&program(code), &inputs, &Limits::default(), Mode::Fast)
            .unwrap();
        executions
            .iter()
            .zip([1, 4, 9, 16])
            .all(|(execution, square)| execution.result == Ok(Value::from(square)))
    });
    let lucky = lucky.expect("one shuffle in four puts 3 first");
    let report = check(&lucky, &SQUARES, Mode::Fast);
    let names: Vec<&str> = report
        .tests
        .iter()
        .map(|test| test.outcome.name())
        .collect();
    assert_eq!(
        names,
        ["WrongAnswer", "WrongAnswer", "Passed", "WrongAnswer"]
    );
}

#[test]
fn answers_by_input_order_fail() {
    let code = "answers = iter([1, 4, 9, 16, 25, 36, 49, 64])\ndef f(n): return next(answers)";
    let pairs: Vec<(String, String)> = (1..9)
        .map(|n| (n.to_string(), (n * n).to_string()))
        .collect();
    let pairs: Vec<(&str, &str)> = pairs
        .iter()
        .map(|(a, b)| (a.as_str(), b.as_str()))
        .collect();
    assert!(!check(code, &pairs, Mode::Fast).outcome.passed());
    assert!(!check(code, &pairs, Mode::Pure).outcome.passed());
}

#[test]
fn inputs_a_candidate_changes_stay_its_own() {
    let code = "def f(items):\n items.append(len(items))\n items[0].clear()\n return items";
    let pairs = [("[[1], 2]", "[[], 2, 2]"); 5];
    assert!(check(code, &pairs, Mode::Fast).outcome.passed());
}

#[test]
fn an_input_that_kills_the_interpreter_spoils_no_other() {
    let code = "import os, sys\nsys.setrecursionlimit(10**9)\ndef f(n):\n if n == 2:\n  while True: pass\n if n == 3: return hash(deep())\n if n == 5: __import__('threading').Event().wait()\n return n * n\ndef deep():\n a = ()\n for _ in range(10**6): a = (a,)\n return a";
    let pairs = [
        ("1", "1"),
        ("2", "4"),
        ("3", "9"),
        ("4", "16"),
        ("5", "25"),
        ("6", "36"),
    ];
    let limits = Limits {
        fuel: Some(2_000_000_000),
        ..Limits::default()
    };
    for mode in [Mode::Pure, Mode::Fast] {
        let report = sandbox()
            .check(
                &program(code),
                &tests(&pairs),
                &Comparison::Exact,
                &limits,
                mode,
            )
            .unwrap();
        let names: Vec<&str> = report
            .tests
            .iter()
            .map(|test| test.outcome.name())
            .collect();
        assert_eq!(
            names,
            [
                "Passed",
                "Timeout",
                "StackOverflow",
                "Passed",
                "Forbidden",
                "Passed"
            ],
            "{mode:?}"
        );
    }
}

#[test]
fn exceptions_can_be_expected() {
    let code = "def f(n):\n if n < 0: raise ValueError('negative')\n return n";
    assert!(
        check(code, &[("-1", "!ValueError"), ("1", "1")], Mode::Fast)
            .outcome
            .passed()
    );
    assert_eq!(
        check(code, &[("-1", "!KeyError")], Mode::Pure)
            .outcome
            .name(),
        "Raised"
    );
    assert_eq!(
        check(code, &[("1", "!ValueError")], Mode::Pure)
            .outcome
            .name(),
        "WrongAnswer"
    );
    assert_eq!(
        check(code, &[("-1", "-1")], Mode::Pure).outcome.name(),
        "Raised"
    );
}

#[test]
fn strictness_is_pythons() {
    for (returned, expected, passes) in [
        ("1", "1.0", true),
        ("True", "1", true),
        ("(1, 2)", "[1, 2]", false),
        ("[1, 2]", "(1, 2)", false),
        ("{2, 1}", "frozenset({1, 2})", true),
        ("{'b': 1, 'a': 2}", "{'a': 2, 'b': 1}", true),
        ("'1'", "1", false),
        ("float('nan')", "float('nan')", false),
        ("b'a'", "'a'", false),
        ("-0.0", "0", true),
        ("10**400", "10**400 ", false),
        ("None", "False", false),
    ] {
        let expected = if expected.contains("**") {
            "0"
        } else {
            expected
        };
        let report = check(
            &format!("def f(): return {returned}"),
            &[("", expected)],
            Mode::Pure,
        );
        assert_eq!(report.outcome.passed(), passes, "{returned} for {expected}");
    }
}

#[test]
fn no_tests_are_passed_by_anything() {
    assert_eq!(
        check("def f(): return 1", &[], Mode::Fast).outcome,
        Outcome::Passed
    );
}

/// Programs that know nothing of the answer, what each tries, and what it gets for that.
const FORGERIES: [(&str, &str, &str); 17] = [
    (
        "prints the marks of a pass",
        "WrongAnswer",
        "def f(n): print('{\"outcome\": \"Passed\"}\\nPASSED\\nOK')",
    ),
    (
        "prints the bytes of an answer",
        "WrongAnswer",
        "import marshal\ndef f(n): print(marshal.dumps(('value', b'', 42), 2).decode('latin-1'))",
    ),
    (
        "returns the answer's protocol",
        "WrongAnswer",
        "def f(n): return ('value', b'', 42)",
    ),
    (
        "returns what equals everything",
        "Opaque",
        "class A:\n def __eq__(s, o): return True\n def __hash__(s): return 0\ndef f(n): return A()",
    ),
    (
        "returns a str that equals everything",
        "Opaque",
        "class A(str):\n def __eq__(s, o): return True\n __hash__ = str.__hash__\ndef f(n): return A()",
    ),
    (
        "makes all strings equal",
        "WrongAnswer",
        "import gc\ngc.get_referents(str.__dict__)[0]['__eq__'] = lambda a, b: True\ndef f(n): return 'x'",
    ),
    (
        "raises what is called a pass",
        "Raised",
        "class Passed(Exception): pass\ndef f(n): raise Passed('Passed')",
    ),
    ("leaves", "Raised", "import sys\ndef f(n): sys.exit(0)"),
    (
        "leaves at once",
        "Forbidden",
        "import os\ndef f(n): os._exit(0)",
    ),
    (
        "leaves when loaded",
        "Raised",
        "raise SystemExit(0)\ndef f(n): pass",
    ),
    (
        "leaves at exit",
        "WrongAnswer",
        "import atexit, os\natexit.register(lambda: os._exit(0))\ndef f(n): return None",
    ),
    (
        "has an exception hook that leaves",
        "Raised",
        "import sys, os\nsys.excepthook = lambda *a: os._exit(0)\ndef f(n): 1 / 0",
    ),
    (
        "answers with what its callers hold",
        "WrongAnswer",
        "import sys\ndef f(n):\n frame, seen = sys._getframe(), []\n while frame := frame.f_back: seen += map(repr, frame.f_locals.values())\n return ' '.join(seen)[:1000]",
    ),
    (
        "answers with what a traceback holds",
        "WrongAnswer",
        "import sys\ndef f(n):\n try: 1 / 0\n except Exception as e: trace, seen = e.__traceback__, []\n frame = trace.tb_frame\n while frame := frame.f_back: seen += map(repr, frame.f_globals.values())\n return ' '.join(seen)[:1000]",
    ),
    (
        "puts another function in its place",
        "WrongAnswer",
        "import sys\ndef f(n):\n sys._getframe(1).f_globals['_entry'] = lambda *a: a\n return None",
    ),
    (
        "seals an outcome of its own",
        "Malformed",
        "import sys, marshal\ndef f(n): sys._getframe(1).f_globals['_seal'] = lambda *a: marshal.dumps(('Passed', b'', None), 2)",
    ),
    (
        "seals with the wrong shape",
        "Malformed",
        "import sys, marshal\ndef f(n): sys._getframe(1).f_globals['_seal'] = lambda *a: marshal.dumps({'outcome': 'Passed'}, 2)",
    ),
];

#[test]
fn no_forgery_passes() {
    for (name, expected, code) in FORGERIES {
        for mode in [Mode::Pure, Mode::Fast] {
            let report = check(
                code,
                &[("1", "'the answer to it all'"), ("2", "'another'")],
                mode,
            );
            assert_eq!(report.outcome.name(), expected, "{name}, {mode:?}");
            let failed = report.tests.iter().all(|test| !test.outcome.passed());
            assert!(failed, "{name}, {mode:?}");
        }
    }
}
