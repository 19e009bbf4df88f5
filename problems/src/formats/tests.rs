//! A small row of every format, written for these tests, and rows that are wrong.

use gauntlet_sandbox::Comparison;
use serde_json::json;

use super::*;

fn row(json: Json) -> Map<String, Json> {
    match json {
        Json::Object(map) => map,
        other => panic!("{other} is no row"),
    }
}

fn read(fields: &FieldMap, row: Map<String, Json>) -> Result<(Format, Problem), String> {
    let context = Context {
        file: "data/test-00000-of-00001.jsonl",
        row: 7,
        fields,
    };
    let format = Format::of(&row, fields).map_err(|unknown| unknown.to_string())?;
    let problem = format.problem(&context, row).map_err(String::from)?;
    problem.check().map_err(String::from)?;
    Ok((format, problem))
}

fn humaneval() -> Json {
    json!({
        "task_id": "HumanEval/900", "entry_point": "add_one", "canonical_solution": "    return n + 1\n",
        "prompt": "from typing import List\n\ndef add_one(n: int) -> int:\n    \"\"\" Return n + 1.\n    >>> add_one(1)\n    2\n    \"\"\"\n",
        "test": "METADATA = {}\n\ndef check(candidate):\n    assert candidate(1) == 2\n    assert abs(candidate(2) - 3) < 1e-6\n",
    })
}

fn mbpp() -> Json {
    json!({
        "task_id": 700, "text": "Write a function to double.", "code": "def twice(n):\r\n  return n * 2",
        "test_setup_code": "", "test_list": ["assert twice(2) == 4", "assert twice(0) == 0"], "challenge_test_list": [],
    })
}

fn livecodebench(private: &str) -> Json {
    json!({
        "question_title": "Sum", "question_content": "Print the sum.", "question_id": "s1", "starter_code": "", "difficulty": "easy",
        "public_test_cases": "[{\"input\": \"1 2\\n\", \"output\": \"3\", \"testtype\": \"stdin\"}]",
        "private_test_cases": private, "metadata": "{}",
    })
}

/// base64(zlib(pickle(text))) as Python 3.11 makes it of `[{"input": "2 2\n", "output": "4", "testtype": "stdin"}]`.
const PACKED: &str = include_str!("livecodebench/packed.txt");

#[test]
fn each_format_is_told_by_its_fields_and_read() {
    let call = |problem: &Problem, index: usize| {
        let test = &problem.tests[index];
        format!(
            "{} -> {}",
            super::super::inputs::key(&test.args),
            test.expected
        )
    };
    let none = FieldMap::default();
    let (format, problem) = read(&none, row(humaneval())).unwrap();
    assert_eq!(
        (format, problem.id.as_str()),
        (Format::HumanEval, "HumanEval/900")
    );
    assert_eq!(
        problem.signature.as_deref(),
        Some("def add_one(n: int) -> int")
    );
    assert!(
        problem
            .statement
            .starts_with("Return n + 1.\n>>> add_one(1)"),
        "{}",
        problem.statement
    );
    assert_eq!(
        (call(&problem, 0).as_str(), problem.code_tests.len()),
        ("1 -> 2", 1)
    );
    assert_eq!(problem.split, Split::Report);

    let (format, problem) = read(&none, row(mbpp())).unwrap();
    assert_eq!(
        (format, problem.id.as_str(), problem.split),
        (Format::Mbpp, "Mbpp/700", Split::Train)
    );
    assert_eq!(
        (call(&problem, 1).as_str(), problem.entry_point.as_deref()),
        ("0 -> 0", Some("twice"))
    );
    let sanitized = json!({
        "task_id": 12, "prompt": "Double.", "code": "def twice(n):\n    return n * 2", "source_file": "x",
        "test_imports": ["import math"], "test_list": ["assert math.isclose(twice(2), 4)"],
    });
    let (_, problem) = read(&none, row(sanitized)).unwrap();
    assert_eq!(
        (problem.code_tests.len(), problem.split),
        (1, Split::Report)
    );
    assert_eq!(problem.setup.as_deref(), Some("import math\n"));

    let evalplus = json!({
        "task_id": "HumanEval/900", "entry_point": "add_one", "canonical_solution": "    return n + 1\n",
        "prompt": "def add_one(n: int) -> int:\n    \"\"\" Return n + 1.\"\"\"\n", "contract": "\n    assert type(n) == int # $_CONTRACT_$\n",
        "base_input": [[1]], "plus_input": [[-1], [10]], "atol": 0,
    });
    let (format, problem) = read(&none, row(evalplus)).unwrap();
    assert_eq!(
        (format, problem.inputs.len(), problem.test_count()),
        (Format::EvalPlus, 3, 0)
    );
    assert_eq!(problem.inputs[2].tags, ["plus"]);
    let validator = problem.input_validator.unwrap();
    assert!(
        validator.contains("def valid(n):\n    assert type(n) == int"),
        "{validator}"
    );
    let tuples = json!({
        "task_id": "Mbpp/2", "entry_point": "similar_elements", "canonical_solution": "def similar_elements(a, b):\n    return a",
        "prompt": "\"\"\"\nFind them.\n\"\"\"\n", "contract": "", "base_input": [[[1, 2], [2]]], "plus_input": [], "atol": 1e-3,
    });
    let (_, problem) = read(&none, row(tuples)).unwrap();
    assert_eq!(
        super::super::inputs::key(&problem.inputs[0].args),
        "(1, 2), (2,)"
    );
    assert_eq!(problem.comparison, Comparison::Float(1e-3));
    assert!(problem.checker.is_some());

    for private in [
        "[{\"input\": \"2 2\\n\", \"output\": \"4\", \"testtype\": \"stdin\"}]",
        PACKED.trim(),
    ] {
        let (format, problem) = read(&none, row(livecodebench(private))).unwrap();
        assert_eq!(
            (format, problem.script_tests.len()),
            (Format::LiveCodeBench, 2)
        );
        assert_eq!(problem.script_tests[1].stdin, "2 2\n");
        assert_eq!((problem.entry_point, problem.difficulty), (None, Some(2)));
    }
    let mut called = livecodebench("");
    called["starter_code"] =
        "class Solution:\n    def add(self, a: int, b: List[int]) -> int:\n        ".into();
    called["metadata"] = "{\"func_name\": \"add\"}".into();
    called["public_test_cases"] =
        "[{\"input\": \"1\\n[2]\", \"output\": \"3\", \"testtype\": \"functional\"}]".into();
    let (_, problem) = read(&none, row(called)).unwrap();
    assert_eq!(
        (problem.entry_point.as_deref(), call(&problem, 0).as_str()),
        (Some("Solution.add"), "1, [2] -> 3")
    );

    let leetcode = json!({
        "task_id": "two-sum", "difficulty": "Hard", "tags": ["Array"], "problem_description": "Sum.", "entry_point": "Solution().add",
        "starter_code": "class Solution:\n    def add(self, a: int) -> int:\n        ", "prompt": "import math\n",
        "completion": "class Solution:\n    def add(self, a):\n        return a + 1\n",
        "test": "def check(candidate):\n    assert candidate(a = 1) == 2\n",
    });
    let (format, problem) = read(&none, row(leetcode)).unwrap();
    assert_eq!(
        (format, problem.entry_point.as_deref()),
        (Format::LeetCode, Some("Solution.add"))
    );
    assert!(
        problem
            .program("x = 1")
            .code
            .ends_with("return Solution().add(*args, **kwargs)\n")
    );

    let kodcode = json!({
        "question_id": "k1", "question": "Add one.", "solution": "def add_one(n):\n    return n + 1",
        "test": "import pytest\nfrom solution import add_one\n\ndef test_small():\n    assert add_one(1) == 2\n\ndef test_none():\n    with pytest.raises(TypeError):\n        add_one(None)\n",
        "test_info": [{"function_name": "add_one", "function_declaration": "def add_one(n):"}],
    });
    let (format, problem) = read(&none, row(kodcode)).unwrap();
    assert_eq!((format, problem.code_tests.len()), (Format::KodCode, 2));
    assert!(!problem.code_tests[0].code.contains("import pytest"));

    let acecode = json!({"id": "ac_1", "question": "Add.", "test_cases": ["assert add(1, 2) == 3", "assert add(0, 0) == 0"]});
    let (format, problem) = read(&none, row(acecode)).unwrap();
    assert_eq!(
        (format, problem.tests.len(), problem.reference),
        (Format::AceCode, 2, None)
    );

    let apps = json!({
        "problem_id": 3, "question": "Print n + 1.", "difficulty": "interview", "starter_code": "",
        "solutions": "[\"print(int(input()) + 1)\"]", "input_output": "{\"inputs\": [\"1\\n\"], \"outputs\": [\"2\\n\"]}",
    });
    let (format, problem) = read(&none, row(apps.clone())).unwrap();
    assert_eq!(
        (format, problem.script_tests.len(), problem.difficulty),
        (Format::Apps, 1, Some(3))
    );
    assert_eq!(
        problem.reference.as_deref(),
        Some("print(int(input()) + 1)")
    );
    let mut taco = apps;
    taco["skill_types"] = "[]".into();
    taco["solutions"] = "[]".into();
    taco["input_output"] = "{\"fn_name\": \"f\", \"inputs\": [[1]], \"outputs\": [[[2]]]}".into();
    let (format, problem) = read(&none, row(taco)).unwrap();
    assert_eq!(
        (format, call(&problem, 0).as_str()),
        (Format::Taco, "1 -> [2]")
    );

    let contest = json!({
        "name": "1_A", "description": "Echo.", "public_tests": {"input": ["1\n"], "output": ["1\n"]},
        "private_tests": {"input": [], "output": []}, "generated_tests": {"input": ["2\n"], "output": ["2\n"]},
        "solutions": {"language": [2, 3], "solution": ["int main() {}", "print(input())"]},
        "incorrect_solutions": {"language": [3], "solution": ["print(1)"]},
    });
    let (format, problem) = read(&none, row(contest)).unwrap();
    assert_eq!(
        (format, problem.script_tests.len(), problem.incorrect.len()),
        (Format::CodeContests, 2, 1)
    );
    assert_eq!(problem.reference.as_deref(), Some("print(input())"));
}

#[test]
fn rows_of_prompt_and_tests_are_read_in_the_forms_that_they_have() {
    let usual = FieldMap::default();
    let mapped = FieldMap::parse("prompt=task, tests=cases, reference=gold").unwrap();
    for (fields, json, calls, code, scripts) in [
        (
            &usual,
            json!({"prompt": "p", "tests": ["assert f(1) == 2", "assert f(2)"]}),
            1,
            1,
            0,
        ),
        (
            &usual,
            json!({"instruction": "p", "test": "def check(candidate):\n    assert candidate(1) == 2", "entry_point": "f"}),
            1,
            0,
            0,
        ),
        (
            &usual,
            json!({"prompt": "p", "tests": "[\"assert f(1) == 2\"]"}),
            1,
            0,
            0,
        ),
        (
            &usual,
            json!({"prompt": "p", "tests": [{"input": "1", "output": "2"}]}),
            0,
            0,
            1,
        ),
        (
            &usual,
            json!({"prompt": "p", "tests": {"inputs": ["1"], "outputs": [["2", "3"]]}}),
            0,
            0,
            1,
        ),
        (
            &usual,
            json!({"prompt": "p", "tests": "{\"fn_name\": \"f\", \"inputs\": [[1]], \"outputs\": [2]}"}),
            1,
            0,
            0,
        ),
        (
            &usual,
            json!({"prompt": [{"role": "user", "content": "p"}], "tests": ["assert f(1) == 2"]}),
            1,
            0,
            0,
        ),
        (
            &mapped,
            json!({"task": "p", "cases": ["assert f(1) == 2"], "gold": "```python\ndef f(n):\n    return 2\n```"}),
            1,
            0,
            0,
        ),
    ] {
        let (format, problem) =
            read(fields, row(json.clone())).unwrap_or_else(|e| panic!("{json}: {e}"));
        assert_eq!(format, Format::Generic, "{json}");
        let counts = (
            problem.tests.len(),
            problem.code_tests.len(),
            problem.script_tests.len(),
        );
        assert_eq!(counts, (calls, code, scripts), "{json}");
        assert_eq!(
            (problem.statement.as_str(), problem.id.as_str()),
            ("p", "test-00000-of-00001/7")
        );
        // A file of the hub says by its name what it is for.
        assert_eq!(problem.split, Split::Report);
    }
    assert!(
        FieldMap::parse("promt=x")
            .unwrap_err()
            .starts_with("\"promt\" is nothing that a row holds")
    );
    assert!(
        FieldMap::parse("prompt")
            .unwrap_err()
            .contains("is not WHAT=FIELD")
    );
}

#[test]
fn what_is_wrong_is_named_with_its_field() {
    let without = |mut json: Json, field: &str| {
        json.as_object_mut().unwrap().remove(field);
        json
    };
    let with = |mut json: Json, field: &str, value: Json| {
        json[field] = value;
        json
    };
    let evil = "gAJjb3MKc3lzdGVtCnEALg==";
    for (json, expected) in [
        (with(humaneval(), "test", json!(3)), "test: invalid type"),
        (
            with(humaneval(), "canonical_solution", json!("    return (\n")),
            "reference: does not parse",
        ),
        (
            with(humaneval(), "entry_point", json!("other")),
            "reference: defines `add_one`",
        ),
        (
            with(mbpp(), "test_list", json!("assert")),
            "test_list: invalid type",
        ),
        (
            with(mbpp(), "test_list", json!(["assert twice(2"])),
            "tests[0].code: does not parse",
        ),
        (
            with(mbpp(), "test_list", json!(["assert 1 + 1 == 2"])),
            "tests[0].code: calls neither",
        ),
        (
            with(mbpp(), "test_list", json!([""])),
            "test_list[0]: is empty",
        ),
        (without(mbpp(), "text"), "prompt: is missing"),
        (
            livecodebench("no base64!"),
            "private_test_cases: is neither JSON nor base64",
        ),
        (
            livecodebench("aGVsbG8="),
            "private_test_cases: is no zlib data",
        ),
        (
            livecodebench("[{\"input\": 1}]"),
            "private_test_cases[0].input: invalid type",
        ),
        (
            with(livecodebench(""), "public_test_cases", json!("[1]")),
            "public_test_cases[0].: is 1, not an object",
        ),
        (
            json!({"question": "q", "input_output": ""}),
            "input_output: is empty",
        ),
        (
            json!({"question": "q", "input_output": "{\"inputs\": [\"1\"]"}),
            "input_output: holds text that is not JSON",
        ),
        (
            json!({"question": "q", "input_output": "{\"inputs\": [\"1\"], \"outputs\": []}"}),
            "input_output: has 1 inputs and 0 outputs",
        ),
        (
            json!({"question": "q", "solution": "x = 1", "test": "from solution import a, b\ndef test_a(): pass"}),
            "test: imports a, b",
        ),
        (
            json!({"question": "q", "solution": "x = 1", "test": "x = 1"}),
            "test: defines no function whose name begins",
        ),
        (
            json!({"description": "d", "public_tests": {"input": []}}),
            "public_tests.output: is missing",
        ),
        (json!({"prompt": "p", "tests": []}), "tests: has none"),
        (
            json!({"prompt": "p", "tests": [3]}),
            "tests[0]: is 3, which is no test",
        ),
        (
            json!({"prompt": "p", "tests": [{"input": "1"}]}),
            "tests[0]: is no test: it has neither code",
        ),
        (
            json!({"prompt": "p", "tests": ["assert True"]}),
            "entry_point: is missing, and the tests do not say",
        ),
        (
            without(without(humaneval(), "test"), "task_id"),
            "the format is not known: the fields are `prompt`, `entry_point`, `canonical_solution`; humaneval is the closest and lacks `test`; the known formats are own",
        ),
    ] {
        let error = read(&FieldMap::default(), row(json.clone())).expect_err(&json.to_string());
        assert!(error.starts_with(expected), "{json}\n{error}");
    }
    let packed = |bytes: &[u8]| {
        use std::io::Write;
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        zlib.write_all(bytes).unwrap();
        base64::Engine::encode(
            &base64::engine::general_purpose::STANDARD,
            zlib.finish().unwrap(),
        )
    };
    let pickle = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, evil).unwrap();
    let error = read(&FieldMap::default(), row(livecodebench(&packed(&pickle)))).unwrap_err();
    assert!(
        error.contains("is a pickle that is refused: byte 2: the global os.system is refused"),
        "{error}"
    );
}
