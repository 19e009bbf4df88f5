//! The players of a run: freshly drawn, begun from a checkpoint's weights, or as a checkpoint left them.

use std::sync::Arc;

use crate::checkpoint::{Checkpoint, DISCRIMINATOR, GENERATOR, PlayerFile};
use crate::config::{Config, InitRole, Model};
use crate::discriminator::Discriminator;
use crate::encoding::PromptEncoder;
use crate::error::TrainError;
use crate::generator::Generator;
use crate::model::Transformer;
use crate::phases::{Phase, TrainerState};
use crate::players::{Player, Policy, Roster, game_options, model_config, warmup_options};
use crate::rng::DrawKey;

use super::base::{Base, PlayerInit, rollouts};
use super::resume::reference_checkpoint;

/// The files of a role's `count` players: one each, or for all of them that of the only one in the checkpoint.
fn files(checkpoint: &Checkpoint, role: &str, count: usize) -> Result<Vec<PlayerFile>, TrainError> {
    let names = checkpoint.players_of(role);
    let names = match names[..] {
        [only] => vec![only; count],
        [] => vec![role],
        _ if names.len() == count => names,
        _ => {
            return Err(TrainError::OtherPlayers {
                checkpoint: checkpoint.path().display().to_string(),
                role: role.to_owned(),
                there: names.len(),
                here: count,
            });
        }
    };
    let files = names.into_iter().map(|name| checkpoint.player(name));
    Ok(files.collect::<Result<_, _>>()?)
}

fn load_generators(
    config: &Config,
    checkpoint: &Checkpoint,
    encoder: &Arc<PromptEncoder>,
    init: PlayerInit,
) -> Result<Vec<Generator>, TrainError> {
    let load = |file: &PlayerFile| {
        let encoder = Arc::clone(encoder);
        if let Some(base) = init.base {
            base.check_same(file)?;
            file.check_architecture(&base.trained_shapes())?;
            return Ok(Generator::new(
                base.player(file.model_state_dict()?),
                encoder,
            ));
        }
        let vocab = encoder.tokenizer().vocab_size();
        let shape = model_config(&config.generator_model(), vocab);
        file.check_architecture(&shape.weight_shapes())?;
        let model = Transformer::from_weights(&shape, file.model_state_dict()?, init.device);
        Ok(Generator::new(model, encoder))
    };
    let files = files(checkpoint, GENERATOR, config.players.generators)?;
    files.iter().map(load).collect()
}

fn load_discriminators(
    config: &Config,
    checkpoint: &Checkpoint,
    encoder: &Arc<PromptEncoder>,
    init: PlayerInit,
) -> Result<Vec<Discriminator>, TrainError> {
    let load = |file: &PlayerFile| {
        let encoder = Arc::clone(encoder);
        if let Some(base) = init.base {
            base.check_same(file)?;
            let shapes = Discriminator::with_head(base.trained_shapes(), base.config());
            file.check_architecture(&shapes)?;
            let mut weights = file.model_state_dict()?;
            let head = weights.split_off(weights.len() - 2);
            return Ok(Discriminator::from_parts(
                base.player(weights),
                &head,
                encoder,
            ));
        }
        let vocab = encoder.tokenizer().vocab_size();
        let shape = model_config(&config.discriminator_model(), vocab);
        file.check_architecture(&Discriminator::weight_shapes(&shape))?;
        let weights = file.model_state_dict()?;
        Ok(Discriminator::from_weights(
            &shape,
            weights,
            init.device,
            encoder,
        ))
    };
    let files = files(checkpoint, DISCRIMINATOR, config.players.discriminators)?;
    files.iter().map(load).collect()
}

/// All players with the weights of a checkpoint, which must have this configuration's architecture.
fn load_players(
    config: &Config,
    checkpoint: &Checkpoint,
    encoder: &Arc<PromptEncoder>,
    init: PlayerInit,
) -> Result<Roster, TrainError> {
    let generators = load_generators(config, checkpoint, encoder, init)?;
    let discriminators = load_discriminators(config, checkpoint, encoder, init)?;
    Ok(roster(config, generators, discriminators, init.base))
}

/// The players that a run begins with: those of `init_from` as far as `init_role` says, the others freshly drawn.
pub(super) fn new_players(
    config: &Config,
    init_from: Option<&Checkpoint>,
    encoder: &Arc<PromptEncoder>,
    init: PlayerInit,
) -> Result<Roster, TrainError> {
    let except = |role: InitRole| init_from.filter(|_| config.checkpoint.init_role != role);
    let generators = match except(InitRole::Discriminator) {
        Some(checkpoint) => load_generators(config, checkpoint, encoder, init)?,
        None => fresh_generators(config, encoder, init),
    };
    let discriminators = match except(InitRole::Generator) {
        Some(checkpoint) => load_discriminators(config, checkpoint, encoder, init)?,
        None => fresh_discriminators(config, encoder, init),
    };
    Ok(roster(config, generators, discriminators, init.base))
}

/// The players of a checkpoint as training left them: weights, moments and, in the game, what the KL term holds them near, of
/// which `state` learns where it lies.
pub(super) fn resumed_players(
    config: &Config,
    checkpoint: &Checkpoint,
    state: &mut TrainerState,
    encoder: &Arc<PromptEncoder>,
    init: PlayerInit,
) -> Result<Roster, TrainError> {
    let mut roster = load_players(config, checkpoint, encoder, init)?;
    if matches!(state.phase, Phase::Game(_) | Phase::Done) {
        let (reference, at) = reference_checkpoint(checkpoint, state)?;
        let warm = load_players(config, &reference, encoder, init)?;
        roster.enter_game(game_options(config), Some(&warm));
        state.reference = Some(at);
    }
    load_moments(&mut roster.generators, checkpoint, GENERATOR)?;
    load_moments(&mut roster.discriminators, checkpoint, DISCRIMINATOR)?;
    Ok(roster)
}

fn load_moments<P: Policy>(
    players: &mut [Player<P>],
    checkpoint: &Checkpoint,
    role: &str,
) -> Result<(), TrainError> {
    let files = files(checkpoint, role, players.len())?;
    for (player, file) in players.iter_mut().zip(files) {
        if let Some(state) = file.optimizer()? {
            player.load_optimizer(state)?;
        }
    }
    Ok(())
}

/// Players with optimizers that remember nothing.
fn roster(
    config: &Config,
    generators: Vec<Generator>,
    discriminators: Vec<Discriminator>,
    base: Option<&Base>,
) -> Roster {
    Roster {
        generators: with_optimizers(config, generators),
        discriminators: with_optimizers(config, discriminators),
        lora_config: base.and_then(Base::lora_json),
    }
}

/// Freshly drawn generators; the same seed gives the same weights.
fn fresh_generators(
    config: &Config,
    encoder: &Arc<PromptEncoder>,
    init: PlayerInit,
) -> Vec<Generator> {
    let model = config.generator_model();
    (0..config.players.generators)
        .map(|number| draw(config, &model, (GENERATOR, number), encoder, init))
        .map(|model| Generator::new(model, Arc::clone(encoder)))
        .collect()
}

/// Freshly drawn discriminators.
fn fresh_discriminators(
    config: &Config,
    encoder: &Arc<PromptEncoder>,
    init: PlayerInit,
) -> Vec<Discriminator> {
    let model = config.discriminator_model();
    (0..config.players.discriminators)
        .map(|number| draw(config, &model, (DISCRIMINATOR, number), encoder, init))
        .map(|model| Discriminator::new(model, Arc::clone(encoder)))
        .collect()
}

/// The weights that the player of a role and number begins with.
fn draw(
    config: &Config,
    model: &Model,
    (role, number): (&str, usize),
    encoder: &Arc<PromptEncoder>,
    init: PlayerInit,
) -> Transformer {
    // The first begins as the only one of a role does.
    let name = match number {
        0 => role.to_owned(),
        _ => format!("{role}_{number}"),
    };
    if let Some(base) = init.base {
        return base.fresh(config, &name);
    }
    // LibTorch takes a signed seed.
    let seed = DrawKey::new(config.run.seed).with_name(&name).value() >> 1;
    let shape = model_config(model, encoder.tokenizer().vocab_size());
    Transformer::init(&shape, model.initializer_range, seed, init.device)
}

/// Policies as players, which decode with what the configuration names.
fn with_optimizers<P: Policy>(config: &Config, policies: Vec<P>) -> Vec<Player<P>> {
    let player = |mut policy: P| {
        *policy.rollouts() = rollouts(config, policy.model());
        Player::new(policy, warmup_options(config))
    };
    policies.into_iter().map(player).collect()
}
