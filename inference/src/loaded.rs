//! Both players of a checkpoint, ready to be asked.

use std::sync::Arc;

use anyhow::{Context, Result};
use gauntlet::checkpoint::{Checkpoint, PlayerFile};
use gauntlet::cli::UsageError;
use gauntlet::config::Config;
use gauntlet::discriminator::Discriminator;
use gauntlet::generator::{Generator, Sampling};
use gauntlet::judge::Judge;
use gauntlet::model::{ModelConfig, Transformer};
use gauntlet::trainer::{checkpoint_encoder, device, limits};
use gauntlet_sandbox::Sandbox;

/// A checkpoint in memory.
pub struct Loaded {
    /// Writes the stages.
    pub generator: Generator,
    /// Writes tests and gives verdicts.
    pub discriminator: Discriminator,
    /// Executes.
    pub judge: Judge,
    /// The configuration the checkpoint was trained with.
    pub config: Config,
    /// Directory of the checkpoint.
    pub path: String,
    /// Hash of its manifest.
    pub manifest: String,
}

impl Loaded {
    /// Reads the weights, verified, without optimizer state.
    pub fn open(checkpoint: &Checkpoint, device_name: &str) -> Result<Self> {
        let known = device_name == "cpu" || device_name.starts_with("cuda");
        if !known {
            return Err(UsageError::new(format!(
                "--device {device_name}: must be cpu, cuda or cuda:N"
            ))
            .into());
        }
        if device_name.starts_with("cuda") && !tch::Cuda::is_available() {
            return Err(UsageError::new(
                "--device cuda: this libtorch finds no CUDA device; use --device cpu",
            )
            .into());
        }
        let device = device(device_name);
        let text = checkpoint.training_config()?.to_string();
        let config = Config::parse(&text, &checkpoint.path().join("training_config.json"), &[])?;
        let encoder = Arc::new(checkpoint_encoder(checkpoint)?);
        let file = checkpoint.generator()?;
        let architecture = architecture(&file)?;
        file.check_architecture(&architecture.weight_shapes())?;
        let model = Transformer::from_weights(&architecture, file.model_state_dict()?, device);
        let generator = Generator {
            model,
            encoder: Arc::clone(&encoder),
        };
        let file = checkpoint.discriminator()?;
        let architecture = self::architecture(&file)?;
        file.check_architecture(&Discriminator::weight_shapes(&architecture))?;
        let discriminator =
            Discriminator::from_weights(&architecture, file.model_state_dict()?, device, encoder);
        Ok(Self {
            generator,
            discriminator,
            judge: Judge::new(Sandbox::open()?, limits(&config)),
            config,
            path: checkpoint.path().display().to_string(),
            manifest: checkpoint.manifest_hash().to_owned(),
        })
    }

    /// Limits of each stage as in training.
    pub fn sampling(&self, temperature: f64) -> Sampling {
        Sampling {
            temperature,
            max_new_tokens: self.config.sampling.max_new_tokens,
            batch_size: self.config.evaluation.batch_size,
        }
    }
}

fn architecture(file: &PlayerFile) -> Result<ModelConfig> {
    let config: ModelConfig = serde_json::from_value(file.model_config()?)
        .context("model_config of the checkpoint does not describe a model")?;
    config.validate()?;
    Ok(config)
}
