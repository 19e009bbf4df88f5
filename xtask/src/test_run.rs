//! Runs the tests, and closes with one line that counts all of them.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result};

use crate::places::Places;
use crate::shell;

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
    for line in BufReader::new(child.stdout.take().context("stdout is piped")?).split(b'\n') {
        let mut line = line?;
        counts.add(&String::from_utf8_lossy(&line));
        line.push(b'\n');
        stdout.write_all(&line)?;
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
