//! What is trained on a published model can be given back: exported folders hold the same model, adapters lie in PEFT's
//! layout.

use std::path::Path;

use gauntlet::checkpoint::{CheckpointKind, GENERATOR, PlayerState, SaveRequest, Store};
use gauntlet::model::lora::TARGETS;
use gauntlet::model::pretrained::gguf_write::GgufType;
use gauntlet::model::{Batching, LoraConfig, Pretrained, Transformer};
use gauntlet::optimizer::{AdamW, AdamWOptions};
use gauntlet::run::export::{ExportOptions, Form, export};
use gauntlet::update::{Example, imitate};
use serde_json::json;
use tch::{Device, Kind, Tensor, no_grad};

use super::{FAMILIES, folder, token_rows, tokenizer};

fn lora() -> LoraConfig {
    LoraConfig {
        r: 4,
        lora_alpha: 8.0,
        lora_dropout: 0.0,
        target_modules: TARGETS.map(str::to_owned).to_vec(),
    }
}

fn examples() -> Vec<Example> {
    let rows = token_rows().into_iter().filter(|row| row.len() > 4);
    rows.map(|row| Example {
        tokens: row.into_iter().map(|t| t as u32).collect(),
        from: 3,
    })
    .collect()
}

fn options() -> AdamWOptions {
    AdamWOptions {
        beta1: 0.9,
        beta2: 0.95,
        eps: 1e-8,
        weight_decay: 0.0,
        max_grad_norm: 1.0,
        muon: None,
    }
}

/// Trains until the loss has clearly fallen. Returns the first and the last loss.
fn train(model: &Transformer) -> (f64, f64) {
    let mut optimizer = AdamW::new(model.trainable(), options());
    let mut losses = Vec::new();
    for _ in 0..20 {
        losses.push(imitate(model, &examples(), 1.0));
        optimizer.step(1e-2).unwrap();
    }
    (losses[0], losses[19])
}

fn logits(model: &Transformer) -> Tensor {
    let input = Tensor::from_slice(&token_rows()[0]).view([1, -1]);
    no_grad(|| model.logits(&model.forward(&input)))
}

#[test]
fn every_way_of_training_learns_and_lora_leaves_the_base_alone() {
    for family in FAMILIES {
        let published = folder(family);
        let pretrained = Pretrained::open(published.path().to_str().unwrap()).unwrap();
        let frozen = Transformer::frozen(
            &pretrained.config,
            pretrained.weights(Kind::Float).unwrap(),
            Device::Cpu,
        );
        let before = logits(&frozen);
        for checkpointing in [false, true] {
            let base = frozen
                .share()
                .running(Kind::Float, Batching::Packed { checkpointing });
            let adapted = base.with_adapter(lora(), lora().init(base.config(), 1, Device::Cpu));
            assert_eq!(logits(&adapted), before, "a fresh adapter adds nothing");
            let (first, last) = train(&adapted);
            assert!(last < first - 0.3, "{family} lora: {first} {last}");
            assert_eq!(logits(&frozen), before);
        }
        for compute in [Kind::Float, Kind::BFloat16] {
            let copies = frozen
                .parameters()
                .iter()
                .map(|(n, t)| (n.clone(), t.copy()));
            let full = Transformer::from_weights(&pretrained.config, copies.collect(), Device::Cpu)
                .running(
                    compute,
                    Batching::Packed {
                        checkpointing: false,
                    },
                );
            let (first, last) = train(&full);
            assert!(last < first - 0.3, "{family} {compute:?}: {first} {last}");
            // The masters stay in 32 bits.
            assert!(
                full.parameters()
                    .iter()
                    .all(|(_, t)| t.kind() == Kind::Float)
            );
        }
    }
}

/// A checkpoint whose generator is an adapter trained on the model in `base`.
fn adapter_checkpoint(
    dir: &Path,
    base: &Path,
    adapted: &Transformer,
) -> gauntlet::checkpoint::Checkpoint {
    let (config, weights) = adapted.lora().unwrap();
    let player = PlayerState {
        model_state_dict: weights
            .iter()
            .map(|(n, t)| (n.clone(), t.shallow_clone()))
            .collect(),
        optimizer: None,
        stage_id: 0,
        metrics: json!({}),
        model_config: serde_json::to_value(adapted.config()).unwrap(),
        lora_config: Some(config.peft_json(base.to_str().unwrap())),
    };
    let store = Store::create(dir).unwrap();
    let request = SaveRequest {
        name: "final".into(),
        kind: CheckpointKind::Sampler,
        stage: 5,
        step: 1,
        score: None,
        players: vec![(GENERATOR.to_owned(), player)],
        metrics: json!({}),
        training_config: json!({}),
        trainer_state: json!({}),
        mistake_book: String::new(),
        own_chains: String::new(),
        tokenizer: tokenizer(),
        prompts: Vec::new(),
        parent: None,
        tags: Default::default(),
        set_best: false,
    };
    let saved = store.save(request).unwrap();
    gauntlet::checkpoint::Checkpoint::open(&saved.path).unwrap()
}

#[test]
fn an_exported_folder_is_the_adapted_model() {
    for family in FAMILIES {
        let published = folder(family);
        let pretrained = Pretrained::open(published.path().to_str().unwrap()).unwrap();
        let base = Transformer::frozen(
            &pretrained.config,
            pretrained.weights(Kind::Float).unwrap(),
            Device::Cpu,
        )
        .running(
            Kind::Float,
            Batching::Packed {
                checkpointing: false,
            },
        );
        let adapted = base.with_adapter(lora(), lora().init(base.config(), 1, Device::Cpu));
        train(&adapted);
        let run = tempfile::tempdir().unwrap();
        let checkpoint = adapter_checkpoint(run.path(), published.path(), &adapted);
        let player = checkpoint.generator().unwrap();
        let merged = run.path().join("merged");
        let whole = ExportOptions {
            form: Form::Merged,
            kind: Kind::Float,
            base: None,
        };
        export(&checkpoint, &player, &merged, &whole).unwrap();
        let read = Pretrained::open(merged.to_str().unwrap()).unwrap();
        assert_eq!(read.config, pretrained.config);
        assert!(read.chat_template.is_some());
        let read = Transformer::frozen(
            &read.config,
            read.weights(Kind::Float).unwrap(),
            Device::Cpu,
        );
        let worst = (logits(&read) - logits(&adapted))
            .abs()
            .max()
            .double_value(&[]);
        assert!(worst < 1e-3, "{family}: {worst}");

        let peft = run.path().join("peft");
        let adapter = ExportOptions {
            form: Form::Adapter,
            ..whole.clone()
        };
        export(&checkpoint, &player, &peft, &adapter).unwrap();
        let config = super::json(&peft.join("adapter_config.json"));
        assert_eq!(
            (config["r"].as_i64(), config["peft_type"].as_str()),
            (Some(4), Some("LORA"))
        );
        for (stored, near) in [(GgufType::Q8_0, 0.5), (GgufType::F32, 1e-4)] {
            let to = run.path().join(format!("{stored:?}"));
            let file = ExportOptions {
                form: Form::Gguf(stored),
                ..whole.clone()
            };
            export(&checkpoint, &player, &to, &file).unwrap();
            let read = Pretrained::open(to.join("model.gguf").to_str().unwrap()).unwrap();
            super::gguf::check_written(&read, &pretrained);
            let weights = read.weights(Kind::Float).unwrap();
            let read = Transformer::frozen(&read.config, weights, Device::Cpu);
            let worst = (logits(&read) - logits(&adapted)).abs().max();
            let worst = worst.double_value(&[]);
            assert!(worst < near, "{family} {stored:?}: {worst}");
        }
        super::peers::check_exports(
            &run.path().join("F32/model.gguf"),
            &merged,
            &peft,
            published.path(),
            &token_rows()[0],
            &logits(&adapted),
        );

        let again = export(&checkpoint, &player, &merged, &whole).unwrap_err();
        assert!(again.to_string().contains("is not empty"), "{again}");
    }
}
