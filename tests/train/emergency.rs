//! What stops a run leaves a checkpoint and the command to go on, or says why not.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use gauntlet::checkpoint::{
    Checkpoint, CheckpointKind, LocalStorage, PlayerState, SaveRequest, Storage, Store,
};
use gauntlet::config::Config;
use gauntlet::error::TrainError;
use gauntlet::run::{Ending, Observer, Session};
use tch::no_grad;

use super::{Dir, assert_same_end, peaceful, text};
use crate::checkpoint::faulty::{Faulty, Held};

/// Calls back at the steps of the last stage, and at notes.
struct Watching<'f> {
    in_last: bool,
    step: Box<dyn FnMut(u64) + 'f>,
    note: Box<dyn FnMut(&str) + 'f>,
}

impl Observer for Watching<'_> {
    fn phase(&mut self, label: &str, _: u64, _: u64) {
        self.in_last = label.starts_with("stage 5");
    }

    fn step(&mut self, done: u64, _: &str) {
        if self.in_last {
            (self.step)(done);
        }
    }

    fn note(&mut self, message: &str) {
        (self.note)(message);
    }
}

/// Trains within this process.
fn train(
    dir: &Dir,
    sets: &[&str],
    storage: Arc<dyn Storage>,
    observer: &mut Watching,
) -> Result<Ending, TrainError> {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    let config = Config::load(Some(Path::new(&dir.path("test.yaml"))), &sets).unwrap();
    let interrupted = Arc::new(AtomicBool::new(false));
    Session::open_on(storage, config, None, None, interrupted, observer)?.run()
}

#[test]
fn a_panic_saves_the_state_and_the_run_that_goes_on_ends_the_same() {
    let dir = Dir::new();
    let mut observer = Watching {
        in_last: false,
        step: Box::new(|done| assert!(done < 2, "the test's own panic")),
        note: Box::new(|_| {}),
    };
    let error = train(&dir, &[], Arc::new(LocalStorage), &mut observer).unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("a step panicked: the test's own panic"),
        "{message}"
    );
    let saved = error.resume_from().expect("an emergency checkpoint");
    assert!(
        message.contains(&saved.display().to_string()),
        "{message}: {}",
        saved.display()
    );
    let checkpoint = Checkpoint::open(saved).unwrap();
    assert_eq!(checkpoint.manifest().kind, CheckpointKind::Emergency);
    assert!(checkpoint.verify().is_empty());

    let output = dir.train(&["--resume", saved.to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let resumed = dir.runs().pop().unwrap();
    assert_same_end(&peaceful(), &resumed, "after a panic");
}

#[test]
fn a_checkpoint_that_is_due_while_one_is_written_is_left_out_if_so_configured() {
    let dir = Dir::new();
    let faulty = Faulty::default();
    let held = std::cell::RefCell::new(None::<Held>);
    let left_out = std::cell::RefCell::new(BTreeSet::new());
    let mut observer = Watching {
        in_last: false,
        step: Box::new(|done| {
            if done == 1 {
                *held.borrow_mut() = Some(faulty.hold());
            }
        }),
        note: Box::new(|message| {
            if let Some((name, _)) = message.split_once(" is left out: ") {
                let name = name.strip_prefix("checkpoint ").unwrap_or(name);
                left_out.borrow_mut().insert(name.to_owned());
                *held.borrow_mut() = None;
            }
        }),
    };
    let sets = [
        "checkpoint.when_busy=skip",
        "evaluation.closing=false",
        "stages.first=5",
    ];
    let ending = train(&dir, &sets, Arc::new(faulty.clone()), &mut observer).unwrap();
    drop(observer);
    let Ending::Finished { last, .. } = ending else {
        panic!("{ending:?}");
    };
    // Of the three steps of the last stage the first two are followed by a periodic checkpoint.
    let store = Store::open(last.parent().unwrap()).unwrap();
    let listed = store.list().unwrap();
    let there: Vec<&str> = listed.iter().map(|item| item.name.as_str()).collect();
    let left_out = left_out.into_inner();
    assert!(!left_out.is_empty());
    for name in ["step_000181", "step_000182"] {
        assert_ne!(
            there.contains(&name),
            left_out.contains(name),
            "{name}: {there:?}"
        );
    }
    assert!(there.ends_with(&["stage_5", "final"]), "{there:?}");
    for item in &listed {
        assert!(store.load(&item.name).unwrap().verify().is_empty());
    }
}

/// A checkpoint in a run of its own that is step 100 of the peaceful one, but for what `change` does to the generator.
fn doctored(dir: &Dir, change: impl FnOnce(&mut PlayerState)) -> PathBuf {
    let run = PathBuf::from(dir.path("out/doctored/20260101_000000"));
    std::fs::create_dir_all(&run).unwrap();
    for log in ["metrics.jsonl", "timings.jsonl", "samples.jsonl"] {
        std::fs::copy(peaceful().join(log), run.join(log)).unwrap();
    }
    let whole = Checkpoint::open(&peaceful().join("checkpoints/step_000100")).unwrap();
    let mut generator = whole.generator().unwrap().state().unwrap();
    change(&mut generator);
    let discriminator = whole.discriminator().unwrap().state().unwrap();
    let manifest = whole.manifest();
    let request = SaveRequest {
        name: "doctored".into(),
        kind: CheckpointKind::Full,
        stage: manifest.stage,
        step: manifest.step,
        score: None,
        players: vec![
            ("generator".into(), generator),
            ("discriminator".into(), discriminator),
        ],
        metrics: whole.metrics().unwrap(),
        training_config: whole.training_config().unwrap(),
        trainer_state: whole.trainer_state().unwrap(),
        mistake_book: whole.mistake_book().unwrap(),
        own_chains: whole.own_chains().unwrap(),
        tokenizer: whole.tokenizer().unwrap(),
        prompts: whole.prompts().unwrap(),
        parent: None,
        tags: Default::default(),
        set_best: false,
    };
    Store::create(&run).unwrap().save(request).unwrap().path
}

/// The mean gradient of the last norm's gains, as AdamW will apply it in the next step. What it makes of the gains is
/// seen by the step after that.
fn push_gains(generator: &mut PlayerState, by: f64) {
    let moments = &mut generator.optimizer.as_mut().unwrap().groups[0].params;
    let gains = moments
        .iter_mut()
        .find(|moments| moments.name == "model.norm.weight")
        .unwrap();
    no_grad(|| {
        let _ = gains.exp_avg.fill_(-by);
        let _ = gains.exp_avg_sq.fill_(0.0);
    });
}

/// The error's text and the checkpoint that the printed command goes on from.
fn stopped(dir: &Dir, from: &Path) -> (String, PathBuf) {
    let output = dir.train(&["--resume", from.to_str().unwrap()]);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    let command = message.split("go on with: ").nth(1).unwrap_or_default();
    let command = command.lines().next().unwrap_or_default();
    let path = command.split(" --resume ").nth(1).expect(&message).into();
    (message, path)
}

#[test]
fn gradients_that_overflow_end_the_run_with_the_state_before() {
    let dir = Dir::new();
    // Finite gains, so large that squares of gradients are not.
    let from = doctored(&dir, |generator| push_gains(generator, 1e25));
    let (message, saved) = stopped(&dir, &from);
    assert!(message.contains("gradient"), "{message}");
    assert!(saved.ends_with("emergency_step_000101"), "{message}");
    let checkpoint = Checkpoint::open(&saved).unwrap();
    assert!(checkpoint.verify().is_empty());
    let weights = checkpoint.generator().unwrap().model_state_dict().unwrap();
    assert!(weights.iter().all(|(_, w)| bool_all(&w.isfinite())));
}

#[test]
fn weights_that_are_not_finite_are_never_saved_and_the_command_names_the_checkpoint_before() {
    let dir = Dir::new();
    let from = doctored(&dir, |generator| push_gains(generator, 3e38));
    let (message, newest) = stopped(&dir, &from);
    assert!(
        message.contains("model.norm.weight has values that are infinite or not a number"),
        "{message}"
    );
    assert_eq!(newest, from, "{message}");
    // Nothing was committed, and nothing of the attempt is left.
    let run = dir.runs().pop().unwrap();
    let names: Vec<String> = std::fs::read_dir(run.join("checkpoints"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names, [".lock"]);
}

fn bool_all(tensor: &tch::Tensor) -> bool {
    tensor.all().int64_value(&[]) == 1
}
