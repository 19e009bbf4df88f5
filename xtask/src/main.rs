//! Set-up, tests and checks of the workspace: `cargo xtask COMMAND`.

mod checks;
mod fetch;
mod libtorch;
mod places;
mod python_torch;
mod sandbox_runtime;
mod setup;
mod shell;
mod test_run;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use checks::Check;
use places::Places;

/// Set-up, tests and checks of the workspace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Fetches libtorch and builds the sandbox's Python runtime into the user's cache; what is there is kept.
    Setup {
        /// Keeps downloaded archives in the cache after they are unpacked.
        #[arg(long)]
        keep_downloads: bool,
    },
    /// Sets up, builds, and trains configs/tiny.yaml through warm-up and stages 1 to 5.
    Train {
        /// Arguments for `train`, after `--`; a `--config` among them replaces the default.
        #[arg(last = true)]
        args: Vec<OsString>,
    },
    /// Sets up, builds, and runs every test.
    Test {
        /// Arguments for `cargo test`, after `--`; they replace `--workspace`.
        #[arg(last = true)]
        args: Vec<OsString>,
    },
    /// Sets up and runs the checks.
    Lint {
        /// Only these, in this order; all of them by default.
        #[arg(value_enum)]
        only: Vec<Check>,
    },
}

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> anyhow::Result<ExitCode> {
    let places = Places::find()?;
    match args.command {
        Command::Setup { keep_downloads } => {
            setup::run(&places, keep_downloads)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Train { args } => train(&places, &args),
        Command::Test { args } => {
            setup::run(&places, false)?;
            test_run::run(&places, &args)
        }
        Command::Lint { only } if only.is_empty() => checks::run(&places, Check::value_variants()),
        Command::Lint { only } => checks::run(&places, &only),
    }
}

/// Set-up, a release build, then `train`; its exit code is ours.
fn train(places: &Places, args: &[OsString]) -> anyhow::Result<ExitCode> {
    setup::run(places, false)?;
    shell::step("cargo build --release --workspace");
    shell::run(places.cargo().args(["build", "--release", "--workspace"]))?;
    let mut train = places.binary("train")?;
    let own_config = args
        .iter()
        .any(|arg| arg.to_string_lossy().split('=').next() == Some("--config"));
    if !own_config {
        train.args(["--config", "configs/tiny.yaml"]);
    }
    Err(shell::exec(train.args(args)))
}
