//! The handle that other crates hold.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use crate::code_check::CodeCheck;
use crate::compare::Comparison;
use crate::engine::Ticker;
use crate::fault::Fault;
use crate::instance::Template;
use crate::pool::{self, Pool, block_on};
use crate::runner::{Check, Execute};
use crate::runtime;
use crate::script::{Script, ScriptJob, ScriptRun};
use crate::test::{
    CheckJob, CodeCheckJob, CodeTest, ExecuteJob, Execution, Limits, Mode, Program, Report, Test,
};
use crate::value::Value;

/// A result a job, in the jobs' order.
type Results<R> = Vec<Result<R, Fault>>;

/// A handle on the engine and its workers, one a core. Cloning is cheap; all clones share the workers.
///
/// Every method blocks until its result is there, except the `async` ones, which run on any executor. The workers take
/// turns at the jobs that are in, an interpreter's life each, so that no job waits for a slow one to end; there is room for
/// four jobs a worker, and whoever brings another waits. Dropping the future of an `async` method cancels its jobs.
///
/// The same program, inputs and fuel give the same outcomes and fuel counts each time.
#[derive(Clone, Debug)]
pub struct Sandbox {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    pool: Pool,
    _ticker: Ticker,
}

impl Sandbox {
    /// Opens the runtime that set-up built: the folder `$GAUNTLET_RUNTIME`, else the one in the user's cache.
    pub fn open() -> Result<Sandbox, Fault> {
        Sandbox::open_in(&runtime::dir())
    }

    /// Opens the runtime in the folder `dir`.
    pub fn open_in(dir: &Path) -> Result<Sandbox, Fault> {
        Sandbox::start(dir, pool::size())
    }

    /// [`Sandbox::open`] with a number of workers of the caller's choice.
    pub fn open_with(workers: usize) -> Result<Sandbox, Fault> {
        Sandbox::start(&runtime::dir(), workers.max(1))
    }

    fn start(dir: &Path, workers: usize) -> Result<Sandbox, Fault> {
        let slots = u32::try_from(pool::slots(workers)).map_err(|_| Fault::Engine {
            why: format!("{workers} workers"),
        })?;
        let template = Template::open(dir, slots)?;
        let pool = Pool::start(&template, workers)?;
        Ok(Sandbox {
            inner: Arc::new(Inner {
                pool,
                _ticker: Ticker::start(move || template.tick())?,
            }),
        })
    }

    /// Calls the program once for each input; the executions keep the inputs' order.
    pub fn execute(
        &self,
        program: &Program,
        inputs: &[Vec<Value>],
        limits: &Limits,
        mode: Mode,
    ) -> Result<Vec<Execution>, Fault> {
        let (program, inputs, limits) = (program.clone(), inputs.to_vec(), limits.clone());
        block_on(self.execute_async(ExecuteJob {
            program,
            inputs,
            limits,
            mode,
        }))
    }

    /// Runs the program on the tests and compares on the host. What passes every test in [`Mode::Fast`] is run again in
    /// [`Mode::Pure`], and that report is returned.
    pub fn check(
        &self,
        program: &Program,
        tests: &[Test],
        comparison: &Comparison,
        limits: &Limits,
        mode: Mode,
    ) -> Result<Report, Fault> {
        let (program, tests, limits) = (program.clone(), tests.to_vec(), limits.clone());
        block_on(self.check_async(CheckJob {
            program,
            tests,
            comparison: *comparison,
            limits,
            mode,
        }))
    }

    /// Runs tests that are code, in an interpreter of their own that reaches the program only by calls through the host.
    /// The report has one test, the code as a whole. What passes in [`Mode::Fast`] is run again in [`Mode::Pure`].
    ///
    /// Tests that fail without the program's doing are [`Fault::Tests`].
    pub fn check_code(
        &self,
        program: &Program,
        test: &CodeTest,
        limits: &Limits,
        mode: Mode,
    ) -> Result<Report, Fault> {
        let (program, test, limits) = (program.clone(), test.clone(), limits.clone());
        block_on(self.check_code_async(CodeCheckJob {
            program,
            test,
            limits,
            mode,
        }))
    }

    /// Checks every candidate on the same tests; a report a candidate, a row a report. Equal candidates are run once, and
    /// one candidate's inputs share its compilation.
    pub fn run_matrix(
        &self,
        candidates: &[Program],
        tests: &[Test],
        comparison: &Comparison,
        limits: &Limits,
        mode: Mode,
    ) -> Vec<Result<Report, Fault>> {
        block_on(self.run_matrix_async(candidates, tests, comparison, limits, mode))
    }

    /// Runs a program as a script, once for each standard input; the runs keep the inputs' order.
    pub fn run_script(&self, job: ScriptJob) -> Result<Vec<ScriptRun>, Fault> {
        block_on(self.run_script_async(job))
    }

    /// Runs all jobs on the workers; the results keep the jobs' order.
    pub fn run_script_many(&self, jobs: Vec<ScriptJob>) -> Vec<Result<Vec<ScriptRun>, Fault>> {
        block_on(self.run_script_many_async(jobs))
    }

    /// Runs all jobs on the workers; the results keep the jobs' order.
    pub fn execute_many(&self, jobs: Vec<ExecuteJob>) -> Vec<Result<Vec<Execution>, Fault>> {
        block_on(self.execute_many_async(jobs))
    }

    /// Runs all jobs on the workers; the results keep the jobs' order.
    pub fn check_many(&self, jobs: Vec<CheckJob>) -> Vec<Result<Report, Fault>> {
        block_on(self.check_many_async(jobs))
    }

    /// Runs all jobs on the workers; the results keep the jobs' order.
    pub fn check_code_many(&self, jobs: Vec<CodeCheckJob>) -> Vec<Result<Report, Fault>> {
        block_on(self.check_code_many_async(jobs))
    }

    /// [`Sandbox::execute`] for async callers.
    pub async fn execute_async(&self, job: ExecuteJob) -> Result<Vec<Execution>, Fault> {
        self.inner.pool.submit(Execute::new(job)).await?.await
    }

    /// [`Sandbox::check`] for async callers.
    pub async fn check_async(&self, job: CheckJob) -> Result<Report, Fault> {
        self.inner.pool.submit(Check::new(job)).await?.await
    }

    /// [`Sandbox::check_code`] for async callers.
    pub async fn check_code_async(&self, job: CodeCheckJob) -> Result<Report, Fault> {
        self.inner.pool.submit(CodeCheck::new(job)).await?.await
    }

    /// [`Sandbox::run_script`] for async callers.
    pub async fn run_script_async(&self, job: ScriptJob) -> Result<Vec<ScriptRun>, Fault> {
        self.inner.pool.submit(Script::new(job)).await?.await
    }

    /// [`Sandbox::run_script_many`] for async callers.
    pub async fn run_script_many_async(
        &self,
        jobs: Vec<ScriptJob>,
    ) -> Vec<Result<Vec<ScriptRun>, Fault>> {
        let jobs = jobs.into_iter().map(Script::new).collect();
        self.inner.pool.run(jobs).await
    }

    /// [`Sandbox::execute_many`] for async callers.
    pub async fn execute_many_async(
        &self,
        jobs: Vec<ExecuteJob>,
    ) -> Vec<Result<Vec<Execution>, Fault>> {
        let jobs = jobs.into_iter().map(Execute::new).collect();
        self.inner.pool.run(jobs).await
    }

    /// [`Sandbox::check_many`] for async callers.
    pub async fn check_many_async(&self, jobs: Vec<CheckJob>) -> Vec<Result<Report, Fault>> {
        let jobs = jobs.into_iter().map(Check::new).collect();
        self.inner.pool.run(jobs).await
    }

    /// [`Sandbox::check_code_many`] for async callers.
    pub async fn check_code_many_async(
        &self,
        jobs: Vec<CodeCheckJob>,
    ) -> Vec<Result<Report, Fault>> {
        let jobs = jobs.into_iter().map(CodeCheck::new).collect();
        self.inner.pool.run(jobs).await
    }

    /// [`Sandbox::run_matrix`] for async callers.
    pub async fn run_matrix_async(
        &self,
        candidates: &[Program],
        tests: &[Test],
        comparison: &Comparison,
        limits: &Limits,
        mode: Mode,
    ) -> Vec<Result<Report, Fault>> {
        let mut first: HashMap<&Program, usize> = HashMap::new();
        let mut distinct = Vec::new();
        let rows: Vec<usize> = candidates
            .iter()
            .map(|candidate| {
                *first.entry(candidate).or_insert_with(|| {
                    distinct.push(CheckJob {
                        program: candidate.clone(),
                        tests: tests.to_vec(),
                        comparison: *comparison,
                        limits: limits.clone(),
                        mode,
                    });
                    distinct.len() - 1
                })
            })
            .collect();
        let reports: Results<Report> = self.check_many_async(distinct).await;
        rows.into_iter()
            .map(|row| match &reports[row] {
                Ok(report) => Ok(report.clone()),
                Err(fault) => Err(fault.clone()),
            })
            .collect()
    }
}
