//! Nothing that is printed can end a training, and whoever asks it to stop is answered at once.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{Dir, assert_same_end, peaceful, text};

/// A pipe whose reader is gone.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

/// A disk without room.
fn full() -> Stdio {
    File::options()
        .write(true)
        .open("/dev/full")
        .unwrap()
        .into()
}

#[test]
fn a_run_whose_words_nobody_takes_ends_the_same() {
    for (what, stdout, stderr) in [
        ("pipes without readers", closed(), closed()),
        ("a full disk", full(), full()),
    ] {
        let dir = Dir::new();
        let mut command = dir.command(&[]);
        let status = command.stdout(stdout).stderr(stderr).status().unwrap();
        assert!(status.success(), "{what}: {status}");
        assert_same_end(&peaceful(), &dir.runs()[0], what);
    }
}

#[test]
fn what_a_person_asked_to_see_ends_quietly_where_nobody_reads_it() {
    let dir = Dir::new();
    for args in [
        &["--help-config"][..],
        &["--completions", "zsh"],
        &["--dry-run"],
    ] {
        let run = |stdout: Stdio| {
            let mut command = dir.command(args);
            let output = command
                .stdout(stdout)
                .stderr(Stdio::piped())
                .output()
                .unwrap();
            assert!(!text(&output.stderr).contains("panicked"), "{args:?}");
            output.status.code()
        };
        assert_eq!((run(closed()), run(full())), (Some(0), Some(1)), "{args:?}");
    }
}

/// Waits until a run's log has a line.
fn begun(dir: &Dir) {
    let started = Instant::now();
    let lines = || {
        let runs = std::fs::read_dir(dir.path("out/test")).ok()?;
        let mut logs = runs.flatten().map(|run| run.path().join("metrics.jsonl"));
        logs.find(|log| std::fs::metadata(log).is_ok_and(|m| m.len() > 0))
    };
    while lines().is_none() && started.elapsed() < Duration::from_secs(120) {
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn signal(name: &str, process: u32) {
    let status = Command::new("kill")
        .args([name, &process.to_string()])
        .status();
    assert!(status.unwrap().success());
}

#[test]
fn a_hangup_that_comes_twice_saves_the_run_and_one_that_is_ignored_is_ignored() {
    let dir = Dir::new();
    let mut command = dir.command(&["--set", "warmup.generator_steps=100000"]);
    let child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    begun(&dir);
    // The terminal sends one, the shell another.
    signal("-HUP", child.id());
    signal("-HUP", child.id());
    let output = child.wait_with_output().unwrap();
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{told}");
    assert!(
        told.contains("stopping") && told.contains("interrupted; saved"),
        "{told}"
    );

    let dir = Dir::new();
    let train = dir.command(&[]);
    let words = train
        .get_args()
        .map(|word| word.to_str().unwrap().to_owned());
    let mut nohup = Command::new("sh");
    nohup
        .args(["-c", "trap '' HUP; exec \"$@\"", "sh"])
        .arg(train.get_program())
        .args(words);
    let child = nohup
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    begun(&dir);
    signal("-HUP", child.id());
    assert!(child.wait_with_output().unwrap().status.success());
    assert_same_end(
        &peaceful(),
        &dir.runs()[0],
        "after a hangup that was ignored",
    );
}

#[test]
fn a_measurement_is_left_at_once_and_made_up_for() {
    let dir = Dir::new();
    // Long enough that nobody would wait for it: chains of many tokens that never end by themselves.
    let long = [
        "--set",
        "problems.validation_problems=300",
        "--set",
        "problems.report_problems=2",
        "--set",
        "evaluation.sampled=300",
        "--set",
        "evaluation.closing=false",
        "--set",
        "warmup.generator_steps=1",
        "--set",
        "warmup.discriminator_steps=0",
        "--stages",
        "1",
    ];
    let mut command = dir.command(&long);
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let warm = lines
        .by_ref()
        .map(Result::unwrap)
        .find(|line| line.contains(": 1/1"));
    assert!(warm.is_some());
    std::thread::sleep(Duration::from_millis(500));
    let asked = Instant::now();
    signal("-TERM", child.id());
    let told: Vec<String> = lines.map(Result::unwrap).collect();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(130), "{told:?}");
    assert!(
        told.iter().any(|line| line.contains("stopping")),
        "{told:?}"
    );
    assert!(
        told.iter()
            .any(|line| line.contains("emergency_step_000001")),
        "{told:?}"
    );
    assert!(asked.elapsed() < Duration::from_secs(20), "{told:?}");
}

#[test]
fn a_configuration_and_a_folder_with_names_that_are_no_text_are_taken() {
    use std::ffi::{OsStr, OsString};
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let dir = Dir::new();
    let odd = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    let folder = dir.root.join(odd(b"dir_\xe9"));
    std::fs::create_dir(&folder).unwrap();
    let config = super::CONFIG
        .replace("OUT", "out")
        .replace("PROBLEMS", "../problems");
    let file = odd(b"caf\xe9.yaml");
    std::fs::write(folder.join(&file), config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_train"));
    command.arg("--config").arg(&file).current_dir(&folder);
    let output = command.arg("--stages").arg("1").output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let run = std::fs::read_dir(folder.join("out/test"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let whole = run.path().join("checkpoints/step_000100");

    // A run that is stopped prints a command that a shell reads back.
    let mut command = Command::new(env!("CARGO_BIN_EXE_train"));
    command.arg("--config").arg(&file).current_dir(&folder);
    command
        .args(["--set", "warmup.generator_steps=100000", "--resume"])
        .arg(&whole);
    let child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while std::fs::read_dir(folder.join("out/test")).unwrap().count() < 2 {
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_secs(1));
    signal("-INT", child.id());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    let told = output.stderr.split(|&byte| byte == b'\n');
    let command = told
        .filter_map(|line| line.strip_prefix(b"go on with: "))
        .next()
        .unwrap();
    let rest = b" --set warmup.generator_steps=1 --stages 1 --set evaluation.closing=false";
    let pasted = [command, rest].concat();
    let output = Command::new("sh")
        .arg("-c")
        .arg(OsStr::from_bytes(&pasted))
        .current_dir(&folder)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}
