//! What users hand in: files, arguments, limits. What is wrong with them is told with the place it stands at.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gauntlet_sandbox::{Fault, Limits, Outcome, Value};

/// An error that the user's input caused: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

pub(crate) fn usage(message: impl Into<String>) -> anyhow::Error {
    Usage(message.into()).into()
}

/// Whether the user's input caused the error, rather than the host.
pub(crate) fn is_usage(error: &anyhow::Error) -> bool {
    error.is::<Usage>()
        || matches!(
            error.downcast_ref(),
            Some(Fault::Input { .. } | Fault::Limit { .. } | Fault::Tests { .. })
        )
}

/// Limits on the command line.
#[derive(clap::Args)]
pub(crate) struct LimitArgs {
    /// Instructions a call may take, as wasmtime counts them [default: about 2 s of a tight loop]
    #[arg(long, value_name = "N")]
    fuel: Option<u64>,
    /// Seconds a call may take, in place of the limit on instructions
    #[arg(long, value_name = "S", conflicts_with = "fuel")]
    timeout: Option<f64>,
    /// Megabytes of memory a call may take, the interpreter's own included [default: 256]
    #[arg(long, value_name = "MB")]
    memory: Option<usize>,
}

impl LimitArgs {
    pub(crate) fn resolve(&self) -> anyhow::Result<Limits> {
        let mut limits = Limits::default();
        if let Some(fuel) = self.fuel {
            if fuel == 0 {
                return Err(usage(
                    "--fuel 0 allows no instruction; leave it out for the default",
                ));
            }
            limits.fuel = Some(fuel);
        }
        if let Some(seconds) = self.timeout {
            let wall = Duration::try_from_secs_f64(seconds)
                .ok()
                .filter(|wall| !wall.is_zero());
            limits.wall = wall.ok_or_else(|| {
                usage(format!(
                    "--timeout {seconds} is no span of time: give seconds above 0"
                ))
            })?;
            limits.fuel = None;
        }
        if let Some(megabytes) = self.memory {
            let bytes = megabytes
                .checked_mul(1 << 20)
                .filter(|bytes| (1..=4 << 30).contains(bytes));
            limits.memory_bytes = bytes
                .ok_or_else(|| usage(format!("--memory {megabytes} is not within 1..4096")))?;
        }
        Ok(limits)
    }
}

/// The arguments of one call.
pub(crate) fn parse_input(json: &str) -> anyhow::Result<Vec<Value>> {
    let parsed =
        serde_json::from_str(json).map_err(|error| usage(format!("--input {json}: {error}")))?;
    match Value::from_json(&parsed).map_err(|error| usage(format!("--input {json}: {error}")))? {
        Value::List(args) | Value::Tuple(args) => Ok(args),
        _ => Err(usage(format!(
            "--input {json}: the arguments are a JSON array, such as [{json}]"
        ))),
    }
}

/// A program. One that is not UTF-8 fails by itself, as one that does not compile does.
pub(crate) fn read_code(path: &Path) -> anyhow::Result<Result<String, Outcome>> {
    Ok(String::from_utf8(read(path)?).map_err(|error| {
        let (at, bytes) = (error.utf8_error().valid_up_to(), error.as_bytes());
        let line = bytes[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
        Outcome::SyntaxError {
            message: format!(
                "the source is not UTF-8: byte 0x{:02x} (line {line})",
                bytes[at]
            ),
        }
    }))
}

/// Text that is not a program.
pub(crate) fn read_text(path: &Path) -> anyhow::Result<String> {
    String::from_utf8(read(path)?).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        usage(format!("{}: not UTF-8 at byte {at}", path.display()))
    })
}

/// The bytes of a file, or of standard input for -.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let bytes = if path == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        fs::read(path)
    };
    bytes.map_err(|error| usage(format!("cannot read {}: {error}", path.display())))
}

/// Two files cannot both come from standard input.
pub(crate) fn one_from_stdin(paths: [&PathBuf; 2]) -> anyhow::Result<()> {
    if paths.iter().all(|path| path.as_os_str() == "-") {
        return Err(usage(
            "the program and the tests cannot both come from standard input",
        ));
    }
    Ok(())
}
