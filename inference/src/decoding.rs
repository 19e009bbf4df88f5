//! Flags of what decoding can do.

use anyhow::Result;
use clap::{Args, ValueEnum};
use gauntlet::cli::UsageError;
use gauntlet::config::Backend;
use gauntlet::generator::Decoding;
use gauntlet::model::fused::packs;
use gauntlet::model::sampling::Filters;
use gauntlet::run::rollouts;
use gauntlet::stage::Stage;

use crate::loaded::Loaded;

/// How the stages are decoded. Filters apply in the order of transformers: repetition penalty, temperature, top-k, top-p,
/// min-p.
#[derive(Args)]
pub struct DecodingArgs {
    /// Draw from the K likeliest tokens; 0 draws from all.
    #[arg(long, value_name = "K", default_value_t = 0)]
    top_k: usize,
    /// Draw from the likeliest tokens up to this share of the probability.
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    top_p: f64,
    /// Draw from tokens at least this share as likely as the likeliest.
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    min_p: f64,
    /// Divide the logits of tokens that were read or written before by this number where they are positive, multiply them where
    /// negative; also without a temperature.
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    repetition_penalty: f64,
    /// End a stage before this text; may be given several times.
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Most tokens of each stage: one number for all, or five.
    #[arg(long, value_name = "N[,N,N,N,N]", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
    max_new_tokens: Vec<u32>,
    /// What decodes, on the CPU: the code and weights of training, or the fused decoder on weights of this precision. As in
    /// training for a checkpoint, and bfloat16 for a published model, otherwise.
    #[arg(long, value_enum)]
    backend: Option<BackendArg>,
    /// Threads for tensors; one a core otherwise.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

/// Values of `--backend`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum BackendArg {
    /// 8-bit integers, in groups with a scale.
    Int8,
    /// Brain floats.
    Bfloat16,
    /// 32-bit floats.
    Float32,
    /// The weights and the code of training.
    Trainer,
}

impl DecodingArgs {
    /// Checks what can be checked before a model is read, and sets the number of threads.
    pub fn begin(&self) -> Result<()> {
        if let Some((setting, range)) = self.filters().mistake() {
            let flag = setting.replace('_', "-");
            return Err(UsageError::new(format!("--{flag} must be {range}")).into());
        }
        if self.stop.iter().any(String::is_empty) {
            return Err(UsageError::new("--stop is empty: every stage would end at once").into());
        }
        if ![0, 1, Stage::COUNT].contains(&self.max_new_tokens.len()) {
            let message = format!(
                "--max-new-tokens has {} numbers; give one for all stages, or {}",
                self.max_new_tokens.len(),
                Stage::COUNT
            );
            return Err(UsageError::new(message).into());
        }
        if let Some(threads) = self.threads {
            tch::set_num_threads(i32::from(threads));
        }
        Ok(())
    }

    /// What decodes, if it was asked for.
    pub fn backend(&self) -> Option<Backend> {
        Some(match self.backend? {
            BackendArg::Int8 => Backend::Int8,
            BackendArg::Bfloat16 => Backend::BFloat16,
            BackendArg::Float32 => Backend::Float32,
            BackendArg::Trainer => Backend::Trainer,
        })
    }

    fn filters(&self) -> Filters {
        Filters {
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
        }
    }

    /// Has a loaded model decode so.
    pub fn apply(&self, loaded: &mut Loaded) -> Result<()> {
        let limits = &mut loaded.config.sampling.max_new_tokens;
        for (stage, limit) in limits.iter_mut().enumerate() {
            let wanted = self.max_new_tokens.get(stage);
            if let Some(&wanted) = wanted.or(self.max_new_tokens.first()) {
                *limit = wanted as usize;
            }
        }
        loaded.generator.decoding = Decoding {
            filters: self.filters(),
            stop: self.stop.clone(),
        };
        if let Some(backend) = self.backend() {
            let model = &loaded.generator.model;
            if backend != Backend::Trainer && !packs(model.config(), model.device()) {
                let message = format!(
                    "--backend {}: the fused decoder runs on the CPU and takes heads that are a multiple of 16 wide; this \
                     model is on {:?}, with heads {} wide: use --backend trainer",
                    name(self.backend),
                    model.device(),
                    model.config().head_dim
                );
                return Err(UsageError::new(message).into());
            }
            loaded.config.sampling.backend = backend;
            loaded.generator.rollouts = rollouts(&loaded.config, model);
            loaded.discriminator.rollouts = rollouts(&loaded.config, model);
        }
        Ok(())
    }
}

fn name(backend: Option<BackendArg>) -> String {
    let value = backend.and_then(|backend| backend.to_possible_value());
    value.map_or_else(String::new, |value| value.get_name().to_owned())
}
