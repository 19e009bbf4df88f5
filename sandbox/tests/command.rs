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
            r#"{"entry_point": "double", "code": "def check(candidate): pass"}"#,
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
    let cases: [(&[&str], &str); 8] = [
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
        (
            &["check", "double.py", "--tests", "code.json"],
            "not supported",
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
