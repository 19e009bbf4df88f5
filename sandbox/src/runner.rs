//! From a program and inputs to outcomes: modes, budgets, comparison. Runs on a worker thread, in turns.

use std::time::Instant;

use crate::fault::Fault;
use crate::instance::{Instance, Reply, Stop, Template};
use crate::outcome::Outcome;
use crate::pool::Work;
use crate::response::Response;
use crate::test::{
    CheckJob, ExecuteJob, Execution, Expected, Limits, Mode, Program, Report, Test, TestReport,
};
use crate::value::Value;
use crate::wire;

/// What one input did, before [`Value::Opaque`] becomes an outcome.
#[derive(Clone)]
pub(crate) struct Run {
    pub(crate) result: Result<Value, Outcome>,
    pub(crate) stdout: String,
    pub(crate) fuel: u64,
}

/// A program as it enters an interpreter: its source, and what [`Code::compile`] made of that.
pub(crate) struct Code {
    source: Value,
    compiled: Value,
    /// What compiling it printed (warnings) and took, which counts for each run as if it had compiled the source.
    stdout: String,
    fuel: u64,
    /// Whether compiling it has been tried.
    pub(crate) tried: bool,
}

/// An interpreter that has loaded the program.
pub(crate) struct Loaded {
    instance: Instance,
    stdout: String,
    fuel: u64,
}

/// Calls of one program, under way.
struct Calls {
    inputs: Vec<Vec<u8>>,
    /// The inputs in the order of their calls, and how many of them are done.
    order: Vec<usize>,
    called: usize,
    runs: Vec<Option<Run>>,
    mode: Mode,
    code: Code,
}

/// [`ExecuteJob`], under way.
pub(crate) struct Execute {
    job: ExecuteJob,
    calls: Option<Calls>,
}

/// [`CheckJob`], under way.
pub(crate) struct Check {
    job: CheckJob,
    calls: Option<Calls>,
    started: Instant,
}

impl Execute {
    pub(crate) fn new(job: ExecuteJob) -> Execute {
        Execute { job, calls: None }
    }
}

impl Work for Execute {
    type Output = Vec<Execution>;

    fn limits(&self) -> &Limits {
        &self.job.limits
    }

    fn turn(&mut self, template: &Template, stop: &Stop) -> Result<Option<Vec<Execution>>, Fault> {
        let job = &self.job;
        let calls = match &mut self.calls {
            Some(calls) => calls,
            None => {
                let inputs = job.inputs.iter().map(Vec::as_slice);
                self.calls
                    .insert(Calls::new(&job.program, inputs, job.mode)?)
            }
        };
        if !calls.turn(template, &job.program, &job.limits, stop)? {
            return Ok(None);
        }
        let execution = |run: Run| Execution {
            result: run.result.and_then(|value| {
                if value.has_opaque() {
                    Err(Outcome::Opaque)
                } else {
                    Ok(value)
                }
            }),
            stdout: run.stdout,
            fuel: job.limits.fuel.map(|_| run.fuel),
        };
        Ok(Some(calls.take().map(execution).collect()))
    }
}

impl Check {
    pub(crate) fn new(job: CheckJob) -> Check {
        Check {
            job,
            calls: None,
            started: Instant::now(),
        }
    }

    fn calls(job: &CheckJob, mode: Mode) -> Result<Calls, Fault> {
        let inputs = job.tests.iter().map(|test| test.args.as_slice());
        Calls::new(&job.program, inputs, mode)
    }
}

impl Work for Check {
    type Output = Report;

    fn limits(&self) -> &Limits {
        &self.job.limits
    }

    fn turn(&mut self, template: &Template, stop: &Stop) -> Result<Option<Report>, Fault> {
        let job = &self.job;
        let calls = match &mut self.calls {
            Some(calls) => calls,
            None => self.calls.insert(Check::calls(job, job.mode)?),
        };
        if !calls.turn(template, &job.program, &job.limits, stop)? {
            return Ok(None);
        }
        let tests: Vec<TestReport> = job
            .tests
            .iter()
            .zip(calls.take())
            .map(|(test, run)| judge(test, run, job))
            .collect();
        let passed = tests.iter().all(|test| test.outcome.passed());
        if passed && calls.mode == Mode::Fast && tests.len() > 1 {
            // State carried from one input to another cannot buy a pass: fresh interpreters decide.
            self.calls = Some(Check::calls(job, Mode::Pure)?);
            return Ok(None);
        }
        Ok(Some(report(tests, self.started)))
    }
}

pub(crate) fn report(tests: Vec<TestReport>, started: Instant) -> Report {
    let failed = tests.iter().find(|test| !test.outcome.passed());
    Report {
        outcome: failed.map_or(Outcome::Passed, |test| test.outcome.clone()),
        fuel: tests.iter().map(|test| test.fuel).sum(),
        wall_ms: started.elapsed().as_secs_f64() * 1e3,
        tests,
    }
}

fn judge(test: &Test, run: Run, job: &CheckJob) -> TestReport {
    let Run {
        result,
        stdout,
        fuel,
    } = run;
    let (outcome, got) = match (&test.expected, result) {
        (_, Ok(value)) if value.has_opaque() => (Outcome::Opaque, Some(value)),
        (Expected::Value(expected), Ok(value)) if job.comparison.equal(expected, &value) => {
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
        fuel: job.limits.fuel.map(|_| fuel),
    }
}

impl Calls {
    fn new<'a>(
        program: &Program,
        inputs: impl Iterator<Item = &'a [Value]>,
        mode: Mode,
    ) -> Result<Calls, Fault> {
        let inputs = inputs
            .enumerate()
            .map(encode)
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Calls {
            order: order(inputs.len(), mode, &program.code),
            called: 0,
            runs: vec![None; inputs.len()],
            mode,
            code: Code::source(&program.code),
            inputs,
        })
    }

    /// One interpreter's life; says whether all calls are done.
    fn turn(
        &mut self,
        template: &Template,
        program: &Program,
        limits: &Limits,
        stop: &Stop,
    ) -> Result<bool, Fault> {
        if self.called == self.order.len() {
            return Ok(true);
        }
        let many = self.mode == Mode::Pure && self.inputs.len() >= COMPILED_FROM;
        if many && !self.code.tried {
            return match self.code.compile(template, limits, stop)? {
                Ok(()) => Ok(false),
                Err(run) => Ok(self.all_end(&run)),
            };
        }
        let mut loaded = match load(template, &self.code, &program.entry_point, limits, stop)? {
            Ok(loaded) => loaded,
            Err(run) => return Ok(self.all_end(&run)),
        };
        let (started, mut burnt) = (Instant::now(), loaded.fuel);
        loop {
            let at = self.order[self.called];
            self.called += 1;
            let (run, alive) = loaded.call(self.inputs[at].clone(), limits)?;
            burnt = burnt.saturating_add(run.fuel);
            self.runs[at] = Some(run);
            // An interpreter for many inputs is given up after the time of one, so that its worker can turn to other jobs.
            let over = limits
                .fuel
                .map_or_else(|| started.elapsed() >= limits.wall, |fuel| burnt >= fuel);
            let done = self.called == self.order.len();
            if done || over || !alive || stop.stopped() || self.mode == Mode::Pure {
                return Ok(done);
            }
        }
    }

    /// Loading is the same for every input, and so is its failure. Says that all calls are done.
    fn all_end(&mut self, run: &Run) -> bool {
        let left = self.runs.iter_mut().filter(|run| run.is_none());
        left.for_each(|place| *place = Some(run.clone()));
        self.called = self.order.len();
        true
    }

    /// The runs, in the inputs' order.
    fn take(&mut self) -> impl Iterator<Item = Run> {
        std::mem::take(&mut self.runs).into_iter().flatten()
    }
}

/// From how many inputs on, each with an interpreter of its own, a program is compiled once for all.
pub(crate) const COMPILED_FROM: usize = 3;

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

impl Code {
    pub(crate) fn source(source: &str) -> Code {
        Code {
            source: source.into(),
            compiled: Value::None,
            stdout: String::new(),
            fuel: 0,
            tried: false,
        }
    }

    /// What compiling it printed, if it was compiled apart.
    pub(crate) fn stdout(&self) -> &str {
        &self.stdout
    }

    /// Compiles the source once, for all interpreters that are to run it, in one that runs nothing of it. The inner error is
    /// what comes of each run where it does not compile.
    pub(crate) fn compile(
        &mut self,
        template: &Template,
        limits: &Limits,
        stop: &Stop,
    ) -> Result<Result<(), Run>, Fault> {
        if std::mem::replace(&mut self.tried, true) {
            return Ok(Ok(()));
        }
        let mut instance = template.start(limits, stop)?;
        let request = request(&load_parts(self, Value::None, limits))?;
        let Reply { bytes, fuel } = instance.load(request, limits.fuel.unwrap_or(u64::MAX))?;
        let mut stdout = String::new();
        let outcome = match bytes.and_then(|bytes| Response::read(&bytes)) {
            // Too long to come out; it is compiled where it runs.
            Err(Outcome::OutputTooLarge) => return Ok(Ok(())),
            Err(outcome) => outcome,
            Ok(response) => {
                stdout = response.stdout();
                match response.into_code() {
                    Ok(code) => {
                        (self.stdout, self.fuel) = (stdout, fuel);
                        self.compiled = Value::Bytes(code);
                        return Ok(Ok(()));
                    }
                    Err(response) => match response.outcome(limits) {
                        Err(Some(outcome)) => outcome,
                        Ok(_) | Err(None) => Outcome::Malformed,
                    },
                }
            }
        };
        Ok(Err(Run {
            result: Err(outcome),
            stdout,
            fuel,
        }))
    }
}

/// What the guest's `load` takes.
fn load_parts(code: &Code, name: Value, limits: &Limits) -> [Value; 5] {
    let [cap, seed] = cap_and_seed(limits);
    [code.source.clone(), name, cap, seed, code.compiled.clone()]
}

/// The cap on output and the seed, as the guest takes them.
fn cap_and_seed(limits: &Limits) -> [Value; 2] {
    let cap = i64::try_from(limits.output_bytes).unwrap_or(i64::MAX);
    // The interpreter's snapshot was taken with seed 0.
    let seed = match limits.seed {
        0 => Value::None,
        seed => Value::Int(seed.into()),
    };
    [Value::from(cap), seed]
}

/// A request as bytes.
fn request(parts: &[Value]) -> Result<Vec<u8>, Fault> {
    let mut request = Vec::new();
    if !wire::write_tuple(parts, &mut request) {
        return Err(Fault::Instance {
            why: "the program is larger than 2 GiB".into(),
        });
    }
    Ok(request)
}

/// Starts an interpreter and loads the program into it; or says why that cannot be.
pub(crate) fn load(
    template: &Template,
    code: &Code,
    entry_point: &str,
    limits: &Limits,
    stop: &Stop,
) -> Result<Result<Loaded, Run>, Fault> {
    let mut instance = template.start(limits, stop)?;
    let request = request(&load_parts(code, entry_point.into(), limits))?;
    let budget = limits
        .fuel
        .map_or(u64::MAX, |fuel| fuel.saturating_sub(code.fuel));
    let Reply { bytes, fuel } = instance.load(request, budget)?;
    let fuel = fuel.saturating_add(code.fuel);
    let failed = |outcome, stdout| {
        Ok(Err(Run {
            result: Err(outcome),
            stdout,
            fuel,
        }))
    };
    let response = match bytes.and_then(|bytes| Response::read(&bytes)) {
        Ok(response) => response,
        Err(outcome) => return failed(outcome, code.stdout.clone()),
    };
    let stdout = code.stdout.clone() + &response.stdout();
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

/// Runs the program as a script in an interpreter of its own; gives the response, if there is one, and the fuel.
pub(crate) fn run_script(
    template: &Template,
    code: &Code,
    args: &[String],
    stdin: &[u8],
    limits: &Limits,
    stop: &Stop,
) -> Result<(Result<Response, Outcome>, u64), Fault> {
    let mut instance = template.start(limits, stop)?;
    let [cap, seed] = cap_and_seed(limits);
    let request = request(&[
        code.source.clone(),
        Value::List(args.iter().map(|arg| arg.as_str().into()).collect()),
        cap,
        seed,
        code.compiled.clone(),
        Value::Bytes(stdin.to_vec()),
    ])?;
    let budget = limits
        .fuel
        .map_or(u64::MAX, |fuel| fuel.saturating_sub(code.fuel));
    let Reply { bytes, fuel } = instance.script(request, budget)?;
    let response = bytes.and_then(|bytes| Response::read(&bytes));
    Ok((response, fuel.saturating_add(code.fuel)))
}

impl Loaded {
    /// Calls the entry point with marshalled arguments. Gives the run it amounts to, loading included, and whether the
    /// interpreter is fit for another call.
    pub(crate) fn call(&mut self, args: Vec<u8>, limits: &Limits) -> Result<(Run, bool), Fault> {
        let budget = limits
            .fuel
            .map_or(u64::MAX, |fuel| fuel.saturating_sub(self.fuel));
        let reply = self.instance.call(args, budget)?;
        let fuel = self.fuel.saturating_add(reply.fuel);
        let mut stdout = self.stdout.clone();
        let run = |result, stdout| Run {
            result,
            stdout,
            fuel,
        };
        let response = match reply.bytes.and_then(|bytes| Response::read(&bytes)) {
            Ok(response) => response,
            Err(outcome) => return Ok((run(Err(outcome), stdout), false)),
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
        Ok((run(result, stdout), alive))
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
