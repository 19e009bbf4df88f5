//! The `inference` binary: solves one problem with a trained generator.

use clap::Parser;

/// Solves one problem with a trained generator.
#[derive(Parser)]
#[command(version)]
struct Args {}

fn main() -> anyhow::Result<()> {
    Args::parse();
    anyhow::bail!("inference is not wired to the library yet")
}
