//! The machine's own Python, which tests ask what Python does.

use std::io::Write;
use std::process::{Command, Stdio};

/// Standard output of `python3 -c script` fed with `input`; None where there is no Python.
pub(crate) fn python(script: &str, input: &str) -> Option<String> {
    let mut command = Command::new("python3");
    command
        .args(["-I", "-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.spawn().ok()?;
    let mut stdin = child.stdin.take()?;
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().ok()?;
    writer.join().ok()?.ok()?;
    assert!(output.status.success(), "{script}");
    String::from_utf8(output.stdout).ok()
}
