//! The host's equality is Python's, asked of the machine's own Python on generated values.

use std::io::Write;
use std::process::{Command, Stdio};

use gauntlet_sandbox::Value;

/// A counter-based generator: the same values on each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }

    fn pick<'a>(&mut self, texts: &[&'a str]) -> &'a str {
        texts[self.below(texts.len())]
    }
}

/// Groups of literals; those of one group are equal to Python, but for nan, which differs from itself.
const SCALARS: [&[&str]; 16] = [
    &[
        "0",
        "False",
        "0.0",
        "-0.0",
        "complex(0, 0)",
        "complex(-0.0, -0.0)",
    ],
    &["1", "True", "1.0", "complex(1, 0)", "complex(1, -0.0)"],
    &["2", "2.0", "complex(2.0, 0.0)"],
    &["-1", "-1.0", "-0x1"],
    &["0.1", "1e-1", "0.1000000000000000055511151231257827"],
    &[
        "9007199254740992",
        "9007199254740992.0",
        "9007199254740993.0",
    ],
    &["9007199254740993"],
    &["18446744073709551616", "1.8446744073709552e19"],
    &["1e300"],
    &["float('inf')", "1e999", "complex(float('inf'), 0)"],
    &["float('-inf')", "-1e999"],
    &[
        "float('nan')",
        "complex(float('nan'), 0)",
        "complex(0, float('nan'))",
    ],
    &["complex(0, 1)", "1j", "complex(-0.0, 1)"],
    &["None"],
    &["'a'", "'\\x61'", "\"a\""],
    &["b'a'", "b'\\x61'"],
];

/// A literal of a value, hashable if that is asked for.
fn value(dice: &mut Dice, depth: usize, hashable: bool) -> String {
    if depth == 0 || dice.below(3) == 0 {
        let group = SCALARS[dice.below(SCALARS.len())];
        return dice.pick(group).to_owned();
    }
    let count = dice.below(4);
    let kinds: &[usize] = if hashable { &[0, 1] } else { &[0, 1, 2, 3, 4] };
    let kind = kinds[dice.below(kinds.len())];
    // What stands in sets and as keys is hashable; so is all of a hashable tuple.
    let inner = hashable || matches!(kind, 1 | 3);
    let items: Vec<String> = (0..count).map(|_| value(dice, depth - 1, inner)).collect();
    match kind {
        0 => tuple(&items),
        1 => frozenset(&items),
        2 => format!("[{}]", items.join(", ")),
        3 => set(&items),
        _ => {
            let pairs: Vec<String> = items
                .iter()
                .map(|item| format!("{}: {item}", value(dice, depth - 1, true)))
                .collect();
            format!("{{{}}}", pairs.join(", "))
        }
    }
}

fn tuple(items: &[String]) -> String {
    match items {
        [one] => format!("({one},)"),
        items => format!("({})", items.join(", ")),
    }
}

fn set(items: &[String]) -> String {
    if items.is_empty() {
        "set()".into()
    } else {
        format!("{{{}}}", items.join(", "))
    }
}

fn frozenset(items: &[String]) -> String {
    if items.is_empty() {
        "frozenset()".into()
    } else {
        format!("frozenset({})", set(items))
    }
}

/// The value written otherwise, so that it is often still equal: other numbers of the same worth, another order where
/// order does not count, now and then another scalar or another container.
fn rewrite(dice: &mut Dice, value: &Value) -> String {
    let all = |dice: &mut Dice, items: &[Value]| -> Vec<String> {
        items.iter().map(|item| rewrite(dice, item)).collect()
    };
    match value {
        Value::List(items) => {
            let items = all(dice, items);
            match dice.below(30) {
                0 => tuple(&items),
                _ => format!("[{}]", items.join(", ")),
            }
        }
        Value::Tuple(items) => tuple(&all(dice, items)),
        Value::Set(items) | Value::FrozenSet(items) => {
            let mut items = all(dice, items);
            items.reverse();
            let frozen = matches!(value, Value::FrozenSet(_));
            if frozen {
                frozenset(&items)
            } else {
                set(&items)
            }
        }
        Value::Dict(pairs) => {
            let mut pairs: Vec<String> = pairs
                .iter()
                .map(|(key, value)| format!("{}: {}", rewrite(dice, key), rewrite(dice, value)))
                .collect();
            pairs.reverse();
            format!("{{{}}}", pairs.join(", "))
        }
        scalar => {
            if dice.below(40) == 0 {
                let group = SCALARS[dice.below(SCALARS.len())];
                return dice.pick(group).to_owned();
            }
            let text = scalar.to_literal();
            let group = SCALARS.iter().find(|group| {
                group
                    .iter()
                    .any(|other| Value::parse_literal(other).is_ok_and(|v| v.to_literal() == text))
            });
            group.map_or(text, |group| dice.pick(group).to_owned())
        }
    }
}

/// What `python3` prints for `script`, fed with `input`; None where there is no Python.
fn python(script: &str, input: &str) -> Option<String> {
    let mut child = Command::new("python3")
        .args(["-I", "-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    let mut stdin = child.stdin.take()?;
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().ok()?;
    writer.join().ok()?.ok()?;
    assert!(output.status.success());
    String::from_utf8(output.stdout).ok()
}

#[test]
fn twenty_thousand_generated_pairs_compare_as_in_python() {
    let mut dice = Dice(42);
    let mut pairs = Vec::new();
    while pairs.len() < 20_000 {
        let a = value(&mut dice, 4, false);
        let parsed = Value::parse_literal(&a).unwrap_or_else(|error| panic!("{a}: {error}"));
        let b = match dice.below(4) {
            0 => value(&mut dice, 3, false),
            _ => rewrite(&mut dice, &parsed),
        };
        pairs.push((a, b));
    }
    // Each side is evaluated by itself, so that no two nans are one object.
    let script =
        "import json, sys\nfor a, b in json.load(sys.stdin): print(int(eval(a) == eval(b)))";
    let Some(answers) = python(script, &serde_json::to_string(&pairs).unwrap()) else {
        eprintln!("skipped: there is no python3 to ask");
        return;
    };
    let mut equal = 0;
    assert_eq!(answers.lines().count(), pairs.len());
    for ((a, b), answer) in pairs.iter().zip(answers.lines()) {
        let [x, y] = [a, b].map(|text| Value::parse_literal(text).unwrap());
        assert_eq!(x.py_eq(&y), answer == "1", "{a} == {b}");
        assert_eq!(y.py_eq(&x), answer == "1", "{b} == {a}");
        equal += usize::from(answer == "1");
    }
    // Neither answer is rare, or the test would say little.
    assert!(
        (4_000..16_000).contains(&equal),
        "{equal} of {} are equal",
        pairs.len()
    );
}

#[test]
fn values_cross_the_guest_without_a_change_that_python_sees() {
    let mut dice = Dice(7);
    let inputs: Vec<Vec<Value>> = (0..300)
        .map(|_| {
            let text = value(&mut dice, 3, false);
            vec![Value::parse_literal(&text).unwrap()]
        })
        .collect();
    let program = crate::program("def f(x): return [x]");
    let executions = crate::sandbox()
        .execute(
            &program,
            &inputs,
            &gauntlet_sandbox::Limits::default(),
            gauntlet_sandbox::Mode::Fast,
        )
        .unwrap();
    for (input, execution) in inputs.iter().zip(executions) {
        let Ok(Value::List(parts)) = execution.result else {
            panic!("{input:?}: {:?}", execution.result)
        };
        // As text, since nan differs from itself.
        assert_eq!(sorted(&parts[0]), sorted(&input[0]));
    }
}

/// A text that is the same for values that differ in the order of sets only.
fn sorted(value: &Value) -> String {
    let all = |items: &[Value]| items.iter().map(sorted).collect::<Vec<_>>();
    let (name, mut parts) = match value {
        Value::List(items) => return format!("list{:?}", all(items)),
        Value::Tuple(items) => return format!("tuple{:?}", all(items)),
        Value::Dict(pairs) => {
            let pairs: Vec<_> = pairs.iter().map(|(k, v)| (sorted(k), sorted(v))).collect();
            return format!("dict{pairs:?}");
        }
        Value::Set(items) => ("set", all(items)),
        Value::FrozenSet(items) => ("frozenset", all(items)),
        scalar => return scalar.to_literal(),
    };
    parts.sort();
    format!("{name}{parts:?}")
}
