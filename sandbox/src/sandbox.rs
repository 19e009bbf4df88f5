//! The handle that other crates hold.

use std::path::Path;
use std::sync::Arc;

use crate::compare::Comparison;
use crate::engine::{self, Ticker};
use crate::fault::Fault;
use crate::instance::Template;
use crate::pool::{self, Pool};
use crate::runner;
use crate::runtime;
use crate::test::{CheckJob, ExecuteJob, Execution, Limits, Mode, Program, Report, Test};
use crate::value::Value;

/// A result a job, in the jobs' order.
type Results<R> = Vec<Result<R, Fault>>;

/// A handle on the engine and its workers, one a core. Cloning is cheap; all clones share the workers.
///
/// Every method blocks until its result is there, except the `async` ones, which need a tokio runtime. The same program,
/// inputs and fuel give the same outcomes and fuel counts each time.
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
        let workers = pool::size();
        let slots = u32::try_from(workers).map_err(|_| Fault::Engine {
            why: format!("{workers} workers"),
        })?;
        let engine = engine::engine(slots)?;
        let template = Template::new(&engine, &runtime::load(&engine, dir)?)?;
        let pool = Pool::start(&template, workers)?;
        Ok(Sandbox {
            inner: Arc::new(Inner {
                pool,
                _ticker: Ticker::start(&engine)?,
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
        only(self.execute_many(vec![ExecuteJob {
            program,
            inputs,
            limits,
            mode,
        }]))
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
        only(self.check_many(vec![CheckJob {
            program,
            tests,
            comparison: *comparison,
            limits,
            mode,
        }]))
    }

    /// Runs all jobs on the workers; the results keep the jobs' order.
    pub fn execute_many(&self, jobs: Vec<ExecuteJob>) -> Vec<Result<Vec<Execution>, Fault>> {
        self.inner.pool.map(jobs, |template, job: ExecuteJob| {
            runner::execute(template, &job.program, &job.inputs, &job.limits, job.mode)
        })
    }

    /// Runs all jobs on the workers; the results keep the jobs' order.
    pub fn check_many(&self, jobs: Vec<CheckJob>) -> Vec<Result<Report, Fault>> {
        self.inner.pool.map(jobs, |template, job: CheckJob| {
            runner::check(
                template,
                &job.program,
                &job.tests,
                &job.comparison,
                &job.limits,
                job.mode,
            )
        })
    }

    /// [`Sandbox::execute`] for callers on a tokio runtime.
    pub async fn execute_async(&self, job: ExecuteJob) -> Result<Vec<Execution>, Fault> {
        only(self.execute_many_async(vec![job]).await)
    }

    /// [`Sandbox::check`] for callers on a tokio runtime.
    pub async fn check_async(&self, job: CheckJob) -> Result<Report, Fault> {
        only(self.check_many_async(vec![job]).await)
    }

    /// [`Sandbox::execute_many`] for callers on a tokio runtime.
    pub async fn execute_many_async(
        &self,
        jobs: Vec<ExecuteJob>,
    ) -> Vec<Result<Vec<Execution>, Fault>> {
        self.off_thread(jobs, Sandbox::execute_many).await
    }

    /// [`Sandbox::check_many`] for callers on a tokio runtime.
    pub async fn check_many_async(&self, jobs: Vec<CheckJob>) -> Vec<Result<Report, Fault>> {
        self.off_thread(jobs, Sandbox::check_many).await
    }

    async fn off_thread<J: Send + 'static, R: Send + 'static>(
        &self,
        jobs: Vec<J>,
        run: fn(&Sandbox, Vec<J>) -> Results<R>,
    ) -> Results<R> {
        let (sandbox, count) = (self.clone(), jobs.len());
        match tokio::task::spawn_blocking(move || run(&sandbox, jobs)).await {
            Ok(results) => results,
            Err(error) => (0..count)
                .map(|_| {
                    Err(Fault::Worker {
                        why: error.to_string(),
                    })
                })
                .collect(),
        }
    }
}

fn only<R>(results: Vec<Result<R, Fault>>) -> Result<R, Fault> {
    results.into_iter().next().unwrap_or_else(|| {
        Err(Fault::Worker {
            why: "it gave no result".into(),
        })
    })
}
