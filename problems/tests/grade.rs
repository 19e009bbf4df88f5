//! Every form of test judges right and wrong solutions, and faults of a problem are nobody's score.

use gauntlet_problems::Problem;
use gauntlet_problems::consensus::{Rule, error_rate};
use gauntlet_problems::grade::grade;
use gauntlet_problems::ground::complete;
use gauntlet_sandbox::{Fault, Limits, Mode, Sandbox, Value};
use serde_json::{Value as Json, json};

fn problem(fields: Json) -> Problem {
    let mut row = json!({"id": "a/b", "statement": "s"});
    for (key, value) in fields.as_object().unwrap() {
        row[key] = value.clone();
    }
    serde_json::from_value(row).unwrap()
}

#[test]
fn each_form_of_test_tells_right_from_wrong() {
    let sandbox = Sandbox::open().unwrap();
    let any_divisor = "def accepts(input, expected, got):\n    return 1 < got < input[0] and input[0] % got == 0\n";
    let any_sum = "def accepts(input, expected, got):\n    a, b = map(int, got.split())\n    return a + b == int(input)\n";
    for (fields, code, outcome) in [
        (
            json!({"tests": ["assert f(1) == 2"]}),
            "def f(n):\n    return n + 1",
            "Passed",
        ),
        (
            json!({"tests": ["assert f(1) == 2"]}),
            "def f(n):\n    return n",
            "WrongAnswer",
        ),
        (
            json!({"tests": ["assert f(1) > 1", "assert f(2) == 3"]}),
            "def f(n):\n    return n",
            "WrongAnswer",
        ),
        (
            json!({"tests": ["def check(candidate):\n    for i in range(3):\n        assert candidate(i) == i * i"], "entry_point": "f"}),
            "def f(n):\n    return n ** 2",
            "Passed",
        ),
        (
            json!({"tests": ["assert f(C(2)) == 2"], "setup": "class C:\n    def __init__(self, x):\n        self.x = x\n"}),
            "def f(c):\n    return c.x",
            "Passed",
        ),
        (
            json!({"tests": [{"args": [1], "expected": 2}], "entry_point": "Solution.go"}),
            "class Solution:\n    def go(self, n):\n        return n + 1",
            "Passed",
        ),
        (
            json!({"tests": [{"args": [1], "expected": 2}], "entry_point": "Solution.go"}),
            "class Other:\n    pass",
            "Raised",
        ),
        (
            json!({"tests": [{"stdin": "1 2\n", "stdout": "3\n"}]}),
            "a, b = map(int, input().split())\nprint(a + b)",
            "Passed",
        ),
        (
            json!({"tests": [{"stdin": "1\n2\n", "stdout": "3"}]}),
            "import sys\nprint(sum(map(int, sys.stdin)), end=' ')",
            "Passed",
        ),
        (
            json!({"tests": [{"stdin": "1\n2\n", "stdout": "3"}]}),
            "import sys\nsys.stdout.write(str(sum(int(x) for x in sys.stdin.buffer.read().split())))\nsys.exit(0)",
            "Passed",
        ),
        (
            json!({"tests": [{"stdin": "3", "stdout": "4"}]}),
            "def main():\n    print(int(input()) + 1)\nif __name__ == '__main__':\n    main()",
            "Passed",
        ),
        (
            json!({"tests": [{"stdin": "3", "stdout": "4"}]}),
            "print(3)",
            "WrongAnswer",
        ),
        (
            json!({"tests": [{"stdin": "3", "stdout": "4"}]}),
            "input()\ninput()",
            "Raised",
        ),
        (
            json!({"tests": [{"stdin": "3", "stdout": "4"}]}),
            "exit(1)",
            "Raised",
        ),
        (
            json!({"tests": [{"stdin": "3", "stdout": "4"}]}),
            "print(",
            "SyntaxError",
        ),
        (
            json!({"tests": [{"stdin": "3", "stdout": "4"}]}),
            "while True:\n    pass",
            "Timeout",
        ),
        (
            json!({"tests": [{"stdin": "1", "stdout": "0.333333"}], "comparison": {"float": 1e-4}}),
            "print(1 / 3)",
            "Passed",
        ),
        (
            json!({"tests": [{"args": [6]}], "signature": "def f(n)", "checker": any_divisor}),
            "def f(n):\n    return 3",
            "Passed",
        ),
        (
            json!({"tests": [{"args": [6]}], "signature": "def f(n)", "checker": any_divisor}),
            "def f(n):\n    return 4",
            "WrongAnswer",
        ),
        (
            json!({"tests": [{"stdin": "5"}], "checker": any_sum}),
            "print(2, int(input()) - 2)",
            "Passed",
        ),
        (
            json!({"tests": [{"stdin": "5"}], "checker": any_sum}),
            "print(2, 2)",
            "WrongAnswer",
        ),
    ] {
        let problem = problem(fields.clone());
        let limits = Limits {
            fuel: Some(2_000_000_000),
            ..Limits::default()
        };
        for mode in [Mode::Fast, Mode::Pure] {
            let report = grade(&sandbox, &problem, code, &limits, mode).unwrap();
            assert_eq!(
                report.outcome.name(),
                outcome,
                "{fields} {code}: {:?}",
                report.outcome
            );
        }
    }
}

#[test]
fn a_checker_that_fails_is_the_problems_fault() {
    let sandbox = Sandbox::open().unwrap();
    for body in [
        "return 1 // 0",
        "return got",
        "return None",
        "while True: pass",
    ] {
        let problem = problem(json!({
            "tests": [{"args": [6]}], "signature": "def f(n)", "checker": format!("def accepts(input, expected, got):\n    {body}\n"),
        }));
        let error = grade(
            &sandbox,
            &problem,
            "def f(n):\n    return 3",
            &Limits::default(),
            Mode::Fast,
        )
        .unwrap_err();
        assert!(
            matches!(&error, Fault::Tests { why } if why.contains("the checker on ([6], None, 3)")),
            "{error}"
        );
    }
}

#[test]
fn inputs_get_their_values_from_the_reference() {
    let sandbox = Sandbox::open().unwrap();
    let mut problem = problem(json!({
        "tests": [{"args": [2], "tags": ["plus"]}, {"args": [0]}, {"args": ["x"]}],
        "reference": "def f(n):\n    return [1 // n] if n else open('x')\n", "entry_point": "f",
    }));
    let left = complete(&sandbox, &mut problem).unwrap();
    assert_eq!(
        (problem.tests.len() + left.len(), problem.inputs.len()),
        (3, 0),
        "{left:?}"
    );
    assert_eq!(problem.tests[0].tags, ["plus"]);
}

#[test]
fn the_error_of_a_consensus_is_measured_against_a_reference() {
    let sandbox = Sandbox::open().unwrap();
    let problem = problem(
        json!({"tests": ["assert f(1) == 1"], "reference": "def f(n):\n    return abs(n)\n"}),
    );
    let candidates = [
        "def f(n):\n    return n",
        "def f(n):\n    return n",
        "def f(n):\n    return n * 1",
        "def f(n):\n    return abs(n)",
        "def f(n):\n    return 0",
    ];
    let inputs: Vec<Vec<Value>> = [5, -5, 0, -1].map(|n| vec![Value::from(n)]).to_vec();
    let errors = error_rate(&sandbox, &problem, &candidates, &inputs, &Rule::default()).unwrap();
    assert_eq!((errors.inputs, errors.decided, errors.wrong), (4, 4, 2));
    assert_eq!(errors.rate(), Some(0.5));
    let strict = Rule {
        min_share: 0.9,
        ..Rule::default()
    };
    let errors = error_rate(&sandbox, &problem, &candidates, &inputs, &strict).unwrap();
    assert_eq!((errors.decided, errors.wrong), (2, 0));
}
