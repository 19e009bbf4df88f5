//! The `sandbox` binary: what it prints and its exit codes.

use std::path::Path;
use std::process::{Command, Output};

fn sandbox(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sandbox"))
        .args(args)
        .current_dir(dir)
        .output()
        .expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn dir() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let files = [
        ("double.py", "print('hello')\ndef double(x): return x + x\n"),
        (
            "good.json",
            r#"{"entry_point": "double", "tests": [{"args": [2], "expected": 4}, {"args": [{"$py": "(1,)"}], "expected": {"$py": "(1, 1)"}}]}"#,
        ),
        (
            "bad.json",
            r#"{"entry_point": "double", "tests": [{"args": [2], "expected": 4}, {"args": ["a"], "expected": "a"}]}"#,
        ),
        (
            "code.json",
            r#"{"entry_point": "double", "code": "def check(candidate):\n    assert candidate(x=2) == twice(2)", "setup": "def twice(n): return 2 * n"}"#,
        ),
        (
            "broken.json",
            r#"{"entry_point": "double", "tests": [{"args": 2}]}"#,
        ),
    ];
    for (name, content) in files {
        std::fs::write(dir.path().join(name), content).unwrap();
    }
    dir
}

#[test]
fn run_prints_what_the_program_prints() {
    let dir = dir();
    let output = sandbox(dir.path(), &["run", "double.py"]);
    assert_eq!(
        (output.status.code(), text(&output.stdout).as_str()),
        (Some(0), "hello\n")
    );
    let output = sandbox(
        dir.path(),
        &["run", "double.py", "--entry", "double", "--input", "[[1]]"],
    );
    assert_eq!(text(&output.stdout), "hello\n[1, 1]\n");
    let output = sandbox(
        dir.path(),
        &[
            "run",
            "double.py",
            "--entry",
            "double",
            "--input",
            "[1]",
            "--input",
            "[]",
            "--json",
        ],
    );
    assert_eq!(output.status.code(), Some(3));
    let lines: Vec<serde_json::Value> = text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        (
            &lines[0]["outcome"],
            &lines[0]["value"],
            &lines[0]["stdout"]
        ),
        (&"Passed".into(), &2.into(), &"hello\n".into())
    );
    assert_eq!(lines[1]["outcome"]["Raised"]["type"], "TypeError");
    assert!(lines[0]["fuel"].as_u64().unwrap() > 0 && lines[0]["wall_ms"].as_f64().unwrap() > 0.0);
}

#[test]
fn check_says_which_test_failed() {
    let dir = dir();
    for batch in [&["--batch"][..], &[]] {
        let output = sandbox(
            dir.path(),
            &[&["check", "double.py", "--tests", "good.json"], batch].concat(),
        );
        assert_eq!(
            (output.status.code(), text(&output.stdout).as_str()),
            (Some(0), "2 of 2 tests passed\n")
        );
        let output = sandbox(
            dir.path(),
            &[&["check", "double.py", "--tests", "bad.json"], batch].concat(),
        );
        let expected = "test 2: wrong answer: ('a') gave 'aa', expected 'a'\n1 of 2 tests passed\n";
        assert_eq!(
            (output.status.code(), text(&output.stdout).as_str()),
            (Some(3), expected)
        );
    }
    let output = sandbox(
        dir.path(),
        &["check", "double.py", "--tests", "bad.json", "--json"],
    );
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["outcome"]["WrongAnswer"]["got"], "aa");
    assert_eq!(
        (
            &report["tests"][0]["outcome"],
            &report["tests"][1]["expected"]
        ),
        (&"Passed".into(), &"a".into())
    );
}

#[test]
fn limits_are_taken_from_the_command_line() {
    let dir = dir();
    std::fs::write(dir.path().join("loop.py"), "while True: pass").unwrap();
    for (limits, limit) in [
        (["--fuel", "50000000"], "fuel"),
        (["--timeout", "0.2"], "wall"),
    ] {
        let output = sandbox(
            dir.path(),
            &["run", "loop.py", "--json", limits[0], limits[1]],
        );
        let object: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(object["outcome"]["Timeout"]["limit"], limit);
        assert_eq!(output.status.code(), Some(3));
    }
    std::fs::write(dir.path().join("memory.py"), "x = bytearray(100 << 20)").unwrap();
    assert_eq!(
        sandbox(dir.path(), &["run", "memory.py"]).status.code(),
        Some(0)
    );
    assert_eq!(
        sandbox(dir.path(), &["run", "memory.py", "--memory", "64"])
            .status
            .code(),
        Some(3)
    );
}

#[test]
fn wrong_usage_exits_2_and_names_the_culprit() {
    let dir = dir();
    let cases: [(&[&str], &str); 7] = [
        (&["run", "nothing.py"], "nothing.py"),
        (&["run", "double.py", "--input", "[1]"], "--entry"),
        (
            &["run", "double.py", "--entry", "double", "--input", "1"],
            "JSON array",
        ),
        (
            &["run", "double.py", "--entry", "double", "--input", "[1"],
            "--input [1",
        ),
        (
            &["run", "double.py", "--fuel", "1", "--timeout", "1"],
            "--timeout",
        ),
        (
            &["check", "double.py", "--tests", "broken.json"],
            "broken.json",
        ),
        (&["check", "double.py"], "--tests"),
    ];
    for (args, culprit) in cases {
        let output = sandbox(dir.path(), args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(
            text(&output.stderr).contains(culprit),
            "{args:?}: {}",
            text(&output.stderr)
        );
    }
}

#[test]
fn a_missing_runtime_is_the_hosts_fault() {
    let dir = dir();
    let output = Command::new(env!("CARGO_BIN_EXE_sandbox"))
        .args(["run", "double.py"])
        .current_dir(dir.path())
        .env("GAUNTLET_RUNTIME", dir.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("cargo xtask setup"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn tests_may_be_code() {
    let dir = dir();
    let args = ["check", "double.py", "--tests", "code.json", "--json"];
    let output = sandbox(dir.path(), &args);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (
            output.status.code(),
            &report["outcome"],
            &report["tests"][0]["got"]
        ),
        (Some(0), &"Passed".into(), &4.into())
    );
    std::fs::write(dir.path().join("wrong.py"), "def double(x): return x").unwrap();
    let output = sandbox(
        dir.path(),
        &["check", "wrong.py", "--tests", "code.json", "--json"],
    );
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(report["outcome"]["WrongAnswer"]["got"], 2);
    assert_eq!(
        report["tests"][0]["expected"]["$assert"],
        "candidate(x=2) == twice(2)"
    );
    let output = sandbox(dir.path(), &["check", "wrong.py", "--tests", "code.json"]);
    let expected = "test 1: wrong answer: ({'x': 2}) gave 2, expected candidate(x=2) == twice(2)\n0 of 1 tests passed\n";
    assert_eq!(text(&output.stdout), expected);
}

#[test]
fn malformed_tests_are_told_with_file_and_field() {
    let dir = dir();
    let cases = [
        ("", "tests.json: no JSON object"),
        ("{", "tests.json: EOF"),
        ("[1]", "tests.json: no JSON object"),
        (
            r#"{"entry_point": 1, "tests": []}"#,
            "tests.json: entry_point: ",
        ),
        (
            r#"{"entry_point": "", "tests": []}"#,
            "tests.json: entry_point: ",
        ),
        (
            r#"{"entry_point": "f"}"#,
            "tests.json: \"tests\" is missing",
        ),
        (
            r#"{"entry_point": "f", "tests": []}"#,
            "tests.json: tests: the list is empty",
        ),
        (
            r#"{"entry_point": "f", "tests": {}}"#,
            "tests.json: tests: ",
        ),
        (
            r#"{"entry_point": "f", "tests": [{"args": [], "expected": 1}, {"args": [1, {"$py": "(1"}], "expected": 2}]}"#,
            "tests.json: tests[1].args[1]: ",
        ),
        (
            r#"{"entry_point": "f", "tests": [{"args": [], "expect": 1}]}"#,
            "tests.json: tests[0].expect: unknown field",
        ),
        (
            r#"{"entry_point": "f", "tests": [{"args": [], "expected": {"$raises": 3}}]}"#,
            "tests.json: tests[0].expected: ",
        ),
        (
            r#"{"entry_point": "f", "tests": [{"args": [], "expected": {"$assert": "x"}}]}"#,
            "tests.json: tests[0].expected: ",
        ),
        (
            r#"{"entry_point": "f", "tests": [{"args": [], "expected": 1}], "comparison": "close"}"#,
            "tests.json: comparison: ",
        ),
        (
            r#"{"entry_point": "f", "tests": [{"args": [], "expected": 1}], "code": "x"}"#,
            "two forms of tests",
        ),
        (
            r#"{"entry_point": "f", "tests": [{"args": [], "expected": 1}], "setup": "x"}"#,
            "tests.json: setup: ",
        ),
        (
            r#"{"entry_point": "f", "code": "x", "comparison": "exact"}"#,
            "tests.json: comparison: ",
        ),
        (
            r#"{"entry_point": "f", "tests": [{"args": [], "expected": 1}]} {}"#,
            "tests.json: trailing",
        ),
        (
            r#"{"entry_point": "double", "code": "assert double(undefined)"}"#,
            "line 1 of the tests: NameError",
        ),
    ];
    for (tests, culprit) in cases {
        std::fs::write(dir.path().join("tests.json"), tests).unwrap();
        let output = sandbox(dir.path(), &["check", "double.py", "--tests", "tests.json"]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{tests}: {said}");
        assert!(said.contains(culprit), "{tests}: {said}");
        assert!(output.stdout.is_empty());
    }
    std::fs::write(
        dir.path().join("tests.json"),
        b"{\"entry_point\": \"\xff\"}",
    )
    .unwrap();
    let output = sandbox(dir.path(), &["check", "double.py", "--tests", "tests.json"]);
    assert!(text(&output.stderr).contains("not UTF-8 at byte 17"));
}

#[test]
fn limits_of_nothing_are_wrong_usage() {
    let dir = dir();
    for (limit, culprit) in [
        (["--fuel", "0"], "--fuel 0"),
        (["--fuel", "-1"], "'-1'"),
        (["--timeout", "0"], "--timeout 0"),
        (["--timeout", "nan"], "--timeout NaN"),
        (["--timeout", "1e300"], "--timeout"),
        (["--memory", "0"], "--memory 0"),
        (["--memory", "1"], "limit on memory"),
        (["--memory", "99999999999999999"], "--memory"),
    ] {
        let output = sandbox(dir.path(), &["run", "double.py", limit[0], limit[1]]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{limit:?}: {said}");
        assert!(said.contains(culprit), "{limit:?}: {said}");
    }
}

#[test]
fn programs_of_any_bytes_fail_with_an_outcome() {
    let dir = dir();
    let mut long = b"x = 1\n".repeat(10 << 20 >> 3);
    long.extend(b"def double(x): return x + x\n");
    let mut literal = b"y = '".to_vec();
    literal.extend(b"a".repeat(10 << 20));
    literal.extend(b"'\ndef double(x): return x + x\n");
    let programs: [(&str, Vec<u8>, &[&str]); 8] = [
        (
            "latin",
            b"# caf\xe9\ndef double(x): return x".to_vec(),
            &["SyntaxError"],
        ),
        (
            "nul",
            b"def double(x): return x\0".to_vec(),
            &["SyntaxError"],
        ),
        ("empty", Vec::new(), &["MissingEntryPoint"]),
        (
            "brackets",
            b"(".repeat(100_000),
            &["SyntaxError", "OutOfMemory"],
        ),
        (
            "minus",
            [b"x = ".to_vec(), b"-".repeat(100_000), b"1".to_vec()].concat(),
            &["SyntaxError", "OutOfMemory", "Raised"],
        ),
        (
            "blocks",
            (0..200)
                .map(|n| format!("{}if x:\n", " ".repeat(n)))
                .collect::<String>()
                .into_bytes(),
            &["SyntaxError"],
        ),
        ("long literal", literal, &["Passed"]),
        ("long", long, &["Passed", "Timeout", "OutOfMemory"]),
    ];
    for (name, code, expected) in programs {
        std::fs::write(dir.path().join("program.py"), code).unwrap();
        for command in [
            &["check", "program.py", "--tests", "good.json", "--json"][..],
            &[
                "run",
                "program.py",
                "--entry",
                "double",
                "--input",
                "[2]",
                "--json",
            ],
        ] {
            let output = sandbox(dir.path(), command);
            let object: serde_json::Value = serde_json::from_slice(&output.stdout)
                .unwrap_or_else(|_| panic!("{name}: {}", text(&output.stderr)));
            let outcome = &object["outcome"];
            let found = outcome.as_str().map_or_else(
                || outcome.as_object().unwrap().keys().next().unwrap().clone(),
                str::to_owned,
            );
            assert!(expected.contains(&found.as_str()), "{name}: {outcome}");
            let code = if found == "Passed" { 0 } else { 3 };
            assert_eq!(output.status.code(), Some(code), "{name}");
        }
    }
}

#[test]
fn a_verdict_that_hangs_on_the_order_of_sets_is_told() {
    let dir = dir();
    let tests = r#"{"entry_point": "f", "tests": [{"args": [["b", "a"]], "expected": "VALUE"}, {"args": [["b"]], "expected": "b"}]}"#;
    let code = "def f(words): return next(iter(set(words)))\n";
    std::fs::write(dir.path().join("first.py"), code).unwrap();
    let mut told = Vec::new();
    for value in ["a", "b"] {
        let path = format!("{value}.json");
        std::fs::write(dir.path().join(&path), tests.replace("VALUE", value)).unwrap();
        let args = ["check", "first.py", "--tests", &path];
        let plain = sandbox(dir.path(), &args);
        let both = sandbox(dir.path(), &[&args[..], &["--set-orders"]].concat());
        let json = sandbox(
            dir.path(),
            &[&args[..], &["--set-orders", "--json"]].concat(),
        );
        assert_eq!(plain.status.code(), both.status.code());
        let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
        assert_eq!(json["hang_on_set_order"], serde_json::json!([0]));
        let text = text(&both.stdout);
        assert!(text.contains("test 1 hangs on the order of sets"), "{text}");
        assert!(!text.contains("test 2"), "{text}");
        told.push(both.status.code());
    }
    told.sort();
    let both = [Some(0), Some(3)];
    assert_eq!(told, both, "one of the two is what one order gives");
    let args = ["check", "double.py", "--tests", "good.json", "--set-orders"];
    let output = text(&sandbox(dir.path(), &args).stdout);
    assert_eq!(output, "2 of 2 tests passed\n");
}

#[test]
fn run_gives_a_script_its_input_and_arguments() {
    let dir = dir();
    let script = "import sys\nprint(sys.argv[1:], input())\nprint('err', file=sys.stderr)\nsys.exit(len(sys.argv) - 1)\n";
    std::fs::write(dir.path().join("script.py"), script).unwrap();
    std::fs::write(dir.path().join("input.txt"), "from a file\n").unwrap();
    let with = |args: &[&str], stdin: &str| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_sandbox"))
            .args(args)
            .current_dir(dir.path())
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), stdin.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let output = with(&["run", "script.py"], "from a pipe\n");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stdout), "[] from a pipe\n");
    assert_eq!(text(&output.stderr), "err\n");
    let output = with(
        &["run", "script.py", "--stdin", "input.txt", "--", "--n", "1"],
        "",
    );
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(text(&output.stdout), "['--n', '1'] from a file\n");
    let output = with(&["run", "script.py", "--json", "--", "x"], "y");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["stdout"], "['x'] y\n");
    assert_eq!(json["stderr"], "err\n");
    assert_eq!(json["outcome"]["Raised"]["type"], "SystemExit");
    assert_eq!(json["outcome"]["Raised"]["message"], "1");
}
