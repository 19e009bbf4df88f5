//! Programs as scripts: from standard input to standard output, as contests judge them.

use crate::fault::Fault;
use crate::instance::{Stop, Template};
use crate::outcome::Outcome;
use crate::pool::Work;
use crate::response::ScriptEnd;
use crate::runner::{COMPILED_FROM, Code, Run, run_script};
use crate::test::Limits;

/// A program that is run as `python solution.py` would, once for each standard input, each time in an interpreter of its
/// own.
#[derive(Clone, Debug, PartialEq)]
pub struct ScriptJob {
    /// The source.
    pub code: String,
    /// What stands in `sys.argv` behind the program's name.
    pub args: Vec<String>,
    /// The standard inputs, a run each.
    pub inputs: Vec<Vec<u8>>,
    /// The limits of each run. [`Limits::output_bytes`] holds for standard output and standard error, each.
    pub limits: Limits,
}

/// What one run of a script did.
#[derive(Clone, Debug, PartialEq)]
pub struct ScriptRun {
    /// The exit status of a script that came to its end, by itself or by `sys.exit`; or what happened in its place. An
    /// exception that nothing caught is [`Outcome::Raised`], and its traceback is on standard error; a limit that was
    /// reached is the outcome of that limit. Never [`Outcome::Passed`] or [`Outcome::WrongAnswer`].
    pub result: Result<u8, Outcome>,
    /// What it wrote to standard output, as far as it came.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
    /// Whether it read standard input, or tried to.
    pub asked_for_input: bool,
    /// Fuel burnt.
    pub fuel: Option<u64>,
}

/// [`ScriptJob`], under way.
pub(crate) struct Script {
    code: Code,
    job: ScriptJob,
    runs: Vec<ScriptRun>,
}

impl Script {
    pub(crate) fn new(job: ScriptJob) -> Script {
        Script {
            code: Code::source(&job.code),
            job,
            runs: Vec::new(),
        }
    }
}

impl Work for Script {
    type Output = Vec<ScriptRun>;

    fn limits(&self) -> &Limits {
        &self.job.limits
    }

    fn turn(&mut self, template: &Template, stop: &Stop) -> Result<Option<Vec<ScriptRun>>, Fault> {
        let job = &self.job;
        let metered = |fuel| job.limits.fuel.map(|_| fuel);
        if job.inputs.len() >= COMPILED_FROM && !self.code.tried {
            if let Err(run) = self.code.compile(template, &job.limits, stop)? {
                let Run {
                    result,
                    stdout,
                    fuel,
                } = run;
                // What Python says of a program that does not compile it says on standard error.
                let run = ScriptRun {
                    result: Err(result.err().unwrap_or(Outcome::Malformed)),
                    stdout: String::new(),
                    stderr: stdout,
                    asked_for_input: false,
                    fuel: metered(fuel),
                };
                return Ok(Some(vec![run; job.inputs.len()]));
            }
            return Ok(None);
        }
        if let Some(stdin) = job.inputs.get(self.runs.len()) {
            let (response, fuel) =
                run_script(template, &self.code, &job.args, stdin, &job.limits, stop)?;
            let warnings = self.code.stdout();
            let (stdout, end) = match response {
                Ok(response) => (response.stdout(), response.script(&job.limits)),
                Err(outcome) => (
                    String::new(),
                    ScriptEnd {
                        result: Err(outcome),
                        stderr: String::new(),
                        asked_for_input: false,
                    },
                ),
            };
            self.runs.push(ScriptRun {
                result: end.result,
                stdout,
                stderr: warnings.to_owned() + &end.stderr,
                asked_for_input: end.asked_for_input,
                fuel: metered(fuel),
            });
        }
        let done = self.runs.len() == job.inputs.len();
        Ok(done.then(|| std::mem::take(&mut self.runs)))
    }
}
