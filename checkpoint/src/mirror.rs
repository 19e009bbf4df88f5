//! Copies of a run's checkpoints in another place, kept up to date beside training.
//!
//! Each round brings over what is missing there, whatever the rounds before have left undone, and the logs; then it
//! deletes what retention has deleted here. Nothing is waited for: what does not read is left out and told once. A place
//! that cannot be reached costs training nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::CheckpointError;
use super::object::is_url;
use super::prune::run_name;
use super::storage::{LocalStorage, Storage, storage_at};
use super::store::Store;
use super::transfer::{Transfer, transfer};

/// What became of a round.
#[derive(Debug)]
pub struct Mirrored {
    /// What was copied, or why not everything was.
    pub result: Result<Transfer, CheckpointError>,
    /// How long it took, on the mirror's thread.
    pub elapsed: Duration,
}

/// A thread that copies the checkpoints of one run to another directory of runs or to an object store.
pub struct Mirror {
    /// Names that retention has deleted since the round before.
    orders: Option<Sender<Vec<String>>>,
    rounds: Receiver<Mirrored>,
    worker: Option<JoinHandle<()>>,
}

impl Mirror {
    /// Starts the thread, once `to` is known to answer. `run` has the form `<outputs>/<run name>/<timestamp>`.
    pub fn start(run: &Path, to: &Path) -> Result<Self, CheckpointError> {
        let target = to.join(run_name(run));
        let outputs = run.parent().and_then(Path::parent);
        check_apart(outputs.unwrap_or(Path::new("..")), to)?;
        let (run, to) = (run.to_owned(), to.to_owned());
        let (orders, incoming) = channel::<Vec<String>>();
        let (outgoing, rounds) = channel();
        let worker = std::thread::Builder::new()
            .name("mirror".into())
            .spawn(move || {
                let (mut deleted, mut told) = (BTreeSet::new(), BTreeSet::new());
                while let Ok(order) = incoming.recv() {
                    // One round does for all that have come by now.
                    deleted.extend(order.into_iter().chain(incoming.try_iter().flatten()));
                    let started = Instant::now();
                    let result = round(&run, &to, &target, &mut deleted, &mut told);
                    let elapsed = started.elapsed();
                    if outgoing.send(Mirrored { result, elapsed }).is_err() {
                        return;
                    }
                }
            })
            .map_err(CheckpointError::io(
                "start a thread for",
                Path::new("the copies"),
            ))?;
        Ok(Self {
            orders: Some(orders),
            rounds,
            worker: Some(worker),
        })
    }

    /// Asks for a round; `deleted` are checkpoints that retention has deleted.
    pub fn update(&self, deleted: Vec<String>) {
        if let Some(orders) = &self.orders {
            // A thread that has panicked is seen by `finish`.
            let _ = orders.send(deleted);
        }
    }

    /// What became of the rounds that are done and were not taken yet.
    pub fn poll(&self) -> Vec<Mirrored> {
        self.rounds.try_iter().collect()
    }

    /// Asks for a last round, waits for it, and gives what became of it, with what the rounds before have left out that
    /// nobody took note of.
    pub fn finish(mut self) -> Mirrored {
        self.update(Vec::new());
        drop(self.orders.take());
        let merged = self.rounds.iter().reduce(|before, mut last| {
            if let (Ok(before), Ok(last)) = (before.result, &mut last.result) {
                last.skipped.splice(..0, before.skipped);
            }
            last
        });
        merged.unwrap_or_else(|| Mirrored {
            result: Err(CheckpointError::Unsavable {
                what: "copies of the checkpoints".into(),
                reason: "the thread that makes them has ended".into(),
            }),
            elapsed: Duration::ZERO,
        })
    }
}

impl Drop for Mirror {
    /// Waits for the round under way.
    fn drop(&mut self) {
        drop(self.orders.take());
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

/// Refuses a place for copies that cannot be had, or where the runs themselves are.
pub fn check_apart(outputs: &Path, to: &Path) -> Result<(), CheckpointError> {
    let storage = storage_at(to)?;
    storage
        .create_dir_all(to)
        .and_then(|()| storage.list(to))
        .map_err(CheckpointError::io("reach", to))?;
    let same = match is_url(to) {
        true => outputs == to,
        false => {
            let resolved = |dir: &Path| LocalStorage.resolve(dir).ok();
            resolved(outputs).is_some_and(|outputs| Some(outputs) == resolved(to))
        }
    };
    match same {
        true => Err(CheckpointError::invalid(
            to,
            "is where the runs themselves are: copies need another place",
        )),
        false => Ok(()),
    }
}

/// Brings over what is missing and deletes what retention has deleted. What cannot be read is told the first time.
fn round(
    run: &PathBuf,
    to: &Path,
    target: &Path,
    deleted: &mut BTreeSet<String>,
    told: &mut BTreeSet<PathBuf>,
) -> Result<Transfer, CheckpointError> {
    let mut done = transfer(std::slice::from_ref(run), None, to)?;
    done.skipped
        .retain(|skipped| told.insert(skipped.path.clone()));
    let store = Store::create(target)?;
    while let Some(name) = deleted.pop_first() {
        if store.path_of(&name).is_err() {
            continue;
        }
        if let Err(error) = store.delete(&name) {
            deleted.insert(name);
            return Err(error);
        }
    }
    Ok(done)
}
