//! Runs the tests, and closes with one line that counts all of them.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::places::Places;
use crate::shell;

/// A test that hangs would hold up everything behind it for ever; no test takes as long as this, nor does compiling all of
/// them on a slow machine.
const LONGEST_SILENCE: Duration = Duration::from_secs(40 * 60);

/// Builds the workspace, since tests start its binaries, and runs `cargo test`, of the whole workspace unless `args` say
/// otherwise.
pub fn run(places: &Places, args: &[OsString]) -> Result<ExitCode> {
    shell::step("cargo build --release --workspace");
    shell::run(places.cargo().args(["build", "--release", "--workspace"]))?;
    let mut test = places.cargo();
    test.args(["test", "--release", "--no-fail-fast"]);
    if args.is_empty() {
        test.arg("--workspace");
    }
    shell::step("cargo test --release");
    let mut child = test
        .args(args)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo test")?;
    let mut counts = Counts::default();
    let mut stdout = std::io::stdout().lock();
    let lines = lines_of(child.stdout.take().context("stdout is piped")?);
    loop {
        match lines.recv_timeout(LONGEST_SILENCE) {
            Ok(line) => {
                let mut line = line?;
                counts.add(&String::from_utf8_lossy(&line));
                line.push(b'\n');
                stdout.write_all(&line)?;
            }
            Err(RecvTimeoutError::Timeout) => {
                let minutes = LONGEST_SILENCE.as_secs() / 60;
                eprintln!("xtask: nothing ended for {minutes} minutes: the test binary is stopped");
                stop_children(child.id());
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let status = child.wait()?;
    writeln!(
        stdout,
        "\ntests: {} passed, {} failed, {} skipped",
        counts.passed, counts.failed, counts.ignored
    )?;
    if status.success() && counts.passed == 0 && args.is_empty() {
        anyhow::bail!("no test ran");
    }
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The lines that are printed to `output`, as they come.
fn lines_of(output: impl Read + Send + 'static) -> Receiver<std::io::Result<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n') {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

/// Kills what `cargo` (a process id) has started, so that it goes on with the next binary and reports this one as failed.
fn stop_children(cargo: u32) {
    let parent = cargo.to_string();
    if let Err(error) = Command::new("pkill")
        .args(["-KILL", "-P", &parent])
        .status()
    {
        eprintln!("xtask: cannot run pkill: {error}");
    }
}

/// The sums of the closing lines of all test binaries.
#[derive(Default)]
struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Counts {
    fn add(&mut self, line: &str) {
        let Some((_, counts)) = line
            .strip_prefix("test result: ")
            .and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        for part in counts.split("; ") {
            match part.split_once(' ') {
                Some((n, "passed")) => self.passed += n.parse().unwrap_or(0),
                Some((n, "failed")) => self.failed += n.parse().unwrap_or(0),
                Some((n, "ignored")) => self.ignored += n.parse().unwrap_or(0),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_silent_child_has_started_is_stopped() {
        let mut parent = Command::new("sh")
            .args(["-c", "sleep 600; echo stopped; true"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = lines_of(parent.stdout.take().unwrap());
        let line = loop {
            match lines.recv_timeout(Duration::from_millis(200)) {
                Ok(line) => break line.unwrap(),
                Err(_) => stop_children(parent.id()),
            }
        };
        assert_eq!(line, b"stopped");
        parent.wait().unwrap();
    }

    #[test]
    fn closing_lines_of_several_binaries_add_up() {
        let mut counts = Counts::default();
        for line in [
            "running 3 tests",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "test result: FAILED. 2 passed; 4 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s",
        ] {
            counts.add(line);
        }
        assert_eq!((counts.passed, counts.failed, counts.ignored), (5, 4, 1));
    }
}
