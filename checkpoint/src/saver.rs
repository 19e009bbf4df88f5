//! Saving beside training: a thread writes what the trainer has copied.
//!
//! The trainer waits only while its state is copied ([`super::SaveRequest::snapshot`]). One save is
//! in flight at a time, so that at most one copy is in memory; who brings the next one waits for
//! the first, or asks [`Saver::is_busy`] and lets it be. What became of a save is never lost: it is
//! taken by [`Saver::poll`] or [`Saver::wait`].

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::CheckpointError;
use super::retention::Retention;
use super::save::{SaveJob, SaveRequest};
use super::store::{Saved, Store};

/// Pauses before a failed write is tried again, where that can help.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(1)];

/// A checkpoint to be written, and what to delete once it is durable.
#[derive(Debug)]
struct Order {
    job: SaveJob,
    retention: Option<Retention>,
}

/// What became of a save.
#[derive(Debug)]
pub struct Finished {
    /// The checkpoint's name.
    pub name: String,
    /// The durable checkpoint, or why there is none.
    pub result: Result<Saved, CheckpointError>,
    /// What went wrong beside the checkpoint itself: a link that did not move, an old checkpoint
    /// that could not be deleted. The checkpoint is saved all the same.
    pub warnings: Vec<CheckpointError>,
    /// Old checkpoints that were deleted.
    pub deleted: Vec<String>,
    /// Of a failed save, what was to be written, so that it can be tried again.
    pub job: Option<SaveJob>,
    /// Times the write was tried.
    pub tries: usize,
    /// How long writing took, on the saver's thread.
    pub elapsed: Duration,
}

/// Says which of the checkpoints that are offered are saved. A closure that takes `&SaveRequest` is one.
pub trait Condition: Send {
    /// Whether an offered checkpoint is wanted.
    fn wants(&mut self, request: &SaveRequest) -> bool;

    /// A checkpoint is durable, with this score. One that could not be saved is never told of.
    fn saved(&mut self, _score: Option<f64>) {}
}

impl<F: FnMut(&SaveRequest) -> bool + Send> Condition for F {
    fn wants(&mut self, request: &SaveRequest) -> bool {
        self(request)
    }
}

/// What became of a checkpoint that was offered.
#[derive(Debug)]
pub enum Offered {
    /// The condition did not hold. Nothing was copied.
    Declined,
    /// It is being written.
    Begun {
        /// What became of the one before it, where that was not taken yet.
        before: Option<Box<Finished>>,
    },
}

/// A condition for [`Saver::when`]: the request's score is higher than that of every one that was saved. `best` is the
/// score to begin with, as that of a store's best checkpoint.
pub fn on_improvement(best: Option<f64>) -> OnImprovement {
    OnImprovement { best }
}

/// See [`on_improvement`].
#[derive(Clone, Debug)]
pub struct OnImprovement {
    best: Option<f64>,
}

impl Condition for OnImprovement {
    fn wants(&mut self, request: &SaveRequest) -> bool {
        let score = request.score;
        score.is_some_and(|score| self.best.is_none_or(|best| score > best))
    }

    fn saved(&mut self, score: Option<f64>) {
        self.best = match (self.best, score) {
            (Some(best), Some(score)) => Some(best.max(score)),
            (best, score) => best.or(score),
        };
    }
}

/// A thread that writes checkpoints to one store, one at a time.
///
/// Saving only on improvement, with notes and metrics of one's own:
///
/// ```
/// use std::sync::Arc;
///
/// use gauntlet_checkpoint::{
///     CheckpointKind, Offered, PlayerState, SaveRequest, Saver, Store, on_improvement,
/// };
/// use serde_json::json;
/// use tch::Tensor;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let run = tempfile::tempdir()?;
/// # let run = run.path();
/// let request = |step: u64, score: f64| SaveRequest {
///     name: format!("step_{step:06}"),
///     kind: CheckpointKind::Full,
///     stage: 5,
///     step,
///     score: Some(score),
///     players: vec![(
///         "generator".to_owned(),
///         PlayerState {
///             model_state_dict: vec![("weight".to_owned(), Tensor::from(step as f64))],
///             optimizer: None,
///             stage_id: 5,
///             metrics: json!({}),
///             model_config: json!({"hidden_size": 1}),
///             lora_config: None,
///         },
///     )],
///     metrics: json!({"custom": {"beam_width": 4}}),
///     training_config: json!({}),
///     trainer_state: json!({}),
///     mistake_book: String::new(),
///     own_chains: String::new(),
///     tokenizer: "{}".to_owned(),
///     prompts: Vec::new(),
///     parent: None,
///     tags: [("author".to_owned(), "the night shift".to_owned())].into(),
///     set_best: true,
/// };
/// let store = Arc::new(Store::create(run)?);
/// let mut saver = Saver::start(Arc::clone(&store))?.when(on_improvement(None));
/// for (step, score) in [(10, 0.25), (20, 0.125), (30, 0.5)] {
///     match saver.offer(request(step, score), None)? {
///         Offered::Declined => assert_eq!(step, 20),
///         Offered::Begun { before } => drop(before.map(|before| before.result).transpose()?),
///     }
/// }
/// saver.wait().expect("one is in flight").result?;
///
/// let names: Vec<String> = store.list()?.into_iter().map(|item| item.name).collect();
/// assert_eq!(names, ["step_000010", "step_000030"]);
/// let best = store.load("best")?;
/// assert_eq!(best.manifest().step, 30);
/// assert_eq!(best.manifest().tags["author"], "the night shift");
/// assert_eq!(best.metrics()?["custom"]["beam_width"], 4);
/// assert_eq!(store.load_step(10)?.manifest().score, Some(0.25));
/// # Ok(())
/// # }
/// ```
pub struct Saver {
    condition: Option<Box<dyn Condition>>,
    orders: Option<Sender<Order>>,
    finished: Receiver<Finished>,
    in_flight: Option<InFlight>,
    /// What became of a save, until it is taken.
    untaken: Option<Finished>,
    worker: Option<JoinHandle<()>>,
}

/// What the thread is writing.
struct InFlight {
    name: String,
    score: Option<f64>,
}

impl Saver {
    /// Starts the thread.
    pub fn start(store: Arc<Store>) -> io::Result<Self> {
        let (orders, incoming) = channel();
        let (outgoing, finished) = channel();
        let worker = std::thread::Builder::new()
            .name("checkpoints".into())
            .spawn(move || {
                let mut worker = Worker { store, best: None };
                for order in incoming {
                    if outgoing.send(worker.carry_out(order)).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self {
            condition: None,
            orders: Some(orders),
            finished,
            in_flight: None,
            untaken: None,
            worker: Some(worker),
        })
    }

    /// Has [`Saver::offer`] save only what `condition` wants. It is asked once for each offer, in their order, and told
    /// of every checkpoint that is saved.
    pub fn when(mut self, condition: impl Condition + 'static) -> Self {
        self.condition = Some(Box::new(condition));
        self
    }

    /// As [`Saver::begin`], if the condition of [`Saver::when`] holds; only then is the state copied. Where there is a
    /// condition, it waits for the save in flight, whose outcome may decide.
    pub fn offer(
        &mut self,
        request: SaveRequest,
        retention: Option<Retention>,
    ) -> Result<Offered, CheckpointError> {
        if self.condition.is_some() {
            self.settle(Duration::MAX);
        }
        let wanted = match &mut self.condition {
            Some(condition) => condition.wants(&request),
            None => true,
        };
        if !wanted {
            return Ok(Offered::Declined);
        }
        let before = self.begin(request.snapshot()?, retention);
        Ok(Offered::Begun {
            before: before.map(Box::new),
        })
    }

    /// Whether a save is being written, or is written and was not taken yet.
    pub fn is_busy(&self) -> bool {
        self.in_flight.is_some() || self.untaken.is_some()
    }

    /// Hands over a checkpoint; `retention` is applied once it is durable. Waits for the save in
    /// flight, if there is one, and gives what became of it.
    pub fn begin(&mut self, job: SaveJob, retention: Option<Retention>) -> Option<Finished> {
        let before = self.wait();
        self.in_flight = Some(InFlight {
            name: job.name().to_owned(),
            score: job.score,
        });
        if let Some(orders) = &self.orders {
            // A thread that is gone is noticed by whoever waits for the result.
            let _ = orders.send(Order { job, retention });
        }
        before
    }

    /// What became of the save in flight, if it is done.
    pub fn poll(&mut self) -> Option<Finished> {
        self.take(Duration::ZERO)
    }

    /// Waits for the save in flight, if there is one, and gives what became of it.
    pub fn wait(&mut self) -> Option<Finished> {
        self.take(Duration::MAX)
    }

    fn take(&mut self, patience: Duration) -> Option<Finished> {
        self.settle(patience);
        self.untaken.take()
    }

    /// Gets what became of the save in flight, if it is done within `patience`, and tells the condition.
    fn settle(&mut self, patience: Duration) {
        let Some(in_flight) = self.in_flight.take() else {
            return;
        };
        let received = match patience {
            Duration::MAX => self
                .finished
                .recv()
                .map_err(|_| RecvTimeoutError::Disconnected),
            patience => self.finished.recv_timeout(patience),
        };
        let name = in_flight.name.clone();
        let finished = match received {
            Ok(finished) => finished,
            Err(RecvTimeoutError::Timeout) => {
                self.in_flight = Some(in_flight);
                return;
            }
            Err(RecvTimeoutError::Disconnected) => Finished {
                result: Err(CheckpointError::Unsavable {
                    what: name.clone(),
                    reason: "the thread that writes checkpoints has ended".into(),
                }),
                name,
                warnings: Vec::new(),
                deleted: Vec::new(),
                job: None,
                tries: 0,
                elapsed: Duration::ZERO,
            },
        };
        if let (Ok(_), Some(condition)) = (&finished.result, &mut self.condition) {
            condition.saved(in_flight.score);
        }
        self.untaken = Some(finished);
    }
}

impl Drop for Saver {
    /// Waits until the save in flight is written: a process that ends must not cut it off.
    fn drop(&mut self) {
        drop(self.orders.take());
        if let Some(worker) = self.worker.take() {
            // A panic of the thread was reported as a failed save.
            let _ = worker.join();
        }
    }
}

struct Worker {
    store: Arc<Store>,
    /// A checkpoint that `best` should point to and does not yet.
    best: Option<String>,
}

impl Worker {
    fn carry_out(&mut self, order: Order) -> Finished {
        let (started, name) = (Instant::now(), order.job.name().to_owned());
        let (mut warnings, mut deleted) = (Vec::new(), Vec::new());
        let mut tries = 1;
        let mut result = self.store.write(&order.job);
        for pause in PAUSES {
            match &result {
                Err(error) if error.may_pass() => std::thread::sleep(pause),
                _ => break,
            }
            tries += 1;
            result = self.store.write(&order.job);
        }
        // Committed and durable, and only a link stayed behind: that is a saved checkpoint.
        if let Err(CheckpointError::Link { .. }) = &result
            && let Err(error) = result
        {
            result = self.store.saved(&name);
            warnings.push(error);
        }
        if result.is_ok() {
            if order.job.set_best() {
                self.best = Some(name.clone());
            }
            // Usually the write has moved the link, and this finds it in place.
            if let Some(best) = &self.best {
                match self.store.set_best(best) {
                    Ok(()) => self.best = None,
                    Err(error) => warnings.push(error),
                }
            }
        }
        // Never before the new one is durable, and never while `best` lags behind.
        if let (Ok(_), Some(retention), None) = (&result, &order.retention, &self.best) {
            match self.store.retain(retention, &[]) {
                Ok(names) => deleted = names,
                Err(error) => warnings.push(error),
            }
        }
        warnings.extend(self.store.take_warnings());
        Finished {
            job: result.is_err().then_some(order.job),
            name,
            result,
            warnings,
            deleted,
            tries,
            elapsed: started.elapsed(),
        }
    }
}
