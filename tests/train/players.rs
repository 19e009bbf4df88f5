//! Several players of a role: each has its own files and figures, all pairs meet, and a resumed run ends the same.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use gauntlet::checkpoint::{Checkpoint, DISCRIMINATOR, GENERATOR};
use serde_json::Value as Json;
use tch::Tensor;

use super::{CONFIG, Dir, assert_same_end, peaceful, read, text};

/// What makes of [`CONFIG`] a run of two players of each role, whose checkpoints say so, and in which all four learn.
const TWO: [(&str, &str); 5] = [
    (
        "run:",
        "players: {generators: 2, discriminators: 2}\nsampling: {temperature: 0.7}\n\
         evaluation: {closing: false}\nrun:",
    ),
    ("discriminator_steps: 30", "discriminator_steps: 10"),
    (
        "problems_per_step: 2, group_size: 2",
        "problems_per_step: 3, group_size: 4",
    ),
    ("[1, 1, 1, 1, 3]", "[1, 1, 1, 1, 4]"),
    ("eval_every: 0", "eval_every: 2, name_players: true"),
];

/// The players of [`TWO`] by name.
const NAMES: [&str; 4] = [
    "generator_0",
    "generator_1",
    "discriminator_0",
    "discriminator_1",
];

fn two_of_each() -> Dir {
    let dir = Dir::new();
    let mut config = std::fs::read_to_string(dir.path("test.yaml")).unwrap();
    for (one, two) in TWO {
        assert!(CONFIG.contains(one), "{one}");
        config = config.replacen(one, two, 1);
    }
    std::fs::write(dir.path("test.yaml"), config).unwrap();
    dir
}

fn weights(checkpoint: &Checkpoint, player: &str) -> Vec<(String, Tensor)> {
    let file = checkpoint.player(player).unwrap();
    file.model_state_dict().unwrap()
}

fn checkpoints(dir: &Dir, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_checkpoints"));
    let place = ["--outputs", &dir.path("out")].map(str::to_owned);
    let output = command.args(args).args(place).current_dir(&dir.root);
    output.output().unwrap()
}

/// Fails unless the command was refused as wrong usage, with these words.
#[track_caller]
fn assert_refused(output: &Output, code: i32, words: &str) {
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{message}");
    assert!(message.contains(words), "{words} in {message}");
}

#[test]
fn several_players_train_and_resume_exactly() {
    let dir = two_of_each();
    let output = dir.train(&[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let whole = dir.runs().remove(0);
    files_are_named_after_their_players(&whole);
    figures_are_kept_for_each_player(&whole);
    every_pair_meets(&whole);
    the_tools_choose_by_number(&dir);

    // From within the generators' warm-up and from the middle of the last stage; names need not tell of the players.
    for from in ["step_000200", "step:326"] {
        let output = dir.train(&["--resume", from]);
        assert!(output.status.success(), "{from}: {}", text(&output.stderr));
        assert_same_end(&whole, &dir.runs().pop().unwrap(), from);
    }
    let output = dir.train(&["--resume", "stage_2", "--set", "players.generators=3"]);
    assert_refused(&output, 1, "players.generators was 2 there and is 3 here");
    let output = dir.train(&["--init-from", "stage_2", "--set", "players.generators=3"]);
    assert_refused(&output, 1, "has 2 generators, and players.generators is 3");
}

fn files_are_named_after_their_players(run: &Path) {
    let checkpoint = |name: &str| Checkpoint::open(&run.join("checkpoints").join(name)).unwrap();
    for name in [
        "stage_0_g2_d2",
        "stage_5_g2_d2",
        "step_000326_g2_d2",
        "final",
    ] {
        assert_eq!(checkpoint(name).players(), NAMES, "{name}");
    }
    let warm = checkpoint("stage_0_g2_d2");
    for role in [GENERATOR, DISCRIMINATOR] {
        let [one, other] = [0, 1].map(|number| weights(&warm, &format!("{role}_{number}")));
        assert_ne!(one, other, "{role}");
    }
    // The first is warmed up as the only one is, whoever else there is.
    let alone = Checkpoint::open(&peaceful().join("checkpoints/stage_0")).unwrap();
    assert_eq!(weights(&warm, "generator_0"), weights(&alone, GENERATOR));
    let usage = &warm.manifest().usage;
    assert!(
        usage.iter().any(|line| line.contains("generator_0.pt")),
        "{usage:?}"
    );
}

fn figures_are_kept_for_each_player(run: &Path) {
    let metrics: Json = serde_json::from_str(&read(run, "checkpoints/final/metrics.json")).unwrap();
    let state = read(run, "checkpoints/final/trainer_state.json");
    let state: Json = serde_json::from_str(&state).unwrap();
    for (role, warmup) in [(GENERATOR, 150), (DISCRIMINATOR, 10)] {
        let each = [0, 1].map(|number| &metrics["players"][format!("{role}_{number}")]);
        for figure in ["episodes", "wins", "updates"] {
            let [one, other] = each.map(|player| player[figure].as_u64().unwrap());
            assert_eq!(metrics[role][figure], one + other, "{role}: {figure}");
        }
        let learnt = |player: &&Json| player["updates"].as_u64() > Some(warmup);
        assert!(each.iter().all(learnt), "{metrics:#}");
        // In the trainer's state, too.
        let sum = &state["players"][format!("{role}_1")]["reward_sum"];
        assert!(
            sum.is_f64() && state[role]["reward_sum"].is_f64(),
            "{state:#}"
        );
    }
    let theirs = &metrics["players"]["discriminator_1"];
    assert!(theirs["attack_validity"].is_f64(), "{theirs:#}");

    let validation = &metrics["validation"];
    let passed = |number: &Json| {
        let name = format!("generator_{number}");
        validation["players"][name]["pass_at_1"].as_f64().unwrap()
    };
    let best = passed(&validation["generator"]);
    assert_eq!(validation["pass_at_1"], best, "{validation:#}");
    assert!(best >= passed(&0.into()) && best >= passed(&1.into()));
    assert!(validation["discriminator"].is_u64(), "{validation:#}");
}

fn every_pair_meets(run: &Path) {
    let lines = read(run, "metrics.jsonl");
    let lines: Vec<Json> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let played = |line: &Json| {
        let number = |role: &str| line[role]["player"].as_f64().map(|number| number as u64);
        Some((number(GENERATOR)?, number(DISCRIMINATOR)?))
    };
    let pairs: Vec<(u64, u64)> = lines.iter().filter_map(played).collect();
    assert_eq!(pairs.len(), 8);
    for round in pairs.chunks(4) {
        assert_eq!(round.iter().collect::<BTreeSet<_>>().len(), 4, "{pairs:?}");
    }
    // In warm-up each has as many steps as the only one of a role would have.
    let warm = |loss: &str, number: f64| {
        let own = |line: &&Json| line.get(loss).is_some() && line["player"] == number;
        lines.iter().filter(own).count()
    };
    assert_eq!([0.0, 1.0].map(|n| warm("generator_loss", n)), [150, 150]);
    assert_eq!([0.0, 1.0].map(|n| warm("discriminator_loss", n)), [10, 10]);
    // Within a stage every generator is validated.
    let quick = lines.iter().find(|line| line.get("validation").is_some());
    let players = &quick.expect("a validation")["validation"]["players"];
    assert_eq!(players.as_object().unwrap().len(), 2, "{players}");
}

fn the_tools_choose_by_number(dir: &Dir) {
    let shown = checkpoints(dir, &["inspect", "final", "--generator", "1", "--json"]);
    let shown: Json = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown["players"].as_array().unwrap().len(), 1);
    assert_eq!(shown["players"][0]["name"], "generator_1");
    let wrong = "has no generator 2; it has 0 (generator_0.pt), 1 (generator_1.pt)";
    let inspect = ["inspect", "stage_5", "--generator", "2"];
    assert_refused(&checkpoints(dir, &inspect), 2, wrong);
    let export = ["export", "stage_5", "--generator", "2", "--to", "wrong"];
    assert_refused(&checkpoints(dir, &export), 2, wrong);

    let mut exported = Vec::new();
    for number in ["0", "1"] {
        let to = dir.path(&format!("generator-{number}"));
        let args = ["export", "final", "--generator", number, "--to", &to];
        let output = checkpoints(dir, &args);
        assert!(output.status.success(), "{}", text(&output.stderr));
        exported.push(std::fs::read(Path::new(&to).join("model.safetensors")).unwrap());
    }
    assert!(exported[0] != exported[1]);
}

#[test]
fn all_players_of_a_role_begin_with_those_of_another_run() {
    let dir = two_of_each();
    let one = peaceful().join("checkpoints/final");
    let from = ["--init-from", one.to_str().unwrap()];
    let short = [
        "warmup.generator_steps=0",
        "warmup.discriminator_steps=0",
        "checkpoint.checkpoint_on_start=true",
    ];
    let short: Vec<&str> = short.iter().flat_map(|set| ["--set", *set]).collect();
    let train = |args: &[&str]| {
        let output = dir.train(&[args, &short, &["--stages", "1"]].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        let begun = dir.runs().pop().unwrap();
        Checkpoint::open(&begun.join("checkpoints/step_000000_g2_d2")).unwrap()
    };
    let begun = train(&from);
    let one = Checkpoint::open(&one).unwrap();
    for name in NAMES {
        let role = name.split('_').next().unwrap();
        assert_eq!(weights(&begun, name), weights(&one, role), "{name}");
    }
    // Two of one run into two of another, one role alone.
    let last = begun.path().with_file_name("final");
    let role = ["--init-role", "generator"];
    let begun = train(&[&["--init-from", last.to_str().unwrap()][..], &role].concat());
    let last = Checkpoint::open(&last).unwrap();
    for name in &NAMES[..2] {
        assert_eq!(weights(&begun, name), weights(&last, name), "{name}");
    }
    assert_ne!(weights(&begun, NAMES[3]), weights(&last, NAMES[3]));
}

#[test]
fn one_player_of_each_role_is_not_numbered() {
    let last = peaceful().join("checkpoints/final");
    assert_eq!(
        Checkpoint::open(&last).unwrap().players(),
        [GENERATOR, DISCRIMINATOR]
    );
    let metrics: Json = serde_json::from_str(&read(&last, "metrics.json")).unwrap();
    let state: Json = serde_json::from_str(&read(&last, "trainer_state.json")).unwrap();
    assert!(metrics.get("players").is_none() && state.get("players").is_none());
    for key in ["generator", "players"] {
        assert!(metrics["validation"].get(key).is_none(), "{key}");
    }
    assert!(!read(&peaceful(), "metrics.jsonl").contains("player"));
}
