//! The handle that other crates hold.

use crate::compare::Comparison;
use crate::fault::Fault;
use crate::test::{CheckJob, ExecuteJob, Execution, Limits, Mode, Program, Report, Test};
use crate::value::Value;

/// A handle on the engine and its workers. Cloning is cheap; all clones share the workers.
#[derive(Clone, Debug)]
pub struct Sandbox;

impl Sandbox {
    /// Opens the runtime that set-up built: `$GAUNTLET_RUNTIME`, else the user's cache folder.
    pub fn open() -> Result<Sandbox, Fault> {
        Err(Fault::Engine {
            why: "not wired up".into(),
        })
    }

    /// Calls the program once for each input.
    pub fn execute(
        &self,
        program: &Program,
        inputs: &[Vec<Value>],
        limits: &Limits,
        mode: Mode,
    ) -> Result<Vec<Execution>, Fault> {
        let _ = (program, inputs, limits, mode);
        Err(Fault::Engine {
            why: "not wired up".into(),
        })
    }

    /// Runs the program on the tests and compares what it returns on the host.
    pub fn check(
        &self,
        program: &Program,
        tests: &[Test],
        comparison: &Comparison,
        limits: &Limits,
        mode: Mode,
    ) -> Result<Report, Fault> {
        let _ = (program, tests, comparison, limits, mode);
        Err(Fault::Engine {
            why: "not wired up".into(),
        })
    }

    /// Runs all jobs on the workers; the results keep the jobs' order.
    pub fn execute_many(&self, jobs: Vec<ExecuteJob>) -> Vec<Result<Vec<Execution>, Fault>> {
        jobs.iter()
            .map(|job| self.execute(&job.program, &job.inputs, &job.limits, job.mode))
            .collect()
    }

    /// Runs all jobs on the workers; the results keep the jobs' order.
    pub fn check_many(&self, jobs: Vec<CheckJob>) -> Vec<Result<Report, Fault>> {
        jobs.iter()
            .map(|job| {
                self.check(
                    &job.program,
                    &job.tests,
                    &job.comparison,
                    &job.limits,
                    job.mode,
                )
            })
            .collect()
    }

    /// [`Sandbox::execute_many`] for callers on a tokio runtime.
    pub async fn execute_many_async(
        &self,
        jobs: Vec<ExecuteJob>,
    ) -> Vec<Result<Vec<Execution>, Fault>> {
        self.execute_many(jobs)
    }

    /// [`Sandbox::check_many`] for callers on a tokio runtime.
    pub async fn check_many_async(&self, jobs: Vec<CheckJob>) -> Vec<Result<Report, Fault>> {
        self.check_many(jobs)
    }
}
