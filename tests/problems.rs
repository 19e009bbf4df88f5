//! The shipped problem set proves itself in the sandbox, and problems that are not right are refused by name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::LazyLock;

use gauntlet::model::Tokenizer;
use gauntlet::model::tokenizer::EMBEDDED;
use gauntlet::problems::compose::{Composer, Pool};
use gauntlet::problems::ground::{GroundError, ground, ground_each};
use gauntlet::problems::inputs::{draw_valid, random_inputs, valid_inputs};
use gauntlet::problems::mutate::mutants;
use gauntlet::problems::validate::{
    Finding, MIN_KILL_RATE, What, check_references, strength, validate, validate_all,
};
use gauntlet::problems::{Draft, MIN_TESTS, Problem, ProblemError, Split, load_dir, load_jsonl};
use gauntlet_sandbox::{ExecuteJob, Expected, Fault, Limits, Mode, Outcome, Sandbox, Value};

/// The set that ships. An error is shown by every test that needs it.
fn shipped() -> &'static [Problem] {
    static SHIPPED: LazyLock<Result<Vec<Problem>, ProblemError>> =
        LazyLock::new(|| load_dir(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("problems")));
    SHIPPED.as_ref().unwrap_or_else(|error| panic!("{error}"))
}

fn sandbox() -> &'static Sandbox {
    static SANDBOX: LazyLock<Result<Sandbox, Fault>> = LazyLock::new(Sandbox::open);
    SANDBOX.as_ref().unwrap_or_else(|error| panic!("{error}"))
}

/// The code of a shipped problem that is right by definition.
fn reference(problem: &Problem) -> &str {
    problem
        .reference
        .as_deref()
        .expect("a shipped problem has a reference")
}

/// A small problem with strong tests, for breaking.
fn clamp() -> Problem {
    let code = "def clamp(n, low, high):\n    if low > high:\n        raise ValueError('empty range')\n    \
                return max(low, min(n, high))\n";
    let test =
        |args: &str, expected: &str| format!("{{\"args\": {args}, \"expected\": {expected}}}");
    let tests = [
        test("[5, 0, 10]", "5"),
        test("[-3, 0, 10]", "0"),
        test("[12, 0, 10]", "10"),
        test("[0, 0, 10]", "0"),
        test("[10, 0, 10]", "10"),
        test("[4, 4, 4]", "4"),
        test("[7, -2, 3]", "3"),
        test("[-9, -5, -1]", "-5"),
        test("[1, 3, 2]", "{\"$raises\": \"ValueError\"}"),
    ];
    let json = serde_json::json!({
        "id": "numbers/clamp", "statement": "Return n moved into low..high; ValueError if low > high.",
        "signature": "def clamp(n: int, low: int, high: int) -> int", "entry_point": "clamp", "reference": code,
        "tests": serde_json::from_str::<serde_json::Value>(&format!("[{}]", tests.join(", "))).unwrap(),
        "input_validator": "def valid(n, low, high):\n    return all(type(x) is int for x in (n, low, high))\n",
        "comparison": "exact", "trace": ["a", "b", "c", "d", code], "family": "numbers", "difficulty": 1,
        "tags": [], "split": "train", "source": "gauntlet", "licence": "MIT",
    });
    serde_json::from_value(json).unwrap()
}

fn findings(problem: &Problem) -> Vec<Finding> {
    validate(sandbox(), problem).err().unwrap_or_default()
}

fn what(problem: &Problem) -> Vec<What> {
    findings(problem)
        .iter()
        .map(|finding| finding.what)
        .collect()
}

#[test]
fn the_set_is_large_wide_and_split() {
    let families: BTreeSet<&str> = shipped()
        .iter()
        .map(|problem| problem.family.as_str())
        .collect();
    assert!(shipped().len() >= 300, "{} problems", shipped().len());
    assert!(
        families.len() >= 15,
        "{} families: {families:?}",
        families.len()
    );
    let mut splits = BTreeMap::new();
    let mut difficulties = BTreeMap::new();
    for problem in shipped() {
        *splits.entry(problem.split).or_insert(0) += 1;
        *difficulties.entry(problem.difficulty).or_insert(0) += 1;
        let in_family = problem
            .id
            .split_once('/')
            .is_some_and(|(family, _)| family == problem.family);
        assert!(
            in_family,
            "{}: the id does not begin with the family {}",
            problem.id, problem.family
        );
    }
    for split in [Split::Train, Split::Validation, Split::Report] {
        let count = splits.get(&split).copied().unwrap_or(0);
        assert!(
            count >= 25,
            "{count} problems of the split {split}: too few for a figure"
        );
    }
    assert_eq!(
        difficulties.len(),
        5,
        "graded from 1 to 5: {difficulties:?}"
    );
}

#[test]
fn no_statement_or_solution_stands_in_two_splits() {
    let mut seen: BTreeMap<String, &Problem> = BTreeMap::new();
    for problem in shipped() {
        let renamed = reference(problem).replace(problem.function(), "f");
        for text in [&problem.statement, &renamed] {
            let words = text
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
                .to_lowercase();
            if let Some(first) = seen
                .insert(words, problem)
                .filter(|first| first.id != problem.id)
            {
                assert_eq!(
                    first.split, problem.split,
                    "{} and {} are twins",
                    first.id, problem.id
                );
            }
        }
    }
}

#[test]
fn every_shipped_problem_proves_itself() {
    if let Err(findings) = validate_all(sandbox(), shipped()) {
        let lines: Vec<String> = findings.iter().map(Finding::to_string).collect();
        panic!("{} findings:\n\n{}", lines.len(), lines.join("\n\n"));
    }
}

#[test]
fn every_mutant_of_the_set_differs_and_compiles() {
    let mut jobs = Vec::new();
    let mut bugs = Vec::new();
    for problem in shipped() {
        let mut seen = BTreeSet::from([reference(problem).to_owned()]);
        for mutant in mutants(reference(problem), 100, 7) {
            assert!(seen.insert(mutant.code.clone()), "{mutant:?} is not new");
            // Python has compiled the code long before this little fuel is burnt.
            jobs.push(ExecuteJob {
                program: problem.program(&mutant.code),
                inputs: vec![problem.tests[0].args.clone()],
                limits: Limits {
                    fuel: Some(5_000_000),
                    ..Limits::default()
                },
                mode: Mode::Fast,
            });
            bugs.push(mutant);
        }
    }
    for (mutant, executions) in bugs.iter().zip(sandbox().execute_many(jobs)) {
        let result = &executions.unwrap()[0].result;
        let failed = matches!(
            result,
            Err(Outcome::SyntaxError { .. } | Outcome::MissingEntryPoint)
        );
        assert!(!failed, "{result:?} from {mutant:?}");
    }
}

#[test]
fn a_problem_whose_reference_fails_its_tests_is_refused_and_named() {
    let check = |problems: &[Problem], limits| check_references(sandbox(), problems, &limits);
    let starved = Limits {
        fuel: Some(10),
        ..Limits::default()
    };
    assert!(check(&[clamp()], Limits::default()).is_ok());
    let refused = check(&[clamp()], starved).unwrap_err();
    assert!(refused[0].detail.contains("fuel"), "{}", refused[0]);

    let mut broken = clamp();
    assert_eq!(findings(&broken), []);
    broken.tests[1].expected = Expected::Value(Value::from(1));
    let refused = check(&[clamp(), broken.clone()], Limits::default()).unwrap_err();
    assert_eq!(refused.len(), 1);
    assert_eq!(
        refused[0].to_string(),
        "problem \"numbers/clamp\": the reference fails its own tests: tests[1]: wrong answer: (-3, 0, 10) gave 0, \
         expected 1"
    );
    assert_eq!(what(&broken), [What::Reference, What::Trace]);
}

#[test]
fn each_thing_a_problem_must_prove_is_asked() {
    let mut few = clamp();
    few.tests.truncate(MIN_TESTS - 1);
    assert_eq!(what(&few), [What::Tests]);

    let mut trace = clamp();
    trace.trace.as_mut().unwrap()[4] = "def clamp(n, low, high):\n    return n\n".to_owned();
    assert_eq!(what(&trace), [What::Trace]);

    let mut validator = clamp();
    validator.input_validator = Some("def valid(n, low, high):\n    return n < 12\n".to_owned());
    let found = findings(&validator);
    assert_eq!(found[0].what, What::Validator);
    assert!(
        found[0]
            .detail
            .starts_with("tests[2], (12, 0, 10): returned False"),
        "{}",
        found[0]
    );

    let mut renamed = clamp();
    let code = &mut renamed.trace.as_mut().unwrap()[4];
    *code = code.replace("low", "least");
    assert_eq!(what(&renamed), [What::Signature]);

    let mut fields = clamp();
    fields.entry_point = Some("bound".to_owned());
    assert_eq!(what(&fields), [What::Fields]);
}

#[test]
fn tests_that_miss_planted_bugs_are_weak() {
    let mut weak = clamp();
    let first = weak.tests[0].clone();
    weak.tests = vec![first; MIN_TESTS];
    let found = findings(&weak);
    assert_eq!(
        found.iter().map(|finding| finding.what).collect::<Vec<_>>(),
        [What::Mutants]
    );
    assert!(
        found[0].to_string().contains("weak tests: they kill"),
        "{}",
        found[0]
    );

    let strong = strength(sandbox(), &clamp()).unwrap();
    assert!(strong.kill_rate() >= MIN_KILL_RATE, "{strong:?}");
    assert!(strong.told_apart >= 8 && strong.inputs == 200, "{strong:?}");
    assert_eq!(
        strength(sandbox(), &clamp()).unwrap(),
        strong,
        "the measure repeats"
    );
}

#[test]
fn mutants_that_never_end_are_told_apart_and_killed() {
    let mut spin = clamp();
    spin.reference = Some("def clamp(n, low, high):\n    if low > high:\n        raise ValueError('empty range')\n    \
                      while n < low:\n        n += 1\n    while n > high:\n        n -= 1\n    return n\n".to_owned());
    let strength = strength(sandbox(), &spin).unwrap();
    assert!(strength.kill_rate() >= MIN_KILL_RATE, "{strength:?}");
}

#[test]
fn valid_inputs_are_those_that_the_validator_says_true_to() {
    let mut problem = clamp();
    problem.input_validator = Some("def valid(n, low, high):\n    if n == 3:\n        return 1\n    return 1 // n > 0 or low <= high\n".to_owned());
    let inputs: Vec<Vec<Value>> = [[0, 0, 0], [3, 1, 2], [1, 9, 2], [2, 9, 2], [5, 1, 2]]
        .map(|args| args.map(Value::from).to_vec())
        .to_vec();
    let valid = valid_inputs(sandbox(), &problem, inputs.clone()).unwrap();
    assert_eq!(valid, [inputs[2].clone(), inputs[4].clone()]);

    problem.input_validator = Some("def valid(n, low, high):\n    return n % 5 == 0\n".to_owned());
    let drawn = draw_valid(sandbox(), &problem, 100, 3).unwrap();
    assert_eq!(drawn.len(), 100);
    assert_eq!(drawn, draw_valid(sandbox(), &problem, 100, 3).unwrap());
    problem.input_validator = Some("def valid(n, low, high):\n    return False\n".to_owned());
    assert!(draw_valid(sandbox(), &problem, 100, 3).unwrap().is_empty());
}

#[test]
fn most_random_inputs_of_the_set_are_valid() {
    let mut poor = Vec::new();
    for problem in shipped() {
        let drawn = random_inputs(problem, 60, 4);
        let count = drawn.len();
        let valid = valid_inputs(sandbox(), problem, drawn).unwrap().len();
        if valid * 10 < count {
            poor.push(format!("{}: {valid} of {count}", problem.id));
        }
    }
    assert!(poor.is_empty(), "under a tenth is valid: {poor:?}");
}

#[test]
fn drafts_become_problems_by_execution() {
    let mut problem = clamp();
    problem.tests.clear();
    let gold: Vec<Vec<Value>> = clamp().tests.into_iter().map(|test| test.args).collect();
    let draft = Draft {
        problem,
        inputs: [gold.clone(), gold].concat(),
    };
    let grounded = ground(sandbox(), vec![draft.clone(), draft.clone()]).unwrap();
    assert_eq!(
        grounded,
        [clamp(), clamp()],
        "every expected value is the one written by hand"
    );

    let mut refused = draft.clone();
    refused.problem.id = "numbers/refused".to_owned();
    refused.problem.input_validator =
        Some("def valid(n, low, high):\n    return n > 3\n".to_owned());
    let mut endless = draft.clone();
    endless.problem.id = "numbers/endless".to_owned();
    endless.problem.reference = Some(
        "def clamp(n, low, high):\n    while n == 12:\n        pass\n    return n\n".to_owned(),
    );
    let mut nan = draft.clone();
    nan.problem.reference = Some("def clamp(n, low, high):\n    return float('nan')\n".to_owned());
    let results = ground_each(sandbox(), vec![refused.clone(), draft, endless, nan]);
    let messages: Vec<String> = results
        .iter()
        .map(|result| {
            result
                .as_ref()
                .map_or_else(GroundError::to_string, |problem| problem.id.clone())
        })
        .collect();
    // Which clock ends an endless run depends on how busy the machine is.
    for (message, expected) in messages.iter().zip([
        "draft \"numbers/refused\": 5 of its 9 inputs are valid and distinct; a problem needs 8",
        "numbers/clamp",
        "draft \"numbers/endless\": the reference on (12, 0, 10): timeout: ",
        "draft \"numbers/clamp\": the reference on (5, 0, 10) gives float('nan'), which equals nothing",
    ]) {
        assert!(message.starts_with(expected), "{message}");
    }
    assert!(matches!(
        ground(sandbox(), vec![refused]),
        Err(GroundError::TooFewTests {
            valid: 5,
            drafted: 9,
            ..
        })
    ));
}

#[test]
fn broken_files_are_refused_with_line_and_field() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("set.jsonl");
    let good = serde_json::to_string(&clamp()).unwrap();
    let header = "{\"schema_version\": 1}";
    for (lines, expected) in [
        (
            vec![header, &good, &good[..60]],
            ":3: not JSON at column 60: EOF",
        ),
        (
            vec![
                header,
                "",
                &good.replace("\"difficulty\":1", "\"difficulty\":\"1\""),
            ],
            ":3: problem \"numbers/clamp\": difficulty: invalid type",
        ),
        (
            vec![header, &good.replace("\"family\"", "\"familly\"")],
            ":2: problem \"numbers/clamp\": familly: is no field of a problem",
        ),
        (
            vec!["{\"schema_version\": 3}", &good],
            ":1: schema_version 3 is not one that this build reads",
        ),
        (vec![good.as_str()], ":1: holds no schema_version"),
        (
            vec![header, &good, &good],
            ":3: id: \"numbers/clamp\" is already the id of",
        ),
    ] {
        std::fs::write(&path, lines.join("\n")).unwrap();
        let error = load_jsonl(&path).unwrap_err().to_string();
        let place = format!("{}{expected}", path.display());
        assert!(
            error.starts_with(&place),
            "{error}\nshould start with\n{place}"
        );
    }
    std::fs::write(&path, [header.as_bytes(), b"\n\xff\xfe"].concat()).unwrap();
    assert!(
        load_jsonl(&path)
            .unwrap_err()
            .to_string()
            .contains(":2: not UTF-8 at byte 1")
    );
}

/// What a tiny model can learn: 160 tokens of the tokenizer that ships.
#[test]
fn traces_are_short_enough_for_a_tiny_model() {
    let tokenizer = Tokenizer::from_json(EMBEDDED).unwrap();
    let composer = Composer::new(0);
    let composed = (0..500).map(|index| composer.draft(Pool::Train, index).problem);
    for problem in shipped().iter().cloned().chain(composed) {
        let tokens: usize = problem
            .trace
            .iter()
            .flatten()
            .map(|text| tokenizer.encode(text).unwrap().len())
            .sum();
        assert!(tokens <= 160, "{}: {tokens} tokens", problem.id);
    }
}
