//! Tests that are code run apart from the program, and reach it by calls alone.

use std::time::Duration;

use gauntlet_sandbox::{
    CodeTest, Expected, Fault, Limits, Mode, Outcome, Program, Report, TimeLimit, Value,
};

use crate::sandbox;

const MODES: [Mode; 2] = [Mode::Pure, Mode::Fast];

fn try_check(code: &str, setup: &str, test: &str, mode: Mode) -> Result<Report, Fault> {
    let program = Program {
        code: code.into(),
        entry_point: "f".into(),
    };
    let test = CodeTest {
        code: test.into(),
        setup: setup.into(),
    };
    // Fuel decides, however busy the machine is.
    let limits = Limits {
        wall: Duration::from_secs(120),
        ..Limits::default()
    };
    sandbox().check_code(&program, &test, &limits, mode)
}

fn check(code: &str, setup: &str, test: &str) -> Report {
    let [pure, fast] = MODES.map(|mode| try_check(code, setup, test, mode).expect("no fault"));
    assert_eq!(
        pure.outcome, fast.outcome,
        "the modes differ:\n{code}\n{test}"
    );
    pure
}

fn outcome(code: &str, setup: &str, test: &str) -> String {
    match check(code, setup, test).outcome {
        Outcome::Raised { kind, .. } => format!("Raised {kind}"),
        Outcome::Forbidden { what } => format!("Forbidden {what}"),
        outcome => outcome.name().into(),
    }
}

fn broken(setup: &str, test: &str) -> String {
    match try_check("def f(*args): return args", setup, test, Mode::Pure) {
        Err(Fault::Tests { why }) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn both_forms_of_tests_reach_the_program() {
    for test in [
        "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(-3) == 9",
        "assert f(2) == 4\nassert f(-3) == 9",
        "import math\nfor n in range(20):\n    assert math.isqrt(f(n)) == n",
        "assert all(map(lambda n: f(n) == n ** 2, range(10)))",
        "assert f(n=5) == 25",
    ] {
        assert_eq!(
            outcome("def f(n): return n * n", "", test),
            "Passed",
            "{test}"
        );
        let wrong = "def f(n): return n * n if n < 3 and n != -3 else 0";
        assert_ne!(outcome(wrong, "", test), "Passed", "{test}");
    }
}

#[test]
fn a_failed_assertion_says_what_was_asked_and_answered() {
    let report = check(
        "def f(n):\n    print('n is', n)\n    return n + 1",
        "",
        "def check(candidate):\n    assert candidate(1) == 2\n    assert candidate(\n        2) == 4, 'message'",
    );
    let expected = Outcome::WrongAnswer {
        input: vec![Value::from(2)],
        expected: Expected::Assertion("candidate(\n        2) == 4".into()),
        got: Value::from(3),
    };
    assert_eq!(report.outcome, expected);
    assert_eq!(report.tests.len(), 1);
    assert_eq!(report.tests[0].stdout, "n is 1\nn is 2\n");
    assert_eq!(report.tests[0].got, Some(Value::from(3)));
    assert!(report.fuel.unwrap() > 0);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(
        json["outcome"]["WrongAnswer"]["expected"]["$assert"],
        "candidate(\n        2) == 4"
    );
    assert_eq!(serde_json::from_value::<Report>(json).unwrap(), report);
}

#[test]
fn helpers_and_prompts_are_the_tests_own() {
    let setup = "def double(n): return n + n\ndef f(n):\n    \"\"\" The prompt ends in a function without a body. \"\"\"\n";
    let test = "def check(candidate):\n    assert double(candidate(3)) == 6";
    // The program's own `double` is not the one that the tests call.
    assert_eq!(
        outcome("def double(n): return 6\ndef f(n): return n", setup, test),
        "Passed"
    );
    assert_eq!(
        outcome("def double(n): return 6\ndef f(n): return 0", setup, test),
        "WrongAnswer"
    );
}

#[test]
fn instances_of_the_tests_classes_cross_by_their_attributes() {
    let setup = "
class Node:
    def __init__(self, value, rest=None):
        self.value, self.rest = value, rest
    def __eq__(self, other):
        return isinstance(other, Node) and (self.value, self.rest) == (other.value, other.rest)
class Slotted:
    __slots__ = 'x', 'y'
";
    let code = "
class Node:
    def __init__(self, value, rest=None): self.value, self.rest = value, rest
    def __eq__(self, other): return True
class Slotted: pass
def f(x):
    if isinstance(x, Slotted):
        x.y = x.x + 1
        return [x]
    out = None
    while x:
        out, x = Node(x.value, out), x.rest
    return out
";
    let test = "
assert f(Node(1, Node(2, Node(3)))) == Node(3, Node(2, Node(1)))
s = Slotted()
s.x = 1
assert f(s)[0].y == 2 and type(f(s)[0]) is Slotted and not hasattr(s, 'y')
";
    assert_eq!(outcome(code, setup, test), "Passed");
    // An `__eq__` of the program's decides nothing.
    let wrong = code.replace("return out", "return Node(0)");
    assert_eq!(outcome(&wrong, setup, test), "WrongAnswer");
    // A class that only the program has does not cross, nor one that it lacks.
    assert_eq!(outcome(code, "", "assert f(None) is None"), "Passed");
    assert_eq!(
        outcome("class A: pass\ndef f(): return A()", "", "assert f()"),
        "Opaque"
    );
    assert_eq!(
        outcome("def f(x): return x.value", setup, "assert f(Node(1)) == 1"),
        "Raised NameError"
    );
}

#[test]
fn what_the_program_does_wrong_is_its_outcome() {
    let test = "def check(candidate):\n    assert candidate(0) == 1";
    for (code, expected) in [
        ("def f(n): return 1 / n", "Raised ZeroDivisionError"),
        ("def f(n: return 1", "SyntaxError"),
        ("def g(n): return 1", "MissingEntryPoint"),
        ("f = 1", "MissingEntryPoint"),
        ("def f(): return 1", "Raised TypeError"),
        ("def f(n): return object()", "Opaque"),
        ("def f(n): return open('/etc/passwd')", "Forbidden open"),
        ("def f(n): return None", "WrongAnswer"),
        ("def f(n): return 'a' * 10**6", "OutputTooLarge"),
        ("raise ValueError", "Raised ValueError"),
    ] {
        assert_eq!(outcome(code, "", test), expected, "{code}");
    }
    let limits = Limits {
        fuel: Some(300_000_000),
        ..Limits::default()
    };
    let program = Program {
        code: "def f(n):\n while True: pass".into(),
        entry_point: "f".into(),
    };
    let test = CodeTest {
        code: test.into(),
        setup: String::new(),
    };
    let report = sandbox()
        .check_code(&program, &test, &limits, Mode::Pure)
        .unwrap();
    assert_eq!(
        report.outcome,
        Outcome::Timeout {
            limit: TimeLimit::Fuel
        }
    );
    // What breaks the tests' arithmetic is a failure too, told with their line.
    let report = check(
        "def f(n): return None",
        "",
        "x = 1\nassert abs(f(1) - x) < 1e-6",
    );
    let Outcome::Raised {
        kind, traceback, ..
    } = report.outcome
    else {
        panic!("{:?}", report.outcome)
    };
    assert_eq!(
        (kind.as_str(), traceback.as_str()),
        ("TypeError", "line 2 of the tests")
    );
}

#[test]
fn exceptions_reach_tests_that_await_them() {
    let test = "
def check(candidate):
    try:
        candidate(-1)
        assert False, 'no exception'
    except ValueError as error:
        assert str(error) == 'negative'
";
    let code = |kind: &str| format!("def f(n): raise {kind}('negative')");
    assert_eq!(outcome(&code("ValueError"), "", test), "Passed");
    assert_eq!(outcome(&code("KeyError"), "", test), "Raised KeyError");
    assert_eq!(outcome("def f(n): return 0", "", test), "WrongAnswer");
    // The program's own traceback is kept.
    let report = check("def f(n):\n    return n[0]", "", "f(1)");
    let Outcome::Raised { traceback, .. } = report.outcome else {
        panic!("{:?}", report.outcome)
    };
    assert_eq!(traceback, "line 2, in f");
}

#[test]
fn no_exception_ends_the_tests_early_with_a_pass() {
    let test = "assert list(map(f, [1, 2])) == [] or all(f(n) == n for n in [1, 2])";
    for kind in [
        "StopIteration",
        "StopAsyncIteration",
        "SystemExit(0)",
        "KeyboardInterrupt",
        "GeneratorExit",
        "AssertionError",
    ] {
        let name = kind.trim_end_matches("(0)");
        assert_eq!(
            outcome(&format!("def f(n): raise {kind}"), "", test),
            format!("Raised {name}")
        );
    }
    let swallowing = "
def check(candidate):
    try:
        assert candidate(1) == 1
    except:
        raise
    finally:
        candidate(2)
    for n in range(3):
        try:
            assert candidate(n) == n
        except Exception as error:
            raise
";
    assert_eq!(outcome("def f(n): return n", "", swallowing), "Passed");
    assert_eq!(outcome("def f(n): return 1", "", swallowing), "WrongAnswer");
    // Tests that catch everything see the same answers as if they had called out.
    let eager = "
seen = []
for n in range(5):
    try:
        seen.append(f(n))
    except BaseException as error:
        seen.append(type(error).__name__)
assert seen == [0, 'ValueError', 2, 'ValueError', 4], seen
";
    let code = "def f(n):\n if n % 2: raise ValueError\n return n";
    assert_eq!(outcome(code, "", eager), "Passed");
}

#[test]
fn state_carried_between_calls_buys_no_pass() {
    let code = "calls = []\ndef f(n):\n calls.append(n)\n return len(calls)";
    let test = "assert [f(0), f(0), f(0)] == [1, 2, 3]";
    assert_eq!(outcome(code, "", test), "WrongAnswer");
}

#[test]
fn copies_cross_so_that_tests_keep_their_values() {
    let test = "x = [3, 1, 2]\nassert f(x) == [1, 2, 3]\nassert x == [3, 1, 2]\ny = f(x)\ny.append(1)\nassert f(x) == [1, 2, 3]";
    assert_eq!(
        outcome("def f(x):\n x.sort()\n return x", "", test),
        "Passed"
    );
}

#[test]
fn random_tests_ask_the_same_each_time_they_run() {
    let test = "
import random
for _ in range(50):
    a, b = random.randint(0, 1000), random.random()
    assert f(a, b) == a + b
";
    assert_eq!(outcome("def f(a, b): return a + b", "", test), "Passed");
    // Randomness of the program's own starts afresh for each call.
    let code = "import random\ndef f(a, b): return a + b + (random.random() > 0.999)";
    let [one, two] = [0, 1].map(|_| try_check(code, "", test, Mode::Pure).unwrap());
    assert_eq!((one.outcome, one.fuel), (two.outcome, two.fuel));
}

#[test]
fn an_answer_that_the_tests_cannot_digest_fails() {
    let test = "assert len(str(7 ** f(1))) > 0\nassert f(1) == 1";
    assert_ne!(outcome("def f(n): return 10 ** 12", "", test), "Passed");
    let test = "x = 'a' * f(1)\nassert f(1) == 1";
    assert_ne!(outcome("def f(n): return 10 ** 12", "", test), "Passed");
}

#[test]
fn tests_that_fail_by_themselves_are_no_verdict() {
    for (setup, test, why) in [
        ("", "def check(:", "code: SyntaxError"),
        (
            "x = 1 / 0",
            "assert f(1)",
            "line 1 of the setup: ZeroDivisionError",
        ),
        ("", "y = 1\nassert g(1)", "line 2 of the tests: NameError"),
        ("", "assert 1 == 2", "line 1 of the tests: AssertionError"),
        ("", "f(lambda: 1)", "a function, which cannot cross"),
        ("", "while True: pass", "timeout"),
        ("", "for i in range(2000): f(i)", "more than 1000 calls"),
        (
            "",
            "import time\nf(time.time())\nf(2)",
            "other arguments each time",
        ),
        ("", "x = 1", "without a call of f"),
        ("", "def check(candidate): pass", "without a call of f"),
    ] {
        let found = broken(setup, test);
        assert!(found.contains(why), "{found}");
    }
}

#[test]
fn neither_side_sees_the_other() {
    // The tests' source, their expected values and the driver are nowhere in the program's interpreter.
    let code = "
import gc, sys
def f(n):
    gc.unfreeze()
    frame, seen = sys._getframe(), gc.get_objects()
    while frame:
        seen += list(frame.f_locals.values()) + list(frame.f_globals.values())
        frame = frame.f_back
    words = [part for thing in seen for part in [thing, *gc.get_referents(thing)] if type(part) is str]
    return sorted({word for word in words if word.startswith('the answer' + ' to')})
";
    let test = "assert f(1) == ['the answer to it all']";
    let report = check(code, "secret = 'the answer to everything'", test);
    let Outcome::WrongAnswer { got, .. } = report.outcome else {
        panic!("{:?}", report.outcome)
    };
    // It finds its own search and nothing else.
    assert_eq!(got, Value::List(vec!["the answer to".into()]));
}
