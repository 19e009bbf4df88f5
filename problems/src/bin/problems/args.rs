//! The command line of `problems`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use gauntlet_problems::formats::{FieldMap, Format};
use gauntlet_problems::read::ReadOptions;

/// Reads, checks, converts, strengthens and splits problems.
#[derive(Debug, Parser)]
#[command(name = "problems", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Where problems are read from, and how.
#[derive(Debug, Args)]
pub struct Source {
    /// A file, a folder, or `hub:OWNER/NAME[@REVISION][:FILE]`
    pub from: String,
    /// The format, where the fields of the first row shall not decide
    #[arg(long)]
    pub format: Option<Format>,
    /// Fields of rows in no known format: prompt=question,tests=cases,reference=answer
    #[arg(long, value_parser = FieldMap::parse)]
    pub fields: Option<FieldMap>,
    /// Rows to read at most
    #[arg(long)]
    pub limit: Option<usize>,
    /// One wrong row is an error
    #[arg(long)]
    pub strict: bool,
    /// Writes JSON to standard output
    #[arg(long)]
    pub json: bool,
}

impl Source {
    /// How to read.
    pub fn options(&self) -> ReadOptions {
        ReadOptions {
            format: self.format,
            fields: self.fields.clone().unwrap_or_default(),
            strict: self.strict,
            limit: self.limit,
        }
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Tells everything that is wrong with a set: references, constant answers, weak tests, duplicates
    Check {
        /// The set
        #[command(flatten)]
        source: Source,
        /// Keeps results in this file and goes on where it ends
        #[arg(long)]
        resume: Option<PathBuf>,
        /// Reads and compares, and executes nothing
        #[arg(long)]
        no_run: bool,
    },
    /// Writes a set in our own schema
    Convert {
        /// The set
        #[command(flatten)]
        source: Source,
        /// The file to write
        #[arg(long)]
        to: PathBuf,
        /// Executes nothing: inputs whose expected values the reference gives stay without them
        #[arg(long)]
        no_run: bool,
    },
    /// Adds tests that kill wrong programs, from the reference or a consensus of candidates
    Strengthen {
        /// The set
        #[command(flatten)]
        source: Source,
        /// The file to write; an interrupted run goes on from FILE.progress
        #[arg(long)]
        to: PathBuf,
        /// Tests of a problem, at least, where so many inputs can be drawn
        #[arg(long, default_value_t = 30)]
        tests: usize,
        /// What the inputs depend on
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Solutions for a consensus, one JSON object a line: {"task_id": .., "solution": ..}
        #[arg(long)]
        candidates: Option<PathBuf>,
        /// The share of candidates that must agree
        #[arg(long, default_value_t = 0.5)]
        min_share: f64,
        /// Candidates that must pass the given tests
        #[arg(long, default_value_t = 3)]
        min_candidates: usize,
    },
    /// Tells what a set holds
    Stats {
        /// The set
        #[command(flatten)]
        source: Source,
    },
    /// Tells which problems overlap with another set
    Contamination {
        /// The set
        #[command(flatten)]
        source: Source,
        /// The set that must not be trained on
        #[arg(long)]
        against: String,
        /// The share of a statement's runs of eight words from which it overlaps
        #[arg(long, default_value_t = 0.5)]
        statement: f64,
        /// The share of a reference's runs of twelve words from which it overlaps
        #[arg(long, default_value_t = 0.5)]
        code: f64,
        /// Writes the set without the problems that overlap
        #[arg(long)]
        drop_to: Option<PathBuf>,
    },
    /// Gives problems splits, near-duplicates the same one
    Split {
        /// The set
        #[command(flatten)]
        source: Source,
        /// The file to write
        #[arg(long)]
        to: PathBuf,
        /// The share of validation problems
        #[arg(long, default_value_t = 0.1)]
        validation: f64,
        /// The share of problems to report on
        #[arg(long, default_value_t = 0.1)]
        report: f64,
        /// What the split depends on
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
}
