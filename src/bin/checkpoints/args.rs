//! The command line of `checkpoints`.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};
use clap_complete::Shell;
use gauntlet::checkpoint::{Checkpoint, DISCRIMINATOR, Found, GENERATOR, Runs, Within};
use gauntlet::cli::{UsageError, path_parser, say};
use gauntlet::model::pretrained::gguf_write::GgufType;

/// Shows, compares, checks, copies and deletes what training saved.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Print a completion script for a shell and exit
    #[arg(long, value_name = "SHELL")]
    pub completions: Option<Shell>,
}

#[derive(Subcommand)]
pub enum Command {
    /// List the checkpoints of a run, in the order of saving
    List {
        #[command(flatten)]
        place: Place,
        /// List every run below the outputs directory
        #[arg(long, conflicts_with = "run")]
        all: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show what a checkpoint holds: architecture, parameters, metrics, files, commands that use it
    Inspect {
        /// A name (best, latest, final, stage_3, ..), step:N, or a path
        #[arg(default_value = "latest")]
        checkpoint: OsString,
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        players: Chosen,
        /// Show only what the manifest says, without opening the models
        #[arg(long, conflicts_with_all = ["generator", "discriminator"])]
        info_only: bool,
        /// Show the settings in which another checkpoint differs
        #[arg(long, value_name = "CHECKPOINT")]
        against: Option<OsString>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Read every byte of a checkpoint and compare it with the manifest
    Verify {
        /// A name (best, latest, final, stage_3, ..), step:N, or a path
        #[arg(default_value = "latest")]
        checkpoint: OsString,
        #[command(flatten)]
        place: Place,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show checkpoints side by side: metrics with differences, settings, samples of the same problem
    Compare {
        /// Two or more names, steps or paths; the others are compared with the first
        #[arg(required = true, num_args = 2..)]
        checkpoints: Vec<OsString>,
        #[command(flatten)]
        place: Place,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Ask a run that is training for a checkpoint now, under a name of your own
    Save {
        /// Its name: letters, digits, and . _ - +
        name: String,
        #[command(flatten)]
        place: Place,
        /// Seconds to wait until it is written; 0 returns at once
        #[arg(long, default_value_t = 600)]
        wait: u64,
    },
    /// Name the periodic checkpoints that can go, and delete them with --yes
    Prune {
        #[command(flatten)]
        place: Place,
        /// Prune every run below the outputs directory
        #[arg(long, conflicts_with = "run")]
        all: bool,
        /// Periodic checkpoints of each run that stay
        #[arg(long, value_name = "N", allow_negative_numbers = true)]
        keep_last: i64,
        /// Keep the newest (last_n) or those with the best validation score (top_k_val)
        #[arg(long, default_value = "last_n")]
        strategy: String,
        /// Emergency checkpoints go too, but for the newest of a run and what a run was resumed from
        #[arg(long)]
        emergency: bool,
        /// Directories that are no whole checkpoint go too
        #[arg(long)]
        broken: bool,
        /// Really delete
        #[arg(long)]
        yes: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Copy checkpoints and logs to another directory, verified, in the same layout
    Backup {
        /// Directory to copy to
        #[arg(value_parser = path_parser())]
        to: PathBuf,
        /// Only the checkpoint of this name
        #[arg(long, value_name = "NAME")]
        checkpoint: Option<String>,
        #[command(flatten)]
        place: Place,
        /// Copy every run below the outputs directory
        #[arg(long, conflicts_with = "run")]
        all: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Copy checkpoints and logs back from a backup, verified
    Restore {
        /// Directory that a backup was made to
        #[arg(value_parser = path_parser())]
        from: PathBuf,
        /// Only the checkpoint of this name
        #[arg(long, value_name = "NAME")]
        checkpoint: Option<String>,
        /// Only this run of the backup, as NAME/TIMESTAMP
        #[arg(long, value_name = "RUN")]
        run: Option<PathBuf>,
        /// Directory that holds all runs
        #[arg(long, value_name = "DIR", default_value = "outputs", value_parser = path_parser())]
        outputs: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show what runs take up on disk
    Du {
        #[command(flatten)]
        place: Place,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Draw reward, pass@1 and kill rate over steps, of one run or of several
    Plot {
        /// Directories of runs, or NAME/TIMESTAMP below the outputs directory; none for the newest run
        #[arg(conflicts_with_all = ["run", "all"])]
        runs: Vec<PathBuf>,
        #[command(flatten)]
        place: Place,
        /// Draw every run below the outputs directory
        #[arg(long, conflicts_with = "run")]
        all: bool,
        /// File to draw to, .png or .svg; may be given twice [default: progress.png and progress.svg]
        #[arg(long, value_name = "FILE", value_parser = path_parser())]
        to: Vec<PathBuf>,
        /// Print the series as JSON; draws only what --to names
        #[arg(long)]
        json: bool,
    },
    /// Write a player as a Hugging Face folder, or its adapter in PEFT's layout
    Export {
        /// A name (best, latest, final, stage_3, ..), step:N, or a path
        #[arg(default_value = "best")]
        checkpoint: OsString,
        #[command(flatten)]
        place: Place,
        /// Folder to write; must not exist, or be empty
        #[arg(long, value_name = "DIR", value_parser = path_parser())]
        to: PathBuf,
        /// Which player; of several, the best
        #[arg(long, value_enum, default_value = "generator", conflicts_with_all = ["generator", "discriminator"])]
        player: PlayerName,
        #[command(flatten)]
        players: Chosen,
        /// Write the adapter alone instead of merging it into its base
        #[arg(long)]
        adapter: bool,
        /// Write one file for llama.cpp, model.gguf, in place of a Hugging Face folder; TYPE is how its weights are stored
        #[arg(long, value_enum, value_name = "TYPE", num_args = 0..=1, default_missing_value = "f16",
              conflicts_with_all = ["adapter", "dtype", "generate_script"])]
        gguf: Option<ExportGguf>,
        /// Element type of the weights
        #[arg(long, value_enum, default_value = "float32")]
        dtype: ExportDtype,
        /// Write generate.py beside it, which solves problems with the model
        #[arg(long)]
        generate_script: bool,
        /// Base model to merge into, where it is not where training read it
        #[arg(long, value_name = "MODEL")]
        base: Option<String>,
    },
}

/// One of the two players.
#[derive(Clone, Copy, clap::ValueEnum)]
pub enum PlayerName {
    Generator,
    Discriminator,
}

impl PlayerName {
    /// The role.
    pub fn role(self) -> &'static str {
        match self {
            Self::Generator => GENERATOR,
            Self::Discriminator => DISCRIMINATOR,
        }
    }
}

/// Players by number, where a role has several.
#[derive(clap::Args)]
pub struct Chosen {
    /// Number of one of several generators
    #[arg(long, value_name = "N")]
    pub generator: Option<usize>,
    /// Number of one of several discriminators
    #[arg(long, value_name = "N")]
    pub discriminator: Option<usize>,
}

impl Chosen {
    /// Names of the players that were asked for.
    pub fn names(&self, checkpoint: &Checkpoint) -> Result<Vec<String>> {
        let asked = [
            (GENERATOR, self.generator),
            (DISCRIMINATOR, self.discriminator),
        ];
        let asked = asked.into_iter().filter(|(_, number)| number.is_some());
        let names = asked.map(|(role, number)| {
            let name = checkpoint.choose(role, number).map_err(UsageError::new)?;
            Ok(name.to_owned())
        });
        names.collect()
    }
}

/// Element types of exported weights.
#[derive(Clone, Copy, clap::ValueEnum)]
pub enum ExportDtype {
    Float32,
    Bfloat16,
    Float16,
}

/// How the weights of an exported GGUF file are stored.
#[derive(Clone, Copy, clap::ValueEnum)]
pub enum ExportGguf {
    F32,
    F16,
    Bf16,
    #[value(name = "q8_0")]
    Q8_0,
}

impl From<ExportGguf> for GgufType {
    fn from(name: ExportGguf) -> Self {
        match name {
            ExportGguf::F32 => Self::F32,
            ExportGguf::F16 => Self::F16,
            ExportGguf::Bf16 => Self::Bf16,
            ExportGguf::Q8_0 => Self::Q8_0,
        }
    }
}

/// Where to look.
#[derive(clap::Args)]
pub struct Place {
    /// Directory that holds all runs
    #[arg(long, value_name = "DIR", default_value = "outputs", value_parser = path_parser())]
    pub outputs: PathBuf,
    /// A run's directory, instead of the newest run
    #[arg(long, value_name = "DIR", value_parser = path_parser())]
    pub run: Option<PathBuf>,
}

impl Place {
    /// The checkpoint that a reference names.
    pub fn find(&self, reference: &OsStr) -> Result<Checkpoint> {
        let within = self.run.as_deref().map_or(Within::Any, Within::Run);
        let found = Runs::new(&self.outputs).look_up(reference, within);
        let Found { checkpoint, why } = found.map_err(UsageError::new)?;
        if !reference.as_encoded_bytes().contains(&b'/') {
            say(format_args!(
                "taking {} ({why})",
                checkpoint.path().display()
            ));
        }
        Ok(checkpoint)
    }

    /// The run that is meant, or all of them.
    pub fn runs(&self, all: bool) -> Result<Vec<PathBuf>> {
        let runs = Runs::new(&self.outputs);
        match &self.run {
            Some(run) => Ok(vec![run.clone()]),
            None if all => Ok(runs.list(None)?),
            None => Ok(vec![runs.newest()?.ok_or_else(|| {
                UsageError::new(format!(
                    "no run in {} has checkpoints; name another directory with --outputs, or a run with --run",
                    self.outputs.display()
                ))
            })?]),
        }
    }
}
