//! Random inputs for a problem, drawn from the shapes of its gold arguments and its annotations.
//!
//! [`random_inputs`] draws; [`valid_inputs`] keeps what the problem's validator allows;
//! [`draw_valid`] does both until there are enough.

mod draw;
mod habits;
mod place;
mod shape;
mod text;

use std::collections::HashSet;

use gauntlet_sandbox::{
    ExecuteJob, Execution, Expected, Fault, Mode, Outcome, Program, Sandbox, Value,
};
use num_traits::ToPrimitive;

use self::place::Place;
use self::shape::Shape;
use super::draws::Draws;
use super::schema::{Problem, VALIDATOR};
use super::{FUEL, limits};

/// Up to `count` distinct inputs for a problem, the same for the same seed; not validated.
///
/// Gold arguments are perturbed, exchanged between tests, spliced, grown, shrunk and replaced by edge
/// values (nothing, one thing, repeats, zero, negatives). What all gold values of a place share, such as
/// being sorted, is kept most of the time. There may be fewer than `count`: a problem on two booleans has
/// four inputs.
pub fn random_inputs(problem: &Problem, count: usize, seed: u64) -> Vec<Vec<Value>> {
    let mut draws = Draws::new(seed, &problem.id);
    let source = Source::of(problem);
    let mut seen = HashSet::new();
    let mut inputs = Vec::with_capacity(count);
    for _ in 0..count.saturating_mul(10) {
        if inputs.len() == count {
            break;
        }
        let input = source.draw(&mut draws);
        if seen.insert(key(&input)) {
            inputs.push(input);
        }
    }
    inputs
}

/// The inputs that the problem allows, in their order.
///
/// The validator decides, in the sandbox: whatever it does other than return True makes an input invalid. Without a
/// validator an input is allowed when the reference takes it: it returns a value, or raises what some gold test
/// expects. Without either nothing is known, and all inputs are kept: [`super::consensus`] asks candidates.
///
/// # Errors
/// Only where the host fails.
pub fn valid_inputs(
    sandbox: &Sandbox,
    problem: &Problem,
    inputs: Vec<Vec<Value>>,
) -> Result<Vec<Vec<Value>>, Fault> {
    let Some(job) = permit_job(problem, inputs.clone()) else {
        return Ok(inputs);
    };
    let executions = sandbox.execute(&job.program, &job.inputs, &job.limits, job.mode)?;
    Ok(keep_valid(problem, inputs, &executions))
}

/// Draws until `count` inputs are valid, or until a problem with few valid inputs has had its share of
/// attempts.
///
/// # Errors
/// Only where the host fails.
pub fn draw_valid(
    sandbox: &Sandbox,
    problem: &Problem,
    count: usize,
    seed: u64,
) -> Result<Vec<Vec<Value>>, Fault> {
    let mut seen = HashSet::new();
    let mut valid = Vec::new();
    for round in 0..8 {
        let mut drawn = random_inputs(
            problem,
            count + count / 2,
            seed.wrapping_mul(8).wrapping_add(round),
        );
        drawn.retain(|input| seen.insert(key(input)));
        valid.extend(valid_inputs(sandbox, problem, drawn)?);
        if valid.len() >= count {
            valid.truncate(count);
            break;
        }
    }
    Ok(valid)
}

/// The run that says which inputs a problem allows: its validator's, else its reference's.
pub(super) fn permit_job(problem: &Problem, inputs: Vec<Vec<Value>>) -> Option<ExecuteJob> {
    let program = match &problem.input_validator {
        Some(validator) => Program {
            code: validator.clone(),
            entry_point: VALIDATOR.to_owned(),
        },
        None => problem.reference_program()?,
    };
    Some(ExecuteJob {
        program,
        inputs,
        limits: limits(FUEL),
        mode: Mode::Fast,
    })
}

/// The inputs that the executions of a [`permit_job`] allow.
pub(super) fn keep_valid(
    problem: &Problem,
    inputs: Vec<Vec<Value>>,
    executions: &[Execution],
) -> Vec<Vec<Value>> {
    let allowed = |execution: &Execution| match (&problem.input_validator, &execution.result) {
        (Some(_), result) => *result == Ok(Value::Bool(true)),
        (None, Ok(_)) => true,
        (None, Err(Outcome::Raised { kind, .. })) => problem
            .tests
            .iter()
            .any(|test| matches!(&test.expected, Expected::Raises(known) if known == kind)),
        (None, Err(_)) => false,
    };
    inputs
        .into_iter()
        .zip(executions)
        .filter(|(_, execution)| allowed(execution))
        .map(|(input, _)| input)
        .collect()
}

/// Inputs that Python would write alike are alike.
pub(super) fn key(input: &[Value]) -> String {
    input
        .iter()
        .map(Value::to_literal)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Everything that inputs of one problem are drawn from.
struct Source<'a> {
    gold: Vec<&'a [Value]>,
    places: Vec<Place>,
    /// Pairs of parameters whose values have one length in every gold test.
    same_length: Vec<(usize, usize)>,
    /// A number and a sequence that it counts into: 0 <= number <= length in every gold test.
    counts_into: Vec<(usize, usize)>,
}

impl<'a> Source<'a> {
    fn of(problem: &'a Problem) -> Source<'a> {
        let gold: Vec<&[Value]> = problem
            .tests
            .iter()
            .map(|test| test.args.as_slice())
            .chain(problem.inputs.iter().map(|input| input.args.as_slice()))
            .collect();
        let params = problem
            .wanted_signature()
            .map(|signature| signature.params)
            .unwrap_or_default();
        let most = gold
            .iter()
            .map(|args| args.len())
            .max()
            .unwrap_or(params.len());
        let places = (0..most)
            .map(|index| {
                let annotation = params
                    .get(index)
                    .and_then(|param| param.annotation.as_deref());
                let seen = gold.iter().filter_map(|args| args.get(index)).collect();
                Place::learn(seen, &annotation.map_or(Shape::Any, Shape::parse))
            })
            .collect();
        let always = |holds: fn(&Value, &Value) -> Option<bool>| -> Vec<(usize, usize)> {
            let pairs = (0..most)
                .flat_map(|a| (0..most).map(move |b| (a, b)))
                .filter(|(a, b)| a != b);
            let all = |&(a, b): &(usize, usize)| {
                let answers = gold.iter().map(|args| holds(args.get(a)?, args.get(b)?));
                gold.len() >= 4 && { answers }.all(|answer| answer == Some(true))
            };
            pairs.filter(all).collect()
        };
        let same_length = always(|a, b| Some(length(a)? == length(b)?));
        let counts_into = always(|a, b| match a {
            Value::Int(i) => Some((0..=length(b)?).contains(&i.to_usize()?)),
            _ => Some(false),
        });
        Source {
            gold,
            places,
            same_length,
            counts_into,
        }
    }

    fn draw(&self, draws: &mut Draws) -> Vec<Value> {
        let Some(&base) = draws.pick(&self.gold) else {
            return self
                .places
                .iter()
                .map(|place| draw::fresh(place, draws))
                .collect();
        };
        let mut input = base.to_vec();
        let recipe = draws.below(20);
        for (index, (place, value)) in self.places.iter().zip(&mut input).enumerate() {
            let other = draws.pick(&self.gold).and_then(|args| args.get(index));
            let changed = match recipe {
                0..=7 if draws.one_in(2) => draw::perturb(place, value, draws),
                8..=10 => other.cloned().unwrap_or_else(|| value.clone()),
                11 | 12 => draw::splice(value, other.unwrap_or(value), draws),
                13..=16 => draw::fresh(place, draws),
                17 | 18 if draws.one_in(2) => draw::edge(place, value, draws),
                _ => continue,
            };
            *value = changed;
        }
        if recipe >= 8 && draws.one_in(2) || key(&input) == key(base) {
            let at = draws.below(input.len());
            if let (Some(place), Some(value)) = (self.places.get(at), input.get_mut(at)) {
                *value = draw::perturb(place, value, draws);
            }
        }
        if !draws.one_in(5) {
            self.conform(&mut input, draws);
        }
        input
    }

    fn conform(&self, input: &mut [Value], draws: &mut Draws) {
        for &(a, b) in &self.same_length {
            if let (Some(first), Some(second)) = (input.get(a), input.get(b)) {
                let shorter = length(first).unwrap_or(0).min(length(second).unwrap_or(0));
                input[a] = cut(&input[a], shorter);
                input[b] = cut(&input[b], shorter);
            }
        }
        for (place, value) in self.places.iter().zip(input.iter_mut()) {
            *value = habits::conform(place, value.clone());
        }
        for &(count, sequence) in &self.counts_into {
            if let (Some(Value::Int(i)), Some(most)) =
                (input.get(count), input.get(sequence).and_then(length))
                && i.to_usize().is_none_or(|i| i > most)
            {
                input[count] = Value::from(draws.between(0, most as i64));
            }
        }
    }
}

fn length(value: &Value) -> Option<usize> {
    match value {
        Value::Str(text) => Some(text.chars().count()),
        Value::List(items) | Value::Tuple(items) => Some(items.len()),
        _ => None,
    }
}

fn cut(value: &Value, length: usize) -> Value {
    match value {
        Value::Str(text) => Value::Str(text.chars().take(length).collect()),
        Value::List(items) => Value::List(items[..length.min(items.len())].to_vec()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::schema::example::with_gold as problem;
    use super::*;

    fn drawn(signature: &str, gold: &[&str]) -> Vec<Vec<Value>> {
        random_inputs(&problem(signature, gold), 200, 5)
    }

    #[test]
    fn the_seed_decides_and_no_input_comes_twice() {
        let problem = problem(
            "def f(a: list[int], k: int) -> int",
            &["[[1, 2, 3], 1]", "[[4, 5], 0]"],
        );
        let inputs = random_inputs(&problem, 200, 5);
        assert_eq!(inputs, random_inputs(&problem, 200, 5));
        assert_ne!(inputs, random_inputs(&problem, 200, 6));
        let distinct: HashSet<String> = inputs.iter().map(|input| key(input)).collect();
        assert_eq!((inputs.len(), distinct.len()), (200, 200));
    }

    #[test]
    fn arguments_keep_their_types_and_reach_the_edges() {
        let gold = [
            "[['ab', 'cd'], {'x': 1}, (1, 2.5), {3, 4}]",
            "[['e'], {'y': 2, 'z': 0}, (0, 1.5), {5}]",
        ];
        let inputs = drawn("def f(a, b, c, d)", &gold);
        for input in &inputs {
            let [
                Value::List(words),
                Value::Dict(_),
                Value::Tuple(pair),
                Value::Set(_),
            ] = input.as_slice()
            else {
                panic!("{}", key(input));
            };
            assert!(words.iter().all(|word| matches!(word, Value::Str(_))));
            assert!(
                matches!(pair.as_slice(), [Value::Int(_), Value::Float(_)]),
                "{}",
                key(input)
            );
        }
        let some =
            |holds: &dyn Fn(&[Value]) -> bool| inputs.iter().filter(|input| holds(input)).count();
        assert!(
            some(&|input| input[0] == Value::List(Vec::new())) > 0,
            "no empty list"
        );
        assert!(
            some(&|input| place::items(&input[0]).len() > 5) > 0,
            "no long list"
        );
        assert!(
            some(&|input| place::items(&input[0]).contains(&Value::from(""))) > 0,
            "no empty string"
        );
    }

    #[test]
    fn a_small_domain_ends_and_no_gold_tests_are_no_trouble() {
        let mut one_flag = problem("def f(a: bool) -> bool", &["[True]"]);
        assert_eq!(random_inputs(&one_flag, 200, 1).len(), 2);
        one_flag.tests.clear();
        assert_eq!(random_inputs(&one_flag, 200, 1).len(), 2);
        let nothing = problem("def f()", &["[]"]);
        assert_eq!(random_inputs(&nothing, 200, 1), [Vec::<Value>::new()]);
        let mut typed = problem(
            "def f(a: dict[str, list[int]], b: str | None)",
            &["[{}, None]"],
        );
        typed.tests.clear();
        let inputs = random_inputs(&typed, 100, 1);
        assert!(
            inputs
                .iter()
                .any(|input| matches!(&input[0], Value::Dict(pairs) if pairs.len() > 1))
        );
    }

    #[test]
    fn what_gold_arguments_share_is_mostly_kept() {
        let gold = [
            "[[1, 2, 4], [1, 0, 5], 1]",
            "[[2, 3], [7, 2], 2]",
            "[[0, 9], [3, 3], 0]",
            "[[5, 6, 7], [4, 1, 2], 3]",
        ];
        let inputs = drawn(
            "def f(times: list[int], loads: list[int], k: int) -> int",
            &gold,
        );
        let share = |holds: &dyn Fn(&[Value]) -> bool| {
            inputs.iter().filter(|input| holds(input)).count() * 100 / inputs.len()
        };
        let sorted = |value: &Value| {
            place::items(value)
                .is_sorted_by(|a, b| habits::compare(a, b).is_some_and(|o| o.is_le()))
        };
        assert!(share(&|input| sorted(&input[0])) > 75);
        assert!(share(&|input| length(&input[0]) == length(&input[1])) > 60);
        assert!(
            share(
                &|input| matches!((&input[2], length(&input[0])), (Value::Int(i), Some(l)) if i.to_usize().is_some_and(|i| i <= l))
            ) > 60
        );
    }

    #[test]
    fn only_true_is_valid() {
        let answers = [
            Value::Bool(true),
            Value::from(1),
            Value::None,
            Value::Bool(false),
        ];
        let executions: Vec<Execution> = answers
            .into_iter()
            .map(|value| Execution {
                result: Ok(value),
                stdout: String::new(),
                fuel: None,
            })
            .collect();
        let inputs: Vec<Vec<Value>> = (0..4).map(|i| vec![Value::from(i)]).collect();
        let problem = problem("def f(a)", &["[1]"]);
        assert_eq!(
            keep_valid(&problem, inputs.clone(), &executions),
            [vec![Value::from(0)]]
        );
        // A reference that answers takes the input, whatever it answers.
        let without = Problem {
            input_validator: None,
            ..problem
        };
        assert_eq!(keep_valid(&without, inputs, &executions).len(), 4);
    }
}
