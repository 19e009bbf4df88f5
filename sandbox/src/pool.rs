//! The workers: threads with stacks deep enough for the guest, which take turns at the jobs that are in.
//!
//! A job is done in turns, each the life of one interpreter. A worker takes the job that has waited longest, does one turn
//! of it and puts it at the end of the line, so that a job of a thousand slow calls holds up nobody for longer than one of
//! its turns. The number of jobs in is bounded: who brings one more waits, first come first served. A caller that goes
//! away takes its job with it, the running interpreter included.

use std::collections::VecDeque;
use std::future::Future;
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::engine::HOST_STACK;
use crate::fault::Fault;
use crate::instance::{Stop, Template};
use crate::test::Limits;

/// Jobs a worker that may be in at a time.
const QUEUE: usize = 4;

/// Interpreters that one job may hold at a time: one for its tests as code, one for the candidate.
const INTERPRETERS: usize = 2;

/// The number of workers: one a core.
pub(crate) fn size() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// The interpreters that may be alive at a time, if there are `workers`.
pub(crate) fn slots(workers: usize) -> usize {
    workers * QUEUE * INTERPRETERS
}

/// A job, done in turns.
pub(crate) trait Work: Send + 'static {
    /// What it comes to.
    type Output: Send + 'static;

    /// The limits it was given.
    fn limits(&self) -> &Limits;

    /// Does the next turn; gives the result once there is nothing left to do.
    fn turn(&mut self, template: &Template, stop: &Stop) -> Result<Option<Self::Output>, Fault>;
}

/// Threads that take turns at jobs. They end when the pool is dropped.
#[derive(Debug)]
pub(crate) struct Pool {
    line: Arc<Line>,
    room: Arc<Semaphore>,
}

/// The jobs that are in and not at work.
#[derive(Debug, Default)]
struct Line {
    state: Mutex<State>,
    ready: Condvar,
}

#[derive(Default)]
struct State {
    tasks: VecDeque<Task>,
    closed: bool,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} jobs, closed: {}", self.tasks.len(), self.closed)
    }
}

/// A job with its type erased and its place among those that are in.
struct Task {
    /// Does a turn; says whether there is more to do.
    turn: Box<dyn FnMut(&Template) -> bool + Send>,
    _place: OwnedSemaphorePermit,
}

/// A job that is in. Dropping it cancels the job.
#[derive(Debug)]
pub(crate) struct Pending<R> {
    result: oneshot::Receiver<Result<R, Fault>>,
    stop: Stop,
}

impl<R> Future for Pending<R> {
    type Output = Result<R, Fault>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.result)
            .poll(context)
            .map(|result| result.unwrap_or_else(|_| Err(gone("it dropped the job"))))
    }
}

impl<R> Drop for Pending<R> {
    fn drop(&mut self) {
        self.stop.stop();
    }
}

impl Pool {
    pub(crate) fn start(template: &Template, workers: usize) -> Result<Pool, Fault> {
        let pool = Pool {
            line: Arc::default(),
            room: Arc::new(Semaphore::new(workers * QUEUE)),
        };
        for worker in 0..workers {
            let (line, template) = (Arc::clone(&pool.line), template.clone());
            thread::Builder::new()
                .name(format!("sandbox-{worker}"))
                .stack_size(HOST_STACK)
                .spawn(move || line.work(&template))
                .map_err(|error| Fault::Engine {
                    why: format!("worker thread: {error}"),
                })?;
        }
        Ok(pool)
    }

    /// Waits for room, and puts the job in.
    pub(crate) async fn submit<W: Work>(&self, mut work: W) -> Result<Pending<W::Output>, Fault> {
        work.limits().check()?;
        let room = Arc::clone(&self.room).acquire_owned().await;
        let place = room.map_err(|_| gone("no worker is left"))?;
        let (sender, result) = oneshot::channel();
        let stop = Stop::default();
        let (stopped, mut sender) = (stop.clone(), Some(sender));
        let turn = move |template: &Template| {
            if stopped.stopped() {
                return false;
            }
            let done = catch_unwind(AssertUnwindSafe(|| work.turn(template, &stopped)));
            let result = match done {
                Ok(Ok(None)) => return true,
                Ok(Ok(Some(output))) => Ok(output),
                Ok(Err(fault)) => Err(fault),
                Err(panic) => Err(Fault::Worker {
                    why: panic_text(&panic),
                }),
            };
            // The caller may have gone away, and then needs no answer.
            let _ = sender.take().map(|sender| sender.send(result));
            false
        };
        self.line.push(Task {
            turn: Box::new(turn),
            _place: place,
        });
        Ok(Pending { result, stop })
    }

    /// Puts all jobs in, as room allows; the results keep the jobs' order.
    pub(crate) async fn run<W: Work>(&self, jobs: Vec<W>) -> Vec<Result<W::Output, Fault>> {
        let mut pending = Vec::with_capacity(jobs.len());
        for job in jobs {
            pending.push(self.submit(job).await);
        }
        let mut results = Vec::with_capacity(pending.len());
        for job in pending {
            results.push(match job {
                Ok(job) => job.await,
                Err(fault) => Err(fault),
            });
        }
        results
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut state = self.line.lock();
        state.closed = true;
        state.tasks.clear();
        self.line.ready.notify_all();
    }
}

impl Line {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, task: Task) {
        let mut state = self.lock();
        if !state.closed {
            state.tasks.push_back(task);
            self.ready.notify_one();
        }
    }

    /// The job that has waited longest; none once the pool is gone.
    fn next(&self) -> Option<Task> {
        let mut state = self.lock();
        while state.tasks.is_empty() && !state.closed {
            state = self
                .ready
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.tasks.pop_front()
    }

    fn work(&self, template: &Template) {
        while let Some(mut task) = self.next() {
            if (task.turn)(template) {
                self.push(task);
            }
        }
    }
}

/// Runs a future to its end on this thread, on a tokio runtime or off it.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

fn gone(why: &str) -> Fault {
    Fault::Worker { why: why.into() }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".into())
}
