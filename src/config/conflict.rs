//! Values that are each fine and do not go together.

use crate::checkpoint::{Strategy, check_run};

use super::sections::{Config, Model, ModelKind, Objective};

/// Values that do not go together.
pub(super) struct Conflict {
    /// Section and name of the keys that may be at fault, the likeliest first.
    pub keys: Vec<(&'static str, &'static str)>,
    /// What is wrong.
    pub message: String,
}

/// Every conflict in `config`.
pub(super) fn conflicts(config: &Config) -> Vec<Conflict> {
    let mut found = Vec::new();
    players(config, &mut found);
    let mut refuse_if = |broken: bool, key: (&'static str, &'static str), message: String| {
        if broken {
            let keys = vec![key];
            found.push(Conflict { keys, message });
        }
    };
    let (first, last) = (config.stages.first, config.stages.last);
    refuse_if(
        first > last,
        ("stages", "first"),
        format!(
            "stages.first is {}, which comes after stages.last, {}",
            first.number(),
            last.number()
        ),
    );
    let known = [
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    ];
    let targets = &config.training.lora_targets;
    let unknown = targets.iter().find(|t| !known.contains(&&***t));
    refuse_if(
        unknown.is_some() || targets.is_empty(),
        ("training", "lora_targets"),
        format!(
            "training.lora_targets holds {:?}, expected some of {}",
            unknown.map_or("nothing", |t| t),
            known.join(", ")
        ),
    );
    refuse_if(
        config.training.activation_checkpointing && config.training.lora_dropout > 0.0,
        ("training", "lora_dropout"),
        "training.lora_dropout would drop other inputs when activations are computed again: set it to 0, or \
         training.activation_checkpointing to false"
            .into(),
    );
    refuse_if(
        config.sampling.continuation_temperature == 0.0 && config.game.continuations > 1,
        ("game", "continuations"),
        format!(
            "game.continuations is {}, but sampling.continuation_temperature is 0, at which all of them are the same",
            config.game.continuations
        ),
    );
    let algorithm = &config.algorithm;
    let bounded = algorithm.objective != Objective::Reinforce;
    refuse_if(
        algorithm.passes > 1 && !bounded,
        ("algorithm", "passes"),
        format!(
            "algorithm.passes is {}, but algorithm.objective is reinforce, which is right for one pass alone: set it to \
             ppo_clip, gspo or cispo",
            algorithm.passes
        ),
    );
    for (name, bound) in [
        ("clip_low", algorithm.clip_low),
        ("clip_high", algorithm.clip_high),
    ] {
        refuse_if(
            bound.is_some() && !bounded,
            ("algorithm", name),
            format!(
                "algorithm.{name} has no effect while algorithm.objective is reinforce: set that to ppo_clip, gspo or cispo"
            ),
        );
    }
    let (low, high) = (config.game.alpha_low, config.game.alpha_high);
    refuse_if(
        low > high,
        ("game", "alpha_low"),
        format!("game.alpha_low is {low}, above game.alpha_high, {high}"),
    );
    refuse_if(
        config.checkpoint.strategy == Strategy::TopKVal && config.checkpoint.eval_every == 0,
        ("checkpoint", "strategy"),
        "checkpoint.strategy is top_k_val, which needs validations: set checkpoint.eval_every to 1 or more".into(),
    );
    refuse_if(
        config.checkpoint.resume_from.is_some() && config.checkpoint.init_from.is_some(),
        ("checkpoint", "init_from"),
        "checkpoint.resume_from and checkpoint.init_from exclude each other".into(),
    );
    let name = check_run(&config.run.name);
    refuse_if(
        name.is_err(),
        ("run", "name"),
        format!(
            "run.name: {}",
            name.err().map_or(String::new(), |e| e.to_string())
        ),
    );
    refuse_if(
        config.checkpoint.keep_last == 0,
        ("checkpoint", "keep_last"),
        "checkpoint.keep_last is 0, which keeps none: expected 1 or more, or -1 for all".into(),
    );
    let device = &config.run.device;
    let index = device
        .strip_prefix("cuda:")
        .map(|index| index.parse::<u8>().is_ok());
    refuse_if(
        device != "cpu" && device != "cuda" && index != Some(true),
        ("run", "device"),
        format!("run.device is {device:?}, expected cpu, cuda or cuda:N"),
    );
    found
}

/// The two players' models, each with what it overrides.
fn players(config: &Config, found: &mut Vec<Conflict>) {
    let players = [
        ("generator", config.generator_model()),
        ("discriminator", config.discriminator_model()),
    ];
    for (player, model) in players {
        if model.kind == ModelKind::Pretrained {
            // The architecture is the published one, and checked when it is opened.
            if model.path.is_none() {
                let message = format!(
                    "the {player}'s model.kind is pretrained, which needs model.path: a folder, a GGUF file or a hub id"
                );
                let keys = vec![(player, "path"), ("model", "kind"), (player, "kind")];
                found.push(Conflict { keys, message });
            }
            continue;
        }
        for (name, message) in model_conflicts(&model) {
            let keys = vec![
                (player, name),
                ("model", name),
                ("model", "num_attention_heads"),
            ];
            let message = format!("the {player}'s {message}");
            found.push(Conflict { keys, message });
        }
        let longest: usize = config.sampling.max_new_tokens.iter().sum();
        let room = model.max_position_embeddings;
        if longest >= room {
            let message = format!(
                "sampling.max_new_tokens allows chains of {longest} tokens, the {player}'s max_position_embeddings is {room}"
            );
            let keys = vec![
                ("sampling", "max_new_tokens"),
                ("model", "max_position_embeddings"),
            ];
            found.push(Conflict { keys, message });
        }
    }
}

fn model_conflicts(model: &Model) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let (heads, kv_heads, hidden) = (
        model.num_attention_heads,
        model.num_key_value_heads,
        model.hidden_size,
    );
    if !heads.is_multiple_of(kv_heads) {
        let message = format!(
            "{heads} num_attention_heads cannot share {kv_heads} num_key_value_heads evenly"
        );
        found.push(("num_key_value_heads", message));
    }
    match model.head_dim {
        None if !hidden.is_multiple_of(2 * heads) => {
            let message = format!(
                "hidden_size {hidden} does not give {heads} num_attention_heads an even width each"
            );
            found.push(("hidden_size", message));
        }
        Some(width) if !width.is_multiple_of(2) => {
            found.push((
                "head_dim",
                format!("head_dim is {width}, expected an even number"),
            ));
        }
        _ => {}
    }
    found
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn values_that_do_not_go_together_are_refused() {
        for (text, said) in [
            (
                "stages: {first: 4, last: 2}",
                "stages.first is 4, which comes after stages.last, 2",
            ),
            (
                "model: {num_key_value_heads: 5}",
                "4 num_attention_heads cannot share 5",
            ),
            (
                "discriminator: {hidden_size: 100}",
                "the discriminator's hidden_size 100",
            ),
            (
                "checkpoint: {strategy: top_k_val, eval_every: 0}",
                "needs validations",
            ),
            (
                "checkpoint: {resume_from: best, init_from: best}",
                "exclude each other",
            ),
            (
                "sampling: {max_new_tokens: [500, 500, 1, 1, 1]}",
                "allows chains of 1003 tokens",
            ),
            ("run: {name: ../up}", "\"../up\" is not a name for a run"),
            ("run: {name: ''}", "is not a name for a run: it is empty"),
            ("run: {name: my run}", "is not a name for a run"),
            ("checkpoint: {keep_last: 0}", "expected 1 or more, or -1"),
            (
                "model: {kind: pretrained}",
                "needs model.path: a folder, a GGUF file or a hub id",
            ),
            ("run: {device: gpu}", "expected cpu, cuda or cuda:N"),
            (
                "training: {lora_targets: [q_proj, wq]}",
                "lora_targets holds \"wq\", expected some of q_proj",
            ),
            (
                "training: {lora_dropout: 0.1, activation_checkpointing: true}",
                "would drop other inputs",
            ),
            ("game: {alpha_low: 0.85}", "above game.alpha_high"),
            (
                "algorithm: {passes: 2}",
                "algorithm.passes is 2, but algorithm.objective is reinforce",
            ),
            (
                "algorithm: {clip_high: 0.3}",
                "algorithm.clip_high has no effect while algorithm.objective is reinforce",
            ),
            (
                "algorithm: {clip_low: 0.1, estimator: rloo}",
                "algorithm.clip_low has no effect",
            ),
        ] {
            let refusal = Config::parse(text, Path::new("run.yaml"), &[])
                .unwrap_err()
                .to_string();
            assert!(
                refusal.contains(said) && refusal.contains("run.yaml:1: "),
                "{refusal}"
            );
        }
    }
}
