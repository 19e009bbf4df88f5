//! Copies of checkpoints in an object store, made beside training.

use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{Dir, assert_same_end, peaceful, text};
use crate::checkpoint::s3::S3Server;

const AT: &str = "s3://bucket/runs";

impl Dir {
    /// `train` with access to a server.
    fn command_to(&self, server: &S3Server, args: &[&str]) -> Command {
        let mut command = self.command(args);
        server.open_to(&mut command, &self.root.join("cache"));
        command
    }
}

#[test]
fn another_machine_goes_on_from_the_bucket_and_ends_the_same() {
    let server = S3Server::start();
    let copies = format!("checkpoint.checkpoint_dir={AT}");
    let first = Dir::new();
    let args = ["--set", &copies, "--set", "checkpoint.keep_last=1"];
    let output = first.command_to(&server, &args).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let run = first.runs().remove(0);
    let stamp = run.file_name().unwrap().to_str().unwrap().to_owned();
    let names = |dir: &std::path::Path| {
        let entries = std::fs::read_dir(dir.join("checkpoints")).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.path().join("manifest.json").is_file())
            .filter(|entry| entry.file_type().unwrap().is_dir())
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(
        names(&server.file(&format!("runs/test/{stamp}"))),
        names(&run),
        "retention holds in the bucket as well"
    );

    let second = Dir::new();
    let from = format!("{AT}/test/{stamp}/checkpoints/stage_2");
    let output = second
        .command_to(&server, &["--resume", &from])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_same_end(&peaceful(), &second.runs()[0], "from the bucket");

    // Names are looked up there where this machine has none of its own.
    let third = Dir::new();
    let output = third
        .command_to(
            &server,
            &["--resume", "auto", "--dry-run", "--set", &copies],
        )
        .output()
        .unwrap();
    let told = text(&output.stderr);
    assert!(output.status.success(), "{told}");
    assert!(
        told.contains(&format!("resuming {AT}/test/{stamp}/checkpoints/final")),
        "{told}"
    );
}

#[test]
fn a_store_that_dies_costs_no_training() {
    let server = S3Server::start();
    let dir = Dir::new();
    let copies = format!("checkpoint.checkpoint_dir={AT}");
    let child = dir
        .command_to(&server, &["--set", &copies])
        .stderr(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    while !server.file("runs/test").is_dir() {
        assert!(Instant::now() < deadline, "nothing was copied");
        std::thread::sleep(Duration::from_millis(20));
    }
    server.faults.dead.store(true, Ordering::Relaxed);
    let output = child.wait_with_output().unwrap();
    let told = text(&output.stderr);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("checkpoints were not copied"), "{told}");
    let run = dir.runs().remove(0);
    assert!(run.join("checkpoints/final/manifest.json").is_file());

    // The command that it names brings over the rest.
    let backup = format!("checkpoints backup {AT} --run {}", run.display());
    assert!(told.contains(&backup), "{told}");
    server.faults.dead.store(false, Ordering::Relaxed);
    let mut command = Command::new(env!("CARGO_BIN_EXE_checkpoints"));
    command
        .args(backup.split(' ').skip(1))
        .current_dir(&dir.root);
    let output = server
        .open_to(&mut command, &dir.root.join("cache"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let stamp = run.file_name().unwrap().to_str().unwrap().to_owned();
    let copy = format!("runs/test/{stamp}/checkpoints/final/manifest.json");
    assert!(server.file(&copy).is_file());

    // A store that does not answer is told before any training.
    server.faults.dead.store(true, Ordering::Relaxed);
    let output = dir
        .command_to(&server, &["--set", &copies])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(
        text(&output.stderr).contains(&format!("cannot reach {AT}")),
        "{}",
        text(&output.stderr)
    );
}
