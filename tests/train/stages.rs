//! What a resumed run plays is what is planned and was not played.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Dir, read, text};

/// Steps of the game in a run's log, by stage.
fn steps(run: &Path) -> Vec<(u64, usize)> {
    let mut steps: BTreeMap<u64, usize> = BTreeMap::new();
    let mut seen = Vec::new();
    for line in read(run, "metrics.jsonl").lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let stage = line["stage"].as_u64().unwrap_or(0);
        if line["generator"].is_object() && stage > 0 {
            *steps.entry(stage).or_default() += 1;
            seen.push(line["step"].as_u64().unwrap());
        }
    }
    assert!(seen.is_sorted_by(|a, b| a < b), "no step twice: {seen:?}");
    steps.into_iter().collect()
}

#[test]
fn a_run_that_is_over_goes_on_with_what_is_missing() {
    let dir = Dir::new();
    let short = [
        "warmup.generator_steps=4",
        "warmup.discriminator_steps=2",
        "evaluation.closing=false",
    ];
    let short: Vec<&str> = short.iter().flat_map(|set| ["--set", set]).collect();
    type Case<'a> = (&'a [&'a str], &'a [(u64, usize)]);
    let cases: [Case; 6] = [
        (
            &["--stages", "1", "--set", "stages.steps=[4,1,1,1,3]"],
            &[(1, 4)],
        ),
        (
            &["--resume", "final", "--set", "stages.steps=[4,1,0,0,1]"],
            &[(1, 4), (2, 1), (5, 1)],
        ),
        (
            &["--resume", "final", "--set", "stages.steps=[4,1,1,1,3]"],
            &[(1, 4), (2, 1), (3, 1), (4, 1), (5, 3)],
        ),
        (
            &["--resume", "final", "--set", "stages.steps=[4,1,1,1,3]"],
            &[(1, 4), (2, 1), (3, 1), (4, 1), (5, 3)],
        ),
        (
            &["--resume", "auto", "--set", "stages.steps=[4,3,1,1,3]"],
            &[(1, 4), (2, 3), (3, 1), (4, 1), (5, 3)],
        ),
        (
            &[
                "--resume",
                "final",
                "--stages",
                "1-2",
                "--set",
                "stages.steps=[1,1,1,1,1]",
            ],
            &[(1, 4), (2, 3), (3, 1), (4, 1), (5, 3)],
        ),
    ];
    for (args, expected) in cases {
        let output = dir.train(&[&short[..], args].concat());
        assert!(
            output.status.success(),
            "{args:?}: {}",
            text(&output.stderr)
        );
        let newest = gauntlet::checkpoint::Runs::new(dir.path("out")).newest();
        let run = newest.unwrap().unwrap();
        assert_eq!(steps(&run), expected, "{args:?}");
        assert!(run.join("checkpoints/final/manifest.json").is_file());
    }
}
