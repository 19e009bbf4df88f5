//! Every key of every section, with its help, its default and its range.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::key::{Key, choice, section};
use crate::checkpoint::Strategy;
use crate::stage::Stage;

/// The linear layers of a block.
const TARGETS: [&str; 7] = [
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "gate_proj",
    "up_proj",
    "down_proj",
];

const ANY: f64 = f64::INFINITY;

macro_rules! config {
    ($($(#[doc = $help:literal])+ $section:ident: $type:ident,)*) => {
        /// A resolved configuration: every key has a value that was checked.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct Config {
            $($(#[doc = $help])+ pub $section: $type,)*
        }

        impl Config {
            /// Every key there is, section by section.
            pub fn keys() -> &'static [Key] {
                static KEYS: LazyLock<Vec<Key>> = LazyLock::new(|| {
                    let sections = [$($type::keys(stringify!($section))),*];
                    sections.into_iter().flatten().collect()
                });
                &KEYS
            }
        }
    };
}

config! {
    /// The run as a whole.
    run: Run,
    /// The architecture of both players.
    model: Model,
    /// What the generator has otherwise.
    generator: ModelOverrides,
    /// What the discriminator has otherwise.
    discriminator: ModelOverrides,
    /// How many players of each role there are.
    players: Players,
    /// Where problems come from.
    problems: Problems,
    /// Which weights of a published model are trained, and how.
    training: Training,
    /// Supervised training before the game.
    warmup: Warmup,
    /// Imitation of the generators' own right chains, between warm-up and game.
    self_training: SelfTraining,
    /// Which stages are trained, and for how long.
    stages: Stages,
    /// The rules of the game.
    game: Game,
    /// How rewards become advantages, and advantages a loss.
    algorithm: Algorithm,
    /// How weights are updated in the game.
    optimizer: Optimizer,
    /// How completions are drawn.
    sampling: Sampling,
    /// Limits for generated code.
    sandbox: Sandbox,
    /// What is saved, when, and what is kept.
    checkpoint: Checkpoint,
    /// How progress is measured.
    evaluation: Evaluation,
    /// What can be watched.
    monitor: Monitor,
}

section! {
    /// The run as a whole.
    pub struct Run {
        /// Name of the run; its outputs lie in `<output_dir>/<name>/<timestamp>/`.
        name: String = "tiny".into();
        /// Folder that holds the outputs of all runs.
        output_dir: PathBuf = "outputs".into();
        /// Seed of everything that is drawn. The same seed, configuration and thread count give the same run.
        seed: u64 = 0;
        /// Threads for tensors; 0 takes one a core. A run repeats exactly only with the same count.
        threads: usize = 0, in 0..=1024;
        /// Where tensors live: cpu, cuda or cuda:N.
        device: String = "cpu".into();
        /// Notes of your own, kept in every checkpoint.
        tags: BTreeMap<String, String> = BTreeMap::new();
    }
}

choice! {
    /// Where a model's weights come from.
    pub enum ModelKind {
        /// Drawn at random, with the architecture of the `model` section.
        Scratch = "scratch",
        /// Those of a published model, whose architecture and tokenizer come with it.
        Pretrained = "pretrained",
    }
}

choice! {
    /// What numbers are computed with.
    pub enum Dtype {
        /// 32-bit floats.
        Float32 = "float32",
        /// Brain floats; weights that are trained have 32-bit masters, unless training.master_weights says otherwise.
        BFloat16 = "bfloat16",
    }
}

choice! {
    /// What rollouts are decoded with.
    pub enum Backend {
        /// `float32` on the CPU, where heads are a multiple of 16 wide; else `trainer`.
        Auto = "auto",
        /// The weights and the code of training.
        Trainer = "trainer",
        /// The fused decoder on 32-bit weights.
        Float32 = "float32",
        /// The fused decoder on weights rounded to bf16.
        BFloat16 = "bfloat16",
        /// The fused decoder on weights rounded to 8 bits, in groups with a scale.
        Int8 = "int8",
    }
}

section! {
    /// The architecture of both players, under the names published models use.
    pub struct Model overridden by ModelOverrides {
        /// Where the weights come from: scratch, or pretrained with model.path.
        kind: ModelKind = ModelKind::Scratch;
        /// A published model: a folder, a GGUF file, or a hub id OWNER/NAME@REVISION. With kind pretrained, the keys of the architecture and of the tokenizer below are not read.
        path: Option<String> = None;
        /// What a published model is computed with in training: float32, or bfloat16 where the processor multiplies it.
        dtype: Dtype = Dtype::Float32;
        /// Width of the residual stream.
        hidden_size: usize = 128, in 16..=16384;
        /// Number of transformer blocks.
        num_hidden_layers: usize = 4, in 1..=200;
        /// Query heads of each attention.
        num_attention_heads: usize = 4, in 1..=256;
        /// Key and value heads, each shared by an equal number of query heads.
        num_key_value_heads: usize = 2, in 1..=256;
        /// Width of one head; null takes hidden_size / num_attention_heads. Even, for RoPE turns pairs.
        head_dim: Option<usize> = None, in 2..=1024;
        /// Whether the projections of query, key and value have a bias.
        attention_bias: bool = false;
        /// Width of the feed-forward layer.
        intermediate_size: usize = 352, in 16..=131072;
        /// Base wavelength of the rotary positions.
        rope_theta: f64 = 10000.0, in 1.0..=1e9;
        /// Added to the mean square in RMSNorm.
        rms_norm_eps: f64 = 1e-5, in 1e-12..=0.01;
        /// Whether input and output share one embedding.
        tie_word_embeddings: bool = true;
        /// Longest sequence, prompt and completions together.
        max_position_embeddings: usize = 512, in 64..=1048576;
        /// Standard deviation of freshly drawn weights.
        initializer_range: f64 = 0.06, in 1e-5..=1.0;
        /// `embedded` for the tokenizer that ships, or the path of a tokenizer.json.
        tokenizer: String = "embedded".into();
        /// Folder of prompt templates to use in place of those that ship.
        prompts: Option<PathBuf> = None;
    }
}

section! {
    /// How many players of each role there are.
    pub struct Players {
        /// Generators, each with weights, warm-up and statistics of its own. A step of the game is played by one pair; all pairs meet in turn.
        generators: usize = 1, in 1..=8;
        /// Discriminators, likewise.
        discriminators: usize = 1, in 1..=8;
    }
}

section! {
    /// Where problems come from.
    pub struct Problems {
        /// Folder of JSONL files with written problems; null takes the set that ships.
        dir: Option<PathBuf> = None;
        /// Whether composed problems are used beside the written ones.
        composed: bool = true;
        /// Share of composed problems among those trained on.
        composed_share: f64 = 0.95, in 0.0..=1.0;
        /// Problems in each validation pool; 0 takes all there are of the written ones.
        validation_problems: usize = 64, in 0..=100000;
        /// Problems in each pool of the final report; 0 takes all there are of the written ones.
        report_problems: usize = 64, in 0..=100000;
    }
}

section! {
    /// Which weights of a published model are trained, and how.
    pub struct Training {
        /// Rank of the LoRA adapters; 0 trains all weights instead.
        lora_rank: usize = 16, in 0..=4096;
        /// Strength of the adapters, as PEFT's lora_alpha; null takes twice the rank.
        lora_alpha: Option<f64> = None, in 0.0..=100000.0;
        /// Share of the adapters' inputs that is dropped in training.
        lora_dropout: f64 = 0.0, in 0.0..=0.9;
        /// Linear layers that have an adapter.
        lora_targets: Vec<String> = TARGETS.map(str::to_owned).to_vec();
        /// Whether activations are computed again in the backward pass: about a third more time for much less memory.
        activation_checkpointing: bool = false;
        /// Whether weights that are trained in bfloat16 without an adapter have 32-bit masters, gradients and moments (16
        /// bytes a weight, and 2 while it is used). false keeps all four in bfloat16 (8 bytes), AdamW rounds stochastically,
        /// and warmup.muon_ratio has no effect. On the CPU only.
        master_weights: bool = true;
    }
}

section! {
    /// Supervised training before the game: reference traces for the generator, executed samples for the discriminator.
    pub struct Warmup {
        /// Optimizer steps of the generator.
        generator_steps: u64 = 2600, in 0..=10000000;
        /// Optimizer steps of the discriminator.
        discriminator_steps: u64 = 400, in 0..=10000000;
        /// Sequences in a step.
        batch_size: usize = 16, in 1..=4096;
        /// How many different composed problems come with a trace to imitate, here and beside the game; 0 makes a new one
        /// for each sequence. A number stands for the usual case of traces that somebody had to write, while problems with
        /// tests alone, which the game needs, are many.
        composed_traces: u64 = 0, in 0..=1000000000;
        /// Highest learning rate, reached after lr_warmup_steps.
        learning_rate: f64 = 4e-3, in 0.0..=1.0;
        /// Learning rate of Muon, which steps the matrices of the layers, over AdamW's, which steps the rest; 0 leaves all
        /// of them to AdamW.
        muon_ratio: f64 = 1.5, in 0.0..=100.0;
        /// Share of the learning rate that the cosine ends with.
        min_lr_ratio: f64 = 0.03, in 0.0..=1.0;
        /// Steps over which the learning rate rises from zero.
        lr_warmup_steps: u64 = 50, in 0..=1000000;
        /// Decoupled weight decay.
        weight_decay: f64 = 0.1, in 0.0..=1.0;
        /// Problems whose executed chains teach the verdict head.
        verdict_problems: usize = 200, in 0..=100000;
        /// Chains sampled for each of them: what is right in one and wrong in another teaches the verdict to choose.
        verdict_samples: usize = 4, in 1..=64;
        /// Further problems that teach the discriminator to write tests: executed inputs, without chains of the generator.
        attack_problems: usize = 1500, in 0..=1000000;
    }
}

section! {
    /// Imitation of the generators' own right chains, between warm-up and game, for problems without traces.
    pub struct SelfTraining {
        /// Rounds of sampling and imitating (STaR, ReST); 0 leaves self-training out. Batch size, Muon, weight decay and the
        /// form of the learning rate are those of warmup.
        rounds: u64 = 0, in 0..=1000;
        /// New problems that a round plays, by the rules of the game's first stage.
        problems: usize = 8192, in 1..=10000000;
        /// Chains sampled for each of them, of which at most one is kept: one that passes gold tests, attacks and replayed
        /// kills.
        samples: usize = 4, in 1..=256;
        /// Optimizer steps of each generator in a round.
        steps: u64 = 800, in 0..=10000000;
        /// Share of own chains in a batch; the rest are reference traces.
        own_share: f64 = 0.5, in 0.0..=1.0;
        /// Highest learning rate; it rises and comes down once in each round, before the next samples.
        learning_rate: f64 = 1e-3, in 0.0..=1.0;
    }
}

section! {
    /// Which stages are trained, and for how long.
    pub struct Stages {
        /// First stage to train.
        first: Stage = Stage::Informal;
        /// Last stage to train.
        last: Stage = Stage::Code;
        /// Whether the policy writes code at once, without stages 1 to 4: the baseline that shows what stages are worth.
        direct: bool = false;
        /// Optimizer steps of each stage. A tiny model errs where it reads the problem, in the first stage; a pretrained one
        /// in the code, which then deserves about 60 % of them.
        steps: [u64; Stage::COUNT] = [48, 4, 4, 4, 12], in 0..=10000000;
    }
}

section! {
    /// The rules of the game.
    pub struct Game {
        /// Rollouts of the generator that share a prefix and a baseline.
        group_size: usize = 8, in 2..=256;
        /// Attack sets that share a target and a baseline.
        discriminator_group_size: usize = 4, in 2..=256;
        /// Tests in one attack set (tau).
        attacks_per_set: usize = 4, in 1..=64;
        /// Problems in a step; each gives one group of either player.
        problems_per_step: usize = 16, in 1..=4096;
        /// Continuations to code of each rollout at stages 1 to 4 (m).
        continuations: usize = 1, in 1..=16;
        /// Further rounds of a step in which problems whose group teaches the generator nothing, because all its rewards are
        /// equal, are replaced by fresh ones (dynamic sampling).
        resample: u64 = 0, in 0..=16;
        /// Weight of imitating reference traces beside the policy gradient, on as many traces as a batch of warm-up; holds
        /// the stages that are not being trained where they are. 0 where problems have no traces worth imitating.
        trace_weight: f64 = 0.1, in 0.0..=10.0;
        /// How much of the verdict may be added to the generator's reward, while its AUC within groups is above 0.6.
        verdict_weight: f64 = 0.1, in 0.0..=0.1;
        /// Weight with which the verdict loss reaches the trunk.
        verdict_loss_weight: f64 = 0.1, in 0.0..=10.0;
        /// Share of attack prompts that show the problem alone.
        blind_share: f64 = 0.25, in 0.0..=1.0;
        /// Replayed kills that a candidate meets at most.
        replay_limit: usize = 8, in 0..=1024;
        /// Whether the discriminator plays; without it rewards come from gold tests only.
        adversary: bool = true;
        /// Weight of validity in the discriminator's reward while few of its attacks are valid.
        alpha_high: f64 = 0.8, in 0.0..=0.9;
        /// The same weight when most are valid.
        alpha_low: f64 = 0.45, in 0.0..=0.9;
        /// The discriminator pauses while both its kill rate on the frozen bank and the share of its attacks that are
        /// valid as it wrote them are above this.
        discriminator_pause: f64 = 0.95, in 0.0..=1.0;
        /// Mutants of each reference in the frozen bank.
        bank_mutants: usize = 6, in 0..=1000;
    }
}

choice! {
    /// What a reward is compared with.
    pub enum Estimator {
        /// The mean of its group.
        GroupMean = "group_mean",
        /// The mean of its group, and divided by the group's standard deviation.
        Grpo = "grpo",
        /// The mean of the others of its group.
        Rloo = "rloo",
        /// A moving average over past batches of the player and stage.
        MovingBaseline = "moving_baseline",
    }
}

choice! {
    /// How a token's advantage weighs the gradient of its log-probability.
    pub enum Objective {
        /// As it is, corrected for rollouts decoded with other numbers: for one pass over a batch.
        Reinforce = "reinforce",
        /// Times the token's importance ratio, and not at all beyond the bounds (PPO).
        PpoClip = "ppo_clip",
        /// The same with the ratio of the whole sequence (GSPO).
        Gspo = "gspo",
        /// Times the token's importance ratio, held within the bounds (CISPO).
        Cispo = "cispo",
    }
}

choice! {
    /// What holds a policy near its reference.
    pub enum KlPlacement {
        /// Nothing.
        None = "none",
        /// A term of the loss, by the k3 estimator.
        Loss = "loss",
        /// A penalty on each token's advantage, by the k1 estimator.
        Reward = "reward",
    }
}

choice! {
    /// What the sum over tokens is divided by.
    pub enum Denominator {
        /// Sequences of the batch times the longest completion allowed.
        Constant = "constant",
        /// Tokens of the batch's completions.
        Token = "token",
        /// Each sequence's own tokens, and sequences of the batch.
        Sequence = "sequence",
    }
}

section! {
    /// How rewards become advantages, and advantages a loss; docs/algorithms.md has the formulas.
    pub struct Algorithm {
        /// What a reward is compared with: group_mean, grpo (divided by the group's standard deviation), rloo (the mean of
        /// the others), or moving_baseline (an average over past batches).
        estimator: Estimator = Estimator::GroupMean;
        /// Share of the past that the moving baseline keeps at each batch.
        baseline_decay: f64 = 0.95, in 0.0..=0.9999;
        /// What a token's advantage is multiplied by: reinforce (truncated importance weights, for one pass), ppo_clip,
        /// gspo (the sequence's ratio, clipped), or cispo (the token's ratio, held within the bounds).
        objective: Objective = Objective::Reinforce;
        /// How far below 1 an importance ratio counts; null takes the objective's own: 0.2 for ppo_clip, 3e-4 for gspo,
        /// 1 (no bound) for cispo.
        clip_low: Option<f64> = None, in 0.0..=1.0;
        /// How far above 1 an importance ratio counts; null takes the objective's own: 0.28 for ppo_clip, 4e-4 for gspo,
        /// 1 for cispo.
        clip_high: Option<f64> = None, in 0.0..=1000.0;
        /// Optimizer steps on each batch. More than one needs an objective with bounds: ppo_clip, gspo or cispo.
        passes: usize = 1, in 1..=64;
        /// What holds a policy near its reference: loss (a term of the loss), reward (a penalty on each token's advantage),
        /// or none.
        kl: KlPlacement = KlPlacement::Loss;
        /// Weight of the KL term or penalty; 0 is as good as none.
        kl_beta: f64 = 0.01, in 0.0..=10.0;
        /// What the loss is divided by: constant (sequences of the batch times the longest completion allowed), token
        /// (tokens of the batch's completions), or sequence (a mean over sequences of their means over tokens).
        denominator: Denominator = Denominator::Constant;
    }
}

section! {
    /// How weights are updated in the game (AdamW).
    pub struct Optimizer {
        /// Highest learning rate of the generator.
        learning_rate: f64 = 2e-4, in 0.0..=1.0;
        /// Highest learning rate of the discriminator.
        discriminator_learning_rate: f64 = 5e-4, in 0.0..=1.0;
        /// Share of the learning rates that the cosine of each stage ends with; 1 keeps them level.
        min_lr_ratio: f64 = 0.1, in 0.0..=1.0;
        /// Steps over which the learning rates of each stage rise from zero.
        lr_warmup_steps: u64 = 0, in 0..=1000000;
        /// Decay of the first moment.
        beta1: f64 = 0.9, in 0.0..=0.9999;
        /// Decay of the second moment.
        beta2: f64 = 0.95, in 0.0..=0.99999;
        /// Added to the root of the second moment.
        eps: f64 = 1e-8, in 1e-16..=0.01;
        /// Decoupled weight decay.
        weight_decay: f64 = 0.0, in 0.0..=1.0;
        /// Gradients are scaled down to this norm.
        max_grad_norm: f64 = 1.0, in 0.0..=ANY;
    }
}

section! {
    /// How completions are drawn.
    pub struct Sampling {
        /// Temperature of both players in training, and of their logprobs.
        temperature: f64 = 1.0, in 0.01..=10.0;
        /// Temperature of the stages after the trained one. The lower, the less chance lies between what the trained stage
        /// wrote and its reward; 0 is greedy.
        continuation_temperature: f64 = 0.0, in 0.0..=10.0;
        /// Longest completion of each stage, in tokens.
        max_new_tokens: [usize; Stage::COUNT] = [48, 56, 40, 48, 128], in 1..=32768;
        /// Longest attack set, in tokens.
        attack_max_new_tokens: usize = 128, in 1..=32768;
        /// What decodes: trainer, which is the weights and code of training, or a packed snapshot of them in float32,
        /// bfloat16 or int8, which is faster and runs on the CPU. auto takes float32 where it can.
        backend: Backend = Backend::Auto;
    }
}

section! {
    /// Limits for generated code.
    pub struct Sandbox {
        /// Instructions one call may take, in wasmtime's fuel; 500,000,000 is about 0.08 seconds' worth. Candidates that
        /// never end cost this for each test. null takes the sandbox's own limit, 40 times as much.
        fuel: Option<u64> = Some(500_000_000), in 1..=ANY;
        /// Wall-clock limit. Work it stops is masked, for a slow machine is not wrong code.
        wall_seconds: f64 = 10.0, in 0.1..=3600.0;
        /// Memory limit in MB.
        memory_mb: usize = 256, in 64..=4096;
        /// Programs that run at the same time; 0 takes one a core.
        workers: usize = 0, in 0..=1024;
    }
}

choice! {
    /// What a periodic checkpoint holds.
    pub enum CheckpointKind {
        /// All that resuming needs.
        Full = "full",
        /// What sampling needs: no optimizer state.
        Sampler = "sampler",
        /// One of each.
        Both = "both",
    }
}

choice! {
    /// Which players begin with another run's weights.
    pub enum InitRole {
        /// Both.
        Both = "both",
        /// The generator alone.
        Generator = "generator",
        /// The discriminator alone.
        Discriminator = "discriminator",
    }
}

choice! {
    /// What becomes of a periodic checkpoint while the one before it is still being written.
    pub enum WhenBusy {
        /// Training waits for the one before: every checkpoint is there.
        Wait = "wait",
        /// It is left out: training never waits.
        Skip = "skip",
    }
}

section! {
    /// What is saved, when, and what is kept.
    pub struct Checkpoint {
        /// Steps between periodic checkpoints; 0 saves none. About ten saves a run is a good rule.
        save_every: u64 = 10, in 0..=10000000;
        /// Steps between validations; 0 validates after stages only.
        eval_every: u64 = 10, in 0..=10000000;
        /// Which periodic checkpoints are kept: last_n, or top_k_val by validation score.
        strategy: Strategy = Strategy::LastN;
        /// How many periodic checkpoints are kept; -1 keeps all. Stage, final, named, best and latest always stay.
        keep_last: i64 = 3, in -1..=1000000;
        /// What a periodic checkpoint holds; stage, final and best are always full.
        checkpoint_kind: CheckpointKind = CheckpointKind::Full;
        /// Where every checkpoint is copied to beside training, if anywhere: a directory, or a URL of an object store, as
        /// s3://bucket/prefix.
        checkpoint_dir: Option<String> = None;
        /// What becomes of a periodic checkpoint that is due while the one before it is still being written.
        when_busy: WhenBusy = WhenBusy::Wait;
        /// Checkpoint to go on from: auto, latest, best, a name, step:N or a path.
        resume_from: Option<String> = None;
        /// Checkpoint whose weights to begin with, with a fresh optimizer.
        init_from: Option<String> = None;
        /// Which players init_from sets: both, or one; the other begins as it would without.
        init_role: InitRole = InitRole::Both;
        /// Whether the names of periodic checkpoints and those of stages tell how many players there are, as in stage_2_g2_d1. `stage_2` still finds it.
        name_players: bool = false;
        /// Whether the untrained models are saved too.
        checkpoint_on_start: bool = false;
        /// Whether the untrained models are validated too.
        validation_at_start: bool = false;
    }
}

section! {
    /// How progress is measured.
    pub struct Evaluation {
        /// Problems solved at the same time.
        batch_size: usize = 128, in 1..=4096;
        /// Problems of each pool in a validation within a stage; those after a stage take the whole pool.
        problems: usize = 24, in 1..=100000;
        /// Attempts at each problem.
        samples: usize = 1, in 1..=1024;
        /// Temperature; 0 takes the likeliest token.
        temperature: f64 = 0.0, in 0.0..=10.0;
        /// Samples a problem for pass@1 at the temperature of training, beside the attempts above; 0 takes none.
        sampled: usize = 2, in 0..=1024;
        /// Whether the run ends with the closing measurements: stages of another problem swapped in, nearest-neighbour
        /// retrieval, the best of several samples by verdict, by blind tests and by agreement of answers.
        closing: bool = true;
        /// Samples a problem that are chosen from in the closing measurements.
        best_of: usize = 8, in 2..=1024;
    }
}

section! {
    /// What can be watched.
    pub struct Monitor {
        /// Address of the page that shows the run, as in 127.0.0.1:7878; null serves none.
        serve: Option<String> = None;
        /// Write scalars for TensorBoard beside metrics.jsonl.
        tensorboard: bool = true;
        /// Rollouts of each player that a step writes to samples.jsonl.
        samples_per_step: usize = 2, in 0..=4096;
    }
}
