//! Scripts: programs that read standard input and print, as the sandbox runs them.

use gauntlet_sandbox::{Fault, Limits, Outcome, Sandbox, ScriptJob};

/// What a script did with one input.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Printed {
    /// What it printed, or the outcome that stands in its place.
    pub(crate) stdout: Result<String, Outcome>,
    /// Fuel burnt.
    pub(crate) fuel: Option<u64>,
}

/// A script and the standard inputs to run it on, each in an interpreter of its own.
#[derive(Debug, Clone)]
pub(crate) struct Runs {
    /// The script.
    pub(crate) code: String,
    /// Standard inputs.
    pub(crate) stdins: Vec<String>,
    /// The limits of each run.
    pub(crate) limits: Limits,
}

/// Runs all on the sandbox's workers, in their order. A script that ends with another exit status than 0 has failed, as in
/// contests.
pub(crate) fn run_many(sandbox: &Sandbox, runs: Vec<Runs>) -> Vec<Result<Vec<Printed>, Fault>> {
    let job = |runs: Runs| ScriptJob {
        code: runs.code,
        args: Vec::new(),
        inputs: runs.stdins.into_iter().map(String::into_bytes).collect(),
        limits: runs.limits,
    };
    let results = sandbox.run_script_many(runs.into_iter().map(job).collect());
    let printed = |run: gauntlet_sandbox::ScriptRun| Printed {
        stdout: match run.result {
            Ok(0) => Ok(run.stdout),
            Ok(status) => Err(Outcome::Raised {
                kind: "SystemExit".to_owned(),
                message: status.to_string(),
                traceback: run.stderr,
            }),
            Err(outcome) => Err(outcome),
        },
        fuel: run.fuel,
    };
    results
        .into_iter()
        .map(|runs| Ok(runs?.into_iter().map(printed).collect()))
        .collect()
}
