//! Scripts: programs that read standard input and print.
//!
//! The script runs as `__main__` in an interpreter of its own. Its input goes in and its output comes out as plain
//! strings, so that the expected output never enters.

use gauntlet_sandbox::{
    ExecuteJob, Execution, Fault, Limits, Mode, Outcome, Program, Sandbox, Value,
};

/// Runs a script on an input and returns what it printed.
const RUNNER: &str = include_str!("script/runner.py");
const RUNNER_NAME: &str = "run_script";

/// What a script did with one input: what it printed, or what happened in its place.
#[derive(Debug, Clone, PartialEq)]
pub struct ScriptRun {
    /// The printed text, or the outcome that stands in its place.
    pub stdout: Result<String, Outcome>,
    /// Fuel burnt.
    pub fuel: Option<u64>,
}

/// A script and the inputs to run it on, each in an interpreter of its own.
#[derive(Debug, Clone)]
pub struct ScriptJob {
    /// The script.
    pub code: String,
    /// Standard inputs.
    pub stdins: Vec<String>,
    /// The limits of each run.
    pub limits: Limits,
}

/// Runs all jobs on the sandbox's workers, in the jobs' order.
pub fn run_many(sandbox: &Sandbox, jobs: Vec<ScriptJob>) -> Vec<Result<Vec<ScriptRun>, Fault>> {
    let execute = |job: ScriptJob| ExecuteJob {
        program: Program {
            code: RUNNER.to_owned(),
            entry_point: RUNNER_NAME.to_owned(),
        },
        inputs: job
            .stdins
            .iter()
            .map(|stdin| vec![Value::from(job.code.as_str()), Value::from(stdin.as_str())])
            .collect(),
        limits: job.limits,
        mode: Mode::Pure,
    };
    let results = sandbox.execute_many(jobs.into_iter().map(execute).collect());
    results
        .into_iter()
        .map(|result| Ok(result?.into_iter().map(script_run).collect()))
        .collect()
}

fn script_run(execution: Execution) -> ScriptRun {
    let stdout = match execution.result {
        Ok(Value::Str(text)) => Ok(text),
        Ok(Value::Tuple(parts)) => Err(ended(&parts)),
        // Only the script can have made the runner return anything else.
        Ok(_) => Err(Outcome::Malformed),
        Err(outcome) => Err(outcome),
    };
    ScriptRun {
        stdout,
        fuel: execution.fuel,
    }
}

/// What the runner says of a script that ended with an exception.
fn ended(parts: &[Value]) -> Outcome {
    match parts {
        [Value::Str(tag), Value::Str(message)] if tag == "syntax" => Outcome::SyntaxError {
            message: message.clone(),
        },
        [
            Value::Str(tag),
            Value::Str(kind),
            Value::Str(message),
            Value::Str(traceback),
        ] if tag == "raised" => Outcome::Raised {
            kind: kind.clone(),
            message: message.clone(),
            traceback: traceback.clone(),
        },
        _ => Outcome::Malformed,
    }
}
