//! From a program and inputs to outcomes: modes, budgets, comparison. Runs on a worker thread.

use std::time::Instant;

use crate::compare::Comparison;
use crate::fault::Fault;
use crate::instance::{Instance, Reply, Template};
use crate::outcome::Outcome;
use crate::test::{Execution, Expected, Limits, Mode, Program, Report, Test, TestReport};
use crate::value::Value;
use crate::wire::{self, WireError};

/// What one input did, before [`Value::Opaque`] becomes an outcome.
#[derive(Clone)]
struct Run {
    result: Result<Value, Outcome>,
    stdout: String,
    fuel: u64,
}

/// An interpreter that has loaded the program.
struct Loaded {
    instance: Instance,
    stdout: String,
    fuel: u64,
}

/// A response of the guest.
struct Response {
    status: String,
    printed: Vec<u8>,
    payload: Value,
}

pub(crate) fn execute(
    template: &Template,
    program: &Program,
    inputs: &[Vec<Value>],
    limits: &Limits,
    mode: Mode,
) -> Result<Vec<Execution>, Fault> {
    let runs = run_all(
        template,
        program,
        inputs.iter().map(Vec::as_slice),
        limits,
        mode,
    )?;
    let execution = |run: Run| Execution {
        result: run.result.and_then(|value| {
            if value.has_opaque() {
                Err(Outcome::Opaque)
            } else {
                Ok(value)
            }
        }),
        stdout: run.stdout,
        fuel: Some(run.fuel),
    };
    Ok(runs.into_iter().map(execution).collect())
}

pub(crate) fn check(
    template: &Template,
    program: &Program,
    tests: &[Test],
    comparison: &Comparison,
    limits: &Limits,
    mode: Mode,
) -> Result<Report, Fault> {
    let started = Instant::now();
    let run = |mode| -> Result<Vec<TestReport>, Fault> {
        let runs = run_all(
            template,
            program,
            tests.iter().map(|test| test.args.as_slice()),
            limits,
            mode,
        )?;
        Ok(tests
            .iter()
            .zip(runs)
            .map(|(test, run)| judge(test, run, comparison))
            .collect())
    };
    let mut reports = run(mode)?;
    if mode == Mode::Fast && tests.len() > 1 && reports.iter().all(|report| report.outcome.passed())
    {
        // State carried from one input to another cannot buy a pass: fresh interpreters decide.
        reports = run(Mode::Pure)?;
    }
    let failed = reports
        .iter()
        .map(|report| &report.outcome)
        .find(|outcome| !outcome.passed());
    Ok(Report {
        outcome: failed.cloned().unwrap_or(Outcome::Passed),
        fuel: reports.iter().map(|report| report.fuel).sum(),
        wall_ms: started.elapsed().as_secs_f64() * 1e3,
        tests: reports,
    })
}

fn judge(test: &Test, run: Run, comparison: &Comparison) -> TestReport {
    let Run {
        result,
        stdout,
        fuel,
    } = run;
    let (outcome, got) = match (&test.expected, result) {
        (_, Ok(value)) if value.has_opaque() => (Outcome::Opaque, Some(value)),
        (Expected::Value(expected), Ok(value)) if comparison.equal(expected, &value) => {
            (Outcome::Passed, Some(value))
        }
        (expected, Ok(value)) => {
            let (input, expected) = (test.args.clone(), expected.clone());
            (
                Outcome::WrongAnswer {
                    input,
                    expected,
                    got: value.clone(),
                },
                Some(value),
            )
        }
        (Expected::Raises(expected), Err(Outcome::Raised { kind, .. })) if *expected == kind => {
            (Outcome::Passed, None)
        }
        (_, Err(outcome)) => (outcome, None),
    };
    TestReport {
        outcome,
        got,
        stdout,
        fuel: Some(fuel),
    }
}

/// Runs the program on all inputs; the runs keep the inputs' order.
fn run_all<'a>(
    template: &Template,
    program: &Program,
    inputs: impl Iterator<Item = &'a [Value]>,
    limits: &Limits,
    mode: Mode,
) -> Result<Vec<Run>, Fault> {
    let inputs = inputs
        .enumerate()
        .map(encode)
        .collect::<Result<Vec<_>, _>>()?;
    let mut runs: Vec<Option<Run>> = vec![None; inputs.len()];
    let mut loaded = None;
    for at in order(inputs.len(), mode, &program.code) {
        let mut current = match loaded.take() {
            Some(current) => current,
            None => match load(template, program, limits)? {
                Ok(current) => current,
                // Loading is the same for every input, and so is its failure.
                Err(run) => return Ok(vec![run; inputs.len()]),
            },
        };
        let budget = limits
            .fuel
            .map_or(u64::MAX, |fuel| fuel.saturating_sub(current.fuel));
        let reply = current.instance.call(inputs[at].clone(), budget)?;
        let (run, alive) = finish(reply, &current, limits);
        runs[at] = Some(run);
        if mode == Mode::Fast && alive {
            loaded = Some(current);
        }
    }
    Ok(runs.into_iter().flatten().collect())
}

/// The order of the calls: shuffled by the program's own hash where they share an interpreter, so that it repeats, and
/// the inputs' order tells the program nothing.
fn order(count: usize, mode: Mode, code: &str) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    if mode == Mode::Fast {
        let mut stream = blake3::Hasher::new().update(code.as_bytes()).finalize_xof();
        for last in (1..count).rev() {
            let mut draw = [0; 8];
            stream.fill(&mut draw);
            let pick = u64::from_le_bytes(draw) % (last as u64 + 1);
            order.swap(last, pick as usize);
        }
    }
    order
}

fn encode((at, args): (usize, &[Value])) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    if wire::write_tuple(args, &mut bytes) {
        return Ok(bytes);
    }
    let argument = args
        .iter()
        .position(|arg| !wire::write(arg, &mut Vec::new()))
        .unwrap_or(0);
    let value = args
        .get(argument)
        .map(Value::to_literal)
        .unwrap_or_default();
    Err(Fault::Input {
        input: at,
        argument,
        value,
    })
}

fn load(
    template: &Template,
    program: &Program,
    limits: &Limits,
) -> Result<Result<Loaded, Run>, Fault> {
    let mut instance = template.start(limits)?;
    let mut request = Vec::new();
    let cap = i64::try_from(limits.output_bytes).unwrap_or(i64::MAX);
    let parts = [
        program.code.as_str().into(),
        program.entry_point.as_str().into(),
        Value::from(cap),
    ];
    if !wire::write_tuple(&parts, &mut request) {
        return Err(Fault::Instance {
            why: "the program is larger than 2 GiB".into(),
        });
    }
    let Reply { bytes, fuel } = instance.load(request, limits.fuel.unwrap_or(u64::MAX))?;
    let failed = |outcome, stdout| {
        Ok(Err(Run {
            result: Err(outcome),
            stdout,
            fuel,
        }))
    };
    let response = match bytes.and_then(|bytes| Response::read(&bytes)) {
        Ok(response) => response,
        Err(outcome) => return failed(outcome, String::new()),
    };
    let stdout = response.stdout();
    match response.outcome(limits) {
        Ok(_) => failed(Outcome::Malformed, stdout),
        Err(None) => Ok(Ok(Loaded {
            instance,
            stdout,
            fuel,
        })),
        Err(Some(outcome)) => failed(outcome, stdout),
    }
}

/// The run a reply amounts to, and whether the interpreter is fit for another call.
fn finish(reply: Reply, loaded: &Loaded, limits: &Limits) -> (Run, bool) {
    let fuel = loaded.fuel + reply.fuel;
    let mut stdout = loaded.stdout.clone();
    let response = match reply.bytes.and_then(|bytes| Response::read(&bytes)) {
        Ok(response) => response,
        Err(outcome) => {
            return (
                Run {
                    result: Err(outcome),
                    stdout,
                    fuel,
                },
                false,
            );
        }
    };
    stdout.push_str(&response.stdout());
    let result = response
        .outcome(limits)
        .map_err(|outcome| outcome.unwrap_or(Outcome::Malformed));
    let result = if stdout.len() > limits.output_bytes {
        Err(Outcome::OutputTooLarge)
    } else {
        result
    };
    let alive = !matches!(result, Err(Outcome::OutOfMemory | Outcome::Malformed));
    (
        Run {
            result,
            stdout,
            fuel,
        },
        alive,
    )
}

impl Response {
    fn read(bytes: &[u8]) -> Result<Response, Outcome> {
        let parts = match wire::read(bytes) {
            Ok(Value::Tuple(parts)) => parts,
            Ok(_) | Err(WireError::Malformed) => return Err(Outcome::Malformed),
            Err(WireError::TooDeep) => return Err(Outcome::OutputTooLarge),
            Err(WireError::Surrogates) => {
                return Ok(Response {
                    status: "opaque".into(),
                    printed: Vec::new(),
                    payload: Value::Bytes(b"str with lone surrogates".to_vec()),
                });
            }
        };
        match <[Value; 3]>::try_from(parts) {
            Ok([Value::Str(status), Value::Bytes(printed), payload]) => Ok(Response {
                status,
                printed,
                payload,
            }),
            _ => Err(Outcome::Malformed),
        }
    }

    fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.printed).into_owned()
    }

    /// The value; or an outcome; or none, when the module loaded.
    fn outcome(self, limits: &Limits) -> Result<Value, Option<Outcome>> {
        if self.printed.len() > limits.output_bytes {
            return Err(Some(Outcome::OutputTooLarge));
        }
        let text = |value: Value| match value {
            Value::Bytes(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            _ => Err(Some(Outcome::Malformed)),
        };
        Err(Some(match (self.status.as_str(), self.payload) {
            ("value", value) => return Ok(value),
            ("opaque", name) => return Ok(Value::Opaque(text(name)?)),
            ("loaded", Value::None) => return Err(None),
            ("missing", Value::None) => Outcome::MissingEntryPoint,
            ("memory", Value::None) => Outcome::OutOfMemory,
            ("output", Value::None) => Outcome::OutputTooLarge,
            ("syntax", message) => Outcome::SyntaxError {
                message: text(message)?,
            },
            ("forbidden", what) => Outcome::Forbidden { what: text(what)? },
            ("raised", Value::Tuple(parts)) => match <[Value; 3]>::try_from(parts) {
                Ok([kind, message, traceback]) => Outcome::Raised {
                    kind: text(kind)?,
                    message: text(message)?,
                    traceback: text(traceback)?,
                },
                Err(_) => Outcome::Malformed,
            },
            _ => Outcome::Malformed,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shuffle_repeats_and_loses_nothing() {
        let shuffled = order(20, Mode::Fast, "def f(): pass");
        assert_eq!(shuffled, order(20, Mode::Fast, "def f(): pass"));
        assert_ne!(shuffled, order(20, Mode::Fast, "def g(): pass"));
        let mut sorted = shuffled.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, order(20, Mode::Pure, ""));
    }

    #[test]
    fn responses_that_imitate_the_protocol_badly_are_malformed() {
        let outcome = |literal: &str| {
            let mut bytes = Vec::new();
            wire::write(&Value::parse_literal(literal).unwrap(), &mut bytes);
            Response::read(&bytes)
                .map_err(Some)
                .and_then(|response| response.outcome(&Limits::default()))
        };
        assert_eq!(outcome("('value', b'', 3)"), Ok(Value::from(3)));
        for literal in [
            "3",
            "()",
            "('value', b'')",
            "('value', '', 3)",
            "('passed', b'', None)",
            "('raised', b'', None)",
            "('raised', b'', (b'', b''))",
            "('raised', b'', ('', '', ''))",
            "('missing', b'', 1)",
        ] {
            assert_eq!(outcome(literal), Err(Some(Outcome::Malformed)), "{literal}");
        }
    }

    #[test]
    fn an_input_that_cannot_enter_is_the_hosts_fault() {
        let args = [
            Value::from(1),
            Value::List(vec![Value::Opaque("Foo".into())]),
        ];
        let fault = encode((4, &args)).unwrap_err();
        assert_eq!(
            fault.to_string(),
            "argument 1 of input 4 cannot enter the sandbox: [<opaque Foo>]"
        );
    }
}
