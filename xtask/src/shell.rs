//! Running other programs, and saying what is being done.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Announces a step, on stderr so that stdout stays the output of what is run.
pub fn step(what: &str) {
    eprintln!("xtask: {what}");
}

/// Runs a command with our stdio; an unsuccessful exit is an error that names it.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    if !status.success() {
        bail!("{} failed ({status})", shown(command));
    }
    Ok(())
}

/// Becomes the command: its exit code is ours, and Ctrl-C reaches it alone. Returns only if it cannot start.
pub fn exec(command: &mut Command) -> anyhow::Error {
    let error = command.exec();
    anyhow::Error::new(error).context(format!("cannot start {}", shown(command)))
}

/// Runs a command and gives back its stdout; on failure the error holds its stderr.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{} failed ({}): {}",
            shown(command),
            output.status,
            stderr.trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The command as one would type it, shortened: scripts given as an argument are long.
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words = words.map(|word| {
        let word = word.to_string_lossy();
        match word.lines().next() {
            Some(first) if word.contains('\n') => format!("'{first} ...'"),
            _ => word.into_owned(),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_command_is_named_with_what_it_said() {
        let err = output(Command::new("sh").args(["-c", "echo no such thing >&2; exit 3"]))
            .expect_err("it exits with 3");
        assert!(err.to_string().contains("exit status: 3"), "{err}");
        assert!(err.to_string().contains("no such thing"), "{err}");
    }

    #[test]
    fn a_missing_program_is_named() {
        let err = run(&mut Command::new("gauntlet-no-such-program")).expect_err("there is none");
        assert!(
            format!("{err:#}").contains("cannot start gauntlet-no-such-program"),
            "{err:#}"
        );
    }
}
