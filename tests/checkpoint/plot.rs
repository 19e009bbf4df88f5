//! Charts of progress: what is drawn is what the logs say.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use gauntlet::checkpoint::{Runs, Store};
use serde_json::{Value, json};

use super::command::{checkpoints, stdout};
use super::request;

/// The colours of the first two runs.
const COLOURS: [[u8; 3]; 2] = [[0, 114, 178], [213, 94, 0]];

/// Two runs of 50 steps; the first was killed while it wrote a line.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (number, name) in (0..).zip(["first", "second"]) {
        let stamp = UNIX_EPOCH + Duration::from_secs(1_763_805_483 + number);
        let run = Runs::new(dir.path().join("outputs"))
            .start(name, stamp)
            .unwrap();
        let store = Store::create(&run).unwrap();
        store.save(request("step_000010", 10, Some(0.25))).unwrap();
        store.save(request("step_000020", 20, None)).unwrap();
        let mut log = String::new();
        for step in 1..=50_u64 {
            let reward = number as f64 + step as f64 / 100.0;
            let mut line = json!({"step": step, "stage": 5, "generator": {"reward": reward}});
            if step % 2 == 0 {
                line["discriminator"] = json!({"reward": -reward, "kill_rate": 0.5});
            }
            log += &format!("{line}\n");
            // The checkpoint of that step was pruned.
            if step == 30 {
                let within = json!({"step": step, "stage": 5, "validation": {"pass_at_1": 0.5}});
                log += &format!("{within}\n");
            }
        }
        let after = json!({
            "step": 50, "after": "5 Executable Python",
            "evaluation": {"pass_at_1": 0.75, "bank_kill_rate": null},
        });
        log += &format!("{after}\n");
        if number == 0 {
            log += "{\"step\":51,\"gener";
        }
        fs::write(run.join("metrics.jsonl"), log).unwrap();
    }
    dir
}

#[test]
fn the_series_are_those_of_logs_and_checkpoints() {
    let dir = folder();
    let text = stdout(&checkpoints(dir.path(), &["plot", "--all", "--json"]), 0);
    let json: Value = serde_json::from_str(&text).unwrap();
    let runs = json["runs"].as_array().unwrap();
    let labels: Vec<&Value> = runs.iter().map(|run| &run["label"]).collect();
    assert_eq!(
        labels,
        ["second/20251122_095804", "first/20251122_095803"],
        "the newest first, as in list"
    );
    let first = runs[1]["series"].as_array().unwrap();
    let of = |name: &str| {
        let series = first.iter().find(|series| series["name"] == name);
        series.unwrap_or_else(|| panic!("{name} in {json:#}"))
    };
    assert_eq!(first.len(), 4, "a series without points is none: {json:#}");
    assert_eq!(
        of("pass_at_1")["points"],
        json!([[10, 0.25], [30, 0.5], [50, 0.75]])
    );
    assert_eq!(of("generator.reward")["points"][49], json!([50, 0.5]));
    assert_eq!(of("generator.reward")["panel"], "reward");
    assert_eq!(of("discriminator.reward")["points"][0], json!([2, -0.02]));
    let kills = of("kill_rate")["points"].as_array().unwrap();
    assert_eq!((kills.len(), &kills[0]), (25, &json!([2, 0.5])));
    assert!(
        fs::read_dir(dir.path()).unwrap().count() == 1,
        "no file was asked for"
    );
}

fn is_dark(pixel: &[u8]) -> bool {
    pixel.iter().all(|channel| *channel < 100)
}

#[test]
fn a_png_holds_every_run_and_its_name_without_any_font_of_the_system() {
    let dir = folder();
    let names = ["first/20251122_095803", "second/20251122_095804"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_checkpoints"));
    command
        .args(["plot", names[0], names[1], "--to", "a.png"])
        .env_clear()
        .env(
            "LD_LIBRARY_PATH",
            std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default(),
        )
        .current_dir(dir.path());
    assert_eq!(stdout(&command.output().unwrap(), 0), "a.png\n");
    let decoder = png::Decoder::new(std::io::BufReader::new(
        fs::File::open(dir.path().join("a.png")).unwrap(),
    ));
    let mut reader = decoder.read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let frame = reader.next_frame(&mut pixels).unwrap();
    let (width, height) = (frame.width as usize, frame.height as usize);
    assert_eq!(pixels.len(), width * height * 3);
    let pixel = |x: usize, y: usize| &pixels[3 * (y * width + x)..][..3];
    for colour in COLOURS {
        // Lines of 50 steps in the reward's panel, not just the mark in the legend.
        let columns = (0..width - 250)
            .filter(|x| (0..height / 3).any(|y| pixel(*x, y) == colour))
            .count();
        assert!(columns > 500, "{colour:?} in {columns} columns");
    }
    let letters = (width - 200..width)
        .flat_map(|x| (0..100).map(move |y| (x, y)))
        .filter(|(x, y)| is_dark(pixel(*x, *y)))
        .count();
    assert!(letters > 200, "{letters} dark pixels in the legend");
}

/// The points of the lines that an SVG has in a colour.
fn lines(svg: &str, colour: &str) -> Vec<usize> {
    let lines = svg.split("<polyline ").skip(1);
    let lines = lines.map(|rest| rest.split("/>").next().unwrap());
    let lines = lines.filter(|line| line.contains(colour));
    lines
        .map(|line| {
            let points = line.split("points=\"").nth(1).unwrap();
            points.split('"').next().unwrap().split_whitespace().count()
        })
        .collect()
}

#[test]
fn an_svg_holds_every_point_and_is_well_formed() {
    let dir = folder();
    let said = stdout(&checkpoints(dir.path(), &["plot", "--all"]), 0);
    assert_eq!(said, "progress.png\nprogress.svg\n");
    assert!(dir.path().join("progress.png").exists());
    let file = dir.path().join("progress.svg");
    let svg = fs::read_to_string(&file).unwrap();
    for colour in ["#0072B2", "#D55E00"] {
        let lines = lines(&svg, colour);
        // The generator's reward, and the three validations.
        assert!(lines.contains(&50) && lines.contains(&3), "{lines:?}");
        // Dashes of the discriminator's reward.
        assert!(lines.len() > 10, "{lines:?}");
    }
    for text in [
        "first/20251122_095803",
        "second/20251122_095804",
        "pass@1",
        "Kill rate",
        "step",
    ] {
        assert!(svg.contains(text), "{text}");
    }
    let parsed = Command::new("python3")
        .args([
            "-c",
            "import sys, xml.dom.minidom as m; m.parse(sys.argv[1])",
        ])
        .arg(&file)
        .output()
        .expect("python3 is there");
    assert!(parsed.status.success(), "{parsed:?}");
}

#[test]
fn what_cannot_be_drawn_is_told() {
    let dir = folder();
    let run = |args: &[&str]| {
        let output = checkpoints(dir.path(), &[&["plot"][..], args].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said)
    };
    let (code, said) = run(&["--to", "chart.jpg"]);
    assert!(
        code == Some(2) && said.contains("chart.jpg") && said.contains(".png"),
        "{said}"
    );
    let (code, said) = run(&["third/20251122_095803"]);
    assert!(code == Some(2) && said.contains("third"), "{said}");
    let (code, said) = run(&["--all", "--to", "not/there.svg"]);
    assert!(code == Some(1) && said.contains("not/there.svg"), "{said}");

    let empty = dir.path().join("outputs/none/20251122_095805");
    Store::create(&empty).unwrap();
    fs::write(
        empty.join("metrics.jsonl"),
        "{\"step\":1,\"generator_loss\":0.5}\n",
    )
    .unwrap();
    let (code, said) = run(&["none/20251122_095805"]);
    assert!(
        code == Some(1) && said.contains("nothing to draw"),
        "{said}"
    );
    assert!(!Path::new(&dir.path().join("progress.png")).exists());
}
