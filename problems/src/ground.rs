//! Drafts become problems: the reference is executed on the inputs, and what it does is what the tests
//! expect.

use std::collections::HashSet;

use gauntlet_sandbox::{
    ExecuteJob, Execution, Expected, Fault, Mode, Outcome, Sandbox, Test, Value,
};
use thiserror::Error;

use super::inputs::{keep_valid, key, permit_job};
use super::schema::{Draft, Flaw, MIN_TESTS, Problem};
use super::{FUEL, limits};

/// Why a draft is not a problem.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum GroundError {
    /// A field is not as it should be.
    #[error("draft {id:?}: {flaw}")]
    Flaw {
        /// The draft's id.
        id: String,
        /// The field and what is wrong with it.
        flaw: Flaw,
    },
    /// Too few inputs are left without repeats and without those that the validator refuses.
    #[error(
        "draft {id:?}: {valid} of its {drafted} inputs are valid and distinct; a problem needs {MIN_TESTS}"
    )]
    TooFewTests {
        /// The draft's id.
        id: String,
        /// The inputs left.
        valid: usize,
        /// The inputs it came with.
        drafted: usize,
    },
    /// The reference gives no answer on a valid input that could be expected of a solution.
    #[error("draft {id:?}: the reference on ({input}): {outcome}")]
    Reference {
        /// The draft's id.
        id: String,
        /// The arguments.
        input: String,
        /// What happened in place of an answer.
        outcome: Box<Outcome>,
    },
    /// The reference's answer does not equal itself (it holds a nan), so that nothing could pass.
    #[error("draft {id:?}: the reference on ({input}) gives {got}, which equals nothing")]
    Unequal {
        /// The draft's id.
        id: String,
        /// The arguments.
        input: String,
        /// The answer.
        got: Value,
    },
    /// The host failed; it says nothing about the draft.
    #[error("draft {id:?} could not be executed: {source}")]
    Host {
        /// The draft's id.
        id: String,
        /// What failed.
        source: Fault,
    },
}

/// Executes the references of all drafts and fills their tests, in the drafts' order.
///
/// # Errors
/// The first draft that is not a problem; [`ground_each`] tells about each.
pub fn ground(sandbox: &Sandbox, drafts: Vec<Draft>) -> Result<Vec<Problem>, GroundError> {
    ground_each(sandbox, drafts).into_iter().collect()
}

/// Executes the references of all drafts and fills their tests, each draft by itself.
///
/// An input that repeats another, or that the validator refuses, makes no test. A reference that raises
/// makes a test that expects the exception.
pub fn ground_each(sandbox: &Sandbox, drafts: Vec<Draft>) -> Vec<Result<Problem, GroundError>> {
    let mut grounded: Vec<Result<Draft, GroundError>> = drafts.into_iter().map(checked).collect();
    run(
        sandbox,
        &mut grounded,
        |draft| permit_job(&draft.problem, draft.inputs.clone()).expect("drafts have references"),
        |draft, answers| {
            let drafted = draft.inputs.len();
            draft.inputs = keep_valid(&draft.problem, std::mem::take(&mut draft.inputs), &answers);
            match draft.inputs.len() {
                valid if valid < MIN_TESTS => Err(GroundError::TooFewTests {
                    id: draft.problem.id.clone(),
                    valid,
                    drafted,
                }),
                _ => Ok(()),
            }
        },
    );
    run(
        sandbox,
        &mut grounded,
        reference_job,
        |draft, executions| {
            let inputs = std::mem::take(&mut draft.inputs);
            for (args, execution) in inputs.into_iter().zip(executions) {
                let test = test(&draft.problem, args, execution)?;
                draft.problem.tests.push(test);
            }
            Ok(())
        },
    );
    grounded
        .into_iter()
        .map(|draft| draft.map(|draft| draft.problem))
        .collect()
}

/// Fills in what the reference says about inputs without an expected value ([`Problem::inputs`]), as published sets of
/// inputs have them. Returns what could not be filled, a line each; those inputs stay without a test.
///
/// # Errors
/// Only where the host fails.
pub fn complete(sandbox: &Sandbox, problem: &mut Problem) -> Result<Vec<String>, Fault> {
    let Some(program) = problem.reference_program().filter(|_| !problem.is_script()) else {
        return Ok(Vec::new());
    };
    if problem.inputs.is_empty() {
        return Ok(Vec::new());
    }
    let inputs = std::mem::take(&mut problem.inputs);
    let args: Vec<Vec<Value>> = inputs.iter().map(|input| input.args.clone()).collect();
    let executions = sandbox.execute(&program, &args, &limits(FUEL), Mode::Fast)?;
    let mut left = Vec::new();
    for (input, execution) in inputs.into_iter().zip(executions) {
        match test(problem, input.args.clone(), execution) {
            Ok(test) => problem.tests.push(Test {
                tags: input.tags,
                ..test
            }),
            Err(error) => left.push(error.to_string()),
        }
    }
    Ok(left)
}

/// The draft without repeated inputs, if its fields are right.
fn checked(mut draft: Draft) -> Result<Draft, GroundError> {
    let needed = match (&draft.problem.reference, &draft.problem.entry_point) {
        (None, _) => Err(Flaw::new("reference", "is missing")),
        (_, None) => Err(Flaw::new("entry_point", "is missing")),
        _ => Ok(()),
    };
    needed
        .and_then(|()| draft.problem.check_draft())
        .map_err(|flaw| GroundError::Flaw {
            id: draft.problem.id.clone(),
            flaw,
        })?;
    let mut seen = HashSet::new();
    draft.inputs.retain(|input| seen.insert(key(input)));
    draft.problem.tests.clear();
    Ok(draft)
}

/// Runs one job for each draft that is still good, and hands the draft its executions.
fn run(
    sandbox: &Sandbox,
    drafts: &mut [Result<Draft, GroundError>],
    job: fn(&Draft) -> ExecuteJob,
    take: fn(&mut Draft, Vec<Execution>) -> Result<(), GroundError>,
) {
    let jobs: Vec<ExecuteJob> = drafts.iter().flatten().map(job).collect();
    let good = drafts.iter_mut().filter(|draft| draft.is_ok());
    for (slot, result) in good.zip(sandbox.execute_many(jobs)) {
        let Ok(draft) = slot else { continue };
        let taken = match result {
            Ok(executions) => take(draft, executions),
            Err(source) => Err(GroundError::Host {
                id: draft.problem.id.clone(),
                source,
            }),
        };
        if let Err(error) = taken {
            *slot = Err(error);
        }
    }
}

fn reference_job(draft: &Draft) -> ExecuteJob {
    ExecuteJob {
        program: draft
            .problem
            .reference_program()
            .expect("drafts have references"),
        inputs: draft.inputs.clone(),
        limits: limits(FUEL),
        mode: Mode::Fast,
    }
}

/// What the reference did, as something to expect of every solution.
pub(super) fn test(
    problem: &Problem,
    args: Vec<Value>,
    execution: Execution,
) -> Result<Test, GroundError> {
    let (id, input) = (problem.id.clone(), key(&args));
    // These two say that the sandbox is small, which is no part of any problem.
    let of_the_host = |kind: &str| matches!(kind, "MemoryError" | "RecursionError");
    let expected = match execution.result {
        Ok(got) if !problem.comparison.equal(&got, &got) => {
            return Err(GroundError::Unequal { id, input, got });
        }
        Ok(value) => Expected::Value(value),
        Err(Outcome::Raised { kind, .. }) if !of_the_host(&kind) => Expected::Raises(kind),
        Err(outcome) => {
            let outcome = Box::new(outcome);
            return Err(GroundError::Reference { id, input, outcome });
        }
    };
    Ok(Test {
        args,
        expected,
        tags: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::schema::example;
    use super::*;

    fn draft(changes: serde_json::Value) -> Draft {
        let problem = serde_json::from_value(example::json(changes)).unwrap();
        Draft {
            problem,
            inputs: vec![
                vec![Value::from(1)],
                vec![Value::from(1)],
                vec![Value::Bool(true)],
            ],
        }
    }

    #[test]
    fn repeated_inputs_go_and_types_are_told_apart() {
        let checked = checked(draft(serde_json::json!({}))).unwrap();
        assert_eq!(checked.inputs, [[Value::from(1)], [Value::Bool(true)]]);
        assert!(checked.problem.tests.is_empty());
    }

    #[test]
    fn a_draft_is_checked_before_it_runs() {
        let mut draft = draft(serde_json::json!({}));
        draft.problem.difficulty = Some(0);
        let error = checked(draft).unwrap_err().to_string();
        assert_eq!(
            error,
            "draft \"numbers/double\": difficulty: is 0; it goes from 1 to 5"
        );
    }

    #[test]
    fn what_the_reference_did_is_expected_or_refused() {
        let problem = draft(serde_json::json!({})).problem;
        let done = |result| {
            let execution = Execution {
                result,
                stdout: String::new(),
                fuel: None,
            };
            test(&problem, vec![Value::from(1), Value::from("a")], execution)
        };
        let raised = |kind: &str| {
            Err(Outcome::Raised {
                kind: kind.to_owned(),
                message: "no".to_owned(),
                traceback: String::new(),
            })
        };
        assert_eq!(
            done(Ok(Value::from(2))).unwrap().expected,
            Expected::Value(Value::from(2))
        );
        assert_eq!(
            done(raised("ValueError")).unwrap().expected,
            Expected::Raises("ValueError".to_owned())
        );
        for (result, expected) in [
            (
                raised("MemoryError"),
                "the reference on (1, 'a'): raised MemoryError: no",
            ),
            (
                Err(Outcome::OutOfMemory),
                "the reference on (1, 'a'): out of memory",
            ),
            (
                Ok(Value::Float(f64::NAN)),
                "the reference on (1, 'a') gives float('nan'), which equals nothing",
            ),
        ] {
            assert_eq!(
                done(result).unwrap_err().to_string(),
                format!("draft \"numbers/double\": {expected}")
            );
        }
    }
}
