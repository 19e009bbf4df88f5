//! Every command of docs/checkpoints.md, run in the order of the page.

use std::path::Path;
use std::process::Command;

use gauntlet::checkpoint::{Runs, Store};

use super::command::crowded;

/// The lines of the page's blocks of this kind: `sh`, or `sh http` for those that need a run that serves.
pub(crate) fn commands<'p>(page: &'p str, kind: &str) -> Vec<&'p str> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in page.lines() {
        match line {
            _ if line.strip_prefix("```") == Some(kind) => inside = true,
            "```" => inside = false,
            command if inside => found.push(command),
            _ => {}
        }
    }
    found
}

#[test]
fn every_command_of_the_guide_does_what_it_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/checkpoints.md")).unwrap();
    let dir = crowded();
    // The guide speaks of one run: the crowded one.
    let outputs = dir.path().join("outputs");
    for run in Runs::new(&outputs).list(None).unwrap() {
        if !run.ends_with("20251122_095803") {
            std::fs::remove_dir_all(run).unwrap();
        }
    }
    std::fs::create_dir(dir.path().join("configs")).unwrap();
    for file in ["tiny.yaml", "tokenizer.json"] {
        std::fs::copy(
            root.join("configs").join(file),
            dir.path().join("configs").join(file),
        )
        .unwrap();
    }
    let commands = commands(&page, "sh");
    assert!(commands.len() > 15, "{commands:?}");
    for line in commands {
        // Only a run that trains is asked for a checkpoint.
        let training = line.starts_with("checkpoints save").then(|| {
            let newest = Runs::new(&outputs).newest().unwrap();
            Store::create(&newest.unwrap()).unwrap()
        });
        let mut words = line.split(' ');
        let mut command = match words.next() {
            Some("checkpoints") => Command::new(env!("CARGO_BIN_EXE_checkpoints")),
            // Everything but the training itself: the checkpoint is found and verified, the settings are checked.
            Some("train") => {
                let mut train = Command::new(env!("CARGO_BIN_EXE_train"));
                train.arg("--dry-run");
                train
            }
            other => panic!("{line}: no test knows how to run {other:?}"),
        };
        let output = command
            .args(words)
            .current_dir(dir.path())
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {stderr}");
        drop(training);
    }
}
