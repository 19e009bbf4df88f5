//! The configuration of a run: a YAML file, `--set` overrides, and defaults for everything else.
//!
//! ```text
//! defaults <- file.yaml <- --set section.key=value   =>   Config   =>   config.json
//! ```
//!
//! A key's help text, range and default stand in one place, the section's definition in `sections`. They make the
//! struct, its documentation, its checks and `train --help-config`. The defaults are a complete small run:
//! `configs/tiny.yaml` writes them out.

mod conflict;
mod error;
mod home;
mod key;
mod load;
mod nearest;
mod sections;

pub use error::{ConfigError, Finding, Origin, Reason};
pub use home::{HomeError, expand_home};
pub use key::{Key, Setting};
pub use sections::{
    Algorithm, Backend, Checkpoint, CheckpointKind, Config, Denominator, Dtype, Estimator,
    Evaluation, Game, InitRole, KlPlacement, Model, ModelKind, ModelOverrides, Monitor, Objective,
    Optimizer, Players, Problems, Run, Sampling, Sandbox, SelfTraining, Stages, Training, Warmup,
    WhenBusy,
};

use crate::checkpoint::Strategy;
use crate::stage::Stage;

impl Setting for Strategy {
    fn kind() -> String {
        "one of last_n, top_k_val".to_owned()
    }
}

impl SelfTraining {
    /// Optimizer steps of each generator over all rounds.
    pub fn all_steps(&self) -> u64 {
        self.rounds * self.steps
    }
}

impl Config {
    /// The generator's architecture: `model` with what the `generator` section overrides.
    pub fn generator_model(&self) -> Model {
        self.generator.apply(&self.model)
    }

    /// The discriminator's architecture: `model` with what the `discriminator` section overrides.
    pub fn discriminator_model(&self) -> Model {
        self.discriminator.apply(&self.model)
    }

    /// The stages that the policy writes, in order: the code alone for a direct policy.
    pub fn written_stages(&self) -> &'static [Stage] {
        const CODE: &[Stage] = &[Stage::Code];
        const ALL: &[Stage] = &Stage::ALL;
        if self.stages.direct { CODE } else { ALL }
    }

    /// The stages to train with their steps, in order.
    pub fn planned_stages(&self) -> impl Iterator<Item = (Stage, u64)> + '_ {
        let stages = &self.stages;
        self.written_stages()
            .iter()
            .copied()
            .filter(|stage| (stages.first..=stages.last).contains(stage))
            .map(|stage| (stage, stages.steps[stage.index()]))
    }

    /// Every key with the two values in which `self` and `other` differ, for telling what a resumed run changes.
    pub fn differences(
        &self,
        other: &Config,
    ) -> Vec<(&'static Key, serde_json::Value, serde_json::Value)> {
        let (ours, theirs) = (self.to_json(), other.to_json());
        Config::keys()
            .iter()
            .filter_map(|key| {
                let [a, b] = [&ours, &theirs].map(|config| config[key.section][key.name].clone());
                (a != b).then_some((key, a, b))
            })
            .collect()
    }

    /// The help text of every key, as `train --help-config` prints it.
    pub fn help() -> String {
        let mut text = String::new();
        let mut section = "";
        for key in Config::keys() {
            if key.section != section {
                section = key.section;
                text += &format!(
                    "{}{section}: {}\n",
                    if text.is_empty() { "" } else { "\n" },
                    key.section_help
                );
            }
            text += &key.help_entry();
        }
        text
    }
}
