//! Entry points that are classes and methods.

use gauntlet_sandbox::{
    CodeTest, Comparison, Expected, Limits, Mode, Outcome, Program, Report, Value,
};

use crate::{args, sandbox, tests};

const ADDER: &str = "
class Solution:
    def add(self, a, b=1):
        return self._sum(a, b)

    def _sum(self, a, b):
        return a + b

    @staticmethod
    def twice(a, b):
        return 2 * (a + b)

    @classmethod
    def name(cls, a, b):
        return cls.__name__

class Other:
    def sub(self, a, b):
        return a - b

class Counter:
    calls = 0

    def count(self, a, b):
        self.calls += 1
        return self.calls
";

const STACK: &str = "
class Stack:
    def __init__(self, items=()):
        self.items = list(items)
        self.size = len(self.items)

    def push(self, item, *, twice=False):
        self.items += [item] * (2 if twice else 1)
        self.size = len(self.items)
        return self.size

    def pop(self):
        if not self.items:
            raise IndexError('empty')
        self.size -= 1
        return self.items.pop()

    def __len__(self):
        return self.size

    def copy(self):
        return Stack(self.items)
";

fn called(code: &str, entry_point: &str) -> String {
    let program = Program {
        code: code.into(),
        entry_point: entry_point.into(),
    };
    let inputs = vec![args("2, 3"); 2];
    let runs = sandbox()
        .execute(&program, &inputs, &Limits::default(), Mode::Fast)
        .expect("no fault of the host");
    let texts = runs.into_iter().map(|run| match run.result {
        Ok(value) => value.to_literal(),
        Err(Outcome::Raised { kind, .. }) => kind,
        Err(outcome) => outcome.name().into(),
    });
    texts.collect::<Vec<_>>().join(" ")
}

fn checked(code: &str, entry_point: &str, test: &str) -> Result<Report, String> {
    let program = Program {
        code: code.into(),
        entry_point: entry_point.into(),
    };
    let test = CodeTest {
        code: test.into(),
        setup: String::new(),
    };
    let check = |mode| sandbox().check_code(&program, &test, &Limits::default(), mode);
    let report = check(Mode::Pure).map_err(|fault| fault.to_string())?;
    let fast = check(Mode::Fast).map_err(|fault| fault.to_string())?;
    assert_eq!(report.outcome, fast.outcome);
    Ok(report)
}

#[test]
fn a_method_is_called_on_a_new_instance_each_time() {
    for (entry_point, got) in [
        ("add", "5 5"),
        ("Solution().add", "5 5"),
        ("Solution.add", "5 5"),
        ("twice", "10 10"),
        ("name", "'Solution' 'Solution'"),
        ("Other().sub", "-1 -1"),
        ("Counter().count", "1 1"),
        ("sub", "MissingEntryPoint MissingEntryPoint"),
        ("Solution().sub", "MissingEntryPoint MissingEntryPoint"),
        ("Missing().add", "MissingEntryPoint MissingEntryPoint"),
        ("a.b.add", "MissingEntryPoint MissingEntryPoint"),
    ] {
        assert_eq!(called(ADDER, entry_point), got, "{entry_point}");
    }
    // What the program itself calls so comes first.
    let both = format!("{ADDER}\ndef add(a, b):\n    return 0\n");
    assert_eq!(called(&both, "add"), "0 0");
    let value = "add = 3\nclass Solution:\n    def add(self, a, b):\n        return a + b";
    assert_eq!(called(value, "add"), "5 5");
    let needs = "class Solution:\n    def __init__(self, x): pass\n    def add(self, a, b): pass";
    assert_eq!(called(needs, "add"), "TypeError TypeError");
}

#[test]
fn tests_of_values_and_of_code_call_methods() {
    let program = Program {
        code: ADDER.into(),
        entry_point: "Solution().add".into(),
    };
    let values = tests(&[("1, 2", "3"), ("5, 6", "11")]);
    let (exact, limits) = (Comparison::Exact, Limits::default());
    let report = sandbox().check(&program, &values, &exact, &limits, Mode::Fast);
    assert_eq!(report.unwrap().outcome, Outcome::Passed);
    for (entry_point, test) in [
        (
            "Solution().add",
            "def check(candidate):\n    assert candidate(1, 2) == 3\n    assert candidate(a=5, b=6) == 11",
        ),
        ("add", "def check(candidate):\n    assert candidate(1) == 2"),
        ("add", "assert add(1, b=2) == 3"),
        (
            "Solution",
            "assert Solution().add(1, 2) == 3\ns = Solution()\nassert s.add(1) == 2 and s.twice(1, 2) == 6",
        ),
    ] {
        let report = checked(ADDER, entry_point, test).unwrap();
        assert_eq!(report.outcome, Outcome::Passed, "{test}");
    }
    let wrong = checked(ADDER, "Solution", "assert Solution().add(1, b=2) == 4").unwrap();
    let Outcome::WrongAnswer {
        input,
        expected,
        got,
    } = wrong.outcome
    else {
        panic!("{:?}", wrong.outcome)
    };
    assert_eq!(Value::Tuple(input).to_literal(), "(1, {'b': 2})");
    assert_eq!(
        expected,
        Expected::Assertion("Solution().add(1, b=2) == 4".into())
    );
    assert_eq!(got.to_literal(), "3");
}

#[test]
fn an_instance_keeps_what_was_done_with_it() {
    let passes = |test: &str| checked(STACK, "Stack", test).unwrap().outcome;
    for test in [
        "s = Stack()\nassert s.push(1) == 1\nassert s.push(2, twice=True) == 3\nassert [s.pop(), s.pop(), s.pop()] == [2, 2, 1]",
        "s, t = Stack([7]), Stack()\nt.push(3)\nassert (s.pop(), t.pop()) == (7, 3)",
        "s = Stack([1, 2])\nassert s.size == 2 and len(s) == 2\npop = s.pop\nassert pop() + pop() == 3 and s.size == 0",
        "s = Stack()\ntry:\n    s.pop()\n    raise SystemError\nexcept IndexError as error:\n    assert str(error) == 'empty'\ns.push(4)\nassert s.pop() == 4",
        "try:\n    Stack().peek()\n    raise SystemError\nexcept AttributeError:\n    pass",
    ] {
        assert_eq!(passes(test), Outcome::Passed, "{test}");
    }
    let Outcome::Raised { kind, .. } = passes("Stack().pop()") else {
        panic!("popped")
    };
    assert_eq!(kind, "IndexError");
    assert_eq!(passes("assert Stack().copy().pop() == 1"), Outcome::Opaque);
    for (test, said) in [
        ("Stack().size = 3", "they set size"),
        ("assert Stack()", "is true"),
    ] {
        let fault = checked(STACK, "Stack", test).unwrap_err();
        assert!(fault.contains(said), "{fault}");
    }
}
