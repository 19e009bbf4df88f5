//! `extract`: the Python program in a model's answer, on standard output.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use gauntlet_extract::{Wanted, extract};

/// Finds the Python program in what a model wrote.
///
/// Exit codes: 0 found, 1 cannot read or write, 2 wrong usage, 4 no code.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// The answer; standard input if absent.
    file: Option<PathBuf>,
    /// The function, class or method (`Solution().add`) that the program must define; without it the program is a script.
    #[arg(long, value_name = "NAME")]
    entry_point: Option<String>,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<ExitCode> {
    let bytes = match &args.file {
        Some(path) => {
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?
        }
        None => {
            let mut bytes = Vec::new();
            std::io::stdin()
                .read_to_end(&mut bytes)
                .context("cannot read standard input")?;
            bytes
        }
    };
    let wanted = Wanted::from_entry_point(args.entry_point.as_deref());
    let Some(code) = extract(&String::from_utf8_lossy(&bytes), wanted) else {
        let _ = writeln!(std::io::stderr(), "no code found");
        return Ok(ExitCode::from(4));
    };
    let mut out = std::io::stdout().lock();
    match out.write_all(code.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}
