//! The numbers that a step is played by.

use crate::algo::Algorithm;
use crate::config::Config;
use crate::evaluation::attacks::AttackOptions;
use crate::generator::Sampling;
use crate::stage::Stage;

/// The numbers that a step is played by.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Stages that are written, in order; the code alone for a direct policy.
    pub stages: &'static [Stage],
    /// Chains of a generator's group.
    pub group_size: usize,
    /// Chains to code that go on from each trained completion of an earlier stage.
    pub continuations: usize,
    /// Limits and temperature of the trained completions.
    pub sampling: Sampling,
    /// Temperature of the stages behind the trained one.
    pub continuation_temperature: f64,
    /// Whether the discriminator plays.
    pub adversary: bool,
    /// Attack sets of a discriminator's group.
    pub discriminator_group_size: usize,
    /// How attack sets are written.
    pub attacks: AttackOptions,
    /// Share of problems whose attack sets are written without seeing a chain.
    pub blind_share: f64,
    /// Past kills that a problem's candidates meet, at most.
    pub replay_limit: usize,
    /// Further rounds in which problems whose group teaches the generator nothing are replaced by others.
    pub resample: u64,
    /// Mutants of the reference that attacks are tried on where no candidate is wrong.
    pub bank_mutants: usize,
    /// Weight of validity in the discriminator's reward while few attacks are valid.
    pub alpha_high: f64,
    /// The same once most are.
    pub alpha_low: f64,
    /// The most that a verdict may add to a generator's reward.
    pub verdict_weight: f64,
    /// Share of the verdict loss that reaches the trunk.
    pub verdict_loss_weight: f64,
    /// Kill rate and validity above which a discriminator pauses.
    pub discriminator_pause: f64,
    /// How rewards become advantages, and advantages a loss.
    pub algorithm: Algorithm,
    /// Weight of imitating reference traces beside the policy gradient.
    pub trace_weight: f64,
    /// Problems of a step of which the first work of either player is kept for reading.
    pub samples_per_step: usize,
}

impl Rules {
    /// The rules of the game.
    pub fn game(config: &Config) -> Rules {
        let (game, sampling) = (&config.game, &config.sampling);
        Rules {
            stages: config.written_stages(),
            group_size: game.group_size,
            continuations: game.continuations,
            sampling: Sampling {
                temperature: sampling.temperature,
                max_new_tokens: sampling.max_new_tokens,
                batch_size: config.evaluation.batch_size,
            },
            continuation_temperature: sampling.continuation_temperature,
            adversary: game.adversary,
            discriminator_group_size: game.discriminator_group_size,
            attacks: AttackOptions::of(config),
            blind_share: game.blind_share,
            replay_limit: game.replay_limit,
            resample: game.resample,
            bank_mutants: game.bank_mutants,
            alpha_high: game.alpha_high,
            alpha_low: game.alpha_low,
            verdict_weight: game.verdict_weight,
            verdict_loss_weight: game.verdict_loss_weight,
            discriminator_pause: game.discriminator_pause,
            algorithm: Algorithm::from_config(&config.algorithm),
            trace_weight: game.trace_weight,
            samples_per_step: config.monitor.samples_per_step,
        }
    }

    /// The rules by which self-training samples: a group of chains, one attack set against one of them, and no bank,
    /// because nobody is paid. All stages are sampled at one temperature: what the policy would have written anyway
    /// teaches it less.
    pub fn self_training(config: &Config) -> Rules {
        Rules {
            group_size: config.self_training.samples,
            discriminator_group_size: 1,
            continuations: 1,
            resample: 0,
            bank_mutants: 0,
            continuation_temperature: config.sampling.temperature,
            ..Rules::game(config)
        }
    }
}
