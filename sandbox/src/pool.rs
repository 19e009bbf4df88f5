//! The workers: threads with stacks deep enough for the guest, fed over a bounded channel.

use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::engine::HOST_STACK;
use crate::fault::Fault;
use crate::instance::Template;

type Task = Box<dyn FnOnce(&Template) + Send>;

/// Jobs that may wait for each worker before the sender has to.
const QUEUE: usize = 4;

/// The number of workers: one a core.
pub(crate) fn size() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// Threads that each run one instance at a time. They end when the pool is dropped.
#[derive(Debug)]
pub(crate) struct Pool {
    tasks: SyncSender<Task>,
}

impl Pool {
    pub(crate) fn start(template: &Template, workers: usize) -> Result<Pool, Fault> {
        let (tasks, queue) = sync_channel::<Task>(workers * QUEUE);
        let queue = Arc::new(Mutex::new(queue));
        for worker in 0..workers {
            let (queue, template) = (Arc::clone(&queue), template.clone());
            thread::Builder::new()
                .name(format!("sandbox-{worker}"))
                .stack_size(HOST_STACK)
                .spawn(move || work(&queue, &template))
                .map_err(|error| Fault::Engine {
                    why: format!("worker thread: {error}"),
                })?;
        }
        Ok(Pool { tasks })
    }

    /// Runs `run` on every job; the results keep the jobs' order. Blocks until all are done.
    pub(crate) fn map<J, R>(
        &self,
        jobs: Vec<J>,
        run: fn(&Template, J) -> Result<R, Fault>,
    ) -> Vec<Result<R, Fault>>
    where
        J: Send + 'static,
        R: Send + 'static,
    {
        let gone = |why: &str| Fault::Worker { why: why.into() };
        let mut replies = Vec::with_capacity(jobs.len());
        for job in jobs {
            let (sender, reply) = sync_channel(1);
            let task = Box::new(move |template: &Template| {
                let result = catch_unwind(AssertUnwindSafe(|| run(template, job)));
                // The caller may have gone away, and then needs no answer.
                let _ = sender.send(result.unwrap_or_else(|panic| {
                    Err(Fault::Worker {
                        why: panic_text(&panic),
                    })
                }));
            });
            replies.push(self.tasks.send(task).map(|()| reply));
        }
        let collect = |reply: Result<Receiver<_>, _>| match reply {
            Ok(reply) => reply
                .recv()
                .unwrap_or_else(|_| Err(gone("it dropped the job"))),
            Err(_) => Err(gone("no worker is left")),
        };
        replies.into_iter().map(collect).collect()
    }
}

fn work(queue: &Mutex<Receiver<Task>>, template: &Template) {
    loop {
        let task = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match task {
            Ok(task) => task(template),
            Err(_) => return,
        }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".into())
}
