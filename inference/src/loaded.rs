//! Both players of a checkpoint, or a published model in their place, ready to be asked.

use std::sync::Arc;

use anyhow::{Context, Result};
use gauntlet::checkpoint::{Checkpoint, PlayerFile};
use gauntlet::cli::UsageError;
use gauntlet::config::{Backend, Config};
use gauntlet::discriminator::Discriminator;
use gauntlet::encoding::PromptEncoder;
use gauntlet::evaluation::attacks::AttackOptions;
use gauntlet::execution::Executor;
use gauntlet::generator::{Generator, Sampling};
use gauntlet::model::fused::{Precision, packs};
use gauntlet::model::rollouts::Rollouts;
use gauntlet::model::{ModelConfig, Pretrained, Transformer};
use gauntlet::prompts::Prompts;
use gauntlet::run::export::{check_base, lora_of};
use gauntlet::run::{checkpoint_encoder, device, limits, rollouts};
use gauntlet_sandbox::Sandbox;
use tch::{Device, Kind};

/// A checkpoint in memory.
pub struct Loaded {
    /// Writes the stages.
    pub generator: Generator,
    /// Writes tests and gives verdicts.
    pub discriminator: Discriminator,
    /// Executes.
    pub executor: Executor,
    /// The configuration the checkpoint was trained with.
    pub config: Config,
    /// Directory of the checkpoint, or the model.
    pub path: String,
    /// Hash of the checkpoint's manifest.
    pub manifest: Option<String>,
    /// Names of the generator and the discriminator, where the checkpoint has others too.
    pub players: Option<[String; 2]>,
    /// Whether there is a head that was trained to give verdicts.
    pub gives_verdicts: bool,
}

/// Longest completion of each stage, in tokens, for a published model: such models are wordier than trained ones.
const PRETRAINED_MAX_NEW_TOKENS: [usize; 5] = [192, 256, 320, 256, 512];

/// Longest attack set of a published model.
const PRETRAINED_ATTACK_TOKENS: usize = 192;

impl Loaded {
    /// A published model as it is: it writes the stages and, asked as the discriminator, the tests; nothing gives
    /// verdicts.
    pub fn open_model(spec: &str, device_name: &str, backend: Option<Backend>) -> Result<Self> {
        let device = checked_device(device_name)?;
        // Published weights are bf16, and the fused decoder multiplies them as they are.
        let exact = matches!(backend, Some(Backend::Float32 | Backend::Trainer));
        let kind = |config: &_| match packs(config, device) && !exact {
            true => Kind::BFloat16,
            false => Kind::Float,
        };
        let opened = Pretrained::open_frozen(spec, kind);
        let (pretrained, weights) = opened.map_err(UsageError::new)?;
        let Some(template) = &pretrained.chat_template else {
            return Err(UsageError::new(format!(
                "{spec} has no chat template; --model needs a model that was tuned on conversations (-Instruct)"
            ))
            .into());
        };
        let model = Transformer::frozen(&pretrained.config, weights, device);
        let rollouts = || match packs(&pretrained.config, device) {
            true => Rollouts::fused(Precision::BFloat16),
            false => Rollouts::trainer(),
        };
        let encoder = Arc::new(PromptEncoder::chat(
            pretrained.tokenizer,
            Prompts::chat(),
            template,
        )?);
        let mut config = Config::default();
        config.sampling.max_new_tokens = PRETRAINED_MAX_NEW_TOKENS;
        config.sampling.attack_max_new_tokens = PRETRAINED_ATTACK_TOKENS;
        config.evaluation.batch_size = 16;
        let mut discriminator = Discriminator::new(model.share(), Arc::clone(&encoder));
        discriminator.rollouts = rollouts();
        let mut generator = Generator::new(model, encoder);
        generator.rollouts = rollouts();
        Ok(Self {
            generator,
            discriminator,
            executor: Executor::new(Sandbox::open()?, limits(&config)),
            config,
            path: spec.to_owned(),
            manifest: None,
            players: None,
            gives_verdicts: false,
        })
    }

    /// Reads the weights of a generator and a discriminator by name, verified, without optimizer state.
    pub fn open(checkpoint: &Checkpoint, players: [&str; 2], device_name: &str) -> Result<Self> {
        let device = checked_device(device_name)?;
        let text = checkpoint.training_config()?.to_string();
        let config = Config::parse(&text, &checkpoint.path().join("training_config.json"), &[])?;
        let encoder = Arc::new(checkpoint_encoder(checkpoint)?);
        let files = [
            checkpoint.player(players[0])?,
            checkpoint.player(players[1])?,
        ];
        let (model, mut discriminator) = models(&files, &encoder, device)?;
        let mut generator = Generator::new(model, encoder);
        // The fused decoders, with which training may have written its rollouts, run on the CPU.
        if device == Device::Cpu {
            generator.rollouts = rollouts(&config, &generator.model);
            discriminator.rollouts = rollouts(&config, &generator.model);
        }
        Ok(Self {
            generator,
            discriminator,
            executor: Executor::new(Sandbox::open()?, limits(&config)),
            config,
            path: checkpoint.path().display().to_string(),
            manifest: Some(checkpoint.manifest_hash().to_owned()),
            players: (checkpoint.players().len() > 2).then(|| players.map(str::to_owned)),
            gives_verdicts: true,
        })
    }

    /// Limits of an attack set as in training.
    pub fn attacks(&self, temperature: f64) -> AttackOptions {
        AttackOptions {
            max_new_tokens: self.config.sampling.attack_max_new_tokens,
            temperature,
            batch_size: self.config.evaluation.batch_size,
            per_set: self.config.game.attacks_per_set,
        }
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

fn checked_device(name: &str) -> Result<Device> {
    if name != "cpu" && !name.starts_with("cuda") {
        let message = format!("--device {name}: must be cpu, cuda or cuda:N");
        return Err(UsageError::new(message).into());
    }
    if name.starts_with("cuda") && !tch::Cuda::is_available() {
        return Err(UsageError::new(
            "--device cuda: this libtorch finds no CUDA device; use --device cpu",
        )
        .into());
    }
    Ok(device(name))
}

/// The model of a generator's file and the discriminator of the other; of adapters with their base, which both share.
fn models(
    [ours, theirs]: &[PlayerFile; 2],
    encoder: &Arc<PromptEncoder>,
    device: Device,
) -> Result<(Transformer, Discriminator)> {
    let Some((lora, base)) = lora_of(ours)? else {
        let config = architecture(ours)?;
        ours.check_architecture(&config.weight_shapes())?;
        let model = Transformer::from_weights(&config, ours.mapped_state_dict()?, device);
        let config = architecture(theirs)?;
        theirs.check_architecture(&Discriminator::weight_shapes(&config))?;
        let weights = theirs.mapped_state_dict()?;
        let discriminator =
            Discriminator::from_weights(&config, weights, device, Arc::clone(encoder));
        return Ok((model, discriminator));
    };
    let pretrained = Pretrained::open(&base)
        .with_context(|| format!("the checkpoint holds adapters to {base}"))?;
    check_base(ours, &pretrained, &base)?;
    check_base(theirs, &pretrained, &base)?;
    let config = &pretrained.config;
    let frozen = Transformer::frozen(config, pretrained.weights(Kind::Float)?, device);
    let shapes = lora.weight_shapes(config);
    ours.check_architecture(&shapes)?;
    let model = frozen.with_adapter(lora.clone(), ours.mapped_state_dict()?);
    theirs.check_architecture(&Discriminator::with_head(shapes, config))?;
    let mut weights = theirs.mapped_state_dict()?;
    let head = weights.split_off(weights.len() - 2);
    let trunk = frozen.with_adapter(lora, weights);
    Ok((
        model,
        Discriminator::from_parts(trunk, &head, Arc::clone(encoder)),
    ))
}

fn architecture(file: &PlayerFile) -> Result<ModelConfig> {
    let config: ModelConfig = serde_json::from_value(file.model_config()?)
        .context("model_config of the checkpoint does not describe a model")?;
    config.validate()?;
    Ok(config)
}
