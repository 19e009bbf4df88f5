//! Tests that are code, in an interpreter that the program under test never enters.
//!
//! Neither interpreter imports anything, so the tests cannot call out. They run until they want a value of the program,
//! and end with that question; the host puts it to the program and runs the tests again from their start with the answers
//! so far (driver.py). That costs a run of the tests a question, which is cheap, as the tests are; it keeps the guest
//! without a single import, and a program that ends, hangs or dies takes nothing of the tests with it.

use std::time::Instant;

use crate::fault::Fault;
use crate::instance::{Stop, Template};
use crate::outcome::Outcome;
use crate::pool::Work;
use crate::runner::{Code, Loaded, Run, load, report};
use crate::test::{CodeCheckJob, Expected, Limits, Mode, Report, TestReport};
use crate::value::Value;
use crate::wire;

const DRIVER: &str = include_str!("code_check/driver.py");
const ADAPTER: &str = include_str!("code_check/adapter.py");
const ADAPTER_NAME: &str = "__gauntlet_call__";

/// Marks an instance on its way from one interpreter to the other: (mark, class name, attributes).
const MARK: &str = "\0instance";

/// Calls of the program that one check may make. The tests run once more for each.
const MAX_CALLS: usize = 1000;

/// Exceptions that would end a loop or a run of the tests without failing them. The tests never see them.
const UNCATCHABLE: [&str; 5] = [
    "StopIteration",
    "StopAsyncIteration",
    "SystemExit",
    "KeyboardInterrupt",
    "GeneratorExit",
];

/// [`CodeCheckJob`], under way.
pub(crate) struct CodeCheck {
    job: CodeCheckJob,
    mode: Mode,
    started: Instant,
    state: Option<State>,
}

/// One run through the tests.
struct State {
    tests: Loaded,
    /// What the tests want to know next.
    question: Question,
    code: Code,
    /// Whether [`ADAPTER`] is part of the code.
    adapted: bool,
    /// An interpreter that has loaded the program.
    program: Option<Loaded>,
    calls: usize,
    last: Option<Answer>,
    stdout: String,
    fuel: u64,
}

/// A call of the program that the tests make.
struct Question {
    args: Vec<Value>,
    kwargs: Vec<(Value, Value)>,
    /// Classes that the tests define.
    classes: Vec<Value>,
    /// What is then done with the instance that the call makes: (method, arguments, keywords), or (attribute, None, None).
    steps: Vec<Value>,
}

impl Question {
    fn needs_adapter(&self) -> bool {
        !(self.kwargs.is_empty() && self.classes.is_empty() && self.steps.is_empty())
    }

    /// Whether an answer that cannot cross stays with the program, for the tests to go on with: the instance that a class
    /// makes, or a method of it.
    fn keeps(&self, answer: &Value, entry_point: &str) -> bool {
        let Value::Opaque(kind) = answer else {
            return false;
        };
        match self.steps.last() {
            None => kind == entry_point,
            Some(Value::Tuple(step)) => {
                let methods = ["method", "function", "builtin_function_or_method"];
                matches!(step.as_slice(), [_, Value::None, _]) && methods.contains(&kind.as_str())
            }
            Some(_) => false,
        }
    }
}

/// The program's last answer.
struct Answer {
    /// Of the call; keywords, if there were any, as a dict at the end.
    args: Vec<Value>,
    result: Result<Value, Outcome>,
}

/// What a run of the tests came to.
enum Step {
    Ask(Question),
    Passed,
    Failed(Outcome),
}

impl CodeCheck {
    pub(crate) fn new(job: CodeCheckJob) -> CodeCheck {
        CodeCheck {
            mode: job.mode,
            job,
            started: Instant::now(),
            state: None,
        }
    }

    fn finish(&self, outcome: Outcome, run: Option<Run>, state: Option<&State>) -> Report {
        let (mut stdout, mut fuel) =
            state.map_or((String::new(), 0), |s| (s.stdout.clone(), s.fuel));
        let mut got = state
            .and_then(|state| state.last.as_ref())
            .and_then(|answer| answer.result.clone().ok());
        if let Some(run) = run {
            push_capped(&mut stdout, &run.stdout, self.job.limits.output_bytes);
            fuel = fuel.saturating_add(run.fuel);
            got = run.result.ok();
        }
        let test = TestReport {
            outcome,
            got,
            stdout,
            fuel: self.job.limits.fuel.map(|_| fuel),
        };
        report(vec![test], self.started)
    }

    /// Loads program and tests, and finds the first question.
    fn begin(&mut self, template: &Template, stop: &Stop) -> Result<Option<Report>, Fault> {
        let job = &self.job;
        let mut code = Code::source(&job.program.code);
        let entry = &job.program.entry_point;
        let program = match load(template, &code, entry, &job.limits, stop)? {
            Ok(loaded) => loaded,
            Err(run) => {
                let outcome = run.result.clone().err().unwrap_or(Outcome::Malformed);
                return Ok(Some(self.finish(outcome, Some(run), None)));
            }
        };
        let limits = limits_of_tests(&job.limits);
        let driver = Code::source(DRIVER);
        let mut tests = match load(template, &driver, "step", &limits, stop)? {
            Ok(loaded) => loaded,
            Err(run) => return Err(broken(format!("{:?}", run.result))),
        };
        let begin = ["begin", entry, &job.test.setup, &job.test.code].map(Value::from);
        let step = step(&mut tests, &begin, &limits, None)?;
        let question = match step {
            Step::Ask(question) => question,
            Step::Passed => return Err(broken(format!("they end without a call of {entry}"))),
            Step::Failed(outcome) => return Ok(Some(self.finish(outcome, None, None))),
        };
        let adapted = question.needs_adapter();
        let mut program = Some(program);
        if adapted {
            (code, program) = (adapted_code(job), None);
        }
        self.state = Some(State {
            tests,
            question,
            code,
            adapted,
            program,
            calls: 0,
            last: None,
            stdout: String::new(),
            fuel: 0,
        });
        Ok(None)
    }

    /// Has the question answered and runs the tests again.
    fn go_on(
        &self,
        state: &mut State,
        template: &Template,
        stop: &Stop,
    ) -> Result<Option<Report>, Fault> {
        let limits = &self.job.limits;
        state.calls += 1;
        if state.calls > MAX_CALLS {
            return Err(broken(format!(
                "more than {MAX_CALLS} calls of the program"
            )));
        }
        let run = match self.ask(state, template, stop)? {
            Ok(run) => run,
            Err(run) => {
                let outcome = run.result.clone().err().unwrap_or(Outcome::Malformed);
                return Ok(Some(self.finish(outcome, Some(run), Some(state))));
            }
        };
        push_capped(&mut state.stdout, &run.stdout, limits.output_bytes);
        state.fuel = state.fuel.saturating_add(run.fuel);
        let message = match &run.result {
            Ok(value) if value.has_opaque() => vec!["object".into()],
            Ok(value) => vec!["answer".into(), value.clone()],
            Err(Outcome::Raised { kind, message, .. }) => {
                vec![
                    "raised".into(),
                    kind.as_str().into(),
                    message.as_str().into(),
                ]
            }
            Err(_) => Vec::new(),
        };
        let question = &mut state.question;
        let (mut args, mut kwargs) = match question.steps.pop() {
            Some(Value::Tuple(step)) => match <[Value; 3]>::try_from(step) {
                Ok([_, Value::Tuple(args), Value::Dict(kwargs)]) => (args, kwargs),
                _ => Default::default(),
            },
            _ => (
                std::mem::take(&mut question.args),
                std::mem::take(&mut question.kwargs),
            ),
        };
        if !kwargs.is_empty() {
            args.push(Value::Dict(std::mem::take(&mut kwargs)));
        }
        state.last = Some(Answer {
            args,
            result: run.result,
        });
        let limits = limits_of_tests(limits);
        Ok(
            match step(&mut state.tests, &message, &limits, state.last.as_ref())? {
                Step::Ask(question) => {
                    if !state.adapted && question.needs_adapter() {
                        (state.adapted, state.program) = (true, None);
                        state.code = adapted_code(&self.job);
                    }
                    state.question = question;
                    None
                }
                Step::Passed => Some(self.finish(Outcome::Passed, None, Some(state))),
                Step::Failed(outcome) => Some(self.finish(outcome, None, Some(state))),
            },
        )
    }

    /// Calls the program. The inner error is an outcome that ends the check.
    fn ask(
        &self,
        state: &mut State,
        template: &Template,
        stop: &Stop,
    ) -> Result<Result<Run, Run>, Fault> {
        let (job, question) = (&self.job, &state.question);
        let mut args = Vec::new();
        let written = if state.adapted {
            let parts = [
                job.program.entry_point.as_str().into(),
                MARK.into(),
                Value::List(question.classes.clone()),
                Value::Tuple(question.args.clone()),
                Value::Dict(question.kwargs.clone()),
                Value::List(question.steps.clone()),
            ];
            wire::write_tuple(&parts, &mut args)
        } else {
            wire::write_tuple(&question.args, &mut args)
        };
        if !written {
            return Err(broken("an argument larger than 2 GiB".into()));
        }
        let entry = if state.adapted {
            ADAPTER_NAME
        } else {
            &job.program.entry_point
        };
        let mut program = match state.program.take() {
            Some(program) => program,
            None => {
                if let Err(run) = state.code.compile(template, &job.limits, stop)? {
                    return Ok(Err(run));
                }
                match load(template, &state.code, entry, &job.limits, stop)? {
                    Ok(program) => program,
                    Err(run) => return Ok(Err(run)),
                }
            }
        };
        let (mut run, alive) = program.call(args, &job.limits)?;
        if alive && self.mode == Mode::Fast {
            state.program = Some(program);
        }
        let kept = run
            .result
            .as_ref()
            .is_ok_and(|value| question.keeps(value, &job.program.entry_point));
        let ends = match &mut run.result {
            Ok(value) => value.has_opaque() && !kept,
            Err(Outcome::Raised {
                kind, traceback, ..
            }) => {
                let own = traceback
                    .lines()
                    .filter(|line| !line.ends_with(ADAPTER_NAME));
                *traceback = own.collect::<Vec<_>>().join("\n");
                UNCATCHABLE.contains(&kind.as_str())
            }
            Err(_) => true,
        };
        if !kept && run.result.as_ref().is_ok_and(Value::has_opaque) {
            run.result = Err(Outcome::Opaque);
        }
        Ok(if ends { Err(run) } else { Ok(run) })
    }
}

impl Work for CodeCheck {
    type Output = Report;

    fn limits(&self) -> &Limits {
        &self.job.limits
    }

    fn turn(&mut self, template: &Template, stop: &Stop) -> Result<Option<Report>, Fault> {
        let report = match self.state.take() {
            None => self.begin(template, stop)?,
            Some(mut state) => {
                let report = self.go_on(&mut state, template, stop)?;
                self.state = Some(state);
                report
            }
        };
        if self.mode == Mode::Fast && report.as_ref().is_some_and(|r| r.outcome.passed()) {
            // State carried from one call to another cannot buy a pass: fresh interpreters decide.
            (self.mode, self.state) = (Mode::Pure, None);
            return Ok(None);
        }
        Ok(report)
    }
}

/// Runs the tests with one more answer, and reads how far they came.
fn step(
    tests: &mut Loaded,
    message: &[Value],
    limits: &Limits,
    last: Option<&Answer>,
) -> Result<Step, Fault> {
    let mut bytes = Vec::new();
    if !wire::write_tuple(message, &mut bytes) {
        return Err(broken("a value larger than 2 GiB".into()));
    }
    let (run, _) = tests.call(bytes, limits)?;
    let parts = match (run.result, last) {
        (Ok(Value::Tuple(parts)), _) => parts,
        // What the tests cannot digest is the answer's fault, if there was one.
        (Err(outcome), Some(_)) => return Ok(Step::Failed(outcome)),
        (result, _) => {
            return Err(broken(
                result.map_or_else(|o| o.to_string(), |v| v.to_string()),
            ));
        }
    };
    match parts.as_slice() {
        [Value::Str(tag)] if tag == "passed" => Ok(Step::Passed),
        [Value::Str(tag), Value::Str(why)] if tag == "wrong" => Err(broken(why.clone())),
        [
            Value::Str(tag),
            Value::Tuple(args),
            Value::Dict(kwargs),
            Value::List(classes),
            Value::List(steps),
        ] if tag == "ask" => Ok(Step::Ask(Question {
            args: args.clone(),
            kwargs: kwargs.clone(),
            classes: classes.clone(),
            steps: steps.clone(),
        })),
        [
            Value::Str(tag),
            Value::Str(kind),
            Value::Str(message),
            Value::Str(place),
            assertion,
            Value::Bool(raised),
        ] if tag == "failed" => failed(kind, message, place, assertion, *raised, last),
        _ => Err(broken(format!("they ended with {}", Value::Tuple(parts)))),
    }
}

/// The outcome of tests that ended with an exception.
fn failed(
    kind: &str,
    message: &str,
    place: &str,
    assertion: &Value,
    raised: bool,
    last: Option<&Answer>,
) -> Result<Step, Fault> {
    // Without an answer the program has had no say, and no answer takes a name away.
    let Some(last) = last.filter(|_| raised || kind != "NameError") else {
        return Err(broken(format!("{place}: {kind}: {message}")));
    };
    Ok(Step::Failed(match (&last.result, assertion) {
        (Err(outcome), _) if raised => outcome.clone(),
        (Ok(got), Value::Str(assertion)) => Outcome::WrongAnswer {
            input: last.args.clone(),
            expected: Expected::Assertion(assertion.clone()),
            got: got.clone(),
        },
        _ => Outcome::Raised {
            kind: kind.into(),
            message: message.into(),
            traceback: place.into(),
        },
    }))
}

/// The tests' own limits: the default ones, or the program's where those are wider.
fn limits_of_tests(limits: &Limits) -> Limits {
    let default = Limits::default();
    Limits {
        fuel: limits
            .fuel
            .map(|fuel| fuel.max(default.fuel.unwrap_or(fuel))),
        wall: limits.wall.max(default.wall),
        memory_bytes: limits.memory_bytes.max(default.memory_bytes),
        output_bytes: limits.output_bytes.max(16 << 20),
        seed: limits.seed,
        set_order: limits.set_order,
    }
}

fn adapted_code(job: &CodeCheckJob) -> Code {
    Code::source(&format!("{}\n\n{ADAPTER}", job.program.code))
}

fn broken(why: String) -> Fault {
    Fault::Tests { why }
}

/// Appends `text` as far as `cap` bytes allow.
fn push_capped(out: &mut String, text: &str, cap: usize) {
    let room = cap.saturating_sub(out.len());
    out.push_str(&text[..text.floor_char_boundary(room)]);
}
