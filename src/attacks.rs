//! Which attacks count: checked against the reference, then pooled over the attack sets of a problem.

use gauntlet_sandbox::{Comparison, Execution, Expected, Outcome, Test, TimeLimit, Value};

use crate::rollout::{CheckedAttack, ParsedAttack, Validity};

/// The lines worth executing: those that parse and repeat neither an earlier line of the set nor a gold input. Given
/// as indices into `attacks`.
pub fn novel_attacks(attacks: &[Result<ParsedAttack, String>], gold: &[Test]) -> Vec<usize> {
    let mut seen: Vec<&[Value]> = gold.iter().map(|test| &test.args[..]).collect();
    let mut novel = Vec::new();
    for (index, attack) in attacks.iter().enumerate() {
        let Ok(attack) = attack else { continue };
        if !seen.iter().any(|args| same_args(args, &attack.args)) {
            seen.push(&attack.args);
            novel.push(index);
        }
    }
    novel
}

/// Equal as Python has it, so that `(1,)`, `(True,)` and `(1.0,)` are one attack and not three.
pub fn same_args(a: &[Value], b: &[Value]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| alike(a, b))
}

/// Equal as Python has it, or the same literal: nan is like nan.
fn alike(a: &Value, b: &Value) -> bool {
    a.py_eq(b) || a.to_literal() == b.to_literal()
}

/// What the problem itself says of an input.
#[derive(Clone, Debug, PartialEq)]
pub enum Evidence {
    /// The input validator does not return True.
    InputRejected,
    /// The reference raises, runs out of its limits, or gives two answers.
    ReferenceFailed,
    /// The reference's answer.
    Answer(Value),
    /// The host failed or the wall clock ran out: nothing is known.
    HostFault,
}

impl Evidence {
    /// Reads one run of the input validator, where the problem has one, and two of the reference on the same input.
    pub fn new(validator: Option<&Execution>, reference: [&Execution; 2]) -> Evidence {
        if validator
            .into_iter()
            .chain(reference)
            .any(stopped_by_the_clock)
        {
            return Evidence::HostFault;
        }
        if validator.is_some_and(|run| run.result != Ok(Value::Bool(true))) {
            return Evidence::InputRejected;
        }
        match reference.map(|execution| &execution.result) {
            [Ok(first), Ok(second)] if !first.has_opaque() && alike(first, second) => {
                Evidence::Answer(first.clone())
            }
            _ => Evidence::ReferenceFailed,
        }
    }
}

fn stopped_by_the_clock(execution: &Execution) -> bool {
    matches!(
        execution.result,
        Err(Outcome::Timeout {
            limit: TimeLimit::Wall
        })
    )
}

/// Judges the lines of an attack set. `evidence` belongs to `novel`, the indices that [`novel_attacks`] gave; a parsed
/// line without evidence is a duplicate. A playable attack comes out with the reference's answer as its expected
/// value: where its own was another, it is [`Validity::Repaired`].
pub fn check_attacks(
    attacks: &[Result<ParsedAttack, String>],
    novel: &[usize],
    evidence: &[Evidence],
    comparison: &Comparison,
) -> Vec<CheckedAttack> {
    let check = |(index, attack): (usize, &Result<ParsedAttack, String>)| {
        let attack = match attack {
            Ok(attack) => attack.clone(),
            Err(reason) => {
                return CheckedAttack {
                    attack: None,
                    validity: Validity::Unparsed(reason.clone()),
                };
            }
        };
        let found = novel
            .iter()
            .zip(evidence)
            .find(|&(&novel, _)| novel == index);
        let (expected, validity) = match found.map(|(_, evidence)| evidence) {
            None => (attack.expected, Validity::Duplicate),
            Some(Evidence::InputRejected) => (attack.expected, Validity::InputRejected),
            Some(Evidence::ReferenceFailed) => (attack.expected, Validity::ReferenceFailed),
            Some(Evidence::HostFault) => (attack.expected, Validity::HostFault),
            Some(Evidence::Answer(answer)) => match comparison.equal(answer, &attack.expected) {
                true => (answer.clone(), Validity::Valid),
                false => (answer.clone(), Validity::Repaired),
            },
        };
        CheckedAttack {
            attack: Some(ParsedAttack {
                args: attack.args,
                expected,
            }),
            validity,
        }
    };
    attacks.iter().enumerate().map(check).collect()
}

/// A playable attack, with every set that wrote it.
#[derive(Clone, Debug, PartialEq)]
pub struct PooledAttack {
    /// The attack.
    pub attack: ParsedAttack,
    /// Who wrote it, at least one.
    pub sources: Vec<Source>,
}

/// One writing of a pooled attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// Index of the attack set.
    pub set: usize,
    /// Index of the line within it.
    pub line: usize,
    /// Whether its expected value had to be repaired.
    pub repaired: bool,
}

impl PooledAttack {
    /// The attack as the sandbox runs it.
    pub fn test(&self) -> Test {
        Test {
            args: self.attack.args.clone(),
            expected: Expected::Value(self.attack.expected.clone()),
            tags: Vec::new(),
        }
    }

    /// What `set` may claim for it: 1 for a valid attack, a half for a repaired one, 0 if it did not write it.
    pub fn credit(&self, set: usize) -> f64 {
        let credits = self
            .sources
            .iter()
            .filter(|source| source.set == set)
            .map(Source::credit);
        credits.fold(0.0, f64::max)
    }
}

impl Source {
    fn credit(&self) -> f64 {
        if self.repaired { 0.5 } else { 1.0 }
    }
}

/// The playable attacks of all sets against one problem, each once.
pub fn pool_attacks(sets: &[Vec<CheckedAttack>]) -> Vec<PooledAttack> {
    let mut pool: Vec<PooledAttack> = Vec::new();
    for (set, attacks) in sets.iter().enumerate() {
        for (line, checked) in attacks.iter().enumerate() {
            let (Some(attack), true) = (&checked.attack, checked.validity.is_playable()) else {
                continue;
            };
            let source = Source {
                set,
                line,
                repaired: checked.validity == Validity::Repaired,
            };
            match pool
                .iter_mut()
                .find(|pooled| same_args(&pooled.attack.args, &attack.args))
            {
                Some(pooled) => pooled.sources.push(source),
                None => pool.push(PooledAttack {
                    attack: attack.clone(),
                    sources: vec![source],
                }),
            }
        }
    }
    pool
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompts::parse_attacks;

    fn value(literal: &str) -> Value {
        Value::parse_literal(literal).unwrap()
    }

    fn gold(args: &[&str]) -> Vec<Test> {
        let test = |args: &&str| {
            let Value::Tuple(args) = value(args) else {
                panic!("{args} is no tuple")
            };
            Test {
                args,
                expected: Expected::Value(Value::None),
                tags: vec![],
            }
        };
        args.iter().map(test).collect()
    }

    fn execution(result: Result<Value, Outcome>) -> Execution {
        Execution {
            result,
            stdout: String::new(),
            fuel: None,
        }
    }

    #[test]
    fn repeats_are_found_however_they_are_spelt() {
        let text = "(1,) -> 1\n(1,) -> 2\n(True,) -> 1\n(1.0,) -> 1\nbad\n([1],) -> 1\n([ 1 ]) -> 1\n(9,) -> 9\n(1, 1) -> 2";
        let attacks = parse_attacks(text, 99);
        assert_eq!(novel_attacks(&attacks, &gold(&["(9,)"])), [0, 5, 8]);
        assert_eq!(
            novel_attacks(&attacks, &gold(&["(9,)", "(1,)", "([1],)", "(1, 1)"])),
            [] as [usize; 0]
        );
    }

    #[test]
    fn nan_repeats_nan() {
        let attacks = parse_attacks("(float('nan'),) -> 0\n(float('nan'),) -> 0", 9);
        assert_eq!(novel_attacks(&attacks, &[]).len(), 1);
    }

    #[test]
    fn the_reference_must_answer_twice_alike() {
        let fuel = Outcome::Timeout {
            limit: TimeLimit::Fuel,
        };
        let wall = Outcome::Timeout {
            limit: TimeLimit::Wall,
        };
        let (yes, one) = (Ok(value("True")), Ok(value("1")));
        for (validator, first, second, evidence) in [
            (
                yes.clone(),
                one.clone(),
                one.clone(),
                Evidence::Answer(value("1")),
            ),
            (
                yes.clone(),
                one.clone(),
                Ok(value("2")),
                Evidence::ReferenceFailed,
            ),
            (
                yes.clone(),
                Ok(value("{1, 2}")),
                Ok(value("{2, 1}")),
                Evidence::Answer(value("{1, 2}")),
            ),
            (
                yes.clone(),
                Ok(value("[1, 2]")),
                Ok(value("[2, 1]")),
                Evidence::ReferenceFailed,
            ),
            (
                yes.clone(),
                one.clone(),
                Err(fuel.clone()),
                Evidence::ReferenceFailed,
            ),
            (
                yes.clone(),
                Ok(Value::Opaque("X".into())),
                Ok(Value::Opaque("X".into())),
                Evidence::ReferenceFailed,
            ),
            (
                yes.clone(),
                Err(wall.clone()),
                one.clone(),
                Evidence::HostFault,
            ),
            (Err(wall), one.clone(), one.clone(), Evidence::HostFault),
            (
                Ok(value("1")),
                one.clone(),
                one.clone(),
                Evidence::InputRejected,
            ),
            (
                Ok(value("False")),
                one.clone(),
                one.clone(),
                Evidence::InputRejected,
            ),
            (Err(fuel), one.clone(), one.clone(), Evidence::InputRejected),
        ] {
            let (first, second) = (execution(first), execution(second));
            assert_eq!(
                Evidence::new(Some(&execution(validator)), [&first, &second]),
                evidence
            );
        }
        let nan = execution(Ok(value("float('nan')")));
        assert!(matches!(
            Evidence::new(Some(&execution(yes)), [&nan, &nan]),
            Evidence::Answer(_)
        ));
    }

    #[test]
    fn every_line_is_judged() {
        let attacks = parse_attacks(
            "(1,) -> 10\n(2,) -> 0\nnonsense\n(1,) -> 10\n(3,) -> 0\n(4,) -> 0\n(5,) -> 0",
            99,
        );
        let novel = novel_attacks(&attacks, &[]);
        let evidence = [
            Evidence::Answer(value("10.0")),
            Evidence::Answer(value("20")),
            Evidence::InputRejected,
            Evidence::ReferenceFailed,
            Evidence::HostFault,
        ];
        let checked = check_attacks(&attacks, &novel, &evidence, &Comparison::Exact);
        let validities: Vec<&Validity> = checked.iter().map(|checked| &checked.validity).collect();
        assert!(matches!(validities[2], Validity::Unparsed(_)));
        for (index, validity) in [
            (0, Validity::Valid),
            (1, Validity::Repaired),
            (3, Validity::Duplicate),
            (4, Validity::InputRejected),
            (5, Validity::ReferenceFailed),
            (6, Validity::HostFault),
        ] {
            assert_eq!(*validities[index], validity);
        }
        assert_eq!(checked[1].attack.as_ref().unwrap().expected, value("20"));
    }

    #[test]
    fn the_problems_own_comparison_decides_what_is_valid() {
        let attacks = parse_attacks("(1,) -> [2, 1]", 9);
        let answer = [Evidence::Answer(value("[1, 2]"))];
        for (comparison, validity) in [
            (Comparison::Exact, Validity::Repaired),
            (Comparison::AnyOrder, Validity::Valid),
        ] {
            assert_eq!(
                check_attacks(&attacks, &[0], &answer, &comparison)[0].validity,
                validity
            );
        }
    }

    #[test]
    fn the_pool_holds_each_attack_once_with_everyone_who_wrote_it() {
        let checked = |text: &str, answers: &[&str]| {
            let attacks = parse_attacks(text, 99);
            let evidence: Vec<Evidence> = answers
                .iter()
                .map(|answer| Evidence::Answer(value(answer)))
                .collect();
            check_attacks(
                &attacks,
                &novel_attacks(&attacks, &[]),
                &evidence,
                &Comparison::Exact,
            )
        };
        let sets = [
            checked("(1,) -> 10\n(2,) -> 0", &["10", "20"]),
            checked("(2,) -> 20\nnonsense\n(2,) -> 20", &["20"]),
            checked("", &[]),
        ];
        let pool = pool_attacks(&sets);
        assert_eq!(pool.len(), 2);
        assert_eq!(
            [pool[0].credit(0), pool[0].credit(1), pool[0].credit(2)],
            [1.0, 0.0, 0.0]
        );
        assert_eq!(
            [pool[1].credit(0), pool[1].credit(1), pool[1].credit(2)],
            [0.5, 1.0, 0.0]
        );
        assert_eq!(pool[1].test().expected, Expected::Value(value("20")));
    }
}
