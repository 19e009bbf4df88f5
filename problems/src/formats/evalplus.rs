//! EvalPlus: HumanEval+ and MBPP+ as inputs, base and plus apart. What is right, the reference says.

use gauntlet_sandbox::{Comparison, Value};
use num_traits::ToPrimitive;
use serde_json::{Map, Value as Json};

use super::super::schema::{Flaw, Input, Problem, Split, take, take_opt};
use super::super::signature::find_function;
use super::{Context, code, humaneval, mbpp};

pub(super) fn problem(_: &Context<'_>, mut row: Map<String, Json>) -> Result<Problem, Flaw> {
    let id: String = take(&mut row, "task_id")?;
    let prompt = code(take(&mut row, "prompt")?);
    let entry_point: String = take(&mut row, "entry_point")?;
    let solution: String = code(take(&mut row, "canonical_solution")?);
    let contract: String = code(take_opt(&mut row, "contract")?.unwrap_or_default());
    let atol: f64 = take_opt(&mut row, "atol")?.unwrap_or(0.0);
    let of_mbpp = id.starts_with("Mbpp/");
    let (statement, signature) = match of_mbpp {
        // The prompt of MBPP+ is a docstring: the task and one assert.
        true => (prompt.trim().trim_matches('"').trim().to_owned(), None),
        false => humaneval::parts(&prompt, &entry_point),
    };
    let reference = match of_mbpp || solution.contains(&format!("def {entry_point}(")) {
        true => solution,
        false => prompt.clone() + &solution,
    };
    let before = humaneval::before(&prompt, &entry_point).to_owned();
    let mut problem = Problem {
        signature,
        setup: (!of_mbpp && !before.trim().is_empty()).then_some(before),
        checker: checker(&entry_point),
        comparison: match atol {
            atol if atol > 0.0 => Comparison::Float(atol),
            // EvalPlus compares floats so where a task names no tolerance.
            _ => Comparison::Float(1e-6),
        },
        family: if of_mbpp { "mbpp" } else { "humaneval" }.into(),
        split: Split::Report,
        source: "EvalPlus".into(),
        licence: "Apache-2.0".into(),
        ..Problem::new(id.clone(), statement)
    };
    let number = id
        .strip_prefix("Mbpp/")
        .and_then(|number| number.parse().ok());
    let task: Option<u32> = number;
    if of_mbpp {
        problem.split = mbpp::split(id.trim_start_matches("Mbpp/")).unwrap_or(Split::Report);
    }
    for (field, tag) in [("base_input", "base"), ("plus_input", "plus")] {
        let listed: Vec<Json> = take_opt(&mut row, field)?.unwrap_or_default();
        for (index, args) in listed.into_iter().enumerate() {
            let wrong = |message: String| Flaw::new(format!("{field}[{index}]"), message);
            match Value::from_json(&args).map_err(|error| wrong(error.to_string()))? {
                Value::List(args) => problem.inputs.push(Input {
                    args: typed(task, args),
                    tags: vec![tag.to_owned()],
                }),
                _ => return Err(wrong("is no list of arguments".into())),
            }
        }
    }
    if problem.inputs.is_empty() {
        return Err(Flaw::new("base_input", "has no input"));
    }
    if !contract.trim().is_empty() {
        problem.input_validator = validator(&reference, &entry_point, &contract);
    }
    problem.reference = Some(reference);
    problem.entry_point = Some(entry_point);
    Ok(problem)
}

/// The contract stands at the head of the function's body, as asserts: the same lines make a validator.
fn validator(reference: &str, entry_point: &str, contract: &str) -> Option<String> {
    let function = find_function(reference, entry_point).ok()?;
    let names: Vec<String> = function
        .params
        .iter()
        .map(|param| match &param.default {
            Some(default) => format!("{}={default}", param.name),
            None => param.name.clone(),
        })
        .collect();
    let lines: Vec<&str> = contract.lines().filter(|l| !l.trim().is_empty()).collect();
    let indent = lines.iter().map(|l| l.len() - l.trim_start().len()).min()?;
    let body: Vec<String> = lines
        .iter()
        .map(|line| format!("    {}", &line[indent..]))
        .collect();
    let code = format!(
        "import math\nfrom typing import *\n\ndef valid({}):\n{}\n    return True\n",
        names.join(", "),
        body.join("\n")
    );
    super::infer::parses(&code).is_ok().then_some(code)
}

/// Types that the published JSON cannot say: for some tasks of MBPP its lists stand for tuples, sets and numbers.
fn typed(task: Option<u32>, args: Vec<Value>) -> Vec<Value> {
    let each =
        |args: Vec<Value>, change: fn(Value) -> Value| args.into_iter().map(change).collect();
    let first = |mut args: Vec<Value>, change: fn(Value) -> Value| {
        if let Some(arg) = args.first_mut() {
            *arg = change(std::mem::replace(arg, Value::None));
        }
        args
    };
    let second = |mut args: Vec<Value>| {
        if let Some(arg) = args.get_mut(1) {
            *arg = tuple(std::mem::replace(arg, Value::None));
        }
        args
    };
    match task {
        Some(
            2 | 116 | 132 | 143 | 222 | 261 | 273 | 394 | 399 | 421 | 424 | 429 | 470 | 560 | 579
            | 596 | 616 | 630 | 726 | 740 | 744 | 809,
        ) => each(args, tuple),
        Some(
            63 | 64 | 70 | 94 | 120 | 237 | 272 | 299 | 400 | 409 | 417 | 438 | 473 | 614 | 780,
        ) => each(args, tuples),
        Some(75 | 413 | 444 | 753) => first(args, tuples),
        Some(106 | 750) => second(args),
        Some(115) => first(args, |value| inside(value, set)),
        Some(124) => complex(args),
        Some(250 | 405 | 446 | 617 | 720 | 763 | 808) => first(args, tuple),
        Some(259 | 401 | 445) => each(args, |value| tuple(tuples(value))),
        Some(278) => first(args, |value| tuple(inside(value, tuple))),
        Some(307) => first(args, tuple),
        Some(722) => first(args, |value| match value {
            Value::Dict(pairs) => {
                Value::Dict(pairs.into_iter().map(|(k, v)| (k, tuple(v))).collect())
            }
            other => other,
        }),
        Some(252) => match args.as_slice() {
            [Value::Str(text)] => {
                Value::parse_literal(text).map_or(args.clone(), |value| vec![value])
            }
            _ => args,
        },
        Some(580 | 615 | 791) => each(args, |value| deep(value, 64)),
        _ => args,
    }
}

fn tuple(value: Value) -> Value {
    match value {
        Value::List(items) => Value::Tuple(items),
        other => other,
    }
}

fn tuples(value: Value) -> Value {
    inside(value, tuple)
}

fn inside(value: Value, change: fn(Value) -> Value) -> Value {
    match value {
        Value::List(items) => Value::List(items.into_iter().map(change).collect()),
        other => other,
    }
}

fn set(value: Value) -> Value {
    match value {
        Value::List(items) if !items.is_empty() => Value::Set(items),
        _ => Value::Dict(Vec::new()),
    }
}

fn deep(value: Value, depth: usize) -> Value {
    match value {
        Value::List(items) if depth > 0 => Value::Tuple(
            items
                .into_iter()
                .map(|item| deep(item, depth - 1))
                .collect(),
        ),
        other => other,
    }
}

/// A float, and a complex number written as text.
fn complex(args: Vec<Value>) -> Vec<Value> {
    let number = |value: &Value| match value {
        Value::Float(f) => Some(*f),
        Value::Int(i) => i.to_f64(),
        Value::Str(text) => text.parse().ok(),
        _ => None,
    };
    match args.as_slice() {
        [a, b] => {
            let imaginary = match b {
                Value::Str(text) => text
                    .trim_end_matches('j')
                    .parse()
                    .ok()
                    .filter(|_| text.ends_with('j')),
                _ => None,
            };
            match (number(a), number(b), imaginary) {
                (Some(re), Some(b), None) => {
                    vec![Value::Float(re), Value::Complex { re: b, im: 0.0 }]
                }
                (Some(re), None, Some(im)) => {
                    vec![Value::Float(re), Value::Complex { re: 0.0, im }]
                }
                _ => args,
            }
        }
        _ => args,
    }
}

/// Functions whose answers EvalPlus compares in ways of their own.
fn checker(entry_point: &str) -> Option<String> {
    let body = match entry_point {
        // A root of the polynomial, whichever it is.
        "find_zero" => {
            "    xs = input[0]\n    return abs(sum(c * got ** i for i, c in enumerate(xs))) <= 1e-4\n"
        }
        "similar_elements"
        | "find_char_long"
        | "common_in_nested_lists"
        | "extract_singly"
        | "larg_nnum"
        | "intersection_array"
        | "find_dissimilar"
        | "Diff" => "    return set(got) == set(expected)\n",
        // Only whether something was found can be compared.
        "check_str" | "text_match_three" | "text_starta_endb" => {
            "    want = expected if isinstance(expected, bool) else expected is not None\n    \
             return want == (got if isinstance(got, bool) else got is not None)\n"
        }
        "are_equivalent" => "    return True\n",
        "sum_div" => "    return got == expected or got == 0\n",
        "surface_Area" => {
            "    a, h = input\n    slant = ((a / 2) ** 2 + h ** 2) ** 0.5\n    \
             return got == expected or got == round(a ** 2 + 4 * (a * slant) / 2)\n"
        }
        "digit_distance_nums" => {
            "    a, b = str(input[0]), str(input[1])\n    width = max(len(a), len(b))\n    \
             other = sum(abs(int(x) - int(y)) for x, y in zip(a.zfill(width), b.zfill(width)))\n    \
             return got == expected or got == other\n"
        }
        _ => return None,
    };
    Some(format!("def accepts(input, expected, got):\n{body}"))
}
