//! The `problems` command as a user runs it: the commands of docs/problems.md, and what a set's makers need to know.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value as Json, json};

fn problems(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_problems"))
        .args(args)
        .current_dir(folder)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn rows(path: &Path) -> Vec<Json> {
    let lines = std::fs::read_to_string(path).unwrap();
    lines
        .lines()
        .skip(1)
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The text between a fence that opens with `opening` and its end.
fn block<'a>(document: &'a str, opening: &str) -> &'a str {
    let (_, rest) = document
        .split_once(opening)
        .unwrap_or_else(|| panic!("no {opening}"));
    rest.split_once("\n```").unwrap().0
}

#[test]
fn the_commands_of_the_guide_run() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/problems.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for sub in ["mine", "strong"] {
        std::fs::create_dir(at.join(sub)).unwrap();
    }
    std::fs::write(at.join("mine.jsonl"), block(&guide, "```json mine.jsonl\n")).unwrap();
    let commands = block(&guide, "```sh runnable\n");
    assert!(commands.lines().count() >= 6);
    for line in commands.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[0], "problems", "{line}");
        let output = problems(at, &words[1..]);
        // 3: `check` found something, as it should of three asserts.
        let code = output.status.code();
        assert!(
            code == Some(0) || code == Some(3) && words[1] == "check",
            "{line}: {}",
            text(&output.stderr)
        );
    }
    let converted = rows(&at.join("mine/problems.jsonl"));
    assert_eq!(converted.len(), 3);
    assert_eq!(converted[0]["entry_point"], "clamp");
    assert_eq!(
        converted[0]["tests"][1],
        json!({"args": [-3, 0, 10], "expected": 0})
    );
    assert_eq!(converted[2]["tests"][0]["stdin"], "1 2\n");
    let strong = rows(&at.join("strong/problems.jsonl"));
    let tests = strong[0]["tests"].as_array().unwrap();
    assert!(tests.len() >= 20, "{}", tests.len());
    for test in tests {
        let args: Vec<i64> = test["args"]
            .as_array()
            .unwrap()
            .iter()
            .map(|a| a.as_i64().unwrap())
            .collect();
        let right = args[1].max(args[0].min(args[2]));
        assert_eq!(test["expected"], right, "{test}");
    }
    assert!(!at.join("strong/problems.jsonl.progress").exists());
}

#[test]
fn check_tells_what_is_wrong_with_each_problem() {
    let folder = tempfile::tempdir().unwrap();
    let statement = "Write a function that gives the larger of two numbers, or the first of them where both are alike.";
    let problem = |id: &str, statement: &str, tests: Json, more: Json| {
        let mut row = json!({"id": id, "statement": statement, "tests": tests});
        for (key, value) in more.as_object().unwrap() {
            row[key] = value.clone();
        }
        row.to_string()
    };
    let larger = "def f(a, b):\n    return a if a >= b else b\n";
    let lines = [
        problem(
            "a/good",
            statement,
            json!([
                "assert f(1, 2) == 2",
                "assert f(2, 1) == 2",
                "assert f(3, 3) == 3",
                "assert f(-1, 0) == 0"
            ]),
            json!({"reference": larger}),
        ),
        problem(
            "a/twin",
            &statement.to_uppercase(),
            json!(["assert g(1, 2) == 2", "assert g(4, 1) == 4"]),
            json!({"reference": "def g(a, b):\n    return max(b, a)\n"}),
        ),
        problem(
            "a/broken",
            "Add one.",
            json!(["assert f(1) == 3"]),
            json!({"reference": "def f(a):\n    return a + 1\n"}),
        ),
        problem(
            "a/constant",
            "Say whether n is odd.",
            json!(["assert odd(1) == True", "assert odd(3) == True"]),
            json!({"reference": "def odd(n):\n    return n % 2 == 1\n"}),
        ),
        problem(
            "a/endless",
            "Spin.",
            json!([{"stdin": "1", "stdout": "1"}]),
            json!({"reference": "while True:\n    pass\n"}),
        ),
        problem(
            "a/checker",
            "Give any divisor.",
            json!([{"args": [6]}]),
            json!({"signature": "def f(n)", "checker": "def accepts(input, expected, got):\n    return 1 // 0\n", "reference": "def f(n):\n    return 1\n"}),
        ),
        problem(
            "a/calls",
            "x",
            json!(["assert f(undefined) == 1"]),
            json!({"reference": "def f(n):\n    return 1\n"}),
        ),
        problem(
            "a/wrong",
            "Double n.",
            json!([{"args": [2], "expected": 4}, {"args": [0], "expected": 0}]),
            json!({"reference": "def f(n):\n    return 2 * n\n", "incorrect": ["def f(n):\n    return n * n\n"]}),
        ),
        "{\"id\": \"a/nothing\", \"statement\": \"s\"}".to_owned(),
    ];
    std::fs::write(folder.path().join("set.jsonl"), lines.join("\n")).unwrap();
    let output = problems(
        folder.path(),
        &["check", "set.jsonl", "--json", "--resume", "seen.jsonl"],
    );
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    let told: Json = serde_json::from_slice(&output.stdout).unwrap();
    let found: Vec<String> = told["examined"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|seen| {
            let found = seen["found"].as_array().unwrap().iter();
            found.map(|f| {
                format!(
                    "{} {}",
                    seen["problem"].as_str().unwrap(),
                    f["what"].as_str().unwrap()
                )
            })
        })
        .collect();
    for expected in [
        "a/twin duplicate",
        "a/broken reference",
        "a/constant constant",
        "a/endless reference",
        "a/checker tests",
        "a/calls tests",
        "a/wrong incorrect",
    ] {
        assert!(
            found.contains(&expected.to_owned()),
            "no {expected} in {found:?}"
        );
    }
    assert!(
        !found.iter().any(|found| found.starts_with("a/good")),
        "{found:?}"
    );
    let left_out = &told["left_out"][0];
    assert_eq!(
        (&left_out["row"], &left_out["id"]),
        (&json!(9), &json!("a/nothing"))
    );
    // What was examined is taken from the file, and the answer is the same.
    let again = problems(
        folder.path(),
        &["check", "set.jsonl", "--json", "--resume", "seen.jsonl"],
    );
    assert_eq!(text(&again.stdout), text(&output.stdout));
    let strict = problems(folder.path(), &["check", "set.jsonl", "--strict"]);
    assert_eq!(strict.status.code(), Some(1));
    assert!(
        text(&strict.stderr).contains("set.jsonl:9: problem \"a/nothing\": tests: has none"),
        "{}",
        text(&strict.stderr)
    );
}

#[test]
fn without_a_reference_candidates_agree_on_further_tests() {
    let folder = tempfile::tempdir().unwrap();
    let row = json!({"id": "a/abs", "statement": "Absolute value.", "tests": ["assert f(3) == 3", "assert f(-2) == 2"]});
    std::fs::write(folder.path().join("set.jsonl"), row.to_string()).unwrap();
    let candidates = [
        "def f(n):\n    return abs(n)\n",
        "def f(n):\n    return n if n >= 0 else -n\n",
        "def f(n):\n    return max(n, -n)\n",
        "def f(n):\n    return {3: 3, -2: 2}.get(n, 7)\n",
        "def f(n):\n    return n\n",
    ];
    let lines: Vec<String> = candidates
        .iter()
        .map(|code| json!({"task_id": "a/abs", "solution": code}).to_string())
        .collect();
    std::fs::write(folder.path().join("samples.jsonl"), lines.join("\n")).unwrap();
    let run = |more: &[&str]| {
        let args = [&["strengthen", "set.jsonl", "--to", "out.jsonl"], more].concat();
        let output = problems(folder.path(), &args);
        assert!(output.status.success(), "{}", text(&output.stderr));
        (text(&output.stdout), rows(&folder.path().join("out.jsonl")))
    };
    let (told, written) = run(&["--candidates", "samples.jsonl"]);
    let tests = written[0]["tests"].as_array().unwrap();
    assert!(tests.len() > 10, "{told}");
    for test in &tests[2..] {
        let n = test["args"][0].as_i64().unwrap();
        assert_eq!(
            (&test["expected"], &test["tags"]),
            (&json!(n.abs()), &json!(["added", "consensus"]))
        );
    }
    let (told, written) = run(&[]);
    assert_eq!(written[0]["tests"].as_array().unwrap().len(), 2);
    assert!(told.contains("0 candidates pass its tests"), "{told}");
}
